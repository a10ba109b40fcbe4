//! The devices of a product.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidegate_core::life::State;
use tidegate_core::{DeviceId, ProductId, Timestamp, UpdateId};

use super::AuditLog;
use crate::word::words;

/// A device and its claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Device))]
pub struct DeviceView {
    /// The device's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::DeviceId))]
    pub id: DeviceId,
    /// The product's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ProductId))]
    pub product: ProductId,
    /// The version at the last check-in; `null`, if the device has a token and has never checked in.
    #[cfg_attr(feature = "schema", schema(required))]
    pub version: Option<String>,
    /// The device's `device.json` without `version`, as it last changed.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<Object>))]
    pub attributes: Option<Map<String, Value>>,
    /// The time of the first check-in.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::Time>))]
    pub first_seen: Option<Timestamp>,
    /// The time of the last check-in, to the day.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::Time>))]
    pub last_seen: Option<Timestamp>,
    /// True if an operator has put the device on hold: it is offered nothing.
    #[serde(default)]
    pub on_hold: bool,
    /// The only version that the device may be offered; `null` if it is not pinned.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::Version>))]
    pub pinned: Option<String>,
    /// Its tags. A policy reads the tag `site` as `tags.site`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The versions that were assigned to it.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::Version>))]
    pub assigned: Vec<String>,
    /// The questions to its user, at most one about each update. A client of hawkBit's asks its user before it takes an
    /// update that asks for consent, and takes no place before the user agrees.
    #[serde(default)]
    pub questions: Vec<QuestionView>,
    /// The device's claims, one for each update that it was offered.
    pub claims: Vec<ClaimView>,
}

/// A question to the user of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Question))]
pub struct QuestionView {
    /// The version of the update.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The time at which it was asked last.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub asked_at: Timestamp,
    /// The answer; `null` while the user has not answered.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<ReplyWord>))]
    pub reply: Option<ReplyWord>,
    /// Number of times that the user refused this update. After a refusal the user is asked again after a week, then after
    /// two and four weeks, and after the fourth refusal not any more.
    pub refusals: u32,
}

words! {
    /// An answer of a user.
    ReplyWord {
        /// The device may install the update.
        Agreed "agreed",
        /// It may not.
        Refused "refused",
    }
}

/// A device's claim on one update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Claim))]
pub struct ClaimView {
    /// The update's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::UpdateId))]
    pub update: UpdateId,
    /// The update's version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The number of the campaign that offered it.
    #[serde(default = "super::update::first")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub campaign: u32,
    /// The state of the claim.
    pub state: ClaimState,
    /// How often the update was offered to this device.
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub attempts: u32,
    /// The message of the device's last report about it; `null` if there was none.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub message: Option<String>,
    /// The time from which the device may try again, because an operator allowed it; `null` if none did.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::Time>))]
    pub retry_at: Option<Timestamp>,
    /// The time of the last grant.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub granted_at: Timestamp,
    /// The time at which the attempt ended; `null` while it goes on.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::Time>))]
    pub ended_at: Option<Timestamp>,
    /// Whether the device holds a place of `max_in_flight`.
    pub holds_place: bool,
}

/// The updates of which a device gets another try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Retried {
    /// Their versions.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::Version>))]
    pub retried: Vec<String>,
}

words! {
    /// The state of a claim.
    ClaimState {
        /// The device has the offer, and runs the old version.
        Open "open",
        /// The device said success, and has not shown the new version.
        Installed "installed",
        /// The device said the new version.
        Proved "proved",
        /// The device was proved, and its watch is over.
        Closed "closed",
        /// The device said that the installation failed.
        Failed "failed",
        /// The device fell back after a success.
        Reverted "reverted",
        /// The device is overdue.
        Lost "lost",
        /// The device could not fetch the files.
        TransferFailed "transfer_failed",
        /// The device or its user said no.
        Declined "declined",
        /// The device did not apply the update in time.
        NotTaken "not_taken",
        /// The device went elsewhere, or gave the offer back.
        Left "left",
    }
}

impl From<State> for ClaimState {
    fn from(state: State) -> Self {
        match state {
            State::Open => Self::Open,
            State::Installed => Self::Installed,
            State::Proved => Self::Proved,
            State::Closed => Self::Closed,
            State::Failed => Self::Failed,
            State::Reverted => Self::Reverted,
            State::Lost => Self::Lost,
            State::TransferFailed => Self::TransferFailed,
            State::Declined => Self::Declined,
            State::NotTaken => Self::NotTaken,
            State::Left => Self::Left,
        }
    }
}

/// A device with a page of the audit log about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeviceExport {
    /// The device.
    pub device: DeviceView,
    /// A page of the audit log about it, newest entry first.
    pub audit: AuditLog,
}

/// A device was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeviceDeleted {
    /// Always true.
    pub deleted: bool,
}

/// A page of devices on one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeviceList {
    /// Ids in ascending order.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::DeviceId>))]
    pub items: Vec<DeviceId>,
    /// The value of `after` for the next page; `null` on the last page.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::DeviceId>))]
    pub next: Option<DeviceId>,
}

/// A page of the numbers of devices on each version, by their last check-in, in the order of the texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VersionList {
    /// One entry for each version.
    pub items: Vec<VersionCount>,
    /// The value of `after` for the next page; `null` on the last page.
    #[cfg_attr(feature = "schema", schema(required))]
    pub next: Option<String>,
}

/// The number of devices on one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VersionCount {
    /// The version.
    pub version: String,
    /// The number of devices.
    pub devices: u64,
}
