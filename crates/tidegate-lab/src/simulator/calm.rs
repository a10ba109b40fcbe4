//! The calm after the faults: every device that may have an update gets it, and every slot can be used.

use std::time::Duration;

use tidegate_core::life::retry::Next;
use tidegate_core::{Cohort, State, Timestamp, UpdateId, Version};

use crate::simulator::device::Device;
use crate::simulator::invariant::Invariant;
use crate::simulator::operators::{DeviceVerb, Operation, Product, Verb, acknowledging, endless_patience, file};
use crate::simulator::simulation::{MINUTE_MS, Simulation, Violation};
use crate::simulator::speech::{Heard, Message};
use crate::simulator::world::{Ask, Done, moment};
use tidegate_engine::recount::recount;
use tidegate_store::store::Include;

/// Rounds of a calm fleet after which every eligible device must have its update.
const CALM_ROUNDS: u32 = 6;
/// A device asks three of up to sixteen shards, and each of up to five functions learns for itself
/// which of them are full.
const ROUNDS_TO_FIND_A_SLOT: u32 = 40;

impl Simulation {
    /// The faults stop. Every device that may have an update gets it, and every slot can be used.
    pub(super) async fn calm(&mut self) -> Result<(), Box<Violation>> {
        self.world.store().set_plan(Box::new(|_, _| None));
        self.check_rest().await?;
        for place in 0..self.products.len() {
            let stopped = Operation {
                product: place,
                version: Version::new(1, 0, 0),
                verb: Verb::ResumeStopped,
                body: r#"{"reason":"simulated"}"#.into(),
            };
            self.insist(stopped).await;
        }
        // The sweep repairs interrupted changes first: until then an operator gets a conflict.
        self.calm_round(&[], &Version::new(1, 0, 0)).await;
        for place in 0..self.products.len() {
            self.release_all(place).await;
            self.everybody_gets_there(place).await?;
            self.every_slot_is_used(place).await?;
        }
        self.check_rest().await
    }

    /// The stream is read to its end: no count differs from the devices, and no device under way is forgotten.
    async fn check_rest(&mut self) -> Result<(), Box<Violation>> {
        self.count_everything().await;
        let store = self.world.store().clone();
        let counts = recount(store.inner(), Duration::ZERO).await.map_err(|error| error.to_string());
        let mut control = store.control();
        let mut wrong = match counts {
            Ok(counts) => counts.drift.into_iter().map(|drift| (drift.of.clone(), format!("{drift:?}"))).collect(),
            Err(error) => vec![(String::new(), error)],
        };
        for product in &self.products {
            if !control.checker.is_certain(&product.id) {
                wrong.retain(|(of, _)| of.split(' ').next() != Some(product.id.as_str()));
            }
        }
        control.checker.check(Invariant::NoDrift, wrong.is_empty(), || format!("{wrong:?}"));
        for product in &self.products {
            if !control.checker.is_certain(&product.id) {
                continue;
            }
            let (events, changes) = (store.inner().events(&product.id), store.inner().state_changes(&product.id));
            let told = events.into_iter().map(|event| event.change).collect::<Vec<_>>();
            control.checker.check(Invariant::EventsOnce, told == changes, || {
                format!("changed were {changes:?}, and the events say {told:?}")
            });
        }
        let rollouts = control.checker.rollouts();
        for rollout in &rollouts {
            if control.checker.is_certain(rollout.product()) && store.is_counted(rollout) {
                let on_pages = store.inner().on_due_pages(rollout);
                let under_way = control.checker.under_way(&rollout.update_id());
                let lost = under_way.into_iter().filter(|device| !on_pages.contains(device)).collect::<Vec<_>>();
                control.checker.check(Invariant::OnAPage, lost.is_empty(), || {
                    format!("no due page of {} has {lost:?}", rollout.update_id())
                });
            }
        }
        drop(control);
        for rollout in &rollouts {
            store.compare_sums(rollout);
        }
        self.check()
    }

    /// Takes each device of a product off hold and off its pin, and issues it a token: an operator may have revoked the one before.
    async fn release_all(&mut self, place: usize) {
        for number in 0..self.products.get(place).map_or(0, |product| product.devices) {
            for verb in [DeviceVerb::Release, DeviceVerb::Issue] {
                let (verb, body) = (Verb::OfDevice(verb, number), r#"{"reason":"simulated"}"#.into());
                // One that never checked in is unknown.
                self.insist(Operation { product: place, version: Version::new(1, 0, 0), verb, body }).await;
            }
        }
        self.revoked_is_refused(place).await;
    }

    /// Without faults nobody is answered with a token that was revoked.
    async fn revoked_is_refused(&mut self, place: usize) {
        let product = self.products.get(place).map(|product| product.id.clone());
        let Some(device) = self.devices.iter().position(|device| Some(&device.product) == product.as_ref()) else {
            return;
        };
        let body = r#"{"reason":"simulated"}"#.to_string();
        let operation = |verb| Operation {
            product: place,
            version: Version::new(1, 0, 0),
            verb: Verb::OfDevice(verb, 0),
            body: body.clone(),
        };
        if !self.insist(operation(DeviceVerb::Revoke)).await {
            return;
        }
        if let Some(device) = self.devices.get(device) {
            let message = Message::Ask(device.version.clone());
            let ask = device.speech.request(device, &device.token, &message).expect("every format has this word");
            let done = self.world.finish(0, ask).await;
            let is_refused = matches!(&done, Done::Answered(answer) if answer.status == 401);
            self.promise(Invariant::RevokedToken, is_refused, || format!("a revoked token was answered {done}"));
        }
        self.insist(operation(DeviceVerb::Issue)).await;
    }

    async fn everybody_gets_there(&mut self, place: usize) -> Result<(), Box<Violation>> {
        let is_certain = |product: &Product| self.world.store().control().checker.is_certain(&product.id);
        let Some(version) = self.newest_live(place).filter(|_| self.products.get(place).is_some_and(is_certain)) else {
            return Ok(());
        };
        for rollback in self.live_rollbacks(place) {
            let body = r#"{"reason":"simulated"}"#.into();
            self.insist(Operation { product: place, version: rollback, verb: Verb::Abort, body }).await;
        }
        let body = serde_json::json!({"policy": "true", "rollout": {
            "limits": {"max_devices": null, "max_per_period": null, "max_in_flight": 500},
            "max_attempts": 4,
            "health": endless_patience(),
            "phases": [],
            "windows": [],
        }});
        let body = body.to_string();
        // Paused or not: one of these is refused.
        let operation =
            |verb, body: &str| Operation { product: place, version: version.clone(), verb, body: body.into() };
        self.insist(operation(Verb::Resume, &acknowledging().to_string())).await;
        let edited = self.insist(operation(Verb::Edit, &body)).await;
        let Some(update) = self.products.get(place).map(|product| self.last_update(product, &version)) else {
            return Ok(());
        };
        let is_active = matches!(self.world.store().control().checker.in_force(&update), Some((_, State::Active)));
        self.promise(Invariant::Liveness, edited && is_active, || format!("{update} cannot be edited and resumed"));
        let eligible = self.eligible(place, &version);
        for _ in 0..CALM_ROUNDS {
            self.calm_round(&eligible, &version).await;
            self.check()?;
        }
        let now = moment(self.world.now_ms());
        for device in eligible {
            let Some(device) = self.devices.get(device) else {
                continue;
            };
            let may_try = self.may_try(&update, device, now);
            let claim = self.world.store().control().checker.claim(&update, &device.id).cloned();
            self.promise(Invariant::Liveness, device.version == version || !may_try, || {
                format!(
                    "{} over {} is still on {} and not on {version}, and its claim is {claim:?}",
                    device.id, device.speech, device.version
                )
            });
        }
        self.check()
    }

    /// The newest update that is live and no rollback.
    fn newest_live(&self, place: usize) -> Option<Version> {
        self.live(place, false).max()
    }

    fn live_rollbacks(&self, place: usize) -> Vec<Version> {
        self.live(place, true).collect()
    }

    fn live(&self, place: usize, is_rollback: bool) -> impl Iterator<Item = Version> {
        let product = self.products.get(place);
        // One whose reopening was cut off may be live too: the sweep has finished it, and nobody was told.
        let versions = product
            .into_iter()
            .flat_map(|product| product.live.iter().chain(&product.ended).map(move |version| (product, version)));
        let is_live = move |(product, version): &(&Product, &Version)| {
            let update = self.last_update(product, version);
            let control = self.world.store().control();
            let is_live = control.checker.in_force(&update).is_some_and(|(_, state)| state.is_live());
            is_live && control.checker.is_rollback(&update) == is_rollback
        };
        versions.filter(is_live).map(|(_, version)| version.clone())
    }

    /// The id of an update in its last campaign.
    pub(super) fn last_update(&self, product: &Product, version: &Version) -> UpdateId {
        let campaign = self.world.store().control().checker.last_campaign(&product.id, version);
        product.update(version, campaign)
    }

    /// Devices below `version`.
    fn eligible(&self, place: usize, version: &Version) -> Vec<usize> {
        let Some(product) = self.products.get(place) else {
            return Vec::new();
        };
        let update = self.last_update(product, version);
        let control = self.world.store().control();
        let is_eligible = |device: &Device| {
            let can_take = control.checker.can_take(&update, device.speech);
            device.product == product.id && device.version < *version && can_take
        };
        (0..self.devices.len()).filter(|place| self.devices.get(*place).is_some_and(is_eligible)).collect()
    }

    /// True if nothing that the device did before bars it from the update now.
    fn may_try(&self, update: &UpdateId, device: &Device, now: Timestamp) -> bool {
        let known = self.world.store().inner().state().device(&device.product, &device.id, Include::Item);
        let cohort = Cohort::of(update, &device.id);
        let record = known.record_or_default();
        // A user who refused is asked again after days.
        let refused = record.questions.about(update).and_then(|question| question.next(cohort));
        if refused.is_some_and(|next| next.opens_at().is_none_or(|at| at > now)) {
            return false;
        }
        let control = self.world.store().control();
        let Some(claim) = control.checker.claim(update, &device.id) else {
            return true;
        };
        let next = claim.next(4, cohort);
        claim.is_open() || next.and_then(Next::opens_at).is_some_and(|at| at <= now)
    }

    /// Time passes, the sweep runs, and each of `devices` that has not got there checks in.
    async fn calm_round(&mut self, devices: &[usize], version: &Version) {
        // After every wait that is no longer than a day, by every clock.
        self.world.pass(30 * 60 * MINUTE_MS);
        self.count_everything().await;
        for instance in 0..self.world.instances() {
            self.summary.sweeps += 1;
            let _done = self.world.finish(instance, Ask::Sweep).await;
        }
        // What the sweep found is counted.
        self.count_everything().await;
        for place in devices {
            self.calm_check_in(*place, version).await;
        }
    }

    /// A device checks in, installs what it is offered and says so.
    async fn calm_check_in(&mut self, place: usize, version: &Version) {
        let Some(device) = self.devices.get(place).filter(|device| device.version != *version) else {
            return;
        };
        let says_it_when_it_asks = device.speech.says_its_version_when_it_asks();
        let runs = device.version.clone();
        if !says_it_when_it_asks {
            self.calmly(place, Message::Runs(runs.clone())).await;
        }
        let heard = self.calmly(place, Message::Ask(runs.clone())).await;
        let mut offer = None;
        for heard in heard {
            let heard = match heard {
                Heard::Question(action) => {
                    self.calmly(place, Message::Consent { action, agrees: true }).await;
                    // The next poll asks for a place.
                    let again = self.calmly(place, Message::Ask(runs.clone())).await;
                    let deployment = again.into_iter().find_map(|heard| match heard {
                        Heard::Deployment(action) => Some(action),
                        _ => None,
                    });
                    match deployment {
                        Some(action) => self.calmly(place, Message::Look(action)).await,
                        None => Vec::new(),
                    }
                }
                Heard::Deployment(action) => self.calmly(place, Message::Look(action)).await,
                Heard::Cancelled(action) => self.calmly(place, Message::GiveUp(action)).await,
                heard => vec![heard],
            };
            offer = offer.or(heard.into_iter().find_map(|heard| match heard {
                Heard::Offer(offer) => Some(offer),
                _ => None,
            }));
        }
        let Some(offer) = offer else {
            self.summary.denials += 1;
            return;
        };
        self.summary.offers += 1;
        let Some(device) = self.devices.get_mut(place) else {
            return;
        };
        device.version = offer.version.clone();
        let runs = offer.version.clone();
        self.calmly(place, Message::Status(offer, "INSTALL_SUCCESS")).await;
        // Only the version that it says proves it.
        let proof = if says_it_when_it_asks { Message::Ask(runs) } else { Message::Runs(runs) };
        self.calmly(place, proof).await;
    }

    /// A device sends a message and waits for the answer, while nothing else happens.
    async fn calmly(&mut self, place: usize, message: Message) -> Vec<Heard> {
        let instance = self.random.place(self.world.instances());
        let Some(device) = self.devices.get(place) else {
            return Vec::new();
        };
        let Some(ask) = device.speech.request(device, &device.token, &message) else {
            return Vec::new();
        };
        let speech = device.speech;
        let asked = self.asked(device, message.clone());
        let is_check_in = matches!(message, Message::Ask(_) | Message::Runs(_));
        match is_check_in {
            true => self.summary.check_ins += 1,
            false => self.summary.reports += 1,
        }
        *self.summary.messages.entry(speech).or_default() += 1;
        let Done::Answered(answer) = self.world.finish(instance, ask).await else {
            return Vec::new();
        };
        self.world.store().control().checker.answered(&asked, &answer);
        let fine = [200, 204].contains(&answer.status) || !is_check_in;
        self.promise(Invariant::Liveness, fine, || format!("without faults: {}", answer.brief()));
        speech.hear(&message, &answer)
    }

    /// A rollout over many shards with few places: every place is taken, and none twice.
    async fn every_slot_is_used(&mut self, place: usize) -> Result<(), Box<Violation>> {
        let version = Version::new(9, 0, 0);
        let Some(product) = self.products.get(place).map(|product| product.id.clone()) else {
            return Ok(());
        };
        let fleet = (0..self.devices.len())
            .filter(|place| self.devices.get(*place).is_some_and(|device| device.product == product))
            .collect::<Vec<_>>();
        let places = fleet.len().div_ceil(2) as u64;
        let body = serde_json::json!({
            "version": version.to_string(),
            "files": [file(&product, &version, self.world.bucket())],
            "policy": "true",
            "rollout": {"health": endless_patience(), "limits": {"max_in_flight": null}},
        });
        let operation = |verb, body: String| Operation { product: place, version: version.clone(), verb, body };
        self.insist(operation(Verb::Create, body.to_string())).await;
        self.insist(operation(Verb::Activate, "{}".into())).await;
        let edit = format!(r#"{{"rollout":{{"limits":{{"max_devices":{places}}}}}}}"#);
        self.insist(operation(Verb::Edit, edit)).await;
        let update = UpdateId::of(&product, &version, 1);
        let mut claims = 0;
        for _ in 0..ROUNDS_TO_FIND_A_SLOT {
            self.calm_round(&fleet, &version).await;
            self.check()?;
            claims = self.world.store().control().checker.claims(&update);
            if claims >= places {
                break;
            }
        }
        self.promise(Invariant::NoLostSlot, claims == places, || {
            format!("{update} has {places} places, of which {claims} were taken by {} devices", fleet.len())
        });
        self.check()
    }
}
