//! A fleet that arrives at once, over HTTP: 64 clients, 5,000 devices, three limits, and everyone asks
//! twice. `tidegate load` does much the same to any service; this one also holds each answer against the
//! device's first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

/// `max_devices` of the rollout.
pub const MAX_DEVICES: u64 = 1000;
/// `max_per_period` of the rollout, in an hour.
pub const MAX_PER_PERIOD: u64 = 300;
/// `max_in_flight` of the rollout.
pub const MAX_IN_FLIGHT: u64 = 200;
/// Devices that ask.
pub const DEVICES: usize = 5000;
/// Clients that ask at the same time.
pub const CLIENTS: usize = 64;

/// What was seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Devices that were ever offered the update.
    pub offered: u64,
    /// The most that `metrics` said were in flight, of all looks.
    pub most_in_flight: u64,
    /// How often `metrics` was looked at meanwhile.
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
        path: &str,
        authorization: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let url = format!("{}{path}", self.api);
        let sent = match body {
            Some(body) => agent.post(&url).header("authorization", authorization).send(body.to_string()),
            None => agent.get(&url).header("authorization", authorization).call(),
        };
        let mut answer = sent.map_err(|error| format!("{path}: {error}"))?;
        let text = answer.body_mut().read_to_string().map_err(|error| format!("{path}: {error}"))?;
        if answer.status().as_u16() >= 300 {
            return Err(format!("{path}: {} {text}", answer.status()));
        }
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))
    }

    fn operator(&self, agent: &ureq::Agent, path: &str, body: Option<&Value>) -> Result<Value, String> {
        self.call(agent, &format!("/v1/products/{}/{path}", self.product), &format!("Bearer {}", self.key), body)
    }

    fn metrics(&self, agent: &ureq::Agent) -> Result<Value, String> {
        self.operator(agent, "updates/2.0.0/metrics", None)
    }
}

/// Runs it.
///
/// # Errors
/// A sentence, when a limit was exceeded or something did not answer.
pub fn run(target: &Target) -> Result<Seen, String> {
    let agent = agent();
    let update = json!({
        "version": "2.0.0", "kind": "json", "payload": {"go": true},
        "rollout": {"limits": {
            "max_devices": MAX_DEVICES, "max_per_period": MAX_PER_PERIOD, "period_s": 3600, "max_in_flight": MAX_IN_FLIGHT,
        }},
    });
    target.operator(&agent, "updates", Some(&update))?;
    target.operator(&agent, "updates/2.0.0/activate", Some(&json!({"reason": "stampede"})))?;
    // A product's token saves issuing 5,000 of them.
    patch(target, &agent, &json!({"product_tokens": "accept"}))?;
    let token = put_token(target, &agent)?;
    #[allow(clippy::disallowed_methods)] // says how fast it was
    let started = Instant::now();
    let (first, watched) = while_watching(target, || everyone_asks(target, &token))?;
    let elapsed = started.elapsed();
    let again = everyone_asks(target, &token)?;
    let changed_their_answer =
        first.iter().filter(|(device, answer)| **answer == "2.0.0" && again.get(*device) != Some(answer)).count();
    let offered =
        |answers: &BTreeMap<String, String>| answers.values().filter(|answer| *answer == "2.0.0").count() as u64;
    let metrics = target.metrics(&agent)?;
    let seen = Seen {
        offered: offered(&again),
        most_in_flight: watched.most_in_flight,
        looks: watched.looks,
        check_ins: (DEVICES * 2) as u64,
        check_ins_per_s: (DEVICES as f64 / elapsed.as_secs_f64()) as u64,
        changed_their_answer: changed_their_answer as u64,
    };
    if metrics["offered"] != json!(seen.offered) {
        return Err(format!("{} devices say they have the offer; metrics say {}", seen.offered, metrics["offered"]));
    }
    Ok(seen)
}

fn everyone_asks(target: &Target, token: &str) -> Result<BTreeMap<String, String>, String> {
    let next = AtomicUsize::new(0);
    let client = || -> Result<Vec<(String, String)>, String> {
        let agent = agent();
        let mut answers = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= DEVICES {
                return Ok(answers);
            }
            let device = format!("device-{number}");
            let said = json!({"id": device, "product": target.product, "version": "1.0.0"});
            let answer = target.call(&agent, "/v1/check", token, Some(&said))?;
            let told = answer["version"].as_str().or(answer["reason"].as_str()).unwrap_or_default();
            answers.push((device, told.to_string()));
        }
    };
    std::thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|_| scope.spawn(client)).collect::<Vec<_>>();
        let mut answers = BTreeMap::new();
        for client in clients {
            answers.extend(client.join().map_err(|_| "a client panicked")??);
        }
        Ok(answers)
    })
}

/// What a watcher saw while others worked; an error as soon as a limit was exceeded.
fn while_watching<T>(target: &Target, work: impl FnOnce() -> Result<T, String>) -> Result<(T, Seen), String> {
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
                    return Err(format!("a limit was exceeded: {metrics}"));
                }
                seen.most_in_flight = seen.most_in_flight.max(in_flight);
                seen.looks += 1;
            }
            Ok(seen)
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let seen = watcher.join().map_err(|_| "the watcher panicked")??;
        Ok((worked?, seen))
    })
}

fn patch(target: &Target, agent: &ureq::Agent, body: &Value) -> Result<(), String> {
    let url = format!("{}/v1/products/{}", target.api, target.product);
    let sent = agent.patch(&url).header("authorization", format!("Bearer {}", target.key)).send(body.to_string());
    sent.map(drop).map_err(|error| error.to_string())
}

fn put_token(target: &Target, agent: &ureq::Agent) -> Result<String, String> {
    let url = format!("{}/v1/products/{}/token", target.api, target.product);
    let mut answer = agent
        .put(&url)
        .header("authorization", format!("Bearer {}", target.key))
        .send_empty()
        .map_err(|error| error.to_string())?;
    let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
    let issued: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(issued["token"].as_str().unwrap_or_default().to_string())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}
