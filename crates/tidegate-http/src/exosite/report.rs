//! Exosite: a device writes `otau_in`, or writes `config_otau` back.

use lambda_http::{Body, Request, Response};
use tidegate_core::Timestamp;
use tidegate_store::ReportStore;
use tidegate_wire::ApiError;

use super::wire::{self, Write};
use crate::dialect::Dialect;
use crate::report_service::ReportService;

impl<S: ReportStore> ReportService<S> {
    /// Answers one request. A write to a resource is accepted even if it changes nothing.
    pub(crate) async fn exosite(
        &self,
        write: Result<Write, ApiError>,
        request: &Request,
        now: Timestamp,
    ) -> Response<Body> {
        match self.write(write, request, now).await {
            Ok(()) => wire::nothing(),
            Err(error) => wire::refuse(&error),
        }
    }

    /// Records the statuses of a write. The token is checked before an error of the body is answered.
    async fn write(&self, write: Result<Write, ApiError>, request: &Request, now: Timestamp) -> Result<(), ApiError> {
        let bearer = wire::caller(request.headers(), &self.keys)?;
        let write = write?;
        for said in write.said() {
            let report = said.report(&bearer.product, &bearer.device);
            self.record_with_version(Dialect::Exosite, &report, said.running(), bearer.proof, now).await?;
        }
        Ok(())
    }
}
