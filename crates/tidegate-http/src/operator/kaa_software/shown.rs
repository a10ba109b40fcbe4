//! An update of ours, read as the software that Kaa would list.

use serde_json::{Map, Value, json};
use tidegate_core::{ProductId, State};

use super::{FILTERS_ATTRIBUTE, NOBODY};
use tidegate_wire::definition::Definition;

/// Fields of a software that Kaa does not have: the state of the update, and notes on parts that a software cannot
/// express.
const OURS: [&str; 2] = ["state", "notes"];

/// The stored definition as a software, with a note on the parts that a software cannot express.
#[must_use]
pub fn shown(definition: &Value, state: State, product: &ProductId) -> Value {
    let mut software = Map::new();
    for name in ["version", "name", "description"] {
        if let Some(Value::String(text)) = definition.get(name) {
            software.insert(name.into(), json!(text));
        }
    }
    if let Some(specification) = specification(definition) {
        software.insert("specification".into(), specification);
    }
    software.insert("metadata".into(), definition.get("labels").cloned().unwrap_or_else(|| json!({})));
    if let Some(versions) = upgradable_from(definition) {
        software.insert("upgradableFrom".into(), json!(versions));
    }
    software.insert("filters".into(), json!(filters(definition)));
    let strategy = if state == State::Active { offered_strategy(definition) } else { "suspended" };
    software.insert("rolloutStrategy".into(), json!(strategy));
    software.insert("state".into(), json!(state.name()));
    let mut software = Value::Object(software);
    let unsaid = unsaid(definition, &software, product);
    let notes = match unsaid.is_empty() {
        true => Vec::new(),
        false => vec![format!("a software cannot say this of the update: {}", unsaid.join(", "))],
    };
    software["notes"] = json!(notes);
    software
}

/// Kaa's name for the roll-out of the update while it is offered.
#[must_use]
pub fn offered_strategy(definition: &Value) -> &'static str {
    if filters(definition).is_empty() { "general" } else { "targeted" }
}

/// A software without the fields of `OURS`.
#[must_use]
pub fn without_ours(software: &Value) -> Value {
    match software {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !OURS.contains(&name.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect(),
        other => other.clone(),
    }
}

/// Returns true if two softwares differ at most in their `rolloutStrategy`.
#[must_use]
pub fn is_same_content(one: &Value, other: &Value) -> bool {
    let content = |software: &Value| {
        let mut fields = without_ours(software).as_object().cloned().unwrap_or_default();
        fields.retain(|name, value| name != "rolloutStrategy" && !value.is_null());
        fields
    };
    content(one) == content(other)
}

/// The specification that an endpoint gets, without the parts that change from answer to answer.
fn specification(definition: &Value) -> Option<Value> {
    let payload = definition.get("payload")?;
    match definition.get("specification").filter(|value| !value.is_null()) {
        Some(specification) => Some(specification.clone()),
        None if definition["kind"] == "json" => Some(payload.clone()),
        None if definition["kind"] == "url_list" => Some(json!({"link": payload.get(0)?})),
        None => None,
    }
}

/// The versions in `upgradableFrom`. `None` if the definition has no list of exact versions. An empty list admits no
/// device.
fn upgradable_from(definition: &Value) -> Option<Vec<String>> {
    let policy = definition["policy"].as_str().unwrap_or_default();
    let requirements = definition["compatible_from"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !requirements.is_empty() {
        let exact = |requirement: &Value| {
            let version = requirement.as_str()?.strip_prefix('=')?;
            version.parse::<tidegate_core::Version>().ok().map(|version| version.to_string())
        };
        return requirements.iter().map(exact).collect();
    }
    if let Some(versions) = policy.strip_prefix("in(version, ").and_then(|rest| rest.split(')').next()) {
        return serde_json::from_str(&format!("[{versions}]")).ok();
    }
    (policy == NOBODY).then(Vec::new)
}

/// The groups that are Kaa's filters; none unless all of them are.
fn filters(definition: &Value) -> Vec<Value> {
    let groups = definition.pointer("/rollout/groups").and_then(Value::as_array);
    let end = format!(", {FILTERS_ATTRIBUTE})");
    let filter = |group: &Value| {
        let id = group["policy"].as_str()?.strip_prefix("in(")?.strip_suffix(&end)?;
        let id = serde_json::from_str::<String>(id).ok()?;
        Some(json!({"filterId": id, "rolloutDate": group.get("starts_at")?}))
    };
    groups.map(Vec::as_slice).unwrap_or_default().iter().map(filter).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// The fields of the definition that a definition made from the software would not have.
fn unsaid(definition: &Value, software: &Value, product: &ProductId) -> Vec<String> {
    let again = super::definition(&without_ours(software))
        .and_then(|(again, _)| Definition::from_value(again, product))
        .map(|again| serde_json::to_value(again).unwrap_or_default())
        .unwrap_or_default();
    let is_said =
        |name: &str, value: &Value| again.get(name) == Some(value) || (name == "specification" && value.is_null());
    let fields = definition.as_object().into_iter().flatten();
    fields.filter(|(name, value)| !is_said(name, value)).map(|(name, _)| format!("`{name}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(definition: Value) -> Value {
        let product = ProductId::new("lamp").expect("a product");
        serde_json::to_value(Definition::from_value(definition, &product).expect("a definition")).expect("JSON")
    }

    fn lamp(definition: &Value, state: State) -> Value {
        shown(definition, state, &ProductId::new("lamp").expect("a product"))
    }

    #[test]
    fn a_software_comes_back_as_it_was_sent() {
        let dated = json!([{"filterId": "f \"1\"", "rolloutDate": "2026-03-02T06:00:00Z"}, {"filterId": "f2", "rolloutDate": "2026-03-04T06:00:00Z"}]);
        for (from, strategy, filters) in [
            (json!(["1.0.0", "1.1.0-rc.1"]), "general", json!([])),
            (json!(["1.0.0+a", "1.1.0"]), "general", json!([])),
            (json!(["1.0.0+a", "1.1.0"]), "targeted", dated.clone()),
            (json!(["3.0.0"]), "targeted", dated),
            (json!([]), "general", json!([])),
        ] {
            let sent = json!({
                "version": "2.0.0", "description": "warmer", "specification": {"link": "https://example.com/a.bin"},
                "metadata": {"commit": "abc"}, "upgradableFrom": from, "rolloutStrategy": strategy, "filters": filters
            });
            let definition = stored(super::super::definition(&sent).expect("readable").0);
            let active = lamp(&definition, State::Active);
            assert_eq!(active["notes"], json!([]), "{definition}");
            assert_eq!(without_ours(&active), sent);
            for state in [State::Draft, State::Paused, State::Withdrawn] {
                let shown = lamp(&definition, state);
                assert_eq!((&shown["rolloutStrategy"], &shown["state"]), (&json!("suspended"), &json!(state.name())));
                assert!(is_same_content(&shown, &sent));
            }
        }
    }

    #[test]
    fn what_a_software_cannot_say_is_named() {
        let file = json!({"name": "a.bin", "sha256": "00".repeat(32), "size": 1});
        let native = json!({"version": "2.0.0", "files": [file], "policy": "memory > 1", "compatible_from": ["^1.0"]});
        let software = lamp(&stored(native), State::Active);
        let note = software["notes"][0].as_str().expect("a note");
        for field in ["`files`", "`kind`", "`policy`", "`compatible_from`"] {
            assert!(note.contains(field), "{note}");
        }
        assert_eq!(software.get("upgradableFrom"), None, "an empty list would mean nobody");
    }
}
