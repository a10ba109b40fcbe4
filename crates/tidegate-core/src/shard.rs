//! One part of a rollout's limits: the counters that every grant must pass.

use jiff::Timestamp;

use crate::claim::CountDelta;
use crate::cohort::Cohort;
use crate::limits::{Caps, UNLIMITED};
use crate::objection::NoRoom;

/// How many shards a check-in tries before it answers "nothing now". Denying is always safe, and
/// each try is a write that has to be paid for.
pub const MOST_PROBES: usize = 3;

/// Whether a shard grants at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Grants may go out.
    Open,
    /// The rollout is paused, or its limits are being changed.
    Paused,
    /// The rollout is over.
    Stopped,
}

/// What a shard has granted and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Claims ever made; never given back.
    pub used: u64,
    /// Claims that are reserved now.
    pub in_flight: u64,
    /// Start of the period that `period_used` counts, in seconds since 1970.
    pub period: i64,
    /// Grants in that period.
    pub period_used: u64,
    /// Devices whose latest outcome is success.
    pub succeeded: u64,
    /// Devices whose latest outcome is failure.
    pub failed: u64,
    /// Devices whose latest outcome is silence.
    pub timed_out: u64,
}

impl Counts {
    /// Grants in the period that starts at `period`, as far as this shard knows.
    #[must_use]
    pub fn used_in(&self, period: i64) -> u64 {
        // A later period than ours means that our clock is late: its count is the one that holds.
        if self.period >= period { self.period_used } else { 0 }
    }

    /// These, once `delta` has happened.
    #[must_use]
    pub fn after(&self, delta: CountDelta) -> Counts {
        Counts {
            in_flight: self.in_flight.saturating_add_signed(delta.in_flight),
            succeeded: self.succeeded.saturating_add_signed(delta.succeeded),
            failed: self.failed.saturating_add_signed(delta.failed),
            timed_out: self.timed_out.saturating_add_signed(delta.timed_out),
            ..*self
        }
    }

    /// The sum over a rollout's shards, as far as they exist.
    #[must_use]
    pub fn of(shards: &[Option<Shard>]) -> Counts {
        Self::total(shards.iter().flatten().map(|shard| &shard.counts))
    }

    /// The sum over several shards; the period is the latest of them.
    #[must_use]
    pub fn total<'a>(shards: impl IntoIterator<Item = &'a Counts>) -> Counts {
        shards.into_iter().fold(Counts::default(), |sum, shard| Counts {
            used: sum.used.saturating_add(shard.used),
            in_flight: sum.in_flight.saturating_add(shard.in_flight),
            period: sum.period.max(shard.period),
            period_used: sum.period_used.saturating_add(shard.period_used),
            succeeded: sum.succeeded.saturating_add(shard.succeeded),
            failed: sum.failed.saturating_add(shard.failed),
            timed_out: sum.timed_out.saturating_add(shard.timed_out),
        })
    }
}

/// A shard as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Whether it grants.
    pub gate: Gate,
    /// The generation of the update it was last written for.
    pub generation: u64,
    /// What it may grant.
    pub caps: Caps,
    /// What it has granted.
    pub counts: Counts,
}

/// Which of the counters a grant needs room in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// A first offer: a device, a place in flight, and one of this period.
    First,
    /// A further offer to a device that has no place in flight.
    Again,
    /// A further offer to a device that still has its place in flight.
    Renewed,
}

/// Why a shard refused a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no room, now or at all.
    NoRoom(NoRoom),
    /// The shard belongs to another generation of the update than the one that was decided on.
    OtherGeneration,
    /// The shard counts a later period than our clock says; ask again with that one.
    LaterPeriod(i64),
    /// The shard still counts an earlier period; ask again, opening this one.
    EarlierPeriod,
}

/// The start of the period that `now` is in, in seconds since 1970.
#[must_use]
pub fn period_of(now: Timestamp, period_s: u32) -> i64 {
    let period = i64::from(period_s.max(1));
    now.as_second().div_euclid(period).saturating_mul(period)
}

/// The order in which a device asks the shards: its own first, so that the fleet spreads evenly.
pub fn probe_order(cohort: Cohort, shards: u16) -> impl Iterator<Item = u16> {
    let shards = shards.max(1);
    let first = cohort.place().checked_rem(shards).unwrap_or(0);
    (first..shards).chain(0..first)
}

impl Shard {
    /// Reads out of a shard why it refused: the same conditions as the storage transaction's.
    #[must_use]
    pub fn refusal(&self, grant: Grant, generation: u64, period: i64, period_s: u32) -> Option<Refusal> {
        match self.gate {
            Gate::Stopped => return Some(Refusal::NoRoom(NoRoom::Aborted)),
            Gate::Paused => return Some(Refusal::NoRoom(NoRoom::Paused)),
            Gate::Open if self.generation != generation => return Some(Refusal::OtherGeneration),
            Gate::Open => {}
        }
        if grant == Grant::First && self.counts.used >= self.caps.devices {
            return Some(Refusal::NoRoom(NoRoom::Full));
        }
        let is_rated = self.caps.per_period < UNLIMITED;
        if is_rated && self.counts.period > period {
            return Some(Refusal::LaterPeriod(self.counts.period));
        }
        if is_rated && self.counts.used_in(period) >= self.caps.per_period {
            let opens_at = Timestamp::from_second(period.saturating_add(i64::from(period_s))).ok();
            return Some(Refusal::NoRoom(NoRoom::RateLimited { opens_at }));
        }
        if grant != Grant::Renewed && self.counts.in_flight >= self.caps.in_flight {
            return Some(Refusal::NoRoom(NoRoom::TooManyInFlight));
        }
        (is_rated && self.counts.period < period).then_some(Refusal::EarlierPeriod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeviceId, UpdateId};

    fn shard(used: u64, in_flight: u64, period: i64, period_used: u64) -> Shard {
        Shard {
            gate: Gate::Open,
            generation: 7,
            caps: Caps { devices: 10, per_period: 3, in_flight: 2 },
            counts: Counts { used, in_flight, period, period_used, ..Counts::default() },
        }
    }

    #[test]
    fn a_shard_names_the_cap_that_refused() {
        let refusal = |shard: Shard, grant| shard.refusal(grant, 7, 3600, 3600);
        assert_eq!(refusal(shard(9, 1, 3600, 2), Grant::First), None);
        assert_eq!(refusal(shard(10, 0, 3600, 0), Grant::First), Some(Refusal::NoRoom(NoRoom::Full)));
        assert_eq!(refusal(shard(10, 0, 3600, 0), Grant::Again), None, "exposure was counted before");
        let opens_at = Timestamp::from_second(7200).ok();
        assert_eq!(
            refusal(shard(3, 0, 3600, 3), Grant::First),
            Some(Refusal::NoRoom(NoRoom::RateLimited { opens_at }))
        );
        assert_eq!(refusal(shard(3, 2, 3600, 0), Grant::First), Some(Refusal::NoRoom(NoRoom::TooManyInFlight)));
        assert_eq!(refusal(shard(3, 2, 3600, 0), Grant::Renewed), None, "it keeps its place in flight");
        assert_eq!(refusal(shard(3, 0, 0, 3), Grant::First), Some(Refusal::EarlierPeriod));
        assert_eq!(refusal(shard(3, 0, 7200, 0), Grant::First), Some(Refusal::LaterPeriod(7200)));
        assert_eq!(shard(0, 0, 0, 0).refusal(Grant::First, 8, 0, 60), Some(Refusal::OtherGeneration));
    }

    #[test]
    fn every_device_asks_every_shard_once_and_the_fleet_starts_evenly() {
        let update = UpdateId::new("u1").unwrap();
        let mut first = [0_u32; 7];
        for number in 0..7000 {
            let device = DeviceId::new(format!("lamp-{number}")).unwrap();
            let order: Vec<u16> = probe_order(Cohort::of(&update, &device), 7).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
            first[usize::from(order[0])] += 1;
        }
        assert!(first.iter().all(|count| (850..1150).contains(count)), "{first:?}");
    }
}
