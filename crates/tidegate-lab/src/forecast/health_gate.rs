//! The health gate of a forecast: asks the gate if the rollout continues.

use tidegate_core::count::{Sample, Sums};
use tidegate_core::gate::{Control, Gate};

/// Reason why the outcomes so far hold the rollout, if they do. The control group is read if it could change that.
pub(crate) fn reason_to_hold(gate: &Gate, sums: &Sums, control: impl FnOnce() -> Option<Control>) -> Option<String> {
    let outcomes = sums.outcomes(Sample::of(0));
    let mut judgement = gate.judge(&outcomes, None);
    if judgement.holds_for_silence() {
        judgement = gate.judge(&outcomes, control().as_ref());
    }
    judgement.hold().map(ToString::to_string)
}
