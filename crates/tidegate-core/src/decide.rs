//! Decision on a check-in: the newest update that nothing objects to.

use std::cell::LazyCell;

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::claim::{Claim, Claims};
use crate::cohort::Cohort;
use crate::device::Device;
use crate::life::retry::Next;
use crate::life::{Left, State as Life};
use crate::lifecycle::State;
use crate::objection::{Cure, Objection, ObjectionCode};
use crate::policy::{Candidate, Doubt, Facts, Truth};
use crate::rollout::WhenFull;
use crate::shard::Grant;
use crate::update::Update;

/// Answer to a check-in, with the reason against each update that was passed over.
#[derive(Debug, Clone)]
pub struct Decision<'a> {
    /// The offered update, if there is one.
    pub offer: Option<Offer<'a>>,
    /// The updates that were passed over, newest first, each with its objection. Of the updates that are unsuitable
    /// for the device, it holds at most the newest, and only if there is no other reason; [`explain`] lists them all.
    ///
    /// [`explain`]: crate::receipt::explain
    pub passed_over: Vec<(&'a Update, Objection)>,
}

/// An update that nothing objects to. Its shard may still refuse.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// The update.
    pub update: &'a Update,
    /// Status of the device's claim on it.
    pub claim_status: ClaimStatus,
}

/// Status of a device's claim on an update.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimStatus {
    /// There is no claim. One must be granted before the answer.
    Unclaimed,
    /// The claim is open. The answer is the same as before, and nothing is granted.
    Held(Claim),
    /// The claim has ended, and another attempt may follow. It must be granted before the answer.
    Ended(Claim),
}

impl ClaimStatus {
    /// Grant that the shard must give before the offer; `None` if the device holds it already.
    #[must_use]
    pub fn needs(&self) -> Option<Grant> {
        match self {
            Self::Unclaimed => Some(Grant::First),
            Self::Held(_) => None,
            Self::Ended(_) => Some(Grant::Again),
        }
    }

    /// Returns true if the device has only the share of the newcomers. A device stays what it was at its first grant.
    #[must_use]
    pub fn is_newcomer(&self, update: &Update, first_seen: Option<Timestamp>) -> bool {
        match self {
            Self::Unclaimed => update.is_newcomer(first_seen),
            Self::Held(claim) | Self::Ended(claim) => claim.is_newcomer,
        }
    }
}

impl<'a> Decision<'a> {
    /// The objection that a device is told if there is no offer.
    ///
    /// It is the first objection that can end, because the device waits for that. If there is none, it is the first one
    /// that is not about the device's own version.
    #[must_use]
    pub fn reason(&self) -> Option<&(&'a Update, Objection)> {
        let first = |fits: &dyn Fn(&Objection) -> bool| self.passed_over.iter().find(|(_, objection)| fits(objection));
        first(&|objection| objection.cure() != Cure::Never)
            .or_else(|| first(&|objection| !objection.is_about_version()))
            .or_else(|| first(&|objection| objection.code() == ObjectionCode::UpToDate))
            .or_else(|| self.passed_over.first())
    }

    /// Code of [`reason`](Self::reason); `up_to_date` if no update was passed over.
    #[must_use]
    pub fn reason_code(&self) -> ObjectionCode {
        self.reason().map_or(ObjectionCode::UpToDate, |(_, objection)| objection.code())
    }

    /// Earliest time at which an objection ends, and so the answer may change.
    #[must_use]
    pub fn may_change_at(&self) -> Option<Timestamp> {
        self.passed_over.iter().filter_map(|(_, objection)| objection.opens_at()).min()
    }
}

/// Chooses the answer for `device` at `now`: the newest update that nothing objects to.
#[must_use]
pub fn decide<'a>(device: &Device, catalog: &'a Catalog, claims: &Claims, now: Timestamp) -> Decision<'a> {
    if device.product != *catalog.product() {
        return Decision { offer: None, passed_over: Vec::new() };
    }
    let facts = catalog.slots().bind(device);
    let newer = catalog.newer_than(&device.version);
    // An update that is left out here would be passed over with an objection that never ends.
    let suits = |update: &&Update| update.moves(device).is_ok() && update.reaches(device).is_ok();
    let candidates = catalog.rollbacks().chain(catalog.targeting(device, &facts, newer)).filter(suits);
    let mut decision = consider(device, &facts, candidates, claims, now);
    if decision.offer.is_none() && decision.passed_over.iter().all(|(_, objection)| objection.cure() == Cure::Never) {
        let told = newest_not_for(device, &facts, catalog, newer, claims, now);
        let known = decision.passed_over.first().map(|(update, _)| *update);
        let news = told.filter(|(update, _)| !known.is_some_and(|known| std::ptr::eq(known, *update)));
        decision.passed_over.splice(0..0, news);
    }
    decision
}

/// Decides as [`decide`] does, but looks at every update.
pub(crate) fn decide_on_all<'a>(
    device: &Device,
    catalog: &'a Catalog,
    claims: &Claims,
    now: Timestamp,
) -> Decision<'a> {
    if device.product != *catalog.product() {
        return Decision { offer: None, passed_over: Vec::new() };
    }
    let facts = catalog.slots().bind(device);
    consider(device, &facts, catalog.in_turn(), claims, now)
}

fn consider<'a>(
    device: &Device,
    facts: &Facts<'_>,
    in_turn: impl Iterator<Item = &'a Update>,
    claims: &Claims,
    now: Timestamp,
) -> Decision<'a> {
    let mut passed_over = Vec::new();
    for update in in_turn {
        match admit(device, facts, update, claims, now) {
            Ok(claim_status) => return Decision { offer: Some(Offer { update, claim_status }), passed_over },
            Err(objection) => {
                let waits = objection.cure() == Cure::Turn && update.rollout.when_full == WhenFull::Wait;
                passed_over.push((update, objection));
                if waits {
                    break;
                }
            }
        }
    }
    Decision { offer: None, passed_over }
}

/// The first update, in the order of a decision, whose objection is not about the device's version. If there is none, the
/// first one that is "up to date", or else the first one.
fn newest_not_for<'a>(
    device: &Device,
    facts: &Facts<'_>,
    catalog: &'a Catalog,
    newer: usize,
    claims: &Claims,
    now: Timestamp,
) -> Option<(&'a Update, Objection)> {
    let objection = |update| Some((update, admit(device, facts, update, claims, now).err()?));
    let is_up_to_date = |found: &(&Update, Objection)| found.1.code() == ObjectionCode::UpToDate;
    let at = |position| catalog.at(position);
    // Ended rollbacks that could move the device are below its version.
    let ended = || catalog.index.rollbacks().filter_map(at).filter(|update| !update.comes_first());
    catalog
        .rollbacks()
        .chain((0..newer).filter_map(at))
        .chain(ended())
        .filter_map(objection)
        .find(|(_, objection)| !objection.is_about_version())
        .or_else(|| {
            let rest = (newer..catalog.len()).filter_map(at);
            catalog.rollbacks().chain(rest).filter_map(objection).find(is_up_to_date)
        })
        .or_else(|| catalog.rollbacks().chain(ended()).find_map(objection))
}

/// Asks every rule about one update. The first objection wins, so objections that never end come before objections
/// that make the device wait.
fn admit(
    device: &Device,
    facts: &Facts<'_>,
    update: &Update,
    claims: &Claims,
    now: Timestamp,
) -> Result<ClaimStatus, Objection> {
    update.moves(device)?;
    update.reaches(device)?;
    // Most updates and policies do not need this hash.
    let cohort = LazyCell::new(|| update.cohort_of(&device.id));
    let place = || cohort.place();
    let candidate = Candidate { new_version: &update.version, cohort: &place };
    targets(update, facts, &candidate)?;
    device.orders.allow(&update.version)?;
    is_not_over(update, now)?;
    undoes_nothing(update, claims)?;
    let claim_status = claim_status(update, &|| *cohort, claims, now)?;
    is_not_refused(update, &claim_status, &|| *cohort, claims, now)?;
    match update.state {
        State::Paused => return Err(Objection::Paused),
        State::Held => return Err(Objection::Held { why: update.reason.clone() }),
        State::Draft | State::Scheduled | State::Active | State::Completed | State::Aborted | State::Withdrawn => {}
    }
    // Also a device that holds a claim gets nothing from a stopped rollout.
    if claims.is_halted(&update.id) {
        return Err(Objection::Paused);
    }
    if let Some(opens_at) = update.not_before.filter(|opens_at| now < *opens_at && claim_status.needs().is_some()) {
        return Err(Objection::TransfersFailing { opens_at });
    }
    update.rollout.admits(facts, &candidate, &|| *cohort, now)?;
    let is_named = || update.rollout.names(facts, &candidate);
    is_served_now(update, &claim_status, &|| *cohort, &is_named, claims)?;
    if claim_status.needs().is_some() && claims.is_unanswered(&update.id) {
        return Err(Objection::NoAnswer);
    }
    has_room(update, &claim_status, claims)?;
    Ok(claim_status)
}

/// Rule: a device that has installed an update, as far as it said so, is offered no older one. It may not have shown yet
/// what it runs. A way back is meant to undo.
fn undoes_nothing(update: &Update, claims: &Claims) -> Result<(), Objection> {
    let installed = claims.last_success().filter(|_| !update.is_rollback());
    match installed.filter(|claim| update.version.cmp_precedence(&claim.version).is_lt()) {
        Some(claim) => Err(Objection::WouldUndo { installed: claim.version.clone() }),
        None => Ok(()),
    }
}

fn targets(update: &Update, facts: &Facts<'_>, candidate: &Candidate<'_>) -> Result<(), Objection> {
    match update.policy.evaluate(facts, candidate) {
        Truth::Yes => Ok(()),
        Truth::No => Err(Objection::NotTargeted { missing: None }),
        Truth::Unknown(Doubt::Missing(name)) => Err(Objection::NotTargeted { missing: Some(name.to_string()) }),
        Truth::Unknown(Doubt::Unclear(why)) => Err(Objection::PolicyUnclear { why: why.to_string() }),
    }
}

/// What an earlier offer of the update means for another one.
fn claim_status(
    update: &Update,
    cohort: &dyn Fn() -> Cohort,
    claims: &Claims,
    now: Timestamp,
) -> Result<ClaimStatus, Objection> {
    let Some(claim) = claims.on(&update.id) else {
        return match claims.failed_before(&update.version, update.campaign) {
            Some(claim) if !update.rollout.include_failed => {
                Err(Objection::FailedBefore { attempts: claim.attempts, opens_at: None })
            }
            _ => Ok(ClaimStatus::Unclaimed),
        };
    };
    if claim.is_open() {
        return Ok(ClaimStatus::Held(claim.clone()));
    }
    let next = claim.next(update.rollout.max_attempts, cohort());
    if next.and_then(Next::opens_at).is_some_and(|opens_at| opens_at <= now) {
        return Ok(ClaimStatus::Ended(claim.clone()));
    }
    Err(match next {
        Some(Next::At(opens_at)) => Objection::RetryLater { opens_at: Some(opens_at) },
        Some(Next::FailedBefore(opens_at)) => {
            Objection::FailedBefore { attempts: claim.attempts, opens_at: Some(opens_at) }
        }
        Some(Next::KeepsLeaving(opens_at)) => Objection::KeepsLeaving { opens_at },
        Some(Next::Never) if claim.life.left == Some(Left::ClonedId) => Objection::ClonedId,
        Some(Next::Never) if claim.state() == Life::Declined => Objection::Declined,
        Some(Next::Never) => Objection::Reverted,
        None if claim.life.old_once => Objection::SaidOld,
        // The device said success, or a later check-in writes what it says now.
        None => Objection::RetryLater { opens_at: None },
    })
}

/// Rule: a user who refused an update is asked again later, and at last not any more.
fn is_not_refused(
    update: &Update,
    claim_status: &ClaimStatus,
    cohort: &dyn Fn() -> Cohort,
    claims: &Claims,
    now: Timestamp,
) -> Result<(), Objection> {
    let question = claims.questions().about(&update.id).filter(|_| update.content.ask_consent);
    let Some(question) = question.filter(|_| claim_status.needs().is_some()) else {
        return Ok(());
    };
    match question.next(cohort()) {
        None => Ok(()),
        Some(next) => match next.opens_at() {
            Some(opens_at) if opens_at <= now => Ok(()),
            Some(opens_at) => Err(Objection::RetryLater { opens_at: Some(opens_at) }),
            None => Err(Objection::Declined),
        },
    }
}

fn is_not_over(update: &Update, now: Timestamp) -> Result<(), Objection> {
    match update.state {
        State::Aborted => Err(Objection::Aborted { why: update.reason.clone() }),
        // These two have not begun; the other rollouts are over.
        State::Draft | State::Scheduled | State::Completed | State::Withdrawn => Err(Objection::Ended { at: None }),
        State::Active | State::Paused | State::Held => match update.rollout.ends_at {
            Some(at) if now >= at => Err(Objection::Ended { at: Some(at) }),
            _ => Ok(()),
        },
    }
}

/// A control group is served last. A device that was offered the update before, or is in a group of the rollout, or whose
/// user has agreed, is no member.
fn is_served_now(
    update: &Update,
    claim_status: &ClaimStatus,
    cohort: &dyn Fn() -> Cohort,
    is_named: &dyn Fn() -> bool,
    claims: &Claims,
) -> Result<(), Objection> {
    let is_agreed = update.content.ask_consent && claims.may_install(update);
    let is_new = *claim_status == ClaimStatus::Unclaimed && !is_agreed;
    match update.held_out_from {
        Some(from) if is_new && cohort() >= from && !is_named() => Err(Objection::HeldOut),
        _ => Ok(()),
    }
}

/// Room matters only to a device that needs a place. A device that holds a place keeps it.
fn has_room(update: &Update, claim_status: &ClaimStatus, claims: &Claims) -> Result<(), Objection> {
    let Some(no_room) = claims.no_room(&update.id) else {
        return Ok(());
    };
    if claim_status.needs().is_none() {
        return Ok(());
    }
    Err(no_room.objection(&update.rollout.limits))
}
