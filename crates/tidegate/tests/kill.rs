//! Fifty times `kill -9` for `tidegate dev` while devices get offers and report: nothing that was acknowledged is lost,
//! and the counts equal a recount.

mod support;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use support::{DONE, Ran, command};

const KILLS: u64 = 50;
const DEVICES: usize = 600;
/// Looks for a service that starts, or for a count that is done, and the time between them: a minute in all.
const MOST_LOOKS: u32 = 3000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A service in a process of its own.
struct Service {
    process: Child,
    api: String,
    key: String,
}

impl Service {
    fn start(folder: &Path, port: u16) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let mut dev = command(folder, &["dev", "--listen", &listen, "--data", "data"]);
        let process = dev.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program was built");
        let mut service = Self { process, api: format!("http://{listen}"), key: String::new() };
        for look in 0.. {
            if service.get("lamp/audit").is_some() {
                break;
            }
            assert!(look < MOST_LOOKS, "the service does not start");
            std::thread::sleep(BETWEEN_LOOKS);
            service.key = std::fs::read_to_string(folder.join("data/operator.key")).unwrap_or_default().trim().into();
        }
        service
    }

    fn operator(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        call(method, &format!("{}/v1/products/{path}", self.api), &format!("Bearer {}", self.key), body)
    }

    fn get(&self, path: &str) -> Option<Value> {
        self.operator("GET", path, &Value::Null)
    }
}

/// SIGKILL: nothing in the process is flushed, closed or dropped. A test that fails leaves no process either.
impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill().expect("the process runs");
        self.process.wait().expect("the process ends");
    }
}

/// The document of an answer below 500; nothing if there was none, or if the service does not know us.
fn call(method: &str, url: &str, authorization: &str, body: &Value) -> Option<Value> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(5)))
        .build()
        .into();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = ureq::http::Request::builder().method(method).uri(url).header("authorization", authorization);
    let mut answer = agent.run(request.body(body).ok()?).ok()?;
    let status = answer.status().as_u16();
    let document = answer.body_mut().read_to_string().ok()?;
    (status < 500 && status != 401 && status != 403).then(|| serde_json::from_str(&document).unwrap_or(Value::Null))
}

/// What the service has acknowledged.
#[derive(Default)]
struct Acknowledged {
    offered: Mutex<BTreeSet<usize>>,
    installed: Mutex<BTreeSet<usize>>,
    failed: Mutex<BTreeSet<usize>>,
}

fn lock(list: &Mutex<BTreeSet<usize>>) -> MutexGuard<'_, BTreeSet<usize>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Devices check in and report until the service is gone.
fn play(api: &str, tokens: &[String], next: &AtomicUsize, known: &Acknowledged) {
    loop {
        let device = next.fetch_add(1, Ordering::Relaxed) % DEVICES;
        let (id, token) = (format!("lamp-{device}"), &tokens[device]);
        let runs = if lock(&known.installed).contains(&device) { "2.0.0" } else { "1.0.0" };
        let check = json!({"id": id, "product": "lamp", "version": runs});
        let Some(told) = call("POST", &format!("{api}/v1/check"), token, &check) else { return };
        if told["version"] != "2.0.0" {
            continue;
        }
        lock(&known.offered).insert(device);
        // Every seventh device fails; the health gate tolerates that here.
        let status = if device.is_multiple_of(7) { "INSTALL_ERROR" } else { "INSTALL_SUCCESS" };
        let report = json!({"id": id, "product": "lamp", "version": "2.0.0", "status": status});
        let Some(told) = call("POST", &format!("{api}/v1/report"), token, &report) else { return };
        if told["recorded"] == true {
            let list = if device.is_multiple_of(7) { &known.failed } else { &known.installed };
            lock(list).insert(device);
        }
    }
}

/// Three free ports in a row, below those that the system gives away.
fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = 20_000 + u16::try_from(std::process::id() % 9_000).expect("below 9,000");
    (first..32_000).step_by(3).find(|port| (0..3).all(|more| is_free(port + more))).expect("a free port")
}

#[test]
fn fifty_kills_lose_nothing_and_the_counts_equal_a_recount() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let service = Service::start(folder.path(), port);
    let definition = json!({
        "version": "2.0.0", "kind": "json", "payload": {"brightness": 7},
        "rollout": {"limits": {"max_in_flight": 500}, "max_attempts": 1, "health": {"min_failures": 1_000_000}},
    });
    service.operator("POST", "lamp/updates", &definition).expect("the draft is created");
    let active =
        service.operator("POST", "lamp/updates/2.0.0/activate", &json!({"reason": "test"})).expect("activated");
    assert_eq!(active["state"], "active", "{active}");
    let tokens = (0..DEVICES)
        .map(|device| {
            let issued = service.operator("PUT", &format!("lamp/devices/lamp-{device}/token"), &Value::Null);
            issued.expect("a token")["token"].as_str().expect("a text").to_owned()
        })
        .collect::<Vec<_>>();
    drop(service);
    let (known, next) = (Arc::new(Acknowledged::default()), Arc::new(AtomicUsize::new(0)));
    for round in 0..KILLS {
        let service = Service::start(folder.path(), port);
        let players = (0..4).map(|_| {
            let (api, tokens, next, known) = (service.api.clone(), tokens.clone(), next.clone(), known.clone());
            std::thread::spawn(move || play(&api, &tokens, &next, &known))
        });
        let players = players.collect::<Vec<_>>();
        // Another moment in each round.
        std::thread::sleep(Duration::from_millis(200 + round * 37 % 250));
        drop(service);
        for player in players {
            player.join().expect("a player ends when the service is gone");
        }
    }
    let service = Service::start(folder.path(), port);
    let (offered, installed, failed) = (lock(&known.offered), lock(&known.installed), lock(&known.failed));
    println!("acknowledged: {} offers, {} successes, {} failures", offered.len(), installed.len(), failed.len());
    assert!(offered.len() > 100, "only {} offers were made", offered.len());
    for device in &*offered {
        let shown = service.get(&format!("lamp/devices/lamp-{device}")).expect("the device is known");
        let claim = &shown["claims"][0];
        assert_eq!(claim["version"], "2.0.0", "the acknowledged offer of lamp-{device} is lost: {shown}");
        let told: &[&str] = if installed.contains(device) {
            &["installed", "proved"]
        } else if failed.contains(device) {
            &["failed"]
        } else {
            continue;
        };
        let state = claim["state"].as_str().expect("a text");
        assert!(told.contains(&state), "the acknowledged report of lamp-{device} is lost: {shown}");
    }
    let recount = recount(folder.path());
    println!("{recount}");
    let metrics = service.get("lamp/updates/2.0.0/metrics").expect("metrics");
    assert!(metrics["offered"].as_u64() >= Some(offered.len() as u64), "{metrics}");
    drop(service);
}

/// The recount, once the count has read the whole stream.
fn recount(folder: &Path) -> Value {
    for look in 0.. {
        let mut repair = command(folder, &["repair", "--check", "--json"]);
        let environment = std::fs::read_to_string(folder.join("data/lambda.env")).expect("dev writes it");
        repair.envs(environment.lines().filter_map(|line| line.split_once('=')));
        let ran = Ran::of(repair);
        let document = ran.document();
        let is_still = document["moving"].as_array().is_some_and(Vec::is_empty);
        if ran.exit == Some(DONE) && is_still {
            assert_eq!(document["drift"], json!([]));
            assert_eq!(document["rollouts"], 1);
            return document;
        }
        assert!(look < 300, "the counts differ from the devices: {ran:?}");
        std::thread::sleep(10 * BETWEEN_LOOKS);
    }
    unreachable!("the loop ends with a result");
}
