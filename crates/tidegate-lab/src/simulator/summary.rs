//! The summary of a simulation: how often everything happened.

use std::collections::BTreeMap;
use std::fmt;

use crate::simulator::fault::Fault;
use crate::simulator::invariant::Invariant;
use crate::simulator::speech::Speech;

/// Counts of everything that happened.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Seeds, each a fleet of its own.
    pub seeds: u64,
    /// Check-ins that were sent.
    pub check_ins: u64,
    /// Answers with an update.
    pub offers: u64,
    /// Answers without one.
    pub denials: u64,
    /// Answers that the store is down.
    pub unavailable: u64,
    /// Reports and other messages that were sent.
    pub reports: u64,
    /// Messages by wire format.
    pub messages: BTreeMap<Speech, u64>,
    /// Calls of operators.
    pub operations: u64,
    /// Sweeps.
    pub sweeps: u64,
    /// Batches of the stream, as often as they were delivered.
    pub batches: u64,
    /// Calls of the store.
    pub store_calls: u64,
    /// Injected faults, by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Checks, by invariant.
    pub checked: BTreeMap<Invariant, u64>,
}

impl Summary {
    /// Adds another summary, of other seeds.
    pub fn add(&mut self, other: &Summary) {
        self.seeds += other.seeds;
        self.check_ins += other.check_ins;
        self.offers += other.offers;
        self.denials += other.denials;
        self.unavailable += other.unavailable;
        self.reports += other.reports;
        self.operations += other.operations;
        self.sweeps += other.sweeps;
        self.batches += other.batches;
        self.store_calls += other.store_calls;
        for (speech, count) in &other.messages {
            *self.messages.entry(*speech).or_default() += count;
        }
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (invariant, count) in &other.checked {
            *self.checked.entry(*invariant).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.faults.values().sum::<u64>();
        let checks = self.checked.values().sum::<u64>();
        writeln!(f, "{:>12}  seeds", self.seeds)?;
        writeln!(
            f,
            "{:>12}  check-ins: {} offers, {} without one, {} while the store was down",
            self.check_ins, self.offers, self.denials, self.unavailable
        )?;
        writeln!(f, "{:>12}  reports and other messages", self.reports)?;
        for (speech, count) in &self.messages {
            writeln!(f, "{count:>16}  messages of devices over {speech}")?;
        }
        writeln!(f, "{:>12}  calls of operators", self.operations)?;
        writeln!(f, "{:>12}  sweeps", self.sweeps)?;
        writeln!(f, "{:>12}  batches of the stream", self.batches)?;
        writeln!(f, "{:>12}  calls of the store", self.store_calls)?;
        writeln!(f, "{faults:>12}  faults")?;
        for (fault, count) in &self.faults {
            writeln!(f, "{count:>16}  {fault}")?;
        }
        writeln!(f, "{checks:>12}  checks, 0 violations")?;
        for (invariant, count) in &self.checked {
            writeln!(f, "{count:>16}  {invariant}")?;
        }
        Ok(())
    }
}
