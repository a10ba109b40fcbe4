//! hawkBit's poll and the resources behind its links: a device sends its attributes in one request, polls in another,
//! and follows the links of the answer.
//!
//! The poll does not contain the device's data, so the decision uses the data that the device sent or reported last.
//! The poll reserves the claim that its link names. The resources behind the links only read.

use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use tidegate_core::device::Delivery;
use tidegate_core::guidance::{OFFERED_S, SOONEST_S};
use tidegate_core::life::State as Life;
use tidegate_core::orders::Orders;
use tidegate_core::question::Question;
use tidegate_core::reports::Reports;
use tidegate_core::{Claim, Device, DeviceId, ProductId, State, Timestamp, Update, UpdateId, Version};
use tidegate_engine::device::{is_seen_long_ago, seen_again, stored, stored_device};
use tidegate_engine::files::Access;
use tidegate_engine::{CheckInResult, DeviceContext, HeldClaim, Offered};
use tidegate_store::CheckStore;
use tidegate_store::store::Include;
use tidegate_wire::device_json::attributes_of;
use tidegate_wire::hawkbit::{
    HawkbitArtifact, HawkbitCancel, HawkbitConfirmation, HawkbitConfirmations, HawkbitDeployment, HawkbitPoll,
};
use tidegate_wire::ioto::Empty;
use tidegate_wire::{ApiError, ErrorCode, route};

use super::wire::{self, ActionId, Address, ConfigData, Found, Link, Links, Resource, gone, unknown_action};
use crate::check_service::CheckService;
use crate::dialect::{Dialect, authorization, log_check_in, log_no_version, refusal};
use crate::edge::{base_url, redirect};

/// The stored version of a device that did not send the version attribute of its product.
const UNKNOWN_VERSION: &str = "unknown";
/// The longest stored version that is not SemVer, in bytes.
const LONGEST_VERSION: usize = 64;

/// An answer to a controller.
enum Answer {
    Json(AnswerBody),
    /// A redirect to the bytes.
    Elsewhere(String),
}

/// The body of an answer.
#[derive(Serialize)]
#[serde(untagged)]
enum AnswerBody {
    Poll(HawkbitPoll),
    Deployment(HawkbitDeployment),
    Confirmation(HawkbitConfirmation),
    Confirmations(HawkbitConfirmations),
    Cancel(HawkbitCancel),
    Artifacts(Vec<HawkbitArtifact>),
    Empty(Empty),
}

/// The device of a request, the address that it used, and the time.
struct Asked<'a> {
    product: ProductId,
    device: DeviceId,
    address: &'a Address,
    host: String,
    now: Timestamp,
}

impl<S: CheckStore> CheckService<S> {
    /// Answers one request.
    pub(crate) async fn hawkbit(&self, found: &route::Found<'_>, request: &Request, now: Timestamp) -> Response<Body> {
        match self.hawkbit_answer(found, request, now).await {
            Ok(Answer::Json(body)) => wire::respond(request, &body),
            Ok(Answer::Elsewhere(url)) => redirect(&url),
            Err(error) => wire::refuse(request, &error),
        }
    }

    async fn hawkbit_answer(
        &self,
        found: &route::Found<'_>,
        request: &Request,
        now: Timestamp,
    ) -> Result<Answer, ApiError> {
        let address = &Address::of(found).ok_or_else(unknown_resource)?;
        let (product, device, proof) = address.caller(authorization(request), &self.keys)?;
        // A malformed body is refused before anything is read.
        let config_data = match address.resource {
            Resource::ConfigData => Some(ConfigData::parse(request.body())?),
            _ => None,
        };
        let mut context = self.context(&product, &device, proof, Include::ItemAndDoc, now).await?;
        let asked = Asked { product, device, address, host: base_url(request), now };
        match (&address.resource, config_data) {
            (Resource::ConfigData, Some(said)) => {
                self.configure(&asked, &context, &said).await?;
                Ok(Answer::Json(AnswerBody::Empty(Empty {})))
            }
            (Resource::Poll, _) => {
                self.poll(&asked, &mut context).await.map(|poll| Answer::Json(AnswerBody::Poll(poll)))
            }
            (Resource::Artifact(action, file), _) => self
                .artifact(&asked, &context, *action, file, request.method().as_str() == "HEAD")
                .await
                .map(Answer::Elsewhere),
            (resource, _) => asked.look_up(resource, &context).map(Answer::Json),
        }
    }

    async fn poll(&self, asked: &Asked<'_>, context: &mut DeviceContext) -> Result<HawkbitPoll, ApiError> {
        let Asked { product, device, address, host, now } = asked;
        let Some(said) =
            stored_device(product, device, &context.record, context.catalog.updates.reports(), Delivery::FilesWithSha1)
        else {
            // The answer asks the device for its attributes. A new device polls again soon.
            let after_s = if context.record.version.is_none() { SOONEST_S } else { OFFERED_S };
            log_no_version(Dialect::HawkBit, product, device);
            let links = Links { config_data: true, ..Links::default() };
            return Ok(wire::poll(address, host, &links, after_s));
        };
        let (asks, write) = (is_seen_long_ago(context, *now), seen_again(context, *now));
        let result = self.engine.poll_action(&said, context, write, *now).await;
        let result = result.map_err(|error| refusal(product, device, error))?;
        log_check_in(Dialect::HawkBit, &said, &result);
        let (action, after_s) = match result {
            CheckInResult::Offer(offered) => {
                let Offered { update, claim, .. } = *offered;
                // SWUpdate sends its configData at the first poll and looks at the deployment at the second.
                (Some(Link::DeploymentBase(ActionId::of(device, &update.id, &claim))), SOONEST_S)
            }
            CheckInResult::Asked(asked) => {
                let action = ActionId::of_question(device, &asked.question);
                (Some(Link::ConfirmationBase(action)), asked.check_again_after_s)
            }
            CheckInResult::Held(HeldClaim::Stopped { update, claim, check_again_after_s }) => {
                (Some(Link::CancelAction(ActionId::of(device, &update, &claim))), check_again_after_s)
            }
            CheckInResult::Held(HeldClaim::OutsideWindow { update, claim, check_again_after_s }) => {
                let action = match context.claims.may_install(&update) {
                    true => Some(Link::DeploymentBase(ActionId::of(device, &update.id, &claim))),
                    // It came in another format.
                    false => {
                        let mut questions = waiting(context).filter(|(question, _)| question.update == update.id);
                        let question = questions.next().map(|(question, _)| ActionId::of_question(device, question));
                        question.map(Link::ConfirmationBase)
                    }
                };
                (action, check_again_after_s.min(OFFERED_S))
            }
            CheckInResult::Nothing(nothing) => (None, nothing.check_again_after_s),
        };
        let config_data = asks || is_unproved(context);
        let links = Links { config_data, action, installed: installed(&said, context) };
        Ok(wire::poll(address, host, &links, after_s))
    }

    /// Stores the attributes that a device sends. A version that is not SemVer is stored for people to see, and the
    /// device gets no update. It is not refused, because the device would only send it again.
    async fn configure(&self, asked: &Asked<'_>, context: &DeviceContext, said: &ConfigData) -> Result<(), ApiError> {
        let Asked { product, device, now, .. } = asked;
        let before = context.record.attributes.as_deref().unwrap_or("{}");
        let before: Map<String, Value> = serde_json::from_str(before).unwrap_or_default();
        let attributes = said.applied(before, product, device)?;
        let stated = said.version(context.head.version_attribute());
        let states_version = stated.is_some();
        let version = match stated {
            Some(text) => Version::parse(&text).map(|version| version.to_string()).unwrap_or_else(|_| shortened(text)),
            None => context.record.version.clone().unwrap_or_else(|| UNKNOWN_VERSION.into()),
        };
        tracing::info!(%product, %device, version, dialect = "hawkbit", "config_data");
        let seen = stored(context, version.clone(), &attributes, *now);
        let saved = match (states_version, seen) {
            (true, seen) => {
                let running = running(product, device, &version, &attributes, context.catalog.updates.reports());
                self.engine.hear_and_save(device, &version, running.as_ref(), context, seen, *now).await
            }
            (false, Some(seen)) => self.engine.save_device(device, context, seen).await,
            (false, None) => Ok(()),
        };
        // After a conflict with another request of the same device, the device sends its attributes again.
        saved.map_err(|error| refusal(product, device, error))
    }

    /// A fresh URL for a file of an action in progress. A repeated request uses no slot.
    async fn artifact(
        &self,
        asked: &Asked<'_>,
        context: &DeviceContext,
        action: ActionId,
        name: &str,
        only_head: bool,
    ) -> Result<String, ApiError> {
        let Asked { product, device, now, .. } = asked;
        let (update, claim) = under_way(device, context, action)?;
        if !context.claims.may_install(update) {
            return Err(unknown_action());
        }
        let file = update.content.files.iter().find(|file| file.name == name);
        let file = file.ok_or_else(|| ApiError::new(ErrorCode::UnknownRoute, "this action has no such file"))?;
        let access = if only_head { Access::Head } else { Access::Read };
        let signed = self.engine.signed_url(context, (update, file), claim, access, *now).await;
        signed.map_err(|error| refusal(product, device, error))
    }
}

impl Asked<'_> {
    /// The answer of a resource behind a link. It decides nothing and writes nothing.
    fn look_up(&self, resource: &Resource, context: &DeviceContext) -> Result<AnswerBody, ApiError> {
        let Self { device, address, host, now, .. } = self;
        let deployment = |action, update| AnswerBody::Deployment(wire::deployment(address, host, action, update, *now));
        match resource {
            Resource::DeploymentBase(action) => {
                let (update, _) = under_way(device, context, *action)?;
                match context.claims.may_install(update) {
                    true => Ok(deployment(*action, update)),
                    false => Err(unknown_action()),
                }
            }
            Resource::ConfirmationBase(action) => {
                let is_meant = |question: &Question| ActionId::of_question(device, question) == *action;
                let mut waiting = waiting(context).filter(|(question, _)| is_meant(question));
                let (_, update) = waiting.next().ok_or_else(unknown_action)?;
                Ok(AnswerBody::Confirmation(wire::confirmation(address, host, *action, update, *now)))
            }
            Resource::Confirmations => {
                let newest = waiting(context).max_by(|(one, _), (other, _)| one.version.cmp_precedence(&other.version));
                let waiting = newest.map(|(question, _)| ActionId::of_question(device, question));
                Ok(AnswerBody::Confirmations(wire::confirmations(address, host, waiting)))
            }
            Resource::InstalledBase(action) => match action.find(device, context.claims.iter()) {
                Found::Present(id, claim) if is_installed(claim) => {
                    let update = context.catalog.updates.find(id, &claim.version).ok_or_else(gone)?;
                    Ok(deployment(*action, update))
                }
                _ => Err(unknown_action()),
            },
            Resource::CancelAction(action) => match action.find(device, context.claims.iter()) {
                Found::Present(id, claim) if claim.is_open() => match context.is_stopped(id, claim) {
                    true => Ok(AnswerBody::Cancel(wire::cancel(*action))),
                    false => Err(unknown_action()),
                },
                Found::Present(..) | Found::Earlier => Err(gone()),
                Found::Nothing => Err(unknown_action()),
            },
            Resource::Artifacts(action) => {
                let (update, _) = under_way(device, context, *action)?;
                Ok(AnswerBody::Artifacts(wire::artifacts(address, host, *action, update)))
            }
            _ => Err(unknown_resource()),
        }
    }
}

/// A resource that this function does not serve.
fn unknown_resource() -> ApiError {
    ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path")
}

/// The questions that await the user's answer, each with its update, if that still goes on.
fn waiting(context: &DeviceContext) -> impl Iterator<Item = (&Question, &Update)> {
    let unanswered = context.claims.questions().iter().filter(|question| question.reply.is_none());
    unanswered.filter_map(|question| {
        let update = context.catalog.updates.find(&question.update, &question.version)?;
        let is_on = update.state == State::Active && !context.claims.is_halted(&question.update);
        is_on.then_some((question, update))
    })
}

/// The update and the claim of an action in progress.
fn under_way<'a>(
    device: &DeviceId,
    context: &'a DeviceContext,
    action: ActionId,
) -> Result<(&'a Update, &'a Claim), ApiError> {
    match action.find(device, context.claims.iter()) {
        Found::Present(id, claim) if claim.is_open() && !context.is_stopped(id, claim) => {
            let update = context.catalog.updates.find(id, &claim.version).ok_or_else(gone)?;
            Ok((update, claim))
        }
        Found::Present(..) | Found::Earlier => Err(gone()),
        Found::Nothing => Err(unknown_action()),
    }
}

/// The action that installed the version that the device runs.
fn installed(said: &Device, context: &DeviceContext) -> Option<ActionId> {
    let is_found = |(id, claim): &(&UpdateId, &Claim)| {
        let runs = claim.version.cmp_precedence(&said.version).is_eq();
        runs && is_installed(claim) && context.catalog.updates.find(id, &claim.version).is_some()
    };
    context.claims.iter().find(is_found).map(|(update, claim)| ActionId::of(&said.id, update, claim))
}

/// Returns true if the device said success, or showed the new version.
fn is_installed(claim: &Claim) -> bool {
    matches!(claim.state(), Life::Installed | Life::Proved | Life::Closed)
}

/// Returns true if the device must show its version: it said success, or it said the old version after that.
fn is_unproved(context: &DeviceContext) -> bool {
    let is_unproved = |claim: &Claim| match claim.state() {
        Life::Installed => true,
        Life::Proved => claim.life.old_once,
        _ => false,
    };
    context.claims.iter().any(|(_, claim)| is_unproved(claim))
}

/// The device that sends these attributes; `None` if its version is not SemVer, and no image says so of itself.
fn running(
    product: &ProductId,
    device: &DeviceId,
    version: &str,
    attributes: &Map<String, Value>,
    reports: &Reports,
) -> Option<Device> {
    let known = reports.version_of(version)?;
    Some(Device {
        id: device.clone(),
        product: product.clone(),
        version: known.clone(),
        attributes: attributes_of(attributes).ok()?,
        said: Version::parse(version).ok().filter(|said| *said != known),
        delivery: Delivery::FilesWithSha1,
        orders: Orders::default(),
    })
}

fn shortened(text: String) -> String {
    let printable =
        text.chars().filter(|c| c.is_ascii_graphic() && *c != '#').take(LONGEST_VERSION).collect::<String>();
    if printable.is_empty() { UNKNOWN_VERSION.into() } else { printable }
}
