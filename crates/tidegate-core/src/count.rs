//! Counts of claims: the contribution of one claim, and the sums over all devices of a rollout.
//!
//! The function `count` reads every change of a device from the table's stream and adds it to [`Sums`]. So every count
//! of claims is a sum of [`part`] over the devices, and none is changed by the request that ends a claim.

use std::collections::BTreeMap;

use crate::claim::Claim;
use crate::shard::Shard;
use crate::status::Outcome;

/// Most grants of a shard that have not been counted and judged, also without a limit in flight.
pub const MOST_UNJUDGED: u64 = 1000;

/// Contribution of a claim to the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// The place that it holds.
    pub place: Option<Place>,
    /// The outcome under which its device is counted.
    pub bucket: Option<Outcome>,
}

/// A place in flight: the shard that gave it, and the epoch of the claim that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The shard.
    pub shard: u16,
    /// The epoch of the claim.
    pub epoch: u64,
}

/// Contribution of `claim` to the counts. Every count of claims follows from this function.
#[must_use]
pub fn part(claim: &Claim) -> Part {
    let place = Place { shard: claim.shard, epoch: claim.epoch };
    Part { place: claim.holds_place.then_some(place), bucket: claim.counted }
}

/// Sums over the claims of a rollout, or over the changes in one batch of the stream.
///
/// A place is counted when it is taken and when it is released. The difference of a shard's own `granted` and
/// [`released`](Self::released) is never less than the places that are held, because a change that is counted late is
/// missing in `released`. `granted` less the places held now would be wrong: the former is read at another time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    /// Places that were taken, by shard.
    pub granted: BTreeMap<u16, u64>,
    /// Places that were released, by the shard that gave them.
    pub released: BTreeMap<u16, u64>,
    /// Devices whose latest outcome is a success. It is negative for a moment while a stream shard is split.
    pub succeeded: i64,
    /// Devices whose latest outcome is a failure.
    pub failed: i64,
    /// Devices whose latest outcome is a time-out.
    pub timed_out: i64,
}

impl Sums {
    /// Counts the change of a claim from `before` to `after`.
    pub fn count(&mut self, before: Option<&Claim>, after: Option<&Claim>) {
        let before = before.map(part).unwrap_or_default();
        let after = after.map(part).unwrap_or_default();
        if before.place != after.place {
            if let Some(place) = before.place {
                add(&mut self.released, place.shard, 1);
            }
            if let Some(place) = after.place {
                add(&mut self.granted, place.shard, 1);
            }
        }
        if before.bucket != after.bucket {
            self.move_outcome(before.bucket, -1);
            self.move_outcome(after.bucket, 1);
        }
    }

    fn move_outcome(&mut self, outcome: Option<Outcome>, by: i64) {
        let counter = match outcome {
            Some(Outcome::Succeeded) => &mut self.succeeded,
            Some(Outcome::Failed) => &mut self.failed,
            Some(Outcome::TimedOut) => &mut self.timed_out,
            None => return,
        };
        *counter = counter.saturating_add(by);
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        for (shard, count) in &other.granted {
            add(&mut self.granted, *shard, *count);
        }
        for (shard, count) in &other.released {
            add(&mut self.released, *shard, *count);
        }
        self.succeeded = self.succeeded.saturating_add(other.succeeded);
        self.failed = self.failed.saturating_add(other.failed);
        self.timed_out = self.timed_out.saturating_add(other.timed_out);
    }

    /// Returns true if nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Places of `shard` that were released.
    #[must_use]
    pub fn released(&self, shard: u16) -> u64 {
        self.released.get(&shard).copied().unwrap_or(0)
    }

    /// Places of `shard` that were taken and counted.
    #[must_use]
    pub fn granted(&self, shard: u16) -> u64 {
        self.granted.get(&shard).copied().unwrap_or(0)
    }

    /// Places of all shards that were taken and counted.
    #[must_use]
    pub fn granted_in_all(&self) -> u64 {
        self.granted.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Places of all shards that were released.
    #[must_use]
    pub fn released_in_all(&self) -> u64 {
        self.released.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Number of grants that `shard` may reach when it has `places`: each place is given on only after its release was
    /// counted, and at most [`MOST_UNJUDGED`] grants are not counted yet.
    #[must_use]
    pub fn ceiling(&self, shard: u16, places: u64) -> u64 {
        let by_places = self.released(shard).saturating_add(places);
        by_places.min(self.granted(shard).saturating_add(MOST_UNJUDGED))
    }
}

fn add(counts: &mut BTreeMap<u16, u64>, shard: u16, by: u64) {
    let count = counts.entry(shard).or_default();
    *count = count.saturating_add(by);
}

/// Counters of a rollout at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Number of claims ever made. It never decreases.
    pub used: u64,
    /// Number of places that are held, or whose release was not counted yet.
    pub in_flight: u64,
    /// Number of devices whose latest outcome is a success.
    pub succeeded: u64,
    /// Number of devices whose latest outcome is a failure.
    pub failed: u64,
    /// Number of devices whose latest outcome is a time-out.
    pub timed_out: u64,
}

impl Counts {
    /// The counters that follow from the shards of a rollout and from the sums over its claims.
    #[must_use]
    pub fn of(shards: &[Option<Shard>], sums: &Sums) -> Self {
        let held = (0..).zip(shards).map(|(number, shard)| Held::of(number, shard.as_ref(), sums));
        let devices = |count: i64| u64::try_from(count).unwrap_or(0);
        let none = Self {
            succeeded: devices(sums.succeeded),
            failed: devices(sums.failed),
            timed_out: devices(sums.timed_out),
            ..Self::default()
        };
        held.fold(none, |counts, held| Self {
            used: counts.used.saturating_add(held.used),
            in_flight: counts.in_flight.saturating_add(held.in_flight),
            ..counts
        })
    }

    /// Sum of the counters of several rollouts.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            used: self.used.saturating_add(other.used),
            in_flight: self.in_flight.saturating_add(other.in_flight),
            succeeded: self.succeeded.saturating_add(other.succeeded),
            failed: self.failed.saturating_add(other.failed),
            timed_out: self.timed_out.saturating_add(other.timed_out),
        }
    }
}

/// Part of the limits that one shard has given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Number of claims that were first granted by it.
    pub used: u64,
    /// Number of its places that are held, or whose release was not counted yet.
    pub in_flight: u64,
    /// Start of the counted period, in seconds since 1970.
    pub period: i64,
    /// Number of grants in that period.
    pub period_used: u64,
}

impl Held {
    /// Part of the limits that the shard of this number has given out; nothing for a shard that does not exist.
    #[must_use]
    pub fn of(number: u16, shard: Option<&Shard>, sums: &Sums) -> Self {
        shard.map_or_else(Self::default, |shard| Self {
            used: shard.used,
            in_flight: shard.granted.saturating_sub(sums.released(number)),
            period: shard.period,
            period_used: shard.period_used,
        })
    }

    /// Number of grants in the period that starts at `period`.
    #[must_use]
    pub fn used_in(&self, period: i64) -> u64 {
        // The shard counts a later period if our clock is slow. Its count is valid.
        if self.period >= period { self.period_used } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use semver::Version;

    fn claim(shard: u16, epoch: u64, holds_place: bool) -> Claim {
        let now = Timestamp::UNIX_EPOCH;
        Claim { holds_place, ..Claim::reserve(&Version::new(2, 0, 0), shard, epoch, now, now) }
    }

    #[test]
    fn a_place_is_released_on_the_shard_that_gave_it() {
        let mut sums = Sums::default();
        sums.count(None, Some(&claim(0, 1, true)));
        sums.count(Some(&claim(0, 1, true)), Some(&claim(0, 1, false)));
        sums.count(Some(&claim(0, 1, false)), Some(&claim(5, 4, true)));
        assert_eq!((sums.released(0), sums.granted(0), sums.released(5), sums.granted(5)), (1, 1, 0, 1));
        sums.count(Some(&claim(5, 4, true)), None);
        assert_eq!(sums.released(5), 1, "a claim that is forgotten releases its place");
    }

    #[test]
    fn a_change_without_a_new_place_or_outcome_counts_nothing() {
        let mut sums = Sums::default();
        sums.count(Some(&claim(3, 7, true)), Some(&claim(3, 7, true)));
        assert!(sums.is_empty());
    }

    #[test]
    fn a_ceiling_waits_for_releases_and_for_the_count() {
        let mut sums = Sums::default();
        assert_eq!((sums.ceiling(0, 10), sums.ceiling(0, crate::limits::UNLIMITED)), (10, MOST_UNJUDGED));
        for epoch in 0..4 {
            sums.count(None, Some(&claim(0, epoch, true)));
        }
        assert_eq!((sums.ceiling(0, 10), sums.ceiling(0, crate::limits::UNLIMITED)), (10, 4 + MOST_UNJUDGED));
        sums.count(Some(&claim(0, 0, true)), Some(&claim(0, 0, false)));
        assert_eq!(sums.ceiling(0, 10), 11);
    }
}
