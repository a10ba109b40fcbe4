//! Sends every event of events/ through the function that its name begins with, as the Lambda runtime would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use tidegate::stack::Stack;
use tidegate_store::stream::Batch;
use tidegate_tests::{Answer, answer, put};

/// The bytes that publish-create.json announces; events/README.md makes the same ones.
const IMAGE: &[u8] = b"lamp firmware 1.1.0\n";

/// An update from its draft to its end, with everything that can be asked on the way. The events in the order in which
/// they make sense, and the status of each.
const STORY: [(&str, u16); 58] = [
    ("publish-product", 404),
    ("publish-create", 201),
    ("publish-activate", 409), // image_missing
    ("upload", 200),
    ("publish-create", 201),
    ("publish-list", 200),
    ("publish-show", 200),
    ("publish-edit", 200),
    ("publish-activate", 200),
    ("check-register", 403),
    ("check-exosite-activate", 409),
    ("publish-edit-product", 200),
    ("publish-product", 200),
    ("check-register", 200),
    ("check-exosite-activate", 200),
    ("publish-issue-token", 200),
    ("check", 200),
    ("check-ioto", 200),
    ("check-hawkbit", 200),
    ("check-hawkbit-config-data", 200),
    ("check-hawkbit-deployment", 200),
    ("check-hawkbit-artifacts", 200),
    ("check-hawkbit-artifact", 302),
    ("check-hawkbit-artifact-head", 302),
    ("check-hawkbit-confirmations", 200),
    ("check-hawkbit-confirmation", 404), // the update asks nobody
    ("check-hawkbit-cancel", 404),       // nobody has stopped it
    ("report-hawkbit", 200),
    ("report-hawkbit-confirmation", 404), // the same
    ("check-exosite", 200),
    ("check-exosite-download", 206),
    ("report-exosite", 204),
    ("report-exosite-record", 204),
    ("check-kaa", 200),
    ("report", 200),
    ("check-hawkbit-installed", 200),
    ("report-hawkbit-cancel", 410), // it is over
    ("report-ioto", 200),
    ("report-kaa", 200),
    ("publish-issue-product-token", 200),
    ("count", 200),
    ("sweep", 200),
    ("verify", 200),
    ("publish-metrics", 200),
    ("publish-versions", 200),
    ("publish-devices", 200),
    ("publish-device", 200),
    ("publish-why", 200),
    ("publish-pause", 200),
    ("publish-resume", 200),
    ("publish-abort", 200),
    ("publish-withdraw", 200),
    ("publish-create-software", 201),
    ("publish-list-software", 200),
    ("publish-put-software", 200),
    ("publish-show-software", 200),
    ("publish-delete-software", 200),
    ("publish-audit", 200),
];

/// What cannot be in the same story: an update ends once, and a revoked token is of no use any more.
const OTHER_END: [(&str, u16); 9] = [
    ("publish-create", 201),
    ("upload", 200),
    ("publish-activate", 200),
    ("publish-issue-token", 200),
    ("publish-complete", 200),
    ("publish-resume", 409), // wrong_state
    ("check", 200),
    ("publish-revoke-token", 200),
    ("check", 401),
];

/// A stack, the files, and what the answers said that later events need.
struct Stage {
    stack: Stack,
    files: BTreeMap<String, String>,
    token: String,
    uploads: Vec<Value>,
}

impl Stage {
    async fn new() -> Self {
        let stack = Stack::temporary(0).await.expect("the stack starts");
        Self { stack, files: files(), token: "DEVICE-TOKEN".into(), uploads: Vec::new() }
    }

    /// Plays one event, and learns from its answer.
    async fn play(&mut self, name: &str) -> Answer {
        if name == "upload" {
            let upload = self.uploads.first().expect("a create asked for the image");
            return Answer { status: put(upload, IMAGE.to_vec()).await, body: Value::Null };
        }
        let event = self.files.get(name).unwrap_or_else(|| panic!("there is no events/{name}.json"));
        let event = event.replace("DEVICE-TOKEN", &self.token);
        if ["publish-metrics", "publish-versions"].contains(&name) {
            // The stack counts what its own table's stream holds; these answers need all of it.
            tidegate_tests::count(&self.stack).await;
        }
        let got = send(&self.stack, name, &event).await;
        if let Some(token) = got.body["token"].as_str().filter(|_| name == "publish-issue-token") {
            self.token = token.to_string();
        }
        if let Some(uploads) = got.body["uploads"].as_array().filter(|uploads| !uploads.is_empty()) {
            self.uploads.clone_from(uploads);
        }
        got
    }

    async fn tell(mut self, story: &[(&str, u16)]) -> BTreeMap<String, Value> {
        let mut last = BTreeMap::new();
        for (step, (name, expected)) in story.iter().enumerate() {
            let got = self.play(name).await;
            assert_eq!(got.status, *expected, "step {step}, {name}: {}", got.body);
            last.insert((*name).to_string(), got.body);
        }
        self.stack.shutdown().await;
        last
    }
}

/// Parses an event as the runtime does, and hands it to the function of its name.
async fn send(stack: &Stack, name: &str, event: &str) -> Answer {
    let function = name.split('-').next().unwrap_or_default();
    let now = tidegate_http::edge::now();
    if function == "count" {
        let batch = serde_json::from_str(event).map(Batch::from_event).expect("count.json is JSON");
        let batch = batch.expect("it is an event of a stream");
        let counted = stack.services.count.count(&batch, now).await.expect("the store is there");
        let unreadable = batch.records.iter().filter(|record| record.change.is_err()).count();
        let body = json!({"records": batch.records.len(), "counted": counted.counted, "unreadable": unreadable});
        return Answer { status: 200, body };
    }
    if function == "sweep" {
        // The runtime takes any JSON for it.
        serde_json::from_str::<Value>(event).expect("sweep.json is JSON");
        let swept = stack.services.sweep.sweep(now).await.expect("the store is there");
        return Answer { status: 200, body: serde_json::to_value(swept).expect("numbers are JSON") };
    }
    if function == "verify" {
        serde_json::from_str::<Value>(event).expect("verify.json is JSON");
        let verified = stack.services.verify.verify_one(now).await.expect("the store is there");
        return Answer { status: 200, body: serde_json::to_value(verified).expect("numbers are JSON") };
    }
    let request = lambda_http::request::from_str(event).unwrap_or_else(|error| panic!("{name}.json: {error}"));
    let response = match function {
        "check" => stack.services.check.handle(request, now).await,
        "report" => stack.services.report.handle(request, now).await,
        "publish" => stack.services.publish.handle(request, now).await,
        other => panic!("there is no function {other}; the first word of {name}.json must be one"),
    };
    if name.contains("exosite") {
        // A protocol of forms, texts and bytes.
        let body = Value::String(String::from_utf8_lossy(response.body()).into_owned());
        return Answer { status: response.status().as_u16(), body };
    }
    answer(response)
}

/// Every event by its name.
fn files() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let paths =
        std::fs::read_dir(&folder).expect("events/ is there").map(|entry| entry.expect("it can be read").path());
    let events = paths.filter(|path| !path.ends_with("README.md")).map(|path| {
        assert_eq!(path.extension().and_then(|end| end.to_str()), Some("json"), "{} is no event", path.display());
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        (name, std::fs::read_to_string(&path).expect("it can be read"))
    });
    events.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_tell_the_story_of_an_update() {
    let last = Stage::new().await.tell(&STORY).await;
    assert_eq!(last["check"]["version"], "1.1.0", "the device gets the update");
    assert_eq!(last["check-ioto"]["update"], last["check"]["update"]);
    assert_eq!(last["check"]["update"], last["publish-show"]["id"], "report-ioto.json holds this id");
    assert!(last["check-exosite"].as_str().is_some_and(|text| text.starts_with("config_otau=%7B")));
    assert_eq!((&last["check-exosite-download"], &last["check-kaa"]["configId"]), (&json!("lamp"), &json!("1.1.0")));
    assert_eq!(last["check-exosite-activate"].as_str().map(str::len), Some(40), "as murano-client wants it");
    assert_eq!(last["report"]["recorded"], true);
    assert_eq!(last["check-hawkbit-installed"]["deployment"]["chunks"][0]["version"], "1.1.0");
    assert_eq!(last["check-register"]["id"], "lamp-1");
    assert_eq!(last["count"], json!({"records": 1, "counted": 1, "unreadable": 0}));
    let versions = last["publish-versions"]["items"].as_array().expect("a list");
    assert_eq!(*versions, [json!({"version": "1.0.0", "devices": 2})], "lamp-1, and lamp-2 of count.json");
    assert_eq!(last["publish-metrics"]["installed"], 1);
    assert_eq!(last["publish-edit"]["rollout"]["limits"]["max_per_period"], 100);
    assert_eq!(last["publish-devices"]["items"][0], "lamp-1");
    assert_eq!(last["publish-withdraw"]["state"], "withdrawn");
    assert_eq!(last["publish-list-software"].as_array().map(Vec::len), Some(2));
    assert_eq!(last["publish-show-software"]["rolloutStrategy"], "general");
    assert_eq!(last["publish-delete-software"]["state"], "withdrawn");
    let entries = last["publish-audit"]["items"].as_array().expect("a log");
    assert!(entries.iter().all(|entry| entry["who"] == "arn:aws:iam::123456789012:user/ada"), "{entries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_ends_once_and_a_revoked_token_is_refused() {
    let last = Stage::new().await.tell(&OTHER_END).await;
    assert_eq!(last["publish-complete"]["state"], "completed");
    assert_eq!(last["publish-resume"]["error"]["code"], "wrong_state");
    assert_eq!(last["check"]["error"]["code"], "unauthorized");
}

#[test]
fn every_file_has_its_place_in_a_story() {
    let told = STORY.iter().chain(&OTHER_END).map(|(name, _)| *name).filter(|name| *name != "upload");
    let files = files();
    assert_eq!(files.keys().map(String::as_str).collect::<BTreeSet<_>>(), told.collect());
}

/// The placeholder is where the README says, and nowhere else: a token that was put in by hand would be a secret.
#[test]
fn only_events_of_devices_hold_the_placeholder_for_a_token() {
    for (name, text) in files() {
        let event = serde_json::from_str::<Value>(&text).expect("an event is JSON");
        if name.contains("-exosite") || name.contains("-kaa") {
            // It stands behind the names of its device there.
            let is_behind = text.contains("~lamp-1~DEVICE-TOKEN") || name == "check-exosite-activate";
            assert!(is_behind && event["headers"]["authorization"].is_null(), "{name}");
            continue;
        }
        let authorization = &event["headers"]["authorization"];
        let is_target = name.contains("-hawkbit");
        let is_device = is_target || ["check", "check-ioto", "report", "report-ioto"].contains(&name.as_str());
        let expected = if is_target { "TargetToken DEVICE-TOKEN" } else { "DEVICE-TOKEN" };
        assert_eq!(authorization == expected, is_device, "{name}: {authorization}");
        assert!(is_device || authorization.is_null(), "{name}: {authorization}");
    }
}

/// What API Gateway would never send: a path or method that differs from its own context, a length that is not the body's.
#[test]
fn every_event_agrees_with_itself() {
    for (name, text) in files().into_iter().filter(|(name, _)| !["sweep", "verify", "count"].contains(&name.as_str())) {
        let event = serde_json::from_str::<Value>(&text).expect("an event is JSON");
        let http = &event["requestContext"]["http"];
        assert_eq!(event["version"], "2.0", "{name}");
        assert_eq!(event["rawPath"], http["path"], "{name}");
        assert_eq!(event["routeKey"], event["requestContext"]["routeKey"], "{name}");
        let route =
            format!("{} {}", http["method"].as_str().unwrap_or_default(), http["path"].as_str().unwrap_or_default());
        assert!(event["routeKey"] == "$default" || event["routeKey"] == route, "{name}: {}", event["routeKey"]);
        let length = event["body"].as_str().map(|body| body.len().to_string());
        assert_eq!(event["headers"]["content-length"].as_str(), length.as_deref(), "{name}");
    }
}
