//! Objects in S3: compiled catalogs, which never change and of which a head names the current one, and the state of the
//! fleet snapshot.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use tidegate_core::ProductId;

use crate::store::{StoreError, Stored};

/// Objects in the bucket of images, under other prefixes.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    client: Client,
    bucket: String,
}

impl Objects {
    pub(super) fn new(client: Client, bucket: &str) -> Self {
        Self { client, bucket: bucket.to_string() }
    }

    pub(super) async fn read(&self, key: &str) -> Stored<Option<Arc<[u8]>>> {
        let read = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let object = match read {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => return Ok(None),
            Err(error) => return Err(StoreError::unavailable(error)),
        };
        let bytes = object.body.collect().await.map_err(StoreError::unavailable)?;
        Ok(Some(Arc::from(bytes.to_vec())))
    }

    pub(super) async fn write(&self, key: &str, bytes: Vec<u8>) -> Stored<()> {
        let object = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes));
        object.send().await.map_err(StoreError::unavailable).map(drop)
    }

    /// Deletes an object. One that remains costs only a little storage.
    pub(super) async fn remove(&self, key: &str) {
        let removed = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        if let Err(error) = removed {
            tracing::warn!(key, error = %DisplayErrorContext(error), "object_not_removed");
        }
    }
}

/// Key of a compiled catalog.
pub(super) fn catalog(product: &ProductId, name: &str) -> String {
    format!("catalogs/{product}/{name}")
}
