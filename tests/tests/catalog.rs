//! The compiled catalog: what a check-in is decided on, when it cannot be read, and who makes another.
#![allow(clippy::disallowed_methods, reason = "some tests write behind the service's back")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use tidegate::stack::{BUCKET, Services, TABLE};
use tidegate_core::ProductId;
use tidegate_core::snapshot::FORMAT;
use tidegate_store::record::{Head, PublishedCatalog};
use tidegate_store::store::{Freshness, ReadCatalog};
use tidegate_tests::{LAMP, World, at, lamp};

const NOON: &str = "2026-01-01T12:00:00Z";

/// A world with one live update, and a function that has never looked.
async fn published() -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(NOON)).await;
    world
}

/// As after a cold start.
fn restart(world: &mut World) {
    world.services = Services::new(world.store.clone(), world.images.clone(), world.keys.clone(), 0);
}

async fn head(world: &World) -> Head {
    world.store.head(&ProductId::new(LAMP).unwrap(), Freshness::Strong).await.unwrap().unwrap()
}

async fn catalogs(world: &World) -> Vec<String> {
    let listed = world.cloud.s3().list_objects_v2().bucket(BUCKET).prefix("catalogs/").send().await.unwrap();
    listed.contents().iter().map(|object| object.key().unwrap().to_string()).collect()
}

/// Replaces the bytes of the catalog in force.
async fn overwrite(world: &World, bytes: &[u8]) {
    let name = head(world).await.catalog.unwrap().name;
    let put = world.cloud.s3().put_object().bucket(BUCKET).key(format!("catalogs/{LAMP}/{name}"));
    put.body(bytes.to_vec().into()).send().await.unwrap();
}

async fn version(world: &World, device: &str) -> Value {
    world.check(&lamp(device, "1.0.0"), at(NOON)).await.body["version"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_read_once_and_its_head_at_every_look() {
    let world = published().await;
    drop(world.calls.take());
    world.check(&lamp("a", "2.0.0"), at(NOON)).await;
    assert_eq!(world.calls.take(), ["GetItem", "S3", "GetItem", "UpdateItem", "UpdateItem"]);
    world.check(&lamp("a", "2.0.0"), at(NOON)).await;
    assert_eq!(world.calls.take(), ["GetItem", "GetItem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_in_force_and_the_one_before_are_kept() {
    let world = published().await;
    for verb in ["pause", "resume", "pause", "resume", "pause"] {
        let path = format!("{LAMP}/updates/2.0.0/{verb}");
        world.operator("POST", &path, json!({"reason": "test"}), at(NOON)).await;
        assert!(catalogs(&world).await.len() <= 2);
        let head = head(&world).await;
        assert!(
            !head.is_behind()
                && catalogs(&world).await.iter().any(|key| key.ends_with(&head.catalog.as_ref().unwrap().name))
        );
    }
    assert_eq!(world.check(&lamp("a", "1.0.0"), at(NOON)).await.body["reason"], "paused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_cannot_be_read_leaves_the_last_in_force_until_the_sweep_has_made_another() {
    let mut world = published().await;
    assert_eq!(version(&world, "a").await, "2.0.0");
    let path = format!("{LAMP}/updates/2.0.0/campaign");
    world.operator("PATCH", &path, json!({"rollout": {"max_attempts": 2}, "reason": "test"}), at(NOON)).await;
    overwrite(&world, b"not a catalog").await;
    // What the last good one would grant is of a former generation: its shard refuses.
    assert_eq!(world.check(&lamp("b", "1.0.0"), at(NOON)).await.body["reason"], "busy");
    assert_eq!(version(&world, "a").await, "2.0.0", "who holds a claim keeps it");
    assert!(head(&world).await.is_behind());
    world.services.sweep.sweep(at("2026-01-01T12:01:00Z")).await.unwrap();
    assert_eq!(version(&world, "b").await, "2.0.0");

    overwrite(&world, b"").await;
    restart(&mut world);
    let unavailable = world.check(&lamp("c", "1.0.0"), at(NOON)).await;
    assert_eq!((unavailable.status, unavailable.code()), (503, "unavailable"), "there is no last good one");
    world.services.sweep.sweep(at("2026-01-01T12:02:00Z")).await.unwrap();
    assert_eq!(version(&world, "c").await, "2.0.0");
}

/// As after the table was restored: the head names what is not there any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_is_gone_is_made_again() {
    let world = published().await;
    for key in catalogs(&world).await {
        world.cloud.s3().delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    }
    assert_eq!(world.check(&lamp("a", "1.0.0"), at(NOON)).await.status, 503);
    world.services.sweep.sweep(at("2026-01-01T12:01:00Z")).await.unwrap();
    assert_eq!(version(&world, "a").await, "2.0.0");
}

/// A publish that is cut off after its change: its product's catalog is behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_not_compiled_is_compiled_by_the_sweep() {
    let world = published().await;
    let head_of = |revision: i64| {
        let key = [("pk", format!("p#{LAMP}")), ("sk", "head".to_string())];
        let key = key.map(|(name, value)| (name.to_string(), aws_sdk_dynamodb::types::AttributeValue::S(value)));
        let update = world.cloud.dynamodb().update_item().table_name(TABLE).set_key(Some(key.into()));
        let by = aws_sdk_dynamodb::types::AttributeValue::N(revision.to_string());
        update.update_expression("ADD revision :by").expression_attribute_values(":by", by).send()
    };
    head_of(1).await.unwrap();
    assert!(head(&world).await.is_behind());
    world.services.sweep.sweep(at("2026-01-01T12:01:00Z")).await.unwrap();
    assert!(!head(&world).await.is_behind());
}

/// The catalog in force with its seal.
async fn stored(world: &World, product: &str) -> (String, Vec<u8>, String) {
    let named = world.store.head(&ProductId::new(product).unwrap(), Freshness::Strong).await.unwrap().unwrap();
    let name = named.catalog.unwrap().name;
    let got = world.cloud.s3().get_object().bucket(BUCKET).key(format!("catalogs/{product}/{name}")).send();
    let got = got.await.unwrap();
    let seal = got.metadata().unwrap()[SEAL].clone();
    (name, got.body.collect().await.unwrap().to_vec(), seal)
}

const SEAL: &str = "tidegate-seal";

/// Stores a catalog and lets the head name it, as an attacker could who may write the bucket and the table.
async fn forge(world: &World, name: &str, bytes: Vec<u8>, seal: Option<&str>) {
    let put = world.cloud.s3().put_object().bucket(BUCKET).key(format!("catalogs/{LAMP}/{name}")).body(bytes.into());
    let put = put.set_metadata(seal.map(|seal| [(SEAL.to_string(), seal.to_string())].into()));
    put.send().await.unwrap();
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let revision = name.split_once('-').unwrap().0;
    let head = world.cloud.dynamodb().update_item().table_name(TABLE);
    let head = head.key("pk", text(&format!("p#{LAMP}"))).key("sk", text("head"));
    head.update_expression(format!("SET catalog_name_{FORMAT} = :name, catalog_revision_{FORMAT} = :revision"))
        .expression_attribute_values(":name", text(name))
        .expression_attribute_values(":revision", aws_sdk_dynamodb::types::AttributeValue::N(revision.into()))
        .send()
        .await
        .unwrap();
}

fn named(revision: u64, bytes: &[u8]) -> String {
    PublishedCatalog::of(revision, bytes).name
}

/// A forged catalog must not be used, by a function that has a good one and by one that starts. The sweep makes another.
async fn is_refused(world: &mut World, minute: u32) {
    let now = at(&format!("2026-01-01T12:{minute:02}:00Z"));
    assert_eq!(version(world, "a").await, "2.0.0", "the last good one is in force");
    assert!(head(world).await.is_behind(), "another is asked for");
    restart(world);
    let started = world.check(&lamp("b", "1.0.0"), at(NOON)).await;
    assert_eq!((started.status, started.code()), (503, "unavailable"));
    world.services.sweep.sweep(now).await.unwrap();
    assert_eq!(version(world, "a").await, "2.0.0");
    assert!(!head(world).await.is_behind());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_catalog_is_refused_whoever_may_write_table_and_bucket() {
    let mut world = published().await;
    world.publish("door", "2.0.0", json!({}), at(NOON)).await;
    let (old_name, old, old_seal) = stored(&world, LAMP).await;
    let path = format!("{LAMP}/updates/2.0.0/campaign");
    world.operator("PATCH", &path, json!({"rollout": {"max_attempts": 2}, "reason": "test"}), at(NOON)).await;
    assert_eq!(version(&world, "a").await, "2.0.0");
    let (name, good, seal) = stored(&world, LAMP).await;
    assert_ne!(old_name, name);

    // One byte is changed. The number that the format itself checks is computed anew.
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    let sum = crc32fast::hash(&changed[13..]).to_le_bytes();
    changed[9..13].copy_from_slice(&sum);
    forge(&world, &name, changed.clone(), Some(&seal)).await;
    restart(&mut world);
    assert_eq!(world.check(&lamp("b", "1.0.0"), at(NOON)).await.status, 503, "under the same name");
    world.services.sweep.sweep(at("2026-01-01T12:01:00Z")).await.unwrap();
    assert_eq!(version(&world, "a").await, "2.0.0");

    forge(&world, &named(90, &changed), changed, Some(&seal)).await;
    is_refused(&mut world, 2).await;
    // An old one, sealed once, with a new revision.
    forge(&world, &named(91, &old), old, Some(&old_seal)).await;
    is_refused(&mut world, 3).await;
    // Another product's, with the seal of its name there.
    let (door_name, door, door_seal) = stored(&world, "door").await;
    forge(&world, &door_name, door, Some(&door_seal)).await;
    is_refused(&mut world, 4).await;
    // No seal, and the seal of another key.
    forge(&world, &named(92, &good), good.clone(), None).await;
    is_refused(&mut world, 5).await;
    forge(&world, &named(93, &good), good, Some(&"0".repeat(64))).await;
    is_refused(&mut world, 6).await;
}

/// Tidegate before an upgrade and after it: each compiles for itself, and reads its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_of_another_format_lives_beside_ours() {
    let world = published().await;
    let other = FORMAT + 1;
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let number = |number: &str| aws_sdk_dynamodb::types::AttributeValue::N(number.into());
    let head_item = || {
        let head = world.cloud.dynamodb().update_item().table_name(TABLE);
        head.key("pk", text(&format!("p#{LAMP}"))).key("sk", text("head"))
    };
    head_item()
        .update_expression(format!("SET catalog_name_{other} = :name, catalog_revision_{other} = :revision"))
        .expression_attribute_values(":name", text("9-of-a-later-version"))
        .expression_attribute_values(":revision", number("9"))
        .send()
        .await
        .unwrap();
    assert!(!head(&world).await.is_behind());
    assert_eq!(version(&world, "a").await, "2.0.0");
    // The other version stops the update, and compiles in its own format only. Ours is too old now.
    head_item()
        .update_expression("SET oldest_catalog = :nine ADD revision :nine")
        .expression_attribute_values(":nine", number("9"))
        .send()
        .await
        .unwrap();
    assert!(head(&world).await.is_behind(), "our sweep compiles in our format");
    world.services.sweep.sweep(at("2026-01-01T12:01:00Z")).await.unwrap();
    assert_eq!(version(&world, "b").await, "2.0.0");
    let item = world.cloud.dynamodb().get_item().table_name(TABLE).key("pk", text(&format!("p#{LAMP}")));
    let item = item.key("sk", text("head")).send().await.unwrap().item.unwrap();
    assert_eq!(item[&format!("catalog_name_{other}")], text("9-of-a-later-version"), "the other's is left alone");
}
