//! Draws of a seeded generator: chances and times.

use std::time::Duration;

use tidegate_lab::Random;

/// A stream of draws.
#[derive(Debug)]
pub(super) struct Draws(Random);

impl Draws {
    /// The stream of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// A number from 0 to 1, without 1.
    pub(super) fn share(&mut self) -> f64 {
        // 53 bits are all that fit into the fraction of an f64.
        (self.0.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with a chance from 0 to 1. It draws only if there is a chance, so that one kind of trouble does not change
    /// the others.
    pub(super) fn happens(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.share() < chance
    }

    /// A number from 1 to `most`.
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        self.0.below(most) + 1
    }

    /// 50 to 150 % of a time.
    pub(super) fn about(&mut self, mean: Duration) -> Duration {
        if mean.is_zero() { mean } else { mean.mul_f64(0.5 + self.share()) }
    }

    /// A part of a time.
    pub(super) fn part_of(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(self.share())
    }

    /// A time of an exponential distribution.
    pub(super) fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.share()).ln())
    }
}
