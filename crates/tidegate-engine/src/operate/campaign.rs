//! Another campaign of a published update: it is offered again, or takes devices back from bad versions. No version is
//! ever used up.

use jiff::SignedDuration;
use serde_json::{Map, Value};
use tidegate_core::acknowledged::Acknowledged;
use tidegate_core::breaker::Breaker;
use tidegate_core::count::count_number;
use tidegate_core::phase::Begun;
use tidegate_core::policy::Slots;
use tidegate_core::update::Test;
use tidegate_core::{ProductId, State, Timestamp, Transition, Update, UpdateId, Version};
use tidegate_store::record::{AuditEntry, Change, RolloutKey, UpdateRecord};
use tidegate_store::store::Cause;
use tidegate_store::{PublishStore, StoreError};
use tidegate_wire::ApiError;
use tidegate_wire::definition::{Definition, RolloutField};

use super::change::{Asked, MOST_TRIES};
use super::{Operations, compiled};
use crate::compile::{self, ImageNames};
use crate::control::{self, Actor, Changed};
use crate::error::{Done, EngineError};

/// Another campaign, as an operator asks for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewCampaign {
    /// The versions from which it takes devices back; none for an upgrade.
    pub rollback_from: Vec<Version>,
    /// Its policy, if it has another than the last campaign.
    pub policy: Option<String>,
    /// The fields of its rollout that are not as in the last campaign.
    pub rollout: Map<String, Value>,
}

impl<S: PublishStore> Operations<S> {
    /// Begins another campaign of an update. A rollback first ends the campaign of its own update, and those of the
    /// versions from which it takes devices.
    ///
    /// # Errors
    /// When there is no such update, its state does not allow it, the campaign would send devices round in a circle, its
    /// definition cannot be used, bytes of a file are missing, or the store cannot be reached.
    pub async fn begin_campaign(
        &self,
        product: &ProductId,
        version: &Version,
        asked: &NewCampaign,
        actor: &Actor,
    ) -> Done<Changed> {
        // As it is stored, so that the entries of one call are in their order in the audit log.
        let now = Timestamp::from_millisecond(actor.now.as_millisecond()).unwrap_or(actor.now);
        let actor = &Actor { now, ..actor.clone() };
        self.must_not_be_stopped(product).await?;
        for bad in &asked.rollback_from {
            if self.update(product, bad).await?.state == State::Draft {
                return Err(EngineError::UnknownUpdate { product: product.clone(), version: bad.clone() });
            }
        }
        let (mut objects, mut is_prepared) = (None, !asked.is_rollback());
        for _ in 0..MOST_TRIES {
            let last = self.update(product, version).await?;
            let definition = asked.definition(&last, actor.now)?;
            let is_begun = last.campaign > 1 && last.definition == definition;
            let may_end = last.state.is_live() && last.state != State::Held;
            match last.state {
                // An earlier call has begun it.
                State::Scheduled if is_begun => return self.open(product, version, actor).await,
                State::Active if is_begun => return Ok(Changed { record: last, shards_left: 0 }),
                state if state.may_reopen() || (may_end && asked.is_rollback() && !is_begun) => {}
                state => return Err(EngineError::NotReopenable(state)),
            }
            let next = next(&last, definition, actor);
            let update = compiled(&next, &mut Slots::new())?;
            let verified = match objects.take() {
                Some(verified) => verified,
                None => self.verify(&update).await?,
            };
            let next = UpdateRecord { objects: objects.insert(verified).clone(), ..next };
            let revision = self.must_make_no_circle(&next).await?;
            if let Some(wanted) = last.wanted.as_ref().filter(|_| last.state.may_reopen()) {
                let what = control::name(&wanted.change).to_string();
                return Err(EngineError::ChangeUnderWay { version: last.version, what });
            }
            let prepared = match is_prepared {
                true => self.begin(&last, next, revision, asked, actor).await.map(Some),
                false => self.make_way(&last, &update, actor).await,
            };
            match prepared {
                Ok(Some(changed)) if changed.shards_left > 0 => return Ok(changed),
                Ok(_) if is_prepared => return self.open(product, version, actor).await,
                Ok(_) => is_prepared = true,
                Err(EngineError::Store(StoreError::Conflict)) => self.must_not_be_stopped(product).await?,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Aborts the rollouts from which a rollback takes devices, and completes that of its own update.
    async fn make_way(&self, last: &UpdateRecord, rollback: &Update, actor: &Actor) -> Done<Option<Changed>> {
        // What is left is finished before the rollback opens.
        control::abort_rolled_back(&self.store, rollback, actor).await?;
        match last.state.is_live() {
            true => self.transition(&last.product, &last.version, Transition::Complete, actor).await.map(Some),
            false => Ok(None),
        }
    }

    /// Replaces the record of the last campaign by that of the next one, which wants to be opened.
    async fn begin(
        &self,
        last: &UpdateRecord,
        mut next: UpdateRecord,
        revision: u64,
        asked: &NewCampaign,
        actor: &Actor,
    ) -> Done<Changed> {
        next.newcomers_since = self.newcomers_since(&compiled(&next, &mut Slots::new())?, actor.now).await?;
        next.wanted = Some(control::wish(&next, Change::Transition(Transition::Activate), actor)?);
        let entry = AuditEntry {
            from: Some(last.state),
            to: Some(next.state),
            ..actor.entry(asked.in_words(), next.version.to_string(), next.generation)
        };
        self.store.begin_campaign(last, &next, revision, &entry).await?;
        Ok(Changed { record: next, shards_left: 0 })
    }

    /// Opens a campaign that has begun.
    async fn open(&self, product: &ProductId, version: &Version, actor: &Actor) -> Done<Changed> {
        self.change(product, version, actor, Asked::Transition(Transition::Activate, Acknowledged::default())).await
    }

    /// Checks that a campaign sends no device round in a circle with those that are open; returns the revision of the head
    /// for which this is so. The campaigns that a rollback ends do not count.
    pub(super) async fn must_make_no_circle(&self, record: &UpdateRecord) -> Done<u64> {
        // The head is read first, so that a change after it is noticed.
        let head = self.settings(&record.product).await?;
        let update = compiled(record, &mut Slots::new())?;
        let is_ended =
            |other: &Update| update.rollback_from.iter().any(|from| from.cmp_precedence(&other.version).is_eq());
        let mut open = Vec::new();
        for other in self.store.updates(&record.product).await? {
            if !(other.state.is_live() || control::may_open(&other))
                || other.rollout().version() == record.rollout().version()
            {
                continue;
            }
            let is_draft = other.state == State::Draft;
            let other = compiled(&other, &mut Slots::new())?;
            if is_draft || !is_ended(&other) {
                open.push(other.way());
            }
        }
        match update.way().may_open(&open) {
            Ok(()) => Ok(head.revision),
            Err(circle) => Err(EngineError::Circle { version: record.version.clone(), circle: Box::new(circle) }),
        }
    }

    /// Deletes a draft, whose version is free again, or an update that is withdrawn and that no device has to do with any
    /// more; returns the state in which it was. Its images are removed later, unless another update names them.
    ///
    /// # Errors
    /// When there is no such update, it is in another state, devices run it or are watched in it, another change is under
    /// way, or the store cannot be reached.
    pub async fn delete(&self, product: &ProductId, version: &Version, actor: &Actor) -> Done<State> {
        for _ in 0..MOST_TRIES {
            let record = self.update(product, version).await?;
            if !matches!(record.state, State::Draft | State::Withdrawn) {
                return Err(EngineError::NotDeletable(record.state));
            }
            if let Some(wanted) = &record.wanted {
                let what = control::name(&wanted.change).to_string();
                return Err(EngineError::ChangeUnderWay { version: record.version, what });
            }
            let entry = actor.entry("delete", record.version.to_string(), record.generation);
            let entry = AuditEntry { from: Some(record.state), ..entry };
            if record.was_published() {
                self.must_be_unused(&record, actor.now).await?;
            }
            if self.store.delete_update(&record, &entry).await? {
                if record.was_published() {
                    compile::compile_or_leave_it(&self.store, product).await;
                }
                return Ok(record.state);
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Returns true if every grant of a rollout is counted.
    async fn is_counted(&self, rollout: &RolloutKey) -> Done<bool> {
        let Some(record) = self.store.campaign(rollout).await? else {
            return Ok(true);
        };
        let Some(allocation) = &record.allocation else {
            return Ok(true);
        };
        let shards = self.store.shards(rollout, allocation.shards()).await?;
        let granted = shards.iter().flatten().fold(0_u64, |sum, shard| sum.saturating_add(shard.granted));
        let counted = self.store.tallied(rollout).await?.sums.granted_of(count_number(record.generation));
        Ok(counted >= granted)
    }

    /// Checks that no device runs an update, or is watched in a campaign of it, and that no open rollback names it.
    async fn must_be_unused(&self, record: &UpdateRecord, now: Timestamp) -> Done<()> {
        let (product, version) = (&record.product, &record.version);
        let in_use = |why: String| Err(EngineError::UpdateInUse { version: version.clone(), why });
        if now.duration_since(record.changed_at) < WITHDRAWN_FOR {
            return in_use("it was withdrawn less than an hour ago, and downloads may still run".to_string());
        }
        // The index of the devices is not behind, as the counts may be; and these also know other spellings.
        let names = ImageNames::of([record]);
        let running = self.store.versions(product).await?;
        let running = running.into_iter().find(|(text, _)| names.has(text));
        for name in names.all().into_iter().chain(running.map(|(text, _)| text)) {
            if let Some(device) = self.store.devices_on(product, &name, None, 1).await?.0.first() {
                return in_use(format!("the device {device} runs it"));
            }
        }
        for campaign in 1..=record.campaign {
            let rollout = RolloutKey::of(product, version, campaign);
            if let Some(until) = self.store.watched_until(&rollout).await? {
                return in_use(format!("devices that were offered it are watched until {until}"));
            }
            if !self.is_counted(&rollout).await? {
                return in_use("the last devices that were offered it are not counted yet".to_string());
            }
        }
        for other in self.store.updates(product).await? {
            if !other.state.is_live() && !control::may_open(&other) {
                continue;
            }
            let update = compiled(&other, &mut Slots::new())?;
            if update.rollback_from.iter().any(|from| from.cmp_precedence(version).is_eq()) {
                return in_use(format!("the rollback to {} takes devices back from it", other.version));
            }
        }
        Ok(())
    }
}

/// Time for which an update must be withdrawn before it is deleted: until then every URL has ended and everything is counted.
const WITHDRAWN_FOR: SignedDuration = SignedDuration::from_hours(1);

impl NewCampaign {
    fn is_rollback(&self) -> bool {
        !self.rollback_from.is_empty()
    }

    /// The kind of the campaign and its changes, for the audit log.
    fn in_words(&self) -> String {
        let mut words = match self.is_rollback() {
            true => format!("rollback from {}", texts(&self.rollback_from).join(" and ")),
            false => "reopen".to_string(),
        };
        if let Some(policy) = &self.policy {
            words = format!("{words}, policy {policy}");
        }
        match self.rollout.is_empty() {
            true => words,
            false => format!("{words}, rollout {}", Value::Object(self.rollout.clone())),
        }
    }

    /// The definition of the campaign after `last`: the same content for the devices that it asks for. The rollout of a
    /// rollback is a new one, also for devices that failed the version before; only the health gate stays.
    fn definition(&self, last: &UpdateRecord, now: Timestamp) -> Done<String> {
        let before = Definition::from_store(&last.definition)
            .map_err(|error| EngineError::UnreadableUpdate { version: last.version.clone(), why: Cause::of(error) })?;
        self.must_be_clear(&before, last.state, now)?;
        let rollout = match self.is_rollback() {
            true => {
                RolloutField { include_failed: true, health: before.rollout.health.clone(), ..RolloutField::default() }
            }
            false => before.rollout.clone(),
        };
        let next = Definition {
            rollback_from: texts(&self.rollback_from),
            policy: self.policy.clone().unwrap_or_else(|| before.policy.clone()),
            rollout,
            ..before
        };
        let rollout = Map::from_iter([("rollout".to_string(), Value::Object(self.rollout.clone()))]);
        let next = next.with(&rollout, &last.product)?;
        if next.rollout.ends_at.is_some_and(|end| end <= now) {
            return Err(ApiError::bad_field("rollout.ends_at must be in the future; null is no end").into());
        }
        self.must_reach_somebody(&next, last)?;
        Ok(next.to_store())
    }

    /// Whom the campaign is for must not follow silently from the last one.
    fn must_be_clear(&self, before: &Definition, state: State, now: Timestamp) -> Done<()> {
        if self.is_rollback() {
            let dropped = before.rollback_from.iter().find(|from| !texts(&self.rollback_from).contains(from));
            return match dropped.filter(|_| state.is_live()) {
                None => Ok(()),
                Some(from) => {
                    let message = format!("from must name {from} too: the open rollback takes devices back from it");
                    Err(ApiError::bad_field(message).into())
                }
            };
        }
        let why = match before.rollout.phases.last() {
            // Phases on evidence begin anew with the campaign.
            Some(phase) if phase.starts_at.is_some_and(|starts_at| starts_at <= now) => {
                "the last campaign's have begun"
            }
            None if !before.rollback_from.is_empty() => "the last campaign was a rollback and had none",
            _ => return Ok(()),
        };
        match self.rollout.contains_key("phases") || !state.may_reopen() {
            true => Ok(()),
            false => {
                let message = format!(
                    "rollout.phases: {why}, so all devices would be reached at once; give those of this campaign, or [] for \
                     all at once"
                );
                Err(ApiError::bad_field(message).into())
            }
        }
    }

    /// A rollback whose policy refuses every device on one of its versions would open and do nothing.
    fn must_reach_somebody(&self, next: &Definition, last: &UpdateRecord) -> Done<()> {
        let mut slots = Slots::new();
        let update = next.update(&last.product, &last.publication(), &mut slots)?;
        match self.rollback_from.iter().find(|from| update.excludes_all_on(from, &slots)) {
            None => Ok(()),
            Some(from) => {
                let message = format!("policy `{}` admits no device that runs {from}; give a policy", next.policy);
                Err(ApiError::bad_field(message).into())
            }
        }
    }
}

fn texts(versions: &[Version]) -> Vec<String> {
    versions.iter().map(Version::to_string).collect()
}

/// The record of the campaign after `last`, before it wants to be opened.
fn next(last: &UpdateRecord, definition: String, actor: &Actor) -> UpdateRecord {
    let campaign = last.campaign.saturating_add(1);
    UpdateRecord {
        id: UpdateId::of(&last.product, &last.version, campaign),
        product: last.product.clone(),
        version: last.version.clone(),
        campaign,
        is_earlier: false,
        state: State::Scheduled,
        generation: last.generation.saturating_add(1),
        definition,
        allocation: None,
        objects: Vec::new(),
        reason: actor.reason.clone(),
        is_paused_by_stop: false,
        opened_at: None,
        test: Test::default(),
        held_for: None,
        lifts: 0,
        control_group: None,
        advanced: 0,
        breaker: Breaker::default(),
        newcomers_since: None,
        audience_edit: None,
        phase_begun: Begun::default(),
        reading: None,
        audience: None,
        wanted: None,
        uncounted: 0,
        is_settled: false,
        deleted_at: None,
        created_at: last.created_at,
        changed_at: actor.now,
    }
}
