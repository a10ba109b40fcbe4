//! The health gate: it watches the outcomes of a rollout, and continues or aborts it.
//!
//! The evidence is a mixture of likelihood ratios. This test may be evaluated after every report: if the true failure
//! rate is at most the tolerated one, the probability that the test ever says "abort" is at most one minus the
//! confidence (Ville's inequality). The gate watches two channels, each with half of that probability: the reported
//! failures, and the reported failures plus the time-outs, because a bricked device reports nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::count::Counts;

/// Rule that decides from the outcomes whether a rollout continues.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HealthGate {
    /// Failure rate considered normal, in percent.
    pub tolerated_failure_percent: f64,
    /// Confidence required for an abort, in percent.
    pub confidence_percent: f64,
    /// Number of failures required for an abort. Two forged reports must not abort a rollout.
    pub min_failures: u64,
}

/// Number of a health gate that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the fields of `HealthGate`
pub enum HealthGateError {
    #[error("health.tolerated_failure_percent must be within 0.01 and 50")]
    ToleratedFailurePercent,
    #[error("health.confidence_percent must be within 50 and 99.999")]
    ConfidencePercent,
    #[error("health.min_failures must be at least 1")]
    MinFailures,
}

impl Default for HealthGate {
    fn default() -> Self {
        Self { tolerated_failure_percent: 1.0, confidence_percent: 99.0, min_failures: 3 }
    }
}

/// Judgement of the health gate on the outcomes so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The ruling.
    pub ruling: Ruling,
    /// Channel of the failures that devices reported.
    pub reported: Channel,
    /// Channel of the reported failures plus the devices that did not report before their claim expired.
    pub reported_or_silent: Channel,
    /// Evidence at which the rollout is aborted, in either channel.
    pub threshold: f64,
    /// Number of failures required for an abort.
    pub min_failures: u64,
}

/// One watched count of failures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// Number of devices that failed, as this channel counts failures.
    pub failures: u64,
    /// Number of devices that succeeded.
    pub successes: u64,
    /// Likelihood of these counts under a worse failure rate, as a multiple of their likelihood under the tolerated
    /// rate.
    pub evidence: f64,
}

impl Verdict {
    /// The channel with the most evidence.
    #[must_use]
    pub fn strongest(&self) -> Channel {
        if self.reported_or_silent.evidence > self.reported.evidence { self.reported_or_silent } else { self.reported }
    }
}

impl fmt::Display for Verdict {
    /// One sentence, as in the audit log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = self.strongest();
        let silent = channel.failures.saturating_sub(self.reported.failures);
        let finished = channel.failures.saturating_add(channel.successes);
        write!(f, "{} of {finished} finished devices failed", channel.failures)?;
        if silent > 0 {
            write!(f, ", {silent} of them in silence")?;
        }
        let relation = if self.ruling == Ruling::Abort { "reaches" } else { "of" };
        match channel.evidence {
            // Above a million, more digits have no use.
            evidence if evidence >= 1e6 => write!(f, "; evidence over a million {relation} {:.0}", self.threshold),
            evidence => write!(f, "; evidence {evidence:.1} {relation} {:.0}", self.threshold),
        }
    }
}

/// Ruling of the health gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// The rollout continues.
    Continue,
    /// The failure rate is worse than the tolerated one: the rollout is aborted.
    Abort,
}

/// Alternative failure rates, as multiples of the tolerated one.
const MULTIPLES: [f64; 6] = [2.0, 3.0, 5.0, 10.0, 20.0, 50.0];
/// Worst alternative failure rate, and upper bound of the others.
const WORST_RATE: f64 = 0.9;

impl HealthGate {
    /// Checks the range of each number.
    ///
    /// # Errors
    /// The first number out of its range.
    pub fn validate(&self) -> Result<(), HealthGateError> {
        if !(0.01..=50.0).contains(&self.tolerated_failure_percent) {
            return Err(HealthGateError::ToleratedFailurePercent);
        }
        if !(50.0..=99.999).contains(&self.confidence_percent) {
            return Err(HealthGateError::ConfidencePercent);
        }
        if self.min_failures == 0 {
            return Err(HealthGateError::MinFailures);
        }
        Ok(())
    }

    /// Judges the outcomes so far.
    #[must_use]
    pub fn judge(&self, counts: &Counts) -> Verdict {
        let tolerated = self.tolerated_failure_percent / 100.0;
        let channel = |failures: u64| Channel {
            failures,
            successes: counts.succeeded,
            // JSON has no infinity, and a larger number has no other meaning.
            evidence: evidence(failures, counts.succeeded, tolerated).min(f64::MAX),
        };
        // Two channels share the probability of a false abort.
        let threshold = 2.0 * 100.0 / (100.0 - self.confidence_percent);
        let stops = |channel: &Channel| channel.evidence >= threshold && channel.failures >= self.min_failures;
        let (reported, reported_or_silent) =
            (channel(counts.failed), channel(counts.failed.saturating_add(counts.timed_out)));
        let ruling = if stops(&reported) || stops(&reported_or_silent) { Ruling::Abort } else { Ruling::Continue };
        Verdict { ruling, reported, reported_or_silent, threshold, min_failures: self.min_failures }
    }

    /// Number of the `silent` claims past their end that may expire, so that other devices get their places.
    ///
    /// Until a device succeeds, or as many fail as an abort requires, a slow fleet looks like a fleet that is being
    /// bricked. In the second case each freed place costs one more device. So no claim expires while the rollout can
    /// continue without its place. When it cannot, only as many expire as the verdict still lacks. An update that
    /// bricks silently therefore costs at most `max_in_flight` devices, or `min_failures` if that is more.
    #[must_use]
    pub fn expirable_claims(&self, counts: &Counts, silent: u64, max_in_flight: Option<u64>) -> u64 {
        let failures = counts.failed.saturating_add(counts.timed_out);
        if counts.succeeded > 0 || failures.saturating_add(silent) >= self.min_failures {
            return silent;
        }
        let is_full = max_in_flight.is_some_and(|most| counts.in_flight >= most);
        let all_in_flight_are_silent = counts.in_flight <= silent;
        if is_full && all_in_flight_are_silent {
            return silent.min(self.min_failures.saturating_sub(failures.saturating_add(silent)));
        }
        0
    }
}

/// Evidence E = Σ w_j (θ_j/p0)^f ((1−θ_j)/(1−p0))^s with equal weights, summed in logarithms.
fn evidence(failures: u64, successes: u64, tolerated: f64) -> f64 {
    // No fleet has 2^53 devices.
    #[allow(clippy::cast_precision_loss)]
    let (failures, successes) = (failures as f64, successes as f64);
    let rates = MULTIPLES.iter().map(|multiple| (tolerated * multiple).min(WORST_RATE)).chain([WORST_RATE]);
    let logarithms = rates
        .map(|rate| failures * (rate / tolerated).ln() + successes * ((1.0 - rate) / (1.0 - tolerated)).ln())
        .collect::<Vec<_>>();
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Seven rates.
    #[allow(clippy::cast_precision_loss)]
    let weight = 1.0 / logarithms.len() as f64;
    weight * logarithms.iter().map(|logarithm| (logarithm - largest).exp()).sum::<f64>() * largest.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(succeeded: u64, failed: u64, timed_out: u64) -> Verdict {
        HealthGate::default().judge(&Counts { succeeded, failed, timed_out, ..Counts::default() })
    }

    fn check(counts: (u64, u64, u64), ruling: Ruling) {
        let verdict = judge(counts.0, counts.1, counts.2);
        assert_eq!(verdict.ruling, ruling, "{counts:?}: {verdict}");
    }

    #[test]
    fn three_failures_and_nothing_else_stop_a_rollout_and_two_do_not() {
        check((0, 2, 0), Ruling::Continue);
        check((0, 3, 0), Ruling::Abort);
        check((0, 0, 3), Ruling::Abort);
        check((0, 1, 2), Ruling::Abort);
    }

    #[test]
    fn the_tolerated_rate_goes_on_and_five_times_it_is_stopped() {
        check((990, 10, 0), Ruling::Continue);
        check((990, 5, 5), Ruling::Continue);
        check((380, 20, 0), Ruling::Abort);
        check((380, 0, 20), Ruling::Abort);
        check((1_000_000, 0, 0), Ruling::Continue);
    }

    #[test]
    fn no_outcome_is_no_evidence_and_a_great_deal_of_it_is_still_a_number() {
        let verdict = judge(0, 0, 0);
        assert!((verdict.reported.evidence - 1.0).abs() < 1e-9, "{verdict:?}");
        assert!((verdict.threshold - 200.0).abs() < 1e-9);
        assert!(judge(0, 1_000_000, 0).reported.evidence.is_finite());
    }

    /// Number of devices lost to an update that bricks every device silently, if at most `granted` devices take it
    /// between two sweeps.
    fn bricked(max_in_flight: u64, granted: u64) -> u64 {
        let rule = HealthGate::default();
        let (mut counts, mut ages) = (Counts::default(), Vec::new());
        for sweep in 0_u64.. {
            let silent = ages.iter().filter(|age| sweep - **age >= 3).count() as u64;
            let all = Counts { timed_out: counts.timed_out + silent, ..counts };
            if rule.judge(&all).ruling == Ruling::Abort {
                return counts.used;
            }
            let ended = rule.expirable_claims(&counts, silent, Some(max_in_flight));
            ages.drain(..usize::try_from(ended).unwrap());
            counts.timed_out += ended;
            counts.in_flight -= ended;
            let more = granted.min(max_in_flight - counts.in_flight);
            counts.used += more;
            counts.in_flight += more;
            ages.extend((0..more).map(|_| sweep));
        }
        unreachable!("the sweeps never end")
    }

    #[test]
    fn a_silent_brick_costs_at_most_what_may_be_in_flight_however_its_devices_come() {
        for max_in_flight in 1..60 {
            for granted in 1..60 {
                let most = max_in_flight.max(HealthGate::default().min_failures);
                assert!(bricked(max_in_flight, granted) <= most, "{max_in_flight} in flight, {granted} a minute");
            }
        }
        assert_eq!(bricked(50, 50), 50);
    }

    #[test]
    fn silence_ends_at_once_when_somebody_succeeded() {
        let rule = HealthGate::default();
        let counts = Counts { succeeded: 1, in_flight: 9, ..Counts::default() };
        assert_eq!(rule.expirable_claims(&counts, 1, Some(10)), 1);
        assert_eq!(rule.expirable_claims(&Counts { succeeded: 0, ..counts }, 1, Some(10)), 0);
        assert_eq!(rule.expirable_claims(&Counts { succeeded: 0, ..counts }, 2, None), 0);
    }

    #[test]
    fn a_verdict_reads_as_a_sentence() {
        assert_eq!(judge(0, 3, 0).to_string(), "3 of 3 finished devices failed; evidence 123308.6 reaches 200");
        assert!(
            judge(7, 1, 2).to_string().starts_with("3 of 10 finished devices failed, 2 of them in silence; evidence")
        );
        assert_eq!(judge(1, 0, 0).to_string(), "0 of 1 finished devices failed; evidence 0.8 of 200");
    }
}
