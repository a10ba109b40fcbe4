//! Updates, shards and the reads of operators.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use futures_util::future::try_join_all;
use tidegate_core::limits::{Allocation, UNLIMITED};
use tidegate_core::shard::Gate;
use tidegate_core::{DeviceId, ObjectionCode, ProductId, UpdateId};

use super::item::{self, Fields, Item, n, s};
use super::read::readable;
use super::reserve::{held, unbuilt};
use super::{DynamoStore, cancelled, failed_condition, key, unavailable};
use crate::record::{AuditEntry, Head, PublishedCatalog, SeriesPoint, UpdateRecord};
use crate::schema::INDEX;
use crate::store::{CloseRollouts, Freshness, OpenRollouts, PublishStore, StoreError, Stored};

/// Counters of a shard that did not exist before.
const COUNTERS_FROM_NONE: &str = "used = if_not_exists(used, :none), in_flight = if_not_exists(in_flight, :none), \
     period_start = if_not_exists(period_start, :none), period_used = if_not_exists(period_used, :none), \
     succeeded = if_not_exists(succeeded, :none), failed = if_not_exists(failed, :none), \
     timed_out = if_not_exists(timed_out, :none)";

/// Number of devices on one page of a list.
const PAGE: i32 = 500;

impl CloseRollouts for DynamoStore {
    async fn change_update(&self, update: &UpdateRecord, expected: u64, audit: &AuditEntry) -> Stored<()> {
        let put = self
            .put(item::update_to(update))
            .condition_expression("generation = :expected")
            .expression_attribute_values(":expected", n(expected));
        let head = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::head(&update.product)))
            .update_expression("ADD revision :one")
            .expression_attribute_values(":one", n(1));
        let writes = vec![
            TransactWriteItem::builder().put(put.build().map_err(unbuilt)?).build(),
            TransactWriteItem::builder().update(head.build().map_err(unbuilt)?).build(),
            self.put_item(item::audit_to(&update.product, audit))?,
        ];
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        match sent.map_err(cancelled) {
            Ok(_) => Ok(()),
            Err(Ok(_)) => Err(StoreError::Conflict),
            Err(Err(error)) => Err(error),
        }
    }

    async fn close_shards(&self, update: &UpdateId, count: u16, gate: Gate, generation: u64) -> Stored<()> {
        let closings = (0..count).map(|shard| async move {
            let sent = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key::shard(update, shard)))
                // An interrupted activation can leave a shard missing. It is created here, shut.
                .update_expression(format!(
                    "SET gate = :gate, generation = :generation, cap = if_not_exists(cap, :none), \
                     period_cap = if_not_exists(period_cap, :none), \
                     max_in_flight = if_not_exists(max_in_flight, :none), {COUNTERS_FROM_NONE}"
                ))
                .condition_expression("attribute_not_exists(pk) OR generation <= :generation")
                .expression_attribute_values(":gate", s(item::gate(gate)))
                .expression_attribute_values(":generation", n(generation))
                .expression_attribute_values(":none", n(0))
                .send()
                .await;
            ours(held(sent, |error| error.is_conditional_check_failed_exception())?)
        });
        try_join_all(closings).await.map(drop)
    }

    async fn put_catalog(&self, product: &ProductId, revision: u64, bytes: Vec<u8>) -> Stored<bool> {
        let PublishedCatalog { name, .. } = PublishedCatalog::of(revision, &bytes);
        self.catalogs.write(product, &name, bytes).await?;
        let flipped = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key::head(product)))
            // Another function may have read the older head, and may read the older catalog after this.
            .update_expression(
                "SET catalog_before = if_not_exists(catalog_name, :none), catalog_name = :name, catalog_revision = :revision",
            )
            .condition_expression(
                "attribute_exists(pk) AND (attribute_not_exists(catalog_revision) OR catalog_revision < :revision)",
            )
            .expression_attribute_values(":name", s(&name))
            .expression_attribute_values(":revision", n(revision))
            .expression_attribute_values(":none", s(""))
            .return_values(ReturnValue::UpdatedOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let refusal = |error: &UpdateItemError| match error {
            UpdateItemError::ConditionalCheckFailedException(refused) => Some(refused.item.clone().unwrap_or_default()),
            _ => None,
        };
        let (is_in_force, unused) = match flipped {
            Ok(flipped) => {
                let head = flipped.attributes.unwrap_or_default();
                let replaced = named(&head, "catalog_name");
                let before = named(&head, "catalog_before");
                // The same catalog may have been published more than once.
                (true, before.filter(|before| *before != name && Some(before) != replaced.as_ref()))
            }
            Err(error) => {
                let head = error.as_service_error().and_then(refusal).ok_or_else(|| unavailable(error))?;
                // The catalog just written is of no use, unless it is the same as the current one.
                let is_kept =
                    ["catalog_name", "catalog_before"].iter().any(|field| named(&head, field).as_ref() == Some(&name));
                (false, (!is_kept).then_some(name))
            }
        };
        if let Some(unused) = unused {
            self.catalogs.remove(product, &unused).await;
        }
        Ok(is_in_force)
    }
}

impl OpenRollouts for DynamoStore {
    async fn open_shards(&self, update: &UpdateId, allocation: &Allocation, generation: u64) -> Stored<()> {
        let openings = (0..allocation.shards()).map(|shard| async move {
            let caps = allocation.caps(shard);
            if caps.per_period < UNLIMITED {
                self.move_period(update, shard, allocation.period, generation).await?;
            }
            let sent = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key::shard(update, shard)))
                .update_expression(format!(
                    "SET gate = :open, generation = :generation, cap = :cap, period_cap = :period_cap, \
                     max_in_flight = :max_in_flight, {COUNTERS_FROM_NONE}"
                ))
                .condition_expression("attribute_not_exists(pk) OR generation <= :generation")
                .expression_attribute_values(":open", s(item::gate(Gate::Open)))
                .expression_attribute_values(":generation", n(generation))
                .expression_attribute_values(":cap", n(caps.devices))
                .expression_attribute_values(":period_cap", n(caps.per_period))
                .expression_attribute_values(":max_in_flight", n(caps.in_flight))
                .expression_attribute_values(":none", n(0))
                .send()
                .await;
            ours(held(sent, |error| error.is_conditional_check_failed_exception())?)
        });
        try_join_all(openings).await.map(drop)
    }
}

impl PublishStore for DynamoStore {
    async fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        let put = self.put(item::update_to(update)).condition_expression("attribute_not_exists(pk)");
        let head = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::head(&update.product)))
            .update_expression("ADD revision :none")
            .expression_attribute_values(":none", n(0));
        let writes = vec![
            TransactWriteItem::builder().put(put.build().map_err(unbuilt)?).build(),
            TransactWriteItem::builder().update(head.build().map_err(unbuilt)?).build(),
            self.put_item(key::product(&update.product))?,
            self.put_item(item::audit_to(&update.product, audit))?,
        ];
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        match sent.map_err(cancelled) {
            Ok(_) => Ok(true),
            Err(Ok(reasons)) if failed_condition(&reasons, 0).is_some() => Ok(false),
            Err(Ok(_)) => Err(StoreError::Conflict),
            Err(Err(error)) => Err(error),
        }
    }

    async fn audit(&self, product: &ProductId, entry: &AuditEntry) -> Stored<()> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item::audit_to(product, entry)));
        put.send().await.map_err(unavailable).map(drop)
    }

    async fn audit_log(&self, product: &ProductId) -> Stored<Vec<AuditEntry>> {
        let items = self.query(&key::audit_list(product), None, Freshness::Strong).await?;
        Ok(readable(&items, item::audit_from))
    }

    async fn versions(&self, product: &ProductId) -> Stored<Vec<(String, u64)>> {
        let items = self.query(&key::versions(product), None, Freshness::Eventual).await?;
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for (version, devices) in readable(&items, |item| {
            let fields = Fields(item);
            let (version, _part) = fields.text("sk")?.rsplit_once('#').unwrap_or_default();
            Ok((version.to_string(), fields.number::<i64>("devices")?))
        }) {
            *counts.entry(version).or_default() += devices;
        }
        let running = counts.into_iter().filter_map(|(version, devices)| {
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
    ) -> Stored<(Vec<DeviceId>, Option<DeviceId>)> {
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .limit(PAGE)
            .expression_attribute_values(":list", s(key::devices_on(product, version)));
        query = match after {
            Some(after) => query
                .key_condition_expression("index_pk = :list AND index_sk > :after")
                .expression_attribute_values(":after", s(after.as_str())),
            None => query.key_condition_expression("index_pk = :list"),
        };
        let page = query.send().await.map_err(unavailable)?;
        let more = page.last_evaluated_key.is_some();
        let devices = readable(&page.items.unwrap_or_default(), |item| {
            DeviceId::new(Fields(item).text("index_sk")?).map_err(StoreError::corrupt)
        });
        let next = if more { devices.last().cloned() } else { None };
        Ok((devices, next))
    }

    async fn revoke_tokens(&self, product: &ProductId, device: &DeviceId) -> Stored<u32> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key::device(product, device)))
            .update_expression("ADD token_generation :one")
            .expression_attribute_values(":one", n(1))
            .return_values(ReturnValue::UpdatedNew);
        let item = update.send().await.map_err(unavailable)?.attributes.unwrap_or_default();
        Fields(&item).number("token_generation")
    }

    async fn set_product(&self, product: &ProductId, head: &Head) -> Stored<bool> {
        let mut sets = "SET accepts_product_tokens = :tokens, registration_is_open = :open".to_string();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key::head(product)))
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":tokens", AttributeValue::Bool(head.accepts_product_tokens))
            .expression_attribute_values(":open", AttributeValue::Bool(head.registration_is_open));
        match &head.version_attribute {
            Some(name) => {
                sets.push_str(", version_attribute = :version_attribute");
                update = update.expression_attribute_values(":version_attribute", s(name));
            }
            None => sets.push_str(" REMOVE version_attribute"),
        }
        let sent = update.update_expression(sets).send().await;
        held(sent, |error| error.is_conditional_check_failed_exception())
    }

    async fn deferrals(&self, update: &UpdateId) -> Stored<BTreeMap<String, u64>> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key::deferrals(update)));
        let item = read.send().await.map_err(unavailable)?.item.unwrap_or_default();
        let fields = Fields(&item);
        let codes = ObjectionCode::ALL.iter().map(|code| code.name()).filter(|code| item.contains_key(*code));
        codes.map(|code| Ok((code.to_string(), fields.number(code)?))).collect()
    }

    async fn series(&self, update: &UpdateId) -> Stored<Vec<SeriesPoint>> {
        let items = self.query(&key::series(update), None, Freshness::Eventual).await?;
        Ok(readable(&items, item::series_from))
    }
}

impl DynamoStore {
    /// Moves a shard to the period for which its caps were split. It moves only forward. That is safe at any time,
    /// because the shard granted nothing in a later period.
    async fn move_period(&self, update: &UpdateId, shard: u16, period: i64, generation: u64) -> Stored<()> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key::shard(update, shard)))
            .update_expression("SET period_start = :period, period_used = :none")
            .condition_expression("period_start < :period AND generation <= :generation")
            .expression_attribute_values(":period", n(period))
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":generation", n(generation))
            .send()
            .await;
        held(sent, |error| error.is_conditional_check_failed_exception()).map(drop)
    }

    fn put(&self, item: HashMap<String, AttributeValue>) -> aws_sdk_dynamodb::types::builders::PutBuilder {
        Put::builder().table_name(&self.table).set_item(Some(item))
    }

    fn put_item(&self, item: HashMap<String, AttributeValue>) -> Stored<TransactWriteItem> {
        Ok(TransactWriteItem::builder().put(self.put(item).build().map_err(unbuilt)?).build())
    }
}

/// Name of a compiled catalog in a head.
fn named(head: &Item, field: &str) -> Option<String> {
    Fields(head).maybe_text(field).filter(|name| !name.is_empty()).map(str::to_string)
}

fn ours(held: bool) -> Stored<()> {
    if held { Ok(()) } else { Err(StoreError::Conflict) }
}
