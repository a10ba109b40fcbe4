//! `GET` and `PATCH` of a product: what it allows its devices.

use serde_json::{Value, json};
use tidegate_store::PublishStore;
use tidegate_store::record::{AuditEntry, Head, VERSION_ATTRIBUTE};
use tidegate_store::store::Freshness;
use tidegate_wire::ApiError;

use super::request as operator;
use super::{Answer, Call, PublishService, unavailable, unknown_product};

/// The longest name of an attribute, in bytes, as for everything that a device says.
const LONGEST_NAME: usize = 128;

impl<S: PublishStore> PublishService<S> {
    /// What the product allows.
    pub(crate) async fn show_product(&self, call: &Call<'_>) -> Answer {
        let head = self.store.head(&call.product, Freshness::Strong).await.map_err(unavailable)?;
        Ok((200, shown(call, &head.ok_or_else(|| unknown_product(call))?)))
    }

    /// Changes it. Both switches are off until somebody turns them on.
    pub(crate) async fn edit_product(&self, call: &Call<'_>) -> Answer {
        let object = operator::object(call.body, &["product_tokens", "registration", "version_attribute", "reason"])?;
        let reason = operator::reason(&object)?;
        let mut head = self
            .store
            .head(&call.product, Freshness::Strong)
            .await
            .map_err(unavailable)?
            .ok_or_else(|| unknown_product(call))?;
        let switch = |name: &str, on: &str, off: &str, now: bool| match object.get(name) {
            None => Ok(now),
            Some(Value::String(word)) if word == on => Ok(true),
            Some(Value::String(word)) if word == off => Ok(false),
            Some(_) => Err(ApiError::bad_field(format!("{name} must be \"{on}\" or \"{off}\""))),
        };
        head.accepts_product_tokens = switch("product_tokens", "accept", "refuse", head.accepts_product_tokens)?;
        head.registration_is_open = switch("registration", "open", "closed", head.registration_is_open)?;
        match object.get("version_attribute") {
            None => {}
            Some(Value::Null) => head.version_attribute = None,
            Some(Value::String(name)) if (1..=LONGEST_NAME).contains(&name.len()) => {
                head.version_attribute = Some(name.clone());
            }
            Some(_) => {
                let message = format!(
                    "version_attribute must be a name of 1 to {LONGEST_NAME} bytes, or null for {VERSION_ATTRIBUTE}"
                );
                return Err(ApiError::bad_field(message));
            }
        }
        if !self.store.set_product(&call.product, &head).await.map_err(unavailable)? {
            return Err(unknown_product(call));
        }
        let body = shown(call, &head);
        let entry = AuditEntry {
            at: call.now,
            who: call.who.clone(),
            action: format!(
                "set product_tokens {}, registration {}, version_attribute {}",
                body["product_tokens"], body["registration"], body["version_attribute"]
            ),
            subject: call.product.to_string(),
            from: None,
            to: None,
            reason,
            generation: head.revision,
        };
        self.store.audit(&call.product, &entry).await.map_err(unavailable)?;
        Ok((200, body))
    }
}

fn shown(call: &Call<'_>, head: &Head) -> Value {
    json!({
        "product": call.product.as_str(),
        "product_tokens": if head.accepts_product_tokens { "accept" } else { "refuse" },
        "registration": if head.registration_is_open { "open" } else { "closed" },
        "version_attribute": head.version_attribute(),
    })
}
