//! `POST updates/{version}/activate` and its siblings: the named transitions.

use tidegate_core::policy::Slots;
use tidegate_core::update::StoredObject;
use tidegate_core::{Transition, Update, Version};
use tidegate_engine::EngineError;
use tidegate_engine::control::{self, Actor, Measure};
use tidegate_store::PublishStore;
use tidegate_store::images::Verified;
use tidegate_store::store::StoreError;
use tidegate_wire::{ApiError, ErrorCode};

use super::request as operator;
use super::update::{compiled, shown};
use super::{Answer, Call, PublishService, refused, unavailable};

/// How often a transition is tried again when somebody else changed the update at the same time.
/// A stop must not lose against an edit.
const MOST_TRIES: usize = 4;

impl<S: PublishStore> PublishService<S> {
    /// Moves an update to another state.
    pub(crate) async fn transition(&self, call: &Call<'_>, version: &Version, transition: Transition) -> Answer {
        let reason = operator::reason(&operator::object(call.body, &["reason"])?)?;
        self.make_transition(call, version, transition, reason).await
    }

    /// The same with a reason that was read already.
    pub(crate) async fn make_transition(
        &self,
        call: &Call<'_>,
        version: &Version,
        transition: Transition,
        reason: String,
    ) -> Answer {
        let actor = actor(call, reason);
        for _ in 0..MOST_TRIES {
            let mut record = self.find(call, version).await?;
            let update = compiled(&record, &mut Slots::new())?;
            record.state.after(transition).map_err(|why| ApiError::new(ErrorCode::WrongState, why.to_string()))?;
            if transition == Transition::Activate {
                record.objects = self.verify(call, &update).await?;
            }
            match control::transition(&self.store, &record, transition, Measure::of(&update), &actor).await {
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

    /// Reads every file's bytes back and hashes them: what was announced is not believed.
    async fn verify(&self, call: &Call<'_>, update: &Update) -> Result<Vec<StoredObject>, ApiError> {
        let mut objects = Vec::with_capacity(update.content.files.len());
        for file in &update.content.files {
            match self.images.verify(&call.product, file).await.map_err(unavailable)? {
                Verified::Same { object } => objects.push(object),
                Verified::Missing => {
                    let message = format!(
                        "the bytes of {} have not been uploaded; repeat the create to get its upload URL",
                        file.name
                    );
                    return Err(ApiError::new(ErrorCode::ImageMissing, message));
                }
                Verified::Different { sha256, size_bytes } => {
                    let message = format!(
                        "the bytes of {} must be {} bytes with SHA-256 {}; stored are {size_bytes} with {sha256}",
                        file.name, file.size_bytes, file.sha256
                    );
                    return Err(ApiError::new(ErrorCode::ImageMismatch, message));
                }
            }
        }
        Ok(objects)
    }
}

/// Who changes something, and why.
pub(crate) fn actor(call: &Call<'_>, reason: String) -> Actor {
    Actor { who: call.who.clone(), reason, now: call.now }
}
