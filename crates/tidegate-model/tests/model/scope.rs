//! Scope: the size of a search.

use tidegate_core::limits::{self, Limits};

use super::change::ChangeKind;
use super::rows::{Allocation, Caps, End, Shard, TICK_S, moment};
use super::{SHARDS, rows};

/// Bounds of one search. The search is complete within them.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) devices: u8,
    pub(crate) max_devices: u8,
    pub(crate) max_in_flight: u8,
    pub(crate) max_per_period: u8,
    pub(crate) period_ticks: u8,
    pub(crate) max_attempts: u8,
    pub(crate) last_tick: u8,
    /// Largest number of requests at the same time.
    pub(crate) most_requests: usize,
    pub(crate) most_requests_of_a_device: usize,
    /// Outcomes that devices report.
    pub(crate) ends: &'static [End],
    /// Changes by operators and by the sweep.
    pub(crate) changes: &'static [ChangeKind],
    /// Largest number of committed changes.
    pub(crate) most_changes: u8,
    /// Largest number of changes at the same time.
    pub(crate) most_operators: usize,
    /// Largest number of changes by which the catalog of a function may be old.
    pub(crate) catalog_age: u8,
}

impl Scope {
    pub(crate) fn period_s(&self) -> u32 {
        u32::from(self.period_ticks) * u32::try_from(TICK_S).expect("a minute")
    }

    /// Tick at which the period of `now` starts: `shard::period_of`.
    pub(crate) fn period_of(&self, now: u8) -> u8 {
        rows::tick(tidegate_core::shard::period_of(moment(now), self.period_s()))
    }

    /// `limits::Allocation::split_over` for two shards, because `split` gives one shard to small limits.
    pub(crate) fn split(&self, max_devices: u8, held: [Shard; SHARDS], now: u8) -> Allocation {
        let limits = Limits {
            max_devices: Some(u64::from(max_devices)),
            max_per_period: Some(u64::from(self.max_per_period)),
            period_s: self.period_s(),
            max_in_flight: Some(u64::from(self.max_in_flight)),
            max_bytes_per_period: None,
        };
        let period = tidegate_core::shard::period_of(moment(now), self.period_s());
        let allocation =
            limits::Allocation::split_over(SHARDS, &limits, 0, &held.map(|shard| shard.to_core().counts), period);
        let small = |cap: u64| u8::try_from(cap).expect("limits are small");
        let caps = [0, 1].map(|shard| {
            let caps = allocation.caps(shard);
            Caps { devices: small(caps.devices), per_period: small(caps.per_period), in_flight: small(caps.in_flight) }
        });
        Allocation { caps, period: self.period_of(now) }
    }
}
