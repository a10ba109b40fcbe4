//! The store: traits for single rights, and one trait for each function that combines only the rights that it uses.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use aws_sdk_dynamodb::error::DisplayErrorContext;
use tidegate_core::claim::CountDelta;
use tidegate_core::limits::Allocation;
use tidegate_core::shard::{Gate, Grant, Shard};
use tidegate_core::{Claim, DeviceId, ProductId, Timestamp, UpdateId, Version};

use crate::record::{AuditEntry, ClaimKey, DeviceRecord, DeviceWrite, Head, KnownDevice, SeriesPoint, UpdateRecord};

/// Error of a store call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is too busy. Whether the write happened is not known.
    #[error("the store cannot be reached: {0}")]
    Unavailable(#[source] Cause),
    /// Another request changed the record first.
    #[error("another request changed the record first")]
    Conflict,
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

/// One attempt to reserve a slot. One transaction writes the claim and its shard, both or neither.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    /// Key of the claim.
    pub key: ClaimKey,
    /// The generation of the update in the decision.
    pub generation: u64,
    /// The counters that must be below their caps.
    pub grant: Grant,
    /// The claim before, if the grant is not the first.
    pub previous: Option<Claim>,
    /// The claim after.
    pub claim: Claim,
    /// Changes of the counters beside the grant itself.
    pub delta: CountDelta,
    /// The period in which the grant counts; `None` when the rate is not limited.
    pub period: Option<Period>,
    /// The device's record, if it must be written too.
    pub device: Option<DeviceWrite>,
}

/// The period in which a grant counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// The period that the shard counts already.
    Same(i64),
    /// A new period. The shard still counts an earlier one, and this grant starts the new one.
    New(i64),
}

/// Result of a reservation.
#[derive(Debug, Clone, PartialEq)]
pub enum Reserved {
    /// The claim is committed.
    Granted,
    /// The device has a different claim than expected; nothing was written.
    OtherClaim(Option<Claim>),
    /// The shard's conditions do not hold; nothing was written. `None` when it does not exist.
    Refused(Option<Shard>),
    /// The device's record is different than expected; nothing was written.
    OtherDevice,
    /// Other requests write the same records at this moment; nothing was written.
    Busy,
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
        freshness: Freshness,
    ) -> impl Future<Output = Stored<KnownDevice>> + Send;
}

/// Reads the records of updates and the shards of their rollouts.
pub trait ReadUpdates: Send + Sync + 'static {
    /// Every update of a product. An unreadable record is logged and left out, so it does not hide the others.
    fn updates(&self, product: &ProductId) -> impl Future<Output = Stored<Vec<UpdateRecord>>> + Send;

    /// One update, freshly read.
    fn update(
        &self,
        product: &ProductId,
        version: &Version,
    ) -> impl Future<Output = Stored<Option<UpdateRecord>>> + Send;

    /// The shards of an update, freshly read; `None` for one that does not exist.
    fn shards(&self, update: &UpdateId, count: u16) -> impl Future<Output = Stored<Vec<Option<Shard>>>> + Send;
}

/// Ends a claim's reservation: by a report, by a check-in with the new version, or by expiry.
pub trait SettleClaims: Send + Sync + 'static {
    /// Replaces `before` by `after` and moves its shard's counters, in one transaction.
    ///
    /// # Errors
    /// `Conflict`, when the stored claim differs from `before`; nothing is written then.
    fn settle(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
    ) -> impl Future<Output = Stored<()>> + Send;
}

/// Changes an update so that less is granted than before, and puts the result in force.
pub trait CloseRollouts: Send + Sync + 'static {
    /// Replaces an update whose generation is still `expected`, raises the revision of the head, and writes the audit
    /// entry, in one transaction.
    ///
    /// # Errors
    /// `Conflict`, when the generation is another one; nothing is written then.
    fn change_update(
        &self,
        update: &UpdateRecord,
        expected: u64,
        audit: &AuditEntry,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Shuts every shard for `generation`: after this, no grant of an earlier one can commit.
    ///
    /// # Errors
    /// `Conflict`, when a shard belongs to a later generation.
    fn close_shards(
        &self,
        update: &UpdateId,
        count: u16,
        gate: Gate,
        generation: u64,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Stores a compiled catalog that contains every change up to `revision`, and puts it in force; `false` when a
    /// catalog of this revision or a later one is in force already. The previous catalog stays readable.
    fn put_catalog(
        &self,
        product: &ProductId,
        revision: u64,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Stored<bool>> + Send;
}

/// Changes an update so that more may be granted than before.
pub trait OpenRollouts: CloseRollouts {
    /// Opens every shard for `generation` with these caps, creating those that do not exist.
    ///
    /// # Errors
    /// `Conflict`, when a shard belongs to a later generation.
    fn open_shards(
        &self,
        update: &UpdateId,
        allocation: &Allocation,
        generation: u64,
    ) -> impl Future<Output = Stored<()>> + Send;
}

/// The rights of `check`.
pub trait CheckStore: ReadCatalog + ReadDevices + SettleClaims {
    /// Tries to reserve a slot.
    fn reserve(&self, reservation: &Reservation) -> impl Future<Output = Stored<Reserved>> + Send;

    /// Writes a device's record and moves the counts by version.
    ///
    /// # Errors
    /// `Conflict`, when the record is different than expected.
    fn save_device(&self, write: &DeviceWrite) -> impl Future<Output = Stored<()>> + Send;

    /// Asks the sweep for a new compiled catalog, because the one of this name cannot be read. Does nothing when
    /// another is in force.
    fn ask_for_catalog(&self, product: &ProductId, name: &str) -> impl Future<Output = Stored<()>> + Send;

    /// Adds to the number of deferrals of an update, by objection.
    fn add_deferrals(
        &self,
        update: &UpdateId,
        counts: &BTreeMap<&'static str, u64>,
    ) -> impl Future<Output = Stored<()>> + Send;
}

/// The rights of `report`. It may close rollouts, because a reported failure can stop one. It opens no rollout, creates
/// no update and revokes no token.
pub trait ReportStore: ReadCatalog + ReadDevices + ReadUpdates + SettleClaims + CloseRollouts {
    /// Settles a claim as [`SettleClaims::settle`] does, and writes the device's record in the same transaction. It is
    /// for devices whose check-ins do not contain their version.
    ///
    /// # Errors
    /// `Conflict`, when the claim or the record is different than expected; nothing is written then.
    fn settle_and_save(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: &DeviceWrite,
    ) -> impl Future<Output = Stored<()>> + Send;

    /// Writes a device's record and no claim: the device reports a version that it did not get through a claim.
    ///
    /// # Errors
    /// `Conflict`, when the record is different than expected.
    fn save_running(&self, device: &DeviceWrite) -> impl Future<Output = Stored<()>> + Send;

    /// Stores a progress status, if the claim is still reserved; returns true if it was.
    fn note_progress(
        &self,
        key: &ClaimKey,
        status: &str,
        progress: Option<u8>,
        message: Option<&str>,
        now: Timestamp,
    ) -> impl Future<Output = Stored<bool>> + Send;
}

/// The rights of `publish`.
pub trait PublishStore: ReadCatalog + ReadDevices + ReadUpdates + OpenRollouts {
    /// Creates a draft, and its product with the first one. `false` when the version exists.
    fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> impl Future<Output = Stored<bool>> + Send;

    /// Writes an audit entry that belongs to no transition of an update.
    fn audit(&self, product: &ProductId, entry: &AuditEntry) -> impl Future<Output = Stored<()>> + Send;

    /// The audit log, oldest first.
    fn audit_log(&self, product: &ProductId) -> impl Future<Output = Stored<Vec<AuditEntry>>> + Send;

    /// The number of devices on each version.
    fn versions(&self, product: &ProductId) -> impl Future<Output = Stored<Vec<(String, u64)>>> + Send;

    /// A page of the devices that run a version, in the order of their ids.
    fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
    ) -> impl Future<Output = Stored<(Vec<DeviceId>, Option<DeviceId>)>> + Send;

    /// Revokes every token that was issued to a device; returns the generation that is valid now.
    fn revoke_tokens(&self, product: &ProductId, device: &DeviceId) -> impl Future<Output = Stored<u32>> + Send;

    /// Sets the settings of a product; `false` when the product does not exist.
    fn set_product(&self, product: &ProductId, head: &Head) -> impl Future<Output = Stored<bool>> + Send;

    /// The number of deferrals of an update, by objection.
    fn deferrals(&self, update: &UpdateId) -> impl Future<Output = Stored<BTreeMap<String, u64>>> + Send;

    /// The counters of a rollout over time, oldest first.
    fn series(&self, update: &UpdateId) -> impl Future<Output = Stored<Vec<SeriesPoint>>> + Send;
}

/// The rights of `sweep`.
pub trait SweepStore: ReadCatalog + ReadUpdates + SettleClaims + OpenRollouts {
    /// Claims whose reservation ended by `now`, as the index lists them: some may have been settled
    /// meanwhile. At most a few thousand at a time.
    fn due_claims(&self, now: Timestamp) -> impl Future<Output = Stored<Vec<ClaimKey>>> + Send;

    /// One claim, freshly read.
    fn claim(&self, key: &ClaimKey) -> impl Future<Output = Stored<Option<Claim>>> + Send;

    /// Stores the counters of a rollout. A later point of the same hour replaces an earlier one.
    fn record_series(&self, update: &UpdateId, point: &SeriesPoint) -> impl Future<Output = Stored<()>> + Send;
}

impl KnownDevice {
    /// The record, or an empty one.
    #[must_use]
    pub fn record_or_default(&self) -> DeviceRecord {
        self.record.clone().unwrap_or_default()
    }
}
