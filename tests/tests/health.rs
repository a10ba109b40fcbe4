//! A bad update stops itself: when the report that shows it is counted, or by the sweep when devices are silent.

use serde_json::{Value, json};
use tidegate_tests::{LAMP, World, at, lamp};

async fn started(update: Value) -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
    world
}

async fn offered(world: &World, devices: std::ops::Range<u32>, now: &str) -> Vec<String> {
    let mut offered = Vec::new();
    for number in devices {
        let device = format!("lamp-{number}");
        if world.check(&lamp(&device, "1.0.0"), at(now)).await.body["version"] == "2.0.0" {
            offered.push(device);
        }
    }
    offered
}

async fn state(world: &World) -> (String, String) {
    let shown = world.operator("GET", "lamp/updates/2.0.0", Value::Null, at("2026-01-03T00:00:00Z")).await.body;
    (shown["state"].as_str().unwrap().to_string(), shown["reason"].as_str().unwrap().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_update_is_stopped_when_its_third_failure_is_counted_and_everyone_is_told_why() {
    let world = started(json!({})).await;
    let devices = offered(&world, 0..20, "2026-01-01T00:01:00Z").await;
    assert_eq!(devices.len(), 20);
    let now = at("2026-01-01T00:05:00Z");
    for device in &devices[..2] {
        world.report(device, "2.0.0", "INSTALL_ERROR", now).await;
    }
    world.count().await;
    assert_eq!(state(&world).await.0, "active", "two votes could be forged");
    world.report(&devices[2], "2.0.0", "INSTALL_ERROR", now).await;
    world.count().await;
    let why = "3 of 3 finished devices failed; evidence 123308.6 reaches 200";
    assert_eq!(state(&world).await, ("aborted".into(), why.into()));
    assert!(offered(&world, 20..40, "2026-01-01T00:06:00Z").await.is_empty());
    for device in &devices[3..6] {
        let recorded = world.report(device, "2.0.0", "INSTALL_ERROR", now).await;
        assert_eq!(recorded.body["recorded"], true, "what comes later is counted, and stops nothing twice");
    }
    let metrics = world.metrics("2.0.0", now).await;
    assert_eq!((&metrics["state"], &metrics["failed"]), (&json!("aborted"), &json!(6)));
    assert_eq!(metrics["health"]["verdict"], "abort");
    let receipt = world.operator("GET", "lamp/devices/lamp-25/why", Value::Null, now).await.body;
    assert_eq!(receipt["considered"][0]["objection"]["sentence"], json!(format!("its rollout was stopped: {why}")));
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, now).await.body;
    let aborts = log["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == "abort");
    let aborts = aborts.map(|entry| (entry["who"].clone(), entry["reason"].clone())).collect::<Vec<_>>();
    assert_eq!(aborts, [(json!("health rule"), json!(why))], "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_bricks_in_silence_costs_at_most_what_is_in_flight() {
    let world = started(json!({"rollout": {"limits": {"max_in_flight": 25}, "claim_ttl_s": 3600}})).await;
    assert_eq!(offered(&world, 0..100, "2026-01-01T00:01:00Z").await.len(), 25);
    assert_eq!(offered(&world, 25..100, "2026-01-01T00:59:00Z").await.len(), 0);
    world.count().await;
    // The claims end at 01:01; a page of claims is read a minute after the minute in which they end.
    let swept = world.services.sweep.sweep(at("2026-01-01T01:03:01Z")).await.unwrap();
    assert_eq!((swept.expired, swept.stopped), (25, 1), "{swept:?}");
    world.count().await;
    assert_eq!(offered(&world, 25..100, "2026-01-01T01:04:00Z").await.len(), 0);
    let (state, reason) = state(&world).await;
    assert_eq!(state, "aborted");
    assert!(reason.starts_with("25 of 25 finished devices failed, 25 of them in silence; evidence"), "{reason}");
    assert_eq!(world.services.sweep.sweep(at("2026-01-01T01:05:00Z")).await.unwrap().stopped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_brick_that_spreads_slowly_costs_no_device_more() {
    let world = started(json!({"rollout": {"limits": {"max_in_flight": 25}, "claim_ttl_s": 3600}})).await;
    let mut lost = 0;
    for minute in 0..180_u32 {
        let now = at("2026-01-01T00:01:00Z") + jiff::SignedDuration::from_mins(i64::from(minute));
        // Two devices a minute find the rollout, and are never heard of again.
        lost += offered(&world, minute * 2..minute * 2 + 2, &now.to_string()).await.len();
        world.count().await;
        world.services.sweep.sweep(now).await.unwrap();
    }
    assert_eq!(lost, 25);
    assert_eq!(state(&world).await.0, "aborted");
    assert_eq!(world.counts("2.0.0", at("2026-01-02T00:00:00Z")).await, "25 0 0 0 25");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_within_what_is_tolerated_stop_nothing() {
    let tolerant = json!({"rollout": {"health": {"tolerated_failure_percent": 30}}});
    let world = started(tolerant).await;
    let devices = offered(&world, 0..20, "2026-01-01T00:01:00Z").await;
    let now = at("2026-01-01T00:05:00Z");
    for (number, device) in devices.iter().enumerate() {
        let status = if number % 4 == 3 { "INSTALL_ERROR" } else { "INSTALL_SUCCESS" };
        world.report(device, "2.0.0", status, now).await;
    }
    world.count().await;
    world.services.sweep.sweep(now).await.unwrap();
    assert_eq!(state(&world).await.0, "active");
    assert_eq!(world.counts("2.0.0", now).await, "20 0 15 5 0");
}
