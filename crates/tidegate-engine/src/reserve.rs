//! Reserving a place for a device: its shards are asked one after another until one grants.
//!
//! The answer is sent only after the claim is committed. So a lost reply, a killed function or a repeated request can
//! neither exceed a limit nor lose a place.
//!
//! A shard is asked by a transaction only if this function saw room in it within the last second. Otherwise it reads
//! the shard first, so that a fleet that waits for room writes nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;
use tidegate_core::claim::Grant as Granting;
use tidegate_core::count::count_number;
use tidegate_core::objection::NoRoom;
use tidegate_core::shard::{Grant, MOST_PROBES, Refusal, Shard, period_of, probe_order};
use tidegate_core::{Claim, ClaimStatus, Cohort, Device, Timestamp, Update, UpdateId};
use tidegate_store::record::{KnownDevice, RolloutKey, Seen};
use tidegate_store::store::{GrantRequest, Granted, Patience, Period, Stored};
use tidegate_store::{CheckStore, StoreError};

use crate::check_in::{CheckIns, DeviceContext};
use crate::device;

/// Tries per shard when its period turns out to be another one.
const MOST_PERIODS: u32 = 3;
/// Time for which a look at a shard is used, in milliseconds.
const LOOK_MS: i64 = 1000;
/// Most milliseconds by which a device comes earlier than that, so that functions do not look at the same time.
const LOOK_JITTER_MS: i64 = 250;

/// Result of trying to reserve a place.
#[derive(Debug)]
pub(crate) enum ReserveOutcome {
    /// The claim is committed.
    Claim(Box<Claim>),
    /// No shard had room.
    NoRoom(NoRoom),
    /// The device is not as it was read. It is now so.
    OtherDevice(Box<KnownDevice>),
    /// The update was changed since the catalog was read.
    OtherGeneration,
}

/// The last look at each shard.
#[derive(Debug, Default)]
pub(crate) struct ShardCache(Mutex<HashMap<(UpdateId, u16), Look>>);

#[derive(Debug, Clone, Copy)]
struct Look {
    generation: u64,
    /// The reason why it has no room; `None` if it has.
    no_room: Option<NoRoom>,
    until: Option<Timestamp>,
}

impl ShardCache {
    /// The last look at a shard, if it is still valid for this grant. A new generation has new caps and makes it
    /// invalid.
    fn look(&self, update: &Update, shard: u16, grant: Grant, now: Timestamp) -> Option<Look> {
        let look = self.looks().get(&(update.id.clone(), shard)).copied()?;
        let is_valid = look.generation == update.generation && look.until.is_none_or(|until| now < until);
        let concerns = match look.no_room {
            Some(NoRoom::Full) => grant == Grant::First,
            Some(
                NoRoom::TooManyInFlight
                | NoRoom::RateLimited { .. }
                | NoRoom::Newcomer
                | NoRoom::Paused
                | NoRoom::Aborted
                | NoRoom::Busy,
            )
            | None => true,
        };
        (is_valid && concerns).then_some(look)
    }

    fn note(&self, update: &Update, shard: u16, no_room: Option<NoRoom>, now: Timestamp) {
        let jitter_ms = i64::from(shard).wrapping_mul(37).rem_euclid(LOOK_JITTER_MS);
        let soon = now.checked_add(SignedDuration::from_millis(LOOK_MS.saturating_sub(jitter_ms))).ok();
        let until = match no_room {
            Some(NoRoom::Full) => None,
            Some(NoRoom::RateLimited { opens_at }) => opens_at.or(soon),
            Some(NoRoom::TooManyInFlight | NoRoom::Newcomer | NoRoom::Paused | NoRoom::Aborted | NoRoom::Busy)
            | None => soon,
        };
        let look = Look { generation: update.generation, no_room, until };
        self.looks().insert((update.id.clone(), shard), look);
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<(UpdateId, u16), Look>> {
        // Every entry of the map is complete at any time, so a panic elsewhere cannot damage it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: CheckStore> CheckIns<S> {
    /// Tries to reserve a place of `update` for `device`.
    pub(crate) async fn reserve(
        &self,
        device: &Device,
        update: &Update,
        claim_status: &ClaimStatus,
        context: &DeviceContext,
        seen: Option<&Seen>,
        now: Timestamp,
    ) -> Stored<ReserveOutcome> {
        let grant = claim_status.needs().unwrap_or(Grant::Again);
        let mut no_room: Option<NoRoom> = None;
        let mut probes = 0;
        let is_newcomer = claim_status.is_newcomer(update, context.record.first_seen);
        let shards = shards_to_ask(device, update, claim_status, is_newcomer);
        for (number, shard) in shards.iter().copied().enumerate() {
            if probes == MOST_PROBES {
                break;
            }
            let look = self.shards.look(update, shard, grant, now);
            if let Some(why) = look.and_then(|look| look.no_room) {
                no_room = Some(sooner(no_room, why));
                continue;
            }
            probes += 1;
            let is_last = probes == MOST_PROBES || number.saturating_add(1) == shards.len();
            let seen_now = match look {
                None => self.look_at(update, shard, grant, now).await?,
                Some(_) => None,
            };
            let outcome = match seen_now {
                Some(outcome) => outcome,
                None => self.ask(device, update, shard, claim_status, context, seen, is_last, now).await?,
            };
            match outcome {
                ReserveOutcome::NoRoom(why) => {
                    // Contention says nothing about room.
                    if why != NoRoom::Busy {
                        self.shards.note(update, shard, Some(why), now);
                    }
                    no_room = Some(sooner(no_room, why));
                }
                ReserveOutcome::OtherGeneration => {
                    // Until the change is compiled, no other check-in needs to look at it.
                    self.shards.note(update, shard, Some(NoRoom::Busy), now);
                    return Ok(ReserveOutcome::OtherGeneration);
                }
                ReserveOutcome::Claim(claim) => {
                    self.shards.note(update, shard, None, now);
                    return Ok(ReserveOutcome::Claim(claim));
                }
                other @ ReserveOutcome::OtherDevice(_) => return Ok(other),
            }
        }
        let no_room = no_room.unwrap_or(NoRoom::TooManyInFlight);
        Ok(ReserveOutcome::NoRoom(if is_newcomer { no_room.for_newcomer() } else { no_room }))
    }

    /// Reads a shard; `None` if it may grant.
    async fn look_at(
        &self,
        update: &Update,
        shard: u16,
        grant: Grant,
        now: Timestamp,
    ) -> Stored<Option<ReserveOutcome>> {
        let rollout = RolloutKey::of_update(update);
        let found = match self.store.shard(&rollout, shard).await {
            // An eventually consistent read may not see the shard of a new rollout yet.
            Ok(found) => found,
            Err(StoreError::Contended) => return Ok(Some(ReserveOutcome::NoRoom(NoRoom::Busy))),
            Err(error) => return Err(error),
        };
        let Some(found) = found else {
            return Ok(Some(ReserveOutcome::NoRoom(NoRoom::Busy)));
        };
        let period_s = update.rollout.limits.period_s;
        Ok(match found.refusal(grant, update.generation, period_of(now, period_s), period_s) {
            Some(Refusal::NoRoom(why)) => Some(ReserveOutcome::NoRoom(why)),
            // The read may be older than the catalog; only a later generation is certain.
            Some(Refusal::OtherGeneration) if found.generation > update.generation => {
                Some(ReserveOutcome::OtherGeneration)
            }
            Some(Refusal::OtherGeneration | Refusal::LaterPeriod(_) | Refusal::EarlierPeriod) | None => None,
        })
    }

    /// Asks one shard by a transaction. The last shard is asked with patience; before it, contention sends the device to
    /// the next shard at once.
    #[allow(clippy::too_many_arguments)] // one attempt needs all of them
    async fn ask(
        &self,
        device: &Device,
        update: &Update,
        shard: u16,
        claim_status: &ClaimStatus,
        context: &DeviceContext,
        seen: Option<&Seen>,
        is_last: bool,
        now: Timestamp,
    ) -> Stored<ReserveOutcome> {
        let Some(mut request) = request(device, update, shard, claim_status, context, seen, now) else {
            return Ok(ReserveOutcome::NoRoom(NoRoom::Busy));
        };
        let patience = if is_last { Patience::Long } else { Patience::None };
        for _ in 0..MOST_PERIODS {
            match self.store.grant(&request, patience).await {
                Ok(Granted::Yes) => return Ok(ReserveOutcome::Claim(Box::new(request.after))),
                Ok(Granted::OtherDevice(known)) => {
                    // The grant was made and its reply was lost, or another check-in of the device made the same grant.
                    let ours = known.claim(&update.id).filter(|claim| is_same_grant(claim, &request.after)).cloned();
                    return Ok(
                        ours.map_or(ReserveOutcome::OtherDevice(known), |claim| ReserveOutcome::Claim(Box::new(claim)))
                    );
                }
                Ok(Granted::Refused(None)) => return Ok(ReserveOutcome::NoRoom(NoRoom::Busy)),
                Ok(Granted::Refused(Some(shard))) => match refused(&shard, &mut request, update, now) {
                    Some(Refusal::NoRoom(why)) => return Ok(ReserveOutcome::NoRoom(why)),
                    Some(Refusal::OtherGeneration) => return Ok(ReserveOutcome::OtherGeneration),
                    Some(Refusal::EarlierPeriod | Refusal::LaterPeriod(_)) | None => {}
                },
                // The grant may have been made: the next check-in finds the claim.
                Err(error @ (StoreError::Contended | StoreError::Unavailable(_))) => {
                    tracing::warn!(product = %update.product, device = %device.id, %error, "not_granted");
                    return Ok(ReserveOutcome::NoRoom(NoRoom::Busy));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ReserveOutcome::NoRoom(NoRoom::Busy))
    }
}

fn is_same_grant(found: &Claim, asked: &Claim) -> bool {
    found.life.holds_place && (found.epoch, found.life.granted_at) == (asked.epoch, asked.life.granted_at)
}

/// The shards that a device asks. A device that had a place asks first the shard that it had it from.
fn shards_to_ask(device: &Device, update: &Update, claim_status: &ClaimStatus, is_newcomer: bool) -> Vec<u16> {
    let probes = probe_order(Cohort::of(&update.id, &device.id), update.shards_for(is_newcomer));
    match claim_status {
        ClaimStatus::Unclaimed => probes.collect(),
        ClaimStatus::Held(claim) | ClaimStatus::Ended(claim) => {
            std::iter::once(claim.shard).chain(probes.filter(|shard| *shard != claim.shard)).collect()
        }
    }
}

/// The request for a place of a shard; `None` if the device's claim has not ended.
fn request(
    device: &Device,
    update: &Update,
    shard: u16,
    claim_status: &ClaimStatus,
    context: &DeviceContext,
    seen: Option<&Seen>,
    now: Timestamp,
) -> Option<GrantRequest> {
    let revision = context.is_known.then_some(context.record.revision);
    let epoch = revision.unwrap_or(0).saturating_add(1);
    let before = match claim_status {
        ClaimStatus::Unclaimed => None,
        ClaimStatus::Held(before) | ClaimStatus::Ended(before) => Some(before.clone()),
    };
    // What the device says, and not the version by which the service knows its image: that can change meanwhile.
    let said = seen.map(|seen| seen.version.clone()).or_else(|| context.record.version.clone());
    let was = said.unwrap_or_else(|| device.version.to_string());
    let (test, hour) = (update.test.number, update.test.hour(now));
    let granted = Granting {
        version: &update.version,
        campaign: update.campaign,
        was: &was,
        reports_as: &update.reports_as,
        shard,
        count: count_number(update.generation),
        epoch,
        test,
        hour,
        is_newcomer: claim_status.is_newcomer(update, context.record.first_seen),
        now,
    };
    let after = Claim::granted(before.as_ref(), &granted)?;
    let limits = &update.rollout.limits;
    let is_rated = limits.offers_per_period(update.content.size_bytes()).is_some();
    // From the grant on the device is watched closely, so its record must be new.
    let seen = seen.cloned().unwrap_or_else(|| {
        let version = context.record.version.clone().unwrap_or_else(|| was.clone());
        device::checked_in(context, version, now)
    });
    Some(GrantRequest {
        rollout: RolloutKey::of_update(update),
        device: device.id.clone(),
        revision,
        generation: update.generation,
        grant: claim_status.needs().unwrap_or(Grant::Again),
        before,
        after,
        period: is_rated.then(|| Period::Same(period_of(now, limits.period_s))),
        seen: Some(seen),
    })
}

/// Reads the refusal, and moves the request to the period that the shard counts.
fn refused(shard: &Shard, request: &mut GrantRequest, update: &Update, now: Timestamp) -> Option<Refusal> {
    let period_s = update.rollout.limits.period_s;
    let period = match request.period {
        Some(Period::Same(period) | Period::New(period)) => period,
        None => period_of(now, period_s),
    };
    let refusal = shard.refusal(request.grant, request.generation, period, period_s);
    match refusal {
        Some(Refusal::EarlierPeriod) => request.period = Some(Period::New(period)),
        Some(Refusal::LaterPeriod(later)) => request.period = Some(Period::Same(later)),
        None if request.period.is_some() => request.period = Some(Period::Same(period)),
        _ => {}
    }
    refusal
}

/// Of two reasons, the one that is cured sooner.
fn sooner(known: Option<NoRoom>, other: NoRoom) -> NoRoom {
    let rank = |why: &NoRoom| match why {
        NoRoom::Aborted => 0,
        NoRoom::Paused => 1,
        NoRoom::Busy => 2,
        NoRoom::TooManyInFlight => 3,
        NoRoom::RateLimited { .. } => 4,
        NoRoom::Newcomer => 5,
        NoRoom::Full => 6,
    };
    known.into_iter().chain([other]).min_by_key(rank).unwrap_or(other)
}
