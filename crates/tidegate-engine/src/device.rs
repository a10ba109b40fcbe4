//! The record of a device: its contents, and the times of its writes.

use serde_json::{Map, Value};
use tidegate_core::device::Delivery;
use tidegate_core::{Device, DeviceId, ProductId, Timestamp, Version};
use tidegate_store::record::{DeviceRecord, DeviceWrite};
use tidegate_wire::device_json::attributes_of;

/// Seconds for which a record may be wrong about when its device was last seen. An unchanged check-in writes nothing
/// more often than that.
const SEEN_AGAIN_S: i64 = 24 * 3600;

/// A device from its record, for a request that does not contain the device's version. `None` if the record has no
/// version or cannot be used.
#[must_use]
pub fn stored_device(
    product: &ProductId,
    device: &DeviceId,
    record: &DeviceRecord,
    delivery: Delivery,
) -> Option<Device> {
    let version = Version::parse(record.version.as_ref()?).ok()?;
    let object: Map<String, Value> = serde_json::from_str(&record.attributes).ok()?;
    let attributes = attributes_of(&object).ok()?;
    Some(Device { id: device.clone(), product: product.clone(), version, attributes, delivery })
}

/// The write for a device that is seen now and runs `version`. Its attributes stay as they are in the record.
#[must_use]
pub fn seen(
    product: &ProductId,
    device: &DeviceId,
    record: &DeviceRecord,
    version: String,
    now: Timestamp,
) -> DeviceWrite {
    DeviceWrite {
        product: product.clone(),
        device: device.clone(),
        version,
        previous_version: record.version.clone(),
        attributes: record.attributes.clone(),
        seen_at: now,
    }
}

/// The write for a device that sends its version and attributes: all of them if the device is new or anything has
/// changed, and the time once a day. `None` if there is nothing to write.
#[must_use]
pub fn changed(
    product: &ProductId,
    device: &DeviceId,
    record: &DeviceRecord,
    version: String,
    attributes: String,
    now: Timestamp,
) -> Option<DeviceWrite> {
    let is_unchanged = record.version.as_ref() == Some(&version) && record.attributes == attributes;
    if is_unchanged && !is_seen_long_ago(record, now) {
        return None;
    }
    Some(DeviceWrite { attributes, ..seen(product, device, record, version, now) })
}

/// The write for a device that sends neither version nor attributes: the time, once a day.
#[must_use]
pub fn seen_again(
    product: &ProductId,
    device: &DeviceId,
    record: &DeviceRecord,
    now: Timestamp,
) -> Option<DeviceWrite> {
    let version = record.version.clone().filter(|_| is_seen_long_ago(record, now))?;
    Some(seen(product, device, record, version, now))
}

/// Returns true if a day has passed since the record was last written.
#[must_use]
pub fn is_seen_long_ago(record: &DeviceRecord, now: Timestamp) -> bool {
    let seen_s = record.last_seen.map_or(i64::MAX, |seen| now.as_second().saturating_sub(seen.as_second()));
    seen_s >= SEEN_AGAIN_S
}
