//! Control over a faulty store: its plan of faults, its checker, and why handlers wait.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::limits::Allocation;
use tidegate_core::{DeviceId, ProductId, Timestamp, UpdateId};
use tidegate_store::record::{Head, KnownDevice};

use crate::random::Random;
use crate::simulator::checker::InvariantChecker;
use crate::simulator::fault::{Call, Fault, Guard};

/// Chooses the fault of each call; `None` is no fault.
pub type FaultPlan = Box<dyn FnMut(Call, &mut Random) -> Option<Fault> + Send>;

/// Reason why the handler that was polled last is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waiting {
    /// It sleeps on tokio's clock, not in a store call.
    #[default]
    Clock,
    /// It waits for its turn; other handlers may go first.
    Turn,
    /// It waits for a slow call.
    Slow,
    /// It was killed: the world drops it.
    Killed,
}

/// Control over a faulty store. All clones of the store share it.
pub struct Control {
    pub(super) plan: FaultPlan,
    /// The checker, which is told of every write that was applied.
    pub checker: InvariantChecker,
    /// Faults that were injected, by kind.
    pub injected: BTreeMap<Fault, u64>,
    /// Calls with their faults, if `keeps_log` is true.
    pub log: Vec<(Call, Option<Fault>)>,
    /// True if `log` is kept.
    pub keeps_log: bool,
    /// Number of calls.
    pub calls: u64,
    /// Reason why the handler that was polled last is waiting.
    pub waiting: Waiting,
    /// The true time.
    pub now: Timestamp,
    /// The condition of the storage protocol that is removed, if one is.
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
