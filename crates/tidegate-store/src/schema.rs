//! The one table: its keys, its index and its stream. Terraform makes the same one in the cloud.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, StreamSpecification, StreamViewType,
};

use crate::store::{StoreError, Stored};

/// The sparse index: devices by their version.
pub const INDEX: &str = "versions";

/// Creates the table, unless it exists.
///
/// # Errors
/// When DynamoDB refuses.
pub async fn create_table(client: &Client, table: &str) -> Stored<()> {
    if client.describe_table().table_name(table).send().await.is_ok() {
        return Ok(());
    }
    let attribute =
        |name: &str| AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let built = || -> Result<_, aws_sdk_dynamodb::error::BuildError> {
        let index = GlobalSecondaryIndex::builder()
            .index_name(INDEX)
            .key_schema(key("on", KeyType::Hash)?)
            .key_schema(key("id", KeyType::Range)?)
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()?;
        let attributes = ["pk", "sk", "on", "id"].map(attribute).into_iter().collect::<Result<Vec<_>, _>>()?;
        let stream = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewAndOldImages)
            .build()?;
        Ok((index, attributes, key("pk", KeyType::Hash)?, key("sk", KeyType::Range)?, stream))
    };
    let (index, attributes, hash, range, stream) = built().map_err(StoreError::unavailable)?;
    let created = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes))
        .key_schema(hash)
        .key_schema(range)
        .global_secondary_indexes(index)
        .stream_specification(stream)
        .send()
        .await;
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => Ok(()),
        Err(error) => Err(StoreError::unavailable(error)),
    }
}
