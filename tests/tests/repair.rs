//! Repair: counts follow from the devices again, and no limit is exceeded afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and tampers with the table"
)]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tidegate::stack::TABLE;
use tidegate_core::{ProductId, Timestamp, Version};
use tidegate_engine::control::Actor;
use tidegate_engine::recount::recount;
use tidegate_engine::repair::{Repair, Repaired, repair};
use tidegate_store::store::{CountStore as _, RecountStore as _};
use tidegate_tests::{LAMP, World, at, lamp};

type Item = HashMap<String, AttributeValue>;
type Table = BTreeMap<(String, String), Item>;

/// The limits of the rollout.
const MOST_DEVICES: usize = 6;
const MOST_IN_FLIGHT: usize = 3;

fn minute(number: i64) -> Timestamp {
    at("2026-01-01T00:00:00Z") + jiff::SignedDuration::from_mins(number)
}

async fn table(world: &World) -> Table {
    let scan = world.cloud.dynamodb().scan().table_name(TABLE).consistent_read(true).send().await.unwrap();
    let key = |item: &Item| (item["pk"].as_s().unwrap().clone(), item["sk"].as_s().unwrap().clone());
    scan.items.unwrap().into_iter().map(|item| (key(&item), item)).collect()
}

/// A world whose table was restored: its stream is a new one.
async fn restored(table: &Table) -> World {
    let world = World::new(0).await;
    for item in table.values() {
        let put = world.cloud.dynamodb().put_item().table_name(TABLE).set_item(Some(item.clone()));
        put.send().await.unwrap();
    }
    world.skip_stream().await;
    world
}

async fn repaired(world: &World, what: Repair, now: Timestamp) -> Repaired {
    let actor = Actor { who: "ada".into(), reason: "a test".into(), now };
    repair(&world.store, what, Duration::ZERO, &actor).await.unwrap()
}

/// The claims of the update, and those that hold a place.
async fn claims(world: &World) -> (usize, usize) {
    let (devices, _) = world.store.scan_devices(None).await.unwrap();
    let claims = devices.iter().flat_map(|(_, _, known)| &known.claims).map(|(_, claim)| claim).collect::<Vec<_>>();
    (claims.len(), claims.iter().filter(|claim| claim.life.holds_place).count())
}

async fn must_keep_its_limits(world: &World, what: &str) {
    let (claims, places) = claims(world).await;
    assert!(claims <= MOST_DEVICES && places <= MOST_IN_FLIGHT, "{what}: {claims} claims, {places} places");
}

/// Resumes the update and lets more devices ask than it may have. Those that get it install it.
async fn go_on(world: &World, what: &str, from: i64) {
    let path = format!("{LAMP}/updates/2.0.0/resume");
    let resumed = world.operator("POST", &path, json!({"reason": "repaired"}), minute(from)).await;
    assert_eq!(resumed.status, 200, "{what}: {resumed:?}");
    for round in 1..4 {
        for number in 0..12 {
            let answer = world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), minute(from + round)).await;
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            must_keep_its_limits(world, what).await;
        }
        world.report("lamp-10", "2.0.0", "INSTALL_ERROR", minute(from + round)).await;
        world.count_at(minute(from + round)).await;
        world.services.sweep.sweep(minute(from + round)).await.unwrap();
    }
}

/// Plays a rollout, and keeps the table after each step.
async fn played() -> Vec<Table> {
    let world = World::new(0).await;
    let limits = json!({"max_devices": MOST_DEVICES, "max_in_flight": MOST_IN_FLIGHT});
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": limits}}), minute(0)).await;
    let mut tables = vec![table(&world).await];
    for number in 0..6 {
        world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), minute(number + 1)).await;
        tables.push(table(&world).await);
        if number % 2 == 1 {
            let word = if number == 1 { "INSTALL_SUCCESS" } else { "INSTALL_ERROR" };
            world.report(&format!("lamp-{}", number - 1), "2.0.0", word, minute(number + 1)).await;
            tables.push(table(&world).await);
            // The last changes are not counted.
            if number < 5 {
                world.count_at(minute(number + 1)).await;
                tables.push(table(&world).await);
            }
        }
    }
    world.check(&lamp("lamp-0", "2.0.0"), minute(8)).await;
    tables.push(table(&world).await);
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_torn_in_the_middle_of_a_transaction_is_repaired_and_no_limit_is_exceeded_afterwards() {
    let tables = played().await;
    let mut torn = Vec::new();
    for (step, pair) in tables.windows(2).enumerate() {
        let changed = pair[1].iter().filter(|(key, item)| pair[0].get(*key) != Some(item)).collect::<Vec<_>>();
        // The whole step, and each part of it alone: the halves of a transaction, and a write without the one before.
        torn.push((format!("step {step}"), pair[1].clone()));
        for (key, item) in changed.iter().filter(|_| changed.len() > 1) {
            let mut table = pair[0].clone();
            table.insert((*key).clone(), (*item).clone());
            torn.push((format!("step {step} with {key:?} only"), table));
        }
    }
    assert!(torn.len() > 30, "{}", torn.len());
    let mut differences = 0;
    for (what, table) in torn {
        let world = restored(&table).await;
        let result = repaired(&world, Repair::Restored, minute(20)).await;
        assert_eq!((result.rollouts.len(), result.moving.len()), (1, 0), "{what}: {result:?}");
        let rollout = &result.rollouts[0];
        assert_eq!(rollout.state, "paused", "{what}");
        differences += usize::from(rollout.in_flight.counted != rollout.in_flight.found);
        assert_eq!(rollout.in_flight.found, i64::try_from(claims(&world).await.1).unwrap(), "{what}");
        let drift = recount(&world.store, Duration::ZERO).await.unwrap().drift;
        let used_too_much = drift.iter().filter(|drift| drift.count == "used" && drift.counted > drift.found);
        assert_eq!(drift.len(), used_too_much.count(), "{what}: {drift:?}");
        go_on(&world, &what, 30).await;
        let drift = recount(&world.store, Duration::ZERO).await.unwrap().drift;
        assert!(drift.iter().all(|drift| drift.count == "used" && drift.counted > drift.found), "{what}: {drift:?}");
    }
    assert!(differences > 10, "the repair had something to do in {differences} cases");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repaired_table_gives_no_epoch_and_no_number_of_a_catalog_again() {
    let tables = played().await;
    let before = tables.last().unwrap();
    let world = restored(before).await;
    repaired(&world, Repair::Restored, minute(20)).await;
    let after = table(&world).await;
    let number = |table: &Table, key: &(String, String), name: &str| -> u64 {
        table[key].get(name).map_or(0, |number| number.as_n().unwrap().parse().unwrap())
    };
    for key in before.keys().filter(|(_, sk)| sk == "device") {
        assert!(number(&after, key, "rev") >= number(before, key, "rev") + 1_000_000, "{key:?}");
    }
    let head = (format!("p#{LAMP}"), "head".to_string());
    assert!(number(&after, &head, "revision") >= number(before, &head, "revision") + 1_000_000);
    let log = world.operator("GET", &format!("{LAMP}/audit"), Value::Null, minute(21)).await.body;
    assert_eq!(log["items"][0]["action"], "repair the counts", "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_nobody_could_count_are_found_while_the_service_goes_on() {
    let world = World::new(0).await;
    let limits = json!({"max_devices": MOST_DEVICES, "max_in_flight": MOST_IN_FLIGHT});
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": limits}}), minute(0)).await;
    for number in 0..3 {
        world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), minute(1)).await;
    }
    world.count_at(minute(1)).await;
    // Its failure is lost: a record that cannot be read is passed over, and the rollout is marked.
    world.report("lamp-0", "2.0.0", "INSTALL_ERROR", minute(2)).await;
    world.skip_stream().await;
    let product = ProductId::new(LAMP).unwrap();
    world.store.mark_for_recount(&product, &Version::new(2, 0, 0)).await.unwrap();
    world.services.sweep.sweep(minute(3)).await.unwrap();
    let answer = world.check(&lamp("lamp-9", "1.0.0"), minute(3)).await;
    assert_eq!(answer.body["reason"], "too_many_in_flight", "the place that came free is not known");

    let result = repaired(&world, Repair::Uncounted, minute(4)).await;
    assert_eq!((result.rollouts.len(), result.moving.len()), (1, 0), "{result:?}");
    let rollout = &result.rollouts[0];
    assert_eq!((rollout.in_flight.counted, rollout.in_flight.found), (3, 2));
    assert_eq!(rollout.outcomes["failed"].found - rollout.outcomes["failed"].counted, 1);
    world.count_at(minute(5)).await;
    assert_eq!(recount(&world.store, Duration::ZERO).await.unwrap().drift, []);
    // Another repair finds nothing to do.
    assert_eq!(repaired(&world, Repair::Uncounted, minute(5)).await.rollouts, []);

    // A place that comes free now is counted in the new count.
    world.report("lamp-1", "2.0.0", "INSTALL_ERROR", minute(6)).await;
    world.count_at(minute(6)).await;
    go_on(&world, "after lost records", 10).await;
    assert_eq!(claims(&world).await, (MOST_DEVICES - 1, MOST_IN_FLIGHT), "the rollout goes on");
    assert_eq!(recount(&world.store, Duration::ZERO).await.unwrap().drift, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_died_is_begun_anew_and_nothing_opens_meanwhile() {
    use tidegate_store::store::{CloseRollouts as _, Expected, ReadUpdates as _};
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": MOST_IN_FLIGHT}}}), minute(0)).await;
    world.check(&lamp("lamp-0", "1.0.0"), minute(1)).await;
    world.count_at(minute(1)).await;
    let product = ProductId::new(LAMP).unwrap();
    let record = world.store.update(&product, &Version::new(2, 0, 0)).await.unwrap().unwrap();
    let actor = Actor { who: "ada".into(), reason: "a test".into(), now: minute(2) };
    let change = tidegate_store::record::Change::Recount;
    let wanted = tidegate_engine::control::wish(&record, change, &actor).unwrap();
    let wishing = tidegate_store::record::UpdateRecord { wanted: Some(wanted), ..record.clone() };
    world.store.want(&wishing, Expected::of(&record), None).await.unwrap();

    for number in 3..6 {
        world.services.sweep.sweep(minute(number)).await.unwrap();
        let answer = world.check(&lamp("lamp-1", "1.0.0"), minute(number)).await;
        assert_eq!(answer.body["version"], Value::Null, "{answer:?}");
    }
    let path = format!("{LAMP}/updates/2.0.0/pause");
    let refused = world.operator("POST", &path, json!({"reason": "x"}), minute(6)).await;
    assert_eq!((refused.status, refused.code()), (409, "change_under_way"), "{refused:?}");
    let result = repaired(&world, Repair::Uncounted, minute(7)).await;
    assert_eq!((result.rollouts.len(), result.rollouts[0].state.as_str()), (1, "paused"));
    world.count_at(minute(7)).await;
    assert_eq!(recount(&world.store, Duration::ZERO).await.unwrap().drift, []);
    let resumed =
        world.operator("POST", &format!("{LAMP}/updates/2.0.0/resume"), json!({"reason": "x"}), minute(8)).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), minute(9)).await.body["version"], "2.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_cannot_be_read_stops_a_repair_before_anything_is_shut() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), minute(0)).await;
    world.check(&lamp("lamp-0", "1.0.0"), minute(1)).await;
    let update = world.cloud.dynamodb().update_item().table_name(TABLE);
    let update = update.key("pk", AttributeValue::S(format!("d#{LAMP}#lamp-0")));
    let update = update.key("sk", AttributeValue::S("device".into()));
    let update = update.update_expression("SET claims.#other = :damaged").expression_attribute_names("#other", "3.0.0");
    update.expression_attribute_values(":damaged", AttributeValue::N("7".into())).send().await.unwrap();

    let actor = Actor { who: "ada".into(), reason: "a test".into(), now: minute(2) };
    for what in [Repair::Uncounted, Repair::All, Repair::Restored] {
        let refused = repair(&world.store, what, Duration::ZERO, &actor).await.unwrap_err();
        let text = std::iter::successors(Some(&refused as &dyn std::error::Error), |error| error.source());
        let text = text.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(text.contains("device lamp-0 of lamp"), "{text}");
    }
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), minute(3)).await.body["version"], "2.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rollouts_are_repaired_when_nothing_says_which_have_lost_records() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 1}}}), minute(0)).await;
    world.check(&lamp("lamp-0", "1.0.0"), minute(1)).await;
    world.count_at(minute(1)).await;
    world.report("lamp-0", "2.0.0", "INSTALL_ERROR", minute(2)).await;
    world.skip_stream().await;
    assert_eq!(repaired(&world, Repair::Uncounted, minute(3)).await.rollouts, [], "no rollout is marked");
    let result = repaired(&world, Repair::All, minute(4)).await;
    assert_eq!((result.rollouts[0].in_flight.counted, result.rollouts[0].in_flight.found), (1, 0));
    let shown = world.operator("GET", &format!("{LAMP}/updates/2.0.0"), Value::Null, minute(5)).await.body;
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("paused"), &json!("a test")), "{shown}");
    let path = format!("{LAMP}/updates/2.0.0/abort");
    world.operator("POST", &path, json!({"reason": "it is bad"}), minute(6)).await;
    assert_eq!(repaired(&world, Repair::All, minute(7)).await.rollouts.len(), 1);
    let shown = world.operator("GET", &format!("{LAMP}/updates/2.0.0"), Value::Null, minute(8)).await.body;
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("aborted"), &json!("it is bad")), "{shown}");
}
