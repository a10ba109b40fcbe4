//! Verification of large images: a function of its own reads them, because that takes longer than an operator's call.

use std::future::Future;

use tidegate_core::update::StoredObject;
use tidegate_core::{ProductId, Timestamp};

use crate::store::Stored;

/// An image whose bytes are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedVerification {
    /// The product it belongs to.
    pub product: ProductId,
    /// The SHA-256 that was announced.
    pub sha256: String,
}

/// Result of reading an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The object that was read, with its SHA-1 and MD5.
    pub object: StoredObject,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
}

/// Asks for the verification of images.
pub trait AskForVerification: Send + Sync + 'static {
    /// The last verification of an image.
    fn verification(
        &self,
        product: &ProductId,
        sha256: &str,
    ) -> impl Future<Output = Stored<Option<Verification>>> + Send;

    /// Asks for a verification, unless it is asked for already.
    fn ask_for_verification(&self, wanted: &WantedVerification) -> impl Future<Output = Stored<()>> + Send;

    /// Returns true if a verification is asked for and not done.
    fn is_verifying(&self, wanted: &WantedVerification) -> impl Future<Output = Stored<bool>> + Send;
}

/// The rights of `verify`.
pub trait VerifyStore: Send + Sync + 'static {
    /// The images that are to be read.
    fn wanted_verifications(&self) -> impl Future<Output = Stored<Vec<WantedVerification>>> + Send;

    /// Takes an image until `until`; `false` when another function has it, or it is read.
    fn take_verification(
        &self,
        wanted: &WantedVerification,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Stored<bool>> + Send;

    /// Stores the result of a verification, which is not wanted any more. `None`: there is no such image.
    fn end_verification(
        &self,
        wanted: &WantedVerification,
        result: Option<&Verification>,
    ) -> impl Future<Output = Stored<()>> + Send;
}
