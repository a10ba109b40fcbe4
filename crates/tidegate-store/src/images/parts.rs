//! Uploads of large images in parts. S3 knows which parts are there, so an upload that was interrupted goes on where it
//! stopped, and nothing about it is stored elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tidegate_core::update::File;
use tidegate_core::{ProductId, Timestamp};

use super::{Images, Signed, UPLOAD_TTL_S, key, without_trace};
use crate::store::{StoreError, Stored};

/// Largest file that S3 takes in one request, in bytes. A larger one is uploaded in parts.
pub const LARGEST_PUT_BYTES: u64 = 5 << 30;
/// Least size of a part, in bytes. What is sent of a part when the connection breaks is sent again.
const LEAST_PART_BYTES: u64 = 16 << 20;
/// Most parts of an upload, as S3 has it.
const MOST_PARTS: u64 = 10_000;
/// Most parts that are signed at a time: half a gigabyte or more, for which the URLs last.
const SIGNED_AT_A_TIME: usize = 32;

/// A part of a file that is to be uploaded.
#[derive(Debug, Clone)]
pub struct PartUpload {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// The request that uploads it.
    pub signed: Signed,
}

/// State of an upload in parts.
#[derive(Debug, Clone)]
pub enum PartsLeft {
    /// All bytes are stored.
    None,
    /// Some are missing.
    Some {
        /// Bytes that are stored.
        stored_bytes: u64,
        /// The first of the missing parts.
        parts: Vec<PartUpload>,
    },
}

/// A part: its number, its first byte and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    number: i32,
    offset: u64,
    size_bytes: u64,
}

/// The parts of a file. They follow from its length, so that each continuation has the same.
fn parts(size_bytes: u64) -> impl Iterator<Item = Part> {
    let part_bytes = size_bytes.div_ceil(MOST_PARTS).next_multiple_of(1 << 20).max(LEAST_PART_BYTES);
    let offsets = (0..MOST_PARTS).map(move |index| index.saturating_mul(part_bytes));
    let offsets = offsets.take_while(move |offset| *offset < size_bytes);
    (1..).zip(offsets).map(move |(number, offset)| {
        let size_bytes = part_bytes.min(size_bytes.saturating_sub(offset));
        Part { number, offset, size_bytes }
    })
}

impl Images {
    /// Begins an upload in parts, or goes on with one. When all parts are there, they become one object.
    ///
    /// # Errors
    /// When S3 cannot be reached.
    pub async fn continue_upload(&self, product: &ProductId, file: &File, now: Timestamp) -> Stored<PartsLeft> {
        let key = key(product, &file.sha256);
        let upload = match self.begun_upload(&key).await? {
            Some(upload) => upload,
            None => self.begin_upload(&key).await?,
        };
        let stored = self.stored_parts(&key, &upload).await?;
        let is_stored = |part: &Part| stored.get(&part.number).is_some_and(|(_, size)| *size == part.size_bytes);
        let (there, missing): (Vec<_>, Vec<_>) = parts(file.size_bytes).partition(is_stored);
        if missing.is_empty() {
            let tags = there.iter().filter_map(|part| Some((part.number, stored.get(&part.number)?.0.clone())));
            return match self.complete_upload(&key, &upload, tags).await {
                // Another call has completed it.
                Err(_) if self.exists(product, file).await? => Ok(PartsLeft::None),
                completed => completed.map(|()| PartsLeft::None),
            };
        }
        let mut signed = Vec::with_capacity(SIGNED_AT_A_TIME);
        for part in missing.into_iter().take(SIGNED_AT_A_TIME) {
            signed.push(self.sign_part(&key, &upload, part, now).await?);
        }
        let stored_bytes = there.iter().fold(0_u64, |sum, part| sum.saturating_add(part.size_bytes));
        Ok(PartsLeft::Some { stored_bytes, parts: signed })
    }

    /// The first upload of an object that is not completed. Two that began at the same time agree on it.
    async fn begun_upload(&self, key: &str) -> Stored<Option<String>> {
        let listed = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(key).send().await;
        let listed = listed.map_err(StoreError::unavailable)?;
        let of_key = listed.uploads().iter().filter(|upload| upload.key() == Some(key));
        let first = of_key.min_by_key(|upload| (upload.initiated().map(|at| at.as_nanos()), upload.upload_id()));
        Ok(first.and_then(|upload| upload.upload_id()).map(str::to_string))
    }

    async fn begin_upload(&self, key: &str) -> Stored<String> {
        let begun = self.client.create_multipart_upload().bucket(&self.bucket).key(key).send().await;
        let begun = begun.map_err(StoreError::unavailable)?;
        begun.upload_id.ok_or_else(|| StoreError::Corrupt("S3 has begun an upload without an id".into()))
    }

    /// Entity tag and length of each stored part, by number.
    async fn stored_parts(&self, key: &str, upload: &str) -> Stored<BTreeMap<i32, (String, u64)>> {
        let (mut stored, mut marker) = (BTreeMap::new(), None);
        loop {
            let list = self.client.list_parts().bucket(&self.bucket).key(key).upload_id(upload);
            let page = list.set_part_number_marker(marker).send().await.map_err(StoreError::unavailable)?;
            stored.extend(page.parts().iter().filter_map(|part| {
                let size_bytes = u64::try_from(part.size()?).ok()?;
                Some((part.part_number()?, (part.e_tag()?.to_string(), size_bytes)))
            }));
            if page.is_truncated() != Some(true) {
                return Ok(stored);
            }
            marker = page.next_part_number_marker;
        }
    }

    async fn complete_upload(&self, key: &str, upload: &str, tags: impl Iterator<Item = (i32, String)>) -> Stored<()> {
        let parts = tags.map(|(number, tag)| CompletedPart::builder().part_number(number).e_tag(tag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete = self.client.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        complete.multipart_upload(parts).send().await.map_err(StoreError::unavailable).map(drop)
    }

    async fn sign_part(&self, key: &str, upload: &str, part: Part, now: Timestamp) -> Stored<PartUpload> {
        let signing = PresigningConfig::builder()
            .start_time(SystemTime::from(now))
            .expires_in(Duration::from_secs(UPLOAD_TTL_S))
            .build()
            .map_err(StoreError::unavailable)?;
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload)
            .part_number(part.number)
            .content_length(i64::try_from(part.size_bytes).unwrap_or(i64::MAX));
        let signed = request.presigned(signing).await.map_err(StoreError::unavailable)?;
        Ok(PartUpload { offset: part.offset, size_bytes: part.size_bytes, signed: without_trace(&signed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_file_are_its_bytes_in_order_and_never_more_than_s3_takes() {
        for size_bytes in [1, LEAST_PART_BYTES, LEAST_PART_BYTES + 1, 6 << 30, 32 << 30, 1 << 40] {
            let parts = parts(size_bytes).collect::<Vec<_>>();
            assert!(parts.len() <= 10_000, "{size_bytes}: {} parts", parts.len());
            let mut end = 0;
            for (number, part) in (1..).zip(&parts) {
                assert_eq!((part.number, part.offset), (number, end));
                assert!(part.size_bytes <= LARGEST_PUT_BYTES);
                end += part.size_bytes;
            }
            assert_eq!(end, size_bytes);
        }
        assert_eq!(parts(6 << 30).count(), 384);
    }
}
