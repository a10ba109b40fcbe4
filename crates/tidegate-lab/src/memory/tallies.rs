//! Tallies, due pages and lists of buckets: the records of the function `count`.

use std::collections::BTreeMap;

use tidegate_core::count::Sums;
use tidegate_core::life::Bucket;
use tidegate_core::{DeviceId, ProductId, Timestamp};
use tidegate_store::record::{DuePage, ListEntry, Position, RolloutKey, SeriesPoint, Tallied, Tally};
use tidegate_store::store::VersionCounts;

use super::state::{FoldedTallies, State, StoredTally, to_the_millisecond};
use crate::guard::Guard;

/// Most pages that are read at a time, as in DynamoDB.
const PAGES_AT_A_TIME: usize = 250;

/// Returns true if a tally is a part of the base: a read that began before the fold may still have seen it.
fn is_folded(folded: &FoldedTallies, stream_shard: &str, position: &Option<Position>) -> bool {
    folded.get(stream_shard).is_some_and(|(folded, _)| folded == position)
}

impl State {
    pub(crate) fn tally(&self, rollout: &RolloutKey, stream_shard: &str) -> Tally<Sums> {
        let stored = self.rollout(rollout).and_then(|rollout| rollout.tallies.get(stream_shard));
        match stored {
            Some(stored) => stored.tally.clone(),
            None => {
                let folded = self.rollout(rollout).and_then(|rollout| rollout.folded.get(stream_shard));
                Tally { folded: folded.and_then(|(position, _)| position.clone()), ..Tally::default() }
            }
        }
    }

    pub(crate) fn put_tally(
        &mut self,
        rollout: &RolloutKey,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<Sums>,
        now: Timestamp,
    ) -> bool {
        let is_guarded = self.keeps(Guard::PositionAsRead);
        let tallies = &mut self.rollout_mut(rollout).tallies;
        let position = tallies.get(stream_shard).and_then(|stored| stored.tally.position.as_ref());
        if is_guarded && position != before {
            return false;
        }
        let stored = StoredTally { tally: after.clone(), at: to_the_millisecond(now) };
        tallies.insert(stream_shard.to_string(), stored);
        true
    }

    pub(crate) fn tallied(&self, rollout: &RolloutKey) -> Tallied {
        self.tallied_with(rollout, &BTreeMap::new())
    }

    /// The sums, with some tallies as they were before, by stream shard.
    pub(crate) fn tallied_with(&self, rollout: &RolloutKey, old: &BTreeMap<&str, &Tally<Sums>>) -> Tallied {
        let mut tallied = Tallied::default();
        let Some(rollout) = self.rollout(rollout) else {
            return tallied;
        };
        for (stream_shard, stored) in &rollout.tallies {
            if is_folded(&rollout.folded, stream_shard, &stored.tally.position) {
                continue;
            }
            let tally = old.get(stream_shard.as_str()).copied().unwrap_or(&stored.tally);
            tallied.sums.add(&tally.counts);
            tallied.as_of = tallied.as_of.max(Some(stored.at));
        }
        tallied
    }

    pub(crate) fn version_tally(&self, product: &ProductId, stream_shard: &str) -> Tally<VersionCounts> {
        let stored = self.product(product).and_then(|items| items.version_tallies.get(stream_shard));
        match stored {
            Some((tally, _)) => tally.clone(),
            None => {
                let folded = self.product(product).and_then(|items| items.folded.get(stream_shard));
                Tally { folded: folded.and_then(|(position, _)| position.clone()), ..Tally::default() }
            }
        }
    }

    pub(crate) fn put_version_tally(
        &mut self,
        product: &ProductId,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<VersionCounts>,
        now: Timestamp,
    ) -> bool {
        let is_guarded = self.keeps(Guard::PositionAsRead);
        let tallies = &mut self.product_mut(product).version_tallies;
        let position = tallies.get(stream_shard).and_then(|(tally, _)| tally.position.as_ref());
        if is_guarded && position != before {
            return false;
        }
        tallies.insert(stream_shard.to_string(), (after.clone(), to_the_millisecond(now)));
        true
    }

    pub(crate) fn version_counts(&self, product: &ProductId) -> VersionCounts {
        let mut counts = VersionCounts::new();
        let Some(items) = self.product(product) else {
            return counts;
        };
        for (stream_shard, (tally, _)) in &items.version_tallies {
            if is_folded(&items.folded, stream_shard, &tally.position) {
                continue;
            }
            for (version, devices) in &tally.counts {
                *counts.entry(version.clone()).or_default() += devices;
            }
        }
        counts.retain(|_, devices| *devices != 0);
        counts
    }

    pub(crate) fn put_due_page(&mut self, rollout: &RolloutKey, page: &DuePage) {
        self.rollout_mut(rollout).due_pages.insert(page.name.clone(), page.devices.clone());
    }

    pub(crate) fn due_pages(&self, rollout: &RolloutKey, end: Timestamp) -> Vec<DuePage> {
        let end = DuePage::name_at(end);
        let pages = self.rollout(rollout).into_iter().flat_map(|rollout| rollout.due_pages.range(..end.clone()));
        let page =
            |(name, devices): (&String, &Vec<DeviceId>)| DuePage { name: name.clone(), devices: devices.clone() };
        pages.take(PAGES_AT_A_TIME).map(page).collect()
    }

    pub(crate) fn remove_due_page(&mut self, rollout: &RolloutKey, name: &str) {
        self.rollout_mut(rollout).due_pages.remove(name);
    }

    pub(crate) fn listed(
        &self,
        rollout: &RolloutKey,
        bucket: Bucket,
        after: Option<&DeviceId>,
        most: usize,
    ) -> (Vec<ListEntry>, bool) {
        let entries = self.rollout(rollout).into_iter().flat_map(|rollout| rollout.entries.values());
        let entries = entries.filter(|entry| entry.bucket == bucket && Some(&entry.device) > after);
        let mut entries = entries.cloned().collect::<Vec<_>>();
        let has_more = entries.len() > most;
        entries.truncate(most);
        (entries, has_more)
    }

    pub(crate) fn put_entry(&mut self, rollout: &RolloutKey, entry: &ListEntry) {
        let key = (entry.bucket, entry.device.clone());
        let entries = &mut self.rollout_mut(rollout).entries;
        if entries.get(&key).is_none_or(|before| before.revision < entry.revision) {
            entries.insert(key, entry.clone());
        }
    }

    pub(crate) fn remove_entry(&mut self, rollout: &RolloutKey, device: &DeviceId, bucket: Bucket, revision: u64) {
        let key = (bucket, device.clone());
        let entries = &mut self.rollout_mut(rollout).entries;
        if entries.get(&key).is_some_and(|before| before.revision < revision) {
            entries.remove(&key);
        }
    }

    pub(crate) fn record_series(&mut self, rollout: &RolloutKey, point: &SeriesPoint) {
        let hour = point.at.as_second().div_euclid(3600);
        let point = SeriesPoint { at: to_the_millisecond(point.at), ..*point };
        self.rollout_mut(rollout).series.insert(hour, point);
    }
}
