//! Each kind of trouble that `tidegate_tests::trouble` plays, through the AWS SDK and with a stopped clock.
#![allow(clippy::disallowed_methods, reason = "these tests are about the requests themselves")]

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, TransactWriteItem, Update, WriteRequest};
use serde_json::{Value, json};
use tidegate_cloud::InProcessDynamoDb;
use tidegate_tests::trouble::{Billing, Kind, Occupancy, Partition, PartitionLimits, Trouble, TroubledDynamoDb};
use tokio::time::{Instant, advance, sleep};

const TABLE: &str = "tidegate";
const HOLD: Duration = Duration::from_millis(10);

/// A database with an empty table, which has the index `versions` and a stream.
fn database() -> InProcessDynamoDb {
    let dynamodb = InProcessDynamoDb::in_memory().unwrap();
    let part = |name: &str, key_type: &str| json!({"AttributeName": name, "KeyType": key_type});
    let key = |hash: &str, range: &str| json!([part(hash, "HASH"), part(range, "RANGE")]);
    let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let create = json!({
        "TableName": TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": key("pk", "sk"),
        "AttributeDefinitions": [attribute("pk"), attribute("sk"), attribute("on"), attribute("id")],
        "GlobalSecondaryIndexes": [
            {"IndexName": "versions", "KeySchema": key("on", "id"), "Projection": {"ProjectionType": "KEYS_ONLY"}},
        ],
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    });
    let created = dynamodb.answer("CreateTable", &create.to_string());
    assert_eq!(created.status, 200, "{}", created.body);
    dynamodb
}

/// Trouble before such a database, and a client that does not try again.
fn table(trouble: Trouble) -> (TroubledDynamoDb, Client) {
    before(database(), trouble)
}

fn before(dynamodb: InProcessDynamoDb, trouble: Trouble) -> (TroubledDynamoDb, Client) {
    let dynamodb = TroubledDynamoDb::before(dynamodb, trouble);
    let config = dynamodb.config().retry_config(RetryConfig::disabled());
    let client = Client::from_conf(config.build());
    (dynamodb, client)
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn key(pk: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([("pk".into(), text(pk)), ("sk".into(), text("device"))])
}

/// An update that adds one to `n`; in a transaction.
fn add_one(pk: &str) -> TransactWriteItem {
    let update = Update::builder().table_name(TABLE).set_key(Some(key(pk))).update_expression("ADD n :one");
    let update = update.expression_attribute_values(":one", AttributeValue::N("1".into())).build().unwrap();
    TransactWriteItem::builder().update(update).build()
}

/// A transaction that adds one to each item.
async fn add_together(client: &Client, keys: &[&str]) -> Result<(), TransactWriteItemsError> {
    let items = keys.iter().map(|pk| add_one(pk)).collect();
    let sent = client.transact_write_items().set_transact_items(Some(items)).send().await;
    sent.map(|_| ()).map_err(SdkError::into_service_error)
}

/// A plain write that adds one.
async fn add(client: &Client, pk: &str) -> Result<(), SdkError<UpdateItemError>> {
    let update = client.update_item().table_name(TABLE).set_key(Some(key(pk))).update_expression("ADD n :one");
    update.expression_attribute_values(":one", AttributeValue::N("1".into())).send().await.map(|_| ())
}

/// Code of a refused write; empty if it went through.
async fn add_code(client: &Client, pk: &str) -> String {
    match add(client, pk).await {
        Ok(()) => String::new(),
        Err(error) => error.into_service_error().code().unwrap_or("no code").to_owned(),
    }
}

async fn put(client: &Client, pk: &str, attributes: &[(&str, &str)]) {
    let item = key(pk).into_iter().chain(attributes.iter().map(|(name, value)| ((*name).into(), text(value))));
    client.put_item().table_name(TABLE).set_item(Some(item.collect())).send().await.unwrap();
}

/// The `n` of an item, by a strong read. 0 if there is none.
async fn count(client: &Client, pk: &str) -> u64 {
    let get = client.get_item().table_name(TABLE).set_key(Some(key(pk))).consistent_read(true);
    number(get.send().await.unwrap().item())
}

fn number(item: Option<&HashMap<String, AttributeValue>>) -> u64 {
    let number = item.and_then(|item| item.get("n")?.as_n().ok());
    number.map_or(0, |number| number.parse().unwrap())
}

fn reasons(refused: TransactWriteItemsError) -> Vec<(String, Option<String>)> {
    let TransactWriteItemsError::TransactionCanceledException(refused) = refused else { panic!("{refused:?}") };
    let reasons = refused.cancellation_reasons().iter();
    reasons.map(|reason| (reason.code().unwrap().into(), reason.message().map(str::to_owned))).collect()
}

fn played(dynamodb: &TroubledDynamoDb, kind: Kind) -> u64 {
    dynamodb.played().get(&kind).copied().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn by_default_there_is_no_trouble_and_no_time_passes() {
    let (dynamodb, client) = table(Trouble::default());
    let start = Instant::now();
    for _ in 0..50 {
        add_together(&client, &["a", "b"]).await.unwrap();
        add(&client, "a").await.unwrap();
    }
    assert_eq!((count(&client, "a").await, count(&client, "b").await), (100, 50));
    assert!(dynamodb.played().is_empty(), "{:?}", dynamodb.played());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_plain_write_that_meets_a_transaction_is_refused_until_the_transaction_ends() {
    let (dynamodb, client) = table(Trouble { hold: HOLD, ..Trouble::default() });
    let other = client.clone();
    let transaction = tokio::spawn(async move {
        let start = Instant::now();
        add_together(&other, &["a", "b"]).await.unwrap();
        start.elapsed()
    });
    sleep(Duration::from_millis(1)).await;
    for pk in ["a", "b"] {
        assert_eq!(add_code(&client, pk).await, "TransactionConflictException");
    }
    assert_eq!(add_code(&client, "c").await, "", "no transaction names it");
    let took = transaction.await.unwrap();
    assert!((HOLD / 2..=HOLD * 3 / 2).contains(&took), "{took:?}");
    assert_eq!(add_code(&client, "a").await, "");
    assert_eq!(played(&dynamodb, Kind::Conflict), 2);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_meets_another_is_cancelled_with_a_reason_for_each_item() {
    let (_, client) = table(Trouble { hold: HOLD, ..Trouble::default() });
    let other = client.clone();
    let transaction = tokio::spawn(async move { add_together(&other, &["a"]).await });
    sleep(Duration::from_millis(1)).await;
    let refused = add_together(&client, &["b", "a"]).await.unwrap_err();
    let message = "Transaction cancelled, please refer cancellation reasons for specific reasons \
                   [None, TransactionConflict]";
    assert_eq!(refused.message(), Some(message));
    let conflict = ("TransactionConflict".to_owned(), Some("Transaction is ongoing for the item".to_owned()));
    assert_eq!(reasons(refused), [("None".to_owned(), None), conflict]);
    transaction.await.unwrap().unwrap();
    assert_eq!((count(&client, "a").await, count(&client, "b").await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_condition_fails_holds_nothing() {
    let (_, client) = table(Trouble { hold: HOLD, ..Trouble::default() });
    let update = Update::builder().table_name(TABLE).set_key(Some(key("a"))).update_expression("REMOVE n");
    let update = update.condition_expression("attribute_exists(pk)").build().unwrap();
    let update = TransactWriteItem::builder().update(update).build();
    let start = Instant::now();
    let refused = client.transact_write_items().transact_items(update).transact_items(add_one("b")).send().await;
    let codes: Vec<_> = reasons(refused.unwrap_err().into_service_error()).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["ConditionalCheckFailed", "None"]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(add_code(&client, "b").await, "");
}

#[tokio::test(start_paused = true)]
async fn a_read_never_meets_a_transaction_but_a_reading_transaction_does() {
    let (_, client) = table(Trouble { hold: HOLD, ..Trouble::default() });
    let other = client.clone();
    let transaction = tokio::spawn(async move { add_together(&other, &["a"]).await });
    sleep(Duration::from_millis(1)).await;
    assert_eq!(count(&client, "a").await, 1);
    let get = aws_sdk_dynamodb::types::Get::builder().table_name(TABLE).set_key(Some(key("a"))).build().unwrap();
    let get = aws_sdk_dynamodb::types::TransactGetItem::builder().get(get).build();
    let refused = client.transact_get_items().transact_items(get).send().await.unwrap_err();
    assert_eq!(refused.into_service_error().code(), Some("TransactionCanceledException"));
    transaction.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_comes_again_with_its_token_is_in_progress_and_then_done() {
    let (_, client) = table(Trouble { hold: HOLD, ..Trouble::default() });
    let send = || client.transact_write_items().transact_items(add_one("a")).client_request_token("once").send();
    let (first, second) = tokio::join!(send(), async {
        sleep(Duration::from_millis(1)).await;
        send().await
    });
    first.unwrap();
    let code = second.unwrap_err().into_service_error().code().map(str::to_owned);
    assert_eq!(code.as_deref(), Some("TransactionInProgressException"));
    send().await.unwrap();
    assert_eq!(count(&client, "a").await, 1);
}

#[tokio::test(start_paused = true)]
async fn items_of_a_prefix_are_held_by_others_for_a_share_of_the_time() {
    let occupancy = Some(Occupancy::new("s#", 0.5));
    let (_, client) = table(Trouble { occupancy, ..Trouble::default() });
    let mut refused = 0;
    let mut changes = 0;
    let mut was_refused = false;
    const LOOKS: u32 = 1_000;
    for _ in 0..LOOKS {
        let is_refused = !add_code(&client, "s#1").await.is_empty();
        refused += u32::from(is_refused);
        changes += u32::from(is_refused != was_refused);
        was_refused = is_refused;
        advance(Duration::from_millis(2)).await;
    }
    assert!((420..580).contains(&refused), "{refused} of {LOOKS}");
    assert!((130..270).contains(&changes), "about 200 in 2 s: holds and pauses last 10 ms on average; {changes}");
    assert_eq!(add_code(&client, "d#1").await, "");
    assert!(add_together(&client, &["d#1"]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_plain_write_of_an_item_that_a_transaction_named_is_refused_by_chance() {
    let (_, client) = table(Trouble { conflict_chance: 0.4, ..Trouble::default() });
    add_together(&client, &["a"]).await.unwrap();
    let mut refused = [0, 0];
    for _ in 0..300 {
        for (refused, pk) in refused.iter_mut().zip(["a", "b"]) {
            *refused += u32::from(add_code(&client, pk).await == "TransactionConflictException");
        }
    }
    assert!((90..150).contains(&refused[0]), "{refused:?}");
    assert_eq!(refused[1], 0);
}

#[tokio::test(start_paused = true)]
async fn a_partition_key_takes_its_limit_each_second() {
    for (billing, code) in
        [(Billing::OnDemand, "ThrottlingException"), (Billing::Provisioned, "ProvisionedThroughputExceededException")]
    {
        let limits = PartitionLimits { write_units_per_s: 100.0, read_units_per_s: 300.0, billing };
        let (dynamodb, client) = table(Trouble { partition_limits: Some(limits), ..Trouble::default() });
        for _ in 0..100 {
            assert_eq!(add_code(&client, "a").await, "");
        }
        assert_eq!(add_code(&client, "a").await, code);
        assert_eq!(add_code(&client, "b").await, "", "another partition key");
        let refused = reasons(add_together(&client, &["b", "a"]).await.unwrap_err());
        let expected = if billing == Billing::OnDemand { "ThrottlingError" } else { "ProvisionedThroughputExceeded" };
        assert_eq!([refused[0].0.as_str(), refused[1].0.as_str()], ["None", expected]);
        advance(Duration::from_millis(500)).await;
        for _ in 0..50 {
            assert_eq!(add_code(&client, "a").await, "");
        }
        assert_eq!(add_code(&client, "a").await, code);
        assert_eq!(played(&dynamodb, Kind::Throttled), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_of_a_partition_key_have_a_limit_too() {
    let limits = PartitionLimits { read_units_per_s: 10.0, ..PartitionLimits::default() };
    let (_, client) = table(Trouble { partition_limits: Some(limits), ..Trouble::default() });
    let get =
        |consistent| client.get_item().table_name(TABLE).set_key(Some(key("a"))).consistent_read(consistent).send();
    for _ in 0..10 {
        get(true).await.unwrap();
    }
    assert_eq!(get(true).await.unwrap_err().into_service_error().code(), Some("ThrottlingException"));
    advance(Duration::from_secs(1)).await;
    for _ in 0..20 {
        get(false).await.unwrap();
    }
    assert_eq!(get(false).await.unwrap_err().into_service_error().code(), Some("ThrottlingException"));
}

#[tokio::test(start_paused = true)]
async fn a_partition_key_of_an_index_has_its_own_limit() {
    let limits = PartitionLimits { write_units_per_s: 20.0, ..PartitionLimits::default() };
    let (dynamodb, client) = table(Trouble { partition_limits: Some(limits), ..Trouble::default() });
    for device in 0..20 {
        let device = device.to_string();
        put(&client, &format!("d#{device}"), &[("on", "lamp#1.0.0#00"), ("id", &device)]).await;
    }
    let put = |on: &str| {
        let put = client.put_item().table_name(TABLE).set_item(Some(key("d#new"))).item("on", text(on));
        put.item("id", text("new")).send()
    };
    let refused = put("lamp#1.0.0#00").await.unwrap_err();
    assert_eq!(refused.into_service_error().code(), Some("ThrottlingException"));
    put("lamp#1.0.0#01").await.unwrap();
    let units = dynamodb.units();
    let (hottest, meter) = units.hottest_write(|partition| !partition.key.starts_with("d#")).unwrap();
    assert_eq!(hottest, &Partition { index: Some("versions".into()), key: "lamp#1.0.0#00".into() });
    assert_eq!((meter.total, meter.busiest_second), (20.0, 20.0));
}

/// Units of one write, in the table and in the index.
fn units_of(dynamodb: &TroubledDynamoDb) -> String {
    let units = dynamodb.take_units();
    let of = |in_index: bool| {
        let meters = units.writes.iter().filter(|(partition, _)| partition.index.is_some() == in_index);
        meters.fold(0.0, |total, (_, meter)| total + meter.total)
    };
    format!("{} + {}", of(false), of(true))
}

#[tokio::test(start_paused = true)]
async fn a_write_costs_what_aws_takes_for_it() {
    let (dynamodb, client) = table(Trouble::default());
    put(&client, "d#1", &[]).await;
    assert_eq!(units_of(&dynamodb), "1 + 0", "a small item that is in no index");
    put(&client, "d#1", &[("on", "lamp#1.0.0"), ("id", "1")]).await;
    assert_eq!(units_of(&dynamodb), "1 + 1", "it enters the index");
    put(&client, "d#1", &[("on", "lamp#1.0.0"), ("id", "1"), ("message", "hello")]).await;
    assert_eq!(units_of(&dynamodb), "1 + 0", "the index has only keys");
    put(&client, "d#1", &[("on", "lamp#2.0.0"), ("id", "1")]).await;
    assert_eq!(units_of(&dynamodb), "1 + 2", "it leaves one key of the index and enters another");
    // pk 2 + 3, sk 2 + 6, on 2 + 10, id 2 + 1, message 7 + the text.
    let room = 1_024 - (5 + 8 + 12 + 3 + 7);
    for (length, units) in [(room, "1 + 0"), (room + 1, "2 + 0"), (room, "2 + 0")] {
        let message = "x".repeat(length);
        put(&client, "d#1", &[("on", "lamp#2.0.0"), ("id", "1"), ("message", &message)]).await;
        assert_eq!(units_of(&dynamodb), units, "the larger of before and after counts; {length}");
    }
    put(&client, "d#1", &[]).await;
    assert_eq!(units_of(&dynamodb), "1 + 1", "it leaves the index");
    add_together(&client, &["d#1", "d#2"]).await.unwrap();
    assert_eq!(units_of(&dynamodb), "4 + 0", "a transaction counts twice");
    let refused = client.delete_item().table_name(TABLE).set_key(Some(key("d#1")));
    refused.condition_expression("attribute_not_exists(pk)").send().await.unwrap_err();
    assert_eq!(units_of(&dynamodb), "1 + 0", "a failed condition costs as much");
    client.delete_item().table_name(TABLE).set_key(Some(key("d#1"))).send().await.unwrap();
    assert_eq!(units_of(&dynamodb), "1 + 0");
}

#[tokio::test(start_paused = true)]
async fn the_busiest_second_is_found() {
    let (dynamodb, client) = table(Trouble::default());
    for writes in [3, 5, 2] {
        for _ in 0..writes {
            add(&client, "s#1").await.unwrap();
        }
        add(&client, "d#1").await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    let units = dynamodb.units();
    let (hottest, meter) = units.hottest_write(|_| true).unwrap();
    assert_eq!((hottest.key.as_str(), meter.total, meter.busiest_second), ("s#1", 10.0, 5.0));
    assert_eq!(units.written(), 13.0);
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_batch_are_left_unprocessed_and_come_in_the_end() {
    let (dynamodb, client) = table(Trouble { unprocessed_chance: 0.5, ..Trouble::default() });
    let names: Vec<String> = (0..20).map(|device| format!("d#{device}")).collect();
    let write = |name: &String| {
        let put = PutRequest::builder().set_item(Some(key(name))).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let mut waiting = HashMap::from([(TABLE.to_owned(), names.iter().map(write).collect::<Vec<_>>())]);
    let mut rounds = 0;
    while !waiting.is_empty() {
        let sent = client.batch_write_item().set_request_items(Some(waiting)).send().await.unwrap();
        waiting = sent.unprocessed_items.unwrap_or_default();
        rounds += 1;
    }
    assert!(rounds > 1);

    let keys = KeysAndAttributes::builder().set_keys(Some(names.iter().map(|name| key(name)).collect()));
    let keys = keys.consistent_read(true).projection_expression("pk").build().unwrap();
    let mut waiting = HashMap::from([(TABLE.to_owned(), keys)]);
    let mut found = Vec::new();
    let mut rounds = 0;
    while !waiting.is_empty() {
        let read = client.batch_get_item().set_request_items(Some(waiting)).send().await.unwrap();
        found.extend(read.responses.unwrap().remove(TABLE).unwrap_or_default());
        waiting = read.unprocessed_keys.unwrap_or_default();
        assert!(waiting.get(TABLE).is_none_or(|left| left.projection_expression() == Some("pk")));
        rounds += 1;
    }
    assert!(rounds > 1);
    let mut found: Vec<String> = found.iter().map(|item| item["pk"].as_s().unwrap().clone()).collect();
    found.sort();
    let mut names = names;
    names.sort();
    assert_eq!(found, names);
    assert!(played(&dynamodb, Kind::Unprocessed) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_leaves_what_a_transaction_holds_and_what_a_busy_partition_cannot_take() {
    let limits = PartitionLimits { write_units_per_s: 1.0, read_units_per_s: 1.0, ..PartitionLimits::default() };
    let occupancy = Some(Occupancy::new("s#", 1.0));
    let (dynamodb, client) = table(Trouble { partition_limits: Some(limits), occupancy, ..Trouble::default() });
    add(&client, "busy").await.unwrap();
    count(&client, "busy").await;
    let write = |pk: &str| {
        let put = PutRequest::builder().set_item(Some(key(pk))).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let writes = ["s#held", "free", "busy"].map(write);
    let sent = client.batch_write_item().request_items(TABLE, writes.to_vec()).send().await.unwrap();
    let left = sent.unprocessed_items.unwrap();
    let left = left[TABLE].iter().map(|write| write.put_request().unwrap().item()["pk"].clone());
    assert_eq!(left.collect::<Vec<_>>(), [text("s#held"), text("busy")]);

    let read = async |keys: &[&str]| {
        let keys = keys.iter().map(|pk| key(pk)).collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build().unwrap();
        client.batch_get_item().request_items(TABLE, keys).send().await
    };
    let found = read(&["busy", "free"]).await.unwrap();
    assert_eq!(found.responses.unwrap()[TABLE], [key("free")]);
    assert_eq!(found.unprocessed_keys.unwrap()[TABLE].keys(), [key("busy")]);
    let refused = read(&["busy"]).await.unwrap_err().into_service_error();
    assert_eq!(refused.code(), Some("ThrottlingException"), "nothing could be read");
    assert_eq!((played(&dynamodb, Kind::Conflict), played(&dynamodb, Kind::Throttled)), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_query_is_torn_by_a_write_between_its_pages() {
    let (dynamodb, client) = table(Trouble { page_items: Some(2), ..Trouble::default() });
    let entry = |sk: &str| json!({"TableName": TABLE, "Item": {"pk": {"S": "l#1"}, "sk": {"S": sk}}});
    for sk in ["a", "b", "c", "d"] {
        let put = client.put_item().table_name(TABLE).item("pk", text("l#1")).item("sk", text(sk));
        put.send().await.unwrap();
    }
    dynamodb.write_between_pages("PutItem", entry("aa"));
    dynamodb.write_between_pages("DeleteItem", json!({"TableName": TABLE, "Key": entry("d")["Item"]}));
    let query = client.query().table_name(TABLE).key_condition_expression("pk = :pk");
    let pages = query.expression_attribute_values(":pk", text("l#1")).into_paginator().send();
    let mut pages: Vec<_> = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let pages: Vec<Vec<String>> = pages
        .iter_mut()
        .map(|page| page.items.take().unwrap().iter().map(|item| item["sk"].as_s().unwrap().clone()).collect())
        .collect();
    let none: Vec<String> = Vec::new();
    assert_eq!(pages, [vec!["a".to_owned(), "b".into()], vec!["c".into(), "d".into()], none]);
    assert_eq!(played(&dynamodb, Kind::TornQuery), 2);
    assert_eq!(dynamodb.units().reads.keys().map(|partition| partition.key.as_str()).collect::<Vec<_>>(), ["l#1"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_has_at_most_one_megabyte() {
    let (_, client) = table(Trouble::default());
    for sk in ["a", "b", "c"] {
        let put = client.put_item().table_name(TABLE).item("pk", text("l#1")).item("sk", text(sk));
        put.item("text", text(&"x".repeat(390_000))).send().await.unwrap();
    }
    let query = client.query().table_name(TABLE).key_condition_expression("pk = :pk");
    let page = query.expression_attribute_values(":pk", text("l#1")).send().await.unwrap();
    assert_eq!(page.count(), 2);
    assert_eq!(page.last_evaluated_key().unwrap()["sk"], text("b"));
}

#[tokio::test(start_paused = true)]
async fn an_eventually_consistent_read_may_be_a_second_old() {
    let (dynamodb, client) = table(Trouble { old_read_chance: 0.5, ..Trouble::default() });
    let read = async || {
        let get = client.get_item().table_name(TABLE).set_key(Some(key("a")));
        number(get.send().await.unwrap().item())
    };
    let mut old = 0;
    for written in 1..=50 {
        add(&client, "a").await.unwrap();
        assert_eq!(count(&client, "a").await, written, "a strong read");
        let seen = read().await;
        assert!(seen == written || seen == written - 1, "{seen} instead of {written}");
        old += u32::from(seen < written);
        advance(Duration::from_secs(1)).await;
        assert_eq!(read().await, written);
    }
    assert!((10..40).contains(&old), "{old}");
    assert!(played(&dynamodb, Kind::OldRead) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_query_of_the_index_may_be_old_too() {
    let (_, client) = table(Trouble { old_read_chance: 1.0, ..Trouble::default() });
    let found = async || {
        let query = client.query().table_name(TABLE).index_name("versions").key_condition_expression("#on = :on");
        let query = query.expression_attribute_names("#on", "on");
        query.expression_attribute_values(":on", text("lamp#1.0.0")).send().await.unwrap().count()
    };
    put(&client, "d#1", &[("on", "lamp#1.0.0"), ("id", "1")]).await;
    assert_eq!(found().await, 0);
    advance(Duration::from_secs(1)).await;
    assert_eq!(found().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_writes_nothing_and_a_lost_answer_has_written() {
    for (trouble, written) in [
        (Trouble { lost_request_chance: 1.0, ..Trouble::default() }, 0),
        (Trouble { lost_answer_chance: 1.0, ..Trouble::default() }, 1),
    ] {
        let (dynamodb, client) = table(trouble);
        let start = Instant::now();
        let lost = add(&client, "a").await.unwrap_err();
        assert!(matches!(&lost, SdkError::DispatchFailure(failure) if failure.is_timeout()), "{lost:?}");
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        dynamodb.play(Trouble::default());
        assert_eq!(count(&client, "a").await, written);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_error_has_written_in_half_of_the_cases() {
    let (dynamodb, client) = table(Trouble { server_error_chance: 1.0, ..Trouble::default() });
    for _ in 0..100 {
        let refused = add(&client, "a").await.unwrap_err();
        assert_eq!(refused.raw_response().unwrap().status().as_u16(), 500);
        assert_eq!(refused.into_service_error().code(), Some("InternalServerError"));
    }
    dynamodb.play(Trouble::default());
    let written = count(&client, "a").await;
    assert!((30..70).contains(&written), "{written} of 100");
}

#[tokio::test(start_paused = true)]
async fn a_late_duplicate_is_applied_once_more_within_100_calls() {
    let (dynamodb, client) = table(Trouble { late_duplicate_chance: 1.0, ..Trouble::default() });
    add(&client, "a").await.unwrap();
    add_together(&client, &["b"]).await.unwrap();
    assert_eq!((count(&client, "a").await, count(&client, "b").await), (1, 1));
    for _ in 0..100 {
        count(&client, "c").await;
    }
    assert_eq!((count(&client, "a").await, count(&client, "b").await), (2, 2));
    add(&client, "a").await.unwrap();
    dynamodb.apply_late_duplicates();
    assert_eq!(count(&client, "a").await, 4);
    assert_eq!(played(&dynamodb, Kind::LateDuplicate), 3);
}

#[tokio::test(start_paused = true)]
async fn each_way_takes_half_of_the_latency() {
    let latency = Duration::from_millis(8);
    let (_, client) = table(Trouble { latency, ..Trouble::default() });
    let start = Instant::now();
    add(&client, "a").await.unwrap();
    let took = start.elapsed();
    // The clock of tokio rounds each sleep up to a millisecond.
    assert!((latency / 2..=latency * 3 / 2 + Duration::from_millis(2)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_brings_the_same_trouble() {
    async fn history(seed: u64) -> Vec<String> {
        let occupancy = Some(Occupancy::new("", 0.3));
        let trouble = Trouble {
            seed,
            occupancy,
            server_error_chance: 0.1,
            late_duplicate_chance: 0.1,
            latency: Duration::from_millis(4),
            ..Trouble::default()
        };
        let (_, client) = table(trouble);
        let mut history = Vec::new();
        for _ in 0..40 {
            history.push(add_code(&client, "a").await);
        }
        history
    }
    assert_eq!(history(1).await, history(1).await);
    assert_ne!(history(1).await, history(2).await);
}

#[tokio::test(start_paused = true)]
async fn the_sdk_tries_again_by_itself_after_a_server_error_but_not_after_a_conflict() {
    let (dynamodb, _) = table(Trouble { server_error_chance: 0.3, ..Trouble::default() });
    let client = dynamodb.client();
    for _ in 0..10 {
        count(&client, "a").await;
    }
    assert!(played(&dynamodb, Kind::ServerError) > 0);
    dynamodb.play(Trouble { occupancy: Some(Occupancy::new("", 1.0)), ..Trouble::default() });
    assert_eq!(add_code(&client, "a").await, "TransactionConflictException");
    assert_eq!(played(&dynamodb, Kind::Conflict), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_under_trouble_is_in_the_stream_once() {
    let dynamodb = database();
    let limits = Some(PartitionLimits::default());
    let trouble = Trouble { partition_limits: limits, lost_answer_chance: 0.5, hold: HOLD, ..Trouble::default() };
    let (troubled, client) = before(dynamodb.clone(), trouble);
    for _ in 0..10 {
        let _ = add(&client, "a").await;
        let _ = add_together(&client, &["a", "b"]).await;
    }
    let mut stream = dynamodb.table_stream(TABLE).unwrap();
    let event = stream.next().await.unwrap().unwrap();
    let of = |pk: &str| {
        let records = event["Records"].as_array().unwrap().iter().map(|record| &record["dynamodb"]);
        let images =
            records.filter(|change| change["Keys"]["pk"]["S"] == pk).map(|change| &change["NewImage"]["n"]["N"]);
        images.cloned().collect::<Vec<Value>>()
    };
    let counted = |most: u64| (1..=most).map(|n| json!(n.to_string())).collect::<Vec<Value>>();
    assert_eq!((of("a"), of("b")), (counted(20), counted(10)));
    assert!(played(&troubled, Kind::LostAnswer) > 0);
}
