//! Keys of the items. Every key starts with its product, and ids never contain the separator `#`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use tidegate_core::id::without_build;
use tidegate_core::{DeviceId, ProductId, Timestamp, UpdateId, Version};

use super::item::s;
use crate::record::ClaimKey;

/// Number of lists of reserved claims. A partition of an index takes about 1,000 writes a second, so all together take
/// 16,000 grants a second.
pub(super) const DUE_LISTS: u8 = 16;
/// Number of parts of the count of one version. The parts share the writes when a whole fleet changes its version.
const VERSION_PARTS: u8 = 16;

pub(super) type Key = HashMap<String, AttributeValue>;

fn key(pk: String, sk: impl Into<String>) -> Key {
    HashMap::from([("pk".into(), s(pk)), ("sk".into(), s(sk))])
}

/// Key of the list of products. No product has this id, because ids never contain `#`.
pub(super) const PRODUCTS: &str = "#products";

pub(super) fn product(product: &ProductId) -> Key {
    key(PRODUCTS.into(), product.as_str())
}

pub(super) fn head(product: &ProductId) -> Key {
    key(product.to_string(), "head")
}

pub(super) fn update(product: &ProductId, version: &Version) -> Key {
    key(product.to_string(), format!("update#{}", without_build(version)))
}

pub(super) fn audit(product: &ProductId, at: Timestamp, subject: &str, generation: u64) -> Key {
    key(audit_list(product), format!("{:020}#{subject}#{generation:010}", at.as_nanosecond()))
}

pub(super) fn audit_list(product: &ProductId) -> String {
    format!("{product}#audit")
}

pub(super) fn device_partition(product: &ProductId, device: &DeviceId) -> String {
    format!("{product}#device#{device}")
}

pub(super) fn device(product: &ProductId, device: &DeviceId) -> Key {
    key(device_partition(product, device), "device")
}

pub(super) fn claim(claim: &ClaimKey) -> Key {
    key(device_partition(&claim.product, &claim.device), format!("claim#{}", claim.update))
}

pub(super) fn shard(update: &UpdateId, shard: u16) -> Key {
    key(format!("{update}#{shard}"), "shard")
}

pub(super) fn versions(product: &ProductId) -> String {
    format!("{product}#versions")
}

pub(super) fn version_count(product: &ProductId, device: &DeviceId, version: &str) -> Key {
    key(versions(product), format!("{version}#{:02}", part(device, VERSION_PARTS)))
}

pub(super) fn deferrals(update: &UpdateId) -> Key {
    key(format!("{update}#deferred"), "deferred")
}

pub(super) fn series(update: &UpdateId) -> String {
    format!("{update}#series")
}

pub(super) fn series_point(update: &UpdateId, at: Timestamp) -> Key {
    let hour = at.as_second().div_euclid(3600);
    key(series(update), format!("{hour:010}"))
}

/// Key of the list that holds a device's reserved claims, and position of the claim in it.
pub(super) fn due(claim: &ClaimKey, expires_at: Timestamp) -> (String, String) {
    let list = due_list(part(&claim.device, DUE_LISTS));
    (list, format!("{:013}#{}#{}", expires_at.as_millisecond(), claim.device, claim.update))
}

pub(super) fn due_list(list: u8) -> String {
    format!("due#{list:02}")
}

pub(super) fn devices_on(product: &ProductId, version: &str) -> String {
    format!("{product}#on#{version}")
}

fn part(device: &DeviceId, parts: u8) -> u8 {
    Sha256::digest(device.as_str()).first().map_or(0, |byte| byte % parts)
}

/// Parses the key of a claim.
pub(super) fn parse_claim(pk: &str, sk: &str) -> Option<ClaimKey> {
    let (product, device) = pk.split_once("#device#")?;
    Some(ClaimKey {
        product: ProductId::new(product).ok()?,
        device: DeviceId::new(device).ok()?,
        update: UpdateId::new(sk.strip_prefix("claim#")?).ok()?,
    })
}
