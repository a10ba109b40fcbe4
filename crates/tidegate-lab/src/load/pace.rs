//! The pace of a load: the times at which its requests are due.
//!
//! With a rate, the times are fixed beforehand: a service that is slow for a second is asked no less in
//! that second, and the requests that had to wait for it count with their wait. Measuring from the moment
//! of sending instead would leave out just what the slowness did ("coordinated omission").

use std::time::Duration;

/// The longest load. A load that was started by mistake ends after it.
pub const LONGEST: Duration = Duration::from_secs(600);
/// The largest load. See [`LONGEST`].
pub const MOST_REQUESTS: u64 = 1_000_000;
/// Time after the end in which requests that were due before it may still be sent.
const GRACE: Duration = Duration::from_secs(10);

/// The times of all requests, numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Requests in a second; `None` is as fast as the connections allow.
    per_s: Option<f64>,
    requests: u64,
    duration: Duration,
}

/// Load that is not bounded.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PaceError {
    /// It takes too long.
    #[error("a load takes at most {} s; got {} s", LONGEST.as_secs(), .0.as_secs())]
    TooLong(Duration),
    /// It has no request, or too many.
    #[error("a load has 1 to {MOST_REQUESTS} requests; got {0}")]
    Requests(f64),
}

impl Pace {
    /// `per_s` requests a second for so long; 0 is as fast as the connections allow.
    ///
    /// # Errors
    /// When that is more than one load may be.
    pub fn new(per_s: f64, duration: Duration) -> Result<Self, PaceError> {
        if duration > LONGEST {
            return Err(PaceError::TooLong(duration));
        }
        if per_s == 0.0 {
            return Ok(Self { per_s: None, requests: MOST_REQUESTS, duration });
        }
        let requests = (per_s * duration.as_secs_f64()).round();
        if !(1.0..=MOST_REQUESTS as f64).contains(&requests) {
            return Err(PaceError::Requests(requests));
        }
        Ok(Self { per_s: Some(per_s), requests: requests as u64, duration })
    }

    /// Requests in a second, if there is a rate.
    #[must_use]
    pub fn per_s(&self) -> Option<f64> {
        self.per_s
    }

    /// The largest number of requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// When a request is due, after the start; `None` when it is as soon as a connection is free.
    #[must_use]
    pub fn due(&self, number: u64) -> Option<Duration> {
        self.per_s.map(|per_s| Duration::from_secs_f64(number as f64 / per_s))
    }

    /// Number of requests that were due by then.
    #[must_use]
    pub fn due_by(&self, elapsed: Duration) -> u64 {
        match self.per_s {
            Some(per_s) => ((elapsed.as_secs_f64() * per_s).floor() as u64 + 1).min(self.requests),
            None => 0,
        }
    }

    /// True when a request is not sent any more.
    #[must_use]
    pub fn is_over(&self, number: u64, elapsed: Duration) -> bool {
        let end = match self.per_s {
            Some(_) => self.duration + GRACE,
            None => self.duration,
        };
        number >= self.requests || elapsed > end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_s: f64, seconds: u64) -> Pace {
        Pace::new(per_s, Duration::from_secs(seconds)).expect("a bounded load")
    }

    #[test]
    fn requests_are_due_at_fixed_times_whatever_becomes_of_them() {
        let pace = pace(4.0, 2);
        assert_eq!(pace.requests(), 8);
        assert_eq!(pace.due(0), Some(Duration::ZERO));
        assert_eq!(pace.due(5), Some(Duration::from_millis(1250)));
        let due_by = |milliseconds| pace.due_by(Duration::from_millis(milliseconds));
        assert_eq!([due_by(0), due_by(249), due_by(250), due_by(1750), due_by(9000)], [1, 1, 2, 8, 8]);
    }

    #[test]
    fn requests_that_were_due_are_sent_for_a_while_after_the_end_and_then_no_more() {
        let pace = pace(4.0, 2);
        assert!(!pace.is_over(7, Duration::from_secs(11)));
        assert!(pace.is_over(7, Duration::from_secs(13)));
        assert!(pace.is_over(8, Duration::ZERO));
    }

    #[test]
    fn without_a_rate_the_end_is_the_end() {
        let pace = pace(0.0, 2);
        assert_eq!((pace.due(9), pace.due_by(Duration::from_secs(1))), (None, 0));
        assert!(!pace.is_over(9, Duration::from_secs(1)));
        assert!(pace.is_over(9, Duration::from_millis(2001)));
        assert!(pace.is_over(MOST_REQUESTS, Duration::ZERO));
    }

    #[test]
    fn a_load_is_bounded() {
        let refused = |per_s, seconds| Pace::new(per_s, Duration::from_secs(seconds)).err();
        assert_eq!(refused(1.0, 601), Some(PaceError::TooLong(Duration::from_secs(601))));
        assert_eq!(refused(1e5, 11), Some(PaceError::Requests(1_100_000.0)));
        assert_eq!(refused(1e-3, 11), Some(PaceError::Requests(0.0)));
        assert_eq!(refused(1e5, 10), None);
    }
}
