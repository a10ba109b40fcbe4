//! The devices of a load: which is next, what it says, and what it takes from the answer.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_core::ProductId;

use super::between::Between;
use super::connection::{BadAnswer, Request, Route};
use super::mix::Kind;
use super::sightings::Sightings;
use crate::dice::Dice;
use crate::fleet::{Fate, Fleet};

/// A device fails at every attempt or at none.
const EVERY_ATTEMPT: u32 = 1;

/// The next request of a device.
#[derive(Debug)]
pub struct Turn {
    /// The kind of the request.
    pub kind: Kind,
    /// The request.
    pub request: Request,
    device: u32,
    reported: Option<Held>,
}

/// An offer that a device has not yet reported about, as the service made it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Held {
    update: String,
    version: String,
}

/// A device that asks for updates.
#[derive(Debug, Clone, Default)]
struct Device {
    /// A device does one thing at a time.
    is_busy: bool,
    /// Once a check-in was not answered, it may have an offer since then, and its first may be a repetition.
    is_doubtful: bool,
    installed: Option<String>,
    held: Option<Held>,
}

/// The devices of a load. The first group of the fleet asks for updates and reports; the second one is idle.
#[derive(Debug)]
pub struct Devices {
    fleet: Fleet,
    product: ProductId,
    dice: Dice,
    asking: Vec<Device>,
    next_asking: usize,
    next_idle: u32,
    to_report: VecDeque<u32>,
    turns: [u64; 2],
    seen: Sightings,
}

impl Devices {
    /// The devices of a fleet, none of which did anything yet. The seed decides which of them fail.
    #[must_use]
    pub fn new(fleet: Fleet, product: ProductId, seed: u64) -> Self {
        let mut devices = Self {
            fleet,
            product,
            dice: Dice::new(seed),
            asking: Vec::new(),
            next_asking: 0,
            next_idle: 0,
            to_report: VecDeque::new(),
            turns: [0; 2],
            seen: Sightings::default(),
        };
        devices.asking = vec![Device::default(); devices.group(0) as usize];
        devices
    }

    /// Number of devices of a group.
    fn group(&self, place: usize) -> u32 {
        self.fleet.groups.get(place).map_or(0, |group| group.devices)
    }

    fn fails(&self, device: u32) -> bool {
        self.fleet.outcomes.fate(self.dice, device, EVERY_ATTEMPT) == Fate::Fails
    }

    fn asking(&mut self, device: u32) -> Option<&mut Device> {
        self.asking.get_mut(device as usize)
    }

    /// Sightings of the devices.
    #[must_use]
    pub fn seen(&self) -> &Sightings {
        &self.seen
    }

    /// Number of check-ins that were the first of their device.
    #[must_use]
    pub fn first_check_ins(&self) -> u64 {
        let [asking, idle] = self.turns;
        asking.min(self.group(0).into()) + idle.min(self.group(1).into())
    }

    /// The next request of a kind. When no device has anything to report, one asks instead.
    pub fn turn(&mut self, kind: Kind) -> Turn {
        match kind {
            Kind::Idle => self.idle(),
            Kind::Offer => self.ask(),
            Kind::Report => self.report().unwrap_or_else(|| self.ask()),
        }
    }

    fn idle(&mut self) -> Turn {
        self.turns[1] += 1;
        let device = self.group(0) + self.next_idle;
        self.next_idle = (self.next_idle + 1) % self.group(1).max(1);
        self.check_in(Kind::Idle, device, &self.fleet.version(device).to_string())
    }

    fn ask(&mut self) -> Turn {
        self.turns[0] += 1;
        let count = self.asking.len();
        let mut ahead = (0..count).map(|ahead| (self.next_asking + ahead) % count);
        let free = ahead.find(|place| self.asking.get(*place).is_some_and(|device| !device.is_busy));
        let place = free.unwrap_or(self.next_asking);
        self.next_asking = (place + 1) % count.max(1);
        let device = u32::try_from(place).unwrap_or(u32::MAX);
        let installed = self.asking(device).and_then(|asking| {
            asking.is_busy = true;
            asking.installed.clone()
        });
        let version = installed.unwrap_or_else(|| self.fleet.version(device).to_string());
        self.check_in(Kind::Offer, device, &version)
    }

    fn check_in(&self, kind: Kind, device: u32, version: &str) -> Turn {
        let body = self.fleet.device_json(&self.product, device, version);
        Turn { kind, request: Request { route: Route::Check, body }, device, reported: None }
    }

    fn report(&mut self) -> Option<Turn> {
        let is_free = |device: &u32| self.asking.get(*device as usize).is_some_and(|asking| !asking.is_busy);
        let place = self.to_report.iter().position(is_free)?;
        let device = self.to_report.remove(place)?;
        let asking = self.asking(device)?;
        let held = asking.held.take()?;
        asking.is_busy = true;
        // The service frees the place before we hear of it.
        self.seen.let_go(&held.update);
        let status = if self.fails(device) { "INSTALL_ERROR" } else { "INSTALL_SUCCESS" };
        let (id, product) = (self.fleet.id(device), self.product.as_str());
        let body = json!({"id": id.as_str(), "product": product, "update": held.update, "status": status});
        Some(Turn { kind: Kind::Report, request: Request { route: Route::Report, body }, device, reported: Some(held) })
    }

    /// Takes in what a device was answered, and says it in a word.
    ///
    /// # Errors
    /// When the answer is not one.
    pub fn answered(&mut self, turn: Turn, answer: &Value, at: Option<Between>) -> Result<String, BadAnswer> {
        let word = match turn.reported {
            Some(held) => Ok(self.reported(turn.device, held)),
            None => self.told(turn.device, answer, at),
        };
        self.is_free(turn.device);
        word
    }

    /// Takes in that a device was not answered. It reports again later.
    pub fn failed(&mut self, turn: Turn) {
        if let Some(asking) = self.asking.get_mut(turn.device as usize) {
            match turn.reported {
                Some(held) => {
                    asking.held = Some(held);
                    self.to_report.push_back(turn.device);
                }
                None => asking.is_doubtful = true,
            }
        }
        self.is_free(turn.device);
    }

    fn is_free(&mut self, device: u32) {
        if let Some(asking) = self.asking(device) {
            asking.is_busy = false;
        }
    }

    fn reported(&mut self, device: u32, held: Held) -> String {
        if self.fails(device) {
            return "failure".to_owned();
        }
        if let Some(asking) = self.asking(device) {
            asking.installed = Some(held.version);
        }
        "success".to_owned()
    }

    fn told(&mut self, device: u32, answer: &Value, at: Option<Between>) -> Result<String, BadAnswer> {
        // An offer names its update. One that does and cannot be read must not look like "nothing".
        if answer.get("update").is_none() {
            let reason = answer.get("reason").and_then(Value::as_str);
            return Ok(reason.unwrap_or("nothing").to_owned());
        }
        let held = Held::deserialize(answer)?;
        let word = format!("offered {}", held.version);
        let Some(asking) = self.asking.get_mut(device as usize) else {
            self.seen.offered(&held.update, &held.version, device, None);
            return Ok(word);
        };
        let at = at.filter(|_| !asking.is_doubtful);
        match &asking.held {
            // The same offer, once more.
            Some(before) if *before == held => return Ok(word),
            Some(before) => self.seen.let_go(&before.update),
            None => self.to_report.push_back(device),
        }
        self.seen.offered(&held.update, &held.version, device, at);
        asking.held = Some(held);
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::Version;

    use super::*;
    use crate::fleet::{Group, Ids, Outcomes};

    fn devices(failure: f64) -> Devices {
        let said = json!({"region": "eu", "id": "template"}).as_object().cloned().unwrap_or_default();
        let group = |version| Group { devices: 2, version, said: said.clone() };
        let groups = vec![group(Version::new(1, 0, 0)), group(Version::new(2, 0, 0))];
        let outcomes = Outcomes { success: 1.0 - failure, failure, silence: 0.0 };
        let fleet = Fleet::new(Ids { name: "load-7-".into(), digits: 1 }, groups).with_outcomes(outcomes);
        Devices::new(fleet, ProductId::new("lamp").expect("a good name"), 7)
    }

    fn offer() -> Value {
        json!({"update": "lamp.2", "version": "2.0.0", "check_again_after_s": 60})
    }

    /// The bodies' ids and versions, or ids and statuses.
    fn said(turn: &Turn) -> String {
        let text = |name: &str| turn.request.body[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}{}", text("id"), text("version"), text("status"))
    }

    #[test]
    fn devices_take_turns_and_idle_ones_run_the_newest_version() {
        let mut devices = devices(0.0);
        let turns = [Kind::Idle, Kind::Offer, Kind::Idle, Kind::Offer, Kind::Idle].map(|kind| devices.turn(kind));
        let expected = ["load-7-2 2.0.0", "load-7-0 1.0.0", "load-7-3 2.0.0", "load-7-1 1.0.0", "load-7-2 2.0.0"];
        assert_eq!(turns.each_ref().map(said), expected);
        assert_eq!(turns[0].request.body["region"], "eu", "every device says what the template says");
    }

    #[test]
    fn a_device_does_one_thing_at_a_time() {
        let mut devices = devices(0.0);
        let first = devices.turn(Kind::Offer);
        let second = devices.turn(Kind::Offer);
        devices.answered(second, &offer(), None).expect("a good answer");
        assert_eq!(said(&devices.turn(Kind::Offer)), "load-7-1 1.0.0", "the other one still waits for its answer");
        let report = devices.turn(Kind::Report);
        assert_eq!(report.kind, Kind::Offer, "the only device with an offer is busy");
        devices.failed(first);
    }

    #[test]
    fn a_device_that_reported_success_runs_what_it_was_offered() {
        let mut devices = devices(0.0);
        let turn = devices.turn(Kind::Offer);
        assert_eq!(devices.answered(turn, &offer(), None).expect("a good answer"), "offered 2.0.0");
        let report = devices.turn(Kind::Report);
        assert_eq!(said(&report), "load-7-0 INSTALL_SUCCESS");
        devices.failed(report);
        let report = devices.turn(Kind::Report);
        assert_eq!(said(&report), "load-7-0 INSTALL_SUCCESS", "a report that was not answered is sent again");
        assert_eq!(devices.answered(report, &json!({"recorded": true}), None).expect("a good answer"), "success");
        devices.turn(Kind::Offer);
        assert_eq!(said(&devices.turn(Kind::Offer)), "load-7-0 2.0.0");
    }

    #[test]
    fn when_an_offer_was_first_made_is_not_known_of_a_device_that_was_not_answered_before() {
        let mut devices = devices(0.0);
        let date = jiff::Timestamp::from_second(630).expect("a valid time");
        let at = Some(Between::working(date, std::time::Duration::ZERO));
        let turn = devices.turn(Kind::Offer);
        devices.failed(turn);
        for _ in 0..2 {
            let turn = devices.turn(Kind::Offer);
            devices.answered(turn, &offer(), at).expect("a good answer");
        }
        let seen = devices.seen().of("lamp.2").expect("it was offered");
        assert_eq!((seen.devices(), seen.most_in_a_period(60)), (2, 1));
    }

    #[test]
    fn a_device_that_reported_failure_asks_again_and_an_offer_repeated_is_one_offer() {
        let mut devices = devices(1.0);
        for _ in 0..4 {
            let turn = devices.turn(Kind::Offer);
            devices.answered(turn, &offer(), None).expect("a good answer");
        }
        let report = devices.turn(Kind::Report);
        assert_eq!(said(&report), "load-7-0 INSTALL_ERROR");
        assert_eq!(devices.answered(report, &json!({"recorded": true}), None).expect("a good answer"), "failure");
        let seen = devices.seen().of("lamp.2").expect("it was offered");
        assert_eq!((seen.devices(), seen.most_held()), (2, 2));
        assert_eq!(said(&devices.turn(Kind::Offer)), "load-7-0 1.0.0");
    }
}
