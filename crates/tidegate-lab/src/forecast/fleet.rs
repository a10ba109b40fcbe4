//! A fleet as an operator describes it: how many devices, how often they ask, and how they fare.

use serde_json::{Map, Value};
use tidegate_core::attributes::Attributes;
use tidegate_core::{Timestamp, Version};
use tidegate_wire::device_json::attributes_of;
use tidegate_wire::{body_limits, strict_json};

/// Ten times the largest fleet that is promised; at 20 bytes each they fit into any laptop.
const MOST_DEVICES: f64 = 10_000_000.0;
/// A quarter of a year; every second of a play takes eight bytes.
const LONGEST_PLAY_HOURS: f64 = 92.0 * 24.0;
/// Attribute groups; every group has its own table of decisions.
const MOST_GROUPS: usize = 64;
/// Thirty days, the longest claim.
const LONGEST_MINUTES: f64 = 30.0 * 24.0 * 60.0;

/// A fleet that has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    pub(crate) audience: Audience,
    pub(crate) groups: Vec<Group>,
    pub(crate) devices: u32,
    pub(crate) period_s: u32,
    pub(crate) jitter_s: u32,
    pub(crate) success_rate: f64,
    pub(crate) failure_rate: f64,
    pub(crate) silence_rate: f64,
    pub(crate) report_after_s: u32,
    pub(crate) report_jitter_s: u32,
    pub(crate) image_size_bytes: Option<u64>,
    pub(crate) bandwidth_bytes_per_s: Option<u64>,
    pub(crate) starts_at: Timestamp,
    pub(crate) play_s: u32,
}

/// How it is known who the update is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The update's own policy is asked about each group's attributes.
    Policy,
    /// The fleet says which share matches.
    Stated,
}

/// Devices that say the same of themselves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) share: f64,
    pub(crate) version: Version,
    pub(crate) attributes: Attributes,
}

/// The attribute that stands for the policy when a fleet only states the share that matches.
pub(crate) const STATED: &str = "forecast_matches";

/// Reads a fleet. A field that does not exist is refused by name.
///
/// # Errors
/// A sentence that names the field and the expectation.
pub fn read_fleet(text: &[u8]) -> Result<Fleet, String> {
    let value = strict_json::parse(text, body_limits::OPERATOR).map_err(|error| error.message)?;
    let mut fields = Fields::new("", value)?;
    let version = fields.version("version")?;
    let (audience, groups) = audience(&mut fields, &version)?;
    let devices = fields.whole("devices", 1.0, MOST_DEVICES, None)?;
    let period_s = fields.seconds("check_in_period_minutes", 60.0, 1.0, LONGEST_MINUTES, None)?;
    let jitter_s = fields.seconds("check_in_jitter_minutes", 60.0, 0.0, LONGEST_MINUTES, Some(0.0))?;
    if jitter_s >= period_s {
        return Err("check_in_jitter_minutes must be less than check_in_period_minutes".into());
    }
    let failure_rate = fields.number("failure_rate", 0.0, 1.0, Some(0.0))?;
    let silence_rate = fields.number("silence_rate", 0.0, 1.0, Some(0.0))?;
    let rest = (1.0 - failure_rate - silence_rate).max(0.0);
    let success_rate = fields.number("success_rate", 0.0, 1.0, Some(rest))?;
    let sum = success_rate + failure_rate + silence_rate;
    if sum > 1.0 + 1e-9 {
        return Err(format!("success_rate, failure_rate and silence_rate must add up to at most 1; got {sum}"));
    }
    let fleet = Fleet {
        audience,
        groups,
        devices,
        period_s,
        jitter_s,
        success_rate,
        failure_rate,
        silence_rate,
        report_after_s: fields.seconds("report_after_minutes", 60.0, 0.0, LONGEST_MINUTES, None)?,
        report_jitter_s: fields.seconds("report_jitter_minutes", 60.0, 0.0, LONGEST_MINUTES, Some(0.0))?,
        image_size_bytes: fields.optional_bytes("image_size_bytes")?,
        bandwidth_bytes_per_s: fields.optional_bytes("bandwidth_bytes_per_s")?.map(|bytes| bytes.max(1)),
        starts_at: fields.moment("starts_at")?,
        play_s: fields.seconds("play_hours", 3600.0, 1.0, LONGEST_PLAY_HOURS, None)?,
    };
    fields.end("a fleet")?;
    if fleet.report_jitter_s > fleet.report_after_s {
        return Err("report_jitter_minutes must be at most report_after_minutes".into());
    }
    Ok(fleet)
}

fn audience(fields: &mut Fields, version: &Version) -> Result<(Audience, Vec<Group>), String> {
    match fields.take("groups") {
        Some(_) if fields.has("matching_share") => {
            Err("groups and matching_share must not both be given: groups ask the update's own policy".into())
        }
        Some(Value::Array(groups)) => Ok((Audience::Policy, attribute_groups(groups, version)?)),
        Some(_) => Err("groups must be a list".into()),
        None => {
            let share = fields.number("matching_share", 0.0, 1.0, Some(1.0))?;
            let group = |share, matches| Group {
                share,
                version: version.clone(),
                attributes: [(STATED.to_owned(), tidegate_core::attributes::Value::Bool(matches))]
                    .into_iter()
                    .collect(),
            };
            Ok((Audience::Stated, vec![group(share, true), group(1.0 - share, false)]))
        }
    }
}

fn attribute_groups(values: Vec<Value>, fleet_version: &Version) -> Result<Vec<Group>, String> {
    if values.is_empty() || values.len() > MOST_GROUPS {
        return Err(format!("groups must have 1 to {MOST_GROUPS} entries; got {}", values.len()));
    }
    let mut groups = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let mut fields = Fields::new(&format!("groups[{index}]"), value)?;
        let share = fields.number("share", 0.0, 1.0, None)?;
        let version = if fields.has("version") { fields.version("version")? } else { fleet_version.clone() };
        let attributes = match fields.take("attributes") {
            Some(Value::Object(object)) => {
                attributes_of(&object).map_err(|error| format!("{}: {}", fields.path("attributes"), error.message))?
            }
            Some(_) => return Err(format!("{} must be an object", fields.path("attributes"))),
            None => Attributes::new(),
        };
        fields.end("a fleet")?;
        groups.push(Group { share, version, attributes });
    }
    let sum = groups.iter().map(|group| group.share).sum::<f64>();
    if (sum - 1.0).abs() > 1e-6 {
        return Err(format!("the shares of groups must add up to 1; got {sum}"));
    }
    Ok(groups)
}

impl Fleet {
    /// How many devices there are.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.devices
    }

    /// How many full hours are played.
    #[must_use]
    pub fn play_hours(&self) -> u64 {
        u64::from(self.play_s / 3600)
    }

    /// The first device of each group, and one past the last of them: groups follow one another.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares are within 0 and 1
    pub(crate) fn group_ends(&self) -> Vec<u32> {
        let mut sum = 0.0;
        let mut ends: Vec<u32> = self
            .groups
            .iter()
            .map(|group| {
                sum += group.share;
                (f64::from(self.devices) * sum).round() as u32
            })
            .collect();
        if let Some(last) = ends.last_mut() {
            *last = self.devices;
        }
        ends
    }
}

/// The fields of one object that have not been read yet.
struct Fields {
    place: String,
    left: Map<String, Value>,
}

impl Fields {
    fn new(place: &str, value: Value) -> Result<Self, String> {
        let what = if place.is_empty() { "the fleet" } else { place };
        match value {
            Value::Object(left) => Ok(Self { place: place.to_owned(), left }),
            _ => Err(format!("{what} must be a JSON object")),
        }
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

    /// Whatever nobody asked for does not exist.
    fn end(self, what: &str) -> Result<(), String> {
        match self.left.keys().next() {
            Some(name) => Err(format!("there is no field `{}` in {what}", self.path(name))),
            None => Ok(()),
        }
    }

    fn number(&mut self, name: &str, least: f64, most: f64, otherwise: Option<f64>) -> Result<f64, String> {
        let path = self.path(name);
        let number = match (self.take(name), otherwise) {
            (Some(Value::Number(number)), _) => number.as_f64().unwrap_or(f64::NAN),
            (Some(other), _) => return Err(format!("{path} must be a number; got {other:.40}")),
            (None, Some(otherwise)) => return Ok(otherwise),
            (None, None) => return Err(format!("{path} is missing")),
        };
        if !(least..=most).contains(&number) {
            return Err(format!("{path} must be within {least} and {most}; got {number}"));
        }
        Ok(number)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, and within bounds that fit
    fn whole(&mut self, name: &str, least: f64, most: f64, otherwise: Option<f64>) -> Result<u32, String> {
        let number = self.number(name, least, most, otherwise)?;
        if number.fract() != 0.0 {
            return Err(format!("{} must be a whole number; got {number}", self.path(name)));
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
    ) -> Result<u32, String> {
        Ok((self.number(name, least, most, otherwise)? * unit_s).round() as u32)
    }

    fn optional_bytes(&mut self, name: &str) -> Result<Option<u64>, String> {
        let path = self.path(name);
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(bytes) if bytes <= 1 << 50 => Ok(Some(bytes)),
                _ => Err(format!("{path} must be a whole number within 0 and 2^50; got {value:.40}")),
            },
        }
    }

    fn version(&mut self, name: &str) -> Result<Version, String> {
        let path = self.path(name);
        match self.take(name) {
            Some(Value::String(text)) => Version::parse(&text)
                .map_err(|error| format!("{path} must be SemVer 2.0 such as 1.4.0; `{text:.64}` is not: {error}")),
            Some(other) => Err(format!("{path} must be a string; got {other:.40}")),
            None => Err(format!("{path} is missing")),
        }
    }

    fn moment(&mut self, name: &str) -> Result<Timestamp, String> {
        let path = self.path(name);
        let parsed = match self.take(name) {
            Some(Value::String(text)) => text.parse::<Timestamp>().ok(),
            Some(_) => None,
            None => return Err(format!("{path} is missing")),
        };
        let moment = parsed.and_then(|moment| Timestamp::from_second(moment.as_second()).ok());
        moment
            .filter(|moment| moment.as_second() >= 0)
            .ok_or_else(|| format!("{path} must be a time such as 2026-03-02T08:00:00Z, not before 1970"))
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
        let got = read_fleet(value.to_string().as_bytes()).map_or_else(|error| error, |_| "fine".to_owned());
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
        let fleet = read_fleet(base().to_string().as_bytes()).unwrap();
        assert_eq!(fleet.group_ends(), [1000, 1000], "without either, every device matches");
        assert!((fleet.success_rate - 1.0).abs() < 1e-12, "what neither fails nor falls silent succeeds");
    }

    #[test]
    fn what_is_not_an_object_is_not_a_fleet() {
        assert_eq!(read_fleet(b"[]").unwrap_err(), "the fleet must be a JSON object");
        assert!(read_fleet(b"{\"devices\":1,\"devices\":2}").unwrap_err().contains("given twice"));
    }
}
