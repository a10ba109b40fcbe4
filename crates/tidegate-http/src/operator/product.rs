//! The settings of a product.

use tidegate_store::PublishStore;
use tidegate_store::record::{Head, VERSION_ATTRIBUTE};
use tidegate_wire::operator::{Product, ProductChange, ProductTimes, ProductTokens, ProofField, Registration};
use tidegate_wire::{ApiError, strict_json};

use super::{Answer, Call, PublishService, ok, refused};

/// The longest name of an attribute, in bytes, as for everything that a device says.
const LONGEST_NAME: usize = 128;

impl<S: PublishStore> PublishService<S> {
    /// The settings.
    pub(crate) async fn show_product(&self, call: &Call<'_>) -> Answer {
        let head = self.engine.settings(&call.product).await.map_err(refused)?;
        ok(&view(call, &head))
    }

    /// Changes the settings that the body names.
    pub(crate) async fn edit_product(&self, call: &Call<'_>) -> Answer {
        let change: ProductChange = strict_json::read_body(call.body)?;
        if let Some(Some(name)) = &change.version_attribute
            && !(1..=LONGEST_NAME).contains(&name.len())
        {
            let message = format!(
                "version_attribute must be a name of 1 to {LONGEST_NAME} bytes, or null for {VERSION_ATTRIBUTE}"
            );
            return Err(ApiError::bad_field(message));
        }
        let actor = call.actor(change.reason.clone())?;
        let head = self.engine.change_settings(&call.product, &change, &actor).await.map_err(refused)?;
        ok(&view(call, &head))
    }
}

fn view(call: &Call<'_>, head: &Head) -> Product {
    Product {
        product: call.product.clone(),
        product_tokens: if head.accepts_product_tokens { ProductTokens::Accept } else { ProductTokens::Refuse },
        registration: if head.registration_is_open { Registration::Open } else { Registration::Closed },
        version_attribute: head.version_attribute().to_string(),
        proof: if head.proves_by_report { ProofField::Report } else { ProofField::CheckIn },
        times: ProductTimes {
            poll_s: head.times.poll_s,
            boot_grace_s: head.times.boot_grace_s,
            apply_within_s: head.times.apply_within_s,
            watch_s: head.times.watch_s,
        },
        stopped: head.is_stopped,
    }
}
