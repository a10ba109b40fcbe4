//! Removal of what no function reads any more, and the tallies of stream shards that have ended.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use futures_util::future::try_join_all;
use tidegate_core::count::Sums;
use tidegate_core::life::Bucket;
use tidegate_core::limits::MOST_SHARDS;
use tidegate_core::{ProductId, Timestamp};

use super::item::{self, Fields, Item, n, s, time};
use super::read::readable;
use super::tally::FoldedTally;
use super::{DynamoStore, failed_item, key, put_item, send, tally, unbuilt};
use crate::record::{Position, RolloutKey, UpdateRecord};
use crate::store::{Freshness, Stored, VersionCounts, capped};
use crate::tidy::{FOLDED_KEPT_FOR, Folded, TidiedImages, TidyStore, uncounted};

/// Most items that are removed side by side.
const REMOVED_AT_A_TIME: usize = 25;
/// Most items of a list that are removed in one step.
const REMOVED_IN_A_STEP: i32 = 250;
/// Most tallies that become one in a transaction. DynamoDB takes 100 items.
const FOLDED_AT_A_TIME: usize = 50;

impl TidyStore for DynamoStore {
    async fn every_update(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        let items = self.query(&key::product_partition(product), Some(key::UPDATE), Freshness::Strong).await?;
        items.iter().map(item::update_from).collect()
    }

    async fn deleted_updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        let query = self
            .partition(&key::product_partition(product), Some(key::UPDATE), Freshness::Strong)
            .filter_expression("attribute_exists(#left)")
            .expression_attribute_names("#left", item::UNREMOVED);
        Ok(readable(&self.every_page(query).await?, item::update_from))
    }

    async fn remove_rollout(&self, rollout: &RolloutKey) -> Stored<bool> {
        let lists = Bucket::ALL
            .into_iter()
            .flat_map(|bucket| (0..key::BUCKET_PARTS).map(move |part| key::list(rollout, bucket, part)));
        let partitions = lists.chain([key::due_pages(rollout), key::tallies(rollout), key::series(rollout)]);
        let mut is_empty = true;
        for partition in partitions.collect::<Vec<_>>() {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk")
                .projection_expression("pk, sk")
                .expression_attribute_values(":pk", s(partition))
                .limit(REMOVED_IN_A_STEP);
            let page = send::send_plain("read what is to be removed", send::READ, &query).await?;
            is_empty &= page.last_evaluated_key.is_none();
            self.remove(page.items.unwrap_or_default()).await?;
        }
        // One more than there are shards for a limit: that of the newcomers.
        let shards = (0..=u16::try_from(MOST_SHARDS).unwrap_or(u16::MAX)).map(|shard| key::shard(rollout, shard));
        let others = [key::members(rollout), key::deferrals(rollout)];
        self.remove(shards.chain(others).collect()).await?;
        Ok(is_empty)
    }

    async fn end_deletion(&self, deleted: &UpdateRecord) -> Stored<()> {
        let update = self
            .update(key::update(&deleted.product, &deleted.version))
            .update_expression("REMOVE #left")
            .condition_expression("attribute_exists(#deleted)")
            .expression_attribute_names("#left", item::UNREMOVED)
            .expression_attribute_names("#deleted", item::DELETED);
        match send::send("end a deletion", send::READ, &update).await? {
            Ok(_) => Ok(()),
            Err(refused) => failed_item(refused).map(drop),
        }
    }

    async fn fold_tallies(&self, rollout: &RolloutKey, quiet_since: Timestamp) -> Stored<Folded> {
        let mut sums = Sums::default();
        let partition = key::tallies(rollout);
        let add = |item: &Item| {
            sums.add(&tally::sums_from(item)?);
            Ok(())
        };
        let fold = self.quiet(&partition, quiet_since, add).await?;
        self.fold(partition, fold, tally::sums_to(&sums), kept_since(quiet_since)).await
    }

    async fn fold_version_tallies(&self, product: &ProductId, quiet_since: Timestamp) -> Stored<Folded> {
        let mut counts = VersionCounts::new();
        let partition = key::version_tallies(product);
        let add = |item: &Item| {
            for (version, devices) in Fields(item).numbers_by::<String, i64>(tally::VERSIONS)? {
                let count = counts.entry(version).or_default();
                *count = count.saturating_add(devices);
            }
            Ok(())
        };
        let fold = self.quiet(&partition, quiet_since, add).await?;
        let counts = capped(counts);
        let counts = vec![(tally::VERSIONS, tally::versions_to(&counts))];
        self.fold(partition, fold, counts, kept_since(quiet_since)).await
    }

    async fn settle(&self, record: &UpdateRecord) -> Stored<()> {
        let key = match record.is_earlier {
            true => key::earlier_campaign(&record.rollout()),
            false => key::update(&record.product, &record.version),
        };
        let update = self
            .update(key)
            .update_expression("SET #settled = :true")
            .condition_expression("generation = :generation AND campaign = :campaign AND attribute_not_exists(wanted)")
            .expression_attribute_names("#settled", item::SETTLED)
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":generation", n(record.generation))
            .expression_attribute_values(":campaign", n(record.campaign));
        match send::send("settle a rollout", send::READ, &update).await? {
            Ok(_) => Ok(()),
            // It has changed since. The next time it is looked at again.
            Err(refused) => failed_item(refused).map(drop),
        }
    }

    async fn uncounted_rollouts(&self, product: &ProductId) -> Stored<BTreeSet<RolloutKey>> {
        let query = self
            .partition(&key::product_partition(product), Some(key::UPDATE), Freshness::Strong)
            .filter_expression("attribute_exists(#settled) OR attribute_exists(#deleted)")
            .expression_attribute_names("#settled", item::SETTLED)
            .expression_attribute_names("#deleted", item::DELETED);
        let records = readable(&self.every_page(query).await?, item::update_from);
        Ok(records.iter().flat_map(uncounted).collect())
    }

    async fn tidy_images(&self, product: &ProductId, named: &BTreeSet<String>, now: Timestamp) -> Stored<TidiedImages> {
        self.objects.tidy_images(product, named, now).await
    }

    async fn put_tidied(&self, product: &ProductId, now: Timestamp) -> Stored<()> {
        let update = self
            .update(key::head(product))
            .update_expression("SET tidied = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", time(now));
        match send::send("note in a head", send::READ, &update).await? {
            Ok(_) => Ok(()),
            Err(refused) => failed_item(refused).map(drop),
        }
    }
}

/// The time since which the positions of tallies are kept that became a part of a base.
fn kept_since(quiet_since: Timestamp) -> Timestamp {
    quiet_since.saturating_sub(FOLDED_KEPT_FOR).unwrap_or(Timestamp::MIN)
}

/// The tallies of a partition that become one.
struct Fold {
    /// The base: the sum of those that became one before.
    base: Option<Item>,
    /// Those that are quiet.
    quiet: Vec<Item>,
    /// Number of the others.
    left: u64,
}

impl DynamoStore {
    async fn remove(&self, items: Vec<Item>) -> Stored<()> {
        for items in items.chunks(REMOVED_AT_A_TIME) {
            let deletes = items.iter().map(|item| async move {
                let delete = self.client.delete_item().table_name(&self.table).set_key(Some(item.clone()));
                send::send_plain("remove an item", send::READ, &delete).await
            });
            try_join_all(deletes).await?;
        }
        Ok(())
    }

    /// Tallies of a partition that are quiet, and the base. Each of them is given to `add`.
    async fn quiet(
        &self,
        partition: &str,
        quiet_since: Timestamp,
        mut add: impl FnMut(&Item) -> Stored<()>,
    ) -> Stored<Fold> {
        let mut fold = Fold { base: None, quiet: Vec::new(), left: 0 };
        for item in self.query(partition, None, Freshness::Strong).await? {
            let is_base = Fields(&item).text("sk")? == key::TALLY_BASE;
            let is_quiet = Fields(&item).time("at")? < quiet_since && fold.quiet.len() < FOLDED_AT_A_TIME;
            match (is_base, is_quiet) {
                (true, _) => fold.base = Some(item),
                (false, true) => fold.quiet.push(item),
                (false, false) => fold.left = fold.left.saturating_add(1),
            }
        }
        for item in fold.base.iter().chain(&fold.quiet) {
            add(item)?;
        }
        Ok(fold)
    }

    /// Replaces tallies and the base by one base with `sums`. The base names the tallies, so that a read that began before
    /// counts none of them twice.
    async fn fold(
        &self,
        partition: String,
        fold: Fold,
        sums: Vec<(&'static str, AttributeValue)>,
        kept_since: Timestamp,
    ) -> Stored<Folded> {
        let Fold { base, quiet, left } = fold;
        if quiet.is_empty() {
            let folded = base.as_ref().map(tally::folded_from).transpose()?.unwrap_or_default();
            let lately = folded.values().filter(|folded| folded.at >= kept_since).count() as u64;
            return Ok(Folded { folded: 0, left, lately });
        }
        let mut item = key::tally_base(partition);
        item.extend(sums.into_iter().map(|(name, value)| (name.to_string(), value)));
        // Records of a stream shard can come again as long as the stream keeps them.
        let mut folded = base.as_ref().map(tally::folded_from).transpose()?.unwrap_or_default();
        folded.retain(|_, folded| folded.at >= kept_since);
        for item in &quiet {
            let fields = Fields(item);
            let position = fields.parsed("pos", "a position", Position::parse)?;
            folded.insert(fields.text("sk")?.to_string(), FoldedTally { position, at: fields.time("at")? });
        }
        item.extend([tally::folded_to(&folded)]);
        let times = base.iter().chain(&quiet).map(|item| Fields(item).time("at")).collect::<Stored<Vec<_>>>()?;
        item.extend(times.into_iter().max().map(|at| ("at".to_string(), time(at))));
        let before: u64 = base.as_ref().map_or(Ok(0), |base| Fields(base).number("rev"))?;
        item.insert("rev".into(), n(before.saturating_add(1)));
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        let put = match before {
            0 => put.condition_expression("attribute_not_exists(pk)"),
            _ => put.condition_expression("rev = :before").expression_attribute_values(":before", n(before)),
        };
        let mut writes = vec![put_item(put.build().map_err(unbuilt)?)];
        for item in &quiet {
            let fields = Fields(item);
            let key = BTreeMap::from([("pk", fields.text("pk")?), ("sk", fields.text("sk")?)]);
            let delete = Delete::builder()
                .table_name(&self.table)
                .set_key(Some(key.into_iter().map(|(name, value)| (name.to_string(), s(value))).collect()))
                .condition_expression("pos = :pos")
                .expression_attribute_values(":pos", s(fields.text("pos")?));
            writes.push(TransactWriteItem::builder().delete(delete.build().map_err(unbuilt)?).build());
        }
        let (folded, lately) = (quiet.len() as u64, folded.len() as u64);
        match self.transact("fold tallies", writes).await? {
            true => Ok(Folded { folded, left, lately }),
            // Another sweep folds them, or one has moved after all.
            false => Ok(Folded { folded: 0, left: left.saturating_add(folded), lately }),
        }
    }
}
