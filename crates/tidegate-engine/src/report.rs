//! A device reports: load, settle, write. An outcome counts once, because the write expects the claim as it was read, and
//! every count follows from the writes.

use tidegate_core::claim::Attempt;
use tidegate_core::status::{Status, StatusEffect};
use tidegate_core::{Claim, ClaimState, DeviceId, ProductId, State, Timestamp, UpdateId, Version};
use tidegate_store::record::{ClaimChange, DeviceWrite, KnownDevice, Note, Seen};
use tidegate_store::store::{Freshness, Include, Stored, Written};
use tidegate_store::{ReportStore, StoreError};

use crate::device;
use crate::error::{Done, EngineError};
use crate::token::Proof;
pub use tidegate_wire::report::NotRecorded;

/// Tries per report, when other requests move the same claim at the same time.
const MOST_TRIES: usize = 4;

/// Reports over a store.
#[derive(Debug)]
pub struct Reports<S> {
    store: S,
}

/// Report of a device about one of its claims.
pub struct Report<'a> {
    /// Product of the device.
    pub product: &'a ProductId,
    /// The device.
    pub device: &'a DeviceId,
    /// The claim that it is about.
    pub about: About<'a>,
    /// Its content.
    pub content: &'a Content,
    /// Source of the version that the device runs.
    pub version_from: VersionFrom<'a>,
}

/// Selects the claim that a report is about.
pub enum About<'a> {
    /// The claim on this update.
    Update(&'a UpdateId),
    /// The claim that the dialect finds among those of the device.
    Found(&'a (dyn Fn(&KnownDevice) -> Found + Sync)),
}

/// Claim that a dialect found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The present reservation of the claim on this update.
    Present(UpdateId),
    /// A reservation that is over: the claim has had another since.
    Earlier,
    /// No claim of this device.
    Nothing,
}

/// Content of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A progress status or an outcome.
    Status {
        /// The status.
        status: Status,
        /// Message for operators.
        message: Option<String>,
        /// Percentage that is done.
        progress: Option<u8>,
    },
    /// The device stopped before it installed anything.
    LetGo,
    /// The user agreed to the update.
    Consent,
}

/// Source of the version that a device runs, once it has installed an update.
#[derive(Debug, Clone, Copy)]
pub enum VersionFrom<'a> {
    /// The next check-in contains it.
    CheckIn,
    /// Check-ins do not contain it, so the report of a success writes it to the record. `running` is the version that
    /// this report names itself, with or without a claim on it.
    Report {
        /// Version that the device runs now, as the report says.
        running: Option<&'a Version>,
    },
}

/// Result of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It was recorded.
    Yes,
    /// It changed nothing.
    No(NotRecorded),
}

/// The reason why a report about a claim in its present state changes nothing.
fn not_recorded(claim: &Claim) -> NotRecorded {
    match claim.state {
        ClaimState::Reserved => NotRecorded::NotReserved,
        ClaimState::Expired => NotRecorded::Expired,
        ClaimState::Succeeded => NotRecorded::SucceededBefore,
        ClaimState::Failed => NotRecorded::FailedBefore,
    }
}

impl<S: ReportStore> Reports<S> {
    /// Reports that are recorded in `store`.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Records a report.
    ///
    /// # Errors
    /// When the token is not accepted, the product does not exist, or the store cannot be reached.
    pub async fn record(&self, report: &Report<'_>, proof: Proof, now: Timestamp) -> Done<Recorded> {
        for _ in 0..MOST_TRIES {
            let include = Include::Item;
            let known = self.store.device(report.product, report.device, include, Freshness::Strong).await?;
            self.accept(report.product, &known, proof).await?;
            match self.record_once(report, &known, now).await {
                Err(EngineError::Store(StoreError::Conflict | StoreError::Contended)) => {}
                recorded => return recorded,
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Checks that the token still holds.
    async fn accept(&self, product: &ProductId, known: &KnownDevice, proof: Proof) -> Done<()> {
        let accepts_product_tokens = match proof {
            Proof::Device { .. } => false,
            Proof::Product => {
                let head = self.store.head(product, Freshness::Eventual).await?;
                head.is_some_and(|head| head.accepts_product_tokens)
            }
        };
        match proof.is_accepted(known.record_or_default().token_generation, accepts_product_tokens) {
            true => Ok(()),
            false => Err(EngineError::TokenRefused),
        }
    }

    async fn record_once(&self, report: &Report<'_>, known: &KnownDevice, now: Timestamp) -> Done<Recorded> {
        let (change, recorded) = match find(report, known) {
            Ok(claim) => match self.change(claim, report).await? {
                Ok(change) => (change, Recorded::Yes),
                Err(why) => (None, Recorded::No(why)),
            },
            Err(why) => (None, Recorded::No(why)),
        };
        let seen = seen(report, known, change.as_ref(), now);
        let recorded = if seen.is_some() { Recorded::Yes } else { recorded };
        if seen.is_none() && change.is_none() {
            return Ok(recorded);
        }
        // A device whose record has a version has passed this check before, or has checked in.
        let is_unseen = known.record_or_default().version.is_none();
        if is_unseen && self.store.head(report.product, Freshness::Eventual).await?.is_none() {
            return Err(EngineError::UnknownProduct(report.product.clone()));
        }
        let write = DeviceWrite {
            product: report.product.clone(),
            device: report.device.clone(),
            is_known: known.record.is_some(),
            seen,
            claims: change.into_iter().collect(),
        };
        match self.store.write_device(&write).await? {
            Written::Yes => Ok(recorded),
            Written::OtherDevice(_) => Err(StoreError::Conflict.into()),
        }
    }

    /// The change of a claim by a report. `None` if the claim is already as the report says.
    async fn change(&self, before: &Claim, report: &Report<'_>) -> Stored<Result<Option<ClaimChange>, NotRecorded>> {
        let (after, note) = match report.content {
            Content::Status { status, message, progress } => {
                let (message, progress) = (message.clone(), *progress);
                let after = match status.effect() {
                    StatusEffect::Progress => (before.state == ClaimState::Reserved).then(|| before.clone()),
                    outcome => before.settle(outcome),
                };
                (after, Some(Note { status: status.to_string(), progress, message }))
            }
            Content::LetGo => (self.let_go(report, before).await?, None),
            Content::Consent => match before.consent() {
                None if before.state == ClaimState::Reserved => return Ok(Ok(None)),
                after => (after, None),
            },
        };
        Ok(match after {
            Some(after) => Ok(Some(ClaimChange { before: before.clone(), after, note })),
            None => Err(not_recorded(before)),
        })
    }

    /// Ends a reservation of a device that installed nothing. If its update was stopped, the attempt does not count.
    async fn let_go(&self, report: &Report<'_>, claim: &Claim) -> Stored<Option<Claim>> {
        if claim.state != ClaimState::Reserved {
            return Ok(None);
        }
        let update = self.store.update(report.product, &claim.version).await?;
        let is_on = update.is_some_and(|update| {
            let is_halted = update.wanted.is_some_and(|wanted| wanted.change.halts());
            !is_halted && matches!(update.state, State::Active | State::Completed)
        });
        Ok(claim.let_go(if is_on { Attempt::Spent } else { Attempt::GivenBack }))
    }
}

/// The change of the record by a report of a device whose check-ins do not contain its version: the version that it
/// says it runs, or the one that it has just installed.
fn seen(report: &Report<'_>, known: &KnownDevice, change: Option<&ClaimChange>, now: Timestamp) -> Option<Seen> {
    let VersionFrom::Report { running } = report.version_from else {
        return None;
    };
    let is_success = |change: &&ClaimChange| {
        change.after.state == ClaimState::Succeeded && change.before.state != ClaimState::Succeeded
    };
    if let Some(installed) = change.filter(is_success) {
        return Some(device::seen(installed.after.version.to_string(), now));
    }
    if change.is_some() {
        return None;
    }
    let (version, record) = (running?.to_string(), known.record_or_default());
    let is_old = record.version.as_ref() != Some(&version) || device::is_seen_long_ago(&record, now);
    is_old.then(|| device::seen(version, now))
}

/// The claim that a report is about.
fn find<'a>(report: &Report<'_>, known: &'a KnownDevice) -> Result<&'a Claim, NotRecorded> {
    let update = match report.about {
        About::Update(update) => update.clone(),
        About::Found(find) => match find(known) {
            Found::Present(update) => update,
            Found::Earlier => return Err(NotRecorded::EarlierAttempt),
            Found::Nothing => return Err(NotRecorded::NoClaim),
        },
    };
    known.claim(&update).ok_or(NotRecorded::NoClaim)
}
