//! A simulation: one small fleet after another, each from a seed of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tidegate_core::{ProductId, State, UpdateId, Version};
use tidegate_store::store::Include;

use crate::fleet::{Fleet, Group};
use crate::guard::Guard;
use crate::memory::MemoryStore;
use crate::random::Random;
use crate::simulator::checker::{Asked, MOST_SKEW_MS, Moment};
use crate::simulator::control::FaultPlan;
use crate::simulator::device::{Device, Letter};
use crate::simulator::fault::{Call, Fault};
use crate::simulator::faulty::FaultyStore;
use crate::simulator::invariant::Invariant;
use crate::simulator::operators::{DeviceVerb, Operation, Product, Verb, definition};
use crate::simulator::requests::Answer;
use crate::simulator::speech::{Heard, Message, Offer, Speech};
use crate::simulator::stream::Feed;
use crate::simulator::summary::Summary;
use crate::simulator::world::{Ask, Done, Timing, World, moment};

/// Check-ins of one fleet. Long enough for rollouts to fill, fail and be edited many times; short
/// enough that a failing seed is replayed in a second.
pub const CHECK_INS_PER_SEED: u64 = 5000;
/// 2026-01-01, just before an hour ends.
const START_MS: i64 = 1_767_228_900_000;
pub(super) const MINUTE_MS: i64 = 60_000;
/// An operator repeats a call that was answered 503 or 409 so many times before giving up.
const MOST_REPEATS: u32 = 8;
/// A write that has not landed after so long never lands.
const LONGEST_ON_THE_WAY_MS: i64 = 60_000;

/// The plan of a simulation.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The first seed; the fleets that follow take the next ones.
    pub seed: u64,
    /// Number of check-ins, over all fleets.
    pub check_ins: u64,
    /// Faults in a thousand store calls; drawn from the seed when not given.
    pub faults_per_mille: Option<u64>,
    /// A condition of the storage protocol that is removed.
    pub without: Option<Guard>,
    /// Times that the functions keep.
    pub timing: Timing,
}

impl Plan {
    /// A plan that keeps every condition.
    #[must_use]
    pub fn new(seed: u64, check_ins: u64) -> Self {
        Self { seed, check_ins, faults_per_mille: None, without: None, timing: Timing::default() }
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The seed of the fleet.
    pub seed: u64,
    /// The promise.
    pub invariant: Invariant,
    /// The facts, as a sentence.
    pub said: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, invariant, said } = self;
        write!(f, "{invariant}: {said}; replay: tidegate simulate --seed {seed} --check-ins {CHECK_INS_PER_SEED}")
    }
}

/// Plays a plan. `progress` is told how many check-ins there were so far.
///
/// # Panics
/// When a promise is broken, with one line that says how to replay it.
pub fn run(plan: Plan, progress: impl FnMut(u64)) -> Summary {
    match try_run(plan, progress) {
        Ok(summary) => summary,
        Err(violation) => panic!("{violation}"),
    }
}

/// Plays a plan until a promise is broken.
///
/// # Errors
/// The promise that broke first.
pub fn try_run(plan: Plan, mut progress: impl FnMut(u64)) -> Result<Summary, Box<Violation>> {
    let mut total = Summary::default();
    let mut seed = plan.seed;
    while total.check_ins < plan.check_ins {
        let left = plan.check_ins - total.check_ins;
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let clock = clock.expect("a runtime without threads and sockets always starts");
        let played = clock.block_on(Simulation::new(seed, &plan).play(left.min(CHECK_INS_PER_SEED)))?;
        total.add(&played);
        progress(total.check_ins);
        seed = seed.wrapping_add(1);
    }
    Ok(total)
}

/// Reason why a handler was started.
pub(super) enum Job {
    Message { device: usize, token: String, asked: Asked },
    ForOthers,
    Operation { operation: Operation, asked_at: Moment, repeats: u32 },
    Sweep,
    Count { stream_shard: String, batch: u64 },
}

/// One small fleet with its operators, over its own store.
pub(super) struct Simulation {
    seed: u64,
    pub(super) random: Random,
    pub(super) world: World,
    pub(super) devices: Vec<Device>,
    pub(super) products: Vec<Product>,
    outbox: Vec<Letter>,
    pub(super) jobs: HashMap<u64, Job>,
    pub(super) feed: Feed,
    next_sweep_ms: i64,
    gap_ms: i64,
    most_at_once: usize,
    /// Operators' calls in a thousand requests.
    operations_per_mille: u64,
    pub(super) summary: Summary,
}

impl Simulation {
    fn new(seed: u64, plan: &Plan) -> Self {
        let mut random = Random::new(seed);
        let per_mille = plan.faults_per_mille.unwrap_or_else(|| random.one_of([0, 10, 50, 150]));
        let memory = MemoryStore::with_stream_shards(random.one_of([1, 1, 2]));
        memory.remove_guard(plan.without);
        let has_outages = per_mille > 0 && random.happens(250);
        let store = FaultyStore::new(memory, weather(per_mille, has_outages), random.next(), moment(START_MS));
        let mut world = World::new(store, plan.timing, START_MS);
        for _ in 0..random.within(1, 4) {
            let skew_ms = skew(&mut random);
            world.add_instance(skew_ms);
        }
        let (mut devices, mut products) = (Vec::new(), Vec::new());
        let count = random.one_of([3, 12, 40, 150]);
        for product in 0..random.within(1, 2) {
            let id = ProductId::new(format!("product-{product}")).expect("a good name");
            let said = [("memory".to_owned(), 512.into())].into_iter().collect();
            let group = Group { devices: count, version: Version::new(1, 0, 0), said };
            let fleet = Arc::new(Fleet::of(&format!("{id}-device"), group));
            for number in 0..count {
                let speech =
                    random.pick(Speech::ALL).copied().filter(|_| random.happens(600)).unwrap_or(Speech::Native);
                let device = Device::new(Arc::clone(&fleet), number, id.clone(), speech, world.keys());
                world.store().control().checker.takes_part(device.id.clone(), speech);
                devices.push(device);
            }
            products.push(Product::new(id, count));
        }
        Self {
            seed,
            world,
            devices,
            products,
            outbox: Vec::new(),
            jobs: HashMap::new(),
            feed: Feed::new(&mut random, per_mille > 0),
            next_sweep_ms: START_MS,
            // With the longest, devices are silent for days.
            gap_ms: random.one_of([50, 500, 3000, 12_000, 900_000]),
            most_at_once: random.one_of([1, 2, 4, 8]),
            operations_per_mille: random.one_of([35, 35, 80]),
            summary: Summary { seeds: 1, ..Summary::default() },
            random,
        }
    }

    async fn play(mut self, check_ins: u64) -> Result<Summary, Box<Violation>> {
        for place in 0..self.products.len() {
            let Some(product) = self.products.get_mut(place) else {
                continue;
            };
            let version = product.new_version();
            product.live.push(version.clone());
            let body = definition(&product.id, &version, self.world.bucket(), &mut self.random).to_string();
            self.insist(Operation { product: place, version: version.clone(), verb: Verb::Create, body }).await;
            let body = "{}".to_string();
            self.insist(Operation { product: place, version, verb: Verb::Activate, body }).await;
            self.check()?;
        }
        while self.summary.check_ins < check_ins {
            let full = self.world.under_way() >= self.most_at_once;
            if !full && (self.world.under_way() == 0 || self.random.happens(400)) {
                // No request lasts for long.
                let most_ms = if self.world.under_way() == 0 { self.gap_ms } else { self.gap_ms.min(12_000) };
                let gap_ms = self.random.within(0, 2 * most_ms);
                if gap_ms > LONGEST_ON_THE_WAY_MS {
                    self.world.store().land_all();
                }
                self.world.pass(gap_ms);
                self.begin();
            } else {
                self.go_on().await;
            }
            self.check()?;
        }
        while self.world.under_way() > 0 {
            self.go_on().await;
            self.check()?;
        }
        self.world.store().land_all();
        self.check()?;
        self.calm().await?;
        let control = self.world.store().control();
        self.summary.store_calls = control.calls;
        self.summary.faults = control.injected.clone();
        self.summary.checked = control.checker.checked().clone();
        drop(control);
        Ok(self.summary)
    }

    pub(super) fn check(&self) -> Result<(), Box<Violation>> {
        match self.world.store().control().checker.broken() {
            None => Ok(()),
            Some((invariant, said)) => {
                Err(Box::new(Violation { seed: self.seed, invariant: *invariant, said: said.clone() }))
            }
        }
    }

    pub(super) fn promise(&self, invariant: Invariant, holds: bool, said: impl FnOnce() -> String) {
        self.world.store().control().checker.check(invariant, holds, said);
    }

    pub(super) fn any_instance(&mut self) -> usize {
        let place = self.random.place(self.world.instances());
        if self.random.happens(3) {
            let skew_ms = skew(&mut self.random);
            self.world.restart(place, skew_ms);
        }
        place
    }

    /// Starts a new handler: a count, a sweep, an operator's call, a report or a check-in.
    fn begin(&mut self) {
        if self.deliver() {
            return;
        }
        if self.world.now_ms() >= self.next_sweep_ms {
            // Now and then a schedule fires twice.
            let again_ms = if self.random.happens(100) { 0 } else { MINUTE_MS };
            self.next_sweep_ms = self.world.now_ms().saturating_add(again_ms);
            let place = self.any_instance();
            let id = self.world.start(place, Ask::Sweep);
            self.jobs.insert(id, Job::Sweep);
            self.summary.sweeps += 1;
            return;
        }
        if self.random.happens(self.operations_per_mille) {
            return self.send_operation();
        }
        match self.random.below(1000) {
            0..=9 => self.act_for_another(),
            10..=309 if !self.outbox.is_empty() => self.send_letter(),
            _ => self.send_check_in(),
        }
    }

    /// Starts an operator's call. Now and then another operator stops the same update at the same time.
    fn send_operation(&mut self) {
        let place = self.random.place(self.products.len());
        let Some(product) = self.products.get_mut(place) else {
            return;
        };
        let operation = product.next_operation(place, self.world.bucket(), &mut self.random);
        if matches!(operation.verb, Verb::Edit | Verb::Resume | Verb::Activate) && self.random.happens(200) {
            let verb = self.random.one_of([Verb::Pause, Verb::Stop, Verb::Abort]);
            let body = r#"{"reason":"simulated"}"#.to_string();
            self.operate(Operation { verb, body, ..operation.clone() }, MOST_REPEATS);
        }
        self.operate(operation, MOST_REPEATS);
    }

    /// Lets the time pass until a device is up, if none is and nothing is under way. Otherwise operators would be alone for
    /// tens of thousands of calls.
    fn wait_for_a_device(&mut self) {
        let now_ms = self.world.now_ms();
        let first_ms = self.devices.iter().map(|device| device.silent_until_ms).min().unwrap_or(now_ms);
        if first_ms > now_ms && self.world.under_way() == 0 {
            self.world.store().land_all();
            self.world.pass(first_ms.saturating_sub(now_ms));
        }
    }

    fn send_check_in(&mut self) {
        let now_ms = self.world.now_ms();
        let (random, devices) = (&mut self.random, &self.devices);
        let is_up = |place: &usize| devices.get(*place).is_some_and(|device| device.silent_until_ms <= now_ms);
        let Some(place) = (0..8).map(|_| random.place(devices.len())).find(is_up) else {
            self.wait_for_a_device();
            return;
        };
        let Some(device) = self.devices.get_mut(place) else {
            return;
        };
        if self.random.happens(40) {
            device.roll_back(&mut self.random);
        }
        let message = device.check_in(&mut self.random);
        for _ in 0..if self.random.happens(80) { 2 } else { 1 } {
            self.send(place, message.clone());
            self.summary.check_ins += 1;
        }
    }

    fn send_letter(&mut self) {
        let place = self.random.place(self.outbox.len());
        let letter = self.outbox.swap_remove(place);
        if self.random.happens(150) {
            self.outbox.push(letter.clone());
        }
        self.send(letter.device, letter.message);
        self.summary.reports += 1;
    }

    /// A device sends a message, if its format has a word for it.
    fn send(&mut self, place: usize, message: Message) {
        let instance = self.any_instance();
        let Some(device) = self.devices.get(place) else {
            return;
        };
        let Some(ask) = device.speech.request(device, &device.token, &message) else {
            return;
        };
        *self.summary.messages.entry(device.speech).or_default() += 1;
        let (token, asked) = (device.token.clone(), self.asked(device, message));
        let id = self.world.start(instance, ask);
        self.jobs.insert(id, Job::Message { device: place, token, asked });
    }

    pub(super) fn asked(&self, device: &Device, message: Message) -> Asked {
        Asked {
            device: device.id.clone(),
            product: device.product.clone(),
            speech: device.speech,
            message,
            revoked_at: device.revoked_at,
            is_revoked: false,
            arrived: self.world.store().control().checker.moment(),
        }
    }

    /// A device uses its own token in the name of another.
    fn act_for_another(&mut self) {
        let instance = self.any_instance();
        let (liar, victim) = (self.random.place(self.devices.len()), self.random.place(self.devices.len()));
        let product = self.random.place(self.products.len());
        let (Some(liar), Some(victim), Some(product)) =
            (self.devices.get(liar), self.devices.get(victim), self.products.get(product))
        else {
            return;
        };
        let version = self.random.pick(&product.live).cloned().unwrap_or(Version::new(1, 1, 0));
        if liar.id == victim.id {
            return;
        }
        let update = UpdateId::of(&victim.product, &version, 1).to_string();
        let action = format!("/{}/controller/v1/{}/deploymentBase/7", victim.product, victim.id);
        let offer = Offer { version: version.clone(), update: Some(update), action: Some(action) };
        let message = match self.random.happens(500) {
            true => Message::Status(offer, "INSTALL_SUCCESS"),
            false => Message::Ask(version),
        };
        let Some(ask) = victim.speech.request(victim, &liar.token, &message) else {
            return;
        };
        match message {
            Message::Ask(_) => self.summary.check_ins += 1,
            _ => self.summary.reports += 1,
        }
        let id = self.world.start(instance, ask);
        self.jobs.insert(id, Job::ForOthers);
    }

    /// Returns true if no later token of the device is the first valid one.
    fn is_valid(&self, token: &str, place: usize) -> bool {
        let Some(device) = self.devices.get(place) else {
            return false;
        };
        let known = self.world.store().inner().state().device(&device.product, &device.id, Include::Item);
        let generation = known.record_or_default().tokens.generation;
        // Nobody issues a token of a generation that is still to come.
        self.world.keys().issue(&device.product, &device.id, generation) == *token
    }

    /// The place of a device in the fleet.
    fn device_of(&self, operation: &Operation) -> Option<usize> {
        let Verb::OfDevice(_, number) = operation.verb else {
            return None;
        };
        let id = format!("{}-device-{number}", self.products.get(operation.product)?.id);
        self.devices.iter().position(|device| device.id.as_str() == id)
    }

    fn operate(&mut self, operation: Operation, repeats: u32) {
        let instance = self.any_instance();
        let Some(product) = self.products.get(operation.product) else {
            return;
        };
        let request = operation.request(&product.id);
        let asked_at = self.world.store().control().checker.moment();
        let id = self.world.start(instance, Ask::Operate(request));
        self.jobs.insert(id, Job::Operation { operation, asked_at, repeats });
        self.summary.operations += 1;
    }

    /// Lets one of the running handlers continue.
    async fn go_on(&mut self) {
        let place = self.random.place(self.world.under_way());
        let Some((id, done)) = self.world.step(place).await else {
            // Time passes while calls are under way, too.
            let ms = self.random.within(0, 20);
            self.world.pass(ms);
            return;
        };
        if let Some(job) = self.jobs.remove(&id) {
            self.end(job, done);
        }
    }

    fn end(&mut self, job: Job, done: Done) {
        match (job, done) {
            (_, Done::Unreadable(why)) => self.promise(Invariant::DownIsDenied, false, || why),
            (Job::Message { device, token, mut asked }, Done::Answered(answer)) => {
                asked.is_revoked = !self.is_valid(&token, device);
                self.world.store().control().checker.answered(&asked, &answer);
                let heard = asked.speech.hear(&asked.message, &answer);
                let is_offered = heard.iter().any(|heard| matches!(heard, Heard::Offer(_)));
                match (answer.status, &asked.message) {
                    (503, _) => self.summary.unavailable += 1,
                    _ if is_offered => self.summary.offers += 1,
                    (_, Message::Ask(_)) => self.summary.denials += 1,
                    _ => {}
                }
                let now_ms = self.world.now_ms();
                if let Some(known) = self.devices.get_mut(device) {
                    for heard in heard {
                        let messages = known.hear(heard, now_ms, &mut self.random);
                        self.outbox.extend(messages.into_iter().map(|message| Letter { device, message }));
                    }
                }
            }
            (Job::ForOthers, Done::Answered(answer)) => {
                self.promise(Invariant::OwnToken, answer.status == 401, || {
                    format!("another's token was answered {}", answer.brief())
                });
            }
            (Job::Operation { operation, asked_at, repeats }, done) => {
                self.note(&operation, asked_at, &done);
                self.repeat(operation, repeats, &done);
            }
            (Job::Count { stream_shard, batch }, done) => self.counted(&stream_shard, batch, &done),
            (_, Done::Killed | Done::Swept(_) | Done::Counted(_) | Done::Answered(_)) => {}
        }
    }

    fn repeat(&mut self, operation: Operation, repeats: u32, done: &Done) {
        let again = match done {
            Done::Answered(answer) => [202, 503].contains(&answer.status) || is_conflict(answer),
            _ => true,
        };
        // Most operators try again; some go home.
        if again && repeats > 0 && self.random.happens(800) {
            self.operate(operation, repeats - 1);
        }
    }

    /// Takes in an answer to an operator.
    fn note(&mut self, operation: &Operation, asked_at: Moment, done: &Done) {
        let (Some(product), Done::Answered(answer)) = (self.products.get_mut(operation.product), done) else {
            return;
        };
        if let Verb::OfDevice(verb, _) = operation.verb {
            return self.note_order(operation, verb, answer);
        }
        let ends = matches!(operation.verb, Verb::Abort | Verb::Withdraw);
        let control = self.world.store().control();
        let update = product.update(&operation.version, control.checker.last_campaign(&product.id, &operation.version));
        let in_force = control.checker.in_force(&update);
        drop(control);
        let is_over = in_force.is_some_and(|(_, state)| !state.is_live() && state != State::Draft);
        if ends && ((answer.status == 409 && is_over) || [200, 404].contains(&answer.status)) {
            product.live.retain(|version| *version != operation.version);
            product.ended.retain(|version| *version != operation.version);
            product.ended.push(operation.version.clone());
        }
        let opens = matches!(operation.verb, Verb::Reopen | Verb::Rollback) && [200, 202].contains(&answer.status);
        if opens && !product.live.contains(&operation.version) {
            product.ended.retain(|version| *version != operation.version);
            product.live.push(operation.version.clone());
        }
        match operation.verb {
            Verb::Stop if [200, 202].contains(&answer.status) => product.is_stopped = true,
            Verb::ResumeStopped if answer.status == 200 => product.is_stopped = false,
            _ => {}
        }
        if answer.status == 200 && (ends || operation.verb == Verb::Pause) {
            self.world.store().control().checker.acknowledged_stop(&update, asked_at);
        }
        if answer.status == 200 && operation.verb == Verb::Stop {
            self.world.store().control().checker.acknowledged_product_stop(&product.id, asked_at);
        }
        let status = answer.status;
        // A rollback must also name the versions of the one that is open, and a phase must be the next one.
        let is_refused = status == 400 && matches!(operation.verb, Verb::Rollback | Verb::Advance);
        let is_down = status == 503 && answer.retry_after_s.is_some();
        let fine = [200, 201, 202, 404, 409].contains(&status) || is_refused || is_down;
        self.promise(Invariant::DownIsDenied, fine, || format!("{operation:?} was answered {}", answer.brief()));
    }

    /// Takes in an answer to an operator about a device.
    fn note_order(&mut self, operation: &Operation, verb: DeviceVerb, answer: &Answer) {
        let is_down = answer.status == 503 && answer.retry_after_s.is_some();
        let is_known = is_down || [200, 404, 409].contains(&answer.status);
        self.promise(Invariant::DownIsDenied, is_known, || format!("{operation:?} was answered {}", answer.brief()));
        let Some(place) = self.device_of(operation).filter(|_| answer.status == 200) else {
            return;
        };
        let store = self.world.store().clone();
        let Some(device) = self.devices.get_mut(place) else {
            return;
        };
        match verb {
            DeviceVerb::Revoke => {
                let known = store.inner().state().device(&device.product, &device.id, Include::Item);
                let record = known.record_or_default();
                // Another operator may have issued a new one meanwhile.
                let valid = self.world.keys().issue(&device.product, &device.id, record.tokens.generation);
                device.revoked_at = (device.token != valid).then_some(record.revision);
            }
            DeviceVerb::Issue => {
                device.token = answer.text("token").unwrap_or_default().to_string();
                device.revoked_at = None;
            }
            _ => {}
        }
    }

    /// Repeats a call until it is done, while nothing else happens.
    pub(super) async fn insist(&mut self, operation: Operation) -> bool {
        for _ in 0..50 {
            let Some(product) = self.products.get(operation.product) else {
                return false;
            };
            let request = operation.request(&product.id);
            self.summary.operations += 1;
            let asked_at = self.world.store().control().checker.moment();
            let done = self.world.finish(0, Ask::Operate(request)).await;
            self.note(&operation, asked_at, &done);
            if let Done::Answered(answer) = &done {
                if answer.status == 200 || answer.status == 201 {
                    return true;
                }
                if ![202, 503].contains(&answer.status) && !is_conflict(answer) {
                    return false;
                }
            }
        }
        false
    }
}

fn is_conflict(answer: &Answer) -> bool {
    let code = answer.body.pointer("/error/code").and_then(serde_json::Value::as_str);
    code.is_some_and(|code| ["conflict", "change_under_way"].contains(&code))
}

fn skew(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => 0,
        1 => random.within(-2000, 2000),
        _ => random.within(-MOST_SKEW_MS, MOST_SKEW_MS),
    }
}

/// Calls between the begin of an outage of the catalogs and the next, and those that it takes.
const OUTAGE_EVERY: u64 = 4000;
const OUTAGE_CALLS: u64 = 1500;

/// A plan with so many faults in a thousand calls, of any kind that the call can have; and with times in which no catalog
/// can be read or written, if `has_outages`.
fn weather(per_mille: u64, has_outages: bool) -> FaultPlan {
    let mut calls = 0_u64;
    Box::new(move |call: Call, random: &mut Random| {
        calls += 1;
        let is_out = has_outages && calls % OUTAGE_EVERY < OUTAGE_CALLS;
        if is_out && matches!(call, Call::Catalog | Call::PutCatalog) {
            return Some(Fault::ServerError);
        }
        if !random.happens(per_mille) {
            return None;
        }
        random.pick(call.faults()).copied()
    })
}
