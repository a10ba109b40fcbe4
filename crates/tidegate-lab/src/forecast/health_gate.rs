//! The health gate of a forecast: asks the health rule if the rollout continues.

use tidegate_core::count::Counts;
use tidegate_core::health::{HealthGate, Ruling};

/// Reason why the outcomes so far stop the rollout, if they do.
pub(crate) fn reason_to_stop(rule: &HealthGate, counts: &Counts) -> Option<String> {
    let verdict = rule.judge(counts);
    (verdict.ruling == Ruling::Abort).then(|| verdict.to_string())
}
