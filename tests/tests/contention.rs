//! Contention as AWS has it: a plain write on an item that a transaction names is refused. The local DynamoDB does not
//! do that, so a DynamoDB that plays trouble stands before it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate::stack::TABLE;
use tidegate_core::lifecycle::Transition;
use tidegate_core::{DeviceId, ProductId, State, Timestamp, Version};
use tidegate_engine::control::{self, Actor};
use tidegate_engine::{CheckInResult, CheckIns, Operations, Said};
use tidegate_store::record::{Change, DeviceWrite, Seen, UpdateRecord};
use tidegate_store::store::{Include, ReadUpdates as _, WriteDevices as _, Written};
use tidegate_store::{DynamoStore, Images, schema};
use tidegate_tests::offline::without_s3;
use tidegate_tests::trouble::{Kind, Occupancy, Trouble, TroubledDynamoDb};
use tidegate_tests::{LAMP, World, at, lamp};
use tidegate_wire::definition::Definition;

const NOON: &str = "2026-06-01T12:00:00Z";

fn now() -> Timestamp {
    at(NOON)
}

fn product() -> ProductId {
    ProductId::new(LAMP).unwrap()
}

fn actor() -> Actor {
    Actor { who: "ada".into(), reason: "test".into(), now: now() }
}

/// A store over a troubled DynamoDB, whose S3 refuses every request.
async fn store(dynamodb: &TroubledDynamoDb) -> (DynamoStore, Images) {
    schema::create_table(&dynamodb.client(), TABLE).await.unwrap();
    without_s3(dynamodb.client())
}

/// Opens a rollout of an update without files over as many shards as its limit in flight takes.
async fn open(
    store: &DynamoStore,
    operations: &Operations<DynamoStore>,
    version: &str,
    max_in_flight: Option<u64>,
) -> UpdateRecord {
    let definition = json!({
        "version": version, "kind": "json", "payload": {"a": 1},
        "rollout": {"limits": {"max_in_flight": max_in_flight}},
    });
    let definition = Definition::from_store(&definition.to_string()).unwrap();
    let draft = operations.create(&product(), &definition, &actor()).await.unwrap();
    let record = store.update(&product(), &draft.version).await.unwrap().unwrap();
    let wishing = control::want(store, &record, Change::Transition(Transition::Activate), &actor()).await.unwrap();
    let changed = control::carry_out(store, &wishing, now()).await.unwrap();
    assert_eq!(changed.shards_left, 0);
    changed.record
}

/// A number from the environment, for a longer run.
fn size(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Stops of rollouts over 64 shards, each of which transactions hold for half of the time. `TIDEGATE_STOPS=200` makes
/// two hundred.
#[tokio::test(start_paused = true)]
async fn every_stop_of_a_busy_rollout_is_done_within_five_seconds() {
    let dynamodb = TroubledDynamoDb::in_memory(Trouble::default());
    let (store, images) = store(&dynamodb).await;
    let keys = tidegate_engine::token::TokenKeys::parse("k:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY").unwrap();
    let operations = Operations::new(store.clone(), images, keys);
    let mut times = Vec::new();
    let stops = u64::from(size("TIDEGATE_STOPS", 12));
    for number in 0..stops {
        dynamodb.play(Trouble::default());
        let record = open(&store, &operations, &format!("{}.0.0", number + 1), Some(64 * 64)).await;
        assert_eq!(record.allocation.unwrap().shards(), 64);
        dynamodb.play(Trouble {
            seed: number,
            occupancy: Some(Occupancy::new("s#", 0.5)),
            latency: Duration::from_millis(4),
            ..Trouble::default()
        });
        let started = tokio::time::Instant::now();
        let stopped = operations.transition(&product(), &record.version, Transition::Pause, &actor()).await.unwrap();
        times.push(started.elapsed());
        assert_eq!((stopped.shards_left, stopped.record.state), (0, State::Paused), "stop {number}");
    }
    times.sort_unstable();
    let at_p = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
    println!("{stops} stops at occupancy 0.5: p50 {:?}, p99 {:?}, longest {:?}", at_p(50), at_p(99), at_p(100));
    println!("refused plain writes: {}", dynamodb.played()[&Kind::Conflict]);
    assert!(dynamodb.played()[&Kind::Conflict] > stops * 20, "there was contention");
    assert!(at_p(99) <= Duration::from_secs(5), "{:?}", at_p(99));
    assert!(at_p(1) >= Duration::from_millis(2500), "no stop is acknowledged before old heads are gone");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_cannot_shut_a_shard_says_so_and_the_sweep_finishes_it() {
    let dynamodb = TroubledDynamoDb::in_memory(Trouble::default());
    let (store, images) = store(&dynamodb).await;
    let keys = tidegate_engine::token::TokenKeys::parse("k:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY").unwrap();
    let operations = Operations::new(store.clone(), images, keys);
    let record = open(&store, &operations, "1.0.0", Some(10)).await;
    dynamodb.play(Trouble { occupancy: Some(Occupancy::new("s#", 1.0)), ..Trouble::default() });
    let stopped = operations.transition(&product(), &record.version, Transition::Abort, &actor()).await.unwrap();
    assert_eq!((stopped.shards_left, stopped.record.state), (1, State::Active));
    dynamodb.play(Trouble::default());
    let swept = tidegate_engine::SweepService::new(store.clone()).sweep(now()).await.unwrap();
    assert_eq!(swept.finished, 1);
    let after = store.update(&product(), &record.version).await.unwrap().unwrap();
    assert_eq!((after.state, after.wanted), (State::Aborted, None));
}

#[tokio::test]
async fn no_report_and_no_check_in_fails_when_four_of_ten_writes_meet_a_transaction() {
    let trouble = Trouble { conflict_chance: 0.4, ..Trouble::default() };
    let (world, dynamodb) = World::troubled(1000, Trouble::default()).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 500}}}), now()).await;
    dynamodb.play(trouble);
    let (mut offered, mut busy) = (0, 0);
    for number in 0..150 {
        let device = format!("lamp-{number}");
        let told = world.check(&lamp(&device, "1.0.0"), now()).await;
        assert_eq!(told.status, 200, "{told:?}");
        match told.body.get("url") {
            Some(_) => {
                offered += 1;
                let progress = world.report(&device, "2.0.0", "DOWNLOAD", now()).await;
                assert_eq!(progress.status, 200, "{progress:?}");
                let reported = world.report(&device, "2.0.0", "INSTALL_SUCCESS", now()).await;
                assert_eq!((reported.status, reported.body["recorded"].as_bool()), (200, Some(true)), "{reported:?}");
                assert_eq!(world.check(&lamp(&device, "2.0.0"), now()).await.status, 200);
            }
            None => {
                assert_eq!(told.body["reason"], "busy", "{told:?}");
                busy += 1;
            }
        }
    }
    dynamodb.play(Trouble::default());
    println!("{offered} offered, {busy} busy; refused writes: {}", dynamodb.played()[&Kind::Conflict]);
    assert!(dynamodb.played()[&Kind::Conflict] > 100);
    assert!(offered >= 140, "{offered} of 150 offered, {busy} busy");
    assert_eq!(world.counts("2.0.0", now()).await, format!("{offered} 0 {offered} 0 0"));
}

#[tokio::test]
async fn a_hundred_functions_that_wait_for_room_write_nothing_and_get_the_place_that_comes_free() {
    let (world, dynamodb) = World::troubled(1000, Trouble::default()).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 1}}}), now()).await;
    assert!(world.check(&lamp("holder", "1.0.0"), now()).await.body.get("url").is_some());
    world.count().await;
    let functions =
        (0..100).map(|_| Arc::new(CheckIns::new(world.store.clone(), world.images.clone(), 1000))).collect::<Vec<_>>();
    let waiting = |number: usize| tidegate_core::Device {
        id: DeviceId::new(format!("waiting-{number}")).unwrap(),
        product: product(),
        version: Version::new(1, 0, 0),
        attributes: tidegate_core::attributes::Attributes::default(),
        said: None,
        delivery: tidegate_core::device::Delivery::Anything,
        orders: tidegate_core::orders::Orders::default(),
    };
    let poll = async |number: usize, second: i64| {
        let at = Timestamp::from_second(now().as_second() + second).unwrap();
        let device = waiting(number);
        let proof = tidegate_engine::token::Proof::Device { generation: 0 };
        let engine = &functions[number];
        let mut context = engine.context(&product(), &device.id, proof, Include::Item, at).await.unwrap();
        engine.check_in(&device, &mut context, Said::Version, None, at).await.unwrap()
    };
    let _before = dynamodb.take_units();
    for second in 0..5 {
        for number in 0..functions.len() {
            let told = poll(number, second * 2).await;
            assert!(matches!(told, CheckInResult::Nothing(_)), "{told:?}");
        }
    }
    let units = dynamodb.take_units();
    assert!(units.written().abs() < f64::EPSILON, "{} write units: {:?}", units.written(), units.writes);
    println!("500 polls without room: 0 write units, {:.1} read units", units.read());
    assert_eq!(world.report("holder", "2.0.0", "INSTALL_ERROR", now()).await.status, 200);
    world.count().await;
    let mut granted = 0;
    for number in 0..functions.len() {
        granted += u32::from(matches!(poll(number, 20).await, CheckInResult::Offer(_)));
    }
    assert_eq!(granted, 1, "the place is given once");
}

/// Ten million devices that appear within an hour, scaled from fewer: `TIDEGATE_FLEET=16000` takes more.
#[tokio::test]
async fn no_key_but_a_devices_own_becomes_hot_when_a_fleet_appears() {
    const FLEET: f64 = 10_000_000.0;
    let devices = size("TIDEGATE_FLEET", 4000);
    let (world, dynamodb) = World::troubled(1000, Trouble::default()).await;
    world.publish(LAMP, "2.0.0", json!({}), now()).await;
    let _before = dynamodb.take_units();
    // The count collects for five seconds: 720 batches in an hour. Here it collects longer, and the tallies cost less.
    let per_batch = devices / 40;
    for number in 0..devices {
        let write = DeviceWrite {
            seen: Some(Seen::new("1.0.0".into(), now())),
            ..DeviceWrite::new(product(), DeviceId::new(format!("lamp-{number}")).unwrap(), false)
        };
        assert_eq!(world.store.write_device(&write).await.unwrap(), Written::Yes);
        if number % per_batch == 0 {
            world.count().await;
        }
    }
    world.count().await;
    let units = dynamodb.take_units();
    let (hottest, meter) = units.hottest_write(|partition| !partition.key.starts_with("d#")).unwrap();
    // Besides parts of an index only tallies are written: once for a batch, so once in five seconds.
    let grows = hottest.index.is_some();
    let per_s = if grows { meter.total / f64::from(devices) * FLEET / 3600.0 } else { meter.total / 40.0 / 5.0 };
    println!("hottest key: {hottest:?}, {per_s:.0} write units/s for ten million devices in an hour");
    let parts = units.writes.iter().filter(|(partition, _)| partition.index.is_some());
    let hottest_part = parts.map(|(_, meter)| meter.total).fold(0.0, f64::max);
    let part_per_s = hottest_part / f64::from(devices) * FLEET / 3600.0;
    println!("hottest part of the index: {part_per_s:.0} write units/s");
    assert!(per_s <= 200.0 && part_per_s <= 200.0, "{per_s:.0} {part_per_s:.0}");
    let versions = world.operator("GET", "lamp/versions", serde_json::Value::Null, now()).await.body;
    assert_eq!(versions["items"], json!([{"version": "1.0.0", "devices": devices}]));
}
