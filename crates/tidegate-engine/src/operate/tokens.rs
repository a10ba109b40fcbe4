//! Tokens of devices and products.

use tidegate_core::{DeviceId, ProductId};
use tidegate_store::PublishStore;
use tidegate_store::store::{Freshness, Include};

use super::Operations;
use crate::control::Actor;
use crate::error::Done;

impl<S: PublishStore> Operations<S> {
    /// Issues a device's token. It is computed, so issuing it again gives the same one until it is revoked.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn issue_token(&self, product: &ProductId, device: &DeviceId, actor: &Actor) -> Done<String> {
        let known = self.store.device(product, device, Include::Item, Freshness::Strong).await?;
        let generation = known.record_or_default().token_generation;
        self.note(product, "issue token".into(), device.as_str(), u64::from(generation), actor).await?;
        Ok(self.keys.issue(product, device, generation))
    }

    /// Revokes all tokens that were issued to a device.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn revoke_tokens(&self, product: &ProductId, device: &DeviceId, actor: &Actor) -> Done<()> {
        let generation = self.store.revoke_tokens(product, device).await?;
        self.note(product, "revoke tokens".into(), device.as_str(), u64::from(generation), actor).await
    }

    /// Issues the token that all devices of a product may share. It is good only while the product accepts it.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn issue_product_token(&self, product: &ProductId, actor: &Actor) -> Done<String> {
        self.note(product, "issue product token".into(), product.as_str(), 0, actor).await?;
        Ok(self.keys.issue_for_product(product))
    }
}
