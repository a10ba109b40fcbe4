//! Stories about rollouts, played with the real services in virtual time.
//!
//! A scenario is a text file, a sentence a line; what it prints is compared with a reviewed file
//! beside it. The sentences are listed in `tests/scenarios/README.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tidegate_core::Timestamp;
use tidegate_core::id::sortable;

use crate::{World, request};

/// Monday, 00:00 UTC, of the week that "mon 12:00" speaks of; summer time in Berlin begins on its
/// last day.
const MONDAY: &str = "2026-03-23T00:00:00Z";
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A device of the story, as it really is; the service may believe something else.
#[derive(Debug, Clone)]
struct Device {
    version: String,
    /// The version before it, in its other slot.
    before: Option<String>,
    says: Map<String, Value>,
    /// What it was offered and has not dealt with.
    offer: Option<String>,
}

/// A story on the way.
pub struct Scenario {
    world: World,
    product: String,
    now: Timestamp,
    devices: BTreeMap<(String, u32), Device>,
    told: String,
}

impl Scenario {
    /// Plays a whole scenario and answers what it printed.
    ///
    /// # Panics
    /// When a sentence is not understood.
    pub async fn play(text: &str) -> String {
        let now = MONDAY.parse().expect("a good time");
        let world = World::new(0).await;
        let mut scenario = Self { world, product: "lamp".into(), now, devices: BTreeMap::new(), told: String::new() };
        for line in text.lines() {
            let sentence = line.trim();
            let _ = writeln!(scenario.told, "{sentence}");
            if !sentence.is_empty() && !sentence.starts_with('#') {
                scenario.sentence(sentence).await;
                // In a deployment the function `count` is a few seconds behind.
                scenario.world.count_at(scenario.now).await;
            }
        }
        scenario.told
    }

    async fn sentence(&mut self, sentence: &str) {
        let words = sentence.split(' ').collect::<Vec<_>>();
        match words.as_slice() {
            [day, time, rest @ ..] if DAYS.contains(&week_of(day).0) => {
                self.now = at(day, time);
                if !rest.is_empty() {
                    Box::pin(self.sentence(&rest.join(" "))).await;
                }
            }
            ["product", name] => self.product = (*name).into(),
            ["fleet", range, "runs", version, rest @ ..] => self.fleet(range, version, &rest.join(" ")),
            ["publish", version, rest @ ..] => self.publish(version, &rest.join(" ")).await,
            ["edit", version, rest @ ..] => self.edit(version, &rest.join(" ")).await,
            [
                verb @ ("pause" | "resume" | "abort" | "complete" | "withdraw" | "reopen"),
                version,
                "because",
                rest @ ..,
            ] => {
                self.transition(verb, version, &rest.join(" ")).await;
            }
            ["void", range, "of", version, "because", rest @ ..] => {
                let devices =
                    self.keys(range).iter().map(|(_, number)| format!("{}-{number}", self.product)).collect::<Vec<_>>();
                let path = format!("{}/updates/{version}/void", self.product);
                let body = json!({"devices": devices, "reason": rest.join(" ")});
                let voided = self.world.operator("POST", &path, body, self.now).await.body;
                self.say(&format!("{} devices are no witnesses of {version}", voided["changed"]));
            }
            ["roll", "back", from, "to", version, "because", rest @ ..] => {
                let path = format!("{}/updates/{version}/rollback", self.product);
                let body = json!({"from": from.split(',').collect::<Vec<_>>(), "reason": rest.join(" ")});
                let begun = self.world.operator("POST", &path, body, self.now).await;
                self.say_state(version, &begun);
            }
            ["registration", "open"] => {
                let open = json!({"registration": "open", "reason": "story"});
                let set = self.world.operator("PATCH", &self.product, open, self.now).await.body;
                self.say(&format!("registration is {}", set["registration"].as_str().unwrap_or_default()));
            }
            [verb @ ("retry" | "forget"), device, "because", rest @ ..] => {
                let path = format!("{}/devices/{device}/{verb}", self.product);
                let done = self.world.operator("POST", &path, json!({"reason": rest.join(" ")}), self.now).await.body;
                self.say(&done.to_string());
            }
            ["everyone", "checks", "in"] => self.check_in(None).await,
            [range, "check" | "checks", "in"] => self.check_in(Some(range)).await,
            [range, "installs" | "install"] => self.deal(range, "INSTALL_SUCCESS").await,
            [range, "reports" | "report", status] => self.report(range, status).await,
            [range, "fails" | "fail"] => self.deal(range, "INSTALL_ERROR").await,
            [range, "cannot", "fetch"] => self.deal(range, "DOWNLOAD_ERROR").await,
            [range, "declines" | "decline"] => self.deal(range, "INSTALL_ABORTED").await,
            [range, "vanishes" | "vanish"] => self.deal(range, "").await,
            [range, "falls" | "fall", "back"] => self.fall_back(range),
            [device, "is", "set", "to", version, "by", "hand"] => {
                let key = self.key(device);
                self.devices.get_mut(&key).expect("a device of the fleet").version = (*version).into();
            }
            ["the", "record", "of", version, "is", "spoilt"] => self.spoil(version).await,
            ["sweep"] => {
                let swept = self.world.services.sweep.sweep(self.now).await.expect("the store answers");
                self.say(&format!(
                    "{} lost, {} held, {} completed, {} split again, {} failed",
                    swept.lost, swept.held, swept.completed, swept.split_again, swept.failed
                ));
            }
            ["why", device] => self.why(device).await,
            ["metrics", version] => self.metrics(version).await,
            ["audit", version] => self.audit(version).await,
            _ => panic!("not understood: {sentence}"),
        }
    }

    fn say(&mut self, text: &str) {
        let _ = writeln!(self.told, "    {text}");
    }

    fn fleet(&mut self, range: &str, version: &str, says: &str) {
        let says: Map<String, Value> =
            if says.is_empty() { Map::new() } else { serde_json::from_str(says).expect("what a device says is JSON") };
        for key in self.keys(range) {
            self.devices.insert(key, Device { version: version.into(), before: None, says: says.clone(), offer: None });
        }
    }

    async fn publish(&mut self, version: &str, update: &str) {
        let mut update: Value =
            if update.is_empty() { json!({}) } else { serde_json::from_str(update).expect("an update is JSON") };
        update["version"] = json!(version);
        update["kind"] = json!("json");
        update["payload"] = json!({});
        let path = format!("{}/updates", self.product);
        let created = self.world.operator("POST", &path, update, self.now).await;
        if created.status != 201 {
            return self.say(&format!("refused: {}", created.body["error"]["message"]));
        }
        self.transition("activate", version, "story").await;
    }

    async fn edit(&mut self, version: &str, knobs: &str) {
        let knobs: Value = serde_json::from_str(knobs).expect("knobs are JSON");
        let path = format!("{}/updates/{version}/campaign", self.product);
        let edited = self.world.operator("PATCH", &path, json!({"rollout": knobs, "reason": "story"}), self.now).await;
        self.say_state(version, &edited);
    }

    async fn transition(&mut self, verb: &str, version: &str, reason: &str) {
        let path = format!("{}/updates/{version}/{verb}", self.product);
        let mut body = json!({"reason": reason});
        if verb == "resume" {
            // The operator has looked at the metrics.
            let path = format!("{}/updates/{version}/metrics", self.product);
            let metrics = self.world.operator("GET", &path, Value::Null, self.now).await.body;
            let seen = ["failed", "reverted", "lost", "not_taken", "transfer_failed"];
            body["acknowledge"] = seen.map(|name| (name.to_string(), metrics[name].clone())).into_iter().collect();
        }
        let moved = self.world.operator("POST", &path, body, self.now).await;
        self.say_state(version, &moved);
    }

    fn say_state(&mut self, version: &str, answer: &crate::Answer) {
        match answer.body["state"].as_str() {
            Some(state) => self.say(&format!("{version} is {state}")),
            None => self.say(&format!("refused: {}", answer.body["error"]["message"].as_str().unwrap_or_default())),
        }
    }

    /// Everyone of a range, or of the product, checks in; the answers are counted.
    async fn check_in(&mut self, range: Option<&str>) {
        let keys = match range {
            Some(range) => self.keys(range),
            None => self.devices.keys().filter(|(product, _)| *product == self.product).cloned().collect(),
        };
        let mut answers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for key in keys {
            let device = self.devices[&key].clone();
            let mut said = Value::Object(device.says);
            said["id"] = json!(format!("{}-{}", key.0, key.1));
            said["product"] = json!(key.0);
            said["version"] = json!(device.version);
            let answer = self.world.check(&said, self.now).await;
            let offered = answer.body["version"].as_str().map(str::to_string);
            let told = match (&offered, answer.body["reason"].as_str(), answer.body["opens_at"].as_str()) {
                (Some(version), ..) => format!("offered {version}"),
                (None, Some(reason), Some(opens_at)) => format!("nothing: {reason} until {opens_at}"),
                (None, Some(reason), None) => format!("nothing: {reason}"),
                (None, None, _) => format!("{}: {}", answer.status, answer.code()),
            };
            answers.entry(told).or_default().push(key.1);
            if let Some(device) = self.devices.get_mut(&key) {
                device.offer = offered.or(device.offer.take());
            }
        }
        for (told, numbers) in answers {
            self.say(&format!("{:>4} {told}{}", numbers.len(), few(&numbers)));
        }
    }

    /// What devices do with their offer; `offered` names all that have one, `N-offered` the first N.
    async fn deal(&mut self, range: &str, status: &str) {
        for key in self.keys(range) {
            let device = self.devices.get_mut(&key).expect("a device of the fleet");
            let Some(version) = device.offer.take() else {
                continue;
            };
            if status == "INSTALL_SUCCESS" {
                device.before = Some(std::mem::replace(&mut device.version, version.clone()));
            }
            if !status.is_empty() {
                let name = format!("{}-{}", key.0, key.1);
                let token = self.world.token(&key.0, &name);
                let body = json!({"id": name, "product": key.0, "version": version, "status": status}).to_string();
                let report = request("POST", "/v1/report", &[("authorization", &token)], &body, None);
                let response = self.world.services.report.handle(report, self.now).await;
                assert_eq!(response.status(), 200, "{name} reports {status}");
            }
        }
    }

    /// Devices say something about the version that they run.
    async fn report(&mut self, range: &str, status: &str) {
        for key in self.keys(range) {
            let (name, version) = (format!("{}-{}", key.0, key.1), self.devices[&key].version.clone());
            let token = self.world.token(&key.0, &name);
            let body = json!({"id": name, "product": key.0, "version": version, "status": status}).to_string();
            let report = request("POST", "/v1/report", &[("authorization", &token)], &body, None);
            let response = self.world.services.report.handle(report, self.now).await;
            assert_eq!(response.status(), 200, "{name} reports {status}");
        }
    }

    /// Devices start their other slot again and say nothing of it.
    fn fall_back(&mut self, range: &str) {
        for key in self.keys(range) {
            let device = self.devices.get_mut(&key).expect("a device of the fleet");
            device.version = device.before.take().expect("a device that installed something");
        }
    }

    /// Spoils a stored definition, as a bug of another version might.
    #[allow(clippy::disallowed_methods, reason = "it writes behind the service's back")]
    async fn spoil(&mut self, version: &str) {
        let version = version.parse().expect("scenarios name versions");
        let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        let update = self.world.cloud.dynamodb().update_item().table_name(tidegate::stack::TABLE);
        let update = update
            .key("pk", text(format!("p#{}", self.product)))
            .key("sk", text(format!("update#{}", sortable(&version))));
        let update = update.update_expression("SET #d = :bad").expression_attribute_names("#d", "definition");
        update.expression_attribute_values(":bad", text("{".into())).send().await.expect("the store answers");
    }

    async fn why(&mut self, device: &str) {
        let path = format!("{}/devices/{device}/why", self.product);
        let receipt = self.world.operator("GET", &path, Value::Null, self.now).await.body;
        self.say(receipt["sentence"].as_str().or(receipt["error"]["message"].as_str()).unwrap_or_default());
    }

    async fn metrics(&mut self, version: &str) {
        let path = format!("{}/updates/{version}/metrics", self.product);
        let metrics = self.world.operator("GET", &path, Value::Null, self.now).await.body;
        let number = |name: &str| metrics[name].as_u64().unwrap_or_default();
        self.say(&format!(
            "{}: {} offered, {} in flight, {} installed, {} proved, {} failed, {} fell back, {} lost; health: {}, {}",
            metrics["state"].as_str().unwrap_or_default(),
            number("offered"),
            number("in_flight"),
            number("installed"),
            number("proved"),
            number("failed"),
            number("reverted"),
            number("lost"),
            metrics["health"]["verdict"].as_str().unwrap_or_default(),
            metrics["health"]["sentence"].as_str().unwrap_or_default(),
        ));
    }

    async fn audit(&mut self, version: &str) {
        let path = format!("{}/audit?version={version}", self.product);
        let log = self.world.operator("GET", &path, Value::Null, self.now).await.body;
        // The oldest first, as everything else in a scenario.
        for entry in log["items"].as_array().into_iter().flatten().rev() {
            let text = |name: &str| entry[name].as_str().unwrap_or("-").to_string();
            let who = text("who").rsplit('/').next().unwrap_or_default().to_string();
            let changes = entry["changes"].as_array().into_iter().flatten();
            let changes =
                changes.map(|change| format!(" {} {}", change["field"].as_str().unwrap_or("-"), change["new"]));
            let action = text("action") + &changes.collect::<String>();
            self.say(&format!("{who}: {action} ({} to {}) {}", text("from"), text("to"), text("reason")));
        }
    }

    fn key(&self, device: &str) -> (String, u32) {
        let (product, number) = device.rsplit_once('-').expect("a device is called PRODUCT-NUMBER");
        (product.into(), number.parse().expect("a device is called PRODUCT-NUMBER"))
    }

    /// `lamp-7`, `lamp-1..20`, `offered`, or `5-offered`.
    fn keys(&self, range: &str) -> Vec<(String, u32)> {
        let offered = || {
            let of_product = self.devices.iter().filter(|((product, _), _)| *product == self.product);
            of_product.filter(|(_, device)| device.offer.is_some()).map(|(key, _)| key.clone())
        };
        if range == "offered" {
            return offered().collect();
        }
        if let Some(count) = range.strip_suffix("-offered") {
            return offered().take(count.parse().expect("a number of devices")).collect();
        }
        match range.split_once("..") {
            Some((first, last)) => {
                let (product, first) = self.key(first);
                let last = last.parse().expect("a range is PRODUCT-FIRST..LAST");
                (first..=last).map(|number| (product.clone(), number)).collect()
            }
            None => vec![self.key(range)],
        }
    }
}

/// The numbers themselves, when they are few enough to read.
fn few(numbers: &[u32]) -> String {
    match numbers.len() {
        1..=6 => format!(" ({})", numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")),
        _ => String::new(),
    }
}

/// A day such as `mon`, or `mon+2` for the one two weeks later.
fn week_of(day: &str) -> (&str, i64) {
    match day.split_once('+') {
        Some((day, weeks)) => (day, weeks.parse().expect("a number of weeks")),
        None => (day, 0),
    }
}

fn at(day: &str, time: &str) -> Timestamp {
    let (day, weeks) = week_of(day);
    let days = DAYS.iter().position(|known| *known == day).unwrap_or_default() as i64 + 7 * weeks;
    let (hours, minutes) = time.split_once(':').expect("a time is HH:MM");
    let number = |text: &str| text.parse::<i64>().expect("a time is HH:MM");
    let seconds = days * 86_400 + number(hours) * 3600 + number(minutes) * 60;
    let monday: Timestamp = MONDAY.parse().expect("a good time");
    Timestamp::from_second(monday.as_second() + seconds).expect("a time in this year")
}
