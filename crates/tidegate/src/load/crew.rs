//! The connections: each sends a request when it is due and waits for the answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::between::Between;
use super::fleet::{Fleet, Turn};
use super::mix::Kind;
use super::pace::Pace;
use super::tally::{Done, Tally};
use crate::api_client::ApiClient;
use crate::error::CommandError;

/// How soon a connection that waits notices that it is to stop.
const NOTICE: Duration = Duration::from_millis(50);
/// How long a connection without a rate rests when there is no answer: a service that is down is not
/// asked ten thousand times a second.
const REST: Duration = Duration::from_millis(100);

/// What all connections work on.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The devices.
    pub fleet: Fleet,
    /// What was measured.
    pub tally: Tally,
}

/// All connections together.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    pace: Pace,
    deck: Vec<Kind>,
    ledger: Mutex<Ledger>,
    started: Instant,
    next: AtomicU64,
    stop: &'a AtomicBool,
}

impl<'a> Crew<'a> {
    /// A crew that begins now, and stops when `stop` says so.
    pub(super) fn new(pace: Pace, deck: Vec<Kind>, fleet: Fleet, stop: &'a AtomicBool) -> Self {
        let ledger = Mutex::new(Ledger { fleet, tally: Tally::default() });
        Self { pace, deck, ledger, started: crate::time::start(), next: AtomicU64::new(0), stop }
    }

    /// The devices and what was measured so far.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it has been going on.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many requests are due and have no connection.
    pub(super) fn waiting(&self) -> u64 {
        self.pace.due_by(self.elapsed()).saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Works on one connection until everything is done.
    pub(super) fn work(&self, client: &ApiClient) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = self.pace.due(number);
            if self.pace.is_over(number, due.unwrap_or_default().max(self.elapsed())) || !self.wait(due) {
                return;
            }
            let sent = self.elapsed();
            let turn = self.take_turn(number);
            let answer = client.post_dated(&turn.path, &turn.body);
            let is_unreachable = matches!(answer, Err(CommandError::Unreachable(_)));
            let ended = self.elapsed();
            self.note(turn, answer, due.unwrap_or(sent), sent, ended);
            if is_unreachable && due.is_none() {
                std::thread::sleep(REST);
            }
        }
    }

    /// Waits until a request is due; answers whether it is to be sent.
    fn wait(&self, due: Option<Duration>) -> bool {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            match due.and_then(|due| due.checked_sub(self.elapsed())) {
                None | Some(Duration::ZERO) => return true,
                Some(left) => std::thread::sleep(left.min(NOTICE)),
            }
        }
    }

    fn take_turn(&self, number: u64) -> Turn {
        let place = usize::try_from(number % (self.deck.len().max(1) as u64)).unwrap_or(0);
        let kind = self.deck.get(place).copied().unwrap_or(Kind::Idle);
        let waiting = self.waiting();
        let mut ledger = self.ledger();
        ledger.tally.note_waiting(waiting);
        let turn = ledger.fleet.turn(kind);
        if turn.kind != kind {
            ledger.tally.note_nothing_to_report();
        }
        turn
    }

    fn note(
        &self,
        turn: Turn,
        answer: Result<(serde_json::Value, Option<jiff::Timestamp>), CommandError>,
        due: Duration,
        sent: Duration,
        ended: Duration,
    ) {
        let kind = turn.kind;
        let since_sent = ended.saturating_sub(sent);
        let mut ledger = self.ledger();
        let outcome = match answer {
            Ok((answer, date)) => {
                let at = date.map(|date| Between::working(date, since_sent));
                ledger.fleet.answered(turn, &answer, at)
            }
            Err(error) => {
                ledger.fleet.failed(turn);
                Err(error)
            }
        };
        ledger.tally.add(Done { kind, since_due: ended.saturating_sub(due), since_sent, outcome });
        if ledger.tally.is_hopeless() {
            self.stop();
        }
    }

    /// Sends nothing more.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends it.
    pub(super) fn end(self) -> Ledger {
        self.ledger.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
