//! Control over a faulty store: its plan of faults, its checker, and why handlers wait.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::limits::Allocation;
use tidegate_core::{DeviceId, ProductId, Timestamp, UpdateId};
use tidegate_store::record::{Head, KnownDevice};

use crate::random::Random;
use crate::simulator::checker::InvariantChecker;
use crate::simulator::fault::{Call, Fault, Guard};

/// Decides what happens to a call.
pub type FaultPlan = Box<dyn FnMut(Call, &mut Random) -> Option<Fault> + Send>;

/// Why the handler that was polled last is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waiting {
    /// For nothing of ours: it sleeps on tokio's clock.
    #[default]
    Clock,
    /// For its turn; others may go first.
    Turn,
    /// For a slow call.
    Slow,
    /// For ever: it was killed, and is to be dropped.
    Killed,
}

/// Control over a faulty store: its clones share it.
pub struct Control {
    pub(super) plan: FaultPlan,
    /// The checker, which is told of every write that was applied.
    pub checker: InvariantChecker,
    /// Faults that were injected, by kind.
    pub injected: BTreeMap<Fault, u64>,
    /// Calls that were made, with what happened to them, if they are kept.
    pub log: Vec<(Call, Option<Fault>)>,
    /// True if `log` is kept.
    pub keeps_log: bool,
    /// Calls that were made.
    pub calls: u64,
    /// Why the handler that was polled last is waiting.
    pub waiting: Waiting,
    /// The true time.
    pub now: Timestamp,
    /// The condition that is taken away, if any.
    pub without: Option<Guard>,
    pub(super) random: Random,
    pub(super) devices: BTreeMap<DeviceId, VecDeque<KnownDevice>>,
    pub(super) heads: BTreeMap<ProductId, VecDeque<Option<Head>>>,
    pub(super) allocations: BTreeMap<UpdateId, Allocation>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("calls", &self.calls).field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
