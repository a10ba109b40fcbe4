//! The sweep: it finishes changes, finds the devices that are overdue, and completes rollouts. A schedule starts it each
//! minute. Two sweeps at the same time do no harm. A product that fails does not stop the others, and a sweep that has
//! no time left is continued by the next one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde::Serialize;
use tidegate_core::breaker::{Breaker, LOOKED_AT, MOST_FAILED};
use tidegate_core::cadence::DAY_S;
use tidegate_core::count::{Count, CountedShard, Counts, Sums, part};
use tidegate_core::life::Rules;
use tidegate_core::life::table::Event;
use tidegate_core::phase::Lack;
use tidegate_core::places;
use tidegate_core::policy::Slots;
use tidegate_core::shard::{Gate, Shard};
use tidegate_core::times::Times;
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, Transition, Update};
use tidegate_store::record::{
    Change, ClaimChange, DeviceRecord, DeviceWrite, KnownDevice, RolloutKey, SeriesPoint, UpdateRecord,
};
use tidegate_store::store::{Freshness, Stored, Written};
use tidegate_store::{StoreError, SweepStore};
use tokio::time::Instant;

use crate::compile::{self, update_of};
use crate::control::{self, Actor, Changed, Verdict};
use crate::control_group;
use crate::due;
use crate::error::{Done, EngineError};
use crate::fleet;
use crate::metrics::TARGET as METRICS;
use crate::phases::{self, NextPhase};
use crate::stalled::stalled;
use crate::tidy;

/// The time of one sweep. The next one begins a minute after this one began.
const LONGEST_SWEEP: Duration = Duration::from_secs(50);
/// Seconds for which a due page waits, so that no page is written behind the sweep.
const DUE_PAGES_WAIT_S: i64 = 60;
/// Claims that are written at a time.
const WRITTEN_AT_A_TIME: usize = 64;

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
    /// Devices that are overdue since this sweep.
    pub lost: u64,
    /// Places of lost devices that were given to others.
    pub given_on: u64,
    /// Rollouts that were held because their update is bad.
    pub held: u64,
    /// Rollouts whose hold lifted itself.
    pub lifted: u64,
    /// Rollouts that were finished.
    pub completed: u64,
    /// Rollouts whose shards did not agree with their record.
    pub repaired: u64,
    /// Rollouts whose next phase waits for a count of all devices.
    pub counts_wanted: u64,
    /// Rollouts whose next phase has begun.
    pub advanced: u64,
    /// Rollouts whose new grants wait because transfers fail, or go on after that.
    pub transfers_judged: u64,
    /// Rollouts that do not go on by themselves.
    pub stalled: u64,
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
        let mut is_snapshot_due = false;
        for (number, product) in products.iter().enumerate() {
            if started.elapsed() > LONGEST_SWEEP {
                swept.left = products.len().saturating_sub(number) as u64;
                *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(product.clone());
                break;
            }
            match self.sweep_product(product, started, now, &mut swept).await {
                Ok(is_due) => is_snapshot_due |= is_due,
                Err(error) => {
                    tracing::error!(%product, %error, "product_not_swept");
                    swept.failed += 1;
                }
            }
        }
        if is_snapshot_due && let Err(error) = fleet::go_on(&self.store, started, LONGEST_SWEEP, now).await {
            tracing::error!(%error, "fleet_snapshot_failed");
            swept.failed += 1;
        }
        tracing::info!(
            lost = swept.lost,
            given_on = swept.given_on,
            held = swept.held,
            lifted = swept.lifted,
            completed = swept.completed,
            repaired = swept.repaired,
            advanced = swept.advanced,
            transfers_judged = swept.transfers_judged,
            stalled = swept.stalled,
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
            rollouts_stalled = swept.stalled,
            products_left = swept.left
        );
        Ok(swept)
    }

    /// Sweeps a product; returns whether a fleet snapshot is due for one of its updates.
    async fn sweep_product(
        &self,
        product: &ProductId,
        started: Instant,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Result<bool, StoreError> {
        let records = self.store.updates(product).await?;
        let head = self.store.head(product, Freshness::Strong).await?;
        let is_stopped = head.as_ref().is_some_and(|head| head.is_stopped);
        let mut is_snapshot_due = head.as_ref().is_some_and(|head| fleet::is_count_due(head, now));
        let is_tidying_due = head.is_some_and(|head| tidy::is_due(&head, now));
        let (mut total, mut live_updates) = (Counts::default(), 0_u64);
        for record in records.iter().filter(|record| record.deleted_at.is_none()) {
            match self.sweep_update(record, is_stopped, started, now, swept).await {
                Ok(counts) => {
                    total = total.plus(&counts);
                    // One that cannot be read is not counted either.
                    is_snapshot_due |= fleet::is_due(record, now) || swept.counts_wanted > 0;
                }
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
        if is_tidying_due && let Err(error) = tidy::tidy(&self.store, product, started, LONGEST_SWEEP, now).await {
            tracing::error!(%product, %error, "product_not_tidied");
            swept.failed += 1;
        }
        let devices = |count| total.devices(count);
        tracing::info!(
            target: METRICS,
            %product,
            live_updates,
            offered = total.used,
            in_flight = total.in_flight,
            proved = devices(Count::Proved),
            failed = devices(Count::Failed),
            reverted = devices(Count::Reverted),
            lost = devices(Count::Lost)
        );
        Ok(is_snapshot_due)
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
        // The change is judged by the gate that it brings.
        let is_opening = record.wanted.as_ref().is_some_and(|wanted| !wanted.change.halts());
        let read = match is_opening && record.state.is_live() {
            true => self.with_reading(record, now).await?,
            false => None,
        };
        let record = read.as_ref().unwrap_or(record);
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
        self.look_at_due(record, &tallied.sums, started, now, swept).await?;
        if !record.state.is_live() {
            return Ok(Counts::default());
        }
        let counts = Counts::of(&shards, &tallied.sums);
        let read = match control_group::judge(record, &update, &tallied.sums, now) {
            None => self.with_reading(record, now).await?,
            Some(_) => None,
        };
        let record = read.as_ref().unwrap_or(record);
        if record.wanted.as_ref().is_some_and(|wanted| wanted.change == Change::Recount) {
            // A repair goes on with it, and its counts are not whole.
            return Ok(counts);
        }
        if control::hold_if_bad(&self.store, record, &update, &tallied.sums, now).await? == Verdict::Held {
            swept.held += 1;
            return Ok(counts);
        }
        self.store.record_series(&rollout, &point(&counts, now)).await?;
        let next_phase = phases::next(record, &update, &tallied.sums, now);
        if let Some(stalled) = stalled(record, &update, &counts, next_phase.as_ref(), now) {
            tracing::warn!(product = %record.product, version = %record.version, %stalled, "rollout_stalled");
            swept.stalled += 1;
        }
        if record.wanted.is_some() {
            return Ok(counts);
        }
        match control::lift_if_back(&self.store, record, &update, &tallied.sums, now).await {
            Ok(false) => {}
            Ok(true) => {
                swept.lifted += 1;
                return Ok(counts);
            }
            // The product is stopped, or an operator was faster.
            Err(EngineError::Store(StoreError::Conflict)) => return Ok(counts),
            Err(error) => return Err(error),
        }
        if let Some(reason) = is_over(record, &update, &counts, now) {
            self.change(record, Change::Transition(Transition::Complete), &actor(reason, now), now).await?;
            swept.completed += 1;
        } else if record.state == State::Active {
            if control::reopen(&self.store, record, &shards, &tallied.sums).await? {
                swept.repaired += 1;
                shards = self.store.shards(&rollout, allocation.shards()).await?;
                tallied = self.store.tallied(&rollout).await?;
            }
            self.raise(record, &shards, &tallied.sums).await?;
            if let Some(breaker) = record.breaker.after(&tallied.sums.transfers, now) {
                self.judge_transfers(record, breaker, now, swept).await?;
            } else if control::can_split_again(record, &update, &shards, &tallied.sums, now) {
                let actor = actor("the limits allow more than the shards", now);
                self.change(record, Change::Split, &actor, now).await?;
                swept.split_again += 1;
            } else if let Some(phase) = next_phase {
                self.begin(record, &phase, now, swept).await?;
            }
        }
        Ok(counts)
    }

    /// Lets new grants wait because transfers fail, or go on because they go well again.
    async fn judge_transfers(
        &self,
        record: &UpdateRecord,
        breaker: Breaker,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Done<()> {
        let reason = match breaker.not_before {
            Some(at) => {
                format!("{MOST_FAILED} or more of the last {LOOKED_AT} downloads failed; the next devices try at {at}")
            }
            None => format!("fewer than {MOST_FAILED} of the last {LOOKED_AT} downloads failed"),
        };
        tracing::warn!(product = %record.product, version = %record.version, reason, "transfers_judged");
        self.change(record, Change::Transfers(breaker), &actor(&reason, now), now).await?;
        swept.transfers_judged += 1;
        Ok(())
    }

    /// Begins a phase on evidence, if it lacks nothing. If it lacks a count of all devices, one is due.
    async fn begin(&self, record: &UpdateRecord, phase: &NextPhase, now: Timestamp, swept: &mut Swept) -> Done<()> {
        match phase.lack {
            None => {
                let actor = actor(&phase.soaking.to_string(), now);
                self.change(record, Change::Advance(phase.number.saturating_sub(1), phase.soaking.soaked), &actor, now)
                    .await?;
                swept.advanced += 1;
            }
            Some(Lack::Count) => swept.counts_wanted += 1,
            Some(_) => {}
        }
        Ok(())
    }

    /// The record with a new reading of its control group; `None` if it has no group that is read.
    async fn with_reading(&self, record: &UpdateRecord, now: Timestamp) -> Stored<Option<UpdateRecord>> {
        let reading = control_group::reading_for(&self.store, record, now).await?;
        Ok(reading.map(|reading| UpdateRecord { reading: Some(reading), ..record.clone() }))
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
            let ceiling = sums.ceiling(CountedShard::of(record.generation, *number), allocation.places(*number));
            shard.is_some_and(|shard| shard.gate == Gate::Open && shard.ceiling < Some(ceiling))
        };
        let low = (0..).zip(shards).filter(is_low).map(|(number, _)| number).collect::<Vec<_>>();
        control::raise(&self.store, record, sums, low).await
    }

    /// Looks at the devices that are due: those that are overdue are lost, and places of lost devices are given to others
    /// as far as proved devices allow it. The others are looked at again when they are due.
    async fn look_at_due(
        &self,
        record: &UpdateRecord,
        sums: &Sums,
        started: Instant,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Stored<()> {
        let (rollout, end) = (record.rollout(), due_until(now));
        // Those of newcomers and of others apart: nobody makes places by inventing devices.
        let budget = |is_newcomers| {
            let of = |count| sums.of_kind(count, is_newcomers);
            places::to_give_on(of(Count::Proved), of(Count::GivenOn))
        };
        let [mut of_newcomers, mut of_others] = [true, false].map(budget);
        loop {
            let pages = self.store.due_pages(&rollout, end).await?;
            if pages.is_empty() || started.elapsed() > LONGEST_SWEEP {
                return Ok(());
            }
            // A device may stand on several pages; a batch may name it only once.
            let devices = pages.iter().flat_map(|page| page.devices.iter().cloned()).collect::<BTreeSet<_>>();
            let devices = devices.into_iter().collect::<Vec<_>>();
            let (mut due, mut later) = (Vec::new(), Vec::new());
            for (device, known) in self.store.devices(&record.product, &devices).await? {
                let Some(claim) = known.claim(&record.id) else {
                    continue;
                };
                let to_give_on = if claim.is_newcomer { &mut of_newcomers } else { &mut of_others };
                match look_at(&known.record_or_default(), claim, record, *to_give_on, now) {
                    Look::Nothing => {}
                    Look::At(at) => later.push((at, device)),
                    Look::Due(after) => {
                        *to_give_on = to_give_on.saturating_sub(u64::from(is_given_on(&after)));
                        due.push(Due::new(record, device, &known, claim, *after));
                    }
                }
            }
            later.extend(self.write_due(record, due, now, swept).await);
            self.write_pages(&rollout, later, now).await?;
            // A page is removed last, so that no device is ever on none.
            for page in &pages {
                self.store.remove_due_page(&rollout, &page.name).await?;
            }
        }
    }

    /// Writes the claims of devices that are due; returns when to look at each again.
    async fn write_due(
        &self,
        record: &UpdateRecord,
        due: Vec<Due>,
        now: Timestamp,
        swept: &mut Swept,
    ) -> Vec<(Timestamp, DeviceId)> {
        let mut later = Vec::new();
        for some in due.chunks(WRITTEN_AT_A_TIME) {
            let mut writes = Vec::with_capacity(some.len());
            for due in some {
                writes.push(self.store.write_device(&due.write));
            }
            for (due, written) in some.iter().zip(join_all(writes).await) {
                match written {
                    Ok(Written::Yes) if due.is_given_on => swept.given_on += 1,
                    Ok(Written::Yes) => {
                        swept.lost += 1;
                        if due.holds_place && !has_ended(record) {
                            later.push((after_a_day(now), due.write.device.clone()));
                        }
                    }
                    // The device was heard from, or has another claim.
                    Ok(Written::OtherDevice(_)) => later.push((now, due.write.device.clone())),
                    Err(error) => {
                        tracing::error!(product = %due.write.product, device = %due.write.device, %error, "device_not_lost");
                        swept.failed += 1;
                        later.push((now, due.write.device.clone()));
                    }
                }
            }
        }
        later
    }

    /// Writes devices on the pages of their next looks.
    async fn write_pages(&self, rollout: &RolloutKey, later: Vec<(Timestamp, DeviceId)>, now: Timestamp) -> Stored<()> {
        for page in due::pages(later, now) {
            self.store.move_due_page(rollout, &page).await?;
        }
        Ok(())
    }
}

/// What a look at a claim leads to.
enum Look {
    /// The claim is not watched any more.
    Nothing,
    /// The device is looked at again.
    At(Timestamp),
    /// The claim changes.
    Due(Box<Claim>),
}

/// Looks at a claim of a device that stands on a due page. The place of a device that was lost when an operator
/// acknowledged what happened, and began `test`, is given on in any case.
fn look_at(device: &DeviceRecord, claim: &Claim, record: &UpdateRecord, to_give_on: u64, now: Timestamp) -> Look {
    if claim.state().is_watched() {
        let due_at = due::due_at(device, claim);
        // Only the silence matters here, so any rules do.
        let lost = claim.after(Event::Due, &Rules::new(&Times::default(), 0), now).filter(|_| due_at <= now);
        return lost.map_or(Look::At(due_at), |lost| Look::Due(Box::new(lost)));
    }
    let test = &record.test;
    let is_seen = claim.life.lost_at.zip(test.began_at).is_some_and(|(lost, began)| lost <= began);
    let is_acknowledged = claim.test < test.number && is_seen;
    match claim.without_place() {
        Some(without) if to_give_on > 0 || is_acknowledged => Look::Due(Box::new(without)),
        Some(_) if has_ended(record) => Look::Nothing,
        Some(_) => Look::At(after_a_day(now)),
        None => Look::Nothing,
    }
}

/// Returns true if nobody waits for a place of a rollout any more.
fn has_ended(record: &UpdateRecord) -> bool {
    record.is_earlier || record.state.may_reopen()
}

fn is_given_on(claim: &Claim) -> bool {
    part(claim).counts.iter().any(|(_, count)| *count == Count::GivenOn)
}

/// The change of a claim that is due.
struct Due {
    write: DeviceWrite,
    is_given_on: bool,
    holds_place: bool,
}

impl Due {
    fn new(record: &UpdateRecord, device: DeviceId, known: &KnownDevice, before: &Claim, after: Claim) -> Self {
        let (is_given_on, holds_place) = (is_given_on(&after), after.life.holds_place);
        let write = DeviceWrite {
            still_seen_at: known.record_or_default().last_seen,
            claims: vec![ClaimChange { before: before.clone(), after, note: None }],
            ..DeviceWrite::new(record.product.clone(), device, true)
        };
        Self { write, is_given_on, holds_place }
    }
}

fn after_a_day(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(DAY_S)).unwrap_or(now)
}

/// The sweep as the author of a change.
fn actor(reason: &str, now: Timestamp) -> Actor {
    Actor { who: "sweep".into(), reason: reason.into(), now }
}

/// The end of the pages that are looked at.
fn due_until(now: Timestamp) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(DUE_PAGES_WAIT_S)).unwrap_or(now)
}

/// Reason why a rollout is over: its end has come, or every place was given and every device has the update.
fn is_over(record: &UpdateRecord, update: &Update, counts: &Counts, now: Timestamp) -> Option<&'static str> {
    let has_ended = update.rollout.ends_at.is_some_and(|end| now >= end);
    let is_used_up = update.rollout.limits.max_devices.is_some_and(|most| counts.used >= most);
    // A device that failed may be offered the update again.
    let is_settled = counts.devices(Count::Proved) >= counts.used;
    // A way back is for the devices that are on the way now; an upgrade is also for those that come later.
    let counted = record.audience.as_ref().filter(|audience| Some(audience.at) > record.opened_at);
    let are_all_back = update.is_rollback() && counted.is_some_and(|audience| audience.unfinished == 0);
    match (has_ended, is_used_up && is_settled, are_all_back) {
        (true, ..) => Some("its end has come"),
        (_, true, _) => Some("every place was given and every device has the update"),
        (.., true) => Some("no device that was heard from within thirty days is left to be taken back"),
        _ => None,
    }
}

fn point(counts: &Counts, at: Timestamp) -> SeriesPoint {
    SeriesPoint {
        at,
        offered: counts.used,
        in_flight: counts.in_flight,
        proved: counts.devices(Count::Proved),
        failed: counts.devices(Count::Failed),
        reverted: counts.devices(Count::Reverted),
        lost: counts.devices(Count::Lost),
    }
}
