//! The row of a device. A forecast plays a million of them in seconds, so a device without a claim is small.

use tidegate_core::{Claim, Cohort};

/// Occupation of a device beside checking in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Nothing.
    Idle,
    /// It took an offer and will report.
    Installing,
    /// It never sends anything again.
    Silent,
    /// The rules will never offer it this update again.
    Rejected,
}

/// Epoch of every claim. No late write meets a claim in a forecast.
pub(crate) const EPOCH: u64 = 1;

/// One device.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The device that checks in after it, in the same second.
    pub(crate) next: u32,
    /// The second of its record.
    pub(crate) seen_s: u32,
    /// Its place in the queue.
    pub(crate) cohort: Cohort,
    /// Its attribute group.
    pub(crate) group: u8,
    /// Its occupation beside checking in.
    pub(crate) doing: Doing,
    /// True if it runs the new version.
    pub(crate) is_updated: bool,
    /// Its claim, if it has one.
    pub(crate) claim: Option<Box<Claim>>,
}

impl Row {
    pub(crate) fn new(cohort: Cohort, group: u8) -> Self {
        Self { next: u32::MAX, seen_s: 0, cohort, group, doing: Doing::Idle, is_updated: false, claim: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_24_bytes() {
        assert_eq!(size_of::<Row>(), 24);
    }
}
