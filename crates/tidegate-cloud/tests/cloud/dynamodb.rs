//! DynamoDB, through the AWS SDK: what the services rely on.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, Put,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TransactWriteItem,
};
use tidegate_cloud::{LocalCloud, Ports};

use crate::Outcome;

const TABLE: &str = "tidegate";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

async fn create_table(client: &Client) -> Outcome {
    let key = AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
    let hash = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    let create = client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    create.attribute_definitions(key.build()?).key_schema(hash.build()?).send().await?;
    Ok(())
}

fn new_item(key: &str, owner: &str) -> Result<Put, aws_sdk_dynamodb::error::BuildError> {
    Put::builder()
        .table_name(TABLE)
        .item("pk", text(key))
        .item("owner", text(owner))
        .condition_expression("attribute_not_exists(pk)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
}

#[tokio::test]
async fn a_failed_condition_shows_the_item_that_was_in_the_way() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    let put = |owner: &str| {
        client
            .put_item()
            .table_name(TABLE)
            .item("pk", text("slot"))
            .item("owner", text(owner))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
    };
    put("first").await?;
    let refused = put("second").await.err().ok_or("both were stored")?.into_service_error();
    assert!(refused.is_conditional_check_failed_exception());
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(refused) = refused else {
        return Err("another error".into());
    };
    assert_eq!(refused.item().and_then(|item| item.get("owner")), Some(&text("first")));
    Ok(())
}

#[tokio::test]
async fn a_cancelled_transaction_says_which_part_failed_and_stores_none() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    let write = |items: Vec<Put>| {
        let items = items.into_iter().map(|put| TransactWriteItem::builder().put(put).build()).collect();
        client.transact_write_items().set_transact_items(Some(items)).send()
    };
    write(vec![new_item("a", "first")?]).await?;
    let refused = write(vec![new_item("b", "second")?, new_item("a", "second")?]).await;
    let refused = refused.err().ok_or("the transaction went through")?.into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        refused,
    ) = refused
    else {
        return Err("another error".into());
    };
    let reasons = refused.cancellation_reasons();
    let codes: Vec<_> = reasons.iter().filter_map(|reason| reason.code()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
    assert_eq!(reasons[1].item().and_then(|item| item.get("owner")), Some(&text("first")));

    let other = client.get_item().table_name(TABLE).key("pk", text("b")).send().await?;
    assert_eq!(other.item(), None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_with_a_limit_never_passes_it() -> Outcome {
    let cloud = LocalCloud::temporary()?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let client = client.clone();
        clients.spawn(async move {
            let update = client.update_item().table_name(TABLE).key("pk", text("counter"));
            let update = update
                .update_expression("ADD granted :one")
                .condition_expression("attribute_not_exists(granted) OR granted < :limit")
                .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
                .expression_attribute_values(":limit", AttributeValue::N("25".to_owned()));
            update.send().await.is_ok()
        });
    }
    let granted = clients.join_all().await.into_iter().filter(|granted| *granted).count();
    assert_eq!(granted, 25);
    Ok(())
}

#[tokio::test]
async fn items_survive_a_restart() -> Outcome {
    let folder = tempfile::tempdir()?;
    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    let client = cloud.dynamodb();
    create_table(&client).await?;
    client.put_item().table_name(TABLE).item("pk", text("a")).item("owner", text("first")).send().await?;
    cloud.shutdown().await;

    let cloud = LocalCloud::open(folder.path(), Ports::default())?;
    let found = cloud.dynamodb().get_item().table_name(TABLE).key("pk", text("a")).send().await?;
    assert_eq!(found.item().and_then(|item| item.get("owner")), Some(&text("first")));
    Ok(())
}
