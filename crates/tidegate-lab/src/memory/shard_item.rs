//! The shard item: counters and caps of a shard, with the conditions of a grant.

use tidegate_core::claim::CountDelta;
use tidegate_core::limits::Caps;
use tidegate_core::shard::{Counts, Gate, Grant, Shard};
use tidegate_store::store::{Period, Reservation, StoreError, Stored};

/// A shard as it is stored. DynamoDB's numbers have a sign. So a counter that falls below zero is kept, and the shard
/// cannot be read from then on.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardItem {
    pub(super) gate: Gate,
    pub(super) generation: u64,
    pub(super) caps: Caps,
    pub(super) used: i64,
    pub(super) in_flight: i64,
    pub(super) period: i64,
    pub(super) period_used: i64,
    pub(super) succeeded: i64,
    pub(super) failed: i64,
    pub(super) timed_out: i64,
}

impl ShardItem {
    pub(super) fn unused(generation: u64, caps: Caps) -> Self {
        let gate = Gate::Open;
        let (used, in_flight, period, period_used, succeeded, failed, timed_out) = (0, 0, 0, 0, 0, 0, 0);
        Self { gate, generation, caps, used, in_flight, period, period_used, succeeded, failed, timed_out }
    }

    pub(super) fn shard(&self) -> Stored<Shard> {
        let count = |counter: i64, name: &str| {
            u64::try_from(counter)
                .map_err(|_| StoreError::Corrupt(format!("`{name}` of a shard must be a number").into()))
        };
        Ok(Shard {
            gate: self.gate,
            generation: self.generation,
            caps: self.caps,
            counts: Counts {
                used: count(self.used, "used")?,
                in_flight: count(self.in_flight, "in_flight")?,
                period: self.period,
                period_used: count(self.period_used, "period_used")?,
                succeeded: count(self.succeeded, "succeeded")?,
                failed: count(self.failed, "failed")?,
                timed_out: count(self.timed_out, "timed_out")?,
            },
        })
    }

    /// True if the gate is open, the generation is that of the reservation, and every cap that the grant needs is greater
    /// than its counter.
    pub(super) fn has_room(&self, reservation: &Reservation) -> bool {
        let is_open = self.gate == Gate::Open && self.generation == reservation.generation;
        let is_first = reservation.grant == Grant::First;
        let is_renewed = reservation.grant == Grant::Renewed;
        is_open
            && (!is_first || below(self.used, self.caps.devices))
            && (is_renewed || below(self.in_flight, self.caps.in_flight))
            && match reservation.period {
                None => true,
                Some(Period::Same(period)) => self.period == period && below(self.period_used, self.caps.per_period),
                // Only forward: a late clock never opens a period that is over.
                Some(Period::New(period)) => self.period < period && self.caps.per_period >= 1,
            }
    }

    pub(super) fn spend(&mut self, reservation: &Reservation) {
        if reservation.grant == Grant::First {
            self.used += 1;
        }
        // The grant decides whether a place in flight is taken; the delta repeats it.
        let in_flight = i64::from(reservation.grant != Grant::Renewed);
        self.count(CountDelta { in_flight, ..reservation.delta });
        match reservation.period {
            None => {}
            Some(Period::Same(_)) => self.period_used += 1,
            Some(Period::New(period)) => (self.period, self.period_used) = (period, 1),
        }
    }

    pub(super) fn count(&mut self, delta: CountDelta) {
        self.in_flight += delta.in_flight;
        self.succeeded += delta.succeeded;
        self.failed += delta.failed;
        self.timed_out += delta.timed_out;
    }
}

fn below(counter: i64, cap: u64) -> bool {
    u64::try_from(counter).map_or(true, |counter| counter < cap)
}
