//! The settings of a product.

use tidegate_core::ProductId;
use tidegate_store::PublishStore;
use tidegate_store::record::Head;
use tidegate_store::store::Freshness;
use tidegate_wire::operator::{ProductChange, ProductTokens, Registration};

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
    /// When the product does not exist, or the store cannot be reached.
    pub async fn change_settings(&self, product: &ProductId, change: &ProductChange, actor: &Actor) -> Done<Head> {
        let mut head = self.settings(product).await?;
        if let Some(tokens) = change.product_tokens {
            head.accepts_product_tokens = tokens == ProductTokens::Accept;
        }
        if let Some(registration) = change.registration {
            head.registration_is_open = registration == Registration::Open;
        }
        if let Some(attribute) = &change.version_attribute {
            head.version_attribute.clone_from(attribute);
        }
        if !self.store.set_product(product, &head).await? {
            return Err(EngineError::UnknownProduct(product.clone()));
        }
        let action = format!(
            "set product_tokens \"{}\", registration \"{}\", version_attribute \"{}\"",
            if head.accepts_product_tokens { ProductTokens::Accept } else { ProductTokens::Refuse },
            if head.registration_is_open { Registration::Open } else { Registration::Closed },
            head.version_attribute(),
        );
        self.note(product, action, product.as_str(), head.revision, actor).await?;
        Ok(head)
    }
}
