//! Images: the files of updates in S3, each under its SHA-256.

pub mod parts;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tidegate_core::update::{File, StoredObject};
use tidegate_core::{ProductId, Timestamp};

use crate::cdn::Cdn;
use crate::store::{StoreError, Stored};

/// Life of a download URL. An agent starts its download at once, and asks again to resume later. A URL that
/// leaks is useful for a short time only.
pub const URL_TTL_S: i64 = 900;
/// Shortest validity of a URL that is useful to a device, in seconds.
const SHORTEST_URL_S: i64 = 60;
/// Life of an upload URL.
pub const UPLOAD_TTL_S: u64 = 3600;
/// Largest file that an activation itself reads, in bytes: as much as it surely reads within the 29 seconds that API Gateway
/// waits. A function of its own reads a larger one.
pub const LARGEST_READ_AT_ONCE: u64 = 1 << 30;

/// The image bucket.
#[derive(Debug, Clone)]
pub struct Images {
    client: Client,
    credentials: SharedCredentialsProvider,
    bucket: String,
    cdn: Option<Arc<Cdn>>,
    largest_read_at_once: u64,
}

/// A signed request for a client.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The URL.
    pub url: String,
    /// Headers that the request must have, unchanged.
    pub headers: Vec<(String, String)>,
}

/// Result of checking an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// The stored bytes are the announced ones.
    Same {
        /// Version of the object, and its SHA-1 and MD5 if its bytes were read.
        object: StoredObject,
    },
    /// The bytes are too many to be read at once. S3 does not contradict.
    Unread {
        /// Version of the object.
        version: Option<String>,
    },
    /// No bytes are stored.
    Missing,
    /// The stored bytes are different.
    Different {
        /// Their SHA-256.
        sha256: String,
        /// Their length.
        size_bytes: u64,
    },
}

impl Images {
    /// Images in `bucket`. `credentials` are those of `client`: no URL lasts longer than they do.
    #[must_use]
    pub fn new(client: Client, credentials: SharedCredentialsProvider, bucket: &str) -> Self {
        Self { client, credentials, bucket: bucket.to_string(), cdn: None, largest_read_at_once: LARGEST_READ_AT_ONCE }
    }

    /// The same images, of which only files up to this size are read at once.
    #[must_use]
    pub fn reading_at_once(self, largest: u64) -> Self {
        Self { largest_read_at_once: largest, ..self }
    }

    /// Returns true if a file is read by a function of its own.
    #[must_use]
    pub fn is_large(&self, file: &File) -> bool {
        file.size_bytes > self.largest_read_at_once
    }

    /// The same images, downloaded through a CDN.
    #[must_use]
    pub fn behind(self, cdn: Cdn) -> Self {
        Self { cdn: Some(Arc::new(cdn)), ..self }
    }

    /// End of a URL that is signed at `now`: not after the end of the credentials. `None` if the remaining time is too
    /// short.
    ///
    /// # Errors
    /// When there are no credentials.
    pub async fn url_ends(&self, now: Timestamp) -> Stored<Option<Timestamp>> {
        let credentials_end = match &self.cdn {
            // The CDN's own key signs its URLs.
            Some(_) => None,
            None => {
                let credentials = self.credentials.provide_credentials().await.map_err(StoreError::unavailable)?;
                credentials.expiry().and_then(|at| Timestamp::try_from(at).ok())
            }
        };
        let ends = [Some(now.as_second().saturating_add(URL_TTL_S)), credentials_end.map(Timestamp::as_second)];
        let end = ends.into_iter().flatten().min().unwrap_or(0);
        let is_worth_it = end.saturating_sub(now.as_second()) >= SHORTEST_URL_S;
        Ok(Timestamp::from_second(end).ok().filter(|_| is_worth_it))
    }

    /// A URL for the download (`GET`) of one file until `ends`.
    ///
    /// # Errors
    /// When signing fails.
    pub async fn sign_download(
        &self,
        product: &ProductId,
        file: &File,
        now: Timestamp,
        ends: Timestamp,
    ) -> Stored<String> {
        if let Some(cdn) = &self.cdn {
            let signed = cdn.sign(&key(product, &file.sha256), file.object.version.as_deref(), ends);
            return signed.map_err(StoreError::unavailable);
        }
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key(product, &file.sha256))
            .set_version_id(file.object.version.clone());
        let signed = request.presigned(signing(now, ends)?).await;
        let signed = signed.map_err(StoreError::unavailable)?;
        Ok(signed.uri().to_string())
    }

    /// A URL for a `HEAD` request, which gives the length of a file, until `ends`. A URL of S3 that is signed for
    /// `GET` allows nothing else.
    ///
    /// # Errors
    /// When signing fails.
    pub async fn sign_head(&self, product: &ProductId, file: &File, now: Timestamp, ends: Timestamp) -> Stored<String> {
        if self.cdn.is_some() {
            return self.sign_download(product, file, now, ends).await;
        }
        let request = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key(product, &file.sha256))
            .set_version_id(file.object.version.clone());
        let signed = request.presigned(signing(now, ends)?).await;
        let signed = signed.map_err(StoreError::unavailable)?;
        Ok(signed.uri().to_string())
    }

    /// A range of a file's bytes, for clients that cannot follow a URL.
    ///
    /// # Errors
    /// When S3 cannot be reached, or does not have the bytes.
    pub async fn read(&self, product: &ProductId, file: &File, bytes: RangeInclusive<u64>) -> Stored<Vec<u8>> {
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key(product, &file.sha256))
            .range(format!("bytes={}-{}", bytes.start(), bytes.end()))
            .set_version_id(file.object.version.clone());
        let object = request.send().await.map_err(StoreError::unavailable)?;
        let read = object.body.collect().await.map_err(StoreError::unavailable)?;
        Ok(read.to_vec())
    }

    /// A request with which an operator can upload exactly these bytes.
    ///
    /// # Errors
    /// When signing fails.
    pub async fn sign_upload(&self, product: &ProductId, file: &File, now: Timestamp) -> Stored<Signed> {
        let signing = PresigningConfig::builder()
            .start_time(SystemTime::from(now))
            .expires_in(Duration::from_secs(UPLOAD_TTL_S))
            .build()
            .map_err(StoreError::unavailable)?;
        let digest = hex::decode(&file.sha256).map_err(StoreError::unavailable)?;
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key(product, &file.sha256))
            .content_length(i64::try_from(file.size_bytes).unwrap_or(i64::MAX))
            .checksum_sha256(STANDARD.encode(digest));
        let signed = request.presigned(signing).await.map_err(StoreError::unavailable)?;
        Ok(without_trace(&signed))
    }

    /// `true` if an object with the file's SHA-256 as its key exists. The bytes are not read.
    ///
    /// # Errors
    /// When S3 cannot be reached.
    pub async fn exists(&self, product: &ProductId, file: &File) -> Stored<bool> {
        let head = self.client.head_object().bucket(&self.bucket).key(key(product, &file.sha256)).send().await;
        match head {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => Ok(false),
            Err(error) => Err(StoreError::unavailable(error)),
        }
    }

    /// Hides an image whose bytes are other ones, so that it can be uploaded again. Its version stays, and a URL that names
    /// it too.
    ///
    /// # Errors
    /// When S3 cannot be reached.
    pub async fn hide(&self, product: &ProductId, file: &File) -> Stored<()> {
        let hidden = self.client.delete_object().bucket(&self.bucket).key(key(product, &file.sha256)).send().await;
        hidden.map_err(StoreError::unavailable).map(drop)
    }

    /// Checks that the stored bytes are the announced ones. Before that, the key of an object is only the uploader's claim.
    ///
    /// Only reading gives SHA-1 and MD5, which clients of hawkBit need, and of an upload in parts S3 itself knows only digests
    /// of the parts. So the bytes are read; a large file is read elsewhere, unless S3 says already that it is another one.
    ///
    /// # Errors
    /// When S3 cannot be reached.
    pub async fn verify(&self, product: &ProductId, file: &File) -> Stored<Verified> {
        if self.is_large(file) {
            return self.as_s3_says(product, file).await;
        }
        Ok(match self.read_whole(product, &file.sha256).await? {
            None => Verified::Missing,
            Some(read) => read.compared(file),
        })
    }

    /// Result of the checks that S3 itself has made of an object.
    async fn as_s3_says(&self, product: &ProductId, file: &File) -> Stored<Verified> {
        let head = self.client.head_object().bucket(&self.bucket).key(key(product, &file.sha256));
        let head = match head.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(head) => head,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                return Ok(Verified::Missing);
            }
            Err(error) => return Err(StoreError::unavailable(error)),
        };
        // The digest of an upload in parts is one of the digests of its parts.
        let is_of_the_whole = head.checksum_type() == Some(&ChecksumType::FullObject);
        let digest = head.checksum_sha256().filter(|_| is_of_the_whole).and_then(|text| STANDARD.decode(text).ok());
        let sha256 = digest.map_or_else(|| file.sha256.clone(), hex::encode);
        let size_bytes = head.content_length().and_then(|length| length.try_into().ok()).unwrap_or(0);
        Ok(match sha256 == file.sha256 && size_bytes == file.size_bytes {
            true => Verified::Unread { version: head.version_id },
            false => Verified::Different { sha256, size_bytes },
        })
    }

    /// Reads all bytes of an image, and what they are; `None` if there is none.
    ///
    /// # Errors
    /// When S3 cannot be reached.
    pub async fn read_whole(&self, product: &ProductId, sha256: &str) -> Stored<Option<Read>> {
        let read = self.client.get_object().bucket(&self.bucket).key(key(product, sha256)).send().await;
        let mut object = match read {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => return Ok(None),
            Err(error) => return Err(StoreError::unavailable(error)),
        };
        let (mut hash, mut sha1, mut md5, mut size_bytes) = (Sha256::new(), Sha1::new(), Md5::new(), 0_u64);
        while let Some(chunk) = object.body.try_next().await.map_err(StoreError::unavailable)? {
            hash.update(&chunk);
            sha1.update(&chunk);
            md5.update(&chunk);
            size_bytes = size_bytes.saturating_add(chunk.len() as u64);
        }
        let (sha1, md5) = (Some(hex::encode(sha1.finalize())), Some(hex::encode(md5.finalize())));
        let object = StoredObject { version: object.version_id, sha1, md5 };
        Ok(Some(Read { object, sha256: hex::encode(hash.finalize()), size_bytes }))
    }
}

/// An image that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The object with its SHA-1 and MD5.
    pub object: StoredObject,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
}

impl Read {
    /// Result of comparing it with what was announced.
    #[must_use]
    pub fn compared(self, file: &File) -> Verified {
        let Self { object, sha256, size_bytes } = self;
        match sha256 == file.sha256 && size_bytes == file.size_bytes {
            true => Verified::Same { object },
            false => Verified::Different { sha256, size_bytes },
        }
    }
}

/// In Lambda the SDK adds a trace id. It is not signed, and an operator does not need it.
fn without_trace(signed: &PresignedRequest) -> Signed {
    let headers = signed.headers().filter(|(name, _)| *name != "x-amzn-trace-id");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Signed { url: signed.uri().to_string(), headers }
}

fn signing(now: Timestamp, ends: Timestamp) -> Stored<PresigningConfig> {
    let good_for = u64::try_from(ends.as_second().saturating_sub(now.as_second())).unwrap_or(0);
    let signing =
        PresigningConfig::builder().start_time(SystemTime::from(now)).expires_in(Duration::from_secs(good_for));
    signing.build().map_err(StoreError::unavailable)
}

/// The product is in the key, because a digest alone must not give one product another's bytes.
fn key(product: &ProductId, sha256: &str) -> String {
    format!("{}{sha256}", prefix(product))
}

/// The beginning of the keys of a product's images. The SHA-256 follows.
pub(crate) fn prefix(product: &ProductId) -> String {
    format!("images/{product}/")
}
