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
use tidegate_wire::route::{Interface, NoRoute, PublishRoute, RouteId};
use tidegate_wire::{ApiError, ErrorCode};

use crate::{edge, router};
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
        let (method, path) = (request.method().as_str(), router::path_of(&request));
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
        let found = match router::find(request) {
            Ok(found) => found,
            Err(NoRoute::UnknownPath { .. }) => return Err(unknown_route(request)),
            Err(no_route) => return Err(no_route.error(request.method().as_str())),
        };
        let RouteId::Publish(route) = found.route.id else {
            return Err(unknown_route(request));
        };
        let product = match found.route.interface() {
            Interface::Software => found.parameter("app"),
            _ => found.parameter("product"),
        };
        let product = ProductId::new(product).map_err(|error| ApiError::bad_field(error.to_string()))?;
        let query = request.query_string_parameters();
        let query = query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let call = &Call { product, who, body: request.body(), query, now };
        let version = || parse_version(found.parameter("version"));
        let device = || parse_device(found.parameter("device"));
        match route {
            PublishRoute::ShowProduct => self.show_product(call).await,
            PublishRoute::EditProduct => self.edit_product(call).await,
            PublishRoute::IssueProductToken => self.issue_product_token(call).await,
            PublishRoute::ShowAudit => self.audit(call).await,
            PublishRoute::CreateUpdate => self.create(call).await,
            PublishRoute::ListUpdates => self.list(call).await,
            PublishRoute::ShowUpdate => self.show(call, &version()?).await,
            PublishRoute::EditUpdate => self.edit(call, &version()?).await,
            PublishRoute::ActivateUpdate => self.transition(call, &version()?, Transition::Activate).await,
            PublishRoute::PauseUpdate => self.transition(call, &version()?, Transition::Pause).await,
            PublishRoute::ResumeUpdate => self.transition(call, &version()?, Transition::Resume).await,
            PublishRoute::CompleteUpdate => self.transition(call, &version()?, Transition::Complete).await,
            PublishRoute::AbortUpdate => self.transition(call, &version()?, Transition::Abort).await,
            PublishRoute::WithdrawUpdate => self.transition(call, &version()?, Transition::Withdraw).await,
            PublishRoute::ShowMetrics => self.metrics(call, &version()?).await,
            PublishRoute::ListVersions => self.versions(call).await,
            PublishRoute::ListDevices => self.list_devices(call).await,
            PublishRoute::ShowDevice => self.show_device(call, &device()?).await,
            PublishRoute::Why => self.why(call, &device()?).await,
            PublishRoute::IssueToken => self.issue_token(call, &device()?).await,
            PublishRoute::RevokeToken => self.revoke_token(call, &device()?).await,
            PublishRoute::ListSoftware => self.list_software(call).await,
            PublishRoute::CreateSoftware => self.create_software(call).await,
            PublishRoute::ShowSoftware => self.show_software(call, &version()?).await,
            PublishRoute::PutSoftware => self.put_software(call, &version()?).await,
            PublishRoute::WithdrawSoftware => self.withdraw_software(call, &version()?).await,
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

fn unknown_route(request: &Request) -> ApiError {
    ApiError::new(ErrorCode::UnknownRoute, format!("there is nothing at {}", router::path_of(request)))
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
