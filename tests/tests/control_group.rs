//! A part of a large audience is held out, so that silence which is not the update's fault holds nothing.

use serde_json::{Value, json};
use tidegate_core::cohort::Cohort;
use tidegate_core::{DeviceId, ProductId, UpdateId, Version};
use tidegate_tests::{LAMP, World, at, lamp};

const FLEET: u32 = 1000;
const OPENED: &str = "2026-01-01T00:00:00Z";

/// A fleet that is known, an update that is open, and its control group.
async fn started(update: Value) -> World {
    let world = World::new(0).await;
    world.draft(LAMP, "2.0.0", update).await;
    for number in 0..FLEET {
        world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), at("2025-12-30T12:00:00Z")).await;
    }
    let path = format!("{LAMP}/updates/2.0.0/activate");
    let activated = world.operator("POST", &path, json!({"reason": "test"}), at(OPENED)).await;
    assert_eq!(activated.status, 200, "{activated:?}");
    sweep(&world, "2026-01-01T00:01:00Z").await;
    world
}

async fn sweep(world: &World, now: &str) -> tidegate_engine::sweep::Swept {
    world.count_at(at(now)).await;
    let swept = world.services.sweep.sweep(at(now)).await.unwrap();
    assert_eq!(swept.failed, 0, "{swept:?}");
    world.count_at(at(now)).await;
    swept
}

/// The devices in the order of the queue, the last one first.
fn last_first() -> Vec<String> {
    let update = UpdateId::of(&ProductId::new(LAMP).unwrap(), &Version::new(2, 0, 0), 1);
    let mut devices = (0..FLEET).map(|number| format!("lamp-{number}")).collect::<Vec<_>>();
    devices.sort_by_key(|device| {
        let device = DeviceId::new(device.clone()).unwrap();
        std::cmp::Reverse((Cohort::of(&update, &device), device))
    });
    devices
}

async fn offered<'a>(world: &World, devices: impl IntoIterator<Item = &'a String>, now: &str) -> Vec<String> {
    let mut offered = Vec::new();
    for device in devices {
        if world.check(&lamp(device, "1.0.0"), at(now)).await.body["version"] == "2.0.0" {
            offered.push(device.clone());
        }
    }
    world.count().await;
    offered
}

async fn shown(world: &World, now: &str) -> Value {
    world.operator("GET", &format!("{LAMP}/updates/2.0.0"), Value::Null, at(now)).await.body
}

fn limit(max_in_flight: u32) -> Value {
    json!({"rollout": {"limits": {"max_in_flight": max_in_flight}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_devices_of_a_large_audience_are_served_when_all_others_were() {
    let world = started(limit(2000)).await;
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, at(OPENED)).await.body;
    let held_out = log["items"].as_array().unwrap().iter().find(|entry| entry["who"] == "sweep").unwrap();
    assert_eq!(
        (&held_out["action"], &held_out["reason"]),
        (&json!("hold out a control group"), &json!("the last 200 of 1000 devices"))
    );
    let queue = last_first();
    let (members, others) = queue.split_at(200);
    assert!(offered(&world, members, "2026-01-01T00:02:00Z").await.is_empty());
    let why = world.operator("GET", &format!("lamp/devices/{}/why", members[0]), Value::Null, at(OPENED)).await.body;
    assert_eq!(
        why["considered"][0]["objection"],
        json!({
            "code": "not_in_phase",
            "sentence": "the device is in the control group, which is served last",
            "opens_at": null,
        })
    );
    // Twenty devices are on leave for two days.
    let served = offered(&world, &others[20..], "2026-01-01T00:03:00Z").await;
    assert_eq!(served.len(), 780);
    for device in &served {
        world.check(&lamp(device, "2.0.0"), at("2026-01-01T01:00:00Z")).await;
    }
    sweep(&world, "2026-01-02T00:02:00Z").await;
    assert_eq!(
        shown(&world, OPENED).await["audience"],
        json!({"size": 1000, "newcomers": 0, "asked": 0, "refused": 0, "reached": 780, "left": 20, "as_of": "2026-01-02T00:02:00Z"})
    );
    assert_eq!(offered(&world, &others[..20], "2026-01-03T00:00:00Z").await.len(), 20);
    for device in &others[..20] {
        world.check(&lamp(device, "2.0.0"), at("2026-01-03T01:00:00Z")).await;
    }
    sweep(&world, "2026-01-03T00:03:00Z").await;
    assert_eq!(shown(&world, OPENED).await["audience"]["left"], 0);
    // The devices that were served last get the time to become silent.
    for day in ["2026-01-04T00:04:00Z", "2026-01-05T00:05:00Z", "2026-01-06T00:06:00Z", "2026-01-07T00:07:00Z"] {
        assert!(offered(&world, members, day).await.is_empty(), "{day}");
        for device in others.iter().filter(|_| day.starts_with("2026-01-04")) {
            world.check(&lamp(device, "2.0.0"), at(day)).await;
        }
        sweep(&world, day).await;
    }
    assert_eq!(offered(&world, members, "2026-01-07T00:08:00Z").await.len(), 200);
}

/// A holiday: of all devices, a fifth is silent for ten days.
#[tokio::test(flavor = "multi_thread")]
async fn a_holiday_holds_nothing_where_the_control_group_is_on_leave_too() {
    for has_group in [true, false] {
        let mut update = limit(2000);
        update["rollout"]["health"] = json!({"control_group": has_group});
        let world = started(update).await;
        let queue = last_first();
        assert_eq!(offered(&world, &queue, "2026-01-01T00:02:00Z").await.len(), if has_group { 800 } else { 1000 });
        for (number, device) in queue.iter().enumerate() {
            if number % 5 > 0 {
                let version = if has_group && number < 200 { "1.0.0" } else { "2.0.0" };
                world.check(&lamp(device, version), at("2026-01-04T12:00:00Z")).await;
            }
        }
        let swept = sweep(&world, "2026-01-04T20:00:00Z").await;
        assert_eq!(swept.lost, if has_group { 160 } else { 200 });
        sweep(&world, "2026-01-04T20:01:00Z").await;
        let shown = shown(&world, OPENED).await;
        assert_eq!(shown["state"], if has_group { "active" } else { "held" }, "{shown}");
        let lost = world.metrics("2.0.0", at("2026-01-04T20:02:00Z")).await["health"]["channels"][1].clone();
        // 40 of 200 members are silent: with 99 % confidence, up to 27.4 % are, and a tenth of that is allowed above it.
        let tolerated = if has_group { 30.11 } else { 2.0 };
        assert_eq!((&lost["name"], lost["tolerated_percent"].as_f64()), (&json!("lost"), Some(tolerated)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_brick_is_held_because_the_control_group_lives() {
    let world = started(limit(100)).await;
    let queue = last_first();
    let bricked = offered(&world, &queue, "2026-01-01T00:02:00Z").await;
    assert_eq!(bricked.len(), 100);
    let well = queue.iter().filter(|device| !bricked.contains(device)).collect::<Vec<_>>();
    offered(&world, well.iter().copied(), "2026-01-04T12:00:00Z").await;
    // The snapshot of the day, which reads the group too.
    sweep(&world, "2026-01-04T12:00:00Z").await;
    let swept = sweep(&world, "2026-01-04T20:00:00Z").await;
    assert_eq!(swept.lost, 100);
    // The count cannot tell before the sweep has looked at the group, so it gives no place on.
    assert_eq!(shown(&world, OPENED).await["state"], "active");
    assert!(offered(&world, well.iter().copied(), "2026-01-04T20:00:30Z").await.is_empty());
    assert_eq!(sweep(&world, "2026-01-04T20:01:00Z").await.held, 1);
    let reason = shown(&world, OPENED).await["reason"].as_str().unwrap().to_string();
    assert!(reason.starts_with("100 of 100 devices are overdue; tolerated 3.5 %; evidence over a million"), "{reason}");
    assert!(offered(&world, well, "2026-01-04T20:02:00Z").await.is_empty());
    let group = shown(&world, OPENED).await["control_group"].clone();
    assert_eq!(group["reading"], json!({"members": 200, "overdue": 0, "at": "2026-01-04T20:01:00Z"}));
}

/// The change would hold the rollout, and only the sweep can tell.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_tolerates_less_silence_is_finished_by_the_sweep() {
    let mut update = limit(100);
    update["rollout"]["health"] = json!({"tolerated_lost_percent": 40});
    let world = started(update).await;
    let queue = last_first();
    let silent = offered(&world, &queue, "2026-01-01T00:02:00Z").await;
    for device in queue.iter().filter(|device| !silent[..30].contains(device)) {
        let version = if silent.contains(device) { "2.0.0" } else { "1.0.0" };
        world.check(&lamp(device, version), at("2026-01-04T12:00:00Z")).await;
    }
    sweep(&world, "2026-01-04T12:00:00Z").await;
    assert_eq!(sweep(&world, "2026-01-04T20:00:00Z").await.lost, 30);
    assert_eq!(shown(&world, OPENED).await["state"], "active", "30 % are tolerated");
    let edit = json!({"rollout": {"health": {"tolerated_lost_percent": 2}}, "reason": "too many"});
    let edited = world.operator("PATCH", "lamp/updates/2.0.0/campaign", edit, at("2026-01-04T20:01:00Z")).await;
    assert_eq!((edited.status, &edited.body["wanted"]), (202, &json!("edit")), "{edited:?}");
    assert_eq!(sweep(&world, "2026-01-04T20:02:00Z").await.failed, 0);
    let shown = shown(&world, OPENED).await;
    assert_eq!((&shown["state"], &shown["wanted"]), (&json!("held"), &Value::Null), "{shown}");
}
