//! The protocol as it is built, and designs that must be found out.

/// How a slot is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Design {
    /// As the code does it.
    AsBuilt,
    /// As the code does it, but for one guard.
    Without(Guard),
    /// The counters are looked at; claim and count are written later, without conditions.
    CheckThenAct,
    /// The counters are looked at, the claim is inserted, the count follows.
    ReadInsertIncrement,
    /// The count is taken under conditions, then the claim is inserted; if the device has one, the
    /// count is taken back by a write that may be repeated.
    CounterFirstBlindUndo,
    /// The same, but the count is never taken back.
    CounterFirstLeak,
}

/// A guard of the protocol, and where it is written.
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
    /// `move_period` in `dynamo::publish::open_shards`: a shard is moved forward to the period for
    /// which its caps were split.
    SplitOpensItsPeriod,
    /// `gate = :open` in `dynamo::reserve::spend`.
    GateIsOpen,
    /// `generation = :generation` in `dynamo::reserve::spend`.
    GenerationIsOurs,
    /// Both of them.
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
    /// Whether the guard is there.
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
