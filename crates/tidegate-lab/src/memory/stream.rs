//! The stream of changes of devices and of updates' states, in stream shards that can be split.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::count::Sums;
use tidegate_core::{ProductId, Timestamp};
use tidegate_store::record::{Position, RolloutKey, StateChange, UpdateRecord};
use tidegate_store::stream::{Batch, CountedClaim, DeviceChange, DeviceImage, ItemChange, StreamRecord};

use super::state::{DeviceIndex, DeviceItem, State};
use crate::random::mixed;

/// All stream shards, the split ones included.
#[derive(Debug)]
pub(super) struct Stream {
    shards: Vec<StreamShard>,
    /// Number of the shards that were there first.
    roots: u64,
    records: u64,
}

/// One stream shard.
#[derive(Debug)]
struct StreamShard {
    name: String,
    /// Records that are not acknowledged.
    records: VecDeque<StreamRecord>,
    /// Number of records in the batch that was read and not acknowledged.
    taken: usize,
    /// The shard that was split into this one.
    parent: Option<usize>,
    /// The shards that have the later records. The second follows the first.
    first_child: Option<usize>,
}

impl StreamShard {
    fn new(number: usize, parent: Option<usize>) -> Self {
        let name = format!("shardId-{number:05}");
        Self { name, records: VecDeque::new(), taken: 0, parent, first_child: None }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Stream {
    pub(super) fn new(count: u32) -> Self {
        let count = count.max(1);
        let shards = (0..count as usize).map(|number| StreamShard::new(number, None)).collect();
        Self { shards, roots: count.into(), records: 0 }
    }

    /// Appends the change of an item whose partition has this hash.
    fn append(&mut self, partition: u64, at: Timestamp, change: ItemChange) {
        self.records += 1;
        // The sequence numbers of DynamoDB have more digits than a number of 64 bits; they keep their order.
        let sequence = format!("{}00000000000000000000", self.records);
        let position = Position::parse(&sequence).expect("it is a number of at most 40 digits");
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        let shard = self.shard_of(partition);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.records.push_back(StreamRecord { position, at, change: Ok(change) });
        }
    }

    /// The shard of a partition: one of the first ones, and below it one of the two into which each was split.
    fn shard_of(&self, partition: u64) -> usize {
        let mut hash = partition;
        let mut shard = usize::try_from(hash % self.roots).unwrap_or(0);
        while let Some(first_child) = self.shards.get(shard).and_then(|shard| shard.first_child) {
            hash = mixed(hash);
            shard = first_child + usize::from(hash & 1 == 1);
        }
        shard
    }

    pub(super) fn readable(&self) -> Vec<String> {
        let is_readable = |shard: &&StreamShard| {
            let has_future = shard.first_child.is_none() || !shard.records.is_empty();
            has_future && !self.waits_for_its_parent(shard)
        };
        self.shards.iter().filter(is_readable).map(|shard| shard.name.clone()).collect()
    }

    /// Records of a device stand in the parent first, and in a child later.
    fn waits_for_its_parent(&self, shard: &StreamShard) -> bool {
        let parents = std::iter::successors(shard.parent, |parent| self.shards.get(*parent)?.parent);
        parents.filter_map(|parent| self.shards.get(parent)).any(|parent| !parent.records.is_empty())
    }

    pub(super) fn split(&mut self, name: &str) -> bool {
        let Some(number) = self.shards.iter().position(|shard| shard.name == name && shard.first_child.is_none())
        else {
            return false;
        };
        let first_child = self.shards.len();
        self.shards[number].first_child = Some(first_child);
        self.shards.extend([first_child, first_child + 1].map(|child| StreamShard::new(child, Some(number))));
        true
    }

    pub(super) fn next_batch(&mut self, name: &str, most: usize) -> Option<Batch> {
        let number = self.shards.iter().position(|shard| shard.name == name)?;
        if self.waits_for_its_parent(&self.shards[number]) {
            return None;
        }
        let shard = &mut self.shards[number];
        if shard.taken == 0 {
            shard.taken = most.min(shard.records.len());
        }
        let records = shard.records.iter().take(shard.taken).cloned().collect::<Vec<_>>();
        (!records.is_empty()).then(|| Batch { stream_shard: name.to_string(), records })
    }

    pub(super) fn acknowledge(&mut self, name: &str) {
        if let Some(shard) = self.shards.iter_mut().find(|shard| shard.name == name) {
            shard.records.drain(..shard.taken);
            shard.taken = 0;
        }
    }

    pub(super) fn release(&mut self, name: &str) {
        if let Some(shard) = self.shards.iter_mut().find(|shard| shard.name == name) {
            shard.taken = 0;
        }
    }

    pub(super) fn unread(&self) -> usize {
        self.shards.iter().map(|shard| shard.records.len()).sum()
    }
}

impl State {
    /// The part of a device's item that is counted; `None` if there is no item.
    pub(super) fn image(&self, item: &DeviceItem) -> Option<DeviceImage> {
        let record = item.record.as_ref()?;
        let claims = item.claims.iter().map(|stored| {
            let counted = CountedClaim { claim: stored.claim.clone(), message: stored.message.clone() };
            (self.rollouts[stored.rollout as usize].claim_key.clone(), counted)
        });
        let claims = claims.collect::<BTreeMap<_, _>>();
        Some(DeviceImage { record: record.clone(), claims })
    }

    /// Changes a device's item, and appends the change to the stream.
    pub(super) fn change_device(
        &mut self,
        product: &ProductId,
        index: DeviceIndex,
        change: impl FnOnce(&mut DeviceItem),
    ) {
        let before = self.image(self.device_at(index));
        change(self.device_at_mut(index));
        let item = self.device_at(index);
        let (device, after) = (item.id.clone(), self.image(item));
        let change = DeviceChange { product: product.clone(), device, before, after };
        let partition = mixed((u64::from(index.product) << 32) | u64::from(index.device));
        self.stream.append(partition, self.now, ItemChange::Device(Box::new(change)));
    }

    /// Appends the change of an update's state to the stream. Nothing else of an update counts.
    pub(super) fn changed_update(&mut self, before: Option<&UpdateRecord>, after: &UpdateRecord) {
        if let Some(change) = StateChange::between(before, Some(after)) {
            let product = self.product_number(&after.product);
            self.product_mut(&after.product).state_changes.push(change.clone());
            self.stream.append(mixed(!u64::from(product)), self.now, ItemChange::State(change));
        }
    }

    pub(super) fn uncounted_sums(&self, rollout: &RolloutKey) -> Sums {
        let mut sums = Sums::default();
        let Some(items) = self.rollout(rollout) else {
            return sums;
        };
        for shard in &self.stream.shards {
            let tally = self.tally(rollout, &shard.name);
            let left = shard.records.iter().filter(|record| !tally.contains(&record.position));
            for change in left.filter_map(|record| record.change.as_ref().ok()?.device()) {
                if change.product == *rollout.product() {
                    let claim =
                        |image: &Option<DeviceImage>| Some(image.as_ref()?.claims.get(&items.claim_key)?.claim.clone());
                    sums.count(claim(&change.before).as_ref(), claim(&change.after).as_ref());
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::{DeviceId, ProductId, Timestamp};
    use tidegate_store::record::{DeviceWrite, Seen};
    use tidegate_store::store::Written;
    use tidegate_store::stream::Batch;

    use crate::memory::MemoryStore;

    const ROOT: &str = "shardId-00000";

    /// A check-in of a device that runs this version.
    fn see(store: &MemoryStore, device: &str, version: &str, is_known: bool) {
        let seen = Seen::new(version.into(), Timestamp::UNIX_EPOCH);
        let (lamp, device) = (ProductId::new("lamp").unwrap(), DeviceId::new(device).unwrap());
        let write = DeviceWrite { seen: Some(seen), ..DeviceWrite::new(lamp, device, is_known) };
        assert_eq!(store.state().write_device(&write), Written::Yes);
    }

    /// The records of a batch: device, version before, version after.
    fn said(batch: &Batch) -> Vec<String> {
        let records = batch.records.iter().map(|record| {
            let change = record.change.as_ref().unwrap().device().unwrap();
            let version = |image: &Option<super::DeviceImage>| {
                image.as_ref().and_then(|image| image.record.version.clone()).unwrap_or("none".into())
            };
            format!("{} {} {}", change.device, version(&change.before), version(&change.after))
        });
        records.collect()
    }

    #[test]
    fn a_batch_comes_again_until_it_is_acknowledged_and_has_both_images() {
        let store = MemoryStore::new();
        see(&store, "d", "1.0.0", false);
        see(&store, "d", "2.0.0", true);
        let batch = store.next_batch(ROOT, 1).unwrap();
        assert_eq!(said(&batch), ["d none 1.0.0"]);
        assert_eq!(store.next_batch(ROOT, 100).as_ref(), Some(&batch), "the same batch, however many are asked for");
        store.release(ROOT);
        assert_eq!(said(&store.next_batch(ROOT, 100).unwrap()), ["d none 1.0.0", "d 1.0.0 2.0.0"]);
        store.acknowledge(ROOT);
        assert_eq!((store.next_batch(ROOT, 1), store.uncounted()), (None, 0));
    }

    #[test]
    fn a_device_stays_in_one_stream_shard_and_goes_to_a_child_after_a_split() {
        let store = MemoryStore::with_stream_shards(2);
        let devices = (0..40).map(|number| format!("d-{number}")).collect::<Vec<_>>();
        for device in &devices {
            see(&store, device, "1.0.0", false);
        }
        assert!(store.split_stream_shard(ROOT));
        assert!(!store.split_stream_shard(ROOT), "a shard is split once");
        for device in &devices {
            see(&store, device, "2.0.0", true);
        }
        assert_eq!(store.stream_shards(), [ROOT, "shardId-00001"], "children wait for their parent");
        let parent = said(&store.next_batch(ROOT, 100).unwrap());
        assert!(parent.iter().all(|record| record.ends_with(" none 1.0.0")), "{parent:?}");
        store.acknowledge(ROOT);
        assert_eq!(store.stream_shards(), ["shardId-00001", "shardId-00002", "shardId-00003"]);
        let children = ["shardId-00002", "shardId-00003"].map(|child| said(&store.next_batch(child, 100).unwrap()));
        assert!(children.iter().all(|child| !child.is_empty()));
        let count = |records: &[String]| records.len();
        assert_eq!(children.iter().map(|child| count(child)).sum::<usize>(), parent.len());
    }
}
