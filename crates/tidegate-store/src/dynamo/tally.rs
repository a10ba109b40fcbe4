//! Items of tallies: sums over the claims of a rollout.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use tidegate_core::Timestamp;
use tidegate_core::breaker::{Transfer, Transfers};
use tidegate_core::count::{Count, CountedShard, Sample, Sums};

use super::item::{Fields, Item, n, s, time};
use crate::record::Position;
use crate::store::{Stored, VersionCounts};

/// Attribute of a tally of versions.
pub(super) const VERSIONS: &str = "ver";
/// Attribute of the base with the tallies that became a part of it lately: their positions and the times of their last
/// writes, by name.
const FOLDED: &str = "folded";

/// A tally that became a part of the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoldedTally {
    /// The position of its last counted record.
    pub(super) position: Position,
    /// The time of its last write.
    pub(super) at: Timestamp,
}

/// The tallies that became a part of a base lately, by name.
#[allow(clippy::disallowed_methods, reason = "the result is sorted")]
pub(super) fn folded_from(base: &Item) -> Stored<BTreeMap<String, FoldedTally>> {
    let Some(folded) = base.get(FOLDED) else {
        return Ok(BTreeMap::new());
    };
    let corrupt = || Fields(base).corrupt(FOLDED, "a map of positions");
    let folded = folded.as_m().map_err(|_| corrupt())?.iter();
    let folded = folded.map(|(name, folded)| {
        let fields = Fields(folded.as_m().map_err(|_| corrupt())?);
        let position = fields.parsed("pos", "a position", Position::parse)?;
        Ok((name.clone(), FoldedTally { position, at: fields.time("at")? }))
    });
    folded.collect()
}

pub(super) fn folded_to(folded: &BTreeMap<String, FoldedTally>) -> (String, AttributeValue) {
    let item = |folded: &FoldedTally| {
        AttributeValue::M(Item::from([("pos".into(), s(folded.position.as_str())), ("at".into(), time(folded.at))]))
    };
    (FOLDED.into(), AttributeValue::M(folded.iter().map(|(name, folded)| (name.clone(), item(folded))).collect()))
}

/// The tallies that count: without those that the base names. A query that began before they became a part of it may still
/// have read them.
///
/// A stream shard that goes on after its tally became a part of the base begins another one, whose position is later.
pub(super) fn counting(items: &[Item]) -> Stored<impl Iterator<Item = &Item>> {
    let folded = items.last().map(folded_from).transpose()?.unwrap_or_default();
    Ok(items.iter().filter(move |item| {
        let fields = Fields(item);
        let folded = fields.maybe_text("sk").and_then(|name| folded.get(name));
        folded.is_none_or(|folded| fields.maybe_text("pos") != Some(folded.position.as_str()))
    }))
}

pub(super) fn versions_to(counts: &VersionCounts) -> AttributeValue {
    AttributeValue::M(counts.iter().map(|(version, devices)| (version.clone(), n(devices))).collect())
}

/// A sample of the gate as a text: the number of the test, with an `n` if it is of newcomers.
fn sample_to(sample: Sample) -> String {
    let Sample { test, is_newcomers } = sample;
    if is_newcomers { format!("{test}n") } else { test.to_string() }
}

fn sample_from(text: &str) -> Option<Sample> {
    let (test, is_newcomers) = match text.strip_suffix('n') {
        Some(test) => (test, true),
        None => (text, false),
    };
    Some(Sample { test: test.parse().ok()?, is_newcomers })
}

/// The end of a transfer as a number: the second, below zero if it failed.
fn transfer_to(transfer: Transfer) -> AttributeValue {
    let second = transfer.at.as_second();
    n(if transfer.is_ok { second } else { second.saturating_neg() })
}

fn transfers_from(fields: &Fields<'_>) -> Stored<Transfers> {
    let mut transfers = Transfers::default();
    let corrupt = || fields.corrupt("tr", "a list of transfers");
    let list = fields.0.get("tr").map_or(Ok(&[][..]), |list| list.as_l().map(Vec::as_slice).map_err(|_| corrupt()))?;
    for number in list {
        let number = number.as_n().ok().and_then(|number| number.parse::<i64>().ok()).ok_or_else(corrupt)?;
        let at = Timestamp::from_second(number.saturating_abs()).map_err(|_| corrupt())?;
        transfers.add(Transfer { at, is_ok: number > 0 });
    }
    Ok(transfers)
}

pub(super) fn sums_to(sums: &Sums) -> Vec<(&'static str, AttributeValue)> {
    let by_shard = |counts: &BTreeMap<CountedShard, u64>| {
        AttributeValue::M(counts.iter().map(|(shard, number)| (shard_to(*shard), n(number))).collect())
    };
    let by_name = |counts: &BTreeMap<(Sample, &str), i64>| {
        let counts = counts.iter().map(|((sample, name), count)| (format!("{}.{name}", sample_to(*sample)), n(count)));
        AttributeValue::M(counts.collect())
    };
    let by_hour = |counts: &BTreeMap<(Sample, u8), i64>| {
        let counts = counts.iter().map(|((sample, hour), count)| (format!("{}.{hour}", sample_to(*sample)), n(count)));
        AttributeValue::M(counts.collect())
    };
    let devices = sums.devices.iter().map(|((sample, count), devices)| ((*sample, count.name()), *devices)).collect();
    vec![
        ("gr", by_shard(&sums.granted)),
        ("rel", by_shard(&sums.released)),
        ("out", by_name(&devices)),
        ("tb", by_hour(&sums.granted_in)),
        ("lb", by_hour(&sums.lost_in)),
        ("tr", AttributeValue::L(sums.transfers.iter().map(transfer_to).collect())),
    ]
}

pub(super) fn sums_from(item: &Item) -> Stored<Sums> {
    let fields = Fields(item);
    fields.must_be_known()?;
    let count = |name: &str| Count::ALL.iter().copied().find(|count| count.name() == name);
    Ok(Sums {
        granted: by_shard(&fields, "gr")?,
        released: by_shard(&fields, "rel")?,
        devices: by_sample(&fields, "out", count)?,
        granted_in: by_sample(&fields, "tb", |hour| hour.parse().ok())?,
        lost_in: by_sample(&fields, "lb", |hour| hour.parse().ok())?,
        transfers: transfers_from(&fields)?,
    })
}

/// A shard as a text, with the number of the count before it unless it is the first.
fn shard_to(CountedShard { count, shard }: CountedShard) -> String {
    if count == 0 { shard.to_string() } else { format!("{count}.{shard}") }
}

fn by_shard(fields: &Fields<'_>, field: &str) -> Stored<BTreeMap<CountedShard, u64>> {
    let read = |(name, number): (String, u64)| {
        let (count, shard) = name.split_once('.').unwrap_or(("0", &name));
        Some((CountedShard { count: count.parse().ok()?, shard: shard.parse().ok()? }, number))
    };
    let numbers = fields.numbers_by::<String, u64>(field)?.into_iter();
    numbers.map(|named| read(named).ok_or_else(|| fields.corrupt(field, "a map of numbers by shard"))).collect()
}

/// Numbers by a sample of the gate and something else, such as devices by count.
fn by_sample<K: Ord>(
    fields: &Fields<'_>,
    field: &str,
    key: impl Fn(&str) -> Option<K>,
) -> Stored<BTreeMap<(Sample, K), i64>> {
    let numbers = fields.numbers_by::<String, i64>(field)?.into_iter();
    let read = |(name, number): (String, i64)| {
        let (sample, rest) = name.split_once('.')?;
        Some(((sample_from(sample)?, key(rest)?), number))
    };
    numbers.map(|named| read(named).ok_or_else(|| fields.corrupt(field, "a map of numbers by sample"))).collect()
}
