//! Calls of the store, and the faults that each can have.

use crate::named::named;

named! {
    /// A call of the store, as the functions make it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    Call {
        /// Reads a head, eventually consistent.
        Head = "head (eventual)",
        /// Reads a head.
        HeadStrong = "head (strong)",
        /// Reads a catalog.
        Catalog = "catalog",
        /// Lists the products.
        Products = "products",
        /// Lists the products whose devices may register themselves.
        OpenProducts = "open_products",
        /// Reads a device, eventually consistent.
        DeviceEventual = "device (eventual)",
        /// Reads a device.
        DeviceStrong = "device (strong)",
        /// Lists updates.
        Updates = "updates",
        /// Reads an update.
        Update = "update",
        /// Reads a campaign of an update.
        Campaign = "campaign",
        /// Reads all shards.
        Shards = "shards",
        /// Reads one shard, eventually consistent.
        Shard = "shard (eventual)",
        /// Reads all tallies of a rollout.
        Tallied = "tallied",
        /// Reads a tally.
        Tally = "tally",
        /// Reads a tally of versions.
        VersionTally = "version_tally",
        /// Reads a month of the audit log.
        AuditMonth = "audit_month",
        /// Lists updates.
        UpdatePage = "update_page",
        /// Reads the numbers of devices by version.
        Versions = "versions",
        /// Lists devices by version.
        DevicesOn = "devices_on",
        /// Lists the devices of a bucket.
        Listed = "listed",
        /// Reads deferrals.
        Deferrals = "deferrals",
        /// Reads counters over time.
        Series = "series",
        /// Reads due pages.
        DuePages = "due_pages",
        /// Reads devices in a batch.
        Devices = "devices",
        /// Scans all devices.
        ScanDevices = "scan_devices",
        /// Scans all devices with their attributes.
        ScanFleet = "scan_fleet",
        /// Reads the state of the fleet snapshot.
        FleetSnapshot = "fleet_snapshot",
        /// Reads the members of a control group.
        Members = "members",
        /// Reads the time of the last due page.
        WatchedUntil = "watched_until",
        /// Lists all updates.
        EveryUpdate = "every_update",
        /// Lists deleted updates.
        DeletedUpdates = "deleted_updates",
        /// Lists the rollouts whose claims are not counted.
        UncountedRollouts = "uncounted_rollouts",
        /// Grants a place.
        Grant = "grant",
        /// Writes a device.
        WriteDevice = "write_device",
        /// Raises a ceiling.
        RaiseCeiling = "raise_ceiling",
        /// Writes a wish.
        Want = "want",
        /// Shuts a shard.
        ShutShard = "shut_shard",
        /// Writes the record of a change.
        RecordChange = "record_change",
        /// Opens a shard.
        OpenShard = "open_shard",
        /// Puts a catalog in force.
        PutCatalog = "put_catalog",
        /// Requests a catalog.
        AskForCatalog = "ask_for_catalog",
        /// Adds deferrals.
        AddDeferrals = "add_deferrals",
        /// Writes a tally.
        PutTally = "put_tally",
        /// Writes a tally of versions.
        PutVersionTally = "put_version_tally",
        /// Writes a due page.
        PutDuePage = "put_due_page",
        /// Writes a list entry.
        PutEntry = "put_entry",
        /// Writes an event.
        PutEvent = "put_event",
        /// Removes a list entry.
        RemoveEntry = "remove_entry",
        /// Marks a rollout for a recount.
        MarkForRecount = "mark_for_recount",
        /// Creates an update.
        CreateUpdate = "create_update",
        /// Begins another campaign.
        BeginCampaign = "begin_campaign",
        /// Deletes an update.
        DeleteUpdate = "delete_update",
        /// Stops or resumes a product.
        SetStopped = "set_stopped",
        /// Writes an audit entry.
        Audit = "audit",
        /// Sets a product.
        SetProduct = "set_product",
        /// Deletes a device.
        DeleteDevice = "delete_device",
        /// Writes a device on its next due page.
        MoveDuePage = "move_due_page",
        /// Removes a due page.
        RemoveDuePage = "remove_due_page",
        /// Writes counters over time.
        RecordSeries = "record_series",
        /// Replaces the state of the fleet snapshot.
        PutFleetSnapshot = "put_fleet_snapshot",
        /// Writes the size of an audience.
        PutAudience = "put_audience",
        /// Writes the usual gap of a product's devices.
        PutFleet = "put_fleet",
        /// Writes the members of a control group.
        PutMembers = "put_members",
        /// Writes a reading of a control group.
        PutReading = "put_reading",
        /// Removes what belongs to a rollout.
        RemoveRollout = "remove_rollout",
        /// Ends a deletion.
        EndDeletion = "end_deletion",
        /// Makes one of several tallies.
        FoldTallies = "fold_tallies",
        /// Makes one of several tallies of versions.
        FoldVersionTallies = "fold_version_tallies",
        /// Notes that the counts of a rollout are final.
        Settle = "settle",
        /// Removes images.
        TidyImages = "tidy_images",
        /// Notes that a product was tidied.
        PutTidied = "put_tidied",
    }
}

named! {
    /// A fault.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    Fault {
        /// The table refused the call for its rate until the caller's patience was over. Not applied.
        Throttle = "throttle",
        /// Transactions held its items until the caller's patience was over. Not applied.
        Conflict = "conflict",
        /// Transactions held its items for a moment. Applied then.
        PlainConflict = "plain conflict",
        /// No answer came, and it was not applied.
        TimeoutBefore = "time-out before",
        /// No answer came, and it was applied.
        TimeoutAfterCommit = "time-out after commit",
        /// It was applied, the answer was lost, and the store asked once more.
        CommittedAndRetried = "committed and retried",
        /// It was applied, and a duplicate of it was applied again later.
        LateDuplicate = "late duplicate",
        /// No answer came, and it was applied later.
        LandsLate = "lands late",
        /// DynamoDB failed inside. Not applied.
        ServerError = "server error",
        /// The connection broke before it was applied.
        ResetBefore = "reset before",
        /// The connection broke after it was applied.
        ResetAfterCommit = "reset after commit",
        /// It is made of two writes, and only the first was applied.
        Partial = "cut off halfway",
        /// It was applied, and took seconds, in which others went first.
        Slow = "slow",
        /// The record that was read cannot be understood.
        Malformed = "malformed",
        /// An eventually consistent read answered an earlier state.
        StaleRead = "stale read",
        /// A query of several items saw some of them before their last write.
        QueryTorn = "torn query",
        /// The function was killed before the call.
        KilledBefore = "killed before",
        /// The function was killed right after the call was applied.
        KilledAfter = "killed after",
        /// A batch that was counted came again.
        BatchAgain = "batch again",
        /// A batch that failed came again in smaller parts.
        BatchSplit = "batch split",
        /// Two invocations had the same batch at the same time.
        TwoInvocations = "two invocations",
        /// A stream shard was split.
        StreamShardSplit = "stream shard split",
        /// The stream was not read for a while.
        StreamLag = "stream lag",
        /// A record of the stream could not be read.
        UnreadableRecord = "unreadable record",
    }
}

use Fault::{
    CommittedAndRetried, Conflict, KilledAfter, KilledBefore, LandsLate, LateDuplicate, Malformed, Partial,
    PlainConflict, QueryTorn, ResetAfterCommit, ResetBefore, ServerError, Slow, StaleRead, Throttle,
    TimeoutAfterCommit, TimeoutBefore,
};

/// Faults of every read.
const READ: &[Fault] = &[Throttle, TimeoutBefore, ServerError, ResetBefore, Slow, Malformed, KilledBefore, KilledAfter];
/// Faults of an eventually consistent read.
const EVENTUAL_READ: &[Fault] =
    &[Throttle, TimeoutBefore, ServerError, ResetBefore, Slow, Malformed, StaleRead, KilledBefore, KilledAfter];
/// Faults of a query over several items that others write.
const QUERY: &[Fault] =
    &[Throttle, TimeoutBefore, ServerError, ResetBefore, Slow, Malformed, QueryTorn, KilledBefore, KilledAfter];
/// Faults of a write of an item that no transaction names.
const WRITE: &[Fault] = &[
    Throttle,
    TimeoutBefore,
    TimeoutAfterCommit,
    CommittedAndRetried,
    LateDuplicate,
    LandsLate,
    ServerError,
    ResetBefore,
    ResetAfterCommit,
    Slow,
    KilledBefore,
    KilledAfter,
];
/// Faults of a write of an item that transactions name.
const CONTENDED_WRITE: &[Fault] = &[
    Throttle,
    Conflict,
    PlainConflict,
    TimeoutBefore,
    TimeoutAfterCommit,
    CommittedAndRetried,
    LateDuplicate,
    LandsLate,
    ServerError,
    ResetBefore,
    ResetAfterCommit,
    Slow,
    KilledBefore,
    KilledAfter,
];
/// Faults of two writes, the second of an item that transactions name.
const TWO_WRITES: &[Fault] = &[
    Throttle,
    Conflict,
    PlainConflict,
    TimeoutBefore,
    TimeoutAfterCommit,
    CommittedAndRetried,
    LateDuplicate,
    LandsLate,
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
            Self::Head | Self::DeviceEventual | Self::Products | Self::Shard => EVENTUAL_READ,
            Self::Tallied => QUERY,
            Self::HeadStrong
            | Self::Catalog
            | Self::Updates
            | Self::DeviceStrong
            | Self::Update
            | Self::Shards
            | Self::Tally
            | Self::VersionTally
            | Self::AuditMonth
            | Self::UpdatePage
            | Self::OpenProducts
            | Self::Versions
            | Self::DevicesOn
            | Self::Listed
            | Self::Deferrals
            | Self::Series
            | Self::DuePages
            | Self::Devices
            | Self::ScanDevices
            | Self::ScanFleet
            | Self::FleetSnapshot
            | Self::Members
            | Self::Campaign
            | Self::WatchedUntil
            | Self::EveryUpdate
            | Self::DeletedUpdates
            | Self::UncountedRollouts => READ,
            Self::Grant | Self::WriteDevice | Self::OpenShard => TWO_WRITES,
            Self::RaiseCeiling
            | Self::Want
            | Self::ShutShard
            | Self::RecordChange
            | Self::PutCatalog
            | Self::AskForCatalog
            | Self::MarkForRecount
            | Self::CreateUpdate
            | Self::BeginCampaign
            | Self::DeleteUpdate
            | Self::SetStopped
            | Self::SetProduct
            | Self::DeleteDevice
            | Self::PutAudience
            | Self::PutFleet
            | Self::EndDeletion
            | Self::FoldTallies
            | Self::FoldVersionTallies
            | Self::Settle
            | Self::PutTidied
            | Self::PutReading => CONTENDED_WRITE,
            Self::AddDeferrals
            | Self::PutTally
            | Self::PutVersionTally
            | Self::PutDuePage
            | Self::PutEntry
            | Self::PutEvent
            | Self::RemoveEntry
            | Self::Audit
            | Self::MoveDuePage
            | Self::RemoveDuePage
            | Self::RecordSeries
            | Self::PutFleetSnapshot
            | Self::RemoveRollout
            | Self::TidyImages
            | Self::PutMembers => WRITE,
        }
    }
}
