//! The operator API: parse, load, change or explain, answer.
//!
//! Each file beside this one is one noun of the API. A request without an operator, as the authorizer of the front door
//! names them, is refused before anything is read.

mod audit;
mod create;
mod devices;
mod edit;
pub mod kaa_software;
mod metrics;
mod product;
pub mod request;
pub mod software;
mod token;
mod transition;
mod update;
mod why;

use lambda_http::{Body, Request, RequestExt, Response};
use serde_json::Value;
use tidegate_engine::token::TokenKeys;
use tidegate_wire::{ApiError, ErrorCode};

use crate::edge;
use tidegate_core::{DeviceId, ProductId, Timestamp, Transition, Version};
use tidegate_engine::EngineError;
use tidegate_store::record::UpdateRecord;
use tidegate_store::store::Freshness;
use tidegate_store::{Images, PublishStore, StoreError};

/// Seconds after which an operator tries again when the store cannot be reached.
const RETRY_AFTER_S: u32 = 10;

/// The publish service.
#[derive(Debug)]
pub struct PublishService<S> {
    store: S,
    images: Images,
    keys: TokenKeys,
}

/// One call of an operator.
#[derive(Debug)]
struct Call<'a> {
    product: ProductId,
    who: String,
    body: &'a [u8],
    query: Vec<(String, String)>,
    now: Timestamp,
}

/// What a call is answered: a status and a JSON value.
type Answer = Result<(u16, Value), ApiError>;

impl<S: PublishStore> PublishService<S> {
    /// A service over a store and an image bucket.
    #[must_use]
    pub fn new(store: S, images: Images, keys: TokenKeys) -> Self {
        Self { store, images, keys }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request, now: Timestamp) -> Response<Body> {
        let answer = self.answer(&request, now).await;
        let (method, path) = (request.method().as_str(), request.raw_http_path());
        match &answer {
            Ok((status, _)) => tracing::info!(method, path, status, "operator_call"),
            Err(error) => tracing::warn!(
                method,
                path,
                status = error.status(),
                code = error.code.code(),
                error = error.message,
                "operator_call_refused"
            ),
        }
        match answer {
            Ok((status, body)) => edge::respond(status, &body),
            Err(error) => edge::error_response(&error),
        }
    }

    async fn answer(&self, request: &Request, now: Timestamp) -> Answer {
        let who = request::principal(request)?;
        let path = request.raw_http_path().to_string();
        let segments = path.trim_matches('/').split('/').collect::<Vec<_>>();
        let (product, rest, is_software) = match segments.as_slice() {
            ["v1", "products", product, rest @ ..] => (*product, rest, false),
            segments => {
                let (app, rest) = software::parse(segments).ok_or_else(|| unknown_route(&path))?;
                (app, rest, true)
            }
        };
        let product = ProductId::new(product).map_err(|error| ApiError::bad_field(error.to_string()))?;
        let query = request.query_string_parameters();
        let query = query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let call = Call { product, who, body: request.body(), query, now };
        let method = request.method().as_str();
        match is_software {
            true => self.software(&call, method, rest, &path).await,
            false => self.route(&call, method, rest, &path).await,
        }
    }

    async fn route(&self, call: &Call<'_>, method: &str, rest: &[&str], path: &str) -> Answer {
        match (method, rest) {
            ("GET", []) => self.show_product(call).await,
            ("PATCH", []) => self.edit_product(call).await,
            ("PUT", ["token"]) => self.issue_product_token(call).await,
            ("POST", ["updates"]) => self.create(call).await,
            ("GET", ["updates"]) => self.list(call).await,
            ("GET", ["updates", version]) => self.show(call, &parse_version(version)?).await,
            ("PATCH", ["updates", version]) => self.edit(call, &parse_version(version)?).await,
            ("GET", ["updates", version, "metrics"]) => self.metrics(call, &parse_version(version)?).await,
            ("POST", ["updates", version, verb]) if let Some(transition) = Transition::parse(verb) => {
                self.transition(call, &parse_version(version)?, transition).await
            }
            ("GET", ["audit"]) => self.audit(call).await,
            ("GET", ["versions"]) => self.versions(call).await,
            ("GET", ["devices"]) => self.list_devices(call).await,
            ("GET", ["devices", device]) => self.show_device(call, &parse_device(device)?).await,
            ("GET", ["devices", device, "why"]) => self.why(call, &parse_device(device)?).await,
            ("PUT", ["devices", device, "token"]) => self.issue_token(call, &parse_device(device)?).await,
            ("DELETE", ["devices", device, "token"]) => self.revoke_token(call, &parse_device(device)?).await,
            _ if is_route(rest) => {
                Err(ApiError::new(ErrorCode::WrongMethod, format!("{path} exists, but not with {method}")))
            }
            _ => Err(unknown_route(path)),
        }
    }

    /// An empty answer about a product that does not exist would hide a mistyped name.
    async fn must_exist(&self, call: &Call<'_>) -> Result<(), ApiError> {
        match self.store.head(&call.product, Freshness::Eventual).await.map_err(unavailable)? {
            Some(_) => Ok(()),
            None => Err(unknown_product(call)),
        }
    }

    /// One update, or the error that says which part of its name is unknown.
    async fn find(&self, call: &Call<'_>, version: &Version) -> Result<UpdateRecord, ApiError> {
        match self.store.update(&call.product, version).await.map_err(unavailable)? {
            Some(update) => Ok(update),
            None => {
                self.must_exist(call).await?;
                Err(ApiError::new(ErrorCode::UnknownUpdate, format!("{} has no update {version}", call.product)))
            }
        }
    }
}

/// Whether some method exists for this path.
fn is_route(rest: &[&str]) -> bool {
    match rest {
        [] | ["token" | "updates" | "audit" | "versions" | "devices"] | ["updates" | "devices", _] => true,
        ["updates", _, verb] => *verb == "metrics" || Transition::parse(verb).is_some(),
        ["devices", _, noun] => ["why", "token"].contains(noun),
        _ => false,
    }
}

fn unknown_route(path: &str) -> ApiError {
    ApiError::new(ErrorCode::UnknownRoute, format!("there is nothing at {path}"))
}

fn unknown_product(call: &Call<'_>) -> ApiError {
    ApiError::new(ErrorCode::UnknownProduct, format!("the product {} has no update yet", call.product))
}

fn parse_version(text: &str) -> Result<Version, ApiError> {
    tidegate_wire::device_json::parse_version(text)
}

fn parse_device(text: &str) -> Result<DeviceId, ApiError> {
    DeviceId::new(text).map_err(|error| ApiError::bad_field(error.to_string()))
}

impl Call<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Logged once, here; the caller learns nothing of our insides.
fn unavailable(error: StoreError) -> ApiError {
    if error == StoreError::Conflict {
        return ApiError::new(
            ErrorCode::Conflict,
            "somebody else changed this at the same time; look at it and try again",
        );
    }
    tracing::error!(%error, "store_failed");
    ApiError::unavailable(RETRY_AFTER_S)
}

fn refused(error: EngineError) -> ApiError {
    match error {
        EngineError::WrongState(_) => ApiError::new(ErrorCode::WrongState, error.to_string()),
        EngineError::UnknownProduct(_) => ApiError::new(ErrorCode::UnknownProduct, error.to_string()),
        EngineError::TokenRefused => ApiError::unauthorized(),
        EngineError::RegistrationClosed => ApiError::new(ErrorCode::RegistrationClosed, error.to_string()),
        EngineError::CredentialsEnding => ApiError::unavailable(RETRY_AFTER_S),
        EngineError::Store(error) => unavailable(error),
    }
}
