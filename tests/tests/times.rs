//! The times of a product: how often its devices are expected, and how long they may take.

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::{LAMP, World, at, lamp};

async fn set(world: &World, times: Value, now: Timestamp) -> Value {
    let answer = world.operator("PATCH", LAMP, times, now).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Ten devices that were offered 2.0.0.
async fn offered(world: &World, now: Timestamp) {
    for number in 0..10 {
        let answer = world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), now).await;
        assert_eq!(answer.body["version"], "2.0.0");
    }
    world.count_at(now).await;
}

async fn swept(world: &World, now: Timestamp) -> Value {
    world.count_at(now).await;
    world.services.sweep.sweep(now).await.unwrap();
    world.metrics("2.0.0", now).await
}

async fn state_of(world: &World, device: &str, now: Timestamp) -> Value {
    let body = world.operator("GET", &format!("lamp/devices/{device}"), Value::Null, now).await.body;
    body["claims"][0]["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_kept_within_their_ranges_and_their_changes_are_audited() {
    let world = World::new(0).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish(LAMP, "2.0.0", json!({}), now).await;
    let before = world.operator("GET", LAMP, Value::Null, now).await.body;
    let times = ["poll_s", "boot_grace_s", "apply_within_s", "watch_s"];
    assert_eq!(times.map(|name| before[name].as_i64().unwrap()), [86_400, 3600, 691_200, 864_000]);
    let after = set(&world, json!({"poll_s": 3600, "watch_s": 864_000, "reason": "hourly lamps"}), now).await;
    assert_eq!(times.map(|name| after[name].as_i64().unwrap()), [3600, 3600, 691_200, 864_000]);
    let log = world.operator("GET", "lamp/audit", Value::Null, now).await.body;
    let set = log["items"].as_array().unwrap().iter().find(|entry| entry["reason"] == "hourly lamps").unwrap();
    assert_eq!(
        (&set["action"], &set["changes"]),
        (&json!("set"), &json!([{"field": "poll_s", "old": 86400, "new": 3600}]))
    );
    for (name, value) in [("poll_s", 59), ("poll_s", 2_592_001), ("boot_grace_s", -1), ("apply_within_s", 0)] {
        let refused = world.operator("PATCH", LAMP, json!({name: value, "reason": "a test"}), now).await;
        let message = refused.body["error"]["message"].as_str().unwrap().to_string();
        assert_eq!((refused.status, refused.code()), (400, "bad_field"));
        assert!(message.starts_with(name) && message.ends_with(&format!("it is {value}")), "{message}");
    }
    let kept = world.operator("GET", LAMP, Value::Null, now).await.body;
    assert_eq!(kept, after, "what is refused changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brick_of_a_fleet_that_polls_hourly_is_held_after_hours() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at("2026-01-01T00:00:00Z")).await;
    set(&world, json!({"poll_s": 3600, "reason": "hourly lamps"}), at("2026-01-01T00:00:00Z")).await;
    offered(&world, at("2026-01-01T00:10:00Z")).await;
    assert_eq!(swept(&world, at("2026-01-01T03:50:00Z")).await["lost"], 0, "due after 3.75 hours");
    let metrics = swept(&world, at("2026-01-01T04:05:00Z")).await;
    assert_eq!((&metrics["lost"], &metrics["state"]), (&json!(10), &json!("held")));
}

/// A device is measured by the time that applied when it was last heard from: it could not know of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_time_makes_nobody_overdue_who_was_heard_from_in_time() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at("2026-01-01T00:00:00Z")).await;
    offered(&world, at("2026-01-01T00:10:00Z")).await;
    set(&world, json!({"poll_s": 3600, "reason": "hourly lamps"}), at("2026-01-02T00:00:00Z")).await;
    // A check-in writes the record at once, and brings the new time into force.
    world.check(&lamp("lamp-0", "1.0.0"), at("2026-01-02T00:05:00Z")).await;
    world.count_at(at("2026-01-02T00:06:00Z")).await;
    assert_eq!(swept(&world, at("2026-01-02T03:00:00Z")).await["lost"], 0);
    assert_eq!(swept(&world, at("2026-01-02T12:00:00Z")).await["lost"], 1);
    assert_eq!(swept(&world, at("2026-01-04T19:00:00Z")).await["lost"], 10, "90 hours after the offer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_watched_is_not_told_to_come_later_than_it_is_expected() {
    let world = World::new(0).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 1}}}), now).await;
    set(&world, json!({"poll_s": 300, "reason": "fast lamps"}), now).await;
    let offer = world.check(&lamp("lamp-1", "1.0.0"), now).await.body;
    assert_eq!((&offer["version"], &offer["check_again_after_s"]), (&json!("2.0.0"), &json!(300)));
    let crowded = world.check(&lamp("lamp-2", "1.0.0"), now).await.body;
    assert_eq!(crowded["reason"], "too_many_in_flight");
    assert!(crowded["check_again_after_s"].as_u64().unwrap() >= 900, "{crowded}");
    let proved = world.check(&lamp("lamp-1", "2.0.0"), now).await.body;
    assert_eq!((&proved["reason"], &proved["check_again_after_s"]), (&json!("up_to_date"), &json!(300)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_boot_grace_is_a_setting() {
    for (grace_s, expected) in [(3600, "reverted"), (691_200, "installed")] {
        let world = World::new(0).await;
        let now = at("2026-01-01T00:00:00Z");
        world.publish(LAMP, "2.0.0", json!({}), now).await;
        set(&world, json!({"boot_grace_s": grace_s, "reason": "lamps that reboot weekly"}), now).await;
        world.check(&lamp("lamp-1", "1.0.0"), now).await;
        world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T00:10:00Z")).await;
        for day in 2..5 {
            world.check(&lamp("lamp-1", "1.0.0"), at(&format!("2026-01-0{day}T00:00:00Z"))).await;
        }
        assert_eq!(state_of(&world, "lamp-1", at("2026-01-05T00:00:00Z")).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_applies_at_once_and_does_not_is_noticed_after_three_days() {
    let later = json!({"rollout": {"limits": {"max_in_flight": 20}}});
    let at_once = json!({"rollout": {"applies": "at_once", "limits": {"max_in_flight": 20}}});
    let stubborn = json!({"rollout": {"applies": "at_once", "limits": {"max_in_flight": 20},
        "health": {"tolerated_not_taken_percent": 40}}});
    for (update, states) in [(later, ["active", "active"]), (at_once, ["active", "held"]), (stubborn, ["active"; 2])] {
        let world = World::new(0).await;
        world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
        for number in 0..20 {
            world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), at("2026-01-01T00:10:00Z")).await;
        }
        let mut seen = Vec::new();
        for (day, expected) in [(3, states[0]), (5, states[1])] {
            // Fifteen install it, and five say nothing of what became of it.
            for number in 0..20 {
                let version = if number < 15 { "2.0.0" } else { "1.0.0" };
                let now = at(&format!("2026-01-0{day}T00:10:00Z"));
                world.check(&lamp(&format!("lamp-{number}"), version), now).await;
            }
            let metrics = swept(&world, at(&format!("2026-01-0{day}T00:20:00Z"))).await;
            seen.push((metrics["state"].clone(), json!(expected)));
        }
        assert!(seen.iter().all(|(state, expected)| state == expected), "{seen:?}");
    }
}

/// Ten lamps come once a week. The fleet's snapshot learns it, and a new lamp is not lost before it had a week.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_begins_with_the_usual_gap_of_its_product() {
    let world = World::new(0).await;
    world.publish(LAMP, "1.0.0", json!({"policy": "false"}), at("2026-01-01T00:00:00Z")).await;
    for week in ["2026-01-01", "2026-01-08", "2026-01-15"] {
        for number in 0..10 {
            world.check(&lamp(&format!("weekly-{number}"), "1.0.0"), at(&format!("{week}T01:00:00Z"))).await;
        }
    }
    world.publish(LAMP, "2.0.0", json!({"policy": "starts_with(id, \"lamp\")"}), at("2026-01-15T02:00:00Z")).await;
    for minute in [5, 10] {
        swept(&world, at(&format!("2026-01-15T02:{minute:02}:00Z"))).await;
    }
    offered(&world, at("2026-01-15T03:00:00Z")).await;
    assert_eq!(swept(&world, at("2026-01-22T03:00:00Z")).await["lost"], 0, "a week of silence is usual here");
    assert_eq!(swept(&world, at("2026-02-05T03:00:00Z")).await["lost"], 10);
}
