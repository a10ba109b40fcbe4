//! A device checks in: load, decide, reserve, record.
//!
//! The decision is [`tidegate_core::decide`]'s. It is made once per check-in. It is made again when the device turns out
//! to run a version that it was offered, and after each reservation that failed, because its claims or the room in a
//! rollout are then known better.

use tidegate_core::guidance::{NoOffer, check_again_after_s};
use tidegate_core::objection::NoRoom;
use tidegate_core::status::StatusEffect;
use tidegate_core::{
    Catalog, Claim, ClaimState, ClaimStatus, Claims, Decision, Device, DeviceId, Objection, ObjectionCode, ProductId,
    Timestamp, Update, UpdateId, decide,
};
use tidegate_store::record::{ClaimKey, DeviceRecord, DeviceWrite, Head};
use tidegate_store::store::Freshness;
use tidegate_store::{CheckStore, Images, StoreError};

use crate::catalogs::{CatalogCache, CurrentCatalog};
use crate::deferrals::Deferrals;
use crate::error::{Done, EngineError};
use crate::reserve::{FullShardCache, ReserveOutcome};
use crate::token::Proof;

/// Reservations that one check-in tries, each of which costs a write. Eight full rollouts above one with room are rare.
const MOST_RESERVATIONS: usize = 8;
/// Products whose catalogs are read while a function starts; the others are read when a device asks.
const MOST_WARMED_UP: usize = 8;

/// Target of the event that marks a decision. Tests count them; a release build has no such event.
pub const DECISION_TARGET: &str = "tidegate_decision";

/// Check-ins over a store.
#[derive(Debug)]
pub struct CheckIns<S> {
    pub(crate) store: S,
    pub(crate) images: Images,
    catalogs: CatalogCache,
    pub(crate) full_shards: FullShardCache,
    deferrals: Deferrals,
}

/// Data about a device whose token was accepted.
#[derive(Debug)]
pub struct DeviceContext {
    /// Live updates of its product.
    pub catalog: CurrentCatalog,
    /// Settings of its product.
    pub head: Head,
    /// Its record; empty when it was never seen.
    pub record: DeviceRecord,
    /// Its claims.
    pub claims: Claims,
}

/// Result of a check-in, for a dialect to write.
#[derive(Debug)]
pub enum CheckInResult {
    /// There is an update, and the device's claim on it is committed.
    Offer(Box<Offered>),
    /// The device holds a claim that comes before any new offer. Only [`CheckIns::poll_action`] answers so.
    Held(HeldClaim),
    /// There is no update.
    Nothing(NoOffer),
}

/// Update with the device's claim on it.
#[derive(Debug)]
pub struct Offered {
    /// The update.
    pub update: Update,
    /// The committed claim.
    pub claim: Claim,
    /// Seconds after which the device should check in again.
    pub check_again_after_s: u32,
}

/// Claim in progress that a device must not carry out now.
#[derive(Debug)]
pub enum HeldClaim {
    /// Its rollout was stopped: the device is to leave it alone.
    Stopped {
        /// The update.
        update: UpdateId,
        /// The claim.
        claim: Claim,
        /// Seconds after which the device should check in again.
        check_again_after_s: u32,
    },
    /// Its opening window is shut: the device may fetch the update, and installs it when a window opens.
    OutsideWindow {
        /// The update.
        update: Box<Update>,
        /// The claim.
        claim: Claim,
        /// Seconds after which the device should check in again.
        check_again_after_s: u32,
    },
}

/// Order of a held claim and a new offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precedence {
    /// The newest update that fits comes first, even if the device holds a claim.
    NewestUpdate,
    /// The held claim comes first: the protocol has one action at a time, which must be finished or cancelled.
    HeldClaim,
}

impl<S: CheckStore> CheckIns<S> {
    /// Check-ins that read a catalog's head at most once in `catalog_age_ms`.
    #[must_use]
    pub fn new(store: S, images: Images, catalog_age_ms: i64) -> Self {
        Self {
            store,
            images,
            catalogs: CatalogCache::new(catalog_age_ms),
            full_shards: FullShardCache::default(),
            deferrals: Deferrals::default(),
        }
    }

    /// Loads the data about a device, in one read beside the catalog's head.
    ///
    /// # Errors
    /// When the product does not exist, the token was revoked, or the store cannot be reached.
    pub async fn context(
        &self,
        product: &ProductId,
        device: &DeviceId,
        proof: Proof,
        now: Timestamp,
    ) -> Done<DeviceContext> {
        let catalog = self.catalogs.current(&self.store, product, now).await?;
        let head = catalog.head.clone().ok_or_else(|| EngineError::UnknownProduct(product.clone()))?;
        let known = self.store.device(product, device, Freshness::Eventual).await?;
        let record = known.record_or_default();
        if !proof.is_accepted(record.token_generation, head.accepts_product_tokens) {
            return Err(EngineError::TokenRefused);
        }
        Ok(DeviceContext { catalog, head, record, claims: Claims::new(known.claims) })
    }

    /// Settles the claim on the version that the device runs, decides, reserves, and writes the device's record where
    /// `write` says so.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn check_in(
        &self,
        device: &Device,
        context: &mut DeviceContext,
        write: Option<DeviceWrite>,
        now: Timestamp,
    ) -> Done<CheckInResult> {
        self.decide_and_reserve(device, context, write, Precedence::NewestUpdate, now).await
    }

    /// The check-in for a protocol with one action at a time: a claim in progress that was stopped, or that waits for
    /// its window, comes before any new offer.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn poll_action(
        &self,
        device: &Device,
        context: &mut DeviceContext,
        write: Option<DeviceWrite>,
        now: Timestamp,
    ) -> Done<CheckInResult> {
        self.decide_and_reserve(device, context, write, Precedence::HeldClaim, now).await
    }

    async fn decide_and_reserve(
        &self,
        device: &Device,
        context: &mut DeviceContext,
        mut write: Option<DeviceWrite>,
        precedence: Precedence,
        now: Timestamp,
    ) -> Done<CheckInResult> {
        let (mut is_first, mut reservations) = (true, 0);
        loop {
            let updates = context.catalog.updates.clone();
            let mut decision = decided(device, &updates, &context.claims, now);
            if std::mem::take(&mut is_first) {
                if precedence == Precedence::HeldClaim
                    && let Some(held) = held_claim(device, context, &decision, now)
                {
                    self.save(write, now).await;
                    return Ok(CheckInResult::Held(held));
                }
                if self.settle_installed_claims(device, &mut context.claims).await? {
                    decision = decided(device, &updates, &context.claims, now);
                }
            }
            let offer = match &decision.offer {
                Some(offer) if reservations < MOST_RESERVATIONS => offer,
                _ => {
                    self.save(write, now).await;
                    self.deferrals.count(&decision, now);
                    return Ok(CheckInResult::Nothing(NoOffer::of(device, &decision, now)));
                }
            };
            reservations += 1;
            let outcome = match &offer.claim_status {
                ClaimStatus::Held(claim) => ReserveOutcome::Claim(claim.clone()),
                claim_status => self.reserve(device, offer.update, claim_status, &mut write, now).await?,
            };
            match outcome {
                ReserveOutcome::Claim(claim) => {
                    self.save(write, now).await;
                    let check_again_after_s = check_again_after_s(device, &decision, now);
                    let offered = Offered { update: offer.update.clone(), claim, check_again_after_s };
                    return Ok(CheckInResult::Offer(Box::new(offered)));
                }
                ReserveOutcome::NoRoom(no_room) => context.claims.note_no_room(offer.update.id.clone(), no_room),
                ReserveOutcome::OtherClaim(claim) => context.claims.record(offer.update.id.clone(), claim),
                ReserveOutcome::OtherGeneration => self.reread_changed(offer.update, context, now).await?,
            }
        }
    }

    /// Reads the catalog again after a shard said that an update has changed. A change that is not compiled yet counts
    /// as a pause.
    async fn reread_changed(&self, decided: &Update, context: &mut DeviceContext, now: Timestamp) -> Done<()> {
        context.catalog = self.catalogs.refreshed(&self.store, &decided.product, now).await?;
        let found = context.catalog.updates.find(&decided.id, &decided.version);
        if found.is_some_and(|update| update.generation == decided.generation) {
            context.claims.note_no_room(decided.id.clone(), NoRoom::Paused);
        }
        Ok(())
    }

    /// Settles as success each claim whose version the device runs: some agents never report. It counts once, because
    /// the claim's state moves with the count. Returns whether a claim has changed.
    async fn settle_installed_claims(&self, device: &Device, claims: &mut Claims) -> Done<bool> {
        let installed = claims
            .iter()
            .filter(|(_, claim)| claim.version.cmp_precedence(&device.version).is_eq())
            .filter_map(|(update, claim)| Some((update.clone(), claim.clone(), claim.settle(StatusEffect::Succeeded)?)))
            .collect::<Vec<_>>();
        let mut has_changed = false;
        for (update, before, (after, delta)) in installed {
            let key = ClaimKey { product: device.product.clone(), device: device.id.clone(), update: update.clone() };
            match self.store.settle(&key, &before, &after, delta).await {
                Ok(()) => {
                    claims.record(update, after);
                    has_changed = true;
                }
                // Another request settled it; the next check-in reads the result.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(has_changed)
    }

    /// Settings of a product, at most as old as a catalog may be; `None` when it does not exist.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn head(&self, product: &ProductId, now: Timestamp) -> Done<Option<Head>> {
        Ok(self.catalogs.current(&self.store, product, now).await?.head)
    }

    /// Checks that a device may get a token by registration: its product allows it, and no operator has revoked one.
    ///
    /// # Errors
    /// `RegistrationClosed`, or the store cannot be reached.
    pub async fn may_register(&self, product: &ProductId, device: &DeviceId, now: Timestamp) -> Done<()> {
        if !self.head(product, now).await?.is_some_and(|head| head.registration_is_open) {
            return Err(EngineError::RegistrationClosed);
        }
        let known = self.store.device(product, device, Freshness::Strong).await?;
        match known.record_or_default().token_generation {
            0 => Ok(()),
            _ => Err(EngineError::RegistrationClosed),
        }
    }

    /// Writes a device's record.
    ///
    /// # Errors
    /// `Conflict`, when another request wrote it first; or the store cannot be reached.
    pub async fn save_device(&self, write: &DeviceWrite) -> Done<()> {
        Ok(self.store.save_device(write).await?)
    }

    /// Reads the first catalogs while a function starts, so that connections are open and the first device does not
    /// wait for them. A catalog that cannot be read now is read, and its error logged, when a device asks.
    pub async fn warm_up(&self, now: Timestamp) {
        for product in self.store.products().await.unwrap_or_default().iter().take(MOST_WARMED_UP) {
            let _unread = self.catalogs.refreshed(&self.store, product, now).await;
        }
    }

    /// Stores the deferrals that were counted since the last time. They are for operators to look at; a function that
    /// ends before it stored them loses at most a minute of them.
    pub(crate) async fn store_deferrals(&self, now: Timestamp) {
        for (update, counts) in self.deferrals.due(now) {
            if let Err(error) = self.store.add_deferrals(&update, &counts).await {
                tracing::warn!(%update, %error, "deferrals_not_stored");
            }
        }
    }

    /// Writes the device's record, and the deferrals that wait for a write. A check-in is answered also when that
    /// fails: the next one writes them.
    async fn save(&self, write: Option<DeviceWrite>, now: Timestamp) {
        let Some(write) = write else {
            return;
        };
        if let Err(error) = self.store.save_device(&write).await {
            tracing::warn!(product = %write.product, device = %write.device, %error, "device_not_saved");
        }
        self.store_deferrals(now).await;
    }
}

/// Decides, and marks the decision for the tests that count them.
fn decided<'a>(device: &Device, updates: &'a Catalog, claims: &Claims, now: Timestamp) -> Decision<'a> {
    tracing::trace!(target: DECISION_TARGET, device = %device.id, "decided");
    decide(device, updates, claims, now)
}

/// The claim under way that comes before any new offer.
fn held_claim(device: &Device, context: &DeviceContext, decision: &Decision<'_>, now: Timestamp) -> Option<HeldClaim> {
    let reserved = || context.claims.iter().filter(|(_, claim)| claim.state == ClaimState::Reserved);
    reserved().next()?;
    let check_again_after_s = check_again_after_s(device, decision, now);
    let stopped = reserved().find(|(id, claim)| context.catalog.updates.is_stopped(id, &claim.version));
    if let Some((update, claim)) = stopped {
        return Some(HeldClaim::Stopped { update: update.clone(), claim: claim.clone(), check_again_after_s });
    }
    decision.passed_over.iter().find_map(|(update, objection)| {
        let claim = context.claims.on(&update.id)?;
        let waits = matches!(objection, Objection::OutsideWindow { .. }) && !claim.has_lapsed(now);
        waits.then(|| HeldClaim::OutsideWindow {
            update: Box::new((*update).clone()),
            claim: claim.clone(),
            check_again_after_s,
        })
    })
}

impl HeldClaim {
    /// Code of the reason for which the device must not carry it out.
    #[must_use]
    pub fn reason(&self) -> ObjectionCode {
        match self {
            Self::Stopped { .. } => ObjectionCode::Aborted,
            Self::OutsideWindow { .. } => ObjectionCode::OutsideWindow,
        }
    }

    /// Seconds after which the device should check in again.
    #[must_use]
    pub fn check_again_after_s(&self) -> u32 {
        match self {
            Self::Stopped { check_again_after_s, .. } | Self::OutsideWindow { check_again_after_s, .. } => {
                *check_again_after_s
            }
        }
    }
}
