//! Repair: after records of the stream were lost, every claim that holds a place is stamped with a new counting number.

use super::change::{Scan, Stage};
use super::late::{Fate, Late};
use super::mutants::Mutant;
use super::rows::{Claim, Gate, Wish, part};
use super::{NUMBERS, Protocol, SHARDS, Step, World, change::Change, small};

/// `SET claims.#c.cn = :cn IF LIVE AND AS_READ(c) AND cn < :cn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stamp {
    device: u8,
    read: Claim,
    number: u8,
}

impl Protocol {
    fn scan(world: &World) -> Option<Change> {
        world.change.filter(|change| change.stage == Stage::Scanning)
    }

    fn is_scanned(&self, scan: &Scan) -> bool {
        scan.scanned == (1 << self.scope.devices) - 1
    }

    /// The scan is over, and both shards have the scan's numbers.
    pub(crate) fn is_numbered(&self, world: &World) -> bool {
        Self::scan(world).is_some_and(|change| {
            self.is_scanned(&change.scan) && world.shards.iter().all(|shard| shard.number == change.number)
        })
    }

    pub(crate) fn repair_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let Some(wanted) = world.record.wanted.filter(|wanted| wanted.wish == Wish::Repair) else { return };
        if !world.are_shut(wanted) {
            return;
        }
        let Some(change) = Self::scan(world) else {
            let has_number = self.next_number(world) < small(NUMBERS);
            if world.change.is_none() && has_number {
                steps.push(Step::RepairTakesANumber);
            }
            return;
        };
        if change.scan.read.is_some() {
            steps.extend(self.any_fate(world).iter().map(|fate| Step::RepairStamps { fate: *fate }));
            return;
        }
        let left = (0..self.scope.devices).filter(|device| change.scan.scanned & 1 << device == 0);
        steps.extend(left.map(|device| Step::RepairReads { device }));
        if self.is_scanned(&change.scan) {
            for shard in (0..SHARDS).filter(|shard| world.shards[*shard].number < change.number) {
                steps.extend(self.any_fate(world).iter().map(|fate| Step::RepairNumbers { shard, fate: *fate }));
            }
        }
    }

    fn next_number(&self, world: &World) -> u8 {
        let last = world.record.last_number;
        if last > 0 && self.has(Mutant::RepairTakesANewNumber) { last } else { last + 1 }
    }

    pub(crate) fn repair_step(&self, world: &mut World, step: Step) -> Option<()> {
        match step {
            Step::RepairTakesANumber => {
                let wanted = world.record.wanted?;
                world.record.last_number = self.next_number(world);
                let mut change = self.change_at(world, Stage::Scanning, wanted.wish, wanted.generation);
                change.number = world.record.last_number;
                world.change = Some(change);
                Some(())
            }
            Step::RepairReads { device } => self.read_claim(world, device),
            Step::RepairStamps { fate } => self.stamp_claim(world, fate),
            Step::RepairNumbers { shard, fate } => {
                let change = world.change?;
                self.send(world, Late::Number { shard: small(shard), change }, fate)
            }
            _ => None,
        }
    }

    /// A claim with this scan's number counts, although its place may be free by now: its release has that number too.
    /// If a stamp got no reply and the claim is gone, nobody knows, and the repair begins again with another number.
    fn read_claim(&self, world: &mut World, device: u8) -> Option<()> {
        let claim = world.claim(device);
        let change = world.change.as_mut()?;
        if claim.is_none() && change.scan.unknown & 1 << device != 0 && self.keeps(Mutant::UnknownStampBeginsAgain) {
            return None;
        }
        let has_place = part(claim.as_ref()).place.is_some();
        match claim {
            Some(claim) if has_place && !self.has(Mutant::RepairStamps) && claim.number != change.number => {
                change.scan.read = Some((device, claim));
            }
            Some(claim) if has_place || (claim.number == change.number && self.keeps(Mutant::StampedClaimCounts)) => {
                change.scan.stamped[usize::from(claim.shard)] += 1;
                change.scan.scanned |= 1 << device;
            }
            _ => change.scan.scanned |= 1 << device,
        }
        Some(())
    }

    /// Stamps the claim. If it has changed since it was read, it is read again.
    fn stamp_claim(&self, world: &mut World, fate: Fate) -> Option<()> {
        let mut change = world.change?;
        let (device, read) = change.scan.read.take()?;
        let stamp = Stamp { device, read, number: change.number };
        if fate == Fate::Later {
            change.scan.unknown |= 1 << device;
            world.change = Some(change);
            return self.send(world, Late::Stamp(stamp), fate);
        }
        let mut stamped = *world;
        if self.send(&mut stamped, Late::Stamp(stamp), fate).is_some() {
            *world = stamped;
            change.scan.stamped[usize::from(read.shard)] += 1;
            change.scan.scanned |= 1 << device;
        } else if fate == Fate::Twice {
            return None;
        }
        world.change = Some(change);
        Some(())
    }

    /// The stamp changes no part of the claim, so its record has no effect.
    pub(crate) fn stamp(&self, world: &mut World, stamp: &Stamp) -> Option<()> {
        let stored = world.devices[usize::from(stamp.device)].claim.as_mut()?;
        let is_forward = stored.number < stamp.number || self.has(Mutant::StampOnlyForward);
        if !is_forward || !self.is_as_read(stored, &stamp.read) {
            return None;
        }
        stored.number = stamp.number;
        Some(())
    }

    /// `SET granted = :stamped, cn = :cn IF gen = :g1 AND gate = :paused AND cn < :cn`.
    pub(crate) fn number_shard(&self, world: &mut World, at: usize, change: &Change) -> Option<()> {
        let sums = world.sums();
        let shard = &mut world.shards[at];
        let is_forward = shard.number < change.number || self.has(Mutant::ShardNumberOnlyForward);
        if shard.generation != change.generation || shard.gate != Gate::Paused || !is_forward {
            return None;
        }
        shard.number = change.number;
        if self.has(Mutant::RepairStamps) {
            // A plain scan makes a new base: what was granted less what the scan found.
            let released = shard.granted - change.scan.stamped[at];
            let wrong = sums.released[usize::from(change.number)][at];
            world.base.sums.released[usize::from(change.number)][at] += released - wrong;
        } else {
            shard.granted = change.scan.stamped[at];
        }
        Some(())
    }
}
