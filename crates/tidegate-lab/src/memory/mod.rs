//! The store in memory, for the simulator and for tests. It answers as [`DynamoStore`](tidegate_store::DynamoStore)
//! does, which `tests/tests/conformance.rs` shows, and forgets everything when it is dropped.
//!
//! It has no staleness: an eventual read is as fresh as a strong one, and an index is as fresh as the records. The
//! simulator puts stale reads between the store and its caller.

mod claims;
mod reads;
mod shard_item;
mod state;
mod sweep;
mod updates;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::shard::Shard;
use tidegate_core::{Claim, DeviceId, ProductId, UpdateId};
use tidegate_store::record::DeviceRecord;
use tidegate_store::store::Stored;

use self::shard_item::ShardItem;
use self::state::State;

/// The store in memory. A clone is another handle on the same records.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The shards of an update that exist.
    ///
    /// # Errors
    /// `Corrupt`, when a counter fell below zero.
    pub fn shard_counts(&self, update: &UpdateId) -> Stored<Vec<Shard>> {
        let state = self.state();
        state.rollout(update).into_iter().flat_map(|rollout| &rollout.shards).flatten().map(ShardItem::shard).collect()
    }

    /// Shows `visit` every claim on an update, in the order in which the devices got it. The store
    /// is locked meanwhile: `visit` must not call it.
    pub fn visit_claims(&self, update: &UpdateId, mut visit: impl FnMut(&DeviceId, &Claim)) {
        let state = self.state();
        let Some(number) = state.rollout_numbers.get(update) else {
            return;
        };
        for index in &state.rollouts[*number as usize].claimants {
            let device_item = &state.products[index.product as usize].devices[index.device as usize];
            if let Some(claim) = device_item.claim(*number) {
                visit(&device_item.id, claim);
            }
        }
    }

    /// Shows `visit` every device of a product that has a record, in the order in which they came.
    /// The store is locked meanwhile: `visit` must not call it.
    pub fn visit_devices(&self, product: &ProductId, mut visit: impl FnMut(&DeviceId, &DeviceRecord)) {
        let state = self.state();
        let devices = state.product(product).into_iter().flat_map(|items| &items.devices);
        for (device_item, record) in devices.filter_map(|device_item| Some((device_item, device_item.record.as_ref()?)))
        {
            visit(&device_item.id, record);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A caller that panicked did so outside: no method here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
