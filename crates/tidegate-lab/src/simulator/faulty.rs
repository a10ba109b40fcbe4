//! A store whose calls fail as those of DynamoDB can.
//!
//! Before each call the store asks its plan for a fault, and lets other handlers run. So the functions above it are
//! interleaved at every call, and can be killed between any two calls. The [`InvariantChecker`] sees every write that
//! was applied and compares it with the stored records.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tidegate_core::Timestamp;
use tidegate_store::store::{StoreError, Stored};

use crate::memory::MemoryStore;
use crate::random::Random;
use crate::simulator::checker::InvariantChecker;
use crate::simulator::control::{Control, FaultPlan, LateWrite, Waiting};
use crate::simulator::fault::{Call, Fault};
use crate::simulator::turn::Turn;

/// Earlier states of a record that a stale read may still answer.
const REMEMBERED: usize = 3;
/// The most calls after which a late write is applied.
const LATEST: u64 = 100;

/// A store in memory whose calls fail by a plan.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    pub(super) inner: MemoryStore,
    control: Arc<Mutex<Control>>,
}

impl FaultyStore {
    /// A store over `inner`. The plan is asked before each call.
    #[must_use]
    pub fn new(inner: MemoryStore, plan: FaultPlan, seed: u64, now: Timestamp) -> Self {
        inner.set_now(now);
        let control = Control {
            plan,
            checker: InvariantChecker::default(),
            injected: BTreeMap::new(),
            log: Vec::new(),
            keeps_log: false,
            calls: 0,
            waiting: Waiting::Clock,
            now,
            random: Random::new(seed),
            late: Vec::new(),
            devices: BTreeMap::new(),
            heads: BTreeMap::new(),
            shards: BTreeMap::new(),
            tallies: BTreeMap::new(),
        };
        Self { inner, control: Arc::new(Mutex::new(control)) }
    }

    /// The store below, without faults.
    #[must_use]
    pub fn inner(&self) -> &MemoryStore {
        &self.inner
    }

    /// The control that all clones share.
    pub fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the plan of faults.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.control().plan = plan;
    }

    /// Sets the true time.
    pub fn set_now(&self, now: Timestamp) {
        self.control().now = now;
        self.inner.set_now(now);
    }

    /// Applies every write that is still to come.
    pub fn land_all(&self) {
        let late = std::mem::take(&mut self.control().late);
        for (_, _, write) in late {
            write(self);
        }
    }

    /// The fault of a call, when its turn has come. Late writes that are due are applied first.
    pub(super) async fn turn(&self, call: Call) -> Option<Fault> {
        let fault = Turn::new(self, call).await;
        let calls = self.control().calls;
        while let Some(write) = self.due_write(calls) {
            write(self);
        }
        fault
    }

    fn due_write(&self, calls: u64) -> Option<LateWrite> {
        let late = &mut self.control().late;
        let due = late.iter().position(|(after, ..)| *after <= calls)?;
        Some(late.swap_remove(due).2)
    }

    /// Forgets the late writes of tallies: none is under way for as long as a tally must be quiet before it is folded.
    pub(super) fn forget_late_tallies(&self) {
        self.control().late.retain(|(_, call, _)| !matches!(call, Call::PutTally | Call::PutVersionTally));
    }

    fn come_late(&self, call: Call, write: LateWrite) {
        let mut control = self.control();
        let after = control.calls + 1 + control.random.below(LATEST);
        control.late.push((after, call, write));
    }

    async fn stop_here<T>(&self) -> T {
        std::future::poll_fn(|_| {
            self.control().wait(Waiting::Killed);
            Poll::Pending
        })
        .await
    }

    /// Runs a read, or fails. `odd` answers what only some faults make of it.
    pub(super) async fn read_or<T>(
        &self,
        call: Call,
        run: impl FnOnce() -> T + Send,
        odd: impl FnOnce(Fault, &mut Control) -> Option<Stored<T>> + Send,
    ) -> Stored<T> {
        let Some(fault) = self.turn(call).await else {
            return Ok(run());
        };
        if let Some(answer) = odd(fault, &mut self.control()) {
            return answer;
        }
        match fault {
            Fault::Slow | Fault::StaleRead | Fault::QueryTorn => Ok(run()),
            Fault::KilledAfter => self.stop_here().await,
            Fault::Malformed => Err(StoreError::Corrupt("an attribute has another type".into())),
            Fault::Throttle => Err(StoreError::Contended),
            fault => Err(unavailable(fault)),
        }
    }

    /// Runs a read, or fails.
    pub(super) async fn read<T>(&self, call: Call, run: impl FnOnce() -> T + Send) -> Stored<T> {
        self.read_or(call, run, |_, _| None).await
    }

    /// Runs a write. It is applied or not, once or twice, now or later, and its answer arrives or not.
    pub(super) async fn write<R, T>(&self, call: Call, request: R, apply: fn(&Self, &R) -> Stored<T>) -> Stored<T>
    where
        R: Send + Sync + 'static,
        T: 'static,
    {
        self.write_or(call, request, |_, _| {}, apply).await
    }

    /// Runs a write of two items, of which `first` writes the first one.
    pub(super) async fn write_or<R, T>(
        &self,
        call: Call,
        request: R,
        first: fn(&Self, &R),
        apply: fn(&Self, &R) -> Stored<T>,
    ) -> Stored<T>
    where
        R: Send + Sync + 'static,
        T: 'static,
    {
        match self.turn(call).await {
            None | Some(Fault::Slow | Fault::PlainConflict) => apply(self, &request),
            Some(Fault::Throttle | Fault::Conflict) => Err(StoreError::Contended),
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                // Its answer is lost.
                drop(apply(self, &request));
                Err(unavailable(fault))
            }
            Some(Fault::CommittedAndRetried) => {
                drop(apply(self, &request));
                apply(self, &request)
            }
            Some(Fault::LateDuplicate) => {
                let answer = apply(self, &request);
                self.come_late(call, Box::new(move |store| drop(apply(store, &request))));
                answer
            }
            Some(fault @ Fault::LandsLate) => {
                self.come_late(call, Box::new(move |store| drop(apply(store, &request))));
                Err(unavailable(fault))
            }
            Some(fault @ Fault::Partial) => {
                first(self, &request);
                Err(unavailable(fault))
            }
            Some(Fault::KilledAfter) => {
                drop(apply(self, &request));
                self.stop_here().await
            }
            Some(fault) => Err(unavailable(fault)),
        }
    }
}

fn unavailable(fault: Fault) -> StoreError {
    StoreError::Unavailable(fault.to_string().into())
}

/// Keeps an earlier state of a record for stale reads.
pub(super) fn remember<T>(states: &mut VecDeque<T>, state: T) {
    if states.len() == REMEMBERED {
        states.pop_front();
    }
    states.push_back(state);
}

/// An earlier state of a record, if one is remembered.
pub(super) fn recall<T: Clone>(states: Option<&VecDeque<T>>, random: &mut Random) -> Option<T> {
    let states = states?;
    states.get(random.place(states.len())).cloned()
}
