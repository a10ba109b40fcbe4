//! `tidegate demo`: the whole story in a temporary folder, in a few seconds.
//!
//! The demo has no shortcuts: the calls of operator and devices go over HTTP to the front door, and the images over
//! presigned URLs to S3, as they do in the field.

use std::path::Path;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api_client::{ApiClient, ApiPath, Credential, Transfers};
use crate::download::{Downloader, Throttle};
use crate::error::{CommandError, CommandResult};
use crate::offer::Answer;
use crate::output::{Output, Tone, table};
use crate::stack::Stack;
use tidegate_wire::route::PublishRoute;

/// Options of `tidegate demo`: none yet.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {}

const PRODUCT: &str = "lamp";

/// Behaviour of a device that has an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Installs, reports success, and shows it at its next check-in.
    Reports,
    /// Installs and reports nothing; its next check-in shows the new version.
    StaysSilent,
    /// Fails to install, and reports it.
    Fails,
    /// Waits for the night before it installs.
    Waits,
}

/// The fleet: for each device its name, its `device.json` and its behaviour.
fn fleet() -> Vec<(&'static str, Value, Habit)> {
    let eu = |version: &str| json!({"version": version, "region": "eu", "memory": 512});
    vec![
        ("lamp-1", eu("1.1.0"), Habit::Reports),
        ("lamp-2", eu("1.1.0"), Habit::StaysSilent),
        ("lamp-3", eu("1.1.0"), Habit::Fails),
        ("lamp-4", eu("1.1.0"), Habit::Reports),
        ("lamp-5", eu("1.0.0"), Habit::Waits),
        ("lamp-6", json!({"version": "1.1.0", "region": "us", "memory": 512}), Habit::Reports),
        ("lamp-7", json!({"version": "1.1.0", "region": "eu", "memory": "128"}), Habit::Reports),
        ("lamp-8", json!({"version": "1.1.0", "region": "eu"}), Habit::Reports),
        ("lamp-9", eu("2.0.0"), Habit::Reports),
    ]
}

/// Plays the demo.
pub async fn run(_args: DemoArgs, output: &Output) -> CommandResult {
    let started = crate::time::start();
    let folder = tempfile::tempdir().map_err(failed)?;
    let stack = Stack::temporary(0).await.map_err(failed)?;
    let operator = ApiClient::new(&stack.door.url(), Credential::OperatorKey(stack.operator_key.expose().to_string()))?;
    let story = Story { operator, api: stack.door.url(), folder: folder.path(), output };
    // The clients wait for answers; the server has threads of its own.
    let told = tokio::task::block_in_place(|| story.tell());
    stack.shutdown().await;
    output.document(&told?)?;
    output.line(format!("\nDone in {:.1} s. Next: `tidegate dev`, and the README.", started.elapsed().as_secs_f64()))
}

fn failed(cause: impl std::error::Error + Send + Sync + 'static) -> CommandError {
    CommandError::failed("demo_failed", cause.to_string()).because(cause)
}

/// The parts of the demo.
struct Story<'a> {
    operator: ApiClient,
    api: String,
    folder: &'a Path,
    output: &'a Output,
}

/// Result of one device.
struct Told {
    device: &'static str,
    before: String,
    answer: String,
    outcome: String,
}

impl Story<'_> {
    /// Plays the story, and returns it as a document for programs.
    fn tell(&self) -> CommandResult<Value> {
        self.heading("1. An operator publishes two updates of the product `lamp`")?;
        self.publish("1.1.0", 200_000, json!({"policy": ""}))?;
        self.publish(
            "2.0.0",
            300_000,
            json!({
                "compatible_from": [">=1.1.0"],
                "policy": "region == \"eu\" && memory >= 256",
                "rollout": {"limits": {"max_devices": 3, "max_in_flight": 3}},
            }),
        )?;
        self.heading("2. Nine devices check in, download by presigned URL, verify, install and report")?;
        let told = fleet()
            .into_iter()
            .map(|(name, said, habit)| self.play(name, &said, habit))
            .collect::<CommandResult<Vec<_>>>()?;
        let mut rows = table(&["device", "runs", "answer", "what it did"], &[]);
        for device in &told {
            rows.add_row([device.device, &device.before, &device.answer, &device.outcome]);
        }
        self.output.table(&rows)?;
        self.heading("3. Why did the others not get 2.0.0?")?;
        for device in ["lamp-4", "lamp-5", "lamp-6", "lamp-7", "lamp-8"] {
            let why = self.operator.get(&ApiPath::device(PublishRoute::Why, PRODUCT, device))?;
            let newest = &why["considered"][0];
            let objection = newest["objection"]["sentence"].as_str().unwrap_or("nothing objects");
            self.output.line(format!("  {device}: {objection}{}", unmet(newest)))?;
        }
        self.heading("4. Asking again costs nothing, and a URL that was touched is worth nothing")?;
        self.ask_again()?;
        self.heading("5. The rollouts")?;
        let rollouts = self.rollouts(&told)?;
        let devices = told.iter().map(|told| json!({"device": told.device, "ran": told.before, "answer": told.answer}));
        Ok(json!({"devices": devices.collect::<Vec<_>>(), "rollouts": rollouts}))
    }

    /// Creates, uploads and activates.
    fn publish(&self, version: &str, size: usize, update: Value) -> CommandResult {
        let image = version.bytes().cycle().take(size).collect::<Vec<_>>();
        let sha256 = hex::encode(Sha256::digest(&image));
        let mut update = update;
        update["version"] = json!(version);
        update["files"] = json!([{"name": format!("lamp-{version}.bin"), "sha256": sha256, "size": size}]);
        let created = self.operator.post(&ApiPath::product(PublishRoute::CreateUpdate, PRODUCT), &update)?;
        for upload in created["uploads"].as_array().into_iter().flatten() {
            let headers = upload["headers"].as_object().into_iter().flatten();
            let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_string()));
            let url = upload["url"].as_str().unwrap_or_default();
            Transfers::new().upload("PUT", url, &headers.collect::<Vec<_>>(), size as u64, &mut image.as_slice())?;
        }
        self.operator
            .post(&ApiPath::update(PublishRoute::ActivateUpdate, PRODUCT, version), &json!({"reason": "demo"}))?;
        let policy =
            update["policy"].as_str().filter(|policy| !policy.is_empty()).unwrap_or("everyone on a lower version");
        self.output.line(format!("  {version}  {size} bytes, SHA-256 {}…, for: {policy}", &sha256[..12]))
    }

    fn play(&self, device: &'static str, said: &Value, habit: Habit) -> CommandResult<Told> {
        let client = self.device(device)?;
        let before = said["version"].as_str().unwrap_or_default().to_string();
        let answer = Answer::read(&client.post(&ApiPath::check(), &check_in(device, said, &before))?)?;
        let Some(offer) = &answer.offer else {
            let reason = answer.reason.unwrap_or_default();
            return Ok(Told { device, before, answer: format!("nothing: {reason}"), outcome: String::new() });
        };
        for promise in offer.promises()? {
            let folder = self.folder.join(device);
            let transfers = Transfers::new();
            let downloader = Downloader::new(&transfers, &folder, Throttle::Off);
            downloader.fetch(&promise, &ProgressBar::hidden()).map_err(failed)?;
        }
        let outcome = match habit {
            Habit::Reports => {
                self.report(&client, device, &offer.update, "INSTALL_SUCCESS")?;
                client.post(&ApiPath::check(), &check_in(device, said, &offer.version))?;
                "verified, installed, reported success; its next check-in proves it"
            }
            Habit::StaysSilent => {
                client.post(&ApiPath::check(), &check_in(device, said, &offer.version))?;
                "verified, installed, said nothing; its next check-in proves it"
            }
            Habit::Fails => {
                self.report(&client, device, &offer.update, "INSTALL_ERROR")?;
                "verified, reported that installing failed"
            }
            Habit::Waits => "verified, waits for the night to install it",
        };
        Ok(Told { device, before, answer: format!("offer {}", offer.version), outcome: outcome.into() })
    }

    fn ask_again(&self) -> CommandResult {
        let client = self.device("lamp-5")?;
        let said = json!({"region": "eu", "memory": 512});
        let body = check_in("lamp-5", &said, "1.0.0");
        let first = client.post(&ApiPath::check(), &body)?;
        let again = client.post(&ApiPath::check(), &body)?;
        let version = |answer: &Value| answer["version"].as_str().unwrap_or("nothing").to_string();
        self.output.line(format!(
            "  lamp-5 has not installed it yet: it asks twice and is offered {} and {}; `offered` stays at 1",
            version(&first),
            version(&again)
        ))?;
        let url = again["url"].as_str().unwrap_or_default().replace("X-Amz-Expires=", "X-Amz-Expires=9");
        let refused = Transfers::new().download(&url, 0).map_err(failed)?;
        if refused.status() != 403 {
            return Err(CommandError::failed("demo_failed", "a URL that was touched must be refused"));
        }
        self.output.line("  the same URL with a longer life written into it: 403 Forbidden")
    }

    fn rollouts(&self, told: &[Told]) -> CommandResult<Value> {
        let mut rollouts = serde_json::Map::new();
        let mut rows = table(&["update", "state", "offered", "in flight", "proved", "failed", "health"], &[2, 3, 4, 5]);
        for version in ["2.0.0", "1.1.0"] {
            let metrics = self.operator.get(&ApiPath::update(PublishRoute::ShowMetrics, PRODUCT, version))?;
            let number = |name: &str| metrics[name].to_string();
            let state = metrics["state"].as_str().unwrap_or_default();
            let verdict = metrics["health"]["verdict"].as_str().unwrap_or_default();
            rows.add_row([
                version,
                state,
                &number("offered"),
                &number("in_flight"),
                &number("proved"),
                &number("failed"),
                verdict,
            ]);
            rollouts.insert(version.into(), metrics.clone());
        }
        self.output.table(&rows)?;
        let offered = told.iter().filter(|device| device.answer == "offer 2.0.0").count();
        if offered != 3 {
            return Err(CommandError::failed(
                "demo_failed",
                format!("2.0.0 was offered to {offered} devices, and its limit is 3"),
            ));
        }
        self.output.line("  2.0.0 was offered to exactly its 3 devices.")?;
        Ok(Value::Object(rollouts))
    }

    fn device(&self, device: &str) -> CommandResult<ApiClient> {
        let issued = self.operator.put(&ApiPath::device(PublishRoute::IssueToken, PRODUCT, device))?;
        ApiClient::new(&self.api, Credential::DeviceToken(issued["token"].as_str().unwrap_or_default().to_string()))
    }

    fn report(&self, client: &ApiClient, device: &str, update: &str, status: &str) -> CommandResult {
        let body = json!({"id": device, "product": PRODUCT, "update": update, "status": status});
        client.post(&ApiPath::report(), &body).map(drop)
    }

    fn heading(&self, text: &str) -> CommandResult {
        self.output.line(format!("\n{}", self.output.paint(Tone::Strong, text)))
    }
}

/// The clauses of a policy that are not true, with the device's values.
fn unmet(considered: &Value) -> String {
    let clauses = considered["clauses"].as_array().into_iter().flatten();
    let refusing = clauses.filter(|clause| clause["verdict"] == "no");
    refusing
        .map(|clause| format!("; {} is not so with {}", clause["text"].as_str().unwrap_or_default(), clause["values"]))
        .collect()
}

fn check_in(device: &str, said: &Value, version: &str) -> Value {
    let mut body = said.clone();
    body["id"] = json!(device);
    body["product"] = json!(PRODUCT);
    body["version"] = json!(version);
    body
}
