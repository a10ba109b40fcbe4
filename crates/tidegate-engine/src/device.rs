//! The record of a device: its contents, and the times of its writes.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tidegate_core::cadence::DAY_S;
use tidegate_core::device::Delivery;
use tidegate_core::reports::Reports;
use tidegate_core::{Device, DeviceId, ProductId, Timestamp, Version};
use tidegate_store::record::{DeviceRecord, Doc, DocDigests, Seen};
use tidegate_wire::device_json::attributes_of;

use crate::check_in::DeviceContext;
use crate::token::Proof;

/// A device from its record, for a request that does not contain the device's version. `None` if the record has no
/// version or cannot be used.
#[must_use]
pub fn stored_device(
    product: &ProductId,
    device: &DeviceId,
    record: &DeviceRecord,
    reports: &Reports,
    delivery: Delivery,
) -> Option<Device> {
    let text = record.version.as_ref()?;
    let version = reports.version_of(text)?;
    let said = Version::parse(text).ok().filter(|said| *said != version);
    let attributes = attributes_of(&stored_object(product, device, record).ok()?).ok()?;
    let orders = record.orders.clone();
    Some(Device { id: device.clone(), product: product.clone(), version, said, attributes, delivery, orders })
}

/// The stored attributes of a device. Its id and its product are always among them: a device that only ever reported has
/// stored nothing, and policies may ask for both.
///
/// # Errors
/// When the stored text is no JSON object.
pub(crate) fn stored_object(
    product: &ProductId,
    device: &DeviceId,
    record: &DeviceRecord,
) -> Result<Map<String, Value>, serde_json::Error> {
    let mut object: Map<String, Value> = serde_json::from_str(record.attributes.as_deref().unwrap_or("{}"))?;
    object.insert("id".into(), device.as_str().into());
    object.insert("product".into(), product.as_str().into());
    Ok(object)
}

/// The change of the record of a device that checks in and runs `version`. Its attributes stay as they are.
#[must_use]
pub fn checked_in(context: &DeviceContext, version: String, now: Timestamp) -> Seen {
    let (record, head) = (&context.record, &context.head);
    let poll_s = Some(head.times.poll_s).filter(|poll_s| *poll_s != record.cadence().poll_s);
    let usual_gap_s = Some(head.fleet.usual_gap_s).filter(|gap_s| record.first_seen.is_none() && *gap_s > 0);
    let seen = seen(record, version, now);
    let uses_own_token = is_first_use(context.proof, record);
    Seen { poll_s, long_gap_s: usual_gap_s.or(seen.long_gap_s), uses_own_token, ..seen }
}

/// Returns true if a device uses a token of its own for the first time. It is written at once: from then on the product's
/// shared token does not speak for the device.
pub(crate) fn is_first_use(proof: Proof, record: &DeviceRecord) -> bool {
    matches!(proof, Proof::Device { .. }) && !record.tokens.has_own
}

/// The change of the record of a device that is seen now and runs `version`, by a request without the settings of its
/// product.
#[must_use]
pub fn seen(record: &DeviceRecord, version: String, now: Timestamp) -> Seen {
    let learned = record.last_seen.filter(|seen| has_passed(DAY_S, Some(*seen), now));
    let learned = learned.map(|seen| record.cadence().learn(seen, now));
    let long_gap_s = learned.filter(|gap_s| *gap_s != record.long_gap_s);
    Seen { long_gap_s, ..Seen::new(version, now) }
}

/// The change of the record of a device that sends its version and attributes. `None` if there is nothing to write.
///
/// Attributes that no policy and no setting names may differ at every check-in. They are stored once a day.
#[must_use]
pub fn changed(context: &DeviceContext, version: String, object: &Map<String, Value>, now: Timestamp) -> Option<Seen> {
    let record = &context.record;
    let doc = doc_of(context, object);
    let must_be_stored = match record.stored {
        None => true,
        Some(stored) if stored.named != doc.digests.named => true,
        Some(stored) => stored.all != doc.digests.all && has_passed(DAY_S, record.stored_at, now),
    };
    let is_seen = record.version.as_ref() == Some(&version) && !is_seen_long_ago(context, now);
    let is_other = !is_seen || must_be_stored;
    is_other.then(|| Seen { doc: must_be_stored.then_some(doc), ..checked_in(context, version, now) })
}

/// The change of the record of a device that sends its attributes to be stored, whatever names them.
#[must_use]
pub fn stored(context: &DeviceContext, version: String, object: &Map<String, Value>, now: Timestamp) -> Option<Seen> {
    let record = &context.record;
    let doc = doc_of(context, object);
    let is_other = record.stored.is_none_or(|stored| stored != doc.digests);
    let is_seen = record.version.as_ref() == Some(&version) && !is_seen_long_ago(context, now);
    (is_other || !is_seen).then(|| Seen { doc: is_other.then_some(doc), ..checked_in(context, version, now) })
}

/// The change of the record of a device that sends neither version nor attributes: the time, if the record is older than
/// its grain.
#[must_use]
pub fn seen_again(context: &DeviceContext, now: Timestamp) -> Option<Seen> {
    let version = context.record.version.clone().filter(|_| is_seen_long_ago(context, now))?;
    Some(checked_in(context, version, now))
}

/// Returns true if the record is older than its grain: a day, or less while the device holds a place or is in a control
/// group. A record with another `poll_s` than its product has is too old at once, and one without the first use of the
/// device's own token.
#[must_use]
pub fn is_seen_long_ago(context: &DeviceContext, now: Timestamp) -> bool {
    context.head.times.poll_s != context.record.cadence().poll_s
        || is_first_use(context.proof, &context.record)
        || is_older_than_grain(&context.record, context.is_held_out || context.claims.holds_place(), now)
}

/// As [`is_seen_long_ago`], for a device whose record was read alone.
pub(crate) fn is_older_than_grain(record: &DeviceRecord, is_watched: bool, now: Timestamp) -> bool {
    has_passed(record.cadence().grain_s(is_watched), record.last_seen, now)
}

fn has_passed(length_s: i64, at: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_none_or(|at| now.as_second().saturating_sub(at.as_second()) >= length_s)
}

/// The stored form of a `device.json`, with the digests that tell whether it has changed.
fn doc_of(context: &DeviceContext, object: &Map<String, Value>) -> Doc {
    let json = without_version(object);
    let version_attribute = context.head.version_attribute();
    let names = context.catalog.updates.slots().attributes().chain([version_attribute]);
    let mut named = Sha256::new();
    for name in names {
        named.update(name);
        named.update([0]);
        if let Some(value) = object.get(name) {
            named.update(value.to_string());
        }
        named.update([0]);
    }
    let digests = DocDigests { all: number(Sha256::digest(&json)), named: number(named.finalize()) };
    Doc { json, digests }
}

/// The first eight bytes of a digest.
fn number(digest: impl AsRef<[u8]>) -> u64 {
    digest.as_ref().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// The text of a `device.json` for the device's record. It leaves out the version, which has its own field.
fn without_version(object: &Map<String, Value>) -> String {
    struct WithoutVersion<'a>(&'a Map<String, Value>);

    impl Serialize for WithoutVersion<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().filter(|(name, _)| *name != "version"))
        }
    }

    serde_json::to_string(&WithoutVersion(object)).expect("a map of JSON values is JSON")
}
