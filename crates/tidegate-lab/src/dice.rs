//! Random numbers without a stream: every throw is a hash of the seed and of what it is thrown for, so that the order
//! in which devices are asked changes nothing.

use crate::random::mixed;

/// The subject of a throw.
#[derive(Debug, Clone, Copy)]
pub enum Throw {
    /// The time of a device's first check-in.
    FirstCheckIn = 1,
    /// The distance of a check-in from its period.
    Jitter = 2,
    /// The outcome of an attempt.
    Fate = 3,
    /// The time until a report.
    ReportDelay = 4,
}

/// The dice of one play.
#[derive(Debug, Clone, Copy)]
pub struct Dice {
    seed: u64,
}

impl Dice {
    /// The dice of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed: mixed(seed) }
    }

    /// A number from 0 up to, and without, 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // 53 bits fit
    pub fn share(self, throw: Throw, device: u32, turn: u32) -> f64 {
        (self.bits(throw, device, turn) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number from 0 to `most`.
    #[must_use]
    pub fn up_to(self, most: u32, throw: Throw, device: u32, turn: u32) -> u32 {
        let wide = u128::from(self.bits(throw, device, turn)) * (u128::from(most) + 1);
        u32::try_from(wide >> 64).unwrap_or(most)
    }

    fn bits(self, throw: Throw, device: u32, turn: u32) -> u64 {
        let subject = (u64::from(device) << 32) | u64::from(turn);
        mixed(mixed(self.seed ^ subject).wrapping_add(throw as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throws_are_spread_evenly_and_reach_both_ends() {
        let dice = Dice::new(7);
        let mut seen = [0_u32; 5];
        for device in 0..50_000 {
            seen[usize::try_from(dice.up_to(4, Throw::Jitter, device, 3)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (9_600..10_400).contains(count)), "{seen:?}");
        let low = (0..50_000).filter(|device| dice.share(Throw::Fate, *device, 1) < 0.05).count();
        assert!((2_300..2_700).contains(&low), "{low}");
    }
}
