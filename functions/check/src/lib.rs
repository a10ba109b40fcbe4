//! A device checks in: parse, load, decide, record, answer.
//!
//! Everything worth arguing about happens in [`tidegate_core::decide`]; what makes the limits exact
//! is in [`secure`]. A wire format is a file beside this one: it reads the request, asks
//! `CheckService::known` and `CheckService::turn`, and writes the answer.

mod catalogs;
mod deferrals;
mod exosite;
mod hawkbit;
mod kaa;
mod native;
mod register;
mod secure;

use std::sync::Arc;
use std::time::Duration;

use lambda_http::{Body, Request, RequestExt as _, Response};
use tidegate_api::answer::SignedFile;
use tidegate_api::dialect;
use tidegate_api::token::{Proof, TokenKeys};
use tidegate_api::{ApiError, ErrorCode, edge};
use tidegate_core::guidance::check_again_after_s;
use tidegate_core::objection::NoRoom;
use tidegate_core::outcome::Meaning;
use tidegate_core::{
    Claim, ClaimState, Claims, Decision, Device, DeviceId, ProductId, Standing, Timestamp, Update, decide,
};
use tidegate_store::record::{ClaimKey, DeviceRecord, DeviceWrite, Head};
use tidegate_store::settings::{self, Settings};
use tidegate_store::store::Freshness;
use tidegate_store::{CheckStore, DynamoStore, Images, StoreError, SweepStore};

use crate::catalogs::{Catalogs, Current};
use crate::deferrals::Deferrals;
use crate::secure::{Room, Secured};

/// How long a device's record may say it was seen on an earlier day, before that is written again.
const SEEN_AGAIN_S: i64 = 24 * 3600;
/// How often one check-in decides again, because a rollout had no room or a record was not as it
/// was thought to be. Each round costs a write; eight full rollouts above one that fits are rare.
const MOST_ROUNDS: usize = 8;
/// How long a start waits for the catalogs. Lambda gives a start ten seconds.
const MOST_TO_WARM_UP: Duration = Duration::from_secs(2);
/// The catalogs that a start reads; whoever has more products waits for the others when they are asked for.
const MOST_WARMED_UP: usize = 8;
/// For how long a request may wait at most, in seconds: the function and the front door both end it
/// at 30.
const LONGEST_POLL_S: u32 = 20;

/// The check-in service.
#[derive(Debug)]
pub struct CheckService<S> {
    store: S,
    images: Images,
    keys: TokenKeys,
    catalogs: Catalogs,
    room: Room,
    deferrals: Deferrals,
    longest_poll_ms: u64,
}

/// What is known of a device that may ask.
pub(crate) struct Known {
    /// Its product's live updates.
    pub(crate) catalog: Current,
    /// What its product allows.
    pub(crate) head: Head,
    /// Its record, empty when it was never seen.
    pub(crate) record: DeviceRecord,
    /// Its claims.
    pub(crate) claims: Claims,
}

/// What came of a check-in, for a dialect to write.
pub(crate) enum Turn {
    /// There is an update, and the device's claim on it is committed.
    Offer(Box<Offered>),
    /// There is none.
    Nothing {
        /// The code of the objection that decided.
        reason: &'static str,
        /// When time cures it.
        opens_at: Option<Timestamp>,
        /// When the device should come back.
        check_again_after_s: u32,
    },
}

/// An update with the claim on it.
pub(crate) struct Offered {
    pub(crate) update: Update,
    pub(crate) claim: Claim,
    pub(crate) check_again_after_s: u32,
}

/// An update's files with their URLs, and when those end.
pub(crate) struct SignedFiles {
    pub(crate) files: Vec<SignedFile>,
    pub(crate) ends: Timestamp,
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
            longest_poll_ms: 0,
        }
    }

    /// The same, letting a request wait for an update where its protocol can ask for that, for so many
    /// seconds. A function that waits is paid for, and API Gateway waits for none longer than 30 s.
    #[must_use]
    pub fn with_long_poll(self, longest_s: u32) -> Self {
        Self { longest_poll_ms: u64::from(longest_s.min(LONGEST_POLL_S)) * 1000, ..self }
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
        let dialect = match (request.method().as_str(), request.uri().path()) {
            ("POST", "/v1/check") => native::Dialect::Native,
            ("POST", "/tok/provision/update") => native::Dialect::Ioto,
            ("POST", path) if path.ends_with("/device/register") => return self.register(&request, now).await,
            (_, "/v1/check" | "/tok/provision/update") => {
                return edge::error_response(&ApiError::new(ErrorCode::WrongMethod, "a check-in is a POST"));
            }
            (_, path) if path.ends_with("/device/register") => {
                return edge::error_response(&ApiError::new(ErrorCode::WrongMethod, "a registration is a POST"));
            }
            _ => return edge::error_response(&ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path")),
        };
        self.native(dialect, &request, now).await
    }

    /// What is known of a device, in one read beside the catalog's head. Nothing is told to a
    /// device whose token was revoked.
    pub(crate) async fn known(
        &self,
        product: &ProductId,
        device: &DeviceId,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Known, ApiError> {
        let down = |error: StoreError| unavailable(product, device, &error);
        let catalog = self.catalogs.current(&self.store, product, now).await.map_err(down)?;
        let Some(head) = catalog.head.clone() else {
            return Err(ApiError::new(ErrorCode::UnknownProduct, format!("the product {product} has no update yet")));
        };
        let known = self.store.device(product, device, Freshness::Eventual).await.map_err(down)?;
        let record = known.record_or_default();
        if !proof.is_accepted(record.token_generation, head.accepts_product_tokens) {
            return Err(ApiError::unauthorized());
        }
        Ok(Known { catalog, head, record, claims: Claims::new(known.claims) })
    }

    /// One check-in of `device`: what it runs is believed, an update is looked for and its slot
    /// secured, and its record is written if `write` says so.
    pub(crate) async fn turn(
        &self,
        device: &Device,
        known: &mut Known,
        mut write: Option<DeviceWrite>,
        now: Timestamp,
    ) -> Result<Turn, ApiError> {
        let Known { catalog, claims, .. } = known;
        let down = |error: StoreError| unavailable(&device.product, &device.id, &error);
        self.believe_version(device, claims).await.map_err(down)?;
        if let Some(offered) = self.try_offers(device, catalog, claims, &mut write, now).await? {
            return Ok(Turn::Offer(Box::new(offered)));
        }
        self.save(write, now).await;
        Ok(self.nothing(device, &decide(device, &catalog.updates, claims, now), now))
    }

    /// Decides, and secures what was decided; where that fails, decides again with what was learnt.
    async fn try_offers(
        &self,
        device: &Device,
        catalog: &mut Current,
        claims: &mut Claims,
        write: &mut Option<DeviceWrite>,
        now: Timestamp,
    ) -> Result<Option<Offered>, ApiError> {
        let down = |error: StoreError| unavailable(&device.product, &device.id, &error);
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
                    let check_again_after_s = check_again_after_s(device, &decision, now);
                    return Ok(Some(Offered { update: offer.update.clone(), claim, check_again_after_s }));
                }
                Secured::NoRoom(no_room) => claims.note_no_room(offer.update.id.clone(), no_room),
                Secured::OtherClaim(claim) => claims.record(offer.update.id.clone(), claim),
                Secured::OtherGeneration => {
                    *catalog = self.catalogs.refreshed(&self.store, &device.product, now).await.map_err(down)?;
                    let Update { id, version, generation, .. } = offer.update;
                    if catalog.updates.find(id, version).is_some_and(|update| update.generation == *generation) {
                        // It was changed, and the change is not compiled yet.
                        claims.note_no_room(id.clone(), NoRoom::Paused);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The answer without an offer, with the reason that decided. When others were faster in every
    /// round, there is none, and the places under way are what the device waits for.
    fn nothing(&self, device: &Device, decision: &Decision<'_>, now: Timestamp) -> Turn {
        self.deferrals.count(decision, now);
        let (reason, opens_at) = match decision.reason() {
            _ if decision.offer.is_some() => ("too_many_in_flight", None),
            Some((_, objection)) => (objection.code(), objection.opens_at()),
            None => ("up_to_date", None),
        };
        Turn::Nothing { reason, opens_at, check_again_after_s: check_again_after_s(device, decision, now) }
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

    /// Until when URLs for a claim are good.
    pub(crate) async fn urls_end(
        &self,
        product: &ProductId,
        device: &DeviceId,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Timestamp, ApiError> {
        let ends = self.images.url_ends(now, claim).await.map_err(|error| unavailable(product, device, &error))?;
        // The credentials that would sign are about to end; new ones are minutes away.
        ends.ok_or_else(|| ApiError::unavailable(retry_after_s(device)))
    }

    /// Signs every file of an update whose claim is committed.
    pub(crate) async fn signed_files(
        &self,
        device: &DeviceId,
        update: &Update,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<SignedFiles, ApiError> {
        let down = |error: StoreError| unavailable(&update.product, device, &error);
        debug_assert_eq!(claim.state, ClaimState::Reserved);
        let ends = self.urls_end(&update.product, device, claim, now).await?;
        let mut files = Vec::with_capacity(update.content.files.len());
        for file in &update.content.files {
            let url = self.images.sign_download(&update.product, file, now, ends).await.map_err(down)?;
            files.push(SignedFile { name: file.name.clone(), url, sha256: file.sha256.clone(), size: file.size_bytes });
        }
        Ok(SignedFiles { files, ends })
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

/// Logged once, here; the caller learns nothing of our insides.
fn unavailable(product: &ProductId, device: &DeviceId, error: &StoreError) -> ApiError {
    tracing::error!(%product, %device, %error, "store_failed");
    ApiError::unavailable(retry_after_s(device))
}

/// Spread over a minute by the device's place, so that a fleet does not come back in one second.
fn retry_after_s(device: &DeviceId) -> u32 {
    let spread = device.as_str().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    30 + spread % 60
}

/// The shared parts of the service, as they come from a function's environment.
///
/// # Errors
/// A sentence that names the variable that is missing.
pub async fn from_env() -> Result<Arc<CheckService<DynamoStore>>, String> {
    let config = settings::sdk_config().await;
    let settings = Settings::from_env()?;
    let (keys, (store, images)) = tokio::try_join!(settings::token_keys(&config), settings.open(&config))?;
    let service = CheckService::new(store, images, TokenKeys::parse(&keys)?, CATALOG_AGE_MS);
    let service = service.with_long_poll(longest_poll_s()?);
    if tokio::time::timeout(MOST_TO_WARM_UP, warm_up(&service, tidegate_api::edge::now())).await.is_err() {
        tracing::warn!("not_warm_in_time");
    }
    Ok(Arc::new(service))
}

/// Reads the first catalogs while Lambda starts the function, so that connections are open and the first device does
/// not wait for them. What cannot be read now is read when it is asked for, and said then.
async fn warm_up(service: &CheckService<DynamoStore>, now: Timestamp) {
    for product in service.store.products().await.unwrap_or_default().iter().take(MOST_WARMED_UP) {
        let _unread = service.catalogs.refreshed(&service.store, product, now).await;
    }
}

/// `TIDEGATE_LONGEST_POLL_S`: for how long a request may wait, in seconds; 0 where it is not set.
fn longest_poll_s() -> Result<u32, String> {
    let expected = format!("TIDEGATE_LONGEST_POLL_S must be a number of seconds from 0 to {LONGEST_POLL_S}");
    match std::env::var("TIDEGATE_LONGEST_POLL_S") {
        Err(_) => Ok(0),
        Ok(text) => text.trim().parse().ok().filter(|seconds| *seconds <= LONGEST_POLL_S).ok_or(expected),
    }
}

/// How old a catalog may be, in milliseconds: changes of a rollout are seen within it.
pub const CATALOG_AGE_MS: i64 = 1000;
