//! The JSON of Exosite's OTAU, within the forms of its device API. The fields of an answer stand in the order in
//! which devices have always received them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::word::words;

/// The value of `config_otau`: what a device is to install.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExositeConfig {
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub description: Option<String>,
    /// The files. Exosite's schema has no digests; this field is ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ExositeFile>,
    /// A name for people.
    pub name: String,
    /// An id for `/provision/download`, a list of ids and URLs, or any JSON: as `type` says.
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub payload: Value,
    /// The kind of the payload.
    #[serde(rename = "type")]
    pub kind: ExositeKind,
    /// The version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
}

/// A file of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExositeFile {
    /// The id for `/provision/download`.
    pub id: String,
    /// The SHA-256 of the bytes.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Sha256))]
    pub sha256: String,
    /// The length in bytes.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileSize))]
    pub size: u64,
}

words! {
    /// The kind of a payload.
    ExositeKind {
        /// One file.
        File "FILE",
        /// Any JSON.
        Json "JSON",
        /// A list of ids and URLs.
        UrlList "URL_LIST",
    }
}

/// The value of `otau_in`: a status of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExositeStatus {
    /// The version that the status is about.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The status.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ReportStatus))]
    pub status: String,
    /// A text for people; the first 256 bytes are kept.
    #[serde(default)]
    pub message: Option<String>,
}
