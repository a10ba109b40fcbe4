//! Reads that several functions use.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tidegate_core::shard::Shard;
use tidegate_core::{DeviceId, ProductId, UpdateId, Version};

use super::item::{self, Fields, Item, s};
use super::{DynamoStore, key, unavailable};
use crate::record::{Head, KnownDevice, UpdateRecord};
use crate::store::{Freshness, ReadCatalog, ReadDevices, ReadUpdates, StoreError, Stored};

impl ReadCatalog for DynamoStore {
    async fn head(&self, product: &ProductId, freshness: Freshness) -> Stored<Option<Head>> {
        let read = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key::head(product)))
            .consistent_read(freshness == Freshness::Strong);
        let item = read.send().await.map_err(unavailable)?.item;
        item.as_ref().map(item::head_from).transpose()
    }

    async fn catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        self.catalogs.read(product, name).await
    }

    async fn products(&self) -> Stored<Vec<ProductId>> {
        let items = self.query(key::PRODUCTS, None, Freshness::Eventual).await?;
        Ok(readable(&items, |item| ProductId::new(Fields(item).text("sk")?).map_err(StoreError::corrupt)))
    }
}

impl ReadDevices for DynamoStore {
    async fn device(&self, product: &ProductId, device: &DeviceId, freshness: Freshness) -> Stored<KnownDevice> {
        let items = self.query(&key::device_partition(product, device), None, freshness).await?;
        let mut known = KnownDevice::default();
        for item in &items {
            match Fields(item).text("sk")? {
                // An unreadable record could hide a revocation, so the read fails.
                "device" => known.record = Some(item::device_from(item)?),
                sk => {
                    let update = sk.strip_prefix("claim#").and_then(|id| UpdateId::new(id).ok());
                    // An unreadable claim concerns only its own update.
                    known
                        .claims
                        .extend(update.and_then(|update| Some((update, readable_one(item, item::claim_from)?))));
                }
            }
        }
        Ok(known)
    }
}

impl ReadUpdates for DynamoStore {
    async fn updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        // The read is strong, because the head that announced the change may be newer than an eventual read.
        let items = self.query(product.as_str(), Some("update#"), Freshness::Strong).await?;
        Ok(readable(&items, item::update_from))
    }

    async fn update(&self, product: &ProductId, version: &Version) -> Stored<Option<UpdateRecord>> {
        let read = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key::update(product, version)))
            .consistent_read(true);
        let item = read.send().await.map_err(unavailable)?.item;
        item.as_ref().map(item::update_from).transpose()
    }

    async fn shards(&self, update: &UpdateId, count: u16) -> Stored<Vec<Option<Shard>>> {
        let reads = (0..count).map(|shard| async move {
            let read = self
                .client
                .get_item()
                .table_name(&self.table)
                .set_key(Some(key::shard(update, shard)))
                .consistent_read(true);
            let item = read.send().await.map_err(unavailable)?.item;
            item.as_ref().map(item::shard_from).transpose()
        });
        try_join_all(reads).await
    }
}

impl DynamoStore {
    /// Items of a partition, or only those whose sort key starts with `prefix`.
    pub(super) async fn query(&self, partition: &str, prefix: Option<&str>, freshness: Freshness) -> Stored<Vec<Item>> {
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .expression_attribute_values(":pk", s(partition))
            .consistent_read(freshness == Freshness::Strong);
        query = match prefix {
            Some(prefix) => query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", s(prefix)),
            None => query.key_condition_expression("pk = :pk"),
        };
        let mut items = Vec::new();
        let mut next = None;
        loop {
            let page = query.clone().set_exclusive_start_key(next).send().await.map_err(unavailable)?;
            items.extend(page.items.unwrap_or_default());
            next = page.last_evaluated_key;
            if next.is_none() {
                return Ok(items);
            }
        }
    }
}

/// Readable items. An unreadable item is logged and does not hide the others.
pub(super) fn readable<T>(items: &[Item], read: impl Fn(&Item) -> Stored<T>) -> Vec<T> {
    items.iter().filter_map(|item| readable_one(item, &read)).collect()
}

/// The item, if it is readable.
pub(super) fn readable_one<T>(item: &Item, read: impl Fn(&Item) -> Stored<T>) -> Option<T> {
    read(item).inspect_err(|error| tracing::error!(%error, "record_skipped")).ok()
}
