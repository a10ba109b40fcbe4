//! The `tidegate` command as a person or a script meets it: the built program, against a service that
//! runs in this process.

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Bench, DONE, FAILED, NOTHING_TO_OFFER, UNREACHABLE, USAGE, run};

/// The image of every update here: long enough to be uploaded in more than one read.
const IMAGE_BYTES: usize = 200_000;

async fn bench() -> Bench {
    let image: Vec<u8> = (0..IMAGE_BYTES).map(|n| (n % 251) as u8).collect();
    Bench::new(0, &image).await
}

/// A service on which 2.0.0 for lamps in the EU is active, with room for three devices.
async fn with_an_active_update() -> Bench {
    let bench = bench().await;
    let policy = r#"region == "eu""#;
    let published = bench.tidegate(&[
        "publish",
        "lamp.bin",
        "--version",
        "2.0.0",
        "--policy",
        policy,
        "--max-devices",
        "3",
        "--activate",
    ]);
    assert_eq!(published.exit, Some(DONE), "{published:?}");
    bench
}

/// Writes the `device.json` of a lamp, and returns its name.
fn write_device(bench: &Bench, id: &str, version: &str, region: &str) -> String {
    let device = json!({"id": id, "product": "lamp", "version": version, "region": region});
    let name = format!("{id}.json");
    std::fs::write(bench.path(&name), device.to_string()).expect("writable");
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_stops_everything_of_a_product_and_says_so() {
    let bench = with_an_active_update().await;
    let device = write_device(&bench, "lamp-1", "1.0.0", "eu");
    let published = bench.tidegate(&["publish", "lamp.bin", "--version", "3.0.0", "--activate"]);
    assert_eq!(published.exit, Some(DONE), "{published:?}");
    let stopped = bench.json(&["stop", "--reason", "smoke in hall 3"]);
    assert_eq!(stopped, json!({"paused": ["2.0.0", "3.0.0"], "left": []}));
    assert_eq!(bench.tidegate(&["check", &device]).exit, Some(NOTHING_TO_OFFER));
    let again = bench.tidegate(&["stop", "--reason", "to be sure"]);
    let said = "no device gets anything of this product any more\npaused: 2.0.0, 3.0.0\n\
                `tidegate resume-stopped` undoes this\n";
    assert_eq!((again.exit, again.stdout.as_str()), (Some(DONE), said));
    let resumed = bench.tidegate(&["resume-stopped", "--reason", "false alarm"]);
    let said = "the product is not stopped any more\noffered again: 2.0.0, 3.0.0";
    assert_eq!((resumed.exit, resumed.stdout.trim()), (Some(DONE), said));
    assert_eq!(bench.tidegate(&["check", &device]).exit, Some(DONE));
    assert_eq!(bench.tidegate(&["stop"]).exit, Some(USAGE), "a stop without a reason leaves others in the dark");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_published_and_the_next_step_is_said() {
    let bench = bench().await;
    let draft = bench.tidegate(&["publish", "lamp.bin", "--version", "2.0.0"]);
    assert_eq!(draft.exit, Some(DONE), "{draft:?}");
    assert!(draft.stdout.starts_with("2.0.0 of lamp is a draft (update "), "{draft:?}");
    assert!(draft.stdout.contains("next: tidegate updates activate 2.0.0"), "{draft:?}");

    let active = bench.tidegate(&["publish", "lamp.bin", "--version", "2.0.0", "--activate", "--reason", "tested"]);
    assert!(active.stdout.starts_with("2.0.0 of lamp is active"), "{active:?}");
    assert!(active.stdout.contains("next: tidegate watch 2.0.0"), "{active:?}");

    let list = bench.json(&["updates", "list"]);
    assert_eq!(list.pointer("/items/0/version"), Some(&json!("2.0.0")));
    assert_eq!(list.pointer("/items/0/state"), Some(&json!("active")));
    assert_eq!(list.pointer("/items/0/files/0/size"), Some(&json!(IMAGE_BYTES)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_downloads_and_verifies_what_is_offered() {
    let bench = with_an_active_update().await;
    let device = write_device(&bench, "hall", "1.0.0", "eu");
    let offered = bench.tidegate(&["check", &device, "--download", "got"]);
    assert_eq!(offered.exit, Some(DONE), "{offered:?}");
    assert!(offered.stdout.starts_with("hall runs 1.0.0; offered is 2.0.0\n"), "{offered:?}");
    let read = |path: PathBuf| std::fs::read(path).expect("the image");
    assert_eq!(read(bench.path("got/lamp.bin")), read(bench.path("lamp.bin")));
    assert_eq!(bench.json(&["check", &device, "--download", "got"]).get("downloaded"), Some(&json!(["got/lamp.bin"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_installs_reports_and_is_up_to_date() {
    let bench = with_an_active_update().await;
    let device = write_device(&bench, "hall", "1.0.0", "eu");
    let token = bench.tidegate(&["token", "issue", "hall"]).stdout;
    let once = ["device", &device, "--token", token.trim(), "--once"];

    let installed = bench.tidegate(&once);
    assert_eq!(installed.exit, Some(DONE), "{installed:?}");
    assert_eq!(installed.stdout, "installed 2.0.0, was 1.0.0\n");
    let written = std::fs::read_to_string(bench.path(&device)).expect("the device.json");
    assert!(written.contains(r#""version":"2.0.0""#), "{written}");

    let again = bench.tidegate(&once);
    assert_eq!(again.exit, Some(NOTHING_TO_OFFER), "{again:?}");
    assert!(again.stderr.starts_with("nothing to offer now: up_to_date"), "{again:?}");

    let expected = "2.0.0 active offered=1 in_flight=0 proved=1 failed=0";
    let watch = || bench.tidegate(&["watch", "2.0.0", "--once"]);
    let watched = Bench::eventually(watch, |watched| watched.stdout.starts_with(expected));
    assert_eq!(watched.exit, Some(DONE), "{watched:?}");
    assert!(watched.stdout.starts_with(expected), "{watched:?}");
    let devices = Bench::eventually(|| bench.tidegate(&["devices"]).stdout, |devices| devices == "2.0.0  hall\n");
    assert_eq!(devices, "2.0.0  hall\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_installation_is_counted_and_not_tried_again_at_once() {
    let bench = with_an_active_update().await;
    let device = write_device(&bench, "hall", "1.0.0", "eu");
    let token = bench.tidegate(&["token", "issue", "hall"]).stdout;
    let once = ["device", &device, "--token", token.trim(), "--once", "--apply", "false"];

    let failed = bench.tidegate(&once);
    assert_eq!(failed.exit, Some(FAILED), "{failed:?}");
    assert!(failed.stderr.contains("error: false ended with exit status: 1 (apply_failed)"), "{failed:?}");
    let show = || bench.json(&["updates", "show", "2.0.0"]);
    let update = Bench::eventually(show, |update| update.pointer("/metrics/failed") == Some(&json!(1)));
    assert_eq!(update.pointer("/metrics/failed"), Some(&json!(1)), "{update}");
    assert_eq!(bench.tidegate(&once).exit, Some(NOTHING_TO_OFFER));
}

#[tokio::test(flavor = "multi_thread")]
async fn why_shows_the_clause_that_kept_a_device_out() {
    let bench = with_an_active_update().await;
    let device = write_device(&bench, "shed", "1.0.0", "us");
    let refused = bench.tidegate(&["check", &device]);
    assert_eq!(refused.exit, Some(NOTHING_TO_OFFER), "{refused:?}");
    assert!(refused.stderr.contains("`tidegate why shed --product lamp` says more"), "{refused:?}");

    let why = bench.tidegate(&["why", "shed"]);
    assert_eq!(why.exit, Some(DONE), "{why:?}");
    assert!(why.stdout.contains("is offered nothing\n"), "{why:?}");
    assert!(why.stdout.contains(r#"no       region == "eu"  [region = "us"]"#), "{why:?}");
    let receipt = bench.json(&["why", "shed"]);
    assert_eq!(receipt.pointer("/considered/0/objection/code"), Some(&json!("not_targeted")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_update_is_offered_to_nobody_and_the_audit_log_says_why() {
    let bench = with_an_active_update().await;
    let aborted = bench.tidegate(&["updates", "abort", "2.0.0", "--reason", "it flickers"]);
    assert_eq!((aborted.exit, aborted.stdout.as_str()), (Some(DONE), "2.0.0 is now aborted\n"));
    let device = write_device(&bench, "hall", "1.0.0", "eu");
    assert_eq!(bench.tidegate(&["check", &device]).exit, Some(NOTHING_TO_OFFER));
    assert_eq!(bench.tidegate(&["watch", "2.0.0"]).exit, Some(FAILED), "the rollout did not end well");

    let audit = bench.json(&["updates", "audit", "2.0.0"]);
    let entries = audit.get("items").and_then(Value::as_array).expect("entries");
    let last = entries.first().expect("at least the abort");
    assert_eq!(last.get("action"), Some(&json!("abort")), "{audit}");
    assert_eq!(last.get("reason"), Some(&json!("it flickers")), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_an_aborted_update_again_is_not_taken_for_success() {
    let bench = with_an_active_update().await;
    bench.tidegate(&["updates", "abort", "2.0.0", "--reason", "it flickers"]);
    let policy = r#"region == "eu""#;
    let again = bench.tidegate(&[
        "publish",
        "lamp.bin",
        "--version",
        "2.0.0",
        "--policy",
        policy,
        "--max-devices",
        "3",
        "--activate",
    ]);
    assert_eq!(again.exit, Some(FAILED), "{again:?}");
    assert!(again.stderr.contains("2.0.0 existed already and is aborted"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_service_is_a_sentence_with_a_code_and_a_document_for_programs() {
    let bench = with_an_active_update().await;
    let unknown = bench.tidegate(&["updates", "show", "9.9.9"]);
    assert_eq!(unknown.exit, Some(FAILED));
    assert_eq!(unknown.stderr, "error: lamp has no update 9.9.9 (unknown_update)\n");
    assert_eq!(unknown.stdout, "");
    let document = bench.json(&["updates", "show", "9.9.9"]);
    assert_eq!(document, json!({"error": {"code": "unknown_update", "message": "lamp has no update 9.9.9"}}));

    let wrong_key = bench.tidegate(&["updates", "list", "--key", "guessed"]);
    assert_eq!(wrong_key.exit, Some(FAILED));
    assert!(wrong_key.stderr.contains("does not accept this key"), "{wrong_key:?}");
}

#[test]
fn mistakes_on_the_command_line_are_told_from_a_service_that_is_down() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let exit = |arguments: &[&str]| run(folder.path(), arguments).exit;
    assert_eq!(exit(&["updates", "frobnicate"]), Some(USAGE));
    assert_eq!(exit(&["updates", "list"]), Some(USAGE), "there is no operator key");
    assert_eq!(exit(&["updates", "pause", "2.0.0", "--key", "k", "--reason", " "]), Some(USAGE), "a blank reason");
    assert_eq!(exit(&["policy", "check", "region =="]), Some(USAGE));
    assert_eq!(exit(&["check", "missing.json", "--token", "t"]), Some(USAGE));
    // Nothing listens on port 9 of this machine (discard, RFC 863, has been switched off for decades).
    assert_eq!(exit(&["updates", "list", "--key", "k", "--api", "http://127.0.0.1:9"]), Some(UNREACHABLE));
}

#[test]
fn every_shell_gets_completions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(folder.path(), &["completions", shell]);
        assert_eq!(script.exit, Some(DONE), "{shell}");
        assert!(script.stdout.contains("publish"), "{shell}: {}", script.stdout);
    }
}
