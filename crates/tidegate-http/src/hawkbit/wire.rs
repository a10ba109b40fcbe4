//! hawkBit's Direct Device Integration, as SWUpdate, rauc-hawkbit-updater and Zephyr speak it.
//!
//! A tenant is a product, a controller is a device, and an action is one reservation of a claim. The
//! source is Eclipse hawkBit's "DDI API", and for parts that it does not describe, the recordings in `tests/wire`.

use lambda_http::http::HeaderValue;
use lambda_http::{Body, Request, Response};
use percent_encoding::AsciiSet;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tidegate_core::claim::Claim;
use tidegate_core::question::Question;
use tidegate_core::status::Status;
use tidegate_core::window::{Opening, any_open};
use tidegate_core::{DeviceId, ProductId, Timestamp, Update, UpdateId};

use tidegate_engine::token::{Proof, TokenKeys};
use tidegate_wire::body_limits::{self, BodyLimits};
use tidegate_wire::device_json::attributes_of;
use tidegate_wire::hawkbit::{
    HawkbitArtifact, HawkbitArtifactLinks, HawkbitAutoConfirm, HawkbitCancel, HawkbitChunk, HawkbitConfig,
    HawkbitConfirmation, HawkbitConfirmationLinks, HawkbitConfirmations, HawkbitContent, HawkbitDeployment,
    HawkbitError, HawkbitHandling, HawkbitHashes, HawkbitLink, HawkbitLinks, HawkbitPoll, HawkbitPolling, HawkbitStop,
    HawkbitWindow,
};
use tidegate_wire::route::{self, CheckRoute, ReportRoute, Route, RouteId};
use tidegate_wire::strict_json;
use tidegate_wire::{ApiError, ErrorCode};

/// The characters that a link encodes. An id or a file name may contain them, and servers read them in different ways.
const IN_LINKS: &AsciiSet = &AsciiSet::EMPTY.add(b' ').add(b'+');
/// The longest stored message of the details, in bytes.
const LONGEST_MESSAGE: usize = 256;
/// The longest interval that clients can read: they parse a time of day.
const LONGEST_SLEEP_S: u32 = 24 * 3600 - 1;
/// Number of earlier revisions of the device at which a reservation of the claim is recognized. The number of an older
/// one is unknown.
const MOST_EARLIER_EPOCHS: u64 = 100;

/// A request's address: a controller and one of its resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The tenant, as in the path.
    tenant: String,
    /// The controller, as in the path.
    controller: String,
    /// The resource of the controller.
    pub resource: Resource,
}

/// A resource of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // hawkBit's own names
pub enum Resource {
    Poll,
    ConfigData,
    DeploymentBase(ActionId),
    DeploymentFeedback(ActionId),
    InstalledBase(ActionId),
    CancelAction(ActionId),
    CancelFeedback(ActionId),
    Confirmations,
    ConfirmationBase(ActionId),
    ConfirmationFeedback(ActionId),
    Artifacts(ActionId),
    Artifact(ActionId, String),
}

/// Number of one reservation of a device's claim on an update, or of a question to its user.
///
/// It is computed and not stored. It is positive and has at most 31 bits, because SWUpdate reads it as a number. The
/// device's id is part of the hash, so a number is valid for one device only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionId(u32);

impl ActionId {
    /// The number of the reservation that `claim` has now.
    #[must_use]
    pub fn of(device: &DeviceId, update: &UpdateId, claim: &Claim) -> Self {
        Self::of_epoch(device, update, claim.epoch)
    }

    /// The number of a question to the user.
    #[must_use]
    pub fn of_question(device: &DeviceId, question: &Question) -> Self {
        let Question { update, asked_at, .. } = question;
        Self::of_text(&format!("hawkbit question\0{device}\0{update}\0{}", asked_at.as_second()))
    }

    fn of_epoch(device: &DeviceId, update: &UpdateId, epoch: u64) -> Self {
        Self::of_text(&format!("hawkbit action\0{device}\0{update}\0{epoch}"))
    }

    fn of_text(text: &str) -> Self {
        let digest = Sha256::digest(text);
        let number = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        Self((number >> 1).max(1))
    }

    /// Finds the claim with this reservation among the claims of a device.
    pub fn find<'a>(self, device: &DeviceId, claims: impl Iterator<Item = (&'a UpdateId, &'a Claim)>) -> Found<'a> {
        let mut found = Found::Nothing;
        for (update, claim) in claims {
            if Self::of(device, update, claim) == self {
                return Found::Present(update, claim);
            }
            let oldest = claim.epoch.saturating_sub(MOST_EARLIER_EPOCHS);
            if (oldest..claim.epoch).any(|epoch| Self::of_epoch(device, update, epoch) == self) {
                found = Found::Earlier;
            }
        }
        found
    }

    /// Reads an action id. Returns 0, which is never a valid action id, if `text` is not a number.
    fn parse(text: &str) -> Self {
        Self(text.parse().unwrap_or(0))
    }
}

/// Result of the search for an action.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// The present reservation of this claim.
    Present(&'a UpdateId, &'a Claim),
    /// A reservation that is over: the claim has had another since.
    Earlier,
    /// No action of this device.
    Nothing,
}

impl std::fmt::Display for ActionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Address {
    /// The address of a route; `None` if the route belongs to another interface.
    #[must_use]
    pub fn of(found: &route::Found<'_>) -> Option<Self> {
        let action = || ActionId::parse(found.parameter("action"));
        let resource = match found.route.id {
            RouteId::Check(CheckRoute::HawkbitPoll) => Resource::Poll,
            RouteId::Check(CheckRoute::HawkbitConfigData) => Resource::ConfigData,
            RouteId::Check(CheckRoute::HawkbitDeployment) => Resource::DeploymentBase(action()),
            RouteId::Report(ReportRoute::HawkbitFeedback) => Resource::DeploymentFeedback(action()),
            RouteId::Check(CheckRoute::HawkbitInstalled) => Resource::InstalledBase(action()),
            RouteId::Check(CheckRoute::HawkbitCancel) => Resource::CancelAction(action()),
            RouteId::Report(ReportRoute::HawkbitCancelFeedback) => Resource::CancelFeedback(action()),
            RouteId::Check(CheckRoute::HawkbitConfirmations) => Resource::Confirmations,
            RouteId::Check(CheckRoute::HawkbitConfirmation) => Resource::ConfirmationBase(action()),
            RouteId::Report(ReportRoute::HawkbitConfirmationFeedback) => Resource::ConfirmationFeedback(action()),
            RouteId::Check(CheckRoute::HawkbitArtifacts) => Resource::Artifacts(action()),
            RouteId::Check(CheckRoute::HawkbitDownload | CheckRoute::HawkbitDownloadHead) => {
                Resource::Artifact(action(), found.parameter("file").to_string())
            }
            _ => return None,
        };
        let (tenant, controller) = (found.parameter("tenant"), found.parameter("controller"));
        Some(Self { tenant: tenant.to_string(), controller: controller.to_string(), resource })
    }

    /// Verifies the token: `TargetToken` with a device's token, or `GatewayToken` with a product's. An invalid tenant
    /// or controller has no token.
    ///
    /// # Errors
    /// `unauthorized`.
    pub fn caller(
        &self,
        authorization: Option<&str>,
        keys: &TokenKeys,
    ) -> Result<(ProductId, DeviceId, Proof), ApiError> {
        let proven = || {
            let product = ProductId::new(self.tenant.as_str()).ok()?;
            let device = DeviceId::new(self.controller.as_str()).ok()?;
            let (scheme, token) = authorization?.trim().split_once(' ')?;
            let token = token.trim();
            let is_scheme = |name: &str| scheme.eq_ignore_ascii_case(name);
            // The token must not contain a second scheme.
            let proof = if token.contains(' ') { None } else { keys.verify(token, &product, &device) };
            let proof = proof.filter(|proof| match proof {
                Proof::Device { .. } => is_scheme("TargetToken"),
                Proof::Product { .. } => is_scheme("GatewayToken"),
            })?;
            Some((product, device, proof))
        };
        proven().ok_or_else(ApiError::unauthorized)
    }

    /// A link to `route` of this controller, on the host that the client used.
    fn link(&self, host: &str, route: Route, action: Option<ActionId>, file: &str) -> HawkbitLink {
        let action = action.map(|action| action.to_string()).unwrap_or_default();
        let parameters =
            [("tenant", self.tenant.as_str()), ("controller", &self.controller), ("action", &action), ("file", file)];
        HawkbitLink { href: format!("{host}{}", route.path_encoded(&parameters, IN_LINKS)) }
    }
}

/// Links in the answer to a poll: the next actions of a device.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// True if the device should send its attributes.
    pub config_data: bool,
    /// The action to install, to confirm or to cancel.
    pub action: Option<Link>,
    /// The action that it installed last.
    pub installed: Option<ActionId>,
}

/// Kind of the link to an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // hawkBit's own names
pub enum Link {
    DeploymentBase(ActionId),
    ConfirmationBase(ActionId),
    CancelAction(ActionId),
}

/// The answer to a poll.
#[must_use]
pub fn poll(address: &Address, host: &str, links: &Links, check_again_after_s: u32) -> HawkbitPoll {
    let mut shown = HawkbitLinks::default();
    let link = |route: CheckRoute, action: Option<ActionId>| Some(address.link(host, route.route(), action, ""));
    if links.config_data {
        shown.config_data = link(CheckRoute::HawkbitConfigData, None);
    }
    match links.action {
        Some(Link::DeploymentBase(action)) => {
            shown.deployment_base = link(CheckRoute::HawkbitDeployment, Some(action));
        }
        Some(Link::ConfirmationBase(action)) => {
            shown.confirmation_base = link(CheckRoute::HawkbitConfirmation, Some(action));
        }
        Some(Link::CancelAction(action)) => shown.cancel_action = link(CheckRoute::HawkbitCancel, Some(action)),
        None => {}
    }
    if let Some(action) = links.installed {
        shown.installed_base = link(CheckRoute::HawkbitInstalled, Some(action));
    }
    let polling = HawkbitPolling { sleep: sleep(check_again_after_s) };
    HawkbitPoll { links: shown, config: HawkbitConfig { polling } }
}

/// Seconds as `HH:MM:SS`.
fn sleep(seconds: u32) -> String {
    let seconds = seconds.min(LONGEST_SLEEP_S);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// An action with its content, to be installed.
#[must_use]
pub fn deployment(
    address: &Address,
    host: &str,
    action: ActionId,
    update: &Update,
    now: Timestamp,
) -> HawkbitDeployment {
    HawkbitDeployment { deployment: content(address, host, action, update, now), id: action.to_string() }
}

/// An action with its content, as a question to the user.
#[must_use]
pub fn confirmation(
    address: &Address,
    host: &str,
    action: ActionId,
    update: &Update,
    now: Timestamp,
) -> HawkbitConfirmation {
    HawkbitConfirmation { confirmation: content(address, host, action, update, now), id: action.to_string() }
}

/// The content of an action. Outside the opening windows the device may download but not install.
fn content(address: &Address, host: &str, action: ActionId, update: &Update, now: Timestamp) -> HawkbitContent {
    let is_open = any_open(&update.rollout.windows, now) == Opening::Open;
    let window = if is_open { HawkbitWindow::Available } else { HawkbitWindow::Unavailable };
    let chunk = HawkbitChunk {
        artifacts: artifacts(address, host, action, update),
        name: update.content.name.as_deref().unwrap_or(update.product.as_str()).to_string(),
        part: "os".into(),
        version: update.version.to_string(),
    };
    HawkbitContent {
        chunks: vec![chunk],
        download: HawkbitHandling::Forced,
        maintenance_window: (!update.rollout.windows.is_empty()).then_some(window),
        update: if is_open { HawkbitHandling::Forced } else { HawkbitHandling::Skip },
    }
}

/// The files of an action. The links lead to the service and not to the storage, because clients send their
/// `Authorization` to a link. A presigned URL does not allow that header. Clients drop it when they follow a redirect.
#[must_use]
pub fn artifacts(address: &Address, host: &str, action: ActionId, update: &Update) -> Vec<HawkbitArtifact> {
    let artifact = |file: &tidegate_core::update::File| {
        let link = address.link(host, CheckRoute::HawkbitDownload.route(), Some(action), &file.name);
        HawkbitArtifact {
            links: HawkbitArtifactLinks { download: link.clone(), download_http: link },
            filename: file.name.clone(),
            hashes: HawkbitHashes {
                md5: file.object.md5.clone(),
                sha1: file.object.sha1.clone(),
                sha256: file.sha256.clone(),
            },
            size: file.size_bytes,
        }
    };
    update.content.files.iter().map(artifact).collect()
}

/// A request to cancel an action.
#[must_use]
pub fn cancel(action: ActionId) -> HawkbitCancel {
    HawkbitCancel { cancel_action: HawkbitStop { stop_id: action.to_string() }, id: action.to_string() }
}

/// The action that waits for the user's consent. Automatic confirmation is not supported.
#[must_use]
pub fn confirmations(address: &Address, host: &str, waiting: Option<ActionId>) -> HawkbitConfirmations {
    let link = |action| address.link(host, CheckRoute::HawkbitConfirmation.route(), Some(action), "");
    HawkbitConfirmations {
        links: waiting.map(|action| HawkbitConfirmationLinks { confirmation_base: link(action) }),
        auto_confirm: HawkbitAutoConfirm { active: false },
    }
}

/// Mode of a change of a device's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Merge,
    Replace,
    Remove,
}

/// The attributes that a device sends.
#[derive(Debug, Clone)]
pub struct ConfigData {
    data: Map<String, Value>,
    mode: Mode,
}

impl ConfigData {
    /// Reads `PUT configData`.
    ///
    /// # Errors
    /// `body_too_large`, `bad_json` or `bad_field`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut object = object(body, body_limits::DEVICE)?;
        let mode = match object.get("mode").map(Value::as_str) {
            None | Some(Some("merge")) => Mode::Merge,
            Some(Some("replace")) => Mode::Replace,
            Some(Some("remove")) => Mode::Remove,
            Some(_) => return Err(ApiError::bad_field("mode must be merge, replace or remove")),
        };
        match object.remove("data") {
            Some(Value::Object(data)) => Ok(Self { data, mode }),
            _ => Err(ApiError::bad_field("data is missing or not an object")),
        }
    }

    /// The version that the device sends in this attribute.
    #[must_use]
    pub fn version(&self, attribute: &str) -> Option<String> {
        match self.data.get(attribute)? {
            Value::String(text) => Some(text.trim().to_string()),
            _ => None,
        }
    }

    /// The device's attributes after this change. `id` and `product` keep the service's values.
    ///
    /// # Errors
    /// `body_too_large` or `bad_field`, when it has more attributes than a `device.json` may have.
    pub fn applied(
        &self,
        before: Map<String, Value>,
        product: &ProductId,
        device: &DeviceId,
    ) -> Result<Map<String, Value>, ApiError> {
        let mut attributes = if self.mode == Mode::Replace { Map::new() } else { before };
        for (name, value) in &self.data {
            match self.mode {
                Mode::Merge | Mode::Replace => attributes.insert(name.clone(), value.clone()),
                Mode::Remove => attributes.remove(name),
            };
        }
        attributes.insert("id".into(), device.as_str().into());
        attributes.insert("product".into(), product.as_str().into());
        attributes_of(&attributes)?;
        // Attributes that were merged over time have the same limit as one body.
        strict_json::parse(Value::Object(attributes.clone()).to_string().as_bytes(), body_limits::DEVICE)?;
        Ok(attributes)
    }
}

/// Feedback of a device about an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Feedback {
    /// A progress status or an outcome.
    Status {
        /// The status.
        status: Status,
        /// The details in one line, cut to 256 bytes.
        message: Option<String>,
        /// The progress in percent.
        progress: Option<u8>,
    },
    /// The device has cancelled the action.
    LetGo,
}

/// The message of SWUpdate if it may not install yet. It closes the action as a success.
const SKIPPED: &str = "Skipped Update.";

impl Feedback {
    /// Reads the feedback on a deployment.
    ///
    /// # Errors
    /// `body_too_large`, `bad_json` or `bad_field`.
    pub fn deployment(body: &[u8]) -> Result<Self, ApiError> {
        let said = Said::parse(body)?;
        let status = match (said.execution.as_str(), said.finished.as_str()) {
            // The device may not install yet. It polls again later.
            ("closed", "success") if said.details.iter().any(|line| line.contains(SKIPPED)) => Status::Init,
            ("closed", "success") => Status::InstallSuccess,
            ("closed", "failure") => Status::InstallError,
            // hawkBit counts this as a success. The service counts only a reported success.
            ("closed", _) => {
                return Err(ApiError::bad_field(
                    "status.result.finished must be success or failure when status.execution is closed",
                ));
            }
            ("canceled", _) => return Ok(Self::LetGo),
            ("scheduled", _) => Status::Init,
            ("download", _) => Status::Download,
            ("downloaded", _) => Status::DownloadSuccess,
            // "Rejected" is "cannot be fulfilled at this point in time": the action stays open.
            ("proceeding" | "resumed" | "rejected", _) => Status::InstallStep,
            (other, _) => return Err(unknown_execution(other)),
        };
        Ok(Self::Status { status, message: said.message(), progress: said.progress })
    }

    /// Reads the feedback on a cancellation. A device that cannot cancel goes on with the action.
    ///
    /// # Errors
    /// `body_too_large`, `bad_json` or `bad_field`.
    pub fn cancellation(body: &[u8]) -> Result<Self, ApiError> {
        let said = Said::parse(body)?;
        match (said.execution.as_str(), said.finished.as_str()) {
            ("closed", "success") | ("canceled", _) => Ok(Self::LetGo),
            ("closed" | "proceeding" | "scheduled" | "resumed" | "rejected" | "download" | "downloaded", _) => {
                Ok(Self::Status { status: Status::InstallStep, message: said.message(), progress: said.progress })
            }
            (other, _) => Err(unknown_execution(other)),
        }
    }
}

fn unknown_execution(execution: &str) -> ApiError {
    ApiError::bad_field(format!(
        "status.execution must be closed, proceeding, canceled, scheduled, rejected, resumed, download or downloaded; got `{execution:.32}`"
    ))
}

/// Reads the feedback on a confirmation: the answer of the user.
///
/// # Errors
/// `body_too_large`, `bad_json` or `bad_field`.
pub fn is_confirmed(body: &[u8]) -> Result<bool, ApiError> {
    match object(body, body_limits::FEEDBACK)?.get("confirmation").and_then(Value::as_str) {
        Some("confirmed") => Ok(true),
        Some("denied") => Ok(false),
        _ => Err(ApiError::bad_field("confirmation must be confirmed or denied")),
    }
}

struct Said {
    execution: String,
    finished: String,
    details: Vec<String>,
    progress: Option<u8>,
}

impl Said {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let object = object(body, body_limits::FEEDBACK)?;
        let status = object.get("status").unwrap_or(&Value::Null);
        let execution = status["execution"].as_str();
        let execution = execution.ok_or_else(|| ApiError::bad_field("status.execution is missing or not a text"))?;
        let result = &status["result"];
        let details = status["details"].as_array().into_iter().flatten();
        Ok(Self {
            execution: execution.to_string(),
            finished: result["finished"].as_str().unwrap_or("none").to_string(),
            details: details.filter_map(Value::as_str).map(str::to_string).collect(),
            progress: percent(&result["progress"]),
        })
    }

    fn message(&self) -> Option<String> {
        let lines = self.details.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect::<Vec<_>>();
        let text = lines.join("; ");
        let end = (0..=LONGEST_MESSAGE.min(text.len())).rev().find(|end| text.is_char_boundary(*end))?;
        text.get(..end).filter(|text| !text.is_empty()).map(str::to_string)
    }
}

/// The share of finished parts, in percent. It is only displayed, so an invalid value is left out.
fn percent(progress: &Value) -> Option<u8> {
    let (done, of) = (progress["cnt"].as_u64()?, progress["of"].as_u64()?);
    let percent = done.checked_mul(100)?.checked_div(of)?;
    u8::try_from(percent).ok().filter(|percent| *percent <= 100)
}

/// Reads an object. SWUpdate does not escape line breaks in texts, and its log lines can have any encoding. Such a body
/// is accepted, because otherwise a report of a failure would be lost.
fn object(body: &[u8], limits: BodyLimits) -> Result<Map<String, Value>, ApiError> {
    strict_json::check_length(body, limits)?;
    let text = String::from_utf8_lossy(body);
    let mended = text.bytes().map(|byte| if byte < b' ' { b' ' } else { byte }).collect::<Vec<_>>();
    strict_json::parse_object(&mended, BodyLimits { bytes: mended.len(), ..limits })
}

/// An answer to `request`.
#[must_use]
pub fn respond(request: &Request, body: &impl Serialize) -> Response<Body> {
    with_type(request, crate::edge::respond(200, body))
}

/// The media type is hawkBit's own, unless a client asks for plain JSON by name.
fn with_type(request: &Request, mut response: Response<Body>) -> Response<Body> {
    let accept = request.headers().get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accept.contains("application/json") {
        let media = HeaderValue::from_static("application/hal+json;charset=UTF-8");
        response.headers_mut().insert("content-type", media);
    }
    response
}

/// An error in hawkBit's format.
#[must_use]
pub fn refuse(request: &Request, error: &ApiError) -> Response<Body> {
    let (exception, code) = match error.code {
        ErrorCode::Unauthorized => ("InsufficientPermissionException", "hawkbit.server.error.insufficientpermission"),
        ErrorCode::WrongMethod => {
            ("HttpRequestMethodNotSupportedException", "hawkbit.server.error.rest.methodNotSupported")
        }
        ErrorCode::BodyTooLarge => ("FileSizeQuotaExceededException", "hawkbit.server.error.quota.tooManyEntries"),
        ErrorCode::BadJson => ("MessageNotReadableException", "hawkbit.server.error.rest.body.notReadable"),
        ErrorCode::BadField => ("ConstraintViolationException", "hawkbit.server.error.repo.constraintViolation"),
        ErrorCode::Gone => ("CancelActionNotAllowedException", "hawkbit.server.error.repo.actionNotActive"),
        ErrorCode::Unavailable => ("ServiceUnavailableException", "hawkbit.server.error.unavailable"),
        // As hawkBit spells it.
        _ => ("EntityNotFoundException", "hawkbit.server.error.repo.entitiyNotFound"),
    };
    let exception = format!("org.eclipse.hawkbit.exception.{exception}");
    let body = HawkbitError { error_code: code.into(), exception_class: exception, message: error.message.clone() };
    let mut response = with_type(request, crate::edge::respond(error.status(), &body));
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

/// Error: no action of this device has this number.
#[must_use]
pub fn unknown_action() -> ApiError {
    ApiError::new(ErrorCode::UnknownAction, "this controller has no such action")
}

/// Error: the action is over.
#[must_use]
pub fn gone() -> ApiError {
    ApiError::new(ErrorCode::Gone, "this action is over")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PATH: &str = "/lamp/controller/v1/lamp-1";

    fn resource(method: &str, rest: &str) -> Option<Resource> {
        let path = format!("{PATH}{rest}");
        let found = route::find(method, &path).ok()?;
        Address::of(&found).map(|address| address.resource)
    }

    #[test]
    fn paths_are_read_and_an_action_that_is_no_number_is_none() {
        assert_eq!(resource("GET", ""), Some(Resource::Poll));
        assert_eq!(resource("GET", "/"), Some(Resource::Poll));
        assert_eq!(resource("GET", "/deploymentBase/7"), Some(Resource::DeploymentBase(ActionId(7))));
        assert_eq!(resource("POST", "/deploymentBase/x-7/feedback"), Some(Resource::DeploymentFeedback(ActionId(0))));
        let file = Resource::Artifact(ActionId(7), "a b".into());
        assert_eq!(resource("HEAD", "/softwaremodules/7/artifacts/a b"), Some(file));
        assert_eq!(resource("GET", "/nothing"), None);
        for (method, path) in [("POST", "/v1/check"), ("GET", "/v1/products/lamp/updates/2.0.0")] {
            assert_eq!(route::find(method, path).ok().and_then(|found| Address::of(&found)), None);
        }
    }

    #[test]
    fn a_link_encodes_only_the_space_and_the_plus_sign() {
        let address = Address { tenant: "lamp".into(), controller: "aa:bb+c=d".into(), resource: Resource::Poll };
        let link = address.link("http://h", CheckRoute::HawkbitDownload.route(), Some(ActionId(7)), "a b+c.bin");
        assert_eq!(link.href, "http://h/lamp/controller/v1/aa:bb%2Bc=d/softwaremodules/7/artifacts/a%20b%2Bc.bin");
    }

    #[test]
    fn an_interval_is_a_time_of_day() {
        for (seconds, text) in [(60, "00:01:00"), (3600, "01:00:00"), (86_399, "23:59:59"), (86_400, "23:59:59")] {
            assert_eq!(sleep(seconds), text);
        }
    }

    fn check(execution: &str, finished: &str, details: &str, expected: &str) {
        let body = format!(
            r#"{{"id":7,"status":{{"execution":"{execution}","result":{{"finished":"{finished}","progress":{{"cnt":1,"of":2}}}},"details":["{details}"]}}}}"#
        );
        let got = match Feedback::deployment(body.as_bytes()) {
            Ok(Feedback::Status { status, message, progress }) => {
                format!("{status} {} {}", message.unwrap_or_default(), progress.unwrap_or_default())
            }
            Ok(Feedback::LetGo) => "let go".into(),
            Err(error) => error.to_string(),
        };
        assert!(got.starts_with(expected), "{execution} {finished}: {got}");
    }

    #[test]
    fn feedback_is_understood() {
        check("closed", "success", "done", "INSTALL_SUCCESS done 50");
        check("closed", "success", "Skipped Update.", "INIT Skipped Update. 50");
        check("closed", "failure", "no", "INSTALL_ERROR no 50");
        check("closed", "none", "", "status.result.finished must be success or failure");
        check("canceled", "success", "", "let go");
        check("rejected", "none", "", "INSTALL_STEP");
        check("downloaded", "none", "", "DOWNLOAD_SUCCESS");
        check("finished", "none", "", "status.execution must be");
    }

    #[test]
    fn a_line_break_within_a_text_does_not_hide_a_failure() {
        let body = b"{\"id\":7,\"status\":{\"result\":{\"finished\":\"failure\"},\"execution\":\"closed\",\"details\":[\"no hash.\n\",\"\xff\"]}}";
        let Ok(Feedback::Status { status, message, .. }) = Feedback::deployment(body) else { panic!() };
        assert_eq!((status, message.as_deref()), (Status::InstallError, Some("no hash.; \u{fffd}")));
    }

    #[test]
    fn attributes_are_merged_replaced_and_removed_and_never_take_our_names() {
        let (product, device) = (ProductId::new("lamp").unwrap(), DeviceId::new("lamp-1").unwrap());
        let applied = |body: &str| {
            let before = json!({"a": "1", "b": "2"}).as_object().unwrap().clone();
            let after = ConfigData::parse(body.as_bytes()).unwrap().applied(before, &product, &device).unwrap();
            Value::Object(after).to_string()
        };
        let rest = r#""id":"lamp-1","product":"lamp"}"#;
        assert_eq!(applied(r#"{"data":{"a":"3","product":"T"}}"#), format!(r#"{{"a":"3","b":"2",{rest}"#));
        assert_eq!(applied(r#"{"mode":"replace","data":{"c":"3"}}"#), format!(r#"{{"c":"3",{rest}"#));
        assert_eq!(applied(r#"{"mode":"remove","data":{"a":""}}"#), format!(r#"{{"b":"2",{rest}"#));
        assert!(ConfigData::parse(b"{}").is_err());
    }
}
