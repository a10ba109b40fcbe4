//! The store's calls, each with the faults that it can have.

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
use tidegate_store::tidy::{Folded, TidiedImages};
use tidegate_store::verification::{AskForVerification, Verification, WantedVerification};
use tidegate_store::{
    CheckStore, CloseRollouts, CountStore, OpenRollouts, PublishStore, RaiseCeilings, ReadCatalog, ReadDevices,
    ReadUpdates, RecountStore, ReportStore, SweepStore, TidyStore, WriteDevices,
};

use crate::simulator::applied::TallyWrite;
use crate::simulator::fault::{Call, Fault};
use crate::simulator::faulty::{FaultyStore, recall};

impl ReadCatalog for FaultyStore {
    async fn head(&self, product: &ProductId, freshness: Freshness) -> Stored<Option<Head>> {
        let call = if freshness == Freshness::Strong { Call::HeadStrong } else { Call::Head };
        let run = || self.inner.state().head(product);
        self.read_or(call, run, |fault, control| {
            let is_stale = fault == Fault::StaleRead;
            is_stale.then(|| recall(control.heads.get(product), &mut control.random).map(Ok))?
        })
        .await
    }

    async fn catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        let run = || self.inner.state().catalog(product, name);
        self.read_or(Call::Catalog, run, |fault, _| {
            // Its end is missing.
            let half = |bytes: Arc<[u8]>| bytes.iter().copied().take(bytes.len() / 2).collect();
            (fault == Fault::Malformed).then(|| Ok(run().map(half)))
        })
        .await
    }

    async fn products(&self) -> Stored<Vec<ProductId>> {
        let run = || self.inner.state().product_names();
        self.read_or(Call::Products, run, |fault, _| {
            let mut products = run();
            match fault {
                // A product that is missed is swept a minute later.
                Fault::StaleRead => products.truncate(products.len() / 2),
                Fault::Malformed => drop(products.pop()),
                _ => return None,
            }
            Some(Ok(products))
        })
        .await
    }
}

impl ReadDevices for FaultyStore {
    async fn device(
        &self,
        product: &ProductId,
        device: &DeviceId,
        include: Include,
        freshness: Freshness,
    ) -> Stored<KnownDevice> {
        let call = if freshness == Freshness::Strong { Call::DeviceStrong } else { Call::DeviceEventual };
        let run = || self.inner.state().device(product, device, include);
        self.read_or(call, run, |fault, control| {
            let is_stale = fault == Fault::StaleRead;
            let mut known = is_stale.then(|| recall(control.devices.get(device), &mut control.random))??;
            if let Some(record) = known.record.as_mut().filter(|_| include == Include::Item) {
                record.attributes = None;
            }
            Some(Ok(known))
        })
        .await
    }
}

impl WriteDevices for FaultyStore {
    async fn write_device(&self, write: &DeviceWrite) -> Stored<Written> {
        let doc = |store: &Self, write: &DeviceWrite| {
            store.apply_doc(&write.product, &write.device, write.seen.as_ref());
        };
        self.write_or(Call::WriteDevice, write.clone(), doc, Self::apply_device).await
    }
}

impl ReadUpdates for FaultyStore {
    async fn updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        let run = || self.inner.state().updates(product);
        self.read_or(Call::Updates, run, |fault, control| {
            // One bad record never hides the others.
            (fault == Fault::Malformed).then(|| {
                let mut records = run();
                if !records.is_empty() {
                    records.remove(control.random.place(records.len()));
                }
                Ok(records)
            })
        })
        .await
    }

    async fn update(&self, product: &ProductId, version: &Version) -> Stored<Option<UpdateRecord>> {
        self.read(Call::Update, || self.inner.state().update(product, version)).await
    }

    async fn campaign(&self, rollout: &RolloutKey) -> Stored<Option<UpdateRecord>> {
        self.read(Call::Campaign, || self.inner.state().campaign(rollout)).await
    }

    async fn watched_until(&self, rollout: &RolloutKey) -> Stored<Option<Timestamp>> {
        self.read(Call::WatchedUntil, || self.inner.state().watched_until(rollout)).await
    }

    async fn shards(&self, rollout: &RolloutKey, count: u16) -> Stored<Vec<Option<Shard>>> {
        self.read(Call::Shards, || self.inner.state().shards(rollout, count)).await
    }

    async fn tallied(&self, rollout: &RolloutKey) -> Stored<Tallied> {
        let run = || self.inner.state().tallied(rollout);
        self.read_or(Call::Tallied, run, |fault, control| {
            if fault != Fault::QueryTorn {
                return None;
            }
            let before = control.tallies.get(rollout)?;
            let is_old = control.random.below(1 << 8);
            let old = before.iter().enumerate().filter(|(number, _)| is_old >> (number % 8) & 1 == 1);
            let old = old.map(|(_, (stream_shard, tally))| (stream_shard.as_str(), tally)).collect();
            Some(Ok(self.inner.state().tallied_with(rollout, &old)))
        })
        .await
    }
}

impl RaiseCeilings for FaultyStore {
    async fn raise_ceiling(&self, rollout: &RolloutKey, shard: u16, generation: u64, ceiling: u64) -> Stored<()> {
        let raise = (rollout.clone(), shard, generation, ceiling);
        self.write(Call::RaiseCeiling, raise, |store, (rollout, shard, generation, ceiling)| {
            store.apply_raise(rollout, *shard, *generation, *ceiling);
            Ok(())
        })
        .await
    }
}

impl CloseRollouts for FaultyStore {
    async fn audit(&self, product: &ProductId, entry: &AuditEntry) -> Stored<()> {
        self.write(Call::Audit, (product.clone(), entry.clone()), |store, (product, entry)| {
            store.inner.state().audit(product, entry);
            Ok(())
        })
        .await
    }

    async fn want(&self, update: &UpdateRecord, expected: Expected, audit: Option<&AuditEntry>) -> Stored<()> {
        self.write(Call::Want, (update.clone(), expected, audit.cloned()), Self::apply_want).await
    }

    async fn shut_shard(&self, rollout: &RolloutKey, shard: u16, gate: Gate, generation: u64) -> Stored<Shut> {
        let shut = (rollout.clone(), shard, gate, generation);
        self.write(Call::ShutShard, shut, |store, (rollout, shard, gate, generation)| {
            store.remember_shard(rollout, *shard);
            Ok(store.inner.state().shut_shard(rollout, *shard, *gate, *generation))
        })
        .await
    }

    async fn record_change(&self, update: &UpdateRecord, expected: Expected, audit: Option<&AuditEntry>) -> Stored<()> {
        self.write(Call::RecordChange, (update.clone(), expected, audit.cloned()), Self::apply_record).await
    }
}

impl OpenRollouts for FaultyStore {
    async fn open_shard(&self, rollout: &RolloutKey, shard: u16, opening: &Opening) -> Stored<bool> {
        let period = |store: &Self, (rollout, shard, opening): &(RolloutKey, u16, Opening)| {
            store.inner.state().move_period(rollout, *shard, opening);
        };
        let open = (rollout.clone(), shard, *opening);
        self.write_or(Call::OpenShard, open, period, |store, (rollout, shard, opening)| {
            store.apply_open(rollout, *shard, opening)
        })
        .await
    }

    async fn put_catalog(
        &self,
        product: &ProductId,
        revision: u64,
        bytes: Vec<u8>,
        ended: &[UpdateId],
    ) -> Stored<bool> {
        let catalog = (product.clone(), revision, bytes, ended.to_vec());
        self.write(Call::PutCatalog, catalog, |store, (product, revision, bytes, ended)| {
            store.apply_catalog(product, *revision, bytes, ended)
        })
        .await
    }
}

impl CheckStore for FaultyStore {
    async fn grant(&self, request: &GrantRequest, _: Patience) -> Stored<Granted> {
        let doc = |store: &Self, request: &GrantRequest| {
            store.apply_doc(request.rollout.product(), &request.device, request.seen.as_ref());
        };
        self.write_or(Call::Grant, request.clone(), doc, Self::apply_grant).await
    }

    async fn shard(&self, rollout: &RolloutKey, shard: u16) -> Stored<Option<Shard>> {
        let run = || self.inner.state().shard(rollout, shard);
        self.read_or(Call::Shard, run, |fault, control| {
            let is_stale = fault == Fault::StaleRead;
            is_stale.then(|| recall(control.shards.get(&(rollout.clone(), shard)), &mut control.random).map(Ok))?
        })
        .await
    }

    async fn open_products(&self) -> Stored<BTreeSet<ProductId>> {
        self.read(Call::OpenProducts, || ()).await?;
        self.inner.open_products().await
    }

    async fn ask_for_catalog(&self, product: &ProductId, name: &str) -> Stored<()> {
        self.write(Call::AskForCatalog, (product.clone(), name.to_string()), |store, (product, name)| {
            store.remember_head(product);
            store.inner.state().ask_for_catalog(product, name);
            Ok(())
        })
        .await
    }

    async fn add_deferrals(&self, rollout: &RolloutKey, counts: &BTreeMap<&'static str, u64>) -> Stored<()> {
        self.write(Call::AddDeferrals, (rollout.clone(), counts.clone()), |store, (rollout, counts)| {
            store.inner.state().add_deferrals(rollout, counts);
            Ok(())
        })
        .await
    }
}

impl ReportStore for FaultyStore {}

impl CountStore for FaultyStore {
    async fn tally(&self, rollout: &RolloutKey, stream_shard: &str) -> Stored<Tally<Sums>> {
        self.read(Call::Tally, || self.inner.state().tally(rollout, stream_shard)).await
    }

    async fn put_tally(
        &self,
        rollout: &RolloutKey,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<Sums>,
        now: Timestamp,
    ) -> Stored<bool> {
        let write = TallyWrite {
            rollout: rollout.clone(),
            stream_shard: stream_shard.to_string(),
            before: before.cloned(),
            after: after.clone(),
            now,
        };
        self.write(Call::PutTally, write, Self::apply_tally).await
    }

    async fn version_tally(&self, product: &ProductId, stream_shard: &str) -> Stored<Tally<VersionCounts>> {
        self.read(Call::VersionTally, || self.inner.state().version_tally(product, stream_shard)).await
    }

    async fn put_version_tally(
        &self,
        product: &ProductId,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<VersionCounts>,
        now: Timestamp,
    ) -> Stored<bool> {
        let write = (product.clone(), stream_shard.to_string(), before.cloned(), after.clone(), now);
        self.write(Call::PutVersionTally, write, |store, (product, stream_shard, before, after, now)| {
            Ok(store.inner.state().put_version_tally(product, stream_shard, before.as_ref(), after, *now))
        })
        .await
    }

    async fn put_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> Stored<()> {
        self.put_page(Call::PutDuePage, rollout, page).await
    }

    async fn put_entry(&self, rollout: &RolloutKey, entry: &ListEntry) -> Stored<()> {
        self.write(Call::PutEntry, (rollout.clone(), entry.clone()), |store, (rollout, entry)| {
            store.inner.state().put_entry(rollout, entry);
            Ok(())
        })
        .await
    }

    async fn put_event(&self, product: &ProductId, event: &Event) -> Stored<()> {
        self.write(Call::PutEvent, (product.clone(), event.clone()), |store, (product, event)| {
            store.inner.state().put_event(product, event);
            Ok(())
        })
        .await
    }

    async fn remove_entry(&self, rollout: &RolloutKey, device: &DeviceId, bucket: Bucket, revision: u64) -> Stored<()> {
        let entry = (rollout.clone(), device.clone(), bucket, revision);
        self.write(Call::RemoveEntry, entry, |store, (rollout, device, bucket, revision)| {
            store.inner.state().remove_entry(rollout, device, *bucket, *revision);
            Ok(())
        })
        .await
    }

    async fn mark_for_recount(&self, product: &ProductId, version: &Version) -> Stored<()> {
        self.write(Call::MarkForRecount, (product.clone(), version.clone()), |store, (product, version)| {
            store.inner.state().mark_for_recount(product, version);
            Ok(())
        })
        .await
    }
}

impl PublishStore for FaultyStore {
    async fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        self.write(Call::CreateUpdate, (update.clone(), audit.clone()), |store, (update, audit)| {
            store.apply_create(update, audit)
        })
        .await
    }

    async fn begin_campaign(
        &self,
        last: &UpdateRecord,
        next: &UpdateRecord,
        revision: u64,
        audit: &AuditEntry,
    ) -> Stored<()> {
        let write = (last.clone(), next.clone(), revision, audit.clone());
        self.write(Call::BeginCampaign, write, |store, (last, next, revision, audit)| {
            store.apply_campaign(last, next, *revision, audit)
        })
        .await
    }

    async fn delete_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        self.write(Call::DeleteUpdate, (update.clone(), audit.clone()), |store, (update, audit)| {
            store.apply_delete(update, audit)
        })
        .await
    }

    async fn set_stopped(&self, product: &ProductId, is_stopped: bool, audit: &AuditEntry) -> Stored<bool> {
        let write = (product.clone(), is_stopped, audit.clone());
        self.write(Call::SetStopped, write, |store, (product, is_stopped, audit)| {
            store.apply_stopped(product, *is_stopped, audit)
        })
        .await
    }

    async fn audit_month(
        &self,
        product: &ProductId,
        month: Timestamp,
        before: Option<&str>,
        subject: Option<&str>,
        most: usize,
    ) -> Stored<(Vec<AuditEntry>, Option<String>)> {
        self.read(Call::AuditMonth, || self.inner.state().audit_month(product, month, before, subject, most)).await
    }

    async fn update_page(
        &self,
        product: &ProductId,
        before: Option<&str>,
        most: usize,
    ) -> Stored<(Vec<UpdateRecord>, Option<String>)> {
        self.read(Call::UpdatePage, || self.inner.state().update_page(product, before, most)).await
    }

    async fn versions(&self, product: &ProductId) -> Stored<Vec<(String, u64)>> {
        let turn = self.read(Call::Versions, || ()).await;
        turn?;
        self.inner.versions(product).await
    }

    async fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
        most: usize,
    ) -> Stored<(Vec<DeviceId>, Option<DeviceId>)> {
        self.read(Call::DevicesOn, || self.inner.state().devices_on(product, version, after, most)).await
    }

    async fn listed(
        &self,
        rollout: &RolloutKey,
        bucket: Bucket,
        after: Option<&DeviceId>,
        most: usize,
    ) -> Stored<(Vec<ListEntry>, bool)> {
        self.read(Call::Listed, || self.inner.state().listed(rollout, bucket, after, most)).await
    }

    async fn delete_device(&self, deletion: &DeviceDeletion) -> Stored<bool> {
        self.write(Call::DeleteDevice, deletion.clone(), |store, deletion| store.apply_deletion(deletion)).await
    }

    async fn set_product(&self, product: &ProductId, before: &Head, after: &Head, audit: &AuditEntry) -> Stored<bool> {
        let request = (product.clone(), before.clone(), after.clone(), audit.clone());
        self.write(Call::SetProduct, request, |store, (product, before, after, audit)| {
            store.apply_product(product, before, after, audit)
        })
        .await
    }

    async fn deferrals(&self, rollout: &RolloutKey) -> Stored<BTreeMap<String, u64>> {
        self.read(Call::Deferrals, || self.inner.state().deferrals(rollout)).await
    }

    async fn series(&self, rollout: &RolloutKey) -> Stored<Vec<SeriesPoint>> {
        self.read(Call::Series, || ()).await?;
        self.inner.series(rollout).await
    }
}

impl SweepStore for FaultyStore {
    async fn due_pages(&self, rollout: &RolloutKey, end: Timestamp) -> Stored<Vec<DuePage>> {
        self.read(Call::DuePages, || self.inner.state().due_pages(rollout, end)).await
    }

    async fn move_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> Stored<()> {
        self.put_page(Call::MoveDuePage, rollout, page).await
    }

    async fn remove_due_page(&self, rollout: &RolloutKey, name: &str) -> Stored<()> {
        self.write(Call::RemoveDuePage, (rollout.clone(), name.to_string()), |store, (rollout, name)| {
            store.inner.state().remove_due_page(rollout, name);
            Ok(())
        })
        .await
    }

    async fn members(&self, rollout: &RolloutKey) -> Stored<Vec<DeviceId>> {
        self.read(Call::Members, || self.inner.state().members(rollout)).await
    }

    async fn devices(&self, product: &ProductId, devices: &[DeviceId]) -> Stored<Vec<(DeviceId, KnownDevice)>> {
        self.read(Call::Devices, || self.inner.state().devices(product, devices)).await
    }

    async fn put_reading(&self, rollout: &RolloutKey, reading: &Reading) -> Stored<()> {
        self.write(Call::PutReading, (rollout.clone(), *reading), |store, (rollout, reading)| {
            store.inner.state().put_reading(rollout, reading);
            Ok(())
        })
        .await
    }

    async fn record_series(&self, rollout: &RolloutKey, point: &SeriesPoint) -> Stored<()> {
        self.write(Call::RecordSeries, (rollout.clone(), *point), |store, (rollout, point)| {
            store.inner.state().record_series(rollout, point);
            Ok(())
        })
        .await
    }

    async fn scan_fleet(&self, after: Option<&str>) -> Stored<ScannedDevices> {
        self.read(Call::ScanFleet, || self.inner.state().scan_devices(after, Include::ItemAndDoc)).await
    }

    async fn fleet_snapshot(&self) -> Stored<Option<Vec<u8>>> {
        self.read(Call::FleetSnapshot, || self.inner.state().fleet_snapshot()).await
    }

    async fn put_fleet_snapshot(&self, bytes: Vec<u8>) -> Stored<()> {
        self.write(Call::PutFleetSnapshot, bytes, |store, bytes| {
            store.inner.state().put_fleet_snapshot(bytes.clone());
            Ok(())
        })
        .await
    }

    async fn put_audience(&self, rollout: &RolloutKey, audience: &Audience) -> Stored<()> {
        self.write(Call::PutAudience, (rollout.clone(), audience.clone()), |store, (rollout, audience)| {
            store.inner.state().put_audience(rollout, audience);
            Ok(())
        })
        .await
    }

    async fn put_fleet(&self, product: &ProductId, fleet: &Fleet) -> Stored<()> {
        self.write(Call::PutFleet, (product.clone(), *fleet), |store, (product, fleet)| {
            store.inner.state().put_fleet(product, fleet);
            Ok(())
        })
        .await
    }

    async fn put_members(&self, rollout: &RolloutKey, members: &[DeviceId]) -> Stored<()> {
        self.write(Call::PutMembers, (rollout.clone(), members.to_vec()), |store, (rollout, members)| {
            store.inner.state().put_members(rollout, members);
            Ok(())
        })
        .await
    }
}

impl TidyStore for FaultyStore {
    async fn every_update(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        self.read(Call::EveryUpdate, || self.inner.state().every_update(product)).await
    }

    async fn deleted_updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        self.read(Call::DeletedUpdates, || self.inner.state().deleted_updates(product)).await
    }

    async fn remove_rollout(&self, rollout: &RolloutKey) -> Stored<bool> {
        self.write(Call::RemoveRollout, rollout.clone(), |store, rollout| {
            store.inner.state().remove_rollout(rollout);
            Ok(true)
        })
        .await
    }

    async fn end_deletion(&self, deleted: &UpdateRecord) -> Stored<()> {
        self.write(Call::EndDeletion, deleted.clone(), |store, deleted| {
            store.inner.state().end_deletion(deleted);
            Ok(())
        })
        .await
    }

    async fn fold_tallies(&self, rollout: &RolloutKey, quiet_since: Timestamp) -> Stored<Folded> {
        self.write(Call::FoldTallies, (rollout.clone(), quiet_since), |store, (rollout, quiet_since)| {
            store.forget_late_tallies();
            Ok(store.inner.state().fold_tallies(rollout, *quiet_since))
        })
        .await
    }

    async fn fold_version_tallies(&self, product: &ProductId, quiet_since: Timestamp) -> Stored<Folded> {
        self.write(Call::FoldVersionTallies, (product.clone(), quiet_since), |store, (product, quiet_since)| {
            store.forget_late_tallies();
            Ok(store.inner.state().fold_version_tallies(product, *quiet_since))
        })
        .await
    }

    async fn settle(&self, record: &UpdateRecord) -> Stored<()> {
        self.write(Call::Settle, record.clone(), |store, record| {
            store.inner.state().settle(record);
            Ok(())
        })
        .await
    }

    async fn uncounted_rollouts(&self, product: &ProductId) -> Stored<BTreeSet<RolloutKey>> {
        self.read(Call::UncountedRollouts, || self.inner.state().uncounted_rollouts(product)).await
    }

    async fn tidy_images(&self, _: &ProductId, _: &BTreeSet<String>, _: Timestamp) -> Stored<TidiedImages> {
        self.write(Call::TidyImages, (), |_, ()| Ok(TidiedImages::default())).await
    }

    async fn put_tidied(&self, product: &ProductId, now: Timestamp) -> Stored<()> {
        self.write(Call::PutTidied, (product.clone(), now), |store, (product, now)| {
            store.inner.state().put_tidied(product, *now);
            Ok(())
        })
        .await
    }
}

/// The files of the simulator are small: none is read by a function of its own.
impl AskForVerification for FaultyStore {
    async fn verification(&self, product: &ProductId, sha256: &str) -> Stored<Option<Verification>> {
        self.inner.verification(product, sha256).await
    }

    async fn ask_for_verification(&self, wanted: &WantedVerification) -> Stored<()> {
        self.inner.ask_for_verification(wanted).await
    }

    async fn is_verifying(&self, wanted: &WantedVerification) -> Stored<bool> {
        self.inner.is_verifying(wanted).await
    }
}

impl RecountStore for FaultyStore {
    async fn scan_devices(&self, after: Option<&str>) -> Stored<ScannedDevices> {
        self.read(Call::ScanDevices, || self.inner.state().scan_devices(after, Include::Item)).await
    }

    async fn version_counts(&self, product: &ProductId) -> Stored<VersionCounts> {
        self.read(Call::Versions, || self.inner.state().version_counts(product)).await
    }
}

impl FaultyStore {
    async fn put_page(&self, call: Call, rollout: &RolloutKey, page: &DuePage) -> Stored<()> {
        self.write(call, (rollout.clone(), page.clone()), |store, (rollout, page)| {
            store.inner.state().put_due_page(rollout, page);
            Ok(())
        })
        .await
    }
}
