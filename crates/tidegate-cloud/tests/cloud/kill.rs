//! A kill: what was stored is there when the next process opens the folder.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_s3::primitives::ByteStream;
use tidegate_cloud::{LocalCloud, Ports};

use crate::Outcome;
use crate::objects::{BUCKET, get};

const FOLDER: &str = "TIDEGATE_TEST_KILLED_FOLDER";
const TABLE: &str = "tidegate";

fn key() -> AttributeValue {
    AttributeValue::S("a".to_owned())
}

#[tokio::test]
#[ignore = "the process that is killed; the test below starts it"]
async fn the_killed_process() -> Outcome {
    let Ok(folder) = std::env::var(FOLDER) else {
        return Ok(());
    };
    let cloud = LocalCloud::open(folder.as_ref(), Ports::default())?;
    let dynamodb = cloud.dynamodb();
    let name = AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
    let hash = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    let create = dynamodb.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    create.attribute_definitions(name.build()?).key_schema(hash.build()?).send().await?;
    dynamodb.put_item().table_name(TABLE).item("pk", key()).send().await?;
    cloud.create_bucket(BUCKET).await?;
    let put = cloud.s3().put_object().bucket(BUCKET).key("a");
    put.body(ByteStream::from_static(b"one")).send().await?;
    // As sudden as kill -9: nothing is dropped, closed or flushed.
    std::process::abort();
}

#[tokio::test]
async fn items_and_objects_survive_a_kill() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut process = std::process::Command::new(std::env::current_exe()?);
    process.args(["--ignored", "--exact", "kill::the_killed_process"]);
    let ended = process.env(FOLDER, folder.path()).output()?;
    assert_eq!(ended.status.code(), None, "it was to die of a signal: {ended:?}");

    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    let found = cloud.dynamodb().get_item().table_name(TABLE).key("pk", key()).send().await?;
    assert!(found.item().is_some());
    assert_eq!(get(&cloud.s3(), "a").await?, b"one");
    Ok(())
}
