//! The invariant checker: enters every write that was applied in a ledger, and finds the invariant that was broken.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::cadence::DAY_S;
use tidegate_core::count::{Count, CountedShard, Sums};
use tidegate_core::life::State as Life;
use tidegate_core::limits::{Allocation, Limits};
use tidegate_core::policy::Slots;
use tidegate_core::question::Question;
use tidegate_core::shard::{Gate, Grant, Shard, period_of};
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, Transition, UpdateId, Version};
use tidegate_store::record::{Change, ClaimChange, DeviceRecord, KnownDevice, RolloutKey, UpdateRecord};
use tidegate_store::store::{GrantRequest, Period};
use tidegate_wire::definition::Definition;

use crate::ledger::Ledger;
use crate::simulator::invariant::Invariant;
use crate::simulator::requests::Answer;
use crate::simulator::speech::{Heard, Message, Offer, Speech};

/// The largest error of a function's clock, in milliseconds.
pub const MOST_SKEW_MS: i64 = 300_000;

/// Checks every invariant while a simulation runs.
#[derive(Debug, Default)]
pub struct InvariantChecker {
    rollouts: BTreeMap<UpdateId, Rollout>,
    /// Stops of whole products, and the last resume of each.
    stops: BTreeMap<ProductId, Stop>,
    /// The wire formats of the devices.
    speeches: BTreeMap<DeviceId, Speech>,
    /// Products with a record of the stream that could not be read: their counts are not certain.
    uncertain: BTreeSet<ProductId>,
    moments: Moment,
    checked: BTreeMap<Invariant, u64>,
    broken: Option<(Invariant, String)>,
}

/// A number that tells which of two events came first.
pub type Moment = u64;

/// One rollout, as its writes left it.
#[derive(Debug)]
struct Rollout {
    product: ProductId,
    version: Version,
    campaign: u32,
    rollback_from: Vec<Version>,
    has_files: bool,
    asks_user: bool,
    state: State,
    generation: u64,
    stop: Stop,
    rules: BTreeMap<u64, Rules>,
    ledger: Ledger<DeviceId, Claim>,
    /// Grants of places, and places that are held, by shard.
    places: BTreeMap<u16, Places>,
    /// Sums over the claims, without their places.
    sums: Sums,
}

/// The stop of a rollout or of a product.
#[derive(Debug, Clone, Copy, Default)]
struct Stop {
    is_in_force: bool,
    /// The moment at which it was acknowledged.
    acknowledged_at: Option<Moment>,
    /// The last moment at which it was lifted.
    lifted_at: Moment,
}

impl Stop {
    fn set(&mut self, is_in_force: bool, now: Moment) {
        self.is_in_force = is_in_force;
        if !is_in_force {
            *self = Self { is_in_force, acknowledged_at: None, lifted_at: now };
        }
    }

    /// Takes in the answer to a stop that was asked for at `asked_at`. If it was lifted since, the answer says nothing of
    /// the stop that is in force now.
    fn acknowledge(&mut self, asked_at: Moment, now: Moment) {
        if self.is_in_force && self.lifted_at < asked_at {
            self.acknowledged_at.get_or_insert(now);
        }
    }
}

/// Places of one shard.
#[derive(Debug, Clone, Copy, Default)]
struct Places {
    granted: u64,
    held: u64,
}

/// The limits of one generation of a rollout.
#[derive(Debug, Clone)]
struct Rules {
    limits: Limits,
    per_period: Option<u64>,
    max_attempts: u32,
    allocation: Option<Allocation>,
}

/// A message of a device that is answered.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The device.
    pub device: DeviceId,
    /// Its product.
    pub product: ProductId,
    /// Its wire format.
    pub speech: Speech,
    /// The message.
    pub message: Message,
    /// Revision of the device when an operator was told that its token is revoked, if it was.
    pub revoked_at: Option<u64>,
    /// Its token is revoked, whether an operator was told so or not.
    pub is_revoked: bool,
    /// The moment at which it arrived.
    pub arrived: Moment,
}

impl Asked {
    /// A device that asks for an update in the service's own format.
    #[must_use]
    pub fn native(device: DeviceId, product: ProductId, version: Version, arrived: Moment) -> Self {
        let message = Message::Ask(version);
        Self { device, product, speech: Speech::Native, message, revoked_at: None, is_revoked: false, arrived }
    }
}

impl InvariantChecker {
    /// The invariant that was broken first, if one was.
    #[must_use]
    pub fn broken(&self) -> Option<&(Invariant, String)> {
        self.broken.as_ref()
    }

    /// Number of checks of each invariant.
    #[must_use]
    pub fn checked(&self) -> &BTreeMap<Invariant, u64> {
        &self.checked
    }

    /// Checks a promise; `said` is asked only when it is broken.
    pub fn check(&mut self, invariant: Invariant, holds: bool, said: impl FnOnce() -> String) {
        *self.checked.entry(invariant).or_default() += 1;
        if !holds && self.broken.is_none() {
            self.broken = Some((invariant, said()));
        }
    }

    /// The present moment. It is later than every one before.
    pub fn moment(&mut self) -> Moment {
        self.moments += 1;
        self.moments
    }

    /// A device of this wire format takes part.
    pub fn takes_part(&mut self, device: DeviceId, speech: Speech) {
        self.speeches.insert(device, speech);
    }

    /// The claim of a device, by the ledger.
    #[must_use]
    pub fn claim(&self, update: &UpdateId, device: &DeviceId) -> Option<&Claim> {
        self.rollouts.get(update)?.ledger.entry(device)
    }

    /// Number of claims on an update, by the ledger.
    #[must_use]
    pub fn claims(&self, update: &UpdateId) -> u64 {
        self.rollouts.get(update).map_or(0, |rollout| rollout.ledger.devices())
    }

    /// The totals of an update: offered, in flight, proved, failed, lost.
    #[must_use]
    pub fn totals(&self, update: &UpdateId) -> String {
        let Some(Rollout { ledger, sums, .. }) = self.rollouts.get(update) else {
            return "0 0 0 0 0".to_owned();
        };
        let [proved, failed, lost] = [Count::Proved, Count::Failed, Count::Lost].map(|count| sums.devices(count));
        format!("{} {} {proved} {failed} {lost}", ledger.devices(), ledger.in_flight())
    }

    /// The generation and state in force.
    #[must_use]
    pub fn in_force(&self, update: &UpdateId) -> Option<(u64, State)> {
        self.rollouts.get(update).map(|rollout| (rollout.generation, rollout.state))
    }

    /// Every rollout.
    #[must_use]
    pub fn rollouts(&self) -> Vec<RolloutKey> {
        self.rollouts
            .values()
            .map(|rollout| RolloutKey::of(&rollout.product, &rollout.version, rollout.campaign))
            .collect()
    }

    /// A draft was deleted.
    pub fn deleted(&mut self, draft: &UpdateId) {
        self.rollouts.remove(draft);
    }

    /// The last campaign of an update.
    #[must_use]
    pub fn last_campaign(&self, product: &ProductId, version: &Version) -> u32 {
        let of = self.rollouts.values().filter(|rollout| rollout.product == *product && rollout.version == *version);
        of.map(|rollout| rollout.campaign).max().unwrap_or(1)
    }

    /// True if it takes devices back.
    #[must_use]
    pub fn is_rollback(&self, update: &UpdateId) -> bool {
        self.rollouts.get(update).is_some_and(|rollout| !rollout.rollback_from.is_empty())
    }

    /// The devices that are watched in a rollout, by the ledger.
    #[must_use]
    pub fn under_way(&self, update: &UpdateId) -> Vec<DeviceId> {
        let entries = self.rollouts.get(update).into_iter().flat_map(|rollout| rollout.ledger.iter());
        let under_way = entries.filter(|(_, claim)| claim.state().is_watched());
        under_way.map(|(device, _)| device.clone()).collect()
    }

    /// A record of the stream about a device of this product could not be read: nobody can count it.
    pub fn cannot_read(&mut self, product: &ProductId) {
        self.uncertain.insert(product.clone());
    }

    /// True if every change of a device of the product could be counted.
    #[must_use]
    pub fn is_certain(&self, product: &ProductId) -> bool {
        !self.uncertain.contains(product)
    }

    /// A record of an update was written.
    pub fn changed(&mut self, record: &UpdateRecord) {
        let compiled = Definition::from_store(&record.definition)
            .ok()
            .and_then(|definition| definition.update(&record.product, &record.publication(), &mut Slots::new()).ok());
        let Some(update) = compiled else {
            self.check(Invariant::CurrentGeneration, false, || format!("{} cannot be read back", record.id));
            return;
        };
        let moment = self.moment();
        let rollout = self.rollouts.entry(record.id.clone()).or_insert_with(|| Rollout {
            product: record.product.clone(),
            version: record.version.clone(),
            campaign: update.campaign,
            rollback_from: update.rollback_from.clone(),
            has_files: !update.content.files.is_empty(),
            asks_user: update.content.ask_consent,
            state: record.state,
            generation: record.generation,
            stop: Stop::default(),
            rules: BTreeMap::new(),
            ledger: Ledger::default(),
            places: BTreeMap::new(),
            sums: Sums::default(),
        });
        rollout.state = record.state;
        rollout.generation = record.generation;
        rollout.stop.set(record.state != State::Active, moment);
        let per_period = update.rollout.limits.offers_per_period(update.content.size_bytes());
        let max_attempts = update.rollout.max_attempts;
        let allocation = record.allocation.clone();
        let rules = Rules { limits: update.rollout.limits, per_period, max_attempts, allocation };
        rollout.rules.insert(record.generation, rules);
    }

    /// A wish was written. `before` is the record before that.
    pub fn wanted(&mut self, before: Option<&UpdateRecord>, update: &UpdateRecord) {
        let force = |record: &UpdateRecord| record.wanted.as_ref().map(|wanted| wanted.change.force());
        let before = before.and_then(force);
        self.check(Invariant::WishStays, before < force(update), || {
            format!("a wish of force {:?} for {} replaced one of force {before:?}", force(update), update.id)
        });
    }

    /// A change was recorded. `before` is the record before that.
    pub fn recorded(&mut self, before: Option<&UpdateRecord>, update: &UpdateRecord) {
        let wanted = before.and_then(|before| before.wanted.as_ref());
        let ends_its_own = wanted.is_some_and(|wanted| wanted.generation == update.generation);
        let opens = update.state == State::Active && before.is_some_and(|before| before.state != State::Active);
        let may_open = wanted.is_some_and(|wanted| {
            matches!(wanted.change, Change::Transition(Transition::Activate | Transition::Resume) | Change::Lift)
        });
        self.check(Invariant::WishStays, ends_its_own && (may_open || !opens), || {
            format!(
                "{} became {} in generation {} while {wanted:?} was wanted",
                update.id, update.state, update.generation
            )
        });
    }

    /// An operator, who asked at the moment `asked_at`, was told that an update is paused or over.
    pub fn acknowledged_stop(&mut self, update: &UpdateId, asked_at: Moment) {
        let now = self.moment();
        if let Some(rollout) = self.rollouts.get_mut(update) {
            rollout.stop.acknowledge(asked_at, now);
        }
    }

    /// An operator, who asked at the moment `asked_at`, was told that a whole product is stopped.
    pub fn acknowledged_product_stop(&mut self, product: &ProductId, asked_at: Moment) {
        let now = self.moment();
        self.stops.entry(product.clone()).or_default().acknowledge(asked_at, now);
    }

    /// The flag that stops a whole product was set or removed.
    pub fn product_changed(&mut self, product: &ProductId, is_stopped: bool) {
        let now = self.moment();
        self.stops.entry(product.clone()).or_default().set(is_stopped, now);
    }

    /// The moment at which the stop of a whole product was acknowledged.
    fn product_stopped_at(&self, product: &ProductId) -> Option<Moment> {
        self.stops.get(product)?.acknowledged_at
    }

    /// A grant was committed. `known` is the device after it.
    pub fn granted(&mut self, request: &GrantRequest, known: &KnownDevice, now: Timestamp) {
        let GrantRequest { rollout: key, device, generation, grant, before, after, .. } = request;
        let id = key.update_id();
        let Some(mut rollout) = self.rollouts.remove(&id) else {
            self.check(Invariant::CurrentGeneration, false, || format!("{id} was never written"));
            return;
        };
        let held = rollout.ledger.entry(device);
        let revision = known.record.as_ref().map_or(0, |record| record.revision);
        let follows = match (held, before) {
            (None, None) => *grant == Grant::First && after.epoch == revision,
            (Some(held), Some(before)) => {
                is_same(held, before)
                    && held.state().has_ended()
                    && after.epoch == revision
                    && after.epoch > held.epoch
                    && *grant == Grant::Again
            }
            _ => false,
        };
        self.check(Invariant::OneClaim, follows, || {
            format!("{device} at revision {revision} had {held:?} and was granted {after:?} after {before:?}")
        });
        self.check(Invariant::OwnProduct, rollout.product == *key.product(), || format!("{id} is another product's"));
        let moves = Version::parse(&after.was).is_ok_and(|was| moves(&rollout.version, &rollout.rollback_from, &was));
        self.check(Invariant::NoDowngrade, moves, || {
            format!("{device} on {} was granted {}", after.was, rollout.version)
        });
        if rollout.asks_user && self.speeches.get(device) == Some(&Speech::Hawkbit) {
            let question = known.record.as_ref().and_then(|record| record.questions.about(&id));
            let is_agreed = question.is_some_and(Question::is_agreed);
            self.check(Invariant::Consent, is_agreed, || format!("{device} was granted {id}; asked was {question:?}"));
        }
        let is_stopped = rollout.stop.acknowledged_at.is_some() || self.product_stopped_at(key.product()).is_some();
        self.check(Invariant::NoGrantAfterStop, !is_stopped, || {
            format!("{device} was granted {id} after the acknowledged stop of generation {}", rollout.generation)
        });
        self.check(Invariant::CurrentGeneration, *generation == rollout.generation, || {
            format!("{device} was granted {id} for generation {generation}; in force is {}", rollout.generation)
        });
        rollout.ledger.begin();
        let places = rollout.places.entry(after.shard).or_default();
        places.granted += 1;
        places.held += 1;
        // The ledger has the claim itself when the device is looked at.
        let used = rollout.ledger.devices() + u64::from(*grant == Grant::First);
        if let Some(rules) = rollout.rules.get(generation).cloned() {
            self.check_limits(request, used, &mut rollout, &rules, now);
        }
        self.rollouts.insert(id, rollout);
    }

    fn check_limits(
        &mut self,
        request: &GrantRequest,
        used: u64,
        rollout: &mut Rollout,
        rules: &Rules,
        now: Timestamp,
    ) {
        let GrantRequest { device, grant, after, period, .. } = request;
        let (id, in_flight) = (request.rollout.update_id(), rollout.ledger.in_flight());
        if *grant == Grant::First {
            self.check(Invariant::MaxDevices, rules.limits.max_devices.is_none_or(|most| used <= most), || {
                format!("{id} has {used} claims; max_devices is {:?}", rules.limits.max_devices)
            });
        }
        self.check(Invariant::MaxInFlight, rules.limits.max_in_flight.is_none_or(|most| in_flight <= most), || {
            format!("{id} has {in_flight} in flight; max_in_flight is {:?}", rules.limits.max_in_flight)
        });
        // The clocks of functions differ, and so do the days in which a failure counts.
        let days = 30 * DAY_S - 2 * MOST_SKEW_MS / 1000;
        let is_recent = |at: &&Timestamp| now.as_second().saturating_sub(at.as_second()) < days;
        let failures = after.history.failed_at.iter().filter(is_recent).count();
        let had_failed = request.before.as_ref().is_some_and(|before| before.state() == Life::Failed);
        self.check(Invariant::MaxAttempts, !had_failed || failures < rules.max_attempts as usize, || {
            format!("{device} was granted {id} after {failures} failures; {} are allowed", rules.max_attempts)
        });
        let Some(most) = rules.per_period else {
            return;
        };
        let Some(Period::Same(period) | Period::New(period)) = *period else {
            self.check(Invariant::MaxPerPeriod, false, || format!("{id} counts in no period; {most} are allowed"));
            return;
        };
        let granted = rollout.ledger.count_in_period(period);
        self.check(Invariant::MaxPerPeriod, granted <= most, || {
            format!("{id} has {granted} grants in the period at {period}; {most} are allowed; now is {now}")
        });
        // A clock within the skew, a request that waited for its store, or an edit of `period_s`.
        let slack_s = 2 * MOST_SKEW_MS / 1000 + 60;
        let period_s = rules.limits.period_s;
        let early = period_of(now, period_s).saturating_sub(i64::from(period_s) + slack_s);
        let late = period_of(now, period_s).saturating_add(i64::from(period_s) + slack_s);
        self.check(Invariant::PeriodIsNow, (early..=late).contains(&period), || {
            format!("{id} was granted in the period at {period}; now is {now}")
        });
    }

    /// A claim was changed by a write that is no grant.
    pub fn settled(&mut self, product: &ProductId, device: &DeviceId, change: &ClaimChange) {
        let ClaimChange { before, after, .. } = change;
        let id = UpdateId::of(product, &before.version, before.campaign);
        let held = self.rollouts.get(&id).and_then(|rollout| rollout.ledger.entry(device));
        let is_change = before.state() != after.state();
        let follows = held.is_some_and(|held| {
            let gets_a_place = after.life.holds_place && !held.life.holds_place;
            is_same(held, before)
                && held.epoch == after.epoch
                && !gets_a_place
                && !(is_change && held.state() == Life::Closed)
        });
        let said = (!follows).then(|| format!("{device} had {held:?} and was moved from {before:?} to {after:?}"));
        self.check(Invariant::OutcomesOnce, follows, || said.unwrap_or_default());
    }

    /// A claim was changed, perhaps to lost. `record` is that of the device after it; the write of a lost device leaves it
    /// as it is.
    pub fn lost(&mut self, device: &DeviceId, change: &ClaimChange, record: &DeviceRecord, now: Timestamp) {
        if change.after.state() != Life::Lost || change.before.state() == Life::Lost {
            return;
        }
        let seen = record.last_seen.unwrap_or(change.before.life.granted_at);
        let due_at = record.cadence().due_at(seen, change.before.life.holds_place);
        let latest_ms = now.as_millisecond().saturating_add(MOST_SKEW_MS);
        self.check(Invariant::LostInTime, due_at.as_millisecond() <= latest_ms, || {
            format!("{device} was lost at {now}; it was seen at {seen} and is due at {due_at}")
        });
    }

    /// A device's item was written. `known` is the device after that.
    pub fn device_changed(&mut self, product: &ProductId, device: &DeviceId, known: &KnownDevice) {
        for (id, claim) in &known.claims {
            let Some(rollout) = self.rollouts.get_mut(id).filter(|rollout| rollout.product == *product) else {
                continue;
            };
            let before = rollout.ledger.entry(device).cloned();
            if before.as_ref() == Some(claim) {
                continue;
            }
            rollout.sums.count(before.as_ref(), Some(claim));
            if let Some(before) = before.filter(|before| before.life.holds_place && !claim.life.holds_place) {
                rollout.ledger.end();
                let places = rollout.places.entry(before.shard).or_default();
                places.held = places.held.saturating_sub(1);
            }
            rollout.ledger.enter(device.clone(), claim.clone());
        }
    }

    /// Compares the ledger with the shards as they are stored after a grant.
    pub fn compare_shards(&mut self, key: &RolloutKey, shards: &[Option<Shard>]) {
        let id = key.update_id();
        let Some(rollout) = self.rollouts.get(&id) else {
            return;
        };
        let (claims, places) = (rollout.ledger.devices(), rollout.places.clone());
        let used = shards.iter().flatten().map(|shard| shard.used).sum::<u64>();
        self.check(Invariant::UsedIsClaims, used == claims, || format!("{id} has {claims} claims and {used} used"));
        for (number, shard) in (0_u16..).zip(shards) {
            let Some(shard) = shard else {
                continue;
            };
            let granted = places.get(&number).copied().unwrap_or_default().granted;
            self.check(Invariant::GrantedIsGrants, shard.granted == granted, || {
                format!("shard {number} of {id} counts {} grants; there were {granted}", shard.granted)
            });
            self.check_ceiling(key, number, Some(shard));
        }
    }

    /// The ceiling of a shard was raised.
    pub fn raised(&mut self, key: &RolloutKey, number: u16, before: Option<&Shard>, after: Option<&Shard>) {
        let ceiling = |shard: Option<&Shard>| shard.and_then(|shard| shard.ceiling);
        self.check(Invariant::CeilingRises, ceiling(before) <= ceiling(after), || {
            let id = key.update_id();
            format!("the ceiling of shard {number} of {id} fell from {:?} to {:?}", ceiling(before), ceiling(after))
        });
        self.check_ceiling(key, number, after);
    }

    /// Checks the ceiling of a shard: an open one reaches at most the places that it has beside those that it holds.
    pub fn check_ceiling(&mut self, key: &RolloutKey, number: u16, shard: Option<&Shard>) {
        let id = key.update_id();
        let (Some(rollout), Some(shard)) = (self.rollouts.get(&id), shard) else {
            return;
        };
        let allocation = rollout.rules.get(&shard.generation).and_then(|rules| rules.allocation.as_ref());
        let (Gate::Open, Some(ceiling), Some(allocation)) = (shard.gate, shard.ceiling, allocation) else {
            return;
        };
        let held = rollout.places.get(&number).copied().unwrap_or_default().held;
        let places = allocation.places(number);
        let most = shard.granted.saturating_sub(held).saturating_add(places);
        self.check(Invariant::Ceiling, ceiling <= most, || {
            let Shard { granted, generation, .. } = shard;
            format!(
                "shard {number} of {id} may reach {ceiling} grants in generation {generation}; it has made {granted}, \
                 of which {held} are held, and has {places} places"
            )
        });
    }

    /// Compares sums with the ledger: those of the tallies, with the records that are in none of them.
    pub fn compare_sums(&mut self, key: &RolloutKey, sums: &Sums) {
        let id = key.update_id();
        let Some(rollout) = self.rollouts.get(&id).filter(|_| self.is_certain(key.product())) else {
            return;
        };
        let counts = |sums: &Sums| (sums.devices.clone(), sums.granted_in.clone(), sums.lost_in.clone());
        let (expected, counted) = (counts(&rollout.sums), counts(sums));
        let wrong = rollout.places.iter().find(|(shard, places)| {
            let shard = CountedShard { count: 0, shard: **shard };
            (sums.granted(shard), sums.released(shard)) != (places.granted, places.granted.saturating_sub(places.held))
        });
        let is_true = counted == expected && wrong.is_none();
        let said = (!is_true).then(|| {
            format!("{id} has outcomes {expected:?} and counts {counted:?}; a wrong shard is {wrong:?} in {sums:?}")
        });
        self.check(Invariant::SumsAreTrue, is_true, || said.unwrap_or_default());
    }

    /// A device was answered.
    pub fn answered(&mut self, asked: &Asked, answer: &Answer) {
        let heard = asked.speech.hear(&asked.message, answer);
        let offer = heard.iter().find_map(|heard| match heard {
            Heard::Offer(offer) => Some(offer),
            _ => None,
        });
        let is_down = answer.status == 503 && answer.retry_after_s.is_some();
        let is_refused = answer.status == 401 && asked.is_revoked;
        // An answer that refuses has no offer.
        let is_bare = answer.status == 200 || answer.text("update").is_none();
        let is_known = is_down || is_refused || asked.speech.answers(&asked.message).contains(&answer.status);
        self.check(Invariant::DownIsDenied, is_known && is_bare, || {
            format!("{} to {} over {}, which said {:?}", answer.brief(), asked.device, asked.speech, asked.message)
        });
        let Some(offer) = offer else {
            return;
        };
        let id = self.offered_update(asked, offer);
        let Some((id, rollout)) = id.and_then(|id| Some((id.clone(), self.rollouts.get(&id)?))) else {
            self.check(Invariant::OfferIsClaimed, false, || format!("{offer:?} was never granted to {}", asked.device));
            return;
        };
        let can_take = asked.speech.can_take(rollout.has_files, rollout.asks_user);
        let (product, version) = (rollout.product.clone(), rollout.version.clone());
        let rollback_from = rollout.rollback_from.clone();
        let claim = rollout.ledger.entry(&asked.device).cloned();
        let stops = [rollout.stop.acknowledged_at, self.product_stopped_at(&product)];
        let was_stopped = stops.into_iter().flatten().any(|stopped_at| stopped_at < asked.arrived);
        self.check(Invariant::NoOfferAfterStop, !was_stopped, || {
            format!("{} was offered {id}, whose stop was acknowledged before it checked in", asked.device)
        });
        self.check(Invariant::OwnProduct, product == asked.product, || format!("{id} went to {}", asked.device));
        // In the other formats the grant is checked: the device said its version earlier.
        if let Message::Ask(said) = &asked.message
            && asked.speech.says_its_version_when_it_asks()
        {
            self.check(Invariant::NoDowngrade, moves(&version, &rollback_from, said), || {
                format!("{} on {said} was offered {version}", asked.device)
            });
        }
        if let (Some(revoked_at), Some(claim)) = (asked.revoked_at, &claim) {
            self.check(Invariant::RevokedToken, claim.epoch <= revoked_at, || {
                format!("{} was revoked at revision {revoked_at} and was offered {claim:?}", asked.device)
            });
        }
        self.check(Invariant::OfferIsClaimed, claim.is_some() && can_take, || {
            format!("{} over {} was offered {id} with the claim {claim:?}", asked.device, asked.speech)
        });
    }

    /// The update of an offer. Only some formats say its id; in the others it is the one that the device was granted last.
    fn offered_update(&self, asked: &Asked, offer: &Offer) -> Option<UpdateId> {
        if let Some(id) = &offer.update {
            return UpdateId::new(id).ok();
        }
        let is_granted = |(_, rollout): &(&UpdateId, &Rollout)| {
            let is_it = rollout.product == asked.product && rollout.version == offer.version;
            is_it && rollout.ledger.entry(&asked.device).is_some()
        };
        let granted = self.rollouts.iter().filter(is_granted);
        granted.max_by_key(|(_, rollout)| rollout.campaign).map(|(id, _)| id.clone())
    }

    /// Returns true if a device of this format can be given an update.
    #[must_use]
    pub fn can_take(&self, update: &UpdateId, speech: Speech) -> bool {
        self.rollouts.get(update).is_some_and(|rollout| speech.can_take(rollout.has_files, rollout.asks_user))
    }
}

/// Returns true if an update takes a device on from the version that it said, or back from it.
fn moves(version: &Version, rollback_from: &[Version], said: &Version) -> bool {
    match rollback_from.is_empty() {
        true => version.cmp_precedence(said).is_gt(),
        false => rollback_from.contains(said),
    }
}

/// True if both are the same state of the same claim.
fn is_same(held: &Claim, read: &Claim) -> bool {
    (held.epoch, held.revision) == (read.epoch, read.revision)
}
