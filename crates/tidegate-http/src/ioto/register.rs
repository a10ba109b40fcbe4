//! An agent asks for the address of its cloud and for its token.
//!
//! Any caller that knows the product's id gets a token, so the product must allow registration first.

use lambda_http::{Body, Request, Response};
use serde_json::Value;
use tidegate_core::{DeviceId, ProductId};
use tidegate_store::CheckStore;
use tidegate_wire::ioto::Registered;
use tidegate_wire::{ApiError, body_limits, strict_json};

use crate::check_service::CheckService;
use crate::edge::{base_url, error_response, respond};

impl<S: CheckStore> CheckService<S> {
    /// Answers one registration.
    pub(crate) async fn ioto_register(&self, request: &Request) -> Response<Body> {
        match self.registered(request).await {
            Ok(answer) => respond(200, &answer),
            Err(error) => error_response(&error),
        }
    }

    async fn registered(&self, request: &Request) -> Result<Registered, ApiError> {
        let object = strict_json::parse_object(request.body(), body_limits::DEVICE)?;
        let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
        let device = DeviceId::new(field("id")).map_err(|error| ApiError::bad_field(format!("id: {error}")))?;
        let product =
            ProductId::new(field("product")).map_err(|error| ApiError::bad_field(format!("product: {error}")))?;
        self.may_register(&product, &device).await?;
        tracing::info!(%product, %device, "registered");
        Ok(Registered {
            // The agent checks in where it registered.
            api: base_url(request),
            cloud_name: "tidegate".into(),
            cloud_type: "dedicated".into(),
            token: self.keys.issue(&product, &device, 0),
            id: device,
            product,
            registered: true,
        })
    }
}
