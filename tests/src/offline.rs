//! A store and images whose S3 refuses every request: nothing can be compiled, and nothing can be stored.

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Credentials, Region, SharedCredentialsProvider};
use tidegate::stack::{BUCKET, TABLE};
use tidegate_cloud::REGION;
use tidegate_store::{DynamoStore, Images};

use crate::catalog_key;

/// The store over a DynamoDB client, and the images, both without S3.
#[must_use]
pub fn without_s3(dynamodb: aws_sdk_dynamodb::Client) -> (DynamoStore, Images) {
    let credentials = Credentials::new("none", "none", None, None, "none");
    let nowhere = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .region(Region::new(REGION))
        .credentials_provider(credentials.clone())
        .endpoint_url("http://127.0.0.1:9")
        .retry_config(RetryConfig::disabled())
        .build();
    let s3 = aws_sdk_s3::Client::from_conf(nowhere);
    let store = DynamoStore::new(dynamodb, TABLE, s3.clone(), BUCKET).with_catalog_key(catalog_key());
    (store, Images::new(s3, SharedCredentialsProvider::new(credentials), BUCKET))
}
