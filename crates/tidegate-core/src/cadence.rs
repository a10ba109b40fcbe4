//! Cadence: how long a device may be silent before it counts as lost.
//!
//! A device is measured by its own rhythm. Its record is written when it is older than the grain, so the time at which a
//! device is due contains one grain: a device that was heard from in time is never overdue.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A day, in seconds.
pub const DAY_S: i64 = 86_400;
/// Shortest silence that is allowed, in seconds.
const SHORTEST_SILENCE_S: i64 = 3600;

/// Cadence of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// Seconds between two check-ins, as the product expects it.
    pub poll_s: i64,
    /// The longest gap between two check-ins of this device that is remembered, in seconds. A new device begins with the
    /// usual gap of its product, because its own gaps say little yet.
    pub long_gap_s: i64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self { poll_s: DAY_S, long_gap_s: 0 }
    }
}

impl Cadence {
    /// Seconds for which the device may be silent.
    #[must_use]
    pub fn allowed_s(&self) -> i64 {
        self.poll_s.saturating_mul(3).max(self.long_gap_s.saturating_mul(2)).max(SHORTEST_SILENCE_S)
    }

    /// Age of the record at which a check-in writes it again, in seconds. A device with a place is `watched_closely`, and
    /// one of a control group too.
    #[must_use]
    pub fn grain_s(&self, watched_closely: bool) -> i64 {
        if watched_closely { self.allowed_s().div_euclid(4) } else { DAY_S }
    }

    /// Seconds after the last written check-in at which the device is overdue.
    #[must_use]
    pub fn due_after_s(&self, watched_closely: bool) -> i64 {
        self.grain_s(watched_closely).saturating_add(self.allowed_s())
    }

    /// Time at which the device is overdue. `seen` is the time of the record, and `watched_closely` is as it was then.
    #[must_use]
    pub fn due_at(&self, seen: Timestamp, watched_closely: bool) -> Timestamp {
        let due_s = seen.as_second().saturating_add(self.due_after_s(watched_closely));
        Timestamp::from_second(due_s).unwrap_or(Timestamp::MAX)
    }

    /// Time at which a device of a control group is overdue. It is watched closely since `since`, and not before.
    #[must_use]
    pub fn due_in_group(&self, seen: Timestamp, since: Timestamp) -> Timestamp {
        // From this time on, every check-in would have written the record.
        let written_from = seen.as_second().saturating_add(self.grain_s(true)).max(since.as_second());
        Timestamp::from_second(written_from.saturating_add(self.allowed_s())).unwrap_or(Timestamp::MAX)
    }

    /// Longest gap to remember after a check-in, at the daily write of the record. A long gap is forgotten slowly, 3 % a
    /// day; a gap that the product expects is none.
    #[must_use]
    pub fn learn(&self, seen: Timestamp, now: Timestamp) -> i64 {
        let gap_s = now.as_second().saturating_sub(seen.as_second());
        let expected_s = self.poll_s.max(DAY_S);
        let is_long = gap_s.saturating_mul(10) > expected_s.saturating_mul(11);
        let remembered_s = self.long_gap_s.saturating_mul(97).div_euclid(100);
        if is_long { remembered_s.max(gap_s) } else { remembered_s }
    }
}

/// Longest gap that [`Gaps`] tells from longer ones, in days.
const LONGEST_GAP_DAYS: i64 = 90;

/// The long gaps of the devices of a product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// Number of devices by the days of their gap, rounded up.
    by_days: BTreeMap<i64, u64>,
}

impl Gaps {
    /// Counts a device.
    pub fn count(&mut self, long_gap_s: i64) {
        let days = long_gap_s.max(0).saturating_add(DAY_S).saturating_sub(1).div_euclid(DAY_S).min(LONGEST_GAP_DAYS);
        let devices = self.by_days.entry(days).or_default();
        *devices = devices.saturating_add(1);
    }

    /// The gap that 95 of 100 devices stay below, in seconds.
    #[must_use]
    pub fn usual_s(&self) -> i64 {
        let all = self.by_days.values().fold(0_u64, |sum, devices| sum.saturating_add(*devices));
        let mut below = 0_u64;
        for (days, devices) in &self.by_days {
            below = below.saturating_add(*devices);
            if below.saturating_mul(100) >= all.saturating_mul(95) {
                return days.saturating_mul(DAY_S);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_times_are_those_of_the_design() {
        let daily = Cadence { poll_s: DAY_S, long_gap_s: 0 };
        assert_eq!(daily.allowed_s(), 72 * 3600);
        assert_eq!((daily.due_after_s(true), daily.due_after_s(false)), (90 * 3600, 96 * 3600));
        let hourly = Cadence { poll_s: 3600, long_gap_s: 0 };
        assert_eq!((hourly.due_after_s(true), hourly.due_after_s(false)), (13_500, 27 * 3600));
        assert_eq!(Cadence { poll_s: 60, long_gap_s: 0 }.allowed_s(), 3600);
    }

    #[test]
    fn a_member_of_a_control_group_has_its_time_from_when_it_was_watched() {
        let hourly = Cadence { poll_s: 3600, long_gap_s: 0 };
        let due = |seen, since| hourly.due_in_group(at(seen), at(since)).as_second();
        assert_eq!(due(0, 0), 13_500, "as a device with a place");
        // It may have checked in at any time of the day before, and nothing was written.
        assert_eq!(due(0, DAY_S), DAY_S + 3 * 3600);
        assert_eq!(due(DAY_S, 0), DAY_S + 13_500);
    }

    #[test]
    fn a_weekly_device_is_learned_and_forgotten_slowly() {
        let week_s = 7 * DAY_S;
        let mut weekly = Cadence { poll_s: DAY_S, long_gap_s: 0 };
        weekly.long_gap_s = weekly.learn(at(0), at(week_s));
        assert_eq!(weekly.long_gap_s, week_s);
        assert_eq!(weekly.allowed_s(), 2 * week_s);
        assert_eq!(weekly.learn(at(0), at(DAY_S)), week_s * 97 / 100);
        assert_eq!(Cadence { poll_s: DAY_S, long_gap_s: 0 }.learn(at(0), at(DAY_S + 8000)), 0, "a day and a little");
    }

    #[test]
    fn the_usual_gap_is_that_of_nearly_all_devices() {
        let usual = |weekly: u64| {
            let mut gaps = Gaps::default();
            (0..100).for_each(|device| gaps.count(if device < weekly { 7 * DAY_S - 10 } else { 0 }));
            gaps.usual_s()
        };
        assert_eq!([usual(0), usual(5), usual(6)], [0, 0, 7 * DAY_S]);
        assert_eq!(Gaps::default().usual_s(), 0);
    }

    proptest! {
        /// Its record may be one grain old when it checks in, and it is silent for no longer than it may be.
        #[test]
        fn a_device_that_is_heard_from_in_time_is_never_overdue(
            poll_s in 1..1_000_000_i64,
            long_gap_s in 0..10_000_000_i64,
            closely: bool,
            written in 0..1_000_000_000_i64,
            // The last check-in that wrote nothing, and the silence after it.
            (age, silence) in (0.0..1.0_f64, 0.0..=1.0_f64),
        ) {
            let cadence = Cadence { poll_s, long_gap_s };
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            let part = |of: i64, share: f64| (of as f64 * share) as i64;
            let last = written + part(cadence.grain_s(closely), age);
            let next = last + part(cadence.allowed_s(), silence);
            prop_assert!(at(next) <= cadence.due_at(at(written), closely));
        }
    }
}
