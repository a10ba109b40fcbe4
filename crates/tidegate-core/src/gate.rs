//! The gate of a campaign: it watches what became of the devices that were granted the update, and holds the campaign
//! when more of them fail than is tolerated.
//!
//! The evidence is a mixture of likelihood ratios over all devices that were granted, and not over those that are done.
//! A device that is not done counts as well. So failures that are told sooner than successes, or outcomes that are
//! taken back, do not make the test hold more often: if each device fails with at most the tolerated chance, the gate
//! ever holds with at most 0.5 % (Ville's inequality; one test between two acknowledgements).
//!
//! Silence has no such bound, because it has common causes: weekends, holidays, networks. A control group, which is not
//! offered the update, is silent for the same causes, and raises what is tolerated.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rollout::Applies;

/// Evidence at which a channel holds: one over the chance of a false hold.
pub const THRESHOLD: f64 = 200.0;
/// Worse rates that the evidence compares with, as multiples of the tolerated one.
const MULTIPLES: [f64; 8] = [1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];
/// The worst rate, and upper bound of the others.
const WORST_RATE: f64 = 0.9;
/// A channel that would tolerate as much says nothing any more.
const TOO_MUCH: f64 = 0.4;
/// The quantile of 99 % of the normal distribution.
const Z99: f64 = 2.326;
/// Part of what the control group shows that is allowed above it.
const CONTROL_MARGIN: f64 = 1.1;
/// Number of time buckets of first grants.
pub const HOURS: usize = 17;

/// Numbers of devices of one test: those that were first granted after the last acknowledgement. A number is negative
/// for a moment while a stream shard is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// Devices that were granted the update.
    pub granted: i64,
    /// Devices that failed.
    pub failed: i64,
    /// Devices that fell back.
    pub reverted: i64,
    /// Devices that are overdue.
    pub lost: i64,
    /// Devices that did not apply the update in time.
    pub not_taken: i64,
    /// Devices without an outcome that says something about the image: transfers that failed, users who said no,
    /// devices that went elsewhere, and those that an operator struck.
    pub no_trial: i64,
    /// First grants by [`hour_bucket`].
    pub granted_in: [i64; HOURS],
    /// Lost devices by the bucket of their first grant.
    pub lost_in: [i64; HOURS],
}

impl Outcomes {
    /// Devices whose outcome says something about the image, or will.
    #[must_use]
    pub fn trials(&self) -> i64 {
        self.granted.saturating_sub(self.no_trial)
    }
}

/// Bucket of a first grant: the logarithm of the hours since the campaign, or the test, began.
#[must_use]
pub fn hour_bucket(hours: u64) -> usize {
    let bucket = hours.saturating_add(1).ilog2();
    usize::try_from(bucket).unwrap_or(HOURS).min(HOURS.saturating_sub(1))
}

/// Reading of the control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Members that are overdue.
    pub overdue: u64,
    /// Members.
    pub members: u64,
}

impl Control {
    /// Upper bound of the share of silent devices, with 99 % confidence (Agresti and Coull).
    #[must_use]
    pub fn bound(&self) -> f64 {
        let members = number(self.members) + Z99 * Z99;
        let share = (number(self.overdue) + Z99 * Z99 / 2.0) / members;
        (share + Z99 * (share * (1.0 - share) / members).sqrt()).min(WORST_RATE)
    }
}

/// Rule of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Share of devices that may fail or fall back, in percent.
    pub tolerated_failed_percent: f64,
    /// Share of devices that may be lost, in percent.
    pub tolerated_lost_percent: f64,
    /// Share of devices that may not take the update, in percent.
    pub tolerated_not_taken_percent: f64,
    /// Least number of devices in a channel that holds. Two liars must not hold a campaign.
    pub min_failures: u64,
    /// A part of a large audience is held out, to tell what silence is not the update's fault.
    pub control_group: bool,
    /// A hold for silent devices, or for devices that do not take the update, lifts itself when they come back.
    pub auto_resume: bool,
}

/// Number of a gate that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the fields of `Gate`
pub enum GateError {
    #[error("health.{name} must be within 0.01 and 40")]
    Tolerated { name: &'static str },
    #[error("health.min_failures must be at least 1")]
    MinFailures,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            tolerated_failed_percent: 1.0,
            tolerated_lost_percent: 2.0,
            tolerated_not_taken_percent: Applies::Later.tolerated_not_taken_percent(),
            min_failures: 3,
            control_group: true,
            auto_resume: true,
        }
    }
}

/// Name of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelName {
    /// Devices that failed or fell back.
    Failed,
    /// Devices that are overdue.
    Lost,
    /// Devices that did not apply the update in time.
    NotTaken,
}

impl ChannelName {
    /// Every channel.
    pub const ALL: [Self; 3] = [Self::Failed, Self::Lost, Self::NotTaken];

    /// Name in the API and in storage.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::NotTaken => "not_taken",
        }
    }
}

/// Cause of a hold: a channel, and the devices in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldFor {
    /// The channel.
    pub channel: ChannelName,
    /// Devices in it when the hold began.
    pub bad: u64,
}

/// Judgement of one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// The channel.
    pub name: ChannelName,
    /// Devices in it.
    pub bad: u64,
    /// Devices that it is a part of.
    pub of: u64,
    /// The share that is tolerated, from 0 to 1.
    pub tolerated: f64,
    /// The evidence that more than the tolerated share is bad. At least [`THRESHOLD`] holds.
    pub evidence: f64,
    /// So much would have to be tolerated that the channel says nothing.
    pub is_off: bool,
    /// There is evidence enough, and devices enough.
    pub holds: bool,
}

/// Judgement of a campaign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Each channel.
    pub channels: [Channel; 3],
}

impl Judgement {
    /// The first channel that holds.
    #[must_use]
    pub fn hold(&self) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.holds)
    }

    /// The cause of a hold, if the campaign is to be held.
    #[must_use]
    pub fn held_for(&self) -> Option<HeldFor> {
        self.hold().map(|channel| HeldFor { channel: channel.name, bad: channel.bad })
    }

    /// Returns true if a control group could change it: silence holds, and failures do not.
    #[must_use]
    pub fn holds_for_silence(&self) -> bool {
        self.hold().is_some_and(|channel| channel.name != ChannelName::Failed)
    }

    /// Returns true if a hold lifts itself: no channel holds, and most of the devices for which it began are back.
    #[must_use]
    pub fn lifts(&self, held_for: &HeldFor) -> bool {
        let mut channels = self.channels.iter().filter(|channel| channel.name == held_for.channel);
        self.hold().is_none() && channels.any(|channel| channel.lifts(held_for.bad))
    }

    /// The channel that holds, or else the one with the most evidence.
    #[must_use]
    pub fn strongest(&self) -> &Channel {
        let [first, ..] = &self.channels;
        let most = self.channels.iter().fold(first, |most, channel| match channel.evidence > most.evidence {
            true => channel,
            false => most,
        });
        self.hold().unwrap_or(most)
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.strongest().fmt(f)
    }
}

impl Channel {
    /// Returns true if a hold lifts itself: most of the devices that were silent, or did not take the update, are back.
    /// `most` is the number of them when the hold began. Devices that failed do not come back.
    #[must_use]
    fn lifts(&self, most: u64) -> bool {
        self.name != ChannelName::Failed && self.evidence < 1.0 && self.bad.saturating_mul(4) <= most
    }
}

impl fmt::Display for Channel {
    /// One sentence, as in metrics and the audit log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.name {
            ChannelName::Failed => "failed",
            ChannelName::Lost => "are overdue",
            ChannelName::NotTaken => "did not take the update in time",
        };
        write!(f, "{} of {} devices {what}; ", self.bad, self.of)?;
        if self.is_off {
            return f.write_str("this says nothing while so many devices are silent without the update");
        }
        write!(f, "tolerated {} %; evidence ", (self.tolerated * 1000.0).round() / 10.0)?;
        match self.evidence {
            // Above a million, more digits have no use.
            evidence if evidence >= 1e6 => f.write_str("over a million")?,
            evidence => write!(f, "{evidence:.1}")?,
        }
        write!(f, " of {THRESHOLD:.0}")
    }
}

impl Gate {
    /// Checks the range of each number.
    ///
    /// # Errors
    /// The first number out of its range.
    pub fn validate(&self) -> Result<(), GateError> {
        for (name, percent) in [
            ("tolerated_failed_percent", self.tolerated_failed_percent),
            ("tolerated_lost_percent", self.tolerated_lost_percent),
            ("tolerated_not_taken_percent", self.tolerated_not_taken_percent),
        ] {
            if !(0.01..=100.0 * TOO_MUCH).contains(&percent) {
                return Err(GateError::Tolerated { name });
            }
        }
        if self.min_failures == 0 {
            return Err(GateError::MinFailures);
        }
        Ok(())
    }

    /// Judges the outcomes of the present test.
    #[must_use]
    pub fn judge(&self, outcomes: &Outcomes, control: Option<&Control>) -> Judgement {
        let with_control = |percent: f64| {
            let tolerated = percent / 100.0;
            control.map_or(tolerated, |control| tolerated.max(CONTROL_MARGIN * control.bound()))
        };
        let failed = outcomes.failed.saturating_add(outcomes.reverted);
        let of = outcomes.trials();
        Judgement {
            channels: [
                self.channel(ChannelName::Failed, self.tolerated_failed_percent / 100.0, [(failed, of)]),
                self.channel(ChannelName::Lost, with_control(self.tolerated_lost_percent), lost(outcomes)),
                self.channel(
                    ChannelName::NotTaken,
                    with_control(self.tolerated_not_taken_percent),
                    [(outcomes.not_taken, of)],
                ),
            ],
        }
    }

    /// Judges several counts that the same bound covers: the one of all devices, and others that are taken if they say
    /// more, and that too many are bad.
    fn channel(&self, name: ChannelName, tolerated: f64, counts: impl IntoIterator<Item = (i64, i64)>) -> Channel {
        let is_off = tolerated >= TOO_MUCH;
        let mut strongest: Option<Channel> = None;
        for (bad, of) in counts {
            let bad = u64::try_from(bad).unwrap_or(0);
            let of = u64::try_from(of).unwrap_or(0).max(bad);
            let evidence = if is_off { 0.0 } else { evidence(bad, of, tolerated) };
            if strongest.is_none_or(|strongest| evidence > strongest.evidence.max(1.0)) {
                let holds = evidence >= THRESHOLD && bad >= self.min_failures;
                strongest = Some(Channel { name, bad, of, tolerated, evidence, is_off, holds });
            }
        }
        strongest.unwrap_or(Channel { name, bad: 0, of: 0, tolerated, evidence: 0.0, is_off, holds: false })
    }
}

/// The lost of all devices, and those of every prefix of the order of grants: devices that were granted early had time to
/// become silent, and the later ones hide them. In a prefix every device counts, which is on the safe side.
fn lost(outcomes: &Outcomes) -> Vec<(i64, i64)> {
    let mut counts = vec![(outcomes.lost, outcomes.trials())];
    let (mut bad, mut of) = (0_i64, 0_i64);
    for (lost, granted) in outcomes.lost_in.iter().zip(outcomes.granted_in) {
        bad = bad.saturating_add(*lost);
        of = of.saturating_add(granted);
        counts.push((bad, of));
    }
    counts
}

/// Evidence that the true rate is worse than `tolerated`: the mean of (θ/p)^x ((1−θ)/(1−p))^(n−x) over nine worse rates
/// θ, summed in logarithms.
#[must_use]
pub fn evidence(bad: u64, of: u64, tolerated: f64) -> f64 {
    let (bad, good) = (number(bad), number(of.saturating_sub(bad)));
    let rates = MULTIPLES.iter().map(|multiple| (tolerated * multiple).min(WORST_RATE)).chain([WORST_RATE]);
    let logarithms = rates
        .map(|rate| bad * (rate / tolerated).ln() + good * ((1.0 - rate) / (1.0 - tolerated)).ln())
        .collect::<Vec<_>>();
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = logarithms.iter().map(|logarithm| (logarithm - largest).exp()).sum::<f64>();
    // JSON has no infinity, and a larger number has no other meaning.
    (sum / number(logarithms.len() as u64) * largest.exp()).min(f64::MAX)
}

// No fleet has 2^53 devices.
#[allow(clippy::cast_precision_loss)]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least number of bad devices that holds.
    fn least(of: u64, tolerated: f64) -> u64 {
        (3..=of).find(|bad| evidence(*bad, of, tolerated) >= THRESHOLD).unwrap()
    }

    #[test]
    fn as_many_failures_hold_as_the_design_says() {
        let expected = [(10, 3), (20, 4), (50, 5), (100, 7), (500, 16), (1000, 25), (2000, 40), (10_000, 142)];
        assert_eq!(expected.map(|(of, _)| (of, least(of, 0.01))), expected);
    }

    #[test]
    fn a_control_group_raises_what_is_tolerated_as_the_design_says() {
        let percent = |overdue, members| {
            let gate = Gate::default();
            let judgement = gate.judge(&Outcomes::default(), Some(&Control { overdue, members }));
            (judgement.channels[1].tolerated * 1000.0).round() / 10.0
        };
        assert_eq!([percent(0, 500), percent(0, 200), percent(0, 100), percent(0, 50)], [2.0, 3.5, 6.8, 12.8]);
        assert_eq!([percent(5, 500), percent(2, 200)], [3.1, 5.2]);
    }

    #[test]
    fn a_channel_that_would_tolerate_two_in_five_is_off() {
        let all_lost = Outcomes { granted: 100, lost: 100, ..Outcomes::default() };
        let judged = |control| Gate::default().judge(&all_lost, Some(&control)).channels[1];
        assert!(judged(Control { overdue: 30, members: 500 }).holds);
        let off = judged(Control { overdue: 200, members: 500 });
        assert!(off.is_off && !off.holds);
        assert!(off.to_string().ends_with("this says nothing while so many devices are silent without the update"));
    }

    #[test]
    fn early_devices_that_became_silent_are_not_hidden_by_later_ones() {
        let mut outcomes = Outcomes { granted: 10_000, lost: 40, ..Outcomes::default() };
        assert!(Gate::default().judge(&outcomes, None).hold().is_none(), "0.4 % of all");
        (outcomes.granted_in[0], outcomes.lost_in[0]) = (300, 40);
        (outcomes.granted_in[9], outcomes.lost_in[9]) = (9700, 0);
        let judgement = Gate::default().judge(&outcomes, None);
        let hold = judgement.hold().unwrap();
        assert_eq!((hold.name, hold.bad, hold.of), (ChannelName::Lost, 40, 300));
    }

    #[test]
    fn devices_without_a_trial_are_in_neither_number() {
        let outcomes = Outcomes { granted: 60, failed: 3, no_trial: 50, ..Outcomes::default() };
        let judgement = Gate::default().judge(&outcomes, None);
        let hold = judgement.hold().unwrap();
        assert_eq!((hold.bad, hold.of), (3, 10));
        assert_eq!(hold.to_string(), "3 of 10 devices failed; tolerated 1 %; evidence 387.8 of 200");
        let all = Outcomes { no_trial: 0, ..outcomes };
        assert!(Gate::default().judge(&all, None).hold().is_none());
    }

    #[test]
    fn a_hold_on_silence_lifts_itself_when_three_of_four_are_back_and_one_on_failures_never() {
        let judged = |outcomes: Outcomes| Gate::default().judge(&outcomes, None).channels;
        let lost = |lost| judged(Outcomes { granted: 2000, lost, ..Outcomes::default() })[1];
        assert!(lost(80).holds);
        assert!(lost(20).lifts(80));
        assert!(!lost(21).lifts(80), "a brick of 1 % would go on");
        assert!(!lost(80).lifts(1000), "the evidence is still there");
        assert!(!judged(Outcomes { granted: 2000, failed: 2, ..Outcomes::default() })[0].lifts(80));
    }

    #[test]
    fn two_liars_hold_nothing() {
        let outcomes = Outcomes { granted: 2, failed: 2, ..Outcomes::default() };
        let channel = Gate::default().judge(&outcomes, None).channels[0];
        assert!(channel.evidence >= THRESHOLD && !channel.holds);
    }

    #[test]
    fn numbers_below_zero_and_more_bad_than_granted_are_read_as_far_as_they_go() {
        let outcomes = Outcomes { granted: -1, failed: -2, lost: 4, ..Outcomes::default() };
        let judgement = Gate::default().judge(&outcomes, None);
        let numbers = judgement.channels.map(|channel| (channel.bad, channel.of));
        assert_eq!(numbers, [(0, 0), (4, 4), (0, 0)]);
    }

    #[test]
    fn an_hour_bucket_doubles() {
        let buckets = [0, 1, 2, 3, 6, 7, 14, 65_534, 65_535, u64::MAX].map(hour_bucket);
        assert_eq!(buckets, [0, 1, 1, 2, 2, 3, 3, 15, 16, 16]);
    }
}
