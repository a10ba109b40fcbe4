//! Exosite: a device writes `otau_in`, or writes `config_otau` back.

use lambda_http::{Body, Request, Response};
use tidegate_api::dialect::exosite::{self, Route, Write};
use tidegate_api::{ApiError, ErrorCode};
use tidegate_core::Timestamp;
use tidegate_store::ReportStore;

use crate::ReportService;

impl<S: ReportStore> ReportService<S> {
    /// Answers one request. A write is taken whether or not it changes anything: that is what a
    /// resource is.
    pub(crate) async fn exosite(&self, route: Route, request: &Request, now: Timestamp) -> Response<Body> {
        match self.write(route, request, now).await {
            Ok(()) => exosite::nothing(),
            Err(error) => exosite::refuse(&error),
        }
    }

    async fn write(&self, route: Route, request: &Request, now: Timestamp) -> Result<(), ApiError> {
        let method = request.method().as_str();
        route.check_method(method)?;
        if !route.is_report(method) {
            return Err(ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path"));
        }
        let bearer = exosite::caller(request.headers(), &self.keys)?;
        let write = match route {
            Route::Record => Write::record(request.body())?,
            _ => Write::alias(request.body())?,
        };
        for said in write.said() {
            let report = said.report(&bearer.product, &bearer.device);
            self.heard("exosite", &report, said.running(), bearer.proof, now).await?;
        }
        Ok(())
    }
}
