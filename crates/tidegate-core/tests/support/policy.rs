//! Helpers of the tests of policies: a policy, a device as text, and the result as text.

use tidegate_core::attributes::{Attributes, Value};
use tidegate_core::policy::{Candidate, Clause, Policy, Slots, Truth};

pub(crate) const COHORT: u16 = 4_999;

/// Parses `name=value` pairs: `'text'`, integers, floats, booleans and `[lists]`.
pub(crate) fn device(description: &str) -> (semver::Version, Attributes) {
    let mut version = semver::Version::new(1, 2, 3);
    let mut attributes = Attributes::new();
    for pair in description.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        if name == "version" {
            version = value.parse().unwrap();
        } else {
            attributes.insert(name, value_of(value));
        }
    }
    (version, attributes)
}

pub(crate) fn value_of(written: &str) -> Value {
    if let Some(list) = written.strip_prefix('[') {
        let inner = list.strip_suffix(']').unwrap();
        return Value::List(inner.split(',').filter(|item| !item.is_empty()).map(value_of).collect());
    }
    if let Some(text) = written.strip_prefix('\'') {
        return Value::Text(text.strip_suffix('\'').unwrap().to_owned());
    }
    match (written, written.parse(), written.parse()) {
        ("true", ..) => Value::Bool(true),
        ("false", ..) => Value::Bool(false),
        (_, Ok(integer), _) => Value::Integer(integer),
        (_, _, Ok(number)) => Value::Number(number),
        _ => panic!("cannot read {written}"),
    }
}

pub(crate) fn ask(policy: &str, description: &str) -> (Truth, Vec<Clause>) {
    let (version, attributes) = device(description);
    let mut slots = Slots::new();
    let policy = Policy::parse(policy, &mut slots).unwrap_or_else(|error| panic!("{policy}: {error}"));
    let facts = slots.bind_unordered(&version, &attributes);
    let new_version = semver::Version::parse("2.0.0").unwrap();
    let candidate = Candidate { new_version: &new_version, cohort: &|| COHORT };
    (policy.evaluate(&facts, &candidate), policy.explain(&facts, &candidate))
}

#[track_caller]
pub(crate) fn check(policy: &str, device: &str, expected: &str) {
    assert_eq!(ask(policy, device).0.to_string(), expected, "{policy} for {device}");
}

#[track_caller]
pub(crate) fn refused(policy: &str, expected: &str) {
    match Policy::parse(policy, &mut Slots::new()) {
        Ok(_) => panic!("{policy} was accepted, expected: {expected}"),
        Err(error) => {
            assert_eq!(error.to_string(), expected, "{policy}");
            assert_eq!(error.code(), "policy_invalid");
        }
    }
}
