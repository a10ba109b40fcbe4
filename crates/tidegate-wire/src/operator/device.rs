//! The devices of a product.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidegate_core::{DeviceId, ProductId, Timestamp, UpdateId};

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
    /// The device's claims, one for each update that it was offered.
    pub claims: Vec<ClaimView>,
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
    /// The state of the claim.
    pub state: ClaimState,
    /// How often the update was offered to this device.
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub attempts: u32,
    /// The time of the last offer.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub reserved_at: Timestamp,
    /// The time at which the claim expires, or has expired.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub expires_at: Timestamp,
    /// Whether the device decided against the update.
    pub backed_out: bool,
}

words! {
    /// The state of a claim.
    ClaimState {
        /// The device has the offer.
        Reserved "reserved",
        /// The device reported no outcome in time.
        Expired "expired",
        /// The device has installed the update.
        Succeeded "succeeded",
        /// The device failed, or decided against the update.
        Failed "failed",
    }
}

impl From<tidegate_core::ClaimState> for ClaimState {
    fn from(state: tidegate_core::ClaimState) -> Self {
        match state {
            tidegate_core::ClaimState::Reserved => Self::Reserved,
            tidegate_core::ClaimState::Expired => Self::Expired,
            tidegate_core::ClaimState::Succeeded => Self::Succeeded,
            tidegate_core::ClaimState::Failed => Self::Failed,
        }
    }
}

/// A page of devices on one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeviceList {
    /// Ids in ascending order, at most 500.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::DeviceId>))]
    pub devices: Vec<DeviceId>,
    /// The value of `after` for the next page; `null` on the last page.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::DeviceId>))]
    pub next: Option<DeviceId>,
}

/// The number of devices on each version, by their last check-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VersionList {
    /// One entry for each version.
    pub versions: Vec<VersionCount>,
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
