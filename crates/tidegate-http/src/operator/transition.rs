//! The named transitions of an update.

use tidegate_core::acknowledged::Acknowledged;
use tidegate_core::{Transition, Version};
use tidegate_store::PublishStore;
use tidegate_wire::operator::{AcknowledgeField, Advance, Resume};
use tidegate_wire::strict_json;

use super::update::changed_view;
use super::{Answer, Call, PublishService, refused};

impl<S: PublishStore> PublishService<S> {
    /// Resumes an update.
    pub(crate) async fn resume(&self, call: &Call<'_>, version: &Version) -> Answer {
        let Resume { reason, acknowledge } = strict_json::read_body(call.body)?;
        let actor = call.actor(reason)?;
        let changed =
            self.engine.resume(&call.product, version, acknowledged(acknowledge), &actor).await.map_err(refused)?;
        changed_view(changed)
    }

    /// Begins the next phase of a rollout.
    pub(crate) async fn advance(&self, call: &Call<'_>, version: &Version) -> Answer {
        let Advance { phase, seen, reason } = strict_json::read_body(call.body)?;
        let actor = call.actor(reason)?;
        let changed = self.engine.advance(&call.product, version, phase, acknowledged(seen), &actor).await;
        changed_view(changed.map_err(refused)?)
    }

    /// Moves an update to another state.
    pub(crate) async fn transition(&self, call: &Call<'_>, version: &Version, transition: Transition) -> Answer {
        let actor = call.actor_with_reason()?;
        let changed = self.engine.transition(&call.product, version, transition, &actor).await.map_err(refused)?;
        changed_view(changed)
    }
}

fn acknowledged(field: AcknowledgeField) -> Acknowledged {
    let AcknowledgeField { failed, reverted, lost, not_taken, transfer_failed } = field;
    Acknowledged { failed, reverted, lost, not_taken, transfer_failed }
}
