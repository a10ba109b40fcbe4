//! The calls of the store's traits. The conditions of each stand beside the records that it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_core::count::Sums;
use tidegate_core::life::Bucket;
use tidegate_core::shard::{Gate, Shard};
use tidegate_core::{DeviceId, ProductId, Timestamp, UpdateId, Version};
use tidegate_store::record::{
    Audience, AuditEntry, DeviceDeletion, DeviceWrite, DuePage, Event, Fleet, Head, KnownDevice, ListEntry, Position,
    Reading, RolloutKey, SeriesPoint, Tallied, Tally, UpdateRecord,
};
use tidegate_store::store::{
    Expected, Freshness, GrantRequest, Granted, Include, Opening, Patience, ScannedDevices, Shut, Stored,
    VersionCounts, Written,
};
use tidegate_store::{
    CheckStore, CloseRollouts, CountStore, OpenRollouts, PublishStore, RaiseCeilings, ReadCatalog, ReadDevices,
    ReadUpdates, RecountStore, ReportStore, SweepStore, WriteDevices,
};

use super::MemoryStore;

impl ReadCatalog for MemoryStore {
    async fn head(&self, product: &ProductId, _: Freshness) -> Stored<Option<Head>> {
        Ok(self.state().head(product))
    }

    async fn catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        Ok(self.state().catalog(product, name))
    }

    async fn products(&self) -> Stored<Vec<ProductId>> {
        Ok(self.state().product_names())
    }
}

impl ReadDevices for MemoryStore {
    async fn device(
        &self,
        product: &ProductId,
        device: &DeviceId,
        include: Include,
        _: Freshness,
    ) -> Stored<KnownDevice> {
        Ok(self.state().device(product, device, include))
    }
}

impl WriteDevices for MemoryStore {
    async fn write_device(&self, write: &DeviceWrite) -> Stored<Written> {
        Ok(self.state().write_device(write))
    }
}

impl ReadUpdates for MemoryStore {
    async fn updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        Ok(self.state().updates(product))
    }

    async fn campaign(&self, rollout: &RolloutKey) -> Stored<Option<UpdateRecord>> {
        Ok(self.state().campaign(rollout))
    }

    async fn update(&self, product: &ProductId, version: &Version) -> Stored<Option<UpdateRecord>> {
        Ok(self.state().update(product, version))
    }

    async fn watched_until(&self, rollout: &RolloutKey) -> Stored<Option<Timestamp>> {
        Ok(self.state().watched_until(rollout))
    }

    async fn shards(&self, rollout: &RolloutKey, count: u16) -> Stored<Vec<Option<Shard>>> {
        Ok(self.state().shards(rollout, count))
    }

    async fn tallied(&self, rollout: &RolloutKey) -> Stored<Tallied> {
        Ok(self.state().tallied(rollout))
    }
}

impl RaiseCeilings for MemoryStore {
    async fn raise_ceiling(&self, rollout: &RolloutKey, shard: u16, generation: u64, ceiling: u64) -> Stored<()> {
        self.state().raise_ceiling(rollout, shard, generation, ceiling);
        Ok(())
    }
}

impl CloseRollouts for MemoryStore {
    async fn audit(&self, product: &ProductId, entry: &AuditEntry) -> Stored<()> {
        self.state().audit(product, entry);
        Ok(())
    }

    async fn want(&self, update: &UpdateRecord, expected: Expected, audit: Option<&AuditEntry>) -> Stored<()> {
        self.state().want(update, expected, audit)
    }

    async fn shut_shard(&self, rollout: &RolloutKey, shard: u16, gate: Gate, generation: u64) -> Stored<Shut> {
        Ok(self.state().shut_shard(rollout, shard, gate, generation))
    }

    async fn record_change(&self, update: &UpdateRecord, expected: Expected, audit: Option<&AuditEntry>) -> Stored<()> {
        self.state().record_change(update, expected, audit)
    }
}

impl OpenRollouts for MemoryStore {
    async fn open_shard(&self, rollout: &RolloutKey, shard: u16, opening: &Opening) -> Stored<bool> {
        Ok(self.state().open_shard(rollout, shard, opening))
    }

    async fn put_catalog(
        &self,
        product: &ProductId,
        revision: u64,
        bytes: Vec<u8>,
        ended: &[UpdateId],
    ) -> Stored<bool> {
        Ok(self.state().put_catalog(product, revision, &bytes, ended))
    }
}

impl CheckStore for MemoryStore {
    async fn grant(&self, request: &GrantRequest, _: Patience) -> Stored<Granted> {
        Ok(self.state().grant(request))
    }

    async fn shard(&self, rollout: &RolloutKey, shard: u16) -> Stored<Option<Shard>> {
        Ok(self.state().shard(rollout, shard))
    }

    async fn open_products(&self) -> Stored<BTreeSet<ProductId>> {
        let state = self.state();
        let is_open = |product: &ProductId| state.head(product).is_some_and(|head| head.registration_is_open);
        Ok(state.product_names().into_iter().filter(is_open).collect())
    }

    async fn ask_for_catalog(&self, product: &ProductId, name: &str) -> Stored<()> {
        self.state().ask_for_catalog(product, name);
        Ok(())
    }

    async fn add_deferrals(&self, rollout: &RolloutKey, counts: &BTreeMap<&'static str, u64>) -> Stored<()> {
        self.state().add_deferrals(rollout, counts);
        Ok(())
    }
}

impl ReportStore for MemoryStore {}

impl CountStore for MemoryStore {
    async fn tally(&self, rollout: &RolloutKey, stream_shard: &str) -> Stored<Tally<Sums>> {
        Ok(self.state().tally(rollout, stream_shard))
    }

    async fn put_tally(
        &self,
        rollout: &RolloutKey,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<Sums>,
        now: Timestamp,
    ) -> Stored<bool> {
        Ok(self.state().put_tally(rollout, stream_shard, before, after, now))
    }

    async fn version_tally(&self, product: &ProductId, stream_shard: &str) -> Stored<Tally<VersionCounts>> {
        Ok(self.state().version_tally(product, stream_shard))
    }

    async fn put_version_tally(
        &self,
        product: &ProductId,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<VersionCounts>,
        now: Timestamp,
    ) -> Stored<bool> {
        Ok(self.state().put_version_tally(product, stream_shard, before, after, now))
    }

    async fn put_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> Stored<()> {
        self.state().put_due_page(rollout, page);
        Ok(())
    }

    async fn put_entry(&self, rollout: &RolloutKey, entry: &ListEntry) -> Stored<()> {
        self.state().put_entry(rollout, entry);
        Ok(())
    }

    async fn put_event(&self, product: &ProductId, event: &Event) -> Stored<()> {
        self.state().put_event(product, event);
        Ok(())
    }

    async fn remove_entry(&self, rollout: &RolloutKey, device: &DeviceId, bucket: Bucket, revision: u64) -> Stored<()> {
        self.state().remove_entry(rollout, device, bucket, revision);
        Ok(())
    }

    async fn mark_for_recount(&self, product: &ProductId, version: &Version) -> Stored<()> {
        self.state().mark_for_recount(product, version);
        Ok(())
    }
}

impl PublishStore for MemoryStore {
    async fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        Ok(self.state().create_update(update, audit))
    }

    async fn begin_campaign(
        &self,
        last: &UpdateRecord,
        next: &UpdateRecord,
        revision: u64,
        audit: &AuditEntry,
    ) -> Stored<()> {
        self.state().begin_campaign(last, next, revision, audit)
    }

    async fn delete_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        Ok(self.state().delete_update(update, audit))
    }

    async fn set_stopped(&self, product: &ProductId, is_stopped: bool, audit: &AuditEntry) -> Stored<bool> {
        Ok(self.state().set_stopped(product, is_stopped, audit))
    }

    async fn audit_month(
        &self,
        product: &ProductId,
        month: Timestamp,
        before: Option<&str>,
        subject: Option<&str>,
        most: usize,
    ) -> Stored<(Vec<AuditEntry>, Option<String>)> {
        Ok(self.state().audit_month(product, month, before, subject, most))
    }

    async fn update_page(
        &self,
        product: &ProductId,
        before: Option<&str>,
        most: usize,
    ) -> Stored<(Vec<UpdateRecord>, Option<String>)> {
        Ok(self.state().update_page(product, before, most))
    }

    async fn versions(&self, product: &ProductId) -> Stored<Vec<(String, u64)>> {
        let running = self.state().version_counts(product).into_iter().filter_map(|(version, devices)| {
            let devices = u64::try_from(devices).ok().filter(|devices| *devices > 0)?;
            Some((version, devices))
        });
        Ok(running.collect())
    }

    async fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
        most: usize,
    ) -> Stored<(Vec<DeviceId>, Option<DeviceId>)> {
        Ok(self.state().devices_on(product, version, after, most))
    }

    async fn listed(
        &self,
        rollout: &RolloutKey,
        bucket: Bucket,
        after: Option<&DeviceId>,
        most: usize,
    ) -> Stored<(Vec<ListEntry>, bool)> {
        Ok(self.state().listed(rollout, bucket, after, most))
    }

    async fn delete_device(&self, deletion: &DeviceDeletion) -> Stored<bool> {
        Ok(self.state().delete_device(deletion))
    }

    async fn set_product(&self, product: &ProductId, before: &Head, after: &Head, audit: &AuditEntry) -> Stored<bool> {
        Ok(self.state().set_product(product, before, after, audit))
    }

    async fn deferrals(&self, rollout: &RolloutKey) -> Stored<BTreeMap<String, u64>> {
        Ok(self.state().deferrals(rollout))
    }

    async fn series(&self, rollout: &RolloutKey) -> Stored<Vec<SeriesPoint>> {
        let state = self.state();
        Ok(state.rollout(rollout).map(|rollout| rollout.series.values().copied().collect()).unwrap_or_default())
    }
}

impl SweepStore for MemoryStore {
    async fn due_pages(&self, rollout: &RolloutKey, end: Timestamp) -> Stored<Vec<DuePage>> {
        Ok(self.state().due_pages(rollout, end))
    }

    async fn move_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> Stored<()> {
        self.state().put_due_page(rollout, page);
        Ok(())
    }

    async fn remove_due_page(&self, rollout: &RolloutKey, name: &str) -> Stored<()> {
        self.state().remove_due_page(rollout, name);
        Ok(())
    }

    async fn members(&self, rollout: &RolloutKey) -> Stored<Vec<DeviceId>> {
        Ok(self.state().members(rollout))
    }

    async fn devices(&self, product: &ProductId, devices: &[DeviceId]) -> Stored<Vec<(DeviceId, KnownDevice)>> {
        Ok(self.state().devices(product, devices))
    }

    async fn put_reading(&self, rollout: &RolloutKey, reading: &Reading) -> Stored<()> {
        self.state().put_reading(rollout, reading);
        Ok(())
    }

    async fn record_series(&self, rollout: &RolloutKey, point: &SeriesPoint) -> Stored<()> {
        self.state().record_series(rollout, point);
        Ok(())
    }

    async fn scan_fleet(&self, after: Option<&str>) -> Stored<ScannedDevices> {
        Ok(self.state().scan_devices(after, Include::ItemAndDoc))
    }

    async fn fleet_snapshot(&self) -> Stored<Option<Vec<u8>>> {
        Ok(self.state().fleet_snapshot())
    }

    async fn put_fleet_snapshot(&self, bytes: Vec<u8>) -> Stored<()> {
        self.state().put_fleet_snapshot(bytes);
        Ok(())
    }

    async fn put_audience(&self, rollout: &RolloutKey, audience: &Audience) -> Stored<()> {
        self.state().put_audience(rollout, audience);
        Ok(())
    }

    async fn put_fleet(&self, product: &ProductId, fleet: &Fleet) -> Stored<()> {
        self.state().put_fleet(product, fleet);
        Ok(())
    }

    async fn put_members(&self, rollout: &RolloutKey, members: &[DeviceId]) -> Stored<()> {
        self.state().put_members(rollout, members);
        Ok(())
    }
}

impl RecountStore for MemoryStore {
    async fn scan_devices(&self, after: Option<&str>) -> Stored<ScannedDevices> {
        Ok(self.state().scan_devices(after, Include::Item))
    }

    async fn version_counts(&self, product: &ProductId) -> Stored<VersionCounts> {
        Ok(self.state().version_counts(product))
    }
}
