//! Simulated fleets: how often devices check in, what they report, and when they are silent for reasons of their own.

use crate::dice::Dice;

pub(crate) const HOUR: i64 = 3600;
pub(crate) const DAY: i64 = 86_400;

/// A mix of devices.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    /// Seconds between check-ins, with the share of devices.
    pub(crate) every_s: &'static [(i64, f64)],
    /// Share of devices that report.
    pub(crate) report: f64,
    /// Share of devices that are silent for ten days once, and of those that die.
    pub(crate) on_leave: f64,
    pub(crate) die: f64,
}

/// The first set of `outcomes.md`: from five minutes to a week.
pub(crate) const MIXED: Mix = Mix {
    every_s: &[(300, 0.2), (HOUR, 0.2), (8 * HOUR, 0.2), (DAY, 0.3), (7 * DAY, 0.1)],
    report: 0.7,
    on_leave: 0.03,
    die: 0.005,
};
/// The same without devices slower than an hour.
pub(crate) const FAST: Mix = Mix { every_s: &[(300, 0.5), (HOUR, 0.5)], ..MIXED };
/// One in seven is on leave at some time.
pub(crate) const HOLIDAY: Mix = Mix { on_leave: 0.15, ..MIXED };

/// One device, as far as it does not depend on an update.
#[derive(Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) every_s: i64,
    pub(crate) reports: bool,
    pub(crate) reports_before_boot: bool,
    /// Silent from one time to another.
    pub(crate) silent: (i64, i64),
}

impl Habits {
    pub(crate) fn of(mix: &Mix, days: i64, dice: &mut Dice) -> Self {
        let mut every_s = 0;
        let mut left = dice.roll();
        for (every, share) in mix.every_s {
            every_s = *every;
            left -= share;
            if left < 0.0 {
                break;
            }
        }
        every_s += dice.within(-every_s / 10, every_s / 10);
        let silent = if dice.falls(mix.die) {
            (dice.within(0, days * DAY), i64::MAX)
        } else if dice.falls(mix.on_leave) {
            let from = dice.within(0, days * DAY);
            (from, from + 10 * DAY)
        } else {
            (i64::MAX, i64::MAX)
        };
        Self { every_s, reports: dice.falls(mix.report), reports_before_boot: dice.falls(0.5), silent }
    }

    pub(crate) fn is_silent(&self, now: i64) -> bool {
        (self.silent.0..self.silent.1).contains(&now)
    }
}
