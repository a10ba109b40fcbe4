//! Stored records, in a form small enough for millions of worlds, with conversions to the core types.

use std::cmp::Ordering;

use tidegate_core::claim::{self, ClaimState, CountDelta};
use tidegate_core::lifecycle::State;
use tidegate_core::status::Outcome;
use tidegate_core::{Timestamp, Version, limits, shard};

/// Length of a tick in seconds. A tick is the unit of time in the model.
pub(crate) const TICK_S: i64 = 60;

/// Length of a reservation. The margin of its URLs is a fifth of it, rounded up to one tick.
pub(crate) const CLAIM_TICKS: u8 = 3;

/// Time at which a tick begins.
pub(crate) fn moment(tick: u8) -> Timestamp {
    Timestamp::from_second(i64::from(tick) * TICK_S).expect("a few minutes after 1970")
}

/// Tick of a time in seconds since 1970.
pub(crate) fn tick(second: i64) -> u8 {
    u8::try_from(second.div_euclid(TICK_S)).expect("searches are minutes long")
}

/// Stored claim, without the fields that no rule of the protocol reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) state: ClaimState,
    pub(crate) shard: u8,
    pub(crate) epoch: u8,
    pub(crate) attempts: u8,
    pub(crate) expires: u8,
    pub(crate) counted: Option<Outcome>,
}

impl Claim {
    pub(crate) fn from_core(claim: &claim::Claim) -> Self {
        let small = |number: u32| u8::try_from(number).expect("searches have few attempts");
        Self {
            state: claim.state,
            shard: u8::try_from(claim.shard).expect("there are two shards"),
            epoch: small(claim.epoch),
            attempts: small(claim.attempts),
            expires: tick(claim.expires_at.as_second()),
            counted: claim.counted,
        }
    }

    pub(crate) fn to_core(self) -> claim::Claim {
        claim::Claim {
            version: Version::new(2, 0, 0),
            state: self.state,
            shard: u16::from(self.shard),
            epoch: u32::from(self.epoch),
            attempts: u32::from(self.attempts),
            reserved_at: moment(self.expires.saturating_sub(CLAIM_TICKS)),
            expires_at: moment(self.expires),
            counted: self.counted,
            backed_out: false,
            consented: false,
        }
    }

    /// Condition `epoch = :epoch AND #state = :state` of `put_claim` and of `settle`.
    pub(crate) fn is_still(&self, now: Option<Claim>) -> bool {
        now.is_some_and(|now| now.epoch == self.epoch && now.state == self.state)
    }

    fn rank(&self) -> [u8; 6] {
        let counted = self.counted.map_or(0, |outcome| 1 + outcome as u8);
        [self.shard, self.epoch, self.state as u8, self.attempts, self.expires, counted]
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// `shard::Gate`, which cannot be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Door {
    #[default]
    Open,
    Paused,
    Stopped,
}

/// `limits::Caps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Caps {
    pub(crate) devices: u8,
    pub(crate) per_period: u8,
    pub(crate) in_flight: u8,
}

/// Stored shard. The counters are signed, because a mutant can count below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Shard {
    pub(crate) gate: Door,
    pub(crate) generation: u8,
    pub(crate) caps: Caps,
    pub(crate) used: i8,
    pub(crate) in_flight: i8,
    /// Tick at which the counted period starts.
    pub(crate) period: u8,
    pub(crate) period_used: i8,
    pub(crate) succeeded: i8,
    pub(crate) failed: i8,
    pub(crate) timed_out: i8,
}

impl Shard {
    pub(crate) fn to_core(self) -> shard::Shard {
        let count = |number: i8| u64::try_from(number).unwrap_or(0);
        shard::Shard {
            gate: match self.gate {
                Door::Open => shard::Gate::Open,
                Door::Paused => shard::Gate::Paused,
                Door::Stopped => shard::Gate::Stopped,
            },
            generation: u64::from(self.generation),
            caps: limits::Caps {
                devices: u64::from(self.caps.devices),
                per_period: u64::from(self.caps.per_period),
                in_flight: u64::from(self.caps.in_flight),
            },
            counts: shard::Counts {
                used: count(self.used),
                in_flight: count(self.in_flight),
                period: i64::from(self.period) * TICK_S,
                period_used: count(self.period_used),
                succeeded: count(self.succeeded),
                failed: count(self.failed),
                timed_out: count(self.timed_out),
            },
        }
    }

    /// Writes of the counters in `dynamo::settle` and `dynamo::reserve::counters`.
    pub(crate) fn moves(&mut self, delta: CountDelta) {
        let small = |by: i64| i8::try_from(by).expect("a delta is one claim's");
        self.in_flight += small(delta.in_flight);
        self.succeeded += small(delta.succeeded);
        self.failed += small(delta.failed);
        self.timed_out += small(delta.timed_out);
    }
}

/// `store::Period`, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Period {
    Same(u8),
    New(u8),
}

impl Period {
    pub(crate) fn start(self) -> u8 {
        match self {
            Self::Same(start) | Self::New(start) => start,
        }
    }
}

/// End of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    Success,
    Failure,
    Silence,
}

/// Record of the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) max_devices: u8,
    /// Largest allowed number of claims: the limit, or the number of grants before the limit was lowered.
    pub(crate) ceiling: u8,
    pub(crate) allocation: Allocation,
}

/// `limits::Allocation`, and the period for which it was split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Allocation {
    pub(crate) caps: [Caps; 2],
    pub(crate) period: u8,
}
