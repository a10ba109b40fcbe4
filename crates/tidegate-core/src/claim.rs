//! Claim: the record of one device in one rollout. A device has at most one claim on an update.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use semver::Version;

use crate::id::UpdateId;
use crate::objection::NoRoom;
use crate::status::{Outcome, StatusEffect};

/// Shortest validity of a URL that is useful to a device, in seconds.
pub const SHORTEST_URL_S: i64 = 60;
/// Longest time between the end of a URL and the end of its claim: the largest difference of clocks that leaves no
/// live URL on an expired claim, plus one minute. For a claim shorter than half an hour it is a fifth of the claim.
const MOST_URL_MARGIN_S: i64 = 360;

/// State of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimState {
    /// The device has the offer and has not reported an outcome.
    Reserved,
    /// The attempt ended without a reported outcome: the claim expired, or the device released it when the rollout was
    /// stopped.
    Expired,
    /// The device has the update.
    Succeeded,
    /// The device reported a failure.
    Failed,
}

/// Record of one device in one rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The offered version.
    pub version: Version,
    /// State of the claim.
    pub state: ClaimState,
    /// The claim holds a place in flight of its shard. Only a grant gives a place. It is a field of its own, and does
    /// not follow from the state.
    pub holds_place: bool,
    /// Shard of the latest grant.
    pub shard: u16,
    /// Revision of the device's item at the grant. It is higher at each grant, also after an operator made the service
    /// forget the claim, so that a late write for an earlier reservation is recognized.
    pub epoch: u64,
    /// Number of times the update was offered to this device.
    pub attempts: u32,
    /// Time of the current reservation.
    pub reserved_at: Timestamp,
    /// Time at which the current reservation ends.
    pub expires_at: Timestamp,
    /// Outcome under which the rollout counts this device. A new attempt keeps it until it has an outcome of its own,
    /// so that a retry removes no evidence.
    pub counted: Option<Outcome>,
    /// The device decided against the update.
    pub backed_out: bool,
    /// The user gave consent, if the update needs it. The consent is valid for later attempts too.
    pub consented: bool,
}

/// Effect of a released claim on the device's number of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The attempt does not count: the device released the claim because the service asked for it.
    GivenBack,
    /// The attempt counts: the device released the claim by itself, and could otherwise do so without end.
    Spent,
}

impl Claim {
    /// The first reservation of a device.
    #[must_use]
    pub fn reserve(version: &Version, shard: u16, epoch: u64, now: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            version: version.clone(),
            state: ClaimState::Reserved,
            holds_place: true,
            shard,
            epoch,
            attempts: 1,
            reserved_at: now,
            expires_at,
            counted: None,
            backed_out: false,
            consented: false,
        }
    }

    /// Latest end of the URLs that are given out for this reservation.
    #[must_use]
    pub fn urls_end_at(&self) -> Timestamp {
        let length_s = self.expires_at.as_second().saturating_sub(self.reserved_at.as_second());
        let margin_s = length_s.div_euclid(5).clamp(0, MOST_URL_MARGIN_S);
        Timestamp::from_second(self.expires_at.as_second().saturating_sub(margin_s)).unwrap_or(self.expires_at)
    }

    /// `true` if the current reservation is over, or too near its end for a useful URL.
    #[must_use]
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.state != ClaimState::Reserved
            || self.urls_end_at().as_second().saturating_sub(now.as_second()) < SHORTEST_URL_S
    }

    /// A new reservation after one that ended. The device was counted against `max_devices` the first time, so only
    /// `max_in_flight` and the rate are asked again. Any shard may give the place.
    #[must_use]
    pub fn reserve_again(&self, shard: u16, epoch: u64, now: Timestamp, expires_at: Timestamp) -> Self {
        Self { state: ClaimState::Reserved, holds_place: true, shard, epoch, ..self.attempt_again(now, expires_at) }
    }

    /// The same reservation for longer, after it lapsed without a report. The device still holds its place, so its
    /// shard and its epoch stay. Its silence until now counts as a time-out.
    #[must_use]
    pub fn renew(&self, now: Timestamp, expires_at: Timestamp) -> Self {
        Self { counted: Some(Outcome::TimedOut), ..self.attempt_again(now, expires_at) }
    }

    fn attempt_again(&self, now: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            attempts: self.attempts.saturating_add(1),
            reserved_at: now,
            // A slow clock must not end this reservation before the previous one: a URL of that one may still be live.
            expires_at: expires_at.max(self.expires_at),
            ..self.clone()
        }
    }

    /// The claim after a report. `None` if the report changes nothing.
    ///
    /// A success is accepted at any time, because a device that runs the version has the update. A failure is accepted
    /// once, and not after a success.
    #[must_use]
    pub fn settle(&self, effect: StatusEffect) -> Option<Self> {
        let (state, outcome) = match effect {
            StatusEffect::Progress => return None,
            StatusEffect::Succeeded => (ClaimState::Succeeded, Outcome::Succeeded),
            StatusEffect::Failed | StatusEffect::BackedOut => (ClaimState::Failed, Outcome::Failed),
        };
        let is_accepted = match self.state {
            ClaimState::Reserved | ClaimState::Expired => true,
            ClaimState::Failed => outcome == Outcome::Succeeded,
            ClaimState::Succeeded => false,
        };
        is_accepted.then(|| self.end(state, outcome, effect == StatusEffect::BackedOut))
    }

    /// The claim after its reservation expired without a report. `None` if it is not due.
    #[must_use]
    pub fn expire(&self, now: Timestamp) -> Option<Self> {
        let due = self.state == ClaimState::Reserved && self.expires_at <= now;
        due.then(|| self.end(ClaimState::Expired, Outcome::TimedOut, false))
    }

    /// The claim after the device released it before the installation. `None` if nothing is reserved.
    ///
    /// A released claim has no outcome: the place in flight becomes free, and no counter of outcomes changes. The
    /// outcome of an earlier attempt stays.
    #[must_use]
    pub fn let_go(&self, attempt: Attempt) -> Option<Self> {
        let attempts = match attempt {
            Attempt::GivenBack => self.attempts.saturating_sub(1),
            Attempt::Spent => self.attempts,
        };
        let gone = || Self { state: ClaimState::Expired, holds_place: false, attempts, ..self.clone() };
        (self.state == ClaimState::Reserved).then(gone)
    }

    /// The claim after the user gave consent. `None` if no consent is expected.
    #[must_use]
    pub fn consent(&self) -> Option<Self> {
        let waits = self.state == ClaimState::Reserved && !self.consented;
        waits.then(|| Self { consented: true, ..self.clone() })
    }

    fn end(&self, state: ClaimState, outcome: Outcome, backed_out: bool) -> Self {
        Self {
            state,
            holds_place: false,
            counted: Some(outcome),
            backed_out: self.backed_out || backed_out,
            ..self.clone()
        }
    }
}

/// Claims of one device, the rollouts that had no room for it a moment ago, and those that were stopped.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    claims: BTreeMap<UpdateId, Claim>,
    no_room: BTreeMap<UpdateId, NoRoom>,
    halted: Halted,
}

/// Rollouts that were stopped, whatever the catalog still says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Halted {
    /// Every rollout of the product.
    pub all: bool,
    /// The rollouts of these updates.
    pub updates: BTreeSet<UpdateId>,
}

impl Claims {
    /// The claims, as they were read from storage.
    #[must_use]
    pub fn new(claims: impl IntoIterator<Item = (UpdateId, Claim)>) -> Self {
        Self { claims: claims.into_iter().collect(), ..Self::default() }
    }

    /// The same claims, and the rollouts that were stopped.
    #[must_use]
    pub fn with_halted(self, halted: Halted) -> Self {
        Self { halted, ..self }
    }

    /// Returns true if the rollout of an update was stopped.
    #[must_use]
    pub fn is_halted(&self, update: &UpdateId) -> bool {
        self.halted.all || self.halted.updates.contains(update)
    }

    /// The claim on an update.
    #[must_use]
    pub fn on(&self, update: &UpdateId) -> Option<&Claim> {
        self.claims.get(update)
    }

    /// Every claim, by update.
    pub fn iter(&self) -> impl Iterator<Item = (&UpdateId, &Claim)> {
        self.claims.iter()
    }

    /// Replaces the claim on an update by a newer one.
    pub fn record(&mut self, update: UpdateId, claim: Claim) {
        self.no_room.remove(&update);
        self.claims.insert(update, claim);
    }

    /// Records that the rollout of an update had no room.
    pub fn note_no_room(&mut self, update: UpdateId, no_room: NoRoom) {
        self.no_room.insert(update, no_room);
    }

    /// Reason why the rollout of an update had no room a moment ago.
    #[must_use]
    pub fn no_room(&self, update: &UpdateId) -> Option<&NoRoom> {
        self.no_room.get(update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Sums;

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn reserved() -> Claim {
        let version = Version::new(2, 0, 0);
        Claim::reserve(&version, 0, 1, moment("2026-01-01T00:00:00Z"), moment("2026-01-02T00:00:00Z"))
    }

    fn apply(steps: &[&str]) -> (Vec<&'static str>, [i64; 4]) {
        let (mut claim, mut sums, mut log) = (reserved(), Sums::default(), Vec::new());
        sums.count(None, Some(&claim));
        let (late, later) = (moment("2026-01-03T00:00:00Z"), moment("2026-01-04T00:00:00Z"));
        for step in steps {
            let next = match *step {
                "success" => claim.settle(StatusEffect::Succeeded),
                "failure" => claim.settle(StatusEffect::Failed),
                "expiry" => claim.expire(late),
                "let go" => claim.let_go(Attempt::GivenBack),
                "again" => Some(claim.reserve_again(3, claim.epoch + 4, late, later)),
                "renewal" => Some(claim.renew(late, later)),
                other => panic!("{other}"),
            };
            log.push(if next.is_some() { "moved" } else { "ignored" });
            if let Some(after) = next {
                sums.count(Some(&claim), Some(&after));
                claim = after;
                // A new attempt moves expires_at past `late`; bring it back so that it can expire too.
                claim.expires_at = claim.expires_at.min(late);
            }
        }
        let held = i64::try_from(sums.granted_in_all() - sums.released_in_all()).unwrap();
        (log, [held, sums.succeeded, sums.failed, sums.timed_out])
    }

    fn check(steps: &[&str], expected_log: &[&str], expected: [i64; 4]) {
        let (log, total) = apply(steps);
        assert_eq!(log, expected_log, "{steps:?}");
        assert_eq!(total, expected, "{steps:?}: in flight, succeeded, failed, timed out");
    }

    #[test]
    fn every_outcome_counts_once() {
        check(&["success"], &["moved"], [0, 1, 0, 0]);
        check(&["success", "success"], &["moved", "ignored"], [0, 1, 0, 0]);
        check(&["success", "failure"], &["moved", "ignored"], [0, 1, 0, 0]);
        check(&["failure", "failure"], &["moved", "ignored"], [0, 0, 1, 0]);
        check(&["expiry", "expiry"], &["moved", "ignored"], [0, 0, 0, 1]);
    }

    #[test]
    fn a_late_report_moves_the_count_and_success_is_believed_at_any_time() {
        check(&["expiry", "success"], &["moved", "moved"], [0, 1, 0, 0]);
        check(&["expiry", "failure"], &["moved", "moved"], [0, 0, 1, 0]);
        check(&["failure", "success"], &["moved", "moved"], [0, 1, 0, 0]);
    }

    #[test]
    fn a_release_frees_the_place_and_counts_no_outcome() {
        check(&["let go"], &["moved"], [0, 0, 0, 0]);
        check(&["let go", "let go"], &["moved", "ignored"], [0, 0, 0, 0]);
        check(&["let go", "expiry"], &["moved", "ignored"], [0, 0, 0, 0]);
        check(&["let go", "success"], &["moved", "moved"], [0, 1, 0, 0]);
        check(&["success", "let go"], &["moved", "ignored"], [0, 1, 0, 0]);
        check(&["failure", "again", "let go"], &["moved", "moved", "moved"], [0, 0, 1, 0]);
        check(&["let go", "again", "failure"], &["moved", "moved", "moved"], [0, 0, 1, 0]);
        let gone = reserved().let_go(Attempt::GivenBack).unwrap();
        assert_eq!((gone.attempts, gone.epoch), (0, 1));
        assert_eq!(reserved().let_go(Attempt::Spent).unwrap().attempts, 1);
    }

    #[test]
    fn a_second_attempt_keeps_the_first_outcome_until_it_has_its_own() {
        check(&["failure", "again"], &["moved", "moved"], [1, 0, 1, 0]);
        check(&["failure", "again", "success"], &["moved", "moved", "moved"], [0, 1, 0, 0]);
        check(&["failure", "again", "expiry"], &["moved", "moved", "moved"], [0, 0, 0, 1]);
        check(&["renewal"], &["moved"], [1, 0, 0, 1]);
        check(&["renewal", "success"], &["moved", "moved"], [0, 1, 0, 0]);
    }

    #[test]
    fn a_renewed_reservation_never_ends_before_the_one_before_it() {
        let (late, sooner) = (moment("2026-01-01T12:00:00Z"), moment("2026-01-01T13:00:00Z"));
        let renewed = reserved().renew(late, sooner);
        assert_eq!(renewed.expires_at, reserved().expires_at);
        assert_eq!((renewed.shard, renewed.epoch, renewed.holds_place), (0, 1, true), "it keeps its place");
        assert_eq!(reserved().reserve_again(1, 2, late, sooner).expires_at, reserved().expires_at);
    }

    #[test]
    fn a_claim_lapses_when_a_url_would_come_too_near_its_end() {
        assert_eq!(reserved().urls_end_at(), moment("2026-01-01T23:54:00Z"));
        assert!(!reserved().has_lapsed(moment("2026-01-01T23:53:00Z")));
        assert!(reserved().has_lapsed(moment("2026-01-01T23:53:01Z")));
        let short = Claim { expires_at: moment("2026-01-01T00:05:00Z"), ..reserved() };
        assert_eq!(short.urls_end_at(), moment("2026-01-01T00:04:00Z"));
    }
}
