//! Faults of a call of the store.

use std::fmt;

/// A call of the store, as the functions make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the methods of the store's traits
pub enum Call {
    Head,
    HeadStrong,
    Catalog,
    PutCatalog,
    AskForCatalog,
    Updates,
    DeviceEventual,
    DeviceStrong,
    Settle,
    Reserve,
    SaveDevice,
    AddDeferrals,
    NoteProgress,
    CreateUpdate,
    Update,
    ChangeUpdate,
    Shards,
    CloseShards,
    OpenShards,
    Audit,
    AuditLog,
    Versions,
    DevicesOn,
    RevokeTokens,
    SetProduct,
    Deferrals,
    Series,
    Products,
    DueClaims,
    Claim,
    RecordSeries,
}

/// A fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Refused for its rate, after the SDK's own retries. Not applied.
    Throttle,
    /// Another transaction holds one of its items. Not applied.
    Conflict,
    /// No answer came, and it was not applied.
    TimeoutBefore,
    /// No answer came, and it was applied.
    TimeoutAfterCommit,
    /// It was applied, the answer was lost, and the SDK asked once more.
    CommittedAndRetried,
    /// DynamoDB failed inside. Not applied.
    ServerError,
    /// The connection broke before it was applied.
    ResetBefore,
    /// The connection broke after it was applied.
    ResetAfterCommit,
    /// It writes several items one by one; it was cut off after some of them.
    Partial,
    /// It was applied, and took seconds.
    Slow,
    /// The record that was read cannot be understood.
    Malformed,
    /// An eventually consistent read answered an earlier state.
    StaleRead,
    /// The function was killed before the call.
    KilledBefore,
    /// The function was killed right after the call was applied.
    KilledAfter,
}

/// A condition of the storage protocol that can be taken away, to see who notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A first claim is put only where there is none.
    ClaimIsNew,
    /// A further claim replaces only the one that lapsed.
    ClaimIsTheOneThatLapsed,
    /// `used < cap`.
    Devices,
    /// `in_flight < max_in_flight`.
    InFlight,
    /// `period_used < period_cap`.
    Period,
    /// `gate = open`.
    Gate,
    /// `generation = :generation`.
    Generation,
    /// A claim is settled only from the epoch and state that were read.
    SettleOnce,
    /// Shards are shut before a pause or abort is acknowledged.
    Fence,
}

use Fault::{
    CommittedAndRetried, Conflict, KilledAfter, KilledBefore, Malformed, Partial, ResetAfterCommit, ResetBefore,
    ServerError, Slow, StaleRead, Throttle, TimeoutAfterCommit, TimeoutBefore,
};

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 14] = [
        Throttle,
        Conflict,
        TimeoutBefore,
        TimeoutAfterCommit,
        CommittedAndRetried,
        ServerError,
        ResetBefore,
        ResetAfterCommit,
        Partial,
        Slow,
        Malformed,
        StaleRead,
        KilledBefore,
        KilledAfter,
    ];
}

const READ: &[Fault] = &[Throttle, TimeoutBefore, ServerError, ResetBefore, Slow, Malformed, KilledBefore, KilledAfter];
const EVENTUAL_READ: &[Fault] =
    &[Throttle, TimeoutBefore, ServerError, ResetBefore, Slow, Malformed, StaleRead, KilledBefore, KilledAfter];
const WRITE: &[Fault] = &[
    Throttle,
    Conflict,
    TimeoutBefore,
    TimeoutAfterCommit,
    CommittedAndRetried,
    ServerError,
    ResetBefore,
    ResetAfterCommit,
    Slow,
    KilledBefore,
    KilledAfter,
];
const RESERVE: &[Fault] = &[
    Throttle,
    Conflict,
    TimeoutBefore,
    TimeoutAfterCommit,
    CommittedAndRetried,
    ServerError,
    ResetBefore,
    ResetAfterCommit,
    Slow,
    Malformed,
    KilledBefore,
    KilledAfter,
];
const WRITES: &[Fault] = &[
    Throttle,
    Conflict,
    TimeoutBefore,
    TimeoutAfterCommit,
    CommittedAndRetried,
    ServerError,
    ResetBefore,
    ResetAfterCommit,
    Partial,
    Slow,
    KilledBefore,
    KilledAfter,
];

impl Call {
    /// The faults that can happen to it. A read is never half applied; a write is never stale.
    #[must_use]
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Self::Head | Self::DeviceEventual | Self::Products | Self::DueClaims => EVENTUAL_READ,
            Self::HeadStrong
            | Self::Catalog
            | Self::Updates
            | Self::DeviceStrong
            | Self::Update
            | Self::Shards
            | Self::AuditLog
            | Self::Versions
            | Self::DevicesOn
            | Self::Deferrals
            | Self::Series
            | Self::Claim => READ,
            Self::Reserve => RESERVE,
            Self::CloseShards | Self::OpenShards => WRITES,
            Self::Settle
            | Self::SaveDevice
            | Self::AddDeferrals
            | Self::NoteProgress
            | Self::CreateUpdate
            | Self::ChangeUpdate
            | Self::Audit
            | Self::RevokeTokens
            | Self::SetProduct
            | Self::PutCatalog
            | Self::AskForCatalog
            | Self::RecordSeries => WRITE,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Throttle => "throttle",
            Conflict => "conflict",
            TimeoutBefore => "time-out before",
            TimeoutAfterCommit => "time-out after commit",
            CommittedAndRetried => "committed and retried",
            ServerError => "server error",
            ResetBefore => "reset before",
            ResetAfterCommit => "reset after commit",
            Partial => "cut off halfway",
            Slow => "slow",
            Malformed => "malformed",
            StaleRead => "stale read",
            KilledBefore => "killed before",
            KilledAfter => "killed after",
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Head => "head (eventual)",
            Self::HeadStrong => "head (strong)",
            Self::Catalog => "catalog",
            Self::PutCatalog => "put_catalog",
            Self::AskForCatalog => "ask_for_catalog",
            Self::Updates => "updates",
            Self::DeviceEventual => "device (eventual)",
            Self::DeviceStrong => "device (strong)",
            Self::Settle => "settle",
            Self::Reserve => "reserve",
            Self::SaveDevice => "save_device",
            Self::AddDeferrals => "add_deferrals",
            Self::NoteProgress => "note_progress",
            Self::CreateUpdate => "create_update",
            Self::Update => "update",
            Self::ChangeUpdate => "change_update",
            Self::Shards => "shards",
            Self::CloseShards => "close_shards",
            Self::OpenShards => "open_shards",
            Self::Audit => "audit",
            Self::AuditLog => "audit_log",
            Self::Versions => "versions",
            Self::DevicesOn => "devices_on",
            Self::RevokeTokens => "revoke_tokens",
            Self::SetProduct => "set_product",
            Self::Deferrals => "deferrals",
            Self::Series => "series",
            Self::Products => "products",
            Self::DueClaims => "due_claims",
            Self::Claim => "claim",
            Self::RecordSeries => "record_series",
        })
    }
}
