//! Images that say another version of themselves than their update has.

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::{LAMP, World, at, file, lamp};

const NOON: &str = "2026-01-01T12:00:00Z";

async fn told(world: &World, device: &str, version: &str, now: Timestamp) -> String {
    let body = world.check(&lamp(device, version), now).await.body;
    body["version"].as_str().or(body["reason"].as_str()).unwrap().to_string()
}

async fn published(update: Value) -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", update, at(NOON)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_image_says_of_itself_proves_its_update_and_is_that_version_from_then_on() {
    let world = published(json!({"reports_as": ["1.9.9"]})).await;
    assert_eq!(told(&world, "lamp-1", "1.0.0", at(NOON)).await, "2.0.0");
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at(NOON)).await;
    assert_eq!(told(&world, "lamp-1", "1.9.9", at(NOON)).await, "up_to_date");
    assert_eq!(world.counts("2.0.0", at(NOON)).await, "1 0 1 0 0");
    assert_eq!(told(&world, "lamp-2", "1.9.9", at(NOON)).await, "up_to_date", "it has the image from elsewhere");
    let shown = world.operator("GET", "lamp/devices/lamp-1", Value::Null, at(NOON)).await.body;
    assert_eq!(shown["version"], "1.9.9", "people see what it says");
    let why = world.operator("GET", "lamp/devices/lamp-2/why", Value::Null, at(NOON)).await.body;
    assert_eq!(why["considered"][0]["objection"]["code"], "up_to_date", "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_is_for_the_devices_whose_image_says_so() {
    let world = published(json!({"reports_as": ["1.9.9"]})).await;
    world.publish(LAMP, "1.5.0", json!({"policy": "false"}), at(NOON)).await;
    assert_eq!(told(&world, "lamp-1", "1.9.9", at(NOON)).await, "up_to_date");
    let back = json!({"from": ["2.0.0"], "reason": "it loses the clock", "policy": "true"});
    let answer = world.operator("POST", "lamp/updates/1.5.0/rollback", back, at(NOON)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(told(&world, "lamp-1", "1.9.9", at(NOON)).await, "1.5.0");
    assert_eq!(told(&world, "lamp-2", "1.9.8", at(NOON)).await, "not_targeted");
    // While it goes back, the old version is still the one that its image says.
    assert_eq!(told(&world, "lamp-1", "1.9.9", at(NOON)).await, "1.5.0");
    assert_eq!(told(&world, "lamp-1", "1.5.0", at(NOON)).await, "up_to_date");
    assert_eq!(world.counts("1.5.0", at(NOON)).await, "1 0 1 0 0");
}

/// The text was forgotten: the devices seem to have fallen back. The correction proves them.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_added_later_proves_devices_that_seemed_to_have_fallen_back() {
    let world = published(json!({})).await;
    assert_eq!(told(&world, "lamp-1", "1.0.0", at(NOON)).await, "2.0.0");
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at(NOON)).await;
    for hour in [14, 15] {
        told(&world, "lamp-1", "1.9.9", at(&format!("2026-01-01T{hour}:00:00Z"))).await;
    }
    let later = at("2026-01-01T16:00:00Z");
    assert_eq!(world.metrics("2.0.0", later).await["reverted"], 1);
    let abort = json!({"reason": "they fall back"});
    assert_eq!(world.operator("POST", "lamp/updates/2.0.0/abort", abort, later).await.status, 200);
    let text = json!({"reports_as": ["1.9.9"], "reason": "the build says so"});
    let edited = world.operator("PATCH", "lamp/updates/2.0.0", text, later).await;
    assert_eq!((edited.status, &edited.body["reports_as"]), (200, &json!(["1.9.9"])), "also when its campaign is over");
    assert_eq!(edited.body["state"], "aborted");
    assert_eq!(told(&world, "lamp-1", "1.9.9", later).await, "up_to_date");
    let metrics = world.metrics("2.0.0", later).await;
    assert_eq!((&metrics["reverted"], &metrics["proved"]), (&json!(0), &json!(1)));
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, later).await.body;
    let entries = log["items"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["changes"].to_string().contains("1.9.9")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_three_devices_say_after_success_is_shown_until_an_update_has_it() {
    let world = published(json!({"rollout": {"health": {"min_failures": 100}}})).await;
    let audience = async |now: Timestamp| {
        world.services.sweep.sweep(now).await.unwrap();
        world.operator("GET", "lamp/updates/2.0.0", Value::Null, now).await.body["audience"].clone()
    };
    for device in ["lamp-1", "lamp-2", "lamp-3", "lamp-4"] {
        assert_eq!(told(&world, device, "1.0.0", at(NOON)).await, "2.0.0");
        world.report(device, "2.0.0", "INSTALL_SUCCESS", at(NOON)).await;
    }
    // One says its old version, which is no other name of the image.
    for (device, says) in [("lamp-1", "1.9.9"), ("lamp-2", "1.9.9"), ("lamp-3", "1.0.0")] {
        told(&world, device, says, at("2026-01-01T13:00:00Z")).await;
    }
    assert_eq!(audience(at("2026-01-02T13:00:00Z")).await["other_name"], Value::Null, "two may be anything");
    for hour in [14, 15] {
        told(&world, "lamp-4", "1.9.9", at(&format!("2026-01-02T{hour}:00:00Z"))).await;
    }
    told(&world, "lamp-1", "1.9.9", at("2026-01-02T16:00:00Z")).await;
    let shown = audience(at("2026-01-03T17:00:00Z")).await;
    assert_eq!(shown["other_name"], json!({"text": "1.9.9", "devices": 3}), "{shown}");
    let text = json!({"reports_as": ["1.9.9"], "reason": "the build says so"});
    let later = at("2026-01-04T18:00:00Z");
    assert_eq!(world.operator("PATCH", "lamp/updates/2.0.0", text, later).await.status, 200);
    assert_eq!(audience(later).await["other_name"], Value::Null, "it has a name now");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_with_the_files_of_an_earlier_one_takes_over_what_that_one_says() {
    let world = published(json!({"reports_as": ["spring"]})).await;
    let image = b"firmware 2.0.0 of lamp";
    let again = json!({"version": "2.0.1", "files": [file("image.bin", image)]});
    for _ in 0..2 {
        let created = world.operator("POST", "lamp/updates", again.clone(), tidegate_http::edge::now()).await;
        assert_eq!((created.status, &created.body["reports_as"]), (201, &json!(["2.0.0", "spring"])), "{created:?}");
    }
    let activate = json!({"reason": "test"});
    assert_eq!(world.operator("POST", "lamp/updates/2.0.1/activate", activate, at(NOON)).await.status, 200);
    assert_eq!(told(&world, "lamp-1", "2.0.0", at(NOON)).await, "up_to_date", "it has these bytes");
    assert_eq!(told(&world, "lamp-2", "1.0.0", at(NOON)).await, "2.0.1");
    assert_eq!(told(&world, "lamp-2", "2.0.0", at(NOON)).await, "up_to_date");
    assert_eq!(world.counts("2.0.1", at(NOON)).await, "1 0 1 0 0");
    let own = json!({"version": "2.0.2", "files": [file("image.bin", image)], "reports_as": ["summer"]});
    let created = world.operator("POST", "lamp/updates", own, tidegate_http::edge::now()).await;
    assert_eq!(created.body["reports_as"], json!(["summer"]), "what is given is what counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_no_record_can_hold_are_refused() {
    let world = World::new(0).await;
    for (texts, says) in [
        (json!(["a", "b", "c", "d", "e"]), "reports_as must have at most 4 entries; got 5"),
        (json!(["a", " b"]), "reports_as[1] must be 1 to 64 bytes without blanks around it"),
        (json!([""]), "reports_as[0] must be 1 to 64 bytes"),
        (json!(["x".repeat(65)]), "reports_as[0] must be 1 to 64 bytes"),
    ] {
        let update = json!({"version": "2.0.0", "files": [file("x", b"x")], "reports_as": texts});
        let refused = world.operator("POST", "lamp/updates", update, at(NOON)).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_field"));
        assert!(refused.body["error"]["message"].as_str().unwrap().contains(says), "{refused:?}");
    }
}
