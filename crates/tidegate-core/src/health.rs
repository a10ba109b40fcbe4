//! The rule that watches outcomes: continue, or stop the rollout.
//!
//! The evidence is a mixture of likelihood ratios, a test that may be looked at after every report
//! without losing its promise: at a true failure rate no worse than the tolerated one, the chance
//! that it ever says stop is at most one minus the confidence (Ville's inequality).

/// When outcomes stop a rollout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthRule {
    /// The failure rate that is nobody's alarm, in percent.
    pub tolerated_failure_percent: f64,
    /// How sure a stop must be, in percent.
    pub confidence_percent: f64,
    /// Failures below which nothing is stopped: two forged reports must not stop a rollout.
    pub min_failures: u64,
}

impl Default for HealthRule {
    fn default() -> Self {
        Self { tolerated_failure_percent: 1.0, confidence_percent: 99.0, min_failures: 3 }
    }
}

/// What the evidence says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Stop, or go on.
    pub ruling: Ruling,
    /// Devices that failed.
    pub failures: u64,
    /// Devices that succeeded.
    pub successes: u64,
    /// How many times likelier the outcomes are under a worse rate than under the tolerated one.
    pub evidence: f64,
    /// The evidence at which the rollout is stopped.
    pub threshold: f64,
}

/// Stop, or go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing speaks against it.
    Continue,
    /// The update is worse than what is tolerated.
    Abort,
}

/// The worse rates that are tried, as multiples of the tolerated one.
const MULTIPLES: [f64; 6] = [2.0, 3.0, 5.0, 10.0, 20.0, 50.0];
/// The worst rate that is tried, and the cap of the others.
const WORST_RATE: f64 = 0.9;

impl HealthRule {
    /// Checks its numbers.
    ///
    /// # Errors
    /// A sentence that names the field and the expectation.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.01..=50.0).contains(&self.tolerated_failure_percent) {
            return Err("health.tolerated_failure_percent must be within 0.01 and 50".into());
        }
        if !(50.0..=99.999).contains(&self.confidence_percent) {
            return Err("health.confidence_percent must be within 50 and 99.999".into());
        }
        if self.min_failures == 0 {
            return Err("health.min_failures must be at least 1".into());
        }
        Ok(())
    }

    /// Judges the outcomes so far.
    #[must_use]
    pub fn judge(&self, failures: u64, successes: u64) -> Verdict {
        let tolerated = self.tolerated_failure_percent / 100.0;
        // JSON has no infinity, and beyond this it is all the same.
        let evidence = evidence(failures, successes, tolerated).min(f64::MAX);
        let threshold = 100.0 / (100.0 - self.confidence_percent);
        let stops = evidence >= threshold && failures >= self.min_failures;
        let ruling = if stops { Ruling::Abort } else { Ruling::Continue };
        Verdict { ruling, failures, successes, evidence, threshold }
    }
}

/// E = Σ w_j (θ_j/p0)^f ((1−θ_j)/(1−p0))^s with equal weights, summed in logarithms.
fn evidence(failures: u64, successes: u64, tolerated: f64) -> f64 {
    // Counts beyond 2^53 devices do not occur.
    #[allow(clippy::cast_precision_loss)]
    let (failures, successes) = (failures as f64, successes as f64);
    let rates = MULTIPLES.iter().map(|multiple| (tolerated * multiple).min(WORST_RATE)).chain([WORST_RATE]);
    let logarithms = rates
        .map(|rate| failures * (rate / tolerated).ln() + successes * ((1.0 - rate) / (1.0 - tolerated)).ln())
        .collect::<Vec<_>>();
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // There are seven of them.
    #[allow(clippy::cast_precision_loss)]
    let weight = 1.0 / logarithms.len() as f64;
    weight * logarithms.iter().map(|logarithm| (logarithm - largest).exp()).sum::<f64>() * largest.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruling(failures: u64, successes: u64) -> Ruling {
        HealthRule::default().judge(failures, successes).ruling
    }

    #[test]
    fn three_failures_and_nothing_else_stop_a_rollout_and_two_do_not() {
        assert_eq!(ruling(2, 0), Ruling::Continue, "two votes could be forged");
        assert_eq!(ruling(3, 0), Ruling::Abort);
    }

    #[test]
    fn the_tolerated_rate_goes_on_and_five_times_it_is_stopped() {
        assert_eq!(ruling(10, 990), Ruling::Continue);
        assert_eq!(ruling(20, 380), Ruling::Abort);
        assert_eq!(ruling(0, 1_000_000), Ruling::Continue);
    }

    #[test]
    fn no_outcome_is_no_evidence() {
        let verdict = HealthRule::default().judge(0, 0);
        assert!((verdict.evidence - 1.0).abs() < 1e-9, "{}", verdict.evidence);
        assert!((verdict.threshold - 100.0).abs() < 1e-6);
    }
}
