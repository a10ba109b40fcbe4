//! `tidegate import`, as a person who moves in meets it: the built program, sample exports of the four
//! services, and a service that runs in this process.

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Bench, DONE, NOT_ALL_CARRIED, Ran, USAGE, run};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

fn sample(name: &str) -> String {
    samples().join(name).display().to_string()
}

fn dry_run(from: &str, file: &str, more: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), &[&["import", file, "--from", from, "--dry-run"], more].concat())
}

/// The records of a document: for each its result and the fields that were not carried.
fn outcomes(document: &Value) -> Vec<(String, String, usize)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let records = document["records"].as_array().expect("records");
    let lost = |record: &Value| record["not_carried"].as_array().map_or(0, Vec::len);
    records.iter().map(|record| (text(&record["version"]), text(&record["result"]), lost(record))).collect()
}

fn check_outcomes(document: &Value, expected: &[(&str, &str, usize)]) {
    let expected = expected.iter().map(|(version, result, lost)| ((*version).to_owned(), (*result).to_owned(), *lost));
    assert_eq!(outcomes(document), expected.collect::<Vec<_>>(), "{document:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn builders_records_become_drafts_and_the_report_names_the_rest() {
    let bench = Bench::new(0, b"firmware").await;
    let (export, images) = (sample("builder.json"), samples().display().to_string());
    let arguments = ["import", export.as_str(), "--from", "builder", "--images", images.as_str()];
    let ran = bench.tidegate(&[&arguments[..], &["--json"]].concat());
    assert_eq!(ran.exit, Some(NOT_ALL_CARRIED), "{ran:?}");
    let document = ran.document();
    check_outcomes(
        &document,
        &[
            ("2.0.0", "draft_created", 0),
            ("2.1.0", "draft_created", 1),
            ("2.2.0", "draft_created", 3),
            ("2.3", "skipped", 0),
        ],
    );
    assert_eq!(document.pointer("/records/1/files_without_bytes"), Some(&json!(1)));

    let update = bench.json(&["updates", "show", "2.0.0"]);
    assert_eq!(update["state"], json!("draft"), "nothing is activated, though Builder says enable: true");
    assert_eq!(
        update["policy"],
        json!(r#"semver(version, "<", newVersion) && region == "eu" && starts_with(model, "lamp-")"#)
    );
    assert_eq!(update.pointer("/rollout/limits/max_devices"), Some(&json!(500)));
    assert_eq!(update.pointer("/rollout/limits/max_per_period"), Some(&json!(100)));
    assert_eq!(bench.json(&["updates", "show", "2.2.0"])["policy"], json!("false"));

    // The bytes are there: the draft can be activated, the one without them cannot.
    assert_eq!(bench.tidegate(&["updates", "activate", "2.0.0", "--reason", "moved in"]).exit, Some(DONE));
    let refused = bench.tidegate(&["updates", "activate", "2.1.0", "--reason", "moved in"]);
    assert!(refused.stderr.contains("image_missing"), "{refused:?}");

    let again = bench.tidegate(&arguments);
    assert!(again.stdout.contains("exists already, active"), "{again:?}");
    assert!(again.stdout.contains("exists already, draft, waits for the bytes of 1"), "{again:?}");
    assert_eq!(bench.json(&["updates", "list"])["items"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_with_other_content_is_left_as_it_is() {
    let bench = Bench::new(0, b"firmware").await;
    let image = sample("lamp-2.0.0.bin");
    assert_eq!(bench.tidegate(&["publish", &image, "--version", "2.0.0"]).exit, Some(DONE));
    let ran = bench.tidegate(&["import", &sample("hawkbit.json"), "--from", "hawkbit", "--policy", "lab", "--json"]);
    assert_eq!(ran.exit, Some(NOT_ALL_CARRIED), "{ran:?}");
    check_outcomes(&ran.document(), &[("2.0.0", "exists_with_other_content", 1), ("2.1.0", "draft_created", 1)]);
    assert_eq!(bench.json(&["updates", "show", "2.0.0"])["policy"], json!(""));
}

#[test]
fn a_dry_run_needs_no_service_and_says_the_same() {
    let images = samples().display().to_string();
    let ran = dry_run("builder", &sample("builder.json"), &["--json"]);
    assert_eq!(ran.exit, Some(NOT_ALL_CARRIED), "{ran:?}");
    let expected =
        [("2.0.0", "readable", 0), ("2.1.0", "readable", 0), ("2.2.0", "readable", 2), ("2.3", "skipped", 0)];
    check_outcomes(&ran.document(), &expected);

    let kaa = dry_run("kaa", &sample("kaa.json"), &["--json"]).document();
    check_outcomes(&kaa, &[("2.0.0", "readable", 0), ("2.1.0", "readable", 1), ("release-7", "skipped", 0)]);
    assert_eq!(kaa.pointer("/records/0/definition/kind"), Some(&json!("url_list")));
    let stored = dry_run("kaa", &sample("kaa.json"), &["--images", &images, "--json"]).document();
    assert_eq!(stored.pointer("/records/0/definition/files/0/name"), Some(&json!("lamp-2.0.0.bin")));

    let exosite = dry_run("exosite", &sample("exosite.json"), &["--images", &images, "--json"]).document();
    let package = "package_acme_lamp_prod_2-0-0";
    check_outcomes(&exosite, &[("2.0.0", "readable", 1), ("2.1.0", "readable", 1), ("", "skipped", 0)]);
    assert_eq!(exosite.pointer("/records/0/definition/labels/exosite.id"), Some(&json!(package)));
    assert_eq!(exosite.pointer("/records/0/definition/author"), Some(&json!("Ada")));
    let without = dry_run("exosite", &sample("exosite.json"), &["--json"]).document();
    assert_eq!(without.pointer("/records/0/result"), Some(&json!("skipped")), "its SHA-256 is nowhere");

    let hawkbit = dry_run("hawkbit", &sample("hawkbit.json"), &["--json"]).document();
    check_outcomes(&hawkbit, &[("2.0.0", "readable", 1), ("2.1.0", "readable", 2)]);
    let policy = r#"region == "eu" && matches(id, "lamp-*")"#;
    assert_eq!(hawkbit.pointer("/records/0/definition/policy"), Some(&json!(policy)));
}

#[test]
fn definitions_are_written_for_publish_to_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let definitions = folder.path().join("definitions");
    let into = definitions.display().to_string();
    let ran = dry_run("builder", &sample("builder.json"), &["-o", &into]);
    assert!(ran.stdout.contains("next: read the definitions"), "{ran:?}");
    let text = std::fs::read_to_string(definitions.join("2.1.0.json")).expect("written");
    let definition: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(definition["policy"], json!("try_beta_features == 1"));
    assert!(!definitions.join("2.3.json").exists(), "what is skipped is not written");
}

#[test]
fn what_could_not_be_carried_is_loud() {
    let ran = dry_run("builder", &sample("builder.json"), &["-o", "definitions"]);
    for expected in [
        "not carried: policy `serial =~ /^[A-F]\\d+$/`: /^[A-F]\\d+$/ cannot be carried: `[` has no equal here. The draft \
         admits nobody (its policy is `false`)",
        "not carried: attachment: there is nothing like it here",
        "skipped: `2.3` is not a SemVer version",
        "note: policy: `try-beta-features` is read as one name and written try_beta_features",
        "note: percentage 5: one phase",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}\n{}", ran.stdout);
    }
    assert!(ran.stderr.contains("2 of 4 records could not be carried as they are"), "{ran:?}");
}

#[test]
fn everything_carried_is_exit_code_0() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("export.json");
    let record = json!({"version": "1.0.0", "image": "a.bin", "checksum": "a".repeat(64), "size": 1});
    std::fs::write(&path, json!([record]).to_string()).expect("writable");
    let ran = dry_run("builder", &path.display().to_string(), &[]);
    assert_eq!(ran.exit, Some(DONE), "{ran:?}");
}

#[test]
fn an_export_that_is_one_page_of_several_is_said_to_be_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("export.json");
    let record = json!({"version": "1.0.0", "image": "a.bin", "checksum": "a".repeat(64), "size": 1});
    for beside in [json!({"next": "page2"}), json!({"total": 2})] {
        let mut export = json!({"data": [record]});
        export.as_object_mut().expect("an object").extend(beside.as_object().expect("an object").clone());
        std::fs::write(&path, export.to_string()).expect("writable");
        let ran = dry_run("builder", &path.display().to_string(), &[]);
        assert_eq!(ran.exit, Some(NOT_ALL_CARRIED), "{ran:?}");
        assert!(ran.stdout.contains("not carried: the export is one page of several"), "{ran:?}");
    }
}

#[test]
fn bad_input_is_named_and_nothing_is_created() {
    let check = |from: &str, export: &str, more: &[&str], expected: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("export.json");
        std::fs::write(&path, export).expect("writable");
        let ran = dry_run(from, &path.display().to_string(), more);
        assert_eq!(ran.exit, Some(USAGE), "{export}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{export}: {ran:?}");
    };
    check("builder", "{", &[], "export.json: it must be JSON");
    check("builder", r#"[{"version":"1.0.0","version":"1.0.1"}]"#, &[], "must be JSON");
    check("builder", "{}", &[], "the export must be a list of records, or an object that has one in `data`");
    check("builder", r#"[{"version":1}]"#, &[], "record 1: version must be a text; got 1 (bad_input)");
    check("kaa", r#"[{"version":"1.0.0"}]"#, &[], "software 1 (1.0.0): rolloutStrategy is missing");
    check("exosite", r#"[{"id":"package_a"}]"#, &[], "content 1 (package_a): the tag otau_info is missing");
    check("hawkbit", r#"{"content":[{"name":"a"}]}"#, &[], "set 1 (a): version is missing");
    let several = r#"[{"version":"1.0.0","productId":"a"},{"version":"1.0.0","productId":"b"}]"#;
    check("builder", several, &[], "the export has several products; say which with --source-product: a, b");
    check("builder", several, &["--source-product", "c"], "the export has nothing of `c`");
    check("builder", "[]", &["--policy", "a ="], "--policy: column");
}
