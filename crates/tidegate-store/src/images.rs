//! The bytes of updates, in S3, under their SHA-256.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::presigning::PresigningConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tidegate_core::claim::SHORTEST_URL_S;
use tidegate_core::update::{File, StoredObject};
use tidegate_core::{Claim, ProductId, Timestamp};

use crate::store::{StoreError, Stored};

/// How long a URL for a device is good. Agents start their download at once, and one that resumes
/// later asks again; a URL that leaks is worth little.
pub const URL_TTL_S: i64 = 900;
/// How long a URL for an upload is good.
pub const UPLOAD_TTL_S: u64 = 3600;

/// The image bucket.
#[derive(Debug, Clone)]
pub struct Images {
    client: Client,
    credentials: SharedCredentialsProvider,
    bucket: String,
}

/// A signed request for a client.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The URL.
    pub url: String,
    /// Headers that must be sent exactly so.
    pub headers: Vec<(String, String)>,
}

/// What reading an image back showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// The bytes are the announced ones.
    Same {
        /// What else was learnt of them.
        object: StoredObject,
    },
    /// There are no bytes.
    Missing,
    /// They are others.
    Different {
        /// Their SHA-256.
        sha256: String,
        /// Their length.
        size_bytes: u64,
    },
}

impl Images {
    /// Images in `bucket`. The credentials are the client's own: no URL outlives them.
    #[must_use]
    pub fn new(client: Client, credentials: SharedCredentialsProvider, bucket: &str) -> Self {
        Self { client, credentials, bucket: bucket.to_string() }
    }

    /// Until when a URL may be good that is signed at `now` for `claim`: never past what the claim
    /// allows, nor past the credentials that sign it. `None` when that leaves too little.
    ///
    /// # Errors
    /// When there are no credentials.
    pub async fn url_ends(&self, now: Timestamp, claim: &Claim) -> Stored<Option<Timestamp>> {
        let credentials = self.credentials.provide_credentials().await.map_err(|error| failed(&error))?;
        let credentials_end = credentials.expiry().and_then(|at| Timestamp::try_from(at).ok());
        let ends = [
            Some(now.as_second().saturating_add(URL_TTL_S)),
            Some(claim.urls_end_at().as_second()),
            credentials_end.map(Timestamp::as_second),
        ];
        let end = ends.into_iter().flatten().min().unwrap_or(0);
        let is_worth_it = end.saturating_sub(now.as_second()) >= SHORTEST_URL_S;
        Ok(Timestamp::from_second(end).ok().filter(|_| is_worth_it))
    }

    /// A URL from which a device can fetch a file until `ends`, and nothing else.
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
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key(product, &file.sha256))
            .set_version_id(file.object.version.clone());
        let signed = request.presigned(signing(now, ends)?).await;
        let signed = signed.map_err(|error| failed(&DisplayErrorContext(error)))?;
        Ok(signed.uri().to_string())
    }

    /// A URL from which a device can learn a file's length until `ends`: one that is good for `GET` is
    /// good for nothing else.
    ///
    /// # Errors
    /// When signing fails.
    pub async fn sign_head(&self, product: &ProductId, file: &File, now: Timestamp, ends: Timestamp) -> Stored<String> {
        let request = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key(product, &file.sha256))
            .set_version_id(file.object.version.clone());
        let signed = request.presigned(signing(now, ends)?).await;
        let signed = signed.map_err(|error| failed(&DisplayErrorContext(error)))?;
        Ok(signed.uri().to_string())
    }

    /// A part of a file, from its first to its last byte, for clients that follow no address.
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
        let object = request.send().await.map_err(|error| failed(&DisplayErrorContext(error)))?;
        let read = object.body.collect().await.map_err(|error| failed(&error))?;
        Ok(read.to_vec())
    }

    /// A request with which an operator can upload these very bytes, and no others.
    ///
    /// # Errors
    /// When signing fails.
    pub async fn sign_upload(&self, product: &ProductId, file: &File, now: Timestamp) -> Stored<Signed> {
        let signing = PresigningConfig::builder()
            .start_time(SystemTime::from(now))
            .expires_in(Duration::from_secs(UPLOAD_TTL_S))
            .build()
            .map_err(|error| failed(&error))?;
        let digest = hex::decode(&file.sha256).map_err(|error| failed(&error))?;
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key(product, &file.sha256))
            .content_length(i64::try_from(file.size_bytes).unwrap_or(i64::MAX))
            .checksum_sha256(STANDARD.encode(digest));
        let signed = request.presigned(signing).await.map_err(|error| failed(&DisplayErrorContext(error)))?;
        // Inside a Lambda the SDK adds a trace id, which is not signed and means nothing to an operator.
        let headers = signed
            .headers()
            .filter(|(name, _)| *name != "x-amzn-trace-id")
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        Ok(Signed { url: signed.uri().to_string(), headers })
    }

    /// Whether bytes have been uploaded under a file's SHA-256, without reading them.
    ///
    /// # Errors
    /// When S3 cannot be reached.
    pub async fn exists(&self, product: &ProductId, file: &File) -> Stored<bool> {
        let head = self.client.head_object().bucket(&self.bucket).key(key(product, &file.sha256)).send().await;
        match head {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => Ok(false),
            Err(error) => Err(failed(&DisplayErrorContext(error))),
        }
    }

    /// Reads the bytes back and hashes them. What is stored under a digest is believed only then.
    ///
    /// # Errors
    /// When S3 cannot be reached.
    pub async fn verify(&self, product: &ProductId, file: &File) -> Stored<Verified> {
        let read = self.client.get_object().bucket(&self.bucket).key(key(product, &file.sha256)).send().await;
        let mut object = match read {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
                return Ok(Verified::Missing);
            }
            Err(error) => return Err(failed(&DisplayErrorContext(error))),
        };
        let (mut hash, mut sha1, mut md5, mut size_bytes) = (Sha256::new(), Sha1::new(), Md5::new(), 0_u64);
        while let Some(chunk) = object.body.try_next().await.map_err(|error| failed(&error))? {
            hash.update(&chunk);
            sha1.update(&chunk);
            md5.update(&chunk);
            size_bytes = size_bytes.saturating_add(chunk.len() as u64);
        }
        let sha256 = hex::encode(hash.finalize());
        Ok(match sha256 == file.sha256 && size_bytes == file.size_bytes {
            true => Verified::Same {
                object: StoredObject {
                    version: object.version_id,
                    sha1: Some(hex::encode(sha1.finalize())),
                    md5: Some(hex::encode(md5.finalize())),
                },
            },
            false => Verified::Different { sha256, size_bytes },
        })
    }
}

fn signing(now: Timestamp, ends: Timestamp) -> Stored<PresigningConfig> {
    let good_for = u64::try_from(ends.as_second().saturating_sub(now.as_second())).unwrap_or(0);
    let signing =
        PresigningConfig::builder().start_time(SystemTime::from(now)).expires_in(Duration::from_secs(good_for));
    signing.build().map_err(|error| failed(&error))
}

/// Under the product, because a digest alone must not give one product another's bytes.
fn key(product: &ProductId, sha256: &str) -> String {
    format!("images/{product}/{sha256}")
}

fn failed(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
