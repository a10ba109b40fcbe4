//! The JSON of Ioto agents and updaters.

use serde::{Deserialize, Serialize};
use tidegate_core::{DeviceId, ProductId};

/// The answer to a check-in of an Ioto agent: exactly four flat fields, or none. Their parser is a string
/// search, so an answer is never more than this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum IotoAnswer {
    /// An update.
    Offer(IotoOffer),
    /// No update.
    Nothing(Empty),
}

/// An update for an Ioto agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct IotoOffer {
    /// The presigned URL of the file.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::SignedUrl))]
    pub url: String,
    /// The SHA-256 of the file.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Sha256))]
    pub checksum: String,
    /// The version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The update's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::UpdateId))]
    pub update: String,
}

/// `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// The report of an Ioto agent. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct IotoReport {
    /// Whether the update is installed. The shell client sends a text, the others a boolean.
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::boolean_or_word))]
    pub success: serde_json::Value,
    /// The device's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::DeviceId))]
    pub id: String,
    /// The update's id, as it was offered.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::UpdateId))]
    pub update: String,
}

/// A device that asks for its token. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RegistrationRequest {
    /// The device's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::DeviceId))]
    pub id: String,
    /// The product's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ProductId))]
    pub product: String,
}

/// The answer to a registration. The fields stand in the order in which agents have always received them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The address at which the agent reached the service, and at which it checks in.
    #[cfg_attr(feature = "schema", schema(format = "uri"))]
    pub api: String,
    /// Always `tidegate`.
    pub cloud_name: String,
    /// Always `dedicated`.
    pub cloud_type: String,
    /// The device's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::DeviceId))]
    pub id: DeviceId,
    /// The product's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ProductId))]
    pub product: ProductId,
    /// Always true.
    pub registered: bool,
    /// The device's token.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::TokenText))]
    pub token: String,
}
