//! The counters of a rollout.

use serde::{Deserialize, Serialize};
use tidegate_core::{State, Timestamp};

use super::CountsByObjection;
use crate::word::words;

/// The counters of a rollout, and the evidence of the health gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Metrics {
    /// The present state of the update.
    #[serde(with = "crate::word::state")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::State))]
    pub state: State,
    /// The time at which the last change of a claim was counted. The counters lag behind the devices by a few seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Time>))]
    pub as_of: Option<Timestamp>,
    /// The counters now.
    #[serde(flatten)]
    pub counters: Counters,
    /// The number of check-ins that were not offered the update, by objection. At most a minute old.
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::counts_by_objection))]
    pub deferred: CountsByObjection,
    /// The judgement of the health gate.
    pub health: HealthView,
    /// The counters over time, oldest first: one point an hour while the rollout is live, and a last one that
    /// is at most a minute old. Only in the answer about metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Vec<SeriesPoint>>,
}

/// The counters of a rollout. Each is a number of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Counters {
    /// Devices that were ever offered the update.
    pub offered: u64,
    /// Devices that have the offer and have not reported an outcome.
    pub in_flight: u64,
    /// Devices that have installed the update.
    pub succeeded: u64,
    /// Devices that failed, or decided against the update.
    pub failed: u64,
    /// Devices that reported no outcome before their claim expired.
    pub timed_out: u64,
}

/// The counters of a rollout at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SeriesPoint {
    /// The time.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub at: Timestamp,
    /// The counters then.
    #[serde(flatten)]
    pub counters: Counters,
}

/// The judgement of the health gate. It stops the rollout when, in one of the two channels, `evidence`
/// reaches `threshold` and `failures` reach `min_failures`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Health))]
pub struct HealthView {
    /// The judgement.
    pub verdict: Verdict,
    /// Failures in the channel with the most evidence.
    pub failures: u64,
    /// Successes in the channel with the most evidence.
    pub successes: u64,
    /// Evidence in the channel with the most evidence.
    #[cfg_attr(feature = "schema", schema(minimum = 0))]
    pub evidence: f64,
    /// The evidence at which the rollout is stopped.
    #[cfg_attr(feature = "schema", schema(minimum = 2))]
    pub threshold: f64,
    /// The number of failures below which nothing is stopped.
    pub min_failures: u64,
    /// The channel of reported failures.
    pub reported: Evidence,
    /// The channel of reported failures and of devices that were silent until their claim expired.
    pub reported_or_silent: Evidence,
    /// The judgement as a sentence.
    pub sentence: String,
}

/// The evidence in one channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = HealthChannel))]
pub struct Evidence {
    /// Devices that failed.
    pub failures: u64,
    /// How many times likelier the outcomes are at a worse failure rate than at the tolerated one.
    #[cfg_attr(feature = "schema", schema(minimum = 0))]
    pub evidence: f64,
}

words! {
    /// The judgement of the health gate.
    Verdict {
        /// The rollout goes on.
        Continue "continue",
        /// The rollout is stopped.
        Abort "abort",
    }
}
