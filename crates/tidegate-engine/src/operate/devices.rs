//! The devices of a product.

use tidegate_core::{DeviceId, ProductId};
use tidegate_store::PublishStore;
use tidegate_store::record::KnownDevice;
use tidegate_store::store::{Freshness, Include};

use super::Operations;
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

    /// A device, its claims, and the messages of its last reports.
    ///
    /// # Errors
    /// When the device has never checked in, or the store cannot be reached.
    pub async fn device(&self, product: &ProductId, device: &DeviceId) -> Done<KnownDevice> {
        let known = self.store.device(product, device, Include::ItemAndDoc, Freshness::Strong).await?;
        match known.record {
            Some(_) => Ok(known),
            None => Err(EngineError::UnknownDevice(device.clone())),
        }
    }
}
