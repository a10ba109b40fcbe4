//! Newcomers: devices that nobody vouches for have a share of their own, and say nothing about the others.

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::{LAMP, World, at, lamp};

const START: &str = "2026-01-03T00:00:00Z";

/// Sixty known lamps in a product whose devices may register themselves, as a fleet snapshot has counted them.
async fn open_product() -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "1.0.0", json!({"policy": "false"}), at("2026-01-01T00:00:00Z")).await;
    let open = json!({"registration": "open", "reason": "a test"});
    assert_eq!(world.operator("PATCH", LAMP, open, at("2026-01-01T00:00:00Z")).await.status, 200);
    for device in known() {
        world.check(&lamp(&device, "1.0.0"), at("2026-01-01T01:00:00Z")).await;
    }
    world.services.sweep.sweep(at("2026-01-02T12:00:00Z")).await.unwrap();
    world
}

fn known() -> impl Iterator<Item = String> {
    (0..60).map(|number| format!("lamp-{number}"))
}

fn strangers() -> impl Iterator<Item = String> {
    (0..30).map(|number| format!("stranger-{number}"))
}

async fn publish(world: &World, limits: Value) {
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": limits}}), at(START)).await;
}

/// What a device is told: the version that it is offered, or the reason why it is offered none.
async fn told(world: &World, device: &str, now: Timestamp) -> String {
    let body = world.check(&lamp(device, "1.0.0"), now).await.body;
    body["version"].as_str().or(body["reason"].as_str()).unwrap().to_string()
}

async fn offered(world: &World, devices: impl Iterator<Item = String>, now: Timestamp) -> (usize, Vec<String>) {
    let (mut offered, mut reasons) = (0, Vec::new());
    for device in devices {
        match told(world, &device, now).await.as_str() {
            "2.0.0" => offered += 1,
            reason => reasons.push(reason.to_string()),
        }
    }
    reasons.sort_unstable();
    reasons.dedup();
    (offered, reasons)
}

async fn swept(world: &World, now: Timestamp) -> Value {
    world.count_at(now).await;
    world.services.sweep.sweep(now).await.unwrap();
    world.metrics("2.0.0", now).await
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_have_a_tenth_of_each_limit_and_the_known_devices_the_rest() {
    let world = open_product().await;
    publish(&world, json!({"max_devices": 40, "max_in_flight": null})).await;
    assert_eq!(offered(&world, strangers(), at(START)).await, (4, vec!["newcomer".to_string()]));
    assert_eq!(offered(&world, known(), at(START)).await, (36, vec!["full".to_string()]));
    let why = world.operator("GET", "lamp/devices/stranger-29/why", Value::Null, at(START)).await.body;
    assert_eq!(why["considered"][0]["objection"]["code"], "newcomer", "{why}");
    assert_eq!(swept(&world, at(START)).await["offered"], 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_less_than_one_device_lets_no_stranger_in() {
    let world = open_product().await;
    publish(&world, json!({"max_in_flight": 9})).await;
    assert_eq!(offered(&world, strangers(), at(START)).await, (0, vec!["newcomer".to_string()]));
    assert_eq!(offered(&world, known(), at(START)).await.0, 9);
}

/// Three self-registered strangers report failures. The rollout goes on for the fleet, and no further stranger is let in
/// before an operator has struck the liars.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_lie_hold_themselves_and_nobody_else() {
    let world = open_product().await;
    publish(&world, json!({"max_in_flight": 100})).await;
    assert_eq!(offered(&world, strangers().take(10), at(START)).await.0, 10);
    for device in strangers().take(3) {
        assert_eq!(world.report(&device, "2.0.0", "INSTALL_ERROR", at(START)).await.status, 200);
    }
    let metrics = swept(&world, at(START)).await;
    assert_eq!((&metrics["state"], &metrics["failed"]), (&json!("active"), &json!(3)));
    let newcomers = &metrics["newcomers"];
    assert_eq!((&newcomers["is_held"], &newcomers["offered"]), (&json!(true), &json!(10)));
    assert_eq!(newcomers["sentence"], "3 of 10 devices failed; tolerated 1 %; evidence 387.8 of 200");
    assert_eq!(metrics["health"]["channels"][0]["of"], 0, "they are no evidence against the image");
    assert_eq!(offered(&world, strangers().skip(10), at(START)).await, (0, vec!["newcomer".to_string()]));
    assert_eq!(offered(&world, known(), at(START)).await.0, 60);
    // An edit opens the shards anew, and must not open theirs.
    let edit = json!({"rollout": {"max_attempts": 2}, "reason": "a test"});
    assert_eq!(world.operator("PATCH", "lamp/updates/2.0.0/campaign", edit, at(START)).await.status, 200);
    assert_eq!(offered(&world, strangers().skip(10), at(START)).await.0, 0);
    let devices = strangers().take(3).collect::<Vec<_>>();
    let void = json!({"devices": devices, "reason": "nobody knows them"});
    assert_eq!(world.operator("POST", "lamp/updates/2.0.0/void", void, at(START)).await.status, 200);
    let metrics = swept(&world, at("2026-01-03T00:02:00Z")).await;
    assert_eq!(metrics["newcomers"]["is_held"], false);
    assert_eq!(offered(&world, strangers().skip(10), at("2026-01-03T00:03:00Z")).await.0, 3, "their three places");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_leave_for_a_day_goes_to_the_known_devices() {
    let world = open_product().await;
    publish(&world, json!({"max_devices": 20, "max_in_flight": null})).await;
    assert_eq!(told(&world, "stranger-0", at(START)).await, "2.0.0");
    assert_eq!(offered(&world, known(), at(START)).await.0, 18);
    swept(&world, at("2026-01-03T23:59:00Z")).await;
    assert_eq!(offered(&world, known().skip(18), at("2026-01-03T23:59:30Z")).await.0, 0);
    swept(&world, at("2026-01-04T00:01:00Z")).await;
    assert_eq!(offered(&world, known().skip(18), at("2026-01-04T00:02:00Z")).await.0, 1, "nineteen and the stranger");
    assert_eq!(offered(&world, strangers().skip(1), at("2026-01-04T00:02:00Z")).await.0, 0);
    assert_eq!(swept(&world, at("2026-01-04T00:03:00Z")).await["offered"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_are_alike_where_nobody_can_register_or_few_are_known() {
    let world = open_product().await;
    let closed = json!({"registration": "closed", "reason": "a test"});
    assert_eq!(world.operator("PATCH", LAMP, closed, at(START)).await.status, 200);
    publish(&world, json!({"max_in_flight": 40})).await;
    assert_eq!(offered(&world, strangers(), at(START)).await.0, 30);
    let world = World::new(0).await;
    world.publish(LAMP, "1.0.0", json!({"policy": "false"}), at("2026-01-01T00:00:00Z")).await;
    let open = json!({"registration": "open", "reason": "a test"});
    assert_eq!(world.operator("PATCH", LAMP, open, at("2026-01-01T00:00:00Z")).await.status, 200);
    for device in known().take(49) {
        world.check(&lamp(&device, "1.0.0"), at("2026-01-01T01:00:00Z")).await;
    }
    world.services.sweep.sweep(at("2026-01-02T12:00:00Z")).await.unwrap();
    publish(&world, json!({"max_in_flight": 40})).await;
    assert_eq!(offered(&world, strangers(), at(START)).await.0, 30);
    assert_eq!(world.metrics("2.0.0", at(START)).await["newcomers"], Value::Null);
}

/// Limits hold with newcomers too, whoever asks first, and a lower limit takes nothing from anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_lower_limit_ends_the_offers_to_both() {
    let world = open_product().await;
    publish(&world, json!({"max_devices": 60, "max_in_flight": null})).await;
    assert_eq!(offered(&world, strangers().take(5), at(START)).await.0, 5);
    assert_eq!(offered(&world, known().take(20), at(START)).await.0, 20);
    world.count_at(at(START)).await;
    let edit = json!({"rollout": {"limits": {"max_devices": 30}}, "reason": "a test"});
    assert_eq!(world.operator("PATCH", "lamp/updates/2.0.0/campaign", edit, at(START)).await.status, 200);
    assert_eq!(offered(&world, strangers().skip(5), at(START)).await.0, 0, "they have more than three");
    assert_eq!(offered(&world, known().skip(20), at(START)).await.0, 5);
    assert_eq!(swept(&world, at(START)).await["offered"], 30);
}
