//! Tokens of devices and products.

use serde::{Deserialize, Serialize};

/// A token. The service shows it and does not store it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Token {
    /// The token.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::TokenText))]
    pub token: String,
}

/// All tokens of a device, or all shared tokens of a product, are revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Revoked {
    /// Always true.
    pub revoked: bool,
    /// False if nothing is known of the device: it has never checked in, and no token was issued to it. Its id may be a
    /// mistake. Always true for a product.
    pub was_known: bool,
}
