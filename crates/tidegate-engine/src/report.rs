//! A device reports: load, move its claim, write. An outcome counts once, because the write expects the claim as it was
//! read, and every count follows from the writes.

use tidegate_core::life::table::Event;
use tidegate_core::life::word::is_same;
use tidegate_core::life::{Effect, Rules, State as Life};
use tidegate_core::question::Question;
use tidegate_core::status::Status;
use tidegate_core::times::Times;
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, UpdateId, Version};
use tidegate_store::record::{ClaimChange, DeviceRecord, DeviceWrite, Head, KnownDevice, Note, Seen, UpdateRecord};
use tidegate_store::store::{Freshness, Include, Stored, Written};
use tidegate_store::{ReportStore, StoreError};

use crate::device;
use crate::error::{Done, EngineError};
use crate::token::Proof;
use tidegate_wire::definition::Definition;
pub use tidegate_wire::report::{NotRecorded, Subject};

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
    /// The version that the report says the device runs, for a protocol whose check-ins do not say it.
    pub running: Option<&'a Version>,
}

/// Selects the claim that a report is about.
pub enum About<'a> {
    /// The claim that it names.
    Named(&'a Subject),
    /// The claim that the dialect finds among those of the device.
    Found(&'a (dyn Fn(&KnownDevice) -> Found + Sync)),
}

/// Claim that a dialect found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The present attempt of the claim on this update.
    Present(UpdateId),
    /// An attempt that is over: the claim has had another since.
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
}

/// Result of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It was recorded.
    Yes,
    /// It changed nothing.
    No(NotRecorded),
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
            match self.record_once(report, &known, proof, now).await {
                Err(EngineError::Store(StoreError::Conflict | StoreError::Contended)) => {}
                recorded => return recorded,
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Records a user's answer to the question that `is_meant`.
    ///
    /// # Errors
    /// When the token is not accepted, or the store cannot be reached.
    pub async fn reply(
        &self,
        (product, device): (&ProductId, &DeviceId),
        is_meant: impl Fn(&Question) -> bool,
        agrees: bool,
        proof: Proof,
        now: Timestamp,
    ) -> Done<Recorded> {
        for _ in 0..MOST_TRIES {
            let known = self.store.device(product, device, Include::Item, Freshness::Strong).await?;
            self.accept(product, &known, proof).await?;
            let record = known.record_or_default();
            let Some(question) = record.questions.iter().find(|question| is_meant(question)) else {
                return Ok(Recorded::No(NotRecorded::NoClaim));
            };
            if question.reply.is_some() {
                let is_same = question.is_agreed() == agrees;
                return Ok(if is_same { Recorded::Yes } else { Recorded::No(NotRecorded::SaidBefore) });
            }
            // A device that got the offer in another way gives it back.
            let rules = Rules::new(&Times::default(), record.cadence().due_after_s(true));
            let refused = known.claim(&question.update).filter(|claim| !agrees && !claim.life.has_succeeded());
            let refused =
                refused.and_then(|before| Some((before.clone(), before.after(Event::Declined, &rules, now)?)));
            let Some(questions) = record.questions.with(question.replied(agrees, now), |_| true) else {
                return Ok(Recorded::No(NotRecorded::NoClaim));
            };
            let write = DeviceWrite {
                seen: seen(&known, &record, None, true, proof, now),
                claims: refused.map(|(before, after)| ClaimChange { before, after, note: None }).into_iter().collect(),
                questions: Some((record.revision, questions)),
                ..DeviceWrite::new(product.clone(), device.clone(), true)
            };
            match self.store.write_device(&write).await {
                Ok(Written::Yes) => return Ok(Recorded::Yes),
                Ok(Written::OtherDevice(_)) | Err(StoreError::Conflict | StoreError::Contended) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Checks that the token still holds.
    async fn accept(&self, product: &ProductId, known: &KnownDevice, proof: Proof) -> Done<()> {
        let head = match proof {
            // It depends on the device alone.
            Proof::Device { .. } => Head::default(),
            Proof::Product { .. } => self.store.head(product, Freshness::Eventual).await?.unwrap_or_default(),
        };
        match proof.is_accepted(known.record_or_default().tokens, &head) {
            true => Ok(()),
            false => Err(EngineError::TokenRefused),
        }
    }

    async fn record_once(
        &self,
        report: &Report<'_>,
        known: &KnownDevice,
        proof: Proof,
        now: Timestamp,
    ) -> Done<Recorded> {
        let record = known.record_or_default();
        let rules = self.rules(report, known, &record).await?;
        let found = find(report, known);
        let (mut changes, recorded) = match &found {
            Ok(claim) => match self.change(claim, report, &rules, now).await? {
                Ok(change) => (change.into_iter().collect::<Vec<_>>(), Recorded::Yes),
                Err(why) => (Vec::new(), Recorded::No(why)),
            },
            Err(why) => (Vec::new(), Recorded::No(*why)),
        };
        // A word of success says nothing of what runs; any other report that names a version is like a check-in.
        let running = report.running.filter(|_| found.is_err() || !is_success(report.content)).map(Version::to_string);
        if let Some(running) = &running {
            let about = found.ok().map(|claim| claim.epoch);
            let all = || known.claims.iter().map(|(_, claim)| claim);
            let mut may_be_a_name = false;
            for before in all().filter(|claim| claim.life.has_succeeded() && !is_same(&claim.was, running)) {
                let event = before.said(&[running], all());
                may_be_a_name |= matches!(event, Event::Old | Event::Third)
                    && self.may_be_its_name(report.product, before, running).await?;
            }
            for before in all().filter(|claim| Some(claim.epoch) != about) {
                let event = match before.said(&[running], all()) {
                    Event::Old | Event::Third if may_be_a_name && before.life.has_succeeded() => Event::Progress,
                    event => event,
                };
                if let Some(after) = before.after(event, &rules, now) {
                    changes.push(ClaimChange { before: before.clone(), after, note: None });
                }
            }
        }
        let seen = seen(known, &record, running, !changes.is_empty(), proof, now);
        if seen.is_none() && changes.is_empty() {
            return Ok(recorded);
        }
        // A device whose record has a version has passed this check before, or has checked in.
        let is_unseen = record.version.is_none();
        if is_unseen && self.store.head(report.product, Freshness::Eventual).await?.is_none() {
            return Err(EngineError::UnknownProduct(report.product.clone()));
        }
        let recorded = if report.running.is_some() { Recorded::Yes } else { recorded };
        let (product, device) = (report.product.clone(), report.device.clone());
        let write = DeviceWrite { seen, claims: changes, ..DeviceWrite::new(product, device, known.record.is_some()) };
        match self.store.write_device(&write).await? {
            Written::Yes => Ok(recorded),
            Written::OtherDevice(_) => Err(StoreError::Conflict.into()),
        }
    }

    /// The rules for a report. Only one that may take back a success needs a time of the product, the boot grace.
    async fn rules(&self, report: &Report<'_>, known: &KnownDevice, record: &DeviceRecord) -> Stored<Rules> {
        let is_other = |claim: &Claim, running: &Version| claim.version.cmp_precedence(running).is_ne();
        let may_take_back = |running: &Version| {
            known.claims.iter().any(|(_, claim)| claim.state() == Life::Installed && is_other(claim, running))
        };
        let head = match report.running.is_some_and(may_take_back) {
            true => self.store.head(report.product, Freshness::Eventual).await?,
            false => None,
        };
        let times = head.map(|head| head.times).unwrap_or_default();
        let rules = Rules::new(&times, record.cadence().due_after_s(true));
        // How long a device is well is for check-ins to say: they know the campaign.
        Ok(Rules { soak_s: i64::MAX, watch_s: i64::MAX, ..rules })
    }

    /// Returns true if a text may be a name that the image of an installed update was given after the grant. A report is
    /// recorded without the catalog, so it asks for the updates that say so: its own, and the one of that version.
    async fn may_be_its_name(&self, product: &ProductId, claim: &Claim, text: &str) -> Stored<bool> {
        // One that cannot be understood may have any name.
        let definition = |update: Stored<Option<UpdateRecord>>| match update {
            Ok(update) => Ok(update.and_then(|update| Definition::from_store(&update.definition).ok())),
            Err(StoreError::Corrupt(_)) => Ok(None),
            Err(error) => Err(error),
        };
        let Some(own) = definition(self.store.update(product, &claim.version).await)? else {
            return Ok(true);
        };
        if own.reports_as.iter().any(|name| is_same(name, text)) {
            return Ok(true);
        }
        let named = match Version::parse(text) {
            Ok(version) => definition(self.store.update(product, &version).await)?,
            Err(_) => None,
        };
        Ok(named.is_some_and(|named| named.has_files_of(&own)))
    }

    /// The change of a claim by a report. `None` if the claim is already as the report says.
    async fn change(
        &self,
        before: &Claim,
        report: &Report<'_>,
        rules: &Rules,
        now: Timestamp,
    ) -> Stored<Result<Option<ClaimChange>, NotRecorded>> {
        let (after, note) = match report.content {
            Content::Status { status, message, progress } => {
                // Only a report that says what runs proves it. It is about the claim on this version.
                let event = status.event().unwrap_or(match report.running {
                    Some(_) => Event::Expected,
                    None => Event::Success,
                });
                let after = match before.life.after(event, rules, now) {
                    Effect::Ignored => None,
                    Effect::Heard if event != Event::Progress => return Ok(Err(NotRecorded::SaidBefore)),
                    Effect::Heard => Some(before.clone()),
                    Effect::Moved(_) => before.after(event, rules, now),
                };
                let (message, progress) = (message.clone(), *progress);
                (after, Some(Note { status: status.to_string(), progress, message }))
            }
            Content::LetGo => (self.let_go(report, before, rules, now).await?, None),
        };
        Ok(match after {
            Some(after) => Ok(Some(ClaimChange { before: before.clone(), after, note })),
            None => Err(NotRecorded::NotUnderWay),
        })
    }

    /// Ends the claim of a device that installed nothing. If its update was stopped, the device may come back at once.
    async fn let_go(&self, report: &Report<'_>, claim: &Claim, rules: &Rules, now: Timestamp) -> Stored<Option<Claim>> {
        let given_back = claim.after(Event::GivenBack, rules, now);
        if given_back.is_none() {
            return Ok(None);
        }
        let update = self.store.update(report.product, &claim.version).await?;
        let is_on = update.is_some_and(|update| {
            let is_halted = update.wanted.is_some_and(|wanted| wanted.change.halts());
            !is_halted && update.campaign == claim.campaign && matches!(update.state, State::Active | State::Completed)
        });
        Ok(if is_on { given_back } else { claim.called_back(now) })
    }
}

fn is_success(content: &Content) -> bool {
    matches!(content, Content::Status { status, .. } if status.event() == Some(Event::Success))
}

/// The change of the record by a report: the version that the report says, and the time. The time costs nothing beside
/// another write, and else follows its grain.
fn seen(
    known: &KnownDevice,
    record: &DeviceRecord,
    running: Option<String>,
    is_written: bool,
    proof: Proof,
    now: Timestamp,
) -> Option<Seen> {
    let holds_place = known.claims.iter().any(|(_, claim)| claim.life.holds_place);
    let is_news = running.is_some() && running != record.version;
    let is_old = running.is_some() && device::is_older_than_grain(record, holds_place, now);
    let version = running.or_else(|| record.version.clone())?;
    let uses_own_token = device::is_first_use(proof, record);
    let must_be_written = is_written || is_news || is_old || uses_own_token;
    must_be_written.then(|| Seen { uses_own_token, ..device::seen(record, version, now) })
}

/// The claim that a report is about.
fn find<'a>(report: &Report<'_>, known: &'a KnownDevice) -> Result<&'a Claim, NotRecorded> {
    let claim = match report.about {
        About::Named(Subject::Update(update)) => known.claim(update),
        About::Named(Subject::Version(version)) => known.last_claim(version),
        About::Found(find) => match find(known) {
            Found::Present(update) => known.claim(&update),
            Found::Earlier => return Err(NotRecorded::EarlierAttempt),
            Found::Nothing => None,
        },
    };
    claim.ok_or(NotRecorded::NoClaim)
}
