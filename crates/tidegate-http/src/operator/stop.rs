//! Stops and resumes a whole product.

use tidegate_core::Version;
use tidegate_store::PublishStore;
use tidegate_wire::operator::{ProductResumed, ProductStopped};

use super::{Answer, Call, PublishService, refused, respond};

impl<S: PublishStore> PublishService<S> {
    /// Stops every rollout of a product.
    pub(crate) async fn stop_product(&self, call: &Call<'_>) -> Answer {
        let actor = call.actor_with_reason()?;
        let stopped = self.engine.stop(&call.product, &actor).await.map_err(refused)?;
        let text = |version: Version| version.to_string();
        let status = if stopped.left.is_empty() { 200 } else { 202 };
        let paused = stopped.paused.into_iter().map(text).collect();
        let left = stopped.left.into_iter().map(text).collect();
        respond(status, &ProductStopped { paused, left })
    }

    /// Resumes a product that was stopped.
    pub(crate) async fn resume_stopped(&self, call: &Call<'_>) -> Answer {
        let actor = call.actor_with_reason()?;
        let resumed = self.engine.resume_stopped(&call.product, &actor).await.map_err(refused)?;
        let text = |version: Version| version.to_string();
        let status = if resumed.left.is_empty() { 200 } else { 202 };
        let left = resumed.left.into_iter().map(text).collect();
        let resumed = resumed.resumed.into_iter().map(text).collect();
        respond(status, &ProductResumed { resumed, left })
    }
}
