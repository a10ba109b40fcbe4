//! Writes of a repair.

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::count::Sums;
use tidegate_core::shard::Gate;
use tidegate_core::{DeviceId, ProductId, Timestamp};

use super::item::{self, Fields, Item, n, s, time};
use super::{DynamoStore, failed_item, key, send, tally};
use crate::record::{RolloutKey, UpdateRecord};
use crate::repair::{RepairStore, RepairedShard};
use crate::store::{StoreError, Stored, VersionCounts, capped};

impl RepairStore for DynamoStore {
    async fn number_shard(
        &self,
        rollout: &RolloutKey,
        shard: u16,
        generation: u64,
        repaired: RepairedShard,
    ) -> Stored<bool> {
        let update = self
            .update(key::shard(rollout, shard))
            .update_expression("SET granted = :granted, used = :used")
            .condition_expression("gen = :gen AND gate <> :open")
            .expression_attribute_values(":granted", n(repaired.granted))
            .expression_attribute_values(":used", n(repaired.used))
            .expression_attribute_values(":gen", n(generation))
            .expression_attribute_values(":open", s(item::gate(Gate::Open)));
        match send::send("number a shard", send::STOP, &update).await? {
            Ok(_) => Ok(true),
            Err(refused) => failed_item(refused).map(|_| false),
        }
    }

    async fn correct_sums(&self, rollout: &RolloutKey, correction: &Sums, now: Timestamp) -> Stored<()> {
        let base = self.base(key::tallies(rollout)).await?;
        let mut sums = match base.is_empty() {
            true => Sums::default(),
            false => tally::sums_from(&base)?,
        };
        sums.add(correction);
        self.write_base(key::tallies(rollout), base, tally::sums_to(&sums), now).await
    }

    async fn correct_versions(&self, product: &ProductId, correction: &VersionCounts, now: Timestamp) -> Stored<()> {
        let base = self.base(key::version_tallies(product)).await?;
        let mut counts = match base.is_empty() {
            true => VersionCounts::new(),
            false => Fields(&base).numbers_by(tally::VERSIONS)?,
        };
        for (version, devices) in correction {
            let count = counts.entry(version.clone()).or_default();
            *count = count.saturating_add(*devices);
        }
        let counts = vec![(tally::VERSIONS, tally::versions_to(&capped(counts)))];
        self.write_base(key::version_tallies(product), base, counts, now).await
    }

    async fn unmark(&self, record: &UpdateRecord) -> Stored<()> {
        if record.uncounted == 0 {
            return Ok(());
        }
        let update = self
            .update(key::update(&record.product, &record.version))
            .update_expression("REMOVE uncounted")
            .condition_expression("uncounted = :read")
            .expression_attribute_values(":read", n(record.uncounted));
        match send::send("unmark a rollout", send::READ, &update).await? {
            Ok(_) => Ok(()),
            Err(refused) => failed_item(refused).map(drop),
        }
    }

    async fn raise_device(&self, product: &ProductId, device: &DeviceId, by: u64) -> Stored<()> {
        self.raise("raise a device", key::device(product, device), "rev", by).await
    }

    async fn raise_head(&self, product: &ProductId, by: u64) -> Stored<()> {
        self.raise("raise a head", key::head(product), "revision", by).await
    }
}

impl DynamoStore {
    async fn raise(&self, what: &'static str, key: key::Key, attribute: &str, by: u64) -> Stored<()> {
        let update = self
            .update(key)
            .update_expression("ADD #revision :by")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#revision", attribute)
            .expression_attribute_values(":by", n(by));
        match send::send(what, send::READ, &update).await? {
            Ok(_) => Ok(()),
            Err(refused) => failed_item(refused).map(drop),
        }
    }

    async fn base(&self, partition: String) -> Stored<Item> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key::tally_base(partition)));
        let read = send::send_plain("read the base of tallies", send::READ, &read.consistent_read(true)).await?;
        Ok(read.item.unwrap_or_default())
    }

    /// Replaces a base, which must be as it was read.
    async fn write_base(
        &self,
        partition: String,
        before: Item,
        sums: Vec<(&'static str, AttributeValue)>,
        now: Timestamp,
    ) -> Stored<()> {
        let revision: u64 = Fields(&before).number_or("rev", 0)?;
        let mut item = before;
        item.extend(key::tally_base(partition));
        item.extend(sums.into_iter().map(|(name, value)| (name.to_string(), value)));
        item.insert("at".into(), time(now));
        item.insert("rev".into(), n(revision.saturating_add(1)));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match revision {
            0 => put.condition_expression("attribute_not_exists(pk)"),
            _ => put.condition_expression("rev = :rev").expression_attribute_values(":rev", n(revision)),
        };
        match send::send("correct tallies", send::READ, &put).await? {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::Conflict),
        }
    }
}
