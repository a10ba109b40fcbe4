//! Steps of the mutants: designs of other servers that the searches must detect.

use tidegate_core::shard::{Grant, Refusal};

use super::check_in::Probe;
use super::design::Design;
use super::rows::{CLAIM_TICKS, Claim, Period, TICK_S};
use super::{Reply, Reservation, Rollout, Task, World};

impl Rollout {
    /// Reads the shards for a first offer. These designs have no second offer.
    pub(crate) fn decide_wrongly(
        &self,
        world: &World,
        catalog: u8,
        known: Option<Claim>,
        first: u8,
        now: u8,
    ) -> Option<Task> {
        if known.is_some() {
            return None;
        }
        let shard = [first, 1 - first].into_iter().find(|shard| self.has_room(world, *shard, catalog, now))?;
        let found = self.reservation(catalog, None, shard, now, Probe::Last);
        let stored = world.shards[usize::from(shard)].period;
        let period =
            if stored < found.period.start() { Period::New(found.period.start()) } else { Period::Same(stored) };
        Some(match self.design {
            Design::CheckThenAct | Design::ReadInsertIncrement => Task::Insert { catalog, claim: found.claim, period },
            _ => Task::Increment { catalog, claim: found.claim, period },
        })
    }

    fn has_room(&self, world: &World, shard: u8, catalog: u8, now: u8) -> bool {
        let period = i64::from(self.scope.period_of(now)) * TICK_S;
        let shard = world.shards[usize::from(shard)].to_core();
        matches!(
            shard.refusal(Grant::First, u64::from(catalog), period, self.scope.period_s()),
            None | Some(Refusal::EarlierPeriod)
        )
    }

    /// Writes the claim alone, if the device has none; for check-then-act also the count.
    pub(crate) fn insert(
        &self,
        world: &mut World,
        device: u8,
        (catalog, claim, period): (u8, Claim, Period),
        reply: Reply,
    ) -> Option<Task> {
        let stored = &mut world.claims[usize::from(device)];
        if stored.is_some() {
            return (self.design == Design::CounterFirstBlindUndo).then_some(Task::Undo { shard: claim.shard });
        }
        *stored = Some(claim);
        match self.design {
            Design::CheckThenAct => world.spend(device, Grant::First, &alone(catalog, claim, period)),
            Design::ReadInsertIncrement => return Some(Task::Increment { catalog, claim, period }),
            _ => {}
        }
        match reply {
            Reply::Arrives => {
                self.answer(world, device, &claim, claim.expires - CLAIM_TICKS);
                None
            }
            Reply::IsLost => Some(Task::Insert { catalog, claim, period }),
        }
    }

    /// Writes the count alone: before the claim with the conditions, or after it without conditions.
    pub(crate) fn increment(
        &self,
        world: &mut World,
        device: u8,
        (catalog, claim, period): (u8, Claim, Period),
    ) -> Option<Task> {
        let spent = alone(catalog, claim, period);
        if self.design == Design::ReadInsertIncrement {
            world.spend(device, Grant::First, &spent);
            self.answer(world, device, &claim, claim.expires - CLAIM_TICKS);
            return None;
        }
        let shard = world.shards[usize::from(claim.shard)];
        if !self.grants(&shard, Grant::First, &spent) {
            return None;
        }
        world.spend(device, Grant::First, &spent);
        Some(Task::Insert { catalog, claim, period })
    }

    /// Decreases the count again. After a lost reply it is decreased twice.
    pub(crate) fn undo(&self, world: &mut World, shard: u8, reply: Reply) -> Option<Task> {
        let counts = &mut world.shards[usize::from(shard)];
        counts.used -= 1;
        counts.in_flight -= 1;
        // This mutant could decrease the count without end. Twice is enough to detect it.
        (reply == Reply::IsLost && counts.used > 0).then_some(Task::Undo { shard })
    }
}

fn alone(catalog: u8, claim: Claim, period: Period) -> Reservation {
    Reservation { catalog, previous: None, claim, period, is_last_probe: true }
}
