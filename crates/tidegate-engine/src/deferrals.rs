//! Number of deferrals of each update, by reason. They are counted in memory. A check-in that writes anyway stores
//! them, at most once a minute, because a check-in without an offer must not write.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tidegate_core::objection::Cure;
use tidegate_core::{Decision, Objection, ObjectionCode, Timestamp};
use tidegate_store::record::RolloutKey;

/// Seconds between two writes.
const EVERY_S: i64 = 60;

/// Counts since the last write.
#[derive(Debug, Default)]
pub(crate) struct Deferrals(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    since: Option<Timestamp>,
    counts: BTreeMap<(RolloutKey, ObjectionCode), u64>,
}

impl Deferrals {
    /// Counts every update for which the device only has to wait its turn.
    pub(crate) fn count(&self, decision: &Decision<'_>, now: Timestamp) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |(_, objection): &&(_, Objection)| objection.cure() == Cure::Turn;
        for (update, objection) in decision.passed_over.iter().filter(waits) {
            *counted.counts.entry((RolloutKey::of_update(update), objection.code())).or_default() += 1;
        }
        counted.since.get_or_insert(now);
    }

    /// The counts, if they are old enough to be stored.
    pub(crate) fn due(&self, now: Timestamp) -> BTreeMap<RolloutKey, BTreeMap<&'static str, u64>> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due: BTreeMap<RolloutKey, BTreeMap<&'static str, u64>> = BTreeMap::new();
        let age_s = counted.since.map_or(0, |since| now.as_second().saturating_sub(since.as_second()));
        if age_s >= EVERY_S {
            for ((rollout, code), deferred) in std::mem::take(&mut *counted).counts {
                due.entry(rollout).or_default().insert(code.name(), deferred);
            }
        }
        due
    }
}
