//! A device reports: load, settle, record. An outcome counts once, because the claim's state moves with the count.

use serde_json::json;
use tidegate_core::claim::{Attempt, CountDelta};
use tidegate_core::status::{Status, StatusEffect};
use tidegate_core::{Claim, ClaimState, DeviceId, ProductId, State, Timestamp, UpdateId, Version};
use tidegate_store::record::{ClaimKey, DeviceRecord, DeviceWrite, KnownDevice};
use tidegate_store::store::{Freshness, Stored};
use tidegate_store::{ReportStore, StoreError};

use crate::device;
use crate::error::{Done, EngineError};
use crate::health::judge_after_failure;
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
            let known = self.store.device(report.product, report.device, Freshness::Strong).await?;
            self.accept(report.product, &known, proof).await?;
            match self.record_once(report, &known, now).await {
                Err(EngineError::Store(StoreError::Conflict)) => {}
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
        let recorded = match find(report, known) {
            Ok((key, claim)) => self.settle(&key, claim, report, known, now).await?,
            Err(why) => Recorded::No(why),
        };
        match report.version_from {
            VersionFrom::Report { running: Some(version) } if recorded != Recorded::Yes => {
                Ok(if self.save_running(report, version, known, now).await? { Recorded::Yes } else { recorded })
            }
            _ => Ok(recorded),
        }
    }

    async fn settle(
        &self,
        key: &ClaimKey,
        claim: &Claim,
        report: &Report<'_>,
        known: &KnownDevice,
        now: Timestamp,
    ) -> Stored<Recorded> {
        match report.content {
            Content::Status { status, message, progress } if status.effect() == StatusEffect::Progress => {
                let (status, message) = (status.to_string(), message.as_deref());
                let noted = self.store.note_progress(key, &status, *progress, message, now).await?;
                Ok(if noted { Recorded::Yes } else { Recorded::No(not_recorded(claim)) })
            }
            Content::Status { status, .. } => {
                self.settle_outcome(key, claim, status.effect(), report, known, now).await
            }
            Content::LetGo => self.let_go(key, claim).await,
            Content::Consent => self.consent(key, claim).await,
        }
    }

    async fn settle_outcome(
        &self,
        key: &ClaimKey,
        claim: &Claim,
        outcome: StatusEffect,
        report: &Report<'_>,
        known: &KnownDevice,
        now: Timestamp,
    ) -> Stored<Recorded> {
        let Some((after, delta)) = claim.settle(outcome) else {
            return Ok(Recorded::No(not_recorded(claim)));
        };
        match report.version_from {
            VersionFrom::Report { .. } if outcome == StatusEffect::Succeeded => {
                let record = known.record_or_default();
                let write = device::seen(&key.product, &key.device, &record, after.version.to_string(), now);
                self.store.settle_and_save(key, claim, &after, delta, &write).await?;
            }
            _ => self.store.settle(key, claim, &after, delta).await?,
        }
        if delta.failed > 0 {
            judge_after_failure(&self.store, &key.product, &claim.version, now).await;
        }
        Ok(Recorded::Yes)
    }

    /// Ends a reservation of a device that installed nothing. If its update was stopped, the attempt does not count.
    async fn let_go(&self, key: &ClaimKey, claim: &Claim) -> Stored<Recorded> {
        let over = Recorded::No(not_recorded(claim));
        if claim.state != ClaimState::Reserved {
            return Ok(over);
        }
        let update = self.store.update(&key.product, &claim.version).await?;
        let is_on = update.is_some_and(|update| matches!(update.state, State::Active | State::Completed));
        let attempt = if is_on { Attempt::Spent } else { Attempt::GivenBack };
        let Some((after, delta)) = claim.let_go(attempt) else {
            return Ok(over);
        };
        self.store.settle(key, claim, &after, delta).await?;
        Ok(Recorded::Yes)
    }

    async fn consent(&self, key: &ClaimKey, claim: &Claim) -> Stored<Recorded> {
        match claim.consent() {
            Some(after) => {
                self.store.settle(key, claim, &after, CountDelta::default()).await?;
                Ok(Recorded::Yes)
            }
            None if claim.state == ClaimState::Reserved => Ok(Recorded::Yes),
            None => Ok(Recorded::No(not_recorded(claim))),
        }
    }

    /// Writes the version that a device reports, if its record has another one; returns true if it did.
    async fn save_running(
        &self,
        report: &Report<'_>,
        version: &Version,
        known: &KnownDevice,
        now: Timestamp,
    ) -> Done<bool> {
        let record = known.record_or_default();
        let Some(write) = running(report, version, &record, now) else {
            return Ok(false);
        };
        // A device whose record has a version has passed this check before, or has checked in.
        if record.version.is_none() && self.store.head(report.product, Freshness::Eventual).await?.is_none() {
            return Err(EngineError::UnknownProduct(report.product.clone()));
        }
        self.store.save_running(&write).await?;
        Ok(true)
    }
}

/// The claim that a report is about.
fn find<'a>(report: &Report<'_>, known: &'a KnownDevice) -> Result<(ClaimKey, &'a Claim), NotRecorded> {
    let update = match report.about {
        About::Update(update) => update.clone(),
        About::Found(find) => match find(known) {
            Found::Present(update) => update,
            Found::Earlier => return Err(NotRecorded::EarlierAttempt),
            Found::Nothing => return Err(NotRecorded::NoClaim),
        },
    };
    let (_, claim) = known.claims.iter().find(|(claimed, _)| *claimed == update).ok_or(NotRecorded::NoClaim)?;
    Ok((ClaimKey { product: report.product.clone(), device: report.device.clone(), update }, claim))
}

/// The write for a device that reports `version` as running; the same as for a check-in.
fn running(report: &Report<'_>, version: &Version, record: &DeviceRecord, now: Timestamp) -> Option<DeviceWrite> {
    let attributes = match record.attributes.as_str() {
        "" => json!({"id": report.device.as_str(), "product": report.product.as_str()}).to_string(),
        attributes => attributes.to_string(),
    };
    device::changed(report.product, report.device, record, version.to_string(), attributes, now)
}
