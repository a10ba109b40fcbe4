//! The transition table of a claim.

use super::{Left, Life, State};

/// Event in the life of a claim. A grant is none of them: see [`Life::granted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The device says that it works on the update.
    Progress,
    /// The device says that it installed the update.
    Success,
    /// The device says that the installation failed.
    Failure,
    /// The device says that it could not fetch the files.
    Transfer,
    /// The device or its user says no.
    Declined,
    /// A check-in says an expected version.
    Expected,
    /// A check-in says the version of the time of the grant.
    Old,
    /// A check-in says another version.
    Third,
    /// The device is overdue.
    Due,
    /// The device gives the offer back, or the policy admits it no more.
    GivenBack,
}

impl Event {
    /// Every event, in the order of the columns.
    pub const ALL: [Self; 10] = [
        Self::Progress,
        Self::Success,
        Self::Failure,
        Self::Transfer,
        Self::Declined,
        Self::Expected,
        Self::Old,
        Self::Third,
        Self::Due,
        Self::GivenBack,
    ];
}

/// Rows of the table: the states, of which [`State::Lost`] has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// A claim in this state.
    In(State),
    /// A device that was lost before it said success.
    LostWhileOpen,
    /// A device that was lost after it said success.
    LostAfterSuccess,
}

/// Cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Nothing is written.
    Ignored,
    /// The device was heard from.
    Same,
    /// Another state. The place stays if the state [keeps it](State::keeps_place).
    To(State),
    /// [`State::Left`], for this reason.
    Leaves(Left),
    /// The old version of a device that has not begun: heard from; [`State::NotTaken`] when its time is over.
    Waits,
    /// [`State::Proved`]; [`State::Installed`] while the time of the proof runs; [`State::Left`] as a clone, after the
    /// expected version and the old one.
    Proves,
    /// The old version after a success: heard from while the device may not have booted; then noted once; then
    /// [`State::Reverted`].
    TakesBack,
    /// [`State::Open`] if the claim kept its place, else [`State::Left`].
    ComesBack,
    /// The state before the silence, with the old version noted; [`State::Reverted`] if it was noted already.
    ComesBackOld,
}

use Cell::{ComesBack, ComesBackOld, Ignored as No, Leaves, Proves, Same, TakesBack, To, Waits};
use Left::{GivenBack, ThirdVersion};
use State::{
    Closed, Declined, Failed, Installed, Left as LeftState, Lost, NotTaken, Open, Proved, Reverted, TransferFailed,
};

/// The table. The columns are [`Event::ALL`]: progress, success, failure, transfer, declined, expected version, old
/// version, third version, due, given back.
#[rustfmt::skip]
pub const TABLE: [(Row, [Cell; 10]); 12] = [
    (Row::In(Open),           [Same, To(Installed), To(Failed), To(TransferFailed), To(Declined), Proves, Waits, Leaves(ThirdVersion), To(Lost), Leaves(GivenBack)]),
    (Row::In(Installed),      [Same, Same, To(Failed), No, No, Proves, TakesBack, Leaves(ThirdVersion), To(Lost), Same]),
    (Row::In(Proved),         [Same, Same, To(Reverted), No, No, Proves, TakesBack, To(Closed), To(Lost), No]),
    (Row::In(Closed),         [No, No, No, No, No, No, No, No, No, No]),
    (Row::In(Failed),         [No, To(Installed), No, No, No, Proves, No, No, No, No]),
    (Row::In(Reverted),       [No, To(Installed), No, No, No, Proves, No, No, No, No]),
    (Row::In(TransferFailed), [No, To(Installed), To(Failed), No, No, Proves, No, Leaves(ThirdVersion), No, No]),
    (Row::In(Declined),       [No, To(Installed), To(Failed), No, No, Proves, No, Leaves(ThirdVersion), No, No]),
    (Row::In(NotTaken),       [No, To(Installed), To(Failed), No, No, Proves, No, Leaves(ThirdVersion), No, No]),
    (Row::In(LeftState),      [No, To(Installed), To(Failed), No, No, Proves, No, No, No, No]),
    (Row::LostWhileOpen,      [ComesBack, To(Installed), To(Failed), To(TransferFailed), To(Declined), Proves, ComesBack, Leaves(ThirdVersion), No, Leaves(GivenBack)]),
    (Row::LostAfterSuccess,   [To(Installed), To(Installed), To(Failed), To(TransferFailed), To(Declined), Proves, ComesBackOld, Leaves(ThirdVersion), No, Leaves(GivenBack)]),
];

impl Row {
    /// The row of a claim.
    #[must_use]
    pub fn of(life: &Life) -> Self {
        match (life.state, life.lost_from) {
            (State::Lost, Some(State::Installed | State::Proved)) => Self::LostAfterSuccess,
            (State::Lost, _) => Self::LostWhileOpen,
            (state, _) => Self::In(state),
        }
    }

    /// The cell of an event.
    #[must_use]
    pub fn cell(self, event: Event) -> Cell {
        let row = TABLE.iter().find(|(row, _)| *row == self);
        let cell = row.and_then(|(_, cells)| Event::ALL.iter().zip(cells).find(|(column, _)| **column == event));
        // A test finds every row.
        cell.map_or(Cell::Ignored, |(_, cell)| *cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_row_and_a_lost_device_two() {
        let states = State::ALL.into_iter().filter(|state| *state != State::Lost).map(Row::In);
        let mut expected = states.chain([Row::LostWhileOpen, Row::LostAfterSuccess]).collect::<Vec<_>>();
        let mut rows = TABLE.map(|(row, _)| row);
        expected.sort_unstable();
        rows.sort_unstable();
        assert_eq!(rows.as_slice(), expected);
    }
}
