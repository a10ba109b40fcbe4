//! Simulated operators. They publish, change their minds and repeat calls.

use lambda_http::Request;
use serde_json::{Value, json};
use tidegate_core::{ProductId, UpdateId, Version};

use crate::random::Random;
use crate::simulator::bucket::Bucket;
use crate::simulator::requests;

/// The most updates of a product that operators leave live.
const MOST_LIVE: usize = 3;

/// The updates of a product after which operators publish only when none is live: every change
/// reads all of them.
const MOST_UPDATES: u64 = 12;

/// A product, as operators see it.
#[derive(Debug, Clone)]
pub struct Product {
    /// Its id.
    pub id: ProductId,
    /// Its updates that were not ended, oldest first.
    pub live: Vec<Version>,
    /// Its updates that were ended.
    pub ended: Vec<Version>,
    /// True if an operator stopped it, and none has resumed it.
    pub is_stopped: bool,
    /// The number of its devices.
    pub devices: u32,
    next: u64,
}

/// A call of an operator, so that it can be repeated.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The product's place.
    pub product: usize,
    /// The update.
    pub version: Version,
    /// The verb.
    pub verb: Verb,
    /// The body.
    pub body: String,
}

/// A verb of the operator API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the verbs of the API
pub enum Verb {
    Create,
    Activate,
    Pause,
    Resume,
    Abort,
    Withdraw,
    Reopen,
    Rollback,
    Edit,
    Show,
    Stop,
    ResumeStopped,
    SetPoll,
    Advance,
    Void,
    RetryAll,
    OfDevice(DeviceVerb, u32),
}

/// What an operator does with one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the verbs of the API
pub enum DeviceVerb {
    Hold,
    Pin,
    Release,
    Tag,
    Retry,
    Revoke,
    Issue,
}

impl Product {
    /// A product of so many devices without updates.
    #[must_use]
    pub fn new(id: ProductId, devices: u32) -> Self {
        Self { id, live: Vec::new(), ended: Vec::new(), is_stopped: false, devices, next: 1 }
    }

    /// The id of its update to `version` in a campaign.
    #[must_use]
    pub fn update(&self, version: &Version, campaign: u32) -> UpdateId {
        UpdateId::of(&self.id, version, campaign)
    }

    /// The next thing that an operator does with this product, the `place`-th.
    pub fn next_operation(&mut self, place: usize, bucket: &Bucket, random: &mut Random) -> Operation {
        let operation = |version: &Version, verb, body: Value| Operation {
            product: place,
            version: version.clone(),
            verb,
            body: body.to_string(),
        };
        let reason = || json!({"reason": "simulated"});
        if self.live.len() > MOST_LIVE {
            let verb = random.one_of([Verb::Abort, Verb::Withdraw]);
            let oldest = self.live.first().cloned().unwrap_or(Version::new(1, 1, 0));
            return operation(&oldest, verb, reason());
        }
        let Some(version) = random.pick(&self.live).cloned().filter(|_| !self.may_publish() || !random.happens(250))
        else {
            let version = self.new_version();
            self.live.push(version.clone());
            return operation(&version, Verb::Create, definition(&self.id, &version, bucket, random));
        };
        if self.is_stopped && random.happens(500) {
            return operation(&version, Verb::ResumeStopped, reason());
        }
        if random.happens(20) {
            return operation(&version, Verb::Stop, reason());
        }
        if random.happens(150) {
            let device = u32::try_from(random.below(u64::from(self.devices.max(1)))).unwrap_or(0);
            let (verb, body) = of_device(&version, random);
            return operation(&version, Verb::OfDevice(verb, device), body);
        }
        match random.below(10) {
            0 | 1 => operation(&version, Verb::Activate, reason()),
            2 | 3 => operation(&version, Verb::Pause, reason()),
            4 | 5 => operation(&version, Verb::Resume, acknowledging()),
            6..=8 => {
                let mut body = json!({"rollout": {"limits": limits(random)}, "reason": "simulated"});
                if random.happens(250) {
                    body["policy"] = json!(policy(random));
                }
                operation(&version, Verb::Edit, body)
            }
            _ => match random.below(12) {
                0 | 1 => operation(&version, Verb::Abort, reason()),
                2 => match random.pick(&self.ended) {
                    Some(ended) => operation(ended, Verb::Reopen, again()),
                    None => operation(&version, Verb::Show, Value::Null),
                },
                3 => {
                    let mut body = again();
                    body["from"] = json!([version.to_string()]);
                    let lower = self.live.iter().chain(&self.ended).filter(|other| **other < version);
                    let to = random.pick(&lower.cloned().collect::<Vec<_>>()).cloned();
                    operation(&to.unwrap_or(Version::new(1, 0, 0)), Verb::Rollback, body)
                }
                4 => {
                    let poll_s = random.one_of([300, 3600, 86_400]);
                    let registration = random.one_of(["open", "closed"]);
                    let body = json!({"poll_s": poll_s, "registration": registration, "reason": "simulated"});
                    operation(&version, Verb::SetPoll, body)
                }
                5 => {
                    let body = json!({"phase": 2, "seen": acknowledging()["acknowledge"], "reason": "simulated"});
                    operation(&version, Verb::Advance, body)
                }
                6 => {
                    let number = random.below(u64::from(self.devices.max(1)));
                    let devices = [format!("{}-device-{number}", self.id)];
                    operation(&version, Verb::Void, json!({"devices": devices, "reason": "simulated"}))
                }
                7 => {
                    let state = random.one_of(["failed", "reverted", "transfer_failed", "declined"]);
                    operation(&version, Verb::RetryAll, json!({"state": state, "reason": "simulated"}))
                }
                _ => operation(&version, Verb::Show, Value::Null),
            },
        }
    }

    fn may_publish(&self) -> bool {
        self.next <= MOST_UPDATES
    }

    /// The next version.
    pub fn new_version(&mut self) -> Version {
        let number = self.next;
        self.next += 1;
        Version::new(1, number, 0)
    }
}

impl Operation {
    /// As a request.
    #[must_use]
    pub fn request(&self, product: &ProductId) -> Request {
        let whole = format!("/v1/products/{product}");
        let updates = format!("{whole}/updates");
        let of = |verb: &str| format!("{updates}/{}/{verb}", self.version);
        match self.verb {
            Verb::Create => requests::operator("POST", &updates, &self.body),
            Verb::Activate => requests::operator("POST", &of("activate"), &self.body),
            Verb::Pause => requests::operator("POST", &of("pause"), &self.body),
            Verb::Resume => requests::operator("POST", &of("resume"), &self.body),
            Verb::Abort => requests::operator("POST", &of("abort"), &self.body),
            Verb::Withdraw => requests::operator("POST", &of("withdraw"), &self.body),
            Verb::Reopen => requests::operator("POST", &of("reopen"), &self.body),
            Verb::Rollback => requests::operator("POST", &of("rollback"), &self.body),
            Verb::Edit => requests::operator("PATCH", &format!("{updates}/{}/campaign", self.version), &self.body),
            Verb::Show => requests::operator("GET", &of("metrics"), ""),
            Verb::Stop => requests::operator("POST", &format!("{whole}/stop"), &self.body),
            Verb::SetPoll => requests::operator("PATCH", &whole, &self.body),
            Verb::ResumeStopped => requests::operator("POST", &format!("{whole}/resume-stopped"), &self.body),
            Verb::Advance => requests::operator("POST", &of("advance"), &self.body),
            Verb::Void => requests::operator("POST", &of("void"), &self.body),
            Verb::RetryAll => requests::operator("POST", &of("retry"), &self.body),
            Verb::OfDevice(verb, number) => {
                let device = format!("{whole}/devices/{product}-device-{number}");
                let (method, rest) = match verb {
                    DeviceVerb::Hold => ("POST", "hold"),
                    DeviceVerb::Pin => ("POST", "pin"),
                    DeviceVerb::Release => ("POST", "release"),
                    DeviceVerb::Tag => ("PUT", "tags/ring"),
                    DeviceVerb::Retry => ("POST", "retry"),
                    DeviceVerb::Revoke => ("DELETE", "token"),
                    DeviceVerb::Issue => ("PUT", "token"),
                };
                requests::operator(method, &format!("{device}/{rest}"), &self.body)
            }
        }
    }
}

/// The file of an update, which is in the bucket afterwards.
#[must_use]
pub fn file(product: &ProductId, version: &Version, bucket: &Bucket) -> Value {
    let bytes = format!("{product} {version}").into_bytes();
    let size = bytes.len();
    json!({"name": "image.bin", "size": size, "sha256": bucket.put(bytes)})
}

/// An update with a file, or with a payload and no file.
#[must_use]
pub fn definition(product: &ProductId, version: &Version, bucket: &Bucket, random: &mut Random) -> Value {
    // Most rollouts are never held by the health gate: a held one tests little else.
    let health = match random.happens(150) {
        true => json!({"tolerated_failed_percent": 20.0}),
        false => endless_patience(),
    };
    let mut definition = json!({
        "version": version.to_string(),
        "rollout": {
            "limits": if random.happens(400) { wide_limits(random) } else { limits(random) },
            "max_attempts": random.within(1, 4),
            "when_full": random.one_of(["next", "wait"]),
            "health": health,
        },
    });
    if random.happens(200) {
        definition["kind"] = json!("json");
        definition["payload"] = json!({"level": 3});
    } else {
        definition["files"] = json!([file(product, version, bucket)]);
        definition["ask_consent"] = json!(random.happens(150));
    }
    if random.happens(250) {
        definition["policy"] = json!(policy(random));
    }
    let rollout = &mut definition["rollout"];
    if random.happens(150) {
        let advance = json!({"min_proved": 1, "soak_s": 3600, "success_percent": 50});
        rollout["phases"] = json!([{"percent": random.within(10, 60)}, {"percent": 100, "advance": advance}]);
    } else if random.happens(100) {
        rollout["windows"] = json!([{"cron": "0 */2 * * *", "duration_s": 3600, "time_zone": "Europe/Berlin"}]);
    } else if random.happens(100) {
        rollout["groups"] = json!([{"policy": "tags.ring == \"early\"", "starts_at": "2020-01-01T00:00:00Z"}]);
    }
    definition
}

/// A policy for all devices, for some, or for those that operators name.
fn policy(random: &mut Random) -> &'static str {
    random.one_of([
        "true",
        "memory >= 256",
        "semver_matches(version, \"<1.4.0\")",
        "tags.ring == \"early\"",
        "!(tags.ring == \"early\")",
    ])
}

/// Something that an operator does with one device.
fn of_device(version: &Version, random: &mut Random) -> (DeviceVerb, Value) {
    let reason = json!({"reason": "simulated"});
    match random.below(8) {
        0 => (DeviceVerb::Hold, reason),
        6 => (DeviceVerb::Revoke, reason),
        7 => (DeviceVerb::Issue, reason),
        1 => (DeviceVerb::Pin, json!({"version": version.to_string(), "reason": "simulated"})),
        2 | 3 => (DeviceVerb::Release, reason),
        4 => (DeviceVerb::Tag, json!({"value": random.one_of(["early", "late"]), "reason": "simulated"})),
        _ => (DeviceVerb::Retry, reason),
    }
}

/// Another campaign, also for devices that failed in an earlier one.
fn again() -> Value {
    json!({"rollout": {"include_failed": true, "phases": []}, "reason": "simulated"})
}

/// A resume by an operator who goes on whatever happened.
#[must_use]
pub fn acknowledging() -> Value {
    let any = 1_000_000_000_u64;
    let all = json!({"failed": any, "reverted": any, "lost": any, "not_taken": any, "transfer_failed": any});
    json!({"reason": "simulated", "acknowledge": all})
}

/// A gate that never holds.
#[must_use]
pub fn endless_patience() -> Value {
    json!({"min_failures": 1_000_000_000_u64})
}

/// Limits that are split over many shards.
fn wide_limits(random: &mut Random) -> Value {
    json!({
        "max_devices": random.one_of([None, Some(200), Some(400)]),
        "max_per_period": random.one_of([None, Some(130), Some(300)]),
        "period_s": random.one_of([60, 300, 3600]),
        "max_in_flight": random.one_of([None, Some(130), Some(300)]),
    })
}

/// Limits that a small fleet reaches. Edits keep the period: another period would change what the counts mean.
fn limits(random: &mut Random) -> Value {
    let small = |random: &mut Random| match random.below(4) {
        0 => None,
        1 => Some(random.within(1, 3)),
        2 => Some(random.within(4, 20)),
        _ => Some(random.within(20, 160)),
    };
    json!({"max_devices": small(random), "max_per_period": small(random), "max_in_flight": small(random)})
}
