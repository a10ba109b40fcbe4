//! Phases that begin on evidence: when the devices of the phase before are well for long enough.

use serde_json::{Value, json};
use tidegate_core::{Cohort, DeviceId, Timestamp, UpdateId, Version};
use tidegate_tests::{LAMP, World, at, lamp};

const DEVICES: u32 = 200;

/// One tenth first, then all.
fn update(advance: Value) -> Value {
    json!({"rollout": {
        "phases": [{"percent": 10}, {"percent": 100, "advance": advance}], "limits": {"max_in_flight": 100},
    }})
}

fn is_first(device: &str) -> bool {
    let update = UpdateId::of(&tidegate_core::ProductId::new(LAMP).unwrap(), &Version::new(2, 0, 0), 1);
    Cohort::of(&update, &DeviceId::new(device).unwrap()).place() < 1000
}

fn devices() -> impl Iterator<Item = String> {
    (0..DEVICES).map(|number| format!("lamp-{number}"))
}

/// The devices of the first phase.
fn first() -> Vec<String> {
    devices().filter(|device| is_first(device)).collect()
}

async fn started(advance: Value) -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "1.0.0", json!({"policy": "false"}), at("2025-12-31T00:00:00Z")).await;
    for device in devices() {
        world.check(&lamp(&device, "1.0.0"), at("2025-12-31T01:00:00Z")).await;
    }
    world.publish(LAMP, "2.0.0", update(advance), at("2026-01-01T00:00:00Z")).await;
    for device in first() {
        let answer = world.check(&lamp(&device, "1.0.0"), at("2026-01-01T01:00:00Z")).await;
        assert_eq!(answer.body["version"], "2.0.0");
    }
    world
}

async fn swept(world: &World, now: Timestamp) -> Value {
    world.count_at(now).await;
    world.services.sweep.sweep(now).await.unwrap();
    world.metrics("2.0.0", now).await
}

/// What a device of the second phase is answered.
async fn second(world: &World, now: Timestamp) -> String {
    let device = devices().find(|device| !is_first(device)).unwrap();
    let body = world.check(&lamp(&device, "1.0.0"), now).await.body;
    body["version"].as_str().or(body["reason"].as_str()).unwrap().to_string()
}

/// The devices of the first phase check in once a day with the new version, all but the last `silent` ones.
async fn days_of_health(world: &World, days: std::ops::RangeInclusive<u32>, silent: usize) {
    let first = first();
    for day in days {
        for device in &first[..first.len() - silent] {
            world.check(&lamp(device, "2.0.0"), at(&format!("2026-01-0{day}T02:00:00Z"))).await;
        }
        swept(world, at(&format!("2026-01-0{day}T03:00:00Z"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_begins_when_the_devices_before_it_are_well_for_three_days() {
    let world = started(json!({})).await;
    let well = first().len();
    assert!((12..30).contains(&well), "{well}");
    days_of_health(&world, 1..=3, 0).await;
    let needed = well.div_ceil(2).max(20_usize.min(u64::from(DEVICES).div_ceil(10).div_ceil(2) as usize));
    let metrics = swept(&world, at("2026-01-03T04:00:00Z")).await;
    let waits = format!("0 of {needed} devices are well for long enough");
    assert_eq!((&metrics["next_phase"]["number"], &metrics["next_phase"]["waits_for"]), (&json!(2), &json!(waits)));
    assert_eq!(second(&world, at("2026-01-03T04:00:00Z")).await, "not_in_phase");
    days_of_health(&world, 4..=4, 0).await;
    for minute in [5, 6] {
        swept(&world, at(&format!("2026-01-04T03:{minute:02}:00Z"))).await;
    }
    let metrics = world.metrics("2.0.0", at("2026-01-04T03:07:00Z")).await;
    assert_eq!((&metrics["soaked"], &metrics["next_phase"]), (&json!(well), &Value::Null), "there is none any more");
    assert_eq!(second(&world, at("2026-01-04T03:07:00Z")).await, "2.0.0");
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, at("2026-01-04T04:00:00Z")).await.body;
    let entry = log["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "advance to phase 2").unwrap();
    let why = format!(
        "{well} of {well} devices are well for long enough, 0 are not, 0 are well for less, \
                       0 should have shown something"
    );
    assert_eq!((&entry["who"], &entry["reason"]), (&json!("sweep"), &json!(why)));
}

/// A dead device never shows that it is well. So a phase does not begin before it would be missed.
#[tokio::test(flavor = "multi_thread")]
async fn devices_that_show_nothing_keep_the_next_phase_shut() {
    let world = started(json!({"soak_s": 86_400})).await;
    days_of_health(&world, 1..=3, 5).await;
    let metrics = swept(&world, at("2026-01-03T04:00:00Z")).await;
    assert_eq!(metrics["next_phase"], Value::Null, "five are younger than they may be silent: {metrics}");
    // Three days on, five devices still wait for a window of their own, or fail in silence: nobody knows.
    let world = started(json!({})).await;
    let first = first();
    for day in 1..=4 {
        for device in &first[first.len() - 5..] {
            world.check(&lamp(device, "1.0.0"), at(&format!("2026-01-0{day}T01:30:00Z"))).await;
        }
        days_of_health(&world, day..=day, 5).await;
    }
    let metrics = swept(&world, at("2026-01-04T03:05:00Z")).await;
    let (well, all) = (first.len() - 5, first.len());
    let waits = format!("{well} of {all} devices are well for long enough; 90 % must be");
    assert_eq!(
        (&metrics["state"], &metrics["next_phase"]["waits_for"]),
        (&json!("active"), &json!(waits)),
        "{metrics}"
    );
    assert_eq!(second(&world, at("2026-01-04T03:10:00Z")).await, "not_in_phase");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_begins_a_phase_that_asks_for_it_and_only_with_the_numbers_in_sight() {
    let world = started(json!({"soak_s": 86_400, "approval": true})).await;
    days_of_health(&world, 1..=3, 0).await;
    let now = at("2026-01-03T04:00:00Z");
    assert_eq!(swept(&world, now).await["next_phase"]["waits_for"], "an operator must open it");
    world.report(&first()[0], "2.0.0", "INSTALL_ERROR", now).await;
    world.count_at(now).await;
    let path = "lamp/updates/2.0.0/advance";
    let advance = |phase: u32, seen: Value| json!({"phase": phase, "seen": seen, "reason": "looks good"});
    let moved = world.operator("POST", path, advance(2, json!({})), now).await;
    assert_eq!((moved.status, moved.code()), (409, "evidence_moved"), "{moved:?}");
    let other = world.operator("POST", path, advance(3, json!({"reverted": 1})), now).await;
    assert_eq!((other.status, other.code()), (400, "bad_field"), "{other:?}");
    for _ in 0..2 {
        let begun = world.operator("POST", path, advance(2, json!({"reverted": 1})), now).await;
        assert_eq!((begun.status, &begun.body["state"]), (200, &json!("active")), "{begun:?}");
    }
    assert_eq!(second(&world, now).await, "2.0.0");
    let none = world.operator("POST", path, advance(3, json!({"reverted": 1})), now).await;
    assert_eq!((none.status, none.code()), (400, "bad_field"), "{none:?}");
    world.operator("POST", "lamp/updates/2.0.0/pause", json!({"reason": "lunch"}), now).await;
    let paused = world.operator("POST", path, advance(3, json!({"reverted": 1})), now).await;
    assert_eq!((paused.status, paused.code()), (409, "wrong_state"), "{paused:?}");
}

/// The devices of the first phase say nothing of the second one.
#[tokio::test(flavor = "multi_thread")]
async fn the_third_phase_does_not_begin_on_the_devices_of_the_first() {
    let world = started(json!({"soak_s": 86_400})).await;
    let phases = |percents: [u32; 3]| {
        let [first, second, third] = percents.map(|percent| json!({"percent": percent, "advance": {"soak_s": 86_400}}));
        let first = json!({"percent": first["percent"]});
        json!({"rollout": {"phases": [first, second, third]}, "reason": "a test"})
    };
    let edited =
        world.operator("PATCH", "lamp/updates/2.0.0/campaign", phases([10, 50, 100]), at("2026-01-01T01:30:00Z")).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    days_of_health(&world, 1..=3, 0).await;
    for minute in 4..20 {
        swept(&world, at(&format!("2026-01-03T03:{minute:02}:00Z"))).await;
    }
    let metrics = swept(&world, at("2026-01-03T03:30:00Z")).await;
    let well = first().len();
    let waits = format!("{well} of {} devices are well for long enough", well + 20);
    assert_eq!((&metrics["next_phase"]["number"], &metrics["next_phase"]["waits_for"]), (&json!(3), &json!(waits)));
    // An edit must not make the number of begun phases mean other ones.
    for wider in [[10, 60, 100], [20, 80, 100]] {
        let refused =
            world.operator("PATCH", "lamp/updates/2.0.0/campaign", phases(wider), at("2026-01-03T04:00:00Z")).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_field"), "{refused:?}");
    }
    let narrower =
        world.operator("PATCH", "lamp/updates/2.0.0/campaign", phases([5, 20, 100]), at("2026-01-03T04:00:00Z")).await;
    assert_eq!(narrower.status, 200, "{narrower:?}");
}

/// Phases of an update for devices that do not exist yet.
#[tokio::test(flavor = "multi_thread")]
async fn an_audience_of_none_begins_no_phase() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", update(json!({})), at("2026-01-01T00:00:00Z")).await;
    for hour in 1..6 {
        let metrics = swept(&world, at(&format!("2026-01-01T0{hour}:00:00Z"))).await;
        assert_eq!(metrics["next_phase"]["number"], 2, "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn phases_that_cannot_be_are_refused_by_name() {
    let world = World::new(0).await;
    let at_noon = "2026-01-01T12:00:00Z";
    for (phases, said) in [
        (json!([{"percent": 1, "advance": {}}]), "phases must begin all at a time"),
        (json!([{"percent": 1}, {"percent": 2, "starts_at": at_noon}]), "phases must begin all at a time"),
        (json!([{"percent": 1}, {"percent": 2, "starts_at": at_noon, "advance": {}}]), "not both"),
        (json!([{"percent": 5}, {"percent": 5, "advance": {}}]), "phase 2 must start later"),
        (json!([{"percent": 1}, {"percent": 5, "advance": {"soak_s": 60}}]), "advance.soak_s must be within"),
        (json!([{"percent": 1}, {"percent": 5, "advance": {"success_percent": 10}}]), "advance.success_percent"),
        (json!([{"percent": 1}, {"percent": 5, "advance": {"oops": 1}}]), "rollout.phases[1].advance.oops"),
    ] {
        let update = json!({"version": "2.0.0", "kind": "json", "payload": 1, "rollout": {"phases": phases}});
        let refused = world.operator("POST", "lamp/updates", update, at(at_noon)).await;
        let message = refused.body["error"]["message"].as_str().unwrap().to_string();
        assert!(refused.status == 400 && message.contains(said), "{message}");
    }
}
