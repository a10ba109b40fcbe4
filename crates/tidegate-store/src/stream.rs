//! Changes of devices and of updates' states, as the table's stream gives them to the function `count`.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;
use serde_json::Value;
use tidegate_core::{Claim, DeviceId, ProductId, Timestamp};

use crate::dynamo::item::{self, Item};
use crate::dynamo::key;
use crate::record::{DeviceRecord, Position, StateChange};
use crate::store::{StoreError, Stored};

/// A batch of one stream shard, in the order of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The stream shard.
    pub stream_shard: String,
    /// Its records.
    pub records: Vec<StreamRecord>,
}

/// One record of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRecord {
    /// Its position.
    pub position: Position,
    /// The time of the write, to the second.
    pub at: Timestamp,
    /// The change; the reason, if it cannot be read.
    pub change: Result<ItemChange, Unreadable>,
}

/// A change that counts.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemChange {
    /// A change of a device's item.
    Device(Box<DeviceChange>),
    /// A change of an update's state.
    State(StateChange),
}

impl ItemChange {
    /// The product.
    #[must_use]
    pub fn product(&self) -> &ProductId {
        match self {
            Self::Device(change) => &change.product,
            Self::State(change) => &change.product,
        }
    }

    /// The change of a device; `None` if it is another one.
    #[must_use]
    pub fn device(&self) -> Option<&DeviceChange> {
        match self {
            Self::Device(change) => Some(change),
            Self::State(_) => None,
        }
    }
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// The product, as far as the key tells.
    pub product: Option<ProductId>,
    /// The reason.
    pub why: StoreError,
}

/// A change of one device's item.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceChange {
    /// The product.
    pub product: ProductId,
    /// The device.
    pub device: DeviceId,
    /// The item before; `None` if there was none.
    pub before: Option<DeviceImage>,
    /// The item after; `None` if it was deleted.
    pub after: Option<DeviceImage>,
}

/// The part of a device's item that is counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceImage {
    /// The record.
    pub record: DeviceRecord,
    /// The claims, by version without build metadata.
    pub claims: BTreeMap<String, CountedClaim>,
}

/// A claim in an image.
#[derive(Debug, Clone, PartialEq)]
pub struct CountedClaim {
    /// The claim.
    pub claim: Claim,
    /// The message of the device's last report about it.
    pub message: Option<String>,
}

/// An event of Lambda for a DynamoDB stream. The event has the stream's shard only if the event source has a tumbling
/// window; without the shard, tallies could not tell which records they contain.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "Records", default)]
    records: Vec<EventRecord>,
    #[serde(rename = "shardId")]
    shard_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct EventRecord {
    dynamodb: EventChange,
}

#[derive(Debug, Deserialize)]
struct EventChange {
    #[serde(rename = "Keys", default)]
    keys: Value,
    #[serde(rename = "OldImage")]
    old_image: Option<Value>,
    #[serde(rename = "NewImage")]
    new_image: Option<Value>,
    #[serde(rename = "SequenceNumber")]
    sequence_number: String,
    #[serde(rename = "ApproximateCreationDateTime", default)]
    created_at: f64,
}

impl Batch {
    /// Reads an event. Records of other items than devices, and of updates whose state stays, are left out.
    ///
    /// # Errors
    /// When it is no event of a DynamoDB stream, has no shard, or a position cannot be read. A record that cannot be
    /// read is no error: it is a record with its reason.
    pub fn from_event(event: Value) -> Stored<Self> {
        let event: Event = serde_json::from_value(event).map_err(StoreError::corrupt)?;
        let stream_shard = event.shard_id.ok_or_else(|| {
            StoreError::Corrupt("the event has no `shardId`: the event source needs a tumbling window".into())
        })?;
        let records = event.records.into_iter().filter_map(|record| read_record(record.dynamodb).transpose());
        Ok(Self { stream_shard, records: records.collect::<Stored<_>>()? })
    }
}

/// A record that counts; `None` for another one.
fn read_record(change: EventChange) -> Stored<Option<StreamRecord>> {
    let position = Position::parse(&change.sequence_number).ok_or_else(|| {
        StoreError::Corrupt(format!("the sequence number {} must have up to 40 digits", change.sequence_number).into())
    })?;
    // Seconds since 1970, far below the largest whole number that the type holds.
    #[allow(clippy::cast_possible_truncation)]
    let at = Timestamp::from_second(change.created_at as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    let key = |name: &str| change.keys.get(name).and_then(|value| value.get("S")).and_then(Value::as_str);
    let (pk, sk) = (key("pk").unwrap_or_default(), key("sk").unwrap_or_default());
    let change = if sk == key::DEVICE {
        let device = key::parse_device(pk);
        let product = device.as_ref().map(|(product, _)| product.clone());
        Some(device_change(device, &change).map_err(|why| Unreadable { product, why }))
    } else if sk.starts_with(key::UPDATE) {
        state_change(&change).map_err(|why| Unreadable { product: None, why }).transpose()
    } else {
        None
    };
    Ok(change.map(|change| StreamRecord { position, at, change }))
}

fn device_change(device: Option<(ProductId, DeviceId)>, change: &EventChange) -> Stored<ItemChange> {
    let (product, device) = device.ok_or_else(|| StoreError::Corrupt("the key is not a device's".into()))?;
    let (before, after) = (image(change.old_image.as_ref())?, image(change.new_image.as_ref())?);
    Ok(ItemChange::Device(Box::new(DeviceChange { product, device, before, after })))
}

/// The change of an update's state; `None` if the state stays.
fn state_change(change: &EventChange) -> Stored<Option<ItemChange>> {
    let record = |image: Option<&Value>| image.map(|image| item::update_from(&item_of(image)?)).transpose();
    let (before, after) = (record(change.old_image.as_ref())?, record(change.new_image.as_ref())?);
    Ok(StateChange::between(before.as_ref(), after.as_ref()).map(ItemChange::State))
}

fn image(image: Option<&Value>) -> Stored<Option<DeviceImage>> {
    image.map(|image| item::image_from(&item_of(image)?)).transpose()
}

/// An item in the JSON of DynamoDB.
fn item_of(json: &Value) -> Stored<Item> {
    let unreadable = || StoreError::Corrupt("an image must be attributes in the JSON of DynamoDB".into());
    let attributes = json.as_object().ok_or_else(unreadable)?;
    let attribute = |(name, value): (&String, &Value)| Some((name.clone(), attribute(value)?));
    attributes.iter().map(attribute).collect::<Option<_>>().ok_or_else(unreadable)
}

/// A value such as `{"N": "5"}`. The kinds that no item of ours has are read as null.
fn attribute(value: &Value) -> Option<AttributeValue> {
    let (kind, value) = value.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "S" => AttributeValue::S(value.as_str()?.to_string()),
        "N" => AttributeValue::N(value.as_str()?.to_string()),
        "BOOL" => AttributeValue::Bool(value.as_bool()?),
        "M" => AttributeValue::M(item_of(value).ok()?),
        "SS" => {
            let text = |value: &Value| value.as_str().map(str::to_string);
            AttributeValue::Ss(value.as_array()?.iter().map(text).collect::<Option<_>>()?)
        }
        "L" => AttributeValue::L(value.as_array()?.iter().map(attribute).collect::<Option<_>>()?),
        _ => AttributeValue::Null(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(sequence: &str, sk: &str, new_image: &Value) -> Value {
        json!({"shardId": "shardId-01", "Records": [{"eventName": "MODIFY", "dynamodb": {
            "ApproximateCreationDateTime": 1_767_225_600.0, "SequenceNumber": sequence,
            "Keys": {"pk": {"S": "d#lamp#lamp-1"}, "sk": {"S": sk}}, "NewImage": new_image,
        }}]})
    }

    #[test]
    fn a_record_of_a_device_has_its_position_and_its_claims() {
        let image = json!({"rev": {"N": "3"}, "version": {"S": "1.0.0"}, "claims": {"M": {"2.0.0": {"M": {
            "s": {"S": "O"}, "pl": {"BOOL": true}, "sh": {"N": "4"}, "e": {"N": "3"}, "r": {"N": "2"}, "a": {"N": "1"},
            "h": {"N": "0"}, "w": {"S": "1.0.0"}, "ga": {"N": "1767225600000"}, "m": {"S": "busy"}}}}}});
        let batch = Batch::from_event(event("123", "device", &image)).unwrap();
        assert_eq!(batch.stream_shard, "shardId-01");
        let record = &batch.records[0];
        assert_eq!(record.position.as_str(), format!("{:0>40}", 123));
        let change = record.change.clone().unwrap().device().unwrap().clone();
        let after = change.after.unwrap();
        assert_eq!((change.before, after.record.version.as_deref(), after.record.revision), (None, Some("1.0.0"), 3));
        let claim = &after.claims["2.0.0"];
        assert_eq!(
            (claim.claim.shard, claim.claim.life.holds_place, claim.message.as_deref()),
            (4, true, Some("busy"))
        );
    }

    #[test]
    fn positions_compare_as_numbers_do_and_other_items_are_left_out() {
        let position = |sequence| Position::parse(sequence).unwrap();
        assert!(position("9") < position("10"));
        assert!(position("99999999999999999999") < position("100000000000000000000000000000000000001"));
        assert_eq!(Position::parse("1e3"), None);
        assert_eq!(Batch::from_event(event("1", "doc", &json!({}))).unwrap().records, []);
    }

    #[test]
    fn an_unreadable_record_keeps_its_position_and_an_event_without_a_shard_is_refused() {
        let batch = Batch::from_event(event("7", "device", &json!({"rev": {"N": "1"}, "claims": {"S": "?"}}))).unwrap();
        let unreadable = batch.records[0].change.clone().unwrap_err();
        assert_eq!(unreadable.product.unwrap().as_str(), "lamp");
        assert!(Batch::from_event(json!({"Records": []})).unwrap_err().to_string().contains("shardId"));
    }
}
