//! Control over a faulty store: its plan of faults, its checker, and why handlers wait.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::count::Sums;
use tidegate_core::shard::Shard;
use tidegate_core::{DeviceId, ProductId, Timestamp};
use tidegate_store::record::{Head, KnownDevice, RolloutKey, Tally};

use crate::random::Random;
use crate::simulator::checker::InvariantChecker;
use crate::simulator::fault::{Call, Fault};
use crate::simulator::faulty::FaultyStore;

/// Chooses the fault of each call; `None` is no fault. It knows the number of the call.
pub type FaultPlan = Box<dyn FnMut(Call, &mut Random) -> Option<Fault> + Send>;

/// A write that reaches the store after its caller went on.
pub(super) type LateWrite = Box<dyn FnOnce(&FaultyStore) + Send>;

/// Reason why the handler that was polled last is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Waiting {
    /// It sleeps on tokio's clock, not in a store call.
    #[default]
    Clock,
    /// It waits for its turn; other handlers may go first.
    Turn,
    /// It waits for a slow call that takes so many milliseconds.
    Slow(i64),
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
    pub(super) random: Random,
    /// Writes that come late, each with its call and the number of the call after which it comes.
    pub(super) late: Vec<(u64, Call, LateWrite)>,
    pub(super) devices: BTreeMap<DeviceId, VecDeque<KnownDevice>>,
    pub(super) heads: BTreeMap<ProductId, VecDeque<Option<Head>>>,
    pub(super) shards: BTreeMap<(RolloutKey, u16), VecDeque<Option<Shard>>>,
    /// The tallies before their last write, by rollout and stream shard.
    pub(super) tallies: BTreeMap<RolloutKey, BTreeMap<String, Tally<Sums>>>,
}

impl Control {
    /// Notes why a handler waits. Of several reasons, the strongest counts: a handler can make calls side by side.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        self.waiting = self.waiting.max(waiting);
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("calls", &self.calls).field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
