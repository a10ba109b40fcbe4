//! The sweep: it expires claims, finishes rollouts and repairs interrupted changes. A schedule starts it each minute.
//! Two sweeps at the same time do no harm.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_core::claim::CountDelta;
use tidegate_core::policy::Slots;
use tidegate_core::shard::{Counts, Gate, Shard};
use tidegate_core::{Claim, ProductId, State, Timestamp, Transition, Update, UpdateId};
use tidegate_store::record::{ClaimKey, SeriesPoint, UpdateRecord};
use tidegate_store::{StoreError, SweepStore};

use crate::compile::{self, update_of};
use crate::control::{self, Actor, Measure};
use crate::error::Done;
use crate::health;
use crate::metrics::TARGET as METRICS;

/// The sweep service.
#[derive(Debug)]
pub struct SweepService<S> {
    store: S,
}

/// Result of one sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Claims whose reservation ended.
    pub expired: u64,
    /// Rollouts that were stopped because their update is bad.
    pub stopped: u64,
    /// Rollouts that were finished.
    pub completed: u64,
    /// Rollouts whose shards did not agree with their record.
    pub repaired: u64,
    /// Rollouts whose limits were split again.
    pub split_again: u64,
    /// Rollouts whose shards are shut for a change that the record does not contain yet. The change is in progress or
    /// was interrupted. Nothing is granted until an operator repeats it.
    pub unfinished: u64,
    /// Records that failed; the log has the reason.
    pub failed: u64,
}

impl<S: SweepStore> SweepService<S> {
    /// A service over a store.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Does everything that is due at `now`. A record that fails does not stop the others.
    ///
    /// # Errors
    /// When the store cannot list the due claims, the products, or the updates of a product.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let mut due = Due::new();
        for key in self.store.due_claims(now).await? {
            due.entry(key.update.clone()).or_default().push(key);
        }
        for product in self.store.products().await? {
            self.sweep_product(&product, &mut due, now, &mut swept).await?;
        }
        for update in due.keys() {
            // Its counters are unknown, so its claims keep their places.
            tracing::warn!(%update, "claims_without_record");
        }
        tracing::info!(
            expired = swept.expired,
            stopped = swept.stopped,
            completed = swept.completed,
            repaired = swept.repaired,
            split_again = swept.split_again,
            unfinished = swept.unfinished,
            failed = swept.failed,
            "swept"
        );
        tracing::info!(target: METRICS, sweep_finished = 1_u64, records_failed = swept.failed, changes_unfinished = swept.unfinished);
        Ok(swept)
    }

    /// The listed claims whose own records have ended. The index may be older than the records.
    async fn silent(&self, due: Vec<ClaimKey>, now: Timestamp, swept: &mut Swept) -> Vec<Silent> {
        let mut silent = Vec::with_capacity(due.len());
        for key in due {
            match self.store.claim(&key).await {
                Ok(claim) => {
                    let ended = claim.and_then(|before| before.expire(now).map(|ended| (before, ended)));
                    silent.extend(ended.map(|(before, (after, delta))| Silent { key, before, after, delta }));
                }
                Err(error) => swept.expiry_failed(&key, &error),
            }
        }
        silent
    }

    /// Ends one reservation.
    async fn expire(&self, silent: &Silent, swept: &mut Swept) {
        let Silent { key, before, after, delta } = silent;
        match self.store.settle(key, before, after, *delta).await {
            Ok(()) => {
                swept.expired += 1;
                tracing::info!(product = %key.product, device = %key.device, update = %key.update, "expired");
            }
            // A report came first; there is nothing to expire any more.
            Err(StoreError::Conflict) => {}
            Err(error) => swept.expiry_failed(key, &error),
        }
    }

    async fn sweep_product(
        &self,
        product: &ProductId,
        due: &mut Due,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        let records = self.store.updates(product).await?;
        let (mut total, mut live_updates) = (Counts::default(), 0_u64);
        for record in &records {
            let due = due.remove(&record.id).unwrap_or_default();
            if !record.state.is_live() {
                // It grants nothing any more, so every due claim can end.
                for silent in self.silent(due, now, swept).await {
                    self.expire(&silent, swept).await;
                }
                continue;
            }
            live_updates += 1;
            match self.sweep_update(record, due, now, swept).await {
                Ok(counts) => total = Counts::total([&total, &counts]),
                Err(error) => {
                    tracing::error!(%product, version = %record.version, %error, "sweep_failed");
                    swept.failed += 1;
                }
            }
        }
        // Also what others changed and could not compile.
        if let Err(error) = compile::compile(&self.store, product).await {
            tracing::error!(%product, %error, "catalog_not_compiled");
            swept.failed += 1;
        }
        let Counts { used, in_flight, succeeded, failed, timed_out, .. } = total;
        tracing::info!(target: METRICS, %product, live_updates, offered = used, in_flight, succeeded, failed, timed_out);
        Ok(())
    }

    async fn sweep_update(
        &self,
        record: &UpdateRecord,
        due: Vec<ClaimKey>,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Done<Counts> {
        let update = update_of(record, &mut Slots::new())?;
        let Some(allocation) = &record.allocation else {
            return Ok(Counts::default());
        };
        let silent = self.silent(due, now, swept).await;
        let mut shards = self.store.shards(&record.id, allocation.shards()).await?;
        let stopped = self.judge(record, &update, &Counts::of(&shards), &silent, now).await?;
        swept.stopped += u64::from(stopped);
        let ended = if stopped { silent.len() } else { given_on(&update, &Counts::of(&shards), silent.len(), now) };
        for silent in silent.iter().take(ended) {
            self.expire(silent, swept).await;
        }
        if ended > 0 {
            shards = self.store.shards(&record.id, allocation.shards()).await?;
        }
        let counts = Counts::of(&shards);
        self.store.record_series(&record.id, &point(&counts, now)).await?;
        if stopped {
            return Ok(counts);
        }
        let measure = Measure::of(&update);
        let actor = |reason: &str| Actor { who: "sweep".into(), reason: reason.into(), now };
        if let Some(reason) = is_over(&update, &counts, now) {
            control::transition(&self.store, record, Transition::Complete, measure, &actor(reason)).await?;
            swept.completed += 1;
        } else if needs_repair(record, &shards) {
            control::reopen(&self.store, record).await?;
            swept.repaired += 1;
        } else if is_unfinished(record, &shards) {
            // The change may still be in progress. If the next sweep logs this again, it was interrupted.
            tracing::warn!(product = %record.product, version = %record.version, "change_unfinished");
            swept.unfinished += 1;
        } else if record.state == State::Active && control::can_split_again(allocation, &shards, measure, now) {
            let actor = actor("what was held has fallen below the limits");
            control::split_again(&self.store, record, measure, &actor).await?;
            swept.split_again += 1;
        }
        Ok(counts)
    }

    /// Stops a rollout whose update is bad; returns whether it did. This comes before other devices get the places of
    /// silent devices: silence is evidence already.
    async fn judge(
        &self,
        record: &UpdateRecord,
        update: &Update,
        counts: &Counts,
        silent: &[Silent],
        now: Timestamp,
    ) -> Done<bool> {
        let counts = silent.iter().fold(*counts, |counts, silent| counts.after(silent.delta));
        health::stop_if_bad(&self.store, record, update, &counts, now).await
    }
}

/// Number of silent devices whose places are given to other devices now. After the rollout's end all claims may end,
/// because no device gets a place any more.
fn given_on(update: &Update, counts: &Counts, silent: usize, now: Timestamp) -> usize {
    if update.rollout.ends_at.is_some_and(|end| now >= end) {
        return silent;
    }
    let most = update.rollout.limits.max_in_flight;
    let given_on = update.rollout.health.expirable_claims(counts, silent as u64, most);
    usize::try_from(given_on).unwrap_or(usize::MAX)
}

/// Claims whose reservation is over, by update.
type Due = BTreeMap<UpdateId, Vec<ClaimKey>>;

/// A claim whose device was silent until its end: the claim before and after, and the change of the counters.
struct Silent {
    key: ClaimKey,
    before: Claim,
    after: Claim,
    delta: CountDelta,
}

impl Swept {
    /// Logs and counts a claim that could not be expired.
    fn expiry_failed(&mut self, key: &ClaimKey, error: &StoreError) {
        tracing::error!(product = %key.product, device = %key.device, %error, "expiry_failed");
        self.failed += 1;
    }
}

/// Reason why a rollout is over: no device is in flight, and its end has come or its slots are used up.
fn is_over(update: &Update, counts: &Counts, now: Timestamp) -> Option<&'static str> {
    if counts.in_flight > 0 {
        return None;
    }
    let has_ended = update.rollout.ends_at.is_some_and(|end| now >= end);
    let is_used_up = update.rollout.limits.max_devices.is_some_and(|most| counts.used >= most);
    // A device that failed may be offered the update again until its attempts are used up.
    let is_settled = counts.succeeded >= counts.used;
    match (has_ended, is_used_up && is_settled) {
        (true, _) => Some("its end has come and nobody is under way"),
        (_, true) => Some("every place was given and every device has the update"),
        _ => None,
    }
}

/// Returns true after a change that was interrupted behind the write of its record: it leaves a shard shut, missing or
/// of an earlier generation.
fn needs_repair(record: &UpdateRecord, shards: &[Option<Shard>]) -> bool {
    let agrees = |shard: &Option<Shard>| match shard {
        Some(shard) => {
            shard.generation > record.generation || (shard.gate == Gate::Open && shard.generation == record.generation)
        }
        None => false,
    };
    record.state == State::Active && !shards.iter().all(agrees)
}

/// Returns true if a shard has a later generation than the record: the change has not written its record yet.
fn is_unfinished(record: &UpdateRecord, shards: &[Option<Shard>]) -> bool {
    shards.iter().flatten().any(|shard| shard.generation > record.generation)
}

fn point(counts: &Counts, at: Timestamp) -> SeriesPoint {
    SeriesPoint {
        at,
        offered: counts.used,
        in_flight: counts.in_flight,
        succeeded: counts.succeeded,
        failed: counts.failed,
        timed_out: counts.timed_out,
    }
}
