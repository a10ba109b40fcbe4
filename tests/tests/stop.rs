//! After a stop is acknowledged, no check-in that arrives gets an offer or a URL: whatever else fails.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::lifecycle::Transition;
use tidegate_core::shard::Gate;
use tidegate_core::update::StoredObject;
use tidegate_core::{ProductId, State, Timestamp, Version};
use tidegate_engine::EngineError;
use tidegate_engine::control::{self, Actor};
use tidegate_http::PublishService;
use tidegate_store::record::{AuditEntry, Change, UpdateRecord};
use tidegate_store::store::{CloseRollouts, Freshness, PublishStore, ReadCatalog, ReadUpdates};
use tidegate_store::{DynamoStore, StoreError};
use tidegate_tests::offline::without_s3;
use tidegate_tests::trouble::Trouble;
use tidegate_tests::{Answer, LAMP, World, answer, at, lamp, request};
use tidegate_wire::definition::Definition;

const NOON: &str = "2026-06-01T12:00:00Z";

fn now() -> Timestamp {
    at(NOON)
}

fn after_s(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + seconds).unwrap()
}

fn product() -> ProductId {
    ProductId::new(LAMP).unwrap()
}

fn has_url(answer: &Answer) -> bool {
    answer.body.get("url").is_some()
}

/// A world with one live update, and a device that holds a claim on it.
async fn with_a_holder(world: &World) {
    world.publish(LAMP, "2.0.0", json!({}), now()).await;
    assert!(has_url(&world.check(&lamp("lamp-1", "1.0.0"), now()).await));
    world.count().await;
}

/// Operators whose S3 refuses every request: nothing can be compiled.
fn publish_without_s3(world: &World) -> PublishService<DynamoStore> {
    let (store, images) = without_s3(world.cloud.dynamodb());
    PublishService::new(store, images, world.keys.clone())
}

async fn post(publish: &PublishService<DynamoStore>, path: &str) -> Answer {
    let body = json!({"reason": "smoke"}).to_string();
    let request = request("POST", &format!("/v1/products/{LAMP}/{path}"), &[], &body, Some("arn:aws:iam::1:user/ada"));
    answer(publish.handle(request, now()).await)
}

#[tokio::test]
async fn a_stop_without_s3_refuses_also_the_device_that_holds_a_claim() {
    let world = World::new(1000).await;
    with_a_holder(&world).await;
    let stopped = post(&publish_without_s3(&world), "stop").await;
    assert_eq!((stopped.status, stopped.body), (200, json!({"paused": ["2.0.0"], "left": []})));
    for seconds in [0, 3, 62] {
        for device in ["lamp-1", "lamp-2"] {
            let told = world.check(&lamp(device, "1.0.0"), after_s(seconds)).await;
            assert_eq!((told.status, told.body["reason"].as_str()), (200, Some("paused")), "{device} at +{seconds} s");
            assert!(!has_url(&told));
        }
    }
}

#[tokio::test]
async fn a_pause_without_s3_refuses_also_the_device_that_holds_a_claim() {
    let world = World::new(1000).await;
    with_a_holder(&world).await;
    let paused = post(&publish_without_s3(&world), "updates/2.0.0/pause").await;
    assert_eq!((paused.status, paused.body["state"].as_str()), (200, Some("paused")));
    for seconds in [0, 3, 62] {
        assert!(!has_url(&world.check(&lamp("lamp-1", "1.0.0"), after_s(seconds)).await), "at +{seconds} s");
    }
    // When S3 works again, the sweep compiles, and resuming gives the holder its URL back.
    world.services.sweep.sweep(after_s(70)).await.unwrap();
    assert!(!has_url(&world.check(&lamp("lamp-1", "1.0.0"), after_s(75)).await));
    let resumed = world.operator("POST", "lamp/updates/2.0.0/resume", json!({}), after_s(80)).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    assert!(has_url(&world.check(&lamp("lamp-1", "1.0.0"), after_s(90)).await));
}

#[tokio::test]
async fn an_old_catalog_is_not_used_once_it_may_offer_what_was_aborted() {
    let world = World::new(1000).await;
    with_a_holder(&world).await;
    let aborted = world.operator("POST", "lamp/updates/2.0.0/abort", json!({}), now()).await;
    assert_eq!(aborted.status, 200, "{aborted:?}");
    let head = world.store.head(&product(), Freshness::Strong).await.unwrap().unwrap();
    assert!(head.halted.is_empty(), "the catalog does not contain the update any more");
    // The catalog in force is gone from S3. The function still has the one before in memory.
    let catalog = head.catalog.unwrap();
    let deleted = world.cloud.s3().delete_object().bucket(tidegate::stack::BUCKET);
    deleted.key(format!("catalogs/{LAMP}/{}", catalog.name)).send().await.unwrap();
    for device in ["lamp-1", "lamp-2"] {
        let told = world.check(&lamp(device, "1.0.0"), after_s(5)).await;
        assert_eq!(told.status, 503, "{device} gets no URL and waits for a catalog: {told:?}");
    }
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    let told = world.check(&lamp("lamp-1", "1.0.0"), after_s(65)).await;
    assert_eq!((told.status, has_url(&told)), (200, false));
}

#[tokio::test]
async fn a_request_that_takes_too_long_signs_nothing() {
    let (world, dynamodb) = World::troubled(1000, Trouble::default()).await;
    with_a_holder(&world).await;
    // Each of four calls takes 0.33 to 0.99 s now: head, device, shard and grant.
    dynamodb.play(Trouble { latency: Duration::from_millis(660), ..Trouble::default() });
    let told = world.check(&lamp("lamp-2", "1.0.0"), after_s(5)).await;
    assert_eq!((told.status, told.body["reason"].as_str(), has_url(&told)), (200, Some("busy"), false), "{told:?}");
    let again_s = told.body["check_again_after_s"].as_u64().unwrap();
    assert!((10..=30).contains(&again_s), "{again_s}");
}

#[tokio::test]
async fn a_stop_is_acknowledged_only_when_every_head_that_was_read_before_is_too_old() {
    let world = World::new(1000).await;
    with_a_holder(&world).await;
    let started = tokio::time::Instant::now();
    let paused = world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), now()).await;
    assert_eq!(paused.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(2500), "{:?}", started.elapsed());
    // The clock of the requests stands still, so only the monotonic clock tells that the head is old.
    assert!(!has_url(&world.check(&lamp("lamp-1", "1.0.0"), now()).await));
}

#[tokio::test]
async fn resume_stopped_undoes_a_stop_and_leaves_what_an_operator_paused() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), now()).await;
    world.publish(LAMP, "3.0.0", json!({}), now()).await;
    assert_eq!(world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), now()).await.status, 200);
    let stopped = world.operator("POST", "lamp/stop", json!({"reason": "smoke"}), now()).await;
    assert_eq!((stopped.status, stopped.body), (200, json!({"paused": ["3.0.0"], "left": []})));
    assert_eq!(world.operator("GET", "lamp", Value::Null, now()).await.body["stopped"], true);
    let opened = world.operator("POST", "lamp/updates/2.0.0/resume", json!({}), now()).await;
    assert_eq!((opened.status, opened.code()), (409, "product_stopped"));
    let told = world.check(&lamp("lamp-1", "1.0.0"), now()).await;
    assert_eq!((told.body["reason"].as_str(), has_url(&told)), (Some("paused"), false));
    // A second stop says the same.
    let again = world.operator("POST", "lamp/stop", json!({"reason": "smoke"}), after_s(1)).await;
    assert_eq!((again.status, again.body), (200, json!({"paused": ["3.0.0"], "left": []})));
    let resumed = world.operator("POST", "lamp/resume-stopped", json!({"reason": "false alarm"}), after_s(2)).await;
    assert_eq!((resumed.status, resumed.body), (200, json!({"resumed": ["3.0.0"], "left": []})));
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), after_s(3)).await.body["version"], "3.0.0");
    assert_eq!(world.operator("GET", "lamp/updates/2.0.0", Value::Null, now()).await.body["state"], "paused");
    let unknown = world.operator("POST", "typo/stop", json!({"reason": "smoke"}), now()).await;
    assert_eq!((unknown.status, unknown.code()), (404, "unknown_product"));
}

fn actor() -> Actor {
    Actor { who: "ada".into(), reason: "test".into(), now: now() }
}

/// Writes the wish of a change, as a function does that is killed after it.
async fn want(world: &World, change: Change) {
    let record = world.store.update(&product(), &Version::new(2, 0, 0)).await.unwrap().unwrap();
    control::want(&world.store, &record, change, &actor()).await.unwrap();
}

async fn edit(world: &World) -> Change {
    let record = world.store.update(&product(), &Version::new(2, 0, 0)).await.unwrap().unwrap();
    Change::Edit { definition: record.definition }
}

#[tokio::test]
async fn a_stop_during_an_edit_wins_and_nothing_is_opened_after_it() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    want(&world, edit(&world).await).await;
    let record = world.store.update(&product(), &Version::new(2, 0, 0)).await.unwrap().unwrap();
    let aborted = world.operator("POST", "lamp/updates/2.0.0/abort", json!({}), now()).await;
    assert_eq!((aborted.status, aborted.body["state"].as_str()), (200, Some("aborted")), "{aborted:?}");
    // The function with the edit goes on where it was.
    let overtaken = control::carry_out(&world.store, &record, now()).await;
    assert!(overtaken.is_err(), "{overtaken:?}");
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    for device in ["lamp-1", "lamp-2"] {
        assert!(!has_url(&world.check(&lamp(device, "1.0.0"), after_s(70)).await));
    }
}

#[tokio::test]
async fn an_edit_during_a_stop_is_refused_and_a_stronger_stop_replaces_a_weaker_one() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    want(&world, Change::Transition(Transition::Pause)).await;
    let body = json!({"rollout": {"limits": {"max_devices": 9}}});
    let edited = world.operator("PATCH", "lamp/updates/2.0.0/campaign", body, now()).await;
    assert_eq!((edited.status, edited.code()), (409, "change_under_way"), "{edited:?}");
    assert!(!has_url(&world.check(&lamp("lamp-1", "1.0.0"), now()).await), "the wish alone halts");
    let aborted = world.operator("POST", "lamp/updates/2.0.0/abort", json!({}), now()).await;
    assert_eq!((aborted.status, aborted.body["state"].as_str()), (200, Some("aborted")));
    let paused = world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), now()).await;
    assert_eq!((paused.status, paused.code()), (409, "wrong_state"));
}

#[tokio::test]
async fn the_sweep_finishes_a_stop_and_an_edit_that_were_interrupted() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    want(&world, edit(&world).await).await;
    assert_eq!(world.services.sweep.sweep(after_s(60)).await.unwrap().finished, 1);
    let record = world.store.update(&product(), &Version::new(2, 0, 0)).await.unwrap().unwrap();
    assert!(record.wanted.is_none());
    assert!(has_url(&world.check(&lamp("lamp-2", "1.0.0"), after_s(61)).await), "the rollout is open again");
    want(&world, Change::Transition(Transition::Pause)).await;
    assert_eq!(world.services.sweep.sweep(after_s(120)).await.unwrap().finished, 1);
    let shown = world.operator("GET", "lamp/updates/2.0.0", Value::Null, after_s(121)).await.body;
    assert_eq!(shown["state"], "paused");
    let entries = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, now()).await.body;
    let actions = entries["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap());
    // The update was created by the real clock, years after the others.
    assert_eq!(actions.collect::<Vec<_>>(), ["pause", "edit", "activate"], "each change once");
}

#[tokio::test]
async fn a_repeated_stop_answers_the_same_and_is_audited_once() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    for _ in 0..2 {
        let paused = world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), now()).await;
        assert_eq!((paused.status, paused.body["state"].as_str()), (200, Some("paused")));
    }
    let entries = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, now()).await.body;
    let pauses = entries["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "pause").count();
    assert_eq!(pauses, 1);
}

/// Sets or removes the flag of a stopped product, as a function does that is killed after it.
async fn set_stopped(world: &World, is_stopped: bool) {
    let entry = AuditEntry {
        at: now(),
        who: "ada".into(),
        action: "stop".into(),
        subject: format!("{is_stopped}"),
        from: None,
        to: None,
        reason: "smoke".into(),
        generation: 0,
        changes: Vec::new(),
    };
    assert!(world.store.set_stopped(&product(), is_stopped, &entry).await.unwrap());
}

async fn record(world: &World, version: &str) -> UpdateRecord {
    world.store.update(&product(), &Version::parse(version).unwrap()).await.unwrap().unwrap()
}

async fn state(world: &World, version: &str) -> State {
    record(world, version).await.state
}

#[tokio::test]
async fn an_opening_that_a_stop_overtakes_does_not_open_later_by_itself() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), now()).await;
    assert_eq!(world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), now()).await.status, 200);
    want(&world, Change::Transition(Transition::Resume)).await;
    world.draft(LAMP, "3.0.0", json!({})).await;
    let draft = record(&world, "3.0.0").await;
    control::want(&world.store, &draft, Change::Transition(Transition::Activate), &actor()).await.unwrap();
    let stopped = world.operator("POST", "lamp/stop", json!({"reason": "smoke"}), now()).await;
    assert_eq!((stopped.status, stopped.body), (200, json!({"paused": [], "left": []})));
    let resumed = world.operator("POST", "lamp/resume-stopped", json!({"reason": "no smoke"}), after_s(1)).await;
    assert_eq!((resumed.status, resumed.body), (200, json!({"resumed": [], "left": []})));
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    assert_eq!((state(&world, "2.0.0").await, state(&world, "3.0.0").await), (State::Paused, State::Draft));
    // Both can be asked for again.
    for call in ["lamp/updates/2.0.0/resume", "lamp/updates/3.0.0/activate"] {
        let opened = world.operator("POST", call, json!({}), after_s(70)).await;
        assert_eq!((opened.status, opened.body["state"].as_str()), (200, Some("active")), "{call}");
    }
}

#[tokio::test]
async fn nothing_that_opens_is_wanted_while_the_product_is_stopped_and_no_stop_while_it_is_not() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    let refused = control::want(&world.store, &record(&world, "2.0.0").await, Change::Stop, &actor()).await;
    assert_eq!(refused, Err(EngineError::Store(StoreError::Conflict)));
    set_stopped(&world, true).await;
    let edit = edit(&world).await;
    let refused = control::want(&world.store, &record(&world, "2.0.0").await, edit, &actor()).await;
    assert_eq!(refused, Err(EngineError::Store(StoreError::Conflict)));
    let body = json!({"rollout": {"limits": {"max_devices": 9}}});
    let edited = world.operator("PATCH", "lamp/updates/2.0.0/campaign", body, now()).await;
    assert_eq!((edited.status, edited.code()), (409, "product_stopped"), "{edited:?}");
    assert_eq!(record(&world, "2.0.0").await.wanted, None);
}

#[tokio::test]
async fn an_edit_that_a_stop_overtakes_is_refused_and_does_not_happen_later() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    let before = record(&world, "2.0.0").await;
    let rollout = json!({"limits": {"max_devices": 9}});
    let definition = Definition::from_store(&before.definition)
        .unwrap()
        .with(json!({"rollout": rollout}).as_object().unwrap(), &product())
        .unwrap();
    want(&world, Change::Edit { definition: definition.to_store() }).await;
    set_stopped(&world, true).await;
    // The function with the edit goes on, and cannot write the record.
    let edited = world.operator("PATCH", "lamp/updates/2.0.0/campaign", json!({"rollout": rollout}), now()).await;
    assert_eq!((edited.status, edited.code()), (409, "product_stopped"), "{edited:?}");
    assert_eq!(world.operator("POST", "lamp/resume-stopped", json!({"reason": "x"}), after_s(1)).await.status, 200);
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    let after = record(&world, "2.0.0").await;
    assert_eq!((after.state, &after.definition), (State::Active, &before.definition));
}

#[tokio::test]
async fn a_stop_pauses_also_what_is_being_edited() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    want(&world, edit(&world).await).await;
    let stopped = world.operator("POST", "lamp/stop", json!({"reason": "smoke"}), now()).await;
    assert_eq!((stopped.status, stopped.body), (200, json!({"paused": ["2.0.0"], "left": []})));
    let resumed = world.operator("POST", "lamp/resume-stopped", json!({"reason": "no smoke"}), after_s(1)).await;
    assert_eq!((resumed.status, resumed.body), (200, json!({"resumed": ["2.0.0"], "left": []})));
}

#[tokio::test]
async fn the_sweep_finishes_a_stop_of_a_product_that_died_and_its_end() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    set_stopped(&world, true).await;
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    let paused = record(&world, "2.0.0").await;
    assert_eq!((paused.state, paused.is_paused_by_stop), (State::Paused, true));
    set_stopped(&world, false).await;
    world.services.sweep.sweep(after_s(120)).await.unwrap();
    assert_eq!(state(&world, "2.0.0").await, State::Active);
    assert!(has_url(&world.check(&lamp("lamp-2", "1.0.0"), after_s(125)).await));
}

#[tokio::test]
async fn resume_stopped_names_also_what_an_earlier_call_began_to_resume() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    assert_eq!(world.operator("POST", "lamp/stop", json!({"reason": "smoke"}), now()).await.status, 200);
    set_stopped(&world, false).await;
    want(&world, Change::Transition(Transition::Resume)).await;
    let resumed = world.operator("POST", "lamp/resume-stopped", json!({"reason": "no smoke"}), after_s(1)).await;
    assert_eq!((resumed.status, resumed.body), (200, json!({"resumed": ["2.0.0"], "left": []})));
}

/// Suspends 2.0.0 with Kaa's API.
async fn suspend_by_kaa(world: &World, now: Timestamp) -> Answer {
    let call = async |method: &str, body: &str| {
        let path = format!("/otao/api/v1/applications/{LAMP}/software/2.0.0");
        let request = request(method, &path, &[], body, Some("arn:aws:iam::1:user/ada"));
        answer(world.services.publish.handle(request, now).await)
    };
    let mut software = call("GET", "").await.body;
    software["rolloutStrategy"] = json!("suspended");
    call("PUT", &software.to_string()).await
}

#[tokio::test]
async fn a_pause_stops_a_resume_that_is_under_way() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    for (number, by_kaa) in [false, true].into_iter().enumerate() {
        assert_eq!(world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), now()).await.status, 200);
        want(&world, Change::Transition(Transition::Resume)).await;
        let paused = match by_kaa {
            false => world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), after_s(1)).await,
            true => suspend_by_kaa(&world, after_s(1)).await,
        };
        assert_eq!(paused.status, 200, "{paused:?}");
        let number = i64::try_from(number).unwrap();
        world.services.sweep.sweep(after_s(60 + 60 * number)).await.unwrap();
        assert_eq!(state(&world, "2.0.0").await, State::Paused, "by Kaa's API: {by_kaa}");
    }
}

#[tokio::test]
async fn a_pause_during_a_stop_is_the_operators_own_and_outlives_the_stop() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    assert_eq!(world.operator("POST", "lamp/stop", json!({"reason": "smoke"}), now()).await.status, 200);
    let paused = world.operator("POST", "lamp/updates/2.0.0/pause", json!({"reason": "mine"}), after_s(1)).await;
    assert_eq!((paused.status, paused.body["reason"].as_str()), (200, Some("mine")));
    let resumed = world.operator("POST", "lamp/resume-stopped", json!({"reason": "no smoke"}), after_s(2)).await;
    assert_eq!((resumed.status, resumed.body), (200, json!({"resumed": [], "left": []})));
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    assert_eq!(state(&world, "2.0.0").await, State::Paused);
    let entries = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, now()).await.body;
    assert!(entries["items"].as_array().unwrap().iter().any(|entry| entry["reason"] == "mine"), "{entries}");
}

/// No race is needed for this one: Kaa's API showed the update as suspended already.
#[tokio::test]
async fn a_pause_by_kaa_during_a_stop_outlives_the_stop() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    assert_eq!(world.operator("POST", "lamp/stop", json!({"reason": "smoke"}), now()).await.status, 200);
    assert_eq!(suspend_by_kaa(&world, after_s(1)).await.status, 200);
    let resumed = world.operator("POST", "lamp/resume-stopped", json!({"reason": "no smoke"}), after_s(2)).await;
    assert_eq!((resumed.status, resumed.body), (200, json!({"resumed": [], "left": []})));
    assert_eq!(state(&world, "2.0.0").await, State::Paused);
}

#[tokio::test]
async fn an_edit_of_a_paused_update_is_finished_also_while_the_product_is_stopped() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    assert_eq!(world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), now()).await.status, 200);
    assert_eq!(world.operator("POST", "lamp/stop", json!({"reason": "smoke"}), after_s(1)).await.status, 200);
    want(&world, edit(&world).await).await;
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    let edited = record(&world, "2.0.0").await;
    assert_eq!((edited.state, edited.wanted), (State::Paused, None));
}

/// A function that died after the wish: the sweep activates the update without reading its files again.
#[tokio::test]
async fn an_activation_that_the_sweep_finishes_keeps_the_objects_that_were_verified() {
    let world = World::new(0).await;
    world.draft(LAMP, "2.0.0", json!({})).await;
    let draft = record(&world, "2.0.0").await;
    let object = StoredObject { version: Some("v1".into()), sha1: Some("5a".into()), md5: Some("3d".into()) };
    let verified = UpdateRecord { objects: vec![object], ..draft };
    control::want(&world.store, &verified, Change::Transition(Transition::Activate), &actor()).await.unwrap();
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    let active = record(&world, "2.0.0").await;
    assert_eq!((active.state, &active.objects), (State::Active, &verified.objects));
    let told = world.check(&lamp("lamp-1", "1.0.0"), after_s(61)).await;
    assert!(told.body["url"].as_str().unwrap().contains("versionId=v1"), "{told:?}");
}

#[tokio::test]
async fn a_device_that_asks_during_an_edit_is_told_to_come_again_soon() {
    let world = World::new(0).await;
    with_a_holder(&world).await;
    let record = record(&world, "2.0.0").await;
    for shard in 0..record.allocation.as_ref().unwrap().shards() {
        world.store.shut_shard(&record.rollout(), shard, Gate::Paused, record.generation + 1).await.unwrap();
    }
    let told = world.check(&lamp("lamp-2", "1.0.0"), after_s(5)).await;
    assert_eq!((told.status, told.body["reason"].as_str()), (200, Some("busy")), "{told:?}");
    assert!((10..=30).contains(&told.body["check_again_after_s"].as_u64().unwrap()));
}
