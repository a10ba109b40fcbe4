//! How many devices a rollout may reach, and how that number is split over shards.

use serde::{Deserialize, Serialize};

use crate::shard::Counts;

/// A cap that no rollout reaches: DynamoDB compares it like any other number.
pub const UNLIMITED: u64 = 1 << 53;

/// The most shards a rollout is split over. A DynamoDB item takes about 1,000 writes a second and
/// a transaction needs two of them, so 64 shards carry more grants than a table's warm throughput.
pub const MOST_SHARDS: u64 = 64;

/// The slots a shard must have before it is worth having another: below this, slots left over in
/// shards that a device does not probe would matter.
const SLOTS_PER_SHARD: u64 = 64;

/// Shards of a rollout that has no limit at all.
const SHARDS_WITHOUT_LIMITS: u64 = 16;

/// What an operator allows. `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Devices that may ever be offered the update.
    pub max_devices: Option<u64>,
    /// Offers in one period.
    pub max_per_period: Option<u64>,
    /// The period in seconds; periods start at multiples of it since 1970.
    pub period_s: u32,
    /// Devices that may have the offer and not have said how it went.
    pub max_in_flight: Option<u64>,
    /// Bytes offered in one period.
    pub max_bytes_per_period: Option<u64>,
}

/// A device in flight is what a silently bricking update costs, so it is limited unless an
/// operator says otherwise. With 500, simulations lose 501 devices where no limit loses thousands.
pub const DEFAULT_MAX_IN_FLIGHT: u64 = 500;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_devices: None,
            max_per_period: None,
            period_s: 3600,
            max_in_flight: Some(DEFAULT_MAX_IN_FLIGHT),
            max_bytes_per_period: None,
        }
    }
}

impl Limits {
    /// Offers in one period once the bytes are counted too: every device gets the same bytes, so a
    /// limit on bytes is a limit on devices.
    #[must_use]
    pub fn offers_per_period(&self, bytes_per_device: u64) -> Option<u64> {
        let by_bytes = self.max_bytes_per_period.and_then(|bytes| bytes.checked_div(bytes_per_device));
        self.max_per_period.into_iter().chain(by_bytes).min()
    }

    /// How many shards the limits are split over.
    #[must_use]
    pub fn shards(&self, bytes_per_device: u64) -> u16 {
        let tightest = [self.max_devices, self.offers_per_period(bytes_per_device), self.max_in_flight]
            .into_iter()
            .flatten()
            .min();
        let shards =
            tightest.map_or(SHARDS_WITHOUT_LIMITS, |limit| limit.div_euclid(SLOTS_PER_SHARD).clamp(1, MOST_SHARDS));
        u16::try_from(shards).unwrap_or(1)
    }
}

/// The caps of every shard. Each list adds up to the limit it was split from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// `max_devices`, by shard.
    pub devices: Vec<u64>,
    /// Offers per period, by shard.
    pub per_period: Vec<u64>,
    /// `max_in_flight`, by shard.
    pub in_flight: Vec<u64>,
    /// Start of the period that `per_period` was split in, in seconds since 1970. Opening a shard
    /// moves it there: one that still counts an earlier period could grant in that one again, with
    /// a cap that was split for this one, when it is asked by a late clock.
    pub period: i64,
}

/// The caps of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the fields of `Allocation`
pub struct Caps {
    pub devices: u64,
    pub per_period: u64,
    pub in_flight: u64,
}

impl Allocation {
    /// Splits limits around what the shards hold already, which must not grow meanwhile.
    ///
    /// A limit below what is held gives every shard a cap of zero: no shard may grant while the
    /// others still hold more than the limit. The sweep splits again once enough has ended.
    #[must_use]
    pub fn split(limits: &Limits, bytes_per_device: u64, held: &[Counts], period: i64) -> Self {
        // Few slots go to few shards, and every limit to the same ones: a place in flight in one
        // shard is of no use to a device's place in another.
        Self::split_over(usize::from(limits.shards(bytes_per_device)), limits, bytes_per_device, held, period)
    }

    /// The same, with what is left going to the first `spread` shards.
    #[must_use]
    pub fn split_over(spread: usize, limits: &Limits, bytes_per_device: u64, held: &[Counts], period: i64) -> Self {
        let column = |limit: Option<u64>, of: fn(&Counts, i64) -> u64, owed: &[bool]| match limit {
            None => vec![UNLIMITED; held.len()],
            Some(limit) => {
                split(limit, &held.iter().map(|counts| of(counts, period)).collect::<Vec<_>>(), spread, owed)
            }
        };
        // A device that is to try again does so in the shard that counts it, whichever that is.
        let nobody = vec![false; held.len()];
        let to_try_again = held
            .iter()
            .map(|counts| counts.used > counts.succeeded.saturating_add(counts.in_flight))
            .collect::<Vec<_>>();
        let offers = limits.offers_per_period(bytes_per_device);
        Self {
            devices: column(limits.max_devices, |counts, _| counts.used, &nobody),
            per_period: column(offers, |counts, period| counts.used_in(period), &to_try_again),
            in_flight: column(limits.max_in_flight, |counts, _| counts.in_flight, &to_try_again),
            period,
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        u16::try_from(self.devices.len()).unwrap_or(u16::MAX)
    }

    /// Whether every shard may grant as much as in the other.
    #[must_use]
    pub fn has_caps_of(&self, other: &Self) -> bool {
        self.devices == other.devices && self.per_period == other.per_period && self.in_flight == other.in_flight
    }

    /// The caps of one shard; a shard that does not exist may grant nothing.
    #[must_use]
    pub fn caps(&self, shard: u16) -> Caps {
        let of = |column: &[u64]| column.get(usize::from(shard)).copied().unwrap_or(0);
        Caps { devices: of(&self.devices), per_period: of(&self.per_period), in_flight: of(&self.in_flight) }
    }

    /// Whether a limit was below what was held, so that nothing is granted until it is split again.
    #[must_use]
    pub fn is_draining(&self, limits: &Limits, bytes_per_device: u64) -> bool {
        let falls_short = |column: &[u64], limit: Option<u64>| {
            limit.is_some_and(|limit| column.iter().fold(0_u64, |sum, cap| sum.saturating_add(*cap)) < limit)
        };
        falls_short(&self.devices, limits.max_devices)
            || falls_short(&self.per_period, limits.offers_per_period(bytes_per_device))
            || falls_short(&self.in_flight, limits.max_in_flight)
    }
}

/// What is left of the limit goes to the first `spread` shards, evenly, but for one slot to each
/// shard beyond them that is `owed` one, as far as that leaves the others one each.
fn split(limit: u64, held: &[u64], spread: usize, owed: &[bool]) -> Vec<u64> {
    let total = held.iter().fold(0_u64, |sum, held| sum.saturating_add(*held));
    let Some(rest) = limit.checked_sub(total) else {
        return vec![0; held.len()];
    };
    let shards = u64::try_from(held.len().min(spread)).unwrap_or(1).max(1);
    let mut spare = rest.saturating_sub(shards);
    let mut beyond = vec![0; held.len()];
    for (slot, _) in beyond.iter_mut().zip(owed).skip(spread).filter(|(_, owed)| **owed) {
        *slot = spare.min(1);
        spare = spare.saturating_sub(1);
    }
    let rest = rest.saturating_sub(beyond.iter().sum());
    let (share, extra) = (rest.div_euclid(shards), rest.rem_euclid(shards));
    (0_u64..)
        .zip(held.iter().zip(beyond))
        .map(|(shard, (held, beyond))| match shard < shards {
            true => held.saturating_add(share).saturating_add(u64::from(shard < extra)),
            false => held.saturating_add(beyond),
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
    fn a_limit_on_bytes_is_a_limit_on_devices() {
        let limits = Limits { max_bytes_per_period: Some(1000), max_per_period: Some(50), ..Limits::default() };
        assert_eq!(limits.offers_per_period(100), Some(10));
        assert_eq!(limits.offers_per_period(1), Some(50));
        assert_eq!(limits.offers_per_period(0), Some(50), "an update without files has no bytes to limit");
    }

    #[test]
    fn a_limit_below_what_is_held_grants_nothing_anywhere() {
        assert_eq!(split(60, &[50, 50], 2, &[false; 2]), [0, 0]);
        assert_eq!(split(60, &[50, 5], 2, &[false; 2]), [53, 7]);
        assert_eq!(split(10, &[0, 0, 0], 3, &[false; 3]), [4, 3, 3]);
        assert_eq!(split(10, &[1, 0, 2], 1, &[false; 3]), [8, 0, 2], "few slots go to few shards");
    }

    #[test]
    fn a_shard_whose_devices_are_to_try_again_keeps_a_slot_for_them() {
        assert_eq!(split(10, &[1, 0, 2], 1, &[true; 3]), [6, 1, 3]);
        assert_eq!(split(2, &[0, 0, 0], 1, &[true; 3]), [1, 1, 0], "as far as there are any");
        assert_eq!(split(1, &[0, 0, 0], 1, &[true; 3]), [1, 0, 0], "a first offer needs one too");
    }

    proptest! {
        #[test]
        fn caps_add_up_to_the_limit_and_never_fall_below_what_is_held(
            limit in 0_u64..1_000_000,
            shards in proptest::collection::vec((0_u64..10_000, proptest::bool::ANY), 1..64),
            spread in 1_usize..70
        ) {
            let (held, owed): (Vec<u64>, Vec<bool>) = shards.into_iter().unzip();
            let caps = split(limit, &held, spread, &owed);
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
