//! Limits are exact: under concurrency, over periods, and when they are changed on the way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tidegate_core::count::{Count, Counts};
use tidegate_core::{DeviceId, ProductId, Timestamp, Version};
use tidegate_store::record::RolloutKey;
use tidegate_store::store::{Freshness, Include, ReadDevices, ReadUpdates};
use tidegate_tests::{LAMP, World, at, lamp};

const MAX_DEVICES: u64 = 1000;
const MAX_PER_PERIOD: u64 = 300;
const MAX_IN_FLIGHT: u64 = 200;
const DEVICES: usize = 5000;
const CLIENTS: usize = 64;
const MOST_CHECK_INS: u32 = 50;

fn limits() -> Value {
    json!({"rollout": {"limits": {
        "max_devices": MAX_DEVICES, "max_per_period": MAX_PER_PERIOD, "period_s": 3600, "max_in_flight": MAX_IN_FLIGHT,
    }}})
}

/// The counters of a rollout, and its grants in the present period, read while others write to them.
async fn counts(world: &World) -> (Counts, u64) {
    let (product, version) = (ProductId::new(LAMP).unwrap(), Version::new(2, 0, 0));
    let update = world.store.update(&product, &version).await.unwrap().unwrap();
    let rollout = RolloutKey::of(&product, &version, 1);
    // The shards come first: a place that was released later must not count as held.
    let shards = world.store.shards(&rollout, update.allocation.unwrap().shards()).await.unwrap();
    let tallied = world.store.tallied(&rollout).await.unwrap();
    let period_used = shards.iter().flatten().map(|shard| shard.period_used).sum();
    (Counts::of(&shards, &tallied.sums), period_used)
}

/// Check-ins of a device until it is answered. On a busy machine the local DynamoDB may not answer within a second,
/// which is a check-in's deadline: the device comes again, as devices do.
async fn answer_of(world: &World, device: &str, now: Timestamp) -> Value {
    for _ in 0..MOST_CHECK_INS {
        let answer = world.check(&lamp(device, "1.0.0"), now).await;
        match (answer.status, answer.code()) {
            (200, _) if answer.body["reason"] == "busy" => {}
            (200, _) => return answer.body,
            (503, "unavailable") => {}
            _ => panic!("{device}: {answer:?}"),
        }
    }
    panic!("{device} was not answered {MOST_CHECK_INS} times");
}

/// Every device that has not installed it asks once, 64 at a time; answers the devices that were offered the update.
async fn everyone_asks(world: &Arc<World>, installed: &BTreeSet<String>, hour: u32, minute: u32) -> BTreeSet<String> {
    let now = at(&format!("2026-01-01T{hour:02}:{minute:02}:00Z"));
    let installed = Arc::new(installed.clone());
    let clients = (0..CLIENTS).map(|client| {
        let (world, installed) = (world.clone(), installed.clone());
        tokio::spawn(async move {
            let mut offered = Vec::new();
            for number in (client..DEVICES).step_by(CLIENTS) {
                let device = format!("lamp-{number}");
                if !installed.contains(&device) && answer_of(&world, &device, now).await["version"] == "2.0.0" {
                    offered.push(device);
                }
            }
            offered
        })
    });
    let mut offered = BTreeSet::new();
    for client in clients.collect::<Vec<_>>() {
        offered.extend(client.await.unwrap());
    }
    offered
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_never_exceed_a_limit_by_even_one_device() {
    let world = Arc::new(World::new(1000).await);
    world.publish(LAMP, "2.0.0", limits(), at("2026-01-01T00:00:00Z")).await;
    let done = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let (world, done) = (world.clone(), done.clone());
        async move {
            let mut looks = 0_u32;
            while !done.load(Ordering::Relaxed) {
                let (counts, period_used) = counts(&world).await;
                assert!(counts.used <= MAX_DEVICES, "{counts:?}");
                assert!(counts.in_flight <= MAX_IN_FLIGHT, "{counts:?}");
                assert!(period_used <= MAX_PER_PERIOD, "{period_used}");
                looks += 1;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            looks
        }
    });

    let mut ever = BTreeSet::new();
    let mut by_hour = Vec::new();
    for hour in 0..4 {
        let before = ever.len();
        // The places in flight limit the first round, and the period's rate the second.
        for minute in [10, 30] {
            let offered = everyone_asks(&world, &ever, hour, minute).await;
            if hour == 0 && ever.is_empty() {
                assert_eq!(offered.len() as u64, MAX_IN_FLIGHT);
                let again = everyone_asks(&world, &ever, hour, minute).await;
                assert_eq!(again, offered, "asking again gives the same answer and no second slot");
            }
            ever.extend(offered.iter().cloned());
            assert_eq!(counts(&world).await.0.used, ever.len() as u64, "`used` is the number of claims");
            let now = at(&format!("2026-01-01T{hour:02}:{:02}:00Z", minute + 10));
            for device in &offered {
                world.installs(device, "2.0.0", now).await;
            }
            world.count().await;
            assert_eq!(counts(&world).await.0.in_flight, 0);
        }
        by_hour.push(ever.len() - before);
    }
    assert_eq!(by_hour, [300, 300, 300, 100]);
    done.store(true, Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 10, "the watcher must have looked on the way");
    assert_eq!(ever.len() as u64, MAX_DEVICES, "and every slot was given");
    assert_eq!(counts(&world).await.0.devices(Count::Proved), MAX_DEVICES);
}

#[tokio::test(flavor = "multi_thread")]
async fn used_is_the_number_of_claims_that_the_store_holds() {
    let world = World::new(1000).await;
    world.publish(LAMP, "2.0.0", limits(), at("2026-01-01T00:00:00Z")).await;
    for number in 0..250 {
        world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), at("2026-01-01T00:10:00Z")).await;
    }
    let product = ProductId::new(LAMP).unwrap();
    let mut reserved = 0;
    for number in 0..250 {
        let device = DeviceId::new(format!("lamp-{number}")).unwrap();
        let known = world.store.device(&product, &device, Include::Item, Freshness::Strong).await.unwrap();
        reserved += known.claims.iter().filter(|(_, claim)| claim.life.holds_place).count() as u64;
    }
    let (counts, _) = counts(&world).await;
    assert_eq!((counts.used, counts.in_flight, reserved), (MAX_IN_FLIGHT, MAX_IN_FLIGHT, MAX_IN_FLIGHT));
}

/// One device after another asks; how many of them are offered the update.
async fn offers(world: &World, devices: std::ops::Range<u32>, now: &str) -> usize {
    let mut offered = 0;
    for number in devices {
        let answer = world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), at(now)).await;
        offered += usize::from(answer.body["version"] == "2.0.0");
    }
    offered
}

async fn edit(world: &World, limits: Value, now: &str) {
    let body = json!({"rollout": {"limits": limits}, "reason": "test"});
    let answer = world.operator("PATCH", "lamp/updates/2.0.0/campaign", body, at(now)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_limit_lets_more_devices_in_and_a_lowered_one_stops_at_once() {
    let world = World::new(0).await;
    let update = json!({"rollout": {"limits": {"max_devices": 10, "max_in_flight": null}}});
    world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
    assert_eq!(offers(&world, 0..30, "2026-01-01T00:01:00Z").await, 10);
    edit(&world, json!({"max_devices": 25}), "2026-01-01T00:02:00Z").await;
    assert_eq!(offers(&world, 30..60, "2026-01-01T00:03:00Z").await, 15);
    edit(&world, json!({"max_devices": 5}), "2026-01-01T00:04:00Z").await;
    assert_eq!(offers(&world, 60..80, "2026-01-01T00:05:00Z").await, 0);
    assert_eq!(offers(&world, 0..60, "2026-01-01T00:06:00Z").await, 25, "who has a claim keeps it");
    edit(&world, json!({"max_devices": 26}), "2026-01-01T00:07:00Z").await;
    assert_eq!(offers(&world, 60..80, "2026-01-01T00:08:00Z").await, 1);
    assert_eq!(world.counts("2.0.0", at("2026-01-01T00:09:00Z")).await, "26 26 0 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_what_is_in_flight_grants_again_only_once_enough_has_ended() {
    let world = World::new(0).await;
    let update = json!({"rollout": {"limits": {"max_in_flight": 200}}});
    world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
    assert_eq!(offers(&world, 0..150, "2026-01-01T00:01:00Z").await, 150);
    edit(&world, json!({"max_in_flight": 100}), "2026-01-01T00:02:00Z").await;
    assert_eq!(offers(&world, 150..160, "2026-01-01T00:03:00Z").await, 0);
    for number in 0..60 {
        world.installs(&format!("lamp-{number}"), "2.0.0", at("2026-01-01T00:04:00Z")).await;
    }
    world.count().await;
    assert_eq!(offers(&world, 150..160, "2026-01-01T00:05:00Z").await, 0, "the sweep has not split the limit yet");
    let swept = world.services.sweep.sweep(at("2026-01-01T00:06:00Z")).await.unwrap();
    assert_eq!(swept.split_again, 1);
    assert_eq!(offers(&world, 150..200, "2026-01-01T00:07:00Z").await, 10, "90 were in flight");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T00:08:00Z")).await, "160 100 60 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_bytes_counts_what_devices_download() {
    let world = World::new(0).await;
    let bytes = "firmware 2.0.0 of lamp".len() as u64;
    let update =
        json!({"rollout": {"limits": {"max_bytes_per_period": 3 * bytes + 1, "period_s": 60, "max_in_flight": null}}});
    world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
    assert_eq!(offers(&world, 0..10, "2026-01-01T00:00:01Z").await, 3);
    let refused = world.check(&lamp("lamp-9", "1.0.0"), at("2026-01-01T00:00:02Z")).await;
    assert_eq!(
        (&refused.body["reason"], &refused.body["opens_at"]),
        (&json!("rate_limited"), &json!("2026-01-01T00:01:00Z"))
    );
    assert_eq!(offers(&world, 3..10, "2026-01-01T00:01:00Z").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_clock_never_opens_a_period_that_is_over() {
    let world = World::new(0).await;
    let update = json!({"rollout": {"limits": {"max_per_period": 5, "period_s": 3600, "max_in_flight": null}}});
    world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
    assert_eq!(offers(&world, 0..3, "2026-01-01T02:00:00Z").await, 3);
    assert_eq!(offers(&world, 3..20, "2026-01-01T01:59:59Z").await, 2, "it counts in the later period");
    assert_eq!(offers(&world, 20..40, "2026-01-01T02:30:00Z").await, 0);
}
