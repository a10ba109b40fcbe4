//! `PATCH updates/{version}`: change rollout knobs; of a draft and of a running update alike.

use serde_json::Value;
use tidegate_core::policy::Slots;
use tidegate_core::{State, Version};
use tidegate_engine::EngineError;
use tidegate_engine::control::{self, Measure};
use tidegate_store::{PublishStore, StoreError};
use tidegate_wire::definition::Definition;
use tidegate_wire::{ApiError, ErrorCode, body_limits, strict_json};

use super::request as operator;
use super::transition::actor;
use super::update::shown;
use super::{Answer, Call, PublishService, refused, unavailable};

/// How often an edit is tried again when somebody else changed the update at the same time.
const MOST_TRIES: usize = 4;

impl<S: PublishStore> PublishService<S> {
    /// Merges `{"rollout":{…}}` into an update. Everything else is content, and never changes.
    pub(crate) async fn edit(&self, call: &Call<'_>, version: &Version) -> Answer {
        let (knobs, reason) = knobs(call.body)?;
        for _ in 0..MOST_TRIES {
            let record = self.find(call, version).await?;
            if !matches!(record.state, State::Draft | State::Active | State::Paused) {
                let message =
                    format!("cannot edit an update that is {}; it must be draft, active or paused", record.state);
                return Err(ApiError::new(ErrorCode::WrongState, message));
            }
            let before = Definition::from_store(&record.definition).map_err(ApiError::bad_field)?;
            let after = before.with_rollout(&knobs, &call.product)?;
            let update = after.update(&call.product, &record.publication(), &mut Slots::new())?;
            let actor = actor(call, reason.clone());
            match control::redefine(
                &self.store,
                &record,
                (after.to_store(), &knobs.to_string()),
                Measure::of(&update),
                &actor,
            )
            .await
            {
                Ok(changed) => {
                    tidegate_engine::compile::compile_or_leave_it(&self.store, &call.product).await;
                    return Ok((200, shown(&changed)));
                }
                Err(EngineError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Err(unavailable(StoreError::Conflict))
    }
}

fn knobs(body: &[u8]) -> Result<(Value, String), ApiError> {
    let mut object = strict_json::parse_object(body, body_limits::OPERATOR)?;
    let reason = operator::reason(&object)?;
    let knobs = object.remove("rollout").filter(Value::is_object);
    let knobs = knobs.ok_or_else(|| ApiError::bad_field("rollout must be an object with the knobs to change"))?;
    match object.keys().find(|name| *name != "reason") {
        Some(name) => Err(ApiError::new(
            ErrorCode::ContentImmutable,
            format!("`{name}` is content; only `rollout` may change, and a new version is the way to change the rest"),
        )),
        None => Ok((knobs, reason)),
    }
}
