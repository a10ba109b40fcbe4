//! Chance that can be repeated: every throw is a hash of the seed and of what it is thrown for.
//!
//! There is no stream of numbers, so the order in which devices are asked changes nothing.

/// What a throw decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Throw {
    /// When a device checks in for the first time.
    FirstCheckIn = 1,
    /// How far from its period a check-in is.
    Jitter = 2,
    /// What becomes of an attempt.
    Fate = 3,
    /// How long an attempt takes.
    ReportDelay = 4,
}

/// The dice of one play.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    seed: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// A number from 0 up to, and without, 1.
    #[allow(clippy::cast_precision_loss)] // 53 bits fit
    pub(crate) fn share(self, throw: Throw, device: u32, turn: u32) -> f64 {
        (self.bits(throw, device, turn) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number from 0 to `most`.
    pub(crate) fn up_to(self, most: u32, throw: Throw, device: u32, turn: u32) -> u32 {
        let wide = u128::from(self.bits(throw, device, turn)) * (u128::from(most) + 1);
        u32::try_from(wide >> 64).unwrap_or(most)
    }

    fn bits(self, throw: Throw, device: u32, turn: u32) -> u64 {
        let subject = (u64::from(device) << 32) | u64::from(turn);
        mix(mix(self.seed ^ subject).wrapping_add(throw as u64))
    }
}

/// The step of splitmix64 (Steele, Lea and Flood 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_splitmix64() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf, "the first output of the reference for seed 0");
    }

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
