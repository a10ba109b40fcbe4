//! Tallies, due pages, lists and events: the writes of the function `count`.

use tidegate_core::count::Sums;
use tidegate_core::life::Bucket;
use tidegate_core::{DeviceId, ProductId, Timestamp, Version};

use super::item::{self, Fields, Item, n, s, time};
use super::{DynamoStore, Expression, failed_item, key, send, tally};
use crate::record::{DuePage, Event, ListEntry, Position, RolloutKey, Tally};
use crate::store::{CountStore, Stored, VersionCounts};

impl CountStore for DynamoStore {
    async fn tally(&self, rollout: &RolloutKey, stream_shard: &str) -> Stored<Tally<Sums>> {
        let key = key::tally(key::tallies(rollout), stream_shard);
        let item = self.read_tally(key.clone()).await?;
        match item::position_from(&item)? {
            None => Ok(Tally { folded: self.folded(&key).await?, ..Tally::default() }),
            position => Ok(Tally::new(tally::sums_from(&item)?, position)),
        }
    }

    async fn put_tally(
        &self,
        rollout: &RolloutKey,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<Sums>,
        now: Timestamp,
    ) -> Stored<bool> {
        let mut change = Expression::default();
        for (attribute, value) in tally::sums_to(&after.counts) {
            change.put(attribute, value);
        }
        change.put("at", time(now));
        let key = key::tally(key::tallies(rollout), stream_shard);
        self.write_tally(key, before, after.position.as_ref(), change).await
    }

    async fn version_tally(&self, product: &ProductId, stream_shard: &str) -> Stored<Tally<VersionCounts>> {
        let key = key::tally(key::version_tallies(product), stream_shard);
        let item = self.read_tally(key.clone()).await?;
        match item::position_from(&item)? {
            None => Ok(Tally { folded: self.folded(&key).await?, ..Tally::default() }),
            position => Ok(Tally::new(Fields(&item).numbers_by(tally::VERSIONS)?, position)),
        }
    }

    async fn put_version_tally(
        &self,
        product: &ProductId,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<VersionCounts>,
        now: Timestamp,
    ) -> Stored<bool> {
        let mut change = Expression::default();
        change.put(tally::VERSIONS, tally::versions_to(&after.counts));
        change.put("at", time(now));
        let key = key::tally(key::version_tallies(product), stream_shard);
        self.write_tally(key, before, after.position.as_ref(), change).await
    }

    async fn put_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> Stored<()> {
        self.write_due_page(rollout, page).await
    }

    async fn put_entry(&self, rollout: &RolloutKey, entry: &ListEntry) -> Stored<()> {
        let mut item = key::list_entry(rollout, entry.bucket, &entry.device);
        item.insert("rev".into(), n(entry.revision));
        item.insert("attempts".into(), n(entry.attempts));
        item.insert("at".into(), time(entry.at));
        if let Some(message) = &entry.message {
            item.insert("message".into(), s(message));
        }
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(rev) OR rev < :rev")
            .expression_attribute_values(":rev", n(entry.revision));
        // A failed condition means that a later entry is there.
        send::send("write a list entry", send::READ, &put).await.map(drop)
    }

    async fn put_event(&self, product: &ProductId, event: &Event) -> Stored<()> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::event_to(product, event)))
            .condition_expression("attribute_not_exists(pk)");
        // A failed condition means that the event is there already.
        send::send("write an event", send::READ, &put).await.map(drop)
    }

    async fn remove_entry(&self, rollout: &RolloutKey, device: &DeviceId, bucket: Bucket, revision: u64) -> Stored<()> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key::list_entry(rollout, bucket, device)))
            .condition_expression("rev < :rev")
            .expression_attribute_values(":rev", n(revision));
        send::send("remove a list entry", send::READ, &delete).await.map(drop)
    }

    async fn mark_for_recount(&self, product: &ProductId, version: &Version) -> Stored<()> {
        let update = self
            .update(key::update(product, version))
            .update_expression("ADD uncounted :one")
            .condition_expression("attribute_exists(generation)")
            .expression_attribute_values(":one", n(1));
        match send::send("mark for a recount", send::READ, &update).await? {
            Ok(_) => Ok(()),
            Err(refused) => failed_item(refused).map(drop),
        }
    }
}

impl DynamoStore {
    /// The position of a tally that became a part of its base.
    async fn folded(&self, tally: &key::Key) -> Stored<Option<Position>> {
        let fields = Fields(tally);
        let base = self.read_tally(key::tally_base(fields.text("pk")?.to_string())).await?;
        let mut folded = tally::folded_from(&base)?;
        Ok(folded.remove(fields.text("sk")?).map(|folded| folded.position))
    }

    async fn read_tally(&self, key: key::Key) -> Stored<Item> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        let item = send::send_plain("read a tally", send::READ, &read).await?.item;
        Ok(item.unwrap_or_default())
    }

    /// Replaces a tally together with its position, if nobody else has moved it.
    async fn write_tally(
        &self,
        key: key::Key,
        before: Option<&Position>,
        after: Option<&Position>,
        mut change: Expression,
    ) -> Stored<bool> {
        if let Some(after) = after {
            change.put("pos", s(after.as_str()));
        }
        match before {
            None => change.condition("attribute_not_exists(pos)"),
            Some(before) => {
                change.condition("pos = :before");
                change.value(":before", s(before.as_str()));
            }
        }
        let update = self
            .update(key)
            .update_expression(change.text())
            .set_condition_expression(change.condition_text())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values());
        match send::send("write a tally", send::READ, &update).await? {
            Ok(_) => Ok(true),
            Err(refused) => failed_item(refused).map(|_| false),
        }
    }

    pub(super) async fn write_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> Stored<()> {
        let mut item = key::due_page(rollout, &page.name);
        item.insert("ids".into(), item::ids_to(&page.devices));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        send::send_plain("write a due page", send::READ, &put).await.map(drop)
    }
}
