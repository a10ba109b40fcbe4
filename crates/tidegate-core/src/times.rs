//! Times of a product: how its devices live with updates.

use std::ops::RangeInclusive;

use crate::cadence::{Cadence, DAY_S};

/// Times of a product, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Time between two check-ins of a device, as the product expects it. A device is lost when it is silent for three
    /// times as long, unless it is used to longer silences.
    pub poll_s: i64,
    /// Time after a report of success in which the old version means that the device has not rebooted.
    pub boot_grace_s: i64,
    /// Time in which a device applies an update that it was offered.
    pub apply_within_s: i64,
    /// Time after its first sign for which a device is watched.
    pub watch_s: i64,
}

/// Time of a product that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be within {least} and {most} seconds; it is {value}")]
pub struct TimesError {
    /// Name of the setting.
    pub name: &'static str,
    /// Its value.
    pub value: i64,
    /// The shortest time.
    pub least: i64,
    /// The longest time.
    pub most: i64,
}

impl Times {
    /// Range of [`poll_s`](Self::poll_s): a minute to thirty days.
    pub const POLL_S: RangeInclusive<i64> = 60..=30 * DAY_S;
    /// Range of [`boot_grace_s`](Self::boot_grace_s): none to ninety days.
    pub const BOOT_GRACE_S: RangeInclusive<i64> = 0..=90 * DAY_S;
    /// Range of [`apply_within_s`](Self::apply_within_s): an hour to a year.
    pub const APPLY_WITHIN_S: RangeInclusive<i64> = 3600..=365 * DAY_S;
    /// Range of [`watch_s`](Self::watch_s): an hour to a year.
    pub const WATCH_S: RangeInclusive<i64> = 3600..=365 * DAY_S;

    /// Checks the range of each time.
    ///
    /// # Errors
    /// The first time out of its range.
    pub fn validate(&self) -> Result<(), TimesError> {
        let times = [
            ("poll_s", self.poll_s, Self::POLL_S),
            ("boot_grace_s", self.boot_grace_s, Self::BOOT_GRACE_S),
            ("apply_within_s", self.apply_within_s, Self::APPLY_WITHIN_S),
            ("watch_s", self.watch_s, Self::WATCH_S),
        ];
        match times.into_iter().find(|(_, value, range)| !range.contains(value)) {
            Some((name, value, range)) => Err(TimesError { name, value, least: *range.start(), most: *range.end() }),
            None => Ok(()),
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self { poll_s: Cadence::default().poll_s, boot_grace_s: 3600, apply_within_s: 8 * DAY_S, watch_s: 10 * DAY_S }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_of_its_range_is_named() {
        assert_eq!(Times::default().validate(), Ok(()));
        let error = Times { poll_s: 59, ..Times::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "poll_s must be within 60 and 2592000 seconds; it is 59");
        let error = Times { watch_s: 366 * DAY_S, ..Times::default() }.validate().unwrap_err();
        assert_eq!((error.name, error.most), ("watch_s", 365 * DAY_S));
    }
}
