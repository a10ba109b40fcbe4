//! What operators order for one device, and for many.

use serde::{Deserialize, Serialize};
use tidegate_core::life::Bucket;
use tidegate_core::{DeviceId, Timestamp};

use crate::strict_json::OperatorInput;
use crate::word::words;

/// A version that is the only one for a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pin {
    /// The version. The device may run it already: then it stays there.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for Pin {}

/// The value of a tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tag {
    /// The value.
    #[cfg_attr(feature = "schema", schema(min_length = 1, max_length = 128))]
    pub value: String,
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for Tag {}

/// Devices that are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Devices {
    /// Their ids: at least one, at most 500.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::DeviceId>, min_items = 1, max_items = 500))]
    pub devices: Vec<String>,
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for Devices {}

/// Devices that get another try of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RetryMany {
    /// What became of them.
    pub state: Outcome,
    /// The `next` of the call before.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::DeviceId>))]
    pub after: Option<String>,
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for RetryMany {
    fn with_all_fields(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(Self { after: Some(String::new()), reason: Some(String::new()), ..self.clone() })
    }
}

/// The result of a change of many devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ManyChanged {
    /// The number of devices that changed.
    pub changed: u64,
    /// The devices that did not: they are unknown, or are already as asked.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::DeviceId>))]
    pub unchanged: Vec<DeviceId>,
    /// The value of `after` for the next call; `null` when every device was looked at.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::DeviceId>))]
    pub next: Option<DeviceId>,
}

/// The updates whose claims of a device were forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Forgotten {
    /// Their versions.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::Version>))]
    pub forgotten: Vec<String>,
}

words! {
    /// What became of a device, other than that it was proved.
    Outcome {
        /// The device said that the installation failed.
        Failed "failed",
        /// The device fell back after a success.
        Reverted "reverted",
        /// The device is overdue.
        Lost "lost",
        /// The device did not apply the update in time.
        NotTaken "not_taken",
        /// The device could not fetch the files.
        TransferFailed "transfer_failed",
        /// The device or its user said no.
        Declined "declined",
        /// The device went elsewhere, or gave the offer back.
        Left "left",
        /// An operator struck the device as a witness.
        Voided "voided",
    }
}

impl From<Outcome> for Bucket {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Failed => Self::Failed,
            Outcome::Reverted => Self::Reverted,
            Outcome::Lost => Self::Lost,
            Outcome::NotTaken => Self::NotTaken,
            Outcome::TransferFailed => Self::TransferFailed,
            Outcome::Declined => Self::Declined,
            Outcome::Left => Self::Left,
            Outcome::Voided => Self::Voided,
        }
    }
}

impl Outcome {
    /// The outcome of a bucket; `None` for proved devices.
    #[must_use]
    pub fn of(bucket: Bucket) -> Option<Self> {
        Self::ALL.iter().copied().find(|outcome| Bucket::from(*outcome) == bucket)
    }

    /// The outcome with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|outcome| outcome.word() == word)
    }
}

/// A page of the devices of an update with one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UpdateDevices {
    /// The devices, in the order of their ids.
    pub items: Vec<UpdateDevice>,
    /// The value of `after` for the next page; `null` on the last page.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::DeviceId>))]
    pub next: Option<DeviceId>,
}

/// A device of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UpdateDevice {
    /// The device's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::DeviceId))]
    pub id: DeviceId,
    /// What became of it.
    pub state: Outcome,
    /// The message of its last report; `null` if it had none.
    #[cfg_attr(feature = "schema", schema(required))]
    pub message: Option<String>,
    /// How often the update was offered to it.
    pub attempts: u32,
    /// The time of the outcome.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub at: Timestamp,
}

/// What the devices of an update said, alike messages together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reasons {
    /// The reasons, the most frequent first.
    pub items: Vec<ReasonCount>,
    /// False if only the first 10,000 devices were looked at, or only the 200 most frequent reasons are told.
    pub complete: bool,
}

/// Devices that said the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReasonCount {
    /// What became of them.
    pub state: Outcome,
    /// Their message, with `#` in the place of each number; `null` if they said none.
    #[cfg_attr(feature = "schema", schema(required))]
    pub message: Option<String>,
    /// Their number.
    pub devices: u64,
}
