//! A device reports: parse, load, settle, answer. An outcome counts once.
//!
//! A wire format that is more than a body is a file beside this one.

mod exosite;
mod hawkbit;
mod kaa;
mod running;

use std::sync::Arc;

use lambda_http::{Body, Request, RequestExt as _, Response};
use serde_json::json;
use tidegate_api::definition::Definition;
use tidegate_api::dialect;
use tidegate_api::report::Report;
use tidegate_api::token::{Proof, TokenKeys};
use tidegate_api::{ApiError, ErrorCode, edge, metrics};
use tidegate_core::outcome::Meaning;
use tidegate_core::policy::Slots;
use tidegate_core::shard::Counts;
use tidegate_core::{Claim, ClaimState, DeviceId, ProductId, Timestamp, Version};
use tidegate_store::control::{self, ControlError};
use tidegate_store::record::{ClaimKey, DeviceRecord, DeviceWrite, KnownDevice};
use tidegate_store::settings::{self, Settings};
use tidegate_store::store::Freshness;
use tidegate_store::{DynamoStore, ReportStore, StoreError};

/// How often a report is tried again when something else moved the claim at the same time.
const MOST_TRIES: usize = 4;
/// Seconds after which a device reports again when the store was down.
const RETRY_AFTER_S: u32 = 60;

/// The report service.
#[derive(Debug)]
pub struct ReportService<S> {
    store: S,
    keys: TokenKeys,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    Yes,
    No(&'static str),
}

/// From where we learn what a device runs once it has installed an update.
#[derive(Debug, Clone, Copy)]
enum Runs<'a> {
    /// It says so when it checks in.
    CheckedIn,
    /// Its check-in does not say: the report of a success goes into its record.
    Reported(&'a DeviceRecord),
}

impl<S: ReportStore> ReportService<S> {
    /// A service over a store.
    #[must_use]
    pub fn new(store: S, keys: TokenKeys) -> Self {
        Self { store, keys }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request, now: Timestamp) -> Response<Body> {
        if let Some(route) = dialect::hawkbit::Route::parse(request.raw_http_path()) {
            return self.hawkbit(&route, &request, now).await;
        }
        if let Some(route) = dialect::exosite::Route::parse(request.raw_http_path()) {
            return self.exosite(route, &request, now).await;
        }
        if let Some(route) = dialect::kaa::Route::parse(request.raw_http_path()) {
            return self.kaa(&route, &request, now).await;
        }
        let is_ioto = match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v1/report") => false,
            ("POST", "/tok/provision/updateReport") => true,
            (_, "/v1/report" | "/tok/provision/updateReport") => {
                return edge::error_response(&ApiError::new(ErrorCode::WrongMethod, "a report is a POST"));
            }
            _ => return edge::error_response(&ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path")),
        };
        match self.report(is_ioto, &request, now).await {
            // An Ioto updater looks at the status and at nothing else.
            Ok(_) if is_ioto => edge::respond(200, &json!({})),
            Ok(Recorded::Yes) => edge::respond(200, &json!({"recorded": true})),
            Ok(Recorded::No(reason)) => edge::respond(200, &json!({"recorded": false, "reason": reason})),
            Err(error) => edge::error_response(&error),
        }
    }

    async fn report(&self, is_ioto: bool, request: &Request, now: Timestamp) -> Result<Recorded, ApiError> {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let authorization = authorization.ok_or_else(ApiError::unauthorized)?;
        let report = if is_ioto { Report::ioto(request.body())? } else { Report::native(request.body())? };
        let proof =
            self.keys.verify(authorization, &report.product, &report.device).ok_or_else(ApiError::unauthorized)?;
        self.recorded(if is_ioto { "ioto" } else { "native" }, &report, proof, now).await
    }

    /// Records a report, and logs what became of it.
    async fn recorded(
        &self,
        dialect: &'static str,
        report: &Report,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Recorded, ApiError> {
        logged(dialect, report, self.record(report, proof, now).await)
    }

    async fn record(&self, report: &Report, proof: Proof, now: Timestamp) -> Result<Recorded, ApiError> {
        let key =
            ClaimKey { product: report.product.clone(), device: report.device.clone(), update: report.update.clone() };
        let down = |error: StoreError| unavailable(&key.product, &key.device, &error);
        for _ in 0..MOST_TRIES {
            let known = self.store.device(&key.product, &key.device, Freshness::Strong).await.map_err(down)?;
            self.accept(&key.product, &key.device, &known, proof).await?;
            let Some((_, claim)) = known.claims.iter().find(|(update, _)| *update == key.update) else {
                return Ok(Recorded::No("no_claim"));
            };
            match self.apply(&key, claim, report, Runs::CheckedIn, now).await {
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(down(error)),
                Ok(recorded) => return Ok(recorded),
            }
        }
        Err(unavailable(&key.product, &key.device, &StoreError::Conflict))
    }

    async fn accept(
        &self,
        product: &ProductId,
        device: &DeviceId,
        known: &KnownDevice,
        proof: Proof,
    ) -> Result<(), ApiError> {
        let accepts_product_tokens = match proof {
            Proof::Device { .. } => false,
            Proof::Product => {
                let head = self
                    .store
                    .head(product, Freshness::Eventual)
                    .await
                    .map_err(|error| unavailable(product, device, &error))?;
                head.is_some_and(|head| head.accepts_product_tokens)
            }
        };
        match proof.is_accepted(known.record_or_default().token_generation, accepts_product_tokens) {
            true => Ok(()),
            false => Err(ApiError::unauthorized()),
        }
    }

    async fn apply(
        &self,
        key: &ClaimKey,
        claim: &Claim,
        report: &Report,
        runs: Runs<'_>,
        now: Timestamp,
    ) -> Result<Recorded, StoreError> {
        let meaning = report.status.meaning();
        if meaning == Meaning::Progress {
            let status = report.status.to_string();
            let message = report.message.as_deref();
            let noted = self.store.note_progress(key, &status, report.progress, message, now).await?;
            return Ok(if noted { Recorded::Yes } else { Recorded::No(settled(claim)) });
        }
        match claim.settle(meaning) {
            Some((after, movement)) => {
                match runs {
                    Runs::Reported(record) if meaning == Meaning::Succeeded => {
                        let write = installed(key, &after, record, now);
                        self.store.settle_and_save(key, claim, &after, movement, &write).await?;
                    }
                    _ => self.store.settle(key, claim, &after, movement).await?,
                }
                if movement.failed > 0 {
                    self.look_at_health(key, &claim.version, now).await;
                }
                Ok(Recorded::Yes)
            }
            None => Ok(Recorded::No(settled(claim))),
        }
    }
}

impl<S: ReportStore> ReportService<S> {
    /// A failure may be the one that stops the rollout. The report is recorded whatever comes of
    /// this: what fails here is seen again by the next failure, or by the sweep.
    async fn look_at_health(&self, key: &ClaimKey, version: &Version, now: Timestamp) {
        for _ in 0..MOST_TRIES {
            match self.stop_if_bad(key, version, now).await {
                Ok(()) => return,
                Err(ControlError::Store(StoreError::Conflict)) => {}
                Err(error) => {
                    tracing::error!(product = %key.product, update = %key.update, %error, "health_not_judged");
                    return;
                }
            }
        }
    }

    async fn stop_if_bad(&self, key: &ClaimKey, version: &Version, now: Timestamp) -> Result<(), ControlError> {
        let Some(record) = self.store.update(&key.product, version).await? else {
            return Ok(());
        };
        let Some(allocation) = record.allocation.as_ref().filter(|_| record.state.is_live()) else {
            return Ok(());
        };
        let compiled =
            Definition::compile(&record.definition, &record.product, &record.publication(), &mut Slots::new());
        let update = compiled.map_err(|why| ControlError::Store(StoreError::Corrupt(why)))?;
        let shards = self.store.shards(&record.id, allocation.shards()).await?;
        let counts = Counts::of(&shards);
        if control::stop_if_bad(&self.store, &record, &update, &counts, now).await?.is_some() {
            metrics::rollout_stopped(&record.product);
            tidegate_catalog::compile_or_leave_it(&self.store, &record.product).await;
        }
        Ok(())
    }
}

/// Says what became of a report.
fn logged(dialect: &'static str, report: &Report, recorded: Result<Recorded, ApiError>) -> Result<Recorded, ApiError> {
    match &recorded {
        Ok(recorded) => tracing::info!(
            product = %report.product, device = %report.device, update = %report.update,
            status = %report.status, message = report.message, ?recorded, dialect, "report"
        ),
        Err(error) => tracing::warn!(
            product = %report.product, device = %report.device, update = %report.update,
            code = error.code.code(), dialect, "report_refused"
        ),
    }
    recorded
}

/// The record of a device that has installed what its claim gave it.
fn installed(key: &ClaimKey, claim: &Claim, record: &DeviceRecord, now: Timestamp) -> DeviceWrite {
    DeviceWrite {
        product: key.product.clone(),
        device: key.device.clone(),
        version: claim.version.to_string(),
        previous_version: record.version.clone(),
        attributes: record.attributes.clone(),
        seen_at: now,
    }
}

fn settled(claim: &Claim) -> &'static str {
    match claim.state {
        ClaimState::Reserved => "not_reserved",
        ClaimState::Expired => "expired",
        ClaimState::Succeeded => "succeeded_before",
        ClaimState::Failed => "failed_before",
    }
}

/// Logged once, here; the caller learns nothing of our insides.
fn unavailable(product: &ProductId, device: &DeviceId, error: &StoreError) -> ApiError {
    tracing::error!(%product, %device, %error, "store_failed");
    ApiError::unavailable(RETRY_AFTER_S)
}

/// The service as it comes from a function's environment.
///
/// # Errors
/// A sentence that names the variable that is missing.
pub async fn from_env() -> Result<Arc<ReportService<DynamoStore>>, String> {
    let config = settings::sdk_config().await;
    let keys = TokenKeys::parse(&settings::token_keys(&config).await?)?;
    let (store, _) = Settings::from_env()?.open(&config).await?;
    Ok(Arc::new(ReportService::new(store, keys)))
}
