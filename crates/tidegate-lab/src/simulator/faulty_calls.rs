//! The calls of the faulty store, each with the faults that can happen to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::claim::CountDelta;
use tidegate_core::limits::Allocation;
use tidegate_core::shard::{Gate, Shard};
use tidegate_core::{Claim, DeviceId, ProductId, Timestamp, UpdateId, Version};
use tidegate_store::record::{AuditEntry, ClaimKey, DeviceWrite, Head, KnownDevice, SeriesPoint, UpdateRecord};
use tidegate_store::store::{Freshness, Reservation, Reserved, StoreError, Stored};
use tidegate_store::{
    CheckStore, CloseRollouts, OpenRollouts, PublishStore, ReadCatalog, ReadDevices, ReadUpdates, ReportStore,
    SettleClaims, SweepStore,
};

use crate::simulator::fault::{Call, Fault};
use crate::simulator::faulty::{FaultyStore, busy, unavailable};

/// The first shards of an allocation.
fn first_shards(allocation: &Allocation, count: usize) -> Allocation {
    let first = |column: &[u64]| column.iter().take(count).copied().collect();
    Allocation {
        devices: first(&allocation.devices),
        per_period: first(&allocation.per_period),
        in_flight: first(&allocation.in_flight),
        period: allocation.period,
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> ReadCatalog for FaultyStore<S> {
    async fn head(&self, product: &ProductId, freshness: Freshness) -> Stored<Option<Head>> {
        let call = if freshness == Freshness::Strong { Call::HeadStrong } else { Call::Head };
        match self.turn(call).await {
            Some(Fault::StaleRead) => {
                let mut control = self.control();
                let control = &mut *control;
                let stale =
                    control.heads.get(product).map(|heads| heads.iter().collect::<Vec<_>>()).unwrap_or_default();
                if let Some(head) = control.random.pick(&stale) {
                    return Ok(Option::clone(head));
                }
            }
            None | Some(Fault::Slow) => {}
            Some(Fault::KilledAfter) => return self.stop_here().await,
            Some(Fault::Malformed) => return Err(StoreError::Corrupt("revision is not a number".into())),
            Some(fault) => return Err(unavailable(fault)),
        }
        self.inner.head(product, freshness).await
    }

    async fn catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        match self.turn(Call::Catalog).await {
            None | Some(Fault::Slow) => self.inner.catalog(product, name).await,
            // Its end is missing.
            Some(Fault::Malformed) => {
                let whole = self.inner.catalog(product, name).await?;
                Ok(whole.map(|bytes| bytes.iter().copied().take(bytes.len() / 2).collect()))
            }
            Some(Fault::KilledAfter) => self.stop_here().await,
            Some(fault) => Err(unavailable(fault)),
        }
    }

    async fn products(&self) -> Stored<Vec<ProductId>> {
        // A product that is missed is swept a minute later.
        let mut products = self.list(Call::Products, || self.inner.products()).await?;
        products.1.truncate(products.0);
        Ok(products.1)
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> ReadDevices for FaultyStore<S> {
    async fn device(&self, product: &ProductId, device: &DeviceId, freshness: Freshness) -> Stored<KnownDevice> {
        let call = if freshness == Freshness::Strong { Call::DeviceStrong } else { Call::DeviceEventual };
        match self.turn(call).await {
            Some(Fault::StaleRead) => {
                let mut control = self.control();
                let control = &mut *control;
                let stale =
                    control.devices.get(device).map(|states| states.iter().collect::<Vec<_>>()).unwrap_or_default();
                if let Some(known) = control.random.pick(&stale) {
                    return Ok((*known).clone());
                }
            }
            None | Some(Fault::Slow) => {}
            Some(Fault::KilledAfter) => return self.stop_here().await,
            Some(Fault::Malformed) => return Err(StoreError::Corrupt("state is not a text".into())),
            Some(fault) => return Err(unavailable(fault)),
        }
        self.inner.device(product, device, freshness).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> ReadUpdates for FaultyStore<S> {
    async fn updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        match self.turn(Call::Updates).await {
            None | Some(Fault::Slow) => self.inner.updates(product).await,
            Some(Fault::Malformed) => {
                // One bad record never hides the others.
                let mut records = self.inner.updates(product).await?;
                if !records.is_empty() {
                    let bad = self.control().random.place(records.len());
                    records.swap_remove(bad);
                }
                Ok(records)
            }
            Some(Fault::KilledAfter) => self.stop_here().await,
            Some(fault) => Err(unavailable(fault)),
        }
    }

    async fn update(&self, product: &ProductId, version: &Version) -> Stored<Option<UpdateRecord>> {
        self.read(Call::Update, || self.inner.update(product, version)).await
    }

    async fn shards(&self, update: &UpdateId, count: u16) -> Stored<Vec<Option<Shard>>> {
        self.read(Call::Shards, || self.inner.shards(update, count)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> SettleClaims for FaultyStore<S> {
    async fn settle(&self, key: &ClaimKey, before: &Claim, after: &Claim, delta: CountDelta) -> Stored<()> {
        self.write(Call::Settle, busy(), || self.apply_settle(key, before, after, delta)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> CloseRollouts for FaultyStore<S> {
    async fn change_update(&self, update: &UpdateRecord, expected: u64, audit: &AuditEntry) -> Stored<()> {
        self.write(Call::ChangeUpdate, Err(StoreError::Conflict), || async {
            self.remember_head(&update.product).await?;
            self.inner.change_update(update, expected, audit).await?;
            self.control().checker.changed(update);
            Ok(())
        })
        .await
    }

    async fn close_shards(&self, update: &UpdateId, count: u16, gate: Gate, generation: u64) -> Stored<()> {
        match self.turn(Call::CloseShards).await {
            None | Some(Fault::Slow | Fault::StaleRead | Fault::Malformed) => {
                self.apply_close(update, count, gate, generation).await
            }
            Some(Fault::Partial) => {
                self.apply_close(update, count / 2, gate, generation).await?;
                Err(unavailable(Fault::Partial))
            }
            Some(Fault::KilledAfter) => {
                drop(self.apply_close(update, count, gate, generation).await);
                self.stop_here().await
            }
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                drop(self.apply_close(update, count, gate, generation).await);
                Err(unavailable(fault))
            }
            Some(Fault::CommittedAndRetried) => {
                drop(self.apply_close(update, count, gate, generation).await);
                self.apply_close(update, count, gate, generation).await
            }
            Some(Fault::Conflict) => busy(),
            Some(fault) => Err(unavailable(fault)),
        }
    }

    async fn put_catalog(&self, product: &ProductId, revision: u64, bytes: Vec<u8>) -> Stored<bool> {
        self.write(Call::PutCatalog, busy(), || async {
            self.remember_head(product).await?;
            self.inner.put_catalog(product, revision, bytes.clone()).await
        })
        .await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> OpenRollouts for FaultyStore<S> {
    async fn open_shards(&self, update: &UpdateId, allocation: &Allocation, generation: u64) -> Stored<()> {
        match self.turn(Call::OpenShards).await {
            None | Some(Fault::Slow | Fault::StaleRead | Fault::Malformed) => {
                self.apply_open(update, allocation, generation).await
            }
            Some(Fault::Partial) => {
                let half = first_shards(allocation, allocation.devices.len() / 2);
                self.apply_open(update, &half, generation).await?;
                Err(unavailable(Fault::Partial))
            }
            Some(Fault::KilledAfter) => {
                drop(self.apply_open(update, allocation, generation).await);
                self.stop_here().await
            }
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                drop(self.apply_open(update, allocation, generation).await);
                Err(unavailable(fault))
            }
            Some(Fault::CommittedAndRetried) => {
                drop(self.apply_open(update, allocation, generation).await);
                self.apply_open(update, allocation, generation).await
            }
            Some(Fault::Conflict) => busy(),
            Some(fault) => Err(unavailable(fault)),
        }
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> CheckStore for FaultyStore<S> {
    async fn reserve(&self, reservation: &Reservation) -> Stored<Reserved> {
        match self.turn(Call::Reserve).await {
            None | Some(Fault::Slow | Fault::StaleRead | Fault::Partial) => self.apply_reserve(reservation).await,
            Some(Fault::Conflict) => Ok(Reserved::Busy),
            Some(Fault::Malformed) => match self.apply_reserve(reservation).await? {
                // Only a refusal hands out records.
                Reserved::OtherClaim(_) | Reserved::Refused(_) => {
                    Err(StoreError::Corrupt("the record that refused cannot be read".into()))
                }
                reserved => Ok(reserved),
            },
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                drop(self.apply_reserve(reservation).await);
                Err(unavailable(fault))
            }
            Some(Fault::CommittedAndRetried) => {
                drop(self.apply_reserve(reservation).await);
                self.apply_reserve(reservation).await
            }
            Some(Fault::KilledAfter) => {
                drop(self.apply_reserve(reservation).await);
                self.stop_here().await
            }
            Some(fault) => Err(unavailable(fault)),
        }
    }

    async fn save_device(&self, write: &DeviceWrite) -> Stored<()> {
        self.write(Call::SaveDevice, Err(StoreError::Conflict), || async {
            self.remember_device(&write.product, &write.device).await?;
            self.inner.save_device(write).await
        })
        .await
    }

    async fn ask_for_catalog(&self, product: &ProductId, name: &str) -> Stored<()> {
        self.write(Call::AskForCatalog, busy(), || async {
            self.remember_head(product).await?;
            self.inner.ask_for_catalog(product, name).await
        })
        .await
    }

    async fn add_deferrals(&self, update: &UpdateId, counts: &BTreeMap<&'static str, u64>) -> Stored<()> {
        self.write(Call::AddDeferrals, busy(), || self.inner.add_deferrals(update, counts)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> ReportStore for FaultyStore<S> {
    async fn settle_and_save(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: &DeviceWrite,
    ) -> Stored<()> {
        self.write(Call::Settle, busy(), || async {
            self.remember_device(&key.product, &key.device).await?;
            self.inner.settle_and_save(key, before, after, delta, device).await?;
            self.control().checker.settled(key, before, after);
            self.compare(&key.update).await
        })
        .await
    }

    async fn save_running(&self, device: &DeviceWrite) -> Stored<()> {
        CheckStore::save_device(self, device).await
    }

    async fn note_progress(
        &self,
        key: &ClaimKey,
        status: &str,
        progress: Option<u8>,
        message: Option<&str>,
        now: Timestamp,
    ) -> Stored<bool> {
        self.write(Call::NoteProgress, busy(), || self.inner.note_progress(key, status, progress, message, now)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> PublishStore for FaultyStore<S> {
    async fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        self.write(Call::CreateUpdate, Err(StoreError::Conflict), || async {
            self.remember_head(&update.product).await?;
            let created = self.inner.create_update(update, audit).await?;
            if created {
                self.control().checker.changed(update);
            }
            Ok(created)
        })
        .await
    }

    async fn audit(&self, product: &ProductId, entry: &AuditEntry) -> Stored<()> {
        self.write(Call::Audit, busy(), || self.inner.audit(product, entry)).await
    }

    async fn audit_log(&self, product: &ProductId) -> Stored<Vec<AuditEntry>> {
        self.read(Call::AuditLog, || self.inner.audit_log(product)).await
    }

    async fn versions(&self, product: &ProductId) -> Stored<Vec<(String, u64)>> {
        self.read(Call::Versions, || self.inner.versions(product)).await
    }

    async fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
    ) -> Stored<(Vec<DeviceId>, Option<DeviceId>)> {
        self.read(Call::DevicesOn, || self.inner.devices_on(product, version, after)).await
    }

    async fn revoke_tokens(&self, product: &ProductId, device: &DeviceId) -> Stored<u32> {
        self.write(Call::RevokeTokens, busy(), || self.inner.revoke_tokens(product, device)).await
    }

    async fn set_product(&self, product: &ProductId, head: &Head) -> Stored<bool> {
        self.write(Call::SetProduct, busy(), || async {
            self.remember_head(product).await?;
            self.inner.set_product(product, head).await
        })
        .await
    }

    async fn deferrals(&self, update: &UpdateId) -> Stored<BTreeMap<String, u64>> {
        self.read(Call::Deferrals, || self.inner.deferrals(update)).await
    }

    async fn series(&self, update: &UpdateId) -> Stored<Vec<SeriesPoint>> {
        self.read(Call::Series, || self.inner.series(update)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> SweepStore for FaultyStore<S> {
    async fn due_claims(&self, now: Timestamp) -> Stored<Vec<ClaimKey>> {
        let mut due = self.list(Call::DueClaims, || self.inner.due_claims(now)).await?;
        due.1.truncate(due.0);
        Ok(due.1)
    }

    async fn claim(&self, key: &ClaimKey) -> Stored<Option<Claim>> {
        self.read(Call::Claim, || self.inner.claim(key)).await
    }

    async fn record_series(&self, update: &UpdateId, point: &SeriesPoint) -> Stored<()> {
        self.write(Call::RecordSeries, busy(), || self.inner.record_series(update, point)).await
    }
}
