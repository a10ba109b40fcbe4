//! Stops a whole product, and resumes it. Nothing has to be listed first: one flag in the head stops every offer.

use tidegate_core::{ProductId, State, Transition, Version};
use tidegate_store::record::{Change, UpdateRecord};
use tidegate_store::{PublishStore, StoreError};
use tokio::time::{Instant, sleep};

use super::Operations;
use crate::control::{self, Actor, Changed};
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
    /// Versions that could not be resumed now. The call can be repeated.
    pub left: Vec<Version>,
}

impl<S: PublishStore> Operations<S> {
    /// Stops every rollout of a product. When this returns, no device gets an update or a URL of the product, whether or
    /// not a catalog could be compiled.
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
            if record.is_paused_by_stop {
                stopped.paused.push(record.version);
            } else if record.state == State::Active {
                match self.pause(&record, actor).await {
                    Ok(true) => stopped.paused.push(record.version),
                    Ok(false) => stopped.left.push(record.version),
                    Err(error) => {
                        tracing::warn!(%product, version = %record.version, %error, "rollout_not_paused");
                        stopped.left.push(record.version);
                    }
                }
            }
        }
        crate::compile::compile_or_leave_it(&self.store, product).await;
        sleep(self.acknowledged_after.saturating_sub(started.elapsed())).await;
        Ok(stopped)
    }

    /// Pauses one rollout for the stop; returns false if shards are left.
    async fn pause(&self, record: &UpdateRecord, actor: &Actor) -> Done<bool> {
        let paused = async {
            let wishing = control::want(&self.store, record, Change::Stop, actor).await?;
            control::carry_out(&self.store, &wishing, actor.now).await
        };
        match paused.await {
            Ok(changed) => Ok(changed.shards_left == 0),
            // The count or the sweep finished it, or somebody else stopped this rollout.
            Err(EngineError::Store(StoreError::Conflict)) => {
                let record = self.update(&record.product, &record.version).await?;
                Ok(record.state != State::Active)
            }
            Err(error) => Err(error),
        }
    }

    /// Resumes a product: the flag goes, and every rollout that the stop paused goes on. A rollout that an operator
    /// paused stays paused.
    ///
    /// # Errors
    /// When the product does not exist, or the store cannot be reached.
    pub async fn resume_stopped(&self, product: &ProductId, actor: &Actor) -> Done<Resumed> {
        if !self.store.set_stopped(product, false, &actor.entry("resume stopped", product.as_str(), 0)).await? {
            return Err(EngineError::UnknownProduct(product.clone()));
        }
        let mut result = Resumed { resumed: Vec::new(), left: Vec::new() };
        for record in self.store.updates(product).await? {
            let wants_stop = record.wanted.as_ref().is_some_and(|wanted| wanted.change == Change::Stop);
            if !record.is_paused_by_stop && !wants_stop {
                continue;
            }
            match self.resume(&record, actor).await {
                Ok(Changed { record, shards_left: 0 }) if record.state == State::Active => {
                    result.resumed.push(record.version);
                }
                Ok(Changed { record, .. }) => result.left.push(record.version),
                Err(error) => {
                    tracing::warn!(%product, version = %record.version, %error, "rollout_not_resumed");
                    result.left.push(record.version);
                }
            }
        }
        crate::compile::compile_or_leave_it(&self.store, product).await;
        Ok(result)
    }

    /// Resumes one rollout. A pause that is not finished is finished first.
    async fn resume(&self, record: &UpdateRecord, actor: &Actor) -> Done<Changed> {
        let paused = control::carry_out(&self.store, record, actor.now).await?;
        if paused.shards_left > 0 {
            return Ok(paused);
        }
        let resume = Change::Transition(Transition::Resume);
        let wishing = control::want(&self.store, &paused.record, resume, actor).await?;
        control::carry_out(&self.store, &wishing, actor.now).await
    }
}
