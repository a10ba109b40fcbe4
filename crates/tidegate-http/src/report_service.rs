//! Door of the function `report`: a route belongs to one dialect, which parses, calls the engine and answers.

use lambda_http::{Body, Request, Response};
use tidegate_core::{Timestamp, Version};
use tidegate_engine::report::{About, Content, Report};
use tidegate_engine::token::{Proof, TokenKeys};
use tidegate_engine::{Recorded, Reports};
use tidegate_store::ReportStore;
use tidegate_wire::ApiError;
use tidegate_wire::report::Report as ReportJson;
use tidegate_wire::route::{ReportRoute, RouteId};

use crate::dialect::{Dialect, log_of_update, refusal};
use crate::exosite::wire::Write;
use crate::router;

/// Reports of devices, over HTTP.
#[derive(Debug)]
pub struct ReportService<S> {
    pub(crate) engine: Reports<S>,
    pub(crate) keys: TokenKeys,
}

impl<S: ReportStore> ReportService<S> {
    /// A service over a store.
    #[must_use]
    pub fn new(store: S, keys: TokenKeys) -> Self {
        Self { engine: Reports::new(store), keys }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request, now: Timestamp) -> Response<Body> {
        let found = match router::find(&request) {
            Ok(found) => found,
            Err(no_route) => return router::answer_no_route(&request, &no_route),
        };
        let RouteId::Report(route) = found.route.id else {
            return router::answer_other_function(&request, &found);
        };
        match route {
            ReportRoute::Report => self.native(&request, now).await,
            ReportRoute::ReportIoto => self.ioto(&request, now).await,
            ReportRoute::HawkbitFeedback
            | ReportRoute::HawkbitCancelFeedback
            | ReportRoute::HawkbitConfirmationFeedback => self.hawkbit(&found, &request, now).await,
            ReportRoute::ExositeWrite => self.exosite(Write::alias(request.body()), &request, now).await,
            ReportRoute::ExositeRecord => self.exosite(Write::record(request.body()), &request, now).await,
            ReportRoute::KaaApplied | ReportRoute::KaaAppliedNumbered => self.kaa(&found, &request, now).await,
        }
    }

    /// Records and logs a report of a device whose check-ins contain its version.
    pub(crate) async fn record(
        &self,
        dialect: Dialect,
        report: &ReportJson,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Recorded, ApiError> {
        self.record_with_version(dialect, report, None, proof, now).await
    }

    /// Records and logs a report of a device whose check-ins do not contain its version. `running` is the version that
    /// the report names as running, with or without a claim on it.
    pub(crate) async fn record_with_version(
        &self,
        dialect: Dialect,
        report: &ReportJson,
        running: Option<&Version>,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Recorded, ApiError> {
        let ReportJson { product, device, about, status, message, progress } = report;
        let content = Content::Status { status: *status, message: message.clone(), progress: *progress };
        let said = Report { product, device, about: About::Named(about), content: &content, running };
        let recorded = self.engine.record(&said, proof, now).await.map_err(|error| refusal(product, device, error));
        log_of_update(dialect, report, &status.to_string()).write(&recorded);
        recorded
    }
}
