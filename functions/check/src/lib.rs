//! A device checks in: parse, load, decide, record, answer.
//!
//! Everything worth arguing about happens in [`tidegate_core::decide`]; what makes the limits exact
//! is in [`secure`].

mod catalogs;
mod deferrals;
mod register;
mod secure;

use std::sync::Arc;

use lambda_http::{Body, Request, Response};
use tidegate_api::answer::{NativeAnswer, SignedFile};
use tidegate_api::device_json::{self, DeviceJson};
use tidegate_api::token::{Proof, TokenKeys};
use tidegate_api::{ApiError, edge};
use tidegate_core::device::Delivery;
use tidegate_core::guidance::check_again_after_s;
use tidegate_core::outcome::Meaning;
use tidegate_core::{Claim, ClaimState, Claims, Decision, Device, Standing, Timestamp, Update, decide};
use tidegate_store::record::{ClaimKey, DeviceRecord, DeviceWrite};
use tidegate_store::settings::{self, Settings};
use tidegate_store::store::Freshness;
use tidegate_store::{CheckStore, Images, StoreError};

use crate::catalogs::{Catalogs, Current};
use crate::deferrals::Deferrals;
use crate::secure::{Room, Secured};

/// How long a device's record may say it was seen on an earlier day, before that is written again.
const SEEN_AGAIN_S: i64 = 24 * 3600;
/// How often one check-in decides again, because a rollout had no room or a record was not as it
/// was thought to be. Each round costs a write; eight full rollouts above one that fits are rare.
const MOST_ROUNDS: usize = 8;

/// The check-in service.
#[derive(Debug)]
pub struct CheckService<S> {
    store: S,
    images: Images,
    keys: TokenKeys,
    catalogs: Catalogs,
    room: Room,
    deferrals: Deferrals,
}

/// The wire format in which a device asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Native,
    Ioto,
}

impl<S: CheckStore> CheckService<S> {
    /// A service that looks at a catalog's head at most once in `catalog_age_ms`.
    #[must_use]
    pub fn new(store: S, images: Images, keys: TokenKeys, catalog_age_ms: i64) -> Self {
        Self {
            store,
            images,
            keys,
            catalogs: Catalogs::new(catalog_age_ms),
            room: Room::default(),
            deferrals: Deferrals::default(),
        }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request, now: Timestamp) -> Response<Body> {
        let dialect = match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v1/check") => Dialect::Native,
            ("POST", "/tok/provision/update") => Dialect::Ioto,
            ("POST", path) if path.ends_with("/device/register") => return self.register(&request, now).await,
            (_, "/v1/check" | "/tok/provision/update") => {
                return ApiError::new("wrong_method", "a check-in is a POST").response();
            }
            (_, path) if path.ends_with("/device/register") => {
                return ApiError::new("wrong_method", "a registration is a POST").response();
            }
            _ => return ApiError::new("unknown_route", "there is nothing at this path").response(),
        };
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        match (self.check_in(dialect, authorization, request.body(), now).await, dialect) {
            (Ok(answer), Dialect::Native) => edge::respond(200, &answer),
            (Ok(answer), Dialect::Ioto) => edge::respond(200, &answer.ioto()),
            // An Ioto agent can do nothing with the news that its version is not SemVer.
            (Err(error), Dialect::Ioto) if error.code == "bad_version" => {
                edge::respond(200, &NativeAnswer::nothing("bad_version", None, 0).ioto())
            }
            (Err(error), _) => error.response(),
        }
    }

    async fn check_in(
        &self,
        dialect: Dialect,
        authorization: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<NativeAnswer, ApiError> {
        let authorization = authorization.ok_or_else(ApiError::unauthorized)?;
        let said = device_json::parse(body)?;
        let proof = self.keys.verify(authorization, &said.product, &said.id).ok_or_else(ApiError::unauthorized)?;
        let device = device_of(&said, dialect)?;
        let answer = self.answer(&device, &said, proof, now).await;
        match &answer {
            Ok(answer) => tracing::info!(
                product = %device.product, device = %device.id, version = %device.version, ?dialect,
                offer = answer.version, reason = answer.reason, opens_at = answer.opens_at, "check_in"
            ),
            Err(error) => tracing::warn!(
                product = %device.product, device = %device.id, version = %device.version, ?dialect,
                code = error.code, "check_in_refused"
            ),
        }
        answer
    }

    async fn answer(
        &self,
        device: &Device,
        said: &DeviceJson,
        proof: Proof,
        now: Timestamp,
    ) -> Result<NativeAnswer, ApiError> {
        let down = |error: StoreError| unavailable(device, &error);
        let mut catalog = self.catalogs.current(&self.store, &device.product, now).await.map_err(down)?;
        let Some(head) = catalog.head else {
            return Err(ApiError::new("unknown_product", format!("the product {} has no update yet", device.product)));
        };
        let known = self.store.device(&device.product, &device.id, Freshness::Eventual).await.map_err(down)?;
        let record = known.record_or_default();
        if !proof.is_accepted(record.token_generation, head.accepts_product_tokens) {
            return Err(ApiError::unauthorized());
        }
        let mut claims = Claims::new(known.claims);
        self.believe_version(device, &mut claims).await.map_err(down)?;
        let mut write = device_write(device, said, &record, now);
        if let Some(offered) = self.try_offers(device, &mut catalog, &mut claims, &mut write, now).await? {
            return Ok(offered);
        }
        self.save(write, now).await;
        Ok(self.nothing(device, &decide(device, &catalog.updates, &claims, now), now))
    }

    /// Decides, and secures what was decided; where that fails, decides again with what was learnt.
    async fn try_offers(
        &self,
        device: &Device,
        catalog: &mut Current,
        claims: &mut Claims,
        write: &mut Option<DeviceWrite>,
        now: Timestamp,
    ) -> Result<Option<NativeAnswer>, ApiError> {
        let down = |error: StoreError| unavailable(device, &error);
        for _ in 0..MOST_ROUNDS {
            let updates = catalog.updates.clone();
            let decision = decide(device, &updates, claims, now);
            let Some(offer) = &decision.offer else {
                return Ok(None);
            };
            let secured = match &offer.standing {
                Standing::Held(claim) => Secured::Claim(claim.clone()),
                standing => self.secure(device, offer.update, standing, write, now).await.map_err(down)?,
            };
            match secured {
                Secured::Claim(claim) => {
                    self.save(write.take(), now).await;
                    return self.offer(device, offer.update, &claim, &decision, now).await.map(Some);
                }
                Secured::NoRoom(no_room) => claims.note_no_room(offer.update.id.clone(), no_room),
                Secured::OtherClaim(claim) => claims.record(offer.update.id.clone(), claim),
                Secured::OtherGeneration => {
                    *catalog = self.catalogs.refreshed(&self.store, &device.product, now).await.map_err(down)?;
                }
            }
        }
        Ok(None)
    }

    /// The answer without an offer, with the reason that decided. When others were faster in every
    /// round, there is none, and the places under way are what the device waits for.
    fn nothing(&self, device: &Device, decision: &Decision<'_>, now: Timestamp) -> NativeAnswer {
        self.deferrals.count(decision, now);
        let (reason, opens_at) = match decision.reason() {
            _ if decision.offer.is_some() => ("too_many_in_flight", None),
            Some((_, objection)) => (objection.code(), objection.opens_at()),
            None => ("up_to_date", None),
        };
        NativeAnswer::nothing(reason, opens_at, check_again_after_s(device, decision, now))
    }

    /// A device that runs a version which it was offered has installed it: some agents never
    /// report. Counted once, because the claim's state moves with the count.
    async fn believe_version(&self, device: &Device, claims: &mut Claims) -> Result<(), StoreError> {
        let installed = claims
            .iter()
            .filter(|(_, claim)| claim.version.cmp_precedence(&device.version).is_eq())
            .filter_map(|(update, claim)| Some((update.clone(), claim.clone(), claim.settle(Meaning::Succeeded)?)))
            .collect::<Vec<_>>();
        for (update, before, (after, movement)) in installed {
            let key = ClaimKey { product: device.product.clone(), device: device.id.clone(), update: update.clone() };
            match self.store.settle(&key, &before, &after, movement).await {
                Ok(()) => claims.record(update, after),
                // Somebody else settled it; the next check-in sees how.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn offer(
        &self,
        device: &Device,
        update: &Update,
        claim: &Claim,
        decision: &Decision<'_>,
        now: Timestamp,
    ) -> Result<NativeAnswer, ApiError> {
        let down = |error: StoreError| unavailable(device, &error);
        let after_s = check_again_after_s(device, decision, now);
        debug_assert_eq!(claim.state, ClaimState::Reserved);
        let Some(ends) = self.images.url_ends(now, claim).await.map_err(down)? else {
            // The credentials that would sign are about to end; new ones are minutes away.
            return Err(ApiError::unavailable(retry_after_s(device)));
        };
        let mut files = Vec::with_capacity(update.content.files.len());
        for file in &update.content.files {
            let url = self.images.sign_download(&device.product, file, now, ends).await.map_err(down)?;
            files.push(SignedFile { name: file.name.clone(), url, sha256: file.sha256.clone(), size: file.size_bytes });
        }
        Ok(NativeAnswer::offer(update, files, ends, after_s))
    }

    /// Stores what was counted since the last time. The counts are for operators to look at; a
    /// function that ends before it stored them loses at most a minute of them.
    pub(crate) async fn store_deferrals(&self, now: Timestamp) {
        for (update, counts) in self.deferrals.due(now) {
            if let Err(error) = self.store.add_deferrals(&update, &counts).await {
                tracing::warn!(%update, %error, "deferrals_not_stored");
            }
        }
    }

    /// Writes the device's record, and with it what else waits to be written. A check-in is answered
    /// all the same when that fails: the next one writes it.
    async fn save(&self, write: Option<DeviceWrite>, now: Timestamp) {
        let Some(write) = write else {
            return;
        };
        if let Err(error) = self.store.save_device(&write).await {
            tracing::warn!(product = %write.product, device = %write.device, %error, "device_not_saved");
        }
        self.store_deferrals(now).await;
    }
}

fn device_of(said: &DeviceJson, dialect: Dialect) -> Result<Device, ApiError> {
    Ok(Device {
        id: said.id.clone(),
        product: said.product.clone(),
        version: said.semver()?,
        attributes: said.attributes.clone(),
        delivery: match dialect {
            Dialect::Native => Delivery::Anything,
            Dialect::Ioto => Delivery::FilesOnly,
        },
    })
}

/// What must be written of a device: everything when it is new or says something else than before,
/// and that it was seen once a day. An unchanged check-in writes nothing.
fn device_write(device: &Device, said: &DeviceJson, record: &DeviceRecord, now: Timestamp) -> Option<DeviceWrite> {
    let mut object = said.object.clone();
    object.remove("version");
    let attributes = serde_json::Value::Object(object).to_string();
    let version = device.version.to_string();
    let seen_s = record.last_seen.map_or(i64::MAX, |seen| now.as_second().saturating_sub(seen.as_second()));
    let is_unchanged = record.version.as_ref() == Some(&version) && record.attributes == attributes;
    if is_unchanged && seen_s < SEEN_AGAIN_S {
        return None;
    }
    Some(DeviceWrite {
        product: device.product.clone(),
        device: device.id.clone(),
        version,
        previous_version: record.version.clone(),
        attributes,
        seen_at: now,
    })
}

/// Logged once, here; the caller learns nothing of our insides.
fn unavailable(device: &Device, error: &StoreError) -> ApiError {
    tracing::error!(product = %device.product, device = %device.id, %error, "store_failed");
    ApiError::unavailable(retry_after_s(device))
}

/// Spread over a minute by the device's place, so that a fleet does not come back in one second.
fn retry_after_s(device: &Device) -> u32 {
    let spread = device.id.as_str().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    30 + spread % 60
}

/// The shared parts of the service, as they come from a function's environment.
///
/// # Errors
/// A sentence that names the variable that is missing.
pub async fn from_env() -> Result<Arc<CheckService<tidegate_store::DynamoStore>>, String> {
    let config = settings::sdk_config().await;
    let keys = TokenKeys::parse(&settings::token_keys(&config).await?)?;
    let (store, images) = Settings::from_env()?.open(&config).await?;
    Ok(Arc::new(CheckService::new(store, images, keys, CATALOG_AGE_MS)))
}

/// How old a catalog may be, in milliseconds: changes of a rollout are seen within it.
pub const CATALOG_AGE_MS: i64 = 1000;
