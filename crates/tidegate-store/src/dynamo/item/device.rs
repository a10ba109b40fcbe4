//! Items of devices: claims, tokens, questions and orders.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::life::retry::History;
use tidegate_core::life::{Bucket, Left, Life as ClaimLife, State as Life};
use tidegate_core::orders::Orders;
use tidegate_core::question::{Question, Questions, Reply};
use tidegate_core::{Claim, ProductId, UpdateId, Version};

use super::{Fields, Item, n, s, time};
use crate::record::{DeviceRecord, DocDigests, KnownDevice, RolloutKey, Tokens, rollout_name};
use crate::store::{StoreError, Stored};
use crate::stream::{CountedClaim, DeviceImage};

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
pub(in crate::dynamo) fn claim_key(claim: &Claim) -> String {
    rollout_name(&claim.version, claim.campaign)
}

/// A claim in the map of its device.
pub(in crate::dynamo) fn claim_to(claim: &Claim) -> AttributeValue {
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
pub(in crate::dynamo) fn claim_fields(claim: &Claim) -> BTreeMap<&'static str, AttributeValue> {
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
pub(in crate::dynamo) fn known_from(product: &ProductId, item: &Item) -> Stored<KnownDevice> {
    Ok(KnownDevice { record: Some(device_from(item)?), claims: claims_from(product, item), messages: BTreeMap::new() })
}

/// The same of a device whose every claim can be read.
pub(in crate::dynamo) fn wholly_known_from(product: &ProductId, item: &Item) -> Stored<KnownDevice> {
    let known = known_from(product, item)?;
    let claims = item.get("claims").and_then(|claims| claims.as_m().ok()).map_or(0, HashMap::len);
    if known.claims.len() != claims {
        return Err(Fields(item).corrupt("claims", "a map of claims that can be read"));
    }
    Ok(known)
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
pub(in crate::dynamo) fn messages_from(product: &ProductId, item: &Item) -> BTreeMap<UpdateId, String> {
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

pub(in crate::dynamo) fn question_to(question: &Question) -> AttributeValue {
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
pub(in crate::dynamo) fn orders_to(orders: &Orders) -> [(&'static str, Option<AttributeValue>); 4] {
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
