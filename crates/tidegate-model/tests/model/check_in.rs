//! Check-in: decide, ask the shards, answer with a URL.

use tidegate_core::Version;
use tidegate_core::claim::{self, CountDelta};
use tidegate_core::decide::ClaimStatus;
use tidegate_core::lifecycle::State;
use tidegate_core::shard::{Grant, Refusal};

use super::design::{Design, Guard};
use super::rows::{CLAIM_TICKS, Claim, Door, Period, Shard, TICK_S, moment, tick};
use super::{Clock, Reply, Reservation, Rollout, Task, World};

/// `images::URL_TTL_S`, in ticks.
const URL_TICKS: u8 = 15;

impl Rollout {
    /// `decide` and `reserve::reservation`. A check-in that waits before this step has read stale data.
    pub(crate) fn decide(
        &self,
        world: &mut World,
        device: u8,
        catalog: u8,
        known: Option<Claim>,
        clock: Clock,
    ) -> Option<Task> {
        let now = match clock {
            Clock::True => world.clock,
            Clock::Late => world.clock - 1,
        };
        let claim_status = self.claim_status(known, now)?;
        // `decide::is_live`, with the catalog of this function.
        if world.records[usize::from(catalog)].state != State::Active {
            return None;
        }
        if let ClaimStatus::Held(claim) = &claim_status {
            self.answer(world, device, &Claim::from_core(claim), now);
            return None;
        }
        let shard = known.map_or(device % 2, |claim| claim.shard);
        match self.design {
            Design::AsBuilt | Design::Without(_) => {
                Some(Task::Reserve(self.reservation(catalog, known, shard, now, Probe::First)))
            }
            _ => self.decide_wrongly(world, catalog, known, shard, now),
        }
    }

    /// `decide::claim_status`; `None` if the device is not offered the update again.
    fn claim_status(&self, known: Option<Claim>, now: u8) -> Option<ClaimStatus> {
        let Some(claim) = known.map(Claim::to_core) else {
            return Some(ClaimStatus::Unclaimed);
        };
        let has_lapsed = claim.has_lapsed(moment(now));
        let is_spent = has_lapsed && claim.attempts >= u32::from(self.scope.max_attempts);
        if claim.state == claim::ClaimState::Succeeded || is_spent {
            return None;
        }
        Some(if has_lapsed { ClaimStatus::Lapsed(claim) } else { ClaimStatus::Held(claim) })
    }

    /// `reserve::reservation`.
    pub(crate) fn reservation(
        &self,
        catalog: u8,
        previous: Option<Claim>,
        shard: u8,
        now: u8,
        probe: Probe,
    ) -> Reservation {
        let expires = moment(now + CLAIM_TICKS);
        let claim = match previous {
            None => claim::Claim::reserve(&Version::new(2, 0, 0), u16::from(shard), moment(now), expires),
            Some(before) => before.to_core().reserve_again(moment(now), expires).0,
        };
        Reservation {
            catalog,
            previous,
            claim: Claim::from_core(&claim),
            period: Period::Same(self.scope.period_of(now)),
            is_last_probe: probe == Probe::Last,
        }
    }

    /// `dynamo::reserve::reserve`, and `reserve::ask` with its result.
    pub(crate) fn reserve(
        &self,
        world: &mut World,
        device: u8,
        reservation: &Reservation,
        reply: Reply,
    ) -> Option<Task> {
        let stored = world.claims[usize::from(device)];
        let claim_is_as_thought = match reservation.previous {
            None => stored.is_none() || !self.design.keeps(Guard::ClaimIsNew),
            Some(previous) => previous.is_still(stored) || !self.design.keeps(Guard::ClaimIsTheLapsedOne),
        };
        if !claim_is_as_thought {
            // `Reserved::OtherClaim`: the rules are asked again, with that claim.
            return Some(Task::Decide { catalog: reservation.catalog, known: stored });
        }
        let shard = world.shards[usize::from(reservation.claim.shard)];
        let grant = grant(reservation.previous);
        if !self.grants(&shard, grant, reservation) {
            return self.refused(world, &shard, grant, reservation);
        }
        self.commit(world, device, grant, reservation);
        match reply {
            Reply::Arrives => {
                let now = self.asked_at(reservation);
                self.answer(world, device, &reservation.claim, now);
                None
            }
            Reply::IsLost => Some(Task::Reserve(reservation.clone())),
        }
    }

    /// The conditions of `dynamo::reserve::spend`.
    pub(crate) fn grants(&self, shard: &Shard, grant: Grant, reservation: &Reservation) -> bool {
        let holds = |guard: Guard, condition: bool| condition || !self.design.keeps(guard);
        let room = |used: i8, cap: u8| i16::from(used) < i16::from(cap);
        let in_period = match reservation.period {
            Period::Same(period) => {
                shard.period == period && holds(Guard::RoomInThePeriod, room(shard.period_used, shard.caps.per_period))
            }
            Period::New(period) => {
                holds(Guard::PeriodOnlyForward, shard.period < period)
                    && holds(Guard::RoomInThePeriod, shard.caps.per_period >= 1)
            }
        };
        holds(Guard::GateIsOpen, shard.gate == Door::Open)
            && holds(Guard::GenerationIsOurs, shard.generation == reservation.catalog)
            && (grant != Grant::First || holds(Guard::RoomForADevice, room(shard.used, shard.caps.devices)))
            && (grant == Grant::Renewed || holds(Guard::RoomInFlight, room(shard.in_flight, shard.caps.in_flight)))
            && in_period
    }

    /// `reserve::refused`, with `Shard::refusal`: another shard, another period, another catalog, or no update.
    fn refused(&self, world: &World, shard: &Shard, grant: Grant, reservation: &Reservation) -> Option<Task> {
        let period = reservation.period.start();
        let generation = u64::from(reservation.catalog);
        let refusal = shard.to_core().refusal(grant, generation, i64::from(period) * TICK_S, self.scope.period_s());
        let again = |period| Some(Task::Reserve(Reservation { period, ..reservation.clone() }));
        match refusal {
            Some(Refusal::NoRoom(_)) if grant == Grant::First && !reservation.is_last_probe => {
                let (now, other) = (self.asked_at(reservation), 1 - reservation.claim.shard);
                Some(Task::Reserve(self.reservation(reservation.catalog, None, other, now, Probe::Last)))
            }
            Some(Refusal::NoRoom(_)) => None,
            Some(Refusal::OtherGeneration) => {
                Some(Task::Decide { catalog: world.generation(), known: reservation.previous })
            }
            Some(Refusal::EarlierPeriod) if !self.design.keeps(Guard::PeriodOnlyForward) => again(Period::New(period)),
            Some(Refusal::LaterPeriod(_)) if !self.design.keeps(Guard::PeriodOnlyForward) => again(Period::New(period)),
            Some(Refusal::EarlierPeriod) => again(Period::New(period)),
            Some(Refusal::LaterPeriod(later)) => again(Period::Same(tick(later))),
            None => again(Period::Same(period)),
        }
    }

    /// The writes of `dynamo::reserve`: claim and counters.
    pub(crate) fn commit(&self, world: &mut World, device: u8, grant: Grant, reservation: &Reservation) {
        world.claims[usize::from(device)] = Some(reservation.claim);
        let delta = match reservation.previous {
            Some(before) => {
                let now = moment(self.asked_at(reservation));
                // The grant itself takes the place in flight, as `spend` does.
                CountDelta { in_flight: 0, ..before.to_core().reserve_again(now, now).1 }
            }
            None => CountDelta::default(),
        };
        world.shards[usize::from(reservation.claim.shard)].moves(delta);
        world.spend(device, grant, reservation);
    }

    /// Start of the request that made a reservation, by its own clock.
    pub(crate) fn asked_at(&self, reservation: &Reservation) -> u8 {
        reservation.claim.expires - CLAIM_TICKS
    }

    /// `CheckIns::signed_files` and `Images::url_ends`. The URL counts as given out from here on. A slow reply only makes
    /// its life longer than in the code.
    pub(crate) fn answer(&self, world: &mut World, device: u8, claim: &Claim, now: u8) {
        let keeps_margin = self.design.keeps(Guard::UrlMargin);
        let claim_allows = if keeps_margin { claim.to_core().urls_end_at() } else { moment(claim.expires) };
        let ends = (now + URL_TICKS).min(tick(claim_allows.as_second()));
        if ends > world.clock {
            let last = &mut world.url_ends[usize::from(device)];
            *last = ends.max(*last);
        }
    }
}

impl World {
    /// Counters of a grant, and the facts that the promises need.
    pub(crate) fn spend(&mut self, device: u8, grant: Grant, reservation: &Reservation) {
        let shard = &mut self.shards[usize::from(reservation.claim.shard)];
        if grant == Grant::First {
            shard.used += 1;
            self.first_grants[usize::from(device)] += 1;
        }
        if grant != Grant::Renewed {
            shard.in_flight += 1;
        }
        match reservation.period {
            Period::Same(_) => shard.period_used += 1,
            Period::New(period) => (shard.period, shard.period_used) = (period, 1),
        }
        self.grants_in[usize::from(reservation.period.start())] += 1;
        self.granted_while_stopped |= self.record().state != State::Active;
        self.granted_on_other_definition |= reservation.catalog != self.generation();
    }
}

/// Shard that is asked, out of the shards of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    First,
    Last,
}

/// `ClaimStatus::needs`.
pub(crate) fn grant(previous: Option<Claim>) -> Grant {
    let claim_status = previous.map_or(ClaimStatus::Unclaimed, |claim| ClaimStatus::Lapsed(claim.to_core()));
    claim_status.needs().expect("a claim that is held is not reserved")
}
