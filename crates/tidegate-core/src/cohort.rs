//! Cohort: a device's fixed place in the queue of one rollout.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{DeviceId, UpdateId};

/// Number of places in a queue. Phases are percentages with two decimals.
pub const PLACES: u16 = 10_000;

/// Place in the queue of one rollout, from 0 to 9,999. A phase of 5 % admits the places below 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cohort(u16);

impl Cohort {
    /// The cohort of `device` in the rollout of `update`.
    ///
    /// It depends on the update, so that the same devices are not first in every rollout. It depends on nothing else,
    /// so that a share of 5 % is always a part of the share of 25 %. Running rollouts depend on this function; a golden
    /// file pins its values.
    #[must_use]
    pub fn of(update: &UpdateId, device: &DeviceId) -> Self {
        Self::with_order(update, device).0
    }

    /// The cohort, and a number that orders the devices of one cohort. The number says nothing of their ids.
    #[must_use]
    pub fn with_order(update: &UpdateId, device: &DeviceId) -> (Self, u64) {
        let digest =
            Sha256::new().chain_update(update.as_str()).chain_update(b"\0").chain_update(device.as_str()).finalize();
        let number = |start: usize| {
            digest.iter().skip(start).take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
        };
        let place = u16::try_from(number(0).rem_euclid(u64::from(PLACES))).unwrap_or(PLACES);
        (Self(place), number(8))
    }

    /// The cohort with this place; `None` if a queue has no such place.
    #[must_use]
    pub fn at(place: u16) -> Option<Self> {
        (place < PLACES).then_some(Self(place))
    }

    /// The place as a number.
    #[must_use]
    pub fn place(self) -> u16 {
        self.0
    }
}

/// Percentage that is not a [`Share`].
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a percentage must be within 0 and 100, with at most two decimals; got {0}")]
pub struct ShareError(f64);

/// Part of the fleet in hundredths of a percent, 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Share(u16);

impl Share {
    /// No device.
    pub const NONE: Share = Share(0);
    /// Every device.
    pub const ALL: Share = Share(PLACES);

    /// The share for a percentage with at most two decimals.
    ///
    /// # Errors
    /// The percentage, if it is not within 0 and 100 or has more than two decimals.
    pub fn from_percent(percent: f64) -> Result<Self, ShareError> {
        let places = percent * 100.0;
        if !(0.0..=f64::from(PLACES)).contains(&places) || (places - places.round()).abs() > 1e-6 {
            return Err(ShareError(percent));
        }
        // In range by the check above.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self(places.round() as u16))
    }

    /// The share as a percentage.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Number of devices of an audience that this share reaches beyond a smaller one, rounded up.
    #[must_use]
    pub fn of_beyond(self, audience: u64, smaller: Self) -> u64 {
        self.of(audience).saturating_sub(smaller.of(audience))
    }

    /// Number of devices of an audience, rounded up.
    #[must_use]
    pub fn of(self, audience: u64) -> u64 {
        audience.saturating_mul(u64::from(self.0)).div_ceil(u64::from(PLACES))
    }

    /// `true` if the cohort is within this share.
    #[must_use]
    pub fn holds(self, cohort: Cohort) -> bool {
        cohort.0 < self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_share_is_part_of_a_larger_one_for_every_place() {
        let shares = [0.0, 0.01, 5.0, 25.0, 99.99, 100.0].map(|p| Share::from_percent(p).unwrap());
        for place in 0..PLACES {
            let held = shares.map(|share| share.holds(Cohort(place)));
            assert!(held.windows(2).all(|pair| pair[0] <= pair[1]), "place {place}");
        }
        assert_eq!((0..PLACES).filter(|place| shares[2].holds(Cohort(*place))).count(), 500);
    }

    #[test]
    fn a_percentage_that_places_cannot_express_is_refused() {
        for bad in [-0.01, 100.01, 0.005, f64::NAN, f64::INFINITY] {
            assert!(Share::from_percent(bad).is_err(), "{bad}");
        }
    }
}
