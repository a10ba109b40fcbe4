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
/// Most images that are changed in one pass. The next pass goes on.
const MOST_IMAGES: usize = 200;
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

    /// Hides the images of a product that no update names, removes those that are hidden for long, and shows those again that
    /// an update names.
    ///
    /// An image is hidden with a delete marker: its versions stay, and so does a URL that names one. If an update is created
    /// and activated between the read of the names and this, its image is shown again the next time.
    pub(super) async fn tidy_images(
        &self,
        product: &ProductId,
        named: &BTreeSet<String>,
        now: Timestamp,
    ) -> Stored<TidiedImages> {
        let (prefix, mut tidied, mut most) = (images::prefix(product), TidiedImages::default(), MOST_IMAGES);
        let request = self.client.list_object_versions().bucket(&self.bucket).prefix(&prefix);
        let (mut key_marker, mut version_marker) = (None, None);
        loop {
            let page = request.clone().set_key_marker(key_marker).set_version_id_marker(version_marker);
            let page = page.send().await.map_err(StoreError::unavailable)?;
            let is_named =
                |key: Option<&str>| key.and_then(|key| key.strip_prefix(&prefix)).is_none_or(|key| named.contains(key));
            let is_older = |at: Option<&DateTime>, seconds| {
                at.is_some_and(|at| now.as_second().saturating_sub(at.secs()) > seconds)
            };
            for version in page.versions().iter().filter(|version| version.is_latest() == Some(true)) {
                if !is_named(version.key())
                    && is_older(version.last_modified(), WAITS_FOR_ITS_UPDATE_S)
                    && take(&mut most)
                {
                    self.delete(version.key(), None).await?;
                    tidied.hidden = tidied.hidden.saturating_add(1);
                }
            }
            for marker in page.delete_markers().iter().filter(|marker| marker.is_latest() == Some(true)) {
                let key = marker.key().unwrap_or_default();
                if is_named(Some(key)) && take(&mut most) {
                    self.delete(Some(key), marker.version_id()).await?;
                    tidied.shown = tidied.shown.saturating_add(1);
                } else if is_older(marker.last_modified(), HIDDEN_FOR_S) && take(&mut most) {
                    let removed = self.remove_versions(key).await?;
                    tidied.removed = tidied.removed.saturating_add(removed);
                }
            }
            if page.is_truncated() != Some(true) || most == 0 {
                return Ok(tidied);
            }
            (key_marker, version_marker) = (page.next_key_marker, page.next_version_id_marker);
        }
    }

    /// Removes the versions of an object that is hidden, and its markers.
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
        // The markers last: without them the newest version that is left would be shown.
        if listed.is_truncated() != Some(true) {
            for marker in listed.delete_markers().iter().filter(|marker| is_it(marker.key())) {
                self.delete(Some(key), marker.version_id()).await?;
            }
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

/// Takes one of what is left; `false` if nothing is left.
fn take(left: &mut usize) -> bool {
    let has_some = *left > 0;
    *left = left.saturating_sub(1);
    has_some
}

/// Name of the metadata of a catalog with its seal.
const SEAL: &str = "tidegate-seal";

/// Key of a compiled catalog.
fn catalog(product: &ProductId, name: &str) -> String {
    format!("catalogs/{product}/{name}")
}
