//! The question to the user of a device: may it install an update? It is asked before the device takes a place. So a user who
//! answers after days keeps no other device waiting.

use jiff::Timestamp;

use crate::cohort::Cohort;
use crate::id::UpdateId;
use crate::life::retry::{History, Next, spread};
use crate::life::{State, to_the_second};
use crate::update::Update;

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
    /// The question about `update`. `before` is the one that was asked before, about the same update or another.
    #[must_use]
    pub fn asked(before: Option<&Self>, update: &Update, now: Timestamp) -> Self {
        let refusals = before.filter(|before| before.update == update.id).map_or(0, |before| before.refusals);
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
