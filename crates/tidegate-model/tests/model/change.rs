//! Changes of a rollout by operators and by the sweep, one write at a time.

use tidegate_core::lifecycle::{State, Transition};

use super::design::Guard;
use super::rows::{Allocation, Door, Record, Shard};
use super::{Rollout, SHARDS, Step, World};

/// Kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ChangeKind {
    /// `control::transition`.
    Pause,
    Resume,
    Abort,
    /// `control::redefine` with another `max_devices`; `control::split_again` takes the same steps.
    Limit(u8),
    /// `control::reopen`, by the sweep, after an interrupted change.
    Repair,
}

/// Change in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// Generation of the record, as it was read.
    pub(crate) base: u8,
    pub(crate) stage: Stage,
}

/// Stage of a change. Shards are written in parallel, so in any order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// `close_shards`: the shards that are not written yet.
    Closing([bool; SHARDS]),
    /// `control::resplit` reads the counters of the shards.
    Measuring,
    /// `change_update`, with the new caps.
    Recording(Allocation),
    /// `open_shards`: the shards that are not written yet.
    Opening([bool; SHARDS]),
}

/// Next step of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ChangeStep {
    Shard(usize),
    Measure,
    Record,
}

const BOTH: [bool; SHARDS] = [true; SHARDS];

impl Change {
    pub(crate) fn steps(&self) -> Vec<ChangeStep> {
        match &self.stage {
            Stage::Closing(left) | Stage::Opening(left) => {
                (0..SHARDS).filter(|shard| left[*shard]).map(ChangeStep::Shard).collect()
            }
            Stage::Measuring => vec![ChangeStep::Measure],
            Stage::Recording(_) => vec![ChangeStep::Record],
        }
    }

    /// Generation that the change writes.
    fn generation(&self) -> u8 {
        if self.kind == ChangeKind::Repair { self.base } else { self.base + 1 }
    }

    fn transition(&self) -> Option<Transition> {
        match self.kind {
            ChangeKind::Pause => Some(Transition::Pause),
            ChangeKind::Resume => Some(Transition::Resume),
            ChangeKind::Abort => Some(Transition::Abort),
            ChangeKind::Limit(_) | ChangeKind::Repair => None,
        }
    }
}

impl Rollout {
    /// Changes that may begin: those that the state of the record allows, and a repair if it is needed.
    pub(crate) fn changes_to_begin(&self, world: &World, steps: &mut Vec<Step>) {
        if world.changes.len() >= self.scope.most_operators {
            return;
        }
        let allowed = |kind: &ChangeKind| match kind {
            ChangeKind::Pause => self.may(world, Transition::Pause),
            ChangeKind::Resume => self.may(world, Transition::Resume),
            ChangeKind::Abort => self.may(world, Transition::Abort),
            ChangeKind::Limit(_) => world.record().state.is_live() && self.may_change(world),
            ChangeKind::Repair => needs_repair(world),
        };
        let kinds = self.scope.changes.iter().copied().filter(allowed);
        steps.extend(kinds.map(Step::BeginChange));
    }

    fn may(&self, world: &World, transition: Transition) -> bool {
        world.record().state.after(transition).is_ok() && self.may_change(world)
    }

    fn may_change(&self, world: &World) -> bool {
        world.generation() < self.scope.most_changes
    }

    /// Reads the record. A closing change writes the shards first, an opening change writes the record first.
    pub(crate) fn begin_change(&self, world: &mut World, kind: ChangeKind) {
        let stage = match kind {
            ChangeKind::Resume => Stage::Recording(world.record().allocation),
            ChangeKind::Repair => Stage::Opening(BOTH),
            ChangeKind::Abort if !self.design.keeps(Guard::ShardsAreFenced) => {
                Stage::Recording(world.record().allocation)
            }
            ChangeKind::Pause | ChangeKind::Abort | ChangeKind::Limit(_) => Stage::Closing(BOTH),
        };
        let change = Change { kind, base: world.generation(), stage };
        world.changes.push(change);
        world.changes.sort_unstable();
    }

    pub(crate) fn go_on_change(&self, world: &mut World, change: &Change, step: ChangeStep) {
        let next = match (&change.stage, step) {
            (Stage::Closing(left), ChangeStep::Shard(shard)) => self.close(world, change, *left, shard),
            (Stage::Measuring, ChangeStep::Measure) => Some(self.measure(world, change)),
            (Stage::Recording(split), ChangeStep::Record) => self.write_record(world, change, *split),
            (Stage::Opening(left), ChangeStep::Shard(shard)) => self.open(world, change, *left, shard),
            (stage, step) => panic!("{step:?} is no step of {stage:?}"),
        };
        world.end_change(change);
        if let Some(stage) = next {
            world.changes.push(Change { stage, ..change.clone() });
            world.changes.sort_unstable();
        }
    }

    /// `dynamo::publish::close_shards`, one shard.
    fn close(&self, world: &mut World, change: &Change, mut left: [bool; SHARDS], shard: usize) -> Option<Stage> {
        let row = &mut world.shards[shard];
        if row.generation > change.generation() && self.design.keeps(Guard::ShardIsNotLater) {
            return None;
        }
        row.gate = if change.kind == ChangeKind::Abort { Door::Stopped } else { Door::Paused };
        row.generation = change.generation();
        left[shard] = false;
        Some(match (left.contains(&true), change.kind) {
            (true, _) => Stage::Closing(left),
            (false, ChangeKind::Limit(_)) => Stage::Measuring,
            (false, _) => Stage::Recording(world.records[usize::from(change.base)].allocation),
        })
    }

    /// `control::resplit`, while the shards are closed.
    fn measure(&self, world: &World, change: &Change) -> Stage {
        let ChangeKind::Limit(max_devices) = change.kind else { panic!("{:?} splits nothing", change.kind) };
        Stage::Recording(self.scope.split(max_devices, world.shards, world.clock))
    }

    /// `dynamo::publish::change_update`. This write acknowledges a pause or an abort; the caller receives the
    /// acknowledgement later.
    fn write_record(&self, world: &mut World, change: &Change, allocation: Allocation) -> Option<Stage> {
        let is_as_read = change.base == world.generation();
        if !is_as_read && (self.design.keeps(Guard::RecordIsAsRead) || !self.may_change(world)) {
            return None;
        }
        let before = *world.record();
        let read = world.records[usize::from(change.base)];
        let state = change.transition().map_or(read.state, Transition::leads_to);
        let max_devices = match change.kind {
            ChangeKind::Limit(limit) => limit,
            _ => read.max_devices,
        };
        let claims = u8::try_from(world.claims.iter().flatten().count()).expect("there are few devices");
        let ceiling = if max_devices == before.max_devices { before.ceiling } else { max_devices.max(claims) };
        world.records.push(Record { state, max_devices, ceiling, allocation });
        // `control::reopen` opens nothing unless the update is active.
        (state == State::Active).then_some(Stage::Opening(BOTH))
    }

    /// `dynamo::publish::open_shards`, one shard.
    fn open(&self, world: &mut World, change: &Change, mut left: [bool; SHARDS], shard: usize) -> Option<Stage> {
        let allocation = world.records[usize::from(change.generation())].allocation;
        let row = &mut world.shards[shard];
        if row.generation > change.generation() && self.design.keeps(Guard::ShardIsNotLater) {
            return None;
        }
        (row.gate, row.generation, row.caps) = (Door::Open, change.generation(), allocation.caps[shard]);
        if self.design.keeps(Guard::SplitOpensItsPeriod) && row.period < allocation.period {
            (row.period, row.period_used) = (allocation.period, 0);
        }
        left[shard] = false;
        left.contains(&true).then_some(Stage::Opening(left))
    }
}

impl World {
    pub(crate) fn end_change(&mut self, change: &Change) {
        let place = self.changes.iter().position(|known| known == change).expect("only what is under way ends");
        self.changes.remove(place);
    }

    /// `true` if no change is in progress and every shard has the caps of the record.
    pub(crate) fn is_open_as_recorded(&self) -> bool {
        let generation = self.generation();
        self.shards.iter().all(|shard| shard.gate == Door::Open && shard.generation == generation)
    }
}

/// `tidegate_engine::sweep`, `needs_repair`.
fn needs_repair(world: &World) -> bool {
    let generation = world.generation();
    let agrees =
        |shard: &Shard| shard.generation > generation || (shard.gate == Door::Open && shard.generation == generation);
    world.record().state == State::Active && !world.shards.iter().all(agrees)
}
