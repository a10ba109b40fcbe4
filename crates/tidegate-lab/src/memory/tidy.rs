//! Removal of what no function reads any more, and the tallies of stream shards that have ended.

use std::collections::BTreeSet;

use tidegate_core::count::Sums;
use tidegate_core::{ProductId, Timestamp};
use tidegate_store::record::{DuePage, RolloutKey, Tally, UpdateRecord};
use tidegate_store::store::{Stored, VersionCounts, capped};
use tidegate_store::tidy::{FOLDED_KEPT_FOR, Folded, TidiedImages, TidyStore, uncounted};

use super::MemoryStore;
use super::state::{FoldedTallies, ProductItems, Rollout, State, StoredTally, precedence, to_the_millisecond};

/// Name of the sum of the tallies whose stream shards have ended.
const BASE: &str = "~base";

impl State {
    pub(crate) fn every_update(&self, product: &ProductId) -> Vec<UpdateRecord> {
        self.product(product).map(|items| items.updates.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn deleted_updates(&self, product: &ProductId) -> Vec<UpdateRecord> {
        let Some(items) = self.product(product) else {
            return Vec::new();
        };
        items.unremoved.iter().filter_map(|key| items.updates.get(key)).cloned().collect()
    }

    pub(crate) fn remove_rollout(&mut self, rollout: &RolloutKey) {
        let rollout = self.rollout_mut(rollout);
        rollout.shards.clear();
        rollout.tallies.clear();
        rollout.folded.clear();
        rollout.due_pages.clear();
        rollout.entries.clear();
        rollout.members.clear();
        rollout.deferrals.clear();
        rollout.series.clear();
    }

    pub(crate) fn end_deletion(&mut self, deleted: &UpdateRecord) {
        self.product_mut(&deleted.product).unremoved.remove(&precedence(&deleted.version));
    }

    pub(crate) fn fold_tallies(&mut self, rollout: &RolloutKey, quiet_since: Timestamp) -> Folded {
        let Rollout { tallies, folded, .. } = self.rollout_mut(rollout);
        let quiet = tallies.extract_if(.., |name, stored| name != BASE && stored.at < quiet_since);
        let quiet = quiet.collect::<Vec<_>>();
        if let Some(at) = quiet.iter().map(|(_, stored)| stored.at).max() {
            // The stream in memory keeps its records for ever, so their positions stay too.
            let positions =
                quiet.iter().map(|(name, stored)| (name.clone(), (stored.tally.position.clone(), stored.at)));
            folded.extend(positions);
            let base = tallies.entry(BASE.into()).or_insert(StoredTally { tally: Tally::<Sums>::default(), at });
            base.at = base.at.max(at);
            for (_, stored) in &quiet {
                base.tally.counts.add(&stored.tally.counts);
            }
        }
        let left = tallies.keys().filter(|name| *name != BASE).count() as u64;
        Folded { folded: quiet.len() as u64, left, lately: lately(folded, quiet_since) }
    }

    pub(crate) fn fold_version_tallies(&mut self, product: &ProductId, quiet_since: Timestamp) -> Folded {
        let ProductItems { version_tallies: tallies, folded, .. } = self.product_mut(product);
        let quiet = tallies.extract_if(.., |name, (_, at)| name != BASE && *at < quiet_since);
        let quiet = quiet.collect::<Vec<_>>();
        if let Some(at) = quiet.iter().map(|(_, (_, at))| *at).max() {
            folded.extend(quiet.iter().map(|(name, (tally, at))| (name.clone(), (tally.position.clone(), *at))));
            let (base, base_at) = tallies.entry(BASE.into()).or_insert((Tally::<VersionCounts>::default(), at));
            *base_at = at.max(*base_at);
            for (version, devices) in quiet.iter().flat_map(|(_, (tally, _))| &tally.counts) {
                let count = base.counts.entry(version.clone()).or_default();
                *count = count.saturating_add(*devices);
            }
            base.counts = capped(std::mem::take(&mut base.counts));
        }
        let left = tallies.keys().filter(|name| *name != BASE).count() as u64;
        Folded { folded: quiet.len() as u64, left, lately: lately(folded, quiet_since) }
    }

    pub(crate) fn settle(&mut self, record: &UpdateRecord) {
        let key = if record.is_earlier { record.rollout().name_as_earlier() } else { precedence(&record.version) };
        if let Some(stored) = self.product_mut(&record.product).updates.get_mut(&key)
            && (stored.campaign, stored.generation) == (record.campaign, record.generation)
            && stored.wanted.is_none()
        {
            stored.is_settled = true;
        }
    }

    pub(crate) fn uncounted_rollouts(&self, product: &ProductId) -> BTreeSet<RolloutKey> {
        let records = self.product(product).into_iter().flat_map(|items| items.updates.values());
        records.flat_map(uncounted).collect()
    }

    pub(crate) fn put_tidied(&mut self, product: &ProductId, now: Timestamp) {
        if let Some(head) = self.product_mut(product).head.as_mut() {
            head.tidied_at = Some(to_the_millisecond(now));
        }
    }

    pub(crate) fn watched_until(&self, rollout: &RolloutKey) -> Option<Timestamp> {
        let (name, _) = self.rollout(rollout)?.due_pages.last_key_value()?;
        DuePage { name: name.clone(), devices: Vec::new() }.due_at()
    }
}

fn kept_since(quiet_since: Timestamp) -> Timestamp {
    quiet_since.saturating_sub(FOLDED_KEPT_FOR).unwrap_or(Timestamp::MIN)
}

fn lately(folded: &FoldedTallies, quiet_since: Timestamp) -> u64 {
    folded.values().filter(|(_, at)| *at >= kept_since(quiet_since)).count() as u64
}

impl TidyStore for MemoryStore {
    async fn every_update(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        Ok(self.state().every_update(product))
    }

    async fn deleted_updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        Ok(self.state().deleted_updates(product))
    }

    async fn remove_rollout(&self, rollout: &RolloutKey) -> Stored<bool> {
        self.state().remove_rollout(rollout);
        Ok(true)
    }

    async fn end_deletion(&self, deleted: &UpdateRecord) -> Stored<()> {
        self.state().end_deletion(deleted);
        Ok(())
    }

    async fn fold_tallies(&self, rollout: &RolloutKey, quiet_since: Timestamp) -> Stored<Folded> {
        Ok(self.state().fold_tallies(rollout, quiet_since))
    }

    async fn fold_version_tallies(&self, product: &ProductId, quiet_since: Timestamp) -> Stored<Folded> {
        Ok(self.state().fold_version_tallies(product, quiet_since))
    }

    async fn settle(&self, record: &UpdateRecord) -> Stored<()> {
        self.state().settle(record);
        Ok(())
    }

    async fn uncounted_rollouts(&self, product: &ProductId) -> Stored<BTreeSet<RolloutKey>> {
        Ok(self.state().uncounted_rollouts(product))
    }

    /// No image is in memory.
    async fn tidy_images(&self, _: &ProductId, _: &BTreeSet<String>, _: Timestamp) -> Stored<TidiedImages> {
        Ok(TidiedImages::default())
    }

    async fn put_tidied(&self, product: &ProductId, now: Timestamp) -> Stored<()> {
        self.state().put_tidied(product, now);
        Ok(())
    }
}
