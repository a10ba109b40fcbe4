//! `count`: follows the stream, tallies its records, judges, and raises ceilings. The sweep judges and raises too.

use super::late::{Fate, Late};
use super::mutants::Mutant;
use super::promises::Promise;
use super::rows::{Campaign, Claim, Gate, State, Tally, Wish, part};
use super::scope::NO_LIMIT;
use super::{Protocol, SHARDS, Step, View, World, fold, shard, small};

/// Largest number of records that can wait.
const WAITING: usize = 3;

/// One shard of the stream, with its tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Stream {
    /// Effects of the records that are not acknowledged. Records without an effect are left out.
    waiting: [Tally; WAITING],
    pub(crate) length: u8,
    /// `pos`: number of waiting records that are in the tally.
    pub(crate) ahead: u8,
    pub(crate) tally: Tally,
    /// The tally before the last write: the value of an eventually consistent read.
    before: Tally,
    pub(crate) run: Run,
}

/// Invocation of `count` on a stream shard, after its tally write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Run {
    #[default]
    None,
    /// Reads tallies item by item.
    Reading(fold::Reading),
    /// Has read the sums, and raises ceilings.
    Raising(Raising),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Raising {
    /// New ceiling of each shard; with a wrong design, what is added to it.
    values: [i8; SHARDS],
    generation: u8,
    done: [bool; SHARDS],
    /// The verdict is hold, and the campaign is not held yet.
    must_hold: bool,
    may_raise: bool,
    /// A change was wanted when this invocation read the record.
    after_wish: bool,
}

impl Stream {
    /// Adds a record. `None` if as many wait as the scope allows.
    pub(crate) fn append(&mut self, effect: Tally, most: u8) -> Option<()> {
        if effect == Tally::default() {
            return Some(());
        }
        let limit = if most == 0 { small(WAITING) } else { most };
        if self.length >= limit {
            return None;
        }
        self.waiting[usize::from(self.length)] = effect;
        self.length += 1;
        Some(())
    }

    pub(crate) fn sum(&self, from: u8, to: u8) -> Tally {
        let mut sums = Tally::default();
        self.waiting[usize::from(from)..usize::from(to)].iter().for_each(|effect| sums.add(effect));
        sums
    }

    /// Effects that are not in the tally.
    pub(crate) fn undelivered(&self) -> Tally {
        self.sum(self.ahead, self.length)
    }

    fn acknowledge(&mut self) {
        let ahead = usize::from(self.ahead);
        self.waiting.copy_within(ahead.., 0);
        self.length -= self.ahead;
        self.waiting[usize::from(self.length)..].fill(Tally::default());
        (self.ahead, self.run) = (0, Run::None);
    }

    fn clear(&mut self) {
        self.ahead = self.length;
        self.acknowledge();
    }
}

/// Change of a tally by one record: `part(new) - part(old)`, where a freed place is booked on the shard of the old image.
pub(crate) fn effect(protocol: &Protocol, old: Option<&Claim>, new: Option<&Claim>) -> Tally {
    let mut effect = Tally::default();
    let (before, after) = (part(old), part(new));
    if protocol.has(Mutant::ReleasedAsDifference)
        || protocol.has(Mutant::ReleasedFromClaim)
        || protocol.has(Mutant::ReleasedWhereTheClaimIs)
    {
        add_wrongly(protocol, &mut effect, old, -1);
        add_wrongly(protocol, &mut effect, new, 1);
    } else if let Some(old) = old.filter(|_| before.place.is_some() && before.place != after.place) {
        if protocol.has(Mutant::RepairStamps) {
            effect.released.iter_mut().for_each(|released| released[usize::from(old.shard)] += 1);
        } else {
            effect.released[usize::from(old.number)][usize::from(old.shard)] += 1;
        }
    }
    if let (Some(old), Some(new)) = (old, new)
        && old.shard != new.shard
        && protocol.has(Mutant::ReleasedAgainOnMove)
    {
        effect.released[0][usize::from(old.shard)] += 1;
    }
    if let Some(new) = new.filter(|_| after.place.is_some() && before.place != after.place)
        && protocol.counts_grants()
    {
        effect.granted[usize::from(new.shard)] += 1;
    }
    effect.mature = is_mature(protocol, new) - is_mature(protocol, old);
    for (part, by) in [(before, -1), (after, 1)] {
        if let Some(bucket) = part.bucket {
            effect.buckets[bucket as usize] += by;
        }
    }
    effect
}

/// A proved device whose trial has lasted as long as silence would need to show.
pub(crate) fn is_mature(protocol: &Protocol, claim: Option<&Claim>) -> i8 {
    let is_counted =
        |claim: &&Claim| claim.state == State::Proved && (claim.is_mature || protocol.has(Mutant::RampCountsProved));
    i8::from(protocol.scope.ramp > 0 && claim.filter(is_counted).is_some())
}

/// Designs that count released places as a sum over claims.
fn add_wrongly(protocol: &Protocol, effect: &mut Tally, claim: Option<&Claim>, by: i8) {
    let Some(claim) = claim else { return };
    let place = i8::from(claim.has_place);
    let grants = claim.grants.map(|grants| i8::try_from(grants).expect("there are few attempts"));
    let here = usize::from(claim.shard);
    if protocol.has(Mutant::ReleasedAsDifference) {
        effect.released[0][here] += by * place;
    } else if protocol.has(Mutant::ReleasedFromClaim) {
        for (shard, released) in effect.released[0].iter_mut().enumerate() {
            *released += by * (grants[shard] - if shard == here { place } else { 0 });
        }
    } else {
        effect.released[0][here] += by * (grants[0] + grants[1] - place);
    }
}

impl World {
    /// Sums of all tallies, read strongly.
    pub(crate) fn sums(&self) -> Tally {
        self.sums_seen(View::Now)
    }

    pub(crate) fn sums_seen(&self, view: View) -> Tally {
        let mut sums = self.base.sums;
        for (at, stream) in self.streams.iter().enumerate() {
            // A tally that is named in `folded` is skipped.
            if !(at == 0 && self.base.has_folded) {
                sums.add(if view == View::Now { &stream.tally } else { &stream.before });
            }
        }
        sums
    }
}

impl Protocol {
    /// The verdict of the health gate: `true` holds the campaign.
    pub(crate) fn is_hold(&self, sums: &Tally) -> bool {
        self.scope.hold_at < NO_LIMIT && sums.failures() >= self.scope.hold_at
    }

    /// Places that mature devices add to `max_in_flight`, by shard: `max(max_in_flight, ramp * mature)` is in force.
    pub(crate) fn grown(&self, world: &World, mature: i8) -> [i8; SHARDS] {
        let more = (self.scope.ramp * mature - world.record.limit).max(0);
        shard::split(more, [0; SHARDS])
    }

    /// Ceilings by the record and these sums.
    fn ceilings(&self, world: &World, sums: &Tally) -> [i8; SHARDS] {
        let released = sums.released[usize::from(world.record.number)];
        [0, 1].map(|at| {
            let item = &world.shards[at];
            let places = world.record.caps[at].places + self.grown(world, sums.mature)[at];
            let released =
                if self.has(Mutant::ReleasedAsDifference) { item.granted - released[at] } else { released[at] };
            self.ceiling_of(places, released, sums.granted[at])
        })
    }

    /// Judges, and decides on the ceilings.
    pub(crate) fn judge(&self, world: &World, stream: usize, sums: &Tally) -> Raising {
        let is_hold = self.is_hold(sums);
        let mut values = self.ceilings(world, sums);
        if self.has(Mutant::CeilingPlusBatch) {
            let stream = &world.streams[stream];
            values = stream.sum(0, stream.ahead).released[0];
        } else if self.has(Mutant::CeilingPlusMissing) {
            values = [0, 1].map(|at| (values[at] - world.shards[at].ceiling).max(0));
        }
        let after_wish = world.record.wanted.is_some();
        Raising {
            values,
            generation: world.record.generation,
            done: [0, 1].map(|at: usize| self.adds_to_ceilings() && values[at] == 0),
            must_hold: is_hold && world.record.state == Campaign::Open,
            may_raise: (!is_hold || self.has(Mutant::CountJudges))
                && (!after_wish || self.has(Mutant::NoRaiseWhileWanted))
                && !world.record.needs_recount,
            after_wish,
        }
    }

    fn can_raise(&self, world: &World, raising: &Raising, shard: usize) -> bool {
        let mut item = world.shards[shard];
        raising.may_raise
            && !raising.must_hold
            && !raising.done[shard]
            && self.raise(&mut item, raising.values[shard], raising.generation).is_some()
    }

    /// New ceiling of an open shard by the sweep.
    pub(crate) fn sweep_raises(&self, world: &World, shard: usize) -> Option<i8> {
        let record = &world.record;
        let sums = world.sums();
        let is_wrong_design = self.adds_to_ceilings()
            || self.has(Mutant::NoSweepRaise)
            || self.has(Mutant::ReleasedAsDifference)
            || self.has(Mutant::CeilingMayFall);
        if is_wrong_design || record.state != Campaign::Open || record.needs_recount {
            return None;
        }
        if (record.wanted.is_some() && self.keeps(Mutant::NoRaiseWhileWanted))
            || (self.is_hold(&sums) && self.keeps(Mutant::SweepJudges))
        {
            return None;
        }
        let mut item = world.shards[shard];
        self.raise(&mut item, self.ceilings(world, &sums)[shard], record.generation)?;
        (item.gate == Gate::Open).then_some(item.ceiling)
    }

    fn views(&self) -> &'static [View] {
        if self.has(Mutant::TalliesReadEventually) { &[View::Now, View::Before] } else { &[View::Now] }
    }

    pub(crate) fn count_steps(&self, world: &World, steps: &mut Vec<Step>) {
        for stream in 0..usize::from(self.scope.streams) {
            let is_child = self.scope.stream_splits && stream == 1;
            if is_child && world.streams[0].length > 0 && self.keeps(Mutant::ChildBeforeParent) {
                continue;
            }
            self.count_steps_of(world, stream, steps);
        }
        for shard in 0..SHARDS {
            if self.sweep_raises(world, shard).is_some() {
                steps.push(Step::SweepRaises { shard });
            }
        }
        if self.is_hold(&world.sums()) && self.can_want(world, Wish::Hold) {
            steps.push(Step::SweepHolds);
        }
    }

    fn count_steps_of(&self, world: &World, stream: usize, steps: &mut Vec<Step>) {
        let Stream { length, ahead, run, .. } = world.streams[stream];
        match run {
            Run::None => {
                self.tally_steps(world, stream, steps);
                if self.scope.loses_records && length > ahead && !(self.scope.repairs && world.has_lost_records) {
                    steps.push(Step::RecordsAreLost { stream });
                }
                if ahead == 0 {
                    return;
                }
                if self.has(Mutant::AckBeforeCeilings) {
                    steps.push(Step::CountAcknowledges { stream });
                }
                if !self.scope.folds {
                    steps.extend(self.views().iter().map(|view| Step::CountReadsSums { stream, view: *view }));
                }
            }
            Run::Reading(_) => steps.push(Step::CountDies { stream }),
            Run::Raising(raising) => {
                steps.push(Step::CountDies { stream });
                if raising.must_hold {
                    steps.push(Step::CountHolds { stream });
                    return;
                }
                let left = [0, 1].map(|shard| self.can_raise(world, &raising, shard));
                for shard in (0..SHARDS).filter(|shard| left[*shard]) {
                    let fates = self.any_fate(world).iter();
                    steps.extend(fates.map(|fate| Step::CountRaises { stream, shard, fate: *fate }));
                }
                if !left.contains(&true) {
                    steps.push(Step::CountAcknowledges { stream });
                }
            }
        }
    }

    fn tally_steps(&self, world: &World, stream: usize, steps: &mut Vec<Step>) {
        let Stream { length, ahead, .. } = world.streams[stream];
        if self.has(Mutant::TallyWithoutPosition) {
            if length > 0 {
                steps.push(Step::CountTallies { stream, records: length, fate: Fate::Once });
            }
        } else if length > ahead {
            let one = ahead + 1;
            for records in [one, length].into_iter().take(if one == length { 1 } else { 2 }) {
                let fates = self.once_or_twice(world).iter();
                steps.extend(fates.map(|fate| Step::CountTallies { stream, records, fate: *fate }));
            }
        }
    }

    pub(crate) fn count_step(&self, world: &mut World, step: Step) -> Option<()> {
        match step {
            Step::CountTallies { stream, records, fate } => self.tally(world, stream, records, fate),
            Step::CountReadsSums { stream, view } => {
                let raising = self.judge(world, stream, &world.sums_seen(view));
                world.streams[stream].run = Run::Raising(raising);
            }
            Step::CountHolds { stream } => {
                let Run::Raising(raising) = &mut world.streams[stream].run else { return None };
                raising.must_hold = false;
                if self.can_want(world, Wish::Hold) {
                    self.want(world, Wish::Hold);
                }
            }
            Step::CountRaises { stream, shard, fate } => {
                let Run::Raising(raising) = &mut world.streams[stream].run else { return None };
                // A raise that was given up is tried again before the batch is acknowledged.
                raising.done[shard] = fate != Fate::Later;
                let (value, generation) = (raising.values[shard], raising.generation);
                if raising.after_wish {
                    self.breaks(world, Promise::NoRaise);
                }
                return self.send(world, Late::Ceiling { shard: small(shard), value, generation }, fate);
            }
            Step::CountAcknowledges { stream } => {
                let acknowledged = i8::try_from(world.streams[stream].ahead).expect("few records wait");
                world.streams[stream].acknowledge();
                if let Some(Late::Tally { stream: late, position, .. }) = &mut world.late
                    && usize::from(*late) == stream
                {
                    *position -= acknowledged;
                }
            }
            Step::RecordsAreLost { stream } => {
                world.streams[stream].clear();
                world.has_lost_records = true;
                world.record.needs_recount = self.scope.repairs;
                world.late = world.late.filter(|late| !matches!(late, Late::Tally { .. }));
            }
            Step::SweepRaises { shard } => {
                if world.record.wanted.is_some() {
                    self.breaks(world, Promise::NoRaise);
                }
                world.shards[shard].ceiling = self.sweep_raises(world, shard)?;
            }
            Step::SweepHolds => self.want(world, Wish::Hold),
            Step::CountDies { stream } => world.streams[stream].run = Run::None,
            _ => return None,
        }
        Some(())
    }

    /// One write: the sums and the position.
    fn tally(&self, world: &mut World, stream: usize, records: u8, fate: Fate) {
        let item = &mut world.streams[stream];
        let from = if self.has(Mutant::TallyWithoutPosition) { 0 } else { item.ahead };
        let sums = item.sum(from, records);
        if self.has(Mutant::TalliesReadEventually) {
            item.before = item.tally;
        }
        item.tally.add(&sums);
        item.ahead = records;
        if fate == Fate::Twice {
            let position = i8::try_from(from).expect("few records wait");
            world.late = Some(Late::Tally { stream: small(stream), position, sums });
            world.duplicates_left -= 1;
        }
    }
}
