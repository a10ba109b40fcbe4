//! The devices: who is next, what it says, and what it makes of the answer.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::between::Between;
use super::mix::Kind;
use super::plan::Plan;
use super::sightings::Sightings;
use crate::api_client::ApiPath;
use crate::error::CommandResult;
use crate::offer::Answer;

/// What a device does next.
#[derive(Debug)]
pub(super) struct Turn {
    /// What kind of request it is.
    pub kind: Kind,
    /// Where it goes.
    pub path: ApiPath,
    /// What it says.
    pub body: Value,
    device: usize,
    reported: Option<Held>,
}

/// An offer that a device has not yet reported about.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The fleet.
#[derive(Debug)]
pub(super) struct Fleet {
    plan: Plan,
    asking: Vec<Device>,
    next_asking: usize,
    next_idle: usize,
    to_report: VecDeque<usize>,
    turns: [u64; 2],
    seen: Sightings,
}

impl Fleet {
    /// A fleet of which no device did anything yet.
    pub(super) fn new(plan: Plan) -> Self {
        let asking = vec![Device::default(); plan.asking];
        let (to_report, seen) = (VecDeque::new(), Sightings::default());
        Self { plan, asking, next_asking: 0, next_idle: 0, to_report, turns: [0; 2], seen }
    }

    /// What the devices saw.
    pub(super) fn seen(&self) -> &Sightings {
        &self.seen
    }

    /// How many check-ins were the first of their device.
    pub(super) fn first_check_ins(&self) -> u64 {
        let [asking, idle] = self.turns;
        asking.min(self.plan.asking as u64) + idle.min(self.plan.idle as u64)
    }

    /// The next request of a kind. When no device has anything to report, one asks instead.
    pub(super) fn turn(&mut self, kind: Kind) -> Turn {
        match kind {
            Kind::Idle => self.idle(),
            Kind::Offer => self.ask(),
            Kind::Report => self.report().unwrap_or_else(|| self.ask()),
        }
    }

    fn idle(&mut self) -> Turn {
        self.turns[1] += 1;
        let device = self.plan.asking + self.next_idle;
        self.next_idle = (self.next_idle + 1) % self.plan.idle.max(1);
        self.check_in(Kind::Idle, device, &self.plan.newest)
    }

    fn ask(&mut self) -> Turn {
        self.turns[0] += 1;
        let count = self.asking.len();
        let free = (0..count).map(|ahead| (self.next_asking + ahead) % count);
        let free = free.into_iter().find(|device| self.asking.get(*device).is_some_and(|device| !device.is_busy));
        let device = free.unwrap_or(self.next_asking);
        self.next_asking = (device + 1) % count.max(1);
        let installed = self.asking.get_mut(device).and_then(|asking| {
            asking.is_busy = true;
            asking.installed.as_deref()
        });
        let version = installed.unwrap_or(&self.plan.from).to_owned();
        self.check_in(Kind::Offer, device, &version)
    }

    fn check_in(&self, kind: Kind, device: usize, version: &str) -> Turn {
        let mut said = self.plan.said.clone();
        said.insert("id".into(), self.plan.id(device).into());
        said.insert("product".into(), self.plan.product.clone().into());
        said.insert("version".into(), version.into());
        Turn { kind, path: ApiPath::check(), body: Value::Object(said), device, reported: None }
    }

    fn report(&mut self) -> Option<Turn> {
        let free = self.to_report.iter().position(|device| self.asking.get(*device).is_some_and(|it| !it.is_busy))?;
        let device = self.to_report.remove(free)?;
        let asking = self.asking.get_mut(device)?;
        let held = asking.held.take()?;
        asking.is_busy = true;
        // The service frees the place before we hear of it.
        self.seen.let_go(&held.update);
        let status = if self.plan.fails(device) { "INSTALL_ERROR" } else { "INSTALL_SUCCESS" };
        let body = json!({
            "id": self.plan.id(device), "product": self.plan.product, "update": held.update, "status": status,
        });
        Some(Turn { kind: Kind::Report, path: ApiPath::report(), body, device, reported: Some(held) })
    }

    /// Takes in what a device was answered, and says it in a word.
    ///
    /// # Errors
    /// When the answer is not one.
    pub(super) fn answered(&mut self, turn: Turn, answer: &Value, at: Option<Between>) -> CommandResult<String> {
        let word = match turn.reported {
            Some(held) => Ok(self.reported(turn.device, held)),
            None => Answer::read(answer).map(|answer| self.told(turn.device, answer, at)),
        };
        self.is_free(turn.device);
        word
    }

    /// Takes in that a device was not answered. It reports again later.
    pub(super) fn failed(&mut self, turn: Turn) {
        if let Some(asking) = self.asking.get_mut(turn.device) {
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

    fn is_free(&mut self, device: usize) {
        if let Some(asking) = self.asking.get_mut(device) {
            asking.is_busy = false;
        }
    }

    fn reported(&mut self, device: usize, held: Held) -> String {
        if self.plan.fails(device) {
            return "failure".to_owned();
        }
        if let Some(asking) = self.asking.get_mut(device) {
            asking.installed = Some(held.version);
        }
        "success".to_owned()
    }

    fn told(&mut self, device: usize, answer: Answer, at: Option<Between>) -> String {
        let Some(offer) = answer.offer else {
            return answer.reason.unwrap_or_else(|| "nothing".to_owned());
        };
        let word = format!("offered {}", offer.version);
        let held = Held { update: offer.update, version: offer.version };
        let Some(asking) = self.asking.get_mut(device) else {
            self.seen.offered(&held.update, &held.version, device, None);
            return word;
        };
        let at = at.filter(|_| !asking.is_doubtful);
        match &asking.held {
            // The same offer, once more.
            Some(before) if *before == held => return word,
            Some(before) => self.seen.let_go(&before.update),
            None => self.to_report.push_back(device),
        }
        self.seen.offered(&held.update, &held.version, device, at);
        asking.held = Some(held);
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(failures_percent: u64) -> Fleet {
        let said = json!({"region": "eu", "id": "template"}).as_object().cloned().unwrap_or_default();
        let (from, newest) = ("1.0.0".to_owned(), "2.0.0".to_owned());
        let product = "lamp".to_owned();
        Fleet::new(Plan { said, product, from, newest, asking: 2, idle: 2, failures_percent, seed: 7 })
    }

    fn offer() -> Value {
        json!({"update": "lamp.2", "version": "2.0.0", "check_again_after_s": 60})
    }

    /// The bodies' ids and versions, or ids and statuses.
    fn said(turn: &Turn) -> String {
        let text = |name: &str| turn.body[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}{}", text("id"), text("version"), text("status"))
    }

    #[test]
    fn devices_take_turns_and_idle_ones_run_the_newest_version() {
        let mut fleet = fleet(0);
        let turns = [Kind::Idle, Kind::Offer, Kind::Idle, Kind::Offer, Kind::Idle].map(|kind| fleet.turn(kind));
        let expected = ["load-7-2 2.0.0", "load-7-0 1.0.0", "load-7-3 2.0.0", "load-7-1 1.0.0", "load-7-2 2.0.0"];
        assert_eq!(turns.each_ref().map(said), expected);
        assert_eq!(turns[0].body["region"], "eu", "every device says what the template says");
    }

    #[test]
    fn a_device_does_one_thing_at_a_time() {
        let mut fleet = fleet(0);
        let first = fleet.turn(Kind::Offer);
        let second = fleet.turn(Kind::Offer);
        fleet.answered(second, &offer(), None).expect("a good answer");
        assert_eq!(said(&fleet.turn(Kind::Offer)), "load-7-1 1.0.0", "the other one still waits for its answer");
        let report = fleet.turn(Kind::Report);
        assert_eq!(report.kind, Kind::Offer, "the only device with an offer is busy");
        fleet.failed(first);
    }

    #[test]
    fn a_device_that_reported_success_runs_what_it_was_offered() {
        let mut fleet = fleet(0);
        let turn = fleet.turn(Kind::Offer);
        assert_eq!(fleet.answered(turn, &offer(), None), Ok("offered 2.0.0".to_owned()));
        let report = fleet.turn(Kind::Report);
        assert_eq!(said(&report), "load-7-0 INSTALL_SUCCESS");
        fleet.failed(report);
        let report = fleet.turn(Kind::Report);
        assert_eq!(said(&report), "load-7-0 INSTALL_SUCCESS", "a report that was not answered is sent again");
        assert_eq!(fleet.answered(report, &json!({"recorded": true}), None), Ok("success".to_owned()));
        fleet.turn(Kind::Offer);
        assert_eq!(said(&fleet.turn(Kind::Offer)), "load-7-0 2.0.0");
    }

    #[test]
    fn when_an_offer_was_first_made_is_not_known_of_a_device_that_was_not_answered_before() {
        let mut fleet = fleet(0);
        let date = jiff::Timestamp::from_second(630).expect("a valid time");
        let at = Some(Between::working(date, std::time::Duration::ZERO));
        let turn = fleet.turn(Kind::Offer);
        fleet.failed(turn);
        for _ in 0..2 {
            let turn = fleet.turn(Kind::Offer);
            fleet.answered(turn, &offer(), at).expect("a good answer");
        }
        let seen = fleet.seen().of("lamp.2").expect("it was offered");
        assert_eq!((seen.devices(), seen.most_in_a_period(60)), (2, 1));
    }

    #[test]
    fn a_device_that_reported_failure_asks_again_and_an_offer_repeated_is_one_offer() {
        let mut fleet = fleet(100);
        for _ in 0..4 {
            let turn = fleet.turn(Kind::Offer);
            fleet.answered(turn, &offer(), None).expect("a good answer");
        }
        let report = fleet.turn(Kind::Report);
        assert_eq!(said(&report), "load-7-0 INSTALL_ERROR");
        assert_eq!(fleet.answered(report, &json!({"recorded": true}), None), Ok("failure".to_owned()));
        let seen = fleet.seen().of("lamp.2").expect("it was offered");
        assert_eq!((seen.devices(), seen.most_held()), (2, 2));
        assert_eq!(said(&fleet.turn(Kind::Offer)), "load-7-0 1.0.0");
    }
}
