//! Stops a whole product, and resumes it. Nothing has to be listed first: one flag in the head stops every offer.

use tidegate_core::{ProductId, State, Version};
use tidegate_store::record::UpdateRecord;
use tidegate_store::{PublishStore, StoreError};
use tokio::time::{Instant, sleep};

use super::Operations;
use super::change::MOST_TRIES;
use crate::control::{self, Actor};
use crate::error::{Done, EngineError};

/// Progress of the stop of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Versions whose rollout is paused by this stop, or was paused by it before.
    pub paused: Vec<Version>,
    /// Versions whose shards are not all shut yet. Devices get nothing from them all the same.
    pub left: Vec<Version>,
}

/// Result of resuming a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Versions whose rollout goes on.
    pub resumed: Vec<Version>,
    /// Versions that could not be resumed now. The sweep resumes them.
    pub left: Vec<Version>,
}

impl<S: PublishStore> Operations<S> {
    /// Stops every rollout of a product. When this returns, no device gets an update or a URL of the product, whether or
    /// not a catalog could be compiled. What is left then, the sweep finishes.
    ///
    /// # Errors
    /// When the product does not exist, or the store cannot be reached.
    pub async fn stop(&self, product: &ProductId, actor: &Actor) -> Done<Stopped> {
        let started = Instant::now();
        if !self.store.set_stopped(product, true, &actor.entry("stop", product.as_str(), 0)).await? {
            return Err(EngineError::UnknownProduct(product.clone()));
        }
        let mut stopped = Stopped { paused: Vec::new(), left: Vec::new() };
        for record in self.store.updates(product).await? {
            match self.pause(&record, actor).await {
                Ok(record) if control::may_open(&record) => stopped.left.push(record.version),
                Ok(record) if record.is_paused_by_stop => stopped.paused.push(record.version),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%product, version = %record.version, %error, "rollout_not_paused");
                    stopped.left.push(record.version);
                }
            }
        }
        crate::compile::compile_or_leave_it(&self.store, product).await;
        sleep(self.acknowledged_after.saturating_sub(started.elapsed())).await;
        Ok(stopped)
    }

    /// Pauses one rollout for the stop of its product; the record after that.
    pub(super) async fn pause(&self, record: &UpdateRecord, actor: &Actor) -> Done<UpdateRecord> {
        let mut record = record.clone();
        for _ in 0..MOST_TRIES {
            match control::pause_for_stop(&self.store, &record, actor).await {
                Ok(changed) => return Ok(changed.map_or(record, |changed| changed.record)),
                // Somebody else changed it.
                Err(EngineError::Store(StoreError::Conflict)) => {
                    record = self.update(&record.product, &record.version).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(record)
    }

    /// Resumes a product: the flag goes, and every rollout that the stop paused goes on. A rollout that an operator
    /// paused stays paused. What is left then, the sweep finishes.
    ///
    /// # Errors
    /// When the product does not exist, or the store cannot be reached.
    pub async fn resume_stopped(&self, product: &ProductId, actor: &Actor) -> Done<Resumed> {
        if !self.store.set_stopped(product, false, &actor.entry("resume stopped", product.as_str(), 0)).await? {
            return Err(EngineError::UnknownProduct(product.clone()));
        }
        let mut result = Resumed { resumed: Vec::new(), left: Vec::new() };
        for record in self.store.updates(product).await? {
            match self.resume_stopped_one(&record, actor).await {
                Ok(None) => {}
                Ok(Some(record)) if record.state == State::Active => result.resumed.push(record.version),
                Ok(Some(record)) if record.is_paused_by_stop => result.left.push(record.version),
                // It was not the stop that paused it.
                Ok(Some(_)) => {}
                Err(error) => {
                    tracing::warn!(%product, version = %record.version, %error, "rollout_not_resumed");
                    result.left.push(record.version);
                }
            }
        }
        crate::compile::compile_or_leave_it(&self.store, product).await;
        Ok(result)
    }

    /// Resumes one rollout, and returns its record; `None` if the stop had not paused it.
    async fn resume_stopped_one(&self, record: &UpdateRecord, actor: &Actor) -> Done<Option<UpdateRecord>> {
        let mut record = record.clone();
        for _ in 0..MOST_TRIES {
            match control::resume_after_stop(&self.store, &record, actor).await {
                Ok(changed) => return Ok(changed.map(|changed| changed.record)),
                // Somebody else changed it, or the product is stopped again.
                Err(EngineError::Store(StoreError::Conflict)) => {
                    record = self.update(&record.product, &record.version).await?;
                    if record.state == State::Active && record.wanted.is_none() {
                        return Ok(Some(record));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(record))
    }
}
