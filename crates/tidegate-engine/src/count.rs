//! The count: it follows the table's stream and adds up what the writes of devices mean.
//!
//! For each batch: add to the tallies, together with the position in the stream; judge the health gates with the new
//! sums; raise the ceilings; write due pages, lists and events; acknowledge. So a place is given on only after its release was
//! counted and judged. A batch that comes again changes no tally, and repeats the rest, which may be repeated. A late
//! count delays rollouts and lets no device too many through.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use tidegate_core::count::{CountedShard, MOST_UNJUDGED, Sums};
use tidegate_core::life::Bucket;
use tidegate_core::policy::Slots;
use tidegate_core::{Claim, ProductId, Timestamp};
use tidegate_store::record::{Change, Event, ListEntry, Position, RolloutKey, Tally, UpdateRecord};
use tidegate_store::store::{MOST_VERSIONS, OTHER_VERSIONS, Stored, VersionCounts};
use tidegate_store::stream::{Batch, CountedClaim, DeviceChange, DeviceImage, ItemChange, StreamRecord};
use tidegate_store::{CountStore, StoreError};

use tidegate_wire::device_json::LONGEST_VERSION;

use crate::compile::update_of;
use crate::control::{self, Verdict};
use crate::due;
use crate::error::EngineError;
use crate::metrics;

/// Tries of one tally, when two invocations have the same batch.
const MOST_TRIES: usize = 5;
/// Writes of pages and lists at a time.
const WRITES_AT_A_TIME: usize = 32;

/// The count service.
#[derive(Debug)]
pub struct CountService<S> {
    store: S,
}

/// Result of one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records that changed a tally now.
    pub counted: u64,
    /// Records that a tally contained already.
    pub repeated: u64,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// Rollouts that the batch held.
    pub held: u64,
}

/// A change of a claim in a batch.
struct ClaimRecord<'a> {
    record: &'a StreamRecord,
    change: &'a DeviceChange,
    before: Option<&'a CountedClaim>,
    after: Option<&'a CountedClaim>,
}

impl ClaimRecord<'_> {
    fn claims(&self) -> (Option<&Claim>, Option<&Claim>) {
        (self.before.map(|counted| &counted.claim), self.after.map(|counted| &counted.claim))
    }

    fn sums(&self) -> Sums {
        let (before, after) = self.claims();
        let mut sums = Sums::default();
        sums.count_with_transfer(before, after);
        sums
    }
}

/// The sums of a rollout's own stream shard, before and after a batch.
struct Moved {
    before: Sums,
    after: Sums,
    /// True if the tally contained records of the batch already: an earlier invocation may not have finished.
    is_repeated: bool,
}

impl<S: CountStore> CountService<S> {
    /// A service over a store.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Counts a batch. It must be called again with the same batch until it returns `Ok`.
    ///
    /// # Errors
    /// When the store refuses. A record that cannot be read is no error.
    pub async fn count(&self, batch: &Batch, now: Timestamp) -> Result<Counted, StoreError> {
        let mut counted = Counted::default();
        let (changes, unreadable) = split(batch);
        self.count_versions(batch, &changes, now, &mut counted).await?;
        let mut by_rollout: BTreeMap<RolloutKey, Vec<ClaimRecord<'_>>> = BTreeMap::new();
        for (record, change) in &changes {
            for (rollout, before, after) in claims_of(change) {
                by_rollout.entry(rollout).or_default().push(ClaimRecord { record, change, before, after });
            }
        }
        for (product, count) in &unreadable {
            counted.unreadable = counted.unreadable.saturating_add(*count);
            self.mark_product(product).await?;
        }
        self.write_events(batch).await?;
        for (rollout, records) in &by_rollout {
            let Some(moved) = self.count_claims(batch, rollout, records, now, &mut counted).await? else {
                continue;
            };
            self.judge_and_raise(rollout, records, &moved, now, &mut counted).await?;
            self.write_due_pages(rollout, records, now).await?;
            self.write_lists(rollout, records).await?;
        }
        if counted.unreadable > 0 {
            metrics::unreadable_records(counted.unreadable);
        }
        Ok(counted)
    }

    /// The counts of a product's claims are not certain any more: nothing more is granted than now until a recount.
    async fn mark_product(&self, product: &ProductId) -> Stored<()> {
        for update in self.store.updates(product).await?.iter().filter(|update| update.state.is_live()) {
            self.store.mark_for_recount(product, &update.version).await?;
        }
        Ok(())
    }

    /// Returns true if the claims of a rollout are counted no more: its counts are final, or its update was deleted.
    async fn is_uncounted(&self, rollout: &RolloutKey) -> Stored<bool> {
        match self.store.campaign(rollout).await {
            Ok(record) => Ok(record.is_none_or(|record| record.is_settled)),
            // One that cannot be read may be under way.
            Err(StoreError::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds the changes of a rollout's claims to its tally of this stream shard; `None` if they are counted no more.
    async fn count_claims(
        &self,
        batch: &Batch,
        rollout: &RolloutKey,
        records: &[ClaimRecord<'_>],
        now: Timestamp,
        counted: &mut Counted,
    ) -> Stored<Option<Moved>> {
        for _ in 0..MOST_TRIES {
            let tally = self.store.tally(rollout, &batch.stream_shard).await?;
            // A rollout with a tally of a stream shard that still goes on is counted.
            if tally.position.is_none() && self.is_uncounted(rollout).await? {
                return Ok(None);
            }
            let is_new = |record: &&ClaimRecord<'_>| !tally.contains(&record.record.position);
            let new = records.iter().filter(is_new).collect::<Vec<_>>();
            let repeated = records.len().saturating_sub(new.len());
            let mut after = tally.counts.clone();
            for record in &new {
                after.add(&record.sums());
            }
            let moved = Moved { before: tally.counts, after: after.clone(), is_repeated: repeated > 0 };
            let Some(last) = new.last() else {
                counted.repeated = counted.repeated.saturating_add(repeated as u64);
                return Ok(Some(moved));
            };
            let position = Some(last.record.position.clone());
            let after = Tally::new(after, position);
            let before = tally.position.as_ref();
            if self.store.put_tally(rollout, &batch.stream_shard, before, &after, now).await? {
                counted.counted = counted.counted.saturating_add(new.len() as u64);
                counted.repeated = counted.repeated.saturating_add(repeated as u64);
                return Ok(Some(moved));
            }
        }
        Err(StoreError::Conflict)
    }

    /// Adds the changes of versions to the tallies of their products.
    async fn count_versions(
        &self,
        batch: &Batch,
        changes: &[(&StreamRecord, &DeviceChange)],
        now: Timestamp,
        counted: &mut Counted,
    ) -> Stored<()> {
        let mut by_product: BTreeMap<&ProductId, Vec<VersionMove<'_>>> = BTreeMap::new();
        for (record, change) in changes {
            let version = |image: &Option<DeviceImage>| image.as_ref().and_then(|image| image.record.version.clone());
            let (before, after) = (version(&change.before), version(&change.after));
            if before != after {
                let moved = VersionMove { position: &record.position, before, after };
                by_product.entry(&change.product).or_default().push(moved);
            }
        }
        for (product, moves) in by_product {
            self.count_versions_of(batch, product, &moves, now, counted).await?;
        }
        Ok(())
    }

    async fn count_versions_of(
        &self,
        batch: &Batch,
        product: &ProductId,
        moves: &[VersionMove<'_>],
        now: Timestamp,
        counted: &mut Counted,
    ) -> Stored<()> {
        for _ in 0..MOST_TRIES {
            let tally = self.store.version_tally(product, &batch.stream_shard).await?;
            let is_new = |moved: &&VersionMove<'_>| !tally.contains(moved.position);
            let new = moves.iter().filter(is_new).collect::<Vec<_>>();
            let Some(last) = new.last() else {
                return Ok(());
            };
            let mut counts = tally.counts.clone();
            for moved in &new {
                add_version(&mut counts, moved.before.as_deref(), -1);
                add_version(&mut counts, moved.after.as_deref(), 1);
            }
            let after = Tally::new(counts, Some(last.position.clone()));
            let before = tally.position.as_ref();
            if self.store.put_version_tally(product, &batch.stream_shard, before, &after, now).await? {
                counted.counted = counted.counted.saturating_add(new.len() as u64);
                return Ok(());
            }
        }
        Err(StoreError::Conflict)
    }

    /// Judges a rollout with the new sums, and raises the ceilings of the shards with news.
    async fn judge_and_raise(
        &self,
        rollout: &RolloutKey,
        records: &[ClaimRecord<'_>],
        moved: &Moved,
        now: Timestamp,
        counted: &mut Counted,
    ) -> Stored<()> {
        for _ in 0..MOST_TRIES {
            let record = self.store.update(rollout.product(), rollout.version()).await?;
            let is_live = |record: &UpdateRecord| record.state.is_live() && record.rollout() == *rollout;
            let Some(record) = record.filter(is_live) else {
                return Ok(());
            };
            let tallied = self.store.tallied(rollout).await?;
            match self.judge(&record, &tallied.sums, now).await {
                Ok(Verdict::GoOn) => {
                    let raised = shards_to_raise(&record, records, moved, &tallied.sums);
                    return control::raise(&self.store, &record, &tallied.sums, raised).await;
                }
                Ok(Verdict::Held) => {
                    counted.held = counted.held.saturating_add(1);
                    return Ok(());
                }
                Ok(Verdict::Open) => return Ok(()),
                // Somebody else changed the update at the same time.
                Err(EngineError::Store(StoreError::Conflict)) => {}
                // The batch comes again.
                Err(EngineError::Store(error @ (StoreError::Unavailable(_) | StoreError::Contended))) => {
                    return Err(error);
                }
                // An update that cannot be read must not stop the count. No ceiling is raised.
                Err(error) => {
                    tracing::error!(product = %record.product, version = %record.version, %error, "health_not_judged");
                    return Ok(());
                }
            }
        }
        Err(StoreError::Conflict)
    }

    /// Holds a rollout whose outcomes are bad, or finishes a stop that is under way.
    async fn judge(&self, record: &UpdateRecord, sums: &Sums, now: Timestamp) -> Result<Verdict, EngineError> {
        if record.wanted.as_ref().is_some_and(|wanted| wanted.change == Change::Recount) {
            // A repair goes on with it.
            return Ok(Verdict::Open);
        }
        if record.wanted.as_ref().is_some_and(|wanted| wanted.change.halts()) {
            control::stop(&self.store, record, now).await?;
            return Ok(Verdict::Held);
        }
        let update = update_of(record, &mut Slots::new())?;
        control::hold_if_bad(&self.store, record, &update, sums, now).await
    }

    /// Writes the devices that are watched from now on on the pages of the times at which they would be overdue.
    async fn write_due_pages(&self, rollout: &RolloutKey, records: &[ClaimRecord<'_>], now: Timestamp) -> Stored<()> {
        let watched = |claim: &Claim| claim.state().is_watched().then_some(claim.epoch);
        let due = records.iter().filter_map(|record| {
            let (before, after) = record.claims();
            let (after, image) = (after?, record.change.after.as_ref()?);
            let epoch = watched(after)?;
            (before.and_then(watched) != Some(epoch) || is_due_earlier(record.change, after))
                .then(|| (due::due_at(&image.record, after), record.change.device.clone()))
        });
        for pages in due::pages(due, now).chunks(WRITES_AT_A_TIME) {
            let mut writes = Vec::with_capacity(pages.len());
            for page in pages {
                writes.push(self.store.put_due_page(rollout, page));
            }
            try_join_all(writes).await?;
        }
        Ok(())
    }

    /// Moves devices between the lists of buckets. A proof is in no list: most devices are proved.
    async fn write_lists(&self, rollout: &RolloutKey, records: &[ClaimRecord<'_>]) -> Stored<()> {
        for records in records.chunks(WRITES_AT_A_TIME) {
            let mut writes = Vec::with_capacity(records.len());
            for record in records {
                writes.push(self.move_entry(rollout, record));
            }
            try_join_all(writes).await?;
        }
        Ok(())
    }

    /// Keeps each change of an update's state for those who are to be told.
    async fn write_events(&self, batch: &Batch) -> Stored<()> {
        for record in &batch.records {
            if let Ok(ItemChange::State(change)) = &record.change {
                let event = Event {
                    position: record.position.clone(),
                    stream_shard: batch.stream_shard.clone(),
                    at: record.at,
                    change: change.clone(),
                };
                self.store.put_event(&change.product, &event).await?;
            }
        }
        Ok(())
    }

    async fn move_entry(&self, rollout: &RolloutKey, record: &ClaimRecord<'_>) -> Stored<()> {
        let bucket = |claim: Option<&Claim>| {
            claim.and_then(|claim| claim.life.bucket).filter(|bucket| *bucket != Bucket::Proved)
        };
        let (before, after) = record.claims();
        let (before, now) = (bucket(before), bucket(after));
        if before == now {
            return Ok(());
        }
        let device = &record.change.device;
        let image = record.change.after.as_ref().or(record.change.before.as_ref());
        let revision = image.map_or(0, |image| image.record.revision);
        if let Some(before) = before {
            self.store.remove_entry(rollout, device, before, revision).await?;
        }
        if let (Some(bucket), Some(after)) = (now, record.after) {
            let entry = ListEntry {
                device: device.clone(),
                bucket,
                message: after.message.clone(),
                attempts: after.claim.attempts,
                at: record.record.at,
                revision,
            };
            self.store.put_entry(rollout, &entry).await?;
        }
        Ok(())
    }
}

/// A device that changed its version.
struct VersionMove<'a> {
    position: &'a Position,
    before: Option<String>,
    after: Option<String>,
}

/// The readable changes of devices in a batch, and the number of unreadable ones by product.
fn split(batch: &Batch) -> (Vec<(&StreamRecord, &DeviceChange)>, BTreeMap<ProductId, u64>) {
    let (mut changes, mut unreadable) = (Vec::new(), BTreeMap::<ProductId, u64>::new());
    for record in &batch.records {
        match &record.change {
            Ok(change) => changes.extend(change.device().map(|change| (record, change))),
            Err(error) => {
                let position = record.position.as_str();
                tracing::error!(stream_shard = batch.stream_shard, position, error = %error.why, "record_unreadable");
                if let Some(product) = &error.product {
                    let count = unreadable.entry(product.clone()).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
    }
    (changes, unreadable)
}

/// The claims that a change of a device changes, with the rollout of each.
fn claims_of(
    change: &DeviceChange,
) -> impl Iterator<Item = (RolloutKey, Option<&CountedClaim>, Option<&CountedClaim>)> {
    let claims = |image: &'_ Option<DeviceImage>| {
        image.as_ref().map(|image| image.claims.keys().cloned().collect::<BTreeSet<_>>()).unwrap_or_default()
    };
    let keys = claims(&change.before).into_iter().chain(claims(&change.after)).collect::<BTreeSet<_>>();
    keys.into_iter().filter_map(move |key| {
        let before = change.before.as_ref().and_then(|image| image.claims.get(&key));
        let after = change.after.as_ref().and_then(|image| image.claims.get(&key));
        let claim = &after.or(before)?.claim;
        let has_news = before != after || is_due_earlier(change, claim);
        has_news.then(|| (RolloutKey::of_claim(&change.product, claim), before, after))
    })
}

/// Returns true if a watched device is overdue earlier than before: its product expects it more often, or it has lost a
/// long rhythm. Its page is too late then.
fn is_due_earlier(change: &DeviceChange, claim: &Claim) -> bool {
    let due_at = |image: &Option<DeviceImage>| image.as_ref().map(|image| due::due_at(&image.record, claim));
    claim.state().is_watched()
        && due_at(&change.after).zip(due_at(&change.before)).is_some_and(|(now, then)| now < then)
}

/// The shards whose ceilings are raised after a batch: those with news, if the news matters.
///
/// A ceiling far above what is held can wait: it is raised when it would rise by a quarter of what separates it from the
/// grants. The sweep raises every ceiling each minute.
fn shards_to_raise(record: &UpdateRecord, records: &[ClaimRecord<'_>], moved: &Moved, sums: &Sums) -> BTreeSet<u16> {
    let Some(allocation) = &record.allocation else {
        return BTreeSet::new();
    };
    let mut news = Sums::default();
    for record in records {
        let (before, after) = record.claims();
        news.count(before, after);
    }
    let with_news =
        news.granted.keys().chain(news.released.keys()).map(|counted| counted.shard).collect::<BTreeSet<_>>();
    let matters = |shard: &u16| {
        let room = allocation.places(*shard).min(MOST_UNJUDGED);
        let step = room.div_euclid(4).max(1);
        let shard = CountedShard::of(record.generation, *shard);
        let steps = |sums: &Sums| (sums.released(shard).div_euclid(step), sums.granted(shard).div_euclid(step));
        let held = sums.granted(shard).saturating_sub(sums.released(shard));
        let is_nearly_full = held.saturating_mul(4) >= room.saturating_mul(3);
        moved.is_repeated || is_nearly_full || steps(&moved.before) != steps(&moved.after)
    };
    with_news.into_iter().filter(matters).collect()
}

fn add_version(counts: &mut VersionCounts, version: Option<&str>, by: i64) {
    let Some(version) = version else {
        return;
    };
    let is_known = counts.contains_key(version);
    let has_room = counts.len() < MOST_VERSIONS && version.len() <= LONGEST_VERSION;
    let name = if is_known || has_room { version } else { OTHER_VERSIONS };
    let count = counts.entry(name.to_string()).or_default();
    *count = count.saturating_add(by);
    if *count == 0 {
        counts.remove(name);
    }
}
