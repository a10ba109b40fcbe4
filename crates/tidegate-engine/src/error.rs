//! Reasons why a use case was not carried out.

use tidegate_core::ProductId;
use tidegate_core::lifecycle::TransitionError;
use tidegate_store::StoreError;

/// Reason why a use case was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The product does not exist.
    #[error("the product {0} has no update yet")]
    UnknownProduct(ProductId),
    /// The token was revoked, or is of a kind that the product does not accept.
    #[error("the token is not accepted any more")]
    TokenRefused,
    /// The product does not let devices register themselves.
    #[error("this product does not let devices register themselves")]
    RegistrationClosed,
    /// The credentials that would sign a URL end too soon; new ones are minutes away.
    #[error("the credentials that sign URLs are about to end")]
    CredentialsEnding,
    /// The state of the update does not allow the change.
    #[error(transparent)]
    WrongState(#[from] TransitionError),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Result of a use case.
pub type Done<T> = Result<T, EngineError>;
