//! Kaa: an endpoint says which configuration it has applied, or why it has not.

use lambda_http::{Body, Request, Response};
use tidegate_core::Timestamp;
use tidegate_engine::{NotRecorded, Recorded};
use tidegate_store::ReportStore;
use tidegate_wire::kaa::KaaStatus;
use tidegate_wire::route::Found;
use tidegate_wire::{ApiError, ErrorCode};

use super::wire::{self, Applied};
use crate::dialect::Dialect;
use crate::edge::respond;
use crate::report_service::ReportService;

impl<S: ReportStore> ReportService<S> {
    /// Answers one request.
    pub(crate) async fn kaa(&self, found: &Found<'_>, request: &Request, now: Timestamp) -> Response<Body> {
        match self.applied(found, request, now).await {
            Ok(body) => respond(200, &body),
            Err(error) => wire::refuse(&error),
        }
    }

    async fn applied(&self, found: &Found<'_>, request: &Request, now: Timestamp) -> Result<KaaStatus, ApiError> {
        let bearer = wire::caller(found, &self.keys)?;
        let said = Applied::parse(request.body())?;
        let running = said.is_applied.then_some(&said.version);
        match self.record_with_version(Dialect::Kaa, &said.report(&bearer), running, bearer.proof, now).await? {
            Recorded::No(NotRecorded::NoClaim) if running.is_none() => {
                Err(ApiError::new(ErrorCode::UnknownUpdate, format!("this endpoint was not given {}", said.version)))
            }
            _ => Ok(wire::ok()),
        }
    }
}
