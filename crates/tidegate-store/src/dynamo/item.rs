//! Items: conversion between core types and DynamoDB attributes.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::limits::{Allocation, Caps};
use tidegate_core::shard::{Counts, Gate, Shard};
use tidegate_core::status::Outcome;
use tidegate_core::update::StoredObject;
use tidegate_core::{Claim, ClaimState, ProductId, State, Timestamp, UpdateId, Version};

use super::key;
use crate::record::{AuditEntry, ClaimKey, DeviceRecord, Head, PublishedCatalog, SeriesPoint, UpdateRecord};
use crate::store::{StoreError, Stored};

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Stored form of a time: milliseconds since 1970.
pub(super) fn time(at: Timestamp) -> AttributeValue {
    n(at.as_millisecond())
}

/// Reader of the fields of an item. An error names the field that is missing or has the wrong type.
pub(super) struct Fields<'a>(pub(super) &'a Item);

impl Fields<'_> {
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

    pub(super) fn time(&self, field: &str) -> Stored<Timestamp> {
        Timestamp::from_millisecond(self.number(field)?).map_err(|_| self.corrupt(field, "a time"))
    }

    fn flag(&self, field: &str) -> bool {
        self.0.get(field).and_then(|value| value.as_bool().ok()).copied().unwrap_or(false)
    }

    fn parsed<T>(&self, field: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Stored<T> {
        parse(self.text(field)?).ok_or_else(|| self.corrupt(field, what))
    }

    fn numbers(&self, field: &str) -> Stored<Vec<u64>> {
        let corrupt = || self.corrupt(field, "a list of numbers");
        let list = self.0.get(field).and_then(|value| value.as_l().ok()).ok_or_else(corrupt)?;
        list.iter().map(|value| value.as_n().ok().and_then(|number| number.parse().ok()).ok_or_else(corrupt)).collect()
    }

    fn corrupt(&self, field: &str, expected: &str) -> StoreError {
        let part = |name| self.maybe_text(name).unwrap_or("?");
        StoreError::Corrupt(format!("`{field}` of item {} / {} must be {expected}", part("pk"), part("sk")).into())
    }
}

pub(super) fn head_from(item: &Item) -> Stored<Head> {
    let fields = Fields(item);
    Ok(Head {
        revision: fields.number_or("revision", 0)?,
        accepts_product_tokens: fields.flag("accepts_product_tokens"),
        registration_is_open: fields.flag("registration_is_open"),
        version_attribute: fields.maybe_text("version_attribute").map(str::to_string),
        catalog: match fields.maybe_text("catalog_name") {
            Some(name) => {
                Some(PublishedCatalog { revision: fields.number("catalog_revision")?, name: name.to_string() })
            }
            None => None,
        },
    })
}

pub(super) fn update_to(update: &UpdateRecord) -> Item {
    let mut item = key::update(&update.product, &update.version);
    item.extend([
        ("id".into(), s(update.id.as_str())),
        ("product".into(), s(update.product.as_str())),
        ("version".into(), s(update.version.to_string())),
        ("state".into(), s(update.state.name())),
        ("generation".into(), n(update.generation)),
        ("definition".into(), s(&update.definition)),
        ("reason".into(), s(&update.reason)),
        ("created_at".into(), time(update.created_at)),
        ("changed_at".into(), time(update.changed_at)),
    ]);
    if let Some(allocation) = &update.allocation {
        let list = |caps: &[u64]| AttributeValue::L(caps.iter().map(n).collect());
        item.insert("caps_devices".into(), list(&allocation.devices));
        item.insert("caps_per_period".into(), list(&allocation.per_period));
        item.insert("caps_in_flight".into(), list(&allocation.in_flight));
        item.insert("caps_period".into(), n(allocation.period));
    }
    if !update.objects.is_empty() {
        let list = |text: fn(&StoredObject) -> Option<&String>| {
            let value = |object| text(object).map_or(AttributeValue::Null(true), s);
            AttributeValue::L(update.objects.iter().map(value).collect())
        };
        item.insert("object_versions".into(), list(|object| object.version.as_ref()));
        item.insert("object_sha1".into(), list(|object| object.sha1.as_ref()));
        item.insert("object_md5".into(), list(|object| object.md5.as_ref()));
    }
    item
}

pub(super) fn update_from(item: &Item) -> Stored<UpdateRecord> {
    let fields = Fields(item);
    let allocation = match item.contains_key("caps_devices") {
        true => Some(Allocation {
            devices: fields.numbers("caps_devices")?,
            per_period: fields.numbers("caps_per_period")?,
            in_flight: fields.numbers("caps_in_flight")?,
            period: fields.number_or("caps_period", 0)?,
        }),
        false => None,
    };
    Ok(UpdateRecord {
        id: fields.parsed("id", "an update id", |text| UpdateId::new(text).ok())?,
        product: fields.parsed("product", "a product id", |text| ProductId::new(text).ok())?,
        version: fields.parsed("version", "a version", |text| Version::parse(text).ok())?,
        state: fields.parsed("state", "a state", State::parse)?,
        generation: fields.number("generation")?,
        definition: fields.text("definition")?.to_string(),
        allocation,
        objects: objects_from(item),
        reason: fields.maybe_text("reason").unwrap_or_default().to_string(),
        created_at: fields.time("created_at")?,
        changed_at: fields.time("changed_at")?,
    })
}

/// Lists in the order of the files. An older record can lack a list that was added later.
fn objects_from(item: &Item) -> Vec<StoredObject> {
    let list = |field| item.get(field).and_then(|value| value.as_l().ok());
    let (versions, sha1, md5) = (list("object_versions"), list("object_sha1"), list("object_md5"));
    let text = |list: Option<&Vec<AttributeValue>>, index: usize| list?.get(index)?.as_s().ok().cloned();
    let count = versions.map_or(0, Vec::len);
    let object =
        |index| StoredObject { version: text(versions, index), sha1: text(sha1, index), md5: text(md5, index) };
    (0..count).map(object).collect()
}

const CLAIM_STATES: [(ClaimState, &str); 4] = [
    (ClaimState::Reserved, "RESERVED"),
    (ClaimState::Expired, "EXPIRED"),
    (ClaimState::Succeeded, "SUCCEEDED"),
    (ClaimState::Failed, "FAILED"),
];

const OUTCOMES: [(Outcome, &str); 3] =
    [(Outcome::Succeeded, "SUCCEEDED"), (Outcome::Failed, "FAILED"), (Outcome::TimedOut, "TIMED_OUT")];

pub(super) fn claim_state(state: ClaimState) -> &'static str {
    CLAIM_STATES.iter().find(|(known, _)| *known == state).map_or("", |(_, name)| name)
}

pub(super) fn claim_to(key: &ClaimKey, claim: &Claim) -> Item {
    let mut item = key::claim(key);
    item.extend([
        ("version".into(), s(claim.version.to_string())),
        ("state".into(), s(claim_state(claim.state))),
        ("shard".into(), n(claim.shard)),
        ("epoch".into(), n(claim.epoch)),
        ("attempts".into(), n(claim.attempts)),
        ("reserved_at".into(), time(claim.reserved_at)),
        ("expires_at".into(), time(claim.expires_at)),
    ]);
    if let Some((_, name)) = OUTCOMES.iter().find(|(outcome, _)| Some(*outcome) == claim.counted) {
        item.insert("counted".into(), s(*name));
    }
    if claim.backed_out {
        item.insert("backed_out".into(), AttributeValue::Bool(true));
    }
    if claim.consented {
        item.insert("consented".into(), AttributeValue::Bool(true));
    }
    if claim.state == ClaimState::Reserved {
        let (list, place) = key::due(key, claim.expires_at);
        item.insert("index_pk".into(), s(list));
        item.insert("index_sk".into(), s(place));
    }
    item
}

pub(super) fn claim_from(item: &Item) -> Stored<Claim> {
    let fields = Fields(item);
    let state = |text: &str| CLAIM_STATES.iter().find(|(_, name)| *name == text).map(|(state, _)| *state);
    let outcome = |text: &str| OUTCOMES.iter().find(|(_, name)| *name == text).map(|(outcome, _)| *outcome);
    Ok(Claim {
        version: fields.parsed("version", "a version", |text| Version::parse(text).ok())?,
        state: fields.parsed("state", "a claim's state", state)?,
        shard: fields.number("shard")?,
        epoch: fields.number("epoch")?,
        attempts: fields.number("attempts")?,
        reserved_at: fields.time("reserved_at")?,
        expires_at: fields.time("expires_at")?,
        counted: match fields.maybe_text("counted") {
            Some(_) => Some(fields.parsed("counted", "an outcome", outcome)?),
            None => None,
        },
        backed_out: fields.flag("backed_out"),
        consented: fields.flag("consented"),
    })
}

const GATES: [(Gate, &str); 3] = [(Gate::Open, "OPEN"), (Gate::Paused, "PAUSED"), (Gate::Stopped, "STOPPED")];

pub(super) fn gate(gate: Gate) -> &'static str {
    GATES.iter().find(|(known, _)| *known == gate).map_or("", |(_, name)| name)
}

pub(super) fn shard_from(item: &Item) -> Stored<Shard> {
    let fields = Fields(item);
    let gate = |text: &str| GATES.iter().find(|(_, name)| *name == text).map(|(gate, _)| *gate);
    Ok(Shard {
        gate: fields.parsed("gate", "a gate", gate)?,
        generation: fields.number("generation")?,
        caps: Caps {
            devices: fields.number("cap")?,
            per_period: fields.number("period_cap")?,
            in_flight: fields.number("max_in_flight")?,
        },
        counts: Counts {
            used: fields.number("used")?,
            in_flight: fields.number("in_flight")?,
            period: fields.number("period_start")?,
            period_used: fields.number("period_used")?,
            succeeded: fields.number("succeeded")?,
            failed: fields.number("failed")?,
            timed_out: fields.number("timed_out")?,
        },
    })
}

pub(super) fn device_from(item: &Item) -> Stored<DeviceRecord> {
    let fields = Fields(item);
    Ok(DeviceRecord {
        version: fields.maybe_text("version").map(str::to_string),
        attributes: fields.maybe_text("attributes").unwrap_or("{}").to_string(),
        first_seen: fields.time("first_seen").ok(),
        last_seen: fields.time("last_seen").ok(),
        token_generation: fields.number_or("token_generation", 0)?,
    })
}

pub(super) fn audit_to(product: &ProductId, entry: &AuditEntry) -> Item {
    let mut item = key::audit(product, entry.at, &entry.subject, entry.generation);
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
    })
}

pub(super) fn series_to(update: &UpdateId, point: &SeriesPoint) -> Item {
    let mut item = key::series_point(update, point.at);
    item.extend([
        ("at".into(), time(point.at)),
        ("offered".into(), n(point.offered)),
        ("in_flight".into(), n(point.in_flight)),
        ("succeeded".into(), n(point.succeeded)),
        ("failed".into(), n(point.failed)),
        ("timed_out".into(), n(point.timed_out)),
    ]);
    item
}

pub(super) fn series_from(item: &Item) -> Stored<SeriesPoint> {
    let fields = Fields(item);
    Ok(SeriesPoint {
        at: fields.time("at")?,
        offered: fields.number("offered")?,
        in_flight: fields.number("in_flight")?,
        succeeded: fields.number("succeeded")?,
        failed: fields.number("failed")?,
        timed_out: fields.number("timed_out")?,
    })
}
