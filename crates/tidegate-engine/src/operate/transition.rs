//! Moves an update to another state: activate, pause, resume, complete, abort, withdraw.

use tidegate_core::acknowledged::Acknowledged;
use tidegate_core::policy::Slots;
use tidegate_core::update::StoredObject;
use tidegate_core::{ProductId, State, Transition, Update, Version};
use tidegate_store::PublishStore;
use tidegate_store::images::Verified;
use tidegate_store::record::{Change, UpdateRecord};

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
        self.change(product, version, actor, Asked::Transition(transition, Acknowledged::default())).await
    }

    /// Resumes an update. A held one only if the operator has seen what happened to its devices: a test of the devices
    /// that are granted it from then on begins.
    ///
    /// # Errors
    /// As [`transition`](Self::transition), and `EvidenceMoved` when more happened than is acknowledged.
    pub async fn resume(
        &self,
        product: &ProductId,
        version: &Version,
        acknowledged: Acknowledged,
        actor: &Actor,
    ) -> Done<Changed> {
        self.must_not_be_stopped(product).await?;
        self.change(product, version, actor, Asked::Transition(Transition::Resume, acknowledged)).await
    }

    /// The record of an update that may make a transition. Before it is activated, its files are verified; before it is
    /// resumed after a hold, what happened must be acknowledged.
    pub(super) async fn ready_for(
        &self,
        mut record: UpdateRecord,
        transition: Transition,
        acknowledged: &Acknowledged,
    ) -> Done<UpdateRecord> {
        let is_wanted = record.wanted.as_ref().is_some_and(|wanted| wanted.change == Change::Transition(transition));
        if transition == Transition::Resume && record.state == State::Held && !is_wanted {
            let present = Acknowledged::present(&self.store.tallied(&record.rollout()).await?.sums);
            if !acknowledged.covers(&present) {
                return Err(EngineError::EvidenceMoved { version: record.version, present });
            }
        }
        if transition == Transition::Activate && !is_wanted {
            record.state.after(transition).map_err(EngineError::WrongState)?;
            let update = compiled(&record, &mut Slots::new())?;
            record.objects = self.verify(&update).await?;
        }
        Ok(record)
    }

    /// Reads every file's bytes back and hashes them, because the announced digests are not trusted.
    pub(super) async fn verify(&self, update: &Update) -> Done<Vec<StoredObject>> {
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
