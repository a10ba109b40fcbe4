//! The settings of a product.

use tidegate_core::ProductId;
use tidegate_store::PublishStore;
use tidegate_store::record::Head;
use tidegate_store::store::Freshness;
use tidegate_wire::ApiError;
use tidegate_wire::operator::{ProductChange, ProductTokens, ProofField, Registration};

use super::Operations;
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
        let before = self.settings(product).await?;
        let head = changed(&before, change);
        head.times.validate().map_err(|error| ApiError::bad_field(error.to_string()))?;
        if !self.store.set_product(product, &head).await? {
            return Err(EngineError::UnknownProduct(product.clone()));
        }
        let changes = settings(&before).into_iter().zip(settings(&head)).filter(|(old, new)| old != new);
        let changes = changes.map(|((name, old), (_, new))| format!("{name} {old} → {new}")).collect::<Vec<_>>();
        let action = match changes.is_empty() {
            true => "set nothing new".to_string(),
            false => format!("set {}", changes.join(", ")),
        };
        self.note(product, action, product.as_str(), head.revision, actor).await?;
        Ok(head)
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

/// The settings with their names, as the audit log shows them.
fn settings(head: &Head) -> [(&'static str, String); 8] {
    let tokens = if head.accepts_product_tokens { ProductTokens::Accept } else { ProductTokens::Refuse };
    let registration = if head.registration_is_open { Registration::Open } else { Registration::Closed };
    let proof = if head.proves_by_report { ProofField::Report } else { ProofField::CheckIn };
    [
        ("product_tokens", format!("\"{tokens}\"")),
        ("registration", format!("\"{registration}\"")),
        ("version_attribute", format!("\"{}\"", head.version_attribute())),
        ("proof", format!("\"{proof}\"")),
        ("poll_s", head.times.poll_s.to_string()),
        ("boot_grace_s", head.times.boot_grace_s.to_string()),
        ("apply_within_s", head.times.apply_within_s.to_string()),
        ("watch_s", head.times.watch_s.to_string()),
    ]
}
