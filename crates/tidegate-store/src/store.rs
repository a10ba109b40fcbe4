//! The store: traits for single rights, and one trait for each function that combines only the rights that it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use aws_sdk_dynamodb::error::DisplayErrorContext;
use tidegate_core::count::Sums;
use tidegate_core::life::Bucket;
use tidegate_core::limits::Caps;
use tidegate_core::shard::{Gate, Grant, Shard};
use tidegate_core::{Claim, DeviceId, ProductId, Timestamp, UpdateId, Version};

use crate::record::{
    Audience, AuditEntry, DeviceDeletion, DeviceWrite, DuePage, Event, Fleet, Head, KnownDevice, ListEntry, Position,
    Reading, RolloutKey, Seen, SeriesPoint, Tallied, Tally, UpdateRecord,
};
use crate::tidy::TidyStore;
use crate::verification::AskForVerification;

/// Error of a store call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is too busy. Whether the write happened is not known.
    #[error("the store cannot be reached: {0}")]
    Unavailable(#[source] Cause),
    /// Another request changed the record first.
    #[error("another request changed the record first")]
    Conflict,
    /// Until the deadline, other requests wrote the same records, or the table took no more writes. Nothing was written.
    #[error("too many requests write the same records at this moment")]
    Contended,
    /// A record cannot be understood.
    #[error("a stored record cannot be understood: {0}")]
    Corrupt(#[source] Cause),
}

impl StoreError {
    /// The store cannot be reached, for this reason.
    pub fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        // With the details of the SDK, such as the id of the request.
        Self::Unavailable(Cause { text: DisplayErrorContext(&error).to_string(), source: Some(Arc::new(error)) })
    }

    /// A record cannot be understood, for this reason.
    pub fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Corrupt(Cause::of(error))
    }
}

/// Text of an error below a [`StoreError`], with the error itself where there is one.
#[derive(Debug, Clone)]
pub struct Cause {
    text: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Cause {
    /// The cause with `error`, and with the texts of the sources of `error`.
    #[must_use]
    pub fn of(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        let mut text = error.to_string();
        let sources = std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string);
        for source in sources.collect::<Vec<_>>() {
            // Some errors print their source themselves.
            if !text.ends_with(&source) {
                text = format!("{text}: {source}");
            }
        }
        Self { text, source: Some(Arc::new(error)) }
    }
}

/// Two causes are equal when they read the same.
impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cause {}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self { text, source: None }
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Result of a store call.
pub type Stored<T> = Result<T, StoreError>;

/// Consistency of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Eventually consistent: half the price, but it may miss the writes of the last second. The conditions of a later
    /// write detect that.
    Eventual,
    /// Strongly consistent: it returns every acknowledged write.
    Strong,
}

/// One attempt to grant a place. One transaction writes the device and a shard, both or neither.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantRequest {
    /// The rollout.
    pub rollout: RolloutKey,
    /// The device.
    pub device: DeviceId,
    /// Revision of the device's item as it was read; `None` for a device that was never seen. The epoch of the new
    /// claim is one more, so no two grants of a device have the same epoch.
    pub revision: Option<u64>,
    /// The generation of the update in the decision.
    pub generation: u64,
    /// The counters that must have room.
    pub grant: Grant,
    /// The claim before, if there is one.
    pub before: Option<Claim>,
    /// The claim after. Its shard is the one that is asked.
    pub after: Claim,
    /// The period in which the grant counts; `None` when the rate is not limited.
    pub period: Option<Period>,
    /// The change of the device's record, if there is one.
    pub seen: Option<Seen>,
}

/// The period in which a grant counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// The period that the shard counts already.
    Same(i64),
    /// A new period. The shard still counts an earlier one, and this grant starts the new one.
    New(i64),
}

/// Result of a grant.
#[derive(Debug, Clone, PartialEq)]
pub enum Granted {
    /// The claim is committed.
    Yes,
    /// The device is not as it was read; nothing was written. It is now so.
    OtherDevice(Box<KnownDevice>),
    /// The shard's conditions do not hold; nothing was written. `None` when it does not exist.
    Refused(Option<Shard>),
}

/// Result of a write of a device's item.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// It is committed.
    Yes,
    /// The device or a claim is not as it was read; nothing was written. It is now so.
    OtherDevice(Box<KnownDevice>),
}

/// Result of shutting one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// It grants nothing for this generation or an earlier one.
    Yes,
    /// It belongs to a later generation: a later change has taken over.
    LaterChange,
}

/// How a shard is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The generation for which it was shut.
    pub generation: u64,
    /// Its caps.
    pub caps: Caps,
    /// The number of grants of places that it may reach.
    pub ceiling: u64,
    /// The period for which the caps were split.
    pub period: i64,
}

/// Patience with contention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// One try: the caller has something else to try.
    None,
    /// As long as a device waits.
    Long,
}

/// The part of a device that a read includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Its item, with its claims.
    Item,
    /// Its item and its `device.json`.
    ItemAndDoc,
}

/// State of a change of an update that a write expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The generation of the record.
    pub generation: u64,
    /// The generation of the change that is under way, if one is.
    pub wanted: Option<u64>,
    /// The revision of the head, if nothing else in the product may have changed. Only a wish asks for it.
    pub revision: Option<u64>,
}

impl Expected {
    /// The state of `record`.
    #[must_use]
    pub fn of(record: &UpdateRecord) -> Self {
        let wanted = record.wanted.as_ref().map(|wanted| wanted.generation);
        Self { generation: record.generation, wanted, revision: None }
    }
}

/// Reads a product's head and its compiled catalog.
pub trait ReadCatalog: Send + Sync + 'static {
    /// The head of a product's catalog; `None` when the product does not exist.
    fn head(&self, product: &ProductId, freshness: Freshness) -> impl Future<Output = Stored<Option<Head>>> + Send;

    /// A compiled catalog by its name; `None` when there is none of that name any more.
    fn catalog(&self, product: &ProductId, name: &str) -> impl Future<Output = Stored<Option<Arc<[u8]>>>> + Send;

    /// Every product.
    fn products(&self) -> impl Future<Output = Stored<Vec<ProductId>>> + Send;
}

/// Reads devices with their claims.
pub trait ReadDevices: Send + Sync + 'static {
    /// A device and its claims, in one read.
    fn device(
        &self,
        product: &ProductId,
        device: &DeviceId,
        include: Include,
        freshness: Freshness,
    ) -> impl Future<Output = Stored<KnownDevice>> + Send;
}

/// Writes devices and their claims. It gives no place to anyone.
pub trait WriteDevices: ReadDevices {
    /// Writes a device's item, in one write. Its `device.json` is written before, if it must be.
    fn write_device(&self, write: &DeviceWrite) -> impl Future<Output = Stored<Written>> + Send;
}

/// Reads the records of updates and the counters of their rollouts.
pub trait ReadUpdates: Send + Sync + 'static {
    /// Every published update of a product with its earlier campaigns, also if it was deleted, and the drafts that are about to
    /// be published. The other drafts can be many, and no rule asks for them. An unreadable record is logged and left out, so it does not
    /// hide the others.
    fn updates(&self, product: &ProductId) -> impl Future<Output = Stored<Vec<UpdateRecord>>> + Send;

    /// One update, freshly read.
    fn update(
        &self,
        product: &ProductId,
        version: &Version,
    ) -> impl Future<Output = Stored<Option<UpdateRecord>>> + Send;

    /// The record of one campaign, also of an earlier one, freshly read.
    fn campaign(&self, rollout: &RolloutKey) -> impl Future<Output = Stored<Option<UpdateRecord>>> + Send;

    /// The time at which the last device of a rollout that is still watched is looked at; `None` if none is watched.
    fn watched_until(&self, rollout: &RolloutKey) -> impl Future<Output = Stored<Option<Timestamp>>> + Send;

    /// The shards of a rollout, freshly read; `None` for one that does not exist.
    fn shards(&self, rollout: &RolloutKey, count: u16) -> impl Future<Output = Stored<Vec<Option<Shard>>>> + Send;

    /// The sums over the claims of a rollout, freshly read, as far as the stream was counted.
    fn tallied(&self, rollout: &RolloutKey) -> impl Future<Output = Stored<Tallied>> + Send;
}

/// Raises ceilings. Only a function that has judged the same sums may do that.
pub trait RaiseCeilings: ReadUpdates {
    /// Raises the ceiling of a shard. It changes nothing when the shard has another generation, or a ceiling that is as
    /// high.
    fn raise_ceiling(
        &self,
        rollout: &RolloutKey,
        shard: u16,
        generation: u64,
        ceiling: u64,
    ) -> impl Future<Output = Stored<()>> + Send;
}

/// Changes an update so that less is granted than before.
pub trait CloseRollouts: ReadUpdates {
    /// Writes the change that `update` wants with the objects of its files, if they were verified, raises the revision of the head, puts the update into the head's halted
    /// ones if the change halts, and writes the audit entry, in one transaction. A change that leads to an active update
    /// is refused while its product is stopped, and a [`Change::Stop`](crate::record::Change) while it is not.
    ///
    /// # Errors
    /// `Conflict`, when the record is not as expected, or the change is refused; nothing is written then.
    fn want(
        &self,
        update: &UpdateRecord,
        expected: Expected,
        audit: Option<&AuditEntry>,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Shuts one shard for `generation`: after this, no grant can commit until it is opened. It creates a shard that
    /// does not exist.
    fn shut_shard(
        &self,
        rollout: &RolloutKey,
        shard: u16,
        gate: Gate,
        generation: u64,
    ) -> impl Future<Output = Stored<Shut>> + Send;

    /// Replaces an update whose change under way is still the expected one, ends this change, raises the revision of
    /// the head, and writes the audit entry, in one transaction. An active update leaves the head's halted ones; that is
    /// refused while its product is stopped.
    ///
    /// # Errors
    /// `Conflict`, when the record is not as expected; nothing is written then.
    fn record_change(
        &self,
        update: &UpdateRecord,
        expected: Expected,
        audit: Option<&AuditEntry>,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Writes an audit entry that belongs to no transition of an update.
    fn audit(&self, product: &ProductId, entry: &AuditEntry) -> impl Future<Output = Stored<()>> + Send;
}

/// Changes an update so that more may be granted than before, and puts catalogs in force.
pub trait OpenRollouts: CloseRollouts + RaiseCeilings {
    /// Opens a shard that is shut for the same generation; `false` when it is not.
    fn open_shard(
        &self,
        rollout: &RolloutKey,
        shard: u16,
        opening: &Opening,
    ) -> impl Future<Output = Stored<bool>> + Send;

    /// Stores a compiled catalog that contains every change up to `revision`, and puts it in force; `false` when a
    /// catalog of this revision or a later one is in force already, or updates ended and the head has changed since. The
    /// updates in `ended` leave the head's halted ones, because the catalog does not contain them. The previous catalog
    /// stays readable.
    fn put_catalog(
        &self,
        product: &ProductId,
        revision: u64,
        bytes: Vec<u8>,
        ended: &[UpdateId],
    ) -> impl Future<Output = Stored<bool>> + Send;
}

/// The rights of `check`.
pub trait CheckStore: ReadCatalog + WriteDevices {
    /// Tries to grant a place.
    fn grant(&self, request: &GrantRequest, patience: Patience) -> impl Future<Output = Stored<Granted>> + Send;

    /// One shard as it was at most a moment ago: an eventually consistent read.
    fn shard(&self, rollout: &RolloutKey, shard: u16) -> impl Future<Output = Stored<Option<Shard>>> + Send;

    /// The products whose devices may register themselves. One read, whatever is asked for.
    fn open_products(&self) -> impl Future<Output = Stored<BTreeSet<ProductId>>> + Send;

    /// Asks the sweep for a new compiled catalog, because the one of this name cannot be read. Does nothing when
    /// another is in force.
    fn ask_for_catalog(&self, product: &ProductId, name: &str) -> impl Future<Output = Stored<()>> + Send;

    /// Adds to the number of deferrals of an update, by objection.
    fn add_deferrals(
        &self,
        rollout: &RolloutKey,
        counts: &BTreeMap<&'static str, u64>,
    ) -> impl Future<Output = Stored<()>> + Send;
}

/// The rights of `report`. It writes devices, and nothing else.
pub trait ReportStore: ReadCatalog + ReadUpdates + WriteDevices {}

/// The rights of `count`. It may close rollouts, because a counted failure can stop one. It opens none.
pub trait CountStore: CloseRollouts + RaiseCeilings {
    /// The tally of a stream shard over the claims of a rollout, freshly read.
    fn tally(&self, rollout: &RolloutKey, stream_shard: &str) -> impl Future<Output = Stored<Tally<Sums>>> + Send;

    /// Replaces a tally whose position is still the one in `before`; `false` when it is not.
    fn put_tally(
        &self,
        rollout: &RolloutKey,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<Sums>,
        now: Timestamp,
    ) -> impl Future<Output = Stored<bool>> + Send;

    /// The tally of a stream shard over the versions of a product's devices, freshly read.
    fn version_tally(
        &self,
        product: &ProductId,
        stream_shard: &str,
    ) -> impl Future<Output = Stored<Tally<VersionCounts>>> + Send;

    /// Replaces a tally of versions, as [`put_tally`](Self::put_tally) does.
    fn put_version_tally(
        &self,
        product: &ProductId,
        stream_shard: &str,
        before: Option<&Position>,
        after: &Tally<VersionCounts>,
        now: Timestamp,
    ) -> impl Future<Output = Stored<bool>> + Send;

    /// Writes a page of devices. The same page may be written again.
    fn put_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> impl Future<Output = Stored<()>> + Send;

    /// Writes an entry into the list of a bucket, unless a later one is there.
    fn put_entry(&self, rollout: &RolloutKey, entry: &ListEntry) -> impl Future<Output = Stored<()>> + Send;

    /// Writes an event, unless it is there.
    fn put_event(&self, product: &ProductId, event: &Event) -> impl Future<Output = Stored<()>> + Send;

    /// Removes a device from the list of a bucket, unless a later entry is there.
    fn remove_entry(
        &self,
        rollout: &RolloutKey,
        device: &DeviceId,
        bucket: Bucket,
        revision: u64,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Marks a rollout whose counts are not certain any more, because a record of the stream could not be read. Its
    /// ceilings are not raised until it is repaired.
    fn mark_for_recount(&self, product: &ProductId, version: &Version) -> impl Future<Output = Stored<()>> + Send;
}

/// Numbers of devices by version. A number is negative for a moment while a stream shard is split.
pub type VersionCounts = BTreeMap<String, i64>;

/// Most versions in a tally. The devices on others are counted together: a device may say any text.
pub const MOST_VERSIONS: usize = 500;
/// Name under which these are counted.
pub const OTHER_VERSIONS: &str = "other";

/// The counts of the versions with most devices, and the sum of the others.
#[must_use]
pub fn capped(counts: VersionCounts) -> VersionCounts {
    let (mut others, mut named) = counts.into_iter().partition::<Vec<_>, _>(|(name, _)| name == OTHER_VERSIONS);
    named.retain(|(_, devices)| *devices != 0);
    named.sort_by(|(one, few), (other, many)| many.cmp(few).then(one.cmp(other)));
    others.extend(named.split_off(named.len().min(MOST_VERSIONS)));
    let sum = others.into_iter().fold(0_i64, |sum, (_, devices)| sum.saturating_add(devices));
    let other = (sum != 0).then(|| (OTHER_VERSIONS.to_string(), sum));
    named.into_iter().chain(other).collect()
}

/// The rights of `publish`.
pub trait PublishStore: ReadCatalog + WriteDevices + OpenRollouts + AskForVerification {
    /// Creates a draft, and its product with the first one. `false` when the version exists.
    fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> impl Future<Output = Stored<bool>> + Send;

    /// Begins another campaign of an update: `next`, with the change that opens it, takes the place of its record, and
    /// `last` is kept beside it as an earlier campaign. It raises the revision of the head and writes the audit entry, in
    /// one transaction.
    ///
    /// # Errors
    /// `Conflict`, when the record is not as `last`, something else in the product has changed since `revision`, or the
    /// product is stopped; nothing is written then.
    fn begin_campaign(
        &self,
        last: &UpdateRecord,
        next: &UpdateRecord,
        revision: u64,
        audit: &AuditEntry,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Deletes an update, and writes the audit entry, in one transaction; `false` when the record is not as `update`. The
    /// record of one that was published stays, marked as deleted.
    fn delete_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> impl Future<Output = Stored<bool>> + Send;

    /// Sets or removes the flag that stops a whole product, and writes the audit entry, in one transaction; `false` when
    /// the product does not exist.
    fn set_stopped(
        &self,
        product: &ProductId,
        is_stopped: bool,
        audit: &AuditEntry,
    ) -> impl Future<Output = Stored<bool>> + Send;

    /// Entries of the audit log in the month of `month`, the newest first: at most `most`, with names before `before`, and
    /// about `subject`, if they are given. The second value is the name from which the next page of this month starts.
    fn audit_month(
        &self,
        product: &ProductId,
        month: Timestamp,
        before: Option<&str>,
        subject: Option<&str>,
        most: usize,
    ) -> impl Future<Output = Stored<(Vec<AuditEntry>, Option<String>)>> + Send;

    /// Updates of a product, the newest version first: at most `most`, with names before `before`, if it is given. The second
    /// value is the name from which the next page starts. A page may have fewer updates than `most`, and none.
    fn update_page(
        &self,
        product: &ProductId,
        before: Option<&str>,
        most: usize,
    ) -> impl Future<Output = Stored<(Vec<UpdateRecord>, Option<String>)>> + Send;

    /// The number of devices on each version, as far as the stream was counted.
    fn versions(&self, product: &ProductId) -> impl Future<Output = Stored<Vec<(String, u64)>>> + Send;

    /// The devices that run a version, in the order of their ids: at most `most`. The second value is where the next page
    /// starts.
    fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
        most: usize,
    ) -> impl Future<Output = Stored<(Vec<DeviceId>, Option<DeviceId>)>> + Send;

    /// The list of the devices in a bucket of a rollout, as far as the stream was counted: the first `most` in the order
    /// of their ids, and whether there are more.
    fn listed(
        &self,
        rollout: &RolloutKey,
        bucket: Bucket,
        after: Option<&DeviceId>,
        most: usize,
    ) -> impl Future<Output = Stored<(Vec<ListEntry>, bool)>> + Send;

    /// Deletes a device, and writes the audit entry, in one transaction; `false` when its item has another revision.
    fn delete_device(&self, deletion: &DeviceDeletion) -> impl Future<Output = Stored<bool>> + Send;

    /// Sets the settings of a product, and writes the audit entry, in one transaction; `false` when the settings are not
    /// those of `before` any more, or the product does not exist.
    fn set_product(
        &self,
        product: &ProductId,
        before: &Head,
        after: &Head,
        audit: &AuditEntry,
    ) -> impl Future<Output = Stored<bool>> + Send;

    /// The number of deferrals of an update, by objection.
    fn deferrals(&self, rollout: &RolloutKey) -> impl Future<Output = Stored<BTreeMap<String, u64>>> + Send;

    /// The counters of a rollout over time, oldest first.
    fn series(&self, rollout: &RolloutKey) -> impl Future<Output = Stored<Vec<SeriesPoint>>> + Send;
}

/// The rights of `sweep`.
pub trait SweepStore: ReadCatalog + WriteDevices + OpenRollouts + TidyStore {
    /// Pages of devices that were due before `end`, the earliest first. At most a few hundred at a time.
    fn due_pages(&self, rollout: &RolloutKey, end: Timestamp) -> impl Future<Output = Stored<Vec<DuePage>>> + Send;

    /// Writes a page of devices.
    fn move_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> impl Future<Output = Stored<()>> + Send;

    /// Removes a page, after each of its devices is looked at or on a later page.
    fn remove_due_page(&self, rollout: &RolloutKey, name: &str) -> impl Future<Output = Stored<()>> + Send;

    /// Devices with their claims, freshly read. A device without an item is left out.
    fn devices(
        &self,
        product: &ProductId,
        devices: &[DeviceId],
    ) -> impl Future<Output = Stored<Vec<(DeviceId, KnownDevice)>>> + Send;

    /// Stores the counters of a rollout. A later point of the same hour replaces an earlier one.
    fn record_series(&self, rollout: &RolloutKey, point: &SeriesPoint) -> impl Future<Output = Stored<()>> + Send;

    /// A page of all devices of all products with their attributes, and where the next page starts. It may miss the
    /// writes of the last second.
    fn scan_fleet(&self, after: Option<&str>) -> impl Future<Output = Stored<ScannedDevices>> + Send;

    /// The state of the fleet snapshot; `None` if there was none yet.
    fn fleet_snapshot(&self) -> impl Future<Output = Stored<Option<Vec<u8>>>> + Send;

    /// Replaces the state of the fleet snapshot.
    fn put_fleet_snapshot(&self, bytes: Vec<u8>) -> impl Future<Output = Stored<()>> + Send;

    /// Writes the size of an audience into the record of its update.
    fn put_audience(&self, rollout: &RolloutKey, audience: &Audience) -> impl Future<Output = Stored<()>> + Send;

    /// Writes what is known of a product's devices into its head.
    fn put_fleet(&self, product: &ProductId, fleet: &Fleet) -> impl Future<Output = Stored<()>> + Send;

    /// Writes the members of a control group. It is not in force before its update says so.
    fn put_members(&self, rollout: &RolloutKey, members: &[DeviceId]) -> impl Future<Output = Stored<()>> + Send;

    /// The members of a control group.
    fn members(&self, rollout: &RolloutKey) -> impl Future<Output = Stored<Vec<DeviceId>>> + Send;

    /// Writes a reading of a control group into the record of its update.
    fn put_reading(&self, rollout: &RolloutKey, reading: &Reading) -> impl Future<Output = Stored<()>> + Send;
}

/// A page of a scan: devices with their claims, and where the next page starts.
pub type ScannedDevices = (Vec<(ProductId, DeviceId, KnownDevice)>, Option<String>);

/// Reads every device, for a recount.
pub trait RecountStore: ReadCatalog + ReadUpdates {
    /// A page of all devices of all products, and where the next page starts.
    fn scan_devices(&self, after: Option<&str>) -> impl Future<Output = Stored<ScannedDevices>> + Send;

    /// The number of devices on each version, as far as the stream was counted. Zeros are left out.
    fn version_counts(&self, product: &ProductId) -> impl Future<Output = Stored<VersionCounts>> + Send;
}
