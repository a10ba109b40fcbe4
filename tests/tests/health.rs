//! A bad update is held: when the report that shows it is counted, or when the silence of its devices is.

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
async fn a_fatal_update_is_held_when_its_fourth_failure_is_counted_and_everyone_is_told_why() {
    let world = started(json!({"rollout": {"limits": {"max_in_flight": 500}}})).await;
    let devices = offered(&world, 0..20, "2026-01-01T00:01:00Z").await;
    assert_eq!(devices.len(), 20);
    let now = at("2026-01-01T00:05:00Z");
    for device in &devices[..3] {
        world.report(device, "2.0.0", "INSTALL_ERROR", now).await;
    }
    world.count().await;
    assert_eq!(state(&world).await.0, "active", "three of twenty are little evidence");
    world.report(&devices[3], "2.0.0", "INSTALL_ERROR", now).await;
    world.count().await;
    let why = "4 of 20 devices failed; tolerated 1 %; evidence 886.6 of 200";
    assert_eq!(state(&world).await, ("held".into(), why.into()));
    assert!(offered(&world, 20..40, "2026-01-01T00:06:00Z").await.is_empty());
    for device in &devices[4..7] {
        let recorded = world.report(device, "2.0.0", "INSTALL_ERROR", now).await;
        assert_eq!(recorded.body["recorded"], true, "what comes later is counted, and holds nothing twice");
    }
    let metrics = world.metrics("2.0.0", now).await;
    assert_eq!((&metrics["state"], &metrics["failed"]), (&json!("held"), &json!(7)));
    assert_eq!(metrics["health"]["verdict"], "hold");
    let receipt = world.operator("GET", "lamp/devices/lamp-25/why", Value::Null, now).await.body;
    assert_eq!(receipt["considered"][0]["objection"]["code"], "held");
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, now).await.body;
    let holds = log["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "hold");
    let holds = holds.map(|entry| (entry["who"].clone(), entry["reason"].clone())).collect::<Vec<_>>();
    assert_eq!(holds, [(json!("health rule"), json!(why))], "once");
    // It can be edited meanwhile, and stays held.
    let edit = json!({"rollout": {"limits": {"max_in_flight": 50}}, "reason": "smaller steps"});
    let edited = world.operator("PATCH", "lamp/updates/2.0.0/campaign", edit, now).await;
    assert_eq!((edited.status, &edited.body["state"]), (200, &json!("held")), "{edited:?}");
    assert!(offered(&world, 20..40, "2026-01-01T00:06:30Z").await.is_empty());
    // An operator who has seen them goes on: another test begins.
    let body = json!({"reason": "a known defect of the first batch", "acknowledge": {"failed": 6}});
    let refused = world.operator("POST", "lamp/updates/2.0.0/resume", body, now).await;
    assert_eq!((refused.status, refused.code()), (409, "evidence_moved"), "a seventh has failed since");
    let present = "failed=7,reverted=0,lost=0,not_taken=0,transfer_failed=0";
    assert!(refused.body["error"]["message"].as_str().unwrap().contains(present), "{refused:?}");
    assert_eq!(state(&world).await.0, "held");
    let body = json!({"reason": "a known defect of the first batch", "acknowledge": {"failed": 7}});
    let resumed = world.operator("POST", "lamp/updates/2.0.0/resume", body, now).await;
    assert_eq!(resumed.body["state"], "active", "{resumed:?}");
    let later = offered(&world, 20..40, "2026-01-01T00:07:00Z").await;
    assert_eq!(later.len(), 20);
    for device in &later[..3] {
        world.report(device, "2.0.0", "INSTALL_ERROR", now).await;
    }
    world.count().await;
    assert_eq!(state(&world).await.0, "active", "what was acknowledged counts no more");
    world.report(&later[3], "2.0.0", "INSTALL_ERROR", now).await;
    world.count().await;
    assert_eq!(state(&world).await, ("held".into(), why.into()));
}

/// The first edition counted a report of success, and lost 999 of 1,000 devices.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_bricks_in_silence_costs_what_may_be_in_flight_also_after_reports_of_success() {
    for reports in [false, true] {
        let world = started(json!({"rollout": {"limits": {"max_in_flight": 25}}})).await;
        let bricked = offered(&world, 0..100, "2026-01-01T00:01:00Z").await;
        assert_eq!(bricked.len(), 25);
        for device in bricked.iter().filter(|_| reports) {
            world.report(device, "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T00:02:00Z")).await;
        }
        world.count().await;
        // They are due after 90 hours; a page is read a minute after the minute in which it is due.
        for now in ["2026-01-01T12:00:00Z", "2026-01-04T18:00:00Z"] {
            assert_eq!(offered(&world, 25..100, now).await.len(), 0);
        }
        let swept = world.services.sweep.sweep(at("2026-01-04T18:05:00Z")).await.unwrap();
        assert_eq!(swept.lost, 25, "{swept:?}");
        world.count().await;
        assert_eq!(offered(&world, 25..100, "2026-01-04T18:06:00Z").await.len(), 0);
        let (state, reason) = state(&world).await;
        assert_eq!(state, "held");
        assert!(reason.starts_with("25 of 25 devices are overdue; tolerated 2 %; evidence over a million"), "{reason}");
        assert_eq!(world.counts("2.0.0", at("2026-01-04T18:07:00Z")).await, "25 25 0 0 25");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_within_what_is_tolerated_stop_nothing() {
    let health = json!({"tolerated_failed_percent": 30});
    let world = started(json!({"rollout": {"health": health, "limits": {"max_in_flight": 500}}})).await;
    let devices = offered(&world, 0..20, "2026-01-01T00:01:00Z").await;
    let now = at("2026-01-01T00:05:00Z");
    for (number, device) in devices.iter().enumerate() {
        let status = if number % 4 == 3 { "INSTALL_ERROR" } else { "INSTALL_SUCCESS" };
        world.report(device, "2.0.0", status, now).await;
        if status == "INSTALL_SUCCESS" {
            world.check(&lamp(device, "2.0.0"), now).await;
        }
    }
    world.count().await;
    world.services.sweep.sweep(now).await.unwrap();
    assert_eq!(state(&world).await.0, "active");
    assert_eq!(world.counts("2.0.0", now).await, "20 0 15 5 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_for_silence_lifts_itself_when_the_devices_are_back() {
    let world = started(json!({"rollout": {"limits": {"max_in_flight": 25}}})).await;
    let silent = offered(&world, 0..100, "2026-01-01T00:01:00Z").await;
    world.count().await;
    let swept = world.services.sweep.sweep(at("2026-01-04T18:05:00Z")).await.unwrap();
    assert_eq!(swept.lost, 25);
    world.count().await;
    assert_eq!(state(&world).await.0, "held");
    // Three of four are back.
    for (number, device) in silent.iter().enumerate() {
        if number == 18 {
            world.count().await;
            let swept = world.services.sweep.sweep(at("2026-01-05T00:01:00Z")).await.unwrap();
            assert_eq!((swept.lifted, state(&world).await.0.as_str()), (0, "held"), "seven of 25 are still overdue");
        }
        world.check(&lamp(device, "1.0.0"), at("2026-01-05T00:00:00Z")).await;
    }
    world.count().await;
    let swept = world.services.sweep.sweep(at("2026-01-05T00:02:00Z")).await.unwrap();
    assert_eq!((swept.lifted, state(&world).await.0.as_str()), (1, "active"));
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, at("2026-01-05T00:03:00Z")).await.body;
    let lifted = log["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "lift").unwrap();
    assert_eq!(
        (&lifted["who"], &lifted["from"], &lifted["to"]),
        (&json!("health rule"), &json!("held"), &json!("active"))
    );
    // Failures do not come back, whoever waits.
    for device in &silent {
        world.report(device, "2.0.0", "INSTALL_ERROR", at("2026-01-05T00:04:00Z")).await;
    }
    world.count().await;
    assert_eq!(state(&world).await.0, "held");
    for device in &silent {
        world.check(&lamp(device, "1.0.0"), at("2026-01-06T00:00:00Z")).await;
    }
    world.count().await;
    let swept = world.services.sweep.sweep(at("2026-01-06T00:01:00Z")).await.unwrap();
    assert_eq!((swept.lifted, state(&world).await.0.as_str()), (0, "held"));
}
