//! The breaker of a campaign's transfers. When downloads fail, new grants wait. This is no evidence against the image: a
//! network or a store is down.

use jiff::Timestamp;

use crate::claim::Claim;
use crate::life::{Life, State, to_the_second};

/// Number of ended transfers that are looked at.
pub const LOOKED_AT: usize = 20;
/// Number of failed ones among them at which grants wait.
pub const MOST_FAILED: usize = 10;
/// The first wait and the longest one, in seconds.
const WAIT_S: (i64, i64) = (3600, 6 * 3600);

/// End of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transfer {
    /// The time.
    pub at: Timestamp,
    /// The files arrived.
    pub is_ok: bool,
}

impl Transfer {
    /// The end of a transfer that a change of a claim tells of, if it does: the device could not fetch the files, or told
    /// what became of them. A newcomer's word says nothing about the others.
    #[must_use]
    pub fn of(before: Option<&Claim>, after: Option<&Claim>) -> Option<Self> {
        let (before, after) = (before?, after.filter(|after| !after.is_newcomer)?);
        let at = after.ended_at.or(after.life.installed_at).or(after.life.first_sign)?;
        Self::of_lives(&before.life, &after.life, at)
    }

    /// As [`of`](Self::of), for the lives of a claim.
    #[must_use]
    pub fn of_lives(before: &Life, after: &Life, at: Timestamp) -> Option<Self> {
        let has_failed = after.state == State::TransferFailed && before.state != State::TransferFailed;
        let has_arrived = after.state != State::Lost && has_files(after) && !has_files(before);
        (has_failed || has_arrived).then(|| Self { at: to_the_second(at), is_ok: has_arrived })
    }
}

/// Returns true if the device could not be in this state without the files.
fn has_files(life: &Life) -> bool {
    match life.state {
        State::Installed | State::Proved | State::Closed | State::Failed | State::Reverted => true,
        State::Lost => life.lost_from.is_some_and(|from| from != State::Open),
        State::Open | State::TransferFailed | State::Declined | State::NotTaken | State::Left => false,
    }
}

/// The last transfers that ended, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transfers(Vec<Transfer>);

impl Transfers {
    /// Adds the end of a transfer.
    pub fn add(&mut self, transfer: Transfer) {
        let place = self.0.partition_point(|known| *known <= transfer);
        self.0.insert(place, transfer);
        if self.0.len() > LOOKED_AT {
            self.0.remove(0);
        }
    }

    /// Every one, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Transfer> + '_ {
        self.0.iter().copied()
    }
}

/// State of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// Number of waits since transfers went well.
    pub waits: u32,
    /// No grant before this time; `None` while transfers go well.
    pub not_before: Option<Timestamp>,
}

impl Breaker {
    /// The breaker after these transfers; `None` if it stays as it is. Transfers that ended before a wait was over were
    /// begun before it, and do not count.
    #[must_use]
    pub fn after(&self, transfers: &Transfers, now: Timestamp) -> Option<Self> {
        let counted = || transfers.iter().filter(|transfer| Some(transfer.at) >= self.not_before);
        if counted().count() < LOOKED_AT {
            return None;
        }
        let failed = counted().filter(|transfer| !transfer.is_ok).count();
        match (failed >= MOST_FAILED, self.waits) {
            (true, waits) => {
                let wait_s = WAIT_S.0.saturating_mul(1 << waits.min(8)).min(WAIT_S.1);
                let not_before = Timestamp::from_second(now.as_second().saturating_add(wait_s)).ok();
                Some(Self { waits: waits.saturating_add(1), not_before })
            }
            (false, 0) => None,
            (false, _) => Some(Self::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Grant;
    use crate::life::Rules;
    use crate::life::table::Event;
    use crate::times::Times;
    use semver::Version;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    /// One transfer a minute, of which every one or every second one fails.
    fn transfers(from: i64, count: i64, fails_each: i64) -> Transfers {
        let mut transfers = Transfers::default();
        for number in 0..count {
            transfers.add(Transfer { at: at(from + number), is_ok: number % fails_each != 0 });
        }
        transfers
    }

    fn waits(breaker: Breaker, from: i64, now: i64) -> (Breaker, i64) {
        let breaker = breaker.after(&transfers(from, 20, 1), at(now)).unwrap();
        (breaker, breaker.not_before.unwrap().as_second() / 60 - now)
    }

    #[test]
    fn ten_failures_of_twenty_make_grants_wait_and_nine_do_not() {
        let after = |transfers: &Transfers| Breaker::default().after(transfers, at(20));
        assert_eq!(after(&transfers(0, 20, 2)), Some(Breaker { waits: 1, not_before: Some(at(80)) }));
        let mut nine = transfers(0, 20, 2);
        nine.add(Transfer { at: at(20), is_ok: true });
        assert_eq!(after(&nine), None);
        assert_eq!(after(&transfers(0, 19, 1)), None, "too few");
    }

    #[test]
    fn only_the_last_twenty_are_kept_in_whatever_order_they_come() {
        let mut kept = transfers(20, 20, 100);
        for minute in (0..20).rev() {
            kept.add(Transfer { at: at(minute), is_ok: false });
        }
        assert_eq!(kept, transfers(20, 20, 100));
    }

    #[test]
    fn the_wait_doubles_from_an_hour_to_six_and_what_was_begun_before_it_does_not_count() {
        let (once, first) = waits(Breaker::default(), 0, 20);
        assert_eq!(first, 60);
        assert_eq!(once.after(&transfers(59, 20, 1), at(80)), None, "one of them ended within the wait");
        let (twice, second) = waits(once, 80, 100);
        let (thrice, third) = waits(twice, 220, 240);
        assert_eq!([second, third, waits(thrice, 480, 500).1], [120, 240, 360]);
    }

    #[test]
    fn twenty_transfers_of_which_most_go_well_end_it() {
        let (breaker, _) = waits(Breaker::default(), 0, 20);
        assert_eq!(breaker.after(&transfers(80, 20, 3), at(100)), Some(Breaker::default()));
        assert_eq!(breaker.after(&transfers(80, 19, 3), at(100)), None);
    }

    #[test]
    fn a_transfer_ends_with_its_failure_or_with_the_first_word_of_what_became_of_it() {
        let version = Version::new(2, 0, 0);
        let rules = Rules::new(&Times::default(), 0);
        let granted = |before: Option<&Claim>, epoch| {
            let grant = Grant {
                version: &version,
                campaign: 1,
                was: "1.0.0",
                reports_as: &[],
                shard: 0,
                count: 0,
                epoch,
                test: 0,
                hour: 0,
                is_newcomer: false,
                now: at(0),
            };
            Claim::granted(before, &grant).unwrap()
        };
        let ends =
            |before: &Claim, after: &Claim| Transfer::of(Some(before), Some(after)).map(|transfer| transfer.is_ok);
        let open = granted(None, 1);
        let after = |claim: &Claim, event| claim.after(event, &rules, at(1)).unwrap();
        let failed = after(&open, Event::Transfer);
        assert_eq!(ends(&open, &failed), Some(false));
        assert_eq!(ends(&failed, &granted(Some(&failed), 2)), None, "another one begins");
        let installed = after(&open, Event::Success);
        assert_eq!(ends(&open, &installed), Some(true));
        let lost = after(&installed, Event::Due);
        assert_eq!(
            [ends(&installed, &lost), ends(&lost, &after(&lost, Event::Expected))],
            [None, None],
            "it ended before"
        );
        let lost = after(&open, Event::Due);
        assert_eq!([ends(&open, &lost), ends(&lost, &after(&lost, Event::Failure))], [None, Some(true)]);
        assert_eq!(ends(&open, &after(&open, Event::Declined)), None);
        assert_eq!(Transfer::of(None, Some(&open)), None);
        assert_eq!(ends(&open, &Claim { is_newcomer: true, ..failed }), None);
    }
}
