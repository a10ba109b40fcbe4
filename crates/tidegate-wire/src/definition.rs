//! An update as an operator writes it, and as it is stored.
//!
//! Input of operators is read strictly: an unknown field is refused by name. A stored definition is read tolerantly, so
//! that an older function can read the record of a newer one.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tidegate_core::cohort::Share;
use tidegate_core::gate::Gate;
use tidegate_core::limits::{DEFAULT_MAX_IN_FLIGHT, Limits};
use tidegate_core::phase::{Advance, Begins, Phase};
use tidegate_core::policy::{Policy, Slots};
use tidegate_core::rollout::{Applies, DEFAULT_MAX_ATTEMPTS, Group, Rollout, WhenFull};
use tidegate_core::update::{Content, File, Kind, Publication, StoredObject};
use tidegate_core::window::OpeningWindow;
use tidegate_core::{ProductId, Timestamp, Update, UpdateId, Version, VersionReq};

use crate::device_json::parse_version;
use crate::error::{ApiError, ErrorCode};
use crate::strict_json::OperatorInput;
use crate::word::words;
use crate::{body_limits, strict_json};

/// The most files one update may have: their URLs go into one answer.
const MOST_FILES: usize = 16;
/// The largest file in bytes: as much as a function surely reads within the 15 minutes that Lambda gives it, at 38 MB a
/// second.
const LARGEST_FILE_BYTES: u64 = 32 * 1024 * 1024 * 1024;
/// The most windows, groups, phases, labels and requirements: each is asked at every check-in.
const MOST_OF_EACH: usize = 32;
/// The most texts that an image may say of itself, and the longest one in bytes: each is a part of the device's record.
pub const MOST_REPORTS: (usize, usize) = (4, 64);
/// The longest name, description or label, in bytes.
const LONGEST_TEXT: usize = 4096;

/// An update as an operator writes it: at most 128 KiB, 32 levels, and 8,192 keys and elements. A field that does
/// not exist is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = UpdateDefinition))]
pub struct Definition {
    /// The version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// A name for people.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 4096))]
    pub name: Option<String>,
    /// A description for people.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 4096))]
    pub description: Option<String>,
    /// Who made the update.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 4096))]
    pub author: Option<String>,
    /// Who sells the update.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 4096))]
    pub vendor: Option<String>,
    /// Texts for people and tools, such as the commit. Nothing depends on them. At most 32; each name and
    /// value at most 4,096 bytes.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What the image may say of itself, beside `version`: at most 4 texts of 64 bytes. A device that says one of them runs
    /// this update. Only hawkBit's clients can say a text that is no version.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_items = 4, examples("2.0.0-factory")))]
    pub reports_as: Vec<String>,
    /// Version requirements as Cargo writes them. The update can be installed over versions that one of them
    /// matches; over any version, if there are none. At most 32.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_items = 32, examples("^2.0")))]
    pub compatible_from: Vec<String>,
    /// The devices that the update is for, in evalexpr's grammar: at most 4 KiB, 256 tokens and 32 levels. A
    /// blank policy admits every device. A device that does not state an attribute never matches a clause
    /// about it.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 4096, examples("region == \"eu\" && memory >= 256")))]
    pub policy: String,
    /// The later versions from which it takes devices back: at most 32. If there are any, the update is a rollback. It is
    /// for devices that run one of them, and for no others; their own rollouts are aborted before it begins.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_items = 32, examples("1.7.0")))]
    pub rollback_from: Vec<String>,
    /// Whether the user must agree before a device installs the update. hawkBit clients are asked through
    /// `confirmationBase`; a native answer says so, and the device asks. A dialect that cannot ask never offers it.
    #[serde(default)]
    pub ask_consent: bool,
    /// The kind of the content.
    #[serde(default)]
    pub kind: KindField,
    /// Any JSON for the device. Needed if `kind` is `json` or `url_list`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub payload: Option<Value>,
    /// Any JSON for the device, handed on as it is.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub specification: Option<Value>,
    /// The files: at most 16, and at least one if `kind` is `file`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_items = 16))]
    pub files: Vec<FileField>,
    /// When devices may have the update, and how many.
    #[serde(default)]
    pub rollout: RolloutField,
}

words! {
    /// The kind of an update's content.
    #[derive(Default)]
    #[cfg_attr(feature = "schema", schema(as = Kind))]
    KindField {
        /// Files.
        #[default]
        File "file",
        /// The JSON in `payload`.
        Json "json",
        /// The list of URLs in `payload`.
        UrlList "url_list",
    }
}

impl From<Kind> for KindField {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Json => Self::Json,
            Kind::UrlList => Self::UrlList,
        }
    }
}

/// A file of an update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = File))]
pub struct FileField {
    /// The name.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileName))]
    pub name: String,
    /// The SHA-256 of the bytes.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Sha256))]
    pub sha256: String,
    /// The length in bytes.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileSize))]
    pub size: u64,
}

/// When each device may have the update, and how many may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Rollout, default))]
#[serde(default)]
pub struct RolloutField {
    /// The time before which nothing is offered; `null` is no such time.
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Time>))]
    pub starts_at: Option<Timestamp>,
    /// The time from which nothing is offered, later than `starts_at`; `null` is no such time.
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Time>))]
    pub ends_at: Option<Timestamp>,
    /// Opening windows. If there are any, offers are made only while one of them is open.
    #[cfg_attr(feature = "schema", schema(max_items = 32))]
    pub windows: Vec<WindowField>,
    /// Devices with a start of their own, early or late. Phases do not hold them back.
    #[cfg_attr(feature = "schema", schema(max_items = 32))]
    pub groups: Vec<GroupField>,
    /// Shares of all other devices. Each phase starts later and reaches more devices than the one before it; the
    /// devices of an earlier phase are always part of a later one.
    #[cfg_attr(feature = "schema", schema(max_items = 32))]
    pub phases: Vec<PhaseField>,
    /// How many devices may have the update.
    pub limits: LimitsField,
    /// How often one device may fail within thirty days.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 100))]
    pub max_attempts: u32,
    /// True if devices that failed in an earlier campaign of the update may have it again.
    pub include_failed: bool,
    /// What a device that must wait may have meanwhile.
    pub when_full: WhenFullField,
    /// When devices apply the update.
    pub applies: AppliesField,
    /// When outcomes hold the rollout.
    pub health: HealthField,
}

/// An opening window: offers are made while it is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = OpeningWindow))]
pub struct WindowField {
    /// When it opens: minute, hour, day, month, weekday.
    #[cfg_attr(feature = "schema", schema(examples("0 22 * * *")))]
    pub cron: String,
    /// How long it stays open, in seconds.
    #[cfg_attr(feature = "schema", schema(minimum = 60, maximum = 604800))]
    pub duration_s: u32,
    /// The IANA time zone of `cron`.
    #[serde(default = "utc")]
    #[cfg_attr(feature = "schema", schema(examples("Europe/Berlin")))]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".into()
}

/// Devices with a start of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Group))]
pub struct GroupField {
    /// The devices, as in the update's `policy`.
    #[cfg_attr(feature = "schema", schema(max_length = 4096))]
    pub policy: String,
    /// Their start.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub starts_at: Timestamp,
}

/// A share of the devices. Either each phase has `starts_at`, or the first one has nothing but its share, and each other
/// one has `advance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Phase))]
pub struct PhaseField {
    /// The start of the phase.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Time>))]
    pub starts_at: Option<Timestamp>,
    /// The evidence on which the phase begins.
    #[serde(default)]
    pub advance: Option<AdvanceField>,
    /// The share in percent of all devices, with at most two decimals.
    #[cfg_attr(feature = "schema", schema(minimum = 0, maximum = 100))]
    pub percent: f64,
}

/// The evidence on which a phase begins. The phase also waits while the evidence of the health gate is 20 or more, and
/// until half of the devices of which something is expected are well.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = PhaseAdvance, default))]
#[serde(default)]
pub struct AdvanceField {
    /// The number of devices that must be well, or half of those that the phase before admits, if that is less.
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub min_proved: u64,
    /// How long a device must be well, in seconds. The longest of all phases counts.
    #[cfg_attr(feature = "schema", schema(minimum = 3600, maximum = 2592000))]
    pub soak_s: i64,
    /// The share in percent that must be well, of the devices of which something is known or should be by now.
    #[cfg_attr(feature = "schema", schema(minimum = 50, maximum = 100))]
    pub success_percent: f64,
    /// The time before which the phase does not begin; `null` is no such time.
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::schema::Time>))]
    pub not_before: Option<Timestamp>,
    /// True if the phase begins only when an operator says so.
    pub approval: bool,
}

impl Default for AdvanceField {
    fn default() -> Self {
        let Advance { min_proved, soak_s, success_percent, not_before, approval } = Advance::default();
        Self { min_proved, soak_s, success_percent, not_before, approval }
    }
}

impl PhaseField {
    fn begins(&self) -> Result<Begins, ApiError> {
        match (self.starts_at, self.advance) {
            (Some(at), None) => Ok(Begins::At(at)),
            (None, None) => Ok(Begins::AtOnce),
            (None, Some(AdvanceField { min_proved, soak_s, success_percent, not_before, approval })) => {
                Ok(Begins::OnEvidence(Advance { min_proved, soak_s, success_percent, not_before, approval }))
            }
            (Some(_), Some(_)) => {
                Err(rollout_error("a phase begins at a time (starts_at) or on evidence (advance), not both"))
            }
        }
    }
}

/// How many devices may have the update. Limits are exact; `null` is no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Limits, default))]
#[serde(default)]
pub struct LimitsField {
    /// Devices that may ever be offered the update.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 1125899906842624_u64))]
    pub max_devices: Option<u64>,
    /// Offers in one period.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 1125899906842624_u64))]
    pub max_per_period: Option<u64>,
    /// The period in seconds. Periods start at multiples of it since 1970.
    #[cfg_attr(feature = "schema", schema(minimum = 60, maximum = 2592000))]
    pub period_s: u32,
    /// Devices that may have the offer and have not proved it: a number, `null` for no limit, or `auto`. With `auto` it is
    /// one in twenty devices of the audience, at least 10 and at most 500, and grows with the devices that are well for
    /// longer than a dead one would stay unnoticed. It is 10 until the audience was counted, within an hour.
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::max_in_flight))]
    pub max_in_flight: InFlightField,
    /// Bytes offered in one period; at least the bytes of one device.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 1125899906842624_u64))]
    pub max_bytes_per_period: Option<u64>,
}

/// A limit on the devices in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlightField {
    /// It follows the audience and the devices that are well.
    Auto,
    /// Exactly this many.
    AtMost(u64),
    /// No limit.
    Unlimited,
}

const AUTO: &str = "auto";

impl InFlightField {
    /// The limit as a number, if it is one.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Self::AtMost(number) => Some(number),
            Self::Auto | Self::Unlimited => None,
        }
    }
}

impl Serialize for InFlightField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::AtMost(number) => serializer.serialize_u64(*number),
            Self::Unlimited => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for InFlightField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (value.as_u64(), value.as_str()) {
            (Some(number), _) => Ok(Self::AtMost(number)),
            (_, Some(AUTO)) => Ok(Self::Auto),
            _ if value.is_null() => Ok(Self::Unlimited),
            _ => Err(D::Error::custom(format!("expected a number, \"{AUTO}\" or null; got {value}"))),
        }
    }
}

words! {
    /// What a device that must wait may have meanwhile.
    #[derive(Default)]
    #[cfg_attr(feature = "schema", schema(as = WhenFull))]
    WhenFullField {
        /// The next older update.
        #[default]
        Next "next",
        /// Nothing.
        Wait "wait",
    }
}

words! {
    /// When devices apply the update.
    #[derive(Default)]
    #[cfg_attr(feature = "schema", schema(as = Applies))]
    AppliesField {
        /// In a window of their own, or when a user says so: within the product's `apply_within_s`.
        #[default]
        Later "later",
        /// When they have it. A device that still runs the old version after two check-ins and a day has not taken it.
        AtOnce "at_once",
    }
}

impl AppliesField {
    /// The share of devices in percent that may not apply the update, if nothing else is said.
    #[must_use]
    pub fn tolerated_not_taken_percent(self) -> f64 {
        Applies::from(self).tolerated_not_taken_percent()
    }
}

impl From<AppliesField> for Applies {
    fn from(field: AppliesField) -> Self {
        match field {
            AppliesField::Later => Self::Later,
            AppliesField::AtOnce => Self::AtOnce,
        }
    }
}

/// When outcomes hold the rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = HealthGate, default))]
#[serde(default)]
pub struct HealthField {
    /// The share of devices in percent that may fail or fall back.
    #[cfg_attr(feature = "schema", schema(minimum = 0.01, maximum = 40))]
    pub tolerated_failed_percent: f64,
    /// The share of devices in percent that may become silent.
    #[cfg_attr(feature = "schema", schema(minimum = 0.01, maximum = 40))]
    pub tolerated_lost_percent: f64,
    /// The share of devices in percent that may not apply the update in time; `null` is 20, and 2 for devices that apply
    /// it `at_once`.
    #[cfg_attr(feature = "schema", schema(minimum = 0.01, maximum = 40))]
    pub tolerated_not_taken_percent: Option<f64>,
    /// The number of devices below which nothing is held.
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub min_failures: u64,
    /// True if a part of an audience of 1,000 devices or more is offered the update last. Its silence shows how much
    /// silence is not the update's fault.
    pub control_group: bool,
    /// True if a hold lifts itself when the silent devices, or those that did not take the update, are back.
    pub auto_resume: bool,
}

impl Default for RolloutField {
    fn default() -> Self {
        Self {
            starts_at: None,
            ends_at: None,
            windows: Vec::new(),
            groups: Vec::new(),
            phases: Vec::new(),
            limits: LimitsField::default(),
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            include_failed: false,
            when_full: WhenFullField::Next,
            applies: AppliesField::Later,
            health: HealthField::default(),
        }
    }
}

impl Default for LimitsField {
    fn default() -> Self {
        Self {
            max_devices: None,
            max_per_period: None,
            period_s: Limits::default().period_s,
            max_in_flight: InFlightField::Auto,
            max_bytes_per_period: None,
        }
    }
}

impl Default for HealthField {
    fn default() -> Self {
        let gate = Gate::default();
        Self {
            tolerated_failed_percent: gate.tolerated_failed_percent,
            tolerated_lost_percent: gate.tolerated_lost_percent,
            tolerated_not_taken_percent: None,
            min_failures: gate.min_failures,
            control_group: gate.control_group,
            auto_resume: gate.auto_resume,
        }
    }
}

/// Reason why a stored definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoredDefinitionError {
    /// It is not the JSON of a definition.
    #[error("the stored definition cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] ApiError),
}

impl Definition {
    /// Returns true if both updates are one image: they have the same files, and at least one.
    #[must_use]
    pub fn has_files_of(&self, other: &Self) -> bool {
        let files =
            |definition: &Self| definition.files.iter().map(|file| file.sha256.clone()).collect::<BTreeSet<_>>();
        !self.files.is_empty() && files(self) == files(other)
    }

    /// Reads what an operator sent and checks everything that can be checked without a store.
    ///
    /// # Errors
    /// The first thing that is wrong, by name.
    pub fn from_operator(body: &[u8], product: &ProductId) -> Result<Self, ApiError> {
        Self::from_value(strict_json::parse(body, body_limits::OPERATOR)?, product)
    }

    /// The same for a value that was read already.
    ///
    /// # Errors
    /// The first thing that is wrong, by name.
    pub fn from_value(value: Value, product: &ProductId) -> Result<Self, ApiError> {
        let definition: Self = strict_json::read(&value)?;
        definition.update(product, &Publication::draft(), &mut Slots::new())?;
        Ok(definition)
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// When the record cannot be understood.
    pub fn from_store(text: &str) -> Result<Self, StoredDefinitionError> {
        serde_json::from_str(text).map_err(StoredDefinitionError::Unreadable)
    }

    /// The rules' view of what is stored.
    ///
    /// # Errors
    /// When the record cannot be understood.
    pub fn compile(
        stored: &str,
        product: &ProductId,
        publication: &Publication,
        slots: &mut Slots,
    ) -> Result<Update, StoredDefinitionError> {
        Ok(Self::from_store(stored)?.update(product, publication, slots)?)
    }

    /// The text that is stored. Two definitions are the same when these are.
    #[must_use]
    pub fn to_store(&self) -> String {
        serde_json::to_string(self).expect("a definition holds only strings, numbers and JSON values")
    }

    /// The definition with other fields. `rollout` is merged: objects field by field; anything else, `null` too, replaces
    /// what was there.
    ///
    /// # Errors
    /// As for [`Definition::from_operator`].
    pub fn with(&self, fields: &Map<String, Value>, product: &ProductId) -> Result<Self, ApiError> {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        for (name, field) in fields {
            match value.get_mut("rollout") {
                Some(rollout) if name == "rollout" => merge(rollout, field),
                _ => value[name] = field.clone(),
            }
        }
        Self::from_value(value, product)
    }

    /// The rules' view of it. The policies' attribute names go into `slots`.
    ///
    /// # Errors
    /// The first thing that is wrong, by name.
    pub fn update(
        &self,
        product: &ProductId,
        publication: &Publication,
        slots: &mut Slots,
    ) -> Result<Update, ApiError> {
        let version = parse_version(&self.version)?;
        self.check_sizes()?;
        self.check_reports()?;
        let content = self.content(&publication.objects)?;
        let policy = parse_policy("policy", &self.policy, slots)?;
        let mut rollout = self.rollout.rollout(content.size_bytes(), slots)?;
        rollout.advanced = publication.advanced;
        if let Some(places) = publication.places.filter(|_| rollout.limits.grows) {
            rollout.limits.max_in_flight = Some(places);
        }
        let compatible_from = self.requirements()?;
        let rollback_from = self.rollback_from(&version, &compatible_from)?;
        Ok(Update {
            id: UpdateId::of(product, &version, publication.campaign),
            product: product.clone(),
            version,
            campaign: publication.campaign,
            state: publication.state,
            generation: publication.generation,
            reason: publication.reason.clone(),
            opened_at: publication.opened_at,
            test: publication.test,
            held_out_from: publication.held_out_from.filter(|_| self.rollout.health.control_group),
            not_before: publication.not_before,
            newcomers_since: publication.newcomers_since,
            shards: publication.shards,
            reports_as: self.reports_as.clone(),
            compatible_from,
            policy,
            rollback_from,
            rollout,
            content,
        })
    }

    /// The version it would give.
    ///
    /// # Errors
    /// `bad_version`, when it is not SemVer 2.0.
    pub fn semver(&self) -> Result<Version, ApiError> {
        parse_version(&self.version)
    }

    fn requirements(&self) -> Result<Vec<VersionReq>, ApiError> {
        let parse = |text: &String| {
            VersionReq::parse(text).map_err(|error| {
                let message =
                    format!("compatible_from must hold requirements such as \"^2.0\"; `{text:.64}` is not: {error}");
                ApiError::bad_field(message)
            })
        };
        self.compatible_from.iter().map(parse).collect()
    }

    /// The versions from which it takes devices back. It must be lower than each, and installable over each.
    fn rollback_from(&self, to: &Version, compatible_from: &[VersionReq]) -> Result<Vec<Version>, ApiError> {
        let parse = |text: &String| {
            let from = parse_version(text).map_err(|error| ApiError::bad_field(format!("rollback_from: {error}")))?;
            if from.cmp_precedence(to).is_le() {
                let message = format!("rollback_from must name versions above {to}; got {from}");
                return Err(ApiError::bad_field(message));
            }
            if !compatible_from.is_empty() && !compatible_from.iter().any(|range| range.matches(&from)) {
                let message =
                    format!("rollback_from names {from}, over which {to} cannot be installed (compatible_from)");
                return Err(ApiError::bad_field(message));
            }
            Ok(from)
        };
        self.rollback_from.iter().map(parse).collect()
    }

    fn check_sizes(&self) -> Result<(), ApiError> {
        let lists = [
            ("compatible_from", self.compatible_from.len(), MOST_OF_EACH),
            ("rollback_from", self.rollback_from.len(), MOST_OF_EACH),
            ("reports_as", self.reports_as.len(), MOST_REPORTS.0),
            ("labels", self.labels.len(), MOST_OF_EACH),
            ("files", self.files.len(), MOST_FILES),
            ("rollout.windows", self.rollout.windows.len(), MOST_OF_EACH),
            ("rollout.groups", self.rollout.groups.len(), MOST_OF_EACH),
            ("rollout.phases", self.rollout.phases.len(), MOST_OF_EACH),
        ];
        if let Some((name, count, most)) = lists.iter().find(|(_, count, most)| count > most) {
            return Err(ApiError::bad_field(format!("{name} must have at most {most} entries; got {count}")));
        }
        let texts = [&self.name, &self.description, &self.author, &self.vendor];
        let labels = self.labels.iter().flat_map(|(name, value)| [name, value]);
        if texts.into_iter().flatten().chain(labels).any(|text| text.len() > LONGEST_TEXT) {
            return Err(ApiError::bad_field(format!(
                "name, description, author, vendor and labels must each be at most {LONGEST_TEXT} bytes"
            )));
        }
        Ok(())
    }

    fn check_reports(&self) -> Result<(), ApiError> {
        let is_fit = |text: &String| {
            (1..=MOST_REPORTS.1).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control)
        };
        match self.reports_as.iter().position(|text| !is_fit(text)) {
            None => Ok(()),
            Some(index) => Err(ApiError::bad_field(format!(
                "reports_as[{index}] must be 1 to {} bytes without blanks around it and without control characters",
                MOST_REPORTS.1
            ))),
        }
    }

    fn content(&self, objects: &[StoredObject]) -> Result<Content, ApiError> {
        let kind = match self.kind {
            KindField::File if self.files.is_empty() => {
                return Err(ApiError::bad_field("files must have at least one entry when kind is \"file\""));
            }
            KindField::File => Kind::File,
            KindField::Json | KindField::UrlList if self.payload.is_none() => {
                return Err(ApiError::bad_field("payload is missing; kind \"json\" and \"url_list\" need one"));
            }
            KindField::Json => Kind::Json,
            KindField::UrlList => Kind::UrlList,
        };
        let files = self.files.iter().enumerate().map(|(index, file)| {
            file.check()?;
            Ok(File {
                name: file.name.clone(),
                sha256: file.sha256.clone(),
                size_bytes: file.size,
                object: objects.get(index).cloned().unwrap_or_default(),
            })
        });
        Ok(Content {
            name: self.name.clone(),
            description: self.description.clone(),
            kind,
            payload: self.payload.as_ref().map(Value::to_string),
            specification: self.specification.as_ref().map(Value::to_string),
            files: files.collect::<Result<Vec<_>, ApiError>>()?,
            ask_consent: self.ask_consent,
        })
    }
}

impl FileField {
    /// A device may use the name in its own file system, so it must not lead out of a folder.
    fn check(&self) -> Result<(), ApiError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+ ".contains(c);
        if self.name.is_empty() || self.name.len() > 255 || self.name.starts_with('.') || !self.name.chars().all(plain)
        {
            return Err(ApiError::bad_field(
                "files: a name must be 1 to 255 characters out of A-Z a-z 0-9 . _ - + and space, and not start with a dot",
            ));
        }
        let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(is_lower_hex) {
            return Err(ApiError::bad_field(format!(
                "files: sha256 of {} must be 64 lower-case hex digits",
                self.name
            )));
        }
        if !(1..=LARGEST_FILE_BYTES).contains(&self.size) {
            return Err(ApiError::bad_field(format!("files: size of {} must be within 1 byte and 32 GiB", self.name)));
        }
        Ok(())
    }
}

fn rollout_error(error: impl std::fmt::Display) -> ApiError {
    ApiError::bad_field(format!("rollout: {error}"))
}

impl RolloutField {
    fn rollout(&self, bytes_per_device: u64, slots: &mut Slots) -> Result<Rollout, ApiError> {
        let windows =
            self.windows.iter().map(|w| OpeningWindow::new(&w.cron, w.duration_s, &w.time_zone).map_err(rollout_error));
        let phases = self.phases.iter().map(|phase| {
            let share = Share::from_percent(phase.percent).map_err(rollout_error)?;
            Ok::<_, ApiError>(Phase { begins: phase.begins()?, share })
        });
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let policy = parse_policy("rollout.groups policy", &group.policy, slots)?;
            groups.push(Group { policy, starts_at: group.starts_at });
        }
        let applies = Applies::from(self.applies);
        let not_taken = self.health.tolerated_not_taken_percent;
        let health = Gate {
            tolerated_failed_percent: self.health.tolerated_failed_percent,
            tolerated_lost_percent: self.health.tolerated_lost_percent,
            tolerated_not_taken_percent: not_taken.unwrap_or_else(|| applies.tolerated_not_taken_percent()),
            min_failures: self.health.min_failures,
            control_group: self.health.control_group,
            auto_resume: self.health.auto_resume,
        };
        health.validate().map_err(rollout_error)?;
        let rollout = Rollout {
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            windows: windows.collect::<Result<_, _>>()?,
            groups,
            phases: phases.collect::<Result<_, _>>()?,
            advanced: 0,
            limits: Limits {
                max_devices: self.limits.max_devices,
                max_per_period: self.limits.max_per_period,
                period_s: self.limits.period_s,
                max_in_flight: match self.limits.max_in_flight {
                    InFlightField::Auto => Some(DEFAULT_MAX_IN_FLIGHT),
                    InFlightField::AtMost(number) => Some(number),
                    InFlightField::Unlimited => None,
                },
                grows: self.limits.max_in_flight == InFlightField::Auto,
                max_bytes_per_period: self.limits.max_bytes_per_period,
            },
            max_attempts: self.max_attempts,
            include_failed: self.include_failed,
            when_full: match self.when_full {
                WhenFullField::Next => WhenFull::Next,
                WhenFullField::Wait => WhenFull::Wait,
            },
            applies,
            health,
        };
        rollout.validate(bytes_per_device).map_err(rollout_error)?;
        Ok(rollout)
    }
}

fn parse_policy(field: &str, text: &str, slots: &mut Slots) -> Result<Policy, ApiError> {
    Policy::parse(text, slots).map_err(|error| ApiError::new(ErrorCode::PolicyInvalid, format!("{field}: {error}")))
}

impl OperatorInput for Definition {
    const FREE_FORM: &'static [&'static str] = &["payload", "specification", "labels"];

    fn unknown_field(path: &str, _: &[String]) -> String {
        format!("there is no field `{path}` in an update")
    }
}

fn merge(target: &mut Value, knobs: &Value) {
    match (target, knobs) {
        (Value::Object(target), Value::Object(knobs)) => {
            for (name, knob) in knobs {
                merge(target.entry(name.clone()).or_insert(Value::Null), knob);
            }
        }
        (target, knob) => *target = knob.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lamp() -> ProductId {
        ProductId::new("lamp").unwrap()
    }

    fn base() -> Value {
        json!({"version": "2.0.0", "files": [{"name": "a.bin", "sha256": "a".repeat(64), "size": 10}]})
    }

    fn check(change: Value, expected: &str) {
        let mut value = base();
        merge(&mut value, &change);
        let got = match Definition::from_value(value, &lamp()) {
            Ok(definition) => definition.to_store(),
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expected), "{change}: {got}");
    }

    #[test]
    fn what_an_operator_leaves_out_has_a_default_and_null_is_no_limit() {
        check(json!({}), r#""max_in_flight":"auto""#);
        check(json!({"rollout": {"limits": {"max_in_flight": 7}}}), r#""max_in_flight":7"#);
        check(json!({"rollout": {"limits": {"max_in_flight": null}}}), r#""max_in_flight":null"#);
    }

    #[test]
    fn a_field_that_does_not_exist_is_refused_by_its_path() {
        check(json!({"polcy": "true"}), "there is no field `polcy` in an update (unknown_field)");
        check(json!({"rollout": {"limit": 3}}), "there is no field `rollout.limit` in an update");
        check(
            json!({"rollout": {"phases": [{"starts_at": "2026-01-01T00:00:00Z", "percent": 5, "oops": 1}]}}),
            "there is no field `rollout.phases[0].oops` in an update",
        );
        check(json!({"files": [["a.bin", "a".repeat(64), 10]]}), "files[0] must be an object, not a list (bad_field)");
        check(json!({"labels": {"anything": "goes"}, "specification": {"any": {"thing": 1}}}), "anything");
    }

    #[test]
    fn everything_wrong_is_named_with_what_is_expected() {
        check(json!({"version": "2.0"}), "version must be SemVer 2.0 such as 1.4.0; `2.0` is not");
        check(json!({"policy": "memory >="}), "(policy_invalid)");
        check(
            json!({"compatible_from": ["two"]}),
            "compatible_from must hold requirements such as \"^2.0\"; `two` is not",
        );
        check(json!({"files": []}), "files must have at least one entry");
        check(json!({"kind": "json"}), "payload is missing");
        check(json!({"files": [{"name": "../a", "sha256": "a".repeat(64), "size": 1}]}), "not start with a dot");
        check(json!({"files": [{"name": "a", "sha256": "A".repeat(64), "size": 1}]}), "64 lower-case hex digits");
        check(
            json!({"rollout": {"phases": [{"starts_at": "2026-01-01T00:00:00Z", "percent": 101}]}}),
            "within 0 and 100",
        );
        check(json!({"rollout": {"max_attempts": 0}}), "rollout: max_attempts must be within 1 and 100");
        check(json!({"rollout": {"limits": {"max_devices": 0}}}), "limits.max_devices must be within 1 and 2^50");
    }

    #[test]
    fn knobs_are_merged_and_null_takes_a_limit_away() {
        let first = Definition::from_value(base(), &lamp()).unwrap();
        let with = |definition: &Definition, rollout: Value| {
            definition.with(json!({"rollout": rollout}).as_object().unwrap(), &lamp())
        };
        let second = with(&first, json!({"limits": {"max_devices": 7}})).unwrap();
        assert_eq!(
            (second.rollout.limits.max_devices, second.rollout.limits.max_in_flight),
            (Some(7), InFlightField::Auto)
        );
        let third = with(&second, json!({"limits": {"max_devices": null}})).unwrap();
        assert_eq!(third.rollout.limits.max_devices, None);
        assert!(with(&first, json!({"limit": 7})).is_err());
        let named =
            first.with(json!({"name": "Spring", "policy": "memory > 1"}).as_object().unwrap(), &lamp()).unwrap();
        assert_eq!((named.name.as_deref(), named.policy.as_str()), (Some("Spring"), "memory > 1"));
        assert!(first.with(json!({"nmae": "Spring"}).as_object().unwrap(), &lamp()).is_err());
    }

    #[test]
    fn a_stored_definition_with_a_field_of_a_later_version_is_still_read() {
        let mut value: Value =
            serde_json::from_str(&Definition::from_value(base(), &lamp()).unwrap().to_store()).unwrap();
        value["rollout"]["invented_later"] = json!(1);
        assert!(Definition::from_store(&value.to_string()).is_ok());
        assert!(Definition::from_store("{").is_err());
    }
}
