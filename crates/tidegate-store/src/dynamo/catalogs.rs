//! Compiled catalogs in S3. The objects never change; a head names the current one.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use tidegate_core::ProductId;

use crate::store::{StoreError, Stored};

/// Catalogs in the bucket of images, under another prefix.
#[derive(Debug, Clone)]
pub(super) struct Catalogs {
    client: Client,
    bucket: String,
}

impl Catalogs {
    pub(super) fn new(client: Client, bucket: &str) -> Self {
        Self { client, bucket: bucket.to_string() }
    }

    pub(super) async fn read(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        let read = self.client.get_object().bucket(&self.bucket).key(key(product, name)).send().await;
        let object = match read {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => return Ok(None),
            Err(error) => return Err(StoreError::unavailable(error)),
        };
        let bytes = object.body.collect().await.map_err(StoreError::unavailable)?;
        Ok(Some(Arc::from(bytes.to_vec())))
    }

    pub(super) async fn write(&self, product: &ProductId, name: &str, bytes: Vec<u8>) -> Stored<()> {
        let object =
            self.client.put_object().bucket(&self.bucket).key(key(product, name)).body(ByteStream::from(bytes));
        object.send().await.map_err(StoreError::unavailable).map(drop)
    }

    /// Deletes a catalog. An object that remains costs only a little storage.
    pub(super) async fn remove(&self, product: &ProductId, name: &str) {
        let removed = self.client.delete_object().bucket(&self.bucket).key(key(product, name)).send().await;
        if let Err(error) = removed {
            tracing::warn!(%product, name, error = %DisplayErrorContext(error), "catalog_not_removed");
        }
    }
}

fn key(product: &ProductId, name: &str) -> String {
    format!("catalogs/{product}/{name}")
}
