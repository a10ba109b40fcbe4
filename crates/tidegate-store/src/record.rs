//! Stored records other than claims and shards, whose types are in the core.

use sha2::{Digest, Sha256};
use tidegate_core::limits::Allocation;
use tidegate_core::update::{Publication, StoredObject};
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, UpdateId, Version};

/// The head of a product: a small item with the name of its current catalog and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Number that increases with every change of an update that is or was live.
    pub revision: u64,
    /// True if devices may use the product's shared token.
    pub accepts_product_tokens: bool,
    /// True if devices may register themselves.
    pub registration_is_open: bool,
    /// The attribute of hawkBit's configData with the device's version; `None` is [`VERSION_ATTRIBUTE`].
    pub version_attribute: Option<String>,
    /// The compiled catalog in force, once there is one.
    pub catalog: Option<PublishedCatalog>,
}

/// A compiled catalog that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedCatalog {
    /// The head's revision when it was compiled: it holds every change up to that one.
    pub revision: u64,
    /// Its name in the store. The object of a name never changes.
    pub name: String,
}

impl PublishedCatalog {
    /// The catalog whose encoded form is `bytes`.
    #[must_use]
    pub fn of(revision: u64, bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        Self { revision, name: format!("{revision}-{}", hex::encode(digest.get(..8).unwrap_or_default())) }
    }
}

/// The usual name of the version attribute in SWUpdate and other hawkBit clients.
pub const VERSION_ATTRIBUTE: &str = "sw_version";

impl Head {
    /// Returns true if no compiled catalog contains the last change yet.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.catalog.as_ref().map_or(0, |catalog| catalog.revision) < self.revision
    }

    /// The attribute of hawkBit's configData with the device's version.
    #[must_use]
    pub fn version_attribute(&self) -> &str {
        self.version_attribute.as_deref().unwrap_or(VERSION_ATTRIBUTE)
    }
}

/// An update as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateRecord {
    /// Its id.
    pub id: UpdateId,
    /// The product it belongs to.
    pub product: ProductId,
    /// The version it gives.
    pub version: Version,
    /// Its state.
    pub state: State,
    /// Number that increases with every change.
    pub generation: u64,
    /// The definition as JSON. Its type is `Definition` in `tidegate-wire`.
    pub definition: String,
    /// The caps of its shards; `None` for a draft.
    pub allocation: Option<Allocation>,
    /// The stored objects of its files; empty until they were read back and hashed.
    pub objects: Vec<StoredObject>,
    /// The reason of its last change of state.
    pub reason: String,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// The time of its last change.
    pub changed_at: Timestamp,
}

impl UpdateRecord {
    /// The part of the record that the rules need beside the definition.
    #[must_use]
    pub fn publication(&self) -> Publication {
        Publication {
            state: self.state,
            generation: self.generation,
            shards: self.allocation.as_ref().map_or(1, Allocation::shards),
            objects: self.objects.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// A device as it is stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceRecord {
    /// Its version at the last check-in; `None` if it has only got a token so far.
    pub version: Option<String>,
    /// Its `device.json` as JSON text.
    pub attributes: String,
    /// The time of its first request.
    pub first_seen: Option<Timestamp>,
    /// The time of its last request, accurate to a day.
    pub last_seen: Option<Timestamp>,
    /// The first generation of tokens that is not revoked.
    pub token_generation: u32,
}

/// The stored data of a device: its record and its claims.
#[derive(Debug, Clone, Default)]
pub struct KnownDevice {
    /// The record, if the device has ever sent a request or got a token.
    pub record: Option<DeviceRecord>,
    /// Its claims, by update.
    pub claims: Vec<(UpdateId, Claim)>,
}

/// A device record to be written. The counts by version move with it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceWrite {
    /// The product it belongs to.
    pub product: ProductId,
    /// The device.
    pub device: DeviceId,
    /// The version that it runs now.
    pub version: String,
    /// The version in the record before. The write happens only if the record still has it.
    pub previous_version: Option<String>,
    /// Its `device.json` as JSON text.
    pub attributes: String,
    /// The time of the request.
    pub seen_at: Timestamp,
}

/// An entry of the audit log: a change with its author and reason.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// The time of the change.
    pub at: Timestamp,
    /// The principal, as the front door named it.
    pub who: String,
    /// The transition or change.
    pub action: String,
    /// The update's version, or the device.
    pub subject: String,
    /// The state before.
    pub from: Option<State>,
    /// The state after.
    pub to: Option<State>,
    /// The reason that was given.
    pub reason: String,
    /// The generation after the change.
    pub generation: u64,
}

/// The counters of a rollout at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the counters of `tidegate_core::shard::Counts`
pub struct SeriesPoint {
    pub at: Timestamp,
    pub offered: u64,
    pub in_flight: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub timed_out: u64,
}

/// Key of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimKey {
    /// The product.
    pub product: ProductId,
    /// The device.
    pub device: DeviceId,
    /// The update.
    pub update: UpdateId,
}
