//! The counters of a rollout, and the judgement of its health gate.

use std::collections::BTreeMap;

use tidegate_core::count::{Count, Counts};
use tidegate_core::gate::Judgement;
use tidegate_core::limits::Allocation;
use tidegate_core::policy::Slots;
use tidegate_core::{State, Timestamp};
use tidegate_store::PublishStore;
use tidegate_store::record::{SeriesPoint, UpdateRecord};

use super::{Operations, compiled};
use crate::control;
use crate::control_group;
use crate::error::Done;
use crate::phases::{self, NextPhase};
use crate::stalled::{Stalled, stalled};

/// The progress of a rollout.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The present state of the update.
    pub state: State,
    /// The counters of all shards together.
    pub counts: Counts,
    /// The places of `max_in_flight`; `None` if there is no limit.
    pub places: Option<u64>,
    /// The time at which the last change of a claim was counted.
    pub as_of: Option<Timestamp>,
    /// Check-ins that were not offered the update, by the code of the objection.
    pub deferred: BTreeMap<String, u64>,
    /// The judgement of the health gate.
    pub judgement: Judgement,
    /// The next phase that begins on evidence.
    pub next_phase: Option<NextPhase>,
    /// Least number of devices with which the gate holds.
    pub min_failures: u64,
    /// What became of the newcomers, if they have a share of their own.
    pub newcomers: Option<NewcomersProgress>,
    /// The time until which new grants wait, because transfers fail.
    pub transfers_wait_until: Option<Timestamp>,
    /// The reason why it does not go on by itself.
    pub stalled: Option<Stalled>,
}

/// The progress of the newcomers of a rollout.
#[derive(Debug, Clone)]
pub struct NewcomersProgress {
    /// Newcomers that were ever granted the update.
    pub offered: u64,
    /// What became of those of the present test.
    pub judgement: Judgement,
}

impl<S: PublishStore> Operations<S> {
    /// The progress of a rollout. A draft has made none.
    ///
    /// # Errors
    /// When the stored update cannot be read, or the store cannot be reached.
    pub async fn progress(&self, record: &UpdateRecord, now: Timestamp) -> Done<Progress> {
        let rollout = record.rollout();
        let tallied = self.store.tallied(&rollout).await?;
        let shards = match &record.allocation {
            Some(allocation) => self.store.shards(&rollout, allocation.shards()).await?,
            None => Vec::new(),
        };
        let counts = Counts::of(&shards, &tallied.sums);
        let deferred = self.store.deferrals(&rollout).await?;
        let update = compiled(record, &mut Slots::new())?;
        let judgement = control_group::shown(record, &update, &tallied.sums);
        let (state, as_of, min_failures) = (record.state, tallied.as_of, update.rollout.health.min_failures);
        let places = record.allocation.as_ref().and_then(Allocation::all_places);
        let next_phase = phases::next(record, &update, &tallied.sums, now).filter(|_| state.is_live());
        let newcomers = update.newcomers_since.map(|_| {
            let offered = tallied.sums.devices(Count::Granted).saturating_sub(tallied.sums.voters(Count::Granted));
            let judgement = control::newcomers_judged(&update, &tallied.sums);
            NewcomersProgress { offered: u64::try_from(offered).unwrap_or(0), judgement }
        });
        let stalled = stalled(record, &update, &counts, next_phase.as_ref(), now);
        let transfers_wait_until = update.not_before.filter(|until| now < *until && state.is_live());
        Ok(Progress {
            state,
            counts,
            places,
            as_of,
            deferred,
            judgement,
            next_phase,
            min_failures,
            newcomers,
            transfers_wait_until,
            stalled,
        })
    }

    /// The counters of a rollout over time, oldest first.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn series(&self, record: &UpdateRecord) -> Done<Vec<SeriesPoint>> {
        Ok(self.store.series(&record.rollout()).await?)
    }
}
