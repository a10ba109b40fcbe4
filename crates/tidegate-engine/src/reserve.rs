//! Reserving a slot for a device: its shards are asked one after another until one grants.
//!
//! The answer is sent only after the claim is committed. So a lost reply, a killed function or a repeated request can
//! neither exceed a limit nor lose a slot.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tidegate_core::claim::CountDelta;
use tidegate_core::objection::NoRoom;
use tidegate_core::shard::{Grant, MOST_PROBES, Refusal, Shard, period_of, probe_order};
use tidegate_core::{Claim, ClaimStatus, Cohort, Device, Timestamp, Update, UpdateId};
use tidegate_store::record::{ClaimKey, DeviceWrite};
use tidegate_store::store::{Period, Reservation, Reserved, Stored};
use tidegate_store::{CheckStore, StoreError};

use crate::check_in::CheckIns;

/// Tries per shard while other requests write to it. With the pauses below they take about a third of a second. Then
/// the answer is "nothing now".
const MOST_TRIES: u32 = 5;
/// The first pause between tries, in milliseconds; it doubles, and a device's id spreads it.
const FIRST_PAUSE_MS: u64 = 20;
/// Time for which "too many in flight" is cached, in milliseconds.
const CROWDED_MS: i64 = 1000;

/// Result of trying to reserve a slot.
#[derive(Debug)]
pub(crate) enum ReserveOutcome {
    /// The claim is committed.
    Claim(Claim),
    /// No shard had room.
    NoRoom(NoRoom),
    /// The device has this claim already.
    OtherClaim(Claim),
    /// The update was changed since the catalog was read.
    OtherGeneration,
}

/// Cache of shards that had no room, so that a full rollout costs no writes.
#[derive(Debug, Default)]
pub(crate) struct FullShardCache(Mutex<HashMap<(UpdateId, u16), Closed>>);

#[derive(Debug, Clone, Copy)]
struct Closed {
    generation: u64,
    why: NoRoom,
    until: Option<Timestamp>,
}

impl FullShardCache {
    /// The reason why a shard has no room for `grant`, if it is cached and still valid. A new generation has new caps,
    /// so it makes the reason invalid.
    fn closed(&self, update: &Update, shard: u16, grant: Grant, now: Timestamp) -> Option<NoRoom> {
        let closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = closed.get(&(update.id.clone(), shard)).copied()?;
        let holds = closed.generation == update.generation && closed.until.is_none_or(|until| now < until);
        let concerns = match closed.why {
            NoRoom::Full => grant == Grant::First,
            NoRoom::TooManyInFlight => grant != Grant::Renewed,
            NoRoom::RateLimited { .. } | NoRoom::Paused | NoRoom::Aborted => true,
        };
        (holds && concerns).then_some(closed.why)
    }

    fn close(&self, update: &Update, shard: u16, why: NoRoom, now: Timestamp) {
        let soon = now.checked_add(SignedDuration::from_millis(CROWDED_MS)).ok();
        let until = match why {
            NoRoom::Full => None,
            NoRoom::RateLimited { opens_at } => opens_at.or(soon),
            NoRoom::TooManyInFlight | NoRoom::Paused | NoRoom::Aborted => soon,
        };
        let closed = Closed { generation: update.generation, why, until };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((update.id.clone(), shard), closed);
    }
}

impl<S: CheckStore> CheckIns<S> {
    /// Tries to reserve a slot of `update` for `device`.
    pub(crate) async fn reserve(
        &self,
        device: &Device,
        update: &Update,
        claim_status: &ClaimStatus,
        write: &mut Option<DeviceWrite>,
        now: Timestamp,
    ) -> Stored<ReserveOutcome> {
        let grant = claim_status.needs().unwrap_or(Grant::Renewed);
        let mut no_room: Option<NoRoom> = None;
        let mut probes = 0;
        for shard in shards_to_ask(device, update, claim_status) {
            if probes == MOST_PROBES {
                break;
            }
            if let Some(why) = self.full_shards.closed(update, shard, grant, now) {
                no_room = Some(sooner(no_room, why));
                continue;
            }
            probes += 1;
            match self.ask(device, update, shard, claim_status, write, now).await? {
                ReserveOutcome::NoRoom(why) => {
                    self.full_shards.close(update, shard, why, now);
                    no_room = Some(sooner(no_room, why));
                }
                ReserveOutcome::OtherGeneration => {
                    // Until the change is compiled, no other check-in needs a write to detect it.
                    self.full_shards.close(update, shard, NoRoom::Paused, now);
                    return Ok(ReserveOutcome::OtherGeneration);
                }
                settled => return Ok(settled),
            }
        }
        Ok(ReserveOutcome::NoRoom(no_room.unwrap_or(NoRoom::TooManyInFlight)))
    }

    /// Asks one shard.
    async fn ask(
        &self,
        device: &Device,
        update: &Update,
        shard: u16,
        claim_status: &ClaimStatus,
        write: &mut Option<DeviceWrite>,
        now: Timestamp,
    ) -> Stored<ReserveOutcome> {
        let mut reservation = reservation(device, update, shard, claim_status, now);
        for attempt in 0..MOST_TRIES {
            reservation.device.clone_from(write);
            match self.store.reserve(&reservation).await? {
                Reserved::Granted => {
                    *write = None;
                    self.store_deferrals(now).await;
                    return Ok(ReserveOutcome::Claim(reservation.claim));
                }
                Reserved::OtherClaim(Some(claim)) => return Ok(ReserveOutcome::OtherClaim(claim)),
                Reserved::OtherClaim(None) => {
                    return Err(StoreError::Corrupt(
                        format!("the claim of {} on {} is gone", device.id, update.id).into(),
                    ));
                }
                // Another check-in of the same device has written its record already.
                Reserved::OtherDevice => *write = None,
                Reserved::Refused(None) => return Ok(ReserveOutcome::NoRoom(NoRoom::Paused)),
                Reserved::Refused(Some(shard)) => match refused(&shard, &mut reservation, update, now) {
                    Some(Refusal::NoRoom(why)) => return Ok(ReserveOutcome::NoRoom(why)),
                    Some(Refusal::OtherGeneration) => return Ok(ReserveOutcome::OtherGeneration),
                    Some(Refusal::EarlierPeriod | Refusal::LaterPeriod(_)) => {}
                    None => pause(device, attempt).await,
                },
                Reserved::Busy => pause(device, attempt).await,
            }
        }
        Ok(ReserveOutcome::NoRoom(NoRoom::TooManyInFlight))
    }
}

/// A first offer may come from any shard; a further one from the shard that counts the claim.
fn shards_to_ask(device: &Device, update: &Update, claim_status: &ClaimStatus) -> Vec<u16> {
    match claim_status {
        ClaimStatus::Unclaimed => {
            let spread = update.rollout.limits.shards(update.content.size_bytes());
            probe_order(Cohort::of(&update.id, &device.id), update.shards.min(spread)).collect()
        }
        ClaimStatus::Held(claim) | ClaimStatus::Lapsed(claim) => vec![claim.shard],
    }
}

fn reservation(
    device: &Device,
    update: &Update,
    shard: u16,
    claim_status: &ClaimStatus,
    now: Timestamp,
) -> Reservation {
    let ttl = SignedDuration::from_secs(i64::from(update.rollout.claim_ttl_s));
    let expires_at = now.checked_add(ttl).unwrap_or(Timestamp::MAX);
    let (claim, delta, previous) = match claim_status {
        ClaimStatus::Unclaimed => {
            (Claim::reserve(&update.version, shard, now, expires_at), CountDelta::default(), None)
        }
        ClaimStatus::Held(before) | ClaimStatus::Lapsed(before) => {
            let (claim, delta) = before.reserve_again(now, expires_at);
            (claim, delta, Some(before.clone()))
        }
    };
    let limits = &update.rollout.limits;
    let is_rated = limits.offers_per_period(update.content.size_bytes()).is_some();
    Reservation {
        key: ClaimKey { product: device.product.clone(), device: device.id.clone(), update: update.id.clone() },
        generation: update.generation,
        grant: claim_status.needs().unwrap_or(Grant::Renewed),
        previous,
        claim,
        delta,
        period: is_rated.then(|| Period::Same(period_of(now, limits.period_s))),
        device: None,
    }
}

/// Reads the refusal, and moves the reservation to the period that the shard counts.
fn refused(shard: &Shard, reservation: &mut Reservation, update: &Update, now: Timestamp) -> Option<Refusal> {
    let period_s = update.rollout.limits.period_s;
    let period = match reservation.period {
        Some(Period::Same(period) | Period::New(period)) => period,
        None => period_of(now, period_s),
    };
    let refusal = shard.refusal(reservation.grant, reservation.generation, period, period_s);
    match refusal {
        Some(Refusal::EarlierPeriod) => reservation.period = Some(Period::New(period)),
        Some(Refusal::LaterPeriod(later)) => reservation.period = Some(Period::Same(later)),
        None if reservation.period.is_some() => reservation.period = Some(Period::Same(period)),
        _ => {}
    }
    refusal
}

/// Of two reasons, the one that is cured sooner.
fn sooner(known: Option<NoRoom>, other: NoRoom) -> NoRoom {
    let rank = |why: &NoRoom| match why {
        NoRoom::Aborted => 0,
        NoRoom::Paused => 1,
        NoRoom::TooManyInFlight => 2,
        NoRoom::RateLimited { .. } => 3,
        NoRoom::Full => 4,
    };
    known.into_iter().chain([other]).min_by_key(rank).unwrap_or(other)
}

/// The pause before a try. It differs from device to device, so that two devices do not collide again.
async fn pause(device: &Device, attempt: u32) {
    let place = device.id.as_str().bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let longest_ms = FIRST_PAUSE_MS << attempt;
    tokio::time::sleep(Duration::from_millis(longest_ms / 2 + place % longest_ms)).await;
}
