//! The named transitions of an update.

use tidegate_core::{Transition, Version};
use tidegate_store::PublishStore;

use super::update::view;
use super::{Answer, Call, PublishService, ok, refused};

impl<S: PublishStore> PublishService<S> {
    /// Moves an update to another state.
    pub(crate) async fn transition(&self, call: &Call<'_>, version: &Version, transition: Transition) -> Answer {
        let actor = call.actor_with_reason()?;
        let record = self.engine.transition(&call.product, version, transition, &actor).await.map_err(refused)?;
        ok(&view(record))
    }
}
