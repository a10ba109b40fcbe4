//! The devices of a product.

use tidegate_core::{DeviceId, ProductId};
use tidegate_store::PublishStore;
use tidegate_store::record::KnownDevice;
use tidegate_store::store::{Freshness, Include};

use super::Operations;
use crate::error::{Done, EngineError};

impl<S: PublishStore> Operations<S> {
    /// The number of devices on each version, in the order of the texts: at most `most`, after `after`, if it is given. The
    /// second value is where the next page starts.
    ///
    /// # Errors
    /// When there is none and the product does not exist, or the store cannot be reached.
    pub async fn versions(
        &self,
        product: &ProductId,
        after: Option<&str>,
        most: usize,
    ) -> Done<(Vec<(String, u64)>, Option<String>)> {
        let mut versions = self.store.versions(product).await?;
        if versions.is_empty() {
            self.must_exist(product).await?;
        }
        versions.retain(|(version, _)| after.is_none_or(|after| version.as_str() > after));
        let has_more = versions.len() > most;
        versions.truncate(most);
        let next = versions.last().filter(|_| has_more).map(|(version, _)| version.clone());
        Ok((versions, next))
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
        most: usize,
    ) -> Done<(Vec<DeviceId>, Option<DeviceId>)> {
        Ok(self.store.devices_on(product, version, after, most).await?)
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
