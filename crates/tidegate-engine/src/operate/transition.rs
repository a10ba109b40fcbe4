//! Moves an update to another state: activate, pause, resume, complete, abort, withdraw.

use tidegate_core::policy::Slots;
use tidegate_core::update::StoredObject;
use tidegate_core::{ProductId, Transition, Update, Version};
use tidegate_store::images::Verified;
use tidegate_store::record::UpdateRecord;
use tidegate_store::{PublishStore, StoreError};

use super::{MOST_TRIES, Operations, compiled};
use crate::control::{self, Actor, Measure};
use crate::error::{Done, EngineError};

impl<S: PublishStore> Operations<S> {
    /// Moves an update to another state. Its catalog is compiled afterwards.
    ///
    /// # Errors
    /// When there is no such update, its state does not allow it, bytes of a file are missing or others than announced,
    /// other operators keep changing it, or the store cannot be reached.
    pub async fn transition(
        &self,
        product: &ProductId,
        version: &Version,
        transition: Transition,
        actor: &Actor,
    ) -> Done<UpdateRecord> {
        for _ in 0..MOST_TRIES {
            let mut record = self.update(product, version).await?;
            let update = compiled(&record, &mut Slots::new())?;
            record.state.after(transition).map_err(EngineError::WrongState)?;
            if transition == Transition::Activate {
                record.objects = self.verify(&update).await?;
            }
            match control::transition(&self.store, &record, transition, Measure::of(&update), actor).await {
                Ok(changed) => {
                    crate::compile::compile_or_leave_it(&self.store, product).await;
                    return Ok(changed);
                }
                Err(EngineError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Reads every file's bytes back and hashes them, because the announced digests are not trusted.
    async fn verify(&self, update: &Update) -> Done<Vec<StoredObject>> {
        let mut objects = Vec::with_capacity(update.content.files.len());
        for file in &update.content.files {
            match self.images.verify(&update.product, file).await? {
                Verified::Same { object } => objects.push(object),
                Verified::Missing => return Err(EngineError::ImageMissing { name: file.name.clone() }),
                Verified::Different { sha256, size_bytes } => {
                    return Err(EngineError::ImageMismatch { announced: Box::new(file.clone()), sha256, size_bytes });
                }
            }
        }
        Ok(objects)
    }
}
