//! Writes of check-ins and reports: claims and devices.

use std::collections::BTreeMap;

use tidegate_core::claim::CountDelta;
use tidegate_core::{Claim, ClaimState, ProductId, Timestamp, UpdateId};
use tidegate_store::record::{ClaimKey, DeviceWrite};
use tidegate_store::store::{CheckStore, ReportStore, Reservation, Reserved, SettleClaims, StoreError, Stored};

use super::MemoryStore;
use super::shard_item::ShardItem;

impl SettleClaims for MemoryStore {
    async fn settle(&self, key: &ClaimKey, before: &Claim, after: &Claim, delta: CountDelta) -> Stored<()> {
        self.end_reservation(key, before, after, delta, None)
    }
}

impl CheckStore for MemoryStore {
    async fn reserve(&self, reservation: &Reservation) -> Stored<Reserved> {
        let Reservation { key, claim, previous, .. } = reservation;
        let mut state = self.state();
        let (index, rollout) = (state.index_of(&key.product, &key.device), state.rollout_number(&key.update));
        let held = state.device_at(index).claim(rollout);
        let is_expected = match (held, previous) {
            (None, None) => true,
            (Some(held), Some(previous)) => held.epoch == previous.epoch && held.state == previous.state,
            _ => false,
        };
        // The claim is looked at first: if the device has one, the shard's state does not matter.
        if !is_expected {
            return Ok(Reserved::OtherClaim(held.cloned()));
        }
        let shard = state.shard_mut(rollout, claim.shard).copied();
        let Some(mut shard) = shard.filter(|shard| shard.has_room(reservation)) else {
            return Ok(Reserved::Refused(shard.as_ref().map(ShardItem::shard).transpose()?));
        };
        let device = reservation.device.as_ref().map(|write| (state.index_of(&write.product, &write.device), write));
        if device.is_some_and(|(index, write)| !state.device_at(index).expects(write)) {
            return Ok(Reserved::OtherDevice);
        }
        shard.spend(reservation);
        if let Some(stored) = state.shard_mut(rollout, claim.shard) {
            *stored = shard;
        }
        state.put_claim(index, rollout, claim);
        if let Some((index, write)) = device {
            state.write_device(index, write);
        }
        Ok(Reserved::Granted)
    }

    async fn save_device(&self, write: &DeviceWrite) -> Stored<()> {
        let mut state = self.state();
        let index = state.index_of(&write.product, &write.device);
        if !state.device_at(index).expects(write) {
            return Err(StoreError::Conflict);
        }
        state.write_device(index, write);
        Ok(())
    }

    async fn ask_for_catalog(&self, product: &ProductId, name: &str) -> Stored<()> {
        let mut state = self.state();
        let in_force = state.product_mut(product).head.as_mut().and_then(|head| head.catalog.as_mut());
        if let Some(in_force) = in_force.filter(|in_force| in_force.name == name) {
            in_force.revision = 0;
        }
        Ok(())
    }

    async fn add_deferrals(&self, update: &UpdateId, counts: &BTreeMap<&'static str, u64>) -> Stored<()> {
        let mut state = self.state();
        let deferrals = &mut state.rollout_mut(update).deferrals;
        for (code, deferred) in counts {
            let count = deferrals.entry(code).or_default();
            *count = count.saturating_add(*deferred);
        }
        Ok(())
    }
}

impl ReportStore for MemoryStore {
    async fn settle_and_save(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: &DeviceWrite,
    ) -> Stored<()> {
        self.end_reservation(key, before, after, delta, Some(device))
    }

    async fn save_running(&self, device: &DeviceWrite) -> Stored<()> {
        CheckStore::save_device(self, device).await
    }

    /// Progress is kept in the table for people; nothing reads it.
    async fn note_progress(
        &self,
        key: &ClaimKey,
        _status: &str,
        _progress: Option<u8>,
        _message: Option<&str>,
        _now: Timestamp,
    ) -> Stored<bool> {
        Ok(self.state().claim(key).is_some_and(|claim| claim.state == ClaimState::Reserved))
    }
}

impl MemoryStore {
    fn end_reservation(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: Option<&DeviceWrite>,
    ) -> Stored<()> {
        let mut state = self.state();
        let is_expected =
            state.claim(key).is_some_and(|claim| claim.epoch == before.epoch && claim.state == before.state);
        let (index, rollout) = (state.index_of(&key.product, &key.device), state.rollout_number(&key.update));
        if !is_expected || device.is_some_and(|write| !state.device_at(index).expects(write)) {
            return Err(StoreError::Conflict);
        }
        let Some(shard) = state.shard_mut(rollout, before.shard) else {
            return Err(StoreError::Unavailable("the claim's shard does not exist".into()));
        };
        shard.count(delta);
        state.put_claim(index, rollout, after);
        if let Some(write) = device {
            state.write_device(index, write);
        }
        Ok(())
    }
}
