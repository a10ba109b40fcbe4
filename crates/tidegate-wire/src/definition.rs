//! An update as an operator writes it, and as it is stored.
//!
//! People are read strictly: a field that does not exist is refused by name. What is stored is read
//! tolerantly, so that an older function can read what a newer one wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_core::cohort::Share;
use tidegate_core::health::HealthGate;
use tidegate_core::limits::{DEFAULT_MAX_IN_FLIGHT, Limits};
use tidegate_core::policy::{Policy, Slots};
use tidegate_core::rollout::{DEFAULT_CLAIM_TTL_S, DEFAULT_MAX_ATTEMPTS, Group, Phase, Rollout, WhenFull};
use tidegate_core::update::{Content, Downgrade, File, Kind, Publication, StoredObject};
use tidegate_core::window::OpeningWindow;
use tidegate_core::{ProductId, Timestamp, Update, UpdateId, Version, VersionReq};

use crate::device_json::parse_version;
use crate::error::{ApiError, ErrorCode};
use crate::{body_limits, strict_json};

/// The most files one update may have: their URLs go into one answer.
const MOST_FILES: usize = 16;
/// The largest file in bytes: S3 takes no more in one upload.
const LARGEST_FILE_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// The most windows, groups, phases, labels and requirements: each is asked at every check-in.
const MOST_OF_EACH: usize = 32;
/// The longest name, description or label, in bytes.
const LONGEST_TEXT: usize = 4096;

/// An update on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of DESIGN's update, each described in openapi.yaml
pub struct Definition {
    pub version: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub author: Option<String>,
    #[serde(default)]
    pub vendor: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub compatible_from: Vec<String>,
    #[serde(default)]
    pub policy: String,
    #[serde(default)]
    pub allow_downgrade: bool,
    #[serde(default)]
    pub ask_consent: bool,
    #[serde(default)]
    pub kind: KindField,
    #[serde(default)]
    pub payload: Option<Value>,
    #[serde(default)]
    pub specification: Option<Value>,
    #[serde(default)]
    pub files: Vec<FileField>,
    #[serde(default)]
    pub rollout: RolloutField,
}

/// `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum KindField {
    #[default]
    File,
    Json,
    UrlList,
}

/// One of `files`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FileField {
    pub name: String,
    pub sha256: String,
    pub size: u64,
}

/// `rollout`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct RolloutField {
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    pub windows: Vec<WindowField>,
    pub groups: Vec<GroupField>,
    pub phases: Vec<PhaseField>,
    pub limits: LimitsField,
    pub claim_ttl_s: u32,
    pub max_attempts: u32,
    pub when_full: WhenFullField,
    pub health: HealthField,
}

/// One of `rollout.windows`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WindowField {
    pub cron: String,
    pub duration_s: u32,
    #[serde(default = "utc")]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".into()
}

/// One of `rollout.groups`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct GroupField {
    pub policy: String,
    pub starts_at: Timestamp,
}

/// One of `rollout.phases`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PhaseField {
    pub starts_at: Timestamp,
    pub percent: f64,
}

/// `rollout.limits`; `null` is no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct LimitsField {
    pub max_devices: Option<u64>,
    pub max_per_period: Option<u64>,
    pub period_s: u32,
    pub max_in_flight: Option<u64>,
    pub max_bytes_per_period: Option<u64>,
}

/// `rollout.when_full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum WhenFullField {
    #[default]
    Next,
    Wait,
}

/// `rollout.health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct HealthField {
    pub tolerated_failure_percent: f64,
    pub confidence_percent: f64,
    pub min_failures: u64,
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
            claim_ttl_s: DEFAULT_CLAIM_TTL_S,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            when_full: WhenFullField::Next,
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
            max_in_flight: Some(DEFAULT_MAX_IN_FLIGHT),
            max_bytes_per_period: None,
        }
    }
}

impl Default for HealthField {
    fn default() -> Self {
        let HealthGate { tolerated_failure_percent, confidence_percent, min_failures } = HealthGate::default();
        Self { tolerated_failure_percent, confidence_percent, min_failures }
    }
}

impl Definition {
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
        let definition: Self = read(&value)?;
        refuse_unknown_fields(&value, &definition)?;
        definition.update(product, &Publication::draft(), &mut Slots::new())?;
        Ok(definition)
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// A sentence, when the record cannot be understood.
    pub fn from_store(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("the stored definition cannot be read: {error}"))
    }

    /// The rules' view of what is stored.
    ///
    /// # Errors
    /// A sentence, when the record cannot be understood.
    pub fn compile(
        stored: &str,
        product: &ProductId,
        publication: &Publication,
        slots: &mut Slots,
    ) -> Result<Update, String> {
        Self::from_store(stored)?.update(product, publication, slots).map_err(|error| error.to_string())
    }

    /// The text that is stored. Two definitions are the same when these are.
    #[must_use]
    pub fn to_store(&self) -> String {
        serde_json::to_string(self).expect("a definition holds only strings, numbers and JSON values")
    }

    /// The definition with some rollout knobs changed. Objects are merged field by field; anything
    /// else, `null` too, replaces what was there.
    ///
    /// # Errors
    /// As for [`Definition::from_operator`].
    pub fn with_rollout(&self, knobs: &Value, product: &ProductId) -> Result<Self, ApiError> {
        let mut rollout = serde_json::to_value(&self.rollout).unwrap_or_default();
        merge(&mut rollout, knobs);
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(field) = value.get_mut("rollout") {
            *field = rollout;
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
        let content = self.content(&publication.objects)?;
        let policy = parse_policy("policy", &self.policy, slots)?;
        let rollout = self.rollout.rollout(content.size_bytes(), slots)?;
        Ok(Update {
            id: UpdateId::of(product, &version),
            product: product.clone(),
            version,
            state: publication.state,
            generation: publication.generation,
            reason: publication.reason.clone(),
            shards: publication.shards,
            compatible_from: self.requirements()?,
            policy,
            downgrade: if self.allow_downgrade { Downgrade::Allowed } else { Downgrade::Refused },
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

    fn check_sizes(&self) -> Result<(), ApiError> {
        let lists = [
            ("compatible_from", self.compatible_from.len(), MOST_OF_EACH),
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
            return Err(ApiError::bad_field(format!("files: size of {} must be within 1 byte and 5 GiB", self.name)));
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
            Ok::<_, ApiError>(Phase { starts_at: phase.starts_at, share })
        });
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let policy = parse_policy("rollout.groups policy", &group.policy, slots)?;
            groups.push(Group { policy, starts_at: group.starts_at });
        }
        let health = HealthGate {
            tolerated_failure_percent: self.health.tolerated_failure_percent,
            confidence_percent: self.health.confidence_percent,
            min_failures: self.health.min_failures,
        };
        health.validate().map_err(rollout_error)?;
        let rollout = Rollout {
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            windows: windows.collect::<Result<_, _>>()?,
            groups,
            phases: phases.collect::<Result<_, _>>()?,
            limits: Limits {
                max_devices: self.limits.max_devices,
                max_per_period: self.limits.max_per_period,
                period_s: self.limits.period_s,
                max_in_flight: self.limits.max_in_flight,
                max_bytes_per_period: self.limits.max_bytes_per_period,
            },
            claim_ttl_s: self.claim_ttl_s,
            max_attempts: self.max_attempts,
            when_full: match self.when_full {
                WhenFullField::Next => WhenFull::Next,
                WhenFullField::Wait => WhenFull::Wait,
            },
            health,
        };
        rollout.validate(bytes_per_device).map_err(rollout_error)?;
        Ok(rollout)
    }
}

fn parse_policy(field: &str, text: &str, slots: &mut Slots) -> Result<Policy, ApiError> {
    Policy::parse(text, slots).map_err(|error| ApiError::new(ErrorCode::PolicyInvalid, format!("{field}: {error}")))
}

fn read(value: &Value) -> Result<Definition, ApiError> {
    Definition::deserialize(value).map_err(|error| ApiError::bad_field(format!("the update cannot be read: {error}")))
}

/// Whatever was sent and does not come back when the definition is written again is a field that
/// does not exist.
fn refuse_unknown_fields(sent: &Value, definition: &Definition) -> Result<(), ApiError> {
    check_shape("", sent, &serde_json::to_value(definition).unwrap_or_default())
}

fn check_shape(path: &str, sent: &Value, known: &Value) -> Result<(), ApiError> {
    match (sent, known) {
        _ if ["payload", "specification", "labels"].contains(&path) => Ok(()),
        (Value::Object(sent), Value::Object(known)) => sent.iter().try_for_each(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match known.get(name) {
                Some(known) => check_shape(&path, value, known),
                None => Err(ApiError::new(ErrorCode::UnknownField, format!("there is no field `{path}` in an update"))),
            }
        }),
        // Serde would take a list of values for an object; people do not mean that.
        (Value::Array(_), Value::Object(_)) => {
            let what = if path.is_empty() { "the update" } else { path };
            Err(ApiError::bad_field(format!("{what} must be an object, not a list")))
        }
        (Value::Array(sent), Value::Array(known)) => sent
            .iter()
            .zip(known)
            .enumerate()
            .try_for_each(|(index, (sent, known))| check_shape(&format!("{path}[{index}]"), sent, known)),
        _ => Ok(()),
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
        check(json!({}), r#""max_in_flight":500"#);
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
        check(json!({"rollout": {"claim_ttl_s": 1}}), "rollout: claim_ttl_s must be within 300 and 2592000");
        check(json!({"rollout": {"limits": {"max_devices": 0}}}), "limits.max_devices must be within 1 and 2^50");
    }

    #[test]
    fn knobs_are_merged_and_null_takes_a_limit_away() {
        let first = Definition::from_value(base(), &lamp()).unwrap();
        let second = first.with_rollout(&json!({"limits": {"max_devices": 7}}), &lamp()).unwrap();
        assert_eq!((second.rollout.limits.max_devices, second.rollout.limits.max_in_flight), (Some(7), Some(500)));
        let third = second.with_rollout(&json!({"limits": {"max_devices": null}}), &lamp()).unwrap();
        assert_eq!(third.rollout.limits.max_devices, None);
        assert!(first.with_rollout(&json!({"limit": 7}), &lamp()).is_err());
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
