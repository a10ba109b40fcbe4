//! The invariants of the service, each a promise that the simulator checks.

use crate::named::named;

named! {
    /// A promise that is checked.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    Invariant {
        /// A device has one claim on an update, and a further reservation follows the one that lapsed.
        OneClaim = "one claim per device and update",
        /// The shards count as many devices as were ever offered the update.
        UsedIsClaims = "used = claims",
        /// Never more claims than `max_devices`.
        MaxDevices = "claims <= max_devices",
        /// Each shard counts every place that it granted.
        GrantedIsGrants = "granted = grants, by shard",
        /// Never more devices in flight than `max_in_flight`, when a place is granted.
        MaxInFlight = "in flight <= max_in_flight at a grant",
        /// An open shard never reaches more grants than its places allow: `ceiling <= granted - held + places`.
        Ceiling = "ceiling <= granted - held + places",
        /// A ceiling falls only when its shard is opened.
        CeilingRises = "a ceiling is only raised",
        /// Never more grants in a period than allowed.
        MaxPerPeriod = "grants in a period <= max_per_period",
        /// A grant counts in a period that some clock within the skew is in.
        PeriodIsNow = "a grant counts in a period that is now",
        /// A claim moves as it is, and only a grant gives it a place.
        OutcomesOnce = "a claim moves as it is",
        /// A device that is lost was silent for longer than it may be.
        LostInTime = "only an overdue device is lost",
        /// The tallies, with the records that none of them contains, are the sums over all devices.
        SumsAreTrue = "tallies + uncounted = devices",
        /// No grant after a stop was acknowledged.
        NoGrantAfterStop = "no grant after an acknowledged stop",
        /// No offer to a check-in that arrives after a stop was acknowledged.
        NoOfferAfterStop = "no offer to a check-in after an acknowledged stop",
        /// A wish for a change gives way only to a stronger one, and only a resume opens what was stopped.
        WishStays = "a wish gives way only to a stronger one",
        /// A grant is for the generation of the update that is in force.
        CurrentGeneration = "a grant is of the generation in force",
        /// No grant to a device that failed as often as allowed.
        MaxAttempts = "no grant after max_attempts failures",
        /// An offer stands on a claim that is committed.
        OfferIsClaimed = "an offer stands on a claim",
        /// Never an offer at or below the device's version, but by a rollback that names it.
        NoDowngrade = "no offer at or below the device's version",
        /// Never across products.
        OwnProduct = "no offer across products",
        /// A store that is down is answered with 503, a `Retry-After`, and no offer.
        DownIsDenied = "store down: 503, Retry-After, no offer",
        /// A device cannot act with the token of another device.
        OwnToken = "nobody acts with another's token",
        /// A token that an operator revoked takes no place.
        RevokedToken = "a revoked token takes no place",
        /// A hawkBit device gets no place on an update that asks for consent before its user agreed.
        Consent = "no place without the user's consent",
        /// After the faults, no count differs from the devices.
        NoDrift = "no drift at rest",
        /// After the faults, each change of an update's state has one event.
        EventsOnce = "each change of a state has one event",
        /// After the faults, every device that is watched stands on a due page.
        OnAPage = "everyone who is watched is on a due page",
        /// After the faults, every eligible device gets the update.
        Liveness = "every eligible device gets there",
        /// After the faults, every slot can be used.
        NoLostSlot = "every slot can be used",
    }
}
