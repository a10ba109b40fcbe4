//! Kaa: an endpoint asks for its configuration with the version that it runs.

use lambda_http::{Body, Request, Response};
use serde_json::{Map, Value, json};
use tidegate_api::answer::opens;
use tidegate_api::device_json::attributes_of;
use tidegate_api::dialect::kaa::{self, Resource, Route};
use tidegate_api::token::Bearer;
use tidegate_api::{ApiError, ErrorCode, edge};
use tidegate_core::device::Delivery;
use tidegate_core::{Device, Timestamp, Version};
use tidegate_store::CheckStore;
use tidegate_store::record::DeviceRecord;

use crate::exosite::seen_again;
use crate::native::{device_write, stored_device};
use crate::{CheckService, SignedFiles, Turn};

impl<S: CheckStore> CheckService<S> {
    /// Answers one request.
    pub(crate) async fn kaa(&self, route: &Route, request: &Request, now: Timestamp) -> Response<Body> {
        match self.kaa_config(route, request, now).await {
            Ok(body) => edge::respond(200, &body),
            Err(error) => kaa::refuse(&error),
        }
    }

    async fn kaa_config(&self, route: &Route, request: &Request, now: Timestamp) -> Result<Value, ApiError> {
        let bearer = route.caller(request.method().as_str(), &self.keys)?;
        if route.resource != Resource::Config {
            return Err(ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path"));
        }
        let running = kaa::running(request.body())?;
        let Bearer { product, device, proof } = &bearer;
        let mut known = self.known(product, device, *proof, now).await?;
        let (said, write) = match running {
            Some(version) => {
                let object = object_of(&bearer, &known.record);
                let said = running_device(&bearer, version, &object)?;
                let write = device_write(&said, &object, &known.record, now);
                (said, write)
            }
            None => match stored_device(product, device, &known.record, Delivery::AnythingUnasked) {
                Some(said) => (said, seen_again(&bearer, &known.record, now)),
                None => {
                    tracing::debug!(%product, %device, dialect = "kaa", reason = "no_version", "check_in");
                    return Ok(kaa::unchanged());
                }
            },
        };
        match self.turn(&said, &mut known, write, now).await? {
            Turn::Offer(offered) => {
                tracing::info!(
                    %product, %device, version = %said.version, dialect = "kaa",
                    offer = %offered.update.version, "check_in"
                );
                let SignedFiles { files, .. } = self.signed_files(device, &offered.update, &offered.claim, now).await?;
                Ok(kaa::config(&offered.update, &files))
            }
            Turn::Nothing { reason, opens_at, .. } => {
                tracing::debug!(
                    %product, %device, version = %said.version, dialect = "kaa",
                    reason, opens_at = opens_at.map(opens), "check_in"
                );
                Ok(kaa::unchanged())
            }
        }
    }
}

/// What is known of the endpoint beside its version: what it, or another protocol, said before.
fn object_of(bearer: &Bearer, record: &DeviceRecord) -> Map<String, Value> {
    let mut object: Map<String, Value> = serde_json::from_str(&record.attributes).unwrap_or_default();
    object.insert("id".into(), json!(bearer.device.as_str()));
    object.insert("product".into(), json!(bearer.product.as_str()));
    object
}

fn running_device(bearer: &Bearer, version: Version, object: &Map<String, Value>) -> Result<Device, ApiError> {
    Ok(Device {
        id: bearer.device.clone(),
        product: bearer.product.clone(),
        version,
        attributes: attributes_of(object)?,
        delivery: Delivery::AnythingUnasked,
    })
}
