//! Writes of operators: updates and their shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::limits::{Allocation, Caps, UNLIMITED};
use tidegate_core::shard::Gate;
use tidegate_core::{DeviceId, ObjectionCode, ProductId, UpdateId};
use tidegate_store::record::{AuditEntry, DeviceRecord, Head, PublishedCatalog, SeriesPoint, UpdateRecord};
use tidegate_store::store::{CloseRollouts, OpenRollouts, PublishStore, StoreError, Stored};

use super::MemoryStore;
use super::shard_item::ShardItem;
use super::state::{DeviceItem, ProductItems, numbered, precedence, put_audit, put_update};

/// Devices on one page of a list, as in DynamoDB.
const PAGE: usize = 500;

impl CloseRollouts for MemoryStore {
    async fn change_update(&self, update: &UpdateRecord, expected: u64, audit: &AuditEntry) -> Stored<()> {
        let mut state = self.state();
        let items = state.product_mut(&update.product);
        let stored = items.updates.get(&precedence(&update.version));
        if stored.is_none_or(|stored| stored.generation != expected) {
            return Err(StoreError::Conflict);
        }
        put_update(items, update);
        put_audit(items, audit);
        items.head.get_or_insert_default().revision += 1;
        Ok(())
    }

    async fn close_shards(&self, update: &UpdateId, count: u16, gate: Gate, generation: u64) -> Stored<()> {
        let mut state = self.state();
        let shards = &mut state.rollout_mut(update).shards;
        if shards.len() < usize::from(count) {
            shards.resize(usize::from(count), None);
        }
        let mut result = Ok(());
        for shard in shards.iter_mut().take(usize::from(count)) {
            let none = Caps { devices: 0, per_period: 0, in_flight: 0 };
            let shard = shard.get_or_insert_with(|| ShardItem::unused(generation, none));
            match shard.generation <= generation {
                true => (shard.gate, shard.generation) = (gate, generation),
                false => result = Err(StoreError::Conflict),
            }
        }
        result
    }

    async fn put_catalog(&self, product: &ProductId, revision: u64, bytes: Vec<u8>) -> Stored<bool> {
        let mut state = self.state();
        let ProductItems { head: Some(head), catalogs, .. } = state.product_mut(product) else {
            return Ok(false);
        };
        if head.catalog.as_ref().is_some_and(|catalog| catalog.revision >= revision) {
            return Ok(false);
        }
        let in_force = PublishedCatalog::of(revision, &bytes);
        catalogs.truncate(1);
        catalogs.retain(|(name, _)| *name != in_force.name);
        catalogs.push_front((in_force.name.clone(), Arc::from(bytes)));
        head.catalog = Some(in_force);
        Ok(true)
    }
}

impl OpenRollouts for MemoryStore {
    async fn open_shards(&self, update: &UpdateId, allocation: &Allocation, generation: u64) -> Stored<()> {
        let mut state = self.state();
        let shards = &mut state.rollout_mut(update).shards;
        let count = allocation.shards();
        if shards.len() < usize::from(count) {
            shards.resize(usize::from(count), None);
        }
        let mut result = Ok(());
        for (number, shard) in (0..count).zip(shards) {
            let caps = allocation.caps(number);
            match shard {
                Some(shard) if shard.generation > generation => result = Err(StoreError::Conflict),
                Some(shard) => {
                    if caps.per_period < UNLIMITED && shard.period < allocation.period {
                        (shard.period, shard.period_used) = (allocation.period, 0);
                    }
                    *shard = ShardItem { gate: Gate::Open, generation, caps, ..*shard };
                }
                None => *shard = Some(ShardItem::unused(generation, caps)),
            }
        }
        result
    }
}

impl PublishStore for MemoryStore {
    async fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        let mut state = self.state();
        let items = state.product_mut(&update.product);
        if items.updates.contains_key(&precedence(&update.version)) {
            return Ok(false);
        }
        put_update(items, update);
        put_audit(items, audit);
        items.head.get_or_insert_default();
        Ok(true)
    }

    async fn audit(&self, product: &ProductId, entry: &AuditEntry) -> Stored<()> {
        put_audit(self.state().product_mut(product), entry);
        Ok(())
    }

    async fn audit_log(&self, product: &ProductId) -> Stored<Vec<AuditEntry>> {
        Ok(self.state().product(product).map(|items| items.audit.values().cloned().collect()).unwrap_or_default())
    }

    async fn versions(&self, product: &ProductId) -> Stored<Vec<(String, u64)>> {
        let state = self.state();
        let counts = state.product(product).into_iter().flat_map(|items| &items.versions);
        let running = counts.filter_map(|(version, devices)| {
            let devices = u64::try_from(*devices).ok().filter(|devices| *devices > 0)?;
            Some((version.clone(), devices))
        });
        Ok(running.collect())
    }

    async fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
    ) -> Stored<(Vec<DeviceId>, Option<DeviceId>)> {
        let mut state = self.state();
        let ProductItems { devices, sorted, .. } = state.product_mut(product);
        if sorted.len() < devices.len() {
            *sorted = (0..numbered(devices.len())).collect();
            sorted.sort_unstable_by(|one, other| devices[*one as usize].id.cmp(&devices[*other as usize].id));
        }
        let start =
            after.map_or(0, |after| sorted.partition_point(|device_item| devices[*device_item as usize].id <= *after));
        let runs = |device_item: &&DeviceItem| {
            device_item.record.as_ref().is_some_and(|record| record.version.as_deref() == Some(version))
        };
        let later = sorted.iter().skip(start).map(|device_item| &devices[*device_item as usize]);
        let devices = later.filter(runs).take(PAGE).map(|device_item| device_item.id.clone()).collect::<Vec<_>>();
        // A full page says that there may be more, even where it is the last.
        let next = (devices.len() == PAGE).then(|| devices.last().cloned()).flatten();
        Ok((devices, next))
    }

    async fn revoke_tokens(&self, product: &ProductId, device: &DeviceId) -> Stored<u32> {
        let mut state = self.state();
        let index = state.index_of(product, device);
        let device_item = &mut state.products[index.product as usize].devices[index.device as usize];
        let record = device_item
            .record
            .get_or_insert_with(|| DeviceRecord { attributes: "{}".into(), ..DeviceRecord::default() });
        record.token_generation = record.token_generation.saturating_add(1);
        Ok(record.token_generation)
    }

    async fn set_product(&self, product: &ProductId, head: &Head) -> Stored<bool> {
        let mut state = self.state();
        let Some(stored) = state.product_mut(product).head.as_mut() else {
            return Ok(false);
        };
        *stored = Head { revision: stored.revision, catalog: stored.catalog.take(), ..head.clone() };
        Ok(true)
    }

    async fn deferrals(&self, update: &UpdateId) -> Stored<BTreeMap<String, u64>> {
        let state = self.state();
        let counts = state.rollout(update).into_iter().flat_map(|rollout| &rollout.deferrals);
        let known = counts.filter(|(code, _)| ObjectionCode::parse(code).is_some());
        Ok(known.map(|(code, deferred)| ((*code).to_string(), *deferred)).collect())
    }

    async fn series(&self, update: &UpdateId) -> Stored<Vec<SeriesPoint>> {
        Ok(self.state().rollout(update).map(|rollout| rollout.series.values().copied().collect()).unwrap_or_default())
    }
}
