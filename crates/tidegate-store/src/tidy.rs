//! Rights to remove what no function reads any more, and to add up what does not change any more.

use std::collections::BTreeSet;
use std::future::Future;

use jiff::SignedDuration;
use tidegate_core::{ProductId, Timestamp};

use crate::record::{RolloutKey, UpdateRecord};
use crate::store::{ReadUpdates, Stored};

/// The rollouts of a record whose claims are counted no more: that of a settled campaign, or all of a deleted update.
#[must_use]
pub fn uncounted(record: &UpdateRecord) -> Vec<RolloutKey> {
    let of = |campaign| RolloutKey::of(&record.product, &record.version, campaign);
    match (record.deleted_at, record.is_settled) {
        (Some(_), _) => (1..=record.campaign).map(of).collect(),
        (None, true) => vec![record.rollout()],
        (None, false) => Vec::new(),
    }
}

/// Time beyond `quiet_since` for which the positions of folded tallies are kept. A stream keeps its records for a day.
pub const FOLDED_KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Result of adding up the tallies of stream shards that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folded {
    /// Tallies that are one now.
    pub folded: u64,
    /// Tallies that still stand alone.
    pub left: u64,
    /// Tallies whose records may still come again.
    pub lately: u64,
}

/// Result of removing the images that no update names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TidiedImages {
    /// Images that were hidden: they can be brought back for some time.
    pub hidden: u64,
    /// Images that were hidden and are named again.
    pub shown: u64,
    /// Versions of images that are gone.
    pub removed: u64,
}

/// Removes what no function reads any more.
pub trait TidyStore: ReadUpdates {
    /// Every update of a product with its drafts and earlier campaigns, also if it was deleted.
    ///
    /// # Errors
    /// Also when one record cannot be read: what it names must stay.
    fn every_update(&self, product: &ProductId) -> impl Future<Output = Stored<Vec<UpdateRecord>>> + Send;

    /// The deleted updates of a product of which more is left than their records.
    fn deleted_updates(&self, product: &ProductId) -> impl Future<Output = Stored<Vec<UpdateRecord>>> + Send;

    /// Removes a part of what belongs to a rollout; `true` when nothing is left. The claims in devices stay.
    fn remove_rollout(&self, rollout: &RolloutKey) -> impl Future<Output = Stored<bool>> + Send;

    /// Notes that only the record of a deleted update is left.
    fn end_deletion(&self, deleted: &UpdateRecord) -> impl Future<Output = Stored<()>> + Send;

    /// Adds up tallies over the claims of a rollout that were written last before `quiet_since`, in one transaction. Such a
    /// tally must not change any more: the stream shard that wrote it has ended.
    fn fold_tallies(&self, rollout: &RolloutKey, quiet_since: Timestamp)
    -> impl Future<Output = Stored<Folded>> + Send;

    /// Adds up tallies over the versions of a product's devices, as [`fold_tallies`](Self::fold_tallies) does.
    fn fold_version_tallies(
        &self,
        product: &ProductId,
        quiet_since: Timestamp,
    ) -> impl Future<Output = Stored<Folded>> + Send;

    /// Notes that the counts of a rollout are final. Changes of its claims are not counted from then on.
    fn settle(&self, record: &UpdateRecord) -> impl Future<Output = Stored<()>> + Send;

    /// The rollouts of a product whose claims are counted no more: they are settled, or their update was deleted. One whose
    /// record cannot be read is none of them.
    fn uncounted_rollouts(&self, product: &ProductId) -> impl Future<Output = Stored<BTreeSet<RolloutKey>>> + Send;

    /// Hides the images of a product whose SHA-256 is not in `named`, and removes those that are hidden for long.
    fn tidy_images(
        &self,
        product: &ProductId,
        named: &BTreeSet<String>,
        now: Timestamp,
    ) -> impl Future<Output = Stored<TidiedImages>> + Send;

    /// Notes in the head of a product that it was tidied.
    fn put_tidied(&self, product: &ProductId, now: Timestamp) -> impl Future<Output = Stored<()>> + Send;
}
