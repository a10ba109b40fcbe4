//! Reasons why a use case was not carried out.

use tidegate_core::acknowledged::Acknowledged;
use tidegate_core::campaign::Circle;
use tidegate_core::lifecycle::TransitionError;
use tidegate_core::update::File;
use tidegate_core::{DeviceId, ProductId, State, Version};
use tidegate_store::StoreError;
use tidegate_store::store::Cause;
use tidegate_wire::{ApiError, ErrorCode};

/// Reason why a use case was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The product does not exist.
    #[error("the product {0} has no update yet")]
    UnknownProduct(ProductId),
    /// The product has no update of this version.
    #[error("{product} has no update {version}")]
    UnknownUpdate {
        /// The product.
        product: ProductId,
        /// The version.
        version: Version,
    },
    /// The device has never checked in.
    #[error("the device {0} has never checked in")]
    UnknownDevice(DeviceId),
    /// The version exists with other content.
    #[error("{product} already has an update {version} with other content; give the new one a new version")]
    VersionExists {
        /// The product.
        product: ProductId,
        /// The version.
        version: Version,
    },
    /// The version belonged to an update that was published and deleted.
    #[error("{product} had an update {version}, which was published and deleted; give the new one a new version")]
    VersionDeleted {
        /// The product.
        product: ProductId,
        /// The version.
        version: Version,
    },
    /// Devices or other updates still have to do with the update.
    #[error("{version} cannot be deleted: {why}")]
    UpdateInUse {
        /// The version.
        version: Version,
        /// The reason.
        why: String,
    },
    /// A large file is being read and compared.
    #[error(
        "the bytes of {name} are being read and compared, which takes some seconds for a gigabyte; repeat this then"
    )]
    Verifying {
        /// The name of the file.
        name: String,
    },
    /// The bytes of a file have not been uploaded.
    #[error("the bytes of {name} have not been uploaded; repeat the create to get its upload URL")]
    ImageMissing {
        /// The name of the file.
        name: String,
    },
    /// The uploaded bytes of a file are not the announced ones.
    #[error(
        "the bytes of {} must be {} bytes with SHA-256 {}; stored are {size_bytes} with {sha256}",
        announced.name, announced.size_bytes, announced.sha256
    )]
    ImageMismatch {
        /// The file as it was announced.
        announced: Box<File>,
        /// The SHA-256 of the stored bytes.
        sha256: String,
        /// The length of the stored bytes.
        size_bytes: u64,
    },
    /// A definition, or a part of it, cannot be used.
    #[error("{message}")]
    BadDefinition {
        /// The code on the wire.
        code: ErrorCode,
        /// The wrong value and the expected one.
        message: String,
    },
    /// A stored update cannot be understood.
    #[error("the stored update {version} cannot be read: {why}")]
    UnreadableUpdate {
        /// The version.
        version: Version,
        /// The cause.
        #[source]
        why: Cause,
    },
    /// The token was revoked, or is of a kind that the product does not accept.
    #[error("the token is not accepted any more")]
    TokenRefused,
    /// The product does not let devices register themselves, or the device is known already.
    #[error("this device may not register itself: its product does not allow it, or the device is known already")]
    RegistrationClosed,
    /// The credentials that would sign a URL end too soon; new ones are minutes away.
    #[error("the credentials that sign URLs are about to end")]
    CredentialsEnding,
    /// Other requests write the same records, the rollout was stopped a moment ago, or the request took too long.
    #[error("the service is busy for a moment")]
    Busy,
    /// Another change of the update is under way, and it is at least as strong.
    #[error("{what} of {version} is under way; repeat this when it is done")]
    ChangeUnderWay {
        /// The version.
        version: Version,
        /// The change that is under way.
        what: String,
    },
    /// A stronger change replaced this one before it was done. Nothing of it is in force.
    #[error("another change of {0} replaced this one; look at its state")]
    Replaced(Version),
    /// More happened to a held update than the operator has seen.
    #[error("more happened to {version} than was acknowledged: {present}; look at it, and acknowledge these numbers")]
    EvidenceMoved {
        /// The version.
        version: Version,
        /// The present numbers.
        present: Acknowledged,
    },
    /// The campaign would send devices round in a circle.
    #[error("{version} cannot be opened: {circle}")]
    Circle {
        /// The version that it offers.
        version: Version,
        /// The other campaign.
        #[source]
        circle: Box<Circle>,
    },
    /// The update has a campaign, or was never published.
    #[error("cannot begin another campaign of an update that is {0}; it must be completed, aborted or withdrawn{hint}",
        hint = if *_0 == State::Scheduled { "; this one can be activated or aborted" } else { "" })]
    NotReopenable(State),
    /// The update is published.
    #[error("cannot delete an update that is {0}; it must be draft or withdrawn")]
    NotDeletable(State),
    /// The whole product is stopped, so no update of it can be opened.
    #[error("the product {0} is stopped; resume it first")]
    ProductStopped(ProductId),
    /// The state of the update does not allow the change.
    #[error(transparent)]
    WrongState(#[from] TransitionError),
    /// The update is over: its rollout cannot be edited.
    #[error("cannot edit an update that is {0}; it must be draft, scheduled, active, paused or held")]
    NotEditable(State),
    /// The update is not active, so no phase of it can begin.
    #[error("cannot begin a phase of an update that is {0}; it must be active")]
    NotAdvanceable(State),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Result of a use case.
pub type Done<T> = Result<T, EngineError>;

impl From<ApiError> for EngineError {
    /// An error of a definition keeps its code and its message for the caller.
    fn from(error: ApiError) -> Self {
        Self::BadDefinition { code: error.code, message: error.message }
    }
}
