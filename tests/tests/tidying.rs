//! What is not needed any more goes: deleted updates with their images and lists, tallies of stream shards that have ended,
//! and old claims. What is needed stays.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and tampers with the table"
)]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate::stack::BUCKET;
use tidegate_core::count::{Count, CountedShard, Sample, Sums};
use tidegate_core::{ProductId, Version};
use tidegate_store::record::{Position, RolloutKey, Tally};
use tidegate_store::store::{ReadUpdates as _, RecountStore as _};
use tidegate_store::{CountStore, TidyStore as _};
use tidegate_tests::{Answer, LAMP, World, file, lamp};

/// The local S3 has the real time, so the tests begin in it.
fn day(number: i64) -> Timestamp {
    tidegate_http::edge::now() + SignedDuration::from_hours(24 * number)
}

fn product() -> ProductId {
    ProductId::new(LAMP).unwrap()
}

async fn delete(world: &World, version: &str, now: Timestamp) -> Answer {
    world.operator("DELETE", &format!("{LAMP}/updates/{version}"), json!({"reason": "old"}), now).await
}

async fn withdraw(world: &World, version: &str, now: Timestamp) {
    let path = format!("{LAMP}/updates/{version}/withdraw");
    let withdrawn = world.operator("POST", &path, json!({"reason": "old"}), now).await;
    assert_eq!(withdrawn.status, 200, "{withdrawn:?}");
}

/// An update with one file of these bytes, uploaded and open.
async fn published(world: &World, version: &str, image: &[u8], now: Timestamp) {
    let definition = json!({"version": version, "files": [file("image.bin", image)]});
    let created = world.operator("POST", &format!("{LAMP}/updates"), definition, now).await;
    assert_eq!(created.status, 201, "{created:?}");
    upload(world, image).await;
    let path = format!("{LAMP}/updates/{version}/activate");
    let active = world.operator("POST", &path, json!({"reason": "a test"}), now).await;
    assert_eq!(active.status, 200, "{active:?}");
}

/// The versions of each image, by its first bytes: `is there`, `hidden`, or nothing.
async fn images(world: &World) -> BTreeMap<String, &'static str> {
    let listed = world.cloud.s3().list_object_versions().bucket(BUCKET).prefix("images/").send().await.unwrap();
    let name = |key: Option<&str>| key.unwrap().rsplit('/').next().unwrap().to_string();
    let all = listed.versions().iter().map(|version| (name(version.key()), "hidden"));
    let latest = listed.versions().iter().filter(|version| version.is_latest() == Some(true));
    all.chain(latest.map(|version| (name(version.key()), "is there"))).collect()
}

/// Uploads an image. A URL that is signed for a day to come is not good yet.
async fn upload(world: &World, image: &[u8]) {
    let put = world.cloud.s3().put_object().bucket(BUCKET).key(format!("images/{LAMP}/{}", name_of(image)));
    put.body(image.to_vec().into()).send().await.unwrap();
}

fn name_of(image: &[u8]) -> String {
    file("image.bin", image)["sha256"].as_str().unwrap().to_string()
}

/// Partition keys of the items that belong to a rollout.
async fn items_of(world: &World, version: &str) -> BTreeSet<String> {
    let scan = world.cloud.dynamodb().scan().table_name(tidegate::stack::TABLE).send().await.unwrap();
    let keys = scan.items.unwrap().into_iter().map(|item| {
        let text = |name: &str| item[name].as_s().unwrap().clone();
        (text("pk"), text("sk"))
    });
    let is_of = |pk: &str| pk.split('#').nth(2) == Some(version) && !pk.starts_with("d#");
    keys.filter(|(pk, _)| is_of(pk)).map(|(pk, _)| pk).collect()
}

async fn sweep(world: &World, now: Timestamp) {
    world.count_at(now).await;
    let swept = world.services.sweep.sweep(now).await.unwrap();
    assert_eq!(swept.failed, 0, "{swept:?}");
    world.count_at(now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_update_is_deleted_with_what_belongs_to_it_and_its_version_is_never_free_again() {
    let world = World::new(0).await;
    published(&world, "2.0.0", b"two", day(0)).await;
    let refused = delete(&world, "2.0.0", day(0)).await;
    assert_eq!((refused.status, refused.code()), (409, "wrong_state"), "{refused:?}");
    for device in ["lamp-1", "lamp-2", "lamp-3"] {
        assert_eq!(world.check(&lamp(device, "1.0.0"), day(0)).await.body["version"], "2.0.0");
    }
    world.report("lamp-2", "2.0.0", "INSTALL_ERROR", day(0)).await;
    world.installs("lamp-1", "2.0.0", day(0)).await;
    withdraw(&world, "2.0.0", day(0)).await;

    world.count_at(day(0)).await;
    for (hours, why) in [(0, "less than an hour ago"), (2, "the device lamp-1 runs it")] {
        let refused = delete(&world, "2.0.0", day(0) + SignedDuration::from_hours(hours)).await;
        assert_eq!((refused.status, refused.code()), (409, "update_in_use"), "{refused:?}");
        assert!(refused.body.to_string().contains(why), "{refused:?}");
    }
    published(&world, "3.0.0", b"three", day(1)).await;
    assert_eq!(world.check(&lamp("lamp-1", "2.0.0"), day(1)).await.body["version"], "3.0.0");
    world.installs("lamp-1", "3.0.0", day(1)).await;
    world.count_at(day(1)).await;
    let refused = delete(&world, "2.0.0", day(1)).await;
    assert!(refused.body.to_string().contains("are watched until"), "{refused:?}");
    for number in 2..20 {
        world.check(&lamp("lamp-1", "3.0.0"), day(number)).await;
        sweep(&world, day(number)).await;
    }

    let deleted = delete(&world, "2.0.0", day(20)).await;
    assert_eq!((deleted.status, deleted.body), (200, json!({"deleted": "2.0.0", "state": "withdrawn"})));
    let path = format!("{LAMP}/updates/2.0.0");
    assert_eq!(world.operator("GET", &path, Value::Null, day(20)).await.status, 404);
    let listed = world.operator("GET", &format!("{LAMP}/updates"), Value::Null, day(20)).await.body;
    let versions = listed["items"].as_array().unwrap().iter().map(|item| item["version"].clone()).collect::<Vec<_>>();
    assert_eq!(versions, [json!("3.0.0")]);
    for bytes in [b"two", b"bad"] {
        let again = json!({"version": "2.0.0", "files": [file("image.bin", bytes)]});
        let again = world.operator("POST", &format!("{LAMP}/updates"), again, day(20)).await;
        assert_eq!((again.status, again.code()), (409, "version_exists"), "{again:?}");
        assert!(again.body.to_string().contains("was published and deleted"), "{again:?}");
    }
    assert!(!items_of(&world, "2.0.0").await.is_empty());
    assert_eq!(images(&world).await, [(name_of(b"two"), "is there"), (name_of(b"three"), "is there")].into());

    // A device that was offered it and was silent since does not get it again.
    let back = world.check(&lamp("lamp-3", "1.0.0"), day(20)).await.body;
    assert_eq!(back["version"], "3.0.0", "{back}");
    let why = world.operator("GET", &format!("{LAMP}/devices/lamp-3/why"), Value::Null, day(20)).await.body;
    assert!(!why.to_string().contains("2.0.0"), "{why}");

    sweep(&world, day(21)).await;
    assert_eq!(items_of(&world, "2.0.0").await, BTreeSet::new(), "shards, tallies, lists, pages and series are gone");
    assert!(!items_of(&world, "3.0.0").await.is_empty());
    assert_eq!(images(&world).await, [(name_of(b"two"), "hidden"), (name_of(b"three"), "is there")].into());
    let before = world.counts("3.0.0", day(21)).await;
    // The device still has its claim of it. Its deletion, and each other change of it, is counted nowhere.
    world.operator("DELETE", &format!("{LAMP}/devices/lamp-2"), json!({"reason": "gone"}), day(21)).await;
    world.count_at(day(21)).await;
    assert_eq!(items_of(&world, "2.0.0").await, BTreeSet::new());
    assert_eq!(world.counts("3.0.0", day(21)).await, before);
    let log = world.operator("GET", &format!("{LAMP}/audit?version=2.0.0"), Value::Null, day(21)).await.body;
    assert_eq!((&log["items"][0]["action"], &log["items"][0]["from"]), (&json!("delete"), &json!("withdrawn")));

    sweep(&world, day(58)).await;
    assert_eq!(images(&world).await, [(name_of(b"three"), "is there")].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_only_when_no_update_names_it_and_a_new_upload_of_it_stays() {
    let world = World::new(0).await;
    published(&world, "2.0.0", b"shared", day(0)).await;
    for (version, image) in [("3.0.0", b"shared"), ("4.0.0", b"alone!")] {
        let draft = json!({"version": version, "files": [file("image.bin", image)]});
        assert_eq!(world.operator("POST", &format!("{LAMP}/updates"), draft, day(0)).await.status, 201);
        if version == "4.0.0" {
            upload(&world, image).await;
        }
    }
    // An edit of a draft names another image.
    let edit = json!({"files": [file("image.bin", b"another")], "reason": "a slip"});
    let edited = world.operator("PATCH", &format!("{LAMP}/updates/4.0.0"), edit, day(0)).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    assert_eq!(delete(&world, "3.0.0", day(0)).await.status, 200);
    sweep(&world, day(0)).await;
    let shared = (name_of(b"shared"), "is there");
    assert_eq!(images(&world).await, [shared.clone(), (name_of(b"alone!"), "is there")].into(), "a day is given");
    sweep(&world, day(2)).await;
    assert_eq!(images(&world).await, [shared.clone(), (name_of(b"alone!"), "hidden")].into());

    // It is asked for anew, because the hidden one may go at any moment.
    let draft = json!({"version": "5.0.0", "files": [file("image.bin", b"alone!")]});
    let created = world.operator("POST", &format!("{LAMP}/updates"), draft, day(30)).await;
    assert_eq!(created.body["uploads"].as_array().map(Vec::len), Some(1), "{created:?}");
    sweep(&world, day(40)).await;
    // As long as the hidden version is there, it is shown again.
    assert_eq!(images(&world).await, [shared.clone(), (name_of(b"alone!"), "is there")].into());
    sweep(&world, day(80)).await;
    assert_eq!(images(&world).await, [shared, (name_of(b"alone!"), "is there")].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_cannot_be_read_keeps_every_image() {
    let world = World::new(0).await;
    published(&world, "2.0.0", b"two", day(0)).await;
    let update = world.cloud.dynamodb().update_item().table_name(tidegate::stack::TABLE);
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let name = tidegate_core::id::sortable(&Version::new(2, 0, 0));
    let update = update.key("pk", text(&format!("p#{LAMP}"))).key("sk", text(&format!("update#{name}")));
    let update = update.update_expression("SET needs = :later");
    let later = aws_sdk_dynamodb::types::AttributeValue::N("99".into());
    update.expression_attribute_values(":later", later).send().await.unwrap();
    for number in [3, 50, 100] {
        sweep(&world, day(number)).await;
    }
    assert_eq!(images(&world).await, [(name_of(b"two"), "is there")].into());
}

/// Counts one failed device, as a stream shard of this name would.
async fn tally(store: &impl CountStore, rollout: &RolloutKey, stream_shard: &str, at: Timestamp) {
    let position = Position::parse("1");
    let devices = [((Sample::of(0), Count::Failed), 1), ((Sample::of(0), Count::Granted), 1)].into();
    let counts = Sums { granted: [(CountedShard { count: 0, shard: 0 }, 1)].into(), devices, ..Sums::default() };
    let tally = Tally::new(counts, position.clone());
    assert!(store.put_tally(rollout, stream_shard, None, &tally, at).await.unwrap());
    let counts = Tally::new([("1.0.0".to_string(), 2)].into(), position);
    assert!(store.put_version_tally(rollout.product(), stream_shard, None, &counts, at).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn tallies_of_stream_shards_that_have_ended_become_one_and_the_sums_stay() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), day(0)).await;
    let rollout = RolloutKey::of(&product(), &Version::new(2, 0, 0), 1);
    for number in 0..60 {
        tally(&world.store, &rollout, &format!("shardId-{number}"), day(0)).await;
    }
    tally(&world.store, &rollout, "shardId-new", day(1)).await;
    let sums = world.store.tallied(&rollout).await.unwrap();
    assert_eq!((sums.sums.devices(Count::Failed), sums.sums.granted_in_all()), (61, 61));
    let count = async || {
        let query = world.cloud.dynamodb().query().table_name(tidegate::stack::TABLE);
        let query = query
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", aws_sdk_dynamodb::types::AttributeValue::S(format!("t#{LAMP}#2.0.0")));
        query.send().await.unwrap().count
    };
    assert_eq!(count().await, 61);
    let quiet_since = day(0) + SignedDuration::from_hours(1);
    for (folded, left, items) in [(50, 11, 12), (10, 1, 2), (0, 1, 2)] {
        let result = world.store.fold_tallies(&rollout, quiet_since).await.unwrap();
        assert_eq!((result.folded, result.left, count().await), (folded, left, items));
        assert_eq!(result.lately, if folded == 50 { 50 } else { 60 });
        assert_eq!(world.store.tallied(&rollout).await.unwrap(), sums);
        world.store.fold_version_tallies(&product(), quiet_since).await.unwrap();
        assert_eq!(world.store.version_counts(&product()).await.unwrap(), [("1.0.0".to_string(), 122)].into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_keeps_its_newest_claims_and_its_failures_and_no_count_changes() {
    let world = World::new(0).await;
    let versions = ["2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0", "7.0.0"];
    let mut runs = "1.0.0";
    for (number, version) in (0..).zip(versions) {
        world.publish(LAMP, version, json!({}), day(number)).await;
        assert_eq!(world.check(&lamp("lamp-1", runs), day(number)).await.body["version"], version);
        if version == "3.0.0" {
            world.report("lamp-1", version, "INSTALL_ERROR", day(number)).await;
        } else {
            world.installs("lamp-1", version, day(number)).await;
            runs = version;
        }
        withdraw(&world, version, day(number)).await;
    }
    let claims = async |now| {
        let device = world.operator("GET", &format!("{LAMP}/devices/lamp-1"), Value::Null, now).await.body;
        let claims = device["claims"].as_array().unwrap().clone();
        claims.iter().map(|claim| claim["version"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    for number in 6..36 {
        world.check(&lamp("lamp-1", runs), day(number)).await;
        sweep(&world, day(number)).await;
    }
    assert_eq!(claims(day(36)).await.len(), versions.len(), "their campaigns are still counted");
    let counts = async |now| {
        let mut counts = Vec::new();
        for version in versions {
            counts.push(world.counts(version, now).await);
        }
        counts
    };
    let before = counts(day(36)).await;
    // The counts become final after thirty days, and the next pass over all devices drops claims.
    world.publish(LAMP, "8.0.0", json!({"policy": "false"}), day(40)).await;
    for number in 40..44 {
        world.check(&lamp("lamp-1", runs), day(number)).await;
        sweep(&world, day(number)).await;
    }
    assert_eq!(claims(day(44)).await, ["3.0.0", "5.0.0", "6.0.0", "7.0.0"]);
    assert_eq!(counts(day(44)).await, before);
    let recount = tidegate_engine::recount::recount(&world.store, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(recount.drift, []);
    // It failed 3.0.0, and is not offered it again by mistake.
    let reopen =
        world.operator("POST", &format!("{LAMP}/updates/3.0.0/reopen"), json!({"reason": "again"}), day(44)).await;
    assert_eq!(reopen.status, 200, "{reopen:?}");
    let other = world.check(&lamp("lamp-1", "1.0.0"), day(44)).await;
    assert_ne!(other.body["version"], "3.0.0");
}
