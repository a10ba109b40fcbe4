//! Kaa: an endpoint says which configuration it has applied, or why it has not.

use lambda_http::{Body, Request, Response};
use serde_json::{Value, json};
use tidegate_core::Timestamp;
use tidegate_engine::{NotRecorded, Recorded};
use tidegate_store::ReportStore;
use tidegate_wire::{ApiError, ErrorCode};

use super::wire::{self, Applied, Resource, Route};
use crate::dialect::{Dialect, unknown_route};
use crate::edge::respond;
use crate::report_service::ReportService;

impl<S: ReportStore> ReportService<S> {
    /// Answers one request.
    pub(crate) async fn kaa(&self, route: &Route, request: &Request, now: Timestamp) -> Response<Body> {
        match self.applied(route, request, now).await {
            Ok(body) => respond(200, &body),
            Err(error) => wire::refuse(&error),
        }
    }

    async fn applied(&self, route: &Route, request: &Request, now: Timestamp) -> Result<Value, ApiError> {
        let bearer = route.caller(request.method().as_str(), &self.keys)?;
        if route.resource != Resource::Applied {
            return Err(unknown_route());
        }
        let said = Applied::parse(request.body())?;
        let running = said.is_applied.then_some(&said.version);
        match self.record_with_version(Dialect::Kaa, &said.report(&bearer), running, bearer.proof, now).await? {
            Recorded::No(NotRecorded::NoClaim) if running.is_none() => {
                Err(ApiError::new(ErrorCode::UnknownUpdate, format!("this endpoint was not given {}", said.version)))
            }
            _ => Ok(json!({"statusCode": 200, "reasonPhrase": "ok"})),
        }
    }
}
