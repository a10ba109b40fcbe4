//! Writes that are sent twice, or that land after their sender gave them up.

use super::change::Change;
use super::device::{Attempt, Settle};
use super::mutants::Mutant;
use super::repair::Stamp;
use super::rows::{Gate, Tally};
use super::{Protocol, World};

/// Number and times of the arrivals of one write at the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Once,
    /// Now, and again later.
    Twice,
    /// Later only: the sender gave it up.
    Later,
}

/// Write with the values of its conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Late {
    Grant(Attempt),
    Settle(Settle),
    /// The tally of a second invocation on the same stream shard. The position counts from the first record that is
    /// not acknowledged.
    Tally {
        stream: u8,
        position: i8,
        sums: Tally,
    },
    Ceiling {
        shard: u8,
        value: i8,
        generation: u8,
    },
    Shut {
        shard: u8,
        gate: Gate,
        generation: u8,
    },
    Record(Change),
    Open {
        shard: u8,
        change: Change,
    },
    Stamp(Stamp),
    Number {
        shard: u8,
        change: Change,
    },
}

impl Late {
    pub(crate) fn device(&self) -> Option<u8> {
        match self {
            Self::Grant(attempt) => Some(attempt.device),
            Self::Settle(settle) => Some(settle.device),
            _ => None,
        }
    }

    pub(crate) fn device_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Grant(attempt) => Some(&mut attempt.device),
            Self::Settle(settle) => Some(&mut settle.device),
            _ => None,
        }
    }
}

impl Protocol {
    /// Sends a write now, and keeps what is still under way.
    pub(crate) fn send(&self, world: &mut World, write: Late, fate: Fate) -> Option<()> {
        if fate != Fate::Later {
            self.land(world, write)?;
        }
        if fate != Fate::Once {
            world.late = Some(write);
            world.duplicates_left -= 1;
        }
        Some(())
    }

    /// The write reaches the table. `None` if its condition fails or it changes nothing.
    pub(crate) fn land(&self, world: &mut World, write: Late) -> Option<()> {
        match write {
            Late::Grant(attempt) => self.grant(world, &attempt),
            Late::Settle(settle) => self.settle(world, &settle),
            Late::Tally { stream, position, sums } => {
                let stream = &mut world.streams[usize::from(stream)];
                let is_as_read = i8::try_from(stream.ahead).is_ok_and(|ahead| ahead == position);
                if !is_as_read && self.keeps(Mutant::PositionUnchecked) {
                    return None;
                }
                stream.tally.add(&sums);
                Some(())
            }
            Late::Ceiling { shard, value, generation } => {
                self.raise(&mut world.shards[usize::from(shard)], value, generation)
            }
            Late::Shut { shard, gate, generation } => {
                Self::shut(&mut world.shards[usize::from(shard)], gate, generation)
            }
            Late::Record(change) => self.write_record(world, &change),
            Late::Open { shard, change } => {
                self.open(&mut world.shards[usize::from(shard)], usize::from(shard), &change)
            }
            Late::Stamp(stamp) => self.stamp(world, &stamp),
            Late::Number { shard, change } => self.number_shard(world, usize::from(shard), &change),
        }
    }
}
