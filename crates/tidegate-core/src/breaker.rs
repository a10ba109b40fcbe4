//! The breaker of a campaign's transfers. When downloads fail, new grants wait. This is no evidence against the image: a
//! network or a store is down.

use jiff::Timestamp;

/// Number of ended transfers that are looked at.
pub const LOOKED_AT: usize = 20;
/// Number of failed ones among them at which grants wait.
const MOST_FAILED: usize = 10;
/// The first wait and the longest one, in seconds.
const WAIT_S: (i64, i64) = (3600, 6 * 3600);
/// Seconds after the first trip at which the campaign is held.
const HOLD_AFTER_S: i64 = 86_400;

/// End of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The time.
    pub at: Timestamp,
    /// The files arrived.
    pub is_ok: bool,
}

/// State of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// Number of trips since transfers went well.
    pub trips: u32,
    /// Time of the first of these.
    pub first_trip: Option<Timestamp>,
    /// Time of the last one. Transfers that ended before it count no more.
    pub last_trip: Option<Timestamp>,
}

/// Consequence of the transfers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// None.
    None,
    /// Grants wait until this time.
    Wait {
        /// The breaker after this.
        breaker: Breaker,
        /// No grant before this time.
        not_before: Timestamp,
    },
    /// Transfers go well again.
    Reset,
    /// Transfers have failed for a day.
    Hold,
}

impl Breaker {
    /// Judges the transfers that ended, in any order.
    #[must_use]
    pub fn judge(&self, transfers: impl IntoIterator<Item = Transfer>, now: Timestamp) -> Consequence {
        let mut last = transfers.into_iter().filter(|transfer| Some(transfer.at) > self.last_trip).collect::<Vec<_>>();
        last.sort_by_key(|transfer| std::cmp::Reverse(transfer.at));
        last.truncate(LOOKED_AT);
        let failed = last.iter().filter(|transfer| !transfer.is_ok).count();
        let has_enough = last.len() == LOOKED_AT;
        if has_enough && failed < MOST_FAILED {
            return if self.trips > 0 { Consequence::Reset } else { Consequence::None };
        }
        let failing_s = self.first_trip.map_or(0, |first| now.as_second().saturating_sub(first.as_second()));
        if failing_s >= HOLD_AFTER_S {
            return Consequence::Hold;
        }
        if !has_enough {
            return Consequence::None;
        }
        let wait_s = WAIT_S.0.saturating_mul(1 << self.trips.min(8)).min(WAIT_S.1);
        let not_before = Timestamp::from_second(now.as_second().saturating_add(wait_s)).unwrap_or(now);
        let trips = self.trips.saturating_add(1);
        let breaker = Self { trips, first_trip: self.first_trip.or(Some(now)), last_trip: Some(now) };
        Consequence::Wait { breaker, not_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    /// One transfer a minute, of which every one or every second one fails.
    fn transfers(from: i64, count: i64, fails_each: i64) -> Vec<Transfer> {
        (0..count).map(|number| Transfer { at: at(from + number), is_ok: number % fails_each != 0 }).collect()
    }

    fn tripped(breaker: Breaker, from: i64, now: i64) -> (Breaker, i64) {
        match breaker.judge(transfers(from, 20, 1), at(now)) {
            Consequence::Wait { breaker, not_before } => (breaker, not_before.as_second() / 60 - now),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ten_failures_of_twenty_make_grants_wait_and_nine_do_not() {
        let ten = transfers(0, 20, 2);
        assert!(matches!(Breaker::default().judge(ten.clone(), at(20)), Consequence::Wait { .. }));
        let nine = ten.iter().map(|transfer| Transfer { is_ok: transfer.is_ok || transfer.at == at(0), ..*transfer });
        assert_eq!(Breaker::default().judge(nine, at(20)), Consequence::None);
        assert_eq!(Breaker::default().judge(transfers(0, 19, 1), at(20)), Consequence::None, "too few");
    }

    #[test]
    fn only_the_last_twenty_count_in_whatever_order_they_come() {
        let mut all = transfers(0, 20, 1);
        all.splice(0..0, (20..40).map(|minute| Transfer { at: at(minute), is_ok: true }));
        assert_eq!(Breaker::default().judge(all, at(40)), Consequence::None);
    }

    #[test]
    fn the_wait_doubles_from_an_hour_to_six_and_old_failures_count_no_more() {
        let (once, first) = tripped(Breaker::default(), 0, 20);
        assert_eq!(first, 60);
        assert_eq!(once.judge(transfers(0, 20, 1), at(80)), Consequence::None, "those before the trip");
        let (twice, second) = tripped(once, 80, 100);
        let (thrice, third) = tripped(twice, 220, 240);
        assert_eq!([second, third, tripped(thrice, 480, 500).1], [120, 240, 360]);
    }

    #[test]
    fn twenty_good_transfers_end_it_and_a_day_without_them_holds_the_campaign() {
        let (breaker, _) = tripped(Breaker::default(), 0, 20);
        let well = (80..100).map(|minute| Transfer { at: at(minute), is_ok: true });
        assert_eq!(breaker.judge(well, at(100)), Consequence::Reset);
        assert_eq!(breaker.judge([], at(20 + 1439)), Consequence::None);
        assert_eq!(breaker.judge([], at(20 + 1440)), Consequence::Hold, "also when nothing is transferred");
    }
}
