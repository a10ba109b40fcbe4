//! Verification of large images: it reads the bytes of one image, and stores what they are.

use jiff::SignedDuration;
use serde::Serialize;
use tidegate_core::Timestamp;
use tidegate_store::Images;
use tidegate_store::images::Read;
use tidegate_store::store::Stored;
use tidegate_store::verification::{Verification, VerifyStore};

/// Time after which another function takes an image that one began to read: the longest time that Lambda gives to a call.
const LONGEST_READ: SignedDuration = SignedDuration::from_secs(900);

/// Result of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Images that were read.
    pub read: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// The verify service.
#[derive(Debug)]
pub struct VerifyService<S> {
    store: S,
    images: Images,
}

impl<S: VerifyStore> VerifyService<S> {
    /// A service over a store and an image bucket.
    #[must_use]
    pub fn new(store: S, images: Images) -> Self {
        Self { store, images }
    }

    /// Reads the first image that is wanted and that no other function reads.
    ///
    /// # Errors
    /// When the store or S3 cannot be reached. The image is read when it is asked for again.
    pub async fn verify_one(&self, now: Timestamp) -> Stored<Verified> {
        let until = now.saturating_add(LONGEST_READ).unwrap_or(Timestamp::MAX);
        for wanted in self.store.wanted_verifications().await? {
            if !self.store.take_verification(&wanted, now, until).await? {
                continue;
            }
            let read = match self.images.read_whole(&wanted.product, &wanted.sha256).await {
                Ok(read) => read,
                Err(error) => {
                    // The next activation asks for it again.
                    self.store.end_verification(&wanted, None).await?;
                    return Err(error);
                }
            };
            let result = read.map(|Read { object, sha256, size_bytes }| Verification { object, sha256, size_bytes });
            self.store.end_verification(&wanted, result.as_ref()).await?;
            let bytes = result.as_ref().map_or(0, |result| result.size_bytes);
            let is_same = result.is_some_and(|result| result.sha256 == wanted.sha256);
            tracing::info!(product = %wanted.product, sha256 = wanted.sha256, bytes, is_same, "image_verified");
            return Ok(Verified { read: 1, bytes });
        }
        Ok(Verified::default())
    }
}
