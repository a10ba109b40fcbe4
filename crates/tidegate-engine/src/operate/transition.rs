//! Moves an update to another state: activate, pause, resume, complete, abort, withdraw.

use tidegate_core::acknowledged::Acknowledged;
use tidegate_core::count::Count;
use tidegate_core::policy::Slots;
use tidegate_core::update::{File, StoredObject};
use tidegate_core::{ProductId, State, Timestamp, Transition, Update, Version};
use tidegate_store::PublishStore;
use tidegate_store::images::{Read, Verified};
use tidegate_store::record::{Change, UpdateRecord};
use tidegate_store::verification::{Verification, WantedVerification};
use tidegate_wire::ApiError;

use super::change::Asked;
use super::{Operations, compiled};
use crate::control::{Actor, Changed};
use crate::error::{Done, EngineError};

/// Least number of established devices in a product with a share for newcomers. With fewer, all devices say whether an
/// update is good.
const LEAST_VOTERS: u64 = 50;

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

    /// Begins the next phase on evidence, because an operator says so. `phase` is its number, from 1.
    ///
    /// # Errors
    /// When there is no such update or phase, it is not active, more happened than the operator has seen, another change
    /// is under way, or the store cannot be reached.
    pub async fn advance(
        &self,
        product: &ProductId,
        version: &Version,
        phase: usize,
        seen: Acknowledged,
        actor: &Actor,
    ) -> Done<Changed> {
        if phase < 2 {
            return Err(ApiError::bad_field(format!("phase must be 2 or more; it is {phase}")).into());
        }
        self.change(product, version, actor, Asked::Advance(phase, seen)).await
    }

    /// The change that begins a phase.
    pub(super) async fn ready_to_advance(
        &self,
        record: UpdateRecord,
        phase: usize,
        seen: &Acknowledged,
    ) -> Done<(UpdateRecord, Change)> {
        if record.state != State::Active {
            return Err(EngineError::NotAdvanceable(record.state));
        }
        let update = compiled(&record, &mut Slots::new())?;
        match update.rollout.next_on_evidence() {
            Some((next, _, _)) if next == phase => {}
            Some((next, _, _)) => {
                return Err(ApiError::bad_field(format!("phase must be the next one, {next}; it is {phase}")).into());
            }
            None => {
                let message = "phase: the rollout has no further phase that begins on evidence";
                return Err(ApiError::bad_field(message).into());
            }
        }
        let sums = self.store.tallied(&record.rollout()).await?.sums;
        let present = Acknowledged::present(&sums);
        if !seen.covers(&present) {
            return Err(EngineError::EvidenceMoved { version: record.version, present });
        }
        let soaked = u64::try_from(sums.voters(Count::Soaked)).unwrap_or(0);
        Ok((record, Change::Advance(phase.saturating_sub(1), soaked)))
    }

    /// The record of an update that may make a transition. Before it is activated, its files are verified; before it is
    /// resumed after a hold, what happened must be acknowledged.
    pub(super) async fn ready_for(
        &self,
        mut record: UpdateRecord,
        transition: Transition,
        acknowledged: &Acknowledged,
        now: Timestamp,
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
            record.newcomers_since = self.newcomers_since(&update, now).await?;
        }
        Ok(record)
    }

    /// The beginning of a campaign in which newcomers have a share of their own: in a product whose devices may register
    /// themselves, if enough others can tell whether the update is good. A way back is for all.
    pub(super) async fn newcomers_since(&self, update: &Update, now: Timestamp) -> Done<Option<Timestamp>> {
        let head = self.settings(&update.product).await?;
        let is_open = head.registration_is_open || head.accepts_product_tokens;
        let has_voters = head.fleet.established >= LEAST_VOTERS;
        Ok((is_open && has_voters && !update.is_rollback()).then_some(now))
    }

    /// Checks every file's bytes, because the announced digests are not trusted. Those of a large file are read by the
    /// function `verify`, which is asked for it.
    pub(super) async fn verify(&self, update: &Update) -> Done<Vec<StoredObject>> {
        let files = &update.content.files;
        // All large files are asked for before a small one is read.
        let mut large = Vec::with_capacity(files.len());
        for file in files {
            let is_large = self.images.is_large(file);
            large.push(if is_large { Some(self.verified(&update.product, file).await?) } else { None });
        }
        let is_unread = |verified: &Option<Verified>| matches!(verified, Some(Verified::Unread { .. }));
        if let Some((file, _)) = files.iter().zip(&large).find(|(_, verified)| is_unread(verified)) {
            return Err(EngineError::Verifying { name: file.name.clone() });
        }
        let mut objects = Vec::with_capacity(files.len());
        for (file, verified) in files.iter().zip(large) {
            let verified = match verified {
                Some(verified) => verified,
                None => self.verified(&update.product, file).await?,
            };
            match verified {
                Verified::Same { object } => objects.push(object),
                Verified::Unread { .. } => return Err(EngineError::Verifying { name: file.name.clone() }),
                Verified::Missing => return Err(EngineError::ImageMissing { name: file.name.clone() }),
                Verified::Different { sha256, size_bytes } => {
                    // The next create asks for its upload again.
                    self.images.hide(&update.product, file).await?;
                    return Err(EngineError::ImageMismatch { announced: Box::new(file.clone()), sha256, size_bytes });
                }
            }
        }
        Ok(objects)
    }

    async fn verified(&self, product: &ProductId, file: &File) -> Done<Verified> {
        match self.images.verify(product, file).await? {
            Verified::Unread { version } => self.as_verified(product, file, version).await,
            verified => Ok(verified),
        }
    }

    /// What the function `verify` has found in this version of an image. If it has not read it, it is asked for it.
    async fn as_verified(&self, product: &ProductId, file: &File, version: Option<String>) -> Done<Verified> {
        let found = self.store.verification(product, &file.sha256).await?;
        let Some(found) = found.filter(|found| found.object.version == version) else {
            self.ask_for_verification(product, file).await?;
            return Ok(Verified::Unread { version });
        };
        let Verification { object, sha256, size_bytes } = found;
        Ok(Read { object, sha256, size_bytes }.compared(file))
    }

    pub(super) async fn ask_for_verification(&self, product: &ProductId, file: &File) -> Done<()> {
        let wanted = WantedVerification { product: product.clone(), sha256: file.sha256.clone() };
        Ok(self.store.ask_for_verification(&wanted).await?)
    }
}
