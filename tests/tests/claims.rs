//! The life of a claim: offered, asked for again, reported, expired, tried again.

use serde_json::{Value, json};
use tidegate_tests::{LAMP, World, answer, at, get, lamp, request};

async fn offered(world: &World, device: &str, version: &str, now: &str) -> String {
    let answer = world.check(&lamp(device, version), at(now)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["version"].as_str().or(answer.body["reason"].as_str()).unwrap_or("?").to_string()
}

async fn started(update: Value) -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_downloads_what_was_published_and_its_report_counts_once() {
    let world = started(json!({"name": "Spring", "specification": {"slot": "b"}})).await;
    let offer = world.check(&lamp("lamp-1", "1.0.0"), edge_now()).await.body;
    let (status, bytes) = get(offer["url"].as_str().unwrap()).await;
    assert_eq!((status, bytes.as_slice()), (200, b"firmware 2.0.0 of lamp".as_slice()));
    assert_eq!(offer["size"], json!(bytes.len()));
    assert_eq!(
        (&offer["name"], &offer["kind"], &offer["specification"]),
        (&json!("Spring"), &json!("file"), &json!({"slot": "b"}))
    );
    let now = edge_now();
    for status in ["INIT", "DOWNLOAD", "DOWNLOAD_STEP", "DOWNLOAD_SUCCESS", "INSTALL", "INSTALL_SUCCESS"] {
        assert_eq!(world.report("lamp-1", "2.0.0", status, now).await.body, json!({"recorded": true}), "{status}");
    }
    let late = world.report("lamp-1", "2.0.0", "INSTALL_ERROR", now).await.body;
    assert_eq!(late, json!({"recorded": false, "reason": "succeeded_before"}));
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
}

/// URLs are checked by the local S3 against the real clock.
fn edge_now() -> tidegate_core::Timestamp {
    tidegate_http::edge::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_was_tampered_with_or_has_expired_is_refused() {
    let world = started(json!({})).await;
    let offer = world.check(&lamp("lamp-1", "1.0.0"), edge_now()).await.body;
    let url = offer["url"].as_str().unwrap();
    for tampered in [
        url.replace("X-Amz-Expires=", "X-Amz-Expires=9"),
        url.replace("/images/lamp/", "/images/door/"),
        url.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        format!("{url}0"),
        url.split('?').next().unwrap().to_string(),
    ] {
        assert_eq!(get(&tampered).await.0, 403, "{tampered}");
    }
    let an_hour_ago = edge_now().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    let expired = world.check(&lamp("lamp-2", "1.0.0"), an_hour_ago).await.body;
    assert_eq!(get(expired["url"].as_str().unwrap()).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_ends_well_before_its_claim() {
    let world = started(json!({"rollout": {"claim_ttl_s": 600}})).await;
    let first = world.check(&lamp("lamp-1", "1.0.0"), at("2026-01-01T00:01:00Z")).await.body;
    assert_eq!(first["expires_at"], "2026-01-01T00:09:00Z", "the claim ends at 00:11");
    let later = world.check(&lamp("lamp-1", "1.0.0"), at("2026-01-01T00:07:00Z")).await.body;
    assert_eq!(later["expires_at"], "2026-01-01T00:09:00Z", "asking again does not prolong it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_in_with_the_new_version_counts_as_success_once() {
    let world = started(json!({})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:01:00Z").await;
    for minute in 2..5 {
        let now = format!("2026-01-01T00:0{minute}:00Z");
        assert_eq!(offered(&world, "lamp-1", "2.0.0", &now).await, "up_to_date");
    }
    assert_eq!(world.counts("2.0.0", at("2026-01-01T00:09:00Z")).await, "1 0 1 0 0");
    assert_eq!(
        world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T00:09:00Z")).await.body["recorded"],
        false
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_expires_frees_the_place_in_flight_and_the_device_may_try_again() {
    let world = started(json!({"rollout": {"limits": {"max_in_flight": 1}, "claim_ttl_s": 3600}})).await;
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:00:00Z").await, "2.0.0");
    assert_eq!(offered(&world, "lamp-2", "1.0.0", "2026-01-01T00:30:00Z").await, "too_many_in_flight");
    let early = world.services.sweep.sweep(at("2026-01-01T00:59:59Z")).await.unwrap();
    assert_eq!(early.expired, 0);
    world.count().await;
    assert_eq!(world.services.sweep.sweep(at("2026-01-01T00:59:59Z")).await.unwrap().expired, 0);
    // A page of claims is read a minute after the minute in which they end.
    let due = world.services.sweep.sweep(at("2026-01-01T01:02:01Z")).await.unwrap();
    assert_eq!(due.expired, 1);
    assert_eq!(world.services.sweep.sweep(at("2026-01-01T01:02:01Z")).await.unwrap().expired, 0);
    assert_eq!(offered(&world, "lamp-2", "1.0.0", "2026-01-01T01:02:01Z").await, "too_many_in_flight", "not counted");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T01:02:30Z")).await, "1 0 0 0 1");
    assert_eq!(offered(&world, "lamp-2", "1.0.0", "2026-01-01T01:03:00Z").await, "2.0.0");
    world.report("lamp-2", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T01:03:30Z")).await;
    world.count().await;
    assert_eq!(
        offered(&world, "lamp-1", "1.0.0", "2026-01-01T01:04:00Z").await,
        "2.0.0",
        "its exposure was counted before"
    );
    assert_eq!(world.counts("2.0.0", at("2026-01-01T01:05:00Z")).await, "2 1 1 0 1");
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T01:06:00Z")).await;
    assert_eq!(
        world.counts("2.0.0", at("2026-01-01T01:07:00Z")).await,
        "2 0 2 0 0",
        "the late success moved the count"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_back_before_the_sweep_gets_its_next_attempt_at_once() {
    let world = started(json!({"rollout": {"claim_ttl_s": 3600, "limits": {"max_in_flight": 1}}})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:00:00Z").await;
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-01T01:00:30Z").await, "2.0.0");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T01:01:00Z")).await, "1 1 0 0 1");
    assert_eq!(
        world.services.sweep.sweep(at("2026-01-01T01:02:30Z")).await.unwrap().expired,
        0,
        "the new claim is not due"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_not_sent_round_again_after_its_attempts_or_once_it_backed_out() {
    let world = started(json!({"rollout": {"max_attempts": 2}})).await;
    for attempt in 1..=2 {
        let now = format!("2026-01-01T0{attempt}:00:00Z");
        assert_eq!(offered(&world, "lamp-1", "1.0.0", &now).await, "2.0.0");
        world.report("lamp-1", "2.0.0", "INSTALL_ERROR", at(&now)).await;
    }
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-01T03:00:00Z").await, "rejected_before");
    offered(&world, "lamp-2", "1.0.0", "2026-01-01T03:00:00Z").await;
    world.report("lamp-2", "2.0.0", "INSTALL_ABORTED", at("2026-01-01T03:01:00Z")).await;
    assert_eq!(offered(&world, "lamp-2", "1.0.0", "2026-01-01T03:02:00Z").await, "rejected_before");
    offered(&world, "lamp-3", "1.0.0", "2026-01-01T03:00:00Z").await;
    assert_eq!(offered(&world, "lamp-3", "2.0.0", "2026-01-01T03:10:00Z").await, "up_to_date");
    assert_eq!(offered(&world, "lamp-3", "1.0.0", "2026-01-01T03:20:00Z").await, "rejected_before", "it went back");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T04:00:00Z")).await, "3 0 1 2 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_without_a_claim_or_of_another_device_changes_nothing() {
    let world = started(json!({})).await;
    let now = at("2026-01-01T00:01:00Z");
    assert_eq!(
        world.report("lamp-9", "2.0.0", "INSTALL_ERROR", now).await.body,
        json!({"recorded": false, "reason": "no_claim"})
    );
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:01:00Z").await;
    let body = json!({"id": "lamp-1", "product": LAMP, "version": "2.0.0", "status": "INSTALL_ERROR"}).to_string();
    let token = world.token(LAMP, "lamp-2");
    let forged = request("POST", "/v1/report", &[("authorization", &token)], &body, None);
    assert_eq!(answer(world.services.report.handle(forged, now).await).status, 401);
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_older_update_steps_in_unless_the_newer_says_wait() {
    for (when_full, expected) in [("next", "1.5.0"), ("wait", "full")] {
        let world = World::new(0).await;
        let now = "2026-01-01T00:00:00Z";
        let newest = json!({"rollout": {"limits": {"max_devices": 1}, "when_full": when_full}});
        world.publish(LAMP, "2.0.0", newest, at(now)).await;
        world.publish(LAMP, "1.5.0", json!({}), at(now)).await;
        assert_eq!(offered(&world, "lamp-1", "1.0.0", now).await, "2.0.0");
        assert_eq!(offered(&world, "lamp-2", "1.0.0", now).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_products_never_mix() {
    let world = World::new(0).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish("lamp", "2.0.0", json!({}), now).await;
    world.publish("door", "3.0.0", json!({}), now).await;
    for (product, version) in [("lamp", "2.0.0"), ("door", "3.0.0")] {
        let said = json!({"id": "device-1", "product": product, "version": "1.0.0"});
        assert_eq!(world.check(&said, now).await.body["version"], version);
    }
    let token = world.token("lamp", "device-1");
    let stranger = json!({"id": "device-1", "product": "door", "version": "1.0.0"}).to_string();
    let asked = request("POST", "/v1/check", &[("authorization", &token)], &stranger, None);
    assert_eq!(answer(world.services.check.handle(asked, now).await).status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_counted_as_devices_move() {
    let world = started(json!({})).await;
    let now = at("2026-01-01T00:01:00Z");
    for number in 0..20 {
        world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), now).await;
    }
    for number in 0..7 {
        world.check(&lamp(&format!("lamp-{number}"), "2.0.0"), now).await;
        world.check(&lamp(&format!("lamp-{number}"), "2.0.0"), now).await;
    }
    world.count().await;
    let versions = world.operator("GET", "lamp/versions", Value::Null, now).await.body;
    assert_eq!(
        versions,
        json!({"versions": [{"version": "1.0.0", "devices": 13}, {"version": "2.0.0", "devices": 7}]})
    );
    let devices = world.operator("GET", "lamp/devices?version=2.0.0", Value::Null, now).await.body;
    assert_eq!(devices["devices"].as_array().unwrap().len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_often_an_update_was_put_off_is_stored_by_a_check_in_that_writes_anyway() {
    let world = started(json!({"rollout": {"limits": {"max_devices": 1}}})).await;
    for number in 0..5 {
        offered(&world, &format!("lamp-{number}"), "1.0.0", "2026-01-01T00:00:00Z").await;
    }
    assert_eq!(world.metrics("2.0.0", at("2026-01-01T00:01:00Z")).await["deferred"], json!({}));
    offered(&world, "lamp-5", "1.0.0", "2026-01-01T00:01:00Z").await;
    assert_eq!(world.metrics("2.0.0", at("2026-01-01T00:01:00Z")).await["deferred"], json!({"full": 4}));
}
