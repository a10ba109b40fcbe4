//! Items: conversion between core types and DynamoDB attributes.

mod device;
mod update;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::life::Bucket;
use tidegate_core::limits::Caps;
use tidegate_core::shard::{Gate, Shard};
use tidegate_core::times::Times;
use tidegate_core::{DeviceId, ProductId, State, Timestamp, UpdateId, snapshot};

pub(crate) use self::device::image_from;
pub(super) use self::device::{
    claim_fields, claim_key, claim_to, known_from, messages_from, orders_to, question_to, wholly_known_from,
};
pub(crate) use self::update::update_from;
pub(super) use self::update::{
    ACTIVATION_ATTRIBUTES, DELETED, NEWCOMERS_SINCE, OPTIONAL_ATTRIBUTES, SETTLED, UNREMOVED, audience_to, is_deleted,
    reading_to, update_to,
};
use super::key;
use crate::metrics::TARGET;
use crate::record::{
    AuditEntry, DuePage, Event, Fleet, Head, ListEntry, Position, PublishedCatalog, RolloutKey, SeriesPoint,
};
use crate::store::{StoreError, Stored};

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The number of the layout of items that this version of Tidegate knows, which it writes as `schema`. An item that an older
/// version would misread names the least number that its reader must know, in `needs`; the absence of it means 1.
pub(super) const SCHEMA: u32 = 1;

/// Stored form of a time: milliseconds since 1970.
pub(super) fn time(at: Timestamp) -> AttributeValue {
    n(at.as_millisecond())
}

/// Reader of the fields of an item. An error names the field that is missing or has the wrong type.
pub(super) struct Fields<'a>(pub(super) &'a Item);

impl Fields<'_> {
    /// Checks that the item is not of a later layout.
    ///
    /// # Errors
    /// `Corrupt`. An alarm is raised: a version of before an upgrade still runs.
    pub(super) fn must_be_known(&self) -> Stored<()> {
        let needs: u32 = self.number_or("needs", SCHEMA)?;
        if needs <= SCHEMA {
            return Ok(());
        }
        tracing::info!(target: TARGET, schema_ahead = 1_u64);
        Err(self.corrupt("needs", &format!("at most {SCHEMA} for this version of Tidegate; it is {needs}")))
    }

    pub(super) fn text(&self, field: &str) -> Stored<&str> {
        self.maybe_text(field).ok_or_else(|| self.corrupt(field, "a text"))
    }

    pub(super) fn maybe_text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_s().ok().map(String::as_str)
    }

    pub(super) fn number<T: FromStr>(&self, field: &str) -> Stored<T> {
        let number = self.0.get(field).and_then(|value| value.as_n().ok()).and_then(|number| number.parse().ok());
        number.ok_or_else(|| self.corrupt(field, "a number"))
    }

    pub(super) fn number_or<T: FromStr>(&self, field: &str, default: T) -> Stored<T> {
        if self.0.contains_key(field) { self.number(field) } else { Ok(default) }
    }

    fn maybe_number<T: FromStr>(&self, field: &str) -> Stored<Option<T>> {
        if self.0.contains_key(field) { self.number(field).map(Some) } else { Ok(None) }
    }

    pub(super) fn time(&self, field: &str) -> Stored<Timestamp> {
        Timestamp::from_millisecond(self.number(field)?).map_err(|_| self.corrupt(field, "a time"))
    }

    fn maybe_time(&self, field: &str) -> Stored<Option<Timestamp>> {
        if self.0.contains_key(field) { self.time(field).map(Some) } else { Ok(None) }
    }

    /// A list of times; none if there is no list.
    fn times(&self, field: &str) -> Stored<Vec<Timestamp>> {
        let Some(list) = self.0.get(field) else {
            return Ok(Vec::new());
        };
        let corrupt = || self.corrupt(field, "a list of times");
        let time = |value: &AttributeValue| Timestamp::from_millisecond(value.as_n().ok()?.parse().ok()?).ok();
        list.as_l().map_err(|_| corrupt())?.iter().map(|value| time(value).ok_or_else(corrupt)).collect()
    }

    /// A list of texts; none if there is no list.
    fn texts(&self, field: &str) -> Stored<Vec<String>> {
        let Some(list) = self.0.get(field) else {
            return Ok(Vec::new());
        };
        let corrupt = || self.corrupt(field, "a list of texts");
        let list = list.as_l().map_err(|_| corrupt())?;
        list.iter().map(|value| value.as_s().cloned().map_err(|_| corrupt())).collect()
    }

    fn flag(&self, field: &str) -> bool {
        self.0.get(field).and_then(|value| value.as_bool().ok()).copied().unwrap_or(false)
    }

    /// Numbers by a number, such as counts by shard.
    #[allow(clippy::disallowed_methods, reason = "the result is sorted")]
    pub(super) fn numbers_by<K: FromStr + Ord, T: FromStr>(&self, field: &str) -> Stored<BTreeMap<K, T>> {
        let corrupt = || self.corrupt(field, "a map of numbers");
        let map = self.0.get(field).and_then(|value| value.as_m().ok()).ok_or_else(corrupt)?;
        map.iter()
            .map(|(key, number)| {
                let number = number.as_n().ok().and_then(|number| number.parse().ok()).ok_or_else(corrupt)?;
                Ok((key.parse().map_err(|_| corrupt())?, number))
            })
            .collect()
    }

    fn maybe_parsed<T>(&self, field: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Stored<Option<T>> {
        if self.0.contains_key(field) { self.parsed(field, what, parse).map(Some) } else { Ok(None) }
    }

    pub(super) fn parsed<T>(&self, field: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Stored<T> {
        parse(self.text(field)?).ok_or_else(|| self.corrupt(field, what))
    }

    fn numbers(&self, field: &str) -> Stored<Vec<u64>> {
        let corrupt = || self.corrupt(field, "a list of numbers");
        let list = self.0.get(field).and_then(|value| value.as_l().ok()).ok_or_else(corrupt)?;
        list.iter().map(|value| value.as_n().ok().and_then(|number| number.parse().ok()).ok_or_else(corrupt)).collect()
    }

    pub(super) fn corrupt(&self, field: &str, expected: &str) -> StoreError {
        let part = |name| self.maybe_text(name).unwrap_or("?");
        StoreError::Corrupt(format!("`{field}` of item {} / {} must be {expected}", part("pk"), part("sk")).into())
    }
}

pub(super) fn head_from(item: &Item) -> Stored<Head> {
    let (fields, times) = (Fields(item), Times::default());
    fields.must_be_known()?;
    Ok(Head {
        created_at: fields.maybe_time("created_at")?,
        revision: fields.number_or("revision", 0)?,
        accepts_product_tokens: fields.flag("accepts_product_tokens"),
        registration_is_open: fields.flag("registration_is_open"),
        product_token_generation: fields.number_or("product_tok", 0)?,
        settings_revision: fields.number_or("settings", 0)?,
        version_attribute: fields.maybe_text("version_attribute").map(str::to_string),
        proves_by_report: fields.flag("proves_by_report"),
        times: Times {
            poll_s: fields.number_or("poll_s", times.poll_s)?,
            boot_grace_s: fields.number_or("boot_grace_s", times.boot_grace_s)?,
            apply_within_s: fields.number_or("apply_within_s", times.apply_within_s)?,
            watch_s: fields.number_or("watch_s", times.watch_s)?,
        },
        fleet: Fleet {
            usual_gap_s: fields.number_or("usual_gap_s", 0)?,
            established: fields.number_or("established", 0)?,
            counted_at: fields.maybe_time("fleet_at")?,
        },
        tidied_at: fields.maybe_time("tidied")?,
        is_stopped: item.contains_key("stopped"),
        halted: halted_from(item)?,
        oldest_catalog: fields.number_or("oldest_catalog", 0)?,
        catalog: snapshot::READABLE.into_iter().find_map(|format| catalog_from(&fields, format)).transpose()?,
    })
}

/// The attributes of a head that name the catalog of a format: its name, its revision, and the name of the one before.
/// Each format has its own, so that functions of two versions of Tidegate can work side by side.
pub(super) struct CatalogAttributes {
    pub(super) name: String,
    pub(super) revision: String,
    pub(super) before: String,
}

impl CatalogAttributes {
    pub(super) fn of(format: u8) -> Self {
        Self {
            name: format!("catalog_name_{format}"),
            revision: format!("catalog_revision_{format}"),
            before: format!("catalog_before_{format}"),
        }
    }
}

fn catalog_from(fields: &Fields<'_>, format: u8) -> Option<Stored<PublishedCatalog>> {
    let attributes = CatalogAttributes::of(format);
    let name = fields.maybe_text(&attributes.name)?.to_string();
    Some(fields.number(&attributes.revision).map(|revision| PublishedCatalog { format, revision, name }))
}

fn halted_from(item: &Item) -> Stored<BTreeSet<UpdateId>> {
    let updates = item.get("halted").and_then(|updates| updates.as_ss().ok());
    let corrupt = |_| Fields(item).corrupt("halted", "a set of update ids");
    updates.into_iter().flatten().map(|update| UpdateId::new(update.as_str()).map_err(corrupt)).collect()
}

const GATES: [(Gate, &str); 3] = [(Gate::Open, "OPEN"), (Gate::Paused, "PAUSED"), (Gate::Stopped, "STOPPED")];

pub(super) fn gate(gate: Gate) -> &'static str {
    GATES.iter().find(|(known, _)| *known == gate).map_or("", |(_, name)| name)
}

/// A shard: `gate`, `gen` generation, `cap` and `wcap` caps of devices and of the period, `ceiling`, `granted`, `used`,
/// `w` period, `wused` grants in the period.
pub(super) fn shard_from(item: &Item) -> Stored<Shard> {
    let fields = Fields(item);
    fields.must_be_known()?;
    let gate = |text: &str| GATES.iter().find(|(_, name)| *name == text).map(|(gate, _)| *gate);
    Ok(Shard {
        gate: fields.parsed("gate", "a gate", gate)?,
        generation: fields.number("gen")?,
        caps: Caps { devices: fields.number_or("cap", 0)?, per_period: fields.number_or("wcap", 0)? },
        ceiling: match item.contains_key("ceiling") {
            true => Some(fields.number("ceiling")?),
            false => None,
        },
        granted: fields.number("granted")?,
        used: fields.number("used")?,
        period: fields.number_or("w", 0)?,
        period_used: fields.number_or("wused", 0)?,
    })
}

pub(super) fn entry_from(item: &Item, bucket: Bucket) -> Stored<ListEntry> {
    let fields = Fields(item);
    Ok(ListEntry {
        device: DeviceId::new(fields.text("sk")?).map_err(StoreError::corrupt)?,
        bucket,
        message: fields.maybe_text("message").map(str::to_string),
        attempts: fields.number("attempts")?,
        at: fields.time("at")?,
        revision: fields.number("rev")?,
    })
}

pub(super) fn position_from(item: &Item) -> Stored<Option<Position>> {
    match item.is_empty() {
        true => Ok(None),
        false => Fields(item).parsed("pos", "a position", Position::parse).map(Some),
    }
}

/// The device whose item, or `device.json`, this is.
pub(super) fn device_of(item: &Item) -> Stored<(ProductId, DeviceId)> {
    let fields = Fields(item);
    let pk = fields.text("pk")?;
    key::parse_device(pk).ok_or_else(|| StoreError::Corrupt(format!("{pk} is not a device").into()))
}

pub(super) fn ids_to(devices: &[DeviceId]) -> AttributeValue {
    AttributeValue::L(devices.iter().map(|device| s(device.as_str())).collect())
}

pub(super) fn ids_from(item: &Item) -> Stored<Vec<DeviceId>> {
    let ids = item.get("ids").and_then(|ids| ids.as_l().ok());
    let ids = ids.ok_or_else(|| Fields(item).corrupt("ids", "a list"))?;
    Ok(ids.iter().filter_map(|id| DeviceId::new(id.as_s().ok()?).ok()).collect())
}

pub(super) fn due_page_from(item: &Item) -> Stored<DuePage> {
    Ok(DuePage { name: Fields(item).text("sk")?.to_string(), devices: ids_from(item)? })
}

pub(super) fn audit_to(product: &ProductId, entry: &AuditEntry) -> Item {
    let mut item = key::audit(product, entry);
    item.extend([
        ("at".into(), time(entry.at)),
        ("who".into(), s(&entry.who)),
        ("action".into(), s(&entry.action)),
        ("subject".into(), s(&entry.subject)),
        ("reason".into(), s(&entry.reason)),
        ("generation".into(), n(entry.generation)),
    ]);
    for (field, state) in [("from", entry.from), ("to", entry.to)] {
        if let Some(state) = state {
            item.insert(field.into(), s(state.name()));
        }
    }
    if !entry.changes.is_empty() {
        let changes = serde_json::to_string(&entry.changes).expect("texts and JSON values are JSON");
        item.insert("changes".into(), s(changes));
    }
    item
}

pub(super) fn audit_from(item: &Item) -> Stored<AuditEntry> {
    let fields = Fields(item);
    Ok(AuditEntry {
        at: fields.time("at")?,
        who: fields.text("who")?.into(),
        action: fields.text("action")?.into(),
        subject: fields.text("subject")?.into(),
        from: fields.maybe_text("from").and_then(State::parse),
        to: fields.maybe_text("to").and_then(State::parse),
        reason: fields.text("reason")?.into(),
        generation: fields.number("generation")?,
        changes: match fields.maybe_text("changes") {
            Some(changes) => serde_json::from_str(changes).map_err(StoreError::corrupt)?,
            None => Vec::new(),
        },
    })
}

pub(super) fn event_to(product: &ProductId, event: &Event) -> Item {
    let mut item = key::event(product, &event.position, &event.stream_shard);
    item.extend([
        ("at".into(), time(event.at)),
        ("version".into(), s(event.change.version.to_string())),
        ("to".into(), s(event.change.to.name())),
        ("reason".into(), s(&event.change.reason)),
    ]);
    if let Some(from) = event.change.from {
        item.insert("from".into(), s(from.name()));
    }
    item
}

pub(super) fn series_to(rollout: &RolloutKey, point: &SeriesPoint) -> Item {
    let mut item = key::series_point(rollout, point.at);
    item.extend([
        ("at".into(), time(point.at)),
        ("offered".into(), n(point.offered)),
        ("in_flight".into(), n(point.in_flight)),
        ("proved".into(), n(point.proved)),
        ("failed".into(), n(point.failed)),
        ("reverted".into(), n(point.reverted)),
        ("lost".into(), n(point.lost)),
    ]);
    item
}

pub(super) fn series_from(item: &Item) -> Stored<SeriesPoint> {
    let fields = Fields(item);
    Ok(SeriesPoint {
        at: fields.time("at")?,
        offered: fields.number("offered")?,
        in_flight: fields.number("in_flight")?,
        proved: fields.number("proved")?,
        failed: fields.number("failed")?,
        reverted: fields.number("reverted")?,
        lost: fields.number("lost")?,
    })
}
