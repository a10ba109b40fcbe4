//! What operators order for one device, and for many.

use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_tests::{Answer, LAMP, World, at, lamp};

const NOON: &str = "2026-01-01T12:00:00Z";

async fn call(world: &World, method: &str, path: &str, body: Value, now: Timestamp) -> Value {
    let answer = world.operator(method, &format!("{LAMP}/{path}"), body, now).await;
    assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    answer.body
}

async fn refused(world: &World, method: &str, path: &str, body: Value) -> Answer {
    world.operator(method, &format!("{LAMP}/{path}"), body, at(NOON)).await
}

/// What a lamp is answered: the version, or the reason.
async fn asks(world: &World, device: &str, version: &str, now: Timestamp) -> String {
    let body = world.check(&lamp(device, version), now).await.body;
    let text = |name: &str| body[name].as_str().map(str::to_string);
    text("version").or(text("reason")).unwrap_or_default()
}

fn because(reason: &str) -> Value {
    json!({"reason": reason})
}

async fn device(world: &World, device: &str) -> Value {
    call(world, "GET", &format!("devices/{device}"), Value::Null, at(NOON)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_on_hold_is_offered_nothing_and_gives_back_what_it_has_not_installed() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at("2026-01-01T00:00:00Z")).await;
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at("2026-01-01T12:00:00Z")).await, "2.0.0");
    let held = call(&world, "POST", "devices/lamp-1/hold", because("in a measurement"), at(NOON)).await;
    assert_eq!(held["on_hold"], true);
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at("2026-01-01T12:01:00Z")).await, "on_hold");
    assert_eq!(device(&world, "lamp-1").await["claims"][0]["state"], "left");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T12:02:00Z")).await, "1 0 0 0 0", "its place is free");
    let why = call(&world, "GET", "devices/lamp-1/why", Value::Null, at(NOON)).await;
    assert_eq!(why["considered"][0]["objection"]["sentence"], "an operator has put the device on hold");
    call(&world, "POST", "devices/lamp-1/release", because("measured"), at("2026-01-01T12:03:00Z")).await;
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at("2026-01-01T12:04:00Z")).await, "2.0.0", "at once");
    let log = call(&world, "GET", "audit?version=lamp-1", Value::Null, at(NOON)).await;
    let log = log["items"].as_array().unwrap().iter();
    let log = log.map(|entry| format!("{} {}", entry["action"], entry["reason"])).collect::<Vec<_>>();
    assert_eq!(log, [r#""release" "measured""#, r#""hold" "in a measurement""#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_device_is_offered_one_version_or_stays() {
    let world = World::new(0).await;
    for version in ["1.5.0", "2.0.0"] {
        world.publish(LAMP, version, json!({}), at("2026-01-01T00:00:00Z")).await;
    }
    for device in ["lamp-1", "lamp-2", "lamp-3"] {
        call_unknown(&world, device).await;
        world.check(&json!({"id": device, "product": LAMP, "version": "9.0.0"}), at(NOON)).await;
    }
    let pin = |version: &str| json!({"version": version, "reason": "a customer asked"});
    call(&world, "POST", "devices/lamp-1/pin", pin("1.5.0"), at(NOON)).await;
    let pinned = call(&world, "POST", "devices/lamp-2/pin", pin("1.0.0"), at(NOON)).await;
    assert_eq!(pinned["pinned"], "1.0.0");
    let answers = ["lamp-1", "lamp-2", "lamp-3"].map(|device| asks(&world, device, "1.0.0", at(NOON)));
    let mut said = Vec::new();
    for answer in answers {
        said.push(answer.await);
    }
    assert_eq!(said, ["1.5.0", "pinned", "2.0.0"]);
    let why = call(&world, "GET", "devices/lamp-2/why", Value::Null, at(NOON)).await;
    assert_eq!(why["considered"][0]["objection"]["sentence"], "the device is pinned to 1.0.0");
    let bad = refused(&world, "POST", "devices/lamp-2/pin", pin("one")).await;
    assert_eq!((bad.status, bad.code()), (400, "bad_version"));
}

/// A device that nobody knows cannot get an order.
async fn call_unknown(world: &World, device: &str) {
    for (method, path) in [("POST", "hold"), ("POST", "release"), ("POST", "forget"), ("DELETE", "tags/site")] {
        let unknown = refused(world, method, &format!("devices/{device}/{path}"), because("a test")).await;
        assert_eq!((unknown.status, unknown.code()), (404, "unknown_device"), "{path}");
    }
}

/// A device's own word is no tag.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_asks_for_tags_and_a_device_cannot_tag_itself() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"policy": "tags.site == \"berlin\""}), at("2026-01-01T00:00:00Z")).await;
    let liar = json!({"id": "lamp-1", "product": LAMP, "version": "1.0.0", "tags": {"site": "berlin"}});
    assert_eq!(world.check(&liar, at(NOON)).await.body["reason"], "not_targeted");
    let tag = json!({"value": "berlin", "reason": "installed"});
    let tagged = call(&world, "PUT", "devices/lamp-1/tags/site", tag, at(NOON)).await;
    assert_eq!(tagged["tags"], json!({"site": "berlin"}));
    let other = json!({"id": "lamp-1", "product": LAMP, "version": "1.0.0", "tags": {"site": "paris"}});
    assert_eq!(world.check(&other, at(NOON)).await.body["version"], "2.0.0");
    let moved = json!({"value": "paris", "reason": "moved"});
    call(&world, "PUT", "devices/lamp-1/tags/site", moved, at(NOON)).await;
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at("2026-01-01T12:01:00Z")).await, "not_targeted");
    assert_eq!(device(&world, "lamp-1").await["claims"][0]["state"], "left", "its offer is taken back");
    let untagged = call(&world, "DELETE", "devices/lamp-1/tags/site", because("moved"), at(NOON)).await;
    assert_eq!(untagged["tags"], json!({}));
    for (name, value) in [("si te", "berlin"), ("site", ""), ("site", "a\nb")] {
        let name = tidegate_wire::route::percent_encoded(name);
        let body = json!({"value": value, "reason": "a test"});
        let bad = refused(&world, "PUT", &format!("devices/lamp-1/tags/{name}"), body).await;
        assert_eq!((bad.status, bad.code()), (400, "bad_field"), "{name} {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_for_the_devices_that_it_is_assigned_to() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"policy": "assigned"}), at("2026-01-01T00:00:00Z")).await;
    world.publish(LAMP, "3.0.0", json!({"policy": "assigned"}), at("2026-01-01T00:00:00Z")).await;
    for device in ["lamp-1", "lamp-2"] {
        assert_eq!(asks(&world, device, "1.0.0", at(NOON)).await, "not_targeted");
    }
    let to = |devices: &[&str]| json!({"devices": devices, "reason": "a customer asked"});
    let many = call(&world, "PUT", "updates/2.0.0/assigned", to(&["lamp-1", "stranger"]), at(NOON)).await;
    assert_eq!(many, json!({"changed": 1, "unchanged": ["stranger"], "next": null}));
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at(NOON)).await, "2.0.0", "and not 3.0.0");
    assert_eq!(asks(&world, "lamp-2", "1.0.0", at(NOON)).await, "not_targeted");
    assert_eq!(device(&world, "lamp-1").await["assigned"], json!(["2.0.0"]));
    let many = call(&world, "DELETE", "updates/2.0.0/assigned", to(&["lamp-1", "lamp-2"]), at(NOON)).await;
    assert_eq!(many, json!({"changed": 1, "unchanged": ["lamp-2"], "next": null}));
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at("2026-01-01T12:01:00Z")).await, "not_targeted");
    for body in [to(&[]), to(&vec!["lamp-1"; 501]), to(&["no id"])] {
        let bad = refused(&world, "PUT", "updates/2.0.0/assigned", body).await;
        assert_eq!((bad.status, bad.code()), (400, "bad_field"));
    }
    let unknown = refused(&world, "PUT", "updates/7.0.0/assigned", to(&["lamp-1"])).await;
    assert_eq!(unknown.code(), "unknown_update");
}

/// Twenty devices that were offered 2.0.0. `failed` of them say so, with a message that differs by a number.
async fn bad_rollout(world: &World, failed: u32) {
    let update = json!({"rollout": {"limits": {"max_in_flight": 40}}});
    world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
    for number in 0..20 {
        assert_eq!(asks(world, &format!("lamp-{number}"), "1.0.0", at(NOON)).await, "2.0.0");
    }
    for number in 0..failed {
        let device = format!("lamp-{number}");
        let body = json!({"id": device, "product": LAMP, "version": "2.0.0", "status": "INSTALL_ERROR",
            "message": format!("block {number} is bad")});
        let token = world.token(LAMP, &device);
        let request =
            tidegate_tests::request("POST", "/v1/report", &[("authorization", &token)], &body.to_string(), None);
        let answered = tidegate_tests::answer(world.services.report.handle(request, at(NOON)).await);
        assert_eq!(answered.body["recorded"], true, "{answered:?}");
    }
    world.count_at(at(NOON)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_that_are_struck_count_no_more_and_the_rollout_can_go_on() {
    let world = World::new(0).await;
    bad_rollout(&world, 4).await;
    let shown = call(&world, "GET", "updates/2.0.0", Value::Null, at(NOON)).await;
    assert_eq!(shown["state"], "held");
    let struck = json!({"devices": ["lamp-0", "lamp-1", "lamp-2", "lamp-19", "stranger"], "reason": "a broken bench"});
    let many = call(&world, "POST", "updates/2.0.0/void", struck.clone(), at(NOON)).await;
    assert_eq!(many, json!({"changed": 4, "unchanged": ["stranger"], "next": null}));
    let again = call(&world, "POST", "updates/2.0.0/void", struck, at(NOON)).await;
    assert_eq!(again["changed"], 0, "once");
    let metrics = world.metrics("2.0.0", at(NOON)).await;
    assert_eq!((&metrics["failed"], &metrics["voided"]), (&json!(1), &json!(4)));
    assert_eq!(metrics["health"]["sentence"], "1 of 16 devices failed; tolerated 1 %; evidence 1.4 of 200");
    // It stays held until an operator says so: nobody is surprised.
    assert_eq!(metrics["state"], "held");
    let resume = json!({"reason": "the bench was broken", "acknowledge": {"failed": 1}});
    call(&world, "POST", "updates/2.0.0/resume", resume, at(NOON)).await;
    assert_eq!(asks(&world, "lamp-30", "1.0.0", at("2026-01-01T12:05:00Z")).await, "2.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_with_one_outcome_get_another_try_and_their_messages_are_grouped() {
    let world = World::new(0).await;
    bad_rollout(&world, 3).await;
    let reasons = call(&world, "GET", "updates/2.0.0/reasons", Value::Null, at(NOON)).await;
    let expected = json!({"items": [{"state": "failed", "message": "block # is bad", "devices": 3}], "complete": true});
    assert_eq!(reasons, expected);
    let page = call(&world, "GET", "updates/2.0.0/devices?state=failed&limit=2", Value::Null, at(NOON)).await;
    assert_eq!(page["items"][1]["message"], "block 1 is bad");
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (2, &json!("lamp-1")));
    let last = call(&world, "GET", "updates/2.0.0/devices?state=failed&after=lamp-1", Value::Null, at(NOON)).await;
    assert_eq!((&last["items"][0]["id"], &last["next"]), (&json!("lamp-2"), &Value::Null));
    assert_eq!(device(&world, "lamp-2").await["claims"][0]["message"], "block 2 is bad");
    assert_eq!(asks(&world, "lamp-0", "1.0.0", at("2026-01-01T12:01:00Z")).await, "retry_later");
    let retry = json!({"state": "failed", "reason": "the server was down"});
    let many = call(&world, "POST", "updates/2.0.0/retry", retry.clone(), at("2026-01-01T12:01:00Z")).await;
    assert_eq!(many, json!({"changed": 3, "unchanged": [], "next": null}));
    for number in 0..3 {
        let now = at("2026-01-01T12:02:00Z");
        assert_eq!(asks(&world, &format!("lamp-{number}"), "1.0.0", now).await, "2.0.0");
    }
    assert_eq!(
        world.metrics("2.0.0", at("2026-01-01T12:03:00Z")).await["failed"],
        3,
        "until they have another outcome"
    );
    for (path, code) in [
        ("updates/2.0.0/devices", "bad_field"),
        ("updates/2.0.0/devices?state=proved", "bad_field"),
        ("updates/2.0.0/devices?state=failed&limit=201", "bad_field"),
        ("updates/2.0.1/reasons", "unknown_update"),
    ] {
        assert_eq!(refused(&world, "GET", path, Value::Null).await.code(), code, "{path}");
    }
    let unknown = refused(&world, "POST", "updates/2.0.0/retry", json!({"state": "happy", "reason": "x"})).await;
    assert_eq!(unknown.status, 400, "{unknown:?}");
}

/// Another device with the same id is another device. `max_devices` has given its place, and does not take it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_device_may_have_every_update_again() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_devices": 2}}}), at("2026-01-01T00:00:00Z")).await;
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at(NOON)).await, "2.0.0");
    world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at(NOON)).await;
    for hour in ["14", "15"] {
        asks(&world, "lamp-1", "1.0.0", at(&format!("2026-01-01T{hour}:00:00Z"))).await;
    }
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at("2026-01-01T16:00:00Z")).await, "reverted");
    let forgotten =
        call(&world, "POST", "devices/lamp-1/forget", because("replaced"), at("2026-01-01T16:01:00Z")).await;
    assert_eq!(forgotten, json!({"forgotten": ["2.0.0"]}));
    assert_eq!(world.metrics("2.0.0", at("2026-01-01T16:01:00Z")).await["reverted"], 0);
    assert_eq!(asks(&world, "lamp-1", "1.0.0", at("2026-01-01T16:02:00Z")).await, "2.0.0");
    assert_eq!(asks(&world, "lamp-2", "1.0.0", at("2026-01-01T16:02:00Z")).await, "full", "two places were given");
    let nothing = call(&world, "POST", "devices/lamp-2/forget", because("a test"), at("2026-01-01T16:03:00Z")).await;
    assert_eq!(nothing, json!({"forgotten": []}));
}

/// A check-in has read the device, an operator puts it on hold, and the grant finds another device than was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_comes_during_a_check_in_is_heeded() {
    use tidegate_engine::check_in::{CheckInResult, CheckIns, Said};
    use tidegate_store::store::Include;

    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at("2026-01-01T00:00:00Z")).await;
    world.publish(LAMP, "1.0.0", json!({"policy": "false"}), at("2026-01-01T00:00:00Z")).await;
    assert_eq!(asks(&world, "lamp-1", "2.0.0", at("2026-01-01T01:00:00Z")).await, "up_to_date");
    let checks = CheckIns::new(world.store.clone(), world.images.clone(), 0);
    let product = tidegate_core::ProductId::new(LAMP).unwrap();
    let id = tidegate_core::DeviceId::new("lamp-1").unwrap();
    let proof = tidegate_engine::token::Proof::Device { generation: 0 };
    let mut context = checks.context(&product, &id, proof, Include::Item, at(NOON)).await.unwrap();
    call(&world, "POST", "devices/lamp-1/hold", because("in a measurement"), at(NOON)).await;
    let device = tidegate_core::Device {
        id,
        product,
        version: tidegate_core::Version::new(1, 0, 0),
        attributes: tidegate_core::attributes::Attributes::default(),
        said: None,
        delivery: tidegate_core::device::Delivery::Anything,
        orders: tidegate_core::orders::Orders::default(),
    };
    let result = checks.check_in(&device, &mut context, Said::Version, None, at(NOON)).await.unwrap();
    let CheckInResult::Nothing(nothing) = result else {
        panic!("{result:?}");
    };
    assert_eq!(nothing.reason.name(), "on_hold");
}
