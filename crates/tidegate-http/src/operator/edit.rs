//! A change of an update's rollout.

use serde_json::{Map, Value};
use tidegate_core::Version;
use tidegate_store::PublishStore;
use tidegate_wire::{ApiError, ErrorCode, body_limits, strict_json};

use super::update::changed_view;
use super::{Answer, Call, PublishService, refused};

impl<S: PublishStore> PublishService<S> {
    /// Merges `{"rollout":{…}}` into an update. Everything else is content, and never changes.
    pub(crate) async fn edit(&self, call: &Call<'_>, version: &Version) -> Answer {
        let (rollout, reason) = change(call.body)?;
        let actor = call.actor(reason)?;
        let changed = self.engine.edit(&call.product, version, &rollout, &actor).await.map_err(refused)?;
        changed_view(changed)
    }
}

fn change(body: &[u8]) -> Result<(Map<String, Value>, Option<String>), ApiError> {
    let mut object = strict_json::parse_object(body, body_limits::OPERATOR)?;
    let reason = match object.remove("reason") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => return Err(super::bad_reason()),
    };
    let rollout = match object.remove("rollout") {
        Some(Value::Object(rollout)) => rollout,
        _ => return Err(ApiError::bad_field("rollout must be an object with the fields to change")),
    };
    match object.keys().next() {
        Some(name) => Err(ApiError::new(
            ErrorCode::ContentImmutable,
            format!("`{name}` is content; only `rollout` may change, and a new version is the way to change the rest"),
        )),
        None => Ok((rollout, reason)),
    }
}
