//! What time does to rollouts: claims expire, rollouts finish, and changes that were cut off are
//! put right. Scheduled each minute; running it twice at once does no harm.

use std::sync::Arc;

use serde::Serialize;
use tidegate_api::definition::Definition;
use tidegate_core::policy::Slots;
use tidegate_core::shard::{Counts, Gate, Shard};
use tidegate_core::{ProductId, State, Timestamp, Transition, Update};
use tidegate_store::control::{self, Actor, ControlError, Measure};
use tidegate_store::record::{ClaimKey, SeriesPoint, UpdateRecord};
use tidegate_store::{DynamoStore, StoreError, SweepStore};

/// The sweep service.
#[derive(Debug)]
pub struct SweepService<S> {
    store: S,
}

/// What one sweep did.
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
    /// Records that could not be dealt with; the log says why.
    pub failed: u64,
}

impl<S: SweepStore> SweepService<S> {
    /// A service over a store.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Does everything that is due at `now`. A record that fails does not hold up the others.
    ///
    /// # Errors
    /// When the store cannot even be listed.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for key in self.store.due_claims(now).await? {
            match self.expire(&key, now).await {
                Ok(expired) => swept.expired += u64::from(expired),
                // A report came first; there is nothing to expire any more.
                Err(StoreError::Conflict) => {}
                Err(error) => {
                    tracing::error!(product = %key.product, device = %key.device, %error, "expiry_failed");
                    swept.failed += 1;
                }
            }
        }
        for product in self.store.products().await? {
            self.sweep_product(&product, now, &mut swept).await?;
        }
        tracing::info!(
            expired = swept.expired,
            stopped = swept.stopped,
            completed = swept.completed,
            repaired = swept.repaired,
            split_again = swept.split_again,
            failed = swept.failed,
            "swept"
        );
        Ok(swept)
    }

    /// Ends one reservation, if it is due by its own record: the index may be behind.
    async fn expire(&self, key: &ClaimKey, now: Timestamp) -> Result<bool, StoreError> {
        let Some(claim) = self.store.claim(key).await? else {
            return Ok(false);
        };
        let Some((after, movement)) = claim.expire(now) else {
            return Ok(false);
        };
        self.store.settle(key, &claim, &after, movement).await?;
        tracing::info!(product = %key.product, device = %key.device, update = %key.update, "expired");
        Ok(true)
    }

    async fn sweep_product(&self, product: &ProductId, now: Timestamp, swept: &mut Swept) -> Result<(), StoreError> {
        let records = self.store.updates(product).await?;
        for record in records.iter().filter(|record| record.state.is_live()) {
            if let Err(error) = self.sweep_update(record, now, swept).await {
                tracing::error!(%product, version = %record.version, %error, "sweep_failed");
                swept.failed += 1;
            }
        }
        Ok(())
    }

    async fn sweep_update(&self, record: &UpdateRecord, now: Timestamp, swept: &mut Swept) -> Result<(), ControlError> {
        let update = compiled(record).map_err(|why| ControlError::Store(StoreError::Corrupt(why)))?;
        let Some(allocation) = &record.allocation else {
            return Ok(());
        };
        let shards = self.store.shards(&record.id, allocation.shards()).await?;
        let counts = Counts::total(shards.iter().flatten().map(|shard| &shard.counts));
        self.store.record_series(&record.id, &point(&counts, now)).await?;
        let measure = Measure::of(&update);
        let actor = |reason: &str| Actor { who: "sweep".into(), reason: reason.into(), now };
        if control::stop_if_bad(&self.store, record, &update, &counts, now).await?.is_some() {
            swept.stopped += 1;
        } else if let Some(reason) = is_over(&update, &counts, now) {
            control::transition(&self.store, record, Transition::Complete, measure, &actor(reason)).await?;
            swept.completed += 1;
        } else if needs_repair(record, &shards) {
            control::reopen(&self.store, record).await?;
            swept.repaired += 1;
        } else if record.state == State::Active && control::can_split_again(allocation, &shards, measure, now) {
            let actor = actor("what was held has fallen below the limits");
            control::split_again(&self.store, record, measure, &actor).await?;
            swept.split_again += 1;
        }
        Ok(())
    }
}

/// A rollout is over when its end has come, or all its places are given, and nobody is under way.
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

/// A change that was cut off after its record was written leaves shards of its generation shut, or
/// of an earlier one. A shard of a later generation belongs to a change that is under way.
fn needs_repair(record: &UpdateRecord, shards: &[Option<Shard>]) -> bool {
    let agrees = |shard: &Option<Shard>| match shard {
        Some(shard) => {
            shard.generation > record.generation || (shard.gate == Gate::Open && shard.generation == record.generation)
        }
        None => false,
    };
    record.state == State::Active && !shards.iter().all(agrees)
}

fn compiled(record: &UpdateRecord) -> Result<Update, String> {
    Definition::compile(&record.definition, &record.product, &record.publication(), &mut Slots::new())
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

/// The service as it comes from a function's environment.
///
/// # Errors
/// A sentence that names the variable that is missing.
pub async fn from_env() -> Result<Arc<SweepService<DynamoStore>>, String> {
    let table = tidegate_store::settings::variable("TIDEGATE_TABLE")?;
    let config = tidegate_store::settings::sdk_config().await;
    let client = tidegate_store::dynamo::client(&config);
    Ok(Arc::new(SweepService::new(DynamoStore::new(client, &table))))
}
