//! The fleet snapshot: a pass over all devices, a step in each sweep. It counts the audience of each live update, and
//! chooses and ends its control group.
//!
//! The state of a pass is one object, with its position and everything that it has counted so far. So a step that is
//! repeated, or that two sweeps do at the same time, counts no device twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tidegate_core::cadence::{Cadence, DAY_S, Gaps};
use tidegate_core::control_group::{ControlGroup, LONGEST, LastInQueue, Others, are_served, is_served};
use tidegate_core::device::Delivery;
use tidegate_core::life::State as Life;
use tidegate_core::life::retry::Next;
use tidegate_core::objection::Objection;
use tidegate_core::phase::is_waiting;
use tidegate_core::policy::Slots;
use tidegate_core::question::{Question, Reply};
use tidegate_core::reports::Reports;
use tidegate_core::update::KNOWN_BEFORE;
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, Update, Version};
use tidegate_store::record::{Audience, AudienceEdit, Change, Fleet, Head, KnownDevice, OtherName, UpdateRecord};
use tidegate_store::store::Stored;
use tidegate_store::{StoreError, SweepStore};
use tokio::time::Instant;

use crate::compile::{self, ImageNames, update_of};
use crate::control::{self, Actor};
use crate::control_group;
use crate::device::stored_device;
use crate::error::{Done, EngineError};
use crate::tidy::Pruning;

/// Seconds between two passes, at the least. A new campaign waits for the next one.
const BETWEEN_PASSES_S: i64 = 3600;
/// Seconds after which a pass that is not finished is begun anew.
const LONGEST_PASS_S: i64 = 7 * DAY_S;
/// The least time that a sweep gives to the pass, whatever else there is to do.
const LEAST_STEP: Duration = Duration::from_secs(10);
/// Seconds of silence after which nobody waits for a device that is to be taken back.
const KNOWN_FOR_S: i64 = 30 * DAY_S;

/// The fewest devices whose text is shown. One or two may be anything.
const FEWEST_SAY_SO: u64 = 3;
/// The most texts that a pass counts for a campaign. They are part of its state.
const MOST_OTHER_NAMES: usize = 16;

/// A pass over all devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pass {
    began_at: Timestamp,
    /// The position of the scan; `None` at its beginning.
    after: Option<String>,
    is_finished: bool,
    campaigns: Vec<Counted>,
    /// Facts about the devices, by product.
    fleets: BTreeMap<ProductId, Facts>,
}

/// Facts about the devices of a product.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Facts {
    /// Their long gaps.
    gaps: Gaps,
    /// Those that were known for a day, and heard from within thirty days.
    established: u64,
}

/// Counts of a pass for one campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    product: ProductId,
    version: Version,
    campaign: u32,
    size: u64,
    newcomers: u64,
    reached: u64,
    left: u64,
    waiting: u64,
    unfinished: u64,
    asked: u64,
    /// Those that were asked so lately that the control group waits for the answer.
    awaited: u64,
    refused: u64,
    /// The time after which a device without a rhythm of its own is overdue, in seconds.
    due_after_s: i64,
    last: LastInQueue,
    /// Texts that devices say after they said success, and that no update has.
    other_names: BTreeMap<String, u64>,
}

/// A campaign whose audience is counted.
struct Campaign {
    record: UpdateRecord,
    update: Update,
    slots: Slots,
    images: Arc<Images>,
    counted: Counted,
}

/// The names of the images of a product.
struct Images {
    names: ImageNames,
    reports: Reports,
}

/// Returns true if the audience of an update was not counted for a day, or since the update was opened.
pub(crate) fn is_due(record: &UpdateRecord, now: Timestamp) -> bool {
    let is_old =
        |at: Timestamp| now.duration_since(at) >= SignedDuration::from_secs(DAY_S) || record.opened_at > Some(at);
    let is_edited = |at: Timestamp| record.audience_edit.is_some_and(|edit| edit.in_force_at() > at);
    record.state.is_live()
        && record.audience.as_ref().is_none_or(|audience| is_old(audience.at) || is_edited(audience.at))
}

/// Returns true if the devices of a product must be counted, also while no update is live: the next campaign must know who
/// is a newcomer.
pub(crate) fn is_count_due(head: &Head, now: Timestamp) -> bool {
    let is_old = |at: Timestamp| now.duration_since(at) >= SignedDuration::from_secs(DAY_S);
    let lets_newcomers_in = head.registration_is_open || head.accepts_product_tokens;
    lets_newcomers_in && head.fleet.counted_at.is_none_or(is_old)
}

/// Goes on with the pass over all devices, or begins one, until `started` is `longest` ago.
///
/// # Errors
/// When the store cannot be reached. The next sweep goes on from the last step that was stored.
pub(crate) async fn go_on(store: &impl SweepStore, started: Instant, longest: Duration, now: Timestamp) -> Done<()> {
    let step = Instant::now();
    let stored = store.fleet_snapshot().await?;
    // A pass that cannot be read is begun anew.
    let stored = stored.and_then(|bytes| serde_json::from_slice::<Pass>(&bytes).ok());
    let age = |pass: &Pass| now.duration_since(pass.began_at);
    let mut pass = match stored {
        Some(pass) if !pass.is_finished && age(&pass) < SignedDuration::from_secs(LONGEST_PASS_S) => pass,
        Some(pass) if age(&pass) < SignedDuration::from_secs(BETWEEN_PASSES_S) => return Ok(()),
        _ => begun(store, now).await?,
    };
    let mut campaigns = campaigns(store, std::mem::take(&mut pass.campaigns)).await?;
    let mut pruning = Pruning::default();
    loop {
        let (devices, next) = store.scan_fleet(pass.after.as_deref()).await?;
        for (product, device, known) in &devices {
            let record = known.record_or_default();
            let facts = pass.fleets.entry(product.clone()).or_default();
            let is_established = is_known(known, now)
                && record.first_seen.is_some_and(|seen| pass.began_at.duration_since(seen) >= KNOWN_BEFORE);
            facts.established = facts.established.saturating_add(u64::from(is_established));
            let is_heard_from = record.last_seen.is_some_and(|seen| record.cadence().due_at(seen, false) > now);
            if is_heard_from {
                facts.gaps.count(record.long_gap_s);
            }
            for campaign in campaigns.iter_mut().filter(|campaign| campaign.record.product == *product) {
                campaign.count(device, known, now);
            }
        }
        pruning.prune(store, &devices).await?;
        pass.is_finished = next.is_none();
        pass.after = next;
        if pass.is_finished || (started.elapsed() > longest && step.elapsed() > LEAST_STEP) {
            break;
        }
    }
    // The results are written before the end of the pass, so that none is lost.
    for campaign in campaigns.iter().filter(|_| pass.is_finished) {
        if let Err(error) = campaign.finish(store, &pass, now).await {
            let record = &campaign.record;
            tracing::error!(product = %record.product, version = %record.version, %error, "audience_not_recorded");
        }
    }
    for (product, facts) in pass.fleets.iter().filter(|_| pass.is_finished) {
        let (usual_gap_s, counted_at) = (facts.gaps.usual_s(), Some(pass.began_at));
        let fleet = Fleet { usual_gap_s, established: facts.established, counted_at };
        store.put_fleet(product, &fleet).await?;
    }
    pass.campaigns = campaigns.into_iter().map(|campaign| campaign.counted).collect();
    let bytes = serde_json::to_vec(&pass).map_err(StoreError::corrupt)?;
    Ok(store.put_fleet_snapshot(bytes).await?)
}

/// A new pass, for every live update.
async fn begun(store: &impl SweepStore, now: Timestamp) -> Stored<Pass> {
    let (mut campaigns, mut fleets) = (Vec::new(), BTreeMap::new());
    for product in store.products().await? {
        fleets.insert(product.clone(), Facts::default());
        let records = store.updates(&product).await?;
        campaigns.extend(records.into_iter().filter(|record| record.state.is_live()).map(|record| Counted {
            product: record.product,
            version: record.version,
            campaign: record.campaign,
            size: 0,
            newcomers: 0,
            reached: 0,
            left: 0,
            waiting: 0,
            unfinished: 0,
            asked: 0,
            awaited: 0,
            refused: 0,
            due_after_s: Cadence::default().due_after_s(true),
            last: LastInQueue::default(),
            other_names: BTreeMap::new(),
        }));
    }
    Ok(Pass { began_at: now, after: None, is_finished: false, campaigns, fleets })
}

/// The campaigns of a pass as they are now. One that is not live any more, or cannot be read, is left out.
async fn campaigns(store: &impl SweepStore, counted: Vec<Counted>) -> Stored<Vec<Campaign>> {
    let mut campaigns = Vec::with_capacity(counted.len());
    let mut by_product: BTreeMap<ProductId, Arc<Images>> = BTreeMap::new();
    for counted in counted {
        let images = match by_product.get(&counted.product) {
            Some(images) => images.clone(),
            None => {
                let names = ImageNames::of(&store.updates(&counted.product).await?);
                let images = Arc::new(Images { reports: names.reports(), names });
                by_product.entry(counted.product.clone()).or_insert(images).clone()
            }
        };
        let record = store.update(&counted.product, &counted.version).await?;
        let is_same = |record: &UpdateRecord| record.state.is_live() && record.campaign == counted.campaign;
        let Some(record) = record.filter(is_same) else {
            continue;
        };
        let mut slots = Slots::new();
        match update_of(&record, &mut slots) {
            Ok(update) => campaigns.push(Campaign { record, update, slots, images, counted }),
            Err(error) => {
                tracing::error!(product = %record.product, version = %record.version, %error, "audience_not_counted");
            }
        }
    }
    Ok(campaigns)
}

/// Returns true if a device was heard from within thirty days.
fn is_known(known: &KnownDevice, now: Timestamp) -> bool {
    let seen = known.record.as_ref().and_then(|record| record.last_seen);
    seen.is_some_and(|seen| now.duration_since(seen) < SignedDuration::from_secs(KNOWN_FOR_S))
}

impl Counted {
    fn count_other_name(&mut self, text: &str) {
        if let Some(devices) = self.other_names.get_mut(text) {
            *devices = devices.saturating_add(1);
        } else if self.other_names.len() < MOST_OTHER_NAMES {
            self.other_names.insert(text.to_string(), 1);
        }
    }

    /// The most frequent text among devices that reported success and do not run the update. `None` if too few say it.
    fn other_name(&self) -> Option<OtherName> {
        let (text, devices) = self.other_names.iter().max_by_key(|(_, devices)| **devices)?;
        let name = OtherName { text: text.clone(), devices: *devices };
        (*devices >= FEWEST_SAY_SO).then_some(name)
    }
}

impl Campaign {
    /// Counts a device of the product.
    fn count(&mut self, device: &DeviceId, known: &KnownDevice, now: Timestamp) {
        let counted = &mut self.counted;
        if let Some(claim) = known.claim(&self.record.id) {
            counted.size = counted.size.saturating_add(1);
            counted.newcomers = counted.newcomers.saturating_add(u64::from(claim.is_newcomer));
            counted.reached = counted.reached.saturating_add(1);
            let (soak_s, cadence) = (self.update.rollout.soak_s(), known.record_or_default().cadence());
            let is_waiting = !claim.is_newcomer && is_waiting(&claim.life, soak_s, cadence.allowed_s(), now);
            counted.waiting = counted.waiting.saturating_add(u64::from(is_waiting));
            let cohort = self.update.cohort_of(device);
            let may_go_on = !matches!(claim.state(), Life::Proved | Life::Closed)
                && claim.next(self.update.rollout.max_attempts, cohort) != Some(Next::Never);
            counted.unfinished = counted.unfinished.saturating_add(u64::from(may_go_on && is_known(known, now)));
            let said = known.record.as_ref().and_then(|record| record.version.as_deref());
            let is_last = known.claims.iter().all(|(_, other)| other.epoch <= claim.epoch);
            let said = said.filter(|_| is_last);
            if let Some(said) = said.filter(|said| claim.says_something_else(said) && !self.images.names.has(said)) {
                counted.count_other_name(said);
            }
            return;
        }
        if self.is_on_the_way(known) && is_known(known, now) {
            // It runs an older version still, and may come back with the one from which it is to be taken.
            self.counted.unfinished = self.counted.unfinished.saturating_add(1);
            return;
        }
        let counted = &mut self.counted;
        let has_failed = |(_, claim): &(_, Claim)| claim.failed_before(&self.record.version, self.record.campaign);
        if !self.update.rollout.include_failed && known.claims.iter().any(has_failed) {
            return;
        }
        let record = known.record_or_default();
        let stored = stored_device(&self.record.product, device, &record, &self.images.reports, Delivery::Anything);
        if !stored.is_some_and(|stored| self.update.is_for(&stored, &self.slots)) {
            return;
        }
        counted.size = counted.size.saturating_add(1);
        let is_newcomer = self.update.is_newcomer(record.first_seen);
        counted.newcomers = counted.newcomers.saturating_add(u64::from(is_newcomer));
        let order = record.orders.allow(&self.record.version);
        let is_pinned = matches!(order, Err(Objection::Pinned { .. }));
        let question = record.questions.about(&self.record.id);
        let cohort = self.update.cohort_of(device);
        let is_over = is_pinned || question.and_then(|question| question.next(cohort)) == Some(Next::Never);
        counted.unfinished = counted.unfinished.saturating_add(u64::from(!is_over && is_known(known, now)));
        if order.is_err() {
            return;
        }
        let poll_s = record.cadence().poll_s;
        counted.due_after_s = counted.due_after_s.max(Cadence { poll_s, long_gap_s: 0 }.due_after_s(true));
        let due_at = record.last_seen.map(|seen| record.cadence().due_at(seen, false));
        if due_at.is_none_or(|due_at| due_at <= now) {
            return;
        }
        let is_left = self.update.held_out_from.is_none_or(|from| cohort < from);
        let count = match question.map(|question| question.reply) {
            Some(None) => &mut counted.asked,
            Some(Some(Reply::Refused { .. })) => &mut counted.refused,
            Some(Some(Reply::Agreed)) | None => &mut counted.left,
        };
        *count = count.saturating_add(u64::from(is_left));
        let is_awaited = |question: &Question| {
            is_left && question.reply.is_none() && now.duration_since(question.asked_at) < LONGEST
        };
        counted.awaited = counted.awaited.saturating_add(u64::from(question.is_some_and(is_awaited)));
        // Nobody makes a control group of devices that did not exist before the campaign.
        let was_known = |(first, opened): (Timestamp, Timestamp)| opened.duration_since(first) >= KNOWN_BEFORE;
        // Whoever is asked may take the update: the group would be left with those that nobody looks at.
        let may_join = self.record.control_group.is_none() && question.is_none();
        if may_join && record.first_seen.zip(self.record.opened_at).is_some_and(was_known) {
            counted.last.add(&self.record.id, device.clone());
        }
    }

    /// Returns true if the device is on its way to a version from which this rollback takes devices back.
    fn is_on_the_way(&self, known: &KnownDevice) -> bool {
        let is_named =
            |claim: &Claim| self.update.rollback_from.iter().any(|from| from.cmp_precedence(&claim.version).is_eq());
        let is_under_way = |claim: &Claim| matches!(claim.state(), Life::Open | Life::Installed | Life::Lost);
        known.claims.iter().any(|(_, claim)| is_named(claim) && is_under_way(claim))
    }

    /// Records what was counted, and chooses or ends the control group.
    async fn finish(&self, store: &impl SweepStore, pass: &Pass, now: Timestamp) -> Done<()> {
        let Self { record, .. } = self;
        if record.wanted.is_some() {
            // The next pass comes back to it.
            return Ok(());
        }
        let audience = self.audience(pass);
        self.audit_edit(store, &audience).await?;
        store.put_audience(&record.rollout(), &audience).await?;
        if record.state != State::Active {
            return Ok(());
        }
        let rollout = &self.update.rollout;
        match &record.control_group {
            None if self.update.may_hold_out(now) => self.choose(store, now).await,
            Some(group) if !group.is_over && !rollout.health.control_group => {
                self.serve(store, group, "the control group was turned off", now).await
            }
            Some(group) if !group.is_over => {
                let Audience { served_since, unchanged_since, .. } = audience;
                let others = Others { served_since, unchanged_since, ends_at: rollout.ends_at };
                let due_after_s = self.counted.due_after_s;
                let reading = control_group::read(store, record, group, now).await?;
                match is_served(&others, &reading.control, SignedDuration::from_secs(due_after_s), now) {
                    true => self.serve(store, group, "the others were offered the update", now).await,
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Writes into the audit log how many devices a change of the policy has added or removed, when they are counted for
    /// the first time. Repeated, it writes the same entry.
    async fn audit_edit(&self, store: &impl SweepStore, audience: &Audience) -> Stored<()> {
        let is_counted = |edit: &AudienceEdit| {
            let was_counted = self.record.audience.as_ref().is_some_and(|before| before.at >= edit.in_force_at());
            !was_counted && audience.at >= edit.in_force_at()
        };
        let Some(AudienceEdit { at, before }) = self.record.audience_edit.filter(is_counted) else {
            return Ok(());
        };
        let before = before.map_or("an unknown number of".to_string(), |before| before.to_string());
        let reason = format!("{before} devices before the change of the policy, {} after it", audience.size);
        // One entry of a generation has this time already.
        let now = at.checked_add(SignedDuration::from_millis(1)).unwrap_or(at);
        let actor = Actor { who: "sweep".into(), reason, now };
        let entry = actor.entry("count the audience", self.record.version.to_string(), self.record.generation);
        store.audit(&self.record.product, &entry).await
    }

    fn audience(&self, pass: &Pass) -> Audience {
        let Counted { size, newcomers, reached, left, waiting, unfinished, asked, refused, .. } = self.counted;
        let before = self.record.audience.as_ref();
        let served_since = before.and_then(|before| before.served_since).or(Some(pass.began_at));
        let unchanged = before.filter(|before| before.reached >= reached).map(|before| before.unchanged_since);
        Audience {
            size,
            newcomers,
            reached,
            left,
            waiting,
            unfinished,
            asked,
            refused,
            other_name: self.counted.other_name(),
            served_since: served_since.filter(|_| are_served(size, left.saturating_add(self.counted.awaited))),
            unchanged_since: unchanged.unwrap_or(pass.began_at),
            at: pass.began_at,
        }
    }

    /// Offers the update to the control group. Its last reading stays in force.
    async fn serve(&self, store: &impl SweepStore, group: &ControlGroup, reason: &str, now: Timestamp) -> Done<()> {
        self.change(store, ControlGroup { is_over: true, ..*group }, reason, now).await
    }

    async fn choose(&self, store: &impl SweepStore, now: Timestamp) -> Done<()> {
        let size = self.counted.size;
        let Some((from, members)) = self.counted.last.choose(size) else {
            return Ok(());
        };
        store.put_members(&self.record.rollout(), &members).await?;
        let reason = format!("the last {} of {size} devices", members.len());
        self.change(store, ControlGroup { from, since: now, is_over: false }, &reason, now).await
    }

    /// Changes the control group, and compiles, so that check-ins know it.
    async fn change(&self, store: &impl SweepStore, group: ControlGroup, reason: &str, now: Timestamp) -> Done<()> {
        let actor = Actor { who: "sweep".into(), reason: reason.into(), now };
        let changed = match control::want(store, &self.record, Change::ControlGroup(group), &actor).await {
            Ok(wishing) => control::carry_out(store, &wishing, now).await,
            Err(error) => Err(error),
        };
        compile::compile_or_leave_it(store, &self.record.product).await;
        match changed {
            // An operator was faster. The next pass comes back to it.
            Ok(_) | Err(EngineError::Store(StoreError::Conflict)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
