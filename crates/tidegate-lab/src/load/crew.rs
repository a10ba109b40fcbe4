//! The connections: each sends a request when it is due and waits for the answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::between::Between;
use super::connection::{CallError, Connection};
use super::devices::{Devices, Turn};
use super::mix::Kind;
use super::pace::Pace;
use super::tally::{Done, Tally};

/// A connection that waits looks this often for a stop.
const NOTICE: Duration = Duration::from_millis(50);
/// Rest of a connection without a rate when there is no answer: a service that is down is not
/// asked ten thousand times a second.
const REST: Duration = Duration::from_millis(100);

/// Progress of a load: the devices and the measurements so far. All connections share it.
#[derive(Debug)]
pub struct Progress<E> {
    /// The devices.
    pub devices: Devices,
    /// The measurements.
    pub tally: Tally<E>,
}

/// Crew of connections, which share the devices and the pace.
#[derive(Debug)]
pub struct Crew<'a, E> {
    pace: Pace,
    deck: Vec<Kind>,
    progress: Mutex<Progress<E>>,
    started: Instant,
    next: AtomicU64,
    stop: &'a AtomicBool,
}

impl<'a, E: CallError> Crew<'a, E> {
    /// A crew that began at `started`, and stops when `stop` says so.
    #[must_use]
    pub fn new(pace: Pace, deck: Vec<Kind>, devices: Devices, started: Instant, stop: &'a AtomicBool) -> Self {
        let progress = Mutex::new(Progress { devices, tally: Tally::default() });
        Self { pace, deck, progress, started, next: AtomicU64::new(0), stop }
    }

    /// The devices and the measurements so far.
    pub fn progress(&self) -> MutexGuard<'_, Progress<E>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Number of requests that are due and have no connection.
    pub fn waiting(&self) -> u64 {
        self.pace.due_by(self.elapsed()).saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Works on one connection until everything is done.
    pub fn work(&self, connection: &impl Connection<Error = E>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = self.pace.due(number);
            if self.pace.is_over(number, due.unwrap_or_default().max(self.elapsed())) || !self.wait(due) {
                return;
            }
            let sent = self.elapsed();
            let turn = self.take_turn(number);
            let answer = connection.send(&turn.request);
            let is_unreachable = answer.as_ref().is_err_and(CallError::is_unreachable);
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
        let mut progress = self.progress();
        progress.tally.note_waiting(waiting);
        let turn = progress.devices.turn(kind);
        if turn.kind != kind {
            progress.tally.note_nothing_to_report();
        }
        turn
    }

    fn note(
        &self,
        turn: Turn,
        answer: Result<(Value, Option<jiff::Timestamp>), E>,
        due: Duration,
        sent: Duration,
        ended: Duration,
    ) {
        let kind = turn.kind;
        let since_sent = ended.saturating_sub(sent);
        let mut progress = self.progress();
        let outcome = match answer {
            Ok((answer, date)) => {
                let at = date.map(|date| Between::working(date, since_sent));
                progress.devices.answered(turn, &answer, at).map_err(E::from)
            }
            Err(error) => {
                progress.devices.failed(turn);
                Err(error)
            }
        };
        progress.tally.add(Done { kind, since_due: ended.saturating_sub(due), since_sent, outcome });
        if progress.tally.is_hopeless() {
            self.stop();
        }
    }

    /// Sends nothing more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends it.
    pub fn end(self) -> Progress<E> {
        self.progress.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
