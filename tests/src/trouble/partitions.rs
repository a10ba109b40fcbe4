//! Throughput of one partition key: a bucket that fills at a steady rate.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::units::{Charge, Partition};

/// Greatest throughput of one partition key, of the table or of an index. The default is what AWS gives.
#[derive(Debug, Clone, Copy)]
pub struct PartitionLimits {
    /// Write units a second.
    pub write_units_per_s: f64,
    /// Read units a second.
    pub read_units_per_s: f64,
    /// The billing mode decides how a refusal looks.
    pub billing: Billing,
}

/// Billing mode of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing {
    /// On demand: `ThrottlingException`.
    OnDemand,
    /// Provisioned capacity: `ProvisionedThroughputExceededException`.
    Provisioned,
}

impl Default for PartitionLimits {
    fn default() -> Self {
        Self { write_units_per_s: 1_000.0, read_units_per_s: 3_000.0, billing: Billing::OnDemand }
    }
}

/// What each partition key may still do. A bucket holds one second's worth.
///
/// A request passes while its buckets are above zero, and may leave a debt: DynamoDB does not know beforehand what a
/// request costs either.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    levels: BTreeMap<Partition, Level>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    units: f64,
    at: Instant,
}

impl Buckets {
    /// True if the partition is above zero.
    pub(super) fn has_room(&mut self, partition: &Partition, units_per_s: f64, now: Instant) -> bool {
        let Some(level) = self.levels.get_mut(partition) else { return true };
        level.fill(units_per_s, now);
        level.units > 0.0
    }

    /// Takes what a request cost.
    pub(super) fn take(&mut self, charges: &[Charge], units_per_s: f64, now: Instant) {
        for charge in charges {
            let full = Level { units: units_per_s, at: now };
            let level = self.levels.entry(charge.partition.clone()).or_insert(full);
            level.fill(units_per_s, now);
            level.units -= charge.units;
        }
    }
}

impl Level {
    fn fill(&mut self, units_per_s: f64, now: Instant) {
        let filled = self.units + now.duration_since(self.at).as_secs_f64() * units_per_s;
        self.units = filled.min(units_per_s);
        self.at = now;
    }
}
