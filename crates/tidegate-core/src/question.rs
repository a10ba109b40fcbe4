//! The question to the user of a device: may it install an update? It is asked before the device takes a place. So a user who
//! answers after days keeps no other device waiting.

use jiff::Timestamp;

use crate::cohort::Cohort;
use crate::id::UpdateId;
use crate::life::retry::{History, Next, spread};
use crate::life::{State, to_the_second};
use crate::update::Update;

/// The most questions that are kept for a device. They are part of its small record.
const MOST_QUESTIONS: usize = 4;

/// The questions to the user of a device, one about each update, the latest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions(Vec<Question>);

impl Questions {
    /// The questions, as they were read from storage.
    #[must_use]
    pub fn new(questions: Vec<Question>) -> Self {
        Self(questions)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Question> {
        self.0.iter()
    }

    /// The question about an update.
    #[must_use]
    pub fn about(&self, update: &UpdateId) -> Option<&Question> {
        self.0.iter().find(|question| question.update == *update)
    }

    /// The question about an update, if the user has not answered it.
    #[must_use]
    pub fn unanswered_about(&self, update: &UpdateId) -> Option<&Question> {
        self.about(update).filter(|question| question.reply.is_none())
    }

    /// The questions after an operator forgave all refusals. `None` if there is none.
    #[must_use]
    pub fn forgiven(&self, now: Timestamp) -> Option<Self> {
        let forgiven = |question: &Question| question.forgiven(now).unwrap_or_else(|| question.clone());
        let questions = Self(self.0.iter().map(forgiven).collect());
        (questions != *self).then_some(questions)
    }

    /// The versions about which the user was asked at this time.
    #[must_use]
    pub fn asked_at(&self, at: Timestamp) -> Vec<semver::Version> {
        let asked = self.0.iter().filter(|question| question.asked_at == to_the_second(at));
        asked.map(|question| question.version.clone()).collect()
    }

    /// Returns true if nothing was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The questions with this one in the place of the one about the same update. If there are too many, the oldest is left
    /// out of which `matters` is false. `None` if all of them matter.
    #[must_use]
    pub fn with(&self, question: Question, matters: impl Fn(&Question) -> bool) -> Option<Self> {
        let mut questions = self.0.clone();
        questions.retain(|other| other.update != question.update);
        if questions.len() >= MOST_QUESTIONS {
            let left_out = questions.iter().position(|question| !matters(question))?;
            questions.remove(left_out);
        }
        questions.push(question);
        Some(Self(questions))
    }
}

/// A question, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The update.
    pub update: UpdateId,
    /// Its version.
    pub version: semver::Version,
    /// The time at which it was asked last.
    pub asked_at: Timestamp,
    /// The answer; `None` while the user has not answered.
    pub reply: Option<Reply>,
    /// Number of times that the user refused this update.
    pub refusals: u32,
}

/// An answer of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The device may install the update, now and in later attempts.
    Agreed,
    /// The device may not install the update.
    Refused {
        /// The time of the answer.
        at: Timestamp,
    },
}

impl Question {
    /// The question about `update`. `before` is the one that was asked about it before.
    #[must_use]
    pub fn asked(before: Option<&Self>, update: &Update, now: Timestamp) -> Self {
        let refusals = before.map_or(0, |before| before.refusals);
        let (id, version) = (update.id.clone(), update.version.clone());
        Self { update: id, version, asked_at: to_the_second(now), reply: None, refusals }
    }

    /// The question after an answer.
    #[must_use]
    pub fn replied(&self, agrees: bool, now: Timestamp) -> Self {
        let (reply, refusals) = match agrees {
            true => (Reply::Agreed, self.refusals),
            false => (Reply::Refused { at: to_the_second(now) }, self.refusals.saturating_add(1)),
        };
        Self { reply: Some(reply), refusals, ..self.clone() }
    }

    /// The question to a user who refused, asked once more from the start. `None` if the user did not refuse.
    #[must_use]
    pub fn forgiven(&self, now: Timestamp) -> Option<Self> {
        let is_refused = matches!(self.reply, Some(Reply::Refused { .. }));
        is_refused.then(|| Self { asked_at: to_the_second(now), reply: None, refusals: 0, ..self.clone() })
    }

    /// Returns true if the user agreed.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        self.reply == Some(Reply::Agreed)
    }

    /// The time from which on a user who refused is asked again: the times of one who refused an offer. `None` if the user
    /// did not refuse.
    #[must_use]
    pub fn next(&self, cohort: Cohort) -> Option<Next> {
        let Some(Reply::Refused { at }) = self.reply else {
            return None;
        };
        let history = History { declined: self.refusals, ..History::default() };
        history.next(State::Declined, None, at, 1, spread(cohort))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(version: u64) -> Question {
        Question {
            update: UpdateId::new(format!("lamp.{version}")).unwrap(),
            version: semver::Version::new(version, 0, 0),
            asked_at: Timestamp::UNIX_EPOCH,
            reply: None,
            refusals: 0,
        }
    }

    #[test]
    fn a_question_that_matters_is_never_left_out() {
        let four = (1..=4).fold(Questions::default(), |all, version| all.with(question(version), |_| true).unwrap());
        assert_eq!(four.with(question(5), |_| true), None);
        let five = four.with(question(5), |question| question.version.major != 2).unwrap();
        assert_eq!(five.iter().map(|question| question.version.major).collect::<Vec<_>>(), [1, 3, 4, 5]);
        let agreed = question(3).replied(true, Timestamp::UNIX_EPOCH);
        assert!(five.with(agreed, |_| true).unwrap().about(&question(3).update).unwrap().is_agreed());
    }

    #[test]
    fn a_user_who_refused_is_asked_again_after_a_week_then_two_then_four_and_not_any_more() {
        let mut asked = question(1);
        let cohort = Cohort::of(&asked.update, &crate::DeviceId::new("lamp-1").unwrap());
        let mut days = Vec::new();
        for _ in 0..4 {
            asked = asked.replied(false, Timestamp::UNIX_EPOCH);
            days.push(asked.next(cohort).and_then(Next::opens_at).map(|at| at.as_second() / 86_400));
        }
        let within =
            |days: Option<i64>, expected: i64| days.is_some_and(|days| (days - expected).abs() <= expected / 5 + 1);
        assert!(within(days[0], 7) && within(days[1], 14) && within(days[2], 28), "{days:?}");
        assert_eq!((days[3], asked.next(cohort)), (None, Some(Next::Never)));
        let again = asked.forgiven(Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((again.reply, again.refusals, again.next(cohort)), (None, 0, None));
        assert_eq!(again.forgiven(Timestamp::UNIX_EPOCH), None);
    }
}
