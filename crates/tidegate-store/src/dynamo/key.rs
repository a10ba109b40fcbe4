//! Keys of the items. Every partition key begins with its kind, so that no name can meet the key of another kind. Ids
//! and versions never contain the separator `#`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use tidegate_core::id::sortable;
use tidegate_core::life::Bucket;
use tidegate_core::{DeviceId, ProductId, Timestamp, Version};

use super::item::s;
use crate::record::{AuditEntry, Position, RolloutKey};
use crate::verification::WantedVerification;

/// Number of parts of the list of the devices on one version. A part of an index takes about 1,000 writes a second.
pub(super) const VERSION_PARTS: u8 = 16;
/// Number of parts of the list of the devices with one bucket.
pub(super) const BUCKET_PARTS: u8 = 8;

pub(super) type Key = HashMap<String, AttributeValue>;

fn key(pk: String, sk: impl Into<String>) -> Key {
    HashMap::from([("pk".into(), s(pk)), ("sk".into(), s(sk))])
}

/// Key of the list of products.
pub(super) const PRODUCTS: &str = "#products";
/// Attribute of the products in the list whose devices may register themselves.
pub(super) const IS_OPEN: &str = "is_open";

/// Key of the list of images that are to be read.
pub(super) const WANTED_VERIFICATIONS: &str = "#verify";

pub(super) fn wanted_verification(wanted: &WantedVerification) -> Key {
    key(WANTED_VERIFICATIONS.into(), format!("{}#{}", wanted.product, wanted.sha256))
}

/// Key of the result of reading an image.
pub(super) fn verification(product: &ProductId, sha256: &str) -> Key {
    key(format!("v#{product}"), sha256)
}

pub(super) fn product(product: &ProductId) -> Key {
    key(PRODUCTS.into(), product.as_str())
}

pub(super) fn product_partition(product: &ProductId) -> String {
    format!("p#{product}")
}

pub(super) fn head(product: &ProductId) -> Key {
    key(product_partition(product), "head")
}

/// Beginning of the sort key of an update's item. The stream is read for changes of its state.
pub(crate) const UPDATE: &str = "update#";

pub(super) fn update(product: &ProductId, version: &Version) -> Key {
    update_named(product, &sortable(version))
}

/// Key of an update's item in a campaign that another one has followed.
pub(super) fn earlier_campaign(rollout: &RolloutKey) -> Key {
    update_named(rollout.product(), &rollout.name_as_earlier())
}

/// Key of an update's item by its name in the list of updates.
pub(super) fn update_named(product: &ProductId, name: &str) -> Key {
    key(product_partition(product), format!("{UPDATE}{name}"))
}

pub(super) fn audit(product: &ProductId, entry: &AuditEntry) -> Key {
    key(audit_list(product, entry.at), entry.name())
}

/// The part of the audit log with the month of `at`.
pub(super) fn audit_list(product: &ProductId, at: Timestamp) -> String {
    format!("x#{product}#{}", at.strftime("%Y-%m"))
}

pub(super) fn device_partition(product: &ProductId, device: &DeviceId) -> String {
    format!("d#{product}#{device}")
}

/// Sort key of a device's item. The stream is read for its changes.
pub(crate) const DEVICE: &str = "device";
/// Sort key of a device's `device.json`.
pub(super) const DOC: &str = "doc";

pub(super) fn device(product: &ProductId, device: &DeviceId) -> Key {
    key(device_partition(product, device), DEVICE)
}

pub(super) fn doc(product: &ProductId, device: &DeviceId) -> Key {
    key(device_partition(product, device), DOC)
}

/// Parses the partition key of a device.
pub(crate) fn parse_device(pk: &str) -> Option<(ProductId, DeviceId)> {
    let (product, device) = pk.strip_prefix("d#")?.split_once('#')?;
    Some((ProductId::new(product).ok()?, DeviceId::new(device).ok()?))
}

fn of_rollout(kind: char, rollout: &RolloutKey) -> String {
    format!("{kind}#{}#{}", rollout.product(), rollout.name())
}

pub(super) fn shard(rollout: &RolloutKey, shard: u16) -> Key {
    key(format!("{}#{shard:02}", of_rollout('s', rollout)), "shard")
}

/// Partition of the tallies over the claims of a rollout.
pub(super) fn tallies(rollout: &RolloutKey) -> String {
    of_rollout('t', rollout)
}

/// Partition of the tallies over the versions of a product's devices.
pub(super) fn version_tallies(product: &ProductId) -> String {
    format!("t#{product}")
}

pub(super) fn tally(partition: String, stream_shard: &str) -> Key {
    key(partition, short(stream_shard))
}

/// Sort key of the sum of the tallies whose stream shards have ended. It sorts behind those of stream shards, so a query
/// reads it after them.
pub(super) const TALLY_BASE: &str = "~base";

pub(super) fn tally_base(partition: String) -> Key {
    key(partition, TALLY_BASE)
}

/// Partition of a product's events.
pub(super) fn events(product: &ProductId) -> String {
    format!("o#{product}")
}

/// The positions of a stream shard are its own, so the name has the shard too. Names sort by time, as far as positions do.
pub(super) fn event(product: &ProductId, position: &Position, stream_shard: &str) -> Key {
    key(events(product), format!("{}#{}", position.as_str(), short(stream_shard)))
}

/// A short name of a stream shard, because tallies are read often.
fn short(stream_shard: &str) -> String {
    hex::encode(Sha256::digest(stream_shard).get(..8).unwrap_or_default())
}

pub(super) fn due_pages(rollout: &RolloutKey) -> String {
    of_rollout('u', rollout)
}

pub(super) fn due_page(rollout: &RolloutKey, name: &str) -> Key {
    key(due_pages(rollout), name)
}

pub(super) fn members(rollout: &RolloutKey) -> Key {
    key(of_rollout('c', rollout), "members")
}

pub(super) fn list_entry(rollout: &RolloutKey, bucket: Bucket, device: &DeviceId) -> Key {
    key(list(rollout, bucket, part(device, BUCKET_PARTS)), device.as_str())
}

/// A part of the list of a bucket.
pub(super) fn list(rollout: &RolloutKey, bucket: Bucket, part: u8) -> String {
    format!("{}#{}#{part}", of_rollout('l', rollout), bucket.name())
}

pub(super) fn deferrals(rollout: &RolloutKey) -> Key {
    key(of_rollout('q', rollout), "deferred")
}

pub(super) fn series(rollout: &RolloutKey) -> String {
    of_rollout('r', rollout)
}

pub(super) fn series_point(rollout: &RolloutKey, at: Timestamp) -> Key {
    let hour = at.as_second().div_euclid(3600);
    key(series(rollout), format!("{hour:010}"))
}

/// Part of the list of the devices on a version, in the index.
pub(super) fn on_version(product: &ProductId, version: &str, part: u8) -> String {
    format!("{product}#{version}#{part:02}")
}

/// Part of the list of the devices on a version that holds this device.
pub(super) fn on_version_of(product: &ProductId, version: &str, device: &DeviceId) -> String {
    on_version(product, version, part(device, VERSION_PARTS))
}

fn part(device: &DeviceId, parts: u8) -> u8 {
    Sha256::digest(device.as_str()).first().map_or(0, |byte| byte % parts)
}
