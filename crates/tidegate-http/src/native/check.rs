//! A device checks in with its `device.json`.

use lambda_http::{Body, Request, Response};
use tidegate_core::Timestamp;
use tidegate_core::device::Delivery;
use tidegate_store::CheckStore;

use crate::check_service::CheckService;
use crate::dialect::Dialect;
use crate::edge::{error_response, respond};

impl<S: CheckStore> CheckService<S> {
    /// Answers one check-in.
    pub(crate) async fn native(&self, request: &Request, now: Timestamp) -> Response<Body> {
        match self.device_json(Dialect::Native, Delivery::Anything, request, now).await {
            Ok(answer) => respond(200, &answer),
            Err(error) => error_response(&error),
        }
    }
}
