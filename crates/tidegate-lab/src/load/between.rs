//! A moment on the service's clock that is known only roughly.

use std::time::Duration;

use jiff::Timestamp;

/// `Date` is cut to the second, and the clock of a gateway is not the one of the function behind it.
const SLACK_S: i64 = 2;

/// A moment between two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    /// In seconds since 1970, as the other.
    earliest_s: i64,
    latest_s: i64,
}

impl Between {
    /// While the service worked on an answer of that `Date`, which took so long to come.
    #[must_use]
    pub fn working(date: Timestamp, took: Duration) -> Self {
        let took_s = i64::try_from(took.as_secs()).unwrap_or(i64::MAX).saturating_add(1);
        let date_s = date.as_second();
        Self {
            earliest_s: date_s.saturating_sub(took_s).saturating_sub(SLACK_S),
            latest_s: date_s.saturating_add(SLACK_S),
        }
    }

    /// The start of the period in which it was; `None` when it may have been in either of two. Periods
    /// start at multiples of their length since 1970.
    #[must_use]
    pub fn period(self, period_s: u64) -> Option<i64> {
        let period_s = i64::try_from(period_s).ok().filter(|period_s| *period_s > 0)?;
        let start = |at_s: i64| at_s.div_euclid(period_s).saturating_mul(period_s);
        Some(start(self.earliest_s)).filter(|earliest| *earliest == start(self.latest_s))
    }

    /// The least time since the start of its period.
    #[must_use]
    pub fn into_period_s(self, period_start_s: i64) -> i64 {
        self.earliest_s.saturating_sub(period_start_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_in_either_of_two_periods_is_in_none() {
        let check = |date_s: i64, took_ms: u64, expected: Option<i64>| {
            let date = Timestamp::from_second(date_s).expect("a valid time");
            let between = Between::working(date, Duration::from_millis(took_ms));
            assert_eq!(between.period(60), expected, "{date_s} {took_ms}");
        };
        check(630, 100, Some(600));
        check(603, 100, Some(600));
        check(602, 100, None);
        check(657, 100, Some(600));
        check(658, 100, None);
        check(630, 28_000, None);
    }
}
