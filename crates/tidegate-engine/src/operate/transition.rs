//! Moves an update to another state: activate, pause, resume, complete, abort, withdraw.

use tidegate_core::policy::Slots;
use tidegate_core::update::StoredObject;
use tidegate_core::{ProductId, State, Transition, Update, Version};
use tidegate_store::PublishStore;
use tidegate_store::images::Verified;
use tidegate_store::record::UpdateRecord;

use super::change::Asked;
use super::{Operations, compiled};
use crate::control::{Actor, Changed};
use crate::error::{Done, EngineError};

impl<S: PublishStore> Operations<S> {
    /// Moves an update to another state. Its catalog is compiled afterwards. A stop is acknowledged when nothing can be
    /// given out any more; until then the result names the shards that are left. A stop of an update that is stopped in
    /// this way already changes nothing.
    ///
    /// # Errors
    /// When there is no such update, its state does not allow it, bytes of a file are missing or others than announced,
    /// another change is under way, or the store cannot be reached.
    pub async fn transition(
        &self,
        product: &ProductId,
        version: &Version,
        transition: Transition,
        actor: &Actor,
    ) -> Done<Changed> {
        if transition.leads_to() == State::Active {
            self.must_not_be_stopped(product).await?;
        }
        self.change(product, version, actor, Asked::Transition(transition)).await
    }

    /// The record of an update that may make a transition. Before it is activated, its files are verified.
    pub(super) async fn ready_for(&self, mut record: UpdateRecord, transition: Transition) -> Done<UpdateRecord> {
        if transition == Transition::Activate {
            record.state.after(transition).map_err(EngineError::WrongState)?;
            let update = compiled(&record, &mut Slots::new())?;
            record.objects = self.verify(&update).await?;
        }
        Ok(record)
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
