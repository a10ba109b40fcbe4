//! The devices of a product.

use tidegate_core::{DeviceId, ProductId};
use tidegate_store::PublishStore;
use tidegate_store::record::{DeviceDeletion, KnownDevice, Tokens};
use tidegate_store::store::{Freshness, Include, StoreError};

use super::Operations;
use super::change::MOST_TRIES;
use crate::control::Actor;
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
        match known.exists() {
            true => Ok(known),
            false => Err(EngineError::UnknownDevice(device.clone())),
        }
    }

    /// Deletes a device: its version, attributes, claims and orders are gone, its place is free, and its tokens are good for
    /// nothing. It counts nowhere any more. It comes back only if an operator issues it a token.
    ///
    /// # Errors
    /// When nothing is known of the device, other requests of it write at this moment, or the store cannot be reached.
    pub async fn delete_device(&self, product: &ProductId, device: &DeviceId, actor: &Actor) -> Done<()> {
        for tried in 0..MOST_TRIES {
            let known = self.store.device(product, device, Include::Item, Freshness::Strong).await?;
            if !known.exists() {
                // The answer to the first try was lost.
                let is_ours = tried > 0 && known.record.is_some();
                return if is_ours { Ok(()) } else { Err(EngineError::UnknownDevice(device.clone())) };
            }
            let record = known.record_or_default();
            // The product's shared token must not speak for it either.
            let tokens = Tokens { generation: record.tokens.generation.saturating_add(1), has_own: true };
            let audit = actor.entry("delete device", device.as_str(), record.revision);
            let (product, device) = (product.clone(), device.clone());
            let deletion = DeviceDeletion { product, device, revision: record.revision, tokens, audit };
            if self.store.delete_device(&deletion).await? {
                return Ok(());
            }
        }
        Err(StoreError::Conflict.into())
    }
}
