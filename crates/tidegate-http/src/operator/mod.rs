//! The operator API: parse, load, change or explain, answer.
//!
//! Each file beside this one is one noun of the API. The authorizer of the front door names the operator. A request
//! without an operator is refused before anything is read.

mod audit;
mod campaign;
mod create;
mod devices;
mod edit;
pub mod kaa_software;
mod metrics;
mod orders;
mod page;
mod product;
pub mod request;
pub mod software;
mod stop;
mod token;
mod transition;
mod update;
mod why;

use std::pin::Pin;
use std::time::Duration;

use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;
use tidegate_engine::token::TokenKeys;
use tidegate_wire::operator::Reason;
use tidegate_wire::route::{Interface, NoRoute, PublishRoute, RouteId};
use tidegate_wire::{ApiError, ErrorCode, strict_json};

use crate::{edge, router};
use tidegate_core::{DeviceId, ProductId, Timestamp, Transition, Version};
use tidegate_engine::control::Actor;
use tidegate_engine::{EngineError, Operations};
use tidegate_store::{Images, PublishStore, StoreError};

/// Seconds after which an operator tries again when the store cannot be reached.
const RETRY_AFTER_S: u32 = 10;
/// The longest reason for a change, in bytes.
const LONGEST_REASON: usize = 1000;

/// Calls of operators, over HTTP.
#[derive(Debug)]
pub struct PublishService<S> {
    engine: Operations<S>,
}

/// One call of an operator.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    product: ProductId,
    who: String,
    body: &'a [u8],
    query: Vec<(String, String)>,
    now: Timestamp,
}

/// The answer to a call.
type Answer = Result<Response<Body>, ApiError>;
type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

impl<S: PublishStore> PublishService<S> {
    /// A service over a store and an image bucket.
    #[must_use]
    pub fn new(store: S, images: Images, keys: TokenKeys) -> Self {
        Self { engine: Operations::new(store, images, keys) }
    }

    /// The same service, with another time after which a stop is acknowledged.
    #[must_use]
    pub fn acknowledging_after(self, time: Duration) -> Self {
        Self { engine: self.engine.acknowledging_after(time) }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request, now: Timestamp) -> Response<Body> {
        let answer = Box::pin(self.answer(&request, now)).await;
        let (method, path) = (request.method().as_str(), router::path_of(&request));
        // A path names devices, and a log is kept longer than a device may be.
        let found = router::find(&request).ok();
        let route = found.as_ref().map_or("none", |found| found.route.template);
        let product = found.as_ref().map_or("", |found| found.parameter("product"));
        tracing::debug!(method, path, "operator_call_path");
        match answer {
            Ok(response) => {
                tracing::info!(method, route, product, status = response.status().as_u16(), "operator_call");
                response
            }
            Err(error) => {
                let (status, code) = (error.status(), error.code.code());
                tracing::warn!(method, route, product, status, code, "operator_call_refused");
                tracing::debug!(method, path, error = error.message, "operator_call_error");
                edge::error_response(&error)
            }
        }
    }

    async fn answer(&self, request: &Request, now: Timestamp) -> Answer {
        let who = request::principal(request)?;
        let found = &match router::find(request) {
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
        let query = query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>();
        if found.route.interface() == Interface::Operator {
            must_be_known(route, &query)?;
        }
        let call = &Call { product, who, body: request.body(), query, now };
        let version = || parse_version(found.parameter("version"));
        let device = || parse_device(found.parameter("device"));
        let answer: Answering<'_> = match route {
            PublishRoute::ShowProduct => apart(|| self.show_product(call)),
            PublishRoute::EditProduct => apart(|| self.edit_product(call)),
            PublishRoute::IssueProductToken => apart(|| self.issue_product_token(call)),
            PublishRoute::RevokeProductToken => apart(|| self.revoke_product_token(call)),
            PublishRoute::StopProduct => apart(|| self.stop_product(call)),
            PublishRoute::ResumeStopped => apart(|| self.resume_stopped(call)),
            PublishRoute::ShowAudit => apart(|| self.audit(call)),
            PublishRoute::CreateUpdate => apart(|| self.create(call)),
            PublishRoute::ListUpdates => apart(|| self.list(call)),
            PublishRoute::ShowUpdate => apart(|| async move { self.show(call, &version()?).await }),
            PublishRoute::EditUpdate => apart(|| async move { self.edit(call, &version()?).await }),
            PublishRoute::EditCampaign => apart(|| async move { self.edit_campaign(call, &version()?).await }),
            PublishRoute::UploadParts => apart(|| async move { self.upload_parts(call, &version()?).await }),
            PublishRoute::DeleteUpdate => apart(|| async move { self.delete(call, &version()?).await }),
            PublishRoute::ReopenUpdate => apart(|| async move { self.reopen(call, &version()?).await }),
            PublishRoute::RollBackTo => apart(|| async move { self.roll_back_to(call, &version()?).await }),
            PublishRoute::ActivateUpdate => {
                apart(|| async move { self.transition(call, &version()?, Transition::Activate).await })
            }
            PublishRoute::PauseUpdate => {
                apart(|| async move { self.transition(call, &version()?, Transition::Pause).await })
            }
            PublishRoute::ResumeUpdate => apart(|| async move { self.resume(call, &version()?).await }),
            PublishRoute::AdvanceUpdate => apart(|| async move { self.advance(call, &version()?).await }),
            PublishRoute::CompleteUpdate => {
                apart(|| async move { self.transition(call, &version()?, Transition::Complete).await })
            }
            PublishRoute::AbortUpdate => {
                apart(|| async move { self.transition(call, &version()?, Transition::Abort).await })
            }
            PublishRoute::WithdrawUpdate => {
                apart(|| async move { self.transition(call, &version()?, Transition::Withdraw).await })
            }
            PublishRoute::RetryUpdate => apart(|| async move { self.retry_update(call, &version()?).await }),
            PublishRoute::VoidDevices => apart(|| async move { self.void_devices(call, &version()?).await }),
            PublishRoute::AssignUpdate => apart(|| async move { self.assign(call, &version()?, true).await }),
            PublishRoute::UnassignUpdate => apart(|| async move { self.assign(call, &version()?, false).await }),
            PublishRoute::ListUpdateDevices => {
                apart(|| async move { self.list_update_devices(call, &version()?).await })
            }
            PublishRoute::ShowReasons => apart(|| async move { self.reasons(call, &version()?).await }),
            PublishRoute::ShowMetrics => apart(|| async move { self.metrics(call, &version()?).await }),
            PublishRoute::ListVersions => apart(|| self.versions(call)),
            PublishRoute::ListDevices => apart(|| self.list_devices(call)),
            PublishRoute::ShowDevice => apart(|| async move { self.show_device(call, &device()?).await }),
            PublishRoute::Why => apart(|| async move { self.why(call, &device()?).await }),
            PublishRoute::RetryDevice => apart(|| async move { self.retry_device(call, &device()?).await }),
            PublishRoute::HoldDevice => apart(|| async move { self.hold_device(call, &device()?).await }),
            PublishRoute::PinDevice => apart(|| async move { self.pin_device(call, &device()?).await }),
            PublishRoute::ReleaseDevice => apart(|| async move { self.release_device(call, &device()?).await }),
            PublishRoute::DeleteDevice => apart(|| async move { self.delete_device(call, &device()?).await }),
            PublishRoute::ExportDevice => apart(|| async move { self.export_device(call, &device()?).await }),
            PublishRoute::ForgetDevice => apart(|| async move { self.forget_device(call, &device()?).await }),
            PublishRoute::TagDevice => {
                apart(|| async move { self.tag_device(call, &device()?, found.parameter("tag")).await })
            }
            PublishRoute::UntagDevice => {
                apart(|| async move { self.untag_device(call, &device()?, found.parameter("tag")).await })
            }
            PublishRoute::IssueToken => apart(|| async move { self.issue_token(call, &device()?).await }),
            PublishRoute::RevokeToken => apart(|| async move { self.revoke_token(call, &device()?).await }),
            PublishRoute::ListSoftware => apart(|| self.list_software(call)),
            PublishRoute::CreateSoftware => apart(|| self.create_software(call)),
            PublishRoute::ShowSoftware => apart(|| async move { self.show_software(call, &version()?).await }),
            PublishRoute::PutSoftware => apart(|| async move { self.put_software(call, &version()?).await }),
            PublishRoute::WithdrawSoftware => apart(|| async move { self.withdraw_software(call, &version()?).await }),
        };
        answer.await
    }
}

/// The answer of one call, made and kept apart from the others: the frame of all of them would be too large for a thread's
/// stack.
#[inline(never)]
fn apart<'a, F: Future<Output = Answer> + Send + 'a>(answer: impl FnOnce() -> F) -> Answering<'a> {
    Box::pin(answer())
}

/// A parameter that is not known may be a mistyped filter: the answer would be about more than the caller thinks.
fn must_be_known(route: PublishRoute, query: &[(String, String)]) -> Result<(), ApiError> {
    let known = route.query();
    let Some((name, _)) = query.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let message = match known {
        [] => format!("this call has no parameter `{name}`, and no other"),
        known => format!("this call has no parameter `{name}`; it has {}", known.join(", ")),
    };
    Err(ApiError::bad_field(message))
}

fn unknown_route(request: &Request) -> ApiError {
    ApiError::new(ErrorCode::UnknownRoute, format!("there is nothing at {}", router::path_of(request)))
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

    /// The operator, with the reason for a change.
    fn actor(&self, reason: Option<String>) -> Result<Actor, ApiError> {
        let reason = reason.unwrap_or_default();
        match reason.len() <= LONGEST_REASON {
            true => Ok(Actor { who: self.who.clone(), reason, now: self.now }),
            false => Err(bad_reason()),
        }
    }

    /// The same with the reason in the body, which holds nothing else.
    fn actor_with_reason(&self) -> Result<Actor, ApiError> {
        let Reason { reason } = strict_json::read_body(self.body)?;
        self.actor(reason)
    }
}

fn bad_reason() -> ApiError {
    ApiError::bad_field(format!("reason must be a text of at most {LONGEST_REASON} bytes"))
}

fn respond(status: u16, body: &impl Serialize) -> Answer {
    Ok(edge::respond(status, body))
}

fn ok(body: &impl Serialize) -> Answer {
    respond(200, body)
}

/// The answer to a change: 200 when it is done, 202 while the service goes on.
fn respond_to_change(is_done: bool, body: &impl Serialize) -> Answer {
    respond(if is_done { 200 } else { 202 }, body)
}

/// The answer to an operator whose use case failed. A failure of the store is logged here, once. The answer contains no
/// internal details.
fn refused(error: EngineError) -> ApiError {
    let code = match &error {
        EngineError::UnknownProduct(_) => ErrorCode::UnknownProduct,
        EngineError::UnknownUpdate { .. } => ErrorCode::UnknownUpdate,
        EngineError::UnknownDevice(_) => ErrorCode::UnknownDevice,
        EngineError::VersionExists { .. } | EngineError::VersionDeleted { .. } => ErrorCode::VersionExists,
        EngineError::UpdateInUse { .. } => ErrorCode::UpdateInUse,
        EngineError::Verifying { .. } => ErrorCode::Verifying,
        EngineError::ImageMissing { .. } => ErrorCode::ImageMissing,
        EngineError::ImageMismatch { .. } => ErrorCode::ImageMismatch,
        EngineError::BadDefinition { code, .. } => *code,
        EngineError::UnreadableUpdate { .. } => ErrorCode::BadField,
        EngineError::TokenRefused => return ApiError::unauthorized(),
        EngineError::RegistrationClosed => ErrorCode::RegistrationClosed,
        EngineError::WrongState(_)
        | EngineError::NotEditable(_)
        | EngineError::NotReopenable(_)
        | EngineError::NotDeletable(_)
        | EngineError::NotAdvanceable(_) => ErrorCode::WrongState,
        EngineError::Circle { .. } => ErrorCode::Circle,
        EngineError::ChangeUnderWay { .. } | EngineError::Replaced(_) => ErrorCode::ChangeUnderWay,
        EngineError::EvidenceMoved { .. } => ErrorCode::EvidenceMoved,
        EngineError::ProductStopped(_) => ErrorCode::ProductStopped,
        EngineError::Store(StoreError::Conflict) => {
            let message = "another operator changed this at the same time; look at it and try again";
            return ApiError::new(ErrorCode::Conflict, message);
        }
        EngineError::CredentialsEnding | EngineError::Busy | EngineError::Store(_) => {
            tracing::error!(%error, "store_failed");
            return ApiError::unavailable(RETRY_AFTER_S);
        }
    };
    ApiError::new(code, error.to_string())
}
