//! Edits: any field of a draft, and the audience of a campaign under way, counted before and after.

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::{LAMP, World, at, lamp};

const NOON: &str = "2026-01-01T12:00:00Z";

fn on_board(device: &str, board: u32) -> Value {
    let mut said = lamp(device, "1.0.0");
    said["board"] = json!(board);
    said
}

async fn told(world: &World, device: &str, board: u32, now: Timestamp) -> String {
    let body = world.check(&on_board(device, board), now).await.body;
    body["version"].as_str().or(body["reason"].as_str()).unwrap().to_string()
}

async fn patch(world: &World, path: &str, body: Value, now: Timestamp) -> tidegate_tests::Answer {
    world.operator("PATCH", &format!("lamp/updates/2.0.0{path}"), body, now).await
}

/// Twenty lamps with board 1 and ten with board 2. The update is for all of them.
async fn under_way() -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "1.0.0", json!({"policy": "board > 99"}), at("2026-01-01T00:00:00Z")).await;
    for number in 0..30 {
        let board = if number < 20 { 1 } else { 2 };
        world.check(&on_board(&format!("lamp-{number}"), board), at("2026-01-01T01:00:00Z")).await;
    }
    world.publish(LAMP, "2.0.0", json!({"policy": "board >= 1"}), at(NOON)).await;
    world.services.sweep.sweep(at("2026-01-01T12:01:00Z")).await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_policy_takes_back_open_offers_and_is_audited_with_the_devices_before_and_after() {
    let world = under_way().await;
    let now = at("2026-01-01T12:10:00Z");
    assert_eq!([told(&world, "lamp-0", 1, now).await, told(&world, "lamp-25", 2, now).await], ["2.0.0", "2.0.0"]);
    let narrow = json!({"policy": "board == 1", "reason": "board 2 gets hot"});
    let edited = patch(&world, "/campaign", narrow, now).await;
    assert_eq!((edited.status, &edited.body["policy"]), (200, &json!("board == 1")), "{edited:?}");
    assert_eq!(
        [told(&world, "lamp-0", 1, now).await, told(&world, "lamp-25", 2, now).await],
        ["2.0.0", "not_targeted"]
    );
    let metrics = world.metrics("2.0.0", now).await;
    assert_eq!((&metrics["left"], &metrics["in_flight"]), (&json!(1), &json!(1)), "its place is free again");
    for minute in [15, 20] {
        // A pass begins an hour after the last one at the earliest.
        world.services.sweep.sweep(at(&format!("2026-01-01T13:{minute}:00Z"))).await.unwrap();
    }
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, now).await.body;
    let entries = log["items"].as_array().unwrap();
    let counted = entries.iter().filter(|entry| entry["action"] == "count the audience").collect::<Vec<_>>();
    assert_eq!(counted.len(), 1, "{log}");
    // The lamp of board 2 that was offered it stays a part of the audience that was reached.
    assert_eq!(counted[0]["reason"], "30 devices before the change of the policy, 21 after it");
    assert!(entries.iter().any(|entry| entry["changes"].to_string().contains("board == 1")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_campaign_is_narrowed_and_goes_on_only_with_what_happened_acknowledged() {
    let world = under_way().await;
    let now = at("2026-01-01T12:10:00Z");
    for number in 20..24 {
        let device = format!("lamp-{number}");
        assert_eq!(told(&world, &device, 2, now).await, "2.0.0");
        world.report(&device, "2.0.0", "INSTALL_ERROR", now).await;
    }
    assert_eq!(world.metrics("2.0.0", now).await["state"], "held");
    let edited = patch(&world, "/campaign", json!({"policy": "board == 1", "reason": "only board 2 fails"}), now).await;
    assert_eq!((edited.status, &edited.body["state"]), (200, &json!("held")), "an edit lifts nothing");
    let resume = |counts: Value| json!({"acknowledge": counts, "reason": "board 1 is well"});
    let refused = world.operator("POST", "lamp/updates/2.0.0/resume", resume(json!({"failed": 3})), now).await;
    assert_eq!(refused.code(), "evidence_moved");
    let resumed = world.operator("POST", "lamp/updates/2.0.0/resume", resume(json!({"failed": 4})), now).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    assert_eq!(
        [told(&world, "lamp-0", 1, now).await, told(&world, "lamp-29", 2, now).await],
        ["2.0.0", "not_targeted"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_can_be_changed_in_every_field_but_its_version_and_a_published_update_cannot() {
    let world = World::new(0).await;
    world.draft(LAMP, "2.0.0", json!({"name": "Spring"})).await;
    let change = json!({
        "name": "Summer", "policy": "board == 1", "labels": {"commit": "abc"}, "rollout": {"limits": {"max_devices": 5}},
    });
    let edited = patch(&world, "", change, at(NOON)).await;
    assert_eq!(
        (edited.status, &edited.body["name"], &edited.body["policy"]),
        (200, &json!("Summer"), &json!("board == 1"))
    );
    assert_eq!(edited.body["rollout"]["limits"]["max_devices"], 5);
    assert_eq!(edited.body["files"][0]["name"], "image.bin", "what is not given stays");
    for (path, change, code) in [
        ("", json!({"version": "2.0.1"}), "content_immutable"),
        ("", json!({"policy": "  "}), "bad_field"),
        ("", json!({"policy": "board =="}), "policy_invalid"),
        ("", json!({"nmae": "Autumn"}), "unknown_field"),
        ("", json!({"rollout": 3}), "bad_field"),
        ("", json!({"reason": "nothing"}), "bad_field"),
        ("/campaign", json!({"policy": "board == 2"}), "wrong_state"),
    ] {
        assert_eq!(patch(&world, path, change.clone(), at(NOON)).await.code(), code, "{change}");
    }
    let activate = json!({"reason": "test"});
    assert_eq!(world.operator("POST", "lamp/updates/2.0.0/activate", activate, at(NOON)).await.status, 200);
    for (path, change, says) in [
        ("", json!({"name": "Autumn"}), "`name` is content and never changes"),
        ("", json!({"policy": "board == 2"}), "`policy` of a published update is a part of its campaign"),
        ("/campaign", json!({"name": "Autumn"}), "`name` is content and never changes"),
        ("/campaign", json!({"reports_as": ["2"]}), "`reports_as` is no part of a campaign"),
    ] {
        let refused = patch(&world, path, change, at(NOON)).await;
        assert_eq!((refused.status, refused.code()), (409, "content_immutable"));
        assert!(refused.body["error"]["message"].as_str().unwrap().contains(says), "{refused:?}");
    }
    let end = json!({"reason": "test"});
    assert_eq!(world.operator("POST", "lamp/updates/2.0.0/complete", end, at(NOON)).await.status, 200);
    let late = patch(&world, "/campaign", json!({"policy": "true"}), at(NOON)).await;
    assert_eq!(late.code(), "wrong_state");
}
