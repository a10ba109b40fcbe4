//! `PUT` and `DELETE devices/{id}/token`, `PUT token`: what devices prove themselves with.

use serde_json::json;
use tidegate_core::DeviceId;
use tidegate_store::PublishStore;
use tidegate_store::record::AuditEntry;
use tidegate_store::store::Freshness;

use super::request as operator;
use super::{Answer, Call, PublishService, unavailable};

impl<S: PublishStore> PublishService<S> {
    /// Issues a device's token. It is computed, so issuing it again gives the same one until it is
    /// revoked.
    pub(crate) async fn issue_token(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let known = self.store.device(&call.product, device, Freshness::Strong).await.map_err(unavailable)?;
        let generation = known.record_or_default().token_generation;
        self.note(call, "issue token", device.as_str(), u64::from(generation)).await?;
        Ok((200, json!({"token": self.keys.issue(&call.product, device, generation)})))
    }

    /// Revokes every token that was issued to a device.
    pub(crate) async fn revoke_token(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let generation = self.store.revoke_tokens(&call.product, device).await.map_err(unavailable)?;
        self.note(call, "revoke tokens", device.as_str(), u64::from(generation)).await?;
        Ok((200, json!({"revoked": true})))
    }

    /// Issues the token that a whole product shares. It is good only while the product accepts it.
    pub(crate) async fn issue_product_token(&self, call: &Call<'_>) -> Answer {
        self.note(call, "issue product token", call.product.as_str(), 0).await?;
        Ok((200, json!({"token": self.keys.issue_for_product(&call.product)})))
    }

    async fn note(
        &self,
        call: &Call<'_>,
        action: &str,
        subject: &str,
        generation: u64,
    ) -> Result<(), tidegate_wire::ApiError> {
        let reason = operator::reason(&operator::object(call.body, &["reason"])?)?;
        let entry = AuditEntry {
            at: call.now,
            who: call.who.clone(),
            action: action.into(),
            subject: subject.into(),
            from: None,
            to: None,
            reason,
            generation,
        };
        self.store.audit(&call.product, &entry).await.map_err(unavailable)
    }
}
