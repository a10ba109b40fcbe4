//! Items of a later layout, as a newer version of Tidegate writes them: this version does not guess what they mean.
#![allow(clippy::disallowed_methods, reason = "it writes behind the service's back")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tidegate::stack::TABLE;
use tidegate_tests::{LAMP, World, at, lamp};

const NOON: &str = "2026-01-01T12:00:00Z";

/// Says in an item which layout its reader must know.
async fn needs(world: &World, pk: &str, sk: &str, needs: u32) {
    let item = world.cloud.dynamodb().update_item().table_name(TABLE);
    let item = item.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
    let item = item.update_expression("SET needs = :needs").condition_expression("attribute_exists(pk)");
    item.expression_attribute_values(":needs", AttributeValue::N(needs.to_string())).send().await.unwrap();
}

async fn told(world: &World, device: &str) -> (u16, Value) {
    let answer = world.check(&lamp(device, "1.0.0"), at(NOON)).await;
    (answer.status, answer.body["version"].clone())
}

/// Two updates, so that each has a shard of its own.
async fn published() -> World {
    let world = World::new(0).await;
    let rollout = json!({"rollout": {"limits": {"max_in_flight": 5}}});
    world.publish(LAMP, "1.5.0", rollout.clone(), at(NOON)).await;
    world.publish(LAMP, "2.0.0", rollout, at(NOON)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_a_later_layout_waits_and_no_other_does() {
    let world = published().await;
    assert_eq!(told(&world, "lamp-1").await, (200, json!("2.0.0")));
    needs(&world, "d#lamp#lamp-1", "device", 2).await;
    assert_eq!(told(&world, "lamp-1").await.0, 503);
    assert_eq!(told(&world, "lamp-2").await, (200, json!("2.0.0")));
    let shown = world.operator("GET", &format!("{LAMP}/devices/lamp-1"), Value::Null, at(NOON)).await;
    assert_eq!((shown.status, shown.code()), (503, "unavailable"), "and not a half of it");
    needs(&world, "d#lamp#lamp-1", "device", 1).await;
    assert_eq!(told(&world, "lamp-1").await, (200, json!("2.0.0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_a_later_layout_counts_as_shut() {
    let world = published().await;
    needs(&world, "s#lamp#2.0.0#00", "shard", 2).await;
    assert_eq!(told(&world, "lamp-1").await, (200, json!("1.5.0")), "the next older one has its chance");
    needs(&world, "s#lamp#2.0.0#00", "shard", 1).await;
    assert_eq!(told(&world, "lamp-2").await, (200, json!("2.0.0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_a_later_layout_hides_no_other() {
    let world = published().await;
    needs(&world, "p#lamp", "update#b2.b0.b0~", 2).await;
    let listed = world.operator("GET", &format!("{LAMP}/updates"), Value::Null, at(NOON)).await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
    let abort = format!("{LAMP}/updates/1.5.0/abort");
    assert_eq!(world.operator("POST", &abort, json!({"reason": "bad"}), at(NOON)).await.status, 200);
    needs(&world, "p#lamp", "update#b2.b0.b0~", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_of_a_later_layout_offers_nothing() {
    let world = published().await;
    needs(&world, "p#lamp", "head", 2).await;
    assert_eq!(told(&world, "lamp-1").await.0, 503);
    needs(&world, "p#lamp", "head", 1).await;
    assert_eq!(told(&world, "lamp-1").await, (200, json!("2.0.0")));
}
