//! What is stored, beside claims and shards, which the core knows itself.

use sha2::{Digest, Sha256};
use tidegate_core::limits::Allocation;
use tidegate_core::update::{Publication, StoredObject};
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, UpdateId, Version};

/// The small item that says whether a catalog is still current, and what its product allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Goes up with every change of an update that is or was live.
    pub revision: u64,
    /// Whether devices may use the product's shared token.
    pub accepts_product_tokens: bool,
    /// Whether devices may register themselves.
    pub registration_is_open: bool,
    /// The attribute of hawkBit's configData that is the device's version, if not
    /// [`VERSION_ATTRIBUTE`].
    pub version_attribute: Option<String>,
    /// The compiled catalog in force, once there is one.
    pub catalog: Option<PublishedCatalog>,
}

/// A compiled catalog that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedCatalog {
    /// The head's revision when it was compiled: it holds every change up to that one.
    pub revision: u64,
    /// Under what it is stored. What is stored under a name never changes.
    pub name: String,
}

impl PublishedCatalog {
    /// What `bytes` are stored under.
    #[must_use]
    pub fn of(revision: u64, bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        Self { revision, name: format!("{revision}-{}", hex::encode(digest.get(..8).unwrap_or_default())) }
    }
}

/// What SWUpdate and most configurations of other clients call the version.
pub const VERSION_ATTRIBUTE: &str = "sw_version";

impl Head {
    /// Whether a change was made that no compiled catalog holds yet.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.catalog.as_ref().map_or(0, |catalog| catalog.revision) < self.revision
    }

    /// The attribute of hawkBit's configData that is the device's version.
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
    /// Where it stands.
    pub state: State,
    /// Goes up with every change.
    pub generation: u64,
    /// The definition as JSON; `tidegate-wire` reads it.
    pub definition: String,
    /// The caps of its shards; `None` for a draft.
    pub allocation: Option<Allocation>,
    /// The stored objects of its files, once they were read back and hashed.
    pub objects: Vec<StoredObject>,
    /// Why it was last moved to another state.
    pub reason: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

impl UpdateRecord {
    /// What the rules must know of it beside its definition.
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
    /// What it ran when it last checked in; `None` when it only has a token so far.
    pub version: Option<String>,
    /// Its `device.json` as JSON text.
    pub attributes: String,
    /// When it was first seen.
    pub first_seen: Option<Timestamp>,
    /// When it was last seen, to the day.
    pub last_seen: Option<Timestamp>,
    /// Tokens of an earlier generation are revoked.
    pub token_generation: u32,
}

/// All that is known of a device: its record and its claims.
#[derive(Debug, Clone, Default)]
pub struct KnownDevice {
    /// The record, if it was ever seen or given a token.
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
    /// What it runs now.
    pub version: String,
    /// What the record said before; the write happens only if it still says so.
    pub previous_version: Option<String>,
    /// Its `device.json` as JSON text.
    pub attributes: String,
    /// Now.
    pub seen_at: Timestamp,
}

/// Who did what to an update, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// The principal, as the front door said it.
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
    /// The generation that it led to.
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

/// Where a claim is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimKey {
    /// The product.
    pub product: ProductId,
    /// The device.
    pub device: DeviceId,
    /// The update.
    pub update: UpdateId,
}
