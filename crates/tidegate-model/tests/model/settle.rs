//! Settlement: the end of a reservation by a report, by a check-in with the new version, or by the sweep.

use tidegate_core::claim::CountDelta;
use tidegate_core::status::StatusEffect;

use super::design::Guard;
use super::rows::{Claim, End, moment};
use super::{Reply, Rollout, Task, World};

/// `Claim::settle` for a report (`tidegate_engine::report`) and for a check-in with the new version
/// (`CheckIns::settle_installed_claims`); `Claim::expire` for the sweep, whose clock is one tick ahead
/// (`tidegate_engine::sweep`).
pub(crate) fn settled(claim: &Claim, end: End, clock: u8) -> Option<(Claim, CountDelta)> {
    let claim = claim.to_core();
    let (after, delta) = match end {
        End::Success => claim.settle(StatusEffect::Succeeded),
        End::Failure => claim.settle(StatusEffect::Failed),
        End::Silence => claim.expire(moment(clock + 1)),
    }?;
    Some((Claim::from_core(&after), delta))
}

impl World {
    /// Reads the claim. A report reads strongly and a check-in does not. Here there is no difference, because any step may
    /// happen before the write.
    pub(crate) fn begin_settling(&mut self, device: u8, end: End) {
        let before = self.claims[usize::from(device)].expect("only a device with a claim is settled");
        self.begin(device, Task::Settle { before, end });
    }
}

impl Rollout {
    /// `dynamo::settle::settle`: claim and shard, both or neither. After a conflict `report` reads again; in the model that
    /// is a new report.
    pub(crate) fn settle(&self, world: &mut World, device: u8, before: &Claim, end: End, reply: Reply) -> Option<Task> {
        let claim = &mut world.claims[usize::from(device)];
        if self.design.keeps(Guard::SettledClaimIsAsRead) {
            if !before.is_still(*claim) {
                return None;
            }
            assert_eq!(*claim, Some(*before), "epoch and state identify the claim");
        }
        // The time of the write does not matter: the sweep decided at the time of its read.
        let (after, delta) = settled(before, end, before.expires.max(world.clock))?;
        *claim = Some(after);
        world.shards[usize::from(before.shard)].moves(delta);
        match reply {
            Reply::Arrives => None,
            Reply::IsLost => Some(Task::Settle { before: *before, end }),
        }
    }
}
