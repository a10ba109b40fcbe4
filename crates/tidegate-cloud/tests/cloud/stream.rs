//! The stream of a table, as the function `count` reads it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use serde_json::{Value, json};
use tidegate_cloud::{LocalCloud, Ports, TableStream};

use crate::Outcome;

const TABLE: &str = "tidegate";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

async fn create_table(client: &Client) -> Outcome {
    let text =
        |name: &str| AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let create = client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    let create = create.attribute_definitions(text("pk")?).attribute_definitions(text("sk")?);
    let create = create.key_schema(key("pk", KeyType::Hash)?).key_schema(key("sk", KeyType::Range)?);
    create.stream_specification(stream.build()?).send().await?;
    Ok(())
}

async fn put(client: &Client, device: &str, version: &str) -> Outcome {
    let put = client.put_item().table_name(TABLE).item("pk", text(device)).item("sk", text("device"));
    put.item("version", text(version)).send().await?;
    Ok(())
}

async fn update(client: &Client, device: &str, version: &str) -> Outcome {
    let update = client.update_item().table_name(TABLE).key("pk", text(device)).key("sk", text("device"));
    let update = update.update_expression("SET version = :v").expression_attribute_values(":v", text(version));
    update.send().await?;
    Ok(())
}

/// The records of the next batch; none if nothing waits.
async fn records(stream: &mut TableStream) -> Result<Vec<Value>, tidegate_cloud::Error> {
    let event = stream.next().await?.unwrap_or_default();
    Ok(event["Records"].as_array().cloned().unwrap_or_default())
}

/// `INSERT - 1.0.0`: the name of a record, and the versions in its old and new image.
fn change(record: &Value) -> String {
    let version = |image: &str| record["dynamodb"][image]["version"]["S"].as_str().unwrap_or("-").to_owned();
    let name = record["eventName"].as_str().unwrap_or_default();
    format!("{name} {} {}", version("OldImage"), version("NewImage"))
}

fn sequence_number(record: &Value) -> String {
    record["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn each_write_is_a_record_with_both_images_and_a_higher_number() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    let mut stream = cloud.table_stream(TABLE)?;
    assert_eq!(stream.next().await?, None);

    put(&client, "d#lamp#1", "1.0.0").await?;
    update(&client, "d#lamp#1", "2.0.0").await?;
    client.delete_item().table_name(TABLE).key("pk", text("d#lamp#1")).key("sk", text("device")).send().await?;

    let records = records(&mut stream).await?;
    let changes: Vec<_> = records.iter().map(change).collect();
    assert_eq!(changes, ["INSERT - 1.0.0", "MODIFY 1.0.0 2.0.0", "REMOVE 2.0.0 -"]);
    let numbers: Vec<_> = records.iter().map(sequence_number).collect();
    assert!(numbers.is_sorted_by(|before, after| before < after), "{numbers:?} rise as texts");
    assert!(numbers.iter().all(|number| number.len() == 21), "{numbers:?} have 21 digits, as AWS's have at least");
    Ok(())
}

#[tokio::test]
async fn a_batch_looks_like_the_event_of_a_tumbling_window() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    put(&client, "d#lamp#1", "1.0.0").await?;
    let mut event = cloud.table_stream(TABLE)?.next().await?.ok_or("a record waits")?;

    let record = event["Records"][0].take();
    assert_eq!(record["eventSource"], "aws:dynamodb");
    assert_eq!(record["awsRegion"], "eu-west-1");
    assert_eq!(record["eventID"].as_str().map(str::len), Some(32));
    let change = &record["dynamodb"];
    assert_eq!(change["Keys"], json!({"pk": {"S": "d#lamp#1"}, "sk": {"S": "device"}}));
    assert_eq!(change["StreamViewType"], "NEW_AND_OLD_IMAGES");
    assert!(change["SizeBytes"].as_u64() > Some(0) && change.get("OldImage").is_none());

    let second = change["ApproximateCreationDateTime"].as_f64().ok_or("a time in seconds")? as i64;
    let time = |field: &str| event["window"][field].as_str().unwrap_or_default().parse::<jiff::Timestamp>();
    let (start, end) = (time("start")?.as_second(), time("end")?.as_second());
    assert!((start..end).contains(&second) && end - start == 5 && start % 5 == 0, "{}", event["window"]);
    assert_eq!(event["state"], json!({}));
    assert_eq!(event["isFinalInvokeForWindow"], false);
    assert_eq!(event["isWindowTerminatedEarly"], false);
    assert_eq!(event["shardId"], "shardId-00000001-tidegate");
    let arn = event["eventSourceARN"].as_str().unwrap_or_default();
    assert!(arn.starts_with("arn:aws:dynamodb:eu-west-1:000000000000:table/tidegate/stream/"), "{arn}");
    Ok(())
}

#[tokio::test]
async fn only_changes_of_devices_are_handed_over() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    let mut stream = cloud.table_stream(TABLE)?;
    for sort_key in ["doc", "shard", "device", "head"] {
        let item = client.put_item().table_name(TABLE).item("pk", text("d#lamp#1")).item("sk", text(sort_key));
        item.item("version", text("1.0.0")).send().await?;
    }
    update(&client, "d#lamp#1", "1.0.0").await?;
    let changes: Vec<_> = records(&mut stream).await?.iter().map(change).collect();
    assert_eq!(changes, ["INSERT - 1.0.0"], "neither the other items nor the update that changed nothing");
    stream.acknowledge();
    assert_eq!(stream.next().await?, None);
    Ok(())
}

#[tokio::test]
async fn a_batch_comes_again_until_it_is_acknowledged() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    let mut stream = cloud.table_stream(TABLE)?.in_batches_of(2);
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        put(&client, "d#lamp#1", version).await?;
    }
    let first = stream.next().await?;
    put(&client, "d#lamp#1", "4.0.0").await?;
    assert_eq!(stream.next().await?, first, "the same, not one that has grown");
    stream.acknowledge();
    let changes: Vec<_> = records(&mut stream).await?.iter().map(change).collect();
    assert_eq!(changes, ["MODIFY 2.0.0 3.0.0", "MODIFY 3.0.0 4.0.0"]);
    Ok(())
}

#[tokio::test]
async fn after_a_restart_the_stream_begins_again_at_its_horizon() -> Outcome {
    let folder = tempfile::tempdir()?;
    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    create_table(&cloud.dynamodb()).await?;
    put(&cloud.dynamodb(), "d#lamp#1", "1.0.0").await?;
    let mut stream = cloud.table_stream(TABLE)?;
    let before = records(&mut stream).await?;
    stream.acknowledge();
    drop(stream);
    cloud.shutdown().await;

    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    put(&cloud.dynamodb(), "d#lamp#1", "2.0.0").await?;
    let after = records(&mut cloud.table_stream(TABLE)?).await?;
    assert_eq!(after.iter().map(change).collect::<Vec<_>>(), ["INSERT - 1.0.0", "MODIFY 1.0.0 2.0.0"]);
    assert_eq!(after.first(), before.first(), "the same record under the same number");
    Ok(())
}

#[tokio::test]
async fn the_horizon_is_a_day_before_the_newest_record() -> Outcome {
    let folder = tempfile::tempdir()?;
    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    create_table(&cloud.dynamodb()).await?;
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        put(&cloud.dynamodb(), "d#lamp#1", version).await?;
    }
    cloud.shutdown().await;
    // All three are old; only the first is more than a day older than the last.
    let database = rusqlite::Connection::open(folder.path().join("dynamodb.sqlite"))?;
    let aged = "UPDATE _stream_records SET created_at = created_at - CASE id WHEN 1 THEN 900000 ELSE 800000 END";
    assert_eq!(database.execute(aged, [])?, 3);
    drop(database);

    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    let changes: Vec<_> = records(&mut cloud.table_stream(TABLE)?).await?.iter().map(change).collect();
    assert_eq!(changes, ["MODIFY 1.0.0 2.0.0", "MODIFY 2.0.0 3.0.0"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_while_writes_go_on() -> Outcome {
    const WRITERS: usize = 4;
    const WRITES: usize = 50;
    let cloud = LocalCloud::temporary()?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    let mut stream = cloud.table_stream(TABLE)?.in_batches_of(7);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let client = client.clone();
            tokio::spawn(async move {
                for write in 0..WRITES {
                    put(&client, &format!("d#lamp#{writer}"), &format!("{write}.0.0")).await?;
                }
                Outcome::Ok(())
            })
        })
        .collect();

    let mut numbers = Vec::new();
    while numbers.len() < WRITERS * WRITES {
        let done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let batch = records(&mut stream).await?;
        stream.acknowledge();
        assert!(!(done && batch.is_empty()), "only {} records of {}", numbers.len(), WRITERS * WRITES);
        numbers.extend(batch.iter().map(sequence_number));
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await??;
    }
    assert_eq!(stream.next().await?, None);
    assert!(numbers.is_sorted_by(|before, after| before < after));
    Ok(())
}

#[tokio::test]
async fn a_table_without_a_stream_says_so() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let refused = cloud.table_stream(TABLE).err().ok_or("there is a stream")?;
    assert_eq!(refused.to_string(), "cannot read the stream of tidegate: the table has no stream");
    Ok(())
}

#[tokio::test]
async fn the_number_of_a_new_record_is_found_without_reading_the_others() -> Outcome {
    let folder = tempfile::tempdir()?;
    let _cloud = LocalCloud::open(folder.path(), Ports::default())?;
    let database = rusqlite::Connection::open(folder.path().join("dynamodb.sqlite"))?;
    // The statement of dynoxide's `next_stream_sequence_number`.
    let next = "EXPLAIN QUERY PLAN SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1
                FROM _stream_records WHERE table_name = 'tidegate'";
    let plan: String = database.query_row(next, [], |row| row.get("detail"))?;
    assert_eq!(plan, "SEARCH _stream_records USING COVERING INDEX tidegate_stream_order (table_name=?)");
    Ok(())
}
