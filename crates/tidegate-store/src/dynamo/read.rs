//! Reads that several functions use.

use std::sync::Arc;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use futures_util::future::try_join_all;
use tidegate_core::count::Sums;
use tidegate_core::shard::Shard;
use tidegate_core::{ProductId, State, Timestamp, Version};

use super::item::{self, Fields, Item, s};
use super::{DynamoStore, key, send, tally};
use crate::record::{DuePage, Head, RolloutKey, Tallied, UpdateRecord};
use crate::store::{Freshness, ReadCatalog, ReadUpdates, StoreError, Stored};

impl ReadCatalog for DynamoStore {
    async fn head(&self, product: &ProductId, freshness: Freshness) -> Stored<Option<Head>> {
        let read = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key::head(product)))
            .consistent_read(freshness == Freshness::Strong);
        let item = send::send_plain("read a head", send::DEVICE, &read).await?.item;
        item.as_ref().map(item::head_from).transpose()
    }

    async fn catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        self.objects.read_catalog(product, name).await
    }

    async fn products(&self) -> Stored<Vec<ProductId>> {
        let items = self.query(key::PRODUCTS, None, Freshness::Eventual).await?;
        Ok(readable(&items, product_of))
    }
}

impl ReadUpdates for DynamoStore {
    async fn updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        // The read is strong, because the head that announced the change may be newer than an eventual read.
        let query = self
            .partition(&key::product_partition(product), Some(key::UPDATE), Freshness::Strong)
            .filter_expression("#state <> :draft OR attribute_exists(wanted)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":draft", s(State::Draft.name()));
        Ok(readable(&self.every_page(query).await?, item::update_from))
    }

    async fn campaign(&self, rollout: &RolloutKey) -> Stored<Option<UpdateRecord>> {
        match self.read_update(key::update(rollout.product(), rollout.version())).await? {
            Some(last) if last.campaign == rollout.campaign() => Ok(Some(last)),
            Some(_) => self.read_update(key::earlier_campaign(rollout)).await,
            None => Ok(None),
        }
    }

    async fn update(&self, product: &ProductId, version: &Version) -> Stored<Option<UpdateRecord>> {
        self.read_update(key::update(product, version)).await
    }

    async fn watched_until(&self, rollout: &RolloutKey) -> Stored<Option<Timestamp>> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(key::due_pages(rollout)))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(1);
        let items = send::send_plain("read the last due page", send::READ, &query).await?.items;
        let pages = readable(&items.unwrap_or_default(), item::due_page_from);
        Ok(pages.first().and_then(DuePage::due_at))
    }

    async fn shards(&self, rollout: &RolloutKey, count: u16) -> Stored<Vec<Option<Shard>>> {
        let reads = (0..count).map(|shard| async move {
            let read = self
                .client
                .get_item()
                .table_name(&self.table)
                .set_key(Some(key::shard(rollout, shard)))
                .consistent_read(true);
            let item = send::send_plain("read a shard", send::READ, &read).await?.item;
            item.as_ref().map(item::shard_from).transpose()
        });
        try_join_all(reads).await
    }

    async fn tallied(&self, rollout: &RolloutKey) -> Stored<Tallied> {
        let items = self.query(&key::tallies(rollout), None, Freshness::Strong).await?;
        let mut tallied = Tallied::default();
        // An unreadable tally could hide failures, so the read fails.
        for item in tally::counting(&items)? {
            let sums: Sums = tally::sums_from(item)?;
            tallied.sums.add(&sums);
            tallied.as_of = tallied.as_of.max(Some(Fields(item).time("at")?));
        }
        Ok(tallied)
    }
}

/// The product in the list of products.
pub(super) fn product_of(item: &Item) -> Stored<ProductId> {
    ProductId::new(Fields(item).text("sk")?).map_err(StoreError::corrupt)
}

impl DynamoStore {
    async fn read_update(&self, key: key::Key) -> Stored<Option<UpdateRecord>> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        let item = send::send_plain("read an update", send::READ, &read).await?.item;
        item.as_ref().filter(|item| !item::is_deleted(item)).map(item::update_from).transpose()
    }

    /// Items of a partition, or only those whose sort key starts with `prefix`.
    pub(super) async fn query(&self, partition: &str, prefix: Option<&str>, freshness: Freshness) -> Stored<Vec<Item>> {
        self.every_page(self.partition(partition, prefix, freshness)).await
    }

    pub(super) fn partition(&self, partition: &str, prefix: Option<&str>, freshness: Freshness) -> QueryFluentBuilder {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .expression_attribute_values(":pk", s(partition))
            .consistent_read(freshness == Freshness::Strong);
        match prefix {
            Some(prefix) => query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", s(prefix)),
            None => query.key_condition_expression("pk = :pk"),
        }
    }

    pub(super) async fn every_page(&self, query: QueryFluentBuilder) -> Stored<Vec<Item>> {
        let mut items = Vec::new();
        let mut next = None;
        loop {
            let page = query.clone().set_exclusive_start_key(next);
            let page = send::send_plain("query", send::READ, &page).await?;
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
