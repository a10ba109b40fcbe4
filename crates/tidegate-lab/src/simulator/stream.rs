//! The stream of a simulation: which batches the function `count` gets, and when.

use std::collections::BTreeMap;

use tidegate_store::StoreError;
use tidegate_store::stream::Unreadable;

use crate::random::Random;
use crate::simulator::fault::Fault;
use crate::simulator::invariant::Invariant;
use crate::simulator::simulation::{Job, MINUTE_MS, Simulation};
use crate::simulator::world::{Ask, Done};

/// Most stream shards of a fleet.
const MOST_SHARDS: usize = 8;
/// Batches in a million before which a shard is split, the stream is left alone for a while, or a record turns out to be
/// unreadable.
const RARE: u64 = 2000;

/// Feeds the function `count`.
#[derive(Debug)]
pub(super) struct Feed {
    /// Chance, in a thousand, that a batch is delivered before anything else begins.
    per_mille: u64,
    /// Records in a batch.
    most: usize,
    /// True if a record may turn out to be unreadable.
    has_unreadable: bool,
    has_faults: bool,
    lag_until_ms: i64,
    /// Batches that are delivered and not acknowledged, by stream shard.
    deliveries: BTreeMap<String, Delivery>,
    batches: u64,
}

/// A batch that is not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    /// Its number. Another delivery of the same records has the same number, unless it has other ends.
    batch: u64,
    /// Invocations that have it at this moment.
    running: u32,
    most: usize,
}

impl Feed {
    pub(super) fn new(random: &mut Random, has_faults: bool) -> Self {
        Self {
            per_mille: random.one_of([60, 200, 500]),
            most: random.one_of([2, 20, 200]),
            has_unreadable: has_faults && random.happens(100),
            has_faults,
            lag_until_ms: i64::MIN,
            deliveries: BTreeMap::new(),
            batches: 0,
        }
    }

    fn happens(&self, random: &mut Random, per_million: u64) -> bool {
        self.has_faults && random.below(1_000_000) < per_million
    }
}

impl Simulation {
    /// Delivers a batch to a function `count`, if there is one; returns whether it did.
    pub(super) fn deliver(&mut self) -> bool {
        if !self.random.happens(self.feed.per_mille) || self.world.now_ms() < self.feed.lag_until_ms {
            return false;
        }
        let stream_shards = self.world.store().inner().stream_shards();
        let Some(stream_shard) = self.random.pick(&stream_shards).cloned() else {
            return false;
        };
        if self.feed.happens(&mut self.random, RARE) {
            self.feed.lag_until_ms = self.world.now_ms() + self.random.within(1, 60) * MINUTE_MS;
            self.injected(Fault::StreamLag);
            return false;
        }
        if stream_shards.len() < MOST_SHARDS && self.feed.happens(&mut self.random, RARE) {
            self.world.store().inner().split_stream_shard(&stream_shard);
            self.injected(Fault::StreamShardSplit);
        }
        let (batches, most) = (self.feed.batches, self.feed.most);
        let fresh = || Delivery { batch: batches, running: 0, most };
        let mut delivery = self.feed.deliveries.get(&stream_shard).copied().unwrap_or_else(fresh);
        if delivery.running > 0 {
            if delivery.running > 1 || !self.feed.happens(&mut self.random, 20 * RARE) {
                return false;
            }
            self.injected(Fault::TwoInvocations);
        }
        let Some(mut batch) = self.world.store().inner().next_batch(&stream_shard, delivery.most) else {
            return false;
        };
        if self.feed.has_unreadable && self.feed.happens(&mut self.random, RARE) {
            let place = self.random.place(batch.records.len());
            if let Some(record) = batch.records.get_mut(place)
                && let Ok(change) = &record.change
            {
                let product = change.product();
                self.world.store().control().checker.cannot_read(product);
                let product = Some(product.clone());
                record.change = Err(Unreadable { product, why: StoreError::Corrupt("an image has no end".into()) });
                self.injected(Fault::UnreadableRecord);
            }
        }
        delivery.running += 1;
        self.feed.batches += 1;
        let job = Job::Count { stream_shard: stream_shard.clone(), batch: delivery.batch };
        self.feed.deliveries.insert(stream_shard, delivery);
        let place = self.any_instance();
        let id = self.world.start(place, Ask::Count(batch));
        self.jobs.insert(id, job);
        self.summary.batches += 1;
        true
    }

    /// Takes in the end of an invocation of `count`.
    pub(super) fn counted(&mut self, stream_shard: &str, batch: u64, done: &Done) {
        let Some(delivery) = self.feed.deliveries.get_mut(stream_shard).filter(|delivery| delivery.batch == batch)
        else {
            // The batch was acknowledged by another invocation.
            return;
        };
        delivery.running = delivery.running.saturating_sub(1);
        let is_counted = matches!(done, Done::Counted(Ok(_)));
        let (comes_again, is_split) =
            (self.feed.happens(&mut self.random, 20 * RARE), self.feed.happens(&mut self.random, 200 * RARE));
        let store = self.world.store().inner();
        match is_counted {
            true if comes_again => self.injected(Fault::BatchAgain),
            true => {
                store.acknowledge(stream_shard);
                self.feed.deliveries.remove(stream_shard);
            }
            // Its halves are other batches.
            false if is_split => {
                store.release(stream_shard);
                let half = self.feed.most.div_ceil(2);
                let split = Delivery { batch: self.feed.batches, running: 0, most: half };
                self.feed.batches += 1;
                self.feed.deliveries.insert(stream_shard.to_string(), split);
                self.injected(Fault::BatchSplit);
            }
            false => {}
        }
    }

    /// Counts everything that is left, while nothing else happens.
    pub(super) async fn count_everything(&mut self) {
        self.feed.deliveries.clear();
        while self.world.store().inner().uncounted() > 0 {
            for stream_shard in self.world.store().inner().stream_shards() {
                self.world.store().inner().release(&stream_shard);
                while let Some(batch) = self.world.store().inner().next_batch(&stream_shard, usize::MAX) {
                    self.summary.batches += 1;
                    let done = self.world.finish(0, Ask::Count(batch)).await;
                    let is_counted = matches!(done, Done::Counted(Ok(_)));
                    self.promise(Invariant::Liveness, is_counted, || format!("without faults: {done}"));
                    // An acknowledgement ends this loop also if the promise is broken.
                    self.world.store().inner().acknowledge(&stream_shard);
                }
            }
        }
    }

    fn injected(&self, fault: Fault) {
        *self.world.store().control().injected.entry(fault).or_default() += 1;
    }
}
