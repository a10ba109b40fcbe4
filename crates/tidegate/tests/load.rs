//! `tidegate load` as a person or a script meets it: the built program, against a service in this process.

mod support;

use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use support::{Bench, DONE, FAILED, Ran, UNREACHABLE, USAGE, command};

const MAX_DEVICES: u64 = 30;
const MAX_IN_FLIGHT: u64 = 10;

/// A service with an update that is tightly limited: 2.0.0 is active.
async fn with_an_active_update() -> Bench {
    let bench = Bench::new(1000, b"firmware").await;
    let (max_devices, max_in_flight) = (MAX_DEVICES.to_string(), MAX_IN_FLIGHT.to_string());
    let publish = ["publish", "lamp.bin", "--version", "2.0.0", "--max-devices", &max_devices, "--max-in-flight"];
    let published = bench.tidegate(&[&publish[..], &[&max_in_flight, "--activate"]].concat());
    assert_eq!(published.exit, Some(DONE), "{published:?}");
    bench
}

/// The same, and the product may be driven: it accepts product tokens.
async fn with_product_tokens() -> Bench {
    let bench = with_an_active_update().await;
    assert_eq!(bench.tidegate(&["settings", "--product-tokens", "accept"]).exit, Some(DONE));
    bench
}

fn load(bench: &Bench, arguments: &[&str]) -> Ran {
    bench.tidegate(&[&["load", "--json", "--connections", "8"], arguments].concat())
}

/// Runs a command for the service at `api`, without an operator key.
fn without_key(folder: &TempDir, arguments: &[&str], api: &str) -> Ran {
    let mut command = command(folder.path(), arguments);
    command.env("TIDEGATE_API", api);
    Ran::of(command)
}

fn number(document: &Value, path: &str) -> u64 {
    document.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {document}"))
}

/// The service's number and the fleet's number for a limit.
fn found(document: &Value, limit: &str) -> [Option<u64>; 3] {
    let findings = document.pointer("/limits").and_then(Value::as_array).expect("findings");
    let finding = findings.iter().find(|finding| finding["limit"] == limit).expect("the limit was looked at");
    ["allowed", "service", "fleet"].map(|name| finding[name].as_u64())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_at_a_fixed_rate_is_counted_to_the_request_and_the_limits_hold() {
    let bench = with_product_tokens().await;
    let mix = "idle=5,offer=3,report=2";
    let ran =
        load(&bench, &["--rate", "100", "--duration", "2s", "--devices", "100", "--mix", mix, "--failures", "10"]);
    assert_eq!((ran.exit, ran.stderr.as_str()), (Some(DONE), ""), "{ran:?}");
    let document = ran.document();
    assert_eq!((number(&document, "/answered"), number(&document, "/failed")), (200, 0), "{document}");
    assert_eq!(number(&document, "/unsent"), 0);
    assert_eq!(number(&document, "/requests/idle/answers/up_to_date"), 100);
    let missing = number(&document, "/nothing_to_report");
    assert_eq!(number(&document, "/requests/offer/answered"), 60 + missing);
    assert_eq!(number(&document, "/requests/report/answered"), 40 - missing);
    assert_eq!(document["loop"], "open");

    let [allowed, service, fleet] = found(&document, "max_devices");
    assert_eq!((allowed, service), (Some(MAX_DEVICES), fleet), "nobody else was offered anything: {document}");
    assert!(fleet > Some(0) && fleet <= Some(MAX_DEVICES), "{document}");
    let [allowed, service, fleet] = found(&document, "max_in_flight");
    assert_eq!(allowed, Some(MAX_IN_FLIGHT));
    assert!(service <= allowed && fleet <= allowed && fleet > Some(0), "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_device_asks_as_fast_as_it_can_and_exactly_so_many_are_offered_the_update() {
    let bench = with_product_tokens().await;
    let ran = load(&bench, &["--duration", "3s", "--devices", "60", "--mix", "offer=1"]);
    assert_eq!(ran.exit, Some(DONE), "{ran:?}");
    let document = ran.document();
    assert_eq!((&document["loop"], number(&document, "/failed")), (&Value::from("closed"), 0));
    assert!(number(&document, "/answered") >= 60, "everyone asked: {document}");
    let all = Some(MAX_IN_FLIGHT);
    assert_eq!(found(&document, "max_in_flight"), [all; 3], "{document}");
    assert_eq!(found(&document, "offered"), [all; 3], "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_gives_more_than_is_expected_of_it_fails_the_load() {
    let bench = with_product_tokens().await;
    let expected =
        ["--rate", "50", "--duration", "1s", "--devices", "60", "--mix", "offer=1", "--expect", "max_devices=3"];
    let ran = load(&bench, &expected);
    assert_eq!(ran.exit, Some(FAILED), "{ran:?}");
    let sentence =
        "error: 2.0.0 exceeded max_devices, which is 3: the service says 10, the fleet saw 10 (limit_exceeded)\n";
    assert_eq!(ran.stderr, sentence);
    assert_eq!(found(&ran.document(), "max_devices"), [Some(3), Some(10), Some(10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_operator_key_the_fleet_still_looks_for_itself() {
    let bench = with_product_tokens().await;
    let token = bench.tidegate(&["token", "product"]).stdout;
    let api = bench.stack.door.url();
    let common = ["load", &api, "--token", token.trim(), "--rate", "50", "--duration", "1s", "--mix", "offer=1"];
    let ran =
        without_key(&bench.folder, &[&common[..], &["--expect", "max_devices=30"]].concat(), "http://127.0.0.1:9");
    assert_eq!(ran.exit, Some(DONE), "{ran:?}");
    assert!(ran.stdout.contains("no operator key or --profile: the service was not asked"), "{ran:?}");
    assert!(ran.stdout.ends_with("no limit was exceeded\n"), "{ran:?}");
    let idle = without_key(&bench.folder, &["load", &api, "--token", token.trim()], &api);
    assert_eq!(idle.exit, Some(USAGE), "nobody said which version is the newest: {idle:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_it_and_sums_up_what_there_was() {
    let bench = with_product_tokens().await;
    let arguments = ["load", "--json", "--rate", "20", "--duration", "5m", "--mix", "offer=1"];
    let load = bench
        .command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    while number(&bench.tidegate(&["updates", "show", "2.0.0", "--json"]).document(), "/metrics/offered") == 0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let signalled = Command::new("sh").args(["-c", &format!("kill -INT {}", load.id())]).status();
    assert!(signalled.is_ok_and(|status| status.success()));
    let ran = Ran::from(load.wait_with_output().expect("the load ends"));
    assert_eq!(ran.exit, Some(DONE), "{ran:?}");
    let document = ran.document();
    assert_eq!((&document["stopped"], number(&document, "/failed")), (&Value::from(true), 0));
    let answered = number(&document, "/answered");
    assert!(answered > 0 && answered + number(&document, "/unsent") == 6000, "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_refuses_product_tokens_is_told_how_to_accept_them() {
    let bench = with_an_active_update().await;
    let ran = load(&bench, &[]);
    assert_eq!(ran.exit, Some(FAILED), "{ran:?}");
    assert!(ran.stderr.contains("tidegate settings --product-tokens accept"), "{ran:?}");
    assert!(ran.stderr.ends_with("(product_tokens_refused)\n"), "{ran:?}");
}

#[test]
fn what_is_remote_or_without_bounds_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let load =
        |arguments: &[&str]| without_key(&folder, &[&["load"], arguments].concat(), "https://updates.example.com");
    let remote = load(&["--key", "k"]);
    assert_eq!(remote.exit, Some(FAILED), "{remote:?}");
    assert!(remote.stderr.starts_with("error: https://updates.example.com is not on this machine"), "{remote:?}");
    assert!(remote.stderr.ends_with("--allow-remote if it is meant (not_loopback)\n"), "{remote:?}");
    let check = |arguments: &[&str], expected: &str| {
        let ran = load(arguments);
        assert_eq!(ran.exit, Some(USAGE), "{ran:?}");
        assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
    };
    check(&["--duration", "11m"], "--duration must be at most 10m");
    check(&["--rate", "100000", "--duration", "1m"], "must be 1 to 1000000 requests; got 6000000");
    check(&["--rate", "fast"], "expected requests in a second, such as 200");
    check(&["--connections", "257"], "257 is not in 1..=256");
    check(&["--devices", "16"], "--devices must be more than --connections, which is 16");
    check(&["--mix", "idle=0"], "every share is 0");
    check(&["http://127.0.0.1:9", "--token", "d1.k.m"], "the token of one device");
    check(&["http://127.0.0.1:9"], "the product's token is needed");
    let closed = load(&["http://127.0.0.1:9", "--token", "p1.k.m", "--newest", "2.0.0", "--duration", "5s"]);
    assert_eq!(closed.exit, Some(UNREACHABLE), "{closed:?}");
    assert_eq!(closed.stderr.lines().count(), 1, "no hint to start a service that is elsewhere: {closed:?}");
}
