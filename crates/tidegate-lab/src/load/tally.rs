//! The measurements of a load: how long answers took, what they were, and which errors there were.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::connection::CallError;
use super::mix::Kind;

/// After so many failures and not one answer, more of them tell nothing.
const HOPELESS: u64 = 100;

/// Longer than any call and any load.
const LONGEST_US: u64 = 24 * 3_600_000_000;

/// The quantiles that are shown, with their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// Times of answers, in microseconds, each to a thousandth of itself.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        Self(Histogram::new(3).expect("a histogram may have 0 to 5 significant digits"))
    }

    fn add(&mut self, time: Duration) {
        // Not `saturating_record`, which never grows the histogram.
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LONGEST_US);
        self.0.record(us).expect("a histogram without an upper end grows to any number of microseconds");
    }

    /// The least, the quantiles, and the most, with their names, in milliseconds.
    #[must_use]
    pub fn milliseconds(&self) -> Vec<(&'static str, f64)> {
        let ends = [("min", self.0.min()), ("max", self.0.max())];
        let quantiles = QUANTILES.map(|(name, quantile)| (name, self.0.value_at_quantile(quantile)));
        let [least, most] = ends;
        let all = std::iter::once(least).chain(quantiles).chain(std::iter::once(most));
        // A quantile is the upper end of its bucket, which may lie above every value in it.
        all.map(|(name, us)| (name, us.min(self.0.max()) as f64 / 1000.0)).collect()
    }
}

/// The requests of one kind.
#[derive(Debug, Clone)]
pub struct Row {
    /// Counts of each answer.
    pub answers: BTreeMap<String, u64>,
    /// From the moment at which a request was due to its answer.
    pub since_due: Times,
    /// From the moment at which it was sent.
    pub since_sent: Times,
    /// Requests that got no answer, or an error.
    pub failed: u64,
}

impl Row {
    fn new() -> Self {
        Self { answers: BTreeMap::new(), since_due: Times::new(), since_sent: Times::new(), failed: 0 }
    }

    /// Number of answered requests.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }
}

/// One kind of failure.
#[derive(Debug, Clone)]
pub struct Failure<E> {
    /// Its count.
    pub count: u64,
    /// The first of them.
    pub first: E,
}

/// One request with its outcome.
#[derive(Debug)]
pub struct Done<E> {
    /// The kind of the request.
    pub kind: Kind,
    /// From the moment at which it was due to the end.
    pub since_due: Duration,
    /// From the moment at which it was sent to the end.
    pub since_sent: Duration,
    /// The answer in a word, or the error.
    pub outcome: Result<String, E>,
}

/// All measurements.
#[derive(Debug, Clone)]
pub struct Tally<E> {
    rows: BTreeMap<Kind, Row>,
    failures: BTreeMap<String, Failure<E>>,
    most_waiting: u64,
    nothing_to_report: u64,
}

impl<E> Default for Tally<E> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), failures: BTreeMap::new(), most_waiting: 0, nothing_to_report: 0 }
    }
}

impl<E: CallError> Tally<E> {
    /// Counts a request. The times are those of answers: how fast a service fails is another matter.
    pub fn add(&mut self, done: Done<E>) {
        let row = self.rows.entry(done.kind).or_insert_with(Row::new);
        match done.outcome {
            Ok(answer) => {
                *row.answers.entry(answer).or_default() += 1;
                row.since_due.add(done.since_due);
                row.since_sent.add(done.since_sent);
            }
            Err(error) => {
                row.failed += 1;
                self.failures.entry(error.kind()).or_insert(Failure { count: 0, first: error }).count += 1;
            }
        }
    }

    /// Notes how many requests were due and had no connection at some moment.
    pub fn note_waiting(&mut self, waiting: u64) {
        self.most_waiting = self.most_waiting.max(waiting);
    }

    /// Notes that a report was wanted while no device had anything to report.
    pub fn note_nothing_to_report(&mut self) {
        self.nothing_to_report += 1;
    }

    /// By kind, those that there were.
    pub fn rows(&self) -> impl Iterator<Item = (Kind, &Row)> {
        self.rows.iter().map(|(kind, row)| (*kind, row))
    }

    /// By kind of error.
    #[must_use]
    pub fn failures(&self) -> &BTreeMap<String, Failure<E>> {
        &self.failures
    }

    /// The most requests that were due and had no connection.
    #[must_use]
    pub fn most_waiting(&self) -> u64 {
        self.most_waiting
    }

    /// Number of check-ins that took the place of a report.
    #[must_use]
    pub fn nothing_to_report(&self) -> u64 {
        self.nothing_to_report
    }

    /// Number of answered requests.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.rows.values().map(Row::answered).sum()
    }

    /// Number of failed requests.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.rows.values().map(|row| row.failed).sum()
    }

    /// Number of answered check-ins.
    #[must_use]
    pub fn check_ins(&self) -> u64 {
        self.rows().filter(|(kind, _)| *kind != Kind::Report).map(|(_, row)| row.answered()).sum()
    }

    /// True when no answer is to be expected any more.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.answered() == 0 && self.failed() >= HOPELESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::connection::BadAnswer;

    #[derive(Debug, Clone)]
    enum Error {
        Refused,
        Unreachable,
    }

    impl From<BadAnswer> for Error {
        fn from(_: BadAnswer) -> Self {
            Self::Refused
        }
    }

    impl CallError for Error {
        fn kind(&self) -> String {
            match self {
                Self::Refused => "503 unavailable".to_owned(),
                Self::Unreachable => "unreachable".to_owned(),
            }
        }

        fn is_unreachable(&self) -> bool {
            matches!(self, Self::Unreachable)
        }
    }

    fn done(kind: Kind, milliseconds: u64, outcome: Result<String, Error>) -> Done<Error> {
        let since_sent = Duration::from_millis(milliseconds);
        Done { kind, since_due: since_sent * 2, since_sent, outcome }
    }

    #[test]
    fn times_are_those_of_their_kind_of_request_and_quantiles_are_exact_to_a_thousandth() {
        let mut tally = Tally::default();
        for milliseconds in 1..=1000 {
            tally.add(done(Kind::Idle, milliseconds, Ok("up_to_date".into())));
        }
        tally.add(done(Kind::Report, 5, Ok("success".into())));
        let (kind, idle) = tally.rows().next().expect("idle ones come first");
        assert_eq!((kind, idle.answered()), (Kind::Idle, 1000));
        for (index, expected) in [1.0, 500.0, 900.0, 990.0, 999.0, 1000.0].into_iter().enumerate() {
            let (name, sent) = idle.since_sent.milliseconds()[index];
            let (_, due) = idle.since_due.milliseconds()[index];
            assert!((sent - expected).abs() <= expected / 1000.0, "{name}: {sent}");
            assert!((due - 2.0 * expected).abs() <= 2.0 * expected / 1000.0, "{name}: {due}");
        }
        assert_eq!((tally.check_ins(), tally.answered()), (1000, 1001));
    }

    #[test]
    fn failures_are_counted_by_status_and_code_and_leave_the_times_alone() {
        let mut tally = Tally::default();
        tally.add(done(Kind::Offer, 1, Err(Error::Refused)));
        tally.add(done(Kind::Offer, 1, Err(Error::Refused)));
        tally.add(done(Kind::Idle, 1, Err(Error::Unreachable)));
        tally.add(done(Kind::Offer, 7, Ok("full".into())));
        let counts = tally.failures().iter().map(|(name, failure)| format!("{name}: {}", failure.count));
        assert_eq!(counts.collect::<Vec<_>>(), ["503 unavailable: 2", "unreachable: 1"]);
        let (_, offer) = tally.rows().last().expect("offers");
        assert_eq!(offer.since_sent.milliseconds().first().map(|(_, least)| *least), Some(7.0));
        assert_eq!((tally.answered(), tally.failed()), (1, 3));
    }

    #[test]
    fn a_service_that_never_answers_is_given_up() {
        let mut tally = Tally::default();
        for _ in 0..HOPELESS {
            assert!(!tally.is_hopeless());
            tally.add(done(Kind::Idle, 1, Err(Error::Unreachable)));
        }
        assert!(tally.is_hopeless());
        tally.add(done(Kind::Idle, 1, Ok("up_to_date".into())));
        assert!(!tally.is_hopeless());
    }
}
