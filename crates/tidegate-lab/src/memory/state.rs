//! The records in memory, by product, device and update.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidegate_core::{Claim, ClaimState, DeviceId, ProductId, Timestamp, UpdateId, Version};
use tidegate_store::record::{AuditEntry, ClaimKey, DeviceRecord, DeviceWrite, Head, SeriesPoint, UpdateRecord};

use super::shard_item::ShardItem;

/// The lists of reserved claims, as in DynamoDB.
pub(super) const DUE_LISTS: usize = 16;

/// All records. Products, devices and updates have numbers, so that a check-in hashes each id once and the index of
/// reserved claims holds no texts.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) products: Vec<ProductItems>,
    pub(super) product_numbers: BTreeMap<ProductId, u32>,
    pub(super) rollouts: Vec<Rollout>,
    pub(super) rollout_numbers: HashMap<UpdateId, u32>,
    pub(super) due: [BTreeSet<Due>; DUE_LISTS],
}

/// The records of a product.
#[derive(Debug, Default)]
pub(super) struct ProductItems {
    /// There once its first update is.
    pub(super) head: Option<Head>,
    /// By version without build metadata, as a text: the order in which they are listed.
    pub(super) updates: BTreeMap<String, UpdateRecord>,
    pub(super) audit: BTreeMap<String, AuditEntry>,
    /// The one in force, and the one before.
    pub(super) catalogs: VecDeque<(String, Arc<[u8]>)>,
    pub(super) devices: Vec<DeviceItem>,
    pub(super) device_numbers: HashMap<DeviceId, u32>,
    /// Devices in the order of their ids; brought up to date when a list is asked for.
    pub(super) sorted: Vec<u32>,
    pub(super) versions: BTreeMap<String, i64>,
}

/// The records of a device.
#[derive(Debug)]
pub(super) struct DeviceItem {
    pub(super) id: DeviceId,
    pub(super) due_list: usize,
    pub(super) record: Option<DeviceRecord>,
    /// By the update's number. A device has a handful.
    pub(super) claims: Vec<(u32, Claim)>,
}

/// The records of an update beside its own.
#[derive(Debug, Default)]
pub(super) struct Rollout {
    pub(super) id: Option<UpdateId>,
    pub(super) shards: Vec<Option<ShardItem>>,
    pub(super) claimants: Vec<DeviceIndex>,
    pub(super) deferrals: BTreeMap<&'static str, u64>,
    /// By hour.
    pub(super) series: BTreeMap<i64, SeriesPoint>,
}

/// Position of a device in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeviceIndex {
    pub(super) product: u32,
    pub(super) device: u32,
}

/// A reserved claim in the order of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) expires_at_ms: i64,
    pub(super) device: DeviceIndex,
    pub(super) rollout: u32,
}

impl DeviceItem {
    pub(super) fn claim(&self, rollout: u32) -> Option<&Claim> {
        self.claims.iter().find(|(number, _)| *number == rollout).map(|(_, claim)| claim)
    }

    /// True if the record is as the write expects it.
    pub(super) fn expects(&self, write: &DeviceWrite) -> bool {
        let version = self.record.as_ref().and_then(|record| record.version.as_deref());
        version == write.previous_version.as_deref()
    }
}

impl State {
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

    pub(super) fn rollout(&self, update: &UpdateId) -> Option<&Rollout> {
        self.rollout_numbers.get(update).map(|number| &self.rollouts[*number as usize])
    }

    pub(super) fn rollout_number(&mut self, update: &UpdateId) -> u32 {
        if let Some(number) = self.rollout_numbers.get(update) {
            return *number;
        }
        let number = numbered(self.rollouts.len());
        self.rollouts.push(Rollout { id: Some(update.clone()), ..Rollout::default() });
        self.rollout_numbers.insert(update.clone(), number);
        number
    }

    pub(super) fn rollout_mut(&mut self, update: &UpdateId) -> &mut Rollout {
        let number = self.rollout_number(update);
        &mut self.rollouts[number as usize]
    }

    pub(super) fn shard_mut(&mut self, rollout: u32, shard: u16) -> Option<&mut ShardItem> {
        self.rollouts[rollout as usize].shards.get_mut(usize::from(shard))?.as_mut()
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
        let due_list = Sha256::digest(device.as_str()).first().map_or(0, |byte| usize::from(*byte) % DUE_LISTS);
        items.devices.push(DeviceItem { id: device.clone(), due_list, record: None, claims: Vec::new() });
        items.device_numbers.insert(device.clone(), number);
        DeviceIndex { product: product_number, device: number }
    }

    pub(super) fn device_at(&self, index: DeviceIndex) -> &DeviceItem {
        &self.products[index.product as usize].devices[index.device as usize]
    }

    pub(super) fn claim(&self, key: &ClaimKey) -> Option<&Claim> {
        self.device_item(&key.product, &key.device)?.claim(*self.rollout_numbers.get(&key.update)?)
    }

    /// Puts a claim and keeps the index of those that are reserved.
    pub(super) fn put_claim(&mut self, index: DeviceIndex, rollout: u32, claim: &Claim) {
        let claim = Claim {
            reserved_at: to_the_millisecond(claim.reserved_at),
            expires_at: to_the_millisecond(claim.expires_at),
            ..claim.clone()
        };
        let device_item = &mut self.products[index.product as usize].devices[index.device as usize];
        let due = &mut self.due[device_item.due_list];
        let due_at = |claim: &Claim| Due { expires_at_ms: claim.expires_at.as_millisecond(), device: index, rollout };
        let after = (claim.state == ClaimState::Reserved).then(|| due_at(&claim));
        let before = match device_item.claims.iter_mut().find(|(number, _)| *number == rollout) {
            Some((_, stored)) => {
                let before = std::mem::replace(stored, claim);
                (before.state == ClaimState::Reserved).then(|| due_at(&before))
            }
            None => {
                device_item.claims.push((rollout, claim));
                self.rollouts[rollout as usize].claimants.push(index);
                None
            }
        };
        if before != after {
            before.map(|before| due.remove(&before));
            after.map(|after| due.insert(after));
        }
    }

    /// Writes a device's record, and the counts of the version it leaves and of the one it runs.
    pub(super) fn write_device(&mut self, index: DeviceIndex, write: &DeviceWrite) {
        let items = &mut self.products[index.product as usize];
        let record = items.devices[index.device as usize].record.get_or_insert_default();
        let seen_at = to_the_millisecond(write.seen_at);
        record.attributes.clone_from(&write.attributes);
        record.first_seen.get_or_insert(seen_at);
        record.last_seen = Some(seen_at);
        if write.previous_version.as_ref() != Some(&write.version) {
            record.version = Some(write.version.clone());
            count_version(&mut items.versions, &write.version, 1);
            if let Some(previous) = &write.previous_version {
                count_version(&mut items.versions, previous, -1);
            }
        }
    }
}

/// Far fewer than 2³² of anything fit in memory.
pub(super) fn numbered(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Times are stored in milliseconds.
pub(super) fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

pub(super) fn count_version(versions: &mut BTreeMap<String, i64>, version: &str, by: i64) {
    match versions.get_mut(version) {
        Some(devices) => *devices += by,
        None => {
            versions.insert(version.to_string(), by);
        }
    }
}

pub(super) fn precedence(version: &Version) -> String {
    tidegate_core::id::without_build(version).to_string()
}

pub(super) fn put_update(items: &mut ProductItems, update: &UpdateRecord) {
    let stored = UpdateRecord {
        created_at: to_the_millisecond(update.created_at),
        changed_at: to_the_millisecond(update.changed_at),
        ..update.clone()
    };
    items.updates.insert(precedence(&update.version), stored);
}

/// An entry of the same time, subject and generation is the same entry, written again.
pub(super) fn put_audit(items: &mut ProductItems, entry: &AuditEntry) {
    let key = format!("{:020}#{}#{:010}", entry.at.as_nanosecond(), entry.subject, entry.generation);
    items.audit.insert(key, AuditEntry { at: to_the_millisecond(entry.at), ..entry.clone() });
}
