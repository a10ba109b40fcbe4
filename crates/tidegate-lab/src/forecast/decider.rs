//! The decider: asks the rules for the answer to each check-in, and remembers answers that cannot differ.

use std::sync::Arc;

use tidegate_core::attributes::Value;
use tidegate_core::device::Delivery;
use tidegate_core::objection::NoRoom;
use tidegate_core::orders::Orders;
use tidegate_core::policy::{Policy, Slots};
use tidegate_core::shard::Grant;
use tidegate_core::update::Test;
use tidegate_core::{Catalog, Claims, Cohort, Device, ObjectionCode, State, Update, decide};
use tidegate_wire::device_json::attributes_of;

use crate::fleet::Fleet;
use crate::forecast::fleet_file::{Audience, FleetFile, STATED};
use crate::forecast::row::{Doing, Row};
use crate::forecast::shards::GENERATION;
use crate::forecast::timetable::moment;

/// The answer to a check-in, before its shard is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The update, if a shard grants it.
    Offer(Grant),
    /// The update that the device holds already.
    Held,
    /// Nothing; the objection's code.
    Nothing(ObjectionCode),
}

impl Answer {
    /// The answer in one word: `offer`, `held` or the objection's code.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Offer(_) => "offer",
            Self::Held => "held",
            Self::Nothing(code) => code.name(),
        }
    }
}

/// Choice between remembering answers and asking anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The rules are asked once for all devices that they cannot tell apart.
    Kept,
    /// The rules are asked at every check-in.
    None,
}

/// Places in a queue, and so devices that the rules can tell apart within a group.
const PLACES: usize = tidegate_core::cohort::PLACES as usize;

/// The rules, the one update that is played, and the fleet's groups.
///
/// A device without a claim, and one that runs the new version, differs from the others of its
/// group only by its place in the queue (and by its id, when a policy asks for it: then nothing is
/// remembered). The answer differs by time only at a turning point of the timetable, where
/// [`Decider::turn`] forgets everything. Every other device is asked about anew.
#[derive(Debug)]
pub(crate) struct Decider {
    update: Arc<Update>,
    fleet: Fleet,
    slots: Slots,
    catalog: Catalog,
    start_s: i64,
    devices: Vec<[Device; 2]>,
    memory: Memory,
    remembered: Vec<u8>,
}

impl Decider {
    pub(crate) fn new(update: &Update, file: &FleetFile, memory: Memory) -> Self {
        let mut slots = Slots::new();
        let mut update = update.clone();
        // The policies come without the slots they were parsed with; their texts say the same.
        let mut again = |policy: &Policy| {
            Policy::parse(policy.text(), &mut slots).expect("a policy's text was parsed before, by the same parser")
        };
        for group in &mut update.rollout.groups {
            group.policy = again(&group.policy);
        }
        update.policy = match file.audience {
            Audience::Policy => again(&update.policy),
            Audience::Stated => Policy::parse(STATED, &mut slots).expect("an attribute's name is a policy"),
        };
        update.state = State::Active;
        update.opened_at = Some(file.starts_at);
        update.test = Test { number: 0, began_at: Some(file.starts_at) };
        update.generation = GENERATION;
        update.shards = update.rollout.limits.shards(update.content.size_bytes());
        let devices = file.fleet.groups.iter().map(|group| {
            let mut attributes = attributes_of(&group.said).expect("the fleet file was refused otherwise");
            attributes.insert("product", Value::Text(update.product.to_string()));
            let device = Device {
                id: file.fleet.id(0),
                product: update.product.clone(),
                version: group.version.clone(),
                attributes,
                said: None,
                delivery: Delivery::Anything,
                orders: Orders::default(),
            };
            [device.clone(), Device { version: update.version.clone(), ..device }]
        });
        let devices = devices.collect::<Vec<_>>();
        let memory = if asks_for_ids(&update) { Memory::None } else { memory };
        let catalog = Catalog::new(update.product.clone(), slots.clone(), [update.clone()]);
        Self {
            update: Arc::new(update),
            fleet: file.fleet.clone(),
            slots,
            catalog,
            start_s: file.starts_at.as_second(),
            remembered: vec![0; devices.len() * 2 * PLACES],
            devices,
            memory,
        }
    }

    /// The update as it is played.
    pub(crate) fn update(&self) -> Arc<Update> {
        Arc::clone(&self.update)
    }

    /// The timetable turns: from now on the answers may be others.
    pub(crate) fn turn(&mut self) {
        self.remembered.fill(0);
    }

    /// The update is held.
    pub(crate) fn hold(&mut self) {
        self.change(Update { state: State::Held, ..(*self.update).clone() });
    }

    /// The devices from this place on are held out; none, if there is no place.
    pub(crate) fn hold_out(&mut self, from: Option<Cohort>) {
        let update = Update { held_out_from: from, ..(*self.update).clone() };
        self.update = Arc::new(update.clone());
        self.change(update);
    }

    /// The next phase on evidence begins.
    pub(crate) fn advance(&mut self) {
        let mut update = (*self.update).clone();
        update.rollout.advanced += 1;
        self.update = Arc::new(update.clone());
        self.change(update);
    }

    fn change(&mut self, update: Update) {
        self.catalog = Catalog::new(update.product.clone(), self.slots.clone(), [update]);
        self.turn();
    }

    /// True if the update is for this device at all, sooner or later.
    pub(crate) fn is_for(&mut self, number: u32, row: &mut Row) -> bool {
        match self.answer(number, row, self.start_s) {
            Answer::Nothing(code) => !code.is_unsuitable(),
            Answer::Offer(_) | Answer::Held => true,
        }
    }

    /// The answer to the device at `now_s`.
    pub(crate) fn answer(&mut self, number: u32, row: &mut Row, now_s: i64) -> Answer {
        if self.memory == Memory::None {
            return self.ask(number, row, now_s, None);
        }
        if row.doing == Doing::Rejected {
            return Answer::Nothing(ObjectionCode::Reverted);
        }
        if row.claim.is_some() && !row.is_updated {
            let answer = self.ask(number, row, now_s, None);
            if answer == Answer::Nothing(ObjectionCode::Reverted) && row.doing == Doing::Idle {
                row.doing = Doing::Rejected;
            }
            return answer;
        }
        let twin = usize::from(row.group) * 2 + usize::from(row.is_updated);
        let cell = twin * PLACES + usize::from(row.cohort.place());
        if let Some(answer) = recall(self.remembered[cell]) {
            return answer;
        }
        let answer = self.ask(number, row, now_s, None);
        self.remembered[cell] = note(answer);
        answer
    }

    /// The answer to the device when no shard has room.
    pub(crate) fn answer_without_room(&mut self, number: u32, row: &Row, now_s: i64, why: NoRoom) -> Answer {
        if self.memory == Memory::Kept {
            // There is one update, and only its room is missing: the rules raise the same objection.
            return Answer::Nothing(why.objection(&self.update.rollout.limits).code());
        }
        self.ask(number, row, now_s, Some(why))
    }

    /// Asks the rules about one device.
    fn ask(&mut self, number: u32, row: &Row, now_s: i64, no_room: Option<NoRoom>) -> Answer {
        let device = &mut self.devices[usize::from(row.group)][usize::from(row.is_updated)];
        device.id = self.fleet.id(number);
        device.attributes.insert("id", Value::Text(device.id.to_string()));
        let id = &self.update.id;
        let claim = row.claim.as_deref().cloned();
        let mut claims = Claims::new(claim.map(|claim| (id.clone(), claim)));
        if let Some(no_room) = no_room {
            claims.note_no_room(id.clone(), no_room);
        }
        let decision = decide(device, &self.catalog, &claims, moment(now_s));
        match &decision.offer {
            Some(offer) => offer.claim_status.needs().map_or(Answer::Held, Answer::Offer),
            None => Answer::Nothing(decision.reason_code()),
        }
    }
}

/// True if a policy may tell devices of one group apart. A wrong "true" only costs time.
fn asks_for_ids(update: &Update) -> bool {
    let groups = update.rollout.groups.iter().map(|group| &group.policy);
    groups.chain([&update.policy]).any(|policy| policy.text().contains("id"))
}

/// An answer in a byte; 0 is none. Only a device without a claim is remembered an offer of.
fn note(answer: Answer) -> u8 {
    match answer {
        Answer::Offer(Grant::First) => 1,
        Answer::Offer(_) | Answer::Held => 0,
        Answer::Nothing(code) => {
            let place = ObjectionCode::ALL.iter().position(|known| *known == code);
            place.and_then(|place| u8::try_from(place + 2).ok()).unwrap_or(0)
        }
    }
}

fn recall(noted: u8) -> Option<Answer> {
    match noted {
        0 => None,
        1 => Some(Answer::Offer(Grant::First)),
        place => ObjectionCode::ALL.get(usize::from(place) - 2).map(|code| Answer::Nothing(*code)),
    }
}
