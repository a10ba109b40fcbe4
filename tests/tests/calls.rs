//! What a check-in costs, counted by the SDK's own interceptor.

use serde_json::json;
use tidegate_tests::{LAMP, World, answer, at, lamp, request};

const NO_CALLS: [&str; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn a_check_in_that_offers_nothing_is_one_read() {
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish(LAMP, "2.0.0", json!({"policy": "region == \"eu\""}), now).await;
    world.check(&lamp("lamp-1", "1.0.0"), now).await;
    let _warm_up = world.calls.take();

    let answer = world.check(&lamp("lamp-1", "1.0.0"), now).await;
    assert_eq!(answer.body["reason"], "not_targeted");
    assert_eq!(world.calls.take(), ["GetItem"], "the device with its claims");

    let a_second_later = at("2026-01-01T00:00:01Z");
    world.check(&lamp("lamp-1", "1.0.0"), a_second_later).await;
    assert_eq!(world.calls.take(), ["GetItem", "GetItem"], "and the small head, once a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_one_transaction_after_one_look_at_its_shard_in_a_second_and_a_repeat_is_one_read() {
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    // One shard.
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 10}}}), now).await;
    world.check(&lamp("lamp-0", "2.0.0"), now).await;
    world.check(&lamp("lamp-3", "2.0.0"), now).await;
    let _warm_up = world.calls.take();

    let offer = world.check(&lamp("lamp-1", "1.0.0"), now).await;
    assert_eq!(offer.body["version"], "2.0.0");
    let of_a_stranger = ["GetItem", "GetItem", "UpdateItem", "TransactWriteItems"];
    assert_eq!(world.calls.take(), of_a_stranger, "the device, its shard, its device.json, and the grant");

    let offer = world.check(&lamp("lamp-2", "1.0.0"), now).await;
    assert_eq!(offer.body["version"], "2.0.0");
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem", "TransactWriteItems"], "its shard had room a moment ago");

    let offer = world.check(&lamp("lamp-3", "1.0.0"), now).await;
    assert_eq!(offer.body["version"], "2.0.0");
    assert_eq!(world.calls.take(), ["GetItem", "TransactWriteItems"], "its device.json is stored already");

    let again = world.check(&lamp("lamp-1", "1.0.0"), now).await;
    assert_eq!(again.body["version"], "2.0.0");
    assert_eq!(world.calls.take(), ["GetItem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_rollout_costs_no_write() {
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_devices": 1}}}), now).await;
    world.check(&lamp("lamp-0", "1.0.0"), now).await;
    // The second device learns that the shard is full, and both have been seen.
    world.check(&lamp("lamp-1", "1.0.0"), now).await;
    let _warm_up = world.calls.take();
    let answer = world.check(&lamp("lamp-1", "1.0.0"), now).await;
    assert_eq!(answer.body["reason"], "full");
    assert_eq!(world.calls.take(), ["GetItem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_place_costs_one_look_at_the_shard_in_a_second_and_no_write() {
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 1}}}), now).await;
    for device in ["lamp-0", "lamp-1", "lamp-2"] {
        world.check(&lamp(device, "1.0.0"), now).await;
    }
    let _warm_up = world.calls.take();
    for second in 1..4 {
        let now = at(&format!("2026-01-01T00:00:0{second}Z"));
        for (device, calls) in [("lamp-1", vec!["GetItem"; 3]), ("lamp-2", vec!["GetItem"])] {
            let answer = world.check(&lamp(device, "1.0.0"), now).await;
            assert_eq!(answer.body["reason"], "too_many_in_flight", "{device}");
            assert_eq!(world.calls.take(), calls, "the head, {device}, and the shard");
        }
    }
    world.installs("lamp-0", "2.0.0", at("2026-01-01T00:00:04Z")).await;
    let now = at("2026-01-01T00:00:05Z");
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), now).await.body["reason"], "too_many_in_flight");
    world.count().await;
    let now = at("2026-01-01T00:00:06Z");
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), now).await.body["version"], "2.0.0", "its end was counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_costs_no_call_at_all() {
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish(LAMP, "2.0.0", json!({}), now).await;
    let _publishing = world.calls.take();
    let body = lamp("lamp-1", "1.0.0").to_string();
    let of_another = world.token(LAMP, "lamp-2");
    for token in ["", "bearer", "d1.local.AAAA", "p1.local.AAAA", &of_another] {
        for path in ["/v1/check", "/tok/provision/update"] {
            let asked = request("POST", path, &[("authorization", token)], &body, None);
            assert_eq!(answer(world.services.check.handle(asked, now).await).status, 401, "{path} {token}");
        }
        let report = json!({"id": "lamp-1", "product": LAMP, "version": "2.0.0", "status": "INIT"}).to_string();
        let asked = request("POST", "/v1/report", &[("authorization", token)], &report, None);
        assert_eq!(answer(world.services.report.handle(asked, now).await).status, 401, "{token}");
    }
    let anonymous = request("POST", "/v1/check", &[], &body, None);
    assert_eq!(answer(world.services.check.handle(anonymous, now).await).status, 401);
    assert_eq!(world.calls.take(), NO_CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_a_check_in_does_not_grow_with_the_catalog() {
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    for minor in 0..40 {
        let update = json!({"policy": "region == \"eu\"", "kind": "json", "payload": {}});
        let mut update = update;
        update["version"] = json!(format!("2.{minor}.0"));
        world.operator("POST", "lamp/updates", update, now).await;
        world.operator("POST", &format!("lamp/updates/2.{minor}.0/activate"), json!({}), now).await;
    }
    world.check(&lamp("lamp-1", "1.0.0"), now).await;
    let _warm_up = world.calls.take();
    world.check(&lamp("lamp-1", "1.0.0"), now).await;
    assert_eq!(world.calls.take(), ["GetItem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_one_read_and_one_write() {
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish(LAMP, "2.0.0", json!({}), now).await;
    world.check(&lamp("lamp-1", "1.0.0"), now).await;
    let _before = world.calls.take();
    world.report("lamp-1", "2.0.0", "DOWNLOAD", now).await;
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem"]);
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", now).await;
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem"]);
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", now).await;
    assert_eq!(world.calls.take(), ["GetItem"], "an outcome counts once");
}
