//! The turn of a store call: the point where other handlers run, and where the fault of the call is chosen.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::simulator::control::Waiting;
use crate::simulator::fault::{Call, Fault};
use crate::simulator::faulty::FaultyStore;

/// Stage of a call.
enum Stage {
    Asked,
    Waiting(Option<Fault>),
}

/// A store call that waits for its turn. It waits once, or forever when its function is killed.
pub(super) struct Turn<'a, S> {
    store: &'a FaultyStore<S>,
    call: Call,
    stage: Stage,
}

impl<'a, S> Turn<'a, S> {
    pub(super) fn new(store: &'a FaultyStore<S>, call: Call) -> Self {
        Self { store, call, stage: Stage::Asked }
    }
}

impl<S> Future for Turn<'_, S> {
    type Output = Option<Fault>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Fault>> {
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
                control.waiting = match fault {
                    Some(Fault::KilledBefore) => Waiting::Killed,
                    Some(Fault::Slow) => Waiting::Slow,
                    _ => Waiting::Turn,
                };
                self.stage = Stage::Waiting(fault);
                Poll::Pending
            }
            Stage::Waiting(Some(Fault::KilledBefore)) => {
                store.control().waiting = Waiting::Killed;
                Poll::Pending
            }
            Stage::Waiting(fault) => {
                store.control().waiting = Waiting::Clock;
                Poll::Ready(fault)
            }
        }
    }
}
