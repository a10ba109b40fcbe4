//! Shards: the conditions of a grant, of a raise, of a shut and of an opening.

use super::change::Change;
use super::mutants::Mutant;
use super::rows::{Gate, Shard};
use super::{Protocol, SHARDS};

/// Splits a limit over the shards: what they hold, and half of the rest. A limit below what is held gives nothing.
pub(crate) fn split(limit: i8, held: [i8; SHARDS]) -> [i8; SHARDS] {
    let rest = limit - held[0] - held[1];
    if rest < 0 { [0; SHARDS] } else { [held[0] + (rest + 1) / 2, held[1] + rest / 2] }
}

impl Protocol {
    pub(crate) fn period_of(&self, tick: u8) -> u8 {
        tick.checked_div(self.scope.period_ticks).unwrap_or(0)
    }

    /// The shard's half of a grant.
    pub(crate) fn spend(
        &self,
        shard: &mut Shard,
        (generation, number): (u8, u8),
        is_first: bool,
        period: u8,
    ) -> Option<()> {
        let may_be = |condition: Mutant, holds: bool| holds || self.has(condition);
        let has_room = may_be(Mutant::GateIsOpen, shard.gate == Gate::Open)
            && may_be(Mutant::GrantOfAnyGeneration, shard.generation == generation)
            && may_be(Mutant::GrantOfAnyNumber, shard.number == number)
            && may_be(Mutant::RoomUnderCeiling, shard.granted < shard.ceiling)
            && (!is_first || may_be(Mutant::RoomForADevice, shard.used < shard.caps.devices));
        if !has_room {
            return None;
        }
        if self.scope.period_ticks > 0 {
            self.spend_period(shard, period)?;
        }
        if self.has(Mutant::ShardsReadEventually) {
            shard.granted_before = shard.granted;
        }
        shard.used += i8::from(is_first);
        shard.granted += 1;
        Some(())
    }

    fn spend_period(&self, shard: &mut Shard, period: u8) -> Option<()> {
        let has_room = |used: i8, cap: i8| used < cap || self.has(Mutant::RoomInThePeriod);
        if period == shard.period {
            if !has_room(shard.period_used, shard.caps.per_period) {
                return None;
            }
            shard.period_used += 1;
        } else {
            let is_forward = shard.period < period || self.has(Mutant::PeriodOnlyForward);
            if !is_forward || !has_room(0, shard.caps.per_period) {
                return None;
            }
            (shard.period, shard.period_used) = (period, 1);
        }
        Some(())
    }

    /// `SET ceiling = :v IF gen = :g AND ceiling < :v`.
    pub(crate) fn raise(&self, shard: &mut Shard, value: i8, generation: u8) -> Option<()> {
        if shard.generation != generation && self.keeps(Mutant::CeilingOfAnyGeneration) {
            return None;
        }
        let value = if self.adds_to_ceilings() {
            shard.ceiling + value
        } else if self.has(Mutant::CeilingMayFall) {
            value
        } else {
            shard.ceiling.max(value)
        };
        if shard.ceiling == value {
            return None;
        }
        shard.ceiling = value;
        Some(())
    }

    pub(crate) fn adds_to_ceilings(&self) -> bool {
        self.has(Mutant::CeilingPlusBatch) || self.has(Mutant::CeilingPlusMissing)
    }

    /// `SET gate = :gate, gen = :g1 IF gen < :g1 OR (gen = :g1 AND gate = :paused AND :gate = stopped)`.
    pub(crate) fn shut(shard: &mut Shard, gate: Gate, generation: u8) -> Option<()> {
        let is_stronger = shard.gate == Gate::Paused && gate == Gate::Stopped;
        if shard.generation < generation || (shard.generation == generation && is_stronger) {
            (shard.gate, shard.generation) = (gate, generation);
            return Some(());
        }
        None
    }

    /// `SET gate = :open, cap, wcap, ceiling = :v [, w, wused] IF gen = :g1 AND gate = :paused`.
    pub(crate) fn open(&self, shard: &mut Shard, at: usize, change: &Change) -> Option<()> {
        let is_ours = shard.generation == change.generation || self.has(Mutant::OpenOfAnyGeneration);
        if !is_ours || !(shard.gate == Gate::Paused || self.has(Mutant::OpenOfAnyGate)) {
            return None;
        }
        let places = change.caps[at].places;
        let mut ceiling = self.ceiling_of(places, change.released[at], change.counted[at]);
        if self.has(Mutant::OpeningKeepsCeiling) {
            ceiling = ceiling.max(shard.ceiling);
        }
        if self.has(Mutant::OpeningForgetsReleased) {
            ceiling = places;
        }
        let moves = self.keeps(Mutant::OpeningMovesThePeriod) && shard.period < change.period;
        let (period, period_used) = if moves { (change.period, 0) } else { (shard.period, shard.period_used) };
        let opened = Shard {
            gate: Gate::Open,
            generation: change.generation,
            caps: change.caps[at],
            ceiling,
            period,
            period_used,
            limit: change.limit,
            ..*shard
        };
        if opened == *shard {
            return None;
        }
        *shard = opened;
        Some(())
    }

    /// `min(released + places, counted + headroom)`.
    pub(crate) fn ceiling_of(&self, places: i8, released: i8, counted: i8) -> i8 {
        let by_places = released + places;
        if self.counts_grants() && self.keeps(Mutant::CountedPlusHeadroom) {
            by_places.min(counted + self.scope.headroom)
        } else {
            by_places
        }
    }
}
