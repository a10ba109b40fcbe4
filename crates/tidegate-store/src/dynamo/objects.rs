//! Objects in S3: compiled catalogs, which never change and of which a head names the current one, and the state of the
//! fleet snapshot.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use tidegate_core::{ProductId, Timestamp};

use crate::images;
use crate::seal::CatalogKey;
use crate::store::{StoreError, Stored};
use crate::tidy::TidiedImages;

/// Seconds for which an image that no update names is kept: an upload may be on its way.
const WAITS_FOR_ITS_UPDATE_S: i64 = 24 * 3600;
/// Seconds for which a hidden image can be brought back: as long as a table can be restored to an earlier moment.
const HIDDEN_FOR_S: i64 = 35 * 24 * 3600;

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

    /// Hides the images of a product that no update names, and removes those that are hidden for long.
    ///
    /// An image is hidden with a delete marker: its versions stay, also for a URL that names one. An update that is created
    /// meanwhile finds no image, so its image is uploaded anew, as a version that is newer than the marker. Only versions
    /// that were listed before are removed. So no lock is needed between this and those who create updates.
    pub(super) async fn tidy_images(
        &self,
        product: &ProductId,
        named: &BTreeSet<String>,
        now: Timestamp,
    ) -> Stored<TidiedImages> {
        let (prefix, mut tidied) = (images::prefix(product), TidiedImages::default());
        let request = self.client.list_object_versions().bucket(&self.bucket).prefix(&prefix);
        let (mut key_marker, mut version_marker) = (None, None);
        loop {
            let page = request.clone().set_key_marker(key_marker).set_version_id_marker(version_marker);
            let page = page.send().await.map_err(StoreError::unavailable)?;
            let is_unnamed = |key: Option<&str>| {
                key.and_then(|key| key.strip_prefix(&prefix)).is_some_and(|sha256| !named.contains(sha256))
            };
            let age = |at: Option<&DateTime>| at.map_or(0, |at| now.as_second().saturating_sub(at.secs()));
            for version in page.versions().iter().filter(|version| is_unnamed(version.key())) {
                if version.is_latest() == Some(true) && age(version.last_modified()) > WAITS_FOR_ITS_UPDATE_S {
                    self.delete(version.key(), None).await?;
                    tidied.hidden = tidied.hidden.saturating_add(1);
                }
            }
            for marker in page.delete_markers().iter().filter(|marker| is_unnamed(marker.key())) {
                if marker.is_latest() == Some(true) && age(marker.last_modified()) > HIDDEN_FOR_S {
                    let removed = self.remove_versions(marker.key().unwrap_or_default()).await?;
                    tidied.removed = tidied.removed.saturating_add(removed);
                }
            }
            if page.is_truncated() != Some(true) {
                return Ok(tidied);
            }
            (key_marker, version_marker) = (page.next_key_marker, page.next_version_id_marker);
        }
    }

    /// Removes all versions of an object that is hidden. Those that are newer than its marker stay.
    async fn remove_versions(&self, key: &str) -> Stored<u64> {
        let listed = self.client.list_object_versions().bucket(&self.bucket).prefix(key).send().await;
        let listed = listed.map_err(StoreError::unavailable)?;
        let is_it = |of: Option<&str>| of == Some(key);
        // It was uploaded again since.
        if listed.versions().iter().any(|version| is_it(version.key()) && version.is_latest() == Some(true)) {
            return Ok(0);
        }
        let mut removed = 0_u64;
        for version in listed.versions().iter().filter(|version| is_it(version.key())) {
            self.delete(Some(key), version.version_id()).await?;
            removed = removed.saturating_add(1);
        }
        // The markers last: until then the next time finds the object again.
        for marker in listed.delete_markers().iter().filter(|marker| is_it(marker.key())) {
            self.delete(Some(key), marker.version_id()).await?;
        }
        Ok(removed)
    }

    async fn delete(&self, key: Option<&str>, version: Option<&str>) -> Stored<()> {
        let delete = self.client.delete_object().bucket(&self.bucket).set_key(key.map(str::to_string));
        let delete = delete.set_version_id(version.map(str::to_string));
        delete.send().await.map_err(StoreError::unavailable).map(drop)
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
