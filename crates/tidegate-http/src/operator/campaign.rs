//! Another campaign of a published update, and the end of a draft.

use tidegate_core::Version;
use tidegate_engine::operate::NewCampaign;
use tidegate_store::PublishStore;
use tidegate_wire::device_json::parse_version;
use tidegate_wire::operator::{Deleted, Reopen, Rollback};
use tidegate_wire::{ApiError, strict_json};

use super::update::changed_view;
use super::{Answer, Call, PublishService, ok, refused};

impl<S: PublishStore> PublishService<S> {
    /// Offers an update again.
    pub(crate) async fn reopen(&self, call: &Call<'_>, version: &Version) -> Answer {
        let Reopen { policy, rollout, reason } = strict_json::read_body(call.body)?;
        let asked = NewCampaign { rollback_from: Vec::new(), policy: given(policy)?, rollout };
        self.begin_campaign(call, version, &asked, reason).await
    }

    /// Takes devices back to an update.
    pub(crate) async fn roll_back_to(&self, call: &Call<'_>, version: &Version) -> Answer {
        let Rollback { from, policy, rollout, reason } = strict_json::read_body(call.body)?;
        if from.is_empty() {
            return Err(ApiError::bad_field("from must name the versions from which devices are taken back"));
        }
        let rollback_from = from.iter().map(|from| parse_version(from)).collect::<Result<_, _>>()?;
        let asked = NewCampaign { rollback_from, policy: given(policy)?, rollout };
        self.begin_campaign(call, version, &asked, reason).await
    }

    async fn begin_campaign(
        &self,
        call: &Call<'_>,
        version: &Version,
        asked: &NewCampaign,
        reason: Option<String>,
    ) -> Answer {
        let actor = call.actor(reason)?;
        let changed = self.engine.begin_campaign(&call.product, version, asked, &actor).await.map_err(refused)?;
        changed_view(changed)
    }

    /// Deletes a draft, or an update that is withdrawn and not in use.
    pub(crate) async fn delete(&self, call: &Call<'_>, version: &Version) -> Answer {
        let actor = call.actor_with_reason()?;
        let state = self.engine.delete(&call.product, version, &actor).await.map_err(refused)?;
        ok(&Deleted { deleted: version.to_string(), state })
    }
}

/// A policy that is given must not be blank: "every device" is `true`.
fn given(policy: Option<String>) -> Result<Option<String>, ApiError> {
    match &policy {
        Some(text) if text.trim().is_empty() => {
            Err(ApiError::bad_field("policy must not be blank; `true` admits every device"))
        }
        _ => Ok(policy),
    }
}
