//! Update: a version with its content, its policy, its compatibility and its rollout.

use std::cell::Cell;
use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::campaign::Way;
use crate::catalog::Catalog;
use crate::cohort::Cohort;
use crate::control_group::is_too_short;
use crate::device::{Delivery, Device};
use crate::gate::hour_bucket;
use crate::id::{DeviceId, ProductId, UpdateId};
use crate::life::word::is_same;
use crate::lifecycle::State;
use crate::limits::NEWCOMERS_SHARD;
use crate::objection::{Objection, Undeliverable};
use crate::policy::{Candidate, Policy, Slots, Truth};
use crate::rollout::Rollout;

/// Time before the beginning of a campaign at which a device must be known to be no newcomer.
pub const KNOWN_BEFORE: SignedDuration = SignedDuration::from_hours(24);

/// One file of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Name for the device.
    pub name: String,
    /// SHA-256 of the bytes, 64 lower-case hex digits. It is also the name in storage.
    pub sha256: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// The stored object, with the metadata recorded during verification.
    pub object: StoredObject,
}

/// Metadata of a stored file, recorded during verification.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoredObject {
    /// Version of the object, if the bucket keeps versions.
    pub version: Option<String>,
    /// SHA-1 of the bytes, 40 lower-case hex digits. Some update clients check only this; the service never relies on
    /// it.
    pub sha1: Option<String>,
    /// MD5 of the bytes, 32 lower-case hex digits, for the same clients.
    pub md5: Option<String>,
}

/// Content of an update, as a device gets it. Free-form parts are JSON text, which the rules never read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of the update in the API
pub struct Content {
    pub name: Option<String>,
    pub description: Option<String>,
    pub kind: Kind,
    pub payload: Option<String>,
    pub specification: Option<String>,
    pub files: Vec<File>,
    /// The device must ask the user for consent before it installs the update.
    pub ask_consent: bool,
}

/// Kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Kind {
    /// Files.
    #[default]
    File,
    /// A JSON payload.
    Json,
    /// A list of URLs on other servers.
    UrlList,
}

impl Content {
    /// Number of bytes that one device downloads.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// Capability that the content needs and the protocol lacks.
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

/// Facts about a published update that are not in its definition.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Number of its campaign.
    pub campaign: u32,
    /// State of the update.
    pub state: State,
    /// Generation of the update.
    pub generation: u64,
    /// Number of shards over which the limits are split.
    pub shards: u16,
    /// Places of all shards, once the limits are split; `None` if there is no limit.
    pub places: Option<u64>,
    /// Stored objects of the files, in the order of the files; empty for a draft.
    pub objects: Vec<StoredObject>,
    /// Reason for the last change of state.
    pub reason: String,
    /// Time at which the rollout was opened last; `None` if it never was.
    pub opened_at: Option<Timestamp>,
    /// The present test of the gate.
    pub test: Test,
    /// Lowest place of the queue that is held out as a control group.
    pub held_out_from: Option<Cohort>,
    /// Number of phases on evidence that have begun after the first one.
    pub advanced: usize,
    /// No grant before this time: transfers fail.
    pub not_before: Option<Timestamp>,
    /// Its beginning, if newcomers have a share of their own in it.
    pub newcomers_since: Option<Timestamp>,
}

/// A test of the gate: the devices that are first granted the update between two acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Test {
    /// Number of acknowledgements before it.
    pub number: u16,
    /// Time at which it began; `None` if the rollout was never opened.
    pub began_at: Option<Timestamp>,
}

impl Test {
    /// Bucket of a time, for the gate.
    #[must_use]
    pub fn hour(&self, now: Timestamp) -> u8 {
        let began = self.began_at.unwrap_or(now);
        let hours = now.as_second().saturating_sub(began.as_second()).div_euclid(3600);
        let bucket = hour_bucket(u64::try_from(hours).unwrap_or(0));
        u8::try_from(bucket).unwrap_or(u8::MAX)
    }
}

impl Publication {
    /// The publication of a draft.
    #[must_use]
    pub fn draft() -> Self {
        Self {
            campaign: 1,
            state: State::Draft,
            generation: 0,
            shards: 1,
            places: None,
            objects: Vec::new(),
            reason: String::new(),
            opened_at: None,
            test: Test::default(),
            held_out_from: None,
            advanced: 0,
            not_before: None,
            newcomers_since: None,
        }
    }
}

/// Version that devices can be offered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Update {
    /// Id of the update.
    pub id: UpdateId,
    /// Product of the update.
    pub product: ProductId,
    /// Version that a device runs after the installation.
    pub version: Version,
    /// Number of its campaign.
    pub campaign: u32,
    /// State of the update.
    pub state: State,
    /// Number that increases with every change. A shard grants only for its own generation.
    pub generation: u64,
    /// Reason for the last change of state.
    pub reason: String,
    /// Time at which the rollout was opened last; `None` if it never was.
    pub opened_at: Option<Timestamp>,
    /// The present test of the gate.
    pub test: Test,
    /// Lowest place of the queue that is held out as a control group.
    pub held_out_from: Option<Cohort>,
    /// No grant before this time: transfers fail.
    pub not_before: Option<Timestamp>,
    /// Its beginning, if newcomers have a share of their own in it.
    pub newcomers_since: Option<Timestamp>,
    /// Number of shards over which the limits are split.
    pub shards: u16,
    /// The other names of its image: what it may say of itself, beside the version.
    pub reports_as: Vec<String>,
    /// Versions over which the update can be installed; any version if the list is empty.
    pub compatible_from: Vec<VersionReq>,
    /// Policy that admits devices.
    pub policy: Policy,
    /// The higher versions from which it takes devices back. If there is one, it is a rollback: for these devices only.
    pub rollback_from: Vec<Version>,
    /// Rollout of the update.
    pub rollout: Rollout,
    /// Content of the update.
    pub content: Content,
}

impl Update {
    /// Cohort of a device in this update's rollout.
    #[must_use]
    pub fn cohort_of(&self, device: &DeviceId) -> Cohort {
        Cohort::of(&self.id, device)
    }

    /// Returns true if it takes devices back to a lower version.
    #[must_use]
    pub fn is_rollback(&self) -> bool {
        !self.rollback_from.is_empty()
    }

    /// Returns true if a decision considers it before every upgrade.
    pub(crate) fn comes_first(&self) -> bool {
        self.is_rollback() && self.state.is_live()
    }

    /// The devices that the campaign moves.
    #[must_use]
    pub fn way(&self) -> Way {
        let to = self.version.clone();
        match self.is_rollback() {
            true => Way::Back { to, from: self.rollback_from.clone() },
            false => Way::Up { to },
        }
    }

    /// The time since which devices could apply the update; `None` while it is not active.
    #[must_use]
    pub fn open_since(&self) -> Option<Timestamp> {
        self.opened_at.filter(|_| self.state == State::Active)
    }

    /// Returns true if a part of the audience may be held out. A way back is for all at once, and a short campaign has no
    /// time for it.
    #[must_use]
    pub fn may_hold_out(&self, now: Timestamp) -> bool {
        self.rollout.health.control_group && !self.is_rollback() && !is_too_short(self.rollout.ends_at, now)
    }

    /// Returns true if a device is new to this campaign: it was not known a day before its beginning, and so may be
    /// anybody's invention.
    #[must_use]
    pub fn is_newcomer(&self, first_seen: Option<Timestamp>) -> bool {
        let is_known = |since: Timestamp, seen: Timestamp| since.duration_since(seen) >= KNOWN_BEFORE;
        self.newcomers_since.is_some_and(|since| !first_seen.is_some_and(|seen| is_known(since, seen)))
    }

    /// The shards that a device may ask, by whether it is a newcomer.
    #[must_use]
    pub fn shards_for(&self, is_newcomer: bool) -> Range<u16> {
        let spread = self.rollout.limits.shards(self.content.size_bytes());
        match (self.newcomers_since, is_newcomer) {
            (None, _) => 0..self.shards.min(spread),
            (Some(_), true) => NEWCOMERS_SHARD..NEWCOMERS_SHARD.saturating_add(1),
            (Some(_), false) => {
                let first = NEWCOMERS_SHARD.saturating_add(1);
                first..self.shards.min(spread.saturating_add(first))
            }
        }
    }

    /// Returns true if a device without an offer belongs to the audience.
    #[must_use]
    pub fn is_for(&self, device: &Device, slots: &Slots) -> bool {
        let facts = slots.bind(device);
        let place = || self.cohort_of(&device.id).place();
        let candidate = Candidate { new_version: &self.version, cohort: &place };
        self.moves(device).is_ok()
            && self.reaches(device).is_ok()
            && self.policy.evaluate(&facts, &candidate) == Truth::Yes
    }

    /// Returns true if the policy is certain to admit no device that runs `version`, whatever else it says.
    #[must_use]
    pub fn excludes_all_on(&self, version: &Version, slots: &Slots) -> bool {
        let nothing = Attributes::default();
        let facts = slots.bind_unordered(version, &nothing);
        let depends_on_place = Cell::new(false);
        let place = || {
            depends_on_place.set(true);
            0
        };
        let candidate = Candidate { new_version: &self.version, cohort: &place };
        self.policy.evaluate(&facts, &candidate) == Truth::No && !depends_on_place.get()
    }

    /// Returns true if the policy is certain not to admit the device. In doubt it is not.
    #[must_use]
    pub fn excludes(&self, device: &Device, catalog: &Catalog) -> bool {
        let facts = catalog.slots().bind(device);
        let place = || self.cohort_of(&device.id).place();
        let candidate = Candidate { new_version: &self.version, cohort: &place };
        self.policy.evaluate(&facts, &candidate) == Truth::No
    }

    /// Rule: the version must be higher than the device's version. A rollback is for devices that run a version that it
    /// names. Build metadata is not part of precedence (SemVer 2.0, rule 10).
    pub(crate) fn moves(&self, device: &Device) -> Result<(), Objection> {
        let runs = |version: &Version| {
            let is_it = |runs: &Version| version.cmp_precedence(runs).is_eq();
            is_it(&device.version) || device.said.as_ref().is_some_and(is_it)
        };
        let says_it = || {
            let text = device.said.as_ref().unwrap_or(&device.version).to_string();
            self.reports_as.iter().any(|own| is_same(own, &text))
        };
        let is_moved = match self.is_rollback() {
            true => self.rollback_from.iter().any(runs) && !says_it(),
            false => self.version.cmp_precedence(&device.version).is_gt(),
        };
        match is_moved {
            true => Ok(()),
            false if self.is_rollback() && !runs(&self.version) && !says_it() => {
                Err(Objection::NotRolledBack { device: device.version.clone(), from: self.rollback_from.clone() })
            }
            false => Err(Objection::UpToDate { device: device.version.clone() }),
        }
    }

    /// Rule: the protocol must carry the content, and the device's version must be compatible.
    ///
    /// A requirement matches a pre-release only if it names a pre-release of the same version, as in Cargo: `>=1.0.0`
    /// does not match `2.0.0-rc.1`.
    pub(crate) fn reaches(&self, device: &Device) -> Result<(), Objection> {
        if let Some(why) = self.content.refuses(device.delivery) {
            return Err(Objection::Undeliverable { why });
        }
        let is_compatible =
            self.compatible_from.is_empty() || self.compatible_from.iter().any(|from| from.matches(&device.version));
        if is_compatible {
            return Ok(());
        }
        Err(Objection::Incompatible { device: device.version.clone(), from: self.compatible_from.clone() })
    }
}
