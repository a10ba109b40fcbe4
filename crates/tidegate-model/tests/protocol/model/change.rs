//! Edits and openings: read what is held, split the limits, record, open. The sweep goes on where an opener died.

use super::device::Clock;
use super::late::{Fate, Late};
use super::mutants::Mutant;
use super::rows::{Campaign, Caps, Claim, Gate, Tally, Wish};
use super::{Protocol, SHARDS, Step, View, World, shard, small};

/// The one who carries an edit on, with what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) stage: Stage,
    pub(crate) wish: Wish,
    pub(crate) generation: u8,
    pub(crate) limit: i8,
    pub(crate) caps: [Caps; SHARDS],
    pub(crate) released: [i8; SHARDS],
    pub(crate) counted: [i8; SHARDS],
    /// Period for which the caps were split.
    pub(crate) period: u8,
    pub(crate) number: u8,
    pub(crate) scan: Scan,
}

/// Scan of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Scan {
    /// Devices that were scanned, as bits.
    pub(crate) scanned: u8,
    /// A claim that was read and is not stamped.
    pub(crate) read: Option<(u8, Claim)>,
    /// Devices whose stamp got no reply, as bits.
    pub(crate) unknown: u8,
    /// Claims that were stamped, by shard.
    pub(crate) stamped: [i8; SHARDS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Wrong order: the tallies were read before the shards are shut.
    Tallied,
    /// A repair scans the devices.
    Scanning,
    /// The limits are split. The record is next.
    Split,
    Opening,
}

impl Protocol {
    pub(crate) fn change_at(&self, world: &World, stage: Stage, wish: Wish, generation: u8) -> Change {
        let record = &world.record;
        Change {
            stage,
            wish,
            generation,
            limit: if let Wish::Edit(limit) = wish { limit } else { record.limit },
            caps: record.caps,
            released: [0; SHARDS],
            counted: [0; SHARDS],
            period: record.period,
            number: record.number,
            scan: Scan::default(),
        }
    }

    /// `held(s) = granted(s) - released(s)`, and the limits split over it.
    fn split(&self, world: &World, change: &mut Change, (tallies, shards): (&Tally, View), now: u8) {
        change.released = tallies.released[usize::from(change.number)];
        change.counted = tallies.granted;
        let granted = world.shards.map(|shard| match shards {
            View::Now => shard.granted,
            View::Before => shard.granted_before,
        });
        let held = if self.has(Mutant::ReleasedAsDifference) {
            change.released
        } else {
            [0, 1].map(|at| granted[at] - change.released[at])
        };
        change.period = self.period_of(now);
        if self.keeps(Mutant::SplitInLatestPeriod) {
            change.period = world.shards.iter().fold(change.period, |latest, shard| latest.max(shard.period));
        }
        let used_now = world.shards.map(|shard| if shard.period == change.period { shard.period_used } else { 0 });
        let places = shard::split(change.limit, held);
        let devices = shard::split(self.scope.max_devices, world.shards.map(|shard| shard.used));
        let per_period = shard::split(self.scope.per_period, used_now);
        change.caps = [0, 1].map(|at| Caps { places: places[at], devices: devices[at], per_period: per_period[at] });
    }

    pub(crate) fn change_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let stage = world.change.map(|change| change.stage);
        match world.record.wanted {
            Some(wanted) if !wanted.wish.is_stop() => {
                let are_shut = world.are_shut(wanted);
                let reads_early = self.has(Mutant::TalliesReadBeforeShut);
                if reads_early && stage.is_none() && !are_shut {
                    steps.push(Step::ChangeReadsTallies);
                }
                let is_next = match (wanted.wish, stage) {
                    (Wish::Repair, _) => self.is_numbered(world),
                    (_, None) => !reads_early,
                    (_, stage) => stage == Some(Stage::Tallied),
                };
                if is_next && (are_shut || self.has(Mutant::ShardsReadBeforeShut)) {
                    for view in self.split_views() {
                        let clocks = if self.scope.period_ticks > 0 { self.clocks(world) } else { &[Clock::True] };
                        steps.extend(clocks.iter().map(|clock| Step::ChangeSplits { view: *view, clock: *clock }));
                    }
                }
            }
            None if stage.is_none() && self.can_go_on(world) => steps.push(Step::SweepGoesOnOpening),
            _ => {}
        }
        if self.is_split_again(world) {
            steps.push(Step::SweepSplitsAgain);
        }
        let Some(change) = world.change else { return };
        steps.push(Step::ChangeDies);
        match change.stage {
            Stage::Split if self.may_record(world, &change) => {
                steps.extend(self.once_or_twice(world).iter().map(|fate| Step::ChangeIsRecorded { fate: *fate }));
            }
            Stage::Split => steps.push(Step::ChangeIsRefused),
            Stage::Opening => {
                for shard in 0..SHARDS {
                    let mut item = world.shards[shard];
                    if self.open(&mut item, shard, &change).is_some() {
                        steps.extend(self.any_fate(world).iter().map(|fate| Step::ChangeOpens { shard, fate: *fate }));
                    }
                }
            }
            Stage::Tallied | Stage::Scanning => {}
        }
    }

    fn split_views(&self) -> &'static [View] {
        let has_old = self.has(Mutant::TalliesReadEventually) || self.has(Mutant::ShardsReadEventually);
        if has_old { &[View::Now, View::Before] } else { &[View::Now] }
    }

    /// Shards at the generation of the record whose gate is paused are opened by the sweep.
    fn can_go_on(&self, world: &World) -> bool {
        let record = &world.record;
        let is_left = |gate, generation| gate == Gate::Paused && generation == record.generation;
        record.state == Campaign::Open && world.shards.iter().any(|shard| is_left(shard.gate, shard.generation))
    }

    /// The sweep splits again while less than the limit is given to the shards.
    fn is_split_again(&self, world: &World) -> bool {
        let record = &world.record;
        let given = record.caps.iter().map(|caps| caps.places).sum::<i8>();
        if given >= record.limit || world.shards.iter().any(|shard| shard.gate != Gate::Open) {
            return false;
        }
        let released = world.sums().released[usize::from(record.number)];
        let places = shard::split(record.limit, [0, 1].map(|at| world.shards[at].granted - released[at]));
        places != record.caps.map(|caps| caps.places) && self.can_want(world, Wish::Edit(record.limit))
    }

    /// `IF generation = :g AND wanted = mine`; a product that is stopped opens nothing.
    fn may_record(&self, world: &World, change: &Change) -> bool {
        let record = &world.record;
        let mine = super::rows::Wanted { wish: change.wish, generation: change.generation };
        let is_wanted = if self.has(Mutant::RecordOfAnyWish) {
            record.generation < change.generation
        } else {
            record.wanted == Some(mine)
        };
        let are_shut = self.keeps(Mutant::ShardsReadBeforeShut) || world.are_shut(mine);
        let is_open = !world.head.is_stopped || self.has(Mutant::OpenUnlessStopped);
        let is_last_repair = change.wish != Wish::Repair || record.last_number == change.number;
        is_wanted && are_shut && is_open && is_last_repair
    }

    pub(crate) fn write_record(&self, world: &mut World, change: &Change) -> Option<()> {
        if !self.may_record(world, change) {
            return None;
        }
        let record = &mut world.record;
        record.generation = change.generation;
        record.state = change.wish.leads_to();
        record.limit = change.limit;
        record.caps = change.caps;
        record.period = change.period;
        record.number = change.number;
        record.wanted = None;
        if change.wish == Wish::Repair {
            record.needs_recount = false;
        }
        if self.scope.has_head {
            world.head.has_halted = false;
            world.head.revision += 1;
        }
        Some(())
    }

    pub(crate) fn change_step(&self, world: &mut World, step: Step) -> Option<()> {
        match step {
            Step::SweepSplitsAgain => self.want(world, Wish::Edit(world.record.limit)),
            Step::SweepGoesOnOpening => {
                let sums = self.judged(world)?;
                let record = world.record;
                let mut change = self.change_at(world, Stage::Opening, Wish::Edit(record.limit), record.generation);
                change.released = sums.released[usize::from(record.number)];
                change.counted = sums.granted;
                world.change = Some(change);
            }
            Step::ChangeReadsTallies => {
                let wanted = world.record.wanted?;
                let sums = world.sums();
                let mut change = self.change_at(world, Stage::Tallied, wanted.wish, wanted.generation);
                change.released = sums.released[0];
                world.change = Some(change);
            }
            Step::ChangeSplits { view, clock } => self.read_and_split(world, view, clock)?,
            Step::ChangeIsRecorded { fate } => self.record(world, fate)?,
            Step::ChangeOpens { shard, fate } => {
                let change = world.change?;
                return self.send(world, Late::Open { shard: small(shard), change }, fate);
            }
            Step::ChangeIsRefused | Step::ChangeDies => world.change = None,
            _ => return None,
        }
        Some(())
    }

    fn record(&self, world: &mut World, fate: Fate) -> Option<()> {
        let change = world.change?;
        self.send(world, Late::Record(change), fate)?;
        world.change = Some(Change { stage: Stage::Opening, ..change });
        Some(())
    }

    /// Reads the shards and the tallies strongly, and judges.
    fn read_and_split(&self, world: &mut World, view: View, clock: Clock) -> Option<()> {
        let wanted = world.record.wanted?;
        let mut sums = self.judged(world)?;
        if self.has(Mutant::TalliesReadEventually) {
            sums = world.sums_seen(view);
        }
        let early = world.change.filter(|change| change.stage == Stage::Tallied);
        if let Some(early) = early {
            sums.released[0] = early.released;
        }
        let shards = if self.has(Mutant::ShardsReadEventually) { view } else { View::Now };
        let scanning = world.change.filter(|change| change.stage == Stage::Scanning);
        let mut change =
            scanning.unwrap_or_else(|| self.change_at(world, Stage::Split, wanted.wish, wanted.generation));
        change.stage = Stage::Split;
        let now = self.now(world, clock);
        self.split(world, &mut change, (&sums, shards), now);
        change.scan = Scan::default();
        world.change = Some(change);
        Some(())
    }

    /// The sums, unless the verdict is hold: whoever opens judges first.
    fn judged(&self, world: &World) -> Option<Tally> {
        let sums = world.sums();
        (!self.is_hold(&sums) || self.has(Mutant::OpeningJudges)).then_some(sums)
    }
}
