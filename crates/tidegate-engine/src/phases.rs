//! Phases on evidence: what became of the devices of a campaign, and what its next phase waits for.

use jiff::SignedDuration;
use tidegate_core::cohort::Share;
use tidegate_core::count::Sums;
use tidegate_core::phase::{Lack, Soaking};
use tidegate_core::{Timestamp, Update};
use tidegate_store::record::UpdateRecord;

use crate::control_group;

/// Seconds for which a count of the silent devices serves.
const COUNT_SERVES_S: i64 = 7200;

/// The next phase on evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextPhase {
    /// Its number, from 1.
    pub number: usize,
    /// What it waits for; `None` if it begins now.
    pub lack: Option<Lack>,
    /// What became of the devices so far.
    pub soaking: Soaking,
}

/// The next phase of a campaign; `None` if none begins on evidence.
#[must_use]
pub fn next(record: &UpdateRecord, update: &Update, sums: &Sums, now: Timestamp) -> Option<NextPhase> {
    let (number, advance, shares) = update.rollout.next_on_evidence()?;
    let soaking = soaking(record, shares, sums, now);
    let judgement = control_group::shown(record, update, sums);
    Some(NextPhase { number, lack: advance.lacks(&soaking, &judgement, now), soaking })
}

fn soaking(record: &UpdateRecord, [share, before]: [Share; 2], sums: &Sums, now: Timestamp) -> Soaking {
    let serves = |at: Timestamp| now.duration_since(at) < SignedDuration::from_secs(COUNT_SERVES_S);
    let waiting = record.audience.as_ref().filter(|audience| serves(audience.at)).map(|audience| audience.waiting);
    let admitted = record.audience.as_ref().map(|audience| share.of_beyond(audience.known(), before));
    Soaking::of(sums, waiting, admitted, record.phase_begun)
}
