//! An agent reports whether it succeeded.

use lambda_http::{Body, Request, Response};
use tidegate_core::Timestamp;
use tidegate_store::ReportStore;
use tidegate_wire::ApiError;
use tidegate_wire::ioto::Empty;
use tidegate_wire::report::Report;

use crate::dialect::{Dialect, authorization};
use crate::edge::{error_response, respond};
use crate::report_service::ReportService;

impl<S: ReportStore> ReportService<S> {
    /// Answers one report. An updater reads only the status of the answer.
    pub(crate) async fn ioto(&self, request: &Request, now: Timestamp) -> Response<Body> {
        match self.ioto_report(request, now).await {
            Ok(()) => respond(200, &Empty {}),
            Err(error) => error_response(&error),
        }
    }

    async fn ioto_report(&self, request: &Request, now: Timestamp) -> Result<(), ApiError> {
        let authorization = authorization(request).ok_or_else(ApiError::unauthorized)?;
        let report = Report::ioto(request.body())?;
        let proof =
            self.keys.verify(authorization, &report.product, &report.device).ok_or_else(ApiError::unauthorized)?;
        self.record(Dialect::Ioto, &report, proof, now).await.map(drop)
    }
}
