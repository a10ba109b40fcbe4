//! An update under load, as the service showed it: the loosest limits and the largest counts of all looks.

use super::between::Between;
use super::limits::{Limits, Seen};

/// A function that was asked in one period may still grant in it for as long as it may run.
const LONGEST_CALL_S: i64 = 10;

/// One look at an update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The state of the update.
    pub state: String,
    /// Its limits.
    pub limits: Limits,
    /// Devices that were ever offered it.
    pub offered: u64,
    /// Devices that have it in flight.
    pub in_flight: u64,
}

/// An update that is looked at again and again.
#[derive(Debug, Clone)]
pub struct Watched {
    version: String,
    state: String,
    /// The loosest limits of all looks.
    limits: Limits,
    offered: u64,
    /// The limits may have been lowered below these counts before the first look.
    first_offered: u64,
    first_in_flight: u64,
    most_in_flight: u64,
    most_in_period: u64,
    /// The period of the first look that tells of it, and how many had been offered by then.
    period: Option<(i64, u64)>,
}

impl Watched {
    /// An update before it is looked at. `first` is how it stands.
    #[must_use]
    pub fn new(version: &str, first: &Look) -> Self {
        Self {
            version: version.to_owned(),
            state: first.state.clone(),
            limits: first.limits,
            offered: first.offered,
            first_offered: first.offered,
            first_in_flight: first.in_flight,
            most_in_flight: 0,
            most_in_period: 0,
            period: None,
        }
    }

    /// Takes in a look. `at` is when the service counted.
    pub fn look(&mut self, look: &Look, at: Option<Between>) {
        self.limits = self.limits.or_looser(look.limits);
        self.state.clone_from(&look.state);
        self.most_in_flight = self.most_in_flight.max(look.in_flight);
        if let (Some(at), Some(period_s)) = (at, self.limits.period_s) {
            self.look_at_period(at, period_s, look.offered);
        }
        self.offered = look.offered;
    }

    fn look_at_period(&mut self, at: Between, period_s: u64, offered: u64) {
        let Some(now) = at.period(period_s) else {
            return;
        };
        match self.period {
            Some((period, before)) if period == now => {
                self.most_in_period = self.most_in_period.max(offered.saturating_sub(before));
            }
            _ if at.into_period_s(now) >= LONGEST_CALL_S => self.period = Some((now, offered)),
            _ => {}
        }
    }

    /// The version of the update.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its state at the last look.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The limits that it must keep. A count that was above its limit at the first look was there before an operator
    /// lowered the limit; only more of it is wrong.
    #[must_use]
    pub fn allowed(&self) -> Limits {
        Limits {
            max_devices: self.limits.max_devices.map(|limit| limit.max(self.first_offered)),
            max_in_flight: self.limits.max_in_flight.map(|limit| limit.max(self.first_in_flight)),
            ..self.limits
        }
    }

    /// The largest counts of all looks.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { devices: Some(self.offered), in_flight: Some(self.most_in_flight), in_period: Some(self.most_in_period) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn look(max_devices: u64, offered: u64, in_flight: u64) -> Look {
        let max_devices = Some(max_devices);
        let limits = Limits { max_devices, max_in_flight: Some(5), max_per_period: Some(3), period_s: Some(60) };
        Look { state: "active".into(), limits, offered, in_flight }
    }

    fn at(second: i64) -> Option<Between> {
        let date = jiff::Timestamp::from_second(second).expect("a valid time");
        Some(Between::working(date, Duration::ZERO))
    }

    #[test]
    fn the_most_of_every_look_is_kept_and_periods_are_counted_from_their_first_sure_look() {
        let mut watched = Watched::new("2.0.0", &look(100, 1, 1));
        for (second, offered, in_flight) in [(605, 2, 1), (620, 3, 4), (640, 6, 2), (661, 7, 2), (675, 9, 2)] {
            watched.look(&look(100, offered, in_flight), at(second));
        }
        assert_eq!(watched.seen(), Seen { devices: Some(9), in_flight: Some(4), in_period: Some(3) });
    }

    #[test]
    fn a_limit_that_was_lowered_below_what_was_given_is_not_exceeded_until_more_is_given() {
        let mut watched = Watched::new("2.0.0", &look(10, 20, 7));
        watched.look(&look(10, 20, 6), None);
        let allowed = watched.allowed();
        assert_eq!((allowed.max_devices, allowed.max_in_flight), (Some(20), Some(7)));
        watched.look(&look(30, 20, 6), None);
        assert_eq!(watched.allowed().max_devices, Some(30));
    }
}
