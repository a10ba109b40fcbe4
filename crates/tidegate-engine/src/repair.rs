//! The repair: it counts the claims of rollouts anew, from the devices.
//!
//! Two things make counts wrong: a change of a claim that could not be counted, and a table that was restored in the middle
//! of transactions. The repair first shuts the rollout for the next count and then stamps each claim that holds a place
//! with its number. So a place that is released meanwhile is counted in the new count if it was stamped, and in none
//! if it was not. Afterwards the rollout is paused, and an operator resumes it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tidegate_core::count::{Count, CountedShard, Sample, Sums, count_number};
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, UpdateId};
use tidegate_store::record::{Change, ClaimChange, DeviceWrite, Tallied, UpdateRecord, Wanted};
use tidegate_store::repair::{RepairStore, RepairedShard};
use tidegate_store::store::{Expected, Freshness, Include, StoreError, VersionCounts, Written};
use tidegate_store::tidy::uncounted;

use crate::control::{self, Actor};
use crate::error::{Done, EngineError};

/// Number that is added to revisions after a restore: more than a device or a product can have reached since.
const RAISED_BY: u64 = 1_000_000;
/// Tries of one stamp. Between two of them the device reports something.
const MOST_TRIES: usize = 20;

/// The rollouts that a repair is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Those with changes that could not be counted. The service may go on meanwhile.
    Uncounted,
    /// All, because records of the stream were lost. The service may go on meanwhile.
    All,
    /// All, because the table was restored. Nothing else may use it meanwhile.
    Restored,
}

/// Result of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Devices that were read.
    pub devices: u64,
    /// Rollouts whose claims were counted anew. Those that were active are paused.
    pub rollouts: Vec<RepairedRollout>,
    /// Rollouts whose outcomes moved meanwhile: their places are right, and their outcomes need another repair.
    pub moving: Vec<String>,
    /// Rollouts that were not repaired, each with the reason: another change has taken over, or the store failed.
    pub unfinished: Vec<String>,
}

/// A rollout whose claims were counted anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairedRollout {
    /// The product and the rollout.
    pub of: String,
    /// Its state now.
    pub state: String,
    /// Places that are held, as they were counted, and as they were found.
    pub in_flight: Difference,
    /// Claims, as they were counted, and as they were found.
    pub used: Difference,
    /// Numbers of devices with an outcome, where they differ.
    pub outcomes: BTreeMap<String, Difference>,
}

/// A count before the repair, and what the repair found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its value before.
    pub counted: i64,
    /// The value that follows from the devices.
    pub found: i64,
}

/// A rollout that is shut for its next count.
struct Shut {
    record: UpdateRecord,
    wanted: Wanted,
    tallied: Tallied,
    /// Sums over the claims that the scan has read.
    found: Sums,
    claims: u64,
    /// Stamped claims by shard.
    stamped: BTreeMap<u16, u64>,
}

/// Counts the claims of rollouts anew. `counted_after` is the time after which a change is counted.
///
/// # Errors
/// When a device cannot be read, which is found before anything is changed; when the store cannot be reached; or when it
/// is not known whether a claim was stamped. The repair can be repeated; until then the rollouts stay shut.
pub async fn repair(store: &impl RepairStore, what: Repair, counted_after: Duration, actor: &Actor) -> Done<Repaired> {
    let mut repaired = Repaired::default();
    let mut after = None;
    loop {
        (_, after) = store.scan_devices(after.as_deref()).await?;
        if after.is_none() {
            break;
        }
    }
    let mut rollouts = BTreeMap::new();
    for product in store.products().await? {
        if what == Repair::Restored {
            store.raise_head(&product, RAISED_BY).await?;
        }
        for record in store.updates(&product).await? {
            let is_wanted = what != Repair::Uncounted || record.uncounted > 0 || is_begun(&record);
            // A campaign that another one followed grants nothing, and its places are nobody's.
            if is_wanted && !record.is_earlier && record.allocation.is_some() && uncounted(&record).is_empty() {
                let name = name(&record);
                match shut(store, record, actor).await {
                    Ok(shut) => drop(rollouts.insert(shut.record.id.clone(), shut)),
                    Err(error) => repaired.unfinished.push(format!("{name}: {error}")),
                }
            }
        }
    }
    let mut versions = BTreeMap::<ProductId, VersionCounts>::new();
    let mut after = None;
    loop {
        let (devices, next) = store.scan_devices(after.as_deref()).await?;
        for (product, device, known) in devices {
            repaired.devices = repaired.devices.saturating_add(1);
            let mut known = known;
            if what == Repair::Restored {
                store.raise_device(&product, &device, RAISED_BY).await?;
                known = store.device(&product, &device, Include::Item, Freshness::Strong).await?;
            }
            if let Some(version) = known.record.as_ref().and_then(|record| record.version.clone()) {
                let count = versions.entry(product.clone()).or_default().entry(version).or_default();
                *count = count.saturating_add(1);
            }
            for (update, claim) in &known.claims {
                if let Some(shut) = rollouts.get_mut(update) {
                    shut.count(store, &product, &device, update, claim.clone()).await?;
                }
            }
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    if what != Repair::Restored {
        tokio::time::sleep(counted_after).await;
    }
    for shut in rollouts.into_values() {
        let name = name(&shut.record);
        match shut.finish(store, &name, what, actor.now, &mut repaired).await {
            Ok(true) => {}
            Ok(false) => repaired.moving.push(name),
            Err(error) => repaired.unfinished.push(format!("{name}: {error}")),
        }
    }
    if what == Repair::Restored {
        for product in store.products().await? {
            let found = versions.remove(&product).unwrap_or_default();
            let correction = difference(&store.version_counts(&product).await?, &found);
            if !correction.is_empty() {
                store.correct_versions(&product, &correction, actor.now).await?;
            }
        }
    }
    Ok(repaired)
}

/// The product and the rollout.
fn name(record: &UpdateRecord) -> String {
    format!("{} {}", record.product, record.rollout().name())
}

/// Returns true if an earlier repair has begun with a rollout.
fn is_begun(record: &UpdateRecord) -> bool {
    record.wanted.as_ref().is_some_and(|wanted| wanted.change == Change::Recount)
}

/// Shuts a rollout for its next count. A change that ends or holds it is finished first; what a repair before this one has
/// begun begins anew, under another number.
async fn shut(store: &impl RepairStore, record: UpdateRecord, actor: &Actor) -> Done<Shut> {
    let mut record = record;
    let is_kept = |change: &Change| *change != Change::Recount && change.leads_to(State::Active) != State::Active;
    if record.wanted.as_ref().is_some_and(|wanted| is_kept(&wanted.change)) {
        let changed = control::carry_out(store, &record, actor.now).await?;
        if changed.shards_left > 0 {
            return Err(EngineError::Store(StoreError::Contended));
        }
        record = changed.record;
    }
    let wanted = control::wish(&record, Change::Recount, actor)?;
    let wishing = UpdateRecord { wanted: Some(wanted.clone()), ..record.clone() };
    store.want(&wishing, Expected::of(&record), None).await?;
    if control::shut(store, &wishing, &wanted).await? > 0 {
        return Err(EngineError::Store(StoreError::Contended));
    }
    let tallied = store.tallied(&record.rollout()).await?;
    let found = Sums::default();
    Ok(Shut { record: wishing, wanted, tallied, found, claims: 0, stamped: BTreeMap::new() })
}

impl Shut {
    /// Counts a claim. If it holds a place, it is stamped before.
    async fn count(
        &mut self,
        store: &impl RepairStore,
        product: &ProductId,
        device: &DeviceId,
        update: &UpdateId,
        read: Claim,
    ) -> Done<()> {
        let count = count_number(self.wanted.generation);
        let mut claim = read;
        for _ in 0..MOST_TRIES {
            if !claim.life.holds_place || claim.count == count {
                self.add(&claim, count);
                return Ok(());
            }
            let stamped = Claim { count, revision: claim.revision.saturating_add(1), ..claim.clone() };
            let mut write = DeviceWrite::new(product.clone(), device.clone(), true);
            write.claims = vec![ClaimChange { before: claim.clone(), after: stamped.clone(), note: None }];
            let known = match store.write_device(&write).await {
                Ok(Written::Yes) => {
                    self.add(&stamped, count);
                    return Ok(());
                }
                Ok(Written::OtherDevice(known)) => *known,
                // It may be stamped or not.
                Err(StoreError::Unavailable(_) | StoreError::Contended) => {
                    store.device(product, device, Include::Item, Freshness::Strong).await?
                }
                Err(error) => return Err(error.into()),
            };
            match known.claim(update) {
                Some(now) => claim = now.clone(),
                // A stamp may have been written though its answer was lost. Then the release is in the new count, and the
                // claim in none.
                None => return Err(EngineError::Store(StoreError::Conflict)),
            }
        }
        Err(EngineError::Store(StoreError::Contended))
    }

    fn add(&mut self, claim: &Claim, count: u32) {
        self.claims = self.claims.saturating_add(1);
        self.found.count(None, Some(claim));
        // A stamped claim counts, also if its place is free by now: its release has the new number too.
        if claim.count == count {
            let stamped = self.stamped.entry(claim.shard).or_default();
            *stamped = stamped.saturating_add(1);
        }
    }

    /// Writes the new count, and ends the change; `false` if the outcomes moved meanwhile.
    async fn finish(
        self,
        store: &impl RepairStore,
        name: &str,
        what: Repair,
        now: Timestamp,
        repaired: &mut Repaired,
    ) -> Done<bool> {
        let Self { record, wanted, tallied, found, claims, stamped } = self;
        let rollout = record.rollout();
        let shards = store.shards(&rollout, wanted.shards).await?;
        let gone = u64::try_from(tallied.sums.devices(Count::Gone)).unwrap_or(0);
        let used = shards.iter().flatten().fold(0_u64, |sum, shard| sum.saturating_add(shard.used));
        // Slots are never given back: what is missing is added, and what is too many stays.
        let mut missing = claims.saturating_add(gone).saturating_sub(used);
        for (number, shard) in (0..).zip(&shards) {
            let granted = stamped.get(&number).copied().unwrap_or(0);
            let used = shard.map_or(0, |shard| shard.used).saturating_add(std::mem::take(&mut missing));
            let numbered = RepairedShard { granted, used };
            if !store.number_shard(&rollout, number, wanted.generation, numbered).await? {
                return Err(EngineError::Store(StoreError::Conflict));
            }
        }
        let present = store.tallied(&rollout).await?;
        let is_right = what == Repair::Restored || present.sums.devices == tallied.sums.devices;
        let mut correction = Sums::default();
        let count = count_number(wanted.generation);
        correction.granted =
            stamped.iter().map(|(shard, granted)| (CountedShard { count, shard: *shard }, *granted)).collect();
        if is_right {
            correction.devices = difference(&outcomes(&present.sums), &found.devices);
            correction.granted_in = difference(&present.sums.granted_in, &found.granted_in);
            correction.lost_in = difference(&present.sums.lost_in, &found.lost_in);
        }
        store.correct_sums(&rollout, &correction, now).await?;
        let after = control::done(&record, &wanted, now);
        let entry = control::audit(&record, &wanted);
        store.record_change(&after, Expected::of(&record), Some(&entry)).await?;
        if is_right {
            store.unmark(&record).await?;
        }
        let before = shards.iter().flatten().fold(0_u64, |sum, shard| sum.saturating_add(shard.granted));
        let held = stamped.values().fold(0_u64, |sum, stamped| sum.saturating_add(*stamped));
        let counted = tallied.sums.released_in(count_number(record.generation));
        let names = correction.devices.iter().map(|((_, count), by)| (*count, *by));
        let outcomes = names.map(|(count, _)| {
            let (counted, found) = (present.sums.devices(count), found.devices(count));
            (count.name().to_string(), Difference { counted, found })
        });
        repaired.rollouts.push(RepairedRollout {
            of: name.to_string(),
            state: after.state.name().to_string(),
            in_flight: Difference { counted: signed(before.saturating_sub(counted)), found: signed(held) },
            used: Difference { counted: signed(used), found: signed(claims.saturating_add(gone)) },
            outcomes: outcomes.collect(),
        });
        Ok(is_right)
    }
}

/// The counts that follow from claims. Those that are gone follow from none.
fn outcomes(sums: &Sums) -> BTreeMap<(Sample, Count), i64> {
    sums.devices.iter().filter(|((_, count), _)| *count != Count::Gone).map(|(key, devices)| (*key, *devices)).collect()
}

/// Numbers that turn `counted` into `found` when they are added. Zeros are left out.
fn difference<K: Ord + Clone>(counted: &BTreeMap<K, i64>, found: &BTreeMap<K, i64>) -> BTreeMap<K, i64> {
    let keys = counted.keys().chain(found.keys()).cloned();
    let of = |numbers: &BTreeMap<K, i64>, key: &K| numbers.get(key).copied().unwrap_or(0);
    let by = keys.map(|key| (key.clone(), of(found, &key).saturating_sub(of(counted, &key))));
    by.filter(|(_, by)| *by != 0).collect()
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
