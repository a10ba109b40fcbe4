//! The settings of a product, and what is known of tokens: no change is lost, and each is in the audit log or did not happen.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::trouble::{Occupancy, Trouble};
use tidegate_tests::{Answer, LAMP, World, answer, at, lamp, request};

const NOON: &str = "2026-01-01T12:00:00Z";

fn moment(number: i64) -> Timestamp {
    at(NOON).checked_add(jiff::SignedDuration::from_secs(number)).unwrap()
}

async fn published() -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(NOON)).await;
    world
}

async fn set(world: &World, change: Value, now: Timestamp) -> Answer {
    world.operator("PATCH", LAMP, change, now).await
}

/// The entries about a subject, the oldest first.
async fn log(world: &World, subject: &str, now: Timestamp) -> Vec<Value> {
    let log = world.operator("GET", &format!("{LAMP}/audit?version={subject}&limit=200"), Value::Null, now).await;
    let mut entries = log.body["items"].as_array().unwrap().clone();
    entries.reverse();
    entries
}

/// A check-in with a token of one's own choice.
async fn check_with(world: &World, token: &str, device: &str) -> u16 {
    let body = lamp(device, "1.0.0").to_string();
    let asked = request("POST", "/v1/check", &[("authorization", token)], &body, None);
    answer(world.services.check.handle(asked, at(NOON)).await).status
}

async fn register(world: &World, product: &str, device: &str) -> Answer {
    let body = json!({"id": device, "product": product}).to_string();
    let asked = request("POST", "/device/register", &[("host", "ota.example")], &body, None);
    answer(world.services.check.handle(asked, at(NOON)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_races_of_two_settings_no_change_is_lost() {
    let world = Arc::new(published().await);
    for round in 0..1000_i64 {
        let (now, poll_s, watch_s) = (moment(round), 300 + round, 3600 + round);
        let race = [json!({"poll_s": poll_s}), json!({"watch_s": watch_s})].map(|change| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { set(&world, change, now).await.status })
        });
        for changed in race {
            assert_eq!(changed.await.unwrap(), 200, "round {round}");
        }
        let settings = world.operator("GET", LAMP, Value::Null, now).await.body;
        assert_eq!((&settings["poll_s"], &settings["watch_s"]), (&json!(poll_s), &json!(watch_s)), "round {round}");
    }
    // Each entry says what it replaced, so the log of a setting is a chain without a gap.
    let mut chains = [("poll_s", json!(null), 0), ("watch_s", json!(null), 0)];
    let mut after = String::new();
    let mut entries = Vec::new();
    loop {
        let path = format!("{LAMP}/audit?version={LAMP}&limit=200{after}");
        let page = world.operator("GET", &path, Value::Null, moment(2000)).await.body;
        entries.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('#', "%23")),
            None => break,
        }
    }
    for change in entries.iter().rev().flat_map(|entry| entry["changes"].as_array().unwrap()) {
        let (_, last, count) = chains.iter_mut().find(|(field, ..)| change["field"] == *field).unwrap();
        assert!(last.is_null() || *last == change["old"], "{change} follows {last}");
        (*last, *count) = (change["new"].clone(), *count + 1);
    }
    assert_eq!(chains.map(|(.., count)| count), [1000, 1000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_stays_is_no_change() {
    let world = published().await;
    for _ in 0..2 {
        assert_eq!(set(&world, json!({"poll_s": 600, "reason": "calm"}), moment(1)).await.status, 200);
    }
    let entries = log(&world, LAMP, moment(2)).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["changes"], json!([{"field": "poll_s", "old": 86400, "new": 600}]));
}

/// Others hold the audit log, so neither the revocation nor its entry is written, and the operator knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_written_with_its_audit_entry_or_not_at_all() {
    let (world, trouble) = World::troubled(0, Trouble::default()).await;
    world.publish(LAMP, "2.0.0", json!({}), at(NOON)).await;
    let token = world.token(LAMP, "lamp-1");
    assert_eq!(check_with(&world, &token, "lamp-1").await, 200);
    let held = Occupancy::new("x#", 1.0);
    trouble.play(Trouble {
        occupancy: Some(Occupancy { mean_hold: Duration::from_secs(60), ..held }),
        ..Trouble::default()
    });
    let refused =
        world.operator("DELETE", &format!("{LAMP}/devices/lamp-1/token"), json!({"reason": "lost"}), moment(1)).await;
    assert_eq!((refused.status, refused.code()), (503, "unavailable"));
    assert_eq!(check_with(&world, &token, "lamp-1").await, 200, "it is not revoked");
    trouble.play(Trouble::default());
    assert!(log(&world, "lamp-1", moment(2)).await.is_empty());

    let revoked =
        world.operator("DELETE", &format!("{LAMP}/devices/lamp-1/token"), json!({"reason": "lost"}), moment(3)).await;
    assert_eq!((revoked.status, &revoked.body["was_known"]), (200, &json!(true)));
    assert_eq!(check_with(&world, &token, "lamp-1").await, 401);
    let entries = log(&world, "lamp-1", moment(4)).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["changes"], json!([{"field": "token_generation", "old": 0, "new": 1}]));
    // A mistyped id is seen.
    let strange = world.operator("DELETE", &format!("{LAMP}/devices/lmap-1/token"), Value::Null, moment(5)).await;
    assert_eq!((strange.status, &strange.body["was_known"]), (200, &json!(false)));
    // A body that is refused revokes nothing.
    let bad =
        world.operator("DELETE", &format!("{LAMP}/devices/lamp-2/token"), json!({"cause": "lost"}), moment(6)).await;
    assert_eq!((bad.status, bad.code()), (400, "unknown_field"));
    assert_eq!(check_with(&world, &world.token(LAMP, "lamp-2"), "lamp-2").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_token_is_revoked_and_never_speaks_for_a_device_with_its_own() {
    let world = published().await;
    assert_eq!(set(&world, json!({"product_tokens": "accept"}), moment(1)).await.status, 200);
    let issue = async |now| {
        let issued = world.operator("PUT", &format!("{LAMP}/token"), Value::Null, now).await;
        issued.body["token"].as_str().unwrap().to_string()
    };
    let first = issue(moment(2)).await;
    assert_eq!(check_with(&world, &first, "lamp-1").await, 200);
    // A device with its own: it has used it, an operator has issued it, or has revoked it.
    assert_eq!(check_with(&world, &world.token(LAMP, "lamp-2"), "lamp-2").await, 200);
    assert_eq!(check_with(&world, &first, "lamp-2").await, 401);
    world.operator("PUT", &format!("{LAMP}/devices/lamp-1/token"), Value::Null, moment(3)).await;
    assert_eq!(check_with(&world, &first, "lamp-1").await, 401);
    world.operator("DELETE", &format!("{LAMP}/devices/lamp-3/token"), Value::Null, moment(4)).await;
    assert_eq!(
        check_with(&world, &first, "lamp-3").await,
        401,
        "revocation of a device holds against the shared token"
    );

    assert_eq!(check_with(&world, &first, "lamp-4").await, 200);
    let revoked = world.operator("DELETE", &format!("{LAMP}/token"), json!({"reason": "published"}), moment(5)).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(check_with(&world, &first, "lamp-4").await, 401);
    let second = issue(moment(6)).await;
    assert_ne!(first, second);
    assert_eq!(check_with(&world, &second, "lamp-4").await, 200);
    let entries = log(&world, LAMP, moment(7)).await;
    let last = entries.iter().find(|entry| entry["action"] == "revoke product tokens").unwrap();
    assert_eq!(last["changes"], json!([{"field": "product_token_generation", "old": 0, "new": 1}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_reads_nothing_of_a_product_that_is_not_open_and_gives_nothing_of_a_known_device() {
    let world = World::new(1000).await;
    world.publish(LAMP, "2.0.0", json!({}), at(NOON)).await;
    drop(world.calls.take());
    for number in 0..2000 {
        let refused = register(&world, &format!("invented-{number}"), "d1").await;
        assert_eq!((refused.status, refused.code()), (403, "registration_closed"));
    }
    let calls = world.calls.take();
    let kinds = calls.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(kinds, ["Query"].into(), "only the list of open products is read");
    assert!(calls.len() < 60, "once a second: {}", calls.len());

    let (open, closed) = (json!({"registration": "open"}), json!({"registration": "closed"}));
    assert_eq!(set(&world, open, moment(1)).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let registered = register(&world, LAMP, "d1").await;
    assert_eq!(registered.status, 200);
    let token = registered.body["token"].as_str().unwrap();
    assert_eq!(register(&world, LAMP, "d1").await.status, 200, "it may have lost the answer");
    assert_eq!(check_with(&world, token, "d1").await, 200);
    let again = register(&world, LAMP, "d1").await;
    assert_eq!((again.status, again.code()), (403, "registration_closed"), "whoever knows its id gets nothing");

    assert_eq!(set(&world, closed, moment(2)).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(register(&world, LAMP, "d2").await.status, 403);
}
