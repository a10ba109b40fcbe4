//! `POST /device/register`: an Ioto agent asks where its cloud is and for its token.
//!
//! Whoever knows the product's id gets a token, so a product must say that it wants this.

use lambda_http::{Body, Request, Response};
use serde_json::json;
use tidegate_api::{ApiError, ErrorCode, body_limits, edge, strict_json};
use tidegate_core::{DeviceId, ProductId, Timestamp};
use tidegate_store::store::Freshness;
use tidegate_store::{CheckStore, StoreError};

use crate::CheckService;

impl<S: CheckStore> CheckService<S> {
    /// Answers one registration.
    pub(crate) async fn register(&self, request: &Request, now: Timestamp) -> Response<Body> {
        match self.registered(request, now).await {
            Ok(answer) => edge::respond(200, &answer),
            Err(error) => edge::error_response(&error),
        }
    }

    async fn registered(&self, request: &Request, now: Timestamp) -> Result<serde_json::Value, ApiError> {
        let object = strict_json::parse_object(request.body(), body_limits::DEVICE)?;
        let field = |name: &str| object.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_string();
        let device = DeviceId::new(field("id")).map_err(|error| ApiError::bad_field(format!("id: {error}")))?;
        let product =
            ProductId::new(field("product")).map_err(|error| ApiError::bad_field(format!("product: {error}")))?;
        self.may_register(&product, &device, now).await?;
        tracing::info!(%product, %device, "registered");
        Ok(json!({
            "registered": true,
            "id": device.as_str(),
            "product": product.as_str(),
            // Where the agent reached us is where it will check in.
            "api": edge::base_url(request),
            "token": self.keys.issue(&product, &device, 0),
            "cloudName": "tidegate",
            "cloudType": "dedicated",
        }))
    }

    /// Whether a device may have its token for the asking: its product says so, and no operator has
    /// revoked one.
    pub(crate) async fn may_register(
        &self,
        product: &ProductId,
        device: &DeviceId,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let closed =
            || ApiError::new(ErrorCode::RegistrationClosed, "this product does not let devices register themselves");
        let down = |error: StoreError| {
            tracing::error!(%product, %device, %error, "store_failed");
            ApiError::unavailable(60)
        };
        let current = self.catalogs.current(&self.store, product, now).await.map_err(down)?;
        if !current.head.is_some_and(|head| head.registration_is_open) {
            return Err(closed());
        }
        let known = self.store.device(product, device, Freshness::Strong).await.map_err(down)?;
        if known.record_or_default().token_generation > 0 {
            // Its tokens were revoked by an operator; it must not help itself to a new one.
            return Err(closed());
        }
        Ok(())
    }
}
