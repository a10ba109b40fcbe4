//! The breaker: when downloads fail, new grants wait. A failed download is no evidence against the image.

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::{LAMP, World, at, lamp};

fn lamps(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| format!("lamp-{number}"))
}

async fn offered(world: &World, range: std::ops::Range<u32>, now: Timestamp) -> usize {
    let mut offered = 0;
    for device in lamps(range) {
        offered += usize::from(world.check(&lamp(&device, "1.0.0"), now).await.body["version"] == "2.0.0");
    }
    offered
}

async fn say(world: &World, range: std::ops::Range<u32>, status: &str, now: Timestamp) {
    for device in lamps(range) {
        assert_eq!(world.report(&device, "2.0.0", status, now).await.status, 200);
    }
}

async fn swept(world: &World, now: Timestamp) -> Value {
    world.count_at(now).await;
    world.services.sweep.sweep(now).await.unwrap();
    world.metrics("2.0.0", now).await
}

async fn started() -> World {
    let world = World::new(0).await;
    world
        .publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 60}}}), at("2026-01-01T00:00:00Z"))
        .await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn when_ten_of_twenty_downloads_fail_new_devices_wait_for_an_hour_then_two() {
    let world = started().await;
    let noon = at("2026-01-01T12:00:00Z");
    assert_eq!(offered(&world, 0..21, noon).await, 21);
    say(&world, 0..10, "INSTALL_SUCCESS", noon).await;
    say(&world, 10..19, "DOWNLOAD_ERROR", noon).await;
    assert_eq!(swept(&world, noon).await.get("transfers_wait_until"), None, "nineteen downloads say too little");
    say(&world, 19..20, "DOWNLOAD_ERROR", noon).await;
    let metrics = swept(&world, noon).await;
    assert_eq!((&metrics["state"], &metrics["transfer_failed"]), (&json!("active"), &json!(10)));
    assert_eq!(metrics["transfers_wait_until"], "2026-01-01T13:00:00Z");
    // A device that waits is told so, and one that has the offer keeps it.
    let waits = world.check(&lamp("lamp-30", "1.0.0"), at("2026-01-01T12:01:00Z")).await.body;
    assert_eq!(waits["reason"], "transfers_failing");
    assert_eq!(offered(&world, 20..21, at("2026-01-01T12:01:00Z")).await, 1);
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, noon).await.body;
    let entry = log["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "wait for transfers").unwrap();
    assert_eq!(
        entry["reason"],
        "10 or more of the last 20 downloads failed; the next devices try at 2026-01-01T13:00:00Z"
    );
    // Twenty more try when it is over. Those that fail then make the next wait longer.
    let one = at("2026-01-01T13:00:01Z");
    assert_eq!(offered(&world, 30..50, one).await, 20);
    say(&world, 30..50, "DOWNLOAD_ERROR", one).await;
    assert_eq!(swept(&world, one).await["transfers_wait_until"], "2026-01-01T15:00:01Z");
    let three = at("2026-01-01T15:00:02Z");
    assert_eq!(offered(&world, 50..70, three).await, 20);
    say(&world, 50..70, "INSTALL_SUCCESS", three).await;
    let metrics = swept(&world, three).await;
    assert_eq!((metrics.get("transfers_wait_until"), &metrics["state"]), (None, &json!("active")));
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, three).await.body;
    let last = log["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "go on with transfers").unwrap();
    assert_eq!(last["reason"], "fewer than 10 of the last 20 downloads failed");
}

/// Failed downloads never hold: an outage of a day and a half ends by itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_day_and_a_half_holds_nothing() {
    let world = started().await;
    let (mut waits, mut until) = (0, String::new());
    for hour in 0..=36_i64 {
        let now = Timestamp::from_second(at("2026-01-01T00:00:00Z").as_second() + hour * 3600).unwrap();
        for device in lamps(0..40) {
            if world.check(&lamp(&device, "1.0.0"), now).await.body["version"] == "2.0.0" {
                assert_eq!(world.report(&device, "2.0.0", "DOWNLOAD_ERROR", now).await.status, 200);
            }
        }
        let metrics = swept(&world, now).await;
        assert_eq!(metrics["state"], "active");
        if let Some(found) = metrics["transfers_wait_until"].as_str().filter(|found| **found != until) {
            (waits, until) = (waits + 1, found.to_string());
        }
    }
    assert!((6..=9).contains(&waits), "one, two, four and then six hours: {waits}");
    let now = at("2026-01-02T23:00:00Z");
    let tries = offered(&world, 0..40, now).await;
    assert!(tries >= 20, "{tries}; the others wait for a time of their own");
    say(&world, 0..40, "INSTALL_SUCCESS", now).await;
    assert_eq!(swept(&world, now).await.get("transfers_wait_until"), None);
}
