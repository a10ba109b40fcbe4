//! Rollouts that do not go on by themselves. This is no judgement on the image; an operator should look.

use std::fmt;

use jiff::SignedDuration;
use tidegate_core::count::{Count, Counts};
use tidegate_core::limits::Allocation;
use tidegate_core::{State, Timestamp, Update};
use tidegate_store::record::UpdateRecord;

use crate::phases::NextPhase;

/// Times that a phase may wait as long as a device soaks.
const MOST_SOAKS: i64 = 2;

/// Reason why a rollout does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stalled {
    /// Lost devices hold every place.
    Places {
        /// The places.
        places: u64,
    },
    /// The next phase waits for longer than devices need to soak twice.
    Phase {
        /// Its number, from 1.
        number: usize,
    },
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Places { places } => write!(f, "lost devices hold all {places} places"),
            Self::Phase { number } => {
                write!(f, "phase {number} waits for longer than twice the time that devices soak")
            }
        }
    }
}

/// The reason why an active rollout does not go on, if it does not.
#[must_use]
pub fn stalled(
    record: &UpdateRecord,
    update: &Update,
    counts: &Counts,
    next_phase: Option<&NextPhase>,
    now: Timestamp,
) -> Option<Stalled> {
    if record.state != State::Active {
        return None;
    }
    let places = record.allocation.as_ref().and_then(Allocation::all_places);
    let lost = counts.devices(Count::Lost).saturating_sub(counts.devices(Count::GivenOn));
    if let Some(places) = places.filter(|places| *places > 0 && counts.in_flight >= *places && lost >= *places) {
        return Some(Stalled::Places { places });
    }
    let began = record.phase_begun.at.or(record.test.began_at)?;
    let longest = SignedDuration::from_secs(update.rollout.soak_s().saturating_mul(MOST_SOAKS));
    let phase = next_phase.filter(|phase| phase.lack.is_some() && now.duration_since(began) > longest)?;
    Some(Stalled::Phase { number: phase.number })
}
