//! The JSON of hawkBit's Direct Device Integration. The fields of an answer stand in the order in which
//! controllers have always received them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::word::words;

/// A link on the host by which the controller reached the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitLink {
    /// The address.
    #[cfg_attr(feature = "schema", schema(format = "uri"))]
    pub href: String,
}

/// The answer to a poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitPoll {
    /// What there is to do.
    #[serde(rename = "_links")]
    pub links: HawkbitLinks,
    /// When to poll again.
    pub config: HawkbitConfig,
}

/// What there is to do: at most one of `cancelAction`, `confirmationBase` and `deploymentBase`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HawkbitLinks {
    /// The action to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub cancel_action: Option<HawkbitLink>,
    /// Where to send the attributes, if they are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub config_data: Option<HawkbitLink>,
    /// The action that awaits the user's consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub confirmation_base: Option<HawkbitLink>,
    /// The action to install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub deployment_base: Option<HawkbitLink>,
    /// The action that was installed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub installed_base: Option<HawkbitLink>,
}

/// The configuration of a controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitConfig {
    /// When to poll again.
    pub polling: HawkbitPolling,
}

/// When to poll again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitPolling {
    /// The time to wait as `HH:MM:SS`, at most `23:59:59`.
    #[cfg_attr(feature = "schema", schema(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"))]
    pub sleep: String,
}

/// An action to install, or one that was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitDeployment {
    /// What to install.
    pub deployment: HawkbitContent,
    /// The number of the action.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::HawkbitActionId))]
    pub id: String,
}

/// An action that awaits the user's consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitConfirmation {
    /// What would be installed.
    pub confirmation: HawkbitContent,
    /// The number of the action.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::HawkbitActionId))]
    pub id: String,
}

/// The content of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HawkbitContent {
    /// The software to install: one chunk.
    pub chunks: Vec<HawkbitChunk>,
    /// Always `forced`: fetch the files.
    pub download: HawkbitHandling,
    /// Whether an opening window is open. Only if the rollout has windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub maintenance_window: Option<HawkbitWindow>,
    /// `forced`: install; `skip`: do not install yet.
    pub update: HawkbitHandling,
}

words! {
    /// How to handle a step of an action.
    HawkbitHandling {
        /// Do it.
        Forced "forced",
        /// Do not do it yet.
        Skip "skip",
    }
}

words! {
    /// Whether a maintenance window is open.
    HawkbitWindow {
        /// It is open.
        Available "available",
        /// It is not open.
        Unavailable "unavailable",
    }
}

/// A part of an action's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitChunk {
    /// The files.
    pub artifacts: Vec<HawkbitArtifact>,
    /// The update's name.
    pub name: String,
    /// Always `os`.
    pub part: String,
    /// The update's version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
}

/// A file of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitArtifact {
    /// The addresses. Both lead to the service, which redirects to storage.
    #[serde(rename = "_links")]
    pub links: HawkbitArtifactLinks,
    /// The name of the file.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileName))]
    pub filename: String,
    /// The digests of the bytes.
    pub hashes: HawkbitHashes,
    /// The length in bytes.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileSize))]
    pub size: u64,
}

/// The addresses of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct HawkbitArtifactLinks {
    /// The address.
    pub download: HawkbitLink,
    /// The same address, for clients that are configured not to use TLS.
    pub download_http: HawkbitLink,
}

/// The digests of a file, in lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitHashes {
    /// The MD5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, pattern = "^[0-9a-f]{32}$"))]
    pub md5: Option<String>,
    /// The SHA-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, pattern = "^[0-9a-f]{40}$"))]
    pub sha1: Option<String>,
    /// The SHA-256.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Sha256))]
    pub sha256: String,
}

/// An action to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HawkbitCancel {
    /// What to stop.
    pub cancel_action: HawkbitStop,
    /// The number of the cancellation.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::HawkbitActionId))]
    pub id: String,
}

/// What to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HawkbitStop {
    /// The number of the action.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::HawkbitActionId))]
    pub stop_id: String,
}

/// What awaits the user's consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitConfirmations {
    /// A link to the action, if there is one.
    #[serde(default, rename = "_links", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub links: Option<HawkbitConfirmationLinks>,
    /// Consent in advance, which the service does not keep.
    #[serde(rename = "autoConfirm")]
    pub auto_confirm: HawkbitAutoConfirm,
}

/// A link to an action that awaits the user's consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HawkbitConfirmationLinks {
    /// The link.
    pub confirmation_base: HawkbitLink,
}

/// Consent in advance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitAutoConfirm {
    /// Always false.
    pub active: bool,
}

/// hawkBit's form of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HawkbitError {
    /// The code.
    #[cfg_attr(feature = "schema", schema(pattern = r"^hawkbit\.server\.error\."))]
    pub error_code: String,
    /// The class of hawkBit's exception.
    pub exception_class: String,
    /// What is wrong and what is expected, for the person who reads it.
    pub message: String,
}

/// A controller's attributes. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitConfigData {
    /// The attributes; at most 16 KiB, also of what was merged over time. `id` and `product` are the service's.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub data: Map<String, Value>,
    /// How the attributes change; `merge`, if it is missing.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub mode: Option<HawkbitMode>,
}

words! {
    /// How a controller's attributes change.
    HawkbitMode {
        /// Those that are sent replace those of the same name.
        Merge "merge",
        /// Those that are sent replace all.
        Replace "replace",
        /// Those that are sent are removed.
        Remove "remove",
    }
}

/// A controller's feedback on an action. Other fields are ignored. At most 16 KiB, and 4,096 keys and elements.
/// A control character within a text, which JSON forbids and clients send, is taken for a space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitFeedback {
    /// The status.
    pub status: HawkbitStatus,
}

/// The status of an action. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitStatus {
    /// How the action goes.
    pub execution: HawkbitExecution,
    /// How it ended.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub result: Option<HawkbitResult>,
    /// Texts for people.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub details: Option<Vec<String>>,
}

words! {
    /// How an action goes.
    HawkbitExecution {
        /// It ended; `result.finished` says how.
        Closed "closed",
        /// It is in progress.
        Proceeding "proceeding",
        /// The controller let go of it.
        Canceled "canceled",
        /// It is planned.
        Scheduled "scheduled",
        /// The controller cannot install it now.
        Rejected "rejected",
        /// It goes on.
        Resumed "resumed",
        /// The controller downloads.
        Download "download",
        /// The controller has downloaded.
        Downloaded "downloaded",
    }
}

/// The result of an action. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitResult {
    /// How it ended.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub finished: Option<HawkbitFinished>,
    /// How far it is.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub progress: Option<HawkbitProgress>,
}

words! {
    /// How an action ended.
    HawkbitFinished {
        /// It has not ended.
        None "none",
        /// The update is installed.
        Success "success",
        /// The update is not installed.
        Failure "failure",
    }
}

/// The progress of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitProgress {
    /// Parts done.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub cnt: Option<i64>,
    /// Parts in all.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub of: Option<i64>,
}

/// A user's decision. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HawkbitConfirmationFeedback {
    /// The decision.
    pub confirmation: HawkbitDecision,
}

words! {
    /// A user's decision.
    HawkbitDecision {
        /// The user agrees.
        Confirmed "confirmed",
        /// The user does not agree.
        Denied "denied",
    }
}
