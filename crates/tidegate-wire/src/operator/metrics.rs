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
    /// The places of `max_in_flight`: what it is now, if it is `auto`; `null` if there is no limit.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub places: Option<u64>,
    /// The number of check-ins that were not offered the update, by objection. At most a minute old.
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::counts_by_objection))]
    pub deferred: CountsByObjection,
    /// The next phase, if it begins on evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_phase: Option<NextPhaseView>,
    /// The newcomers: devices that were not known before the rollout, in a product whose devices may register themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newcomers: Option<NewcomersView>,
    /// The time until which no further device is offered the update, because downloads fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Time>))]
    pub transfers_wait_until: Option<Timestamp>,
    /// Why the rollout does not go on by itself, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
    /// The judgement of the health gate.
    pub health: HealthView,
    /// The counters over time, oldest first: one point an hour while the rollout is live, and a last one that
    /// is at most a minute old. Only in the answer about metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Vec<SeriesPoint>>,
}

/// A phase that begins on evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = NextPhase))]
pub struct NextPhaseView {
    /// Its number, from 1.
    #[cfg_attr(feature = "schema", schema(minimum = 2))]
    pub number: u64,
    /// What it waits for; `null` if it begins within a minute.
    #[cfg_attr(feature = "schema", schema(required))]
    pub waits_for: Option<String>,
    /// What became of the devices so far.
    pub sentence: String,
}

/// The newcomers of a rollout. They have a tenth of each limit, and say nothing about the other devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Newcomers))]
pub struct NewcomersView {
    /// Newcomers that were ever offered the update.
    pub offered: u64,
    /// No further newcomer is offered it, because of what became of these.
    pub is_held: bool,
    /// What became of these, as a sentence.
    pub sentence: String,
}

/// The counters of a rollout. Each is a number of devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Counters {
    /// Devices that were ever offered the update.
    pub offered: u64,
    /// Devices that hold a place of `max_in_flight`.
    pub in_flight: u64,
    /// Devices that said success, and have not shown the new version.
    pub installed: u64,
    /// Devices that said the new version.
    pub proved: u64,
    /// Of the devices that count as proved, those that only reported a success: `proof` of their product is `report`.
    #[serde(default)]
    pub proved_by_report: u64,
    /// Devices that said the new version for three days.
    pub soaked: u64,
    /// Devices that said that the installation failed.
    pub failed: u64,
    /// Devices that fell back after a success.
    pub reverted: u64,
    /// Devices that are overdue.
    pub lost: u64,
    /// Devices that did not apply the update in time.
    pub not_taken: u64,
    /// Devices that said no.
    pub declined: u64,
    /// Devices that could not fetch the files.
    pub transfer_failed: u64,
    /// Devices that went elsewhere, or gave the offer back.
    pub left: u64,
    /// Devices that an operator struck as witnesses.
    #[serde(default)]
    pub voided: u64,
}

/// Some counters of a rollout at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SeriesPoint {
    /// The time.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub at: Timestamp,
    /// Devices that were ever offered the update.
    pub offered: u64,
    /// Devices that held a place of `max_in_flight`.
    pub in_flight: u64,
    /// Devices that said the new version.
    pub proved: u64,
    /// Devices that said that the installation failed.
    pub failed: u64,
    /// Devices that fell back after a success.
    pub reverted: u64,
    /// Devices that were overdue.
    pub lost: u64,
}

/// The judgement of the health gate on the devices that were granted the update since the last acknowledgement. It holds
/// the rollout when, in one of the channels, `evidence` reaches `threshold` and `bad` reaches `min_failures`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Health))]
pub struct HealthView {
    /// The judgement.
    pub verdict: Verdict,
    /// The evidence at which the rollout is held.
    #[cfg_attr(feature = "schema", schema(minimum = 200))]
    pub threshold: f64,
    /// The number of devices below which nothing is held.
    pub min_failures: u64,
    /// What the gate watches.
    pub channels: Vec<ChannelView>,
    /// The judgement as a sentence.
    pub sentence: String,
}

/// One channel of the health gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = HealthChannel))]
pub struct ChannelView {
    /// What it watches.
    pub name: ChannelName,
    /// Devices that count against the update.
    pub bad: u64,
    /// Devices whose outcome says something about the update, or will.
    pub of: u64,
    /// The share that is tolerated, in percent.
    #[cfg_attr(feature = "schema", schema(minimum = 0))]
    pub tolerated_percent: f64,
    /// How many times likelier the outcomes are at a worse rate than at the tolerated one.
    #[cfg_attr(feature = "schema", schema(minimum = 0))]
    pub evidence: f64,
    /// The channel says nothing, because too many devices are silent also without the update.
    pub is_off: bool,
}

words! {
    /// What a channel of the health gate watches.
    ChannelName {
        /// Devices that failed or fell back.
        Failed "failed",
        /// Devices that are overdue.
        Lost "lost",
        /// Devices that did not apply the update in time.
        NotTaken "not_taken",
    }
}

words! {
    /// The judgement of the health gate.
    Verdict {
        /// The rollout goes on.
        Continue "continue",
        /// The rollout is held.
        Hold "hold",
    }
}
