//! Changes of a rollout, in the only order in which they are safe.
//!
//! Closing writes the shards first and the record after: when the record is written, nothing can be granted any more.
//! Opening writes the record first and the shards after: if it is interrupted, the shards stay shut, and the sweep
//! opens them. So an interrupted change denies grants, and no grant counts twice.

use tidegate_core::health::{Ruling, Verdict};
use tidegate_core::limits::{Allocation, Limits};
use tidegate_core::shard::{Counts, Gate, Shard, period_of};
use tidegate_core::{State, Timestamp, Transition, Update};

use tidegate_store::record::{AuditEntry, UpdateRecord};
use tidegate_store::store::Stored;
use tidegate_store::{CloseRollouts, OpenRollouts, ReadUpdates};

use crate::error::Done;

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

/// Input for the split of a rollout's limits over its shards.
#[derive(Debug, Clone, Copy)]
pub struct Measure<'a> {
    /// The limits.
    pub limits: &'a Limits,
    /// The size of one device's download.
    pub bytes_per_device: u64,
}

impl<'a> Measure<'a> {
    /// The measure of an update.
    #[must_use]
    pub fn of(update: &'a Update) -> Self {
        Self { limits: &update.rollout.limits, bytes_per_device: update.content.size_bytes() }
    }
}

/// Moves an update to another state.
///
/// # Errors
/// When its state does not allow it, another change was made meanwhile, or the store cannot be reached.
pub async fn transition(
    store: &impl OpenRollouts,
    update: &UpdateRecord,
    transition: Transition,
    measure: Measure<'_>,
    actor: &Actor,
) -> Done<UpdateRecord> {
    let state = update.state.after(transition)?;
    match state {
        State::Active => open(store, update, transition, measure, actor).await,
        _ => shut(store, update, transition, state, actor).await,
    }
}

/// Writes the record first and opens the shards after.
async fn open(
    store: &impl OpenRollouts,
    update: &UpdateRecord,
    transition: Transition,
    measure: Measure<'_>,
    actor: &Actor,
) -> Done<UpdateRecord> {
    let mut changed = UpdateRecord { state: State::Active, reason: actor.reason.clone(), ..next(update, actor) };
    let entry = audit(update, &changed, transition.name(), actor);
    let allocation = changed.allocation.take().unwrap_or_else(|| fresh(measure, actor.now));
    changed.allocation = Some(allocation.clone());
    store.change_update(&changed, update.generation, &entry).await?;
    store.open_shards(&update.id, &allocation, changed.generation).await?;
    Ok(changed)
}

/// Shuts the shards first and writes the record after.
async fn shut(
    store: &impl CloseRollouts,
    update: &UpdateRecord,
    transition: Transition,
    state: State,
    actor: &Actor,
) -> Done<UpdateRecord> {
    let changed = UpdateRecord { state, reason: actor.reason.clone(), ..next(update, actor) };
    let entry = audit(update, &changed, transition.name(), actor);
    let gate = if state == State::Paused { Gate::Paused } else { Gate::Stopped };
    close(store, update, gate, changed.generation).await?;
    store.change_update(&changed, update.generation, &entry).await?;
    Ok(changed)
}

/// Stops a rollout whose outcomes are worse than its health gate tolerates. The function that sees them first does it.
/// A second call changes nothing.
///
/// # Errors
/// When the store cannot be reached. The next report, or the sweep, tries again.
pub async fn stop_if_bad(
    store: &impl CloseRollouts,
    record: &UpdateRecord,
    update: &Update,
    counts: &Counts,
    now: Timestamp,
) -> Done<Option<Verdict>> {
    let verdict = update.rollout.health.judge(counts);
    if verdict.ruling == Ruling::Continue || !record.state.is_live() {
        return Ok(None);
    }
    let actor = Actor { who: "health rule".into(), reason: verdict.to_string(), now };
    let state = record.state.after(Transition::Abort)?;
    shut(store, record, Transition::Abort, state, &actor).await?;
    tracing::warn!(product = %record.product, version = %record.version, %verdict, "stopped_by_health_rule");
    Ok(Some(verdict))
}

/// Puts a new definition in force. `knobs` names the changed settings for the audit log.
///
/// # Errors
/// As for [`transition`].
pub async fn redefine(
    store: &(impl OpenRollouts + ReadUpdates),
    update: &UpdateRecord,
    (definition, knobs): (String, &str),
    measure: Measure<'_>,
    actor: &Actor,
) -> Done<UpdateRecord> {
    let changed = UpdateRecord { definition, ..next(update, actor) };
    change(store, update, changed, &format!("edit {knobs}"), measure, actor).await
}

/// Splits limits again that were lower than the held number, after enough claims have ended.
///
/// # Errors
/// As for [`transition`].
pub async fn split_again(
    store: &(impl OpenRollouts + ReadUpdates),
    update: &UpdateRecord,
    measure: Measure<'_>,
    actor: &Actor,
) -> Done<UpdateRecord> {
    change(store, update, next(update, actor), "split limits", measure, actor).await
}

/// Changes an update within its state. If it is live, its limits are split again from the numbers that the shards hold.
/// All shards are shut meanwhile.
async fn change(
    store: &(impl OpenRollouts + ReadUpdates),
    update: &UpdateRecord,
    mut changed: UpdateRecord,
    action: &str,
    measure: Measure<'_>,
    actor: &Actor,
) -> Done<UpdateRecord> {
    let entry = audit(update, &changed, action, actor);
    resplit(store, update, &mut changed, measure, actor.now).await?;
    store.change_update(&changed, update.generation, &entry).await?;
    reopen(store, &changed).await?;
    Ok(changed)
}

/// Returns true if a new split would allow grants that the present caps refuse.
#[must_use]
pub fn can_split_again(
    allocation: &Allocation,
    shards: &[Option<Shard>],
    measure: Measure<'_>,
    now: Timestamp,
) -> bool {
    allocation.is_draining(measure.limits, measure.bytes_per_device)
        && !split(shards, measure, now).has_caps_of(allocation)
}

/// Opens the shards of an active update again after an interrupted change.
///
/// # Errors
/// When the store cannot be reached, or another change is in progress.
pub async fn reopen(store: &impl OpenRollouts, update: &UpdateRecord) -> Stored<()> {
    match (&update.allocation, update.state) {
        (Some(allocation), State::Active) => store.open_shards(&update.id, allocation, update.generation).await,
        _ => Ok(()),
    }
}

async fn resplit(
    store: &(impl OpenRollouts + ReadUpdates),
    before: &UpdateRecord,
    changed: &mut UpdateRecord,
    measure: Measure<'_>,
    now: Timestamp,
) -> Stored<()> {
    if let Some(allocation) = &before.allocation {
        close(store, before, Gate::Paused, changed.generation).await?;
        let shards = store.shards(&before.id, allocation.shards()).await?;
        changed.allocation = Some(split(&shards, measure, now));
    }
    Ok(())
}

fn split(shards: &[Option<Shard>], measure: Measure<'_>, now: Timestamp) -> Allocation {
    let held = shards.iter().map(|shard| shard.map(|shard| shard.counts).unwrap_or_default()).collect::<Vec<_>>();
    let period = period_of(now, measure.limits.period_s);
    Allocation::split(measure.limits, measure.bytes_per_device, &held, period)
}

fn fresh(measure: Measure<'_>, now: Timestamp) -> Allocation {
    let shards = usize::from(measure.limits.shards(measure.bytes_per_device));
    let period = period_of(now, measure.limits.period_s);
    Allocation::split(measure.limits, measure.bytes_per_device, &vec![Counts::default(); shards], period)
}

/// Shuts the shards of an update. A draft has none.
async fn close(store: &impl CloseRollouts, update: &UpdateRecord, gate: Gate, generation: u64) -> Stored<()> {
    match &update.allocation {
        Some(allocation) => store.close_shards(&update.id, allocation.shards(), gate, generation).await,
        None => Ok(()),
    }
}

fn next(update: &UpdateRecord, actor: &Actor) -> UpdateRecord {
    UpdateRecord { generation: update.generation.saturating_add(1), changed_at: actor.now, ..update.clone() }
}

fn audit(before: &UpdateRecord, after: &UpdateRecord, action: &str, actor: &Actor) -> AuditEntry {
    AuditEntry {
        at: actor.now,
        who: actor.who.clone(),
        action: action.to_string(),
        subject: after.version.to_string(),
        from: Some(before.state),
        to: Some(after.state),
        reason: actor.reason.clone(),
        generation: after.generation,
    }
}
