//! The invariants of the service, each a promise that the simulator checks.

use std::fmt;

/// A promise that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// A device has one claim on an update, and a further reservation follows the one that lapsed.
    OneClaim,
    /// `used` is the number of claims, which is the number of devices that were ever offered.
    UsedIsClaims,
    /// Never more claims than `max_devices`.
    MaxDevices,
    /// `in_flight` is the number of reserved claims.
    InFlightIsReserved,
    /// Never more reserved claims than `max_in_flight`, when one is granted.
    MaxInFlight,
    /// Never more grants in a period than allowed.
    MaxPerPeriod,
    /// A grant counts in a period that some clock within the skew is in.
    PeriodIsNow,
    /// Each device counts under one outcome, and success stays.
    OutcomesOnce,
    /// No grant after a pause or abort was acknowledged.
    NoGrantAfterStop,
    /// A grant is for the generation of the update that is in force.
    CurrentGeneration,
    /// Never more attempts than allowed.
    MaxAttempts,
    /// An offer stands on a claim that is committed.
    OfferIsClaimed,
    /// Never an offer at or below the device's version, unless downgrades are allowed.
    NoDowngrade,
    /// Never across products.
    OwnProduct,
    /// No offer on a claim that is about to end, and no URL past its margin.
    OfferOutlivesUrl,
    /// A store that is down is answered with 503, a `Retry-After`, and no offer.
    DownIsDenied,
    /// A device cannot act with the token of another device.
    OwnToken,
    /// After the faults, every eligible device gets the update.
    Liveness,
    /// After the faults, every slot can be used.
    NoLostSlot,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OneClaim => "one claim per device and update",
            Self::UsedIsClaims => "used = claims",
            Self::MaxDevices => "claims <= max_devices",
            Self::InFlightIsReserved => "in_flight = reserved claims",
            Self::MaxInFlight => "reserved <= max_in_flight at a grant",
            Self::MaxPerPeriod => "grants in a period <= max_per_period",
            Self::PeriodIsNow => "a grant counts in a period that is now",
            Self::OutcomesOnce => "each outcome counts once",
            Self::NoGrantAfterStop => "no grant after an acknowledged stop",
            Self::CurrentGeneration => "a grant is of the generation in force",
            Self::MaxAttempts => "attempts <= max_attempts",
            Self::OfferIsClaimed => "an offer stands on a claim",
            Self::NoDowngrade => "no offer at or below the device's version",
            Self::OwnProduct => "no offer across products",
            Self::OfferOutlivesUrl => "no URL past the claim's margin",
            Self::DownIsDenied => "store down: 503, Retry-After, no offer",
            Self::OwnToken => "nobody acts with another's token",
            Self::Liveness => "every eligible device gets there",
            Self::NoLostSlot => "every slot can be used",
        })
    }
}
