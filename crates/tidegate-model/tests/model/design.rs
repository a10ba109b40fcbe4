//! Designs: the protocol as it is built, and mutants that the model must detect.

/// Design of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Design {
    /// The design of the code.
    AsBuilt,
    /// The design of the code without one guard.
    Without(Guard),
    /// The counters are read; the claim and the count are written later, without conditions.
    CheckThenAct,
    /// The counters are read, the claim is inserted, and the count is written after it.
    ReadInsertIncrement,
    /// The count is increased under conditions, then the claim is inserted. If the device has one, the count is decreased
    /// by a write that may be repeated.
    CounterFirstBlindUndo,
    /// The same, but the count is never decreased.
    CounterFirstLeak,
}

/// Guard of the protocol, with its place in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// `used < cap` in `dynamo::reserve::spend`.
    RoomForADevice,
    /// `in_flight < max_in_flight` in `dynamo::reserve::spend`.
    RoomInFlight,
    /// `period_used < period_cap` in `dynamo::reserve::spend`.
    RoomInThePeriod,
    /// `period_start < :period` in `dynamo::reserve::spend`.
    PeriodOnlyForward,
    /// `move_period` in `dynamo::publish::open_shards`: it moves a shard forward to the period for which the caps were
    /// split.
    SplitOpensItsPeriod,
    /// `gate = :open` in `dynamo::reserve::spend`.
    GateIsOpen,
    /// `generation = :generation` in `dynamo::reserve::spend`.
    GenerationIsOurs,
    /// Both of these.
    GateAndGeneration,
    /// `attribute_not_exists(pk)` in `dynamo::reserve::put_claim`.
    ClaimIsNew,
    /// `epoch = :epoch AND #state = :state` in `dynamo::reserve::put_claim`.
    ClaimIsTheLapsedOne,
    /// The same condition in `dynamo::settle`.
    SettledClaimIsAsRead,
    /// `Claim::urls_end_at` in `Images::url_ends`.
    UrlMargin,
    /// `close_shards` before `change_update` in `control::transition`.
    ShardsAreFenced,
    /// `generation = :expected` in `dynamo::publish::change_update`.
    RecordIsAsRead,
    /// `generation <= :generation` in `dynamo::publish::open_shards`.
    ShardIsNotLater,
}

impl Design {
    /// `true` if the design has the guard.
    pub(crate) fn keeps(self, guard: Guard) -> bool {
        match self {
            Self::Without(Guard::GateAndGeneration) => {
                !matches!(guard, Guard::GateIsOpen | Guard::GenerationIsOurs | Guard::GateAndGeneration)
            }
            Self::Without(missing) => missing != guard,
            _ => true,
        }
    }
}
