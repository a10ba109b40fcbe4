//! The settings of a product.

use serde::{Deserialize, Deserializer, Serialize};
use tidegate_core::ProductId;

use crate::strict_json::OperatorInput;
use crate::word::words;

/// The settings of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Product {
    /// The product's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ProductId))]
    pub product: ProductId,
    /// Whether a token that all devices of the product share is accepted.
    pub product_tokens: ProductTokens,
    /// Whether devices may register themselves.
    pub registration: Registration,
    /// The attribute of hawkBit's `configData` that is the device's version.
    #[cfg_attr(feature = "schema", schema(min_length = 1, max_length = 128))]
    pub version_attribute: String,
    /// What proves that a device runs an update.
    pub proof: ProofField,
    /// The times of its devices.
    #[serde(flatten)]
    pub times: ProductTimes,
    /// True while the whole product is stopped.
    #[serde(default)]
    pub stopped: bool,
}

/// How the devices of a product live with updates, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProductTimes {
    /// The time between two check-ins. A device that is silent for three times as long is lost, unless it is used to
    /// longer silences.
    #[cfg_attr(feature = "schema", schema(minimum = 60, maximum = 2592000))]
    pub poll_s: i64,
    /// The time after a report of success in which the old version means that the device has not rebooted.
    #[cfg_attr(feature = "schema", schema(minimum = 0, maximum = 7776000))]
    pub boot_grace_s: i64,
    /// The time in which a device applies an update that it was offered.
    #[cfg_attr(feature = "schema", schema(minimum = 3600, maximum = 31536000))]
    pub apply_within_s: i64,
    /// The time for which a device that runs an update is watched.
    #[cfg_attr(feature = "schema", schema(minimum = 3600, maximum = 31536000))]
    pub watch_s: i64,
}

/// The result of stopping a product. No device gets an update of it or a URL any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProductStopped {
    /// The versions whose rollout this stop has paused. Resuming the product resumes them.
    pub paused: Vec<String>,
    /// The versions whose rollout is not paused yet; only with status 202. Devices get nothing from them all the same.
    pub left: Vec<String>,
}

/// The result of resuming a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProductResumed {
    /// The versions whose rollout goes on.
    pub resumed: Vec<String>,
    /// The versions that are not resumed yet; only with status 202. The service goes on.
    pub left: Vec<String>,
}

/// A change of a product's settings. A setting that is not named stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProductChange {
    /// Whether a token that all devices of the product share is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub product_tokens: Option<ProductTokens>,
    /// Whether devices may register themselves.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub registration: Option<Registration>,
    /// The attribute of hawkBit's `configData` that is the device's version; `null` for `sw_version`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, min_length = 1, max_length = 128))]
    pub version_attribute: Option<Option<String>>,
    /// What proves that a device runs an update.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub proof: Option<ProofField>,
    /// The time between two check-ins of a device, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "schema", schema(nullable = false, minimum = 60, maximum = 2592000))]
    pub poll_s: Option<i64>,
    /// The time after a report of success in which the old version means that the device has not rebooted, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "schema", schema(nullable = false, minimum = 0, maximum = 7776000))]
    pub boot_grace_s: Option<i64>,
    /// The time in which a device applies an update that it was offered, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "schema", schema(nullable = false, minimum = 3600, maximum = 31536000))]
    pub apply_within_s: Option<i64>,
    /// The time for which a device that runs an update is watched, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "schema", schema(nullable = false, minimum = 3600, maximum = 31536000))]
    pub watch_s: Option<i64>,
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for ProductChange {
    fn with_all_fields(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(Self {
            product_tokens: Some(ProductTokens::Refuse),
            registration: Some(Registration::Closed),
            version_attribute: Some(None),
            proof: Some(ProofField::CheckIn),
            poll_s: Some(0),
            boot_grace_s: Some(0),
            apply_within_s: Some(0),
            watch_s: Some(0),
            reason: Some(String::new()),
        })
    }
}

/// A field that was sent, even as `null`, is not the same as one that was left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

words! {
    /// Whether a token that all devices of a product share is accepted.
    ProductTokens {
        /// It is accepted.
        Accept "accept",
        /// It is refused. This is the default.
        Refuse "refuse",
    }
}

words! {
    /// What proves that a device runs an update.
    #[cfg_attr(feature = "schema", schema(as = Proof))]
    ProofField {
        /// A check-in with its version. This is the default.
        CheckIn "check_in",
        /// Its report of success and two polls, an hour later and a minute apart, for hawkBit clients that never send their
        /// version.
        /// A device that falls back after its success is not noticed.
        Report "report",
    }
}

words! {
    /// Whether devices may register themselves.
    Registration {
        /// A device gets a token for the asking.
        Open "open",
        /// An operator issues all tokens. This is the default.
        Closed "closed",
    }
}
