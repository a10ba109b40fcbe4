//! Mutants: the protocol without one of its conditions, or with a wrong design in its place.

/// Condition that is missing, or design that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A ceiling is raised by what the batch released.
    CeilingPlusBatch,
    /// A ceiling is raised by what it was short of when it was read.
    CeilingPlusMissing,
    /// `SET ceiling = :v` without `ceiling < :v`.
    CeilingMayFall,
    /// Without `gen = :g` in the raise of a ceiling.
    CeilingOfAnyGeneration,
    /// Tallies have no position.
    TallyWithoutPosition,
    /// `SET pos` without `IF pos = :as_read`.
    PositionUnchecked,
    /// All attempts less the place, booked on the shard where the claim is now.
    ReleasedWhereTheClaimIs,
    /// A move to another shard counts a release again.
    ReleasedAgainOnMove,
    /// A further attempt does `used + 1` too.
    RetryUsesAgain,
    /// Released is `granted`, read now, less what the tallies say is held.
    ReleasedAsDifference,
    /// Released is the grants that the claim names less its place.
    ReleasedFromClaim,
    /// Claim writes compare epoch and state only.
    PlaceAndBucketNotCompared,
    /// Claim writes compare epoch, state and place.
    BucketNotCompared,
    /// A lost device without a place becomes open with one.
    LostTakesAPlace,
    /// A further grant does not compare the epoch.
    GrantOfAnyEpoch,
    /// The shards' `granted` is read before all are shut.
    ShardsReadBeforeShut,
    /// The shards are read eventually consistently after the shut.
    ShardsReadEventually,
    /// The record is written without `wanted = mine`.
    RecordOfAnyWish,
    /// A stop takes the record's generation + 1, although an edit wants the same.
    StopOfSameGeneration,
    /// A stop is acknowledged at the first shut shard.
    AckAtFirstShard,
    /// Without `gen = :g1` in the opening of a shard.
    OpenOfAnyGeneration,
    /// Without `gate = :paused` in the opening of a shard.
    OpenOfAnyGate,
    /// The sweep raises no ceilings.
    NoSweepRaise,
    /// A batch is acknowledged before its ceilings are written.
    AckBeforeCeilings,
    /// The child of a split stream shard is read before its parent.
    ChildBeforeParent,
    /// An opening keeps a higher ceiling.
    OpeningKeepsCeiling,
    /// An opening sets the ceiling to the places.
    OpeningForgetsReleased,
    /// Tallies are read before the shards are shut.
    TalliesReadBeforeShut,
    /// Tallies are read eventually consistently.
    TalliesReadEventually,
    /// Without `gen = :g` in the grant.
    GrantOfAnyGeneration,
    /// Without `rev = :rev` in the first grant.
    RevAtGrant,
    /// The sweep marks a device lost without `seen = :as_read`.
    SeenAsReadForLost,
    /// Places grow with proved devices, mature or not.
    RampCountsProved,
    /// `count` raises without judging.
    CountJudges,
    /// The sweep raises without judging.
    SweepJudges,
    /// Whoever opens a shard does not judge.
    OpeningJudges,
    /// Ceilings are raised while a change is wanted.
    NoRaiseWhileWanted,
    /// The ceiling is `released + places`, without `counted + headroom`.
    CountedPlusHeadroom,
    /// A stop is acknowledged as soon as the shards are shut.
    AckWaits,
    /// A head of any age is used.
    HeadAge,
    /// The age of a head is not checked again before a URL is signed.
    HeadAgeAtSigning,
    /// The age of a head counts from the reply.
    HeadAgeFromReply,
    /// The age of the check-in is not checked before a URL is signed.
    CheckInAge,
    /// The head does not carry what is stopped.
    HeadCarriesStops,
    /// An opening is recorded while the product is stopped.
    OpenUnlessStopped,
    /// The compile reads the head after the records.
    CompileReadsHeadFirst,
    /// The catalog is published over any revision.
    PublishOnlyAsRead,
    /// Any new catalog takes the campaign out of the halted list.
    HaltedUntilCatalogAgrees,
    /// A renewed reservation may end before the one before it.
    RenewalEndsLater,
    /// URLs end with the claim, without the margin for clocks.
    UrlMargin,
    /// The device is told an end after that of the credentials.
    UrlEndsWithCredentials,
    /// `wused < wcap` in the grant.
    RoomInThePeriod,
    /// `w < :w` in a grant that begins a period.
    PeriodOnlyForward,
    /// An opening leaves the period of the shard.
    OpeningMovesThePeriod,
    /// The caps are split for the period of the operator's clock, although a shard counts a later one.
    SplitInLatestPeriod,
    /// `used < cap` in a first grant.
    RoomForADevice,
    /// `granted < ceiling` in the grant.
    RoomUnderCeiling,
    /// `gate = :open` in the grant.
    GateIsOpen,
    /// `attribute_not_exists(claims.#c)` in a first grant.
    ClaimIsNew,
    /// Readers add a tally that is named in `folded`.
    FoldedIsSkipped,
    /// A tally is folded while its records may be delivered again.
    FoldWaits,
    /// A repair that begins again takes the number of the one before it.
    RepairTakesANewNumber,
    /// A repair does not count a stamped claim whose place has come free since.
    StampedClaimCounts,
    /// A stamp without a reply is left out when the claim is gone.
    UnknownStampBeginsAgain,
    /// Without `cn = :cn` in the grant.
    GrantOfAnyNumber,
    /// `cn < :cn` in the stamp of a claim.
    StampOnlyForward,
    /// The repair counts places with a plain scan, without stamps.
    RepairStamps,
    /// Nobody notices that records of the stream were lost.
    LossIsNoticed,
    /// `cn < :cn` in the write of a shard's stamped claims.
    ShardNumberOnlyForward,
}

/// Set of mutants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mutants(u128);

impl Mutants {
    pub(crate) fn of(mutants: &[Mutant]) -> Self {
        Self(mutants.iter().fold(0, |set, mutant| set | 1 << *mutant as u32))
    }

    pub(crate) fn has(self, mutant: Mutant) -> bool {
        self.0 & 1 << mutant as u32 != 0
    }

    /// `true` if the protocol keeps the condition.
    pub(crate) fn keep(self, condition: Mutant) -> bool {
        !self.has(condition)
    }
}
