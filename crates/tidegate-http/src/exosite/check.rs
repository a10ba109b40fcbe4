//! Exosite: a device reads `config_otau`, fetches content, and activates itself.
//!
//! A read does not contain the device's version, so the decision uses the version that the device reported last.

use std::time::Duration;

use lambda_http::{Body, Request, RequestExt as _, Response};
use tidegate_core::device::Delivery;
use tidegate_core::{Claim, Timestamp, Update, UpdateId};
use tidegate_engine::device::{seen_again, stored_device};
use tidegate_engine::files::Access;
use tidegate_engine::token::Bearer;
use tidegate_engine::{CheckInResult, DeviceContext, EngineError, Offered, Said};
use tidegate_store::CheckStore;
use tidegate_store::record::PublishedCatalog;
use tidegate_store::store::Include;
use tidegate_wire::ApiError;

use super::wire::{self, Activation, LONGEST_PART_BYTES, Part, unknown_content};
use crate::check_service::CheckService;
use crate::dialect::{Dialect, log_no_version, refusal};
use crate::edge::redirect;

/// Time between two looks for a change during a long poll, in milliseconds. Each look is one small read.
const LOOK_EVERY_MS: u64 = 2000;

impl<S: CheckStore> CheckService<S> {
    /// Answers a read of resources.
    pub(crate) async fn exosite_read(&self, request: &Request, now: Timestamp) -> Response<Body> {
        self.read_alias(request, now).await.unwrap_or_else(|error| wire::refuse(&error))
    }

    /// Answers an activation.
    pub(crate) async fn exosite_activate(&self, request: &Request) -> Response<Body> {
        self.activate(request).await.unwrap_or_else(|error| wire::refuse(&error))
    }

    /// Answers a download.
    pub(crate) async fn exosite_download(&self, request: &Request, now: Timestamp) -> Response<Body> {
        self.download(request, now).await.unwrap_or_else(|error| wire::refuse(&error))
    }

    /// A read of `config_otau`, at once or after a wait.
    async fn read_alias(&self, request: &Request, now: Timestamp) -> Result<Response<Body>, ApiError> {
        let headers = request.headers();
        let bearer = wire::caller(headers, &self.keys)?;
        if !wire::reads_config(request.uri().query().unwrap_or_default()) {
            // A resource that does not exist is no error in this protocol.
            return Ok(wire::nothing());
        }
        let (since_s, asked_ms) = (wire::if_modified_since_s(headers), wire::request_timeout_ms(headers));
        let wait_ms = asked_ms.unwrap_or(0).min(self.longest_poll_ms);
        let (mut now, mut waited_ms) = (now, 0);
        loop {
            let seen = self.config_otau(&bearer, now).await?;
            if let Some(Offered { update, claim, .. }) = &seen.offered
                && since_s.is_none_or(|since_s| since_s < claim.life.granted_at.as_second())
            {
                return Ok(wire::value(update, claim.life.granted_at));
            }
            match self.changed(&bearer, &seen, &mut now, &mut waited_ms, wait_ms).await? {
                true => {}
                false if asked_ms.is_some() || since_s.is_some() => return Ok(wire::not_modified()),
                false => return Ok(wire::nothing()),
            }
        }
    }

    /// One check-in.
    async fn config_otau(&self, bearer: &Bearer, now: Timestamp) -> Result<Seen, ApiError> {
        let Bearer { product, device, proof } = bearer;
        let mut context = self.context(product, device, *proof, Include::ItemAndDoc, now).await?;
        let mut seen = Seen { offered: None, until: None, catalog: context.head.catalog.clone() };
        let Some(said) = stored_device(
            product,
            device,
            &context.record,
            context.catalog.updates.reports(),
            Delivery::AnythingUnasked,
        ) else {
            log_no_version(Dialect::Exosite, product, device);
            return Ok(seen);
        };
        let again = seen_again(&context, now);
        match self.check_in(Dialect::Exosite, &said, &mut context, Said::Nothing, again, now).await? {
            CheckInResult::Offer(offered) => seen.offered = Some(*offered),
            CheckInResult::Held(_) | CheckInResult::Asked(_) => {}
            CheckInResult::Nothing(nothing) => seen.until = nothing.opens_at,
        }
        Ok(seen)
    }

    /// Waits until the answer can differ from `seen`; returns `false` when the wait is over. `now` advances by the
    /// pauses, because the clock is read once per request.
    async fn changed(
        &self,
        bearer: &Bearer,
        seen: &Seen,
        now: &mut Timestamp,
        waited_ms: &mut u64,
        wait_ms: u64,
    ) -> Result<bool, ApiError> {
        let Bearer { product, device, .. } = bearer;
        while *waited_ms < wait_ms {
            let pause = Duration::from_millis(LOOK_EVERY_MS.min(wait_ms.saturating_sub(*waited_ms)));
            tokio::time::sleep(pause).await;
            *waited_ms = waited_ms.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(LOOK_EVERY_MS));
            *now = now.checked_add(pause).unwrap_or(*now);
            let head = self.engine.head(product, *now).await.map_err(|error| refusal(product, device, error))?;
            let is_changed = head.is_none_or(|head| head.catalog != seen.catalog);
            if is_changed || seen.until.is_some_and(|until| until <= *now) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Answers the token of a device that activates itself.
    async fn activate(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        let query = request.query_string_parameters();
        let asked = Activation::parse(request.body(), query.first("product"), request.headers())?;
        let Activation { product, device, is_addressed } = &asked;
        self.may_register(product, device).await?;
        tracing::info!(%product, %device, dialect = "exosite", "registered");
        Ok(wire::plain("text/plain; charset=utf-8", self.keys.issue_named(product, device, *is_addressed)))
    }

    /// Answers the list of the content that the device may fetch now, or one file. A repeated request uses no slot.
    async fn download(&self, request: &Request, now: Timestamp) -> Result<Response<Body>, ApiError> {
        let bearer = wire::caller(request.headers(), &self.keys)?;
        let Bearer { product, device, proof } = &bearer;
        let context = self.context(product, device, *proof, Include::Item, now).await?;
        let query = request.query_string_parameters();
        let Some(id) = query.first("id") else {
            let contents = contents(&context).into_iter();
            let ids = contents.flat_map(|(update, _)| update.content.files.iter().map(move |file| (update, file)));
            let ids = ids.map(|(update, file)| wire::content_id(update, file) + "\r\n").collect::<String>();
            return Ok(wire::plain("text/csv; charset=utf-8", ids));
        };
        let found = contents(&context)
            .into_iter()
            .find_map(|(update, claim)| Some((update, claim, wire::find_file(update, id)?)));
        let (update, claim, file) = found.ok_or_else(unknown_content)?;
        if query.first("info") == Some("true") {
            let changed_s = claim.life.granted_at.as_second();
            let info = format!("application/octet-stream,{},{changed_s},{}", file.size_bytes, file.sha256);
            return Ok(wire::plain("text/csv; charset=utf-8", info));
        }
        let range = request.headers().get("range").and_then(|value| value.to_str().ok());
        let part = Part::parse(range, file.size_bytes)?;
        tracing::info!(%product, %device, dialect = "exosite", version = %update.version, first = part.first, "download");
        if part.length() <= LONGEST_PART_BYTES && file.size_bytes > 0 {
            match self.engine.read_part(&context, (update, file), part.first..=part.last, now).await {
                Ok(bytes) => return Ok(wire::bytes(&part, file.size_bytes, bytes)),
                Err(error @ EngineError::Busy) => return Err(refusal(product, device, error)),
                // With a CDN the function may not read the bucket; the redirect still works.
                Err(error) => tracing::warn!(%product, %device, %error, "content_not_read"),
            }
        }
        let url = self.engine.signed_url(&context, (update, file), claim, Access::Read, now).await;
        Ok(redirect(&url.map_err(|error| refusal(product, device, error))?))
    }
}

/// Result of a check-in, as far as a waiting read needs it.
struct Seen {
    /// The update for the device, if there is one.
    offered: Option<Offered>,
    /// The time at which the reason for no offer ends, if time ends it.
    until: Option<Timestamp>,
    /// The catalog that the decision used.
    catalog: Option<PublishedCatalog>,
}

/// The updates on which the device holds a live claim, newest first, each with its claim.
fn contents(context: &DeviceContext) -> Vec<(&Update, &Claim)> {
    let is_live = |(id, claim): &(&UpdateId, &Claim)| claim.is_open() && !context.is_stopped(id, claim);
    let live = context.claims.iter().filter(is_live);
    let mut contents = live
        .filter_map(|(id, claim)| Some((context.catalog.updates.find(id, &claim.version)?, claim)))
        .collect::<Vec<_>>();
    contents.sort_by(|(a, _), (b, _)| b.version.cmp_precedence(&a.version));
    contents
}
