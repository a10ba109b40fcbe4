//! The devices of a product.

use tidegate_core::{Claim, DeviceId, ProductId, UpdateId, Version};
use tidegate_store::PublishStore;
use tidegate_store::record::{ClaimChange, DeviceRecord, DeviceWrite};
use tidegate_store::store::{Freshness, Include, StoreError, Written};

use super::Operations;
use super::change::MOST_TRIES;
use crate::control::Actor;
use crate::error::{Done, EngineError};

impl<S: PublishStore> Operations<S> {
    /// The number of devices on each version.
    ///
    /// # Errors
    /// When there is none and the product does not exist, or the store cannot be reached.
    pub async fn versions(&self, product: &ProductId) -> Done<Vec<(String, u64)>> {
        let versions = self.store.versions(product).await?;
        if versions.is_empty() {
            self.must_exist(product).await?;
        }
        Ok(versions)
    }

    /// A page of the devices on one version, and where the next page starts.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
    ) -> Done<(Vec<DeviceId>, Option<DeviceId>)> {
        Ok(self.store.devices_on(product, version, after).await?)
    }

    /// A device and its claims.
    ///
    /// # Errors
    /// When the device has never checked in, or the store cannot be reached.
    pub async fn device(&self, product: &ProductId, device: &DeviceId) -> Done<(DeviceRecord, Vec<(UpdateId, Claim)>)> {
        let known = self.store.device(product, device, Include::ItemAndDoc, Freshness::Strong).await?;
        let record = known.record.ok_or_else(|| EngineError::UnknownDevice(device.clone()))?;
        Ok((record, known.claims))
    }

    /// Gives a device another try of every update that it did not get. Returns the versions of those that had ended.
    ///
    /// # Errors
    /// When the device has never checked in, other requests of it write at this moment, or the store cannot be reached.
    pub async fn retry(&self, product: &ProductId, device: &DeviceId, actor: &Actor) -> Done<Vec<Version>> {
        for _ in 0..MOST_TRIES {
            let known = self.store.device(product, device, Include::Item, Freshness::Strong).await?;
            let record = known.record.ok_or_else(|| EngineError::UnknownDevice(device.clone()))?;
            let claims = known.claims.into_iter().filter_map(|(_, before)| {
                let after = before.retried(actor.now)?;
                Some(ClaimChange { before, after, note: None })
            });
            let claims = claims.collect::<Vec<_>>();
            let versions = claims.iter().map(|change| change.after.version.clone()).collect::<Vec<_>>();
            if versions.is_empty() {
                return Ok(versions);
            }
            let write = DeviceWrite {
                product: product.clone(),
                device: device.clone(),
                is_known: true,
                seen: None,
                still_seen_at: None,
                claims,
            };
            match self.store.write_device(&write).await? {
                Written::Yes => {
                    self.note(product, "retry".into(), device.as_str(), record.revision, actor).await?;
                    return Ok(versions);
                }
                Written::OtherDevice(_) => {}
            }
        }
        Err(StoreError::Conflict.into())
    }
}
