//! Kaa's 7/CMP over the real handlers: an endpoint's life, and what can go wrong in it.

use serde_json::{Value, json};
use tidegate_core::{DeviceId, ProductId, Timestamp};
use tidegate_tests::{Answer, LAMP, World, answer, at, file, get, lamp, put, request};

const NO_CALLS: [&str; 0] = [];

fn token(world: &World, device: &str) -> String {
    world.keys.issue_named(&ProductId::new(LAMP).unwrap(), &DeviceId::new(device).unwrap(), true)
}

async fn call(world: &World, app: &str, token: &str, rest: &str, body: &str, now: Timestamp) -> Answer {
    let asked = request("POST", &format!("/kpc/kp1/{app}/cmx_ota/{token}/{rest}"), &[], body, None);
    answer(match rest.starts_with("applied") {
        true => world.services.report.handle(asked, now).await,
        false => world.services.check.handle(asked, now).await,
    })
}

async fn config(world: &World, device: &str, body: Value, now: Timestamp) -> Answer {
    call(world, LAMP, &token(world, device), "config/json", &body.to_string(), now).await
}

async fn applied(world: &World, device: &str, body: Value, now: Timestamp) -> Answer {
    call(world, LAMP, &token(world, device), "applied/json", &body.to_string(), now).await
}

async fn world(update: Value, now: Timestamp) -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", update, now).await;
    world
}

fn noon() -> Timestamp {
    at("2026-01-01T12:00:00Z")
}

/// The endpoint of Kaa's own samples: asks with its version, takes `config.link` where `statusCode` is 200,
/// and says at its next boot what it runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_asks_is_told_and_says_what_it_has_applied() {
    let now = tidegate_http::edge::now();
    let world = world(json!({"specification": {"board": "esp32"}, "compatible_from": ["=1.0.0"]}), now).await;
    let told = config(&world, "e1", json!({"configId": "1.0.0", "observe": true}), now).await;
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!((&told.body["statusCode"], &told.body["reasonPhrase"]), (&json!(200), &json!("ok")));
    assert_eq!((&told.body["configId"], &told.body["config"]["board"]), (&json!("2.0.0"), &json!("esp32")));
    let (status, bytes) = get(told.body["config"]["link"].as_str().unwrap()).await;
    assert_eq!((status, bytes.as_slice()), (200, b"firmware 2.0.0 of lamp".as_slice()));
    assert_eq!(told.body["config"]["checksum"], file("x", &bytes)["sha256"]);
    // Asking again costs no second slot, and an endpoint that says nothing is the one it was.
    for body in [json!({"configId": "1.0.0"}), json!({}), json!({"configId": ""}), json!({"observe": false})] {
        assert_eq!(config(&world, "e1", body, now).await.body["configId"], "2.0.0");
    }
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");
    for _ in 0..2 {
        let heard = applied(&world, "e1", json!({"configId": "2.0.0"}), now).await;
        assert_eq!((heard.status, &heard.body["statusCode"]), (200, &json!(200)));
    }
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0", "a word proves nothing");
    for body in [json!({"configId": "2.0.0"}), json!({})] {
        assert_eq!(config(&world, "e1", body, now).await.body, json!({}), "unchanged");
    }
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_reports_has_applied_what_it_asks_with() {
    let (now, world) = (noon(), world(json!({}), noon()).await);
    config(&world, "e1", json!({"configId": "1.0.0"}), now).await;
    assert_eq!(config(&world, "e1", json!({"configId": "2.0.0"}), now).await.body, json!({}));
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_and_never_applies_it_gives_its_place_back() {
    let world = world(json!({}), noon()).await;
    config(&world, "e1", json!({"configId": "1.0.0"}), noon()).await;
    for day in 2..11 {
        config(&world, "e1", json!({}), at(&format!("2026-01-{day:02}T12:00:00Z"))).await;
    }
    let metrics = world.metrics("2.0.0", at("2026-01-10T13:00:00Z")).await;
    assert_eq!((&metrics["not_taken"], &metrics["in_flight"]), (&json!(1), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_counts_once_and_a_late_success_moves_it() {
    let (now, world) = (noon(), world(json!({"rollout": {"max_attempts": 1}}), noon()).await);
    config(&world, "e1", json!({"configId": "1.0.0"}), now).await;
    for code in [400, 500, 404] {
        let body = json!({"configId": "2.0.0", "statusCode": code, "reasonPhrase": "no space"});
        assert_eq!(applied(&world, "e1", body, now).await.status, 200);
    }
    assert_eq!(world.counts("2.0.0", now).await, "1 0 0 1 0");
    assert_eq!(config(&world, "e1", json!({"configId": "1.0.0"}), now).await.body, json!({}), "it had its attempt");
    applied(&world, "e1", json!({"configId": "2.0.0", "statusCode": 200}), now).await;
    assert_eq!(world.counts("2.0.0", now).await, "1 0 0 1 0", "it is to show it");
    config(&world, "e1", json!({"configId": "2.0.0"}), now).await;
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_says_at_its_boot_what_it_runs() {
    let (now, world) = (noon(), world(json!({}), noon()).await);
    assert_eq!(config(&world, "e1", json!({}), now).await.body, json!({}), "it has not said what it runs");
    assert_eq!(applied(&world, "e1", json!({"configId": "1.0.0"}), now).await.status, 200);
    assert_eq!(config(&world, "e1", json!({}), now).await.body["configId"], "2.0.0");
    let device = world.operator("GET", "lamp/devices/e1", Value::Null, now).await;
    assert_eq!(device.body["version"], "1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_a_status_code_and_a_reason_phrase() {
    let (now, world) = (noon(), world(json!({}), noon()).await);
    config(&world, "e1", json!({"configId": "1.0.0"}), now).await;
    let good = token(&world, "e1");
    let _before = world.calls.take();
    let long = format!("{LAMP}~e1~{}", world.token(LAMP, "e1"));
    for (app, token, status) in [
        (LAMP, &good, 200),
        (LAMP, &long, 200),
        (LAMP, &long.trim_start_matches(LAMP).to_string(), 200),
        ("door", &good, 401),
        (LAMP, &good.replace("e1", "e2"), 401),
        (LAMP, &world.token(LAMP, "e1"), 401),
        (LAMP, &"x".to_string(), 401),
    ] {
        let got = call(&world, app, token, "config/json", r#"{"configId":"1.0.0"}"#, now).await;
        assert_eq!(got.status, status, "{app} {token}: {got:?}");
        assert_eq!(got.body["statusCode"], json!(status), "{got:?}");
        let calls = world.calls.take();
        assert_eq!(calls.is_empty(), status == 401, "a bad token costs no call at all: {calls:?}");
    }
    for (rest, body, status) in [
        ("config/json", "{".to_string(), 400),
        ("config/json", r#"{"configId":"latest"}"#.to_string(), 400),
        ("config/json", r#"{"configId":1}"#.to_string(), 400),
        ("applied/json", "[]".to_string(), 400),
        ("applied/json", "{}".to_string(), 400),
        ("applied/json", r#"{"configId":"2.0.0","statusCode":"fine"}"#.to_string(), 400),
        ("applied/json", format!(r#"{{"configId":"2.0.0","reasonPhrase":"{}"}}"#, "x".repeat(16 * 1024)), 413),
        ("config/yaml", "{}".to_string(), 404),
    ] {
        let got = call(&world, LAMP, &good, rest, &body, now).await;
        assert_eq!(got.status, status, "{rest} {body:.60}: {got:?}");
        assert_eq!(got.body["statusCode"], json!(status), "{got:?}");
        assert!(got.body["reasonPhrase"].is_string(), "{got:?}");
    }
    assert_eq!(world.calls.take(), NO_CALLS);
    let got = applied(&world, "e2", json!({"configId": "2.0.0", "statusCode": 400}), now).await;
    assert_eq!(got.status, 404, "it was not given 2.0.0: {got:?}");
    let asked = request("GET", &format!("/kpc/kp1/{LAMP}/cmx_ota/{good}/config/json"), &[], "", None);
    assert_eq!(answer(world.services.check.handle(asked, now).await).status, 405);
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");
    world.operator("DELETE", "lamp/devices/e1/token", Value::Null, now).await;
    assert_eq!(config(&world, "e1", json!({"configId": "1.0.0"}), now).await.status, 401);
    assert_eq!(applied(&world, "e1", json!({"configId": "2.0.0"}), now).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specification_reaches_the_endpoint_as_it_was_published() {
    let now = noon();
    let world = World::new(0).await;
    let real = tidegate_http::edge::now();
    let two = [file("a.bin", b"a"), file("b.bin", b"b")];
    for (version, update, pointer, expected) in [
        ("2.1.0", json!({"kind": "json", "payload": {"colour": "red"}}), "/config/colour", json!("red")),
        (
            "2.2.0",
            json!({"kind": "url_list", "payload": ["https://example.com/a"], "specification": {"link": "https://example.com/a", "x": 1}}),
            "/config",
            json!({"link": "https://example.com/a", "x": 1}),
        ),
        (
            "2.3.0",
            json!({"kind": "url_list", "payload": ["https://example.com/a"]}),
            "/config/link",
            json!("https://example.com/a"),
        ),
        ("2.4.0", json!({"kind": "json", "payload": {}, "specification": "free"}), "/config", json!("free")),
        ("2.5.0", json!({"files": two, "specification": {"checksum": "0123"}}), "/config/checksum", json!("0123")),
        ("2.6.0", json!({"files": two}), "/config/files/1/name", json!("b.bin")),
    ] {
        let mut update = update;
        update["version"] = json!(version);
        let created = world.operator("POST", "lamp/updates", update, real).await;
        for (upload, bytes) in created.body["uploads"].as_array().unwrap().iter().zip([b"a", b"b"]) {
            put(upload, bytes.to_vec()).await;
        }
        let activated = world.operator("POST", &format!("lamp/updates/{version}/activate"), json!({}), now).await;
        assert_eq!(activated.status, 200, "{activated:?}");
        let told = config(&world, "e1", json!({"configId": "1.0.0"}), now).await;
        assert_eq!(told.body["configId"], version);
        assert_eq!(told.body.pointer(pointer), Some(&expected), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_costs_what_a_check_in_costs() {
    let world = World::new(1000).await;
    let now = noon();
    world
        .publish(LAMP, "2.0.0", json!({"policy": "id != \"e2\"", "rollout": {"limits": {"max_in_flight": 10}}}), now)
        .await;
    world.check(&lamp("e0", "1.0.0"), now).await;
    let _warm_up = world.calls.take();
    let body = || json!({"configId": "1.0.0"});
    config(&world, "e1", body(), now).await;
    assert_eq!(world.calls.take(), ["Query", "UpdateItem", "TransactWriteItems"], "even for an endpoint never seen");
    config(&world, "e1", body(), now).await;
    assert_eq!(world.calls.take(), ["Query"]);
    config(&world, "e2", body(), now).await;
    let _seen = world.calls.take();
    assert_eq!(config(&world, "e2", body(), now).await.body, json!({}));
    assert_eq!(world.calls.take(), ["Query"]);
    applied(&world, "e1", json!({"configId": "2.0.0"}), now).await;
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem"]);
    applied(&world, "e1", json!({"configId": "2.0.0"}), now).await;
    assert_eq!(world.calls.take(), ["GetItem"]);
}

async fn otao(world: &World, method: &str, version: &str, body: Value) -> Answer {
    let slash = if version.is_empty() { "" } else { "/" };
    let path = format!("/otao/api/v1/applications/{LAMP}/software{slash}{version}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let asked = request(method, &path, &[], &body, Some("arn:aws:iam::1:user/ada"));
    answer(world.services.publish.handle(asked, noon()).await)
}

/// The object that Kaa's REST documentation describes.
fn software(version: &str, strategy: &str) -> Value {
    json!({
        "version": version, "specification": {"link": "https://example.com/a.bin"}, "metadata": {"commit": "5b1e2f0"},
        "upgradableFrom": ["1.0.0", "1.1.0"], "rolloutStrategy": strategy,
        "filters": [{"filterId": "f1", "rolloutDate": "2026-01-01T06:00:00Z"}]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_software_is_created_started_held_and_withdrawn_in_kaas_words() {
    let (now, world) = (noon(), World::new(0).await);
    assert_eq!(otao(&world, "GET", "", Value::Null).await.code(), "unknown_product");
    let created = otao(&world, "POST", "", software("2.0.0", "targeted")).await;
    assert_eq!((created.status, &created.body["state"]), (201, &json!("draft")), "{created:?}");
    let notes = created.body["notes"].to_string();
    assert!(notes.contains("filters[0] (f1)") && notes.contains("PUT it with rolloutStrategy targeted"), "{notes}");
    assert_eq!(otao(&world, "POST", "", software("2.0.0", "targeted")).await.body, created.body, "a repeat");
    let mut other = software("2.0.0", "targeted");
    other["upgradableFrom"] = json!(["1.0.0"]);
    assert_eq!(otao(&world, "POST", "", other.clone()).await.code(), "version_exists");

    // In a filter, on a listed version, once its roll-out has begun; and nobody else.
    world.check(&json!({"id": "e1", "product": LAMP, "version": "1.0.0", "kaa_filters": ["f1"]}), now).await;
    assert_eq!(config(&world, "e1", json!({"configId": "1.0.0"}), now).await.body, json!({}), "it is a draft");
    for (strategy, state, is_told) in [
        ("targeted", "active", true),
        ("targeted", "active", true),
        ("suspended", "paused", false),
        ("targeted", "active", true),
    ] {
        let put = otao(&world, "PUT", "2.0.0", software("2.0.0", strategy)).await;
        assert_eq!((put.status, &put.body["state"]), (200, &json!(state)), "{put:?}");
        assert_eq!((&put.body["rolloutStrategy"], &put.body["notes"]), (&json!(strategy), &json!([])));
        let said = json!({"id": "e1", "product": LAMP, "version": "1.0.0", "kaa_filters": ["f1"]});
        let told = world.check(&said, now).await;
        assert_eq!(told.body["version"] == "2.0.0", is_told, "{strategy}: {told:?}");
        let stranger = json!({"id": "e2", "product": LAMP, "version": "1.0.0", "kaa_filters": ["f2"]});
        assert_eq!(world.check(&stranger, now).await.body["version"], Value::Null);
    }

    // What GET shows can be put back with another strategy, also after the rollout has got a limit.
    let knobs = json!({"rollout": {"limits": {"max_devices": 10}}});
    assert_eq!(world.operator("PATCH", "lamp/updates/2.0.0/campaign", knobs, now).await.status, 200);
    let mut shown = otao(&world, "GET", "2.0.0", Value::Null).await.body;
    assert!(shown["notes"][0].as_str().is_some_and(|note| note.contains("`rollout`")), "{shown}");
    for (strategy, code) in [("suspended", ""), ("general", "content_immutable"), ("targeted", "")] {
        shown["rolloutStrategy"] = json!(strategy);
        let put = otao(&world, "PUT", "2.0.0", shown.clone()).await;
        assert_eq!(put.body["error"]["code"].as_str().unwrap_or_default(), code, "{strategy}: {put:?}");
    }
    let refused = otao(&world, "PUT", "2.0.0", other).await;
    assert_eq!(refused.code(), "content_immutable");
    assert!(refused.body.to_string().contains("PATCH /v1/products/lamp/updates/2.0.0"), "{refused:?}");
    assert_eq!(otao(&world, "PUT", "3.0.0", software("2.0.0", "targeted")).await.code(), "bad_field");
    assert_eq!(otao(&world, "PUT", "3.0.0", software("3.0.0", "targeted")).await.code(), "unknown_update");

    let gone = otao(&world, "DELETE", "2.0.0", json!({"reason": "too warm"})).await;
    assert_eq!((gone.status, &gone.body["state"]), (200, &json!("withdrawn")));
    let again = otao(&world, "DELETE", "2.0.0", Value::Null).await;
    assert_eq!((again.status, again.body), (200, gone.body), "a repeat changes nothing");
    shown["rolloutStrategy"] = json!("targeted");
    assert_eq!(otao(&world, "PUT", "2.0.0", shown).await.code(), "wrong_state");
    let list = otao(&world, "GET", "", Value::Null).await;
    assert_eq!((list.body[0]["version"].as_str(), list.body[1].is_null()), (Some("2.0.0"), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_field_of_a_software_is_named() {
    let world = World::new(0).await;
    for (field, value, expected) in [
        ("version", json!("2"), "version must be SemVer"),
        ("rolloutStrategy", json!("some"), "rolloutStrategy must be suspended, targeted or general"),
        ("upgradableFrom", json!(["1"]), "upgradableFrom[0]"),
        ("filters", json!([{"filterId": "f", "rolloutDate": "soon"}]), "filters[0].rolloutDate"),
    ] {
        let mut sent = software("2.0.0", "targeted");
        sent[field] = value;
        let refused = otao(&world, "POST", "", sent).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body["error"]["message"].as_str().is_some_and(|text| text.contains(expected)), "{refused:?}");
    }
    let asked = request("GET", "/otao/api/v1/applications/lamp/software", &[], "", None);
    assert_eq!(answer(world.services.publish.handle(asked, noon()).await).status, 403, "an operator signs");
}
