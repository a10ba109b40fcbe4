//! The answer to a check-in: the newest update that nothing objects to.

use std::cell::LazyCell;

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::claim::{Claim, ClaimState, Claims};
use crate::cohort::Cohort;
use crate::device::Device;
use crate::lifecycle::State;
use crate::objection::{NoRoom, Objection};
use crate::policy::{Candidate, Doubt, Facts, Truth};
use crate::rollout::WhenFull;
use crate::shard::Grant;
use crate::update::Update;

/// Our answer, with the reason against every update that was passed over.
#[derive(Debug, Clone)]
pub struct Decision<'a> {
    /// The update in it, if any.
    pub offer: Option<Offer<'a>>,
    /// What was passed over before it, newest first, and why. Of the updates that are not for this
    /// device, it holds the newest at most, and only when nothing else could be told; [`explain`]
    /// lists them all.
    ///
    /// [`explain`]: crate::receipt::explain
    pub passed_over: Vec<(&'a Update, Objection)>,
}

/// An update that nothing objects to, as far as is known before its shard is asked.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// The update.
    pub update: &'a Update,
    /// What the device's claim on it allows.
    pub claim_status: ClaimStatus,
}

/// What a device's claim allows.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimStatus {
    /// There is no claim: one must be reserved before anything is answered.
    Unclaimed,
    /// The claim is live: the same answer again, nothing is spent.
    Held(Claim),
    /// The claim lapsed: it must be reserved again before anything is answered.
    Lapsed(Claim),
}

impl ClaimStatus {
    /// What the shard must grant before the offer can be made; `None` when it was granted before.
    #[must_use]
    pub fn needs(&self) -> Option<Grant> {
        match self {
            Self::Unclaimed => Some(Grant::First),
            Self::Held(_) => None,
            Self::Lapsed(claim) if claim.state == ClaimState::Reserved => Some(Grant::Renewed),
            Self::Lapsed(_) => Some(Grant::Again),
        }
    }
}

impl<'a> Decision<'a> {
    /// The objection that a device is told when there is no offer.
    ///
    /// It is the newest one that time or an operator cures, because that is what the device waits
    /// for; failing that, the newest one that is not about its own version.
    #[must_use]
    pub fn reason(&self) -> Option<&(&'a Update, Objection)> {
        let first = |fits: &dyn Fn(&Objection) -> bool| self.passed_over.iter().find(|(_, objection)| fits(objection));
        first(&Objection::cures_itself)
            .or_else(|| first(&|objection| !matches!(objection, Objection::UpToDate { .. })))
            .or_else(|| self.passed_over.first())
    }

    /// The earliest time at which an objection is cured, and so the answer may change.
    #[must_use]
    pub fn may_change_at(&self) -> Option<Timestamp> {
        self.passed_over.iter().filter_map(|(_, objection)| objection.opens_at()).min()
    }
}

/// Chooses what to tell `device` at `now`: the newest update that nothing objects to.
#[must_use]
pub fn decide<'a>(device: &Device, catalog: &'a Catalog, claims: &Claims, now: Timestamp) -> Decision<'a> {
    if device.product != *catalog.product() {
        return Decision { offer: None, passed_over: Vec::new() };
    }
    let facts = catalog.slots().bind(&device.version, &device.attributes);
    let newer = catalog.newer_than(&device.version);
    // Whatever is left out here would only be passed over, with an objection that time does not cure.
    let suits = |update: &&Update| update.moves(device).is_ok() && update.reaches(device).is_ok();
    let candidates = catalog.targeting(device, &facts, newer).filter(suits);
    let mut decision = consider(device, &facts, candidates, claims, now);
    if decision.offer.is_none() && !decision.passed_over.iter().any(|(_, objection)| objection.cures_itself()) {
        let told = newest_not_for(device, &facts, catalog, newer, claims, now);
        let known = decision.passed_over.first().map(|(update, _)| *update);
        let news = told.filter(|(update, _)| !known.is_some_and(|known| std::ptr::eq(known, *update)));
        decision.passed_over.splice(0..0, news);
    }
    decision
}

/// Decides as [`decide`] does, and passes over every update in turn.
pub(crate) fn decide_on_all<'a>(
    device: &Device,
    catalog: &'a Catalog,
    claims: &Claims,
    now: Timestamp,
) -> Decision<'a> {
    if device.product != *catalog.product() {
        return Decision { offer: None, passed_over: Vec::new() };
    }
    let facts = catalog.slots().bind(&device.version, &device.attributes);
    consider(device, &facts, catalog.newest_first(), claims, now)
}

fn consider<'a>(
    device: &Device,
    facts: &Facts<'_>,
    newest_first: impl Iterator<Item = &'a Update>,
    claims: &Claims,
    now: Timestamp,
) -> Decision<'a> {
    let mut passed_over = Vec::new();
    for update in newest_first {
        match admit(device, facts, update, claims, now) {
            Ok(claim_status) => return Decision { offer: Some(Offer { update, claim_status }), passed_over },
            Err(objection) => {
                let waits = objection.is_waiting() && update.rollout.when_full == WhenFull::Wait;
                passed_over.push((update, objection));
                if waits {
                    break;
                }
            }
        }
    }
    Decision { offer: None, passed_over }
}

/// The newest update that has more against it than that the device is up to date; failing that, the newest.
fn newest_not_for<'a>(
    device: &Device,
    facts: &Facts<'_>,
    catalog: &'a Catalog,
    newer: usize,
    claims: &Claims,
    now: Timestamp,
) -> Option<(&'a Update, Objection)> {
    let objection = |position| {
        let update = catalog.at(position)?;
        Some((update, admit(device, facts, update, claims, now).err()?))
    };
    let movable = (0..newer).chain(catalog.index.downgrades());
    movable
        .filter_map(objection)
        .find(|(_, objection)| !matches!(objection, Objection::UpToDate { .. }))
        .or_else(|| objection(0))
}

/// Asks every rule about one update. The first objection wins, so rules that will never change
/// their mind come before rules that only say "wait".
fn admit(
    device: &Device,
    facts: &Facts<'_>,
    update: &Update,
    claims: &Claims,
    now: Timestamp,
) -> Result<ClaimStatus, Objection> {
    update.moves(device)?;
    update.reaches(device)?;
    // A hash, which most updates and most policies do not ask for.
    let cohort = LazyCell::new(|| Cohort::of(&update.id, &device.id));
    let place = || cohort.place();
    let candidate = Candidate { new_version: &update.version, cohort: &place };
    targets(update, facts, &candidate)?;
    let claim_status = claim_status(update, claims, now)?;
    is_live(update)?;
    update.rollout.admits(facts, &candidate, &|| *cohort, now)?;
    has_room(update, &claim_status, claims)?;
    Ok(claim_status)
}

fn targets(update: &Update, facts: &Facts<'_>, candidate: &Candidate<'_>) -> Result<(), Objection> {
    match update.policy.evaluate(facts, candidate) {
        Truth::Yes => Ok(()),
        Truth::No => Err(Objection::NotTargeted { missing: None }),
        Truth::Unknown(Doubt::Missing(name)) => Err(Objection::NotTargeted { missing: Some(name.to_string()) }),
        Truth::Unknown(Doubt::Unclear(why)) => Err(Objection::PolicyUnclear { why: why.to_string() }),
    }
}

/// A device that has the update and is on another version went back: it is not sent round again.
fn claim_status(update: &Update, claims: &Claims, now: Timestamp) -> Result<ClaimStatus, Objection> {
    let Some(claim) = claims.on(&update.id) else {
        return Ok(ClaimStatus::Unclaimed);
    };
    let backed_out = claim.backed_out || claim.state == ClaimState::Succeeded;
    let is_spent = claim.has_lapsed(now) && claim.attempts >= update.rollout.max_attempts;
    if backed_out || is_spent {
        return Err(Objection::RejectedBefore { attempts: claim.attempts, backed_out });
    }
    Ok(if claim.has_lapsed(now) { ClaimStatus::Lapsed(claim.clone()) } else { ClaimStatus::Held(claim.clone()) })
}

fn is_live(update: &Update) -> Result<(), Objection> {
    match update.state {
        State::Active => Ok(()),
        State::Paused => Err(Objection::Paused),
        State::Aborted => Err(Objection::Aborted { why: update.reason.clone() }),
        // A draft has not been offered to anyone; the others are over.
        State::Draft | State::Completed | State::Withdrawn => Err(Objection::Ended { at: None }),
    }
}

/// Room matters only to a device that needs a place; one that holds its place keeps it.
fn has_room(update: &Update, claim_status: &ClaimStatus, claims: &Claims) -> Result<(), Objection> {
    let Some(no_room) = claims.no_room(&update.id) else {
        return Ok(());
    };
    if claim_status.needs().is_none() {
        return Ok(());
    }
    let limits = &update.rollout.limits;
    Err(match no_room {
        NoRoom::Full => Objection::Full { max_devices: limits.max_devices },
        NoRoom::RateLimited { opens_at } => Objection::RateLimited { opens_at: *opens_at },
        NoRoom::TooManyInFlight => Objection::TooManyInFlight { max_in_flight: limits.max_in_flight },
        NoRoom::Paused => Objection::Paused,
        NoRoom::Aborted => Objection::Aborted { why: String::new() },
    })
}
