//! What could be given: a version, who it is for, from where it can be reached, and its rollout.

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::device::{Delivery, Device};
use crate::id::{ProductId, UpdateId};
use crate::lifecycle::State;
use crate::objection::{Objection, Undeliverable};
use crate::policy::Policy;
use crate::rollout::Rollout;

/// Whether devices may be sent back to this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Downgrade {
    /// Only devices on a lower version may have it.
    #[default]
    Refused,
    /// Devices on a higher version may have it too.
    Allowed,
}

/// One file of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name, for the device.
    pub name: String,
    /// SHA-256 of its bytes, 64 lower-case hex digits. This is also its name in storage.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
    /// The stored object whose bytes were read back and hashed, once they were.
    pub object: StoredObject,
}

/// What reading a file back from storage showed, beside its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoredObject {
    /// The object's version, where the bucket keeps versions.
    pub version: Option<String>,
    /// SHA-1 of its bytes, 40 lower-case hex digits. Some update clients check nothing else; it is
    /// never what we rely on.
    pub sha1: Option<String>,
    /// MD5 of its bytes, 32 lower-case hex digits, for the same clients.
    pub md5: Option<String>,
}

/// What a device is told about an update that it gets. Free-form parts are JSON text, which the
/// rules never look into.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of the update on the wire
pub struct Content {
    pub name: Option<String>,
    pub description: Option<String>,
    pub kind: Kind,
    pub payload: Option<String>,
    pub specification: Option<String>,
    pub files: Vec<File>,
    /// The user must agree before the device installs it.
    pub ask_consent: bool,
}

/// What an update carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Kind {
    /// Files.
    #[default]
    File,
    /// A JSON payload.
    Json,
    /// A list of addresses elsewhere.
    UrlList,
}

impl Content {
    /// What one device downloads, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// What a protocol cannot carry of it.
    fn refuses(&self, delivery: Delivery) -> Option<Undeliverable> {
        let has_no_file = || self.files.is_empty().then_some(Undeliverable::NoFile);
        let has_question = || self.ask_consent.then_some(Undeliverable::NoConsent);
        match delivery {
            Delivery::Anything => None,
            Delivery::AnythingUnasked => has_question(),
            Delivery::FilesOnly => has_no_file().or_else(has_question),
            Delivery::FilesWithSha1 => {
                let lacks_sha1 = self.files.iter().any(|file| file.object.sha1.is_none());
                has_no_file().or(lacks_sha1.then_some(Undeliverable::NoSha1))
            }
        }
    }
}

/// What is known of an update beside its definition.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Where it stands.
    pub state: State,
    /// Its generation.
    pub generation: u64,
    /// Over how many shards its limits are split.
    pub shards: u16,
    /// The stored objects of its files, in the order of its files; empty for a draft.
    pub objects: Vec<StoredObject>,
    /// Why it was last moved to another state.
    pub reason: String,
}

impl Publication {
    /// A draft's.
    #[must_use]
    pub fn draft() -> Self {
        Self { state: State::Draft, generation: 0, shards: 1, objects: Vec::new(), reason: String::new() }
    }
}

/// A version that could be given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Update {
    /// Its id.
    pub id: UpdateId,
    /// The product it belongs to.
    pub product: ProductId,
    /// The version a device runs afterwards.
    pub version: Version,
    /// Where it stands.
    pub state: State,
    /// Goes up with every change; a shard grants only for its own generation.
    pub generation: u64,
    /// Why it was last moved to another state.
    pub reason: String,
    /// Over how many shards its limits are split.
    pub shards: u16,
    /// It can be installed over versions that one of these matches; over any, when empty.
    pub compatible_from: Vec<VersionReq>,
    /// Who it is for.
    pub policy: Policy,
    /// Whether devices may be sent back to it.
    pub downgrade: Downgrade,
    /// When, and how many.
    pub rollout: Rollout,
    /// What a device is told of it.
    pub content: Content,
}

impl Update {
    /// Never the device's own version, and never a lower one unless downgrades are allowed.
    /// Build metadata is not part of precedence (SemVer 2.0, rule 10).
    pub(crate) fn moves(&self, device: &Device) -> Result<(), Objection> {
        let allowed = match self.version.cmp_precedence(&device.version) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => self.downgrade == Downgrade::Allowed,
            std::cmp::Ordering::Equal => false,
        };
        if allowed { Ok(()) } else { Err(Objection::UpToDate { device: device.version.clone() }) }
    }

    /// A requirement speaks of a pre-release only when it names one of the same release, as in
    /// Cargo: a device on `2.0.0-rc.1` is not reached by `>=1.0.0`.
    pub(crate) fn reaches(&self, device: &Device) -> Result<(), Objection> {
        if let Some(why) = self.content.refuses(device.delivery) {
            return Err(Objection::Undeliverable { why });
        }
        let reached =
            self.compatible_from.is_empty() || self.compatible_from.iter().any(|from| from.matches(&device.version));
        if reached {
            return Ok(());
        }
        Err(Objection::Incompatible { device: device.version.clone(), from: self.compatible_from.clone() })
    }
}
