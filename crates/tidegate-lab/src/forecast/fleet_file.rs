//! The fleet file: a fleet as an operator describes it, with its check-in period and its outcomes.

use serde_json::{Map, Value};
use tidegate_core::{Timestamp, Version};
use tidegate_wire::device_json::attributes_of;
use tidegate_wire::{ApiError, body_limits, strict_json};

use crate::fleet::{Fleet, Group, Ids, Outcomes};

/// Ten times the largest fleet that is promised; at 20 bytes each they fit into any laptop.
const MOST_DEVICES: f64 = 10_000_000.0;
/// A quarter of a year; every second of a play takes eight bytes.
const LONGEST_PLAY_HOURS: f64 = 92.0 * 24.0;
/// Attribute groups; every group has its own table of decisions.
const MOST_GROUPS: usize = 64;
/// Digits of a device's number in its id.
const DIGITS: usize = 7;
/// Thirty days, the longest claim.
const LONGEST_MINUTES: f64 = 30.0 * 24.0 * 60.0;

/// The contents of a fleet file: a fleet, how it behaves, and when the play starts and ends.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetFile {
    pub(crate) fleet: Fleet,
    pub(crate) audience: Audience,
    pub(crate) period_s: u32,
    pub(crate) jitter_s: u32,
    pub(crate) report_after_s: u32,
    pub(crate) report_jitter_s: u32,
    pub(crate) image_size_bytes: Option<u64>,
    pub(crate) bandwidth_bytes_per_s: Option<u64>,
    pub(crate) starts_at: Timestamp,
    pub(crate) play_s: u32,
}

/// Choice of how the audience of the update is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The update's own policy is asked about each group's attributes.
    Policy,
    /// The fleet says which share matches.
    Stated,
}

/// The attribute that stands for the policy when a fleet only states the share that matches.
pub(crate) const STATED: &str = "forecast_matches";

/// Reason why a fleet file cannot be played.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FleetFileError {
    /// It is not JSON as the API takes it.
    #[error("{}", .0.message)]
    Json(#[source] ApiError),
    /// A field is not what it must be.
    #[error("{path} must be {expected}; got {got}")]
    NotExpected {
        /// The field.
        path: String,
        /// The expectation.
        expected: String,
        /// The value that was given.
        got: String,
    },
    /// A field is of another type, or of another form.
    #[error("{path} must be {expected}")]
    OtherForm {
        /// The field.
        path: String,
        /// The expectation.
        expected: String,
    },
    /// A field must be given.
    #[error("{path} is missing")]
    Missing {
        /// The field.
        path: String,
    },
    /// There is no such field.
    #[error("there is no field `{path}` in a fleet")]
    Unknown {
        /// The field.
        path: String,
    },
    /// The attributes of a group cannot be attributes of a device.
    #[error("{path}: {}", .cause.message)]
    Attributes {
        /// The field.
        path: String,
        /// The reason.
        #[source]
        cause: ApiError,
    },
    /// Two fields, or several of them, do not fit together.
    #[error("{0}")]
    Contradiction(String),
}

impl FleetFile {
    /// Reads a fleet file. A field that does not exist is refused by name.
    ///
    /// # Errors
    /// The field that is wrong, and the expectation.
    pub fn read(text: &[u8]) -> Result<Self, FleetFileError> {
        let value = strict_json::parse(text, body_limits::OPERATOR).map_err(FleetFileError::Json)?;
        let mut fields = Fields::new("", value)?;
        let version = fields.version("version")?;
        let (audience, shares) = audience(&mut fields, &version)?;
        let devices = fields.whole("devices", 1.0, MOST_DEVICES, None)?;
        let period_s = fields.seconds("check_in_period_minutes", 60.0, 1.0, LONGEST_MINUTES, None)?;
        let jitter_s = fields.seconds("check_in_jitter_minutes", 60.0, 0.0, LONGEST_MINUTES, Some(0.0))?;
        if jitter_s >= period_s {
            return contradiction("check_in_jitter_minutes must be less than check_in_period_minutes");
        }
        let outcomes = outcomes(&mut fields)?;
        let ids = Ids { name: "device-".to_owned(), digits: DIGITS };
        let file = Self {
            fleet: Fleet::new(ids, groups(shares, devices)).with_outcomes(outcomes),
            audience,
            period_s,
            jitter_s,
            report_after_s: fields.seconds("report_after_minutes", 60.0, 0.0, LONGEST_MINUTES, None)?,
            report_jitter_s: fields.seconds("report_jitter_minutes", 60.0, 0.0, LONGEST_MINUTES, Some(0.0))?,
            image_size_bytes: fields.optional_bytes("image_size_bytes")?,
            bandwidth_bytes_per_s: fields.optional_bytes("bandwidth_bytes_per_s")?.map(|bytes| bytes.max(1)),
            starts_at: fields.moment("starts_at")?,
            play_s: fields.seconds("play_hours", 3600.0, 1.0, LONGEST_PLAY_HOURS, None)?,
        };
        fields.end()?;
        if file.report_jitter_s > file.report_after_s {
            return contradiction("report_jitter_minutes must be at most report_after_minutes");
        }
        Ok(file)
    }

    /// Number of full hours that are played.
    #[must_use]
    pub fn play_hours(&self) -> u64 {
        u64::from(self.play_s / 3600)
    }
}

fn contradiction<T>(sentence: impl Into<String>) -> Result<T, FleetFileError> {
    Err(FleetFileError::Contradiction(sentence.into()))
}

fn outcomes(fields: &mut Fields) -> Result<Outcomes, FleetFileError> {
    let failure = fields.number("failure_rate", 0.0, 1.0, Some(0.0))?;
    let silence = fields.number("silence_rate", 0.0, 1.0, Some(0.0))?;
    let rest = (1.0 - failure - silence).max(0.0);
    let success = fields.number("success_rate", 0.0, 1.0, Some(rest))?;
    let sum = success + failure + silence;
    if sum > 1.0 + 1e-9 {
        return contradiction(format!(
            "success_rate, failure_rate and silence_rate must add up to at most 1; got {sum}"
        ));
    }
    Ok(Outcomes { success, failure, silence })
}

/// A group as it is written: with a share of the fleet instead of a number of devices.
struct Share {
    share: f64,
    version: Version,
    said: Map<String, Value>,
}

/// The groups of so many devices.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares are within 0 and 1
fn groups(shares: Vec<Share>, devices: u32) -> Vec<Group> {
    let (mut sum, mut begin, count) = (0.0, 0, shares.len());
    let groups = shares.into_iter().enumerate().map(|(place, Share { share, version, said })| {
        sum += share;
        let end = if place + 1 == count { devices } else { (f64::from(devices) * sum).round() as u32 };
        let devices = end - begin;
        begin = end;
        Group { devices, version, said }
    });
    groups.collect()
}

fn audience(fields: &mut Fields, version: &Version) -> Result<(Audience, Vec<Share>), FleetFileError> {
    match fields.take("groups") {
        Some(_) if fields.has("matching_share") => {
            contradiction("groups and matching_share must not both be given: groups ask the update's own policy")
        }
        Some(Value::Array(groups)) => Ok((Audience::Policy, shares(groups, version)?)),
        Some(_) => Err(fields.other_form("groups", "a list")),
        None => {
            let share = fields.number("matching_share", 0.0, 1.0, Some(1.0))?;
            let group = |share, matches: bool| Share {
                share,
                version: version.clone(),
                said: [(STATED.to_owned(), matches.into())].into_iter().collect(),
            };
            Ok((Audience::Stated, vec![group(share, true), group(1.0 - share, false)]))
        }
    }
}

fn shares(values: Vec<Value>, fleet_version: &Version) -> Result<Vec<Share>, FleetFileError> {
    if values.is_empty() || values.len() > MOST_GROUPS {
        return contradiction(format!("groups must have 1 to {MOST_GROUPS} entries; got {}", values.len()));
    }
    let mut shares = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let mut fields = Fields::new(&format!("groups[{index}]"), value)?;
        let share = fields.number("share", 0.0, 1.0, None)?;
        let version = if fields.has("version") { fields.version("version")? } else { fleet_version.clone() };
        let said = match fields.take("attributes") {
            Some(Value::Object(said)) => {
                let path = fields.path("attributes");
                attributes_of(&said).map_err(|cause| FleetFileError::Attributes { path, cause })?;
                said
            }
            Some(_) => return Err(fields.other_form("attributes", "an object")),
            None => Map::new(),
        };
        fields.end()?;
        shares.push(Share { share, version, said });
    }
    let sum = shares.iter().map(|group| group.share).sum::<f64>();
    if (sum - 1.0).abs() > 1e-6 {
        return contradiction(format!("the shares of groups must add up to 1; got {sum}"));
    }
    Ok(shares)
}

/// The fields of one object that have not been read yet.
struct Fields {
    place: String,
    left: Map<String, Value>,
}

impl Fields {
    fn new(place: &str, value: Value) -> Result<Self, FleetFileError> {
        let path = if place.is_empty() { "the fleet" } else { place };
        match value {
            Value::Object(left) => Ok(Self { place: place.to_owned(), left }),
            _ => Err(FleetFileError::OtherForm { path: path.to_owned(), expected: "a JSON object".to_owned() }),
        }
    }

    fn other_form(&self, name: &str, expected: &str) -> FleetFileError {
        FleetFileError::OtherForm { path: self.path(name), expected: expected.to_owned() }
    }

    fn not_expected(&self, name: &str, expected: &str, got: impl ToString) -> FleetFileError {
        FleetFileError::NotExpected { path: self.path(name), expected: expected.to_owned(), got: got.to_string() }
    }

    fn missing(&self, name: &str) -> FleetFileError {
        FleetFileError::Missing { path: self.path(name) }
    }

    fn path(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    /// Refuses the fields that were not read.
    fn end(self) -> Result<(), FleetFileError> {
        match self.left.keys().next() {
            Some(name) => Err(FleetFileError::Unknown { path: self.path(name) }),
            None => Ok(()),
        }
    }

    fn number(&mut self, name: &str, least: f64, most: f64, otherwise: Option<f64>) -> Result<f64, FleetFileError> {
        let number = match (self.take(name), otherwise) {
            (Some(Value::Number(number)), _) => number.as_f64().unwrap_or(f64::NAN),
            (Some(other), _) => return Err(self.not_expected(name, "a number", format!("{other:.40}"))),
            (None, Some(otherwise)) => return Ok(otherwise),
            (None, None) => return Err(self.missing(name)),
        };
        if !(least..=most).contains(&number) {
            return Err(self.not_expected(name, &format!("within {least} and {most}"), number));
        }
        Ok(number)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, and within bounds that fit
    fn whole(&mut self, name: &str, least: f64, most: f64, otherwise: Option<f64>) -> Result<u32, FleetFileError> {
        let number = self.number(name, least, most, otherwise)?;
        if number.fract() != 0.0 {
            return Err(self.not_expected(name, "a whole number", number));
        }
        Ok(number as u32)
    }

    /// A time span in minutes or hours, `unit_s` seconds each, to the second.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within bounds that fit
    fn seconds(
        &mut self,
        name: &str,
        unit_s: f64,
        least: f64,
        most: f64,
        otherwise: Option<f64>,
    ) -> Result<u32, FleetFileError> {
        Ok((self.number(name, least, most, otherwise)? * unit_s).round() as u32)
    }

    fn optional_bytes(&mut self, name: &str) -> Result<Option<u64>, FleetFileError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(bytes) if bytes <= 1 << 50 => Ok(Some(bytes)),
                _ => Err(self.not_expected(name, "a whole number within 0 and 2^50", format!("{value:.40}"))),
            },
        }
    }

    fn version(&mut self, name: &str) -> Result<Version, FleetFileError> {
        match self.take(name) {
            Some(Value::String(text)) => Version::parse(&text).map_err(|error| {
                self.other_form(name, &format!("SemVer 2.0 such as 1.4.0; `{text:.64}` is not: {error}"))
            }),
            Some(other) => Err(self.not_expected(name, "a string", format!("{other:.40}"))),
            None => Err(self.missing(name)),
        }
    }

    fn moment(&mut self, name: &str) -> Result<Timestamp, FleetFileError> {
        let parsed = match self.take(name) {
            Some(Value::String(text)) => text.parse::<Timestamp>().ok(),
            Some(_) => None,
            None => return Err(self.missing(name)),
        };
        let moment = parsed.and_then(|moment| Timestamp::from_second(moment.as_second()).ok());
        moment
            .filter(|moment| moment.as_second() >= 0)
            .ok_or_else(|| self.other_form(name, "a time such as 2026-03-02T08:00:00Z, not before 1970"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "devices": 1000, "version": "1.4.0", "check_in_period_minutes": 60, "report_after_minutes": 20,
            "starts_at": "2026-03-02T08:00:00Z", "play_hours": 24
        })
    }

    fn check(change: &Value, expected: &str) {
        let mut value = base();
        for (name, field) in change.as_object().unwrap() {
            match field {
                Value::Null => value.as_object_mut().unwrap().remove(name),
                field => value.as_object_mut().unwrap().insert(name.clone(), field.clone()),
            };
        }
        let got =
            FleetFile::read(value.to_string().as_bytes()).map_or_else(|error| error.to_string(), |_| "fine".to_owned());
        assert_eq!(got, expected, "{change}");
    }

    #[test]
    fn a_bad_fleet_is_refused_by_the_name_of_the_field() {
        check(&json!({}), "fine");
        check(&json!({"sise": 3}), "there is no field `sise` in a fleet");
        check(&json!({"devices": null}), "devices is missing");
        check(&json!({"devices": 0}), "devices must be within 1 and 10000000; got 0");
        check(&json!({"devices": 1.5}), "devices must be a whole number; got 1.5");
        check(&json!({"devices": "many"}), "devices must be a number; got \"many\"");
        check(
            &json!({"version": "1.4"}),
            "version must be SemVer 2.0 such as 1.4.0; `1.4` is not: unexpected end of input while parsing minor version number",
        );
        check(&json!({"check_in_period_minutes": 0}), "check_in_period_minutes must be within 1 and 43200; got 0");
        check(
            &json!({"check_in_jitter_minutes": 60}),
            "check_in_jitter_minutes must be less than check_in_period_minutes",
        );
        check(&json!({"report_jitter_minutes": 21}), "report_jitter_minutes must be at most report_after_minutes");
        check(&json!({"failure_rate": 1.01}), "failure_rate must be within 0 and 1; got 1.01");
        check(
            &json!({"success_rate": 0.75, "failure_rate": 0.25, "silence_rate": 0.25}),
            "success_rate, failure_rate and silence_rate must add up to at most 1; got 1.25",
        );
        check(
            &json!({"failure_rate": 0.75, "silence_rate": 0.5}),
            "success_rate, failure_rate and silence_rate must add up to at most 1; got 1.25",
        );
        check(&json!({"image_size_bytes": -1}), "image_size_bytes must be a whole number within 0 and 2^50; got -1");
        check(
            &json!({"starts_at": "monday"}),
            "starts_at must be a time such as 2026-03-02T08:00:00Z, not before 1970",
        );
        check(&json!({"play_hours": 5000}), "play_hours must be within 1 and 2208; got 5000");
    }

    #[test]
    fn a_bad_group_is_refused_by_its_number_and_field() {
        let check = |groups: Value, expected: &str| check(&json!({ "groups": groups }), expected);
        check(json!([{"share": 0.25}, {"share": 0.75, "attributes": {"site": {"region": "eu"}}}]), "fine");
        check(json!({}), "groups must be a list");
        check(json!([]), "groups must have 1 to 64 entries; got 0");
        check(json!([{"share": 1}, 7]), "groups[1] must be a JSON object");
        check(json!([{"share": 1}, {}]), "groups[1].share is missing");
        check(json!([{"share": 1, "attribute": {}}]), "there is no field `groups[0].attribute` in a fleet");
        check(json!([{"share": 1, "attributes": 3}]), "groups[0].attributes must be an object");
        check(
            json!([{"share": 1, "version": "x"}]),
            "groups[0].version must be SemVer 2.0 such as 1.4.0; `x` is not: unexpected character 'x' while parsing major version number",
        );
        check(json!([{"share": 0.5}]), "the shares of groups must add up to 1; got 0.5");
    }

    #[test]
    fn either_groups_or_a_share_that_matches() {
        check(&json!({"matching_share": 0.5}), "fine");
        check(
            &json!({"matching_share": 0.5, "groups": [{"share": 1}]}),
            "groups and matching_share must not both be given: groups ask the update's own policy",
        );
        let fleet = FleetFile::read(base().to_string().as_bytes()).unwrap().fleet;
        let devices = fleet.groups.iter().map(|group| group.devices).collect::<Vec<_>>();
        assert_eq!(devices, [1000, 0], "without either, every device matches");
        assert!((fleet.outcomes.success - 1.0).abs() < 1e-12, "what neither fails nor falls silent succeeds");
    }

    #[test]
    fn what_is_not_an_object_is_not_a_fleet() {
        let refused = |text: &[u8]| FleetFile::read(text).unwrap_err().to_string();
        assert_eq!(refused(b"[]"), "the fleet must be a JSON object");
        assert!(refused(b"{\"devices\":1,\"devices\":2}").contains("given twice"));
    }
}
