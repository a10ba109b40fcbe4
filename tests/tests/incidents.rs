//! Stories in which the first edition was wrong when it was run against the field, each with its right answer.

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::{LAMP, World, at, lamp, request};

const MONDAY: &str = "2026-01-05T08:00:00Z";

fn hours(hours: i64) -> Timestamp {
    at(MONDAY).checked_add(jiff::SignedDuration::from_hours(hours)).unwrap()
}

fn lamps(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("lamp-{number}")).collect()
}

async fn published(update: Value) -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", update, at(MONDAY)).await;
    world
}

/// What a device is told: the version that it is offered, or the reason why it is offered none.
async fn told(world: &World, device: &str, version: &str, now: Timestamp) -> String {
    let body = world.check(&lamp(device, version), now).await.body;
    body["version"].as_str().or(body["reason"].as_str()).unwrap().to_string()
}

async fn swept(world: &World, version: &str, now: Timestamp) -> Value {
    world.count_at(now).await;
    world.services.sweep.sweep(now).await.unwrap();
    world.metrics(version, now).await
}

async fn order(world: &World, path: &str, now: Timestamp) {
    let done = world.operator("POST", &format!("{LAMP}/{path}"), json!({"reason": "a test"}), now).await;
    assert_eq!(done.status, 200, "{path}: {done:?}");
}

/// A device with a hawkBit client.
struct Controller<'a> {
    world: &'a World,
    device: String,
    authorization: String,
}

impl<'a> Controller<'a> {
    fn new(world: &'a World, device: &str) -> Self {
        let authorization = format!("TargetToken {}", world.token(LAMP, device));
        Self { world, device: device.to_string(), authorization }
    }

    async fn send(&self, method: &str, path: &str, body: &Value, now: Timestamp) -> Value {
        let headers = [("authorization", self.authorization.as_str()), ("host", "ota.example")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let asked = request(method, path, &headers, &body, None);
        let answer = match path.ends_with("/feedback") {
            true => self.world.services.report.handle(asked, now).await,
            false => self.world.services.check.handle(asked, now).await,
        };
        serde_json::from_slice(answer.body()).unwrap()
    }

    async fn says(&self, version: &str, now: Timestamp) {
        let path = format!("/{LAMP}/controller/v1/{}/configData", self.device);
        self.send("PUT", &path, &json!({"data": {"sw_version": version}}), now).await;
    }

    /// The path of the action that it is offered.
    async fn polls(&self, now: Timestamp) -> Option<String> {
        let path = format!("/{LAMP}/controller/v1/{}", self.device);
        let poll = self.send("GET", &path, &Value::Null, now).await;
        let link = poll["_links"]["deploymentBase"]["href"].as_str()?;
        Some(link.strip_prefix("https://ota.example").unwrap().to_string())
    }

    async fn reports_success(&self, action: &str, now: Timestamp) {
        let body = json!({"id": "1", "status": {"execution": "closed", "result": {"finished": "success"}}});
        self.send("POST", &format!("{action}/feedback"), &body, now).await;
    }
}

/// "Succeeded 40, failed 0", and the 41st was offered it.
#[tokio::test(flavor = "multi_thread")]
async fn forty_hawkbit_devices_that_report_success_and_boot_the_old_slot_hold_the_rollout() {
    let world = published(json!({"rollout": {"limits": {"max_in_flight": 40}}})).await;
    let controllers = lamps(0..40).iter().map(|device| Controller::new(&world, device)).collect::<Vec<_>>();
    for controller in &controllers {
        controller.says("1.0.0", at(MONDAY)).await;
        let action = controller.polls(at(MONDAY)).await.unwrap();
        controller.reports_success(&action, at(MONDAY)).await;
    }
    assert_eq!(swept(&world, "2.0.0", at(MONDAY)).await["proved"], 0, "a word proves nothing");
    for now in [hours(1), hours(3)] {
        for controller in &controllers {
            controller.says("1.0.0", now).await;
        }
    }
    let metrics = swept(&world, "2.0.0", hours(3)).await;
    assert_eq!((&metrics["proved"], &metrics["reverted"], &metrics["state"]), (&json!(0), &json!(40), &json!("held")));
    let why = metrics["health"]["reason"].as_str().unwrap_or_default().to_string();
    let next = Controller::new(&world, "lamp-40");
    next.says("1.0.0", hours(3)).await;
    assert_eq!(next.polls(hours(3)).await, None, "{why}");
    let shown = world.operator("GET", "lamp/devices/lamp-1", Value::Null, hours(3)).await.body;
    assert_eq!(shown["version"], "1.0.0", "its own word, and not that of the report");
}

/// "6 of 6 failed, 6 of them in silence", though all six were heard from.
#[tokio::test(flavor = "multi_thread")]
async fn devices_that_wait_for_their_window_or_for_the_end_of_a_pause_are_no_failures() {
    let world = published(json!({})).await;
    for device in lamps(0..6) {
        assert_eq!(told(&world, &device, "1.0.0", at(MONDAY)).await, "2.0.0");
    }
    for hour in [8, 16, 23] {
        for device in lamps(0..6) {
            assert_eq!(told(&world, &device, "1.0.0", hours(hour)).await, "2.0.0");
        }
    }
    world.report("lamp-1", "2.0.0", "INSTALL_STEP", hours(23)).await;
    order(&world, "updates/2.0.0/pause", hours(24)).await;
    for device in lamps(0..6) {
        assert_eq!(told(&world, &device, "1.0.0", hours(40)).await, "paused");
    }
    let paused = swept(&world, "2.0.0", hours(60)).await;
    assert_eq!((&paused["failed"], &paused["lost"], &paused["in_flight"]), (&json!(0), &json!(0), &json!(6)));
    order(&world, "updates/2.0.0/resume", hours(61)).await;
    for device in lamps(0..6) {
        assert_eq!(told(&world, &device, "1.0.0", hours(62)).await, "2.0.0");
        told(&world, &device, "2.0.0", hours(63)).await;
    }
    let metrics = swept(&world, "2.0.0", hours(64)).await;
    assert_eq!((&metrics["proved"], &metrics["state"]), (&json!(6), &json!("active")));
}

/// A day later 2.0.0 was aborted for all others, and the places stayed taken.
#[tokio::test(flavor = "multi_thread")]
async fn devices_that_move_on_to_an_update_of_their_own_free_their_places_and_hold_nothing() {
    let world = published(json!({})).await;
    let eu = |device: &str, version: &str| {
        let mut said = lamp(device, version);
        said["region"] = json!("eu");
        said
    };
    for device in lamps(0..10) {
        assert_eq!(world.check(&eu(&device, "1.0.0"), at(MONDAY)).await.body["version"], "2.0.0");
    }
    world.publish(LAMP, "2.0.1", json!({"policy": "region == \"eu\""}), hours(1)).await;
    for device in lamps(0..10) {
        assert_eq!(world.check(&eu(&device, "1.0.0"), hours(2)).await.body["version"], "2.0.1");
        world.check(&eu(&device, "2.0.1"), hours(3)).await;
    }
    let metrics = swept(&world, "2.0.0", hours(120)).await;
    assert_eq!((&metrics["state"], &metrics["in_flight"], &metrics["lost"]), (&json!("active"), &json!(0), &json!(0)));
    assert_eq!(told(&world, "lamp-20", "1.0.0", hours(120)).await, "2.0.0", "the others go on");
    assert_eq!(swept(&world, "2.0.1", hours(120)).await["proved"], 10);
}

/// Aborted for good, the version number burnt.
#[tokio::test(flavor = "multi_thread")]
async fn failed_downloads_users_who_say_no_and_strangers_do_not_stop_an_update() {
    let world = World::new(0).await;
    world.publish(LAMP, "1.0.0", json!({"policy": "false"}), hours(-100)).await;
    let open = json!({"registration": "open", "reason": "a test"});
    assert_eq!(world.operator("PATCH", LAMP, open, hours(-100)).await.status, 200);
    for device in lamps(0..60) {
        world.check(&lamp(&device, "1.0.0"), hours(-99)).await;
    }
    world.services.sweep.sweep(hours(-50)).await.unwrap();
    let limits = json!({"rollout": {"limits": {"max_in_flight": 500}}});
    world.publish(LAMP, "2.0.0", limits, at(MONDAY)).await;
    for (device, status) in lamps(0..6).iter().zip(["DOWNLOAD_ERROR", "INSTALL_ABORTED"].into_iter().cycle()) {
        assert_eq!(told(&world, device, "1.0.0", hours(1)).await, "2.0.0");
        world.report(device, "2.0.0", status, hours(1)).await;
    }
    for stranger in ["stranger-1", "stranger-2", "stranger-3"] {
        assert_eq!(told(&world, stranger, "1.0.0", hours(1)).await, "2.0.0");
        world.report(stranger, "2.0.0", "INSTALL_ERROR", hours(1)).await;
    }
    let metrics = swept(&world, "2.0.0", hours(2)).await;
    assert_eq!(
        (&metrics["state"], &metrics["transfer_failed"], &metrics["declined"]),
        (&json!("active"), &json!(3), &json!(3))
    );
    assert_eq!(told(&world, "lamp-10", "1.0.0", hours(3)).await, "2.0.0");
}

/// `rejected_before` for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_reset_or_replaced_or_is_on_for_ten_minutes_a_day_gets_the_update_in_the_end() {
    let world = published(json!({"rollout": {"health": {"min_failures": 100}}})).await;
    for device in ["reset", "replaced"] {
        assert_eq!(told(&world, device, "1.0.0", at(MONDAY)).await, "2.0.0");
        assert_eq!(told(&world, device, "2.0.0", hours(1)).await, "up_to_date");
        for hour in [30, 32] {
            told(&world, device, "1.0.0", hours(hour)).await;
        }
        assert_eq!(told(&world, device, "1.0.0", hours(33)).await, "reverted", "an operator decides");
    }
    order(&world, "devices/reset/retry", hours(34)).await;
    order(&world, "devices/replaced/forget", hours(34)).await;
    for device in ["reset", "replaced"] {
        assert_eq!(told(&world, device, "1.0.0", hours(35)).await, "2.0.0");
        assert_eq!(told(&world, device, "2.0.0", hours(36)).await, "up_to_date");
    }
    // It needs more than one evening for the download.
    for day in 2..8 {
        assert_eq!(told(&world, "brief", "1.0.0", hours(24 * day)).await, "2.0.0");
        for device in ["reset", "replaced"] {
            told(&world, device, "2.0.0", hours(24 * day)).await;
        }
        swept(&world, "2.0.0", hours(24 * day)).await;
    }
    assert_eq!(told(&world, "brief", "2.0.0", hours(24 * 8)).await, "up_to_date");
    assert_eq!(swept(&world, "2.0.0", hours(24 * 8)).await["proved"], 3);
}

/// There was no way back to a version that was published before, and the workaround stopped itself. And a healthy device on
/// the newest version was offered an older one, if that had `allow_downgrade`.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_rollback_leads_to_an_older_version_and_silent_devices_do_not_stop_it() {
    let world = World::new(0).await;
    world.publish(LAMP, "1.5.0", json!({}), at(MONDAY)).await;
    let old = json!({"version": "1.5.1", "kind": "json", "payload": {}, "allow_downgrade": true});
    let refused = world.operator("POST", "lamp/updates", old, at(MONDAY)).await;
    assert_eq!((refused.status, refused.code()), (400, "unknown_field"), "{refused:?}");
    for device in lamps(0..4) {
        assert_eq!(told(&world, &device, "1.0.0", at(MONDAY)).await, "1.5.0");
        told(&world, &device, "1.5.0", hours(1)).await;
    }
    world.publish(LAMP, "1.7.0", json!({}), hours(2)).await;
    for device in lamps(0..4) {
        assert_eq!(told(&world, &device, "1.5.0", hours(3)).await, "1.7.0");
        assert_eq!(told(&world, &device, "1.7.0", hours(4)).await, "up_to_date", "never 1.5.0 again by itself");
    }
    let back = json!({"from": ["1.7.0"], "reason": "it loses the clock"});
    let answer = world.operator("POST", "lamp/updates/1.5.0/rollback", back, hours(5)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for device in lamps(0..3) {
        assert_eq!(told(&world, &device, "1.7.0", hours(6)).await, "1.5.0");
    }
    // One takes its time, and one is silent.
    for device in lamps(0..2) {
        told(&world, &device, "1.5.0", hours(7)).await;
    }
    let metrics = swept(&world, "1.5.0", hours(60)).await;
    assert_eq!((&metrics["state"], &metrics["proved"]), (&json!("active"), &json!(2)));
    assert_eq!(told(&world, "lamp-3", "1.7.0", hours(61)).await, "1.5.0");
}

/// It was dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_reported_after_a_success_counts() {
    let world = published(json!({})).await;
    assert_eq!(told(&world, "lamp-1", "1.0.0", at(MONDAY)).await, "2.0.0");
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", hours(1)).await;
    world.report("lamp-1", "2.0.0", "INSTALL_ERROR", hours(2)).await;
    let metrics = swept(&world, "2.0.0", hours(2)).await;
    assert_eq!((&metrics["failed"], &metrics["proved"], &metrics["in_flight"]), (&json!(1), &json!(0), &json!(0)));
}
