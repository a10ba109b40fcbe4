//! A fleet that arrives at once, over HTTP: 64 clients, 5,000 devices, three limits, and everyone asks
//! twice. `tidegate load` does much the same to any service; this one also holds each answer against the
//! device's first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tidegate_core::{ProductId, Version};
use tidegate_lab::fleet::{Fleet, Group};
use tidegate_lab::ledger::Ledger;

/// `max_devices` of the rollout.
pub const MAX_DEVICES: u64 = 1000;
/// `max_per_period` of the rollout, in an hour.
pub const MAX_PER_PERIOD: u64 = 300;
/// `max_in_flight` of the rollout.
pub const MAX_IN_FLIGHT: u64 = 200;
/// Devices that ask.
pub const DEVICES: u32 = 5000;
/// Clients that ask at the same time.
pub const CLIENTS: usize = 64;

/// Reason why a stampede failed.
#[derive(Debug, thiserror::Error)]
pub enum StampedeError {
    /// A call was not answered.
    #[error("{path}: {cause}")]
    Call {
        /// The path of the call.
        path: String,
        /// The reason.
        #[source]
        cause: ureq::Error,
    },
    /// A call was answered with an error.
    #[error("{path}: {status} {answer}")]
    Refused {
        /// The path of the call.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The answer.
        answer: String,
    },
    /// An answer is not JSON.
    #[error("{path}: {cause}")]
    NotJson {
        /// The path of the call.
        path: String,
        /// The reason.
        #[source]
        cause: serde_json::Error,
    },
    /// The metrics are above a limit.
    #[error("a limit was exceeded: {0}")]
    LimitExceeded(Value),
    /// The service counts other offers than the devices got.
    #[error("{devices} devices say they have the offer; metrics say {metrics}")]
    Miscounted {
        /// Devices that say that they have the offer.
        devices: u64,
        /// The count of the service.
        metrics: Value,
    },
    /// The product's name is none.
    #[error("the product's name: {0}")]
    Product(#[from] tidegate_core::id::IdError),
}

/// The counts that were seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Devices that were ever offered the update.
    pub offered: u64,
    /// The most that `metrics` said were in flight, of all looks.
    pub most_in_flight: u64,
    /// Number of looks at `metrics` meanwhile.
    pub looks: u64,
    /// Check-ins that were made.
    pub check_ins: u64,
    /// Check-ins in a second.
    pub check_ins_per_s: u64,
    /// Devices whose second answer was not their first.
    pub changed_their_answer: u64,
}

/// A running service, and the key to its operator routes.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address, without a slash at the end.
    pub api: String,
    /// The operator key.
    pub key: String,
    /// A product of its own for this run.
    pub product: String,
}

impl Target {
    fn call(
        &self,
        agent: &ureq::Agent,
        method: &str,
        path: &str,
        authorization: &str,
        body: &str,
    ) -> Result<Value, StampedeError> {
        let failed = |cause| StampedeError::Call { path: path.to_owned(), cause };
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.api));
        let request = request.header("authorization", authorization).body(body.to_owned());
        let mut answer = agent.run(request.map_err(|error| failed(error.into()))?).map_err(failed)?;
        let text = answer.body_mut().read_to_string().map_err(failed)?;
        if answer.status().as_u16() >= 300 {
            let status = answer.status().as_u16();
            return Err(StampedeError::Refused { path: path.to_owned(), status, answer: text });
        }
        serde_json::from_str(&text).map_err(|cause| StampedeError::NotJson { path: path.to_owned(), cause })
    }

    fn operator(&self, agent: &ureq::Agent, method: &str, path: &str, body: &str) -> Result<Value, StampedeError> {
        let path = format!("/v1/products/{}{path}", self.product);
        self.call(agent, method, &path, &format!("Bearer {}", self.key), body)
    }

    fn metrics(&self, agent: &ureq::Agent) -> Result<Value, StampedeError> {
        self.operator(agent, "GET", "/updates/2.0.0/metrics", "")
    }
}

/// The answers of all devices, by their numbers: a version, or the reason why there is none.
type Answers = BTreeMap<u32, String>;

fn offered(answers: &Answers) -> u64 {
    let mut ledger = Ledger::default();
    for (device, _) in answers.iter().filter(|(_, answer)| *answer == "2.0.0") {
        ledger.enter(*device, ());
    }
    ledger.devices()
}

/// Runs it.
///
/// # Errors
/// When a limit was exceeded or something did not answer.
pub fn run(target: &Target) -> Result<Seen, StampedeError> {
    let agent = agent();
    let product = ProductId::new(&target.product)?;
    let update = json!({
        "version": "2.0.0", "kind": "json", "payload": {"go": true},
        "rollout": {"limits": {
            "max_devices": MAX_DEVICES, "max_per_period": MAX_PER_PERIOD, "period_s": 3600, "max_in_flight": MAX_IN_FLIGHT,
        }},
    });
    target.operator(&agent, "POST", "/updates", &update.to_string())?;
    target.operator(&agent, "POST", "/updates/2.0.0/activate", r#"{"reason":"stampede"}"#)?;
    // A product's token saves issuing 5,000 of them.
    target.operator(&agent, "PATCH", "", r#"{"product_tokens":"accept"}"#)?;
    let issued = target.operator(&agent, "PUT", "/token", "")?;
    let token = issued["token"].as_str().unwrap_or_default();
    let group = Group { devices: DEVICES, version: Version::new(1, 0, 0), said: serde_json::Map::new() };
    let fleet = Fleet::of("device", group);
    #[allow(clippy::disallowed_methods)] // says how fast it was
    let started = Instant::now();
    let (first, watched) = while_watching(target, || everyone_asks(target, &fleet, &product, token))?;
    let elapsed = started.elapsed();
    let again = everyone_asks(target, &fleet, &product, token)?;
    let changed_their_answer =
        first.iter().filter(|(device, answer)| **answer == "2.0.0" && again.get(*device) != Some(answer)).count();
    let metrics = target.metrics(&agent)?;
    let seen = Seen {
        offered: offered(&again),
        most_in_flight: watched.most_in_flight,
        looks: watched.looks,
        check_ins: u64::from(DEVICES) * 2,
        check_ins_per_s: (f64::from(DEVICES) / elapsed.as_secs_f64()) as u64,
        changed_their_answer: changed_their_answer as u64,
    };
    if metrics["offered"] != json!(seen.offered) {
        return Err(StampedeError::Miscounted { devices: seen.offered, metrics: metrics["offered"].clone() });
    }
    Ok(seen)
}

fn everyone_asks(target: &Target, fleet: &Fleet, product: &ProductId, token: &str) -> Result<Answers, StampedeError> {
    let next = AtomicU32::new(0);
    let client = || -> Result<Vec<(u32, String)>, StampedeError> {
        let agent = agent();
        let mut answers = Vec::new();
        loop {
            let device = next.fetch_add(1, Ordering::Relaxed);
            if device >= fleet.devices() {
                return Ok(answers);
            }
            let said = fleet.device_json(product, device, "1.0.0").to_string();
            let answer = target.call(&agent, "POST", "/v1/check", token, &said)?;
            let told = answer["version"].as_str().or(answer["reason"].as_str()).unwrap_or_default();
            answers.push((device, told.to_string()));
        }
    };
    std::thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|_| scope.spawn(client)).collect::<Vec<_>>();
        let mut answers = Answers::new();
        for client in clients {
            answers.extend(client.join().expect("a client does not panic")?);
        }
        Ok(answers)
    })
}

/// The counts that a watcher saw while others worked; an error as soon as a limit was exceeded.
fn while_watching<T>(
    target: &Target,
    work: impl FnOnce() -> Result<T, StampedeError>,
) -> Result<(T, Seen), StampedeError> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let agent = agent();
            let mut seen = Seen::default();
            while !done.load(Ordering::Relaxed) {
                let metrics = target.metrics(&agent)?;
                let number = |name: &str| metrics[name].as_u64().unwrap_or(u64::MAX);
                let (offered, in_flight) = (number("offered"), number("in_flight"));
                if offered > MAX_DEVICES.min(MAX_PER_PERIOD) || in_flight > MAX_IN_FLIGHT {
                    return Err(StampedeError::LimitExceeded(metrics));
                }
                seen.most_in_flight = seen.most_in_flight.max(in_flight);
                seen.looks += 1;
            }
            Ok(seen)
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let seen = watcher.join().expect("the watcher does not panic")?;
        Ok((worked?, seen))
    })
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}
