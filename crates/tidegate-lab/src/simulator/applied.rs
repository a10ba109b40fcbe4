//! Writes that are applied: to the store in memory, to what stale reads remember, and to the checker.

use tidegate_core::Timestamp;
use tidegate_core::count::Sums;
use tidegate_core::{DeviceId, ProductId, UpdateId};
use tidegate_store::record::{
    AuditEntry, DeviceDeletion, DeviceWrite, Head, KnownDevice, Position, RolloutKey, Tally, UpdateRecord,
};
use tidegate_store::store::{Expected, GrantRequest, Granted, Include, Opening, Stored, Written};

use crate::simulator::faulty::{FaultyStore, remember};

/// A change of an update as the store writes it: the update, the expected state, and the audit entry.
pub(super) type UpdateChange = (UpdateRecord, Expected, Option<AuditEntry>);

/// A write of a tally.
pub(super) struct TallyWrite {
    pub(super) rollout: RolloutKey,
    pub(super) stream_shard: String,
    pub(super) before: Option<Position>,
    pub(super) after: Tally<Sums>,
    pub(super) now: Timestamp,
}

impl FaultyStore {
    /// Writes a `device.json` only: the first of the two writes of a device.
    pub(super) fn apply_doc(
        &self,
        product: &ProductId,
        device: &DeviceId,
        seen: Option<&tidegate_store::record::Seen>,
    ) {
        if let Some(doc) = seen.and_then(|seen| seen.doc.as_ref()) {
            self.inner.state().put_doc(product, device, doc);
        }
    }

    pub(super) fn apply_grant(&self, request: &GrantRequest) -> Stored<Granted> {
        let product = request.rollout.product();
        self.remember_device(product, &request.device);
        self.remember_shard(&request.rollout, request.after.shard);
        let granted = self.inner.state().grant(request);
        if granted == Granted::Yes {
            let state = self.inner.state();
            let known = state.device(product, &request.device, Include::Item);
            let shards = state.all_shards(&request.rollout);
            drop(state);
            let mut control = self.control();
            let now = control.now;
            control.checker.granted(request, &known, now);
            control.checker.device_changed(product, &request.device, &known);
            control.checker.compare_shards(&request.rollout, &shards);
        }
        Ok(granted)
    }

    pub(super) fn apply_device(&self, write: &DeviceWrite) -> Stored<Written> {
        self.remember_device(&write.product, &write.device);
        let revision = |known: &KnownDevice| known.record.as_ref().map(|record| record.revision);
        let before = revision(&self.inner.state().device(&write.product, &write.device, Include::Item));
        let written = self.inner.state().write_device(write);
        let known = self.inner.state().device(&write.product, &write.device, Include::Item);
        // A change whose audit entry is there already was applied before.
        if written == Written::Yes && revision(&known) != before {
            let mut control = self.control();
            let now = control.now;
            for change in &write.claims {
                control.checker.settled(&write.product, &write.device, change);
                control.checker.lost(&write.device, change, &known.record_or_default(), now);
            }
            control.checker.device_changed(&write.product, &write.device, &known);
        }
        Ok(written)
    }

    pub(super) fn apply_deletion(&self, deletion: &DeviceDeletion) -> Stored<bool> {
        let DeviceDeletion { product, device, .. } = deletion;
        self.remember_device(product, device);
        let is_deleted = self.inner.state().delete_device(deletion);
        let known = self.inner.state().device(product, device, Include::Item);
        self.control().checker.device_changed(product, device, &known);
        Ok(is_deleted)
    }

    pub(super) fn apply_raise(&self, rollout: &RolloutKey, number: u16, generation: u64, ceiling: u64) {
        self.remember_shard(rollout, number);
        let before = self.inner.state().shard(rollout, number);
        self.inner.state().raise_ceiling(rollout, number, generation, ceiling);
        let after = self.inner.state().shard(rollout, number);
        self.control().checker.raised(rollout, number, before.as_ref(), after.as_ref());
    }

    pub(super) fn apply_open(&self, rollout: &RolloutKey, number: u16, opening: &Opening) -> Stored<bool> {
        self.remember_shard(rollout, number);
        let is_open = self.inner.state().open_shard(rollout, number, opening);
        let after = self.inner.state().shard(rollout, number);
        self.control().checker.check_ceiling(rollout, number, after.as_ref());
        Ok(is_open)
    }

    pub(super) fn apply_want(&self, (update, expected, audit): &UpdateChange) -> Stored<()> {
        self.remember_head(&update.product);
        let before = self.inner.state().update(&update.product, &update.version);
        self.inner.state().want(update, *expected, audit.as_ref())?;
        self.control().checker.wanted(before.as_ref(), update);
        Ok(())
    }

    pub(super) fn apply_record(&self, (update, expected, audit): &UpdateChange) -> Stored<()> {
        self.remember_head(&update.product);
        let before = self.inner.state().update(&update.product, &update.version);
        self.inner.state().record_change(update, *expected, audit.as_ref())?;
        let mut control = self.control();
        control.checker.recorded(before.as_ref(), update);
        control.checker.changed(update);
        Ok(())
    }

    pub(super) fn apply_create(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        self.remember_head(&update.product);
        let is_created = self.inner.state().create_update(update, audit);
        if is_created {
            self.control().checker.changed(update);
        }
        Ok(is_created)
    }

    pub(super) fn apply_campaign(
        &self,
        last: &UpdateRecord,
        next: &UpdateRecord,
        revision: u64,
        audit: &AuditEntry,
    ) -> Stored<()> {
        self.remember_head(&next.product);
        self.inner.state().begin_campaign(last, next, revision, audit)?;
        self.control().checker.changed(next);
        Ok(())
    }

    pub(super) fn apply_delete(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        self.remember_head(&update.product);
        let is_deleted = self.inner.state().delete_update(update, audit);
        if is_deleted {
            self.control().checker.deleted(&update.id);
        }
        Ok(is_deleted)
    }

    pub(super) fn apply_stopped(&self, product: &ProductId, is_stopped: bool, audit: &AuditEntry) -> Stored<bool> {
        self.remember_head(product);
        let is_set = self.inner.state().set_stopped(product, is_stopped, audit);
        if is_set {
            self.control().checker.product_changed(product, is_stopped);
        }
        Ok(is_set)
    }

    pub(super) fn apply_catalog(
        &self,
        product: &ProductId,
        revision: u64,
        bytes: &[u8],
        ended: &[UpdateId],
    ) -> Stored<bool> {
        self.remember_head(product);
        Ok(self.inner.state().put_catalog(product, revision, bytes, ended))
    }

    pub(super) fn apply_product(
        &self,
        product: &ProductId,
        before: &Head,
        after: &Head,
        audit: &AuditEntry,
    ) -> Stored<bool> {
        self.remember_head(product);
        Ok(self.inner.state().set_product(product, before, after, audit))
    }

    pub(super) fn apply_tally(&self, write: &TallyWrite) -> Stored<bool> {
        let TallyWrite { rollout, stream_shard, before, after, now } = write;
        let replaced = self.inner.state().tally(rollout, stream_shard);
        let is_written = self.inner.state().put_tally(rollout, stream_shard, before.as_ref(), after, *now);
        if is_written {
            self.control().tallies.entry(rollout.clone()).or_default().insert(stream_shard.clone(), replaced);
            self.compare_sums(rollout);
        }
        Ok(is_written)
    }

    /// True if the claims of a rollout are counted: its counts are not final, and its update was not deleted.
    pub fn is_counted(&self, rollout: &RolloutKey) -> bool {
        self.inner.state().campaign(rollout).is_some_and(|record| !record.is_settled)
    }

    /// Compares the tallies, with the records that are in none of them, with the ledger.
    pub fn compare_sums(&self, rollout: &RolloutKey) {
        if !self.is_counted(rollout) {
            return;
        }
        let mut sums = self.inner.state().tallied(rollout).sums;
        sums.add(&self.inner.uncounted_sums(rollout));
        self.control().checker.compare_sums(rollout, &sums);
    }

    pub(super) fn remember_head(&self, product: &ProductId) {
        let head = self.inner.state().head(product);
        remember(self.control().heads.entry(product.clone()).or_default(), head);
    }

    fn remember_device(&self, product: &ProductId, device: &DeviceId) {
        let known = self.inner.state().device(product, device, Include::ItemAndDoc);
        remember(self.control().devices.entry(device.clone()).or_default(), known);
    }

    pub(super) fn remember_shard(&self, rollout: &RolloutKey, number: u16) {
        let shard = self.inner.state().shard(rollout, number);
        remember(self.control().shards.entry((rollout.clone(), number)).or_default(), shard);
    }
}
