//! The named transitions of an update.

use tidegate_core::{Transition, Version};
use tidegate_store::PublishStore;

use super::update::changed_view;
use super::{Answer, Call, PublishService, refused};

impl<S: PublishStore> PublishService<S> {
    /// Moves an update to another state.
    pub(crate) async fn transition(&self, call: &Call<'_>, version: &Version, transition: Transition) -> Answer {
        let actor = call.actor_with_reason()?;
        let changed = self.engine.transition(&call.product, version, transition, &actor).await.map_err(refused)?;
        changed_view(changed)
    }
}
