//! Limits: the number of devices that a rollout may reach, and its split over shards.

use serde::{Deserialize, Serialize};

use crate::count::Held;
use crate::places;

/// Cap that no rollout reaches. DynamoDB compares it like any other number.
pub const UNLIMITED: u64 = 1 << 53;

/// Most shards of a rollout. A DynamoDB item takes about 1,000 writes a second and a transaction needs two of them, so
/// 64 shards take more grants than the warm throughput of a table.
pub const MOST_SHARDS: u64 = 64;

/// Number of places per shard. With fewer, places could remain unused in shards that a device does not ask.
const PLACES_PER_SHARD: u64 = 64;

/// Number of shards of a rollout without limits.
const SHARDS_WITHOUT_LIMITS: u64 = 16;

/// Shard of the newcomers, where they have a share of their own.
pub const NEWCOMERS_SHARD: u16 = 0;
/// Their share of each limit, as one in so many.
const NEWCOMERS_PART: u64 = 10;

/// Part of the limits for newcomers: devices for which nobody vouches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomers {
    /// The campaign makes no difference between devices.
    AreLikeOthers,
    /// A tenth of each limit, rounded down, in a shard of its own.
    HaveATenth,
    /// The same, but what they have not used of `max_devices` is given to the others.
    GiveBack,
}

/// Limits that an operator sets. `None` means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Number of devices that may ever be offered the update.
    pub max_devices: Option<u64>,
    /// Number of offers in one period.
    pub max_per_period: Option<u64>,
    /// Length of the period, in seconds. Periods start at multiples of it since 1970.
    pub period_s: u32,
    /// Number of devices that may have the offer without having reported an outcome.
    pub max_in_flight: Option<u64>,
    /// `max_in_flight` follows the audience, and grows with devices that are well for long.
    pub grows: bool,
    /// Number of bytes offered in one period.
    pub max_bytes_per_period: Option<u64>,
}

/// The most places of a rollout that grows, before it has grown. An update that bricks silently costs the devices in
/// flight, so their number is limited unless an operator removes the limit.
pub const DEFAULT_MAX_IN_FLIGHT: u64 = 500;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_devices: None,
            max_per_period: None,
            period_s: 3600,
            max_in_flight: Some(DEFAULT_MAX_IN_FLIGHT),
            grows: true,
            max_bytes_per_period: None,
        }
    }
}

impl Limits {
    /// Number of offers in one period, with the limit on bytes included. Every device gets the same bytes, so a limit on
    /// bytes is a limit on devices.
    #[must_use]
    pub fn offers_per_period(&self, bytes_per_device: u64) -> Option<u64> {
        let by_bytes = self.max_bytes_per_period.and_then(|bytes| bytes.checked_div(bytes_per_device));
        self.max_per_period.into_iter().chain(by_bytes).min()
    }

    /// The limits in force for an audience of this size, if it is known, and this number of mature devices.
    #[must_use]
    pub fn in_force(&self, audience: Option<u64>, mature: i64) -> Self {
        let max_in_flight = match self.grows {
            true => Some(places::in_force(places::default_max_in_flight(audience.unwrap_or(0)), 100, mature)),
            false => self.max_in_flight,
        };
        Self { max_in_flight, ..self.clone() }
    }

    /// Number of shards over which the limits are split.
    #[must_use]
    pub fn shards(&self, bytes_per_device: u64) -> u16 {
        let tightest = [self.max_devices, self.offers_per_period(bytes_per_device), self.max_in_flight]
            .into_iter()
            .flatten()
            .min();
        let shards =
            tightest.map_or(SHARDS_WITHOUT_LIMITS, |limit| limit.div_euclid(PLACES_PER_SHARD).clamp(1, MOST_SHARDS));
        u16::try_from(shards).unwrap_or(1)
    }
}

/// Caps of all shards. The sum of each list is the limit that was split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Caps for `max_devices`, by shard.
    pub devices: Vec<u64>,
    /// Caps for the offers per period, by shard.
    pub per_period: Vec<u64>,
    /// Places of `max_in_flight`, by shard.
    pub places: Vec<u64>,
    /// Start of the period for which `per_period` was split, in seconds since 1970. Opening a shard moves the shard to
    /// this period. Otherwise a request with a slow clock could get a grant in an earlier period, with a cap that was
    /// split for this one.
    pub period: i64,
}

/// Caps of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the fields of `Allocation`
pub struct Caps {
    pub devices: u64,
    pub per_period: u64,
}

impl Allocation {
    /// Splits the limits over shards with these counters, which must not grow meanwhile.
    ///
    /// A limit below the sum of the counters gives every shard a cap of zero: no shard may grant while all together
    /// exceed the limit. The sweep splits the limits again after enough claims have ended.
    #[must_use]
    pub fn split(limits: &Limits, bytes_per_device: u64, newcomers: Newcomers, held: &[Held], period: i64) -> Self {
        // A small limit goes to few shards, and all limits go to the same shards: a device needs room for every limit in
        // one shard.
        let spread = usize::from(limits.shards(bytes_per_device));
        let column = |limit: Option<u64>, newcomers, of: fn(&Held, i64) -> u64| match limit {
            None => vec![UNLIMITED; held.len()],
            Some(limit) => {
                let held = held.iter().map(|held| of(held, period)).collect::<Vec<_>>();
                split_with_newcomers(limit, newcomers, &held, spread)
            }
        };
        let always = match newcomers {
            Newcomers::GiveBack => Newcomers::HaveATenth,
            newcomers => newcomers,
        };
        Self {
            devices: column(limits.max_devices, newcomers, |held, _| held.used),
            per_period: column(limits.offers_per_period(bytes_per_device), always, Held::used_in),
            places: column(limits.max_in_flight, always, |held, _| held.in_flight),
            period,
        }
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> u16 {
        u16::try_from(self.devices.len()).unwrap_or(u16::MAX)
    }

    /// `true` if every shard has the same caps in both.
    #[must_use]
    pub fn has_caps_of(&self, other: &Self) -> bool {
        self.devices == other.devices && self.per_period == other.per_period && self.places == other.places
    }

    /// Caps of one shard. They are zero for a shard that does not exist.
    #[must_use]
    pub fn caps(&self, shard: u16) -> Caps {
        let of = |column: &[u64]| column.get(usize::from(shard)).copied().unwrap_or(0);
        Caps { devices: of(&self.devices), per_period: of(&self.per_period) }
    }

    /// Places of one shard. There are none in a shard that does not exist.
    #[must_use]
    pub fn places(&self, shard: u16) -> u64 {
        self.places.get(usize::from(shard)).copied().unwrap_or(0)
    }

    /// `true` if a shard keeps many places that nobody holds while another has none left. An edit overstates the held
    /// places of a shard whose releases were not counted yet, and gives them to this shard for good. The places of
    /// newcomers are only for them.
    #[must_use]
    pub fn is_lopsided(&self, newcomers: Newcomers, held: &[Held]) -> bool {
        let first = usize::from(newcomers != Newcomers::AreLikeOthers);
        let shards = || self.places.iter().zip(held).skip(first);
        let spare = || shards().map(|(places, held)| places.saturating_sub(held.in_flight));
        let total = spare().fold(0_u64, |sum, spare| sum.saturating_add(spare));
        let even = total.checked_div(u64::from(self.shards())).unwrap_or(total);
        self.all_places().is_some()
            && spare().any(|spare| spare == 0)
            && spare().any(|spare| spare > even.saturating_add(even.div_euclid(2)).saturating_add(PLACES_PER_SHARD))
    }

    /// `true` if a limit was below the sum of the counters, so that no shard grants until the limits are split again.
    #[must_use]
    pub fn is_draining(&self, limits: &Limits, bytes_per_device: u64) -> bool {
        let falls_short = |column: &[u64], limit: Option<u64>| limit.is_some_and(|limit| sum(column) < limit);
        falls_short(&self.devices, limits.max_devices)
            || falls_short(&self.per_period, limits.offers_per_period(bytes_per_device))
            || falls_short(&self.places, limits.max_in_flight.filter(|_| !limits.grows))
    }

    /// `true` if a quarter more places than were split are in force. Each split shuts the shards for a moment.
    #[must_use]
    pub fn has_grown(&self, in_force: &Limits) -> bool {
        let places = sum(&self.places);
        let next = places.saturating_add(places.div_euclid(4).max(1));
        in_force.grows && in_force.max_in_flight.is_some_and(|in_force| in_force >= next)
    }

    /// The places of all shards; `None` if there is no limit.
    #[must_use]
    pub fn all_places(&self) -> Option<u64> {
        self.places.iter().all(|places| *places < UNLIMITED).then(|| sum(&self.places))
    }
}

fn sum(column: &[u64]) -> u64 {
    column.iter().fold(0, |sum, cap| sum.saturating_add(*cap))
}

/// Splits one limit between the newcomers and the other shards.
fn split_with_newcomers(limit: u64, newcomers: Newcomers, held: &[u64], spread: usize) -> Vec<u64> {
    let (Some((own, others)), true) = (held.split_first(), newcomers != Newcomers::AreLikeOthers) else {
        return split(limit, held, spread);
    };
    let Some(most) = limit.checked_sub(others.iter().fold(0_u64, |sum, held| sum.saturating_add(*held))) else {
        return vec![0; held.len()];
    };
    let share = match newcomers {
        Newcomers::GiveBack => *own,
        Newcomers::AreLikeOthers | Newcomers::HaveATenth => limit.div_euclid(NEWCOMERS_PART).max(*own),
    };
    match *own <= most {
        true => std::iter::once(share.min(most))
            .chain(split(limit.saturating_sub(share.min(most)), others, spread))
            .collect(),
        false => vec![0; held.len()],
    }
}

/// Splits one limit. The remaining places go evenly to the first `spread` shards.
fn split(limit: u64, held: &[u64], spread: usize) -> Vec<u64> {
    let total = held.iter().fold(0_u64, |sum, held| sum.saturating_add(*held));
    let Some(rest) = limit.checked_sub(total) else {
        return vec![0; held.len()];
    };
    let shards = u64::try_from(held.len().min(spread)).unwrap_or(1).max(1);
    let (share, extra) = (rest.div_euclid(shards), rest.rem_euclid(shards));
    (0_u64..)
        .zip(held)
        .map(|(shard, held)| match shard < shards {
            true => held.saturating_add(share).saturating_add(u64::from(shard < extra)),
            false => *held,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_limits_get_one_shard_and_large_ones_many() {
        let shards = |max_devices, max_in_flight| Limits { max_devices, max_in_flight, ..Limits::default() }.shards(1);
        assert_eq!(shards(Some(10), None), 1);
        assert_eq!(shards(Some(1000), Some(200)), 3);
        assert_eq!(shards(Some(1_000_000), None), 64);
        assert_eq!(shards(None, None), 16);
    }

    #[test]
    fn places_follow_the_audience_and_grow_in_steps() {
        let in_force = |audience, mature| Limits::default().in_force(audience, mature).max_in_flight;
        assert_eq!(
            [in_force(None, 0), in_force(Some(2000), 0), in_force(Some(2000), 130)],
            [Some(10), Some(100), Some(130)]
        );
        let exact = Limits { max_in_flight: Some(7), grows: false, ..Limits::default() };
        assert_eq!(exact.in_force(Some(2000), 130).max_in_flight, Some(7));
        let allocation = {
            let (limits, held) = (Limits::default().in_force(Some(2000), 0), [Held::default(); 2]);
            Allocation::split(&limits, 1, Newcomers::AreLikeOthers, &held, 0)
        };
        let has_grown = |mature| allocation.has_grown(&Limits::default().in_force(Some(2000), mature));
        assert_eq!([has_grown(0), has_grown(124), has_grown(125)], [false, false, true]);
        assert_eq!((allocation.all_places(), allocation.is_draining(&Limits::default(), 1)), (Some(100), false));
    }

    #[test]
    fn a_limit_on_bytes_is_a_limit_on_devices() {
        let limits = Limits { max_bytes_per_period: Some(1000), max_per_period: Some(50), ..Limits::default() };
        assert_eq!(limits.offers_per_period(100), Some(10));
        assert_eq!(limits.offers_per_period(1), Some(50));
        assert_eq!(limits.offers_per_period(0), Some(50), "an update without files has no bytes to limit");
    }

    #[test]
    fn a_limit_below_what_is_held_grants_nothing_anywhere() {
        assert_eq!(split(60, &[50, 50], 2), [0, 0]);
        assert_eq!(split(60, &[50, 5], 2), [53, 7]);
        assert_eq!(split(10, &[0, 0, 0], 3), [4, 3, 3]);
        assert_eq!(split(10, &[1, 0, 2], 1), [8, 0, 2], "few places go to few shards");
    }

    #[test]
    fn places_that_nobody_finds_are_split_again() {
        let held = |in_flight: [u64; 2]| in_flight.map(|in_flight| Held { in_flight, ..Held::default() });
        let places = |places: [u64; 2]| Allocation {
            devices: vec![UNLIMITED; 2],
            per_period: vec![UNLIMITED; 2],
            places: places.to_vec(),
            period: 0,
        };
        let is_lopsided = |allocation: Allocation, in_flight| {
            [Newcomers::AreLikeOthers, Newcomers::HaveATenth].map(|who| allocation.is_lopsided(who, &held(in_flight)))
        };
        let is = is_lopsided(places([400, 100]), [0, 100]);
        assert_eq!(
            is,
            [true, false],
            "400 places wait in one shard, the other is full; unless they wait for newcomers"
        );
        assert_eq!(is_lopsided(places([250, 250]), [100, 250]), [false; 2], "these come and go");
        assert_eq!(is_lopsided(places([400, 100]), [0, 50]), [false; 2], "nobody waits");
        assert_eq!(is_lopsided(places([UNLIMITED, UNLIMITED]), [0, 0]), [false; 2]);
    }

    #[test]
    fn newcomers_have_a_tenth_rounded_down_and_what_they_leave_is_for_the_others() {
        let split = |limit, newcomers, held: &[u64]| split_with_newcomers(limit, newcomers, held, 2);
        use Newcomers::{AreLikeOthers, GiveBack, HaveATenth};
        assert_eq!(split(100, HaveATenth, &[0, 0, 0]), [10, 45, 45]);
        assert_eq!(split(9, HaveATenth, &[0, 0, 0]), [0, 5, 4], "a tenth of nine is nothing");
        assert_eq!(split(100, HaveATenth, &[20, 0, 0]), [20, 40, 40], "a lower limit takes nothing back");
        assert_eq!(split(100, HaveATenth, &[2, 45, 50]), [5, 45, 50], "nor does it from the others");
        assert_eq!(split(100, GiveBack, &[3, 45, 45]), [3, 49, 48]);
        assert_eq!([split(90, HaveATenth, &[2, 45, 45]), split(90, GiveBack, &[2, 45, 45])], [[0; 3], [0; 3]]);
        assert_eq!(split(100, AreLikeOthers, &[0, 0, 0]), [50, 50, 0]);
    }

    proptest! {
        #[test]
        fn caps_add_up_to_the_limit_and_never_fall_below_what_is_held(
            limit in 0_u64..1_000_000,
            held in proptest::collection::vec(0_u64..10_000, 2..64),
            spread in 1_usize..70,
            who in 0_usize..3
        ) {
            let who = [Newcomers::AreLikeOthers, Newcomers::HaveATenth, Newcomers::GiveBack][who];
            let caps = split_with_newcomers(limit, who, &held, spread);
            let total: u64 = held.iter().sum();
            if total <= limit {
                prop_assert_eq!(caps.iter().sum::<u64>(), limit);
                prop_assert!(caps.iter().zip(&held).all(|(cap, held)| cap >= held));
            } else {
                prop_assert_eq!(caps.iter().sum::<u64>(), 0);
            }
        }
    }
}
