//! The turn of a store call: the point where other handlers run, and where the fault of the call is chosen.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::simulator::control::Waiting;
use crate::simulator::fault::{Call, Fault};
use crate::simulator::faulty::FaultyStore;

/// Time that a slow call takes, in milliseconds.
const SLOW_MS: i64 = 3000;
/// The longest time for which transactions hold an item of a plain write that is applied in the end, in milliseconds.
const LONGEST_CONFLICT_MS: i64 = 900;

/// Stage of a call.
enum Stage {
    Asked,
    Waiting(Option<Fault>),
}

/// A store call that waits for its turn. It waits once, or forever when its function is killed.
pub(super) struct Turn<'a> {
    store: &'a FaultyStore,
    call: Call,
    stage: Stage,
}

impl<'a> Turn<'a> {
    pub(super) fn new(store: &'a FaultyStore, call: Call) -> Self {
        Self { store, call, stage: Stage::Asked }
    }
}

impl Future for Turn<'_> {
    type Output = Option<Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Fault>> {
        let store = self.store;
        let call = self.call;
        match self.stage {
            Stage::Asked => {
                let mut control = store.control();
                let control = &mut *control;
                let fault = (control.plan)(call, &mut control.random).filter(|fault| call.faults().contains(fault));
                control.calls += 1;
                if control.keeps_log {
                    control.log.push((call, fault));
                }
                if let Some(fault) = fault {
                    *control.injected.entry(fault).or_default() += 1;
                }
                let waiting = match fault {
                    Some(Fault::KilledBefore) => Waiting::Killed,
                    Some(Fault::Slow) => Waiting::Slow(SLOW_MS),
                    Some(Fault::PlainConflict) => Waiting::Slow(control.random.within(1, LONGEST_CONFLICT_MS)),
                    _ => Waiting::Turn,
                };
                control.wait(waiting);
                self.stage = Stage::Waiting(fault);
                // A handler that waits for many calls at a time polls only those that woke it.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Stage::Waiting(Some(Fault::KilledBefore)) => {
                store.control().wait(Waiting::Killed);
                Poll::Pending
            }
            Stage::Waiting(fault) => Poll::Ready(fault),
        }
    }
}
