//! The life of a claim: what becomes of an offer, from the grant to the proof, the failure or the silence.
//!
//! A report of success is a word. Only a check-in that says the expected version proves it, and two check-ins that say
//! the old version take it back. A place in flight is held until proof, failure, or a word that nothing will come; only a
//! grant gives one. Start to read at [`table::TABLE`]. [`Claim`](crate::Claim) is the record that contains a life.

pub mod retry;
pub mod table;
pub mod word;

use jiff::Timestamp;

use crate::cadence::DAY_S;
use crate::times::Times;
use table::{Cell, Event, Row};

/// State of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The device has the offer and runs the old version.
    Open,
    /// The device reported success, or said the expected version once while [`Rules::prove_after_s`] runs.
    Installed,
    /// The device said the expected version, long enough.
    Proved,
    /// The device was proved, and was heard from after the watch was over, or went on to another version.
    Closed,
    /// The device said that the installation failed.
    Failed,
    /// The device fell back: it said the old version twice after its success, or a failure after its proof.
    Reverted,
    /// The device is overdue by its own cadence.
    Lost,
    /// The device could not fetch the files.
    TransferFailed,
    /// The device or its user said no.
    Declined,
    /// The device was heard from on the old version when the time to apply the update was over.
    NotTaken,
    /// The claim ended without an outcome: see [`Left`].
    Left,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Open,
        Self::Installed,
        Self::Proved,
        Self::Closed,
        Self::Failed,
        Self::Reverted,
        Self::Lost,
        Self::TransferFailed,
        Self::Declined,
        Self::NotTaken,
        Self::Left,
    ];

    /// Name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Installed => "installed",
            Self::Proved => "proved",
            Self::Closed => "closed",
            Self::Failed => "failed",
            Self::Reverted => "reverted",
            Self::Lost => "lost",
            Self::TransferFailed => "transfer_failed",
            Self::Declined => "declined",
            Self::NotTaken => "not_taken",
            Self::Left => "left",
        }
    }

    /// Returns true if a claim in this state keeps a place that it has.
    #[must_use]
    pub fn keeps_place(self) -> bool {
        matches!(self, Self::Open | Self::Installed | Self::Lost)
    }

    /// Returns true if a device in this state can become lost.
    #[must_use]
    pub fn is_watched(self) -> bool {
        matches!(self, Self::Open | Self::Installed | Self::Proved)
    }

    /// Returns true if another grant may follow.
    #[must_use]
    pub fn has_ended(self) -> bool {
        !self.is_watched() && self != Self::Lost
    }

    /// The bucket of a claim in this state.
    fn bucket(self) -> Option<Bucket> {
        match self {
            Self::Open | Self::Installed => None,
            Self::Proved | Self::Closed => Some(Bucket::Proved),
            Self::Failed => Some(Bucket::Failed),
            Self::Reverted => Some(Bucket::Reverted),
            Self::Lost => Some(Bucket::Lost),
            Self::TransferFailed => Some(Bucket::TransferFailed),
            Self::Declined => Some(Bucket::Declined),
            Self::NotTaken => Some(Bucket::NotTaken),
            Self::Left => Some(Bucket::Left),
        }
    }
}

/// Bucket under which a campaign counts a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the states of the same names
pub enum Bucket {
    Proved,
    Failed,
    Reverted,
    Lost,
    NotTaken,
    TransferFailed,
    Declined,
    Left,
    /// An operator struck the device as a witness.
    Voided,
}

impl Bucket {
    /// Every bucket.
    pub const ALL: [Self; 9] = [
        Self::Proved,
        Self::Failed,
        Self::Reverted,
        Self::Lost,
        Self::NotTaken,
        Self::TransferFailed,
        Self::Declined,
        Self::Left,
        Self::Voided,
    ];

    /// Name in the API and in the names of lists.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Failed => "failed",
            Self::Reverted => "reverted",
            Self::Lost => "lost",
            Self::NotTaken => "not_taken",
            Self::TransferFailed => "transfer_failed",
            Self::Declined => "declined",
            Self::Left => "left",
            Self::Voided => "voided",
        }
    }

    /// Returns true if a device in this bucket says nothing about the image.
    #[must_use]
    pub fn is_no_trial(self) -> bool {
        matches!(self, Self::TransferFailed | Self::Declined | Self::Left | Self::Voided)
    }

    /// The bucket of a claim that comes into `state`. Failed and reverted are replaced only by each other and by a proof;
    /// what an operator struck stays struck until another grant.
    fn after(before: Option<Self>, state: State) -> Option<Self> {
        let own = state.bucket();
        match (before, own) {
            (Some(Self::Voided), _) => before,
            (Some(Self::Failed | Self::Reverted), Some(Self::Failed | Self::Reverted | Self::Proved)) => own,
            (Some(Self::Failed | Self::Reverted), _) | (Some(Self::NotTaken | Self::Proved), None) => before,
            _ => own,
        }
    }

    /// The bucket of a claim at another grant. A device without a trial is one again; other outcomes stay until the new
    /// attempt has its own.
    fn at_grant(before: Option<Self>) -> Option<Self> {
        before.filter(|bucket| matches!(bucket, Self::Failed | Self::Reverted | Self::NotTaken | Self::Proved))
    }
}

/// Reason why a claim ended without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Left {
    /// The device runs a version that is neither the old one nor an expected one.
    ThirdVersion,
    /// The device gave the offer back, or the policy admits it no more.
    GivenBack,
    /// The device gave the offer back because the service asked for it.
    CalledBack,
    /// Two devices say that they are this one: the expected version, the old one, the expected one.
    ClonedId,
    /// The device came back when its place was given to another one.
    CameBackLate,
}

/// Claim of one device in one campaign, as far as its outcome matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
    /// The state.
    pub state: State,
    /// The bucket under which the campaign counts the device.
    pub bucket: Option<Bucket>,
    /// The claim holds a place in flight. Only a grant gives one.
    pub holds_place: bool,
    /// Time of the grant.
    pub granted_at: Timestamp,
    /// Time of the report of success.
    pub installed_at: Option<Timestamp>,
    /// Time of the first check-in that said an expected version.
    pub first_sign: Option<Timestamp>,
    /// State before the device was lost.
    pub lost_from: Option<State>,
    /// Time at which it was found to be lost.
    pub lost_at: Option<Timestamp>,
    /// Reason of [`State::Left`].
    pub left: Option<Left>,
    /// The device said the old version once, after its success.
    pub old_once: bool,
    /// The device was heard from long after its first sign.
    pub soaked: bool,
    /// The device is proved, and was heard from so long after its grant that a silent one would have been overdue.
    pub mature: bool,
    /// Only its report and its silence about a failure prove it: the device never says its version.
    pub by_report: bool,
}

/// Time after its first sign at which a device counts as soaked, in seconds.
pub const DEFAULT_SOAK_S: i64 = 3 * DAY_S;

/// Time after a report of success from which on a sign of the device speaks for it, in seconds.
const CONFIRMED_AFTER_S: i64 = 3600;

/// Times of a campaign and its product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Seconds for which a device must say the expected version.
    pub prove_after_s: i64,
    /// Seconds after a report of success in which the old version means that the device has not rebooted.
    pub boot_grace_s: i64,
    /// Seconds after the first sign until the claim closes.
    pub watch_s: i64,
    /// Seconds after the first sign until the device counts as soaked.
    pub soak_s: i64,
    /// Seconds after the grant, or after the last opening of the campaign, in which a device applies the update.
    pub apply_within_s: i64,
    /// The last opening of the campaign; `None` while it is paused or held.
    pub open_since: Option<Timestamp>,
    /// Seconds after the grant at which a silent device would be overdue.
    pub due_after_s: i64,
}

impl Rules {
    /// The rules of a product with these times, for a device that is overdue `due_after_s` seconds after its grant. No
    /// campaign is open.
    #[must_use]
    pub fn new(times: &Times, due_after_s: i64) -> Self {
        Self {
            prove_after_s: 0,
            boot_grace_s: times.boot_grace_s,
            watch_s: times.watch_s,
            soak_s: DEFAULT_SOAK_S,
            apply_within_s: times.apply_within_s,
            open_since: None,
            due_after_s,
        }
    }
}

/// Effect of an event on a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The event is of no importance to the claim. Nothing is written.
    Ignored,
    /// The device was heard from, and nothing else changes.
    Heard,
    /// The claim changes.
    Moved(Box<Life>),
}

impl Life {
    /// The claim after a grant; `None` if the present one has not ended.
    #[must_use]
    pub fn granted(before: Option<&Self>, now: Timestamp) -> Option<Self> {
        let bucket = match before {
            Some(before) if !before.state.has_ended() => return None,
            Some(before) => Bucket::at_grant(before.bucket),
            None => None,
        };
        Some(Self {
            state: State::Open,
            bucket,
            holds_place: true,
            granted_at: to_the_second(now),
            installed_at: None,
            first_sign: None,
            lost_from: None,
            lost_at: None,
            left: None,
            old_once: false,
            soaked: false,
            mature: false,
            by_report: false,
        })
    }

    /// Returns true if a sign of the device, without its version, speaks for its report of success: it did not say
    /// otherwise for an hour.
    #[must_use]
    pub fn is_confirmed_by_a_sign(&self, now: Timestamp) -> bool {
        let since = self.installed_at.filter(|_| self.state == State::Installed && !self.old_once);
        since.is_some_and(|at| has_passed(at, CONFIRMED_AFTER_S, now))
    }

    /// The effect of `event`, by the transition table.
    #[must_use]
    pub fn after(&self, event: Event, rules: &Rules, now: Timestamp) -> Effect {
        let moved = match Row::of(self).cell(event) {
            Cell::Ignored => return Effect::Ignored,
            Cell::Same => return self.heard(rules, now),
            Cell::To(State::Installed) => {
                let installed_at = self.installed_at.or(Some(to_the_second(now)));
                Self { installed_at, ..self.to(State::Installed) }
            }
            Cell::To(state) => self.to(state),
            Cell::Leaves(left) => self.leave(left),
            Cell::Waits if self.is_late(rules, now) => self.to(State::NotTaken),
            Cell::TakesBack if !self.has_not_booted(rules, now) => self.old_version(self.state),
            Cell::Waits | Cell::TakesBack => return self.heard(rules, now),
            Cell::Proves => self.prove(rules, now),
            Cell::ComesBack if self.holds_place => self.to(State::Open),
            Cell::ComesBack => self.leave(Left::CameBackLate),
            Cell::ComesBackOld => self.old_version(self.lost_from.unwrap_or(State::Installed)),
        };
        let lost_at = (moved.state == State::Lost).then(|| to_the_second(now));
        let moved = Self { lost_at, ..moved };
        match moved == *self {
            true => self.heard(rules, now),
            false => Effect::Moved(Box::new(moved.marked(rules, now))),
        }
    }

    /// Returns true if the device said success or an expected version, and nothing else since.
    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        matches!(Row::of(self), Row::In(State::Installed | State::Proved) | Row::LostAfterSuccess)
    }

    /// The claim of a device that gives the offer back because the service asked for it.
    #[must_use]
    pub fn called_back(&self) -> Option<Self> {
        let may = Row::of(self).cell(Event::GivenBack) == Cell::Leaves(Left::GivenBack);
        may.then(|| self.leave(Left::CalledBack))
    }

    /// Returns true if `after` differs only by marks, which cost no write of their own.
    #[must_use]
    pub fn differs_by_marks(&self, after: &Self) -> bool {
        let unmarked = |life: &Self| {
            let state = if life.state == State::Closed { State::Proved } else { life.state };
            Self { state, soaked: false, mature: false, ..life.clone() }
        };
        unmarked(self) == unmarked(after)
    }

    /// The claim without the evidence of its device.
    #[must_use]
    pub fn voided(&self) -> Self {
        Self { bucket: Some(Bucket::Voided), ..self.clone() }
    }

    /// The claim of a lost device whose place is given to another one. `None` if it holds none, or is not lost.
    #[must_use]
    pub fn without_place(&self) -> Option<Self> {
        let may = self.state == State::Lost && self.holds_place;
        may.then(|| Self { holds_place: false, ..self.clone() })
    }

    fn heard(&self, rules: &Rules, now: Timestamp) -> Effect {
        let marked = self.clone().marked(rules, now);
        if marked == *self { Effect::Heard } else { Effect::Moved(Box::new(marked)) }
    }

    /// The marks of a check-in that says how long the device is well. They cost no write of their own, because the
    /// check-in is written anyway. A device that only waits gets none: when the others of its kind install the update
    /// together, each place that it would have added is one more device that can be bricked.
    fn marked(mut self, rules: &Rules, now: Timestamp) -> Self {
        let sign = self.first_sign.filter(|_| self.state == State::Proved && !self.old_once);
        if let Some(sign) = sign {
            self.mature |= has_passed(self.granted_at, rules.due_after_s, now);
            self.soaked |= has_passed(sign, rules.soak_s, now);
            if has_passed(sign, rules.watch_s, now) {
                self.state = State::Closed;
            }
        }
        self
    }

    fn to(&self, state: State) -> Self {
        let holds_place = self.holds_place && state.keeps_place();
        let lost_from = (state == State::Lost).then_some(self.state);
        Self { state, bucket: Bucket::after(self.bucket, state), holds_place, lost_from, left: None, ..self.clone() }
    }

    fn leave(&self, left: Left) -> Self {
        Self { left: Some(left), ..self.to(State::Left) }
    }

    fn prove(&self, rules: &Rules, now: Timestamp) -> Self {
        if self.old_once && self.first_sign.is_some() {
            return self.leave(Left::ClonedId);
        }
        let sign = self.first_sign.unwrap_or(to_the_second(now));
        let is_proved = has_passed(sign, rules.prove_after_s, now);
        let state = if is_proved { State::Proved } else { State::Installed };
        Self { first_sign: Some(sign), old_once: false, by_report: false, ..self.to(state) }
    }

    /// The old version after a success: the first time it is noted, in `state`; the second time it is believed.
    fn old_version(&self, state: State) -> Self {
        match self.old_once {
            true => self.to(State::Reverted),
            false => Self { old_once: true, ..self.to(state) },
        }
    }

    fn is_late(&self, rules: &Rules, now: Timestamp) -> bool {
        rules.open_since.is_some_and(|since| has_passed(self.granted_at.max(since), rules.apply_within_s, now))
    }

    fn has_not_booted(&self, rules: &Rules, now: Timestamp) -> bool {
        let waits = self.state == State::Installed && self.first_sign.is_none();
        waits && self.installed_at.is_some_and(|at| !has_passed(at, rules.boot_grace_s, now))
    }
}

/// Times of claims are kept to the second.
pub(crate) fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Returns true at `length_s` seconds after `since`, or later.
fn has_passed(since: Timestamp, length_s: i64, now: Timestamp) -> bool {
    now.as_second().saturating_sub(since.as_second()) >= length_s
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        prove_after_s: 0,
        boot_grace_s: 3600,
        watch_s: 864_000,
        soak_s: 86_400,
        apply_within_s: 691_200,
        open_since: Some(Timestamp::UNIX_EPOCH),
        due_after_s: 324_000,
    };

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    /// A device that is granted the update at hour 0, and what happens to it at which hour.
    fn live(rules: &Rules, events: &[(i64, Event)]) -> Life {
        let granted = Life::granted(None, at(0)).unwrap();
        events.iter().fold(granted, |life, (hours, event)| match life.after(*event, rules, at(*hours)) {
            Effect::Moved(moved) => *moved,
            Effect::Ignored | Effect::Heard => life,
        })
    }

    fn check(events: &[(i64, Event)], state: State, bucket: Option<Bucket>, holds_place: bool) {
        let life = live(&RULES, events);
        assert_eq!((life.state, life.bucket, life.holds_place), (state, bucket, holds_place), "{events:?}");
    }

    use Event::{Declined, Due, Expected, Failure, GivenBack, Old, Progress, Success, Third, Transfer};

    #[test]
    fn only_the_expected_version_proves() {
        check(&[(1, Success)], State::Installed, None, true);
        check(&[(1, Success), (2, Success)], State::Installed, None, true);
        check(&[(1, Success), (2, Expected)], State::Proved, Some(Bucket::Proved), false);
        check(&[(1, Expected)], State::Proved, Some(Bucket::Proved), false);
    }

    #[test]
    fn the_proof_may_take_its_time() {
        let rules = Rules { prove_after_s: 7200, ..RULES };
        let state = |events: &[(i64, Event)]| live(&rules, events).state;
        assert_eq!(state(&[(1, Expected)]), State::Installed);
        assert_eq!(state(&[(1, Expected), (2, Expected)]), State::Installed);
        assert_eq!(state(&[(1, Expected), (3, Expected)]), State::Proved);
        assert_eq!(live(&rules, &[(1, Expected)]).installed_at, None, "nothing was reported");
    }

    /// 40 of 40 devices reported success, fell back, and the first edition said "succeeded 40".
    #[test]
    fn the_old_version_twice_takes_a_success_back() {
        check(&[(1, Success), (1, Old)], State::Installed, None, true);
        check(&[(1, Success), (3, Old)], State::Installed, None, true);
        check(&[(1, Success), (3, Old), (4, Old)], State::Reverted, Some(Bucket::Reverted), false);
        check(&[(1, Success), (3, Old), (4, Expected)], State::Proved, Some(Bucket::Proved), false);
        check(&[(1, Expected), (3, Old), (4, Old)], State::Reverted, Some(Bucket::Reverted), false);
        check(&[(1, Expected), (3, Failure)], State::Reverted, Some(Bucket::Reverted), false);
    }

    #[test]
    fn the_new_version_the_old_and_the_new_again_are_two_devices() {
        let clone = live(&RULES, &[(1, Expected), (3, Old), (4, Expected)]);
        assert_eq!((clone.state, clone.left, clone.bucket), (State::Left, Some(Left::ClonedId), Some(Bucket::Left)));
    }

    /// Six devices polled on the old version for a day, and the first edition called them failed in silence.
    #[test]
    fn a_device_that_is_heard_from_waits_until_its_time_is_over() {
        check(&[(8, Old), (16, Progress), (191, Old)], State::Open, None, true);
        check(&[(192, Old)], State::NotTaken, Some(Bucket::NotTaken), false);
        let paused = live(&Rules { open_since: None, ..RULES }, &[(1000, Old)]);
        assert_eq!(paused.state, State::Open, "a paused campaign takes no time away");
        let reopened = live(&Rules { open_since: Some(at(900)), ..RULES }, &[(1000, Old)]);
        assert_eq!(reopened.state, State::Open);
    }

    #[test]
    fn a_lost_device_keeps_its_place_and_its_way_back() {
        let lost = Some(Bucket::Lost);
        check(&[(90, Due)], State::Lost, lost, true);
        check(&[(90, Due), (95, Old)], State::Open, None, true);
        check(&[(1, Success), (90, Due)], State::Lost, lost, true);
        check(&[(1, Success), (90, Due), (95, Progress)], State::Installed, None, true);
        check(&[(1, Success), (90, Due), (95, Old)], State::Installed, None, true);
        check(&[(1, Success), (90, Due), (95, Old), (96, Old)], State::Reverted, Some(Bucket::Reverted), false);
        check(&[(1, Expected), (97, Due)], State::Lost, lost, false);
        check(&[(1, Expected), (97, Due), (98, Expected)], State::Proved, Some(Bucket::Proved), false);
        let given_on = live(&RULES, &[(90, Due)]).without_place().unwrap();
        let Effect::Moved(back) = given_on.after(Old, &RULES, at(95)) else { panic!("a lost device is back") };
        assert_eq!((back.state, back.left, back.holds_place), (State::Left, Some(super::Left::CameBackLate), false));
    }

    #[test]
    fn what_says_nothing_about_the_image_is_no_trial() {
        for (event, bucket) in [
            (Transfer, Bucket::TransferFailed),
            (Declined, Bucket::Declined),
            (GivenBack, Bucket::Left),
            (Third, Bucket::Left),
        ] {
            let life = live(&RULES, &[(1, event)]);
            assert_eq!((life.bucket, life.holds_place), (Some(bucket), false), "{event:?}");
            assert!(bucket.is_no_trial());
            let again = Life::granted(Some(&life), at(2)).unwrap();
            assert_eq!(again.bucket, None, "it is a trial again");
        }
    }

    #[test]
    fn a_failure_stays_evidence_until_the_device_proves_the_opposite() {
        let failed = live(&RULES, &[(1, Failure)]);
        let again = Life::granted(Some(&failed), at(2)).unwrap();
        assert_eq!((again.state, again.bucket, again.holds_place), (State::Open, Some(Bucket::Failed), true));
        let bucket = |event| match again.after(event, &RULES, at(3)) {
            Effect::Moved(moved) => moved.bucket,
            other => panic!("{event:?}: {other:?}"),
        };
        let of = [Success, Transfer, Declined, Due, GivenBack].map(bucket);
        assert_eq!(of, [Some(Bucket::Failed); 5]);
        assert_eq!(bucket(Expected), Some(Bucket::Proved));
    }

    #[test]
    fn a_witness_who_was_struck_stays_struck_until_another_grant() {
        let struck = live(&RULES, &[(1, Failure)]).voided();
        assert_eq!(struck.bucket, Some(Bucket::Voided));
        let Effect::Moved(proved) = struck.after(Expected, &RULES, at(2)) else { panic!("it is proved") };
        assert_eq!((proved.state, proved.bucket), (State::Proved, Some(Bucket::Voided)));
        assert_eq!(Life::granted(Some(&struck), at(2)).unwrap().bucket, None);
    }

    #[test]
    fn a_claim_closes_with_a_check_in_and_never_by_time_alone() {
        check(&[(1, Expected), (241, Expected)], State::Closed, Some(Bucket::Proved), false);
        check(&[(1, Expected), (240, Expected)], State::Proved, Some(Bucket::Proved), false);
        check(&[(1, Expected), (300, Due)], State::Lost, Some(Bucket::Lost), false);
        check(&[(1, Expected), (5, Third)], State::Closed, Some(Bucket::Proved), false);
        let marks = |events: &[(i64, Event)]| {
            let life = live(&RULES, events);
            (life.soaked, life.mature)
        };
        assert_eq!(marks(&[(1, Expected), (24, Expected)]), (false, false));
        assert_eq!(marks(&[(1, Expected), (25, Expected)]), (true, false));
        assert_eq!(marks(&[(1, Expected), (90, Expected)]), (true, true));
        assert_eq!(marks(&[(90, Old)]), (false, false), "who waits shows nothing");
        assert_eq!(marks(&[(1, Expected), (90, Old)]), (false, false), "the old version is no sign of health");
    }

    #[test]
    fn a_claim_that_has_not_ended_is_not_granted_again() {
        let ended = State::ALL.into_iter().filter(|state| state.has_ended()).count();
        assert_eq!(ended, 7);
        for events in [&[][..], &[(1, Success)], &[(1, Expected)], &[(90, Due)]] {
            assert_eq!(Life::granted(Some(&live(&RULES, events)), at(100)), None, "{events:?}");
        }
    }
}
