//! The store in memory, for the simulator and for tests. It answers as [`DynamoStore`](tidegate_store::DynamoStore)
//! does, which `tests/tests/conformance.rs` shows, and forgets everything when it is dropped.
//!
//! It has no staleness: an eventual read is as fresh as a strong one. The simulator puts stale reads between the store
//! and its caller. It has a stream of its own: each write of a device's item, and each change of an update's state,
//! appends a record to one of its stream shards, for the function `count`.

mod calls;
mod devices;
mod shards;
mod state;
mod stream;
mod tallies;
mod tidy;
mod updates;
mod verification;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::count::Sums;
use tidegate_core::{DeviceId, ProductId, Timestamp};
use tidegate_store::record::{Event, ListEntry, RolloutKey, StateChange};
use tidegate_store::stream::Batch;

pub(crate) use self::state::State;
use crate::guard::Guard;

/// The store in memory. A clone is another handle on the same records.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// An empty store, whose stream has one shard.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store, whose stream has this number of shards; at least one.
    #[must_use]
    pub fn with_stream_shards(count: u32) -> Self {
        let store = Self::new();
        store.state().stream = stream::Stream::new(count);
        store
    }

    /// Sets the time that the next records of the stream get.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// The events of a product, in the order of the stream.
    #[must_use]
    pub fn events(&self, product: &ProductId) -> Vec<Event> {
        self.state().events(product)
    }

    /// The changes of the states of a product's updates, in the order in which they were written.
    #[must_use]
    pub fn state_changes(&self, product: &ProductId) -> Vec<StateChange> {
        self.state().state_changes(product)
    }

    /// Removes a condition of the storage protocol, or puts it back.
    pub fn remove_guard(&self, guard: Option<Guard>) {
        self.state().removed = guard;
    }

    /// Stream shards that can have a batch, in the order in which they came. A shard that was split disappears when it
    /// is read to its end.
    #[must_use]
    pub fn stream_shards(&self) -> Vec<String> {
        self.state().stream.readable()
    }

    /// Splits a stream shard: later records go to two new ones, which are readable when this one is read to its end.
    /// `false` if there is no such shard, or it was split before.
    pub fn split_stream_shard(&self, stream_shard: &str) -> bool {
        self.state().stream.split(stream_shard)
    }

    /// The next batch of a stream shard, with `most` records; the same batch until it is acknowledged or released.
    /// `None` if there are no records.
    #[must_use]
    pub fn next_batch(&self, stream_shard: &str, most: usize) -> Option<Batch> {
        self.state().stream.next_batch(stream_shard, most)
    }

    /// Acknowledges the batch that was read last: it is not read again.
    pub fn acknowledge(&self, stream_shard: &str) {
        self.state().stream.acknowledge(stream_shard);
    }

    /// Gives the batch back that was read last, so that the next batch may have another length.
    pub fn release(&self, stream_shard: &str) {
        self.state().stream.release(stream_shard);
    }

    /// Number of records that are not acknowledged.
    #[must_use]
    pub fn uncounted(&self) -> usize {
        self.state().stream.unread()
    }

    /// Sums over the records of a rollout that no tally contains yet.
    #[must_use]
    pub fn uncounted_sums(&self, rollout: &RolloutKey) -> Sums {
        self.state().uncounted_sums(rollout)
    }

    /// The lists of devices by outcome of a rollout. Only tests read them.
    #[must_use]
    pub fn entries(&self, rollout: &RolloutKey) -> Vec<ListEntry> {
        self.state().rollout(rollout).map(|rollout| rollout.entries.values().cloned().collect()).unwrap_or_default()
    }

    /// Devices that stand on a due page of a rollout.
    #[must_use]
    pub fn on_due_pages(&self, rollout: &RolloutKey) -> Vec<DeviceId> {
        let state = self.state();
        let pages = state.rollout(rollout).into_iter().flat_map(|rollout| rollout.due_pages.values());
        pages.flatten().cloned().collect()
    }

    /// Reads batches until nothing is left, and hands each to `count`. A batch is acknowledged if `count` succeeds.
    ///
    /// # Errors
    /// The first error of `count`.
    pub async fn count_all<E>(&self, count: impl AsyncFn(&Batch) -> Result<(), E>) -> Result<(), E> {
        while self.uncounted() > 0 {
            for stream_shard in self.stream_shards() {
                while let Some(batch) = self.next_batch(&stream_shard, MOST_IN_A_BATCH) {
                    count(&batch).await?;
                    self.acknowledge(&stream_shard);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A caller that panicked did so outside: no method here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records in a batch, as in the event source of the function `count`.
const MOST_IN_A_BATCH: usize = 2000;
