//! The control group of a campaign, read on demand: when silence would hold it, or holds it.
//!
//! The update is not the cause of silence among devices that were not offered it. So the gate tolerates as much silence as
//! they show. Only the sweep reads them. Until it has, nobody else can tell, and no ceiling is raised.

use jiff::SignedDuration;
use tidegate_core::control_group::ControlGroup;
use tidegate_core::count::{Sample, Sums};
use tidegate_core::gate::{ChannelName, Control, Judgement};
use tidegate_core::{Timestamp, Update};
use tidegate_store::record::{Reading, UpdateRecord};
use tidegate_store::store::Stored;
use tidegate_store::{StoreError, SweepStore};

/// Seconds for which a reading serves.
const READING_SERVES_S: i64 = 300;

/// Judges the outcomes of a rollout. `None` if its control group must be read first.
pub(crate) fn judge(record: &UpdateRecord, update: &Update, sums: &Sums, now: Timestamp) -> Option<Judgement> {
    let (gate, outcomes) = (&update.rollout.health, sums.outcomes(Sample::of(update.test.number)));
    let judgement = gate.judge(&outcomes, None);
    let Some(group) = asked(record, update, &judgement) else {
        return Some(judgement);
    };
    let is_fresh = |reading: &Reading| now.duration_since(reading.at) < SignedDuration::from_secs(READING_SERVES_S);
    match record.reading {
        Some(reading) if group.is_over || is_fresh(&reading) => Some(judge_with(&group, &reading, update, sums)),
        None if group.is_over => Some(judgement),
        _ => None,
    }
}

/// The judgement as it is shown: with the last reading, if the gate would use one.
pub(crate) fn shown(record: &UpdateRecord, update: &Update, sums: &Sums) -> Judgement {
    let judgement = update.rollout.health.judge(&sums.outcomes(Sample::of(update.test.number)), None);
    match (asked(record, update, &judgement), record.reading) {
        (Some(group), Some(reading)) => judge_with(&group, &reading, update, sums),
        _ => judgement,
    }
}

/// The control group that could change a judgement: silence holds the rollout, or would.
fn asked(record: &UpdateRecord, update: &Update, judgement: &Judgement) -> Option<ControlGroup> {
    let is_held_for_silence = record.held_for.is_some_and(|held| held.channel != ChannelName::Failed);
    let is_asked = update.rollout.health.control_group && (judgement.holds_for_silence() || is_held_for_silence);
    record.control_group.filter(|_| is_asked)
}

fn judge_with(group: &ControlGroup, reading: &Reading, update: &Update, sums: &Sums) -> Judgement {
    let control = Some(&reading.control).filter(|control| group.counts(control));
    update.rollout.health.judge(&sums.outcomes(Sample::of(update.test.number)), control)
}

/// A new reading, if the rollout cannot be judged without one. Members that cannot be read say nothing: then there is no
/// group, and silence holds.
///
/// # Errors
/// When the store cannot be reached.
pub(crate) async fn reading_for(
    store: &impl SweepStore,
    record: &UpdateRecord,
    now: Timestamp,
) -> Stored<Option<Reading>> {
    let Some(group) = record.control_group.filter(|group| !group.is_over) else {
        return Ok(None);
    };
    match read(store, record, &group, now).await {
        Err(StoreError::Corrupt(why)) => {
            tracing::error!(product = %record.product, version = %record.version, %why, "control_group_not_read");
            Ok(Some(Reading { control: Control { overdue: 0, members: 0 }, at: now }))
        }
        reading => reading.map(Some),
    }
}

/// Reads the control group, and keeps the reading in the record.
///
/// # Errors
/// When the store cannot be reached.
pub(crate) async fn read(
    store: &impl SweepStore,
    record: &UpdateRecord,
    group: &ControlGroup,
    now: Timestamp,
) -> Stored<Reading> {
    let rollout = record.rollout();
    let members = store.members(&rollout).await?;
    let mut control = Control { overdue: 0, members: 0 };
    for (_, known) in store.devices(&record.product, &members).await? {
        // A device that was offered this update, or another one since, shows the silence of that update too.
        let is_silent_by_itself = known.claim(&record.id).is_none()
            && known.claims.iter().all(|(_, claim)| claim.life.granted_at < group.since);
        let device = known.record_or_default();
        let Some(seen) = device.last_seen.filter(|_| is_silent_by_itself) else {
            continue;
        };
        let is_overdue = device.cadence().due_in_group(seen, group.since) <= now;
        control.members = control.members.saturating_add(1);
        control.overdue = control.overdue.saturating_add(u64::from(is_overdue));
    }
    let reading = Reading { control, at: now };
    store.put_reading(&rollout, &reading).await?;
    Ok(reading)
}
