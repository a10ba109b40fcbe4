//! Tokens of devices and products.

use tidegate_core::{DeviceId, ProductId};
use tidegate_store::PublishStore;
use tidegate_store::record::{AuditEntry, DeviceWrite, Head, KnownDevice, Tokens, ValueChange};
use tidegate_store::store::{Freshness, Include, StoreError, Written};

use super::Operations;
use super::change::MOST_TRIES;
use crate::control::Actor;
use crate::error::Done;

/// Result of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedTokens {
    /// False if the device has never checked in, and no token was ever issued to it. Its id may be a mistake.
    pub was_known: bool,
}

/// Fate of a deleted device when its tokens change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deleted {
    Stays,
    ComesBack,
}

impl<S: PublishStore> Operations<S> {
    /// Issues a device's token. It is computed, so issuing it again gives the same one until it is revoked. From now on
    /// the product's shared token does not speak for the device. A device that was deleted may come back with it.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn issue_token(&self, product: &ProductId, device: &DeviceId, actor: &Actor) -> Done<String> {
        let change = |tokens: Tokens| Tokens { has_own: true, ..tokens };
        let issued = self.change_tokens(product, device, "issue token", Deleted::ComesBack, actor, change).await?;
        let generation = issued.map_or(0, |(_, tokens)| tokens.generation);
        Ok(self.keys.issue(product, device, generation))
    }

    /// Revokes all tokens that were issued to a device.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn revoke_tokens(&self, product: &ProductId, device: &DeviceId, actor: &Actor) -> Done<RevokedTokens> {
        let change = |tokens: Tokens| Tokens { generation: tokens.generation.saturating_add(1), ..tokens };
        let before = self.change_tokens(product, device, "revoke tokens", Deleted::Stays, actor, change).await?;
        let record = before.map(|(known, _)| known.record_or_default()).unwrap_or_default();
        Ok(RevokedTokens { was_known: record.first_seen.is_some() || record.tokens.has_own })
    }

    /// Changes the tokens of a device, and writes the audit entry with them. Returns the device as it was before, and its
    /// tokens; `None` if it is deleted and stays so.
    async fn change_tokens(
        &self,
        product: &ProductId,
        device: &DeviceId,
        action: &str,
        deleted: Deleted,
        actor: &Actor,
        change: impl Fn(Tokens) -> Tokens,
    ) -> Done<Option<(KnownDevice, Tokens)>> {
        for _ in 0..MOST_TRIES {
            let known = self.store.device(product, device, Include::Item, Freshness::Strong).await?;
            let record = known.record_or_default();
            let tokens = change(record.tokens);
            let entry = actor.entry(action, device.as_str(), record.revision);
            let (old, new) = (record.tokens.generation, tokens.generation);
            let generation = (old != new).then(|| ValueChange::new("token_generation", old.into(), new.into()));
            let entry = AuditEntry { changes: generation.into_iter().collect(), ..entry };
            let restores = record.deleted_at.is_some();
            if restores && deleted == Deleted::Stays {
                // No token of a deleted device is good.
                return Ok(None);
            }
            if tokens == record.tokens && known.record.is_some() && !restores {
                self.store.audit(product, &entry).await?;
                return Ok(Some((known, tokens)));
            }
            let write = DeviceWrite {
                tokens: Some((record.revision, tokens)),
                restores,
                audit: Some(entry),
                ..DeviceWrite::new(product.clone(), device.clone(), known.record.is_some())
            };
            if self.store.write_device(&write).await? == Written::Yes {
                return Ok(Some((known, tokens)));
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Issues the token that all devices of a product may share. It is good only while the product accepts it, and for
    /// devices that never had a token of their own.
    ///
    /// # Errors
    /// When the product does not exist, or the store cannot be reached.
    pub async fn issue_product_token(&self, product: &ProductId, actor: &Actor) -> Done<String> {
        let head = self.settings(product).await?;
        let generation = head.product_token_generation;
        self.note(product, "issue product token", product.as_str(), u64::from(generation), actor).await?;
        Ok(self.keys.issue_for_product(product, generation))
    }

    /// Revokes the shared tokens of a product that were issued so far.
    ///
    /// # Errors
    /// When the product does not exist, or the store cannot be reached.
    pub async fn revoke_product_tokens(&self, product: &ProductId, actor: &Actor) -> Done<()> {
        let next = |before: &Head| Head {
            product_token_generation: before.product_token_generation.saturating_add(1),
            ..before.clone()
        };
        self.set(product, "revoke product tokens", actor, |before| Ok(next(before))).await.map(drop)
    }
}
