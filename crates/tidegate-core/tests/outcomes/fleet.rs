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
    /// Share of devices that are silent once, for this number of days, and of those that die.
    pub(crate) on_leave: f64,
    pub(crate) leave_days: i64,
    pub(crate) die: f64,
    /// Share of devices that are on in office hours only, in two time zones.
    pub(crate) office: f64,
    /// Share of devices that check in right after the boot, also if they report nothing.
    pub(crate) after_boot: f64,
    /// Share of devices whose id another one has too. The other one never updates.
    pub(crate) cloned: f64,
}

/// The first set of `outcomes.md`: from five minutes to a week.
pub(crate) const MIXED: Mix = Mix {
    every_s: &[(300, 0.2), (HOUR, 0.2), (8 * HOUR, 0.2), (DAY, 0.3), (7 * DAY, 0.1)],
    report: 0.7,
    on_leave: 0.03,
    leave_days: 10,
    die: 0.005,
    office: 0.0,
    after_boot: 0.0,
    cloned: 0.0,
};
/// The same without devices slower than an hour.
pub(crate) const FAST: Mix = Mix { every_s: &[(300, 0.5), (HOUR, 0.5)], ..MIXED };
/// One in seven is on leave at some time.
pub(crate) const HOLIDAY: Mix = Mix { on_leave: 0.15, ..MIXED };

/// The second set: from a minute to two weeks, a third of them in offices, 2 % a month vanish.
pub(crate) const OFFICES: Mix = Mix {
    every_s: &[(60, 0.2), (900, 0.2), (6 * HOUR, 0.3), (3 * DAY, 0.2), (14 * DAY, 0.1)],
    report: 0.7,
    on_leave: 0.0,
    leave_days: 0,
    die: 0.02,
    office: 0.3,
    after_boot: 0.5,
    cloned: 0.0,
};
/// One in five is away for three weeks.
pub(crate) const SUMMER: Mix = Mix { on_leave: 0.2, leave_days: 21, ..OFFICES };
/// One id in ten is used twice.
pub(crate) const CLONED: Mix = Mix { cloned: 0.1, ..OFFICES };
/// The third set, written down before it was played: from ten minutes to ten days, a fifth in offices of two time zones.
pub(crate) const THIRD: Mix = Mix {
    every_s: &[(600, 0.15), (2 * HOUR, 0.25), (12 * HOUR, 0.3), (2 * DAY, 0.2), (10 * DAY, 0.1)],
    report: 0.4,
    on_leave: 0.02,
    leave_days: 12,
    die: 0.01,
    office: 0.2,
    after_boot: 0.3,
    cloned: 0.0,
};
/// Its fleets that are always on: of an hour, and of five minutes.
pub(crate) const THIRD_HOURLY: Mix =
    Mix { every_s: &[(300, 0.6), (3000, 0.4)], office: 0.0, on_leave: 0.0, die: 0.001, ..THIRD };
pub(crate) const THIRD_FAST: Mix = Mix { every_s: &[(60, 0.5), (240, 0.5)], ..THIRD_HOURLY };
/// Devices of Ioto: they report nothing.
pub(crate) const THIRD_IOTO: Mix = Mix { report: 0.0, every_s: &[(HOUR, 0.3), (DAY, 0.7)], office: 0.0, ..THIRD };

/// Every device asks once a day, and reports nothing.
pub(crate) const DAILY: Mix =
    Mix { every_s: &[(DAY, 1.0)], report: 0.0, die: 0.0, office: 0.0, after_boot: 0.0, ..OFFICES };

/// One device, as far as it does not depend on an update.
#[derive(Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) every_s: i64,
    pub(crate) reports: bool,
    pub(crate) reports_before_boot: bool,
    pub(crate) asks_after_boot: bool,
    pub(crate) is_cloned: bool,
    /// Hours by which its office is behind, if it is in one.
    office: Option<i64>,
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
            (from, from + mix.leave_days * DAY)
        } else {
            (i64::MAX, i64::MAX)
        };
        let reports = dice.falls(mix.report);
        let reports_before_boot = dice.falls(0.5);
        let asks_after_boot = reports || (mix.after_boot > 0.0 && dice.falls(mix.after_boot));
        // A share of none throws no dice: the first set stays as it was.
        let is_in_office = mix.office > 0.0 && dice.falls(mix.office);
        let office = is_in_office.then(|| if dice.falls(0.5) { 0 } else { 8 });
        let is_cloned = mix.cloned > 0.0 && dice.falls(mix.cloned);
        Self { every_s, reports, reports_before_boot, asks_after_boot, is_cloned, office, silent }
    }

    /// The longest gap between its requests that the service has seen: longer than a day, or not remembered.
    pub(crate) fn long_gap_s(&self) -> i64 {
        let weekend_s = if self.office.is_some() { 62 * HOUR } else { 0 };
        self.every_s.max(weekend_s)
    }

    /// The next time from `now` on at which it is switched on. The first day is a Monday.
    pub(crate) fn awake(&self, now: i64) -> i64 {
        let Some(behind) = self.office else {
            return now;
        };
        let local = now - behind * HOUR;
        let (day, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let is_workday = |day: i64| day.rem_euclid(7) < 5;
        if is_workday(day) && (8 * HOUR..18 * HOUR).contains(&second) {
            return now;
        }
        let today = if second < 8 * HOUR { day } else { day + 1 };
        let opens = (today..).find(|day| is_workday(*day)).unwrap_or(today);
        opens * DAY + 8 * HOUR + behind * HOUR
    }

    pub(crate) fn is_silent(&self, now: i64) -> bool {
        (self.silent.0..self.silent.1).contains(&now)
    }
}
