//! Changes of a rollout, in the only order in which they are safe.
//!
//! 0. The wish: the record says what is wanted and for which generation, and the head says which rollouts are stopped.
//!    From then on no ceiling is raised, and within a second no check-in gives out the update.
//! 1. Every shard is shut for this generation, each by itself. From then on nothing can be granted.
//! 2. The record is changed, if the wish is still the same one.
//! 3. A change that opens the rollout opens every shard, with ceilings that follow from what is held.
//!
//! A stronger wish replaces a weaker one, and the weaker one opens nothing. Any function can finish a change that was
//! interrupted: it repeats the steps.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::Value;
use tidegate_core::count::{Count, CountedShard, Held, Sums, next_count};
use tidegate_core::gate::Judgement;
use tidegate_core::lifecycle::Force;
use tidegate_core::limits::{Allocation, Limits, NEWCOMERS_SHARD, Newcomers};
use tidegate_core::phase::Begun;
use tidegate_core::policy::Slots;
use tidegate_core::shard::{Gate, Shard, period_of};
use tidegate_core::update::Test;
use tidegate_core::{State, Timestamp, Transition, Update};
use tidegate_store::record::{Audience, AudienceEdit, AuditEntry, Change, UpdateRecord, ValueChange, Wanted};
use tidegate_store::store::{Expected, Opening, Shut, StoreError, Stored};
use tidegate_store::{CloseRollouts, OpenRollouts, RaiseCeilings};
use tidegate_wire::definition::Definition;

use crate::compile::update_of;
use crate::control_group;
use crate::error::{Done, EngineError};
use crate::metrics;

/// Time between the wish of a stop and its acknowledgement: a head is used for at most a second, and a request that
/// began before the wish may sign a URL for at most another second. The rest is for the clocks.
pub const ACKNOWLEDGED_AFTER: Duration = Duration::from_millis(2500);

/// The principal of the health gate.
const HEALTH_RULE: &str = "health rule";
/// Number of holds of a rollout that lift themselves.
const MOST_LIFTS: u8 = 3;

/// Author, reason and time of a change.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The principal.
    pub who: String,
    /// The reason that was given.
    pub reason: String,
    /// The time of the change.
    pub now: Timestamp,
}

impl Actor {
    /// An audit entry about `subject` that belongs to no transition of an update.
    pub(crate) fn entry(&self, action: impl Into<String>, subject: impl Into<String>, generation: u64) -> AuditEntry {
        AuditEntry {
            at: self.now,
            who: self.who.clone(),
            action: action.into(),
            subject: subject.into(),
            from: None,
            to: None,
            reason: self.reason.clone(),
            generation,
            changes: Vec::new(),
        }
    }
}

/// Progress of a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The record as it is now.
    pub record: UpdateRecord,
    /// Shards that are not shut yet. The change is done when there is none.
    pub shards_left: u16,
}

/// Input for the split of a rollout's limits over its shards.
#[derive(Debug, Clone)]
struct Measure {
    limits: Limits,
    bytes_per_device: u64,
    newcomers: Newcomers,
}

/// Time after the beginning of a campaign at which what newcomers have not used goes to the others.
const NEWCOMERS_WAIT: SignedDuration = SignedDuration::from_hours(24);

impl Measure {
    /// The limits in force, by what was counted.
    fn of(record: &UpdateRecord, update: &Update, sums: &Sums, held: &[Held], now: Timestamp) -> Self {
        let audience = record.audience.as_ref().map(Audience::known);
        let limits = update.rollout.limits.in_force(audience, sums.voters(Count::Mature));
        Self { limits, bytes_per_device: update.content.size_bytes(), newcomers: newcomers(record, held, now) }
    }

    fn split(&self, held: &[Held], now: Timestamp) -> Allocation {
        // A shard may have been opened by a faster clock. Its period is over for nobody before it is over for this shard.
        let latest = held.iter().filter_map(|held| Timestamp::from_second(held.period).ok()).fold(now, Timestamp::max);
        let period = period_of(latest, self.limits.period_s);
        Allocation::split(&self.limits, self.bytes_per_device, self.newcomers, held, period)
    }
}

/// The part of the limits that newcomers have now. They give back what they have not used when the others have used up
/// theirs.
fn newcomers(record: &UpdateRecord, held: &[Held], now: Timestamp) -> Newcomers {
    let Some(since) = record.newcomers_since else {
        return Newcomers::AreLikeOthers;
    };
    let caps = record.allocation.as_ref().map_or(&[][..], |allocation| &allocation.devices);
    let mut others = held.iter().zip(caps).skip(usize::from(NEWCOMERS_SHARD).saturating_add(1));
    let are_used_up = !caps.is_empty() && others.all(|(held, cap)| held.used >= *cap);
    match are_used_up && now.duration_since(since) >= NEWCOMERS_WAIT {
        true => Newcomers::GiveBack,
        false => Newcomers::HaveATenth,
    }
}

/// Writes the wish for a change of `record`. A wish for the same change that is under way already is joined.
///
/// # Errors
/// When the state does not allow the change, another one is under way that is at least as strong, the record was changed
/// meanwhile, or the store cannot be reached.
pub async fn want(
    store: &impl CloseRollouts,
    record: &UpdateRecord,
    change: Change,
    actor: &Actor,
) -> Done<UpdateRecord> {
    want_at(store, record, change, actor, None).await
}

/// Writes the wish for a change, as [`want`] does, but only if the head of the product still has this revision: nothing
/// else has changed in the product.
///
/// # Errors
/// As [`want`].
pub async fn want_at(
    store: &impl CloseRollouts,
    record: &UpdateRecord,
    change: Change,
    actor: &Actor,
    revision: Option<u64>,
) -> Done<UpdateRecord> {
    must_be_allowed(record, &change)?;
    if let Some(wanted) = &record.wanted {
        if is_same(&wanted.change, &change) {
            return Ok(record.clone());
        }
        if change.force() <= wanted.change.force() {
            let (version, what) = (record.version.clone(), name(&wanted.change).to_string());
            return Err(EngineError::ChangeUnderWay { version, what });
        }
    }
    let wanted = wish(record, change, actor)?;
    // A stop is in force with its wish; anything else with its record. The stop of a product has its own entry.
    let is_stop = wanted.change.force() > Force::Edit;
    let is_cancelled = wanted.change == Change::Stop && record.state != State::Active;
    let entry = (is_stop && !is_cancelled).then(|| audit(record, &wanted));
    let wishing = UpdateRecord { wanted: Some(wanted), ..record.clone() };
    let expected = Expected { revision, ..Expected::of(record) };
    store.want(&wishing, expected, entry.as_ref()).await?;
    Ok(wishing)
}

/// The wish for a change of `record`, for the next generation.
///
/// # Errors
/// When the stored definition cannot be understood.
pub fn wish(record: &UpdateRecord, change: Change, actor: &Actor) -> Stored<Wanted> {
    let shards = shards_of(record, &change)?;
    let before = record.wanted.as_ref().map_or(0, |wanted| wanted.generation).max(record.generation);
    let generation = match change {
        Change::Recount => next_count(before),
        _ => before.saturating_add(1),
    };
    Ok(Wanted { change, generation, shards, who: actor.who.clone(), reason: actor.reason.clone(), at: actor.now })
}

/// Returns true if the changes lead to the same. The evidence for a hold grows while it is under way.
fn is_same(one: &Change, other: &Change) -> bool {
    one == other || matches!((one, other), (Change::Hold(_), Change::Hold(_)))
}

fn must_be_allowed(record: &UpdateRecord, change: &Change) -> Done<()> {
    match change {
        // It stops an opening that is under way, or makes the pause the operator's own.
        Change::Transition(Transition::Pause)
            if may_open(record) || (record.state == State::Paused && record.is_paused_by_stop) =>
        {
            Ok(())
        }
        Change::Stop if may_open(record) => Ok(()),
        Change::Transition(transition) => record.state.after(*transition).map(drop).map_err(EngineError::WrongState),
        Change::Stop => record.state.after(Transition::Pause).map(drop).map_err(EngineError::WrongState),
        Change::Hold(_) => record.state.after(Transition::Hold).map(drop).map_err(EngineError::WrongState),
        Change::Lift if record.state != State::Held => Err(EngineError::NotEditable(record.state)),
        // Whoever edits knows which fields may change in which state.
        Change::Edit { .. } | Change::Recount => Ok(()),
        Change::Split | Change::Lift | Change::ControlGroup(_) | Change::Advance(..) | Change::Transfers(_) => {
            match record.state {
                state if state.is_editable() => Ok(()),
                state => Err(EngineError::NotEditable(state)),
            }
        }
    }
}

/// Returns true if devices may get the update, or will when the change under way is done.
#[must_use]
pub fn may_open(record: &UpdateRecord) -> bool {
    let wanted = record.wanted.as_ref().map(|wanted| wanted.change.leads_to(record.state));
    record.state == State::Active || wanted == Some(State::Active)
}

/// Number of shards that a change shuts. An edit may add shards; it never removes one. A draft has none until it is
/// activated.
fn shards_of(record: &UpdateRecord, change: &Change) -> Stored<u16> {
    let present = record.allocation.as_ref().map_or(0, Allocation::shards);
    if change.leads_to(record.state) != State::Active {
        return Ok(present);
    }
    let update = update_of(&changed(record, change), &mut Slots::new())?;
    let others = update.rollout.limits.shards(update.content.size_bytes());
    Ok(present.max(others.saturating_add(u16::from(record.newcomers_since.is_some()))))
}

/// Pauses an update because its whole product is stopped, or stops what would open it; `None` if there is nothing to stop.
/// A stop that is under way is finished.
///
/// # Errors
/// `Conflict`, when somebody else changed the update, or the product is not stopped any more; or the store cannot be
/// reached.
pub async fn pause_for_stop(store: &impl OpenRollouts, record: &UpdateRecord, actor: &Actor) -> Done<Option<Changed>> {
    let is_under_way = record.wanted.as_ref().is_some_and(|wanted| wanted.change.force() > Force::Edit);
    let wishing = match (is_under_way, may_open(record)) {
        (true, _) => record.clone(),
        (false, true) => want(store, record, Change::Stop, actor).await?,
        (false, false) => return Ok(None),
    };
    carry_out(store, &wishing, actor.now).await.map(Some)
}

/// Resumes an update that the stop of its product has paused; `None` if it has not. A change that is under way is
/// finished first.
///
/// # Errors
/// `Conflict`, when somebody else changed the update, or the product is stopped again; or the store cannot be reached.
pub async fn resume_after_stop(
    store: &impl OpenRollouts,
    record: &UpdateRecord,
    actor: &Actor,
) -> Done<Option<Changed>> {
    let is_stopping = record.wanted.as_ref().is_some_and(|wanted| wanted.change == Change::Stop);
    if !record.is_paused_by_stop && !is_stopping {
        return Ok(None);
    }
    let changed = carry_out(store, record, actor.now).await?;
    if changed.shards_left > 0 || !changed.record.is_paused_by_stop {
        return Ok(Some(changed));
    }
    let wishing = want(store, &changed.record, Change::Transition(Transition::Resume), actor).await?;
    carry_out(store, &wishing, actor.now).await.map(Some)
}

/// Finishes the change that `record` wants: shuts its shards, writes the record, and opens the shards again if the
/// change opens the rollout.
///
/// # Errors
/// `Conflict`, when a stronger change has taken over; or the store cannot be reached.
pub async fn carry_out(store: &impl OpenRollouts, record: &UpdateRecord, now: Timestamp) -> Done<Changed> {
    let Some(wanted) = &record.wanted else {
        return Ok(Changed { record: record.clone(), shards_left: 0 });
    };
    if wanted.change == Change::Recount {
        // The repair has the counts.
        return Ok(Changed { record: record.clone(), shards_left: wanted.shards.max(1) });
    }
    let after = done(record, wanted, now);
    if after.state != State::Active {
        return stop(store, record, now).await;
    }
    let bad_left = before_a_rollback(store, record, wanted, now).await?;
    if bad_left > 0 {
        return Ok(Changed { record: record.clone(), shards_left: bad_left });
    }
    let shards_left = shut(store, record, wanted).await?;
    if shards_left > 0 {
        return Ok(Changed { record: record.clone(), shards_left });
    }
    open(store, record, wanted, after, now).await
}

/// Aborts the rollouts of the versions from which a rollback takes devices, before it begins; returns the number of their
/// shards that are left.
async fn before_a_rollback(
    store: &impl OpenRollouts,
    record: &UpdateRecord,
    wanted: &Wanted,
    now: Timestamp,
) -> Done<u16> {
    if wanted.change != Change::Transition(Transition::Activate) {
        return Ok(0);
    }
    let update = update_of(record, &mut Slots::new())?;
    if !update.is_rollback() {
        return Ok(0);
    }
    // The record may have been read a while ago. Nothing is aborted for a rollback that is not wanted any more.
    let present = store.update(&record.product, &record.version).await?;
    if present.map(|present| Expected::of(&present)) != Some(Expected::of(record)) {
        return Err(StoreError::Conflict.into());
    }
    abort_rolled_back(store, &update, &Actor { who: wanted.who.clone(), reason: wanted.reason.clone(), now }).await
}

/// Aborts the rollouts of the versions from which `rollback` takes devices; returns the number of their shards that are
/// left.
///
/// # Errors
/// `Conflict`, when somebody else changes one of them; or the store cannot be reached.
pub async fn abort_rolled_back(store: &impl CloseRollouts, rollback: &Update, actor: &Actor) -> Done<u16> {
    let mut left = 0_u16;
    for version in &rollback.rollback_from {
        let Some(bad) = store.update(&rollback.product, version).await? else {
            continue;
        };
        if bad.state.after(Transition::Abort).is_err() {
            continue;
        }
        let is_ending = bad.wanted.as_ref().is_some_and(|wanted| wanted.change.force() >= Force::Abort);
        let wishing = match is_ending {
            true => bad,
            false => want(store, &bad, Change::Transition(Transition::Abort), actor).await?,
        };
        left = left.saturating_add(stop(store, &wishing, actor.now).await?.shards_left);
    }
    Ok(left)
}

/// Finishes a change that does not open the rollout.
///
/// # Errors
/// As [`carry_out`].
pub async fn stop(store: &impl CloseRollouts, record: &UpdateRecord, now: Timestamp) -> Done<Changed> {
    let Some(wanted) = &record.wanted else {
        return Ok(Changed { record: record.clone(), shards_left: 0 });
    };
    let shards_left = shut(store, record, wanted).await?;
    if shards_left > 0 {
        return Ok(Changed { record: record.clone(), shards_left });
    }
    let after = done(record, wanted, now);
    let entry = (wanted.change.force() == Force::Edit).then(|| audit(record, wanted));
    store.record_change(&after, Expected::of(record), entry.as_ref()).await?;
    Ok(Changed { record: after, shards_left: 0 })
}

/// Shuts every shard, each by itself; returns the number of those that are left.
pub(crate) async fn shut(store: &impl CloseRollouts, record: &UpdateRecord, wanted: &Wanted) -> Done<u16> {
    let (gate, rollout) = (gate(record, &wanted.change), record.rollout());
    let shutting = (0..wanted.shards).map(|shard| store.shut_shard(&rollout, shard, gate, wanted.generation));
    let mut left = 0_u16;
    for shut in join_all(shutting).await {
        match shut {
            Ok(Shut::Yes) => {}
            Ok(Shut::LaterChange) => return Err(StoreError::Conflict.into()),
            Err(error) => {
                tracing::warn!(product = %record.product, version = %record.version, %error, "shard_not_shut");
                left = left.saturating_add(1);
            }
        }
    }
    Ok(left)
}

/// Splits the limits from what the shut shards hold, writes the record, and opens the shards.
async fn open(
    store: &impl OpenRollouts,
    record: &UpdateRecord,
    wanted: &Wanted,
    mut after: UpdateRecord,
    now: Timestamp,
) -> Done<Changed> {
    let rollout = record.rollout();
    // All shards are shut, so what they have granted cannot grow any more.
    let shards = store.shards(&rollout, wanted.shards).await?;
    let tallied = store.tallied(&rollout).await?;
    let update = update_of(&after, &mut Slots::new())?;
    // Who raises a ceiling has judged the same sums.
    let verdict = match record.state.is_live() {
        true => hold_if_bad(store, record, &update, &tallied.sums, now).await?,
        false => Verdict::GoOn,
    };
    match verdict {
        Verdict::GoOn => {}
        Verdict::Held => return Err(StoreError::Conflict.into()),
        // The sweep reads the control group and finishes the change.
        Verdict::Open => return Ok(Changed { record: record.clone(), shards_left: wanted.shards }),
    }
    let held = held(&shards, &tallied.sums);
    let allocation = Measure::of(&after, &update, &tallied.sums, &held, now).split(&held, now);
    after.allocation = Some(allocation.clone());
    let entry = audit(record, wanted);
    store.record_change(&after, Expected::of(record), Some(&entry)).await?;
    open_shards(store, &after, &allocation, &shards, &tallied.sums).await?;
    Ok(Changed { record: after, shards_left: 0 })
}

async fn open_shards(
    store: &impl OpenRollouts,
    record: &UpdateRecord,
    allocation: &Allocation,
    shards: &[Option<Shard>],
    sums: &Sums,
) -> Stored<()> {
    let rollout = record.rollout();
    let are_newcomers_held = are_newcomers_held(record, sums)?;
    let openings = (0..allocation.shards()).map(|shard| {
        let ceiling = sums.ceiling(CountedShard::of(record.generation, shard), allocation.places(shard));
        let granted = || shards.get(usize::from(shard)).copied().flatten().map_or(0, |shard| shard.granted);
        let is_held = are_newcomers_held && shard == NEWCOMERS_SHARD;
        let opening = Opening {
            generation: record.generation,
            caps: allocation.caps(shard),
            ceiling: if is_held { granted() } else { ceiling },
            period: allocation.period,
        };
        let rollout = &rollout;
        async move { store.open_shard(rollout, shard, &opening).await }
    });
    // A shard that is not opened stays shut; the sweep opens it.
    for opened in join_all(openings).await {
        opened?;
    }
    Ok(())
}

/// Opens the shards of an active update that an interrupted change has left shut; returns whether there was one.
///
/// # Errors
/// When the store cannot be reached.
pub async fn reopen(
    store: &impl OpenRollouts,
    record: &UpdateRecord,
    shards: &[Option<Shard>],
    sums: &Sums,
) -> Stored<bool> {
    let is_left = |shard: &Option<Shard>| {
        shard.is_some_and(|shard| shard.gate == Gate::Paused && shard.generation == record.generation)
    };
    let Some(allocation) = record.allocation.as_ref().filter(|_| shards.iter().any(is_left)) else {
        return Ok(false);
    };
    open_shards(store, record, allocation, shards, sums).await?;
    Ok(true)
}

/// Returns true if newcomers get nothing more for now, because of what became of those that got the update. Nobody
/// acknowledges that: they go on when an operator has struck the liars among them, or enough of them are well.
///
/// # Errors
/// When the stored definition cannot be understood.
pub fn are_newcomers_held(record: &UpdateRecord, sums: &Sums) -> Stored<bool> {
    if record.newcomers_since.is_none() {
        return Ok(false);
    }
    let update = update_of(record, &mut Slots::new())?;
    Ok(newcomers_judged(&update, sums).hold().is_some())
}

/// What became of the newcomers, by the rule of the gate.
#[must_use]
pub fn newcomers_judged(update: &Update, sums: &Sums) -> Judgement {
    update.rollout.health.judge(&sums.newcomers(), None)
}

/// Raises the ceilings of `shards` to what the sums allow. The caller has judged the same sums. While a change is
/// wanted, or the counts are not certain, no ceiling is raised; nor is that of the newcomers while they are held.
///
/// # Errors
/// When the store cannot be reached.
pub async fn raise(
    store: &impl RaiseCeilings,
    record: &UpdateRecord,
    sums: &Sums,
    shards: impl IntoIterator<Item = u16>,
) -> Stored<()> {
    let Some(allocation) = record.allocation.as_ref().filter(|_| may_raise(record)) else {
        return Ok(());
    };
    let rollout = record.rollout();
    let are_newcomers_held = are_newcomers_held(record, sums)?;
    for shard in shards.into_iter().filter(|shard| !are_newcomers_held || *shard != NEWCOMERS_SHARD) {
        let ceiling = sums.ceiling(CountedShard::of(record.generation, shard), allocation.places(shard));
        store.raise_ceiling(&rollout, shard, record.generation, ceiling).await?;
    }
    Ok(())
}

/// Returns true if the ceilings of a rollout follow its count.
#[must_use]
pub fn may_raise(record: &UpdateRecord) -> bool {
    record.state == State::Active && record.wanted.is_none() && record.uncounted == 0
}

/// Verdict over a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    GoOn,
    /// It is held.
    Held,
    /// The sweep must read the control group first. Until then, no ceiling is raised.
    Open,
}

/// Holds a rollout whose outcomes are worse than its gate tolerates. The function that sees them first does it. A second
/// call changes nothing. `update` has the test that is judged.
///
/// # Errors
/// When the store cannot be reached. The next batch, or the sweep, tries again.
pub async fn hold_if_bad(
    store: &impl CloseRollouts,
    record: &UpdateRecord,
    update: &Update,
    sums: &Sums,
    now: Timestamp,
) -> Done<Verdict> {
    let Some(judgement) = control_group::judge(record, update, sums, now) else {
        return Ok(Verdict::Open);
    };
    let Some(held_for) = judgement.held_for().filter(|_| record.state.after(Transition::Hold).is_ok()) else {
        return Ok(Verdict::GoOn);
    };
    let hold = Change::Hold(held_for);
    if record.wanted.as_ref().is_some_and(|wanted| wanted.change.force() > hold.force()) {
        return Ok(Verdict::GoOn);
    }
    let actor = Actor { who: HEALTH_RULE.into(), reason: judgement.to_string(), now };
    let is_new = record.wanted.as_ref().is_none_or(|wanted| !is_same(&wanted.change, &hold));
    let wishing = want(store, record, hold, &actor).await?;
    if is_new {
        tracing::warn!(product = %record.product, version = %record.version, %judgement, "held_by_health_rule");
        metrics::rollout_held(&record.product);
    }
    // The wish is in force. A shard that is left is shut by the next batch or the sweep.
    stop(store, &wishing, now).await?;
    Ok(Verdict::Held)
}

/// Lifts the hold of a rollout if most of the devices for which it began are back; returns true if it did. Devices that
/// failed do not come back.
///
/// # Errors
/// `Conflict`, when somebody else changed the update, or its product is stopped; or the store cannot be reached.
pub async fn lift_if_back(
    store: &impl OpenRollouts,
    record: &UpdateRecord,
    update: &Update,
    sums: &Sums,
    now: Timestamp,
) -> Done<bool> {
    let may_lift = update.rollout.health.auto_resume && record.lifts < MOST_LIFTS;
    let may_lift = may_lift && record.state == State::Held && record.wanted.is_none();
    let Some(held_for) = record.held_for.filter(|_| may_lift) else {
        return Ok(false);
    };
    let judgement = control_group::judge(record, update, sums, now);
    let Some(judgement) = judgement.filter(|judgement| judgement.lifts(&held_for)) else {
        return Ok(false);
    };
    let reason = format!("it was held for {} devices, and most are back; now: {judgement}", held_for.bad);
    let actor = Actor { who: HEALTH_RULE.into(), reason, now };
    let wishing = want(store, record, Change::Lift, &actor).await?;
    carry_out(store, &wishing, now).await?;
    Ok(true)
}

/// Returns true if a new split would allow grants that the present caps refuse.
#[must_use]
pub fn can_split_again(
    record: &UpdateRecord,
    update: &Update,
    shards: &[Option<Shard>],
    sums: &Sums,
    now: Timestamp,
) -> bool {
    let Some(allocation) = record.allocation.as_ref().filter(|_| record.state == State::Active) else {
        return false;
    };
    let held = held(shards, sums);
    let measure = Measure::of(record, update, sums, &held, now);
    let has_news = allocation.is_draining(&measure.limits, measure.bytes_per_device)
        || allocation.has_grown(&measure.limits)
        || allocation.is_lopsided(measure.newcomers, &held)
        || measure.newcomers == Newcomers::GiveBack;
    has_news && !measure.split(&held, now).has_caps_of(allocation)
}

/// Part of the limits that each shard has given out.
fn held(shards: &[Option<Shard>], sums: &Sums) -> Vec<Held> {
    (0..).zip(shards).map(|(number, shard)| Held::of(number, shard.as_ref(), sums)).collect()
}

/// The record with the definition that the change gives it.
fn changed(record: &UpdateRecord, change: &Change) -> UpdateRecord {
    let definition = match change {
        Change::Edit { definition, .. } => definition.clone(),
        _ => record.definition.clone(),
    };
    UpdateRecord { definition, ..record.clone() }
}

/// The record when the change is done.
pub(crate) fn done(record: &UpdateRecord, wanted: &Wanted, now: Timestamp) -> UpdateRecord {
    let state = wanted.change.leads_to(record.state);
    let (reason, is_paused_by_stop) = match &wanted.change {
        Change::Transition(_) | Change::Hold(_) | Change::Lift => (wanted.reason.clone(), false),
        Change::Recount if record.state == State::Active => (wanted.reason.clone(), false),
        Change::Stop if record.state == State::Active => (wanted.reason.clone(), true),
        Change::Stop
        | Change::Recount
        | Change::Edit { .. }
        | Change::Split
        | Change::ControlGroup(_)
        | Change::Advance(..)
        | Change::Transfers(_) => (record.reason.clone(), record.is_paused_by_stop),
    };
    let opens = matches!(wanted.change, Change::Transition(Transition::Activate | Transition::Resume) | Change::Lift);
    let (held_for, lifts) = match &wanted.change {
        Change::Hold(held_for) => (Some(*held_for), record.lifts),
        Change::Lift => (None, record.lifts.saturating_add(1)),
        Change::Transition(_) => (None, record.lifts),
        Change::Stop
        | Change::Recount
        | Change::Edit { .. }
        | Change::Split
        | Change::ControlGroup(_)
        | Change::Advance(..)
        | Change::Transfers(_) => (record.held_for, record.lifts),
    };
    let breaker = match &wanted.change {
        Change::Transfers(breaker) => *breaker,
        _ => record.breaker,
    };
    let control_group = match &wanted.change {
        Change::ControlGroup(group) => Some(*group),
        _ => record.control_group,
    };
    let (advanced, phase_begun) = match &wanted.change {
        Change::Advance(advanced, soaked) => (*advanced, Begun { at: Some(now), soaked: *soaked }),
        _ => (record.advanced, record.phase_begun),
    };
    let test = match (opens && wanted.change != Change::Lift, record.state) {
        (true, _) if record.test.began_at.is_none() => Test { number: 0, began_at: Some(now) },
        // What is resumed was acknowledged: the devices that are granted the update from now on are another test.
        (true, State::Held) => Test { number: record.test.number.saturating_add(1), began_at: Some(now) },
        _ => record.test,
    };
    let edited = changed(record, &wanted.change);
    let audience_edit = match policy_of(record) == policy_of(&edited) || !record.state.is_live() {
        true => record.audience_edit,
        false => Some(AudienceEdit { at: now, before: record.audience.as_ref().map(|audience| audience.size) }),
    };
    UpdateRecord {
        state,
        reason,
        is_paused_by_stop,
        audience_edit,
        opened_at: if opens { Some(now) } else { record.opened_at },
        test,
        held_for,
        lifts,
        control_group,
        breaker,
        advanced,
        phase_begun,
        generation: wanted.generation,
        wanted: None,
        changed_at: now,
        ..edited
    }
}

fn policy_of(record: &UpdateRecord) -> Option<String> {
    Definition::from_store(&record.definition).ok().map(|definition| definition.policy)
}

fn gate(record: &UpdateRecord, change: &Change) -> Gate {
    match change {
        Change::Edit { .. } | Change::Recount if record.state.may_reopen() => Gate::Stopped,
        Change::Transition(Transition::Complete | Transition::Abort | Transition::Withdraw) => Gate::Stopped,
        Change::Transition(Transition::Activate | Transition::Pause | Transition::Hold | Transition::Resume)
        | Change::Hold(_)
        | Change::Lift
        | Change::Stop
        | Change::Recount
        | Change::Edit { .. }
        | Change::Split
        | Change::ControlGroup(_)
        | Change::Advance(..)
        | Change::Transfers(_) => Gate::Paused,
    }
}

/// Name of a change, as in the audit log.
#[must_use]
pub fn name(change: &Change) -> &'static str {
    match change {
        Change::Transition(transition) => transition.name(),
        Change::Stop => "pause",
        Change::Edit { .. } => "edit",
        Change::Recount => "repair the counts",
        Change::Split => "split limits",
        Change::Hold(_) => "hold",
        Change::Lift => "lift",
        Change::ControlGroup(group) if group.is_over => "serve the control group",
        Change::ControlGroup(_) => "hold out a control group",
        Change::Advance(..) => "advance",
        Change::Transfers(breaker) if breaker.not_before.is_none() => "go on with transfers",
        Change::Transfers(_) => "wait for transfers",
    }
}

pub(crate) fn audit(record: &UpdateRecord, wanted: &Wanted) -> AuditEntry {
    let action = match &wanted.change {
        Change::Advance(advanced, _) => format!("advance to phase {}", advanced.saturating_add(1)),
        change => name(change).to_string(),
    };
    AuditEntry {
        at: wanted.at,
        who: wanted.who.clone(),
        action,
        subject: record.version.to_string(),
        from: Some(record.state),
        to: Some(done(record, wanted, wanted.at).state),
        reason: wanted.reason.clone(),
        generation: wanted.generation,
        changes: match &wanted.change {
            Change::Edit { definition, .. } => changes(&record.definition, definition),
            _ => Vec::new(),
        },
    }
}

/// The differences between two definitions.
fn changes(before: &str, after: &str) -> Vec<ValueChange> {
    let read = |definition: &str| serde_json::from_str::<Value>(definition).unwrap_or_default();
    ValueChange::between(&read(before), &read(after))
}
