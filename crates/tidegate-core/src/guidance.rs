//! Answer to a device that gets no update now, and the time after which any device should check in again.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::decide::Decision;
use crate::device::Device;
use crate::objection::{Objection, ObjectionCode};

/// A day: no known event changes the answer sooner.
pub const IDLE_S: u32 = 24 * 3600;
/// An hour: a device with an offer asks again to resume, or to show by its version that it installed the update.
pub const OFFERED_S: u32 = 3600;
/// A quarter of an hour: places in flight become free as devices report.
pub const CROWDED_S: u32 = 900;
/// Ten minutes: a device that said success is to show soon what it runs.
pub const UNPROVED_S: u32 = 600;
/// Ten seconds: other requests write the same records only for a moment.
pub const BUSY_S: u32 = 10;
/// A minute: no answer asks a device to come back sooner, except after contention.
pub const SOONEST_S: u32 = 60;
/// Five minutes: devices that wait for the same time come back spread over this period after it. A fleet that arrives
/// in one second would be throttled.
pub const SPREAD_S: u32 = 300;
/// Twenty seconds: devices that met contention come back spread over this period.
pub const BUSY_SPREAD_S: u32 = 20;

/// Answer to a device that gets no update now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoOffer {
    /// Code of the objection that decided.
    pub reason: ObjectionCode,
    /// Time at which it ends by itself.
    pub opens_at: Option<Timestamp>,
    /// Seconds after which the device should check in again.
    pub check_again_after_s: u32,
}

impl NoOffer {
    /// The answer that follows from a decision. A decision that holds an offer lost every reservation against other
    /// devices.
    #[must_use]
    pub fn of(device: &Device, decision: &Decision<'_>, now: Timestamp) -> Self {
        let (reason, opens_at) = match decision.reason() {
            _ if decision.offer.is_some() => return Self::busy(device),
            Some((_, objection)) => (objection.code(), objection.opens_at()),
            None => (ObjectionCode::UpToDate, None),
        };
        Self { reason, opens_at, check_again_after_s: check_again_after_s(device, decision, now) }
    }

    /// The answer to a device that has not shown yet what it installed.
    #[must_use]
    pub fn unshown() -> Self {
        Self { reason: ObjectionCode::RetryLater, opens_at: None, check_again_after_s: UNPROVED_S }
    }

    /// The answer after contention: the device comes again soon.
    #[must_use]
    pub fn busy(device: &Device) -> Self {
        Self { reason: ObjectionCode::Busy, opens_at: None, check_again_after_s: busy_s(device) }
    }
}

/// Seconds after which `device` should check in again.
#[must_use]
pub fn check_again_after_s(device: &Device, decision: &Decision<'_>, now: Timestamp) -> u32 {
    if decision.offer.is_some() {
        return OFFERED_S;
    }
    if decision.passed_over.iter().any(|(_, objection)| *objection == Objection::Busy) {
        return busy_s(device);
    }
    let opens_in = decision.may_change_at().map(|at| at.as_second().saturating_sub(now.as_second()).max(0));
    let opens_in = opens_in.map(|seconds| u32::try_from(seconds).unwrap_or(IDLE_S));
    let crowded = decision.passed_over.iter().filter_map(|(_, objection)| objection.ask_again_after_s());
    match opens_in.into_iter().chain(crowded).min() {
        Some(seconds) => seconds.saturating_add(spread_s(device)).clamp(SOONEST_S, IDLE_S),
        None => IDLE_S,
    }
}

fn busy_s(device: &Device) -> u32 {
    BUSY_S.saturating_add(spread_s(device).rem_euclid(BUSY_SPREAD_S))
}

/// Delay of a device within [`SPREAD_S`]. It depends only on the device's id: the rules have no randomness.
fn spread_s(device: &Device) -> u32 {
    let digest = Sha256::digest(device.id.as_str());
    let number = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    number.rem_euclid(SPREAD_S)
}
