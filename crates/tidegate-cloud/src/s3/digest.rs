//! Digests that an upload declares, compared with the bytes that arrived.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::dto::Checksum;
use s3s::{S3Result, s3_error};

use super::upload::Upload;

/// Base64 digests by the name of their algorithm, as in `x-amz-checksum-<name>`.
pub(super) type Digests = BTreeMap<String, String>;

const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

/// S3's limit of one upload: 5 GiB.
const MAX_OBJECT_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// Length and digests that an upload declares.
#[derive(Debug)]
pub(super) struct Declared {
    length_bytes: Option<u64>,
    md5: Option<String>,
    digests: Digests,
    /// The algorithms of digests that follow the bytes.
    promised: Vec<&'static str>,
}

impl Declared {
    /// Reads the headers of an upload.
    pub(super) fn in_headers(headers: &HeaderMap) -> S3Result<Declared> {
        // In the aws-chunked encoding, Content-Length includes the signatures of the chunks.
        let length = text(headers, "x-amz-decoded-content-length").or_else(|| text(headers, "content-length"));
        let length_bytes = length.and_then(|length| length.parse().ok());
        if length_bytes.is_some_and(|length| length > MAX_OBJECT_BYTES) {
            return Err(s3_error!(EntityTooLarge));
        }
        let promises = [text(headers, "x-amz-trailer"), text(headers, "x-amz-sdk-checksum-algorithm")];
        let promises = promises.into_iter().flatten().collect::<Vec<_>>().join(",").to_ascii_lowercase();
        let promised = |algorithm: &&str| {
            promises.split(',').any(|promise| promise.trim().trim_start_matches("x-amz-checksum-") == *algorithm)
        };
        Ok(Declared {
            length_bytes,
            md5: text(headers, "content-md5").map(str::to_owned),
            digests: digests_in(headers),
            promised: ALGORITHMS.into_iter().filter(promised).collect(),
        })
    }

    /// A hasher of every digest that the headers hold or announce.
    pub(super) fn hasher(&self) -> ChecksumHasher {
        let wanted = |algorithm| self.digests.contains_key(algorithm) || self.promised.contains(&algorithm);
        ChecksumHasher {
            crc32: wanted("crc32").then(Default::default),
            crc32c: wanted("crc32c").then(Default::default),
            crc64nvme: wanted("crc64nvme").then(Default::default),
            sha1: wanted("sha1").then(Default::default),
            sha256: wanted("sha256").then(Default::default),
        }
    }

    /// Adds the digests that followed the bytes.
    pub(super) fn add_trailers(&mut self, trailers: &HeaderMap) {
        self.digests.extend(digests_in(trailers));
    }

    /// Refuses more bytes than declared, or than [`MAX_OBJECT_BYTES`] if no length was declared.
    pub(super) fn allows(&self, size_bytes: u64) -> S3Result<()> {
        let limit = self.length_bytes.unwrap_or(MAX_OBJECT_BYTES);
        if size_bytes <= limit { Ok(()) } else { Err(s3_error!(EntityTooLarge)) }
    }

    /// Compares every declared value with the bytes that arrived.
    pub(super) fn verify(&self, upload: &Upload) -> S3Result<()> {
        if self.length_bytes.is_some_and(|length| length != upload.size_bytes) {
            return Err(s3_error!(IncompleteBody, "the body is not as long as its headers say"));
        }
        if self.md5.as_ref().is_some_and(|md5| *md5 != upload.md5_base64()) {
            return Err(s3_error!(BadDigest, "the Content-MD5 you specified did not match what we received"));
        }
        for (algorithm, computed) in &upload.digests {
            match self.digests.get(algorithm) {
                Some(declared) if declared == computed => {}
                Some(_) => {
                    return Err(s3_error!(BadDigest, "the {algorithm} you specified did not match what we received"));
                }
                None => {
                    return Err(s3_error!(InvalidRequest, "a {algorithm} checksum was announced and did not come"));
                }
            }
        }
        Ok(())
    }
}

/// The computed digests, by name.
pub(super) fn named(computed: Checksum) -> Digests {
    let all = [
        ("crc32", computed.checksum_crc32),
        ("crc32c", computed.checksum_crc32c),
        ("crc64nvme", computed.checksum_crc64nvme),
        ("sha1", computed.checksum_sha1),
        ("sha256", computed.checksum_sha256),
    ];
    all.into_iter().filter_map(|(name, digest)| Some((name.to_owned(), digest?))).collect()
}

fn digests_in(headers: &HeaderMap) -> Digests {
    let digest = |name: &str| Some((name.to_owned(), text(headers, &format!("x-amz-checksum-{name}"))?.to_owned()));
    ALGORITHMS.into_iter().filter_map(digest).collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
