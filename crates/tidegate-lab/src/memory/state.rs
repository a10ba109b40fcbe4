//! The records in memory, by product, device and rollout.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidegate_core::count::Sums;
use tidegate_core::id::sortable;
use tidegate_core::life::Bucket;
use tidegate_core::shard::Shard;
use tidegate_core::{Claim, DeviceId, ProductId, Timestamp, UpdateId, Version};
use tidegate_store::record::{
    AuditEntry, DeviceRecord, Event, Head, ListEntry, Position, RolloutKey, SeriesPoint, StateChange, Tally,
    UpdateRecord,
};
use tidegate_store::store::VersionCounts;

use super::stream::Stream;
use crate::guard::Guard;

/// Parts of the list of the devices on one version, as in DynamoDB.
const VERSION_PARTS: u8 = 16;

/// All records. Products, devices and rollouts have numbers, so that a check-in hashes each id once.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) products: Vec<ProductItems>,
    pub(super) product_numbers: BTreeMap<ProductId, u32>,
    pub(super) rollouts: Vec<Rollout>,
    pub(super) rollout_numbers: HashMap<RolloutKey, u32>,
    pub(super) stream: Stream,
    /// The state of the fleet snapshot.
    pub(super) fleet_snapshot: Option<Vec<u8>>,
    /// Large images that are to be read: their products and SHA-256.
    pub(super) wanted_verifications: BTreeSet<(ProductId, String)>,
    pub(super) now: Timestamp,
    /// The condition that is removed, if one is.
    pub(super) removed: Option<Guard>,
}

/// The records of a product.
#[derive(Debug, Default)]
pub(super) struct ProductItems {
    /// There once its first update is.
    pub(super) head: Option<Head>,
    /// By version without build metadata, as a text: the order in which they are listed.
    pub(super) updates: BTreeMap<String, UpdateRecord>,
    /// Deleted updates of which more is left than their records, by the same.
    pub(super) unremoved: BTreeSet<String>,
    pub(super) audit: BTreeMap<String, AuditEntry>,
    /// The one in force, and the one before.
    pub(super) catalogs: VecDeque<(String, Arc<[u8]>)>,
    pub(super) devices: Vec<DeviceItem>,
    pub(super) device_numbers: HashMap<DeviceId, u32>,
    /// Devices in the order of their ids; brought up to date when a list is asked for.
    pub(super) sorted: Vec<u32>,
    /// Changes of updates' states, as they were appended to the stream.
    pub(super) state_changes: Vec<StateChange>,
    /// By position and stream shard.
    pub(super) events: BTreeMap<(Position, String), Event>,
    /// Tallies of versions, by stream shard, each with the time of its last write.
    pub(super) version_tallies: BTreeMap<String, (Tally<VersionCounts>, Timestamp)>,
    /// Those that became a part of the base lately.
    pub(super) folded: FoldedTallies,
}

/// Positions of tallies that became a part of a base, and the times of their last writes, by stream shard.
pub(super) type FoldedTallies = BTreeMap<String, (Option<Position>, Timestamp)>;

/// The records of a device.
#[derive(Debug)]
pub(super) struct DeviceItem {
    pub(super) id: DeviceId,
    /// Part of the list of the devices on its version.
    pub(super) version_part: u8,
    /// There once its item is.
    pub(super) record: Option<DeviceRecord>,
    /// Its `device.json`, which stands beside its item.
    pub(super) doc: Option<String>,
    /// A device has a handful.
    pub(super) claims: Vec<StoredClaim>,
}

/// A claim in a device's item.
#[derive(Debug, Clone)]
pub(super) struct StoredClaim {
    /// The number of the rollout.
    pub(super) rollout: u32,
    pub(super) claim: Claim,
    /// The message of the last report.
    pub(super) message: Option<String>,
}

/// The records of a rollout beside that of its update.
#[derive(Debug)]
pub(super) struct Rollout {
    pub(super) update: UpdateId,
    /// Key of its claims in a device's item.
    pub(super) claim_key: String,
    pub(super) shards: Vec<Option<Shard>>,
    /// By stream shard.
    pub(super) tallies: BTreeMap<String, StoredTally>,
    /// Those that became a part of the base lately.
    pub(super) folded: FoldedTallies,
    /// By name.
    pub(super) due_pages: BTreeMap<String, Vec<DeviceId>>,
    /// By bucket and device.
    pub(super) entries: BTreeMap<(Bucket, DeviceId), ListEntry>,
    /// The members of the control group.
    pub(super) members: Vec<DeviceId>,
    pub(super) deferrals: BTreeMap<&'static str, u64>,
    /// By hour.
    pub(super) series: BTreeMap<i64, SeriesPoint>,
}

/// A tally over claims, and the time at which it was written.
#[derive(Debug, Clone)]
pub(super) struct StoredTally {
    pub(super) tally: Tally<Sums>,
    pub(super) at: Timestamp,
}

/// Position of a device in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeviceIndex {
    pub(super) product: u32,
    pub(super) device: u32,
}

impl DeviceItem {
    pub(super) fn claim(&self, rollout: u32) -> Option<&StoredClaim> {
        self.claims.iter().find(|stored| stored.rollout == rollout)
    }
}

impl State {
    /// True if the condition is part of the protocol at this moment.
    pub(super) fn keeps(&self, guard: Guard) -> bool {
        self.removed != Some(guard)
    }

    pub(super) fn product(&self, product: &ProductId) -> Option<&ProductItems> {
        self.product_numbers.get(product).map(|number| &self.products[*number as usize])
    }

    pub(super) fn product_number(&mut self, product: &ProductId) -> u32 {
        if let Some(number) = self.product_numbers.get(product) {
            return *number;
        }
        let number = numbered(self.products.len());
        self.products.push(ProductItems::default());
        self.product_numbers.insert(product.clone(), number);
        number
    }

    pub(super) fn product_mut(&mut self, product: &ProductId) -> &mut ProductItems {
        let number = self.product_number(product);
        &mut self.products[number as usize]
    }

    pub(super) fn rollout(&self, rollout: &RolloutKey) -> Option<&Rollout> {
        self.rollout_numbers.get(rollout).map(|number| &self.rollouts[*number as usize])
    }

    pub(super) fn rollout_number(&mut self, rollout: &RolloutKey) -> u32 {
        if let Some(number) = self.rollout_numbers.get(rollout) {
            return *number;
        }
        let number = numbered(self.rollouts.len());
        self.rollouts.push(Rollout {
            update: rollout.update_id(),
            claim_key: rollout.name(),
            shards: Vec::new(),
            tallies: BTreeMap::new(),
            folded: BTreeMap::new(),
            due_pages: BTreeMap::new(),
            entries: BTreeMap::new(),
            members: Vec::new(),
            deferrals: BTreeMap::new(),
            series: BTreeMap::new(),
        });
        self.rollout_numbers.insert(rollout.clone(), number);
        number
    }

    pub(super) fn rollout_mut(&mut self, rollout: &RolloutKey) -> &mut Rollout {
        let number = self.rollout_number(rollout);
        &mut self.rollouts[number as usize]
    }

    pub(super) fn device_item(&self, product: &ProductId, device: &DeviceId) -> Option<&DeviceItem> {
        let items = self.product(product)?;
        items.device_numbers.get(device).map(|number| &items.devices[*number as usize])
    }

    pub(super) fn index_of(&mut self, product: &ProductId, device: &DeviceId) -> DeviceIndex {
        let product_number = self.product_number(product);
        let items = &mut self.products[product_number as usize];
        if let Some(number) = items.device_numbers.get(device) {
            return DeviceIndex { product: product_number, device: *number };
        }
        let number = numbered(items.devices.len());
        let version_part = Sha256::digest(device.as_str()).first().map_or(0, |byte| byte % VERSION_PARTS);
        items.devices.push(DeviceItem {
            id: device.clone(),
            version_part,
            record: None,
            doc: None,
            claims: Vec::new(),
        });
        items.device_numbers.insert(device.clone(), number);
        DeviceIndex { product: product_number, device: number }
    }

    pub(super) fn device_at(&self, index: DeviceIndex) -> &DeviceItem {
        &self.products[index.product as usize].devices[index.device as usize]
    }

    pub(super) fn device_at_mut(&mut self, index: DeviceIndex) -> &mut DeviceItem {
        &mut self.products[index.product as usize].devices[index.device as usize]
    }
}

/// Far fewer than 2³² of anything fit in memory.
pub(super) fn numbered(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Times are stored in milliseconds.
pub(crate) fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// The version without build metadata, which is the key of an update.
pub(super) fn precedence(version: &Version) -> String {
    sortable(version)
}
