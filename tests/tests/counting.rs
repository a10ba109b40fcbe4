//! Counts follow the stream: each change once, whatever batches, repeats and crashes there are.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tidegate::stack::TABLE;
use tidegate_core::count::{Count, CountedShard, MOST_UNJUDGED};
use tidegate_core::limits::UNLIMITED;
use tidegate_core::{DeviceId, ProductId, Timestamp, Version};
use tidegate_engine::recount::recount;
use tidegate_store::record::{ClaimChange, DeviceWrite, RolloutKey, Tally};
use tidegate_store::store::{
    CountStore as _, Freshness, Include, ReadDevices as _, ReadUpdates as _, WriteDevices as _,
};
use tidegate_store::stream::{Batch, StreamRecord};
use tidegate_tests::{LAMP, World, at, lamp};

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

fn rollout() -> RolloutKey {
    RolloutKey::of(&product(), &Version::new(2, 0, 0), 1)
}

/// Everything that the stream holds, without counting it.
async fn events(world: &World) -> Vec<Value> {
    let mut stream = world.cloud.table_stream(TABLE).unwrap();
    let mut events = Vec::new();
    while let Some(event) = stream.next().await.unwrap() {
        events.push(event);
        stream.acknowledge();
    }
    events
}

/// The device whose change a record is.
fn device_of(record: &StreamRecord) -> Option<&DeviceId> {
    record.change.as_ref().ok()?.device().map(|change| &change.device)
}

async fn a_fleet_with_outcomes(world: &World) {
    let health = json!({"min_failures": 1000});
    world.publish(LAMP, "2.0.0", json!({"rollout": {"health": health}}), now()).await;
    for number in 0..6 {
        let device = format!("lamp-{number}");
        assert!(world.check(&lamp(&device, "1.0.0"), now()).await.body.get("url").is_some());
        match number % 3 {
            0 => world.installs(&device, "2.0.0", now()).await,
            1 => assert_eq!(world.report(&device, "2.0.0", "INSTALL_ERROR", now()).await.status, 200),
            _ => assert_eq!(world.report(&device, "2.0.0", "DOWNLOAD", now()).await.status, 200),
        }
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_in_parts_or_twice_at_once_counts_once() {
    let world = World::new(0).await;
    a_fleet_with_outcomes(&world).await;
    let batches = events(&world).await.into_iter().map(|event| Batch::from_event(event).unwrap()).collect::<Vec<_>>();
    let count = &world.services.count;
    for batch in &batches {
        let half = Batch { records: batch.records[..batch.records.len() / 2].to_vec(), ..batch.clone() };
        count.count(&half, now()).await.unwrap();
        let (one, other) = tokio::join!(count.count(batch, now()), count.count(batch, now()));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.repeated > 0 && other.repeated > 0, "{one:?} {other:?}");
        count.count(batch, now()).await.unwrap();
        // A repeat of the first half comes last, out of order.
        count.count(&half, now()).await.unwrap();
    }
    assert_eq!(world.counts("2.0.0", now()).await, "6 2 2 2 0");
    let versions = world.operator("GET", "lamp/versions", Value::Null, now()).await.body;
    let expected = json!([{"version": "1.0.0", "devices": 4}, {"version": "2.0.0", "devices": 2}]);
    assert_eq!(versions["items"], expected);
    let recount = recount(&world.store, Duration::ZERO).await.unwrap();
    assert_eq!((recount.devices, recount.rollouts, recount.drift.len(), recount.moving.len()), (6, 1, 0, 0));
}

#[tokio::test]
async fn two_stream_shards_have_their_own_tallies_and_a_place_is_released_where_it_was_taken() {
    let world = World::new(0).await;
    a_fleet_with_outcomes(&world).await;
    let records = events(&world).await.into_iter().flat_map(|event| Batch::from_event(event).unwrap().records);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (number, record) in records.enumerate() {
        // A device stays in one shard until the split, after half of its records.
        let is_left = device_of(&record).is_some_and(|device| device.as_str() < "lamp-3");
        if is_left && number < 30 { left.push(record) } else { right.push(record) }
    }
    for (stream_shard, records) in [("left", left), ("right", right)] {
        let batch = Batch { stream_shard: stream_shard.into(), records };
        world.services.count.count(&batch, now()).await.unwrap();
    }
    let tallied = world.store.tallied(&rollout()).await.unwrap();
    assert_eq!((tallied.sums.granted_in_all(), tallied.sums.released_in_all()), (6, 4));
    let counted = [Count::Granted, Count::Proved, Count::Failed, Count::Lost].map(|count| tallied.sums.devices(count));
    assert_eq!(counted, [6, 2, 2, 0]);
    assert!(world.store.tally(&rollout(), "left").await.unwrap().position.is_some());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_no_count_and_holds_the_ceilings() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 1}}}), now()).await;
    assert!(world.check(&lamp("lamp-1", "1.0.0"), now()).await.body.get("url").is_some());
    world.installs("lamp-1", "2.0.0", now()).await;
    let mut events = events(&world).await;
    let record = json!({"eventName": "MODIFY", "dynamodb": {
        "Keys": {"pk": {"S": "d#lamp#lamp-9"}, "sk": {"S": "device"}}, "SequenceNumber": "1",
        "NewImage": {"rev": {"N": "2"}, "claims": {"S": "not a map"}}}});
    events[0]["Records"].as_array_mut().unwrap().insert(0, record);
    let batch = Batch::from_event(events[0].clone()).unwrap();
    let counted = world.services.count.count(&batch, now()).await.unwrap();
    assert_eq!(counted.unreadable, 1);
    let stored = world.store.update(&product(), &Version::new(2, 0, 0)).await.unwrap().unwrap();
    assert_eq!(stored.uncounted, 1);
    // The place is free and counted, but the counts are not certain.
    let told = world.check(&lamp("lamp-2", "1.0.0"), after_s(5)).await;
    assert_eq!(told.body["reason"], "too_many_in_flight", "{told:?}");
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    assert_eq!(world.check(&lamp("lamp-2", "1.0.0"), after_s(70)).await.body["reason"], "too_many_in_flight");
}

#[tokio::test]
async fn while_the_count_is_late_places_are_not_given_on_and_afterwards_they_are() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 1}}}), now()).await;
    assert!(world.check(&lamp("lamp-1", "1.0.0"), now()).await.body.get("url").is_some());
    world.installs("lamp-1", "2.0.0", now()).await;
    assert_eq!(world.check(&lamp("lamp-2", "1.0.0"), after_s(5)).await.body["reason"], "too_many_in_flight");
    world.count().await;
    assert!(world.check(&lamp("lamp-2", "1.0.0"), after_s(10)).await.body.get("url").is_some());
}

#[tokio::test]
async fn without_a_limit_in_flight_a_shard_grants_at_most_a_thousand_that_were_not_judged() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": null}}}), now()).await;
    let record = world.store.update(&product(), &Version::new(2, 0, 0)).await.unwrap().unwrap();
    let allocation = record.allocation.unwrap();
    assert_eq!(allocation.places(0), UNLIMITED);
    let shards = world.store.shards(&rollout(), allocation.shards()).await.unwrap();
    assert!(shards.iter().all(|shard| shard.unwrap().ceiling == Some(MOST_UNJUDGED)), "{shards:?}");
    // Each further grant must have been counted, and judged with the same sums.
    for number in 0..40 {
        assert!(world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), now()).await.body.get("url").is_some());
    }
    world.count().await;
    world.services.sweep.sweep(after_s(60)).await.unwrap();
    let tallied = world.store.tallied(&rollout()).await.unwrap();
    let shards = world.store.shards(&rollout(), allocation.shards()).await.unwrap();
    for (number, shard) in (0..).zip(shards) {
        let shard = shard.unwrap();
        let granted = tallied.sums.granted(CountedShard { count: 0, shard: number });
        assert_eq!(shard.ceiling, Some(granted + MOST_UNJUDGED), "shard {number}");
        assert_eq!(shard.granted, granted);
    }
    // Five failures are counted together: the rollout is held, and no ceiling is raised any more.
    for number in 0..5 {
        assert_eq!(world.report(&format!("lamp-{number}"), "2.0.0", "INSTALL_ERROR", after_s(61)).await.status, 200);
    }
    world.count().await;
    let shown = world.operator("GET", "lamp/updates/2.0.0", Value::Null, after_s(62)).await.body;
    assert_eq!((shown["state"].as_str(), shown["wanted"].as_str()), (Some("held"), None), "{shown}");
}

#[tokio::test]
async fn a_recount_names_what_differs() {
    let world = World::new(0).await;
    a_fleet_with_outcomes(&world).await;
    world.count().await;
    // Somebody writes into the table, and takes the record out of the stream.
    let device = DeviceId::new("lamp-0").unwrap();
    let known = world.store.device(&product(), &device, Include::Item, Freshness::Strong).await.unwrap();
    let before = known.claims[0].1.clone();
    let after = tidegate_core::Claim { revision: before.revision + 1, ..before.clone() };
    let write = DeviceWrite {
        claims: vec![ClaimChange { before: after.clone(), after: before.clone(), note: None }],
        ..DeviceWrite::new(product(), device, true)
    };
    // A write that expects another claim than the stored one changes nothing.
    world.store.write_device(&write).await.unwrap();
    assert_eq!(recount(&world.store, Duration::ZERO).await.unwrap().drift, []);
    let update = world.cloud.dynamodb().update_item().table_name(TABLE);
    let key = |name: &str, value: &str| (name.to_string(), AttributeValue::S(value.into()));
    let key = [key("pk", "d#lamp#lamp-0"), key("sk", "device")].into_iter().collect();
    let changed =
        update.set_key(Some(key)).update_expression("REMOVE claims.#c.b").expression_attribute_names("#c", "2.0.0");
    #[allow(clippy::disallowed_methods, reason = "the test tampers with the table")]
    changed.send().await.unwrap();
    let drift = recount(&world.store, Duration::ZERO).await.unwrap().drift;
    let told = drift.iter().map(|drift| (drift.of.as_str(), drift.count.as_str(), drift.counted, drift.found));
    assert_eq!(told.collect::<Vec<_>>(), [("lamp 2.0.0", "proved of test 0", 2, 1)]);
}

/// A count that has more releases than there were lets more devices through than `max_in_flight`.
#[tokio::test]
async fn the_recount_finds_a_release_too_many() {
    let world = World::new(0).await;
    a_fleet_with_outcomes(&world).await;
    let mut stream_shard = String::new();
    for event in events(&world).await {
        let batch = Batch::from_event(event).unwrap();
        world.services.count.count(&batch, now()).await.unwrap();
        stream_shard = batch.stream_shard;
    }
    let tally = world.store.tally(&rollout(), &stream_shard).await.unwrap();
    let mut counts = tally.counts.clone();
    *counts.released.values_mut().next().unwrap() += 9;
    let after = Tally::new(counts, tally.position.clone());
    let before = tally.position.as_ref();
    assert!(world.store.put_tally(&rollout(), &stream_shard, before, &after, now()).await.unwrap());
    let drift = recount(&world.store, Duration::ZERO).await.unwrap().drift;
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert!(drift[0].count.starts_with("in_flight of shard "), "{drift:?}");
    assert_eq!(drift[0].found - drift[0].counted, 9, "{drift:?}");
}

#[tokio::test]
async fn sixteen_thousand_silent_devices_are_due_pages_of_thirty() {
    // The pages of 300 devices, and all of them lost in one sweep; docs/proof.md has the time for 16,000.
    let devices = std::env::var("TIDEGATE_SILENT").ok().and_then(|text| text.parse().ok()).unwrap_or(300_u32);
    let world = World::new(0).await;
    let limits = json!({"max_in_flight": null, "max_devices": null});
    let health = json!({"min_failures": 1_000_000});
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": limits, "health": health}}), now()).await;
    for number in 0..devices {
        let told = world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), now()).await;
        assert!(told.body.get("url").is_some(), "{told:?}");
    }
    world.count().await;
    let _calls = world.calls.take();
    let (started, mut lost, mut sweeps) = (tokio::time::Instant::now(), 0, 0);
    // A sweep ends after 50 seconds, and the next one goes on.
    while lost < u64::from(devices) {
        let swept = world.services.sweep.sweep(after_s(90 * 3600 + 200)).await.unwrap();
        assert!(swept.lost > 0 && swept.failed == 0, "{swept:?}");
        (lost, sweeps) = (lost + swept.lost, sweeps + 1);
    }
    let calls = world.calls.take().len();
    println!("{lost} silent devices in {sweeps} sweeps, {:?}, {calls} calls", started.elapsed());
    assert_eq!(world.counts("2.0.0", now()).await, format!("{devices} {devices} 0 0 {devices}"));
}

#[tokio::test]
async fn one_product_that_fails_does_not_end_the_sweep_of_the_others() {
    let world = World::new(0).await;
    for product in ["alarm", "lamp", "zoom"] {
        world.publish(product, "2.0.0", json!({}), now()).await;
        let said = json!({"id": "d-1", "product": product, "version": "1.0.0"});
        assert!(world.check(&said, now()).await.body.get("url").is_some());
    }
    world.count().await;
    // The tally of one product is damaged: its counts cannot be read.
    let dynamodb = world.cloud.dynamodb();
    let partition = AttributeValue::S("t#lamp#2.0.0".into());
    let put = dynamodb.put_item().table_name(TABLE).item("pk", partition);
    let put = put.item("sk", AttributeValue::S("damaged".into()));
    #[allow(clippy::disallowed_methods, reason = "the test tampers with the table")]
    put.send().await.unwrap();
    let swept = world.services.sweep.sweep(after_s(90 * 3600 + 200)).await.unwrap();
    // It can be neither judged nor tidied.
    assert_eq!(swept.failed, 2, "{swept:?}");
    // The silent devices of the others were seen: two time-outs, kept until there is evidence.
    for product in ["alarm", "zoom"] {
        let path = format!("{product}/updates/2.0.0/metrics");
        let series = world.operator("GET", &path, Value::Null, now()).await.body;
        assert_eq!(series["series"].as_array().map(Vec::len), Some(1), "{product} was swept: {series}");
    }
}

#[tokio::test]
async fn each_change_of_an_updates_state_has_one_event() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), now()).await;
    let drill = json!({"reason": "drill"});
    let paused = world.operator("POST", "lamp/updates/2.0.0/pause", drill, now()).await;
    assert_eq!(paused.body["state"], "paused", "{paused:?}");
    for event in events(&world).await {
        let batch = Batch::from_event(event).unwrap();
        let count = &world.services.count;
        let (one, other) = tokio::join!(count.count(&batch, now()), count.count(&batch, now()));
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    }
    let dynamodb = world.cloud.dynamodb();
    let events = dynamodb.query().table_name(TABLE).key_condition_expression("pk = :pk");
    let events = events.expression_attribute_values(":pk", AttributeValue::S("o#lamp".into()));
    #[allow(clippy::disallowed_methods, reason = "no function reads events yet")]
    let events = events.send().await.unwrap().items.unwrap();
    let told = events.iter().map(|event| {
        let text = |name: &str| event.get(name).map_or("none", |value| value.as_s().unwrap());
        format!("{} {} {} {}", text("version"), text("from"), text("to"), text("reason"))
    });
    let told = told.collect::<Vec<_>>();
    assert_eq!(told, ["2.0.0 none draft ", "2.0.0 draft active test", "2.0.0 active paused drill"]);
}
