//! An update in the format of Kaa's OTA orchestrator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_core::{State, Timestamp};

use crate::word::words;

/// An update as a software of Kaa. `state` and `notes` are ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Software {
    /// The version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub name: Option<String>,
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub description: Option<String>,
    /// Any JSON for the endpoint; missing, if the update has files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub specification: Option<Value>,
    /// The labels.
    pub metadata: BTreeMap<String, String>,
    /// The versions that can be upgraded; missing, if the update does not list them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<Vec<crate::schema::Version>>))]
    pub upgradable_from: Option<Vec<String>>,
    /// The present strategy.
    pub rollout_strategy: RolloutStrategy,
    /// The filters.
    pub filters: Vec<SoftwareFilter>,
    /// The present state of the update.
    #[serde(with = "crate::word::state")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::State))]
    pub state: State,
    /// What the software cannot say of the update, one sentence each.
    pub notes: Vec<String>,
}

/// A software as Kaa documents it. A field that has nothing like it here is left out, and a note says so. A `PUT` may
/// leave out the version, which stands in its path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SoftwareDefinition {
    /// The version.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::Version>))]
    pub version: Option<String>,
    /// A name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// A description for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Any JSON for the endpoint.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub specification: Option<Value>,
    /// Any JSON; becomes the labels.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub metadata: Option<Value>,
    /// The versions that can be upgraded; none of them, if the list is empty or missing.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<crate::schema::Version>>))]
    pub upgradable_from: Option<Vec<String>>,
    /// Which devices are given the software.
    pub rollout_strategy: RolloutStrategy,
    /// The filters, if the strategy is `targeted`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub filters: Option<Vec<SoftwareFilter>>,
}

/// A filter with the time at which its devices may have the software. Devices list their filters in the
/// attribute `kaa_filters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SoftwareFilter {
    /// The filter's id.
    pub filter_id: String,
    /// The time.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Time>))]
    pub rollout_date: Option<Timestamp>,
}

words! {
    /// Which devices are given a software.
    RolloutStrategy {
        /// No device.
        Suspended "suspended",
        /// The devices that the versions and one of the filters admit.
        Targeted "targeted",
        /// The devices that the versions admit.
        General "general",
    }
}
