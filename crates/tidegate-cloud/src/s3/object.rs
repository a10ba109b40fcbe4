//! An object: one version of a key, as the catalog stores it and as answers show it.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3s::dto::*;
use serde::{Deserialize, Serialize};

use super::digest::Digests;

/// The version of an object that was written while its bucket kept no versions.
pub(super) const NULL_VERSION: &str = "null";

/// The content type of an upload that named none.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// One version of a key.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) version: String,
    pub(super) etag: String,
    pub(super) size_bytes: u64,
    pub(super) modified_s: i64,
    pub(super) description: Description,
    /// The file with the bytes; none for a delete marker.
    pub(super) blob: Option<String>,
}

/// Headers of the upload. Every download returns them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Description {
    content_type: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    cache_control: Option<String>,
    metadata: Option<HashMap<String, String>>,
    digests: Digests,
}

impl Description {
    pub(super) fn of(input: &PutObjectInput, digests: Digests) -> Description {
        Description {
            content_type: input.content_type.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: input.content_encoding.clone(),
            content_language: input.content_language.clone(),
            cache_control: input.cache_control.clone(),
            metadata: input.metadata.clone(),
            digests,
        }
    }

    pub(super) fn of_parts(input: &CreateMultipartUploadInput) -> Description {
        Description {
            content_type: input.content_type.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: input.content_encoding.clone(),
            content_language: input.content_language.clone(),
            cache_control: input.cache_control.clone(),
            metadata: input.metadata.clone(),
            // S3 keeps digests of the parts only.
            digests: Digests::default(),
        }
    }

    fn digest(&self, algorithm: &str) -> Option<String> {
        self.digests.get(algorithm).cloned()
    }
}

impl Object {
    pub(super) fn is_delete_marker(&self) -> bool {
        self.blob.is_none()
    }

    pub(super) fn modified(&self) -> Timestamp {
        timestamp(self.modified_s)
    }

    pub(super) fn etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }

    /// The version as answers show it; `None` if the bucket keeps no versions.
    pub(super) fn shown_version(&self) -> Option<String> {
        (self.version != NULL_VERSION).then(|| self.version.clone())
    }

    pub(super) fn put_output(&self) -> PutObjectOutput {
        let description = &self.description;
        PutObjectOutput {
            e_tag: Some(self.etag()),
            version_id: self.shown_version(),
            checksum_crc32: description.digest("crc32"),
            checksum_crc32c: description.digest("crc32c"),
            checksum_crc64nvme: description.digest("crc64nvme"),
            checksum_sha1: description.digest("sha1"),
            checksum_sha256: description.digest("sha256"),
            ..Default::default()
        }
    }

    /// The answer without its body. Digests are of the whole object, so the answer to a range has none.
    pub(super) fn get_output(&self, range: Option<Range<u64>>) -> GetObjectOutput {
        let description = &self.description;
        let digest = |algorithm| description.digest(algorithm).filter(|_| range.is_none());
        let part = range.clone().unwrap_or(0..self.size_bytes);
        GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed(part.end - part.start)),
            content_range: range
                .as_ref()
                .map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, self.size_bytes)),
            e_tag: Some(self.etag()),
            last_modified: Some(self.modified()),
            version_id: self.shown_version(),
            metadata: description.metadata.clone(),
            content_type: Some(self.content_type()),
            content_disposition: description.content_disposition.clone(),
            content_encoding: description.content_encoding.clone(),
            content_language: description.content_language.clone(),
            cache_control: description.cache_control.clone(),
            checksum_crc32: digest("crc32"),
            checksum_crc32c: digest("crc32c"),
            checksum_crc64nvme: digest("crc64nvme"),
            checksum_sha1: digest("sha1"),
            checksum_sha256: digest("sha256"),
            // Every digest here is one of the whole object.
            checksum_type: (range.is_none() && !description.digests.is_empty())
                .then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            ..Default::default()
        }
    }

    pub(super) fn head_output(&self) -> HeadObjectOutput {
        let whole = self.get_output(None);
        HeadObjectOutput {
            accept_ranges: whole.accept_ranges,
            content_length: whole.content_length,
            e_tag: whole.e_tag,
            last_modified: whole.last_modified,
            version_id: whole.version_id,
            metadata: whole.metadata,
            content_type: whole.content_type,
            content_disposition: whole.content_disposition,
            content_encoding: whole.content_encoding,
            content_language: whole.content_language,
            cache_control: whole.cache_control,
            checksum_crc32: whole.checksum_crc32,
            checksum_crc32c: whole.checksum_crc32c,
            checksum_crc64nvme: whole.checksum_crc64nvme,
            checksum_sha1: whole.checksum_sha1,
            checksum_sha256: whole.checksum_sha256,
            checksum_type: whole.checksum_type,
            ..Default::default()
        }
    }

    fn content_type(&self) -> String {
        self.description.content_type.clone().unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned())
    }
}

/// Replaces headers of the upload with the `response-…` parameters of the request.
pub(super) fn override_headers(output: &mut GetObjectOutput, input: GetObjectInput) {
    fn put(header: &mut Option<String>, wish: Option<String>) {
        if wish.is_some() {
            *header = wish;
        }
    }
    put(&mut output.content_type, input.response_content_type);
    put(&mut output.content_disposition, input.response_content_disposition);
    put(&mut output.content_encoding, input.response_content_encoding);
    put(&mut output.content_language, input.response_content_language);
    put(&mut output.cache_control, input.response_cache_control);
    output.expires = input.response_expires;
}

/// A length in the integer type of the protocol.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Seconds since 1970, now.
pub(super) fn now_s() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    signed(since_1970.as_secs())
}

/// Seconds since 1970 as a time of the protocol.
pub(super) fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}
