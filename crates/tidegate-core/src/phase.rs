//! Phases of a rollout: shares of the fleet, one after another. A phase begins at a time, or on evidence: when enough
//! devices of the phase before are well for long enough. A dead device is never well, so a phase on evidence cannot be
//! opened by devices of which nothing is heard.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cadence::DAY_S;
use crate::cohort::Share;
use crate::count::{Count, Sums};
use crate::gate::Judgement;
use crate::life::{Bucket, DEFAULT_SOAK_S, Life, State};

/// Evidence of a channel of the gate at which no phase begins. At 200 the rollout is held.
const TOO_MUCH_EVIDENCE: f64 = 20.0;
/// Range of [`Advance::soak_s`]: an hour to thirty days.
const SOAK_S: std::ops::RangeInclusive<i64> = 3600..=30 * DAY_S;

/// Phase: the share of the fleet that is reached from its beginning on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Beginning of the phase.
    pub begins: Begins,
    /// Share of the fleet that it reaches.
    pub share: Share,
}

/// Beginning of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Begins {
    /// With the rollout. It is the first one, and others begin on evidence.
    AtOnce,
    /// At a time.
    At(Timestamp),
    /// When the devices of the phase before are well.
    OnEvidence(Advance),
}

impl Phase {
    /// Time at which it begins; `None` if that is not set.
    #[must_use]
    pub fn starts_at(&self) -> Option<Timestamp> {
        match self.begins {
            Begins::At(at) => Some(at),
            Begins::AtOnce | Begins::OnEvidence(_) => None,
        }
    }

    /// Condition under which it begins, if it begins on evidence.
    #[must_use]
    pub fn advance(&self) -> Option<&Advance> {
        match &self.begins {
            Begins::OnEvidence(advance) => Some(advance),
            Begins::AtOnce | Begins::At(_) => None,
        }
    }
}

/// Condition under which a phase begins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Advance {
    /// Devices that must be well, or half of those that the phase before admits, if that is less.
    pub min_proved: u64,
    /// Seconds for which a device must be well.
    pub soak_s: i64,
    /// Share in percent that must be well, of the devices of which something is known or should be by now.
    pub success_percent: f64,
    /// It does not begin before this time.
    pub not_before: Option<Timestamp>,
    /// It begins only when an operator says so.
    pub approval: bool,
}

impl Default for Advance {
    fn default() -> Self {
        Self { min_proved: 20, soak_s: DEFAULT_SOAK_S, success_percent: 90.0, not_before: None, approval: false }
    }
}

/// Number of a condition that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages are the rules
pub enum AdvanceError {
    #[error("advance.min_proved must be at least 1")]
    MinProved,
    #[error("advance.soak_s must be within {} and {} seconds", SOAK_S.start(), SOAK_S.end())]
    Soak,
    #[error("advance.success_percent must be within 50 and 100")]
    SuccessPercent,
}

/// What became of the devices of a campaign so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Soaking {
    /// Devices that are well for long.
    pub soaked: u64,
    /// Devices that failed, fell back, are overdue, or did not take the update.
    pub bad: u64,
    /// Devices that were proved, and are not well for long yet.
    pub unsoaked: u64,
    /// Devices that should have shown something by now: they were granted the update longer ago than a device soaks and
    /// than they are used to be silent. `None` if they were not counted lately.
    pub waiting: Option<u64>,
    /// Devices whose outcome says something, or will.
    pub trials: u64,
    /// Devices that the phase admits beyond those of the phases before, if they were counted.
    pub admitted: Option<u64>,
    /// What was known when the phase began.
    pub begun: Begun,
}

/// Beginning of the phase that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Begun {
    /// The time; `None` for the first phase, which begins with the rollout.
    pub at: Option<Timestamp>,
    /// Devices that were well for long then. They say nothing of this phase.
    pub soaked: u64,
}

/// What a phase still waits for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lack {
    /// More devices that are well.
    Soaked {
        /// Devices that are well.
        soaked: u64,
        /// Devices that must be.
        of: u64,
    },
    /// A larger share of devices that are well.
    Share {
        /// Devices that are well.
        soaked: u64,
        /// Devices of which something is known, or should be.
        of: u64,
        /// The share that must be well, in percent.
        percent: f64,
    },
    /// Less evidence against the update.
    Evidence {
        /// The evidence.
        evidence: f64,
    },
    /// The count of the devices that are silent for long.
    Count,
    /// A time.
    Time {
        /// The time.
        until: Timestamp,
    },
    /// An operator.
    Approval,
}

impl Advance {
    /// Checks the range of each number.
    ///
    /// # Errors
    /// The first number out of its range.
    pub fn validate(&self) -> Result<(), AdvanceError> {
        if self.min_proved == 0 {
            return Err(AdvanceError::MinProved);
        }
        if !SOAK_S.contains(&self.soak_s) {
            return Err(AdvanceError::Soak);
        }
        if !(50.0..=100.0).contains(&self.success_percent) {
            return Err(AdvanceError::SuccessPercent);
        }
        Ok(())
    }

    /// What the phase waits for; `None` if it begins now.
    #[must_use]
    pub fn lacks(&self, soaking: &Soaking, judgement: &Judgement, now: Timestamp) -> Option<Lack> {
        let Soaking { soaked, begun, .. } = *soaking;
        let admitted = soaking.admitted.filter(|admitted| *admitted > 0);
        let of_phase = admitted.map_or(self.min_proved, |admitted| self.min_proved.min(admitted.div_ceil(2)));
        let needed = begun.soaked.saturating_add(of_phase);
        // Half of the trials, whatever became of the others.
        let half = soaking.trials.div_ceil(2);
        let known = [soaking.bad, soaking.unsoaked].into_iter().fold(soaked, u64::saturating_add);
        let evidence = judgement.strongest().evidence;
        if soaked < needed.max(half) {
            return Some(Lack::Soaked { soaked, of: needed.max(half) });
        }
        if evidence >= TOO_MUCH_EVIDENCE {
            return Some(Lack::Evidence { evidence });
        }
        if !self.is_share(soaked, known) {
            return Some(Lack::Share { soaked, of: known, percent: self.success_percent });
        }
        // No device of the phase can be well for so long before.
        let soaked_at = begun.at.and_then(|at| at.checked_add(SignedDuration::from_secs(self.soak_s)).ok());
        if let Some(until) = self.not_before.max(soaked_at).filter(|until| now < *until) {
            return Some(Lack::Time { until });
        }
        let Some(waiting) = soaking.waiting else {
            return Some(Lack::Count);
        };
        let all = known.saturating_add(waiting);
        if !self.is_share(soaked, all) {
            return Some(Lack::Share { soaked, of: all, percent: self.success_percent });
        }
        self.approval.then_some(Lack::Approval)
    }

    // No fleet has 2^53 devices.
    #[allow(clippy::cast_precision_loss)]
    fn is_share(&self, soaked: u64, of: u64) -> bool {
        soaked as f64 * 100.0 >= self.success_percent * of as f64
    }
}

impl Soaking {
    /// What became of the devices of a campaign with these sums. Newcomers say nothing here: anybody could make some.
    #[must_use]
    pub fn of(sums: &Sums, waiting: Option<u64>, admitted: Option<u64>, begun: Begun) -> Self {
        let of = |count| u64::try_from(sums.voters(count)).unwrap_or(0);
        let sum = |counts: &[Count]| counts.iter().fold(0_u64, |sum, count| sum.saturating_add(of(*count)));
        let no_trial = Bucket::ALL.into_iter().filter(|bucket| bucket.is_no_trial()).map(Count::of).collect::<Vec<_>>();
        Self {
            soaked: of(Count::Soaked),
            bad: sum(&[Count::Failed, Count::Reverted, Count::Lost, Count::NotTaken]),
            unsoaked: of(Count::Proved).saturating_sub(of(Count::Soaked)),
            waiting,
            trials: of(Count::Granted).saturating_sub(sum(&no_trial)),
            admitted,
            begun,
        }
    }
}

/// Returns true if a device should have shown something by now: its claim is open or installed, and older than a device
/// soaks and than the device is used to be silent.
#[must_use]
pub fn is_waiting(life: &Life, soak_s: i64, allowed_s: i64, now: Timestamp) -> bool {
    let age_s = now.as_second().saturating_sub(life.granted_at.as_second());
    age_s > soak_s.max(allowed_s) && matches!(life.state, State::Open | State::Installed)
}

impl fmt::Display for Soaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { soaked, bad, unsoaked, waiting, trials, admitted: _, begun: _ } = self;
        write!(
            f,
            "{soaked} of {trials} devices are well for long enough, {bad} are not, {unsoaked} are well for less"
        )?;
        match waiting {
            Some(waiting) => write!(f, ", {waiting} should have shown something"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soaked { soaked, of } => write!(f, "{soaked} of {of} devices are well for long enough"),
            Self::Share { soaked, of, percent } => {
                write!(f, "{soaked} of {of} devices are well for long enough; {percent} % must be")
            }
            Self::Evidence { evidence } => {
                write!(f, "the evidence against the update is {evidence:.1}; it must be below {TOO_MUCH_EVIDENCE:.0}")
            }
            Self::Count => f.write_str("the devices that are silent for long are counted within the hour"),
            Self::Time { until } => write!(f, "it begins at {until}"),
            Self::Approval => f.write_str("an operator must open it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Gate, Outcomes};

    fn judged(outcomes: &Outcomes) -> Judgement {
        Gate::default().judge(outcomes, None)
    }

    fn lacks(advance: &Advance, soaking: Soaking) -> Option<Lack> {
        advance.lacks(&soaking, &judged(&Outcomes { granted: 1000, ..Outcomes::default() }), Timestamp::UNIX_EPOCH)
    }

    const WELL: Soaking = Soaking {
        soaked: 95,
        bad: 0,
        unsoaked: 0,
        waiting: Some(5),
        trials: 100,
        admitted: Some(100),
        begun: Begun { at: None, soaked: 0 },
    };

    #[test]
    fn a_phase_begins_when_enough_devices_are_well_and_few_are_not() {
        let advance = Advance::default();
        assert_eq!(lacks(&advance, WELL), None);
        assert_eq!(lacks(&advance, Soaking { soaked: 90, waiting: Some(10), ..WELL }), None);
        assert_eq!(
            lacks(&advance, Soaking { soaked: 89, waiting: Some(11), ..WELL }),
            Some(Lack::Share { soaked: 89, of: 100, percent: 90.0 })
        );
        assert_eq!(
            lacks(&advance, Soaking { bad: 11, waiting: None, ..WELL }),
            Some(Lack::Share { soaked: 95, of: 106, percent: 90.0 }),
            "no count is asked for in vain"
        );
        assert_eq!(lacks(&advance, Soaking { waiting: None, ..WELL }), Some(Lack::Count));
        assert_eq!(
            lacks(&advance, Soaking { soaked: 49, waiting: Some(0), ..WELL }),
            Some(Lack::Soaked { soaked: 49, of: 50 }),
            "half of the trials, however few are asked for"
        );
    }

    #[test]
    fn a_small_phase_needs_half_of_its_devices() {
        let small = Soaking { soaked: 3, waiting: Some(0), trials: 4, admitted: Some(6), ..WELL };
        assert_eq!(lacks(&Advance::default(), small), None);
        let unknown = Soaking { admitted: None, ..small };
        assert_eq!(lacks(&Advance::default(), unknown), Some(Lack::Soaked { soaked: 3, of: 20 }));
    }

    #[test]
    fn the_devices_of_the_phases_before_say_nothing_of_this_one() {
        let begun = Begun { at: Some(Timestamp::UNIX_EPOCH), soaked: 95 };
        let next = Soaking { admitted: Some(900), begun, ..WELL };
        assert_eq!(lacks(&Advance::default(), next), Some(Lack::Soaked { soaked: 95, of: 115 }));
        let soaked = Soaking { soaked: 120, trials: 120, ..next };
        let until = Timestamp::from_second(3 * 86_400).unwrap();
        assert_eq!(lacks(&Advance::default(), soaked), Some(Lack::Time { until }));
    }

    #[test]
    fn an_audience_of_none_says_nothing() {
        let none = Soaking { soaked: 0, waiting: Some(0), trials: 0, admitted: Some(0), ..WELL };
        assert_eq!(lacks(&Advance::default(), none), Some(Lack::Soaked { soaked: 0, of: 20 }));
    }

    #[test]
    fn evidence_against_the_update_a_time_and_an_operator_keep_a_phase_shut() {
        let advance = Advance { not_before: Some(Timestamp::from_second(60).unwrap()), ..Advance::default() };
        let until = Timestamp::from_second(60).unwrap();
        assert_eq!(lacks(&advance, WELL), Some(Lack::Time { until }));
        assert_eq!(lacks(&Advance { approval: true, ..Advance::default() }, WELL), Some(Lack::Approval));
        let bad = judged(&Outcomes { granted: 100, failed: 6, ..Outcomes::default() });
        assert!(bad.hold().is_none() && bad.strongest().evidence > 20.0, "{bad}");
        let lack = Advance::default().lacks(&WELL, &bad, until);
        assert!(matches!(lack, Some(Lack::Evidence { .. })), "{lack:?}");
    }
}
