//! Items of updates: the definition, the campaigns, and a change that is under way.

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::breaker::Breaker;
use tidegate_core::cohort::Cohort;
use tidegate_core::control_group::ControlGroup;
use tidegate_core::gate::{ChannelName, Control, HeldFor};
use tidegate_core::limits::Allocation;
use tidegate_core::phase::Begun;
use tidegate_core::update::{StoredObject, Test};
use tidegate_core::{ProductId, State, Transition, UpdateId, Version};

use super::{Fields, Item, SCHEMA, n, s, time};
use crate::record::{Audience, AudienceEdit, Change, OtherName, Reading, UpdateRecord, Wanted};
use crate::store::Stored;

/// The attributes of an update other than its key.
pub(in crate::dynamo) fn update_to(update: &UpdateRecord) -> Item {
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
pub(in crate::dynamo) const SETTLED: &str = "settled";
/// Attribute of an update that was published and deleted: the time.
pub(in crate::dynamo) const DELETED: &str = "deleted";
/// Attribute of such an update while something of its campaigns is left.
pub(in crate::dynamo) const UNREMOVED: &str = "left";

/// Returns true if an update was deleted.
pub(in crate::dynamo) fn is_deleted(item: &Item) -> bool {
    item.contains_key(DELETED)
}

/// Attributes that are known when an activation is wanted: the verified objects of the files, and whether newcomers have a
/// share of their own.
pub(in crate::dynamo) const ACTIVATION_ATTRIBUTES: [&str; 4] =
    ["object_versions", "object_sha1", "object_md5", NEWCOMERS_SINCE];
pub(in crate::dynamo) const NEWCOMERS_SINCE: &str = "newcomers_since";

/// Attributes of an update that not every update has: a change of the record removes those that it does not set.
pub(in crate::dynamo) const OPTIONAL_ATTRIBUTES: [&str; 24] = [
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

pub(in crate::dynamo) fn reading_to(reading: &Reading) -> AttributeValue {
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

pub(in crate::dynamo) fn audience_to(audience: &Audience) -> AttributeValue {
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
