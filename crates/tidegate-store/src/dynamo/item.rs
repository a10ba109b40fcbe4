//! Items: conversion between core types and DynamoDB attributes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::breaker::Breaker;
use tidegate_core::cohort::Cohort;
use tidegate_core::control_group::ControlGroup;
use tidegate_core::gate::{ChannelName, Control, HeldFor};
use tidegate_core::life::retry::History;
use tidegate_core::life::{Bucket, Left, Life as ClaimLife, State as Life};
use tidegate_core::limits::{Allocation, Caps};
use tidegate_core::orders::Orders;
use tidegate_core::phase::Begun;
use tidegate_core::question::{Question, Questions, Reply};
use tidegate_core::shard::{Gate, Shard};
use tidegate_core::snapshot;
use tidegate_core::times::Times;
use tidegate_core::update::{StoredObject, Test};
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, Transition, UpdateId, Version};

use super::key;
use crate::metrics::TARGET;
use crate::record::{
    Audience, AudienceEdit, AuditEntry, Change, DeviceRecord, DocDigests, DuePage, Event, Fleet, Head, KnownDevice,
    ListEntry, OtherName, Position, PublishedCatalog, Reading, RolloutKey, SeriesPoint, Tokens, UpdateRecord, Wanted,
    rollout_name,
};
use crate::store::{StoreError, Stored};
use crate::stream::{CountedClaim, DeviceImage};

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

/// The attributes of an update other than its key.
pub(super) fn update_to(update: &UpdateRecord) -> Item {
    let mut item = Item::from([
        ("schema".into(), n(SCHEMA)),
        ("id".into(), s(update.id.as_str())),
        ("product".into(), s(update.product.as_str())),
        ("version".into(), s(update.version.to_string())),
        ("state".into(), s(update.state.name())),
        ("campaign".into(), n(update.campaign)),
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
        item.insert("places".into(), list(&allocation.places));
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
    if update.is_settled {
        item.insert(SETTLED.into(), AttributeValue::Bool(true));
    }
    item.extend(update.deleted_at.map(|at| (DELETED.into(), time(at))));
    if update.is_earlier {
        item.insert("earlier".into(), AttributeValue::Bool(true));
    }
    if update.is_paused_by_stop {
        item.insert("paused_by_stop".into(), AttributeValue::Bool(true));
    }
    let opened = [("opened_at", update.opened_at), ("test_began_at", update.test.began_at)];
    item.extend(opened.into_iter().filter_map(|(field, at)| Some((field.to_string(), time(at?)))));
    if update.test.number > 0 {
        item.insert("test".into(), n(update.test.number));
    }
    if let Some(held_for) = &update.held_for {
        item.extend(held_for_to(held_for));
    }
    if update.lifts > 0 {
        item.insert("lifts".into(), n(update.lifts));
    }
    if update.advanced > 0 {
        item.insert("advanced".into(), n(update.advanced));
    }
    item.extend(update.phase_begun.at.map(|at| ("phase_at".into(), time(at))));
    if update.phase_begun.soaked > 0 {
        item.insert("phase_soaked".into(), n(update.phase_begun.soaked));
    }
    item.extend(breaker_to(&update.breaker));
    if let Some(AudienceEdit { at, before }) = update.audience_edit {
        item.insert("audience_edit".into(), time(at));
        item.extend(before.map(|before| ("audience_before".into(), n(before))));
    }
    item.extend(update.newcomers_since.map(|since| ("newcomers_since".into(), time(since))));
    if let Some(group) = &update.control_group {
        item.insert("control_group".into(), AttributeValue::M(control_group_to(group)));
    }
    if let Some(wanted) = &update.wanted {
        item.insert("wanted".into(), wanted_to(wanted));
    }
    item
}

/// Attribute of a campaign whose counts are final.
pub(super) const SETTLED: &str = "settled";
/// Attribute of an update that was published and deleted: the time.
pub(super) const DELETED: &str = "deleted";
/// Attribute of such an update while something of its campaigns is left.
pub(super) const UNREMOVED: &str = "left";

/// Returns true if an update was deleted.
pub(super) fn is_deleted(item: &Item) -> bool {
    item.contains_key(DELETED)
}

/// Attributes that are known when an activation is wanted: the verified objects of the files, and whether newcomers have a
/// share of their own.
pub(super) const ACTIVATION_ATTRIBUTES: [&str; 4] = ["object_versions", "object_sha1", "object_md5", NEWCOMERS_SINCE];
pub(super) const NEWCOMERS_SINCE: &str = "newcomers_since";

/// Attributes of an update that not every update has: a change of the record removes those that it does not set.
pub(super) const OPTIONAL_ATTRIBUTES: [&str; 24] = [
    "audience_edit",
    "audience_before",
    NEWCOMERS_SINCE,
    "waits",
    "not_before",
    "phase_at",
    "phase_soaked",
    "advanced",
    "caps_devices",
    "caps_per_period",
    "places",
    "caps_period",
    "object_versions",
    "object_sha1",
    "object_md5",
    "paused_by_stop",
    "opened_at",
    "test",
    "test_began_at",
    "held_for",
    "held_bad",
    "lifts",
    "control_group",
    "wanted",
];

pub(crate) fn update_from(item: &Item) -> Stored<UpdateRecord> {
    let fields = Fields(item);
    fields.must_be_known()?;
    let allocation = match item.contains_key("caps_devices") {
        true => Some(Allocation {
            devices: fields.numbers("caps_devices")?,
            per_period: fields.numbers("caps_per_period")?,
            places: fields.numbers("places")?,
            period: fields.number_or("caps_period", 0)?,
        }),
        false => None,
    };
    Ok(UpdateRecord {
        id: fields.parsed("id", "an update id", |text| UpdateId::new(text).ok())?,
        product: fields.parsed("product", "a product id", |text| ProductId::new(text).ok())?,
        version: fields.parsed("version", "a version", |text| Version::parse(text).ok())?,
        campaign: fields.number("campaign")?,
        is_earlier: fields.flag("earlier"),
        state: fields.parsed("state", "a state", State::parse)?,
        generation: fields.number("generation")?,
        definition: fields.text("definition")?.to_string(),
        allocation,
        objects: objects_from(item),
        reason: fields.maybe_text("reason").unwrap_or_default().to_string(),
        is_paused_by_stop: fields.flag("paused_by_stop"),
        opened_at: fields.maybe_time("opened_at")?,
        test: Test { number: fields.number_or("test", 0)?, began_at: fields.maybe_time("test_began_at")? },
        held_for: item.contains_key("held_for").then(|| held_for_from(item)).transpose()?,
        lifts: fields.number_or("lifts", 0)?,
        advanced: fields.number_or("advanced", 0)?,
        phase_begun: Begun { at: fields.maybe_time("phase_at")?, soaked: fields.number_or("phase_soaked", 0)? },
        control_group: map(item, "control_group").map(control_group_from).transpose()?,
        breaker: breaker_from(&fields)?,
        audience_edit: match fields.maybe_time("audience_edit")? {
            Some(at) => Some(AudienceEdit { at, before: fields.maybe_number("audience_before")? }),
            None => None,
        },
        newcomers_since: fields.maybe_time("newcomers_since")?,
        reading: map(item, "reading").map(reading_from).transpose()?,
        audience: map(item, "audience").map(audience_from).transpose()?,
        wanted: match item.get("wanted").and_then(|wanted| wanted.as_m().ok()) {
            Some(wanted) => Some(wanted_from(wanted)?),
            None => None,
        },
        uncounted: fields.number_or("uncounted", 0)?,
        is_settled: fields.flag(SETTLED),
        deleted_at: fields.maybe_time(DELETED)?,
        created_at: fields.time("created_at")?,
        changed_at: fields.time("changed_at")?,
    })
}

/// An attribute that is a map.
fn map<'a>(item: &'a Item, field: &str) -> Option<&'a Item> {
    item.get(field)?.as_m().ok()
}

fn breaker_to(breaker: &Breaker) -> Item {
    let mut item = Item::new();
    if breaker.waits > 0 {
        item.insert("waits".into(), n(breaker.waits));
    }
    item.extend(breaker.not_before.map(|not_before| ("not_before".into(), time(not_before))));
    item
}

fn breaker_from(fields: &Fields<'_>) -> Stored<Breaker> {
    Ok(Breaker { waits: fields.number_or("waits", 0)?, not_before: fields.maybe_time("not_before")? })
}

fn control_group_to(group: &ControlGroup) -> Item {
    Item::from([
        ("from".into(), n(group.from.place())),
        ("since".into(), time(group.since)),
        ("over".into(), AttributeValue::Bool(group.is_over)),
    ])
}

fn control_group_from(item: &Item) -> Stored<ControlGroup> {
    let fields = Fields(item);
    let from = Cohort::at(fields.number("from")?).ok_or_else(|| fields.corrupt("from", "a place of a queue"))?;
    Ok(ControlGroup { from, since: fields.time("since")?, is_over: fields.flag("over") })
}

pub(super) fn reading_to(reading: &Reading) -> AttributeValue {
    AttributeValue::M(Item::from([
        ("overdue".into(), n(reading.control.overdue)),
        ("members".into(), n(reading.control.members)),
        ("at".into(), time(reading.at)),
    ]))
}

fn reading_from(item: &Item) -> Stored<Reading> {
    let fields = Fields(item);
    let control = Control { overdue: fields.number("overdue")?, members: fields.number("members")? };
    Ok(Reading { control, at: fields.time("at")? })
}

pub(super) fn audience_to(audience: &Audience) -> AttributeValue {
    let mut item = Item::from([
        ("size".into(), n(audience.size)),
        ("newcomers".into(), n(audience.newcomers)),
        ("reached".into(), n(audience.reached)),
        ("left".into(), n(audience.left)),
        ("waiting".into(), n(audience.waiting)),
        ("unfinished".into(), n(audience.unfinished)),
        ("asked".into(), n(audience.asked)),
        ("refused".into(), n(audience.refused)),
        ("unchanged".into(), time(audience.unchanged_since)),
        ("at".into(), time(audience.at)),
    ]);
    item.extend(audience.served_since.map(|since| ("served".into(), time(since))));
    if let Some(OtherName { text, devices }) = &audience.other_name {
        item.insert("other_name".into(), s(text));
        item.insert("named".into(), n(*devices));
    }
    AttributeValue::M(item)
}

fn audience_from(item: &Item) -> Stored<Audience> {
    let fields = Fields(item);
    Ok(Audience {
        size: fields.number("size")?,
        newcomers: fields.number_or("newcomers", 0)?,
        reached: fields.number("reached")?,
        left: fields.number("left")?,
        waiting: fields.number("waiting")?,
        unfinished: fields.number("unfinished")?,
        asked: fields.number_or("asked", 0)?,
        refused: fields.number_or("refused", 0)?,
        other_name: match fields.maybe_text("other_name") {
            Some(text) => Some(OtherName { text: text.to_string(), devices: fields.number("named")? }),
            None => None,
        },
        served_since: fields.maybe_time("served")?,
        unchanged_since: fields.time("unchanged")?,
        at: fields.time("at")?,
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

const LIVES: [(Life, &str); 11] = [
    (Life::Open, "O"),
    (Life::Installed, "I"),
    (Life::Proved, "P"),
    (Life::Closed, "C"),
    (Life::Failed, "F"),
    (Life::Reverted, "R"),
    (Life::Lost, "L"),
    (Life::TransferFailed, "T"),
    (Life::Declined, "D"),
    (Life::NotTaken, "N"),
    (Life::Left, "W"),
];

const LEFT: [(Left, &str); 5] = [
    (Left::ThirdVersion, "3"),
    (Left::GivenBack, "G"),
    (Left::CalledBack, "C"),
    (Left::ClonedId, "D"),
    (Left::CameBackLate, "L"),
];

fn code<T: PartialEq>(codes: &[(T, &'static str)], value: &T) -> AttributeValue {
    s(codes.iter().find(|(known, _)| known == value).map_or("", |(_, code)| *code))
}

fn coded<T: Copy>(codes: &[(T, &str)], text: &str) -> Option<T> {
    codes.iter().find(|(_, code)| *code == text).map(|(value, _)| *value)
}

/// Key of a claim in the map of a device.
pub(super) fn claim_key(claim: &Claim) -> String {
    rollout_name(&claim.version, claim.campaign)
}

/// A claim in the map of its device.
pub(super) fn claim_to(claim: &Claim) -> AttributeValue {
    AttributeValue::M(claim_fields(claim).into_iter().map(|(field, value)| (field.to_string(), value)).collect())
}

/// The fields of a claim. Their names are short, because a device's item should stay below 1 KB:
///
/// `v` version, if it has build metadata · `s` state · `b` bucket · `pl` holds a place · `sh` shard · `cn` number of the count · `e` epoch ·
/// `r` revision · `a` attempts · `t` test · `h` hour · `w` version before · `x` what the image says · `ga` granted · `ia` installed ·
/// `fs` first sign · `ea` ended · `lf` state before it was lost · `la` lost · `lw` why it left · `oo` old version once · `so` soaked ·
/// `ma` mature · `br` proved by report · `nw` newcomer · `fa` failures · `tf` transfers failed · `dn` declined · `re` came back · `ra` try again from ·
/// `co` consented · and of the last
/// report `st` status, `p` progress, `m` message
pub(super) fn claim_fields(claim: &Claim) -> BTreeMap<&'static str, AttributeValue> {
    let life = &claim.life;
    let mut fields = BTreeMap::from([
        ("s", code(&LIVES, &life.state)),
        ("sh", n(claim.shard)),
        ("e", n(claim.epoch)),
        ("r", n(claim.revision)),
        ("a", n(claim.attempts)),
        ("h", n(claim.hour)),
        ("w", s(&claim.was)),
        ("ga", time(life.granted_at)),
    ]);
    let flags = [
        ("pl", life.holds_place),
        ("oo", life.old_once),
        ("so", life.soaked),
        ("ma", life.mature),
        ("br", life.by_report),
        ("nw", claim.is_newcomer),
    ];
    fields
        .extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| (field, AttributeValue::Bool(true))));
    let times = [
        ("ia", life.installed_at),
        ("fs", life.first_sign),
        ("la", life.lost_at),
        ("ea", claim.ended_at),
        ("ra", claim.retry_at),
    ];
    fields.extend(times.into_iter().filter_map(|(field, at)| Some((field, time(at?)))));
    let numbers = [
        ("cn", claim.count),
        ("t", u32::from(claim.test)),
        ("tf", claim.history.transfers_failed),
        ("dn", claim.history.declined),
    ];
    fields.extend(numbers.into_iter().filter(|(_, number)| *number > 0).map(|(field, number)| (field, n(number))));
    for (field, times) in [("fa", &claim.history.failed_at), ("re", &claim.history.reentered_at)] {
        if !times.is_empty() {
            fields.insert(field, AttributeValue::L(times.iter().map(|at| time(*at)).collect()));
        }
    }
    if !claim.reports_as.is_empty() {
        fields.insert("x", AttributeValue::L(claim.reports_as.iter().map(s).collect()));
    }
    if !claim.version.build.is_empty() {
        fields.insert("v", s(claim.version.to_string()));
    }
    fields.extend(life.bucket.map(|bucket| ("b", s(bucket.name()))));
    fields.extend(life.lost_from.map(|state| ("lf", code(&LIVES, &state))));
    fields.extend(life.left.map(|left| ("lw", code(&LEFT, &left))));
    fields
}

fn claim_from(key: &str, item: &Item) -> Stored<Claim> {
    let fields = Fields(item);
    let state = |text: &str| coded(&LIVES, text);
    let corrupt = || fields.corrupt("claims", "the name of a rollout");
    let (version, campaign) = RolloutKey::parse_name(key).ok_or_else(corrupt)?;
    let version = fields.maybe_parsed("v", "a version", |text| Version::parse(text).ok())?.unwrap_or(version);
    let life = ClaimLife {
        state: fields.parsed("s", "a claim's state", state)?,
        bucket: fields
            .maybe_parsed("b", "a bucket", |text| Bucket::ALL.into_iter().find(|bucket| bucket.name() == text))?,
        holds_place: fields.flag("pl"),
        granted_at: fields.time("ga")?,
        installed_at: fields.maybe_time("ia")?,
        first_sign: fields.maybe_time("fs")?,
        lost_from: fields.maybe_parsed("lf", "a claim's state", state)?,
        lost_at: fields.maybe_time("la")?,
        left: fields.maybe_parsed("lw", "a reason", |text| coded(&LEFT, text))?,
        old_once: fields.flag("oo"),
        soaked: fields.flag("so"),
        mature: fields.flag("ma"),
        by_report: fields.flag("br"),
    };
    Ok(Claim {
        version,
        campaign,
        life,
        shard: fields.number("sh")?,
        count: fields.number_or("cn", 0)?,
        epoch: fields.number("e")?,
        revision: fields.number("r")?,
        attempts: fields.number("a")?,
        test: fields.number_or("t", 0)?,
        hour: fields.number("h")?,
        is_newcomer: fields.flag("nw"),
        was: fields.text("w")?.to_string(),
        reports_as: fields.texts("x")?,
        ended_at: fields.maybe_time("ea")?,
        history: History {
            failed_at: fields.times("fa")?,
            transfers_failed: fields.number_or("tf", 0)?,
            declined: fields.number_or("dn", 0)?,
            reentered_at: fields.times("re")?,
        },
        retry_at: fields.maybe_time("ra")?,
    })
}

/// A device's item, as the stream and the reads give it.
pub(super) fn known_from(product: &ProductId, item: &Item) -> Stored<KnownDevice> {
    Ok(KnownDevice { record: Some(device_from(item)?), claims: claims_from(product, item), messages: BTreeMap::new() })
}

/// The claims in a device's item. An unreadable claim is logged; it keeps its device from this update only.
#[allow(clippy::disallowed_methods, reason = "the result is sorted")]
fn claims_from(product: &ProductId, item: &Item) -> Vec<(UpdateId, Claim)> {
    let claims = item.get("claims").and_then(|claims| claims.as_m().ok()).into_iter();
    let mut readable = claims
        .flat_map(HashMap::iter)
        .filter_map(|(key, claim)| {
            let claim = claim.as_m().map_err(|_| Fields(item).corrupt("claims", "a map of claims"));
            let claim = claim.and_then(|claim| claim_from(key, claim));
            let claim = claim.inspect_err(|error| tracing::error!(%error, "record_skipped")).ok()?;
            Some((UpdateId::of(product, &claim.version, claim.campaign), claim))
        })
        .collect::<Vec<_>>();
    // The order of a map differs from read to read.
    readable.sort_by(|(one, _), (other, _)| one.cmp(other));
    readable
}

/// The messages of the device's last reports.
pub(super) fn messages_from(product: &ProductId, item: &Item) -> BTreeMap<UpdateId, String> {
    let claims = item.get("claims").and_then(|claims| claims.as_m().ok());
    let claims = claims.into_iter().flatten().filter_map(|(key, claim)| {
        let claim = claim.as_m().ok()?;
        let fields = Fields(claim);
        let message = fields.maybe_text("m")?.to_string();
        let claimed = claim_from(key, claim).ok()?;
        Some((UpdateId::of(product, &claimed.version, claimed.campaign), message))
    });
    claims.collect()
}

/// The part of a device's item that is counted. An unreadable claim is an error: it cannot be counted.
pub(crate) fn image_from(item: &Item) -> Stored<DeviceImage> {
    let fields = Fields(item);
    let corrupt = || fields.corrupt("claims", "a map of claims");
    let mut claims = BTreeMap::new();
    if let Some(stored) = item.get("claims") {
        for (key, claim) in stored.as_m().map_err(|_| corrupt())? {
            let claim = claim.as_m().map_err(|_| corrupt())?;
            let message = Fields(claim).maybe_text("m").map(str::to_string);
            claims.insert(key.clone(), CountedClaim { claim: claim_from(key, claim)?, message });
        }
    }
    Ok(DeviceImage { record: device_from(item)?, claims })
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

fn device_from(item: &Item) -> Stored<DeviceRecord> {
    let fields = Fields(item);
    fields.must_be_known()?;
    let stored = match item.contains_key("all") {
        true => Some(DocDigests { all: fields.number("all")?, named: fields.number("named")? }),
        false => None,
    };
    Ok(DeviceRecord {
        revision: fields.number("rev")?,
        version: fields.maybe_text("version").map(str::to_string),
        stored,
        stored_at: fields.time("doc_at").ok(),
        attributes: None,
        first_seen: fields.time("first").ok(),
        last_seen: fields.time("seen").ok(),
        long_gap_s: fields.number_or("gap", 0)?,
        poll_s: fields.maybe_number("poll")?,
        tokens: Tokens { generation: fields.number_or("tok", 0)?, has_own: fields.flag("own") },
        deleted_at: fields.maybe_time("deleted")?,
        orders: orders_from(item)?,
        questions: questions_from(item)?,
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

pub(super) fn question_to(question: &Question) -> AttributeValue {
    let mut item = Item::from([
        ("u".into(), s(question.update.as_str())),
        ("v".into(), s(question.version.to_string())),
        ("at".into(), time(question.asked_at)),
        ("no".into(), n(question.refusals)),
    ]);
    match question.reply {
        Some(Reply::Agreed) => drop(item.insert("yes".into(), AttributeValue::Bool(true))),
        Some(Reply::Refused { at }) => drop(item.insert("no_at".into(), time(at))),
        None => {}
    }
    AttributeValue::M(item)
}

fn questions_from(item: &Item) -> Stored<Questions> {
    let Some(questions) = item.get("ask") else {
        return Ok(Questions::default());
    };
    let corrupt = || Fields(item).corrupt("ask", "a list of maps");
    let questions = questions.as_l().map_err(|_| corrupt())?.iter();
    let questions = questions.map(|question| question_from(question.as_m().map_err(|_| corrupt())?));
    Ok(Questions::new(questions.collect::<Stored<_>>()?))
}

fn question_from(item: &Item) -> Stored<Question> {
    let fields = Fields(item);
    let refused = fields.maybe_time("no_at")?.map(|at| Reply::Refused { at });
    Ok(Question {
        update: UpdateId::new(fields.text("u")?).map_err(StoreError::corrupt)?,
        version: fields.parsed("v", "a version", |text| Version::parse(text).ok())?,
        asked_at: fields.time("at")?,
        reply: if fields.flag("yes") { Some(Reply::Agreed) } else { refused },
        refusals: fields.number("no")?,
    })
}

/// The attributes of orders, each with its value if it has one.
pub(super) fn orders_to(orders: &Orders) -> [(&'static str, Option<AttributeValue>); 4] {
    let tags = orders.tags().map(|(name, value)| (name.to_string(), s(value))).collect::<Item>();
    let assigned = orders.assigned().map(ToString::to_string).collect::<Vec<_>>();
    [
        ("hold", orders.is_on_hold.then_some(AttributeValue::Bool(true))),
        ("pin", orders.pin.as_ref().map(|version| s(version.to_string()))),
        ("tags", (!tags.is_empty()).then_some(AttributeValue::M(tags))),
        ("assigned", (!assigned.is_empty()).then_some(AttributeValue::Ss(assigned))),
    ]
}

#[allow(clippy::disallowed_methods, reason = "the result is sorted")]
fn orders_from(item: &Item) -> Stored<Orders> {
    let fields = Fields(item);
    let version = |text: &str| Version::parse(text).ok();
    let pin = match item.contains_key("pin") {
        true => Some(fields.parsed("pin", "a version", version)?),
        false => None,
    };
    let tags = match item.get("tags") {
        None => Vec::new(),
        Some(tags) => {
            let corrupt = || fields.corrupt("tags", "a map of texts");
            let tags = tags.as_m().map_err(|_| corrupt())?.iter();
            tags.map(|(name, value)| Ok((name.clone(), value.as_s().map_err(|_| corrupt())?.clone())))
                .collect::<Stored<_>>()?
        }
    };
    let assigned = match item.get("assigned") {
        None => Vec::new(),
        Some(assigned) => {
            let corrupt = || fields.corrupt("assigned", "a set of versions");
            let assigned = assigned.as_ss().map_err(|_| corrupt())?.iter();
            assigned.map(|text| version(text).ok_or_else(corrupt)).collect::<Stored<_>>()?
        }
    };
    Ok(Orders::new(item.contains_key("hold"), pin, tags, assigned))
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

fn held_for_to(held_for: &HeldFor) -> [(String, AttributeValue); 2] {
    [("held_for".into(), s(held_for.channel.name())), ("held_bad".into(), n(held_for.bad))]
}

fn held_for_from(item: &Item) -> Stored<HeldFor> {
    let fields = Fields(item);
    let channel = |name: &str| ChannelName::ALL.into_iter().find(|channel| channel.name() == name);
    Ok(HeldFor { channel: fields.parsed("held_for", "a channel", channel)?, bad: fields.number("held_bad")? })
}

/// A change that is under way: `change`; `definition` of an edit; `held_for` and `held_bad` of a hold;
/// `from`, `since` and `over` of a control group; `waits` and `not_before` of a breaker.
fn wanted_to(wanted: &Wanted) -> AttributeValue {
    let mut item = Item::from([
        ("change".into(), s(change_name(&wanted.change))),
        ("gen".into(), n(wanted.generation)),
        ("shards".into(), n(wanted.shards)),
        ("who".into(), s(&wanted.who)),
        ("reason".into(), s(&wanted.reason)),
        ("at".into(), time(wanted.at)),
    ]);
    if let Change::Edit { definition } = &wanted.change {
        item.insert("definition".into(), s(definition));
    }
    if let Change::Hold(held_for) = &wanted.change {
        item.extend(held_for_to(held_for));
    }
    if let Change::ControlGroup(group) = &wanted.change {
        item.extend(control_group_to(group));
    }
    if let Change::Advance(advanced, soaked) = &wanted.change {
        item.insert("advanced".into(), n(advanced));
        item.insert("soaked".into(), n(soaked));
    }
    if let Change::Transfers(breaker) = &wanted.change {
        item.extend(breaker_to(breaker));
    }
    AttributeValue::M(item)
}

fn change_name(change: &Change) -> &'static str {
    match change {
        Change::Transition(transition) => transition.name(),
        Change::Stop => "stop",
        Change::Edit { .. } => "edit",
        Change::Split => "split",
        Change::Hold(_) => "hold",
        Change::Lift => "lift",
        Change::ControlGroup(_) => "control_group",
        Change::Advance(..) => "advance",
        Change::Transfers(_) => "transfers",
        Change::Recount => "recount",
    }
}

fn wanted_from(item: &Item) -> Stored<Wanted> {
    let fields = Fields(item);
    let change = match fields.text("change")? {
        "stop" => Change::Stop,
        "split" => Change::Split,
        "recount" => Change::Recount,
        "lift" => Change::Lift,
        "hold" => Change::Hold(held_for_from(item)?),
        "control_group" => Change::ControlGroup(control_group_from(item)?),
        "transfers" => Change::Transfers(breaker_from(&fields)?),
        "advance" => Change::Advance(fields.number("advanced")?, fields.number("soaked")?),
        "edit" => Change::Edit { definition: fields.text("definition")?.to_string() },
        _ => Change::Transition(fields.parsed("change", "a change", Transition::parse)?),
    };
    Ok(Wanted {
        change,
        generation: fields.number("gen")?,
        shards: fields.number("shards")?,
        who: fields.text("who")?.to_string(),
        reason: fields.text("reason")?.to_string(),
        at: fields.time("at")?,
    })
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
