//! Units that requests cost, counted by partition key.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::time::Instant;

use super::table::{Item, ItemKey, Table};

const WRITE_UNIT_BYTES: usize = 1_024;

/// A partition key of the table or of an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// Name of the index; none for the table.
    pub index: Option<String>,
    /// The key.
    pub key: String,
}

/// Units of one partition key.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Meter {
    /// All units.
    pub total: f64,
    /// Most units of one second.
    pub busiest_second: f64,
    second: u64,
    in_second: f64,
}

/// Units that requests have cost, by partition key. A request that was refused for a conflict or for too much
/// throughput costs nothing; one whose condition failed costs what AWS takes for it.
#[derive(Debug, Clone, Default)]
pub struct Units {
    /// Write units.
    pub writes: BTreeMap<Partition, Meter>,
    /// Read units.
    pub reads: BTreeMap<Partition, Meter>,
}

impl Units {
    /// All write units.
    #[must_use]
    pub fn written(&self) -> f64 {
        total(&self.writes)
    }

    /// All read units.
    #[must_use]
    pub fn read(&self) -> f64 {
        total(&self.reads)
    }

    /// The key with the most write units, of those that `counts` accepts.
    pub fn hottest_write(&self, counts: impl Fn(&Partition) -> bool) -> Option<(&Partition, &Meter)> {
        let counted = self.writes.iter().filter(|(partition, _)| counts(partition));
        counted.max_by(|(_, one), (_, other)| one.total.total_cmp(&other.total))
    }
}

/// Units that one request costs one partition key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Charge {
    /// The partition key.
    pub(super) partition: Partition,
    /// The units.
    pub(super) units: f64,
}

/// One item before and after a write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The item.
    pub(super) key: ItemKey,
    /// Before.
    pub(super) old: Option<Item>,
    /// After. The same as before if the condition failed.
    pub(super) new: Option<Item>,
}

fn total(meters: &BTreeMap<Partition, Meter>) -> f64 {
    // Not `sum`: that of no number is -0, which looks wrong in a table.
    meters.values().fold(0.0, |total, meter| total + meter.total)
}

/// Adds charges to meters. The seconds begin at `start`.
pub(super) fn meter(meters: &mut BTreeMap<Partition, Meter>, charges: &[Charge], start: Instant, now: Instant) {
    let second = now.duration_since(start).as_secs();
    for charge in charges {
        let meter = meters.entry(charge.partition.clone()).or_default();
        if meter.second != second {
            meter.second = second;
            meter.in_second = 0.0;
        }
        meter.total += charge.units;
        meter.in_second += charge.units;
        meter.busiest_second = meter.busiest_second.max(meter.in_second);
    }
}

/// Units that the write of one item costs the table and its indexes. In a transaction the table's part doubles, the
/// indexes' part does not.
pub(super) fn write_charges(table: &Table, change: &Change, together: bool) -> Vec<Charge> {
    let larger = change.old.iter().chain(&change.new).map(size_bytes).max().unwrap_or(0);
    let of_table = units_of(larger) * if together { 2.0 } else { 1.0 };
    let partition = Partition { index: None, key: change.key.hash.clone() };
    let mut charges = vec![Charge { partition, units: of_table }];
    for index in &table.indexes {
        let entry = |item: &Option<Item>| item.as_ref().and_then(|item| index.entry(item));
        let mut charge = |entry: &Item, units| {
            let key = entry[&index.hash]["S"].as_str().unwrap_or_default().to_owned();
            charges.push(Charge { partition: Partition { index: Some(index.name.clone()), key }, units });
        };
        match (entry(&change.old), entry(&change.new)) {
            (Some(old), Some(new)) if index.same_key(&old, &new) => {
                if old != new {
                    charge(&new, units_of(size_bytes(&old).max(size_bytes(&new))));
                }
            }
            (old, new) => {
                for entry in old.iter().chain(&new) {
                    charge(entry, units_of(size_bytes(entry)));
                }
            }
        }
    }
    charges
}

fn units_of(size_bytes: usize) -> f64 {
    size_bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as f64
}

/// Size of an item as DynamoDB bills it: names and values, 3 bytes for a list or map and 1 for each of its elements.
fn size_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return 0 };
    let text = value.as_str().unwrap_or_default();
    let members = || value.as_array().into_iter().flatten();
    let texts = || members().filter_map(Value::as_str);
    match kind.as_str() {
        "S" => text.len(),
        "N" => number_bytes(text),
        "B" => binary_bytes(text),
        "SS" => texts().map(str::len).sum(),
        "NS" => texts().map(number_bytes).sum(),
        "BS" => texts().map(binary_bytes).sum(),
        "L" => 3 + members().map(|member| 1 + value_bytes(member)).sum::<usize>(),
        "M" => {
            let members = value.as_object().into_iter().flatten();
            3 + members.map(|(name, member)| 1 + name.len() + value_bytes(member)).sum::<usize>()
        }
        _ => 1,
    }
}

/// About one byte for two digits, and one more.
fn number_bytes(text: &str) -> usize {
    let digits = text.trim_start_matches('-').chars().filter(char::is_ascii_digit).count();
    digits.div_ceil(2) + 1 + usize::from(text.starts_with('-'))
}

fn binary_bytes(text: &str) -> usize {
    STANDARD.decode(text).map_or(0, |bytes| bytes.len())
}
