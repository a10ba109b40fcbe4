//! Example policies in `policies/`, each with devices that it must admit and devices that it must refuse.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tidegate_core::attributes::{Attributes, Value};
use tidegate_core::policy::{Candidate, Policy, Slots, Truth};

const AT_LEAST: usize = 10;

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "policy"))
        .collect();
    paths.sort();
    paths
}

/// The file, as it is published. The description above the expression is a comment of the policy language.
fn expression(path: &Path) -> String {
    let file = fs::read_to_string(path).unwrap();
    assert!(file.starts_with("// "), "{} must begin with a line of description", path.display());
    file
}

fn flatten(prefix: &str, json: &Json, attributes: &mut Attributes) {
    if let Json::Object(members) = json {
        for (name, member) in members {
            let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            flatten(&name, member, attributes);
        }
    } else if !json.is_null() {
        attributes.insert(prefix, value(json));
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => Value::Number(number.as_f64().unwrap()),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(values) => Value::List(values.iter().map(value).collect()),
        other => panic!("{other} has no place in a list"),
    }
}

struct Case {
    admit: bool,
    device: Json,
    line: String,
}

/// Parses a line such as `admit {…}   # why`. `cohort` in the device is its cohort.
fn case(line: &str) -> Case {
    let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or_else(|| panic!("cannot read {line}"));
    let admit = match verb {
        "admit" => true,
        "refuse" => false,
        other => panic!("a line begins with admit or refuse, not {other}"),
    };
    // The device ends at the end of its JSON, so that a "#" in a text does not start a comment.
    let device = serde_json::Deserializer::from_str(rest).into_iter().next().unwrap();
    Case { admit, device: device.unwrap_or_else(|error| panic!("{line}: {error}")), line: line.to_owned() }
}

fn admits(expression: &str, new_version: &semver::Version, device: &Json) -> Truth {
    let version = device["version"].as_str().expect("a device has a version").parse().unwrap();
    let cohort = device["cohort"].as_u64().unwrap_or(0) as u16;
    let mut attributes = Attributes::new();
    flatten("", device, &mut attributes);
    let mut slots = Slots::new();
    let policy = Policy::parse(expression, &mut slots).unwrap_or_else(|error| panic!("{expression}: {error}"));
    policy.evaluate(&slots.bind_unordered(&version, &attributes), &Candidate { new_version, cohort: &|| cohort })
}

fn run(path: &Path) -> Vec<String> {
    let expression = expression(path);
    let devices = path.with_extension("devices");
    let text = fs::read_to_string(&devices).unwrap_or_else(|error| panic!("{}: {error}", devices.display()));
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let new_version =
        lines.next().and_then(|line| line.strip_prefix("new_version ")).and_then(|new| new.trim().parse().ok());
    let new_version = new_version.unwrap_or_else(|| panic!("{} must begin with new_version", devices.display()));
    let cases: Vec<_> = lines.map(case).collect();
    for admit in [true, false] {
        assert!(cases.iter().any(|case| case.admit == admit), "{} needs admit and refuse lines", devices.display());
    }
    let mut failures = Vec::new();
    for case in &cases {
        let truth = admits(&expression, &new_version, &case.device);
        if (truth == Truth::Yes) != case.admit {
            failures.push(format!("{}: {truth}: {}", devices.display(), case.line));
        }
    }
    failures
}

#[test]
fn every_policy_example_admits_and_refuses_what_it_says() {
    let examples = examples();
    assert!(examples.len() >= AT_LEAST, "{} examples", examples.len());
    let failures: Vec<_> = examples.iter().flat_map(|path| run(path)).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_cookbook_names_every_policy_example() {
    let cookbook = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/README.md")).unwrap();
    for path in examples() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(cookbook.contains(&format!("`{name}`")), "README.md does not mention {name}");
    }
}
