//! The waits of a device between its check-ins. A fleet that asks at once is an attack on its own
//! service, so every wait has real randomness in it, the first one after power-on included.

use std::time::Duration;

/// After a failure, the first wait; it doubles from there.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// A failed installation is tried again no sooner than this; it doubles from there.
const FIRST_REINSTALL: Duration = Duration::from_secs(3600);
/// And no later than this: the fault may have been in the room, not in the image.
const LAST_REINSTALL: Duration = Duration::from_secs(7 * 86400);

/// A fraction in `0.0..1.0`, from the operating system.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Chance(f64);

impl Chance {
    /// Draws a number. Without a source of randomness it is the middle.
    pub fn throw() -> Self {
        // 53 bits are what an f64 holds exactly.
        let random = getrandom::u64().map(|bits| (bits >> 11) as f64 / (1_u64 << 53) as f64);
        Self(random.unwrap_or(0.5))
    }

    fn of(self, span: Duration) -> Duration {
        span.mul_f64(self.0)
    }
}

/// The device's own rhythm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// The time between check-ins if the service does not say.
    pub period: Duration,
    /// The random part: a check-in is at most this much earlier or later.
    pub jitter: Duration,
}

impl Rhythm {
    /// The wait after power-on: anywhere within the jitter, so that a district that gets its power
    /// back does not arrive in the same second.
    pub fn first_wait(&self, chance: Chance) -> Duration {
        chance.of(self.jitter)
    }

    /// The wait after an answer. What the service asks for is a promise: never earlier, and at most a
    /// tenth later. Otherwise it is the period, plus or minus the jitter.
    pub fn next_wait(&self, asked_s: Option<u64>, chance: Chance) -> Duration {
        match asked_s.map(Duration::from_secs) {
            Some(asked) => asked + chance.of(self.jitter.min(asked / 10)),
            None => {
                // More jitter than half the period would let two check-ins fall together.
                let jitter = self.jitter.min(self.period / 2);
                self.period - jitter + chance.of(jitter * 2)
            }
        }
    }

    /// The wait after the `failures`th failure in a row: from half of 30 s, 60 s, 120 s … up to all
    /// of it, and never more than a period. `Retry-After` is obeyed as above.
    pub fn retry_wait(&self, failures: u32, retry_after_s: Option<u64>, chance: Chance) -> Duration {
        if retry_after_s.is_some() {
            return self.next_wait(retry_after_s, chance);
        }
        let longest = self.period.max(FIRST_RETRY);
        let wait = doubled(FIRST_RETRY, failures).min(longest);
        wait / 2 + chance.of(wait / 2)
    }
}

/// The wait before a version that failed `attempts` times is tried again.
pub fn reinstall_wait(attempts: u32) -> Duration {
    doubled(FIRST_REINSTALL, attempts).min(LAST_REINSTALL)
}

/// `first`, doubled for every time after the first.
fn doubled(first: Duration, times: u32) -> Duration {
    let factor = 2_u32.saturating_pow(times.saturating_sub(1));
    first.saturating_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { period: Duration::from_secs(86400), jitter: Duration::from_secs(1800) };

    fn chances() -> impl Iterator<Item = Chance> {
        (0..1000).map(|n| Chance(f64::from(n) / 1000.0))
    }

    #[test]
    fn a_wait_stays_within_the_jitter_on_both_sides_of_the_period() {
        for chance in chances() {
            let wait_s = RHYTHM.next_wait(None, chance).as_secs();
            assert!((84600..=88200).contains(&wait_s), "{wait_s}");
        }
        assert!(RHYTHM.next_wait(None, Chance(0.0)) < RHYTHM.period);
        assert!(RHYTHM.next_wait(None, Chance(0.9)) > RHYTHM.period);
    }

    #[test]
    fn the_service_is_never_asked_earlier_than_it_said() {
        for asked_s in [0, 1, 60, 3600, 86400] {
            for chance in chances() {
                let wait = RHYTHM.next_wait(Some(asked_s), chance);
                let asked = Duration::from_secs(asked_s);
                assert!(wait >= asked && wait <= asked + asked / 10, "{asked_s}: {wait:?}");
            }
        }
    }

    #[test]
    fn even_the_first_check_after_power_on_is_spread() {
        assert_eq!(RHYTHM.first_wait(Chance(0.0)), Duration::ZERO);
        assert_eq!(RHYTHM.first_wait(Chance(0.5)), Duration::from_secs(900));
    }

    #[test]
    fn failures_are_answered_with_longer_and_longer_waits_up_to_the_period() {
        let longest = |failures| RHYTHM.retry_wait(failures, None, Chance(1.0)).as_secs();
        assert_eq!([1, 2, 3, 4].map(longest), [30, 60, 120, 240]);
        assert_eq!(longest(40), 86400);
        assert_eq!(RHYTHM.retry_wait(1, None, Chance(0.0)).as_secs(), 15);
        assert_eq!(RHYTHM.retry_wait(1, Some(600), Chance(0.0)).as_secs(), 600);
    }

    #[test]
    fn a_version_that_failed_is_left_alone_for_longer_each_time() {
        assert_eq!([1, 2, 3].map(|n| reinstall_wait(n).as_secs()), [3600, 7200, 14400]);
        assert_eq!(reinstall_wait(99), LAST_REINSTALL);
    }

    #[test]
    fn more_jitter_than_half_a_period_never_gives_a_negative_wait() {
        let rhythm = Rhythm { period: Duration::from_secs(10), jitter: Duration::from_secs(1800) };
        for chance in chances() {
            let wait = rhythm.next_wait(None, chance);
            assert!(wait >= Duration::from_secs(5) && wait <= Duration::from_secs(15), "{wait:?}");
        }
    }

    #[test]
    fn the_dice_are_not_always_the_same() {
        let first = Chance::throw();
        assert!((0..100).any(|_| Chance::throw() != first));
        assert!((0..100).all(|_| (0.0..1.0).contains(&Chance::throw().0)));
    }
}
