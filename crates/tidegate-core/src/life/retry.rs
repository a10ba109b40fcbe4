//! The next attempt of a device whose claim has ended. What a device did wears off; only a fall-back, a clone and a fourth
//! "no" wait for an operator.

use jiff::Timestamp;

use super::{Left, State, to_the_second};
use crate::cohort::Cohort;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 86_400;
/// Waiting times after the first failure, and after each later one.
const AFTER_FAILURE_S: (i64, i64) = (HOUR_S, DAY_S);
/// An attempt is forgotten after so long.
const FORGOTTEN_AFTER_S: i64 = 30 * DAY_S;
/// The shortest and the longest wait after a transfer that failed.
const AFTER_TRANSFER_S: (i64, i64) = (15 * MINUTE_S, DAY_S);
/// The wait after the first "no"; it doubles with each.
const AFTER_NO_S: i64 = 7 * DAY_S;
/// Number of times that a device or its user is asked.
const MOST_NOS: u32 = 4;
const AFTER_NOT_TAKEN_S: i64 = 7 * DAY_S;
const AFTER_LEAVING_S: i64 = DAY_S;
/// Number of times that a device may come back from another version within thirty days.
const MOST_REENTRIES: usize = 3;
/// Times that are kept. A claim must stay small, and a device that failed as often is barred.
const MOST_TIMES: usize = 10;
/// The most by which a wait is longer or shorter, in a thousand.
const MOST_SPREAD: i64 = 200;

/// Earlier attempts of a device in a campaign. Times that are older than thirty days may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Times of the attempts that failed, the oldest first.
    pub failed_at: Vec<Timestamp>,
    /// Transfers that failed one after another.
    pub transfers_failed: u32,
    /// Number of times that the device or its user said no.
    pub declined: u32,
    /// Times at which the device came back from another version, the oldest first.
    pub reentered_at: Vec<Timestamp>,
}

/// The next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A grant may follow from this time on.
    At(Timestamp),
    /// A grant may follow from this time on. Until then the device has failed too often.
    FailedBefore(Timestamp),
    /// A grant may follow from this time on. Until then the device leaves too often.
    KeepsLeaving(Timestamp),
    /// None, until an operator or the next campaign.
    Never,
}

impl Next {
    /// The time from which on a grant may follow.
    #[must_use]
    pub fn opens_at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) | Self::FailedBefore(at) | Self::KeepsLeaving(at) => Some(at),
            Self::Never => None,
        }
    }
}

impl History {
    /// The history after a claim came into `state` at `now`.
    #[must_use]
    pub fn with(&self, state: State, now: Timestamp) -> Self {
        let mut history = self.clone();
        match state {
            State::Failed => note(&mut history.failed_at, now),
            State::TransferFailed => history.transfers_failed = history.transfers_failed.saturating_add(1),
            State::Declined => history.declined = history.declined.saturating_add(1),
            State::Installed | State::Proved => history.transfers_failed = 0,
            State::Open | State::Closed | State::Reverted | State::Lost | State::NotTaken | State::Left => {}
        }
        history
    }

    /// The history of a device that is granted the update again after its claim ended.
    #[must_use]
    pub fn granted_again(&self, ended: State, left: Option<Left>, now: Timestamp) -> Self {
        let mut history = self.clone();
        let comes_back =
            matches!((ended, left), (State::Closed, _) | (State::Left, Some(Left::ThirdVersion | Left::GivenBack)));
        if comes_back {
            note(&mut history.reentered_at, now);
        }
        history
    }

    /// The next attempt of a device whose claim ended at `ended_at`; `None` if it has not ended. `spread` is a fixed number
    /// of the device from -200 to 200, so that devices that failed together do not come back together.
    #[must_use]
    pub fn next(
        &self,
        state: State,
        left: Option<Left>,
        ended_at: Timestamp,
        max_attempts: u32,
        spread: i64,
    ) -> Option<Next> {
        let after = |wait_s: i64| {
            let part = wait_s.saturating_mul(spread.clamp(-MOST_SPREAD, MOST_SPREAD)).div_euclid(1000);
            Next::At(later(ended_at, wait_s.saturating_add(part)))
        };
        Some(match state {
            State::Open | State::Installed | State::Proved | State::Lost => return None,
            State::Reverted => Next::Never,
            State::Failed => match forgotten_at(&self.failed_at, usize::try_from(max_attempts).ok()?, ended_at) {
                Some(forgotten_at) => Next::FailedBefore(forgotten_at),
                None if self.failed_at.len() <= 1 => after(AFTER_FAILURE_S.0),
                None => after(AFTER_FAILURE_S.1),
            },
            State::TransferFailed => {
                let doublings = self.transfers_failed.saturating_sub(1).min(16);
                after(AFTER_TRANSFER_S.0.saturating_mul(1 << doublings).min(AFTER_TRANSFER_S.1))
            }
            State::Declined if self.declined >= MOST_NOS => Next::Never,
            State::Declined => after(AFTER_NO_S.saturating_mul(1 << self.declined.saturating_sub(1).min(MOST_NOS))),
            State::NotTaken => after(AFTER_NOT_TAKEN_S),
            State::Left if left == Some(Left::ClonedId) => Next::Never,
            State::Left if matches!(left, Some(Left::CameBackLate | Left::CalledBack)) => Next::At(ended_at),
            State::Left | State::Closed => match forgotten_at(&self.reentered_at, MOST_REENTRIES, ended_at) {
                Some(forgotten_at) => Next::KeepsLeaving(forgotten_at),
                None => after(AFTER_LEAVING_S),
            },
        })
    }
}

/// A fixed number of a device from -200 to 200.
pub(crate) fn spread(cohort: Cohort) -> i64 {
    i64::from(cohort.place()).rem_euclid(401).saturating_sub(200)
}

/// Notes a time, and forgets those that do not count any more.
fn note(times: &mut Vec<Timestamp>, now: Timestamp) {
    times.retain(|at| now.as_second().saturating_sub(at.as_second()) < FORGOTTEN_AFTER_S);
    times.push(to_the_second(now));
    if times.len() > MOST_TIMES {
        times.remove(0);
    }
}

/// The time at which there are fewer than `most` of these again; `None` if there are now.
fn forgotten_at(times: &[Timestamp], most: usize, now: Timestamp) -> Option<Timestamp> {
    let recent = times.iter().filter(|at| now.as_second().saturating_sub(at.as_second()) < FORGOTTEN_AFTER_S);
    let recent = recent.collect::<Vec<_>>();
    let first_that_counts = recent.len().checked_sub(most.max(1))?;
    recent.get(first_that_counts).map(|at| later(**at, FORGOTTEN_AFTER_S))
}

fn later(at: Timestamp, by_s: i64) -> Timestamp {
    Timestamp::from_second(at.as_second().saturating_add(by_s)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(days * DAY_S).unwrap()
    }

    fn wait_s(history: &History, state: State, spread: i64) -> i64 {
        match history.next(state, None, at(100), 3, spread) {
            Some(Next::At(next)) => next.as_second() - at(100).as_second(),
            other => panic!("{state:?}: {other:?}"),
        }
    }

    #[test]
    fn a_device_that_failed_waits_an_hour_then_a_day_then_until_its_first_failure_is_forgotten() {
        let failed =
            |days: &[i64]| History { failed_at: days.iter().map(|day| at(*day)).collect(), ..History::default() };
        assert_eq!(wait_s(&failed(&[100]), State::Failed, 0), HOUR_S);
        assert_eq!(wait_s(&failed(&[99, 100]), State::Failed, 0), DAY_S);
        let third = failed(&[98, 99, 100]).next(State::Failed, None, at(100), 3, 0);
        assert_eq!(third, Some(Next::FailedBefore(at(128))));
        assert_eq!(wait_s(&failed(&[70, 99, 100]), State::Failed, 0), DAY_S, "the first is forgotten");
        let fourth = failed(&[90, 98, 99, 100]).next(State::Failed, None, at(100), 3, 0);
        assert_eq!(fourth, Some(Next::FailedBefore(at(128))), "two may be left, not three");
    }

    #[test]
    fn transfers_come_again_after_a_quarter_of_an_hour_up_to_a_day_and_are_never_barred() {
        let transfers = |transfers_failed| History { transfers_failed, ..History::default() };
        let waits = [1, 2, 3, 7, 8, 1000].map(|count| wait_s(&transfers(count), State::TransferFailed, 0) / MINUTE_S);
        assert_eq!(waits, [15, 30, 60, 960, 1440, 1440]);
    }

    #[test]
    fn a_user_is_asked_four_times() {
        let declined = |declined| History { declined, ..History::default() };
        let days = [1, 2, 3].map(|count| wait_s(&declined(count), State::Declined, 0) / DAY_S);
        assert_eq!(days, [7, 14, 28]);
        assert_eq!(declined(4).next(State::Declined, None, at(100), 3, 0), Some(Next::Never));
    }

    #[test]
    fn a_device_that_leaves_may_come_back_three_times_in_thirty_days() {
        let reentered =
            |days: &[i64]| History { reentered_at: days.iter().map(|day| at(*day)).collect(), ..History::default() };
        assert_eq!(wait_s(&reentered(&[80, 90]), State::Left, 0), DAY_S);
        assert_eq!(wait_s(&reentered(&[80, 90]), State::Closed, 0), DAY_S);
        let third = reentered(&[80, 90, 95]).next(State::Left, Some(Left::ThirdVersion), at(100), 3, 0);
        assert_eq!(third, Some(Next::KeepsLeaving(at(110))));
    }

    #[test]
    fn a_fall_back_and_a_clone_wait_for_an_operator_and_who_came_back_late_for_nobody() {
        let next = |state, left| History::default().next(state, left, at(100), 3, 0);
        assert_eq!(next(State::Reverted, None), Some(Next::Never));
        assert_eq!(next(State::Left, Some(Left::ClonedId)), Some(Next::Never));
        assert_eq!(next(State::Left, Some(Left::CameBackLate)), Some(Next::At(at(100))));
        assert_eq!(wait_s(&History::default(), State::NotTaken, 0), 7 * DAY_S);
    }

    #[test]
    fn a_wait_is_up_to_a_fifth_longer_or_shorter() {
        let waits = [-200, 0, 200, 999].map(|spread| wait_s(&History::default(), State::NotTaken, spread));
        assert_eq!(waits, [483_840, 604_800, 725_760, 725_760]);
    }

    #[test]
    fn only_a_claim_that_has_ended_has_a_next_attempt() {
        for state in State::ALL {
            let next = History::default().next(state, None, at(100), 3, 0);
            assert_eq!(next.is_some(), state.has_ended(), "{state:?}");
        }
    }
}
