//! Rights of a repair: it counts the claims of rollouts anew.

use std::future::Future;

use tidegate_core::count::Sums;
use tidegate_core::{DeviceId, ProductId, Timestamp};

use crate::record::{RolloutKey, UpdateRecord};
use crate::store::{OpenRollouts, RecountStore, Stored, VersionCounts, WriteDevices};

/// New numbers of a shard, from a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepairedShard {
    /// Claims that hold a place of it, or held one when they were stamped.
    pub granted: u64,
    /// Number of claims that it is to have granted first.
    pub used: u64,
}

/// Repairs counts. No function has these rights; an operator starts a repair.
pub trait RepairStore: RecountStore + WriteDevices + OpenRollouts {
    /// Writes what a shard has granted in the count of `generation`, for which it is shut; `false` when it is not.
    fn number_shard(
        &self,
        rollout: &RolloutKey,
        shard: u16,
        generation: u64,
        repaired: RepairedShard,
    ) -> impl Future<Output = Stored<bool>> + Send;

    /// Adds to the sums over the claims of a rollout what they lack.
    fn correct_sums(
        &self,
        rollout: &RolloutKey,
        correction: &Sums,
        now: Timestamp,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Adds to the numbers of devices by version what they lack.
    fn correct_versions(
        &self,
        product: &ProductId,
        correction: &VersionCounts,
        now: Timestamp,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Takes the mark from a rollout whose changes could not be counted, unless there are more since `record` was read.
    fn unmark(&self, record: &UpdateRecord) -> impl Future<Output = Stored<()>> + Send;

    /// Raises the revision of a device's item, so that no epoch that a device may know is given again.
    fn raise_device(&self, product: &ProductId, device: &DeviceId, by: u64) -> impl Future<Output = Stored<()>> + Send;

    /// Raises the revision of a product's head, so that no later catalog has the number of an earlier one.
    fn raise_head(&self, product: &ProductId, by: u64) -> impl Future<Output = Stored<()>> + Send;
}
