//! One software definition of Kaa's OTA orchestrator, read as an update of ours.
//!
//! The fields are those of Kaa's REST documentation: `specification`, `metadata`, `upgradableFrom`, `rolloutStrategy`
//! and `filters`, and also `version`, `name` and `description`. If Kaa would reach no device, or the object does not
//! name the devices, the update admits no device.

mod shown;

use serde_json::{Map, Value, json};
use tidegate_core::{Timestamp, Version};

pub use self::shown::{is_same_content, offered_strategy, shown, without_ours};
use tidegate_wire::device_json::parse_version;
use tidegate_wire::error::ApiError;

/// The attribute in which a device lists its Kaa filters. Kaa stores the conditions of a filter elsewhere; the software
/// contains only its id.
pub const FILTERS_ATTRIBUTE: &str = "kaa_filters";
/// The largest number of requirements, of groups and of labels in a definition.
const MOST_OF_EACH: usize = 32;
/// The largest number of versions in one policy beside the filters: each takes two of the policy's 256 words.
const MOST_VERSIONS_IN_A_POLICY: usize = 80;
/// A policy that admits no device.
const NOBODY: &str = "false";

/// The definition with the meaning of `software`, and a sentence for each part that it cannot express.
///
/// # Errors
/// `bad_version` or `bad_field`, when a field is not what Kaa documents.
pub fn definition(software: &Value) -> Result<(Value, Vec<String>), ApiError> {
    let Value::Object(fields) = software else {
        return Err(ApiError::bad_field("a software must be an object"));
    };
    let mut reading = Reading { fields: fields.clone(), definition: Map::new(), conditions: Vec::new(), notes: vec![] };
    let version = reading.version()?;
    for name in ["name", "description"] {
        if let Some(text) = reading.text(name)? {
            reading.definition.insert(name.into(), json!(text));
        }
    }
    reading.specification();
    reading.metadata();
    reading.upgradable_from(&version)?;
    reading.rollout()?;
    reading.what_is_left();
    let policy = match reading.conditions.iter().any(|condition| condition == NOBODY) {
        true => NOBODY.to_owned(),
        false => reading.conditions.join(" && "),
    };
    reading.definition.insert("policy".into(), json!(policy));
    Ok((Value::Object(reading.definition), reading.notes))
}

struct Reading {
    /// The fields that are not read yet.
    fields: Map<String, Value>,
    definition: Map<String, Value>,
    /// Conditions of the policy, joined by `&&`.
    conditions: Vec<String>,
    notes: Vec<String>,
}

impl Reading {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(ApiError::bad_field(format!("{name} must be a text; got {other}"))),
        }
    }

    fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(elements)) => Ok(Some(elements)),
            Some(other) => Err(ApiError::bad_field(format!("{name} must be a list; got {other}"))),
        }
    }

    fn version(&mut self) -> Result<Version, ApiError> {
        let Some(text) = self.text("version")? else {
            return Err(ApiError::bad_field("version is missing"));
        };
        let version = parse_version(&text)?;
        self.definition.insert("version".into(), json!(text));
        Ok(version)
    }

    /// A specification goes to the device as it is. One with a download link is a list of one URL,
    /// any other is the content itself.
    fn specification(&mut self) {
        let Some(specification) = self.take("specification") else {
            self.notes.push("specification is missing: a device is given an empty object".into());
            self.definition.insert("kind".into(), json!("json"));
            self.definition.insert("payload".into(), json!({}));
            return;
        };
        let link = ["link", "url"].iter().find_map(|name| specification.get(name)?.as_str());
        let (kind, payload) = match link {
            Some(link) => ("url_list", json!([link])),
            None => ("json", specification.clone()),
        };
        self.definition.insert("kind".into(), json!(kind));
        self.definition.insert("payload".into(), payload);
        self.definition.insert("specification".into(), specification);
    }

    fn metadata(&mut self) {
        let mut labels = Map::new();
        match self.take("metadata") {
            None => return,
            Some(Value::Object(metadata)) => {
                for (name, value) in metadata {
                    match labels.len() < MOST_OF_EACH {
                        true => drop(labels.insert(name, json!(label(&value)))),
                        false => {
                            self.notes.push(format!("metadata.{name} is left out: {MOST_OF_EACH} labels are the most"));
                        }
                    }
                }
            }
            Some(other) => drop(labels.insert("metadata".into(), json!(label(&other)))),
        }
        self.definition.insert("labels".into(), Value::Object(labels));
    }

    /// Kaa's upgrade graph: exactly the listed versions. An empty list admits no version.
    fn upgradable_from(&mut self, version: &Version) -> Result<(), ApiError> {
        let listed = self.list("upgradableFrom")?.unwrap_or_default();
        let mut from = Vec::with_capacity(listed.len());
        for (index, element) in listed.iter().enumerate() {
            let place = format!("upgradableFrom[{index}]");
            let Value::String(text) = element else {
                return Err(ApiError::bad_field(format!("{place} must be a text; got {element}")));
            };
            let parsed = parse_version(text)
                .map_err(|error| ApiError::new(error.code, format!("{place}: {}", error.message)))?;
            from.push(parsed);
        }
        if from.is_empty() {
            self.notes.push(format!(
                "upgradableFrom lists no version: Kaa gives this software to nobody, and so does the policy `{NOBODY}`"
            ));
            self.conditions.push(NOBODY.into());
            return Ok(());
        }
        let (back, up): (Vec<_>, Vec<_>) = from.iter().partition(|from| from.cmp_precedence(version).is_gt());
        if let Some(higher) = back.first() {
            // A way back is for the versions that it names, and for no others.
            match up.is_empty() && back.len() <= MOST_OF_EACH {
                true => {
                    let back = back.iter().map(ToString::to_string).collect::<Vec<_>>();
                    self.definition.insert("rollback_from".into(), json!(back));
                }
                false => self.notes.push(format!(
                    "upgradableFrom lists {higher}, which is higher: the way back from it is a rollback of its own, from \
                     at most {MOST_OF_EACH} versions"
                )),
            }
        }
        // A requirement ignores build metadata; Kaa's list is of exact texts.
        let exact = from.len() <= MOST_OF_EACH && from.iter().all(|older| older.build.is_empty());
        if exact {
            let requirements: Vec<String> = from.iter().map(|older| format!("={older}")).collect();
            self.definition.insert("compatible_from".into(), json!(requirements));
        } else if from.len() <= MOST_VERSIONS_IN_A_POLICY {
            let versions: Vec<String> = from.iter().map(|older| format!("\"{older}\"")).collect();
            self.conditions.push(format!("in(version, {})", versions.join(", ")));
        } else {
            self.notes.push(format!(
                "upgradableFrom lists {} versions, {MOST_VERSIONS_IN_A_POLICY} are the most: the policy is `{NOBODY}`",
                from.len()
            ));
            self.conditions.push(NOBODY.into());
        }
        Ok(())
    }

    fn rollout(&mut self) -> Result<(), ApiError> {
        let strategy = self.text("rolloutStrategy")?;
        match strategy.as_deref() {
            Some("targeted") => self.filters(),
            Some("general") => self.no_filters(),
            Some("suspended") => {
                self.notes.push("rolloutStrategy is suspended: a draft is given to nobody, so leave it one".into());
                match self.fields.get("filters").and_then(Value::as_array).is_some_and(|filters| !filters.is_empty()) {
                    // An activation must not reach more devices than the filters admit.
                    true => self.filters(),
                    false => self.no_filters(),
                }
            }
            Some(other) => Err(ApiError::bad_field(format!(
                "rolloutStrategy must be suspended, targeted or general; got `{other:.64}`"
            ))),
            None => Err(ApiError::bad_field("rolloutStrategy is missing; it is suspended, targeted or general")),
        }
    }

    fn no_filters(&mut self) -> Result<(), ApiError> {
        let filters = self.list("filters")?.unwrap_or_default();
        if !filters.is_empty() {
            self.notes.push(format!(
                "filters ({}) are left out: Kaa heeds them only when rolloutStrategy is targeted",
                filters.len()
            ));
        }
        Ok(())
    }

    /// Reads the filters: each is a group with its date as the start. The policy admits no device outside of them.
    fn filters(&mut self) -> Result<(), ApiError> {
        let filters = self.list("filters")?.unwrap_or_default();
        let mut groups = Vec::new();
        let mut policies = Vec::new();
        for (index, filter) in filters.iter().enumerate() {
            let place = format!("filters[{index}]");
            let Some(id) = filter.get("filterId").and_then(Value::as_str) else {
                return Err(ApiError::bad_field(format!("{place}.filterId must be a text")));
            };
            self.unknown_filter_fields(&place, filter);
            let date = match filter.get("rolloutDate") {
                None | Some(Value::Null) => {
                    self.notes.push(format!("{place} ({id}) is left out: it has no rolloutDate"));
                    continue;
                }
                Some(Value::String(text)) => text.parse::<Timestamp>().map_err(|_| {
                    ApiError::bad_field(format!(
                        "{place}.rolloutDate must be such as 2026-03-02T06:00:00Z; got `{text:.64}`"
                    ))
                })?,
                Some(other) => {
                    return Err(ApiError::bad_field(format!("{place}.rolloutDate must be a text; got {other}")));
                }
            };
            let policy = format!("in({}, {FILTERS_ATTRIBUTE})", quoted(id));
            self.notes.push(format!(
                "{place} ({id}): what the filter asks for is not in the software; until devices list \"{id}\" in the \
                 attribute {FILTERS_ATTRIBUTE}, it admits nobody"
            ));
            groups.push(json!({"policy": policy, "starts_at": date}));
            policies.push(policy);
        }
        if groups.is_empty() || groups.len() > MOST_OF_EACH {
            let count = groups.len();
            self.notes.push(format!(
                "rolloutStrategy is targeted, with {count} filters that have a date (1 to {MOST_OF_EACH} can be carried): the policy is `{NOBODY}`"
            ));
            self.conditions.push(NOBODY.into());
            return Ok(());
        }
        let condition = policies.join(" || ");
        self.conditions.push(if policies.len() > 1 { format!("({condition})") } else { condition });
        self.definition.insert("rollout".into(), json!({"groups": groups}));
        Ok(())
    }

    fn unknown_filter_fields(&mut self, place: &str, filter: &Value) {
        let known = ["filterId", "rolloutDate"];
        let names = filter.as_object().into_iter().flat_map(Map::keys).filter(|name| !known.contains(&name.as_str()));
        self.notes.extend(names.map(|name| format!("{place}.{name} is left out: there is nothing like it here")));
    }

    fn what_is_left(&mut self) {
        for (name, value) in std::mem::take(&mut self.fields) {
            if !value.is_null() {
                self.notes.push(format!("{name} is left out: there is nothing like it here"));
            }
        }
    }
}

fn label(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text as policies write it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use tidegate_core::ProductId;

    use super::*;
    use tidegate_wire::definition::Definition;

    fn general(change: &Value) -> Value {
        let mut software = json!({
            "version": "2.0.0", "specification": {"link": "https://example.com/a.bin"},
            "upgradableFrom": ["1.0.0", "1.1.0"], "rolloutStrategy": "general"
        });
        for (name, value) in change.as_object().expect("an object") {
            software[name] = value.clone();
        }
        software
    }

    /// The field at `pointer` of the definition, and every note.
    fn check(change: Value, pointer: &str, expected: Value, notes: &[&str]) {
        let (definition, got) = definition(&general(&change)).expect("readable");
        assert_eq!(definition.pointer(pointer).unwrap_or(&Value::Null), &expected, "{change}: {definition}");
        assert_eq!(got.len(), notes.len(), "{change}: {got:?}");
        for (got, expected) in got.iter().zip(notes) {
            assert!(got.contains(expected), "{got} / {expected}");
        }
        let product = ProductId::new("lamp").expect("a product");
        Definition::from_value(definition, &product).expect("a definition that the service takes");
    }

    #[test]
    fn the_upgrade_graph_is_carried_exactly() {
        check(json!({}), "/compatible_from", json!(["=1.0.0", "=1.1.0"]), &[]);
        check(json!({}), "/policy", json!(""), &[]);
        check(json!({"upgradableFrom": ["2.1.0"]}), "/rollback_from", json!(["2.1.0"]), &[]);
        let both = json!({"upgradableFrom": ["1.0.0", "2.1.0"]});
        check(both, "/rollback_from", Value::Null, &["lists 2.1.0, which is higher"]);
        check(json!({"upgradableFrom": ["1.0.0+a"]}), "/policy", json!(r#"in(version, "1.0.0+a")"#), &[]);
        check(json!({"upgradableFrom": []}), "/policy", json!("false"), &["lists no version"]);
        let many = |count: u32| (0..count).map(|n| format!("1.{n}.0")).collect::<Vec<_>>();
        check(json!({"upgradableFrom": many(33)}), "/compatible_from", Value::Null, &[]);
        check(json!({"upgradableFrom": many(81)}), "/policy", json!("false"), &["lists 81 versions"]);
    }

    #[test]
    fn a_specification_reaches_the_device_as_it_is() {
        check(json!({}), "/payload", json!(["https://example.com/a.bin"]), &[]);
        check(json!({}), "/specification/link", json!("https://example.com/a.bin"), &[]);
        check(json!({"specification": {"colour": "red"}}), "/payload", json!({"colour": "red"}), &[]);
        check(json!({"specification": null}), "/payload", json!({}), &["specification is missing"]);
    }

    #[test]
    fn metadata_becomes_labels() {
        check(json!({"metadata": {"commit": "abc", "n": [1]}}), "/labels", json!({"commit": "abc", "n": "[1]"}), &[]);
        check(json!({"metadata": "free"}), "/labels", json!({"metadata": "free"}), &[]);
    }

    #[test]
    fn filters_become_groups_and_nobody_else_is_admitted() {
        let targeted = json!({"rolloutStrategy": "targeted", "filters": [
            {"filterId": "f1", "rolloutDate": "2026-03-02T06:00:00Z"}, {"filterId": "f2", "rolloutDate": "2026-03-04T06:00:00Z"}
        ]});
        let notes = ["filters[0] (f1)", "filters[1] (f2)"];
        check(targeted.clone(), "/policy", json!(r#"(in("f1", kaa_filters) || in("f2", kaa_filters))"#), &notes);
        check(
            targeted,
            "/rollout/groups/1",
            json!({"policy": r#"in("f2", kaa_filters)"#, "starts_at": "2026-03-04T06:00:00Z"}),
            &notes,
        );
        check(json!({"rolloutStrategy": "targeted"}), "/policy", json!("false"), &["with 0 filters"]);
        let dateless = json!({"rolloutStrategy": "targeted", "filters": [{"filterId": "f1"}]});
        check(dateless, "/policy", json!("false"), &["no rolloutDate", "with 0 filters"]);
        check(json!({"filters": [{"filterId": "f"}]}), "/rollout", Value::Null, &["filters (1) are left out"]);
        check(json!({"rolloutStrategy": "suspended"}), "/policy", json!(""), &["is suspended"]);
        let suspended = json!({"rolloutStrategy": "suspended", "filters": [{"filterId": "f", "rolloutDate": "2026-03-02T06:00:00Z"}]});
        check(suspended, "/policy", json!(r#"in("f", kaa_filters)"#), &["is suspended", "filters[0] (f)"]);
    }

    #[test]
    fn what_is_not_known_is_named() {
        check(json!({"skipConsent": true}), "/version", json!("2.0.0"), &["skipConsent is left out"]);
    }

    #[test]
    fn bad_input_is_named_by_its_field() {
        let check = |change: Value, expected: &str| {
            let error = definition(&general(&change)).expect_err("refused").to_string();
            assert!(error.contains(expected), "{change}: {error}");
        };
        check(json!({"version": null}), "version is missing");
        check(json!({"version": "2"}), "(bad_version)");
        check(json!({"upgradableFrom": "1.0.0"}), "upgradableFrom must be a list");
        check(json!({"upgradableFrom": ["1"]}), "upgradableFrom[0]: version must be SemVer");
        check(json!({"rolloutStrategy": "some"}), "rolloutStrategy must be suspended, targeted or general");
        check(json!({"rolloutStrategy": null}), "rolloutStrategy is missing");
        check(json!({"rolloutStrategy": "targeted", "filters": [{}]}), "filters[0].filterId must be a text");
        let bad_date = json!({"rolloutStrategy": "targeted", "filters": [{"filterId": "f", "rolloutDate": "soon"}]});
        check(bad_date, "filters[0].rolloutDate must be such as");
        assert!(definition(&json!([])).is_err());
    }
}
