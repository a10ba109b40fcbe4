//! The life of a claim: offered, asked for again, reported, proved, taken back, lost, tried again.

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
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0", "a word proves nothing");
    world.check(&lamp("lamp-1", "2.0.0"), now).await;
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
    let late = world.report("lamp-1", "2.0.0", "DOWNLOAD_ERROR", now).await.body;
    assert_eq!(late, json!({"recorded": false, "reason": "not_under_way"}));
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
async fn an_offer_stays_and_its_urls_are_fresh() {
    let world = started(json!({})).await;
    for (now, ends) in
        [("2026-01-01T00:01:00Z", "2026-01-01T00:16:00Z"), ("2026-01-05T00:01:00Z", "2026-01-05T00:16:00Z")]
    {
        let told = world.check(&lamp("lamp-1", "1.0.0"), at(now)).await.body;
        assert_eq!((&told["version"], &told["expires_at"]), (&json!("2.0.0"), &json!(ends)));
    }
    assert_eq!(world.counts("2.0.0", at("2026-01-05T00:02:00Z")).await, "1 1 0 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_in_with_the_new_version_proves_once() {
    let world = started(json!({})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:01:00Z").await;
    for minute in 2..5 {
        let now = format!("2026-01-01T00:0{minute}:00Z");
        assert_eq!(offered(&world, "lamp-1", "2.0.0", &now).await, "up_to_date");
    }
    assert_eq!(world.counts("2.0.0", at("2026-01-01T00:09:00Z")).await, "1 0 1 0 0");
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T00:09:00Z")).await;
    assert_eq!(world.counts("2.0.0", at("2026-01-01T00:10:00Z")).await, "1 0 1 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_report_proves_anything_whatever_it_says() {
    let world = started(json!({})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:01:00Z").await;
    for status in ["INSTALLED_VERSION", "INSTALL_SUCCESS"] {
        world.report("lamp-1", "2.0.0", status, at("2026-01-01T00:02:00Z")).await;
        assert_eq!(world.counts("2.0.0", at("2026-01-01T00:03:00Z")).await, "1 1 0 0 0", "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_an_operator_brings_back_did_not_fall_back() {
    let world = started(json!({})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:00:00Z").await;
    offered(&world, "lamp-1", "2.0.0", "2026-01-01T01:00:00Z").await;
    let back = json!({"rollback_from": ["2.0.0"]});
    world.publish(LAMP, "1.0.0", back, at("2026-01-01T02:00:00Z")).await;
    assert_eq!(offered(&world, "lamp-1", "2.0.0", "2026-01-01T03:00:00Z").await, "1.0.0");
    for hour in 4..8 {
        offered(&world, "lamp-1", "1.0.0", &format!("2026-01-01T0{hour}:00:00Z")).await;
    }
    assert_eq!(world.counts("1.0.0", at("2026-01-01T09:00:00Z")).await, "1 0 1 0 0");
    let metrics = world.metrics("2.0.0", at("2026-01-01T09:00:00Z")).await;
    assert_eq!((&metrics["proved"], &metrics["reverted"]), (&json!(1), &json!(0)));
}

/// The first edition said "succeeded 40, failed 0" of forty such devices.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_reports_success_and_says_the_old_version_twice_fell_back() {
    let world = started(json!({})).await;
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:00:00Z").await, "2.0.0");
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T00:01:00Z")).await;
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:30:00Z").await, "retry_later", "it boots");
    assert_eq!(
        offered(&world, "lamp-1", "1.0.0", "2026-01-01T01:30:00Z").await,
        "retry_later",
        "it may have lied once"
    );
    assert_eq!(world.counts("2.0.0", at("2026-01-01T01:31:00Z")).await, "1 1 0 0 0");
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-01T02:30:00Z").await, "reverted");
    let metrics = world.metrics("2.0.0", at("2026-01-01T02:31:00Z")).await;
    assert_eq!((&metrics["reverted"], &metrics["in_flight"]), (&json!(1), &json!(0)));
    // A proof is stronger than everything before.
    assert_eq!(offered(&world, "lamp-1", "2.0.0", "2026-01-01T03:30:00Z").await, "up_to_date");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T03:31:00Z")).await, "1 0 1 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_falls_back_to_the_image_of_its_factory_fell_back() {
    let world = started(json!({})).await;
    for (device, proves) in [("lamp-1", false), ("lamp-2", true)] {
        offered(&world, device, "1.0.0", "2026-01-01T00:00:00Z").await;
        world.report(device, "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T00:01:00Z")).await;
        if proves {
            offered(&world, device, "2.0.0", "2026-01-01T00:02:00Z").await;
        }
        for hour in 2..4 {
            offered(&world, device, "0.9.0", &format!("2026-01-01T0{hour}:00:00Z")).await;
        }
        assert_eq!(offered(&world, device, "0.9.0", "2026-01-01T04:00:00Z").await, "reverted");
    }
    let metrics = world.metrics("2.0.0", at("2026-01-01T04:01:00Z")).await;
    assert_eq!((&metrics["reverted"], &metrics["in_flight"]), (&json!(2), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_a_device_that_fell_back_another_try() {
    let world = started(json!({})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:00:00Z").await;
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T00:01:00Z")).await;
    let retry = async |now: &str| {
        let body = json!({"reason": "its cable was bad"});
        world.operator("POST", "lamp/devices/lamp-1/retry", body, at(now)).await.body["retried"].clone()
    };
    assert_eq!(retry("2026-01-01T00:02:00Z").await, json!([]), "it has not ended");
    for hour in 2..4 {
        offered(&world, "lamp-1", "1.0.0", &format!("2026-01-01T0{hour}:00:00Z")).await;
    }
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-01T04:00:00Z").await, "reverted");
    assert_eq!(retry("2026-01-01T05:00:00Z").await, json!(["2.0.0"]));
    assert_eq!(retry("2026-01-01T05:01:00Z").await, json!([]));
    let counts = world.metrics("2.0.0", at("2026-01-01T05:02:00Z")).await;
    assert_eq!((&counts["offered"], &counts["reverted"]), (&json!(1), &json!(1)), "it stays counted");
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-01T06:00:00Z").await, "2.0.0");
    assert_eq!(offered(&world, "lamp-1", "2.0.0", "2026-01-01T07:00:00Z").await, "up_to_date");
    let counts = world.metrics("2.0.0", at("2026-01-01T07:01:00Z")).await;
    assert_eq!((&counts["offered"], &counts["reverted"], &counts["proved"]), (&json!(1), &json!(0), &json!(1)));
    let log = world.operator("GET", "lamp/audit", Value::Null, at("2026-01-01T08:00:00Z")).await.body;
    let retries = log["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "retry");
    assert_eq!(retries.map(|entry| entry["version"].clone()).collect::<Vec<_>>(), [json!("lamp-1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_a_success_is_believed() {
    let world = started(json!({})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:00:00Z").await;
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T00:01:00Z")).await;
    world.report("lamp-1", "2.0.0", "INSTALL_ERROR", at("2026-01-01T00:02:00Z")).await;
    assert_eq!(world.counts("2.0.0", at("2026-01-01T00:03:00Z")).await, "1 0 0 1 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_moves_on_to_another_version_gives_its_place_back() {
    let world = started(json!({})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:00:00Z").await;
    assert_eq!(offered(&world, "lamp-1", "1.9.0", "2026-01-01T01:00:00Z").await, "retry_later");
    let metrics = world.metrics("2.0.0", at("2026-01-01T01:01:00Z")).await;
    let counts = ["in_flight", "left", "failed", "lost"].map(|count| metrics[count].as_u64().unwrap());
    assert_eq!(counts, [0, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_device_that_is_silent_for_longer_than_its_cadence_is_lost() {
    let world = started(json!({"rollout": {"limits": {"max_in_flight": 2}}})).await;
    for device in ["lamp-1", "lamp-2"] {
        assert_eq!(offered(&world, device, "1.0.0", "2026-01-01T00:00:00Z").await, "2.0.0");
    }
    world.count().await;
    // One of them goes on waiting, on the old version.
    for day in 2..6 {
        let now = format!("2026-01-0{day}T00:00:00Z");
        assert_eq!(offered(&world, "lamp-2", "1.0.0", &now).await, "2.0.0");
    }
    // 90 hours after the grant, at the end of a minute, and a minute later.
    let sweep = async |now| world.services.sweep.sweep(at(now)).await.unwrap().lost;
    assert_eq!(sweep("2026-01-04T18:01:00Z").await, 0);
    assert_eq!(sweep("2026-01-04T18:02:01Z").await, 1);
    assert_eq!(sweep("2026-01-04T18:02:01Z").await, 0);
    assert_eq!(world.counts("2.0.0", at("2026-01-05T00:01:00Z")).await, "2 2 0 0 1", "it keeps its place");
    assert_eq!(offered(&world, "lamp-3", "1.0.0", "2026-01-05T00:02:00Z").await, "too_many_in_flight");
    // Any word brings it back.
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-05T00:03:00Z").await, "2.0.0");
    assert_eq!(world.counts("2.0.0", at("2026-01-05T00:04:00Z")).await, "2 2 0 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_apply_the_update_in_time_gives_its_place_back() {
    let world = started(json!({})).await;
    offered(&world, "lamp-1", "1.0.0", "2026-01-01T00:00:00Z").await;
    for day in 2..9 {
        assert_eq!(offered(&world, "lamp-1", "1.0.0", &format!("2026-01-0{day}T00:00:00Z")).await, "2.0.0");
    }
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-09T00:00:00Z").await, "retry_later");
    let metrics = world.metrics("2.0.0", at("2026-01-09T00:01:00Z")).await;
    let counts = ["in_flight", "not_taken", "failed", "lost"].map(|count| metrics[count].as_u64().unwrap());
    assert_eq!(counts, [0, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_did_wears_off_and_a_third_failure_bars_it_for_a_month() {
    let world = started(json!({"rollout": {"health": {"min_failures": 1000}}})).await;
    let mut wait_until = vec!["2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z", "2026-01-02T10:00:00Z"];
    for now in wait_until.drain(..) {
        assert_eq!(offered(&world, "lamp-1", "1.0.0", now).await, "2.0.0", "{now}");
        world.report("lamp-1", "2.0.0", "INSTALL_ERROR", at(now)).await;
        let told = offered(&world, "lamp-1", "1.0.0", now).await;
        assert_eq!(told, if now == "2026-01-02T10:00:00Z" { "failed_before" } else { "retry_later" });
    }
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-30T00:00:00Z").await, "failed_before");
    assert_eq!(offered(&world, "lamp-1", "1.0.0", "2026-01-31T00:00:00Z").await, "2.0.0");
    // Transfers and a user's "no" are no failures.
    offered(&world, "lamp-2", "1.0.0", "2026-01-01T03:00:00Z").await;
    world.report("lamp-2", "2.0.0", "INSTALL_ABORTED", at("2026-01-01T03:01:00Z")).await;
    assert_eq!(offered(&world, "lamp-2", "1.0.0", "2026-01-01T03:02:00Z").await, "retry_later");
    offered(&world, "lamp-3", "1.0.0", "2026-01-01T03:00:00Z").await;
    world.report("lamp-3", "2.0.0", "DOWNLOAD_ERROR", at("2026-01-01T03:01:00Z")).await;
    assert_eq!(offered(&world, "lamp-3", "1.0.0", "2026-01-01T03:30:00Z").await, "2.0.0");
    let metrics = world.metrics("2.0.0", at("2026-02-01T01:00:00Z")).await;
    let counts = ["failed", "declined", "transfer_failed"].map(|count| metrics[count].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 0], "lamp-3 tries again, and is a trial again");
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
        json!({"items": [{"version": "1.0.0", "devices": 13}, {"version": "2.0.0", "devices": 7}], "next": null})
    );
    let devices = world.operator("GET", "lamp/devices?version=2.0.0", Value::Null, now).await.body;
    assert_eq!(devices["items"].as_array().unwrap().len(), 7);
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
