//! How often each update was put off, and why. Counted in memory and logged once a minute, because
//! a check-in that offers nothing must not write.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tidegate_core::{Decision, Timestamp, UpdateId};

/// Seconds between two lines of the log.
const EVERY_S: i64 = 60;

/// Counts since the last line.
#[derive(Debug, Default)]
pub(crate) struct Deferrals(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    since: Option<Timestamp>,
    counts: BTreeMap<(UpdateId, &'static str), u64>,
}

impl Deferrals {
    /// Counts every update that only had to wait.
    pub(crate) fn count(&self, decision: &Decision<'_>, now: Timestamp) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (update, objection) in decision.passed_over.iter().filter(|(_, objection)| objection.is_waiting()) {
            *counted.counts.entry((update.id.clone(), objection.code())).or_default() += 1;
        }
        let since = *counted.since.get_or_insert(now);
        if now.as_second().saturating_sub(since.as_second()) >= EVERY_S {
            for ((update, code), deferred) in std::mem::take(&mut counted.counts) {
                tracing::info!(%update, code, deferred, "deferred");
            }
            counted.since = Some(now);
        }
    }
}
