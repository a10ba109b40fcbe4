//! The checker of the invariants: every write that was applied is entered in its ledgers, by rules that share nothing
//! with the storage protocol, and compared with what is stored.

use std::collections::BTreeMap;

use tidegate_core::claim::SHORTEST_URL_S;
use tidegate_core::limits::Limits;
use tidegate_core::policy::Slots;
use tidegate_core::shard::{Counts, Grant, Shard, period_of};
use tidegate_core::status::Outcome;
use tidegate_core::update::Downgrade;
use tidegate_core::{Claim, ClaimState, DeviceId, ProductId, State, Timestamp, UpdateId, Version};
use tidegate_store::record::{ClaimKey, UpdateRecord};
use tidegate_store::store::{Period, Reservation};
use tidegate_wire::definition::Definition;

use crate::ledger::Ledger;
use crate::simulator::invariant::Invariant;
use crate::simulator::requests::Answer;

/// The largest error of a function's clock, in milliseconds.
pub const MOST_SKEW_MS: i64 = 300_000;

/// Checks every invariant while a simulation runs.
#[derive(Debug, Default)]
pub struct InvariantChecker {
    rollouts: BTreeMap<UpdateId, Rollout>,
    checked: BTreeMap<Invariant, u64>,
    broken: Option<(Invariant, String)>,
}

/// One rollout, as its writes left it.
#[derive(Debug)]
struct Rollout {
    product: ProductId,
    version: Version,
    downgrade: Downgrade,
    state: State,
    generation: u64,
    is_stopped: bool,
    shards: u16,
    rules: BTreeMap<u64, Rules>,
    ledger: Ledger<DeviceId, Claim>,
    /// Only the outcomes; the rest is in the ledger.
    outcomes: Counts,
}

/// The limits of one generation of a rollout.
#[derive(Debug, Clone)]
struct Rules {
    limits: Limits,
    per_period: Option<u64>,
    max_attempts: u32,
}

/// A check-in that is answered.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The device.
    pub device: DeviceId,
    /// Its product.
    pub product: ProductId,
    /// The version that it says it runs.
    pub version: Version,
    /// The clock of the function that answered.
    pub function_now: Timestamp,
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

    /// Number of shards of an update, once it has any.
    #[must_use]
    pub fn shards(&self, update: &UpdateId) -> u16 {
        self.rollouts.get(update).map_or(0, |rollout| rollout.shards)
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

    /// The totals of an update: offered, in flight, succeeded, failed, timed out.
    #[must_use]
    pub fn totals(&self, update: &UpdateId) -> String {
        let Some(Rollout { ledger, outcomes, .. }) = self.rollouts.get(update) else {
            return "0 0 0 0 0".to_owned();
        };
        let Counts { succeeded, failed, timed_out, .. } = outcomes;
        format!("{} {} {succeeded} {failed} {timed_out}", ledger.devices(), ledger.in_flight())
    }

    /// The generation and state in force.
    #[must_use]
    pub fn in_force(&self, update: &UpdateId) -> Option<(u64, State)> {
        self.rollouts.get(update).map(|rollout| (rollout.generation, rollout.state))
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
        let rollout = self.rollouts.entry(record.id.clone()).or_insert_with(|| Rollout {
            product: record.product.clone(),
            version: record.version.clone(),
            downgrade: update.downgrade,
            state: record.state,
            generation: record.generation,
            is_stopped: false,
            shards: 0,
            rules: BTreeMap::new(),
            ledger: Ledger::default(),
            outcomes: Counts::default(),
        });
        rollout.state = record.state;
        rollout.generation = record.generation;
        rollout.shards = record.allocation.as_ref().map_or(0, tidegate_core::limits::Allocation::shards);
        if record.state == State::Active {
            rollout.is_stopped = false;
        }
        let per_period = update.rollout.limits.offers_per_period(update.content.size_bytes());
        let rules = Rules { limits: update.rollout.limits, per_period, max_attempts: update.rollout.max_attempts };
        rollout.rules.insert(record.generation, rules);
    }

    /// An operator was told that an update is paused or over.
    pub fn acknowledged_stop(&mut self, update: &UpdateId) {
        if let Some(rollout) = self.rollouts.get_mut(update)
            && rollout.state != State::Active
        {
            rollout.is_stopped = true;
        }
    }

    /// A reservation was committed.
    pub fn granted(&mut self, reservation: &Reservation, now: Timestamp) {
        let Reservation { key, generation, grant, previous, claim, .. } = reservation;
        let Some(mut rollout) = self.rollouts.remove(&key.update) else {
            self.check(Invariant::CurrentGeneration, false, || format!("{} was never written", key.update));
            return;
        };
        let held = rollout.ledger.entry(&key.device);
        let follows = match (held, previous) {
            (None, None) => *grant == Grant::First && claim.epoch == 0,
            (Some(held), Some(previous)) => {
                (held.epoch, held.state, held.shard) == (previous.epoch, previous.state, claim.shard)
                    && claim.epoch == held.epoch.saturating_add(1)
                    && *grant == if held.state == ClaimState::Reserved { Grant::Renewed } else { Grant::Again }
            }
            _ => false,
        };
        self.check(Invariant::OneClaim, follows, || format!("{key:?} had {held:?} and was granted {claim:?}"));
        self.check(Invariant::OwnProduct, rollout.product == key.product, || format!("{key:?} is another product's"));
        self.check(Invariant::NoGrantAfterStop, !rollout.is_stopped, || {
            format!("{key:?} was granted after the acknowledged stop of generation {}", rollout.generation)
        });
        self.check(Invariant::CurrentGeneration, *generation == rollout.generation, || {
            format!("{key:?} was granted for generation {generation}; in force is {}", rollout.generation)
        });
        let before = held.cloned();
        rollout.recount(before.as_ref(), claim);
        rollout.ledger.enter(key.device.clone(), claim.clone());
        if *grant != Grant::Renewed {
            rollout.ledger.begin();
        }
        if let Some(rules) = rollout.rules.get(generation).cloned() {
            self.check_limits(reservation, &mut rollout, &rules, now);
        }
        self.rollouts.insert(key.update.clone(), rollout);
    }

    fn check_limits(&mut self, reservation: &Reservation, rollout: &mut Rollout, rules: &Rules, now: Timestamp) {
        let Reservation { key, grant, claim, period, .. } = reservation;
        let (used, in_flight) = (rollout.ledger.devices(), rollout.ledger.in_flight());
        if *grant == Grant::First {
            self.check(Invariant::MaxDevices, rules.limits.max_devices.is_none_or(|most| used <= most), || {
                format!("{} has {used} claims; max_devices is {:?}", key.update, rules.limits.max_devices)
            });
        }
        if *grant != Grant::Renewed {
            self.check(Invariant::MaxInFlight, rules.limits.max_in_flight.is_none_or(|most| in_flight <= most), || {
                format!("{} has {in_flight} in flight; max_in_flight is {:?}", key.update, rules.limits.max_in_flight)
            });
        }
        self.check(Invariant::MaxAttempts, claim.attempts <= rules.max_attempts, || {
            format!("{key:?} is at attempt {} of {}", claim.attempts, rules.max_attempts)
        });
        let Some(most) = rules.per_period else {
            return;
        };
        let Some(Period::Same(period) | Period::New(period)) = *period else {
            self.check(Invariant::MaxPerPeriod, false, || format!("{key:?} counts in no period; {most} are allowed"));
            return;
        };
        let granted = rollout.ledger.count_in_period(period);
        self.check(Invariant::MaxPerPeriod, granted <= most, || {
            format!("{} has {granted} grants in the period at {period}; {most} are allowed; now is {now}", key.update)
        });
        // A clock within the skew, a request that waited for its store, or an edit of `period_s`.
        let slack_s = 2 * MOST_SKEW_MS / 1000 + 60;
        let period_s = rules.limits.period_s;
        let early = period_of(now, period_s).saturating_sub(i64::from(period_s) + slack_s);
        let late = period_of(now, period_s).saturating_add(i64::from(period_s) + slack_s);
        self.check(Invariant::PeriodIsNow, (early..=late).contains(&period), || {
            format!("{} was granted in the period at {period}; now is {now}", key.update)
        });
    }

    /// A claim was settled.
    pub fn settled(&mut self, key: &ClaimKey, before: &Claim, after: &Claim) {
        let Some(mut rollout) = self.rollouts.remove(&key.update) else {
            return;
        };
        let held = rollout.ledger.entry(&key.device).cloned();
        let follows = held.as_ref().is_some_and(|held| {
            (held.epoch, held.state) == (before.epoch, before.state)
                && held.epoch == after.epoch
                && held.state != ClaimState::Succeeded
                && after.state != ClaimState::Reserved
        });
        self.check(Invariant::OutcomesOnce, follows, || {
            format!("{key:?} was {held:?} and was settled from {before:?} to {after:?}")
        });
        if held.as_ref().is_some_and(|held| held.state == ClaimState::Reserved) {
            rollout.ledger.end();
        }
        rollout.recount(held.as_ref(), after);
        rollout.ledger.enter(key.device.clone(), after.clone());
        self.rollouts.insert(key.update.clone(), rollout);
    }

    /// Compares the ledger with the shards as they are stored.
    pub fn compare(&mut self, update: &UpdateId, shards: &[Option<Shard>]) {
        let Some(rollout) = self.rollouts.get(update) else {
            return;
        };
        let (claims, in_flight, expected) = (rollout.ledger.devices(), rollout.ledger.in_flight(), rollout.outcomes);
        let stored = Counts::of(shards);
        self.check(Invariant::UsedIsClaims, stored.used == claims, || {
            format!("{update} has {claims} claims and {} used", stored.used)
        });
        self.check(Invariant::InFlightIsReserved, stored.in_flight == in_flight, || {
            format!("{update} has {in_flight} reserved claims and {} in flight", stored.in_flight)
        });
        let outcomes = |counts: &Counts| (counts.succeeded, counts.failed, counts.timed_out);
        self.check(Invariant::OutcomesOnce, outcomes(&stored) == outcomes(&expected), || {
            format!("{update} has outcomes {:?} and counts {:?}", outcomes(&expected), outcomes(&stored))
        });
    }

    /// A device was answered.
    pub fn answered(&mut self, asked: &Asked, answer: &Answer) {
        let offer = answer.text("update");
        if answer.status == 503 {
            let said = || format!("{} to {}", answer.brief(), asked.device);
            self.check(Invariant::DownIsDenied, answer.retry_after_s.is_some() && offer.is_none(), said);
            return;
        }
        let known = answer.status == 200 || answer.status == 404;
        self.check(Invariant::DownIsDenied, known && (offer.is_none() || answer.status == 200), || {
            format!("{} to {}", answer.brief(), asked.device)
        });
        let Some(id) = offer.and_then(|id| UpdateId::new(id).ok()) else {
            return;
        };
        let rollout = self.rollouts.get(&id).map(|rollout| {
            let claim = rollout.ledger.entry(&asked.device).cloned();
            (rollout.product.clone(), rollout.version.clone(), rollout.downgrade, claim)
        });
        let Some((product, version, downgrade, claim)) = rollout else {
            self.check(Invariant::OfferIsClaimed, false, || format!("{id} was never written"));
            return;
        };
        self.check(Invariant::OwnProduct, product == asked.product, || format!("{id} went to {}", asked.device));
        let order = version.cmp_precedence(&asked.version);
        let moves = order.is_gt() || (order.is_lt() && downgrade == Downgrade::Allowed);
        self.check(Invariant::NoDowngrade, moves, || {
            format!("{} on {} was offered {version}", asked.device, asked.version)
        });
        let ends_s = claim.as_ref().map(|claim| claim.urls_end_at().as_second());
        self.check(Invariant::OfferIsClaimed, claim.is_some(), || format!("{} has no claim on {id}", asked.device));
        let left_s = ends_s.map_or(0, |ends_s| ends_s.saturating_sub(asked.function_now.as_second()));
        self.check(Invariant::OfferOutlivesUrl, left_s >= SHORTEST_URL_S, || {
            format!("{} was offered {id} with {left_s} s left for a URL", asked.device)
        });
        if let Some(url_ends) = answer.text("expires_at").and_then(|text| text.parse::<Timestamp>().ok()) {
            let margin_s = ends_s.unwrap_or(0).saturating_sub(url_ends.as_second());
            self.check(Invariant::OfferOutlivesUrl, margin_s >= 0, || {
                format!("{} has a URL for {id} that ends {margin_s} s before the claim allows", asked.device)
            });
        }
    }
}

impl Rollout {
    fn recount(&mut self, before: Option<&Claim>, after: &Claim) {
        if let Some(outcome) = before.and_then(|claim| claim.counted) {
            let counter = self.counter(outcome);
            *counter = counter.saturating_sub(1);
        }
        if let Some(outcome) = after.counted {
            *self.counter(outcome) += 1;
        }
    }

    fn counter(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Succeeded => &mut self.outcomes.succeeded,
            Outcome::Failed => &mut self.outcomes.failed,
            Outcome::TimedOut => &mut self.outcomes.timed_out,
        }
    }
}
