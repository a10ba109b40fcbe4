//! Once a day the sweep tidies a product: it removes what is left of deleted updates, adds up the tallies of stream shards
//! that have ended, and removes the images that no update names.
//!
//! A fleet also outlives its campaigns: a device keeps its newest claims only. Others are dropped once nothing counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use tidegate_core::cadence::DAY_S;
use tidegate_core::{Claim, DeviceId, ProductId, Timestamp};
use tidegate_store::record::{Change, DeviceWrite, Head, KnownDevice, RolloutKey};
use tidegate_store::store::Stored;
use tidegate_store::tidy::uncounted;
use tidegate_store::{StoreError, SweepStore};
use tidegate_wire::definition::Definition;
use tokio::time::Instant;

/// Seconds after its last write in which a tally can still change: a stream keeps a record for 24 hours.
const TALLY_CHANGES_FOR_S: i64 = 25 * 3600;
/// Seconds after its end in which a campaign is counted. Devices that were switched off may come back until then.
const COUNTED_FOR_S: i64 = 30 * DAY_S;
/// Claims that a device keeps, whatever has become of their campaigns: with them and four tags its item is below 1 KB.
const KEPT_CLAIMS: usize = 3;
/// Devices that are written at a time.
const WRITTEN_AT_A_TIME: usize = 64;

/// Returns true if a product was not tidied for a day.
pub(crate) fn is_due(head: &Head, now: Timestamp) -> bool {
    head.tidied_at.is_none_or(|at| now.duration_since(at) >= SignedDuration::from_secs(DAY_S))
}

/// Tidies a product. If the time is over before the end, the next sweep goes on.
///
/// # Errors
/// When the store cannot be reached.
pub(crate) async fn tidy(
    store: &impl SweepStore,
    product: &ProductId,
    started: Instant,
    longest: Duration,
    now: Timestamp,
) -> Stored<()> {
    let is_over = || started.elapsed() > longest;
    for deleted in store.deleted_updates(product).await? {
        for rollout in uncounted(&deleted) {
            while !store.remove_rollout(&rollout).await? {
                if is_over() {
                    return Ok(());
                }
            }
        }
        store.end_deletion(&deleted).await?;
    }
    let quiet_since = before(now, TALLY_CHANGES_FOR_S);
    store.fold_version_tallies(product, quiet_since).await?;
    for record in
        store.updates(product).await?.iter().filter(|record| record.allocation.is_some() && !record.is_settled)
    {
        if is_over() {
            return Ok(());
        }
        let rollout = record.rollout();
        let folded = store.fold_tallies(&rollout, quiet_since).await?;
        let is_long_ago = record.changed_at < before(now, COUNTED_FOR_S);
        let is_quiet = folded.left == 0 && folded.lately == 0;
        let has_ended = record.is_earlier || record.state.may_reopen();
        if has_ended && is_long_ago && is_quiet && store.watched_until(&rollout).await?.is_none() {
            store.settle(record).await?;
        }
    }
    match images_named(store, product).await {
        Ok(named) => {
            let tidied = store.tidy_images(product, &named, now).await?;
            tracing::info!(%product, images_hidden = tidied.hidden, images_removed = tidied.removed, "product_tidied");
        }
        // What it names is not known, so every image stays.
        Err(StoreError::Corrupt(error)) => tracing::error!(%product, %error, "images_not_tidied"),
        Err(error) => return Err(error),
    }
    store.put_tidied(product, now).await
}

fn before(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}

/// The SHA-256 of the images that updates of a product name, also in an edit that is under way.
async fn images_named(store: &impl SweepStore, product: &ProductId) -> Stored<BTreeSet<String>> {
    let mut images = BTreeSet::new();
    let records = store.every_update(product).await?;
    let deleted =
        records.iter().filter(|record| record.deleted_at.is_some()).map(|record| record.rollout().version().clone());
    let deleted = deleted.collect::<BTreeSet<_>>();
    // The earlier campaigns of a deleted update name its images too.
    for record in records.iter().filter(|record| !deleted.contains(record.rollout().version())) {
        let wanted = record.wanted.as_ref().and_then(|wanted| match &wanted.change {
            Change::Edit { definition } => Some(definition),
            _ => None,
        });
        for definition in [Some(&record.definition), wanted].into_iter().flatten() {
            let definition = Definition::from_store(definition).map_err(StoreError::corrupt)?;
            images.extend(definition.files.into_iter().map(|file| file.sha256));
        }
    }
    Ok(images)
}

/// Drops claims of devices that nothing counts any more.
#[derive(Debug, Default)]
pub(crate) struct Pruning {
    uncounted: BTreeMap<ProductId, BTreeSet<RolloutKey>>,
}

impl Pruning {
    /// Drops claims of devices that have more than they keep. A device whose claims could not be dropped is looked at again
    /// tomorrow.
    pub(crate) async fn prune(
        &mut self,
        store: &impl SweepStore,
        devices: &[(ProductId, DeviceId, KnownDevice)],
    ) -> Stored<()> {
        let mut writes = Vec::new();
        for (product, device, known) in devices.iter().filter(|(.., known)| known.claims.len() > KEPT_CLAIMS) {
            if !self.uncounted.contains_key(product) {
                self.uncounted.insert(product.clone(), store.uncounted_rollouts(product).await?);
            }
            let uncounted = self.uncounted.get(product);
            let is_uncounted = |claim: &Claim| {
                uncounted.is_some_and(|uncounted| uncounted.contains(&RolloutKey::of_claim(product, claim)))
            };
            let forgotten = dropped(known, is_uncounted);
            if !forgotten.is_empty() {
                writes.push(DeviceWrite { forgotten, ..DeviceWrite::new(product.clone(), device.clone(), true) });
            }
        }
        for writes in writes.chunks(WRITTEN_AT_A_TIME) {
            for (write, written) in
                writes.iter().zip(join_all(writes.iter().map(|write| store.write_device(write))).await)
            {
                if let Err(error) = written {
                    tracing::warn!(product = %write.product, device = %write.device, %error, "claims_not_dropped");
                }
            }
        }
        Ok(())
    }
}

/// The claims that a device does not keep. The newest claims stay, and those of an update that failed on the device: it must
/// not get this update again by mistake.
fn dropped(known: &KnownDevice, is_uncounted: impl Fn(&Claim) -> bool) -> Vec<Claim> {
    let mut claims = known.claims.iter().map(|(_, claim)| claim).collect::<Vec<_>>();
    claims.sort_by_key(|claim| std::cmp::Reverse(claim.epoch));
    let older = claims.into_iter().skip(KEPT_CLAIMS);
    let dropped = older.filter(|claim| !claim.failed_before(&claim.version, u32::MAX) && is_uncounted(claim));
    dropped.cloned().collect()
}
