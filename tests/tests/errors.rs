//! Every error: its status, its stable code, and a sentence that names the thing.

use serde_json::{Value, json};
use tidegate_core::ObjectionCode;
use tidegate_tests::{LAMP, World, answer, at, file, lamp, request};
use tidegate_wire::ErrorCode;

const NOW: &str = "2026-01-01T00:00:00Z";

/// What a device is answered to any bytes.
async fn device(world: &World, path: &str, token: &str, body: &str) -> (u16, String, String) {
    let asked = request("POST", path, &[("authorization", token)], body, None);
    let answered = match path {
        "/v1/report" => answer(world.services.report.handle(asked, at(NOW)).await),
        _ => answer(world.services.check.handle(asked, at(NOW)).await),
    };
    let message = answered.body["error"]["message"].as_str().unwrap_or_default().to_string();
    (answered.status, answered.code().to_string(), message)
}

/// The rows of the README's table of errors: a status and its codes.
fn readme_rows() -> Vec<(u16, Vec<&'static str>)> {
    let readme = include_str!("../../README.md");
    let section = readme.split("\n## Errors\n").nth(1).expect("the README has a section on errors");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| {
        let (status, codes) = line.strip_prefix("| ")?.split_once(" | ")?;
        Some((
            status.parse().ok()?,
            codes.split('`').skip(1).step_by(2).filter(|word| *word != "Retry-After").collect(),
        ))
    });
    rows.collect()
}

#[test]
fn the_readme_lists_every_error_code_under_its_status() {
    let mut expected = Vec::<(u16, Vec<&str>)>::new();
    for code in ErrorCode::ALL {
        match expected.last_mut() {
            Some((status, codes)) if *status == code.status() => codes.push(code.code()),
            _ => expected.push((code.status(), vec![code.code()])),
        }
    }
    assert_eq!(readme_rows(), expected);
}

fn check(got: (u16, String, String), code: &str, says: &str) {
    let status = ErrorCode::ALL.iter().find(|listed| listed.code() == code).expect("a listed code").status();
    assert_eq!((got.0, got.1.as_str()), (status, code), "{}", got.2);
    assert!(got.2.contains(says), "{code}: {}", got.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_can_do_wrong() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(NOW)).await;
    let token = world.token(LAMP, "lamp-1");
    let good = lamp("lamp-1", "1.0.0").to_string();
    let ask = async |token: &str, body: &str| device(&world, "/v1/check", token, body).await;
    check(ask(&token, &"x".repeat(16 * 1024 + 1)).await, "body_too_large", "at most 16384 bytes; got 16385");
    check(ask(&token, "{").await, "bad_json", "EOF");
    check(ask(&token, r#"{"id":"lamp-1","id":"lamp-2"}"#).await, "bad_json", "the key \"id\" is given twice");
    check(ask(&token, r#"{"id":"lamp-1"}"#).await, "bad_field", "product is missing");
    check(ask(&token, &good.replace("1.0.0", "v1")).await, "bad_version", "`v1` is not");
    check(ask("d1.local.AAAA", &good).await, "unauthorized", "Authorization");
    let stranger = json!({"id": "a", "product": "nowhere", "version": "1.0.0"}).to_string();
    check(ask(&world.token("nowhere", "a"), &stranger).await, "unknown_product", "nowhere has no update yet");
    let report =
        |status: &str| json!({"id": "lamp-1", "product": LAMP, "version": "2.0.0", "status": status}).to_string();
    check(device(&world, "/v1/report", &token, &report("DONE")).await, "bad_field", "status must be one of INIT");
    check(device(&world, "/v1/nothing", &token, &good).await, "unknown_route", "nothing at this path");
    let got = request("GET", "/v1/check", &[("authorization", &token)], "", None);
    let got = answer(world.services.check.handle(got, at(NOW)).await);
    assert_eq!((got.status, got.code()), (405, "wrong_method"));
    let register = json!({"id": "lamp-1", "product": LAMP}).to_string();
    check(device(&world, "/device/register", "", &register).await, "registration_closed", "may not register itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_can_do_wrong() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(NOW)).await;
    let call = async |method: &str, path: &str, body: Value| {
        let answered = world.operator(method, path, body, at(NOW)).await;
        let message = answered.body["error"]["message"].as_str().unwrap_or_default().to_string();
        (answered.status, answered.code().to_string(), message)
    };
    let draft = |change: (&str, Value)| {
        let mut update = json!({"version": "3.0.0", "files": [file("a.bin", b"a")]});
        update[change.0] = change.1;
        update
    };
    let create = async |change| call("POST", "lamp/updates", draft(change)).await;
    check(create(("polcy", json!("true"))).await, "unknown_field", "`polcy`");
    check(create(("policy", json!("memory >= "))).await, "policy_invalid", "column");
    check(create(("version", json!("3"))).await, "bad_version", "`3` is not");
    check(create(("rollout", json!({"limits": {"max_devices": -1}}))).await, "bad_field", "invalid value");
    check(call("POST", "lamp/updates/9.9.9/pause", json!({})).await, "unknown_update", "lamp has no update 9.9.9");
    check(call("GET", "nowhere/updates", Value::Null).await, "unknown_product", "nowhere has no update yet");
    check(call("GET", "lamp/devices/lamp-9", Value::Null).await, "unknown_device", "lamp-9 has never checked in");
    check(call("GET", "lamp/devices/lamp-9/why", Value::Null).await, "unknown_device", "lamp-9");
    check(call("GET", "lamp/devices", Value::Null).await, "bad_field", "version is missing");
    check(call("POST", "lamp/updates/2.0.0/resume", json!({})).await, "wrong_state", "it must be paused");
    check(call("POST", "lamp/updates/2.0.0/pause", json!({"reasn": "x"})).await, "unknown_field", "there is reason");
    check(call("PUT", "lamp/updates/2.0.0", Value::Null).await, "wrong_method", "not with PUT");
    check(call("GET", "lamp/nothing", Value::Null).await, "unknown_route", "/v1/products/lamp/nothing");
    check(
        call("PATCH", "lamp/updates/2.0.0", json!({"rollout": {}, "name": "x"})).await,
        "content_immutable",
        "`name`",
    );
    check(call("PATCH", "lamp", json!({"registration": "yes"})).await, "bad_field", "must be \"open\" or \"closed\"");
    let anonymous = request("GET", "/v1/products/lamp/updates", &[("authorization", "Bearer anything")], "", None);
    let anonymous = answer(world.services.publish.handle(anonymous, at(NOW)).await);
    assert_eq!((anonymous.status, anonymous.code()), (403, "forbidden"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_is_said_so_with_a_time_and_no_offer() {
    let world = World::new(1000).await;
    world.publish(LAMP, "2.0.0", json!({}), at(NOW)).await;
    world.check(&lamp("lamp-1", "1.0.0"), at(NOW)).await;
    let token = world.token(LAMP, "lamp-1");
    let World { services, cloud, .. } = world;
    cloud.shutdown().await;
    let body = lamp("lamp-1", "1.0.0").to_string();
    let asked = request("POST", "/v1/check", &[("authorization", &token)], &body, None);
    let response = services.check.handle(asked, at(NOW)).await;
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    assert!((30..90).contains(&retry_after.unwrap()), "{retry_after:?}");
    let answered = answer(response);
    assert_eq!((answered.status, answered.code()), (503, "unavailable"));
    assert!(answered.body.get("url").is_none());
}

#[test]
fn the_readme_lists_every_reason() {
    let readme = include_str!("../../README.md");
    let list = readme.split("`reason` is one of").nth(1).and_then(|rest| rest.split('.').next());
    let listed = list.expect("the README has the list").split('`').skip(1).step_by(2).collect::<Vec<_>>();
    assert_eq!(listed, ObjectionCode::ALL.iter().map(|code| code.name()).collect::<Vec<_>>());
}
