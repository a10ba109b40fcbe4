//! Door of the function `check`: a route belongs to one dialect, which parses, calls the engine and answers.

use lambda_http::{Body, Request, Response};
use tidegate_core::{Device, DeviceId, ProductId, Timestamp};
use tidegate_engine::token::{Proof, TokenKeys};
use tidegate_engine::{CheckInResult, CheckIns, DeviceContext, Said};
use tidegate_store::record::Seen;
use tidegate_store::store::Include;
use tidegate_store::{CheckStore, Images};
use tidegate_wire::ApiError;
use tidegate_wire::route::{CheckRoute, RouteId};

use crate::dialect::{Dialect, log_check_in, refusal};
use crate::router;

/// The age of a catalog, in milliseconds, up to which it is used without a read of its head. Changes of a rollout take
/// effect within this time.
pub const CATALOG_AGE_MS: i64 = 1000;
/// The longest time for which a request may wait, in seconds: the function and the front door both end it at 30.
pub const LONGEST_POLL_S: u32 = 20;

/// Check-ins of devices, over HTTP.
#[derive(Debug)]
pub struct CheckService<S> {
    pub(crate) engine: CheckIns<S>,
    pub(crate) keys: TokenKeys,
    pub(crate) longest_poll_ms: u64,
}

impl<S: CheckStore> CheckService<S> {
    /// A service that reads a catalog's head at most once in `catalog_age_ms`.
    #[must_use]
    pub fn new(store: S, images: Images, keys: TokenKeys, catalog_age_ms: i64) -> Self {
        Self { engine: CheckIns::new(store, images, catalog_age_ms), keys, longest_poll_ms: 0 }
    }

    /// The same service, which lets a request wait for an update if its protocol can ask for that. A waiting function
    /// costs money, and API Gateway waits for at most 30 s.
    #[must_use]
    pub fn with_long_poll(self, longest_s: u32) -> Self {
        Self { longest_poll_ms: u64::from(longest_s.min(LONGEST_POLL_S)) * 1000, ..self }
    }

    /// Reads the first catalogs before the first request.
    pub async fn warm_up(&self, now: Timestamp) {
        self.engine.warm_up(now).await;
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request, now: Timestamp) -> Response<Body> {
        let found = match router::find(&request) {
            Ok(found) => found,
            Err(no_route) => return router::answer_no_route(&request, &no_route),
        };
        let RouteId::Check(route) = found.route.id else {
            return router::answer_other_function(&request, &found);
        };
        match route {
            CheckRoute::Check => self.native(&request, now).await,
            CheckRoute::CheckIoto => self.ioto(&request, now).await,
            CheckRoute::Register => self.ioto_register(&request).await,
            CheckRoute::HawkbitPoll
            | CheckRoute::HawkbitConfigData
            | CheckRoute::HawkbitDeployment
            | CheckRoute::HawkbitInstalled
            | CheckRoute::HawkbitCancel
            | CheckRoute::HawkbitConfirmations
            | CheckRoute::HawkbitConfirmation
            | CheckRoute::HawkbitArtifacts
            | CheckRoute::HawkbitDownload
            | CheckRoute::HawkbitDownloadHead => self.hawkbit(&found, &request, now).await,
            CheckRoute::ExositeRead => self.exosite_read(&request, now).await,
            CheckRoute::ExositeActivate => self.exosite_activate(&request).await,
            CheckRoute::ExositeDownload => self.exosite_download(&request, now).await,
            CheckRoute::KaaConfig | CheckRoute::KaaConfigNumbered => self.kaa(&found, &request, now).await,
        }
    }

    /// Loads the data about a device whose token has been verified.
    pub(crate) async fn context(
        &self,
        product: &ProductId,
        device: &DeviceId,
        proof: Proof,
        include: Include,
        now: Timestamp,
    ) -> Result<DeviceContext, ApiError> {
        self.engine.context(product, device, proof, include, now).await.map_err(|error| refusal(product, device, error))
    }

    /// Checks a device in, and logs the result.
    pub(crate) async fn check_in(
        &self,
        dialect: Dialect,
        device: &Device,
        context: &mut DeviceContext,
        said: Said,
        seen: Option<Seen>,
        now: Timestamp,
    ) -> Result<CheckInResult, ApiError> {
        let result = self.engine.check_in(device, context, said, seen, now).await;
        let result = result.map_err(|error| refusal(&device.product, &device.id, error))?;
        log_check_in(dialect, device, &result);
        Ok(result)
    }

    /// Checks that a device may get a token by registration.
    pub(crate) async fn may_register(&self, product: &ProductId, device: &DeviceId) -> Result<(), ApiError> {
        self.engine.may_register(product, device).await.map_err(|error| refusal(product, device, error))
    }
}
