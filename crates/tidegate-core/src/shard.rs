//! Shard: a part of a rollout's limits, with the counters that every grant is checked against.

use std::ops::Range;

use jiff::Timestamp;

use crate::cohort::Cohort;
use crate::limits::{Caps, UNLIMITED};
use crate::objection::NoRoom;

/// Most shards that one check-in asks before it answers "no update now". A refusal is always safe, and each request is
/// a write that costs money.
pub const MOST_PROBES: usize = 3;

/// Gate of a shard: it lets grants through or refuses all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The shard may grant.
    Open,
    /// The rollout is paused, or its limits are being changed.
    Paused,
    /// The rollout is over.
    Stopped,
}

/// Stored state of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Gate of the shard.
    pub gate: Gate,
    /// Generation of the update for which the shard was last written.
    pub generation: u64,
    /// Caps of the shard.
    pub caps: Caps,
    /// Number of grants of places that it may reach. `None` until it was opened: it refuses then.
    pub ceiling: Option<u64>,
    /// Number of places that it ever granted.
    pub granted: u64,
    /// Number of claims that it granted first.
    pub used: u64,
    /// Start of the counted period, in seconds since 1970.
    pub period: i64,
    /// Number of grants in that period.
    pub period_used: u64,
}

/// Kind of a grant. It decides which counters must have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// First offer to a device: it needs room in `max_devices`, `max_in_flight` and the rate.
    First,
    /// Further offer to a device without a place in flight: it needs room in `max_in_flight` and the rate.
    Again,
}

/// Reason why a shard refuses a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The shard has no room.
    NoRoom(NoRoom),
    /// The shard belongs to another generation of the update.
    OtherGeneration,
    /// The shard counts a later period than our clock says. The caller asks again with that period.
    LaterPeriod(i64),
    /// The shard still counts an earlier period. The caller asks again and opens the new period.
    EarlierPeriod,
}

/// Start of the period that contains `now`, in seconds since 1970.
#[must_use]
pub fn period_of(now: Timestamp, period_s: u32) -> i64 {
    let period = i64::from(period_s.max(1));
    now.as_second().div_euclid(period).saturating_mul(period)
}

/// Order in which a device asks these shards. It starts at the shard of the device's cohort, so that the fleet spreads
/// evenly.
pub fn probe_order(cohort: Cohort, shards: Range<u16>) -> impl Iterator<Item = u16> {
    let number = shards.end.saturating_sub(shards.start);
    let first = shards.start.saturating_add(cohort.place().checked_rem(number).unwrap_or(0));
    (first..shards.end).chain(shards.start..first)
}

impl Shard {
    /// Reason why the shard refuses a grant, if it does. The conditions are those of the storage transaction.
    #[must_use]
    pub fn refusal(&self, grant: Grant, generation: u64, period: i64, period_s: u32) -> Option<Refusal> {
        match self.gate {
            Gate::Stopped => return Some(Refusal::NoRoom(NoRoom::Aborted)),
            // Whoever asks has a head that does not name the rollout as stopped: it is open again in a moment, or the next
            // check-in sees a newer head.
            Gate::Paused => return Some(Refusal::NoRoom(NoRoom::Busy)),
            Gate::Open if self.generation != generation => return Some(Refusal::OtherGeneration),
            Gate::Open => {}
        }
        if grant == Grant::First && self.used >= self.caps.devices {
            return Some(Refusal::NoRoom(NoRoom::Full));
        }
        let is_rated = self.caps.per_period < UNLIMITED;
        if is_rated && self.period > period {
            return Some(Refusal::LaterPeriod(self.period));
        }
        let used_in_period = if self.period == period { self.period_used } else { 0 };
        if is_rated && used_in_period >= self.caps.per_period {
            let opens_at = Timestamp::from_second(period.saturating_add(i64::from(period_s))).ok();
            return Some(Refusal::NoRoom(NoRoom::RateLimited { opens_at }));
        }
        if self.granted >= self.ceiling.unwrap_or(0) {
            return Some(Refusal::NoRoom(NoRoom::TooManyInFlight));
        }
        (is_rated && self.period < period).then_some(Refusal::EarlierPeriod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeviceId, UpdateId};

    fn shard(used: u64, granted: u64, period: i64, period_used: u64) -> Shard {
        Shard {
            gate: Gate::Open,
            generation: 7,
            caps: Caps { devices: 10, per_period: 3 },
            ceiling: Some(2),
            granted,
            used,
            period,
            period_used,
        }
    }

    #[test]
    fn a_shard_names_the_cap_that_refused() {
        let refusal = |shard: Shard, grant| shard.refusal(grant, 7, 3600, 3600);
        assert_eq!(refusal(shard(9, 1, 3600, 2), Grant::First), None);
        assert_eq!(refusal(shard(10, 0, 3600, 0), Grant::First), Some(Refusal::NoRoom(NoRoom::Full)));
        assert_eq!(refusal(shard(10, 0, 3600, 0), Grant::Again), None, "the device was counted before");
        let opens_at = Timestamp::from_second(7200).ok();
        assert_eq!(
            refusal(shard(3, 0, 3600, 3), Grant::First),
            Some(Refusal::NoRoom(NoRoom::RateLimited { opens_at }))
        );
        assert_eq!(refusal(shard(3, 2, 3600, 0), Grant::First), Some(Refusal::NoRoom(NoRoom::TooManyInFlight)));
        assert_eq!(refusal(shard(3, 0, 0, 3), Grant::First), Some(Refusal::EarlierPeriod));
        assert_eq!(refusal(shard(3, 0, 7200, 0), Grant::First), Some(Refusal::LaterPeriod(7200)));
        assert_eq!(shard(0, 0, 0, 0).refusal(Grant::First, 8, 0, 60), Some(Refusal::OtherGeneration));
        let unopened = Shard { ceiling: None, ..shard(0, 0, 3600, 0) };
        assert_eq!(refusal(unopened, Grant::First), Some(Refusal::NoRoom(NoRoom::TooManyInFlight)));
    }

    #[test]
    fn every_device_asks_every_shard_once_and_the_fleet_starts_evenly() {
        let update = UpdateId::new("u1").unwrap();
        let mut first = [0_u32; 7];
        for number in 0..7000 {
            let device = DeviceId::new(format!("lamp-{number}")).unwrap();
            let order: Vec<u16> = probe_order(Cohort::of(&update, &device), 0..7).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
            first[usize::from(order[0])] += 1;
        }
        assert!(first.iter().all(|count| (850..1150).contains(count)), "{first:?}");
    }
}
