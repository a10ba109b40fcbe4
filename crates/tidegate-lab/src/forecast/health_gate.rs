//! The health gate of a forecast: asks the gate if the rollout continues.

use tidegate_core::count::Sums;
use tidegate_core::gate::Gate;

/// Reason why the outcomes so far hold the rollout, if they do.
pub(crate) fn reason_to_hold(gate: &Gate, sums: &Sums) -> Option<String> {
    let judgement = gate.judge(&sums.outcomes(0), None);
    judgement.hold().map(ToString::to_string)
}
