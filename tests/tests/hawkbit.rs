//! hawkBit's DDI: what SWUpdate, rauc-hawkbit-updater and their like may rely on. Every request that was
//! recorded of the two is replayed in `hawkbit_recorded.rs`.
// The futures of a whole walk through the protocol are deep.
#![recursion_limit = "256"]
#![allow(clippy::disallowed_methods, reason = "one test writes behind the service's back")]

use aws_sdk_dynamodb::types::AttributeValue;
use lambda_http::Body;
use serde_json::{Value, json};
use tidegate::stack::TABLE;
use tidegate_core::Timestamp;
use tidegate_tests::{LAMP, World, at, file, get, lamp, request};

const NO_CALLS: [&str; 0] = [];
const NOON: &str = "2026-01-01T12:00:00Z";

/// What a device was answered.
#[derive(Debug)]
struct Got {
    status: u16,
    body: Value,
    location: Option<String>,
}

impl Got {
    /// The links of a poll, by name, and the path of each.
    fn link(&self, name: &str) -> Option<String> {
        let href = self.body["_links"][name]["href"].as_str()?;
        Some(href.strip_prefix("https://ota.example").unwrap_or_else(|| panic!("{href}")).to_string())
    }

    fn links(&self) -> Vec<&str> {
        self.body["_links"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn sleep(&self) -> &str {
        self.body["config"]["polling"]["sleep"].as_str().unwrap_or_default()
    }
}

/// A device with a hawkBit client.
struct Client<'a> {
    world: &'a World,
    device: &'a str,
    authorization: String,
}

impl<'a> Client<'a> {
    fn new(world: &'a World, device: &'a str) -> Self {
        Self { world, device, authorization: format!("TargetToken {}", world.token(LAMP, device)) }
    }

    /// One that has said what it runs.
    async fn on(world: &'a World, device: &'a str, version: &str, now: Timestamp) -> Self {
        let client = Self::new(world, device);
        assert_eq!(client.config(json!({"sw_version": version, "region": "eu"}), now).await.status, 200);
        client
    }

    async fn send(&self, method: &str, path: &str, body: &str, now: Timestamp) -> Got {
        let headers = [("authorization", self.authorization.as_str()), ("host", "ota.example")];
        let asked = request(method, path, &headers, body, None);
        let is_report = path.ends_with("/feedback");
        let response = match is_report {
            true => self.world.services.report.handle(asked, now).await,
            false => self.world.services.check.handle(asked, now).await,
        };
        let status = response.status().as_u16();
        let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_string());
        let body = match response.body() {
            Body::Empty => Value::Null,
            body => serde_json::from_slice(body).unwrap(),
        };
        Got { status, body, location }
    }

    fn path(&self, rest: &str) -> String {
        format!("/{LAMP}/controller/v1/{}{rest}", self.device)
    }

    async fn poll(&self, now: Timestamp) -> Got {
        let got = self.send("GET", &self.path(""), "", now).await;
        assert_eq!(got.status, 200, "{}", got.body);
        got
    }

    async fn config(&self, data: Value, now: Timestamp) -> Got {
        self.send("PUT", &self.path("/configData"), &json!({"data": data}).to_string(), now).await
    }

    async fn follow(&self, path: &str, now: Timestamp) -> Got {
        self.send("GET", path, "", now).await
    }

    async fn say(&self, action: &str, execution: &str, finished: &str, now: Timestamp) -> u16 {
        let body = json!({"id": "1", "status": {"execution": execution, "result": {"finished": finished}, "details": ["a line"]}});
        self.send("POST", &format!("{action}/feedback"), &body.to_string(), now).await.status
    }

    /// Polls, and answers the path of the deployment.
    async fn deployment(&self, now: Timestamp) -> String {
        let poll = self.poll(now).await;
        poll.link("deploymentBase").unwrap_or_else(|| panic!("{}", poll.body))
    }
}

async fn steer(world: &World, verb: &str, now: Timestamp) {
    let path = format!("{LAMP}/updates/2.0.0/{verb}");
    let steered = world.operator("POST", &path, json!({"reason": "test"}), now).await;
    assert_eq!(steered.status, 200, "{steered:?}");
}

async fn runs(world: &World, device: &str, now: Timestamp) -> Value {
    world.operator("GET", &format!("{LAMP}/devices/{device}"), Value::Null, now).await.body["version"].clone()
}

async fn published(update: Value) -> (World, Timestamp) {
    let (world, now) = (World::new(0).await, at(NOON));
    world.publish(LAMP, "2.0.0", update, now).await;
    (world, now)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_asked_what_it_is_then_given_an_update_and_its_report_counts_once_and_moves_its_version() {
    let (world, now) = published(json!({"policy": "region == \"eu\""})).await;
    let client = Client::new(&world, "lamp-1");
    let first = client.poll(now).await;
    assert_eq!((first.links(), first.sleep()), (vec!["configData"], "00:01:00"));
    assert_eq!(world.counts("2.0.0", now).await, "0 0 0 0 0");

    assert_eq!(client.config(json!({"sw_version": "1.0.0", "region": "eu"}), now).await.body, json!({}));
    let poll = client.poll(now).await;
    assert_eq!((poll.links(), poll.sleep()), (vec!["deploymentBase"], "00:01:00"));
    let path = poll.link("deploymentBase").unwrap();
    assert_eq!(client.deployment(now).await, path, "one action, however often it asks");
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");

    let deployment = client.follow(&path, now).await.body;
    let number: u32 = deployment["id"].as_str().unwrap().parse().unwrap();
    assert!(number > 0 && number < 1 << 31, "SWUpdate reads a number");
    let artifact = &deployment["deployment"]["chunks"][0]["artifacts"][0];
    // sha1sum and md5sum of the image.
    assert_eq!(artifact["hashes"]["sha256"], file("", b"firmware 2.0.0 of lamp")["sha256"]);
    assert_eq!(artifact["hashes"]["sha1"], "2c41a503222bb5fd583378b01c33b7a9e891eeb5");
    assert_eq!(artifact["hashes"]["md5"], "5c0152d728147a1981b6ab162b626902");
    assert_eq!((&artifact["size"], &artifact["filename"]), (&json!(22), &json!("image.bin")));
    assert_eq!(deployment["deployment"].get("maintenanceWindow"), None, "the rollout has no windows");

    for (execution, finished, expected) in [
        ("proceeding", "none", 200),
        ("download", "none", 200),
        ("downloaded", "none", 200),
        ("scheduled", "none", 200),
        ("rejected", "none", 200),
        ("closed", "success", 200),
        ("closed", "success", 410),
    ] {
        assert_eq!(client.say(&path, execution, finished, now).await, expected, "{execution} {finished}");
    }
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0", "a word of success proves nothing");
    assert_eq!(runs(&world, "lamp-1", now).await, "1.0.0");
    let asked = client.poll(now).await;
    assert_eq!(asked.links(), ["configData"], "it is asked what it runs");
    assert!(asked.sleep() < "00:20:00", "soon: {}", asked.sleep());
    client.config(json!({"sw_version": "2.0.0", "region": "eu"}), now).await;
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
    assert_eq!(runs(&world, "lamp-1", now).await, "2.0.0");
    let versions = world.operator("GET", &format!("{LAMP}/versions"), Value::Null, now).await.body;
    assert_eq!(versions["items"], json!([{"version": "2.0.0", "devices": 1}]));
    let last = client.poll(now).await;
    assert_eq!((last.links(), last.sleep()), (vec!["installedBase"], "23:59:59"));
    assert_eq!(client.follow(&last.link("installedBase").unwrap(), now).await.body["id"], number.to_string());
    assert_eq!(client.follow(&path, now).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_costs_what_a_native_check_in_costs() {
    let world = World::new(1000).await;
    let now = at(NOON);
    world.publish(LAMP, "2.0.0", json!({"policy": "region == \"eu\""}), now).await;
    let elsewhere = Client::new(&world, "lamp-0");
    elsewhere.config(json!({"sw_version": "1.0.0", "region": "us"}), now).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let _warm_up = world.calls.take();

    assert_eq!(elsewhere.poll(now).await.links(), [""; 0]);
    assert_eq!(world.calls.take(), ["Query"], "nothing to offer");
    let path = client.deployment(now).await;
    assert_eq!(world.calls.take(), ["Query", "GetItem", "TransactWriteItems"], "a grant, after a look at its shard");
    client.deployment(now).await;
    assert_eq!(world.calls.take(), ["Query"], "a repeat");
    let deployment = client.follow(&path, now).await;
    assert_eq!(world.calls.take(), ["Query"]);
    let href = &deployment.body["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download"]["href"];
    client.follow(href.as_str().unwrap().strip_prefix("https://ota.example").unwrap(), now).await;
    assert_eq!(world.calls.take(), ["Query"], "signing is no call");
    client.say(&path, "proceeding", "none", now).await;
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem"]);
    client.config(json!({"sw_version": "1.0.0", "region": "eu"}), now).await;
    assert_eq!(world.calls.take(), ["Query"], "it says nothing new");
    client.say(&path, "closed", "success", now).await;
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem"], "with the device's version in the same write");

    let stranger = Client { authorization: "TargetToken d1.local.AAAA".into(), ..client };
    for path in ["", "/configData", "/deploymentBase/7", "/softwaremodules/7/artifacts/image.bin"] {
        let method = if path == "/configData" { "PUT" } else { "GET" };
        assert_eq!(stranger.send(method, &stranger.path(path), "", now).await.status, 401, "{path}");
    }
    assert_eq!(stranger.say(&path, "closed", "failure", now).await, 401);
    assert_eq!(world.calls.take(), NO_CALLS, "a bad token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_rollout_is_cancelled_on_devices_under_way_and_counts_nothing_against_the_update() {
    let (world, now) = published(json!({"rollout": {"max_attempts": 2, "limits": {"max_devices": 1}}})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let mut earlier = Vec::new();
    for round in 0..4 {
        let path = client.deployment(now).await;
        assert!(!earlier.contains(&path), "another reservation is another action");
        steer(&world, "pause", now).await;
        let poll = client.poll(now).await;
        assert_eq!(poll.links(), ["cancelAction"], "round {round}");
        let cancel = poll.link("cancelAction").unwrap();
        let number = path.rsplit('/').next().unwrap();
        let order = client.follow(&cancel, now).await.body;
        assert_eq!(order, json!({"id": number, "cancelAction": {"stopId": number}}));
        assert_eq!(client.follow(&path, now).await.status, 410, "no more bytes of it");
        assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0", "until it answers, it is in flight");
        assert_eq!(client.say(&cancel, "closed", "success", now).await, 200);
        assert_eq!(world.counts("2.0.0", now).await, "1 0 0 0 0", "no outcome");
        assert_eq!(client.say(&cancel, "closed", "success", now).await, 410);
        assert_eq!(client.poll(now).await.links(), [""; 0]);
        steer(&world, "resume", now).await;
        earlier.push(path);
    }
    let path = client.deployment(now).await;
    for old in &earlier {
        assert_eq!(client.say(old, "closed", "failure", now).await, 410);
        assert_eq!(client.say(old, "closed", "success", now).await, 410);
        assert_eq!(client.say(&old.replace("deploymentBase", "cancelAction"), "closed", "success", now).await, 410);
    }
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0", "what an earlier action says ends no later one");
    assert_eq!(client.say(&path, "closed", "success", now).await, 200);
    client.config(json!({"sw_version": "2.0.0"}), now).await;
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
}

/// The first edition believed forty of forty such devices.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_reports_success_and_boots_the_old_slot_has_reverted() {
    let (world, now) = published(json!({})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    assert_eq!(client.say(&path, "closed", "success", now).await, 200);
    for later in ["2026-01-01T14:00:00Z", "2026-01-01T14:10:00Z"] {
        assert_eq!(client.poll(at(later)).await.links(), ["configData"]);
        client.config(json!({"sw_version": "1.0.0"}), at(later)).await;
    }
    let metrics = world.metrics("2.0.0", at("2026-01-01T14:20:00Z")).await;
    assert_eq!((&metrics["reverted"], &metrics["proved"], &metrics["in_flight"]), (&json!(1), &json!(0), &json!(0)));
    assert_eq!(client.poll(at("2026-01-01T14:20:00Z")).await.links(), [""; 0]);
}

/// A client that sends its version once and never again: two polls an hour after its success prove it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_says_its_version_is_proved_by_its_report_where_the_product_says_so() {
    let (world, now) = published(json!({})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    assert_eq!(client.say(&path, "closed", "success", now).await, 200);
    for later in ["2026-01-01T14:00:00Z", "2026-01-01T15:00:00Z"] {
        assert_eq!(client.poll(at(later)).await.links(), ["configData"]);
    }
    assert_eq!(world.counts("2.0.0", at("2026-01-01T15:00:00Z")).await, "1 1 0 0 0", "a word alone proves nothing");
    let settings = world.operator("PATCH", LAMP, json!({"proof": "report", "reason": "test"}), now).await;
    assert_eq!((settings.status, &settings.body["proof"]), (200, &json!("report")));
    client.poll(at("2026-01-01T16:00:00Z")).await;
    assert_eq!(world.counts("2.0.0", at("2026-01-01T16:00:00Z")).await, "1 1 0 0 0", "once is not enough");
    client.poll(at("2026-01-01T17:00:00Z")).await;
    let metrics = world.metrics("2.0.0", at("2026-01-01T17:00:00Z")).await;
    let counts = ["in_flight", "installed", "proved", "proved_by_report"].map(|count| metrics[count].as_u64().unwrap());
    assert_eq!(counts, [0, 0, 1, 1]);
    assert_eq!(runs(&world, "lamp-1", now).await, "2.0.0");
    // It is not offered it again, and a failure that it tells later still takes the proof back.
    assert_eq!(client.poll(at("2026-01-01T18:00:00Z")).await.link("deploymentBase"), None);
    assert_eq!(client.say(&path, "closed", "failure", at("2026-01-01T19:00:00Z")).await, 200);
    let metrics = world.metrics("2.0.0", at("2026-01-01T19:00:00Z")).await;
    assert_eq!((&metrics["reverted"], &metrics["proved_by_report"]), (&json!(1), &json!(0)));
}

/// An image may say of itself what is no version.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_no_version_proves_the_update_that_lists_it() {
    let (world, now) = published(json!({"reports_as": ["spring-1"]})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    assert_eq!(client.say(&path, "closed", "success", now).await, 200);
    assert_eq!(client.config(json!({"sw_version": "spring-1"}), now).await.status, 200);
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
    assert_eq!(client.poll(now).await.link("deploymentBase"), None);
    world.publish(LAMP, "2.1.0", json!({}), now).await;
    assert!(client.poll(now).await.link("deploymentBase").is_some(), "and its order is known");
}

/// It said success, and shows what it runs with its next attributes. Its update is aborted meanwhile: an older one would
/// undo it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_said_success_is_offered_no_older_update() {
    let (world, now) = published(json!({})).await;
    world.publish(LAMP, "1.5.0", json!({}), now).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    assert_eq!(client.say(&path, "closed", "success", now).await, 200);
    assert_eq!(client.poll(now).await.link("deploymentBase"), None);
    steer(&world, "abort", now).await;
    assert_eq!(client.poll(now).await.link("deploymentBase"), None);
    // It fell back: then the older one is what it needs.
    for later in ["2026-01-01T14:00:00Z", "2026-01-01T14:10:00Z"] {
        client.config(json!({"sw_version": "1.0.0"}), at(later)).await;
    }
    assert!(client.poll(at("2026-01-01T14:20:00Z")).await.link("deploymentBase").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_back_with_a_version_that_is_not_semver_gives_its_place_back() {
    let (world, now) = published(json!({})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    assert_eq!(client.say(&path, "closed", "success", now).await, 200);
    client.config(json!({"sw_version": "v2.0.0"}), now).await;
    let metrics = world.metrics("2.0.0", now).await;
    let counts = ["in_flight", "installed", "proved", "left"].map(|count| metrics[count].as_u64().unwrap());
    assert_eq!(counts, [0, 0, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_and_withdraw_reach_devices_under_way_and_one_that_cannot_stop_goes_on() {
    for verb in ["abort", "withdraw"] {
        let (world, now) = published(json!({})).await;
        let (one, two) =
            (Client::on(&world, "lamp-1", "1.0.0", now).await, Client::on(&world, "lamp-2", "1.0.0", now).await);
        let (_, path) = (one.deployment(now).await, two.deployment(now).await);
        steer(&world, verb, now).await;
        let cancel = one.poll(now).await.link("cancelAction").unwrap();
        assert_eq!(one.say(&cancel, "closed", "success", now).await, 200);
        assert_eq!(one.poll(now).await.links(), [""; 0]);

        let cancel = two.poll(now).await.link("cancelAction").unwrap();
        assert_eq!(two.say(&cancel, "rejected", "none", now).await, 200);
        assert_eq!(world.counts("2.0.0", now).await, "2 1 0 0 0", "{verb}");
        assert_eq!(two.say(&path, "closed", "success", now).await, 200, "it was too late to stop");
        two.config(json!({"sw_version": "2.0.0"}), now).await;
        assert_eq!(world.counts("2.0.0", now).await, "2 0 1 0 0", "{verb}");
        assert_eq!(runs(&world, "lamp-2", now).await, "2.0.0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_answers_a_pause_keeps_its_place_and_is_lost_when_it_is_overdue() {
    let (world, now) = published(json!({"rollout": {"limits": {"max_in_flight": 1}}})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    steer(&world, "pause", now).await;
    world.count().await;
    let later = at("2026-01-05T06:05:00Z");
    world.services.sweep.sweep(later).await.unwrap();
    assert_eq!(world.counts("2.0.0", later).await, "1 1 0 0 1");
    assert_eq!(client.poll(later).await.links(), ["cancelAction", "configData"], "any word brings it back");
    assert_eq!(world.counts("2.0.0", later).await, "1 1 0 0 0");
    assert_eq!(client.say(&path, "closed", "success", later).await, 200, "it was too late to stop");
    client.config(json!({"sw_version": "2.0.0"}), later).await;
    assert_eq!(world.counts("2.0.0", later).await, "1 0 1 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_cancels_unasked_waits_for_a_day() {
    let (world, now) = published(json!({})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    assert_eq!(client.say(&path, "canceled", "none", now).await, 200);
    assert_eq!(client.poll(now).await.links(), [""; 0]);
    assert_eq!(world.counts("2.0.0", now).await, "1 0 0 0 0");
    assert_eq!(client.poll(at("2026-01-02T18:00:00Z")).await.links(), ["configData", "deploymentBase"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_a_window_a_device_may_fetch_and_must_not_install_and_what_it_skips_is_not_installed() {
    let night = json!({"rollout": {"windows": [{"cron": "0 12 * * *", "duration_s": 3600, "time_zone": "UTC"}]}});
    let (world, noon) = published(night).await;
    let evening = at("2026-01-01T18:00:00Z");
    let client = Client::on(&world, "lamp-1", "1.0.0", noon).await;
    let late = Client::on(&world, "lamp-2", "1.0.0", noon).await;
    assert_eq!(late.poll(evening).await.links(), [""; 0], "outside, nothing new is granted");
    let path = client.deployment(noon).await;
    let state = |got: &Got| {
        let deployment = &got.body["deployment"];
        ["download", "update", "maintenanceWindow"].map(|name| deployment[name].as_str().unwrap().to_string()).join(" ")
    };
    assert_eq!(state(&client.follow(&path, noon).await), "forced forced available");
    assert_eq!(client.deployment(evening).await, path);
    assert_eq!(state(&client.follow(&path, evening).await), "forced skip unavailable");
    let skipped = json!({"id": 7, "status": {"execution": "closed", "result": {"finished": "success"}, "details": ["Skipped Update."]}});
    assert_eq!(client.send("POST", &format!("{path}/feedback"), &skipped.to_string(), evening).await.status, 200);
    assert_eq!(world.counts("2.0.0", evening).await, "1 1 0 0 0");
    assert_eq!(runs(&world, "lamp-1", evening).await, "1.0.0");
    let next_noon = at("2026-01-02T12:10:00Z");
    assert_eq!(client.deployment(next_noon).await, path, "the same action, now to be installed");
    assert_eq!(state(&client.follow(&path, next_noon).await), "forced forced available");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_asks_for_consent_waits_for_the_user() {
    let (world, now) = published(json!({"ask_consent": true})).await;
    let (yes, no) =
        (Client::on(&world, "lamp-1", "1.0.0", now).await, Client::on(&world, "lamp-2", "1.0.0", now).await);
    let poll = yes.poll(now).await;
    assert_eq!(poll.links(), ["confirmationBase"]);
    let path = poll.link("confirmationBase").unwrap();
    let asked = yes.follow(&path, now).await.body;
    let artifact = asked["confirmation"]["chunks"][0]["artifacts"][0]["_links"]["download"]["href"].as_str().unwrap();
    let artifact = artifact.strip_prefix("https://ota.example").unwrap();
    let base = yes.follow(&yes.path("/confirmationBase"), now).await.body;
    assert_eq!(base["_links"]["confirmationBase"]["href"], format!("https://ota.example{path}"));
    assert_eq!(yes.follow(artifact, now).await.status, 404, "not before the user agreed");
    let answer = |word: &str| json!({"confirmation": word, "code": 1, "details": []}).to_string();
    for _ in 0..2 {
        assert_eq!(yes.send("POST", &format!("{path}/feedback"), &answer("confirmed"), now).await.status, 200);
    }
    assert_eq!(yes.send("POST", &format!("{path}/feedback"), &answer("denied"), now).await.status, 410);
    assert_eq!(yes.follow(&path, now).await.status, 404, "it is answered");
    let deployment = yes.deployment(now).await;
    let artifact = yes.follow(&deployment, now).await.body;
    let artifact = &artifact["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download"]["href"];
    let artifact = artifact.as_str().unwrap().strip_prefix("https://ota.example").unwrap();
    assert_eq!(yes.follow(artifact, now).await.status, 302);
    assert_eq!(yes.say(&deployment, "closed", "failure", now).await, 200);
    let retry = at("2026-01-01T14:00:00Z");
    assert_eq!(yes.poll(retry).await.links(), ["deploymentBase"], "the user is not asked again for another attempt");

    let path = no.poll(now).await.link("confirmationBase").unwrap();
    assert_eq!(no.send("POST", &format!("{path}/feedback"), &answer("maybe"), now).await.status, 400);
    assert_eq!(no.send("POST", &format!("{path}/feedback"), &answer("denied"), now).await.status, 200);
    assert_eq!(no.send("POST", &format!("{path}/feedback"), &answer("confirmed"), now).await.status, 410);
    assert_eq!(no.poll(now).await.links(), [""; 0], "it is not asked again");
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 1 0", "a refusal is no offer");

    // A protocol that cannot ask is not offered it; the native one is told.
    let mut said = lamp("lamp-3", "1.0.0");
    assert_eq!(world.check(&said, now).await.body["ask_consent"], true);
    said["id"] = json!("lamp-4");
    let headers = [("authorization", world.token(LAMP, "lamp-4"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let ioto = request("POST", "/tok/provision/update", &headers, &said.to_string(), None);
    assert_eq!(tidegate_tests::answer(world.services.check.handle(ioto, now).await).body, json!({}));
}

/// The users of ten devices think about it for days. Before, they had all ten places, and nobody else was offered anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_has_not_answered_holds_no_place_and_one_who_refused_is_asked_after_a_week() {
    let limits = json!({"limits": {"max_in_flight": 1, "max_devices": 2}});
    let (world, now) = published(json!({"ask_consent": true, "rollout": limits})).await;
    let answer = |word: &str| json!({"confirmation": word}).to_string();
    let asked = async |client: &Client<'_>, now: Timestamp| {
        let poll = client.poll(now).await;
        ["confirmationBase", "deploymentBase"].map(|name| poll.link(name))
    };
    let mut questions = Vec::new();
    for device in ["lamp-1", "lamp-2", "lamp-3"] {
        let client = Client::on(&world, device, "1.0.0", now).await;
        let question = client.poll(now).await.link("confirmationBase").unwrap();
        let _before = world.calls.take();
        assert_eq!(client.poll(now).await.link("confirmationBase"), Some(question.clone()), "one question");
        assert_eq!(world.calls.take(), ["GetItem", "Query"], "the head and the device: it is stored");
        questions.push((client, question));
    }
    assert_eq!(world.counts("2.0.0", now).await, "0 0 0 0 0");
    let shown = world.operator("GET", "lamp/devices/lamp-3", Value::Null, now).await.body;
    let question = &shown["questions"][0];
    assert_eq!(
        (&question["version"], &question["reply"], &shown["questions"][1]),
        (&json!("2.0.0"), &Value::Null, &Value::Null)
    );
    let why = world.operator("GET", "lamp/devices/lamp-3/why", Value::Null, now).await.body;
    assert_eq!((&why["offer"], &why["reason"]), (&Value::Null, &json!("no_answer")), "{why}");

    let three_days_later = at("2026-01-04T12:00:00Z");
    let (third, question) = &questions[2];
    assert_eq!(third.send("POST", &format!("{question}/feedback"), &answer("confirmed"), now).await.status, 200);
    third.deployment(three_days_later).await;
    assert_eq!(world.counts("2.0.0", three_days_later).await, "1 1 0 0 0");
    let (first, question) = &questions[0];
    assert_eq!(first.send("POST", &format!("{question}/feedback"), &answer("denied"), now).await.status, 200);
    assert_eq!(asked(first, three_days_later).await, [None, None]);
    let why = world.operator("GET", "lamp/devices/lamp-1/why", Value::Null, three_days_later).await.body;
    assert_eq!(why["considered"][0]["objection"]["code"], "retry_later", "{why}");
    world.services.sweep.sweep(three_days_later).await.unwrap();
    let audience =
        world.operator("GET", "lamp/updates/2.0.0", Value::Null, three_days_later).await.body["audience"].clone();
    let counts = ["size", "reached", "left", "asked", "refused"].map(|name| audience[name].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 0, 1, 1], "{audience}");

    let ten_days_later = at("2026-01-11T12:00:00Z");
    let again = first.poll(ten_days_later).await.link("confirmationBase").unwrap();
    assert_ne!(again, *question, "another question");
    assert_eq!(first.send("POST", &format!("{question}/feedback"), &answer("confirmed"), now).await.status, 404);
    assert_eq!(first.send("POST", &format!("{again}/feedback"), &answer("denied"), ten_days_later).await.status, 200);
    let retried = world.operator("POST", "lamp/devices/lamp-1/retry", json!({"reason": "test"}), ten_days_later).await;
    assert_eq!(retried.body["retried"], json!(["2.0.0"]), "{retried:?}");
    assert!(first.poll(ten_days_later).await.link("confirmationBase").is_some(), "an operator lets the user be asked");
    // While the rollout is stopped nobody is asked, and the answer to an earlier question is kept.
    let (second, question) = &questions[1];
    steer(&world, "pause", ten_days_later).await;
    assert_eq!(asked(second, ten_days_later).await, [None, None]);
    assert_eq!(second.follow(question, ten_days_later).await.status, 404);
    assert_eq!(second.send("POST", &format!("{question}/feedback"), &answer("confirmed"), now).await.status, 200);
    steer(&world, "resume", ten_days_later).await;
    assert_eq!(asked(second, ten_days_later).await, [None, None], "there is one place, and it is taken");
    third.config(json!({"sw_version": "2.0.0"}), ten_days_later).await;
    world.counts("2.0.0", ten_days_later).await;
    second.deployment(at("2026-01-11T13:00:00Z")).await;
}

async fn reply(client: &Client<'_>, question: &str, word: &str, now: Timestamp) -> u16 {
    client.send("POST", &format!("{question}/feedback"), &json!({"confirmation": word}).to_string(), now).await.status
}

/// With one question for each device, the question about one update erased the answer about the other, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn answers_about_two_updates_do_not_erase_each_other() {
    let (world, now) = published(json!({"ask_consent": true})).await;
    world.publish(LAMP, "3.0.0", json!({"ask_consent": true}), now).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let newest = client.poll(now).await.link("confirmationBase").unwrap();
    assert_eq!(client.follow(&newest, now).await.body["confirmation"]["chunks"][0]["version"], "3.0.0");
    assert_eq!(reply(&client, &newest, "denied", now).await, 200);
    let older = client.poll(now).await.link("confirmationBase").unwrap();
    assert_eq!(client.follow(&older, now).await.body["confirmation"]["chunks"][0]["version"], "2.0.0");
    assert_eq!(client.poll(now).await.link("confirmationBase"), Some(older.clone()), "3.0.0 was refused");
    assert_eq!(reply(&client, &older, "confirmed", now).await, 200);
    let deployment = client.deployment(now).await;
    assert_eq!(client.follow(&deployment, now).await.body["deployment"]["chunks"][0]["version"], "2.0.0");
    // An operator lets the user be asked about 3.0.0 again. It goes on with 2.0.0 until the user has answered.
    let later = at("2026-01-02T12:00:00Z");
    world.operator("POST", "lamp/devices/lamp-1/retry", json!({"reason": "test"}), later).await;
    let poll = client.poll(later).await;
    assert_eq!((poll.link("deploymentBase"), poll.link("confirmationBase")), (Some(deployment.clone()), None));
    assert_eq!(client.follow(&deployment, later).await.status, 200, "the consent stays");
    let shown = world.operator("GET", "lamp/devices/lamp-1", Value::Null, later).await.body;
    let replies = shown["questions"].as_array().unwrap().iter().map(|question| question["reply"].clone());
    assert_eq!(replies.collect::<Vec<_>>(), [Value::Null, json!("agreed")], "3.0.0 and 2.0.0");
    assert_eq!(client.say(&deployment, "closed", "success", later).await, 200);
}

/// It said that it installed 2.0.0, and its stored version is still the one before. 3.0.0 can be installed over that one only.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_has_not_shown_what_it_installed_gets_no_other_update_for_the_version_before() {
    let (world, now) = published(json!({})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let deployment = client.deployment(now).await;
    client.say(&deployment, "closed", "success", now).await;
    world.publish(LAMP, "3.0.0", json!({"compatible_from": ["<2.0.0"]}), now).await;
    let poll = client.poll(now).await;
    assert_eq!((poll.links(), poll.sleep()), (vec!["configData"], "00:10:00"));
    client.config(json!({"sw_version": "2.0.0"}), now).await;
    assert_eq!(client.poll(now).await.link("deploymentBase"), None, "not over 2.0.0");
    assert_eq!(world.counts("3.0.0", now).await, "0 0 0 0 0");
}

/// An update that asks nobody is not kept back by a user who never looks.
#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_question_keeps_no_older_update_back() {
    let (world, now) = published(json!({})).await;
    world.publish(LAMP, "3.0.0", json!({"ask_consent": true}), now).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let deployment = client.deployment(now).await;
    assert_eq!(client.follow(&deployment, now).await.body["deployment"]["chunks"][0]["version"], "2.0.0");
    client.say(&deployment, "closed", "success", now).await;
    client.config(json!({"sw_version": "2.0.0"}), now).await;
    let question = client.poll(now).await.link("confirmationBase").unwrap();
    assert_eq!(reply(&client, &question, "confirmed", now).await, 200);
    client.deployment(now).await;
    assert_eq!(world.counts("3.0.0", now).await, "1 1 0 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_stays_outside_the_window_and_a_no_gives_an_offer_back_that_came_in_another_format() {
    let windows = json!({"windows": [{"cron": "0 2 * * *", "duration_s": 1800}]});
    let (world, _) = published(json!({"ask_consent": true, "rollout": windows})).await;
    let night = at("2026-01-02T02:10:00Z");
    let client = Client::on(&world, "lamp-1", "1.0.0", night).await;
    let question = client.poll(night).await.link("confirmationBase").unwrap();
    let day = at("2026-01-02T12:00:00Z");
    assert_eq!(client.poll(day).await.link("confirmationBase"), Some(question.clone()), "users are awake");
    assert_eq!(reply(&client, &question, "confirmed", day).await, 200);
    assert_eq!(client.poll(day).await.link("deploymentBase"), None);
    client.deployment(at("2026-01-03T02:10:00Z")).await;

    let native = lamp("lamp-2", "1.0.0");
    assert_eq!(world.check(&native, night).await.body["version"], "2.0.0");
    let client = Client::on(&world, "lamp-2", "1.0.0", night).await;
    let question = client.poll(night).await.link("confirmationBase").unwrap();
    assert_eq!(reply(&client, &question, "denied", night).await, 200);
    let metrics = world.metrics("2.0.0", night).await;
    assert_eq!((&metrics["declined"], &metrics["in_flight"]), (&json!(1), &json!(1)), "lamp-1 has the other place");
    let poll = client.poll(at("2026-01-03T02:12:00Z")).await;
    assert_eq!((poll.link("confirmationBase"), poll.link("deploymentBase")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_version_is_shown_when_three_devices_say_it_after_success() {
    let (world, now) = published(json!({})).await;
    for device in ["lamp-1", "lamp-2", "lamp-3"] {
        let client = Client::on(&world, device, "1.0.0", now).await;
        let deployment = client.deployment(now).await;
        client.say(&deployment, "closed", "success", now).await;
        client.config(json!({"sw_version": "spring"}), at("2026-01-01T13:00:00Z")).await;
    }
    let later = at("2026-01-02T13:00:00Z");
    world.services.sweep.sweep(later).await.unwrap();
    let audience = world.operator("GET", "lamp/updates/2.0.0", Value::Null, later).await.body["audience"].clone();
    assert_eq!(audience["other_name"], json!({"text": "spring", "devices": 3}), "{audience}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_redirected_to_afresh_whole_in_part_and_for_its_length_and_no_slot_is_spent() {
    let world = World::new(0).await;
    // The local S3 checks URLs against the real clock.
    let now = tidegate_http::edge::now();
    let image = b"0123456789".to_vec();
    let update = json!({"version": "2.0.0", "files": [file("root fs+1.swu", &image)]});
    let created = world.operator("POST", &format!("{LAMP}/updates"), update, now).await;
    world.upload(&created.body, &image).await;
    steer(&world, "activate", now).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    let deployment = client.follow(&path, now).await.body;
    let artifact = &deployment["deployment"]["chunks"][0]["artifacts"][0];
    let href = artifact["_links"]["download"]["href"].as_str().unwrap();
    assert_eq!(artifact["_links"]["download-http"]["href"], href);
    assert!(href.ends_with("/artifacts/root%20fs%2B1.swu"), "{href}");
    // As API Gateway decodes it.
    let decoded = href.strip_prefix("https://ota.example").unwrap().replace("%20", " ").replace("%2B", "+");
    let found = client.follow(&decoded, now).await;
    assert_eq!(found.status, 302);
    let url = found.location.unwrap();
    assert_eq!(get(&url).await, (200, image));

    let part = url.clone();
    let part = tokio::task::spawn_blocking(move || {
        let mut response = ureq::get(&part).header("range", "bytes=2-4").call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    });
    assert_eq!(part.await.unwrap(), (206, "234".to_string()));

    let head = client.send("HEAD", &decoded, "", now).await;
    assert_eq!(head.status, 302);
    let head = head.location.unwrap();
    let length = tokio::task::spawn_blocking(move || {
        let response = ureq::head(&head).call().unwrap();
        response.headers()["content-length"].to_str().unwrap().to_string()
    });
    assert_eq!(length.await.unwrap(), "10");
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");

    assert_eq!(client.follow(&decoded.replace("root", "other"), now).await.status, 404);
    let other = Client::on(&world, "lamp-2", "1.0.0", now).await;
    assert_eq!(other.follow(&decoded.replace("lamp-1", "lamp-2"), now).await.status, 404, "another device's action");
    steer(&world, "abort", now).await;
    assert_eq!(client.follow(&decoded, now).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_in_hawkbits_words() {
    let (world, now) = published(json!({})).await;
    let (one, two) =
        (Client::on(&world, "lamp-1", "1.0.0", now).await, Client::on(&world, "lamp-2", "1.0.0", now).await);
    let path = one.deployment(now).await;
    two.deployment(now).await;
    let not_its_own = path.replace("lamp-1", "lamp-2");
    assert_eq!(two.say(&not_its_own, "closed", "failure", now).await, 404, "another device's action");
    assert_eq!(two.say(&path, "closed", "failure", now).await, 401, "another device's path");
    assert_eq!(one.follow(&one.path("/deploymentBase/0"), now).await.status, 404);
    assert_eq!(one.follow(&one.path("/deploymentBase/a-uuid"), now).await.status, 404);
    assert_eq!(one.follow(&one.path("/cancelAction/1"), now).await.status, 404);
    assert_eq!(one.follow(&path.replace("deploymentBase", "cancelAction"), now).await.status, 404, "nobody stops it");
    let feedback = format!("{path}/feedback");
    let closed_without_a_word = r#"{"status":{"execution":"closed","result":{"finished":"none"}}}"#;
    for (body, status, code) in [
        ("{", 400, "hawkbit.server.error.rest.body.notReadable"),
        ("[]", 400, "hawkbit.server.error.rest.body.notReadable"),
        ("{}", 400, "hawkbit.server.error.repo.constraintViolation"),
        (closed_without_a_word, 400, "hawkbit.server.error.repo.constraintViolation"),
        (" ".repeat(16 * 1024 + 1).as_str(), 413, "hawkbit.server.error.quota.tooManyEntries"),
    ] {
        let got = one.send("POST", &feedback, body, now).await;
        assert_eq!((got.status, &got.body["errorCode"]), (status, &json!(code)), "{body:.40}");
        assert!(got.body["exceptionClass"].is_string() && got.body["message"].is_string(), "{}", got.body);
    }
    let long_log =
        json!({"status": {"execution": "proceeding", "result": {"finished": "none"}, "details": vec!["x"; 3000]}});
    assert_eq!(one.send("POST", &feedback, &long_log.to_string(), now).await.status, 200, "a log of 3,000 lines");
    assert_eq!(world.counts("2.0.0", now).await, "2 2 0 0 0");
    assert_eq!(one.send("DELETE", &path, "", now).await.status, 405);

    let unknown =
        Client { authorization: format!("TargetToken {}", world.token("door", "d-1")), world: &world, device: "d-1" };
    let got = unknown.send("GET", "/door/controller/v1/d-1", "", now).await;
    assert_eq!((got.status, &got.body["errorCode"]), (404, &json!("hawkbit.server.error.repo.entitiyNotFound")));

    let good = world.token(LAMP, "lamp-1");
    let shared = world.keys.issue_for_product(&tidegate_core::ProductId::new(LAMP).unwrap(), 0);
    let mut bodies = Vec::new();
    let tries = [
        String::new(),
        good.clone(),
        format!("Bearer {good}"),
        format!("GatewayToken {good}"),
        format!("TargetToken {shared}"),
        format!("GatewayToken {shared}"),
        format!("TargetToken bearer {good}"),
        "TargetToken".to_string(),
    ];
    for authorization in tries {
        let got = Client { authorization, ..Client::new(&world, "lamp-1") }.send("GET", &one.path(""), "", now).await;
        assert_eq!(got.status, 401);
        bodies.push(got.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the answer does not say what is wrong with it");
    let accept = json!({"product_tokens": "accept"});
    assert_eq!(world.operator("PATCH", LAMP, accept, now).await.status, 200);
    let gateway = |device| Client { authorization: format!("GatewayToken {shared}"), ..Client::new(&world, device) };
    let one_by_gateway = gateway("lamp-1").send("GET", &one.path(""), "", now).await;
    assert_eq!(one_by_gateway.status, 401, "it has a token of its own");
    let three = gateway("lamp-3");
    three.config(json!({"sw_version": "1.0.0"}), now).await;
    let path = three.deployment(now).await;
    assert_eq!(three.say(&path, "closed", "success", now).await, 200);
    let revoked = world.operator("DELETE", &format!("{LAMP}/devices/lamp-2/token"), Value::Null, now).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(two.send("GET", &two.path(""), "", now).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_in_the_attribute_that_the_product_names_and_one_that_is_not_semver_gets_nothing() {
    let (world, now) = published(json!({})).await;
    let named = json!({"version_attribute": "firmware"});
    let settings = world.operator("PATCH", LAMP, named, now).await;
    assert_eq!((settings.status, &settings.body["version_attribute"]), (200, &json!("firmware")));
    let client = Client::new(&world, "lamp-1");
    client.config(json!({"sw_version": "1.0.0"}), now).await;
    let poll = client.poll(now).await;
    assert_eq!((poll.links(), poll.sleep()), (vec!["configData"], "01:00:00"), "it did not say it, and is asked again");
    assert_eq!(runs(&world, "lamp-1", now).await, "unknown");
    client.config(json!({"firmware": "2021.04-custom build"}), now).await;
    assert_eq!(client.poll(now).await.links(), ["configData"]);
    assert_eq!(runs(&world, "lamp-1", now).await, "2021.04-custombuild", "people can see what it said");
    client.config(json!({"firmware": "1.0.0"}), now).await;
    assert_eq!(client.poll(now).await.links(), ["deploymentBase"]);
    let reset = world.operator("PATCH", LAMP, json!({"version_attribute": null}), now).await;
    assert_eq!(reset.body["version_attribute"], "sw_version");
    for bad in [json!(""), json!(7), json!("x".repeat(129))] {
        assert_eq!(world.operator("PATCH", LAMP, json!({"version_attribute": bad}), now).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_says_what_it_is_once_a_day_and_what_was_installed_is_not_forgotten_meanwhile() {
    let (world, now) = published(json!({})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let path = client.deployment(now).await;
    assert_eq!(client.say(&path, "closed", "success", now).await, 200);
    // It has not restarted yet, and tells something else.
    client.config(json!({"region": "us"}), now).await;
    assert_eq!(runs(&world, "lamp-1", now).await, "1.0.0", "an attribute that it did not send says nothing");
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");
    client.config(json!({"sw_version": "2.0.0"}), now).await;
    client.config(json!({"region": "us"}), now).await;
    assert_eq!(runs(&world, "lamp-1", now).await, "2.0.0");
    let device = world.operator("GET", &format!("{LAMP}/devices/lamp-1"), Value::Null, now).await.body;
    assert_eq!(device["attributes"]["region"], "us");
    assert_eq!(client.poll(now).await.links(), ["installedBase"]);
    let tomorrow = at("2026-01-02T12:00:00Z");
    assert_eq!(client.poll(tomorrow).await.links(), ["configData", "installedBase"]);
    assert_eq!(client.poll(tomorrow).await.links(), ["installedBase"], "once");
    // It went back, and is not sent round again.
    client.config(json!({"sw_version": "1.0.0"}), tomorrow).await;
    assert_eq!(client.poll(tomorrow).await.links(), ["configData"], "it is asked once more");
    client.config(json!({"sw_version": "1.0.0"}), tomorrow).await;
    assert_eq!(client.poll(tomorrow).await.links(), [""; 0]);
    assert_eq!(world.counts("2.0.0", tomorrow).await, "1 0 0 0 0");
    let large = json!({"x": "y".repeat(1000)});
    let mut last = 200;
    for number in 0..20 {
        let data = json!({format!("part{number}"): large["x"]});
        last = client.config(data, tomorrow).await.status;
    }
    assert_eq!(last, 413, "what is merged over time is bounded too");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_which_no_sha1_is_known_is_not_offered_in_this_dialect() {
    let (world, now) = published(json!({})).await;
    let update = world
        .cloud
        .dynamodb()
        .update_item()
        .table_name(TABLE)
        .key("pk", AttributeValue::S(format!("p#{LAMP}")))
        .key("sk", AttributeValue::S("update#b2.b0.b0~".into()))
        .update_expression("REMOVE object_sha1, object_md5");
    update.send().await.unwrap();
    world.recompile(now).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    assert_eq!(client.poll(now).await.links(), [""; 0]);
    assert_eq!(world.check(&lamp("lamp-2", "1.0.0"), now).await.body["version"], "2.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_polls_at_once_spend_one_slot() {
    let (world, now) = published(json!({"rollout": {"limits": {"max_devices": 1, "max_per_period": 1}}})).await;
    let client = Client::on(&world, "lamp-1", "1.0.0", now).await;
    let poll = || client.poll(now);
    let polls: [Got; 4] = tokio::join!(poll(), poll(), poll(), poll()).into();
    // A poll that has read the device before the grant, and the shard after it, finds the shard full.
    let links = polls.iter().filter_map(|poll| poll.link("deploymentBase")).collect::<Vec<_>>();
    let deployment = client.deployment(now).await;
    assert!(!links.is_empty() && links.iter().all(|link| *link == deployment), "{links:?}");
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");
}
