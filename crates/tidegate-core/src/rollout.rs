//! Rollout: the time at which each device may get an update, and the number of devices.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cadence::DAY_S;
use crate::cohort::{Cohort, Share};
use crate::gate::Gate;
use crate::life::DEFAULT_SOAK_S;
use crate::limits::Limits;
use crate::objection::Objection;
use crate::phase::{Advance, AdvanceError, Begins, Phase};
use crate::policy::{Candidate, Facts, Policy, Truth};
use crate::times::Times;
use crate::window::{Opening, OpeningWindow, any_open};

/// Group of devices with its own start time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    /// Policy that admits the devices of the group.
    pub policy: Policy,
    /// Start time of the group.
    pub starts_at: Timestamp,
}

/// Answer to a device that must wait for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WhenFull {
    /// The next older update that fits.
    #[default]
    Next,
    /// No update.
    Wait,
}

/// When devices apply an update that they were offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Applies {
    /// In a window of their own, or when a user says so.
    #[default]
    Later,
    /// When they have it. A device that still runs the old version at its second check-in has failed to.
    AtOnce,
}

impl Applies {
    /// Seconds in which a device applies the update.
    #[must_use]
    pub fn within_s(self, times: &Times) -> i64 {
        match self {
            Self::Later => times.apply_within_s,
            Self::AtOnce => times.poll_s.saturating_mul(2).saturating_add(DAY_S),
        }
    }

    /// Share of devices that may not take the update, in percent, if nothing else is said.
    #[must_use]
    pub fn tolerated_not_taken_percent(self) -> f64 {
        match self {
            Self::Later => 20.0,
            Self::AtOnce => 2.0,
        }
    }
}

/// Time and number of devices of an update.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rollout {
    /// Start time.
    pub starts_at: Option<Timestamp>,
    /// End time. From then on no device gets an offer.
    pub ends_at: Option<Timestamp>,
    /// Opening windows. Devices get offers only while one of them is open, or always if there are none.
    pub windows: Vec<OpeningWindow>,
    /// Groups of devices with their own start times.
    pub groups: Vec<Group>,
    /// Phases for the devices that are in no group.
    pub phases: Vec<Phase>,
    /// Number of phases on evidence that have begun after the first one.
    pub advanced: usize,
    /// Limits on the number of devices.
    pub limits: Limits,
    /// Number of times that one device may fail within thirty days.
    pub max_attempts: u32,
    /// Devices that failed in an earlier campaign of the update may have it again.
    pub include_failed: bool,
    /// Answer to a device that must wait for its turn.
    pub when_full: WhenFull,
    /// When devices apply it.
    pub applies: Applies,
    /// Gate of the rollout.
    pub health: Gate,
}

/// Default number of attempts: three are enough to tell a bad connection from a bad update.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// Most attempts that a rollout may allow.
const MOST_ATTEMPTS: u32 = 100;
/// Shortest period of a rate: a minute.
const SHORTEST_PERIOD_S: u32 = 60;
/// Longest period of a rate: thirty days.
const LONGEST_PERIOD_S: u32 = 30 * 24 * 3600;

/// Rule of a rollout that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages are the rules
pub enum RolloutError {
    #[error("ends_at must be later than starts_at")]
    EndBeforeStart,
    #[error("every group and phase must start before ends_at")]
    PartAfterEnd,
    #[error("phase {number} must start later, and reach more devices, than the phase before it")]
    PhaseOrder { number: usize },
    #[error(
        "phases must begin all at a time (starts_at), or the first one at once and all others on evidence (advance)"
    )]
    PhaseBeginnings,
    #[error("phases: {0}")]
    Advance(#[from] AdvanceError),
    #[error("max_attempts must be within 1 and {MOST_ATTEMPTS}")]
    MaxAttempts,
    #[error("limits.period_s must be within {SHORTEST_PERIOD_S} and {LONGEST_PERIOD_S}")]
    Period,
    #[error("limits.{name} must be within 1 and 2^50, or null for no limit")]
    Limit { name: &'static str },
    #[error("limits.max_bytes_per_period must hold at least one device's {bytes_per_device} bytes")]
    BytesBelowOneDevice { bytes_per_device: u64 },
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            starts_at: None,
            ends_at: None,
            windows: Vec::new(),
            groups: Vec::new(),
            phases: Vec::new(),
            advanced: 0,
            limits: Limits::default(),
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            include_failed: false,
            when_full: WhenFull::default(),
            applies: Applies::default(),
            health: Gate::default(),
        }
    }
}

impl Rollout {
    /// Checks the rules that concern several fields, and the limits.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn validate(&self, bytes_per_device: u64) -> Result<(), RolloutError> {
        if let (Some(start), Some(end)) = (self.starts_at, self.ends_at)
            && start >= end
        {
            return Err(RolloutError::EndBeforeStart);
        }
        let starts =
            self.groups.iter().map(|group| group.starts_at).chain(self.phases.iter().filter_map(Phase::starts_at));
        if let Some(end) = self.ends_at
            && starts.into_iter().any(|start| start >= end)
        {
            return Err(RolloutError::PartAfterEnd);
        }
        self.validate_beginnings()?;
        for (number, pair) in (2_usize..).zip(self.phases.windows(2)) {
            if let [before, phase] = pair
                && (phase.starts_at().is_some_and(|starts_at| Some(starts_at) <= before.starts_at())
                    || phase.share <= before.share)
            {
                return Err(RolloutError::PhaseOrder { number });
            }
        }
        if !(1..=MOST_ATTEMPTS).contains(&self.max_attempts) {
            return Err(RolloutError::MaxAttempts);
        }
        self.validate_limits(bytes_per_device)
    }

    /// Phases begin either at times, or the first one at once and all others on evidence.
    fn validate_beginnings(&self) -> Result<(), RolloutError> {
        let at_times = self.phases.iter().all(|phase| phase.starts_at().is_some());
        let on_evidence = (0_usize..).zip(&self.phases).all(|(number, phase)| match phase.begins {
            Begins::At(_) => false,
            Begins::AtOnce => number == 0,
            Begins::OnEvidence(_) => number > 0,
        });
        for advance in self.phases.iter().filter_map(Phase::advance) {
            advance.validate()?;
        }
        if at_times || on_evidence { Ok(()) } else { Err(RolloutError::PhaseBeginnings) }
    }

    /// The phase on evidence that has not begun yet, with its number from 1, and the shares of the one before it and of the
    /// one before that.
    #[must_use]
    pub fn next_on_evidence(&self) -> Option<(usize, &Advance, [Share; 2])> {
        let reached = self.reached()?;
        let next = reached.saturating_add(1);
        let advance = self.phases.get(next)?.advance()?;
        let before = reached.checked_sub(1).and_then(|before| self.phases.get(before));
        let shares = [self.phases.get(reached)?.share, before.map_or(Share::NONE, |before| before.share)];
        Some((next.saturating_add(1), advance, shares))
    }

    /// Share that the phases reach, if they begin on evidence.
    #[must_use]
    pub fn share_on_evidence(&self) -> Option<Share> {
        self.phases.get(self.reached()?).map(|phase| phase.share)
    }

    /// Index of the phase that is reached, if phases begin on evidence.
    fn reached(&self) -> Option<usize> {
        let first = self.phases.first().filter(|phase| phase.begins == Begins::AtOnce);
        first.map(|_| self.advanced.min(self.phases.len().saturating_sub(1)))
    }

    /// Seconds for which a device must be well to count as soaked: the longest that a phase asks for.
    #[must_use]
    pub fn soak_s(&self) -> i64 {
        self.phases.iter().filter_map(Phase::advance).map(|advance| advance.soak_s).max().unwrap_or(DEFAULT_SOAK_S)
    }

    fn validate_limits(&self, bytes_per_device: u64) -> Result<(), RolloutError> {
        let limits = &self.limits;
        if !(SHORTEST_PERIOD_S..=LONGEST_PERIOD_S).contains(&limits.period_s) {
            return Err(RolloutError::Period);
        }
        for (name, limit) in [
            ("max_devices", limits.max_devices),
            ("max_per_period", limits.max_per_period),
            ("max_in_flight", limits.max_in_flight),
            ("max_bytes_per_period", limits.max_bytes_per_period),
        ] {
            if limit.is_some_and(|limit| !(1..=1 << 50).contains(&limit)) {
                return Err(RolloutError::Limit { name });
            }
        }
        if limits.max_bytes_per_period.is_some_and(|bytes| bytes < bytes_per_device) {
            return Err(RolloutError::BytesBelowOneDevice { bytes_per_device });
        }
        Ok(())
    }

    /// Asks the rules of time: start, windows and phases.
    ///
    /// A device in a group follows the earliest start of its groups, and no phase. Every other device follows
    /// `starts_at` and the phases. The windows apply to all devices.
    ///
    /// # Errors
    /// The objection, if the device must not get the update at this time.
    pub fn admits(
        &self,
        facts: &Facts<'_>,
        candidate: &Candidate<'_>,
        cohort: &dyn Fn() -> Cohort,
        now: Timestamp,
    ) -> Result<(), Objection> {
        let (group_start, doubtful_start) = self.group_starts(facts, candidate);
        if let Some(opens_at) = group_start.or(self.starts_at.max(doubtful_start))
            && now < opens_at
        {
            return Err(Objection::NotStarted { opens_at });
        }
        if let Opening::Closed(opens_at) = any_open(&self.windows, now) {
            return Err(Objection::OutsideWindow { opens_at: self.before_the_end(opens_at) });
        }
        if group_start.is_none() {
            self.phase_admits(cohort, now)?;
        }
        Ok(())
    }

    /// Returns true if the device is in a group: it has a start of its own.
    #[must_use]
    pub fn names(&self, facts: &Facts<'_>, candidate: &Candidate<'_>) -> bool {
        self.group_starts(facts, candidate).0.is_some()
    }

    /// Earliest start of the groups that admit the device, and latest start of the groups whose policy cannot be
    /// evaluated for it. A device in no group that may belong to a late group waits for that group: an unclear policy
    /// never lets a device in earlier.
    fn group_starts(&self, facts: &Facts<'_>, candidate: &Candidate<'_>) -> (Option<Timestamp>, Option<Timestamp>) {
        let (mut earliest, mut doubtful): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        for group in &self.groups {
            match group.policy.evaluate(facts, candidate) {
                Truth::Yes => earliest = earliest.into_iter().chain([group.starts_at]).min(),
                Truth::Unknown(_) => doubtful = doubtful.max(Some(group.starts_at)),
                Truth::No => {}
            }
        }
        (earliest, doubtful)
    }

    fn phase_admits(&self, cohort: &dyn Fn() -> Cohort, now: Timestamp) -> Result<(), Objection> {
        let share = self.share_at(now);
        if share == Share::ALL {
            return Ok(());
        }
        let cohort = cohort();
        if share.holds(cohort) {
            return Ok(());
        }
        let mut later = self.phases.iter().filter(|phase| phase.starts_at() > Some(now) && phase.share.holds(cohort));
        let opens_at = self.before_the_end(later.next().and_then(Phase::starts_at));
        Err(Objection::NotInPhase { cohort, share, opens_at })
    }

    /// `opens_at`, unless the rollout is over by then.
    fn before_the_end(&self, opens_at: Option<Timestamp>) -> Option<Timestamp> {
        opens_at.filter(|opens_at| self.ends_at.is_none_or(|end| *opens_at < end))
    }

    /// Share of the fleet that the phases reach at `now`.
    #[must_use]
    pub fn share_at(&self, now: Timestamp) -> Share {
        if self.phases.is_empty() {
            return Share::ALL;
        }
        let begun = match self.reached() {
            Some(reached) => self.phases.get(reached),
            None => self.phases.iter().rfind(|phase| phase.starts_at().is_some_and(|starts_at| starts_at <= now)),
        };
        begun.map_or(Share::NONE, |phase| phase.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_must_start_later_and_reach_more_than_the_one_before() {
        let phase = |starts_at: &str, percent| Phase {
            begins: Begins::At(starts_at.parse().unwrap()),
            share: Share::from_percent(percent).unwrap(),
        };
        let check = |phases: Vec<Phase>| Rollout { phases, ..Rollout::default() }.validate(0);
        assert!(check(vec![phase("2026-01-01T00:00:00Z", 5.0), phase("2026-01-02T00:00:00Z", 100.0)]).is_ok());
        let refused = "phase 2 must start later, and reach more devices, than the phase before it";
        assert_eq!(
            check(vec![phase("2026-01-01T00:00:00Z", 5.0), phase("2026-01-01T00:00:00Z", 9.0)])
                .unwrap_err()
                .to_string(),
            refused
        );
        assert_eq!(
            check(vec![phase("2026-01-01T00:00:00Z", 5.0), phase("2026-01-02T00:00:00Z", 5.0)])
                .unwrap_err()
                .to_string(),
            refused
        );
    }

    #[test]
    fn phases_on_evidence_begin_one_after_another() {
        let share = |percent| Share::from_percent(percent).unwrap();
        let phase = |begins, percent| Phase { begins, share: share(percent) };
        let advance = Begins::OnEvidence(Advance::default());
        let phases = vec![phase(Begins::AtOnce, 1.0), phase(advance, 10.0), phase(advance, 100.0)];
        let reached = |advanced| Rollout { phases: phases.clone(), advanced, ..Rollout::default() };
        assert!(reached(0).validate(0).is_ok());
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!([0, 1, 2, 9].map(|advanced| reached(advanced).share_at(now).percent()), [1.0, 10.0, 100.0, 100.0]);
        let next = |advanced: usize| reached(advanced).next_on_evidence().map(|(number, _, shares)| (number, shares));
        let (first, second) = ([share(1.0), Share::NONE], [share(10.0), share(1.0)]);
        assert_eq!([next(0), next(1), next(2)], [Some((2, first)), Some((3, second)), None]);
        let bad = |phases| Rollout { phases, ..Rollout::default() }.validate(0).unwrap_err().to_string();
        let at = Begins::At(now);
        for mixed in [
            vec![phase(Begins::AtOnce, 1.0), phase(at, 2.0)],
            vec![phase(advance, 1.0)],
            vec![phase(at, 1.0), phase(advance, 2.0)],
            vec![phase(Begins::AtOnce, 1.0), phase(Begins::AtOnce, 2.0)],
        ] {
            assert!(bad(mixed).starts_with("phases must begin all at a time"));
        }
        let short = Begins::OnEvidence(Advance { soak_s: 60, ..Advance::default() });
        let message = "phases: advance.soak_s must be within 3600 and 2592000 seconds";
        assert_eq!(bad(vec![phase(Begins::AtOnce, 1.0), phase(short, 2.0)]), message);
    }

    #[test]
    fn a_byte_limit_below_one_image_is_refused_because_nobody_could_be_offered_it() {
        let limits = Limits { max_bytes_per_period: Some(999), ..Limits::default() };
        let rollout = Rollout { limits, ..Rollout::default() };
        assert_eq!(
            rollout.validate(1000).unwrap_err().to_string(),
            "limits.max_bytes_per_period must hold at least one device's 1000 bytes"
        );
        assert!(rollout.validate(999).is_ok());
    }
}
