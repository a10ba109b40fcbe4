//! A device reports progress or an outcome.

use lambda_http::{Body, Request, Response};
use tidegate_core::Timestamp;
use tidegate_engine::Recorded;
use tidegate_store::ReportStore;
use tidegate_wire::ApiError;
use tidegate_wire::report::{Report, ReportAnswer};

use crate::dialect::{Dialect, authorization};
use crate::edge::{error_response, respond};
use crate::report_service::ReportService;

impl<S: ReportStore> ReportService<S> {
    /// Answers one report.
    pub(crate) async fn native(&self, request: &Request, now: Timestamp) -> Response<Body> {
        match self.native_report(request, now).await {
            Ok(Recorded::Yes) => respond(200, &ReportAnswer { recorded: true, reason: None }),
            Ok(Recorded::No(why)) => respond(200, &ReportAnswer { recorded: false, reason: Some(why) }),
            Err(error) => error_response(&error),
        }
    }

    async fn native_report(&self, request: &Request, now: Timestamp) -> Result<Recorded, ApiError> {
        let authorization = authorization(request).ok_or_else(ApiError::unauthorized)?;
        let report = Report::native(request.body())?;
        let proof =
            self.keys.verify(authorization, &report.product, &report.device).ok_or_else(ApiError::unauthorized)?;
        self.record(Dialect::Native, &report, proof, now).await
    }
}
