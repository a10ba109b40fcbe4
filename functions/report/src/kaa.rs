//! Kaa: an endpoint says which configuration it has applied, or why it has not.

use lambda_http::{Body, Request, Response};
use serde_json::{Value, json};
use tidegate_api::dialect::kaa::{self, Applied, Resource, Route};
use tidegate_api::{ApiError, ErrorCode, edge};
use tidegate_core::Timestamp;
use tidegate_store::ReportStore;

use crate::{Recorded, ReportService};

impl<S: ReportStore> ReportService<S> {
    /// Answers one request.
    pub(crate) async fn kaa(&self, route: &Route, request: &Request, now: Timestamp) -> Response<Body> {
        match self.applied(route, request, now).await {
            Ok(body) => edge::respond(200, &body),
            Err(error) => kaa::refuse(&error),
        }
    }

    async fn applied(&self, route: &Route, request: &Request, now: Timestamp) -> Result<Value, ApiError> {
        let bearer = route.caller(request.method().as_str(), &self.keys)?;
        if route.resource != Resource::Applied {
            return Err(ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path"));
        }
        let said = Applied::parse(request.body())?;
        let running = said.is_applied.then_some(&said.version);
        match self.heard("kaa", &said.report(&bearer), running, bearer.proof, now).await? {
            Recorded::No("no_claim") if running.is_none() => {
                Err(ApiError::new(ErrorCode::UnknownUpdate, format!("this endpoint was not given {}", said.version)))
            }
            _ => Ok(json!({"statusCode": 200, "reasonPhrase": "ok"})),
        }
    }
}
