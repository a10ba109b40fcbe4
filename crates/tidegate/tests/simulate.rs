//! `tidegate simulate` as a person or a script meets it: the built program, without any service.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{DONE, FAILED, Ran, USAGE, run};

fn tidegate(arguments: &[&str]) -> Ran {
    run(Path::new("."), arguments)
}

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tidegate-lab/examples-data");
    folder.join(name).display().to_string()
}

#[test]
fn check_ins_are_simulated_and_faults_and_promises_summed_up() {
    let ran = tidegate(&["simulate", "--check-ins", "6000", "--seed", "1"]);
    assert_eq!(ran.exit, Some(DONE), "{ran:?}");
    for part in ["played", "faults injected", "time-out after commit", "promises checked", "claims <= max_devices"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert!(ran.stdout.ends_with("\nevery promise held\n"), "{ran:?}");
    assert_eq!(ran.stderr, "", "no bar is drawn where nobody looks");

    let summary = tidegate(&["simulate", "--check-ins", "6000", "--seed", "1", "--json"]).document();
    let number = |path: &str| summary.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}"));
    assert_eq!(number("/fleets"), 2, "5,000 check-ins to a fleet");
    assert!(number("/check_ins") >= 6000);
    assert!(number("/faults/throttle") > 0);
    assert!(number("/checked/claims <= max_devices") > 0);
    assert_eq!(summary.get("violation"), Some(&Value::Null));
}

#[test]
fn a_broken_promise_prints_one_line_that_replays_it() {
    let first = tidegate(&["simulate", "--check-ins", "100000", "--seed", "1", "--without", "devices"]);
    assert_eq!(first.exit, Some(FAILED), "{first:?}");
    assert!(first.stderr.starts_with("error: seed ") && first.stderr.ends_with(" (promise_broken)\n"), "{first:?}");
    let replay = first.stdout.lines().last().and_then(|line| line.strip_prefix("replay: tidegate "));
    let replay = replay.unwrap_or_else(|| panic!("{first:?}"));
    let replay = replay.split(' ').collect::<Vec<_>>();

    let again = tidegate(&replay);
    assert_eq!((again.exit, &again.stderr), (Some(FAILED), &first.stderr), "the same seed breaks the same promise");
    let violation = tidegate(&[&replay[..], &["--json"]].concat()).document();
    let said = violation.pointer("/violation/replay").and_then(Value::as_str);
    assert_eq!(said, Some(format!("tidegate {}", replay.join(" ")).as_str()));
}

/// Every element of the document is closed, by a parser that checks it.
fn elements(svg: &str) -> BTreeSet<String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(svg);
    let mut elements = BTreeSet::new();
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("no XML: {error}")) {
            Event::Start(tag) | Event::Empty(tag) => {
                assert!(tag.attributes().all(|attribute| attribute.is_ok()), "{tag:?}");
                elements.insert(String::from_utf8_lossy(tag.name().as_ref()).into_owned());
            }
            Event::Eof => return elements,
            _ => {}
        }
    }
}

#[test]
fn a_rollout_is_played_as_a_table_and_a_picture() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let svg: PathBuf = folder.path().join("rollout.svg");
    let (update, fleet, path) =
        (example("at-once-update.json"), example("bad-update-fleet.json"), svg.display().to_string());
    let arguments = ["simulate", "--update", &update, "--fleet", &fleet, "--svg", &path];
    let ran = tidegate(&arguments);
    assert_eq!(ran.exit, Some(DONE), "{ran:?}");
    let mut lines = ran.stdout.lines();
    let heading = lines.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(heading, "from (UTC) check-ins offered in flight proved failed overdue downloaded");
    assert!(lines.next().is_some_and(|row| row.starts_with("Mon 2 Mar 06:00 ")), "{ran:?}");
    assert!(ran.stdout.contains("\nlamp 2.0.0: 25,000 devices, 20,000 of them concerned, played for 2 h"), "{ran:?}");
    assert!(ran.stdout.contains("\nThe health gate held it on Mon 2 Mar 06:19,"), "{ran:?}");
    let drawn = std::fs::read_to_string(&svg).expect("the picture");
    assert_eq!(elements(&drawn).into_iter().collect::<Vec<_>>(), ["polygon", "polyline", "rect", "svg", "text"]);

    let forecast = tidegate(&[&arguments[..], &["--json"]].concat()).document();
    assert_eq!(forecast.get("ended"), Some(&Value::from("held")));
    assert_eq!(forecast.pointer("/hours").and_then(Value::as_array).map(Vec::len), Some(2));
    assert_eq!(forecast.get("eligible"), Some(&Value::from(20_000)));
}

#[test]
fn what_is_wrong_with_a_file_is_said_by_file_field_and_expectation() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let update = example("at-once-update.json");
    let check = |name: &str, text: &str, expected: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a writable folder");
        let path = path.display().to_string();
        let fleet = example("healthy-fleet.json");
        let (update, fleet) = if name == "fleet.json" { (&update, &path) } else { (&path, &fleet) };
        let ran = tidegate(&["simulate", "--update", update, "--fleet", fleet]);
        assert_eq!(ran.exit, Some(USAGE), "{ran:?}");
        assert_eq!(ran.stderr, format!("error: {path}: {expected} (bad_input)\n"));
    };
    check("fleet.json", r#"{"version":"1.0.0"}"#, "devices is missing");
    check(
        "fleet.json",
        r#"{"version":"1.0.0","devices":10,"check_in_period_minutes":0}"#,
        "check_in_period_minutes must be within 1 and 43200; got 0",
    );
    check("fleet.json", "[]", "the fleet must be a JSON object");
    check(
        "update.json",
        r#"{"version":"2.0"}"#,
        "version must be SemVer 2.0 such as 1.4.0; `2.0` is not: unexpected end of input while parsing minor version number",
    );
    let missing = tidegate(&["simulate", "--update", &update, "--fleet", "no-such-file.json"]);
    assert_eq!(missing.exit, Some(USAGE), "{missing:?}");
    assert!(missing.stderr.starts_with("error: cannot read no-such-file.json: "), "{missing:?}");
}

#[test]
fn the_two_rehearsals_do_not_mix_and_one_must_be_chosen() {
    let check = |arguments: &[&str], expected: &str| {
        let ran = tidegate(arguments);
        assert_eq!(ran.exit, Some(USAGE), "{ran:?}");
        assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
    };
    check(
        &["simulate", "--check-ins", "1", "--update", "u.json", "--fleet", "f.json"],
        "the argument '--check-ins <N>' cannot be used with",
    );
    check(
        &["simulate", "--without", "period", "--update", "u.json", "--fleet", "f.json"],
        "the argument '--without <CONDITION>' cannot be used with",
    );
    check(&["simulate", "--update", "u.json"], "--fleet <FILE>");
    check(&["simulate"], "tidegate simulate --update <FILE> --fleet <FILE>");
    check(&["simulate", "--check-ins", "0"], "0 is not in 1..");
}
