//! Opening rollouts, catalogs, and the writes and reads of operators.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use futures_util::future::try_join_all;
use tidegate_core::life::Bucket;
use tidegate_core::{DeviceId, ObjectionCode, ProductId, Timestamp, UpdateId};

use super::changes::{expect, ids};
use super::item::{self, CatalogAttributes, Fields, Item, n, s, time};
use super::read::readable;
use super::{DynamoStore, Expression, failed_item, key, put_item, send, unbuilt, update_item};
use crate::record::{
    AuditEntry, DeviceDeletion, Head, ListEntry, PublishedCatalog, RolloutKey, SeriesPoint, UpdateRecord,
};
use crate::schema::INDEX;
use crate::store::{Expected, Freshness, OpenRollouts, Opening, PublishStore, RecountStore as _, StoreError, Stored};

impl OpenRollouts for DynamoStore {
    async fn open_shard(&self, rollout: &RolloutKey, shard: u16, opening: &Opening) -> Stored<bool> {
        self.open(rollout, shard, opening).await
    }

    async fn put_catalog(
        &self,
        product: &ProductId,
        revision: u64,
        bytes: Vec<u8>,
        ended: &[UpdateId],
    ) -> Stored<bool> {
        let PublishedCatalog { name, format, .. } = PublishedCatalog::of(revision, &bytes);
        let attributes = CatalogAttributes::of(format);
        self.objects.write_catalog(product, &name, bytes).await?;
        let mut change = Expression::default();
        change.name("#name", &attributes.name);
        change.name("#revision", &attributes.revision);
        change.name("#before", &attributes.before);
        // Another function may have read the older head, and may read the older catalog after this.
        change.set("#before", "if_not_exists(#name, :none)");
        change.value(":none", s(""));
        change.set("#name", ":name");
        change.value(":name", s(&name));
        change.set("#revision", ":revision");
        change.value(":revision", n(revision));
        let mut text = change.text();
        let mut condition =
            "attribute_exists(pk) AND (attribute_not_exists(#revision) OR #revision < :revision)".to_string();
        if !ended.is_empty() {
            // One of them may have been opened and stopped again since. Whoever did that compiles too.
            condition.push_str(" AND revision = :revision");
            // An older catalog, also one of another format, may still offer the updates that are not halted any more.
            text.push_str(", oldest_catalog = :revision DELETE halted :ended");
            change.value(":ended", ids(ended));
        }
        let update = self
            .update(key::head(product))
            .update_expression(text)
            .condition_expression(condition)
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .return_values(ReturnValue::UpdatedOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let flipped = send::send("put a catalog in force", send::READ, &update).await?;
        let (is_in_force, unused) = match flipped {
            Ok(flipped) => {
                let head = flipped.attributes.unwrap_or_default();
                let replaced = named(&head, &attributes.name);
                let before = named(&head, &attributes.before);
                // The same catalog may have been published more than once.
                (true, before.filter(|before| *before != name && Some(before) != replaced.as_ref()))
            }
            Err(refused) => {
                let head = failed_item(refused)?;
                // The catalog just written is of no use, unless it is the same as the current one.
                let is_kept = [&attributes.name, &attributes.before]
                    .iter()
                    .any(|field| named(&head, field).as_ref() == Some(&name));
                (false, (!is_kept).then_some(name))
            }
        };
        if let Some(unused) = unused {
            self.objects.remove_catalog(product, &unused).await;
        }
        Ok(is_in_force)
    }
}

impl PublishStore for DynamoStore {
    async fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        let mut item = key::update(&update.product, &update.version);
        item.extend(item::update_to(update));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)");
        let head = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::head(&update.product)))
            .update_expression("SET created_at = if_not_exists(created_at, :at) ADD revision :none")
            .expression_attribute_values(":at", time(audit.at))
            .expression_attribute_values(":none", n(0));
        let writes = vec![
            put_item(put.build().map_err(unbuilt)?),
            update_item(head.build().map_err(unbuilt)?),
            self.listed_product(&update.product)?,
            self.audit_put(&update.product, audit)?,
        ];
        self.transact("create an update", writes).await
    }

    async fn begin_campaign(
        &self,
        last: &UpdateRecord,
        next: &UpdateRecord,
        revision: u64,
        audit: &AuditEntry,
    ) -> Stored<()> {
        let earlier = UpdateRecord { is_earlier: true, ..last.clone() };
        let mut kept = key::earlier_campaign(&last.rollout());
        kept.extend(item::update_to(&earlier));
        let kept = Put::builder()
            .table_name(&self.table)
            .set_item(Some(kept))
            .condition_expression("attribute_not_exists(pk)");
        let mut item = key::update(&next.product, &next.version);
        item.extend(item::update_to(next));
        let mut as_read = Expression::default();
        expect(&mut as_read, Expected::of(last));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .set_condition_expression(as_read.condition_text())
            .set_expression_attribute_values(as_read.values());
        let mut head = Expression::default();
        head.value(":one", n(1));
        head.condition("revision = :revision AND attribute_not_exists(stopped)");
        head.value(":revision", n(revision));
        let writes = vec![
            put_item(kept.build().map_err(unbuilt)?),
            put_item(put.build().map_err(unbuilt)?),
            update_item(self.head_update(next, "ADD revision :one".into(), &head)?),
            self.audit_put(&next.product, audit)?,
        ];
        match self.transact("begin a campaign", writes).await? {
            true => Ok(()),
            false => Err(StoreError::Conflict),
        }
    }

    async fn delete_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        let mut as_read = Expression::default();
        expect(&mut as_read, Expected::of(update));
        let audit_put = self.audit_put(&update.product, audit)?;
        if !update.was_published() {
            let delete = Delete::builder()
                .table_name(&self.table)
                .set_key(Some(key::update(&update.product, &update.version)))
                .set_condition_expression(as_read.condition_text())
                .set_expression_attribute_values(as_read.values());
            let delete = TransactWriteItem::builder().delete(delete.build().map_err(unbuilt)?).build();
            return self.transact_audited("delete a draft", vec![delete, audit_put]).await;
        }
        // With another generation no change that was begun before is written over it.
        let generation = update.generation.saturating_add(1);
        let deleted = UpdateRecord { deleted_at: Some(audit.at), generation, wanted: None, ..update.clone() };
        let mut item = key::update(&update.product, &update.version);
        item.extend(item::update_to(&deleted));
        item.insert(item::UNREMOVED.into(), AttributeValue::Bool(true));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .set_condition_expression(as_read.condition_text())
            .set_expression_attribute_values(as_read.values());
        let mut head = Expression::default();
        head.value(":one", n(1));
        let head = self.head_update(update, "ADD revision :one".into(), &head)?;
        let writes = vec![put_item(put.build().map_err(unbuilt)?), audit_put, update_item(head)];
        self.transact_audited("delete an update", writes).await
    }

    async fn set_stopped(&self, product: &ProductId, is_stopped: bool, audit: &AuditEntry) -> Stored<bool> {
        let writes =
            vec![update_item(self.stopped_update(product, is_stopped, &audit.who)?), self.audit_put(product, audit)?];
        // Without a head there is no product.
        self.transact_audited("stop a product", writes).await
    }

    async fn audit_month(
        &self,
        product: &ProductId,
        month: Timestamp,
        before: Option<&str>,
        subject: Option<&str>,
        most: usize,
    ) -> Stored<(Vec<AuditEntry>, Option<String>)> {
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .expression_attribute_values(":pk", s(key::audit_list(product, month)));
        query = match before {
            Some(before) => query
                .key_condition_expression("pk = :pk AND sk < :before")
                .expression_attribute_values(":before", s(before)),
            None => query.key_condition_expression("pk = :pk"),
        };
        query = match subject {
            // Those that are left out count too, so only their size limits them.
            Some(subject) => {
                query.filter_expression("subject = :subject").expression_attribute_values(":subject", s(subject))
            }
            None => query.limit(i32::try_from(most).unwrap_or(i32::MAX)),
        };
        let page = send::send_plain("read the audit log", send::READ, &query).await?;
        let mut items = page.items.unwrap_or_default();
        let is_full = items.len() >= most;
        items.truncate(most);
        let last = if is_full { items.last() } else { page.last_evaluated_key.as_ref() };
        let next = last.map(|item| Fields(item).text("sk").map(str::to_string)).transpose()?;
        Ok((readable(&items, item::audit_from), next))
    }

    async fn update_page(
        &self,
        product: &ProductId,
        before: Option<&str>,
        most: usize,
    ) -> Stored<(Vec<UpdateRecord>, Option<String>)> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(i32::try_from(most).unwrap_or(i32::MAX))
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .filter_expression("attribute_not_exists(earlier) AND attribute_not_exists(#deleted)")
            .expression_attribute_names("#deleted", item::DELETED)
            .expression_attribute_values(":pk", s(key::product_partition(product)))
            .expression_attribute_values(":prefix", s(key::UPDATE))
            .set_exclusive_start_key(before.map(|name| key::update_named(product, name)));
        let page = send::send_plain("list updates", send::READ, &query).await?;
        let items = page.items.unwrap_or_default();
        let next =
            page.last_evaluated_key.as_ref().map(|item| Fields(item).text("sk").map(str::to_string)).transpose()?;
        let next = next.and_then(|next| next.strip_prefix(key::UPDATE).map(str::to_string));
        Ok((readable(&items, item::update_from), next))
    }

    async fn versions(&self, product: &ProductId) -> Stored<Vec<(String, u64)>> {
        let counts = self.version_counts(product).await?;
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
        most: usize,
    ) -> Stored<(Vec<DeviceId>, Option<DeviceId>)> {
        let limit = i32::try_from(most).unwrap_or(i32::MAX);
        // The list is split, so its parts are read side by side and merged.
        let parts = (0..key::VERSION_PARTS).map(|part| async move {
            let list = key::on_version(product, version, part);
            let mut query = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(INDEX)
                .limit(limit)
                .expression_attribute_names("#on", "on")
                .expression_attribute_values(":list", s(list));
            query = match after {
                Some(after) => query
                    .key_condition_expression("#on = :list AND id > :after")
                    .expression_attribute_values(":after", s(after.as_str())),
                None => query.key_condition_expression("#on = :list"),
            };
            let page = send::send_plain("list devices", send::READ, &query).await?;
            let has_more = page.last_evaluated_key.is_some();
            let devices = readable(&page.items.unwrap_or_default(), |item| {
                DeviceId::new(Fields(item).text("id")?).map_err(StoreError::corrupt)
            });
            Ok::<_, StoreError>((devices, has_more))
        });
        let parts = try_join_all(parts).await?;
        let has_more = parts.iter().any(|(_, has_more)| *has_more);
        let mut devices = parts.into_iter().flat_map(|(devices, _)| devices).collect::<Vec<_>>();
        devices.sort_unstable();
        let has_more = has_more || devices.len() > most;
        devices.truncate(most);
        let next = if has_more { devices.last().cloned() } else { None };
        Ok((devices, next))
    }

    async fn listed(
        &self,
        rollout: &RolloutKey,
        bucket: Bucket,
        after: Option<&DeviceId>,
        most: usize,
    ) -> Stored<(Vec<ListEntry>, bool)> {
        // One more than are asked for tells whether there are more.
        let limit = i32::try_from(most.saturating_add(1)).unwrap_or(i32::MAX);
        let parts = (0..key::BUCKET_PARTS).map(|part| async move {
            let mut query = self
                .client
                .query()
                .table_name(&self.table)
                .limit(limit)
                .expression_attribute_values(":list", s(key::list(rollout, bucket, part)));
            query = match after {
                Some(after) => query
                    .key_condition_expression("pk = :list AND sk > :after")
                    .expression_attribute_values(":after", s(after.as_str())),
                None => query.key_condition_expression("pk = :list"),
            };
            let page = send::send_plain("list devices of a bucket", send::READ, &query).await?;
            let items = page.items.unwrap_or_default();
            Ok::<_, StoreError>(readable(&items, |item| item::entry_from(item, bucket)))
        });
        let mut entries = try_join_all(parts).await?.into_iter().flatten().collect::<Vec<_>>();
        entries.sort_by(|one, other| one.device.cmp(&other.device));
        let has_more = entries.len() > most;
        entries.truncate(most);
        Ok((entries, has_more))
    }

    async fn delete_device(&self, deletion: &DeviceDeletion) -> Stored<bool> {
        self.empty_device(deletion).await
    }

    async fn set_product(&self, product: &ProductId, before: &Head, after: &Head, audit: &AuditEntry) -> Stored<bool> {
        let mut change = Expression::default();
        change.put("accepts_product_tokens", AttributeValue::Bool(after.accepts_product_tokens));
        change.put("registration_is_open", AttributeValue::Bool(after.registration_is_open));
        change.put("proves_by_report", AttributeValue::Bool(after.proves_by_report));
        change.put("product_tok", n(after.product_token_generation));
        change.put("poll_s", n(after.times.poll_s));
        change.put("boot_grace_s", n(after.times.boot_grace_s));
        change.put("apply_within_s", n(after.times.apply_within_s));
        change.put("watch_s", n(after.times.watch_s));
        match &after.version_attribute {
            Some(name) => change.put("version_attribute", s(name)),
            None => change.remove("version_attribute"),
        }
        change.condition("attribute_exists(pk)");
        match before.settings_revision {
            0 => change.condition("attribute_not_exists(settings)"),
            revision => {
                change.condition("settings = :as_read");
                change.value(":as_read", n(revision));
            }
        }
        change.put("settings", n(before.settings_revision.saturating_add(1)));
        let mut writes = vec![update_item(self.built(key::head(product), &change)?), self.audit_put(product, audit)?];
        if before.registration_is_open != after.registration_is_open {
            writes.push(self.opened_product(product, after.registration_is_open)?);
        }
        self.transact_audited("set a product", writes).await
    }

    async fn deferrals(&self, rollout: &RolloutKey) -> Stored<BTreeMap<String, u64>> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key::deferrals(rollout)));
        let item = send::send_plain("read deferrals", send::READ, &read).await?.item;
        let item = item.unwrap_or_default();
        let fields = Fields(&item);
        let codes = ObjectionCode::ALL.iter().map(|code| code.name()).filter(|code| item.contains_key(*code));
        codes.map(|code| Ok((code.to_string(), fields.number(code)?))).collect()
    }

    async fn series(&self, rollout: &RolloutKey) -> Stored<Vec<SeriesPoint>> {
        let items = self.query(&key::series(rollout), None, Freshness::Eventual).await?;
        Ok(readable(&items, item::series_from))
    }
}

/// Name of a compiled catalog in a head.
fn named(head: &Item, field: &str) -> Option<String> {
    Fields(head).maybe_text(field).filter(|name| !name.is_empty()).map(str::to_string)
}
