//! The one place where a forecast asks the health rule whether the rollout goes on.

use tidegate_core::health::{HealthGate, Ruling};
use tidegate_core::shard::Counts;

/// Why the outcomes so far stop the rollout, if they do.
pub(crate) fn reason_to_stop(rule: &HealthGate, counts: &Counts) -> Option<String> {
    let verdict = rule.judge(counts);
    (verdict.ruling == Ruling::Abort).then(|| verdict.to_string())
}
