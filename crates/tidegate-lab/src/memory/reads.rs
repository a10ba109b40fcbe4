//! Reads of catalogs, devices and updates.

use std::sync::Arc;

use tidegate_core::shard::Shard;
use tidegate_core::{DeviceId, ProductId, UpdateId, Version};
use tidegate_store::record::{Head, KnownDevice, UpdateRecord};
use tidegate_store::store::{Freshness, ReadCatalog, ReadDevices, ReadUpdates, Stored};

use super::MemoryStore;
use super::shard_item::ShardItem;
use super::state::precedence;

impl ReadCatalog for MemoryStore {
    async fn head(&self, product: &ProductId, _: Freshness) -> Stored<Option<Head>> {
        Ok(self.state().product(product).and_then(|items| items.head.clone()))
    }

    async fn catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        Ok(self
            .state()
            .product(product)
            .and_then(|items| items.catalogs.iter().find(|(known, _)| known == name))
            .map(|(_, bytes)| Arc::clone(bytes)))
    }

    async fn products(&self) -> Stored<Vec<ProductId>> {
        let state = self.state();
        let exists = |number: &u32| state.products[*number as usize].head.is_some();
        Ok(state
            .product_numbers
            .iter()
            .filter(|(_, items)| exists(items))
            .map(|(product, _)| product.clone())
            .collect())
    }
}

impl ReadDevices for MemoryStore {
    async fn device(&self, product: &ProductId, device: &DeviceId, _: Freshness) -> Stored<KnownDevice> {
        let state = self.state();
        let Some(device_item) = state.device_item(product, device) else {
            return Ok(KnownDevice::default());
        };
        let id = |rollout: &u32| state.rollouts[*rollout as usize].id.clone();
        let claims = device_item.claims.iter().filter_map(|(rollout, claim)| Some((id(rollout)?, claim.clone())));
        let mut claims = claims.collect::<Vec<_>>();
        claims.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(KnownDevice { record: device_item.record.clone(), claims })
    }
}

impl ReadUpdates for MemoryStore {
    async fn updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        Ok(self.state().product(product).map(|items| items.updates.values().cloned().collect()).unwrap_or_default())
    }

    async fn update(&self, product: &ProductId, version: &Version) -> Stored<Option<UpdateRecord>> {
        Ok(self.state().product(product).and_then(|items| items.updates.get(&precedence(version)).cloned()))
    }

    async fn shards(&self, update: &UpdateId, count: u16) -> Stored<Vec<Option<Shard>>> {
        let state = self.state();
        let shards = state.rollout(update).map(|rollout| rollout.shards.as_slice()).unwrap_or_default();
        let shard = |number: u16| shards.get(usize::from(number)).and_then(Option::as_ref);
        (0..count).map(|number| shard(number).map(ShardItem::shard).transpose()).collect()
    }
}
