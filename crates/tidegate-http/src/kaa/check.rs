//! Kaa: an endpoint asks for its configuration with the version that it runs.

use lambda_http::{Body, Request, Response};
use serde_json::{Map, Value};
use tidegate_core::device::Delivery;
use tidegate_core::orders::Orders;
use tidegate_core::{Device, Timestamp, Version};
use tidegate_engine::device::{changed, seen_again, stored_device};
use tidegate_engine::files::SignedFiles;
use tidegate_engine::token::Bearer;
use tidegate_engine::{CheckInResult, EngineError, Offered, Said};
use tidegate_store::CheckStore;
use tidegate_store::record::DeviceRecord;
use tidegate_store::store::Include;
use tidegate_wire::ApiError;
use tidegate_wire::device_json::attributes_of;
use tidegate_wire::kaa::KaaAnswer;
use tidegate_wire::route::Found;

use super::wire;
use crate::check_service::CheckService;
use crate::dialect::{Dialect, log_no_version, refusal};
use crate::edge::respond;

impl<S: CheckStore> CheckService<S> {
    /// Answers one request.
    pub(crate) async fn kaa(&self, found: &Found<'_>, request: &Request, now: Timestamp) -> Response<Body> {
        match self.kaa_config(found, request, now).await {
            Ok(body) => respond(200, &body),
            Err(error) => wire::refuse(&error),
        }
    }

    async fn kaa_config(&self, found: &Found<'_>, request: &Request, now: Timestamp) -> Result<KaaAnswer, ApiError> {
        let bearer = wire::caller(found, &self.keys)?;
        let running = wire::running(request.body())?;
        let Bearer { product, device, proof } = &bearer;
        let mut context = self.context(product, device, *proof, Include::ItemAndDoc, now).await?;
        let (said, says, seen) = match running {
            Some(version) => {
                let object = object_of(&bearer, &context.record);
                let said = running_device(&bearer, version, &object)?;
                let seen = changed(&context, said.version.to_string(), &object, now);
                (said, Said::Version, seen)
            }
            None => match stored_device(
                product,
                device,
                &context.record,
                context.catalog.updates.reports(),
                Delivery::AnythingUnasked,
            ) {
                Some(said) => (said, Said::Nothing, seen_again(&context, now)),
                None => {
                    log_no_version(Dialect::Kaa, product, device);
                    return Ok(wire::unchanged());
                }
            },
        };
        match self.check_in(Dialect::Kaa, &said, &mut context, says, seen, now).await? {
            CheckInResult::Offer(offered) => {
                let Offered { update, claim, .. } = *offered;
                match self.engine.signed_files(&context, &update, &claim, now).await {
                    Ok(SignedFiles { files, .. }) => Ok(wire::config(&update, &files)),
                    Err(EngineError::Busy) => Ok(wire::unchanged()),
                    Err(error) => Err(refusal(product, device, error)),
                }
            }
            CheckInResult::Held(_) | CheckInResult::Asked(_) | CheckInResult::Nothing(_) => Ok(wire::unchanged()),
        }
    }
}

/// The stored attributes of the endpoint, which another protocol may have sent, with its id and product.
fn object_of(bearer: &Bearer, record: &DeviceRecord) -> Map<String, Value> {
    let mut object: Map<String, Value> =
        serde_json::from_str(record.attributes.as_deref().unwrap_or("{}")).unwrap_or_default();
    object.insert("id".into(), bearer.device.as_str().into());
    object.insert("product".into(), bearer.product.as_str().into());
    object
}

fn running_device(bearer: &Bearer, version: Version, object: &Map<String, Value>) -> Result<Device, ApiError> {
    Ok(Device {
        id: bearer.device.clone(),
        product: bearer.product.clone(),
        version,
        attributes: attributes_of(object)?,
        said: None,
        delivery: Delivery::AnythingUnasked,
        orders: Orders::default(),
    })
}
