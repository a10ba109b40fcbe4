//! A deleted device leaves nothing but the fact that it was deleted, and does not come back by itself.
#![allow(clippy::disallowed_methods, reason = "it looks behind the service's back")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use tidegate::stack::TABLE;
use tidegate_core::{DeviceId, ProductId};
use tidegate_engine::recount::recount;
use tidegate_store::WriteDevices;
use tidegate_store::record::{ClaimChange, DeviceWrite, Doc, DocDigests, KnownDevice, Seen};
use tidegate_store::store::{Freshness, Include, ReadDevices, Written};
use tidegate_tests::{Answer, LAMP, World, answer, at, lamp, request};

const NOON: &str = "2026-01-01T12:00:00Z";
const LATER: &str = "2026-01-01T12:05:00Z";
/// No other text of the test has it in it.
const DEVICE: &str = "lamp-of-ada";

fn product() -> ProductId {
    ProductId::new(LAMP).unwrap()
}

/// A world in which a device said much, was offered an update, and failed.
async fn with_a_failure() -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 20}}}), at(NOON)).await;
    for device in [DEVICE, "lamp-2"] {
        let mut says = lamp(device, "1.0.0");
        says["owner"] = json!(if device == DEVICE { "Ada Lovelace" } else { "nobody" });
        assert_eq!(world.check(&says, at(NOON)).await.body["version"], "2.0.0");
    }
    let body = json!({"id": DEVICE, "product": LAMP, "version": "2.0.0", "status": "INSTALL_ERROR", "message": "flash of Ada"});
    let token = world.token(LAMP, DEVICE);
    let report = request("POST", "/v1/report", &[("authorization", &token)], &body.to_string(), None);
    assert_eq!(answer(world.services.report.handle(report, at(NOON)).await).status, 200);
    let tag = json!({"value": "berlin", "reason": "a customer"});
    assert_eq!(call(&world, "PUT", &format!("devices/{DEVICE}/tags/site"), tag).await.status, 200);
    world.count().await;
    world
}

async fn call(world: &World, method: &str, path: &str, body: Value) -> Answer {
    world.operator(method, &format!("{LAMP}/{path}"), body, at(LATER)).await
}

async fn delete(world: &World) -> Answer {
    call(world, "DELETE", &format!("devices/{DEVICE}"), json!({"reason": "it was sold"})).await
}

async fn known(world: &World) -> KnownDevice {
    let device = DeviceId::new(DEVICE).unwrap();
    world.store.device(&product(), &device, Include::ItemAndDoc, Freshness::Strong).await.unwrap()
}

/// Every item of the table that has a text in its key or in a value.
async fn items_with(world: &World, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = None;
    loop {
        let scan = world.cloud.dynamodb().scan().table_name(TABLE).set_exclusive_start_key(next);
        let page = scan.send().await.unwrap();
        for item in page.items.unwrap_or_default() {
            if format!("{item:?}").contains(text) {
                found.push(item["pk"].as_s().unwrap().clone());
            }
        }
        next = page.last_evaluated_key;
        if next.is_none() {
            found.sort();
            return found;
        }
    }
}

async fn drift(world: &World) -> Value {
    serde_json::to_value(recount(&world.store, std::time::Duration::ZERO).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_device_leaves_nothing_and_its_counters_stay_true() {
    let world = with_a_failure().await;
    assert_eq!(drift(&world).await["drift"], json!([]), "{}", drift(&world).await);
    let exported = call(&world, "GET", &format!("devices/{DEVICE}/export"), Value::Null).await;
    assert_eq!(exported.body["device"]["attributes"]["owner"], "Ada Lovelace");
    assert_eq!(exported.body["device"]["claims"][0]["message"], "flash of Ada");
    assert_eq!(exported.body["audit"]["items"][0]["changes"][0]["new"], "berlin");

    assert_eq!(delete(&world).await.body, json!({"deleted": true}));
    world.count_at(at(LATER)).await;
    assert_eq!(drift(&world).await["drift"], json!([]));
    assert_eq!(world.counts("2.0.0", at(LATER)).await, "2 1 0 0 0", "a slot is never given back");
    let versions = call(&world, "GET", "versions", Value::Null).await.body;
    assert_eq!(versions["items"], json!([{"version": "1.0.0", "devices": 1}]));
    let failed = call(&world, "GET", "updates/2.0.0/devices?state=failed", Value::Null).await.body;
    assert_eq!(failed["items"], json!([]));
    let listed = call(&world, "GET", "devices?version=1.0.0", Value::Null).await.body;
    assert_eq!(listed["items"], json!(["lamp-2"]));
    for path in ["", "/export", "/why"] {
        let gone = call(&world, "GET", &format!("devices/{DEVICE}{path}"), Value::Null).await;
        assert_eq!((gone.status, gone.code()), (404, "unknown_device"), "{path}");
    }
    for (method, path) in [("POST", "hold"), ("POST", "retry"), ("POST", "forget"), ("PUT", "tags/site")] {
        let body = if method == "PUT" { json!({"value": "x"}) } else { json!({}) };
        let gone = call(&world, method, &format!("devices/{DEVICE}/{path}"), body).await;
        assert_eq!((gone.status, gone.code()), (404, "unknown_device"), "{path}");
    }
    // What it said is nowhere; its id is where operators are named, in the empty item that keeps its tokens dead, and on a
    // page of devices to look at, which ends by itself.
    assert_eq!(items_with(&world, "of Ada").await, [""; 0]);
    assert_eq!(items_with(&world, "Lovelace").await, [""; 0]);
    let mut items = items_with(&world, DEVICE).await;
    items.dedup();
    assert_eq!(items, ["d#lamp#lamp-of-ada", "u#lamp#2.0.0", "x#lamp#2026-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_late_request_brings_a_deleted_device_back() {
    let world = with_a_failure().await;
    assert_eq!(
        world
            .operator("PATCH", LAMP, json!({"product_tokens": "accept", "registration": "open"}), at(NOON))
            .await
            .status,
        200
    );
    let shared = call(&world, "PUT", "token", Value::Null).await.body["token"].as_str().unwrap().to_string();
    let before = known(&world).await;
    assert_eq!(delete(&world).await.status, 200);

    for token in [world.token(LAMP, DEVICE), shared] {
        let asked =
            request("POST", "/v1/check", &[("authorization", &token)], &lamp(DEVICE, "1.0.0").to_string(), None);
        assert_eq!(answer(world.services.check.handle(asked, at(LATER)).await).status, 401);
    }
    let body = json!({"id": DEVICE, "product": LAMP}).to_string();
    let register = request("POST", "/device/register", &[("host", "ota.example")], &body, None);
    assert_eq!(answer(world.services.check.handle(register, at(LATER)).await).status, 403);

    // Writes that were on their way: of its claim, and of its version.
    let device = DeviceId::new(DEVICE).unwrap();
    let (_, claim) = before.claims[0].clone();
    let change = ClaimChange { before: claim.clone(), after: claim, note: None };
    let write = DeviceWrite::new(product(), device, true);
    let doc = Doc { json: r#"{"owner":"Ada Lovelace"}"#.into(), digests: DocDigests { all: 1, named: 2 } };
    let seen = Some(Seen { doc: Some(doc), ..Seen::new("1.0.0".into(), at(LATER)) });
    for write in [DeviceWrite { claims: vec![change], ..write.clone() }, DeviceWrite { seen, ..write }] {
        assert!(matches!(world.store.write_device(&write).await.unwrap(), Written::OtherDevice(_)));
    }
    assert!(!known(&world).await.exists());
    assert_eq!(items_with(&world, "Lovelace").await, [""; 0]);

    let again = delete(&world).await;
    assert_eq!((again.status, again.code()), (404, "unknown_device"));
    // Only an operator brings it back, and nothing of before with it.
    let issued = call(&world, "PUT", &format!("devices/{DEVICE}/token"), Value::Null).await;
    let token = issued.body["token"].as_str().unwrap().to_string();
    assert_ne!(token, world.token(LAMP, DEVICE));
    let asked = request("POST", "/v1/check", &[("authorization", &token)], &lamp(DEVICE, "1.0.0").to_string(), None);
    assert_eq!(answer(world.services.check.handle(asked, at(LATER)).await).body["version"], "2.0.0");
    let back = known(&world).await;
    assert_eq!(back.record.as_ref().unwrap().attributes.as_deref(), Some(r#"{"id":"lamp-of-ada","product":"lamp"}"#));
    assert_eq!((back.claims.len(), back.claims[0].1.attempts), (1, 1));
    assert!(back.record.unwrap().revision > before.record.unwrap().revision, "no number of before is used again");
    world.count_at(at(LATER)).await;
    assert_eq!(drift(&world).await["drift"], json!([]));
}
