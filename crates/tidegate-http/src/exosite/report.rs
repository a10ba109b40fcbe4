//! Exosite: a device writes `otau_in`, or writes `config_otau` back.

use lambda_http::{Body, Request, Response};
use tidegate_core::Timestamp;
use tidegate_store::ReportStore;
use tidegate_wire::ApiError;

use super::wire::{self, Route, Write};
use crate::dialect::{Dialect, unknown_route};
use crate::report_service::ReportService;

impl<S: ReportStore> ReportService<S> {
    /// Answers one request. A write to a resource is accepted also when it changes nothing.
    pub(crate) async fn exosite(&self, route: Route, request: &Request, now: Timestamp) -> Response<Body> {
        match self.write(route, request, now).await {
            Ok(()) => wire::nothing(),
            Err(error) => wire::refuse(&error),
        }
    }

    async fn write(&self, route: Route, request: &Request, now: Timestamp) -> Result<(), ApiError> {
        let method = request.method().as_str();
        route.check_method(method)?;
        if !route.is_report(method) {
            return Err(unknown_route());
        }
        let bearer = wire::caller(request.headers(), &self.keys)?;
        let write = match route {
            Route::Record => Write::record(request.body())?,
            _ => Write::alias(request.body())?,
        };
        for said in write.said() {
            let report = said.report(&bearer.product, &bearer.device);
            self.record_with_version(Dialect::Exosite, &report, said.running(), bearer.proof, now).await?;
        }
        Ok(())
    }
}
