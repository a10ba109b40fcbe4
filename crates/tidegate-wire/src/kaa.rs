//! The JSON of Kaa's configuration management protocol over HTTP. The fields of an answer stand in the order in
//! which endpoints have always received them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ioto::Empty;

/// An endpoint's question on `config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KaaConfigRequest {
    /// The version that the endpoint runs.
    #[serde(default)]
    pub config_id: Option<String>,
    /// Only means something over MQTT.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub observe: Option<bool>,
}

/// The answer on `config`: a configuration, or `{}` if nothing has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum KaaAnswer {
    /// A configuration.
    Config(KaaConfig),
    /// Nothing has changed.
    Unchanged(Empty),
}

/// A configuration that the endpoint is to apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KaaConfig {
    /// The update's specification, as it was published, with `link`, `checksum` (SHA-256) and `size` (bytes) if
    /// the update has a file.
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub config: Value,
    /// The update's version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub config_id: String,
    /// Always `ok`.
    pub reason_phrase: String,
    /// Always 200.
    pub status_code: u16,
}

/// An endpoint's statement on `applied`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KaaApplied {
    /// The version that it applied, or could not apply.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub config_id: String,
    /// The result as an HTTP status; 200, if it is missing.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(minimum = 100, maximum = 999))]
    pub status_code: Option<u16>,
    /// The result for a person.
    #[serde(default)]
    pub reason_phrase: Option<String>,
}

/// A result, also an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KaaStatus {
    /// The result for a person.
    pub reason_phrase: String,
    /// The result as an HTTP status.
    pub status_code: u16,
}
