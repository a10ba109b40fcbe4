//! Tokens of devices and products.

use tidegate_core::DeviceId;
use tidegate_store::PublishStore;
use tidegate_wire::operator::{Revoked, Token};

use super::{Answer, Call, PublishService, ok, refused};

impl<S: PublishStore> PublishService<S> {
    /// Issues a device's token.
    pub(crate) async fn issue_token(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let token = self.engine.issue_token(&call.product, device, &call.actor_with_reason()?).await;
        ok(&Token { token: token.map_err(refused)? })
    }

    /// Revokes all tokens of a device.
    pub(crate) async fn revoke_token(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let actor = call.actor_with_reason()?;
        let revoked = self.engine.revoke_tokens(&call.product, device, &actor).await.map_err(refused)?;
        ok(&Revoked { revoked: true, was_known: revoked.was_known })
    }

    /// Revokes the shared tokens of a product.
    pub(crate) async fn revoke_product_token(&self, call: &Call<'_>) -> Answer {
        let actor = call.actor_with_reason()?;
        self.engine.revoke_product_tokens(&call.product, &actor).await.map_err(refused)?;
        ok(&Revoked { revoked: true, was_known: true })
    }

    /// Issues the token that all devices of a product may share.
    pub(crate) async fn issue_product_token(&self, call: &Call<'_>) -> Answer {
        let token = self.engine.issue_product_token(&call.product, &call.actor_with_reason()?).await;
        ok(&Token { token: token.map_err(refused)? })
    }
}
