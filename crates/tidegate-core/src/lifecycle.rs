//! States of an update, and the transitions between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// State of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Created, not yet offered.
    Draft,
    /// Published before; its next campaign is about to be opened.
    Scheduled,
    /// Offered as its rollout allows.
    Active,
    /// Not offered now; can be resumed.
    Paused,
    /// Not offered now, because of what became of its devices; can be resumed.
    Held,
    /// Ended as planned.
    Completed,
    /// Ended because the update is bad.
    Aborted,
    /// Withdrawn from the catalog for good.
    Withdrawn,
}

/// Operator's action that changes the state of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the actions
pub enum Transition {
    Activate,
    Pause,
    Hold,
    Resume,
    Complete,
    Abort,
    Withdraw,
}

/// Force of a change of a rollout. A change under way is replaced only by a stronger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Force {
    /// It changes or opens a rollout.
    Edit,
    /// It stops a rollout until it is resumed.
    Pause,
    /// It stops a rollout until it is resumed with its evidence.
    Hold,
    /// It ends a rollout as planned.
    Complete,
    /// It ends a rollout because the update is bad.
    Abort,
    /// It ends the update.
    Withdraw,
}

use State::{Aborted, Active, Completed, Draft, Held, Paused, Scheduled, Withdrawn};

impl Transition {
    /// Every transition.
    pub const ALL: [Transition; 7] =
        [Self::Activate, Self::Pause, Self::Hold, Self::Resume, Self::Complete, Self::Abort, Self::Withdraw];

    /// The transition with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transition| transition.name() == name)
    }

    /// Name in paths and in the audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Pause => "pause",
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::Withdraw => "withdraw",
        }
    }

    /// Force of the transition against others.
    #[must_use]
    pub fn force(self) -> Force {
        match self {
            Self::Activate | Self::Resume => Force::Edit,
            Self::Pause => Force::Pause,
            Self::Hold => Force::Hold,
            Self::Complete => Force::Complete,
            Self::Abort => Force::Abort,
            Self::Withdraw => Force::Withdraw,
        }
    }

    /// `true` if devices must not get the update any more, not even those that hold a claim. They may finish an update
    /// that is completed.
    #[must_use]
    pub fn halts(self) -> bool {
        match self {
            Self::Pause | Self::Hold | Self::Abort | Self::Withdraw => true,
            Self::Activate | Self::Resume | Self::Complete => false,
        }
    }

    /// States in which the transition is allowed.
    #[must_use]
    pub fn allowed_from(self) -> &'static [State] {
        match self {
            Self::Activate => &[Draft, Scheduled],
            Self::Pause => &[Active],
            Self::Hold => &[Active, Paused],
            Self::Resume => &[Paused, Held],
            Self::Complete => &[Active, Paused, Held],
            Self::Abort => &[Scheduled, Active, Paused, Held, Completed],
            Self::Withdraw => &[Draft, Scheduled, Active, Paused, Held, Completed, Aborted],
        }
    }

    /// State after the transition.
    #[must_use]
    pub fn leads_to(self) -> State {
        match self {
            Self::Activate | Self::Resume => Active,
            Self::Pause => Paused,
            Self::Hold => Held,
            Self::Complete => Completed,
            Self::Abort => Aborted,
            Self::Withdraw => Withdrawn,
        }
    }
}

impl State {
    /// Every state.
    pub const ALL: [State; 8] = [Draft, Scheduled, Active, Paused, Held, Completed, Aborted, Withdrawn];

    /// The state with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Name in the API and in storage.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Draft => "draft",
            Scheduled => "scheduled",
            Active => "active",
            Paused => "paused",
            Held => "held",
            Completed => "completed",
            Aborted => "aborted",
            Withdrawn => "withdrawn",
        }
    }

    /// `true` if the catalog contains updates in this state.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Active | Paused | Held)
    }

    /// `true` once devices could be offered the update in its present campaign.
    #[must_use]
    pub fn has_begun(self) -> bool {
        !matches!(self, Draft | Scheduled)
    }

    /// `true` if its rollout can still be changed.
    #[must_use]
    pub fn is_editable(self) -> bool {
        !self.has_begun() || self.is_live()
    }

    /// `true` if the update was published, and has no campaign: another one may begin.
    #[must_use]
    pub fn may_reopen(self) -> bool {
        matches!(self, Completed | Aborted | Withdrawn)
    }

    /// The state after `transition`.
    ///
    /// # Errors
    /// If the transition is not allowed in this state.
    pub fn after(self, transition: Transition) -> Result<State, TransitionError> {
        if transition.allowed_from().contains(&self) {
            return Ok(transition.leads_to());
        }
        Err(TransitionError { transition, state: self })
    }
}

/// Transition that is not allowed in the state of the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {transition} an update that is {state}; it must be {}{}", names(transition.allowed_from()), self.hint())]
pub struct TransitionError {
    /// The refused transition.
    pub transition: Transition,
    /// State of the update.
    pub state: State,
}

impl TransitionError {
    fn hint(&self) -> &'static str {
        match self.transition {
            Transition::Activate if self.state.may_reopen() => "; reopen it",
            _ => "",
        }
    }
}

fn names(states: &[State]) -> String {
    states.iter().map(|state| state.name()).collect::<Vec<_>>().join(" or ")
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_of_states_and_transitions() {
        let table = State::ALL.map(|state| {
            let row = Transition::ALL.map(|transition| state.after(transition).map_or("-", State::name));
            format!("{state}: {}", row.join(" "))
        });
        assert_eq!(
            table,
            [
                // activate pause hold resume complete abort withdraw
                "draft: active - - - - - withdrawn",
                "scheduled: active - - - - aborted withdrawn",
                "active: - paused held - completed aborted withdrawn",
                "paused: - - held active completed aborted withdrawn",
                "held: - - - active completed aborted withdrawn",
                "completed: - - - - - aborted withdrawn",
                "aborted: - - - - - - withdrawn",
                "withdrawn: - - - - - - -",
            ]
        );
    }

    #[test]
    fn a_refused_transition_says_from_where_it_is_allowed() {
        assert_eq!(
            Aborted.after(Transition::Activate).unwrap_err().to_string(),
            "cannot activate an update that is aborted; it must be draft or scheduled; reopen it"
        );
        assert_eq!(
            Draft.after(Transition::Abort).unwrap_err().to_string(),
            "cannot abort an update that is draft; it must be scheduled or active or paused or held or completed"
        );
    }
}
