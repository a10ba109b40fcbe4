//! The sweep: it finishes changes, ends the claims of silent devices, and completes rollouts. A schedule starts it each
//! minute. Two sweeps at the same time do no harm. A product that fails does not stop the others, and a sweep that has
//! no time left is continued by the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde::Serialize;
use tidegate_core::count::{Counts, Sums};
use tidegate_core::policy::Slots;
use tidegate_core::shard::{Gate, Shard};
use tidegate_core::{Claim, ClaimState, DeviceId, ProductId, State, Timestamp, Transition, Update};
use tidegate_store::record::{Change, ClaimChange, DeviceWrite, RolloutKey, SeriesPoint, UpdateRecord};
use tidegate_store::store::{Freshness, Stored, Written};
use tidegate_store::{StoreError, SweepStore};
use tokio::time::Instant;

use crate::compile::{self, update_of};
use crate::control::{self, Actor, Changed};
use crate::due;
use crate::error::{Done, EngineError};
use crate::metrics::TARGET as METRICS;

/// The time of one sweep. The next one begins a minute after this one began.
const LONGEST_SWEEP: Duration = Duration::from_secs(50);
/// Seconds for which a due page waits, so that no page is written behind the sweep.
const DUE_PAGES_WAIT_S: i64 = 60;
/// Claims that are ended at a time.
const EXPIRED_AT_A_TIME: usize = 64;

/// The sweep service.
#[derive(Debug)]
pub struct SweepService<S> {
    store: S,
    /// The product at which the next sweep begins.
    next: Mutex<Option<ProductId>>,
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
    /// Changes under way that this sweep finished.
    pub finished: u64,
    /// Changes that are still under way.
    pub unfinished: u64,
    /// Products that were left to the next sweep, because the time was over.
    pub left: u64,
    /// Records that failed; the log has the reason.
    pub failed: u64,
}

impl<S: SweepStore> SweepService<S> {
    /// A service over a store.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store, next: Mutex::default() }
    }

    /// Does everything that is due at `now`. A record or a product that fails does not stop the others.
    ///
    /// # Errors
    /// When the store cannot list the products.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        let started = Instant::now();
        let mut swept = Swept::default();
        let mut products = self.store.products().await?;
        if let Some(next) = self.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let first = products.iter().position(|product| *product == next).unwrap_or(0);
            products.rotate_left(first);
        }
        for (number, product) in products.iter().enumerate() {
            if started.elapsed() > LONGEST_SWEEP {
                swept.left = products.len().saturating_sub(number) as u64;
                *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(product.clone());
                break;
            }
            if let Err(error) = self.sweep_product(product, started, now, &mut swept).await {
                tracing::error!(%product, %error, "product_not_swept");
                swept.failed += 1;
            }
        }
        tracing::info!(
            expired = swept.expired,
            stopped = swept.stopped,
            completed = swept.completed,
            repaired = swept.repaired,
            split_again = swept.split_again,
            finished = swept.finished,
            unfinished = swept.unfinished,
            left = swept.left,
            failed = swept.failed,
            "swept"
        );
        let sweep_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: METRICS,
            sweep_finished = 1_u64,
            sweep_ms,
            records_failed = swept.failed,
            changes_unfinished = swept.unfinished,
            products_left = swept.left
        );
        Ok(swept)
    }

    async fn sweep_product(
        &self,
        product: &ProductId,
        started: Instant,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        let records = self.store.updates(product).await?;
        let head = self.store.head(product, Freshness::Strong).await?;
        let is_stopped = head.is_some_and(|head| head.is_stopped);
        let (mut total, mut live_updates) = (Counts::default(), 0_u64);
        for record in &records {
            match self.sweep_update(record, is_stopped, started, now, swept).await {
                Ok(counts) => total = total.plus(&counts),
                Err(error) => {
                    tracing::error!(%product, version = %record.version, %error, "sweep_failed");
                    swept.failed += 1;
                }
            }
            live_updates += u64::from(record.state.is_live());
        }
        // Also what others changed and could not compile.
        if let Err(error) = compile::compile(&self.store, product).await {
            tracing::error!(%product, %error, "catalog_not_compiled");
            swept.failed += 1;
        }
        let Counts { used, in_flight, succeeded, failed, timed_out } = total;
        tracing::info!(target: METRICS, %product, live_updates, offered = used, in_flight, succeeded, failed, timed_out);
        Ok(())
    }

    /// Sweeps one update; returns its counters if it is live.
    async fn sweep_update(
        &self,
        record: &UpdateRecord,
        is_stopped: bool,
        started: Instant,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Done<Counts> {
        let changed = self.finish(record, is_stopped, now, swept).await?;
        let record = changed.as_ref().unwrap_or(record);
        let Some(allocation) = &record.allocation else {
            return Ok(Counts::default());
        };
        let rollout = record.rollout();
        // A rollout that has ended needs a look only while claims of it are due.
        if !record.state.is_live() && self.store.due_pages(&rollout, due_until(now)).await?.is_empty() {
            return Ok(Counts::default());
        }
        let update = update_of(record, &mut Slots::new())?;
        let mut tallied = self.store.tallied(&rollout).await?;
        let mut shards = self.store.shards(&rollout, allocation.shards()).await?;
        let expired = self.expire_due(record, &update, &shards, &tallied.sums, started, now, swept).await?;
        if !record.state.is_live() {
            return Ok(Counts::default());
        }
        let counts = counts_with(&shards, &tallied.sums, expired);
        if expired.has_stopped {
            swept.stopped += 1;
            return Ok(counts);
        }
        if control::abort_if_counts_are_bad(&self.store, record, &update, &counts, now).await?.is_some() {
            swept.stopped += 1;
            return Ok(counts);
        }
        let counts = Counts::of(&shards, &tallied.sums);
        self.store.record_series(&rollout, &point(&counts, now)).await?;
        if record.wanted.is_some() {
            return Ok(counts);
        }
        if let Some(reason) = is_over(&update, &counts, now) {
            self.change(record, Change::Transition(Transition::Complete), &actor(reason, now), now).await?;
            swept.completed += 1;
        } else if record.state == State::Active {
            if control::reopen(&self.store, record, &shards, &tallied.sums).await? {
                swept.repaired += 1;
                shards = self.store.shards(&rollout, allocation.shards()).await?;
                tallied = self.store.tallied(&rollout).await?;
            }
            self.raise(record, &shards, &tallied.sums).await?;
            if control::can_split_again(record, &update, &shards, &tallied.sums, now) {
                let actor = actor("what was held has fallen below the limits", now);
                self.change(record, Change::Split, &actor, now).await?;
                swept.split_again += 1;
            }
        }
        Ok(counts)
    }

    /// Finishes a change that is under way; returns the record after it. While the whole product is stopped, an update is
    /// paused and nothing opens it; when it goes on, what the stop paused is resumed.
    async fn finish(
        &self,
        record: &UpdateRecord,
        is_stopped: bool,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Done<Option<UpdateRecord>> {
        let finished = match is_stopped {
            true => control::pause_for_stop(&self.store, record, &actor("the product is stopped", now)).await,
            false => control::resume_after_stop(&self.store, record, &actor("the product was resumed", now)).await,
        };
        let finished = match finished {
            Ok(None) if record.wanted.is_some() => control::carry_out(&self.store, record, now).await.map(Some),
            finished => finished,
        };
        match finished {
            Ok(None) => Ok(None),
            Ok(Some(Changed { record, shards_left: 0 })) => {
                swept.finished += 1;
                Ok(Some(record))
            }
            Ok(Some(Changed { .. })) => {
                tracing::warn!(product = %record.product, version = %record.version, "change_unfinished");
                swept.unfinished += 1;
                Ok(None)
            }
            // Another function has finished it, or a stronger change has taken over.
            Err(EngineError::Store(StoreError::Conflict)) => {
                Ok(self.store.update(&record.product, &record.version).await?)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a change of the sweep's own.
    async fn change(&self, record: &UpdateRecord, change: Change, actor: &Actor, now: Timestamp) -> Done<()> {
        let wishing = match control::want(&self.store, record, change, actor).await {
            // An operator was faster.
            Err(EngineError::Store(StoreError::Conflict)) => return Ok(()),
            wishing => wishing?,
        };
        match control::carry_out(&self.store, &wishing, now).await {
            Err(EngineError::Store(StoreError::Conflict)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Raises the ceilings that are too low: those that the count did not raise.
    async fn raise(&self, record: &UpdateRecord, shards: &[Option<Shard>], sums: &Sums) -> Stored<()> {
        let Some(allocation) = &record.allocation else {
            return Ok(());
        };
        let is_low = |(number, shard): &(u16, &Option<Shard>)| {
            let ceiling = sums.ceiling(*number, allocation.places(*number));
            shard.is_some_and(|shard| shard.gate == Gate::Open && shard.ceiling < Some(ceiling))
        };
        let low = (0..).zip(shards).filter(is_low).map(|(number, _)| number).collect::<Vec<_>>();
        control::raise(&self.store, record, sums, low).await
    }

    /// Ends the reservations of devices that were silent until their end, as far as their places may be given to
    /// others; returns what their silence adds to the counters.
    #[allow(clippy::too_many_arguments)] // what a rollout is known by
    async fn expire_due(
        &self,
        record: &UpdateRecord,
        update: &Update,
        shards: &[Option<Shard>],
        sums: &Sums,
        started: Instant,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Done<Silence> {
        let rollout = record.rollout();
        let end = due_until(now);
        let mut silence = Silence::default();
        loop {
            let pages = self.store.due_pages(&rollout, end).await?;
            if pages.is_empty() || started.elapsed() > LONGEST_SWEEP {
                return Ok(silence);
            }
            // A device may stand on several pages; a batch may name it only once.
            let devices = pages.iter().flat_map(|page| page.devices.iter().cloned()).collect::<BTreeSet<_>>();
            let devices = devices.into_iter().collect::<Vec<_>>();
            let (silent, waiting) = self.look_at(record, &devices, now).await?;
            // Silence is judged before other devices get the places of silent devices. A rollout is stopped once: the
            // record that was read is old then.
            if !silence.has_stopped {
                let counts = counts_with(shards, sums, silence.with(&silent));
                let verdict = control::abort_if_counts_are_bad(&self.store, record, update, &counts, now).await?;
                silence.has_stopped = verdict.is_some();
            }
            let may_end = match silence.has_stopped || !record.state.is_live() {
                true => silent.len(),
                false => given_on(update, &counts_with(shards, sums, silence), silent.len(), now),
            };
            let (ending, going_on) = silent.split_at(may_end.min(silent.len()));
            let failed = self.expire(record, ending, swept).await;
            silence = silence.with(&silent);
            let later = going_on.iter().chain(failed).map(Silent::reservation).chain(waiting);
            self.write_pages(&rollout, later.collect(), now).await?;
            // A page is removed last, so that no device is ever on none.
            for page in &pages {
                self.store.remove_due_page(&rollout, &page.name).await?;
            }
        }
    }

    /// The silent devices among `devices`, and those that are not due yet.
    async fn look_at(
        &self,
        record: &UpdateRecord,
        devices: &[DeviceId],
        now: Timestamp,
    ) -> Stored<(Vec<Silent>, Vec<(Timestamp, DeviceId)>)> {
        let mut silent = BTreeMap::new();
        let mut waiting = BTreeMap::new();
        for (device, known) in self.store.devices(&record.product, devices).await? {
            let Some(before) = known.claim(&record.id).filter(|claim| claim.state == ClaimState::Reserved) else {
                continue;
            };
            match before.expire(now) {
                Some(after) => {
                    let change = ClaimChange { before: before.clone(), after, note: None };
                    silent.insert(device.clone(), Silent { device, change });
                }
                None => drop(waiting.insert(device, before.expires_at)),
            }
        }
        let waiting = waiting.into_iter().map(|(device, end)| (end, device)).collect();
        Ok((silent.into_values().collect(), waiting))
    }

    /// Ends claims; returns the devices whose claims could not be written.
    async fn expire<'a>(&self, record: &UpdateRecord, ending: &'a [Silent], swept: &mut Swept) -> Vec<&'a Silent> {
        let mut failed = Vec::new();
        for some in ending.chunks(EXPIRED_AT_A_TIME) {
            let mut writes = Vec::with_capacity(some.len());
            for silent in some {
                writes.push(self.end_claim(record, silent));
            }
            for (silent, ended) in some.iter().zip(join_all(writes).await) {
                match ended {
                    Ok(Written::Yes) => swept.expired += 1,
                    // A report came first; there is nothing to end any more.
                    Ok(Written::OtherDevice(_)) => {}
                    Err(error) => {
                        tracing::error!(product = %record.product, device = %silent.device, %error, "expiry_failed");
                        swept.failed += 1;
                        failed.push(silent);
                    }
                }
            }
        }
        failed
    }

    async fn end_claim(&self, record: &UpdateRecord, silent: &Silent) -> Stored<Written> {
        let write = DeviceWrite {
            product: record.product.clone(),
            device: silent.device.clone(),
            is_known: true,
            seen: None,
            claims: vec![silent.change.clone()],
        };
        self.store.write_device(&write).await
    }

    /// Writes devices on the pages of their next looks.
    async fn write_pages(&self, rollout: &RolloutKey, later: Vec<(Timestamp, DeviceId)>, now: Timestamp) -> Stored<()> {
        for page in due::pages(later, now) {
            self.store.move_due_page(rollout, &page).await?;
        }
        Ok(())
    }
}

/// A device that was silent until the end of its reservation, and the end of its claim.
struct Silent {
    device: DeviceId,
    change: ClaimChange,
}

impl Silent {
    /// The end of its reservation, and the device.
    fn reservation(&self) -> (Timestamp, DeviceId) {
        (self.change.before.expires_at, self.device.clone())
    }
}

/// Changes of the counters by silent devices that the stream has not counted.
#[derive(Debug, Clone, Copy, Default)]
struct Silence {
    timed_out: i64,
    failed: i64,
    succeeded: i64,
    /// True if the health gate has stopped the rollout because of them.
    has_stopped: bool,
}

impl Silence {
    /// The same, with these devices.
    fn with(self, silent: &[Silent]) -> Self {
        silent.iter().fold(self, |sum, silent| {
            let mut moved = Sums::default();
            let counted = |claim: &Claim| Claim { holds_place: false, ..claim.clone() };
            moved.count(Some(&counted(&silent.change.before)), Some(&counted(&silent.change.after)));
            Self {
                timed_out: sum.timed_out.saturating_add(moved.timed_out),
                failed: sum.failed.saturating_add(moved.failed),
                succeeded: sum.succeeded.saturating_add(moved.succeeded),
                ..sum
            }
        })
    }
}

/// The counters, with silent devices counted as timed out.
fn counts_with(shards: &[Option<Shard>], sums: &Sums, silence: Silence) -> Counts {
    let mut sums = sums.clone();
    sums.timed_out = sums.timed_out.saturating_add(silence.timed_out);
    sums.failed = sums.failed.saturating_add(silence.failed);
    sums.succeeded = sums.succeeded.saturating_add(silence.succeeded);
    Counts::of(shards, &sums)
}

/// The sweep as the author of a change.
fn actor(reason: &str, now: Timestamp) -> Actor {
    Actor { who: "sweep".into(), reason: reason.into(), now }
}

/// The end of the pages that are looked at.
fn due_until(now: Timestamp) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(DUE_PAGES_WAIT_S)).unwrap_or(now)
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
