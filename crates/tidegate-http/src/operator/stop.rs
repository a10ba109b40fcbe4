//! Stops and resumes a whole product.

use tidegate_core::Version;
use tidegate_store::PublishStore;
use tidegate_wire::operator::{ProductResumed, ProductStopped};

use super::{Answer, Call, PublishService, refused, respond_to_change};

impl<S: PublishStore> PublishService<S> {
    /// Stops every rollout of a product.
    pub(crate) async fn stop_product(&self, call: &Call<'_>) -> Answer {
        let actor = call.actor_with_reason()?;
        let stopped = self.engine.stop(&call.product, &actor).await.map_err(refused)?;
        let is_done = stopped.left.is_empty();
        respond_to_change(is_done, &ProductStopped { paused: texts(stopped.paused), left: texts(stopped.left) })
    }

    /// Resumes a product that was stopped.
    pub(crate) async fn resume_stopped(&self, call: &Call<'_>) -> Answer {
        let actor = call.actor_with_reason()?;
        let resumed = self.engine.resume_stopped(&call.product, &actor).await.map_err(refused)?;
        let is_done = resumed.left.is_empty();
        respond_to_change(is_done, &ProductResumed { resumed: texts(resumed.resumed), left: texts(resumed.left) })
    }
}

fn texts(versions: Vec<Version>) -> Vec<String> {
    versions.iter().map(Version::to_string).collect()
}
