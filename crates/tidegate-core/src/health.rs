//! The rule that watches outcomes: continue, or stop the rollout.
//!
//! The evidence is a mixture of likelihood ratios, a test that may be looked at after every report
//! without losing its promise: at a true failure rate no worse than the tolerated one, the chance
//! that it ever says stop is at most one minus the confidence (Ville's inequality). Two channels
//! are watched, each at half of that chance: what devices report, and that together with silence,
//! because a device that was bricked reports nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::shard::Counts;

/// When outcomes stop a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HealthGate {
    /// The failure rate that is nobody's alarm, in percent.
    pub tolerated_failure_percent: f64,
    /// How sure a stop must be, in percent.
    pub confidence_percent: f64,
    /// Failures below which nothing is stopped: two forged reports must not stop a rollout.
    pub min_failures: u64,
}

impl Default for HealthGate {
    fn default() -> Self {
        Self { tolerated_failure_percent: 1.0, confidence_percent: 99.0, min_failures: 3 }
    }
}

/// What the evidence says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Stop, or go on.
    pub ruling: Ruling,
    /// Failures that devices reported.
    pub reported: Channel,
    /// Those, and devices that were silent until their claim's end.
    pub reported_or_silent: Channel,
    /// The evidence at which the rollout is stopped, in either channel.
    pub threshold: f64,
    /// Failures below which it is not.
    pub min_failures: u64,
}

/// One count that is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// Devices that failed, as this channel counts failure.
    pub failures: u64,
    /// Devices that succeeded.
    pub successes: u64,
    /// How many times likelier these are under a worse failure rate than under the tolerated one.
    pub evidence: f64,
}

impl Verdict {
    /// The channel that speaks loudest.
    #[must_use]
    pub fn loudest(&self) -> Channel {
        if self.reported_or_silent.evidence > self.reported.evidence { self.reported_or_silent } else { self.reported }
    }
}

impl fmt::Display for Verdict {
    /// One sentence, as it stands in the audit log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = self.loudest();
        let silent = channel.failures.saturating_sub(self.reported.failures);
        let finished = channel.failures.saturating_add(channel.successes);
        write!(f, "{} of {finished} finished devices failed", channel.failures)?;
        if silent > 0 {
            write!(f, ", {silent} of them in silence")?;
        }
        let relation = if self.ruling == Ruling::Abort { "reaches" } else { "of" };
        match channel.evidence {
            // Beyond this, more digits say nothing more.
            evidence if evidence >= 1e6 => write!(f, "; evidence over a million {relation} {:.0}", self.threshold),
            evidence => write!(f, "; evidence {evidence:.1} {relation} {:.0}", self.threshold),
        }
    }
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

impl HealthGate {
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
    pub fn judge(&self, counts: &Counts) -> Verdict {
        let tolerated = self.tolerated_failure_percent / 100.0;
        let channel = |failures: u64| Channel {
            failures,
            successes: counts.succeeded,
            // JSON has no infinity, and beyond this it is all the same.
            evidence: evidence(failures, counts.succeeded, tolerated).min(f64::MAX),
        };
        // Two channels share the chance of a false stop.
        let threshold = 2.0 * 100.0 / (100.0 - self.confidence_percent);
        let stops = |channel: &Channel| channel.evidence >= threshold && channel.failures >= self.min_failures;
        let (reported, reported_or_silent) =
            (channel(counts.failed), channel(counts.failed.saturating_add(counts.timed_out)));
        let ruling = if stops(&reported) || stops(&reported_or_silent) { Ruling::Abort } else { Ruling::Continue };
        Verdict { ruling, reported, reported_or_silent, threshold, min_failures: self.min_failures }
    }

    /// How many of `silent` reservations that are over may be ended, so that others get their places.
    ///
    /// Until somebody succeeded, or as many failed as a stop needs, nothing tells a slow fleet from
    /// one that is being bricked. A place that was given on meanwhile would be one more device lost,
    /// so it is kept while the rollout can go on without it, and then only as many are ended as the
    /// verdict still lacks. An update that bricks in silence therefore costs at most `max_in_flight`
    /// devices, or `min_failures` where that is more.
    #[must_use]
    pub fn expirable_claims(&self, counts: &Counts, silent: u64, max_in_flight: Option<u64>) -> u64 {
        let failures = counts.failed.saturating_add(counts.timed_out);
        if counts.succeeded > 0 || failures.saturating_add(silent) >= self.min_failures {
            return silent;
        }
        let is_full = max_in_flight.is_some_and(|most| counts.in_flight >= most);
        let nobody_else_is_under_way = counts.in_flight <= silent;
        if is_full && nobody_else_is_under_way {
            return silent.min(self.min_failures.saturating_sub(failures.saturating_add(silent)));
        }
        0
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

    /// Devices that are lost to an update that bricks all of them in silence, when `granted` of them
    /// at most take it between one sweep and the next.
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
