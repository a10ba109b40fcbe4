//! Door of the function `report`: a path belongs to one dialect, which parses, calls the engine and answers.

use lambda_http::{Body, Request, RequestExt as _, Response};
use tidegate_core::{Timestamp, Version};
use tidegate_engine::report::{About, Content, Report, VersionFrom};
use tidegate_engine::token::{Proof, TokenKeys};
use tidegate_engine::{Recorded, Reports};
use tidegate_store::ReportStore;
use tidegate_wire::report::Report as ReportJson;
use tidegate_wire::{ApiError, ErrorCode};

use crate::dialect::{Dialect, log_of_update, refusal, unknown_route};
use crate::edge::error_response;
use crate::{exosite, hawkbit, kaa};

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
        let path = request.raw_http_path();
        if let Some(route) = hawkbit::wire::Route::parse(path) {
            return self.hawkbit(&route, &request, now).await;
        }
        if let Some(route) = exosite::wire::Route::parse(path) {
            return self.exosite(route, &request, now).await;
        }
        if let Some(route) = kaa::wire::Route::parse(path) {
            return self.kaa(&route, &request, now).await;
        }
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v1/report") => self.native(&request, now).await,
            ("POST", "/tok/provision/updateReport") => self.ioto(&request, now).await,
            (_, "/v1/report" | "/tok/provision/updateReport") => {
                error_response(&ApiError::new(ErrorCode::WrongMethod, "a report is a POST"))
            }
            _ => error_response(&unknown_route()),
        }
    }

    /// Records a report about an update, of a device whose check-ins say the version that it runs; logged.
    pub(crate) async fn record(
        &self,
        dialect: Dialect,
        report: &ReportJson,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Recorded, ApiError> {
        self.record_from(dialect, report, VersionFrom::CheckIn, proof, now).await
    }

    /// The same for a device whose check-ins do not say the version. `running` is the version that the report says it
    /// runs, whether or not the device has a claim on it.
    pub(crate) async fn record_with_version(
        &self,
        dialect: Dialect,
        report: &ReportJson,
        running: Option<&Version>,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Recorded, ApiError> {
        self.record_from(dialect, report, VersionFrom::Report { running }, proof, now).await
    }

    async fn record_from(
        &self,
        dialect: Dialect,
        report: &ReportJson,
        version_from: VersionFrom<'_>,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Recorded, ApiError> {
        let ReportJson { product, device, update, status, message, progress } = report;
        let content = Content::Status { status: *status, message: message.clone(), progress: *progress };
        let said = Report { product, device, about: About::Update(update), content: &content, version_from };
        let recorded = self.engine.record(&said, proof, now).await.map_err(|error| refusal(product, device, error));
        log_of_update(dialect, report, &status.to_string()).write(&recorded);
        recorded
    }
}
