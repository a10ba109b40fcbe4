//! Random numbers of simulated rollouts.
#![allow(dead_code, reason = "not every test draws in every way")]

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Random numbers, from a seed, so that every run has the same rollouts.
pub(crate) struct Dice(SplitMix64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// The same from a mixed seed: neighbouring seeds start far apart.
    pub(crate) fn mixed(seed: u64) -> Self {
        Self::new(SplitMix64::seed_from_u64(seed).next_u64())
    }

    /// Random number from 0 to 1, without 1.
    pub(crate) fn roll(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True for this share of the calls.
    pub(crate) fn falls(&mut self, share: f64) -> bool {
        self.roll() < share
    }

    /// Random whole number from `from` to `to`, without `to`.
    pub(crate) fn within(&mut self, from: i64, to: i64) -> i64 {
        from + (self.roll() * (to - from) as f64) as i64
    }
}
