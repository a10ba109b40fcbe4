//! A device checks in: load, decide, reserve, record.
//!
//! A check-in is evidence first: what the device says of its version moves its claims. Then the decision is
//! [`tidegate_core::decide`]'s. It is made once per check-in, and again after each grant that failed, because the claims
//! of the device or the room in a rollout are then known better. No check-in fails because something could not be
//! written.

use std::borrow::Cow;

use tidegate_core::guidance::{NoOffer, UNPROVED_S, check_again_after_s};
use tidegate_core::life::table::Event;
use tidegate_core::life::{Rules, State as Life};
use tidegate_core::objection::{Cure, NoRoom, Objection};
use tidegate_core::question::Question;
use tidegate_core::{
    Catalog, Claim, ClaimStatus, Claims, Decision, Device, DeviceId, ObjectionCode, ProductId, Timestamp, Update,
    UpdateId, Version, decide,
};
use tidegate_store::record::{ClaimChange, DeviceRecord, DeviceWrite, Head, KnownDevice, Seen};
use tidegate_store::store::{Freshness, Include, Written};
use tidegate_store::{CheckStore, Images, StoreError};
use tokio::time::Instant;

use crate::catalogs::{CatalogCache, CurrentCatalog};
use crate::deferrals::Deferrals;
use crate::device;
use crate::error::{Done, EngineError};
use crate::registration::OpenProducts;
use crate::reserve::{ReserveOutcome, ShardCache};
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
    pub(crate) catalogs: CatalogCache,
    pub(crate) shards: ShardCache,
    pub(crate) open_products: OpenProducts,
    deferrals: Deferrals,
}

/// Data about a device whose token was accepted.
#[derive(Debug)]
pub struct DeviceContext {
    /// Live updates of its product.
    pub catalog: CurrentCatalog,
    /// Settings of its product.
    pub head: Head,
    /// The token that was accepted.
    pub(crate) proof: Proof,
    /// Another request of the device has said another version since it was read.
    has_other_version: bool,
    /// True if it has an item.
    pub is_known: bool,
    /// Its record; empty when it has none.
    pub record: DeviceRecord,
    /// Its claims.
    pub claims: Claims,
    /// True if it is in the control group of an update.
    pub is_held_out: bool,
    /// The start of the request, by the monotonic clock.
    pub started: Instant,
}

impl DeviceContext {
    /// `true` if the device must cancel an update that it has started.
    #[must_use]
    pub fn is_stopped(&self, update: &UpdateId, claim: &Claim) -> bool {
        self.claims.is_halted(update)
            || self.catalog.updates.is_stopped(update, &claim.version)
            || self.record.orders.allow(&claim.version).is_err()
    }

    /// The rules for a claim of the device.
    fn rules(&self, update: &UpdateId, claim: &Claim) -> Rules {
        let (times, update) = (&self.head.times, self.catalog.updates.find(update, &claim.version));
        let rules = Rules::new(times, self.record.cadence().due_after_s(true));
        match update {
            Some(update) => Rules {
                open_since: update.open_since(),
                apply_within_s: update.rollout.applies.within_s(times),
                soak_s: update.rollout.soak_s(),
                ..rules
            },
            None => rules,
        }
    }

    /// The time after which the device should check in again. One that is watched is not told to come later than its
    /// product expects it: its silence would look like the update's fault.
    fn at_most_a_poll(&self, seconds: u32) -> u32 {
        let is_watched = self.is_held_out || self.claims.iter().any(|(_, claim)| claim.state().is_watched());
        let poll_s = u32::try_from(self.head.times.poll_s).unwrap_or(u32::MAX);
        if is_watched { seconds.min(poll_s) } else { seconds }
    }

    /// A write of the device's item, for the device as it was read.
    fn write(&self, device: &DeviceId, seen: Option<Seen>, claims: Vec<ClaimChange>) -> DeviceWrite {
        let product = self.catalog.updates.product().clone();
        DeviceWrite { seen, claims, ..DeviceWrite::new(product, device.clone(), self.is_known) }
    }

    /// Replaces the data of the device by what a later read found.
    ///
    /// # Errors
    /// When the token was revoked meanwhile.
    fn adopt(&mut self, known: KnownDevice) -> Done<()> {
        let tokens = known.record.as_ref().map(|record| record.tokens).unwrap_or_default();
        if !self.proof.is_accepted(tokens, &self.head) {
            return Err(EngineError::TokenRefused);
        }
        let halted = self.head.halted();
        self.is_known = known.record.is_some();
        let attributes = self.record.attributes.take();
        self.has_other_version |= known.record.as_ref().is_none_or(|record| record.version != self.record.version);
        self.record = DeviceRecord { attributes, ..known.record_or_default() };
        self.claims = Claims::new(known.claims).with_halted(halted).with_questions(self.record.questions.clone());
        Ok(())
    }
}

/// Result of a check-in, for a dialect to write.
#[derive(Debug)]
pub enum CheckInResult {
    /// There is an update, and the device's claim on it is committed.
    Offer(Box<Offered>),
    /// The device holds a claim that comes before any new offer. Only [`CheckIns::poll_action`] answers so.
    Held(HeldClaim),
    /// There is an update, and the device's user must agree first. Only [`CheckIns::poll_action`] answers so.
    Asked(Box<Asked>),
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

/// Update that a device's user must agree to. The device has no place yet.
#[derive(Debug)]
pub struct Asked {
    /// The update.
    pub update: Update,
    /// The question, as it is stored.
    pub question: Question,
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
        claim: Box<Claim>,
        /// Seconds after which the device should check in again.
        check_again_after_s: u32,
    },
    /// Its opening window is shut: the device may fetch the update, and installs it when a window opens.
    OutsideWindow {
        /// The update.
        update: Box<Update>,
        /// The claim.
        claim: Box<Claim>,
        /// Seconds after which the device should check in again.
        check_again_after_s: u32,
    },
}

/// What a check-in says of the version that the device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It says the version.
    Version,
    /// It says nothing: the version is the one that the device said last.
    Nothing,
}

/// Result of a question to the user of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AskOutcome {
    /// The device waits for the answer.
    Waits,
    /// The question cannot be stored now.
    NotStored,
    /// Another request of the device was faster. The context has the device as it is now.
    OtherDevice,
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
            shards: ShardCache::default(),
            open_products: OpenProducts::new(catalog_age_ms),
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
        include: Include,
        now: Timestamp,
    ) -> Done<DeviceContext> {
        let started = Instant::now();
        let catalog = self.catalogs.current(&self.store, product, now).await?;
        let head = catalog.head.clone().ok_or_else(|| EngineError::UnknownProduct(product.clone()))?;
        let known = self.store.device(product, device, include, Freshness::Eventual).await?;
        let record = known.record_or_default();
        if !proof.is_accepted(record.tokens, &head) {
            return Err(EngineError::TokenRefused);
        }
        let claims = Claims::new(known.claims).with_halted(head.halted()).with_questions(record.questions.clone());
        let (is_known, is_held_out) = (known.record.is_some(), catalog.updates.is_held_out(device, &claims));
        Ok(DeviceContext {
            catalog,
            head,
            proof,
            has_other_version: false,
            is_known,
            record,
            claims,
            is_held_out,
            started,
        })
    }

    /// Takes in what the device says, decides, asks for a place, and writes `seen` into the device's record.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn check_in(
        &self,
        device: &Device,
        context: &mut DeviceContext,
        said: Said,
        seen: Option<Seen>,
        now: Timestamp,
    ) -> Done<CheckInResult> {
        self.decide_and_reserve(device, context, said, seen, Precedence::NewestUpdate, now).await
    }

    /// The check-in for a protocol with one action at a time, whose polls say no version: a claim in progress that was
    /// stopped, or that waits for its window, comes before any new offer.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn poll_action(
        &self,
        device: &Device,
        context: &mut DeviceContext,
        seen: Option<Seen>,
        now: Timestamp,
    ) -> Done<CheckInResult> {
        self.decide_and_reserve(device, context, Said::Nothing, seen, Precedence::HeldClaim, now).await
    }

    async fn decide_and_reserve(
        &self,
        device: &Device,
        context: &mut DeviceContext,
        said: Said,
        mut seen: Option<Seen>,
        precedence: Precedence,
        now: Timestamp,
    ) -> Done<CheckInResult> {
        let by_report = self.hear(device, context, said, &mut seen, now).await?;
        let proved = by_report.map(|version| Device { version, said: None, ..device.clone() });
        let device = proved.as_ref().unwrap_or(device);
        let mut reservations = 0;
        loop {
            if said == Said::Nothing && context.has_other_version {
                // The device was read by the version that it said before.
                return Ok(CheckInResult::Nothing(NoOffer::busy(device)));
            }
            // Another request may have changed the orders meanwhile.
            let device = &as_known(device, context);
            let updates = context.catalog.updates.clone();
            let decision = decided(device, &updates, &context.claims, now);
            if precedence == Precedence::HeldClaim
                && let Some(held) = held_claim(device, context, &decision, now)
            {
                self.save(device, context, seen, now).await;
                return Ok(CheckInResult::Held(held));
            }
            let offer = match &decision.offer {
                Some(offer) if reservations < MOST_RESERVATIONS => offer,
                _ => {
                    self.save(device, context, seen, now).await;
                    self.deferrals.count(&decision, now);
                    let waits = |(update, objection): &&(&Update, Objection)| {
                        let is_its_turn = objection.cure() == Cure::Turn && *objection != Objection::HeldOut;
                        is_its_turn && context.claims.questions().unanswered_about(&update.id).is_some()
                    };
                    let waiting =
                        decision.passed_over.iter().find(waits).filter(|_| precedence == Precedence::HeldClaim);
                    if let Some(asked) = waiting.and_then(|(update, _)| asked(update, device, &decision, context, now))
                    {
                        return Ok(CheckInResult::Asked(Box::new(asked)));
                    }
                    let nothing = NoOffer::of(device, &decision, now);
                    let check_again_after_s = context.at_most_a_poll(nothing.check_again_after_s);
                    return Ok(CheckInResult::Nothing(NoOffer { check_again_after_s, ..nothing }));
                }
            };
            reservations += 1;
            if said == Said::Nothing && offer.claim_status.needs().is_some() && is_unshown(device, context) {
                self.save(device, context, seen, now).await;
                return Ok(CheckInResult::Nothing(NoOffer::unshown()));
            }
            if precedence == Precedence::HeldClaim && !context.claims.may_install(offer.update) {
                let is_held = offer.claim_status.needs().is_none();
                let is_another_asked =
                    decision.passed_over.iter().any(|(_, objection)| *objection == Objection::NoAnswer);
                let question = match is_held || !is_another_asked {
                    true => self.ask_user(device, offer.update, context, &mut seen, now).await?,
                    false => AskOutcome::Waits,
                };
                match question {
                    AskOutcome::OtherDevice => {}
                    AskOutcome::Waits if is_held => {
                        let asked = asked(offer.update, device, &decision, context, now);
                        self.save(device, context, seen, now).await;
                        let busy = || CheckInResult::Nothing(NoOffer::busy(device));
                        return Ok(asked.map_or_else(busy, |asked| CheckInResult::Asked(Box::new(asked))));
                    }
                    // An older update that asks nobody need not wait for the user.
                    AskOutcome::Waits => context.claims.note_unanswered(offer.update.id.clone()),
                    AskOutcome::NotStored if is_held => return Ok(CheckInResult::Nothing(NoOffer::busy(device))),
                    AskOutcome::NotStored => context.claims.note_no_room(offer.update.id.clone(), NoRoom::Busy),
                }
                continue;
            }
            let (outcome, is_written) = match &offer.claim_status {
                ClaimStatus::Held(claim) => (ReserveOutcome::Claim(Box::new(claim.clone())), false),
                claim_status => {
                    let reserved = self.reserve(device, offer.update, claim_status, context, seen.as_ref(), now);
                    // A future of its own: few check-ins reserve, and the others need not carry its size.
                    (Box::pin(reserved).await?, true)
                }
            };
            match outcome {
                ReserveOutcome::Claim(claim) => {
                    match is_written {
                        // The grant has written the device already.
                        true => self.store_deferrals(now).await,
                        false => self.save(device, context, seen, now).await,
                    }
                    let check_again_after_s = check_again_after_s(device, &decision, now);
                    context.claims.record(offer.update.id.clone(), (*claim).clone());
                    let check_again_after_s = context.at_most_a_poll(check_again_after_s);
                    let offered = Offered { update: offer.update.clone(), claim: *claim, check_again_after_s };
                    return Ok(CheckInResult::Offer(Box::new(offered)));
                }
                ReserveOutcome::NoRoom(no_room) => context.claims.note_no_room(offer.update.id.clone(), no_room),
                // The store refuses the device as it is: it has a claim on this update that cannot be read.
                ReserveOutcome::OtherDevice(known) if known.record_or_default().revision == context.record.revision => {
                    context.claims.note_no_room(offer.update.id.clone(), NoRoom::Paused);
                }
                ReserveOutcome::OtherDevice(known) => context.adopt(*known)?,
                ReserveOutcome::OtherGeneration => self.reread_changed(offer.update, context, now).await?,
            }
        }
    }

    /// Asks the user of a device about an update, unless they were asked already.
    ///
    /// # Errors
    /// When the token was revoked meanwhile.
    async fn ask_user(
        &self,
        device: &Device,
        update: &Update,
        context: &mut DeviceContext,
        seen: &mut Option<Seen>,
        now: Timestamp,
    ) -> Done<AskOutcome> {
        if context.claims.questions().unanswered_about(&update.id).is_some() {
            return Ok(AskOutcome::Waits);
        }
        let before = context.claims.questions().about(&update.id);
        let matters = |question: &Question| {
            let is_live = context.catalog.updates.find(&question.update, &question.version).is_some();
            match context.claims.on(&question.update).map(Claim::state) {
                Some(Life::Proved | Life::Closed) => false,
                Some(Life::Open | Life::Installed | Life::Lost) => true,
                _ => is_live,
            }
        };
        let Some(questions) = context.record.questions.with(Question::asked(before, update, now), matters) else {
            // The user is asked about it when one of the others is over.
            return Ok(AskOutcome::Waits);
        };
        let write = DeviceWrite {
            questions: Some((context.record.revision, questions.clone())),
            ..context.write(&device.id, seen.clone(), Vec::new())
        };
        match self.store.write_device(&write).await {
            Ok(Written::Yes) => {
                if seen.take().is_some() {
                    context.record.last_seen = Some(now);
                }
                context.record.revision = context.record.revision.saturating_add(1);
                context.record.questions = questions.clone();
                context.claims = std::mem::take(&mut context.claims).with_questions(questions);
                Ok(AskOutcome::Waits)
            }
            Ok(Written::OtherDevice(known)) => {
                context.adopt(*known)?;
                Ok(AskOutcome::OtherDevice)
            }
            Err(error) => {
                tracing::warn!(product = %device.product, device = %device.id, %error, "user_not_asked");
                Ok(AskOutcome::NotStored)
            }
        }
    }

    /// Reads the catalog again after a shard said that an update has changed. While the change is not compiled, the device
    /// is to come again soon.
    async fn reread_changed(&self, decided: &Update, context: &mut DeviceContext, now: Timestamp) -> Done<()> {
        context.catalog = self.catalogs.refreshed(&self.store, &decided.product, now).await?;
        if let Some(head) = &context.catalog.head {
            context.head = head.clone();
            let claims = std::mem::take(&mut context.claims);
            context.claims = claims.with_halted(head.halted());
        }
        let found = context.catalog.updates.find(&decided.id, &decided.version);
        if found.is_some_and(|update| update.generation == decided.generation) {
            context.claims.note_no_room(decided.id.clone(), NoRoom::Busy);
        }
        Ok(())
    }

    /// Takes in what a check-in says about the device's claims. A claim moves once, because the write expects it as it was
    /// read; one write moves all of them and writes `seen`. If it cannot be written now, the next check-in does it. Returns the
    /// version that is proved by a report, of which the device says nothing.
    ///
    /// # Errors
    /// When the token was revoked meanwhile.
    async fn hear(
        &self,
        device: &Device,
        context: &mut DeviceContext,
        said: Said,
        seen: &mut Option<Seen>,
        now: Timestamp,
    ) -> Done<Option<Version>> {
        let said_version = device.version.to_string();
        let said_version = matches!(said, Said::Version).then_some(said_version.as_str());
        let device = &as_known(device, context);
        let moved = heard(said_version, Some(device), context, seen.is_some(), now);
        if moved.is_empty() {
            return Ok(None);
        }
        let by_report = moved.iter().find(|change| change.after.life.by_report && !change.before.life.by_report);
        let by_report = by_report.map(|change| change.after.version.clone());
        let running = || context.record.version.clone().unwrap_or_else(|| device.version.to_string());
        let mut heard = seen.clone().unwrap_or_else(|| device::checked_in(context, running(), now));
        // It never says its version. Without this, it would be offered the update again.
        heard.version = by_report.as_ref().map_or(heard.version, Version::to_string);
        let version = heard.version.clone();
        let write = context.write(&device.id, Some(heard), moved);
        match self.store.write_device(&write).await {
            Ok(Written::Yes) => {
                *seen = None;
                context.record.revision = context.record.revision.saturating_add(1);
                context.record.last_seen = Some(now);
                context.record.version = Some(version);
                for ClaimChange { after, .. } in write.claims {
                    context.claims.record(UpdateId::of(&device.product, &after.version, after.campaign), after);
                }
                return Ok(by_report);
            }
            // Another request was faster.
            Ok(Written::OtherDevice(known)) => context.adopt(*known)?,
            Err(error) => {
                tracing::warn!(product = %device.product, device = %device.id, %error, "claim_not_moved");
            }
        }
        Ok(None)
    }

    /// Takes in the version that a device says outside of a check-in, and writes its record. `running` is the device with
    /// that version, if it is one that can be compared.
    ///
    /// # Errors
    /// `Conflict`, when another request wrote it first; or the store cannot be reached.
    pub async fn hear_and_save(
        &self,
        device: &DeviceId,
        version: &str,
        running: Option<&Device>,
        context: &DeviceContext,
        seen: Option<Seen>,
        now: Timestamp,
    ) -> Done<()> {
        let running = running.map(|device| as_known(device, context));
        let moved = heard(Some(version), running.as_deref(), context, seen.is_some(), now);
        if moved.is_empty() && seen.is_none() {
            return Ok(());
        }
        let seen = seen.unwrap_or_else(|| device::checked_in(context, version.to_owned(), now));
        match self.store.write_device(&context.write(device, Some(seen), moved)).await? {
            Written::Yes => Ok(()),
            Written::OtherDevice(_) => Err(StoreError::Conflict.into()),
        }
    }

    /// Settings of a product, at most as old as a catalog may be; `None` when it does not exist.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn head(&self, product: &ProductId, now: Timestamp) -> Done<Option<Head>> {
        Ok(self.catalogs.current(&self.store, product, now).await?.head)
    }

    /// Writes the record of a device.
    ///
    /// # Errors
    /// `Conflict`, when another request wrote it first; or the store cannot be reached.
    pub async fn save_device(&self, device: &DeviceId, context: &DeviceContext, seen: Seen) -> Done<()> {
        match self.store.write_device(&context.write(device, Some(seen), Vec::new())).await? {
            Written::Yes => Ok(()),
            Written::OtherDevice(_) => Err(StoreError::Conflict.into()),
        }
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
        for (rollout, counts) in self.deferrals.due(now) {
            if let Err(error) = self.store.add_deferrals(&rollout, &counts).await {
                tracing::warn!(product = %rollout.product(), version = %rollout.version(), %error, "deferrals_not_stored");
            }
        }
    }

    /// Writes the device's record, and the deferrals that wait for a write. A check-in is answered also when that
    /// fails: the next one writes them.
    async fn save(&self, device: &Device, context: &DeviceContext, seen: Option<Seen>, now: Timestamp) {
        if seen.is_none() {
            return;
        }
        let write = context.write(&device.id, seen, Vec::new());
        if let Err(error) = self.store.write_device(&write).await {
            tracing::warn!(product = %device.product, device = %device.id, %error, "device_not_saved");
        }
        self.store_deferrals(now).await;
    }
}

/// The device as the service knows it: with the orders of its record, which no device says by itself, and with the
/// version of the update whose image says what the device says.
fn as_known<'a>(device: &'a Device, context: &DeviceContext) -> Cow<'a, Device> {
    let (reports, orders) = (context.catalog.updates.reports(), &context.record.orders);
    let known = || reports.version_of(&device.version.to_string());
    let is_known_already = reports.is_empty() || device.said.is_some();
    let other = if is_known_already { None } else { known().filter(|version| *version != device.version) };
    match (other, *orders == device.orders) {
        (None, true) => Cow::Borrowed(device),
        (None, false) => Cow::Owned(Device { orders: orders.clone(), ..device.clone() }),
        (Some(version), _) => {
            let said = Some(device.version.clone());
            Cow::Owned(Device { version, said, orders: orders.clone(), ..device.clone() })
        }
    }
}

/// Returns true if the device said that it installed an update, and has not said since then which version it runs. What was
/// decided from the version before would be decided for another device.
fn is_unshown(device: &Device, context: &DeviceContext) -> bool {
    let installed = context.claims.last_success().filter(|claim| claim.state() == Life::Installed);
    installed.is_some_and(|claim| claim.version.cmp_precedence(&device.version).is_ne())
}

/// The question about an update that awaits the user's answer.
fn asked(
    update: &Update,
    device: &Device,
    decision: &Decision<'_>,
    context: &DeviceContext,
    now: Timestamp,
) -> Option<Asked> {
    let question = context.claims.questions().unanswered_about(&update.id)?;
    let check_again_after_s = match decision.offer {
        Some(_) => UNPROVED_S,
        None => check_again_after_s(device, decision, now),
    };
    let check_again_after_s = context.at_most_a_poll(check_again_after_s);
    Some(Asked { update: update.clone(), question: question.clone(), check_again_after_s })
}

/// Decides, and marks the decision for the tests that count them.
fn decided<'a>(device: &Device, updates: &'a Catalog, claims: &Claims, now: Timestamp) -> Decision<'a> {
    tracing::trace!(target: DECISION_TARGET, device = %device.id, "decided");
    decide(device, updates, claims, now)
}

/// The claims that move by a sign of a device and by the version that it says, if it says one. Marks cost no write of
/// their own: they wait for one that `is_written`.
fn heard(
    version: Option<&str>,
    running: Option<&Device>,
    context: &DeviceContext,
    is_written: bool,
    now: Timestamp,
) -> Vec<ClaimChange> {
    let admitted =
        |update: &UpdateId, claim: &Claim| running.is_none_or(|device| admits(device, context, update, claim));
    let updates = &context.catalog.updates;
    let is_offered_anew = |claim: &Claim| running.is_some_and(|device| updates.is_offered_anew(device, claim));
    let known = version.and_then(|version| updates.reports().version_of(version)).map(|version| version.to_string());
    let texts = version.map(|version| [version, known.as_deref().unwrap_or(version)]);
    let all = || context.claims.iter().map(|(_, claim)| claim);
    let last = context.claims.last_success().map(|claim| claim.epoch);
    let moved = context.claims.iter().filter_map(|(update, before)| {
        let event = match texts.map(|texts| before.said(&texts, all())) {
            Some(Event::Old) if before.is_open() && (!admitted(update, before) || is_offered_anew(before)) => {
                Event::GivenBack
            }
            Some(event) => event,
            // A device that must be told to cancel it comes back after that.
            None if before.is_open() && is_offered_anew(before) && !context.is_stopped(update, before) => {
                Event::GivenBack
            }
            // It has the offer, and has not said that it runs anything else.
            None if before.is_open() => Event::Old,
            None => Event::Progress,
        };
        let rules = context.rules(update, before);
        let is_proved_by_report = context.head.proves_by_report && version.is_none() && last == Some(before.epoch);
        let by_report = || before.confirmed(&rules, now).filter(|_| is_proved_by_report);
        let after = by_report().or_else(|| before.after(event, &rules, now))?;
        let is_worth_it = is_written || !before.life.differs_by_marks(&after.life);
        is_worth_it.then(|| ClaimChange { before: before.clone(), after, note: None })
    });
    moved.collect()
}

/// Returns false if the policy of a claim's update is certain not to admit the device any more.
fn admits(device: &Device, context: &DeviceContext, update: &UpdateId, claim: &Claim) -> bool {
    let found = context.catalog.updates.find(update, &claim.version);
    let is_ordered_away = device.orders.allow(&claim.version).is_err();
    !is_ordered_away && found.is_none_or(|update| !update.excludes(device, &context.catalog.updates))
}

/// The claim under way that comes before any new offer.
fn held_claim(device: &Device, context: &DeviceContext, decision: &Decision<'_>, now: Timestamp) -> Option<HeldClaim> {
    let reserved = || context.claims.iter().filter(|(_, claim)| claim.is_open());
    reserved().next()?;
    let check_again_after_s = context.at_most_a_poll(check_again_after_s(device, decision, now));
    let stopped = reserved().find(|(id, claim)| context.is_stopped(id, claim));
    if let Some((update, claim)) = stopped {
        return Some(HeldClaim::Stopped {
            update: update.clone(),
            claim: Box::new(claim.clone()),
            check_again_after_s,
        });
    }
    decision.passed_over.iter().find_map(|(update, objection)| {
        let claim = context.claims.on(&update.id)?;
        let waits = matches!(objection, Objection::OutsideWindow { .. }) && claim.is_open();
        waits.then(|| HeldClaim::OutsideWindow {
            update: Box::new((*update).clone()),
            claim: Box::new(claim.clone()),
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
