//! The generator of random numbers: the same seed gives the same numbers on every machine.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Keeps the streams of the laboratory apart from those of other programs that count their seeds from 1.
const LABORATORY: u64 = 0x7469_6465_6761_7465;

/// A stream of random numbers (SplitMix64). It is fast and repeatable; it is not unpredictable, and must not decide
/// anything that is secret.
#[derive(Debug, Clone)]
pub struct Random(SplitMix64);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds start far apart.
        Self(SplitMix64::seed_from_u64(mixed(seed ^ LABORATORY)))
    }

    /// The stream of SplitMix64 itself, for tests that keep seeds of it. Neighbouring seeds give streams that overlap.
    #[must_use]
    pub fn plain(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)] // it never ends, and is no iterator
    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// A place in a list of that length.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// A number within both ends.
    pub fn within(&mut self, from: i64, to: i64) -> i64 {
        let span = to.saturating_sub(from).saturating_add(1).unsigned_abs();
        from.saturating_add(i64::try_from(self.below(span)).unwrap_or(0))
    }

    /// True `per_mille` times in a thousand.
    pub fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.place(list.len()))
    }

    /// One of a list that is written out, and so is never empty.
    pub fn one_of<T: Copy, const N: usize>(&mut self, list: [T; N]) -> T {
        list[self.place(N)]
    }
}

/// A number that depends on every bit of `number`, and looks like none of its neighbours.
#[must_use]
pub(crate) fn mixed(number: u64) -> u64 {
    SplitMix64::seed_from_u64(number).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_mixed_by_the_step_of_splitmix64() {
        assert_eq!(mixed(0), 0xe220_a839_7b1d_cdaf, "the first output of the reference for seed 0");
    }

    #[test]
    fn a_seed_gives_the_numbers_that_it_always_gave() {
        let mut random = Random::new(1);
        let drawn = [random.next(), random.next(), random.next()];
        assert_eq!(drawn, [0x7e3b_d60f_c103_eb0f, 0x844a_6c6a_e63e_267e, 0x5448_6893_836f_6f78]);
    }
}
