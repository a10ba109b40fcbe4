//! The settings of a product.

use serde_json::{Value, json};
use tidegate_core::ProductId;
use tidegate_store::PublishStore;
use tidegate_store::record::{AuditEntry, Head, ValueChange};
use tidegate_store::store::{Freshness, StoreError};
use tidegate_wire::ApiError;
use tidegate_wire::operator::{ProductChange, ProductTokens, ProofField, Registration};

use super::Operations;
use super::change::MOST_TRIES;
use crate::control::Actor;
use crate::error::{Done, EngineError};

impl<S: PublishStore> Operations<S> {
    /// The settings of a product.
    ///
    /// # Errors
    /// When the product does not exist, or the store cannot be reached.
    pub async fn settings(&self, product: &ProductId) -> Done<Head> {
        let head = self.store.head(product, Freshness::Strong).await?;
        head.ok_or_else(|| EngineError::UnknownProduct(product.clone()))
    }

    /// Changes the settings that `change` names.
    ///
    /// # Errors
    /// When the product does not exist, a time is out of its range, or the store cannot be reached.
    pub async fn change_settings(&self, product: &ProductId, change: &ProductChange, actor: &Actor) -> Done<Head> {
        self.set(product, "set", actor, |before| {
            let head = changed(before, change);
            head.times.validate().map_err(|error| ApiError::bad_field(error.to_string()))?;
            Ok(head)
        })
        .await
    }

    /// Changes the settings as they are read, and again if another request was faster, so that no change is lost.
    pub(super) async fn set(
        &self,
        product: &ProductId,
        action: &str,
        actor: &Actor,
        change: impl Fn(&Head) -> Done<Head>,
    ) -> Done<Head> {
        for _ in 0..MOST_TRIES {
            let before = self.settings(product).await?;
            let after = change(&before)?;
            let changes = changes(&before, &after);
            if changes.is_empty() {
                return Ok(before);
            }
            let entry = actor.entry(action, product.as_str(), before.settings_revision.saturating_add(1));
            let entry = AuditEntry { changes, ..entry };
            if self.store.set_product(product, &before, &after, &entry).await? {
                return Ok(after);
            }
        }
        Err(StoreError::Conflict.into())
    }
}

fn changed(before: &Head, change: &ProductChange) -> Head {
    let mut head = before.clone();
    if let Some(tokens) = change.product_tokens {
        head.accepts_product_tokens = tokens == ProductTokens::Accept;
    }
    if let Some(registration) = change.registration {
        head.registration_is_open = registration == Registration::Open;
    }
    if let Some(attribute) = &change.version_attribute {
        head.version_attribute.clone_from(attribute);
    }
    if let Some(proof) = change.proof {
        head.proves_by_report = proof == ProofField::Report;
    }
    for (time, given) in [
        (&mut head.times.poll_s, change.poll_s),
        (&mut head.times.boot_grace_s, change.boot_grace_s),
        (&mut head.times.apply_within_s, change.apply_within_s),
        (&mut head.times.watch_s, change.watch_s),
    ] {
        *time = given.unwrap_or(*time);
    }
    head
}

fn changes(before: &Head, after: &Head) -> Vec<ValueChange> {
    let pairs = settings(before).into_iter().zip(settings(after)).filter(|(old, new)| old != new);
    pairs.map(|((name, old), (_, new))| ValueChange::new(name, old, new)).collect()
}

/// The settings with their names, as the audit log shows them.
fn settings(head: &Head) -> [(&'static str, Value); 9] {
    let tokens = if head.accepts_product_tokens { ProductTokens::Accept } else { ProductTokens::Refuse };
    let registration = if head.registration_is_open { Registration::Open } else { Registration::Closed };
    let proof = if head.proves_by_report { ProofField::Report } else { ProofField::CheckIn };
    [
        ("product_tokens", json!(tokens.to_string())),
        ("product_token_generation", json!(head.product_token_generation)),
        ("registration", json!(registration.to_string())),
        ("version_attribute", json!(head.version_attribute())),
        ("proof", json!(proof.to_string())),
        ("poll_s", json!(head.times.poll_s)),
        ("boot_grace_s", json!(head.times.boot_grace_s)),
        ("apply_within_s", json!(head.times.apply_within_s)),
        ("watch_s", json!(head.times.watch_s)),
    ]
}
