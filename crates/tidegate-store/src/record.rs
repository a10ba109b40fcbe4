//! Stored records other than claims and shards, whose types are in the core.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tidegate_core::breaker::Breaker;
use tidegate_core::cadence::Cadence;
use tidegate_core::claim::Halted;
use tidegate_core::control_group::ControlGroup;
use tidegate_core::count::Sums;
use tidegate_core::gate::{Control, HeldFor};
use tidegate_core::id::{sortable, without_build};
use tidegate_core::life::Bucket;
use tidegate_core::lifecycle::Force;
use tidegate_core::limits::Allocation;
use tidegate_core::orders::Orders;
use tidegate_core::phase::Begun;
use tidegate_core::question::Questions;
use tidegate_core::snapshot::FORMAT;
use tidegate_core::times::Times;
use tidegate_core::update::{Publication, StoredObject, Test};
use tidegate_core::{Claim, DeviceId, ProductId, State, Timestamp, Transition, Update, UpdateId, Version};

/// The head of a product: a small item with the name of its current catalog and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The time of its first update; `None` before that.
    pub created_at: Option<Timestamp>,
    /// Number that increases with every change of an update that is or was live.
    pub revision: u64,
    /// True if devices may use the product's shared token.
    pub accepts_product_tokens: bool,
    /// True if devices may register themselves.
    pub registration_is_open: bool,
    /// The first generation of the product's shared token that is not revoked.
    pub product_token_generation: u32,
    /// Number that increases with every change of the settings.
    pub settings_revision: u64,
    /// The attribute of hawkBit's configData with the device's version; `None` is [`VERSION_ATTRIBUTE`].
    pub version_attribute: Option<String>,
    /// True if a report of success proves an update, for devices that never say their version.
    pub proves_by_report: bool,
    /// How its devices live with updates.
    pub times: Times,
    /// Its devices, as the last fleet snapshot counted them. A change of the settings does not write it.
    pub fleet: Fleet,
    /// The time at which the sweep last removed what is not needed; `None` before the first time.
    pub tidied_at: Option<Timestamp>,
    /// The compiled catalog in force, once there is one.
    pub catalog: Option<PublishedCatalog>,
    /// True if an operator stopped the whole product.
    pub is_stopped: bool,
    /// Updates whose rollout was stopped. An update leaves the set when it is offered again, or with the first catalog that
    /// does not contain it any more. Each campaign has an id of its own: a new one must not let an older catalog offer the
    /// one before.
    pub halted: BTreeSet<UpdateId>,
    /// Revision of the oldest catalog that may be used with this head: an older one may still offer an update that has
    /// left [`halted`](Self::halted).
    pub oldest_catalog: u64,
}

/// The devices of a product, as a fleet snapshot counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fleet {
    /// The gap between two check-ins that 95 of 100 devices stay below, in seconds.
    pub usual_gap_s: i64,
    /// Devices that were known for a day then, and heard from within thirty days.
    pub established: u64,
    /// The time of the snapshot; `None` if there was none.
    pub counted_at: Option<Timestamp>,
}

/// A compiled catalog that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedCatalog {
    /// The number of its format.
    pub format: u8,
    /// The head's revision when it was compiled: it holds every change up to that one.
    pub revision: u64,
    /// Its name in the store: the revision and the SHA-256 of its bytes. The object of a name never changes.
    pub name: String,
}

impl PublishedCatalog {
    /// The catalog whose encoded form, in the format of this version of Tidegate, is `bytes`.
    #[must_use]
    pub fn of(revision: u64, bytes: &[u8]) -> Self {
        Self { format: FORMAT, revision, name: format!("{revision}-{}", hex::encode(Sha256::digest(bytes))) }
    }

    /// The head's revision when it was compiled, as its name says. [`revision`](Self::revision) is 0 while a new catalog
    /// is requested.
    #[must_use]
    pub fn compiled_at(&self) -> u64 {
        self.name.split_once('-').and_then(|(revision, _)| revision.parse().ok()).unwrap_or(0)
    }
}

/// The usual name of the version attribute in SWUpdate and other hawkBit clients.
pub const VERSION_ATTRIBUTE: &str = "sw_version";

impl Head {
    /// Returns true if no compiled catalog in the format of this version contains the last change yet.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let ours = self.catalog.as_ref().filter(|catalog| catalog.format == FORMAT);
        ours.map_or(0, |catalog| catalog.revision) < self.revision
    }

    /// The rollouts that were stopped.
    #[must_use]
    pub fn halted(&self) -> Halted {
        Halted { all: self.is_stopped, updates: self.halted.clone() }
    }

    /// The attribute of hawkBit's configData with the device's version.
    #[must_use]
    pub fn version_attribute(&self) -> &str {
        self.version_attribute.as_deref().unwrap_or(VERSION_ATTRIBUTE)
    }
}

/// Key of a rollout: a product, the version of one of its updates, and the number of the campaign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RolloutKey {
    product: ProductId,
    version: Version,
    campaign: u32,
}

impl RolloutKey {
    /// The rollout of the update with this version in a campaign. Build metadata is not part of the key.
    #[must_use]
    pub fn of(product: &ProductId, version: &Version, campaign: u32) -> Self {
        Self { product: product.clone(), version: without_build(version), campaign }
    }

    /// The rollout of an update.
    #[must_use]
    pub fn of_update(update: &Update) -> Self {
        Self::of(&update.product, &update.version, update.campaign)
    }

    /// The rollout of a claim.
    #[must_use]
    pub fn of_claim(product: &ProductId, claim: &Claim) -> Self {
        Self::of(product, &claim.version, claim.campaign)
    }

    /// Its name among the rollouts of the product.
    #[must_use]
    pub fn name(&self) -> String {
        rollout_name(&self.version, self.campaign)
    }

    /// The name of its update's record once a later campaign has followed: with the number also for the first one.
    #[must_use]
    pub fn name_as_earlier(&self) -> String {
        format!("{}/{}", sortable(&self.version), self.campaign)
    }

    /// The version and the number of the campaign in a [`name`](Self::name).
    #[must_use]
    pub fn parse_name(name: &str) -> Option<(Version, u32)> {
        let (version, campaign) = match name.split_once('/') {
            None => (name, 1),
            Some((version, campaign)) => (version, campaign.parse().ok().filter(|campaign| *campaign > 1)?),
        };
        Some((Version::parse(version).ok()?, campaign))
    }

    /// The product.
    #[must_use]
    pub fn product(&self) -> &ProductId {
        &self.product
    }

    /// The version, without build metadata.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The number of the campaign.
    #[must_use]
    pub fn campaign(&self) -> u32 {
        self.campaign
    }

    /// The id of the update.
    #[must_use]
    pub fn update_id(&self) -> UpdateId {
        UpdateId::of(&self.product, &self.version, self.campaign)
    }
}

/// The name of a rollout among those of its product: the version without build metadata, and from the second campaign on
/// its number.
#[must_use]
pub fn rollout_name(version: &Version, campaign: u32) -> String {
    let version = without_build(version);
    if campaign == 1 { version.to_string() } else { format!("{version}/{campaign}") }
}

/// Change of a rollout that is under way. It is written before the shards are shut, so that any function can finish it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The change.
    pub change: Change,
    /// Generation for which the shards are shut.
    pub generation: u64,
    /// Number of shards that are shut.
    pub shards: u16,
    /// The principal.
    pub who: String,
    /// The reason that was given.
    pub reason: String,
    /// The time at which it was written.
    pub at: Timestamp,
}

/// A change of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Another state.
    Transition(Transition),
    /// The pause of an update because its whole product is stopped.
    Stop,
    /// Another definition.
    Edit {
        /// The definition as JSON.
        definition: String,
    },
    /// The same limits, split over the shards anew.
    Split,
    /// A hold by the health gate.
    Hold(HeldFor),
    /// The end of a hold whose devices came back. The test goes on.
    Lift,
    /// The beginning of a control group, or its end.
    ControlGroup(ControlGroup),
    /// The beginning of the next phase on evidence: the number of those that have begun then, and the devices that are well
    /// for long.
    Advance(usize, u64),
    /// Transfers fail, and new grants wait; or they go well again.
    Transfers(Breaker),
    /// A repair counts the claims anew. Only the repair itself finishes it.
    Recount,
}

impl Change {
    /// Force of the change against others.
    #[must_use]
    pub fn force(&self) -> Force {
        match self {
            Self::Transition(transition) => transition.force(),
            Self::Stop | Self::Recount => Transition::Pause.force(),
            Self::Hold(_) => Transition::Hold.force(),
            Self::Edit { .. }
            | Self::Split
            | Self::Lift
            | Self::ControlGroup(_)
            | Self::Advance(..)
            | Self::Transfers(_) => Force::Edit,
        }
    }

    /// State of an update after the change. A stop of something that was about to be opened leaves it as it is.
    #[must_use]
    pub fn leads_to(&self, state: State) -> State {
        match self {
            Self::Transition(Transition::Pause) if !state.has_begun() => state,
            Self::Transition(transition) => transition.leads_to(),
            Self::Stop | Self::Recount if state == State::Active => State::Paused,
            Self::Hold(_) => State::Held,
            Self::Lift => State::Active,
            Self::Stop
            | Self::Recount
            | Self::Edit { .. }
            | Self::Split
            | Self::ControlGroup(_)
            | Self::Advance(..)
            | Self::Transfers(_) => state,
        }
    }

    /// True if devices get nothing from the rollout from the moment on at which the change is written.
    #[must_use]
    pub fn halts(&self) -> bool {
        match self {
            Self::Transition(transition) => transition.halts(),
            Self::Stop | Self::Recount | Self::Hold(_) => true,
            Self::Edit { .. }
            | Self::Split
            | Self::Lift
            | Self::ControlGroup(_)
            | Self::Advance(..)
            | Self::Transfers(_) => false,
        }
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
    /// Number of the campaign. The first one has the number 1.
    pub campaign: u32,
    /// True if a later campaign has followed. Its claims still change.
    pub is_earlier: bool,
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
    /// True if it is paused because its whole product was stopped.
    pub is_paused_by_stop: bool,
    /// The time at which its rollout was opened last; `None` if it never was.
    pub opened_at: Option<Timestamp>,
    /// The present test of the gate.
    pub test: Test,
    /// The cause of its hold by the health gate.
    pub held_for: Option<HeldFor>,
    /// Number of holds that lifted themselves.
    pub lifts: u8,
    /// Its control group, once it has one.
    pub control_group: Option<ControlGroup>,
    /// Number of phases on evidence that have begun after the first one.
    pub advanced: usize,
    /// The beginning of the phase that is reached, if it began on evidence.
    pub phase_begun: Begun,
    /// The breaker of its transfers.
    pub breaker: Breaker,
    /// The beginning of the campaign, if newcomers have a share of their own in it.
    pub newcomers_since: Option<Timestamp>,
    /// Its last change of the policy.
    pub audience_edit: Option<AudienceEdit>,
    /// The last reading of the control group. A change of the record does not write it.
    pub reading: Option<Reading>,
    /// The devices that it is for, as the last fleet snapshot counted them. A change of the record does not write it.
    pub audience: Option<Audience>,
    /// The change that is under way.
    pub wanted: Option<Wanted>,
    /// Number of changes of claims that could not be counted. Nothing more is granted than now until a repair.
    pub uncounted: u32,
    /// True if the campaign ended long ago and its counts are final. A change of the record does not write it.
    pub is_settled: bool,
    /// The time of its deletion. Its version is never free again, and what the catalog says of it stays: devices may come
    /// back that were offered it.
    pub deleted_at: Option<Timestamp>,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// The time of its last change.
    pub changed_at: Timestamp,
}

impl UpdateRecord {
    /// Its name in the list of the updates of its product. Names sort as versions do.
    #[must_use]
    pub fn name(&self) -> String {
        sortable(&self.version)
    }

    /// Returns true if it was published at some time: its rollout has or had shards.
    #[must_use]
    pub fn was_published(&self) -> bool {
        self.allocation.is_some() || self.campaign > 1
    }

    /// Key of its rollout.
    #[must_use]
    pub fn rollout(&self) -> RolloutKey {
        RolloutKey::of(&self.product, &self.version, self.campaign)
    }

    /// The part of the record that the rules need beside the definition.
    #[must_use]
    pub fn publication(&self) -> Publication {
        Publication {
            campaign: self.campaign,
            state: self.state,
            generation: self.generation,
            shards: self.allocation.as_ref().map_or(1, Allocation::shards),
            places: self.allocation.as_ref().and_then(Allocation::all_places),
            objects: self.objects.clone(),
            reason: self.reason.clone(),
            opened_at: self.opened_at,
            test: self.test,
            held_out_from: self.control_group.and_then(|group| group.held_out_from()),
            advanced: self.advanced,
            not_before: self.breaker.not_before,
            newcomers_since: self.newcomers_since,
        }
    }
}

/// A reading of a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Its members, and how many of them are overdue.
    pub control: Control,
    /// The time of the reading.
    pub at: Timestamp,
}

/// A change of the policy of a campaign under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudienceEdit {
    /// The time at which it was asked for.
    pub at: Timestamp,
    /// The devices that it was for before, if they were counted.
    pub before: Option<u64>,
}

impl AudienceEdit {
    /// A time at which it is certain to be in force: a change is written within half a minute, or finished by the sweep with
    /// another time.
    #[must_use]
    pub fn in_force_at(&self) -> Timestamp {
        self.at.checked_add(SignedDuration::from_secs(60)).unwrap_or(self.at)
    }
}

/// A text that devices say after they said success, and that no update has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherName {
    /// The text.
    pub text: String,
    /// The devices that say it.
    pub devices: u64,
}

/// The devices that an update is for, as a fleet snapshot counted them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    /// All of them.
    pub size: u64,
    /// The newcomers among them.
    pub newcomers: u64,
    /// Those that were offered the update.
    pub reached: u64,
    /// Those that were heard from in time, were not offered it yet, and are not in the control group.
    pub left: u64,
    /// Those that were offered it so long ago that they should have shown something by now, and have not.
    pub waiting: u64,
    /// Those that were heard from within thirty days, and of which no outcome is known.
    pub unfinished: u64,
    /// Those whose user was asked and has not answered.
    pub asked: u64,
    /// Those whose user refused.
    pub refused: u64,
    /// The most frequent text among devices that reported success and do not run the update, if three of them say it.
    pub other_name: Option<OtherName>,
    /// The time of the first snapshot since which nearly all were offered it.
    pub served_since: Option<Timestamp>,
    /// The time of the first snapshot since which no more were offered it.
    pub unchanged_since: Timestamp,
    /// The time at which the snapshot began.
    pub at: Timestamp,
}

impl Audience {
    /// The devices that somebody vouches for: they say how many places there are, and when a phase begins.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.size.saturating_sub(self.newcomers)
    }
}

/// A device as it is stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceRecord {
    /// Number that increases with every write of the device's item. It is never set back.
    pub revision: u64,
    /// Its version at the last check-in; `None` if it has only got a token so far.
    pub version: Option<String>,
    /// Digests of its stored `device.json`; `None` if there is none.
    pub stored: Option<DocDigests>,
    /// The time at which its `device.json` was stored.
    pub stored_at: Option<Timestamp>,
    /// Its `device.json` as JSON text, without the version; `None` if it was not read.
    pub attributes: Option<String>,
    /// The time of its first request.
    pub first_seen: Option<Timestamp>,
    /// The time of its last request, accurate to its grain: see [`Cadence`].
    pub last_seen: Option<Timestamp>,
    /// The longest gap between its requests that is remembered, in seconds.
    pub long_gap_s: i64,
    /// The `poll_s` of its product at the last write of the record; `None` is the default. It applies until the next write,
    /// because the next write was due by it.
    pub poll_s: Option<i64>,
    /// Its tokens.
    pub tokens: Tokens,
    /// The time at which an operator deleted it; `None` while it exists. Of a deleted device only the revision and the tokens
    /// are left, for ever: so no claim and no token of before is good again, also if the id comes back.
    pub deleted_at: Option<Timestamp>,
    /// Orders of operators.
    pub orders: Orders,
    /// The questions to its user.
    pub questions: Questions,
}

/// The tokens of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// The first generation that is not revoked.
    pub generation: u32,
    /// True if the device has or had a token of its own: then its product's shared token does not speak for it.
    pub has_own: bool,
}

/// Digests of a `device.json`. They tell whether it has changed without a read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocDigests {
    /// Digest of all attributes.
    pub all: u64,
    /// Digest of the attributes that a policy or a setting names.
    pub named: u64,
}

/// A `device.json` without the version, to be stored beside the device's item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// The JSON text.
    pub json: String,
    /// Its digests.
    pub digests: DocDigests,
}

/// The stored data of a device: its record and its claims.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KnownDevice {
    /// The record, if the device has ever sent a request or got a token.
    pub record: Option<DeviceRecord>,
    /// Its claims, by update.
    pub claims: Vec<(UpdateId, Claim)>,
    /// The messages of its last reports, by update, if they were read.
    pub messages: BTreeMap<UpdateId, String>,
}

impl DeviceRecord {
    /// The cadence of the device.
    #[must_use]
    pub fn cadence(&self) -> Cadence {
        let poll_s = self.poll_s.unwrap_or(Cadence::default().poll_s);
        Cadence { poll_s, long_gap_s: self.long_gap_s }
    }
}

impl KnownDevice {
    /// Returns true if something is known of the device, and it was not deleted.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.deleted_at.is_none())
    }

    /// The record, or an empty one.
    #[must_use]
    pub fn record_or_default(&self) -> DeviceRecord {
        self.record.clone().unwrap_or_default()
    }

    /// The last claim on a version, in whichever campaign.
    #[must_use]
    pub fn last_claim(&self, version: &Version) -> Option<&Claim> {
        let claims = self.claims.iter().map(|(_, claim)| claim);
        claims.filter(|claim| claim.version.cmp_precedence(version).is_eq()).max_by_key(|claim| claim.campaign)
    }

    /// The claim on an update.
    #[must_use]
    pub fn claim(&self, update: &UpdateId) -> Option<&Claim> {
        self.claims.iter().find(|(claimed, _)| claimed == update).map(|(_, claim)| claim)
    }
}

/// The part of a request that goes into a device's record.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The version that the device runs.
    pub version: String,
    /// Its `device.json`, if it must be stored.
    pub doc: Option<Doc>,
    /// The longest gap to remember, in seconds, if it is to be written.
    pub long_gap_s: Option<i64>,
    /// The `poll_s` of its product, if it is to be written.
    pub poll_s: Option<i64>,
    /// True if the device has used a token of its own for the first time.
    pub uses_own_token: bool,
    /// The time of the request.
    pub at: Timestamp,
}

impl Seen {
    /// A request at `at` of a device that runs `version`.
    #[must_use]
    pub fn new(version: String, at: Timestamp) -> Self {
        Self { version, doc: None, long_gap_s: None, poll_s: None, uses_own_token: false, at }
    }
}

/// A write of one device's item.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceWrite {
    /// The product it belongs to.
    pub product: ProductId,
    /// The device.
    pub device: DeviceId,
    /// True if the device had an item when it was read. Otherwise the write creates it, if there is still none.
    pub is_known: bool,
    /// The change of the record, if there is one.
    pub seen: Option<Seen>,
    /// The time of the last request that the record must still have. Only a silent device is lost.
    pub still_seen_at: Option<Timestamp>,
    /// The changes of claims. Each happens only if its claim is still as it was read.
    pub claims: Vec<ClaimChange>,
    /// The claims that are forgotten, under the same condition.
    pub forgotten: Vec<Claim>,
    /// The new orders, if they change. The device's item must have the given revision.
    pub orders: Option<(u64, Orders)>,
    /// The new questions to the user, if they change. The device's item must have the given revision.
    pub questions: Option<(u64, Questions)>,
    /// The new tokens, if they change. The device's item must have the given revision, if it had one.
    pub tokens: Option<(u64, Tokens)>,
    /// True if a device that was deleted exists again.
    pub restores: bool,
    /// The audit entry of the change, if an operator made it: both are written, or neither.
    pub audit: Option<AuditEntry>,
}

/// The deletion of a device: its item and its `device.json` are emptied.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDeletion {
    /// The product it belongs to.
    pub product: ProductId,
    /// The device.
    pub device: DeviceId,
    /// The revision that its item must have.
    pub revision: u64,
    /// Its tokens after that.
    pub tokens: Tokens,
    /// The audit entry.
    pub audit: AuditEntry,
}

impl DeviceWrite {
    /// A write that changes nothing yet.
    #[must_use]
    pub fn new(product: ProductId, device: DeviceId, is_known: bool) -> Self {
        Self {
            product,
            device,
            is_known,
            seen: None,
            still_seen_at: None,
            claims: Vec::new(),
            forgotten: Vec::new(),
            orders: None,
            questions: None,
            tokens: None,
            restores: false,
            audit: None,
        }
    }
}

impl DeviceWrite {
    /// Returns true if it changes nothing. An audit entry alone is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_unchanged = self.orders.is_none() && self.questions.is_none() && self.tokens.is_none() && !self.restores;
        self.seen.is_none() && self.claims.is_empty() && self.forgotten.is_empty() && is_unchanged
    }
}

/// The change of one claim. It is not the grant of a place.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimChange {
    /// The claim as it was read.
    pub before: Claim,
    /// The claim after.
    pub after: Claim,
    /// The device's report, if it is the cause.
    pub note: Option<Note>,
}

/// The last report of a device about a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Name of the status.
    pub status: String,
    /// The percentage that is done.
    pub progress: Option<u8>,
    /// The message for operators.
    pub message: Option<String>,
}

/// Sums over the claims of a rollout, and the time of the newest change that they contain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tallied {
    /// The sums.
    pub sums: Sums,
    /// The time at which the last change was counted; `None` if none ever was.
    pub as_of: Option<Timestamp>,
}

/// A change of an update's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The product.
    pub product: ProductId,
    /// The version.
    pub version: Version,
    /// The state before; `None` if the update is new.
    pub from: Option<State>,
    /// The state after.
    pub to: State,
    /// The reason that was given.
    pub reason: String,
}

impl StateChange {
    /// The change of an update's state; `None` if the state stays.
    #[must_use]
    pub fn between(before: Option<&UpdateRecord>, after: Option<&UpdateRecord>) -> Option<Self> {
        let (from, after) = (before.map(|before| before.state), after.filter(|after| !after.is_earlier)?);
        (from != Some(after.state)).then(|| Self {
            product: after.product.clone(),
            version: after.version.clone(),
            from,
            to: after.state,
            reason: after.reason.clone(),
        })
    }
}

/// Position in a stream shard: the sequence number of a record, as DynamoDB gives it, padded so that texts compare as
/// numbers do. It has up to 40 digits, more than a number of DynamoDB holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(String);

/// Digits of a [`Position`].
const POSITION_DIGITS: usize = 40;

impl Position {
    /// The position of a sequence number; `None` if it is no number of at most 40 digits.
    #[must_use]
    pub fn parse(sequence: &str) -> Option<Self> {
        let is_number = (1..=POSITION_DIGITS).contains(&sequence.len()) && sequence.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| Self(format!("{sequence:0>POSITION_DIGITS$}")))
    }

    /// The padded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tally: what one stream shard has contributed to some counts, and its position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally<T> {
    /// The counts.
    pub counts: T,
    /// The position of the last counted record; `None` if there is no tally yet.
    pub position: Option<Position>,
    /// The position of the tally of the same stream shard that became a part of the base, if there was one lately. Its
    /// records are counted.
    pub folded: Option<Position>,
}

impl<T> Tally<T> {
    /// A tally with its position.
    #[must_use]
    pub fn new(counts: T, position: Option<Position>) -> Self {
        Self { counts, position, folded: None }
    }

    /// Returns true if a record is counted already.
    #[must_use]
    pub fn contains(&self, record: &Position) -> bool {
        self.position.as_ref().max(self.folded.as_ref()) >= Some(record)
    }
}

/// A page of devices that are overdue at about the same time. Pages are hints: the device's item is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePage {
    /// Its name. Names sort by the time at which the page is due.
    pub name: String,
    /// The devices.
    pub devices: Vec<DeviceId>,
}

impl DuePage {
    /// Most devices on a page: an item of 1 KB.
    pub const MOST_DEVICES: usize = 30;

    /// The page that is due at `due`. `writer` makes the name unique.
    #[must_use]
    pub fn new(due: Timestamp, writer: &str, devices: Vec<DeviceId>) -> Self {
        Self { name: format!("{}#{writer}", Self::name_at(due)), devices }
    }

    /// The time at which the page is due; `None` if its name has none.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        let (due, _) = self.name.split_once('#')?;
        Timestamp::from_millisecond(due.parse().ok()?).ok()
    }

    /// The beginning of the names of all pages that are due at `due`.
    #[must_use]
    pub fn name_at(due: Timestamp) -> String {
        format!("{:013}", due.as_millisecond().max(0))
    }
}

/// An entry of the list of devices in one bucket. It is a hint: the device's item is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The device.
    pub device: DeviceId,
    /// The bucket.
    pub bucket: Bucket,
    /// The message of its last report.
    pub message: Option<String>,
    /// The number of its attempts.
    pub attempts: u32,
    /// The time of the change, to the second.
    pub at: Timestamp,
    /// The revision of the device's item. A later one replaces an earlier one.
    pub revision: u64,
}

/// An event of a product, kept for those who are to be told. It is named after the record of the stream that it comes from,
/// so that it is there once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The position of the record.
    pub position: Position,
    /// The stream shard of the record.
    pub stream_shard: String,
    /// The time of the change, to the second.
    pub at: Timestamp,
    /// What happened.
    pub change: StateChange,
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
    /// The values that it replaced, other than the state.
    pub changes: Vec<ValueChange>,
}

/// A value that a change replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueChange {
    /// Its name.
    pub field: String,
    /// The value before; null, if there was none.
    pub old: Value,
    /// The value after; null, if there is none.
    pub new: Value,
}

/// The longest text of a value in the audit log, in bytes. A longer one is cut, so that an entry is never too large.
const LONGEST_AUDITED: usize = 2_000;
/// Most values in an entry of the audit log.
const MOST_AUDITED: usize = 40;

impl ValueChange {
    /// The change of a value.
    #[must_use]
    pub fn new(field: impl Into<String>, old: Value, new: Value) -> Self {
        Self { field: field.into(), old: cut(old), new: cut(new) }
    }

    /// The differences between two JSON values: by field where both are objects.
    #[must_use]
    pub fn between(old: &Value, new: &Value) -> Vec<Self> {
        let mut changes = Vec::new();
        differences("", old, new, &mut changes);
        changes.truncate(MOST_AUDITED);
        changes
    }
}

fn differences(name: &str, old: &Value, new: &Value, changes: &mut Vec<ValueChange>) {
    let (Value::Object(olds), Value::Object(news)) = (old, new) else {
        if old != new {
            changes.push(ValueChange::new(name, old.clone(), new.clone()));
        }
        return;
    };
    let fields = olds.keys().chain(news.keys()).collect::<BTreeSet<_>>();
    for field in fields {
        let inner = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
        let value = |object: &serde_json::Map<String, Value>| object.get(field).cloned().unwrap_or_default();
        differences(&inner, &value(olds), &value(news), changes);
    }
}

fn cut(value: Value) -> Value {
    let text = value.to_string();
    if text.len() <= LONGEST_AUDITED {
        return value;
    }
    let end = text.floor_char_boundary(LONGEST_AUDITED);
    Value::String(format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len()))
}

impl AuditEntry {
    /// Its name in the log of its product. Names sort by time. Two entries have the same name only if they are the same, so
    /// an entry may be written again, and none replaces another.
    #[must_use]
    pub fn name(&self) -> String {
        let state = |state: Option<State>| state.map_or("", State::name);
        let changes = self.changes.iter().map(|change| format!("{}\0{}\0{}", change.field, change.old, change.new));
        let texts = [&*self.who, &self.action, &self.subject, &self.reason, state(self.from), state(self.to)];
        let text = texts.into_iter().map(str::to_string).chain(changes).collect::<Vec<_>>().join("\0");
        let digest = hex::encode(Sha256::digest(text));
        // Entries are stored to the millisecond, and an entry that was read has the same name.
        let (at, generation) = (i128::from(self.at.as_millisecond()).saturating_mul(1_000_000), self.generation);
        format!("{at:020}#{generation:010}#{}", digest.get(..16).unwrap_or_default())
    }
}

/// The counters of a rollout at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the counters of `tidegate_core::shard::Counts`
pub struct SeriesPoint {
    pub at: Timestamp,
    pub offered: u64,
    pub in_flight: u64,
    pub proved: u64,
    pub failed: u64,
    pub reverted: u64,
    pub lost: u64,
}
