//! hawkBit's poll, and what it leads to: the device sends what it is in one request, asks in another,
//! and follows links from there.
//!
//! The poll says nothing of the device, so it is decided on what the device last sent or reported. It
//! reserves the claim that its link names; everything behind a link only reads.

use lambda_http::{Body, Request, Response};
use serde_json::{Map, Value, json};
use tidegate_api::answer::opens;
use tidegate_api::dialect::hawkbit::{
    self, ActionId, ConfigData, Found, Link, Links, Purpose, Resource, Route, gone, unknown_action,
};
use tidegate_api::{ApiError, ErrorCode, edge};
use tidegate_core::device::Delivery;
use tidegate_core::guidance::{OFFERED_S, SOONEST_S, check_again_after_s};
use tidegate_core::{
    Claim, ClaimState, Device, DeviceId, Objection, ProductId, Timestamp, Update, UpdateId, Version, decide,
};
use tidegate_store::record::DeviceWrite;
use tidegate_store::{CheckStore, StoreError};

use crate::native::{is_seen_long_ago, seen, stored_device};
use crate::{CheckService, Known, Turn, retry_after_s, unavailable};

/// What the record says a device runs that did not say so in the attribute its product names.
const UNKNOWN_VERSION: &str = "unknown";
/// The longest version that is kept of a device whose version cannot be understood, in bytes.
const LONGEST_VERSION: usize = 64;

/// What a device is answered.
enum Answer {
    Json(Value),
    /// Where the bytes are.
    Elsewhere(String),
}

/// Who asks, where it reached us, and when.
struct Asked<'a> {
    product: ProductId,
    device: DeviceId,
    route: &'a Route,
    host: String,
    now: Timestamp,
}

impl<S: CheckStore> CheckService<S> {
    /// Answers one request.
    pub(crate) async fn hawkbit(&self, route: &Route, request: &Request, now: Timestamp) -> Response<Body> {
        match self.hawkbit_answer(route, request, now).await {
            Ok(Answer::Json(body)) => hawkbit::respond(request, &body),
            Ok(Answer::Elsewhere(url)) => edge::redirect(&url),
            Err(error) => hawkbit::refuse(request, &error),
        }
    }

    async fn hawkbit_answer(&self, route: &Route, request: &Request, now: Timestamp) -> Result<Answer, ApiError> {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let method = request.method().as_str();
        let (product, device, proof) = route.caller(method, authorization, &self.keys)?;
        // What is malformed is refused before anything is read.
        let config_data = match route.resource {
            Resource::ConfigData => Some(ConfigData::parse(request.body())?),
            _ => None,
        };
        let mut known = self.known(&product, &device, proof, now).await?;
        let asked = Asked { product, device, route, host: edge::base_url(request), now };
        match (&route.resource, config_data) {
            (Resource::ConfigData, Some(said)) => self.configure(&asked, &known, &said).await.map(Answer::Json),
            (Resource::Poll, _) => self.poll(&asked, &mut known).await.map(Answer::Json),
            (Resource::Artifact(action, file), _) => {
                self.artifact(&asked, &known, *action, file, method == "HEAD").await.map(Answer::Elsewhere)
            }
            (resource, _) => asked.look_up(resource, &known).map(Answer::Json),
        }
    }

    async fn poll(&self, asked: &Asked<'_>, known: &mut Known) -> Result<Value, ApiError> {
        let Asked { product, device, route, host, now } = asked;
        let Some(said) = stored_device(product, device, &known.record, Delivery::FilesWithSha1) else {
            // It is asked what it runs, and comes back at once where that is new.
            let after_s = if known.record.version.is_none() { SOONEST_S } else { OFFERED_S };
            tracing::debug!(%product, %device, dialect = "hawkbit", version = known.record.version, reason = "no_version", "check_in");
            let links = Links { config_data: true, ..Links::default() };
            return Ok(hawkbit::poll(route, host, &links, after_s));
        };
        let is_seen_long_ago = is_seen_long_ago(&known.record, *now);
        let write = is_seen_long_ago.then(|| seen(product, device, &known.record, said.version.to_string(), *now));
        let (action, after_s) = match held_back(&said, known, *now) {
            Some((link, after_s)) => {
                self.save(write, *now).await;
                (Some(link), after_s)
            }
            None => match self.turn(&said, known, write, *now).await? {
                Turn::Offer(offered) => {
                    let action = ActionId::of(device, &offered.update.id, &offered.claim);
                    tracing::info!(
                        %product, %device, version = %said.version, dialect = "hawkbit",
                        offer = %offered.update.version, %action, "check_in"
                    );
                    // SWUpdate sends its configData at the first poll and looks at the deployment at the second.
                    (Some(link(action, &offered.update, &offered.claim)), SOONEST_S)
                }
                Turn::Nothing { reason, opens_at, check_again_after_s } => {
                    tracing::debug!(
                        %product, %device, version = %said.version, dialect = "hawkbit",
                        reason, opens_at = opens_at.map(opens), "check_in"
                    );
                    (None, check_again_after_s)
                }
            },
        };
        let links = Links { config_data: is_seen_long_ago, action, installed: installed(&said, known) };
        Ok(hawkbit::poll(route, host, &links, after_s))
    }

    /// Takes over what a device says of itself. A version that is not SemVer is kept as it is, for
    /// people to see; there is no update for it. The device would only repeat what is refused.
    async fn configure(&self, asked: &Asked<'_>, known: &Known, said: &ConfigData) -> Result<Value, ApiError> {
        let Asked { product, device, now, .. } = asked;
        let before: Map<String, Value> = serde_json::from_str(&known.record.attributes).unwrap_or_default();
        let attributes = Value::Object(said.applied(before, product, device)?).to_string();
        let version = match said.version(known.head.version_attribute()) {
            Some(text) => Version::parse(&text).map(|version| version.to_string()).unwrap_or_else(|_| shortened(text)),
            None => known.record.version.clone().unwrap_or_else(|| UNKNOWN_VERSION.into()),
        };
        tracing::info!(%product, %device, version, dialect = "hawkbit", "config_data");
        let is_unchanged = known.record.version.as_ref() == Some(&version) && known.record.attributes == attributes;
        if is_unchanged && !is_seen_long_ago(&known.record, *now) {
            return Ok(json!({}));
        }
        let write = DeviceWrite { attributes, ..seen(product, device, &known.record, version, *now) };
        match self.store.save_device(&write).await {
            Ok(()) => Ok(json!({})),
            // Another request of the same device was faster; it sends this again.
            Err(StoreError::Conflict) => Err(ApiError::unavailable(retry_after_s(device))),
            Err(error) => Err(unavailable(product, device, &error)),
        }
    }

    /// A fresh URL for a file of an action that is under way. Nothing is spent by asking again.
    async fn artifact(
        &self,
        asked: &Asked<'_>,
        known: &Known,
        action: ActionId,
        name: &str,
        only_head: bool,
    ) -> Result<String, ApiError> {
        let Asked { product, device, now, .. } = asked;
        let down = |error: StoreError| unavailable(product, device, &error);
        let (update, claim) = under_way(device, known, action)?;
        if is_unanswered(update, claim) {
            return Err(unknown_action());
        }
        let file = update.content.files.iter().find(|file| file.name == name);
        let file = file.ok_or_else(|| ApiError::new(ErrorCode::UnknownRoute, "this action has no such file"))?;
        if claim.has_lapsed(*now) {
            // No URL fits in what is left of it; the next poll reserves it again under another number.
            return Err(gone());
        }
        let ends = self.urls_end(product, device, claim, *now).await?;
        let signed = match only_head {
            true => self.images.sign_head(product, file, *now, ends).await,
            false => self.images.sign_download(product, file, *now, ends).await,
        };
        signed.map_err(down)
    }
}

impl Asked<'_> {
    /// What an action is about. Nothing is decided here, and nothing written.
    fn look_up(&self, resource: &Resource, known: &Known) -> Result<Value, ApiError> {
        let Self { device, route, host, now, .. } = self;
        match resource {
            Resource::DeploymentBase(action) => {
                let (update, claim) = under_way(device, known, *action)?;
                match is_unanswered(update, claim) {
                    true => Err(unknown_action()),
                    false => Ok(hawkbit::action(route, host, *action, update, Purpose::Deployment, *now)),
                }
            }
            Resource::ConfirmationBase(action) => {
                let (update, claim) = under_way(device, known, *action)?;
                match is_unanswered(update, claim) {
                    true => Ok(hawkbit::action(route, host, *action, update, Purpose::Confirmation, *now)),
                    false => Err(unknown_action()),
                }
            }
            Resource::Confirmations => {
                let is_waiting = |(id, claim): &(&UpdateId, &Claim)| {
                    let update = known.catalog.updates.find(id, &claim.version);
                    let is_live =
                        claim.state == ClaimState::Reserved && !known.catalog.updates.is_stopped(id, &claim.version);
                    is_live && update.is_some_and(|update| is_unanswered(update, claim))
                };
                let waiting = known.claims.iter().find(is_waiting);
                let waiting = waiting.map(|(update, claim)| ActionId::of(device, update, claim));
                Ok(hawkbit::confirmations(route, host, waiting))
            }
            Resource::InstalledBase(action) => match action.find(device, known.claims.iter()) {
                Found::Present(id, claim) if claim.state == ClaimState::Succeeded => {
                    let update = known.catalog.updates.find(id, &claim.version).ok_or_else(gone)?;
                    Ok(hawkbit::action(route, host, *action, update, Purpose::Deployment, *now))
                }
                _ => Err(unknown_action()),
            },
            Resource::CancelAction(action) => match action.find(device, known.claims.iter()) {
                Found::Present(id, claim) if claim.state == ClaimState::Reserved => {
                    match known.catalog.updates.is_stopped(id, &claim.version) {
                        true => Ok(hawkbit::cancel(*action)),
                        false => Err(unknown_action()),
                    }
                }
                Found::Present(..) | Found::Earlier => Err(gone()),
                Found::Nothing => Err(unknown_action()),
            },
            Resource::Artifacts(action) => {
                let (update, _) = under_way(device, known, *action)?;
                Ok(hawkbit::artifacts(route, host, *action, update))
            }
            _ => Err(ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path")),
        }
    }
}

/// What comes before any new offer: an action that must be cancelled, or one that is under way and
/// must wait for its window. hawkBit lets a device fetch outside a window and install within.
fn held_back(said: &Device, known: &Known, now: Timestamp) -> Option<(Link, u32)> {
    let reserved = || known.claims.iter().filter(|(_, claim)| claim.state == ClaimState::Reserved);
    reserved().next()?;
    let decision = decide(said, &known.catalog.updates, &known.claims, now);
    let after_s = check_again_after_s(said, &decision, now);
    if let Some((update, claim)) = reserved().find(|(id, claim)| known.catalog.updates.is_stopped(id, &claim.version)) {
        return Some((Link::CancelAction(ActionId::of(&said.id, update, claim)), after_s));
    }
    decision.passed_over.iter().find_map(|(update, objection)| {
        let claim = known.claims.on(&update.id)?;
        let waits = matches!(objection, Objection::OutsideWindow { .. }) && !claim.has_lapsed(now);
        let action = ActionId::of(&said.id, &update.id, claim);
        waits.then(|| (link(action, update, claim), after_s.min(OFFERED_S)))
    })
}

fn link(action: ActionId, update: &Update, claim: &Claim) -> Link {
    match is_unanswered(update, claim) {
        true => Link::ConfirmationBase(action),
        false => Link::DeploymentBase(action),
    }
}

/// Whether the user has still to be asked.
fn is_unanswered(update: &Update, claim: &Claim) -> bool {
    update.content.ask_consent && !claim.consented
}

/// The update of an action that a device is to carry out.
fn under_way<'a>(device: &DeviceId, known: &'a Known, action: ActionId) -> Result<(&'a Update, &'a Claim), ApiError> {
    match action.find(device, known.claims.iter()) {
        Found::Present(id, claim)
            if claim.state == ClaimState::Reserved && !known.catalog.updates.is_stopped(id, &claim.version) =>
        {
            let update = known.catalog.updates.find(id, &claim.version).ok_or_else(gone)?;
            Ok((update, claim))
        }
        Found::Present(..) | Found::Earlier => Err(gone()),
        Found::Nothing => Err(unknown_action()),
    }
}

/// The action by which the device got what it runs.
fn installed(said: &Device, known: &Known) -> Option<ActionId> {
    let is_installed = |(id, claim): &(&UpdateId, &Claim)| {
        let runs = claim.version.cmp_precedence(&said.version).is_eq();
        runs && claim.state == ClaimState::Succeeded && known.catalog.updates.find(id, &claim.version).is_some()
    };
    known.claims.iter().find(is_installed).map(|(update, claim)| ActionId::of(&said.id, update, claim))
}

fn shortened(text: String) -> String {
    let printable =
        text.chars().filter(|c| c.is_ascii_graphic() && *c != '#').take(LONGEST_VERSION).collect::<String>();
    if printable.is_empty() { UNKNOWN_VERSION.into() } else { printable }
}
