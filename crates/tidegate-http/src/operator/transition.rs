//! The named transitions of an update.

use tidegate_core::acknowledged::Acknowledged;
use tidegate_core::{Transition, Version};
use tidegate_store::PublishStore;
use tidegate_wire::operator::{AcknowledgeField, Resume};
use tidegate_wire::strict_json;

use super::update::changed_view;
use super::{Answer, Call, PublishService, refused};

impl<S: PublishStore> PublishService<S> {
    /// Resumes an update.
    pub(crate) async fn resume(&self, call: &Call<'_>, version: &Version) -> Answer {
        let Resume { reason, acknowledge } = strict_json::read_body(call.body)?;
        let AcknowledgeField { failed, reverted, lost, not_taken, transfer_failed } = acknowledge;
        let acknowledged = Acknowledged { failed, reverted, lost, not_taken, transfer_failed };
        let actor = call.actor(reason)?;
        let changed = self.engine.resume(&call.product, version, acknowledged, &actor).await.map_err(refused)?;
        changed_view(changed)
    }

    /// Moves an update to another state.
    pub(crate) async fn transition(&self, call: &Call<'_>, version: &Version, transition: Transition) -> Answer {
        let actor = call.actor_with_reason()?;
        let changed = self.engine.transition(&call.product, version, transition, &actor).await.map_err(refused)?;
        changed_view(changed)
    }
}
