//! The row of a device, in 20 bytes: a forecast plays a million of them in seconds.

use tidegate_core::status::Outcome;
use tidegate_core::{Claim, ClaimState, Cohort, Version};

use crate::forecast::timetable::moment;

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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The device that checks in after it, in the same second.
    pub(crate) next: u32,
    reserved_s: u32,
    expires_s: u32,
    /// Its place in the queue.
    pub(crate) cohort: Cohort,
    /// Its attribute group.
    pub(crate) group: u8,
    shard: u8,
    /// Offers so far.
    pub(crate) attempts: u8,
    /// State of its claim, if it has one.
    pub(crate) claim: Option<ClaimState>,
    counted: Option<Outcome>,
    /// Its occupation beside checking in.
    pub(crate) doing: Doing,
}

impl Row {
    pub(crate) fn new(cohort: Cohort, group: u8) -> Self {
        Self {
            next: u32::MAX,
            reserved_s: 0,
            expires_s: 0,
            cohort,
            group,
            shard: 0,
            attempts: 0,
            claim: None,
            counted: None,
            doing: Doing::Idle,
        }
    }

    /// The claim as the rules know it. No device backs out of an update in a forecast.
    pub(crate) fn claim(&self, version: &Version, start_s: i64) -> Option<Claim> {
        self.claim.map(|state| Claim {
            version: version.clone(),
            state,
            holds_place: state == ClaimState::Reserved,
            shard: u16::from(self.shard),
            epoch: EPOCH,
            attempts: u32::from(self.attempts),
            reserved_at: moment(start_s + i64::from(self.reserved_s)),
            expires_at: moment(start_s + i64::from(self.expires_s)),
            counted: self.counted,
            backed_out: false,
            consented: false,
        })
    }

    /// Stores the claim that the rules returned.
    pub(crate) fn keep(&mut self, claim: &Claim, start_s: i64) {
        let offset = |moment: tidegate_core::Timestamp| {
            u32::try_from(moment.as_second() - start_s).expect("a play and a claim last months, not a century")
        };
        self.claim = Some(claim.state);
        self.counted = claim.counted;
        self.shard = u8::try_from(claim.shard).expect("a rollout has at most 64 shards");
        self.attempts = u8::try_from(claim.attempts).expect("an update is offered to a device at most 100 times");
        self.reserved_s = offset(claim.reserved_at);
        self.expires_s = offset(claim.expires_at);
    }

    /// True if it runs the new version.
    pub(crate) fn is_updated(&self) -> bool {
        self.claim == Some(ClaimState::Succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::status::StatusEffect;
    use tidegate_core::{DeviceId, ProductId, UpdateId};

    #[test]
    fn a_row_is_20_bytes_and_gives_back_the_claim_that_it_was_given() {
        assert_eq!(size_of::<Row>(), 20);
        let version = Version::new(2, 0, 0);
        let update = UpdateId::of(&ProductId::new("lamp").unwrap(), &version);
        let start_s = 1_772_000_000;
        let mut row = Row::new(Cohort::of(&update, &DeviceId::new("d").unwrap()), 3);
        assert_eq!(row.claim(&version, start_s), None);
        let first = Claim::reserve(&version, 63, EPOCH, moment(start_s + 5), moment(start_s + 86_405));
        let failed = first.settle(StatusEffect::Failed).unwrap();
        let again = failed.reserve_again(63, EPOCH, moment(start_s + 90_000), moment(start_s + 176_400));
        let expired = again.expire(moment(start_s + 200_000)).unwrap();
        for claim in [first, failed, again, expired] {
            row.keep(&claim, start_s);
            assert_eq!(row.claim(&version, start_s), Some(claim));
        }
    }
}
