//! Objects in S3: compiled catalogs, which never change and of which a head names the current one, and the state of the
//! fleet snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use tidegate_core::ProductId;

use crate::seal::CatalogKey;
use crate::store::{StoreError, Stored};

/// Objects in the bucket of images, under other prefixes.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    client: Client,
    bucket: String,
    key: Option<CatalogKey>,
}

impl Objects {
    pub(super) fn new(client: Client, bucket: &str) -> Self {
        Self { client, bucket: bucket.to_string(), key: None }
    }

    pub(super) fn with_key(self, key: CatalogKey) -> Self {
        Self { key: Some(key), ..self }
    }

    fn key(&self) -> Stored<&CatalogKey> {
        self.key.as_ref().ok_or_else(|| StoreError::Unavailable("this function has no key of catalogs".into()))
    }

    /// A compiled catalog, if its bytes and its seal are those of its name.
    pub(super) async fn read_catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        let key = self.key()?;
        let Some((bytes, metadata)) = self.get(&catalog(product, name)).await? else {
            return Ok(None);
        };
        key.verify(product, name, metadata.get(SEAL), &bytes).map_err(StoreError::corrupt)?;
        Ok(Some(bytes))
    }

    pub(super) async fn write_catalog(&self, product: &ProductId, name: &str, bytes: Vec<u8>) -> Stored<()> {
        let seal = self.key()?.seal(product, name);
        self.put(&catalog(product, name), bytes, [(SEAL.to_string(), seal)]).await
    }

    /// Deletes a catalog. One that remains costs only a little storage.
    pub(super) async fn remove_catalog(&self, product: &ProductId, name: &str) {
        let key = catalog(product, name);
        let removed = self.client.delete_object().bucket(&self.bucket).key(&key).send().await;
        if let Err(error) = removed {
            tracing::warn!(key, error = %DisplayErrorContext(error), "object_not_removed");
        }
    }

    pub(super) async fn read(&self, key: &str) -> Stored<Option<Arc<[u8]>>> {
        Ok(self.get(key).await?.map(|(bytes, _)| bytes))
    }

    pub(super) async fn write(&self, key: &str, bytes: Vec<u8>) -> Stored<()> {
        self.put(key, bytes, []).await
    }

    async fn get(&self, key: &str) -> Stored<Option<(Arc<[u8]>, HashMap<String, String>)>> {
        let read = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let object = match read {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => return Ok(None),
            Err(error) => return Err(StoreError::unavailable(error)),
        };
        let bytes = object.body.collect().await.map_err(StoreError::unavailable)?;
        Ok(Some((Arc::from(bytes.to_vec()), object.metadata.unwrap_or_default())))
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, metadata: impl IntoIterator<Item = (String, String)>) -> Stored<()> {
        let object = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes));
        let metadata = metadata.into_iter().collect::<HashMap<_, _>>();
        let object = object.set_metadata((!metadata.is_empty()).then_some(metadata));
        object.send().await.map_err(StoreError::unavailable).map(drop)
    }
}

/// Name of the metadata of a catalog with its seal.
const SEAL: &str = "tidegate-seal";

/// Key of a compiled catalog.
fn catalog(product: &ProductId, name: &str) -> String {
    format!("catalogs/{product}/{name}")
}
