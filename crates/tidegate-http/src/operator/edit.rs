//! Changes of an update that exists: of a draft, and of a campaign under way.

use serde_json::{Map, Value};
use tidegate_core::Version;
use tidegate_engine::operate::Edits;
use tidegate_store::PublishStore;
use tidegate_wire::{ApiError, body_limits, strict_json};

use super::update::changed_view;
use super::{Answer, Call, PublishService, refused};

impl<S: PublishStore> PublishService<S> {
    /// Changes any field of a draft but its version, and `reports_as` of a published update.
    pub(crate) async fn edit(&self, call: &Call<'_>, version: &Version) -> Answer {
        self.edit_with(call, version, Edits::Update).await
    }

    /// Changes the policy and the rollout of a campaign under way.
    pub(crate) async fn edit_campaign(&self, call: &Call<'_>, version: &Version) -> Answer {
        self.edit_with(call, version, Edits::Campaign).await
    }

    async fn edit_with(&self, call: &Call<'_>, version: &Version, edits: Edits) -> Answer {
        let (fields, reason) = fields(call.body)?;
        let actor = call.actor(reason)?;
        let changed = self.engine.edit(&call.product, version, edits, &fields, &actor).await.map_err(refused)?;
        changed_view(changed)
    }
}

fn fields(body: &[u8]) -> Result<(Map<String, Value>, Option<String>), ApiError> {
    let mut fields = strict_json::parse_object(body, body_limits::OPERATOR)?;
    let reason = match fields.remove("reason") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => return Err(super::bad_reason()),
    };
    if fields.is_empty() {
        return Err(ApiError::bad_field("nothing is to change: name at least one field"));
    }
    if fields.get("rollout").is_some_and(|rollout| !rollout.is_object()) {
        return Err(ApiError::bad_field("rollout must be an object with the fields to change"));
    }
    Ok((fields, reason))
}
