//! Shards: the conditions of a grant, and the writes of one shard.

use tidegate_core::limits::{Caps, UNLIMITED};
use tidegate_core::shard::{Gate, Grant, Shard};
use tidegate_store::record::RolloutKey;
use tidegate_store::store::{GrantRequest, Opening, Period, Shut};

use super::state::State;
use crate::guard::Guard;

/// True if the gate is open, the generation is that of the request, and every counter that the grant needs has room.
pub(super) fn has_room(shard: &Shard, request: &GrantRequest, removed: Option<Guard>) -> bool {
    let holds = |guard: Guard, condition: bool| condition || removed == Some(guard);
    let is_first = request.grant == Grant::First;
    holds(Guard::Gate, shard.gate == Gate::Open)
        && holds(Guard::Generation, shard.generation == request.generation)
        && holds(Guard::Devices, !is_first || shard.used < shard.caps.devices)
        && holds(Guard::InFlight, shard.ceiling.is_some_and(|ceiling| shard.granted < ceiling))
        && match request.period {
            None => true,
            Some(Period::Same(period)) => {
                shard.period == period && holds(Guard::Period, shard.period_used < shard.caps.per_period)
            }
            // Only forward: a late clock never opens a period that is over.
            Some(Period::New(period)) => shard.period < period && holds(Guard::Period, shard.caps.per_period >= 1),
        }
}

/// Takes one place.
pub(super) fn take(shard: &mut Shard, request: &GrantRequest) {
    shard.used += u64::from(request.grant == Grant::First);
    shard.granted += 1;
    match request.period {
        None => {}
        Some(Period::Same(_)) => shard.period_used += 1,
        Some(Period::New(period)) => (shard.period, shard.period_used) = (period, 1),
    }
}

impl State {
    pub(crate) fn shard(&self, rollout: &RolloutKey, number: u16) -> Option<Shard> {
        self.rollout(rollout)?.shards.get(usize::from(number)).copied().flatten()
    }

    pub(crate) fn shards(&self, rollout: &RolloutKey, count: u16) -> Vec<Option<Shard>> {
        (0..count).map(|number| self.shard(rollout, number)).collect()
    }

    /// The shards that exist or existed, by number.
    pub(crate) fn all_shards(&self, rollout: &RolloutKey) -> Vec<Option<Shard>> {
        self.rollout(rollout).map(|rollout| rollout.shards.clone()).unwrap_or_default()
    }

    fn shard_mut(&mut self, rollout: &RolloutKey, number: u16) -> &mut Option<Shard> {
        let shards = &mut self.rollout_mut(rollout).shards;
        let number = usize::from(number);
        if shards.len() <= number {
            shards.resize(number + 1, None);
        }
        &mut shards[number]
    }

    pub(crate) fn raise_ceiling(&mut self, rollout: &RolloutKey, number: u16, generation: u64, ceiling: u64) {
        let is_raised_only = self.keeps(Guard::CeilingIsRaised);
        let is_of_generation = self.keeps(Guard::CeilingOfGeneration);
        let Some(shard) = self.shard_mut(rollout, number) else {
            return;
        };
        let is_of_shard = shard.generation == generation || !is_of_generation;
        if is_of_shard && shard.ceiling.is_some_and(|before| before < ceiling || !is_raised_only) {
            shard.ceiling = Some(ceiling);
        }
    }

    pub(crate) fn shut_shard(&mut self, rollout: &RolloutKey, number: u16, gate: Gate, generation: u64) -> Shut {
        if !self.keeps(Guard::Fence) || (!self.keeps(Guard::EveryShardIsShut) && number > 0) {
            return Shut::Yes;
        }
        match self.shard_mut(rollout, number) {
            // An interrupted opening can leave a shard missing. It is created here, shut.
            missing @ None => {
                *missing = Some(Shard {
                    gate,
                    generation,
                    caps: Caps { devices: 0, per_period: 0 },
                    ceiling: None,
                    granted: 0,
                    used: 0,
                    period: 0,
                    period_used: 0,
                });
                Shut::Yes
            }
            Some(shard) => {
                let stops = gate == Gate::Stopped && shard.generation == generation && shard.gate == Gate::Paused;
                if shard.generation < generation || stops {
                    (shard.gate, shard.generation) = (gate, generation);
                    return Shut::Yes;
                }
                // An open shard of this generation belongs to this change too, which is over then.
                match shard.generation > generation || shard.gate == Gate::Open {
                    true => Shut::LaterChange,
                    false => Shut::Yes,
                }
            }
        }
    }

    pub(crate) fn open_shard(&mut self, rollout: &RolloutKey, number: u16, opening: &Opening) -> bool {
        if opening.caps.per_period < UNLIMITED {
            self.move_period(rollout, number, opening);
        }
        let is_guarded = self.keeps(Guard::OpenIfPaused);
        let Some(shard) = self.shard_mut(rollout, number) else {
            return false;
        };
        if is_guarded && (shard.generation, shard.gate) != (opening.generation, Gate::Paused) {
            return false;
        }
        (shard.gate, shard.generation) = (Gate::Open, opening.generation);
        shard.caps = opening.caps;
        // Absolute, also downward: the places of the shard may have become fewer.
        shard.ceiling = Some(opening.ceiling);
        true
    }

    /// Moves a shard to the period for which its caps were split: the first of the two writes that open a shard.
    pub(crate) fn move_period(&mut self, rollout: &RolloutKey, number: u16, opening: &Opening) {
        if let Some(shard) = self.shard_mut(rollout, number)
            && shard.period < opening.period
            && shard.generation == opening.generation
        {
            (shard.period, shard.period_used) = (opening.period, 0);
        }
    }
}
