//! Claim: the record of one device in one rollout. A device has at most one claim on an update.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use semver::Version;

use crate::cohort::Cohort;
use crate::id::UpdateId;
use crate::life::retry::{History, Next, spread};
use crate::life::table::Event;
use crate::life::word::said;
use crate::life::{Effect, Left, Life, Rules, State, to_the_second};
use crate::objection::NoRoom;
use crate::question::{Question, Questions};
use crate::update::Update;

/// Time between the two signs that prove a success by report, in seconds. A request that is repeated is one sign.
const CONFIRMED_APART_S: i64 = 60;

/// Record of one device in one rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The offered version.
    pub version: Version,
    /// Number of the campaign that offered it.
    pub campaign: u32,
    /// What became of the offer.
    pub life: Life,
    /// Shard of the latest grant.
    pub shard: u16,
    /// Number of the count in which the shard's places are counted. A repair raises it.
    pub count: u32,
    /// Revision of the device's item at the grant. It is higher at each grant, also after an operator made the service
    /// forget the claim, so that a late write for an earlier grant is recognized.
    pub epoch: u64,
    /// Number of changes of the claim. A write expects the one that was read.
    pub revision: u32,
    /// Number of times the update was offered to this device.
    pub attempts: u32,
    /// Number of acknowledgements before the device was first granted the update: the test of the gate that it is in.
    pub test: u16,
    /// Bucket of the time of the first grant, for the gate.
    pub hour: u8,
    /// The device was new at the first grant, and nobody vouches for it: see [`Update::is_newcomer`].
    ///
    /// [`Update::is_newcomer`]: crate::Update::is_newcomer
    pub is_newcomer: bool,
    /// The version that the device said at the grant.
    pub was: String,
    /// The other names of the image: what it may say of itself, beside the version.
    pub reports_as: Vec<String>,
    /// Time at which the attempt ended; `None` while it goes on.
    pub ended_at: Option<Timestamp>,
    /// Earlier attempts.
    pub history: History,
    /// Time from which on the device may have another attempt, because an operator said so.
    pub retry_at: Option<Timestamp>,
}

/// The circumstances of a grant.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// The offered version.
    pub version: &'a Version,
    /// Number of the campaign.
    pub campaign: u32,
    /// The version that the device says.
    pub was: &'a str,
    /// The other names of the image: what it may say of itself, beside the version.
    pub reports_as: &'a [String],
    /// The shard that gives the place.
    pub shard: u16,
    /// Number of the count of its places.
    pub count: u32,
    /// Revision of the device's item after the grant.
    pub epoch: u64,
    /// The test of the gate.
    pub test: u16,
    /// Bucket of the time.
    pub hour: u8,
    /// The device is new, and nobody vouches for it.
    pub is_newcomer: bool,
    /// The time.
    pub now: Timestamp,
}

impl Claim {
    /// The claim of a device that is granted the update. `before` is its claim, which must have ended.
    #[must_use]
    pub fn granted(before: Option<&Self>, grant: &Grant<'_>) -> Option<Self> {
        let life = Life::granted(before.map(|before| &before.life), grant.now)?;
        let first = Self {
            version: grant.version.clone(),
            campaign: grant.campaign,
            life,
            shard: grant.shard,
            count: grant.count,
            epoch: grant.epoch,
            revision: 1,
            attempts: 1,
            test: grant.test,
            hour: grant.hour,
            is_newcomer: grant.is_newcomer,
            was: grant.was.to_string(),
            reports_as: grant.reports_as.to_vec(),
            ended_at: None,
            history: History::default(),
            retry_at: None,
        };
        Some(match before {
            None => first,
            Some(before) => Self {
                revision: before.revision.saturating_add(1),
                attempts: before.attempts.saturating_add(1),
                test: before.test,
                hour: before.hour,
                is_newcomer: before.is_newcomer,
                history: before.history.granted_again(before.life.state, before.life.left, grant.now),
                ..first
            },
        })
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.life.state
    }

    /// Returns true if the device has the offer and may fetch its files.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.life.state == State::Open
    }

    /// The event of a version that the device says. `texts` are what it says and, if the service knows its image by another
    /// version, that one. `all` are the claims of the device: a version that it was granted after this one is where the
    /// service brought it to. Any other lower version after a success is a fall-back, for example to the image of the factory.
    #[must_use]
    pub fn said<'a>(&self, texts: &[&str], all: impl IntoIterator<Item = &'a Self>) -> Event {
        let mut later = all.into_iter().filter(|other| other.epoch > self.epoch);
        let is_granted_later = later.any(|other| other.word(texts) == Event::Expected);
        let mut versions = texts.iter().filter_map(|text| Version::parse(text.trim()).ok()).peekable();
        let is_below = versions.peek().is_some() && versions.all(|text| text.cmp_precedence(&self.version).is_lt());
        match self.word(texts) {
            Event::Old if is_granted_later => Event::Third,
            Event::Third if !is_granted_later && self.life.has_succeeded() && is_below => Event::Old,
            event => event,
        }
    }

    /// Returns true if the device said success and says neither a name of the image nor its old version now: perhaps a name
    /// of the image that nobody told the service.
    #[must_use]
    pub fn says_something_else(&self, text: &str) -> bool {
        let has_succeeded = match self.state() {
            State::Proved => false,
            State::Reverted => true,
            // What it said then made it leave.
            State::Left => self.life.left == Some(Left::ThirdVersion) && self.life.installed_at.is_some(),
            _ => self.life.has_succeeded(),
        };
        has_succeeded && self.word(&[text]) == Event::Third
    }

    /// The event of these texts, whatever else the device was granted.
    fn word(&self, texts: &[&str]) -> Event {
        let own = self.version.to_string();
        let expected = || self.reports_as.iter().map(String::as_str).chain([own.as_str()]);
        let words = texts.iter().map(|text| said(text, expected(), &self.was)).collect::<Vec<_>>();
        let first = |event| words.iter().find(|word| **word == event).copied();
        first(Event::Expected).or_else(|| first(Event::Old)).unwrap_or(Event::Third)
    }

    /// The claim after an event; `None` if it stays as it is.
    #[must_use]
    pub fn after(&self, event: Event, rules: &Rules, now: Timestamp) -> Option<Self> {
        match self.life.after(event, rules, now) {
            Effect::Ignored | Effect::Heard => None,
            Effect::Moved(life) => Some(self.with(*life, now)),
        }
    }

    /// The claim after a sign of a device that never says its version, by its report of success: the second sign proves
    /// it. `None` if it stays as it is.
    #[must_use]
    pub fn confirmed(&self, rules: &Rules, now: Timestamp) -> Option<Self> {
        if !self.life.is_confirmed_by_a_sign(now) {
            return None;
        }
        let rules = Rules { prove_after_s: rules.prove_after_s.max(CONFIRMED_APART_S), ..*rules };
        let mut after = self.after(Event::Expected, &rules, now)?;
        after.life.by_report = after.state() == State::Proved;
        Some(after)
    }

    /// The claim after the device gave the offer back because the service asked for it; `None` if it is not open.
    #[must_use]
    pub fn called_back(&self, now: Timestamp) -> Option<Self> {
        self.life.called_back().map(|life| self.with(life, now))
    }

    /// The claim of a lost device whose place is given to another one. `None` if it holds none, or is not lost.
    #[must_use]
    pub fn without_place(&self) -> Option<Self> {
        let revision = self.revision.saturating_add(1);
        self.life.without_place().map(|life| Self { life, revision, ..self.clone() })
    }

    /// The claim of a device that an operator gives another try. What it did before is forgotten, and stays counted. `None`
    /// if it has not ended, the device has the update, or it may try again already.
    #[must_use]
    pub fn retried(&self, now: Timestamp) -> Option<Self> {
        let has_ended = self.life.state.has_ended() && self.life.state != State::Closed;
        (has_ended && self.retry_at.is_none()).then(|| Self {
            history: History::default(),
            retry_at: Some(to_the_second(now)),
            revision: self.revision.saturating_add(1),
            ..self.clone()
        })
    }

    /// The claim of a device that an operator struck as a witness; `None` if it was struck already.
    #[must_use]
    pub fn voided(&self) -> Option<Self> {
        let life = self.life.voided();
        (life != self.life).then(|| Self { life, revision: self.revision.saturating_add(1), ..self.clone() })
    }

    /// Returns true if the device failed an earlier campaign of this version, and no operator has forgiven it.
    #[must_use]
    pub fn failed_before(&self, version: &Version, campaign: u32) -> bool {
        let is_earlier = self.campaign < campaign && self.version.cmp_precedence(version).is_eq();
        is_earlier && self.retry_at.is_none() && matches!(self.state(), State::Failed | State::Reverted)
    }

    /// The next attempt of the device; `None` if this one has not ended.
    #[must_use]
    pub fn next(&self, max_attempts: u32, cohort: Cohort) -> Option<Next> {
        let ended_at = self.ended_at.unwrap_or(self.life.granted_at);
        if let Some(at) = self.retry_at.filter(|_| self.life.state.has_ended()) {
            return Some(Next::At(at));
        }
        self.history.next(self.life.state, self.life.left, ended_at, max_attempts, spread(cohort))
    }

    fn with(&self, life: Life, now: Timestamp) -> Self {
        let ended_at = match life.state.has_ended() {
            true if life.state == self.life.state => self.ended_at,
            true => Some(to_the_second(now)),
            false => None,
        };
        let (history, retry_at) = match life.state == self.life.state {
            true => (self.history.clone(), self.retry_at),
            false => (self.history.with(life.state, now), None),
        };
        Self { life, ended_at, history, retry_at, revision: self.revision.saturating_add(1), ..self.clone() }
    }
}

/// Claims of one device, the rollouts that had no room for it a moment ago, and those that were stopped.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    claims: BTreeMap<UpdateId, Claim>,
    no_room: BTreeMap<UpdateId, NoRoom>,
    halted: Halted,
    questions: Questions,
    /// The updates about which the user was asked over the service, without an answer so far.
    unanswered: BTreeSet<UpdateId>,
}

/// Rollouts that were stopped, whatever the catalog still says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Halted {
    /// Every rollout of the product.
    pub all: bool,
    /// The rollouts of these updates.
    pub updates: BTreeSet<UpdateId>,
}

impl Halted {
    /// Returns true if the rollout of an update was stopped.
    #[must_use]
    pub fn contains(&self, update: &UpdateId) -> bool {
        self.all || self.updates.contains(update)
    }
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

    /// The same claims, and the questions to the user.
    #[must_use]
    pub fn with_questions(self, questions: Questions) -> Self {
        Self { questions, ..self }
    }

    /// Notes that the device waits for its user's answer about an update.
    pub fn note_unanswered(&mut self, update: UpdateId) {
        self.unanswered.insert(update);
    }

    /// Returns true if the device waits for its user's answer about an update.
    #[must_use]
    pub fn is_unanswered(&self, update: &UpdateId) -> bool {
        self.unanswered.contains(update)
    }

    /// The questions to the user.
    #[must_use]
    pub fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Returns true if the device may install an update without a question to its user: the update asks for none, or the
    /// user agreed.
    #[must_use]
    pub fn may_install(&self, update: &Update) -> bool {
        !update.content.ask_consent || self.questions.about(&update.id).is_some_and(Question::is_agreed)
    }

    /// Returns true if the rollout of an update was stopped.
    #[must_use]
    pub fn is_halted(&self, update: &UpdateId) -> bool {
        self.halted.contains(update)
    }

    /// The claim on an update.
    #[must_use]
    pub fn on(&self, update: &UpdateId) -> Option<&Claim> {
        self.claims.get(update)
    }

    /// The last claim in which the device failed an earlier campaign of an update. Another try by an operator forgives it.
    #[must_use]
    pub fn failed_before(&self, version: &Version, campaign: u32) -> Option<&Claim> {
        self.claims.values().filter(|claim| claim.failed_before(version, campaign)).max_by_key(|claim| claim.campaign)
    }

    /// Every claim, by update.
    pub fn iter(&self) -> impl Iterator<Item = (&UpdateId, &Claim)> {
        self.claims.iter()
    }

    /// The claim that the device has carried out last: it said success or the expected version, and nothing else since.
    #[must_use]
    pub fn last_success(&self) -> Option<&Claim> {
        self.claims.values().filter(|claim| claim.life.has_succeeded()).max_by_key(|claim| claim.epoch)
    }

    /// Returns true if the device holds a place.
    #[must_use]
    pub fn holds_place(&self) -> bool {
        self.claims.values().any(|claim| claim.life.holds_place)
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
    use crate::life::Bucket;
    use crate::times::Times;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn grant(epoch: u64, second: i64) -> Grant<'static> {
        static VERSION: Version = Version::new(2, 0, 0);
        let (version, was, now) = (&VERSION, "1.0.0", at(second));
        Grant {
            version,
            campaign: 1,
            was,
            reports_as: &[],
            shard: 3,
            count: 0,
            epoch,
            test: 0,
            hour: 2,
            is_newcomer: false,
            now,
        }
    }

    fn rules() -> Rules {
        Rules { open_since: Some(at(0)), ..Rules::new(&Times::default(), 90 * 3600) }
    }

    #[test]
    fn another_grant_keeps_the_test_and_the_evidence() {
        let first = Claim::granted(None, &grant(1, 0)).unwrap();
        assert_eq!(Claim::granted(Some(&first), &grant(2, 10)), None, "it has not ended");
        let failed = first.after(Event::Failure, &rules(), at(5)).unwrap();
        assert_eq!((failed.ended_at, failed.history.failed_at.as_slice()), (Some(at(5)), &[at(5)][..]));
        let again =
            Claim::granted(Some(&failed), &Grant { test: 7, hour: 9, is_newcomer: true, shard: 1, ..grant(4, 4000) })
                .unwrap();
        assert_eq!((again.attempts, again.epoch, again.shard, again.test, again.hour), (2, 4, 1, 0, 2));
        assert_eq!((again.life.bucket, again.ended_at), (Some(Bucket::Failed), None));
        assert!(!again.is_newcomer);
        assert_eq!(again.history, failed.history);
    }

    #[test]
    fn what_a_device_says_moves_its_claim() {
        let claim = Claim::granted(None, &grant(1, 0)).unwrap();
        assert_eq!(
            ["2.0.0+b", "1.0.0", "2.0.1"].map(|version| claim.said(&[version], [&claim])),
            [Event::Expected, Event::Old, Event::Third]
        );
        let other_name = Claim { reports_as: vec!["1.0.0".into(), "spring".into()], ..claim.clone() };
        assert_eq!(
            ["2.0.0", "spring", "1.0.0"].map(|text| other_name.said(&[text], [&other_name])),
            [Event::Expected; 3],
            "what the image says of itself comes first"
        );
        let back = Claim { version: Version::new(1, 0, 0), epoch: 2, was: "2.0.0".into(), ..claim.clone() };
        assert_eq!(claim.said(&["1.0.0"], [&claim, &back]), Event::Third, "the service brought it back");
        assert_eq!(back.said(&["1.0.0"], [&claim, &back]), Event::Expected);
        let installed = claim.after(Event::Success, &rules(), at(30)).unwrap();
        assert_eq!(
            ["0.9.0", "2.0.1", "factory"].map(|version| installed.said(&[version], [&installed])),
            [Event::Old, Event::Third, Event::Third]
        );
        let other = Claim { version: Version::new(0, 9, 0), ..back };
        assert_eq!(installed.said(&["0.9.0"], [&installed, &other]), Event::Third);
        assert_eq!(installed.said(&["spring", "1.0.0"], [&installed]), Event::Old, "a name of an older image");
        // The image of 1.0.0 was published again as 2.0.1, which the service takes it for.
        assert_eq!(installed.said(&["1.0.0", "2.0.1"], [&installed]), Event::Old, "it fell back all the same");
        assert_eq!(installed.said(&["2.0.0", "2.0.1"], [&installed]), Event::Expected);
        assert_eq!(claim.after(Event::Old, &rules(), at(60)), None);
        let proved = claim.after(Event::Expected, &rules(), at(60)).unwrap();
        assert_eq!((proved.state(), proved.ended_at), (State::Proved, None));
    }

    #[test]
    fn a_device_gets_another_try_from_an_operator_and_what_it_did_stays_counted() {
        let cohort = Cohort::of(&UpdateId::new("u").unwrap(), &crate::DeviceId::new("d").unwrap());
        let open = Claim::granted(None, &grant(1, 0)).unwrap();
        let success = open.after(Event::Success, &rules(), at(1)).unwrap();
        assert_eq!([&open, &success].map(|claim| claim.retried(at(2))), [None, None], "it has not ended");
        let reverted = [5000, 6000].iter().fold(success, |claim, s| claim.after(Event::Old, &rules(), at(*s)).unwrap());
        assert_eq!(reverted.next(3, cohort), Some(Next::Never));
        let retried = reverted.retried(at(7000)).unwrap();
        assert_eq!((retried.next(3, cohort), retried.life.bucket), (Some(Next::At(at(7000))), Some(Bucket::Reverted)));
        assert_eq!(retried.retried(at(7001)), None, "once is enough");
        let again = Claim::granted(Some(&retried), &grant(9, 7002)).unwrap();
        assert_eq!((again.retry_at, again.life.bucket), (None, Some(Bucket::Reverted)));
        let late = retried.after(Event::Success, &rules(), at(7003)).unwrap();
        assert_eq!(late.retry_at, None, "it goes on from here by itself");
    }

    #[test]
    fn the_second_sign_an_hour_after_a_success_proves_it_by_report() {
        let granted = Claim::granted(None, &grant(1, 0)).unwrap();
        assert_eq!(granted.confirmed(&rules(), at(9000)), None, "it said no success");
        let installed = granted.after(Event::Success, &rules(), at(100)).unwrap();
        assert_eq!(installed.confirmed(&rules(), at(3699)), None);
        let once = installed.confirmed(&rules(), at(3700)).unwrap();
        assert_eq!((once.state(), once.life.holds_place), (State::Installed, true));
        assert_eq!(once.confirmed(&rules(), at(3759)), None, "it may be the same request");
        let proved = once.confirmed(&rules(), at(3760)).unwrap();
        assert_eq!((proved.state(), proved.life.by_report, proved.life.holds_place), (State::Proved, true, false));
        let said = proved.after(Event::Expected, &rules(), at(3800)).unwrap();
        assert!(!said.life.by_report, "now it says its version");
        let old = installed.after(Event::Old, &rules(), at(9000)).unwrap();
        assert_eq!(old.confirmed(&rules(), at(9600)), None, "it said the old version");
    }

    #[test]
    fn a_device_that_was_called_back_may_come_at_once_and_one_that_gave_back_waits() {
        let claim = Claim::granted(None, &grant(1, 0)).unwrap();
        let cohort = Cohort::of(&UpdateId::new("u").unwrap(), &crate::DeviceId::new("d").unwrap());
        let called = claim.called_back(at(9)).unwrap();
        assert_eq!(called.next(3, cohort), Some(Next::At(at(9))));
        let gave = claim.after(Event::GivenBack, &rules(), at(9)).unwrap();
        assert!(matches!(gave.next(3, cohort), Some(Next::At(next)) if next > at(9 + 19 * 3600)));
        assert_eq!(called.called_back(at(10)), None);
        assert_eq!(claim.next(3, cohort), None);
    }
}
