//! Wishes: what is wanted, the shut of the shards, and the record and acknowledgement of a stop.

use super::late::Late;
use super::mutants::Mutant;
use super::rows::{Campaign, Gate, Wanted, Wish};
use super::{Protocol, SHARDS, Step, World, small};

/// A stop, as its caller knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stop {
    None,
    Wanted { at: u8, force: u8 },
    Acknowledged { force: u8 },
}

impl Stop {
    pub(crate) fn is_acknowledged(self) -> bool {
        matches!(self, Self::Acknowledged { .. })
    }

    pub(crate) fn force(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Wanted { force, .. } | Self::Acknowledged { force } => force,
        }
    }
}

impl World {
    /// A stop of the campaign or of the product was acknowledged, and nobody resumed it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_acknowledged() || self.product_stop.is_acknowledged()
    }

    /// The campaign is open, or will be when what is wanted is done.
    fn may_open(&self) -> bool {
        let wanted = self.record.wanted.map(|wanted| wanted.wish.leads_to());
        self.record.state == Campaign::Open || wanted == Some(Campaign::Open)
    }

    fn are_shut_for(&self, gate: Gate, generation: u8) -> bool {
        self.shards.iter().all(|shard| shard.gate == gate && shard.generation == generation)
    }

    /// All shards are shut for what is wanted.
    pub(crate) fn are_shut(&self, wanted: Wanted) -> bool {
        self.are_shut_for(wanted.wish.gate(), wanted.generation)
    }
}

/// Force of the stop that a state of the campaign records.
pub(crate) fn force(state: Campaign) -> u8 {
    match state {
        Campaign::Open => 0,
        Campaign::Paused => Wish::Pause.force(),
        Campaign::Held => Wish::Hold.force(),
        Campaign::Aborted => Wish::Abort.force(),
    }
}

impl Protocol {
    /// Conditions of step 0.
    pub(crate) fn can_want(&self, world: &World, wish: Wish) -> bool {
        let record = &world.record;
        let is_in_state = match wish {
            Wish::Edit(_) => record.state == Campaign::Open,
            Wish::Resume => record.state == Campaign::Paused,
            Wish::Repair => record.state == Campaign::Open && record.needs_recount,
            // It stops a resume that is under way.
            Wish::Pause if record.state == Campaign::Paused => world.may_open(),
            Wish::Pause | Wish::Hold | Wish::Abort => force(record.state) < wish.force(),
        };
        let is_allowed = wish.is_stop() || !world.head.is_stopped || self.has(Mutant::OpenUnlessStopped);
        let is_stronger = match record.wanted {
            None => true,
            Some(wanted) => wish.is_stop() && wanted.wish.force() < wish.force(),
        };
        let has_room = wish.is_stop() || record.generation < self.scope.most_generations;
        is_in_state && is_allowed && is_stronger && has_room
    }

    /// Step 0: one transaction of the campaign and the head.
    pub(crate) fn want(&self, world: &mut World, wish: Wish) {
        let record = &mut world.record;
        let wanted = record.wanted.filter(|_| self.keeps(Mutant::StopOfSameGeneration));
        let last = wanted.map_or(record.generation, |wanted| wanted.generation.max(record.generation));
        record.wanted = Some(Wanted { wish, generation: last + 1 });
        if self.scope.has_head {
            world.head.has_halted |= self.keeps(Mutant::HeadCarriesStops);
            world.head.revision += 1;
        }
        if wish == Wish::Resume {
            world.stop = Stop::None;
        } else if wish.is_stop() {
            world.stop = if world.stop.is_acknowledged() {
                Stop::Acknowledged { force: wish.force() }
            } else {
                Stop::Wanted { at: world.clock, force: wish.force() }
            };
        }
    }

    pub(crate) fn stop_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let edit = self.scope.edits.get(usize::from(world.edits_done)).map(|limit| Wish::Edit(*limit));
        let stops = self.scope.stops.iter().enumerate().filter(|(at, _)| world.stops_done & 1 << at == 0);
        let resume = (world.resumes_left > 0).then_some(Wish::Resume);
        let repair = self.scope.repairs.then_some(Wish::Repair);
        let wishes = edit.into_iter().chain(stops.map(|(_, stop)| *stop)).chain(resume).chain(repair);
        steps.extend(wishes.filter(|wish| self.can_want(world, *wish)).map(Step::OperatorWants));
        if let Some(wanted) = world.record.wanted {
            for shard in 0..SHARDS {
                let mut item = world.shards[shard];
                if Self::shut(&mut item, wanted.wish.gate(), wanted.generation).is_some() {
                    steps.extend(self.any_fate(world).iter().map(|fate| Step::Shut { shard, fate: *fate }));
                }
            }
            if wanted.wish.is_stop() && world.are_shut(wanted) {
                steps.push(Step::StopIsRecorded);
            }
        }
        if self.can_acknowledge(world) {
            steps.push(Step::StopIsAcknowledged);
        }
        self.product_steps(world, steps);
    }

    fn can_acknowledge(&self, world: &World) -> bool {
        let Stop::Wanted { at, .. } = world.stop else { return false };
        let generation = world.record.wanted.map_or(world.record.generation, |wanted| wanted.generation);
        let are_shut = if self.has(Mutant::AckAtFirstShard) {
            world.shards.iter().any(|shard| shard.gate == Gate::Stopped)
        } else {
            world.are_shut_for(Gate::Stopped, generation)
        };
        are_shut && self.has_waited(world, at)
    }

    fn has_waited(&self, world: &World, since: u8) -> bool {
        !self.scope.has_head || world.clock >= since + self.scope.wait_ticks || self.has(Mutant::AckWaits)
    }

    fn product_steps(&self, world: &World, steps: &mut Vec<Step>) {
        if world.can_stop_product {
            steps.push(Step::ProductIsStopped);
        }
        match world.product_stop {
            Stop::None => {}
            Stop::Wanted { at, .. } => {
                if world.may_open() && self.can_want(world, Wish::Pause) {
                    steps.push(Step::ProductStopPauses);
                }
                let is_stopped = match world.record.wanted {
                    Some(wanted) if wanted.wish.is_stop() => world.are_shut(wanted),
                    _ => !world.may_open(),
                };
                if is_stopped && self.has_waited(world, at) {
                    steps.push(Step::ProductStopIsAcknowledged);
                }
            }
            Stop::Acknowledged { .. } => steps.push(Step::ProductIsResumed),
        }
    }

    pub(crate) fn stop_step(&self, world: &mut World, step: Step) -> Option<()> {
        match step {
            Step::OperatorWants(wish) => {
                match wish {
                    Wish::Edit(_) => world.edits_done += 1,
                    Wish::Resume => world.resumes_left -= 1,
                    _ => {}
                }
                if let Some(at) = self.scope.stops.iter().position(|stop| *stop == wish) {
                    world.stops_done |= 1 << at;
                }
                self.want(world, wish);
            }
            Step::Shut { shard, fate } => {
                let wanted = world.record.wanted?;
                let shut = Late::Shut { shard: small(shard), gate: wanted.wish.gate(), generation: wanted.generation };
                return self.send(world, shut, fate);
            }
            Step::StopIsRecorded => {
                let wanted = world.record.wanted?;
                (world.record.generation, world.record.state) = (wanted.generation, wanted.wish.leads_to());
                world.record.wanted = None;
                world.head.revision += u8::from(self.scope.has_head);
            }
            Step::StopIsAcknowledged => world.stop = Stop::Acknowledged { force: world.stop.force() },
            Step::ProductIsStopped => {
                world.head.is_stopped = true;
                world.head.revision += u8::from(self.scope.has_head);
                world.product_stop = Stop::Wanted { at: world.clock, force: Wish::Pause.force() };
                world.can_stop_product = false;
            }
            Step::ProductStopPauses => self.want(world, Wish::Pause),
            Step::ProductStopIsAcknowledged => {
                world.product_stop = Stop::Acknowledged { force: world.product_stop.force() };
            }
            Step::ProductIsResumed => {
                world.head.is_stopped = false;
                world.head.revision += u8::from(self.scope.has_head);
                world.product_stop = Stop::None;
            }
            _ => return None,
        }
        Some(())
    }
}
