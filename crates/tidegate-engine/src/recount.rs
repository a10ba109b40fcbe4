//! The recount: it reads every device and compares what it finds with the counts that follow the stream.
//!
//! The stream goes on meanwhile. So a rollout is compared only if its tallies did not change between the start of the scan
//! and the time at which everything that happened until its end is counted. The others are named as moving, and can be
//! checked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use tidegate_core::ProductId;
use tidegate_core::count::{Count, CountedShard, Sample, Sums};
use tidegate_core::limits::Allocation;
use tidegate_store::record::{RolloutKey, Tallied};
use tidegate_store::store::{OTHER_VERSIONS, RecountStore, Stored, VersionCounts};
use tidegate_store::tidy::uncounted;

use crate::metrics;

/// Time after which `count` has read a change. On AWS it waits up to 5 seconds for a full batch.
pub const COUNTED_AFTER: Duration = Duration::from_secs(15);

/// Result of a recount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recount {
    /// Devices that were read.
    pub devices: u64,
    /// Rollouts whose counts were compared.
    pub rollouts: u64,
    /// Rollouts and products whose counts moved during the scan: they were not compared.
    pub moving: Vec<String>,
    /// Counts that differ.
    pub drift: Vec<Drift>,
}

/// A count that differs from the devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The product, and the version of the update if the count is one of a rollout.
    pub of: String,
    /// The name of the count.
    pub count: String,
    /// Its value.
    pub counted: i64,
    /// The value that follows from the devices.
    pub found: i64,
}

/// Sums over the scanned claims of one rollout.
#[derive(Debug, Default)]
struct Found {
    devices: i64,
    /// Its `granted` are the places that are held.
    sums: Sums,
}

/// The counts of a rollout at a moment.
#[derive(Debug, PartialEq)]
struct Counted {
    shards: u16,
    tallied: Tallied,
}

/// Compares all counts with the devices. `counted_after` is the time after which a change is counted.
///
/// # Errors
/// When the store cannot be reached.
pub async fn recount(store: &impl RecountStore, counted_after: Duration) -> Stored<Recount> {
    let before = counted(store).await?;
    let versions_before = version_counts(store).await?;
    let (mut result, mut found, mut versions) =
        (Recount::default(), BTreeMap::<RolloutKey, Found>::new(), BTreeMap::<ProductId, VersionCounts>::new());
    let mut after = None;
    loop {
        let (devices, next) = store.scan_devices(after.as_deref()).await?;
        for (product, _, known) in devices {
            result.devices = result.devices.saturating_add(1);
            for (_, claim) in &known.claims {
                let found = found.entry(RolloutKey::of_claim(&product, claim)).or_default();
                found.devices = found.devices.saturating_add(1);
                found.sums.count(None, Some(claim));
            }
            if let Some(version) = known.record.and_then(|record| record.version) {
                let count = versions.entry(product).or_default().entry(version).or_default();
                *count = count.saturating_add(1);
            }
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    let mut shards = BTreeMap::new();
    for (rollout, counted) in &before {
        shards.insert(rollout.clone(), store.shards(rollout, counted.shards).await?);
    }
    tokio::time::sleep(counted_after).await;
    let (end, versions_end) = (counted(store).await?, version_counts(store).await?);
    for (rollout, counted) in before {
        let name = format!("{} {}", rollout.product(), rollout.name());
        if end.get(&rollout) != Some(&counted) {
            result.moving.push(name);
            continue;
        }
        result.rollouts = result.rollouts.saturating_add(1);
        let shards = shards.remove(&rollout).unwrap_or_default();
        let found = found.remove(&rollout).unwrap_or_default();
        let sums = &counted.tallied.sums;
        let used = shards.iter().flatten().fold(0_u64, |used, shard| used.saturating_add(shard.used));
        for (number, shard) in (0..).zip(&shards) {
            let granted = signed(shard.map_or(0, |shard| shard.granted));
            let counted = CountedShard::of(shard.map_or(0, |shard| shard.generation), number);
            let held = granted.saturating_sub(signed(sums.released(counted)));
            let places = signed(found.sums.granted(counted));
            result.compare(&name, &format!("granted of shard {number}"), signed(sums.granted(counted)), granted);
            result.compare(&name, &format!("in_flight of shard {number}"), held, places);
        }
        // No device says of itself that it is gone.
        let gone = sums.devices(Count::Gone);
        result.compare(&name, "used", signed(used), found.devices.saturating_add(gone));
        let counts = sums.devices.keys().chain(found.sums.devices.keys());
        for (sample, count) in counts.filter(|(_, count)| *count != Count::Gone).collect::<BTreeSet<_>>() {
            let of = |sums: &Sums| sums.devices.get(&(*sample, *count)).copied().unwrap_or(0);
            result.compare(&name, &format!("{} of {}", count.name(), named(*sample)), of(sums), of(&found.sums));
        }
        for (what, counted, found) in
            [("granted", &sums.granted_in, &found.sums.granted_in), ("lost", &sums.lost_in, &found.sums.lost_in)]
        {
            for (sample, hour) in counted.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
                let of = |counts: &BTreeMap<(Sample, u8), i64>| counts.get(&(*sample, *hour)).copied().unwrap_or(0);
                let count = format!("{what} of {} in hour bucket {hour}", named(*sample));
                result.compare(&name, &count, of(counted), of(found));
            }
        }
    }
    for (product, counts) in versions_before {
        if versions_end.get(&product) != Some(&counts) {
            result.moving.push(product.to_string());
            continue;
        }
        // Versions beyond the names that a tally holds are counted together.
        if counts.contains_key(OTHER_VERSIONS) {
            let sum = |counts: &VersionCounts| counts.values().fold(0_i64, |sum, count| sum.saturating_add(*count));
            let found = versions.get(&product).map_or(0, sum);
            result.compare(product.as_str(), "devices", sum(&counts), found);
            continue;
        }
        let found = versions.remove(&product).unwrap_or_default();
        let names = counts.keys().chain(found.keys()).collect::<BTreeSet<_>>();
        for name in names {
            let of = |counts: &VersionCounts| counts.get(name).copied().unwrap_or(0);
            result.compare(product.as_str(), &format!("version {name}"), of(&counts), of(&found));
        }
    }
    metrics::drift(result.drift.len() as u64);
    Ok(result)
}

fn named(sample: Sample) -> String {
    let who = if sample.is_newcomers { " (newcomers)" } else { "" };
    format!("test {}{who}", sample.test)
}

impl Recount {
    fn compare(&mut self, of: &str, count: &str, counted: i64, found: i64) {
        if counted != found {
            tracing::error!(of, count, counted, found, "drift");
            self.drift.push(Drift { of: of.into(), count: count.into(), counted, found });
        }
    }
}

/// The counts of every rollout that was opened and whose claims are counted.
async fn counted(store: &impl RecountStore) -> Stored<BTreeMap<RolloutKey, Counted>> {
    let mut counts = BTreeMap::new();
    for product in store.products().await? {
        for record in store.updates(&product).await?.iter().filter(|record| uncounted(record).is_empty()) {
            if let Some(shards) = record.allocation.as_ref().map(Allocation::shards) {
                let rollout = record.rollout();
                let tallied = store.tallied(&rollout).await?;
                counts.insert(rollout, Counted { shards, tallied });
            }
        }
    }
    Ok(counts)
}

async fn version_counts(store: &impl RecountStore) -> Stored<BTreeMap<ProductId, VersionCounts>> {
    let mut counts = BTreeMap::new();
    for product in store.products().await? {
        let of_product = store.version_counts(&product).await?;
        counts.insert(product, of_product);
    }
    Ok(counts)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
