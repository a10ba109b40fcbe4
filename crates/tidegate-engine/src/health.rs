//! The automatic stop of a rollout, by whichever function sees the evidence first.

use tidegate_core::policy::Slots;
use tidegate_core::shard::Counts;
use tidegate_core::{ProductId, Timestamp, Update, Version};
use tidegate_store::record::UpdateRecord;
use tidegate_store::{CloseRollouts, ReadCatalog, ReadUpdates, StoreError};

use crate::compile::{compile_or_leave_it, update_of};
use crate::control;
use crate::error::{Done, EngineError};
use crate::metrics;

/// Tries per failure report, when other changes of the update are made at the same time.
const MOST_TRIES: usize = 4;

/// Stops a rollout whose outcomes are worse than its health gate tolerates; returns whether it was stopped.
pub(crate) async fn stop_if_bad(
    store: &impl CloseRollouts,
    record: &UpdateRecord,
    update: &Update,
    counts: &Counts,
    now: Timestamp,
) -> Done<bool> {
    let stopped = control::stop_if_bad(store, record, update, counts, now).await?.is_some();
    if stopped {
        metrics::rollout_stopped(&record.product);
    }
    Ok(stopped)
}

/// Judges an update after a failure was recorded. The report is recorded in any case: if this fails, the next failure
/// or the sweep sees the same evidence.
pub(crate) async fn judge_after_failure(
    store: &(impl ReadCatalog + ReadUpdates + CloseRollouts),
    product: &ProductId,
    version: &Version,
    now: Timestamp,
) {
    for _ in 0..MOST_TRIES {
        match judge(store, product, version, now).await {
            Ok(()) => return,
            Err(EngineError::Store(StoreError::Conflict)) => {}
            Err(error) => {
                tracing::error!(%product, %version, %error, "health_not_judged");
                return;
            }
        }
    }
}

async fn judge(
    store: &(impl ReadCatalog + ReadUpdates + CloseRollouts),
    product: &ProductId,
    version: &Version,
    now: Timestamp,
) -> Done<()> {
    let Some(record) = store.update(product, version).await? else {
        return Ok(());
    };
    let Some(allocation) = record.allocation.as_ref().filter(|_| record.state.is_live()) else {
        return Ok(());
    };
    let update = update_of(&record, &mut Slots::new())?;
    let shards = store.shards(&record.id, allocation.shards()).await?;
    if stop_if_bad(store, &record, &update, &Counts::of(&shards), now).await? {
        compile_or_leave_it(store, product).await;
    }
    Ok(())
}
