//! Exosite's OTAU over the real handlers: the recorded session of `murano-client`, and what can go wrong.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use lambda_http::{Body, Response};
use serde_json::{Value, json};
use tidegate::stack::{Stack, new_token_keys};
use tidegate_core::status::Status;
use tidegate_core::{DeviceId, ProductId, Timestamp};
use tidegate_engine::token::TokenKeys;
use tidegate_http::CheckService;
use tidegate_http::PublishService;
use tidegate_http::ReportService;
use tidegate_lab::MemoryStore;
use tidegate_store::Images;
use tidegate_tests::{LAMP, World, at, file, lamp, put, request};
use tidegate_wire::route::{Caller, ROUTES};

const NO_CALLS: [&str; 0] = [];
const HOST: &str = "lamp.m2.exosite.io";

/// An answer as this protocol has it.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: lambda_http::http::HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status.as_u16(), headers: head.headers, body: body.to_vec() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What `config_otau` holds, read as `murano-client` reads it.
    fn config(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        let text = self.text();
        let (name, value) = text.split_once('=').expect("a form value");
        assert_eq!(name, "config_otau");
        assert!(!value.contains(['{', '"', '&', '+', ' ']), "percent-encoded: {value}");
        serde_json::from_str(&decoded(value)).expect("JSON")
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                bytes.extend(hex::decode([*high, *low]).unwrap());
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn cik(world: &World, device: &str) -> String {
    let cik = world.keys.issue_named(&ProductId::new(LAMP).unwrap(), &DeviceId::new(device).unwrap(), true);
    assert_eq!(cik.len(), 40, "murano-client takes any other length for a failure");
    cik
}

/// A call with this `X-Exosite-CIK`.
async fn call(
    world: &World,
    method: &str,
    path: &str,
    cik: &str,
    more: &[(&str, &str)],
    body: &str,
    now: Timestamp,
) -> Got {
    let mut headers = vec![("host", HOST), ("x-exosite-cik", cik)];
    headers.extend(more);
    let asked = request(method, path, &headers, body, None);
    let is_report = method == "POST" && path.starts_with("/onep:v1/");
    Got::of(match is_report {
        true => world.services.report.handle(asked, now).await,
        false => world.services.check.handle(asked, now).await,
    })
}

async fn read(world: &World, device: &str, now: Timestamp) -> Got {
    call(world, "GET", "/onep:v1/stack/alias?config_otau", &cik(world, device), &[], "", now).await
}

async fn says(world: &World, device: &str, version: &str, status: &str, now: Timestamp) -> u16 {
    let body = format!("otau_in={}", json!({"version": version, "status": status, "message": "a=1&b"}));
    call(world, "POST", "/onep:v1/stack/alias", &cik(world, device), &[], &body, now).await.status
}

async fn fetch(world: &World, device: &str, query: &str, range: &str, now: Timestamp) -> Got {
    let path = format!("/provision/download{query}");
    let range = if range.is_empty() { vec![] } else { vec![("range", range)] };
    call(world, "GET", &path, &cik(world, device), &range, "", now).await
}

/// A world with an update to 2.0.0.
async fn world(now: Timestamp) -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"name": "Warmer light", "description": "a & b"}), now).await;
    world
}

fn noon() -> Timestamp {
    at("2026-01-01T12:00:00Z")
}

fn recorded() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/exosite-murano-client.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let requests = text.split("---\n").filter(|request| !request.trim().is_empty());
    let split = |request: &str| {
        let (head, body) = request.split_once("\nBODY: ").unwrap();
        (head.to_string(), body.trim_end_matches('\n').to_string())
    };
    requests.map(split).collect()
}

/// Sends a recorded request as it was, but for the token and the host, and reads the whole answer.
fn replay(address: &str, (head, body): &(String, String), token: &str) -> (String, Vec<u8>) {
    let port = address.rsplit(':').next().unwrap();
    let head = head.replace("127.0.0.1:9490", &format!("lamp.localhost:{port}")).replace("TOK", token);
    let head = head.replace("keep-alive", "close").replace('\n', "\r\n");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    let split = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(received[..split].to_vec()).unwrap(), received[split + 4..].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_session_of_murano_client_is_answered_in_full() {
    let stack = Stack::temporary(0).await.unwrap();
    let now = tidegate_http::edge::now();
    let operator = Some("arn:aws:iam::1:user/ada");
    let image = b"the firmware that murano-client fetches";
    let update = json!({"version": "1.2.0", "files": [file("fw_v120.bin", image)]}).to_string();
    let publish = |method: &'static str, path: &'static str, body: String| {
        stack.services.publish.handle(request(method, path, &[], &body, operator), now)
    };
    let created = tidegate_tests::answer(publish("POST", "/v1/products/lamp/updates", update).await);
    assert_eq!(put(&created.body["uploads"][0], image.to_vec()).await, 200);
    publish("POST", "/v1/products/lamp/updates/1.2.0/activate", "{}".into()).await;
    let open = json!({"registration": "open"}).to_string();

    let address = stack.door.url().trim_start_matches("http://").to_string();
    let session = recorded();
    assert_eq!(session.len(), 6);
    let send = |step: usize, token: &str| tokio::task::block_in_place(|| replay(&address, &session[step], token));

    // Nobody helps himself to a token before the product says so.
    let (head, _) = send(0, "");
    assert!(head.starts_with("HTTP/1.1 409 "), "\"the serial number is not enabled for activation\": {head}");
    publish("PATCH", "/v1/products/lamp", open).await;
    let (head, token) = send(0, "");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Type: text/plain"), "{head}");
    let token = String::from_utf8(token).unwrap();
    assert_eq!(token.len(), 40, "murano-client calls an activation failed whose token is not that long: {token}");
    assert_eq!(send(0, "").1, token.as_bytes(), "asking again gives the same token");

    // It has not said what it runs: nothing is set, and nothing changes while it would wait.
    let (head, body) = send(1, &token);
    assert!(head.starts_with("HTTP/1.1 304 ") && body.is_empty(), "{head}");
    let (head, body) = send(2, &token);
    assert!(head.starts_with("HTTP/1.1 204 ") && body.is_empty(), "{head}");
    // At its boot a device says what it runs; for the rest this is the write that was recorded.
    let boot = r#"otau_in={"version":"1.1.0","status":"INSTALLED_VERSION"}"#.to_string();
    let boot = (session[3].0.replace("Length: 56", &format!("Length: {}", boot.len())), boot);
    let (head, _) = tokio::task::block_in_place(|| replay(&address, &boot, &token));
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");

    // Both reads bring the update, and it is one slot.
    for step in [1, 2] {
        let (head, body) = send(step, &token);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nLast-Modified: "), "{head}");
        let body = String::from_utf8(body).unwrap();
        let config: Value = serde_json::from_str(&decoded(body.strip_prefix("config_otau=").unwrap())).unwrap();
        assert_eq!((&config["version"], &config["type"]), (&json!("1.2.0"), &json!("FILE")), "{config}");
        assert_eq!(config["payload"], "1.2.0_fw_v120.bin");
    }
    let (head, _) = send(3, &token);
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let (head, body) = send(4, &token);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, image);
    let (head, body) = send(5, &token);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Type: text/csv"), "{head}");
    assert_eq!(body, b"1.2.0_fw_v120.bin\r\n");
    tidegate_tests::count(&stack).await;
    let metrics =
        tidegate_tests::answer(publish("GET", "/v1/products/lamp/updates/1.2.0/metrics", String::new()).await);
    assert_eq!((&metrics.body["offered"], &metrics.body["in_flight"]), (&json!(1), &json!(1)));
    stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_goes_its_way_through_all_fifteen_statuses_and_counts_once() {
    let (now, world) = (noon(), world(noon()).await);
    assert_eq!(read(&world, "d1", now).await.status, 204, "it has not said what it runs");
    assert_eq!(says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await, 204);
    let got = read(&world, "d1", now).await;
    let config = got.config();
    let expected = json!({
        "version": "2.0.0", "name": "Warmer light", "description": "a & b", "type": "FILE", "payload": "2.0.0_image.bin",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&config[field], value, "{field}");
    }
    assert_eq!(config["files"][0]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(got.header("last-modified"), "Thu, 01 Jan 2026 12:00:00 GMT");

    // It writes back what it was told, byte for byte as it came.
    let back = call(&world, "POST", "/onep:v1/stack/alias", &cik(&world, "d1"), &[], &got.text(), now).await;
    assert_eq!(back.status, 204);
    let ends = ["TEST_ERROR", "DOWNLOAD_ERROR", "INSTALL_ERROR", "INSTALL_ABORTED"];
    for status in Status::names().filter(|name| !ends.contains(name)) {
        for _ in 0..2 {
            assert_eq!(says(&world, "d1", "2.0.0", status, now).await, 204, "{status}");
        }
    }
    // A version that was shown is stronger than these.
    for status in ["DOWNLOAD_ERROR", "INSTALL_ABORTED", "DOWNLOAD_STEP", "INSTALL_SUCCESS"] {
        assert_eq!(says(&world, "d1", "2.0.0", status, now).await, 204, "{status}, late");
    }
    assert_eq!(world.counts("2.0.0", now).await, "1 0 1 0 0");
    assert_eq!(read(&world, "d1", now).await.status, 204, "it runs 2.0.0");
    let device = world.operator("GET", "lamp/devices/d1", Value::Null, now).await;
    assert_eq!(device.body["version"], "2.0.0", "{device:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_counts_once_and_a_device_that_backs_out_is_not_asked_again() {
    let (now, world) = (noon(), world(noon()).await);
    for device in ["d1", "d2"] {
        says(&world, device, "1.0.0", "INSTALLED_VERSION", now).await;
        read(&world, device, now).await.config();
    }
    for status in ["DOWNLOAD_ERROR", "DOWNLOAD_ERROR", "INSTALL_ERROR"] {
        assert_eq!(says(&world, "d1", "2.0.0", status, now).await, 204);
    }
    assert_eq!(world.counts("2.0.0", now).await, "2 1 0 1 0");
    assert_eq!(read(&world, "d1", now).await.status, 204, "it tries again in an hour");
    assert_eq!(says(&world, "d2", "2.0.0", "INSTALL_ABORTED", now).await, 204);
    assert_eq!(read(&world, "d2", now).await.status, 204);
    assert_eq!(world.counts("2.0.0", now).await, "2 0 0 1 0");
    // A device says nothing of another's: it has no claim on this version.
    assert_eq!(says(&world, "d3", "2.0.0", "INSTALL_ERROR", now).await, 204, "a resource takes what is written");
    assert_eq!(world.counts("2.0.0", now).await, "2 0 0 1 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_that_a_device_kept_are_taken_in_their_order() {
    let (now, world) = (noon(), world(noon()).await);
    says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await;
    read(&world, "d1", now).await.config();
    let status = |status: &str| {
        json!({"version": "2.0.0", "status": status})
            .to_string()
            .replace('"', "%22")
            .replace('{', "%7B")
            .replace('}', "%7D")
    };
    // As `MuranoClient.tell` sends them.
    let body = format!("alias=otau_in&1767268803={}&1767268801={}", status("INSTALL_ERROR"), status("DOWNLOAD"));
    let got = call(&world, "POST", "/onep:v1/stack/record", &cik(&world, "d1"), &[], &body, now).await;
    assert_eq!(got.status, 204, "{}", got.text());
    assert_eq!(world.counts("2.0.0", now).await, "1 0 0 1 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_the_words_of_this_protocol_and_changes_nothing() {
    let (now, world) = (noon(), world(noon()).await);
    says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await;
    read(&world, "d1", now).await.config();
    let good = cik(&world, "d1");
    let other_product = format!("door{}", &good);
    let _before = world.calls.take();
    for token in ["", "TOK", &good[..39], &good.replace("d1", "d2"), &other_product, &world.token(LAMP, "d1")] {
        for route in ROUTES.iter().filter(|route| route.caller == Caller::Cik) {
            let (method, path) = (route.method, route.template);
            let query = if method == "GET" { "?config_otau" } else { "" };
            let got = call(&world, method, &format!("{path}{query}"), token, &[], "otau_in=x", now).await;
            assert_eq!(got.status, 401, "{method} {path} {token}");
            assert!(got.header("content-type").starts_with("text/plain"), "{got:?}");
        }
    }
    assert_eq!(world.calls.take(), NO_CALLS, "a bad token costs no call at all");

    for (body, status) in [
        ("otau_in={", 400),
        ("otau_in=[]", 400),
        (r#"otau_in={"version":"2.0.0"}"#, 400),
        (r#"otau_in={"version":"2.0.0","status":"DONE"}"#, 400),
        (r#"otau_in={"version":"latest","status":"INSTALL_SUCCESS"}"#, 400),
        (r#"otau_in={"version":"2.0.0","status":"INSTALL_ERROR","status":"INSTALL_SUCCESS"}"#, 400),
        (&format!("otau_in={{\"message\":\"{}\"}}", "x".repeat(16 * 1024)), 413),
        ("data_in=7", 204),
    ] {
        let got = call(&world, "POST", "/onep:v1/stack/alias", &good, &[], body, now).await;
        assert_eq!(got.status, status, "{body:.60}: {}", got.text());
    }
    assert_eq!(world.calls.take(), NO_CALLS, "nothing is read for what cannot be understood");
    for (method, path) in
        [("PUT", "/onep:v1/stack/alias"), ("POST", "/provision/download"), ("GET", "/provision/activate")]
    {
        assert_eq!(call(&world, method, path, &good, &[], "", now).await.status, 405, "{method} {path}");
    }
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");

    // Both headers, and what is revoked.
    let headers = [("host", HOST), ("authorization", &*format!("token {good}"))];
    let asked = request("GET", "/onep:v1/stack/alias?config_otau", &headers, "", None);
    assert_eq!(Got::of(world.services.check.handle(asked, now).await).config()["version"], "2.0.0");
    world.operator("DELETE", "lamp/devices/d1/token", Value::Null, now).await;
    assert_eq!(read(&world, "d1", now).await.status, 401);
    assert_eq!(says(&world, "d1", "2.0.0", "INSTALL_SUCCESS", now).await, 401);
    assert_eq!(fetch(&world, "d1", "?id=2.0.0_image.bin", "", now).await.status, 401);
    world.operator("PATCH", "lamp", json!({"registration": "open"}), now).await;
    let asked = request("POST", "/provision/activate", &[("host", HOST)], "id=d1", None);
    let got = Got::of(world.services.check.handle(asked, now).await);
    assert_eq!(got.status, 409, "it must not help itself to a new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_fetched_in_parts_by_those_it_was_offered_to_and_nobody_else() {
    let now = tidegate_http::edge::now();
    let world = world(now).await;
    says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await;
    says(&world, "d2", "1.0.0", "INSTALLED_VERSION", now).await;
    assert_eq!(fetch(&world, "d1", "?id=2.0.0_image.bin", "", now).await.status, 404, "it was not offered yet");
    read(&world, "d1", now).await.config();
    let image = b"firmware 2.0.0 of lamp";
    let whole = fetch(&world, "d1", "?id=2.0.0_image.bin", "", now).await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, image.as_slice()));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let part = fetch(&world, "d1", "?id=image.bin", "bytes=9-13", now).await;
    assert_eq!((part.status, part.body.as_slice()), (206, b"2.0.0".as_slice()));
    assert_eq!(part.header("content-range"), format!("bytes 9-13/{}", image.len()));
    assert_eq!(fetch(&world, "d1", "?id=image.bin", "bytes=22-", now).await.status, 416);
    assert_eq!(fetch(&world, "d1", "?id=other.bin", "", now).await.status, 404);
    assert_eq!(fetch(&world, "d2", "?id=2.0.0_image.bin", "", now).await.status, 404, "another device's");
    assert_eq!(fetch(&world, "d1", "", "", now).await.text(), "2.0.0_image.bin\r\n");
    assert_eq!(fetch(&world, "d2", "", "", now).await.text(), "");
    let info = fetch(&world, "d1", "?id=2.0.0_image.bin&info=true", "", now).await.text();
    assert!(info.starts_with(&format!("application/octet-stream,{},", image.len())), "{info}");
    // It is one slot all the while.
    assert_eq!(world.counts("2.0.0", now).await, "1 1 0 0 0");
    world.operator("POST", "lamp/updates/2.0.0/pause", json!({}), now).await;
    assert_eq!(fetch(&world, "d1", "?id=2.0.0_image.bin", "", now).await.status, 404, "paused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_a_function_is_at_the_address_that_is_answered() {
    let now = tidegate_http::edge::now();
    let world = World::new(0).await;
    let image = vec![7_u8; 4 * 1024 * 1024 + 1];
    let update = json!({"version": "2.0.0", "files": [file("big.bin", &image)]});
    let created = world.operator("POST", "lamp/updates", update, now).await;
    world.upload(&created.body, &image).await;
    world.operator("POST", "lamp/updates/2.0.0/activate", json!({}), now).await;
    says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await;
    read(&world, "d1", now).await.config();
    let got = fetch(&world, "d1", "?id=2.0.0_big.bin", "", now).await;
    assert_eq!(got.status, 302, "{}", got.text());
    let (status, bytes) = tidegate_tests::get(got.header("location")).await;
    assert_eq!((status, bytes.len()), (200, image.len()));
    // A client that follows no address asks for parts, each short enough.
    for (range, length) in [("bytes=0-4194303", 4_194_304), ("bytes=4194304-", 1)] {
        let part = fetch(&world, "d1", "?id=2.0.0_big.bin", range, now).await;
        assert_eq!((part.status, part.body.len()), (206, length), "{range}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_a_file_json_or_a_list_of_addresses() {
    let now = noon();
    let world = World::new(0).await;
    let real = tidegate_http::edge::now();
    let files = [file("a.bin", b"a"), file("b.bin", b"b")];
    for (version, update, kind, payload) in [
        ("2.1.0", json!({"kind": "json", "payload": {"k": [1]}}), "JSON", json!({"k": [1]})),
        (
            "2.2.0",
            json!({"kind": "url_list", "payload": ["https://example.com/x", "b.bin", "elsewhere"], "files": files}),
            "URL_LIST",
            json!(["https://example.com/x", "2.2.0_b.bin", "elsewhere"]),
        ),
        ("2.3.0", json!({"files": files}), "URL_LIST", json!(["2.3.0_a.bin", "2.3.0_b.bin"])),
    ] {
        let mut update = update;
        update["version"] = json!(version);
        let created = world.operator("POST", "lamp/updates", update, real).await;
        for (upload, bytes) in created.body["uploads"].as_array().unwrap().iter().zip([b"a", b"b"]) {
            put(upload, bytes.to_vec()).await;
        }
        let activated = world.operator("POST", &format!("lamp/updates/{version}/activate"), json!({}), now).await;
        assert_eq!(activated.status, 200, "{activated:?}");
        says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await;
        let config = read(&world, "d1", now).await.config();
        assert_eq!(
            (&config["version"], &config["type"], &config["payload"]),
            (&json!(version), &json!(kind), &payload)
        );
        assert_eq!(config["name"], LAMP, "the schema wants a name");
    }
    let silent = json!({"version": "3.0.0", "kind": "json", "payload": {}, "ask_consent": true});
    world.operator("POST", "lamp/updates", silent, real).await;
    world.operator("POST", "lamp/updates/3.0.0/activate", json!({}), now).await;
    assert_eq!(read(&world, "d1", now).await.config()["version"], "2.3.0", "this protocol cannot ask the user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_costs_what_a_check_in_costs() {
    let world = World::new(1000).await;
    let now = noon();
    world
        .publish(LAMP, "2.0.0", json!({"policy": "id != \"d2\"", "rollout": {"limits": {"max_in_flight": 10}}}), now)
        .await;
    says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await;
    says(&world, "d2", "1.0.0", "INSTALLED_VERSION", now).await;
    world.check(&lamp("d0", "1.0.0"), now).await;
    let _warm_up = world.calls.take();
    read(&world, "d1", now).await.config();
    assert_eq!(world.calls.take(), ["Query", "TransactWriteItems"]);
    read(&world, "d1", now).await.config();
    assert_eq!(world.calls.take(), ["Query"]);
    assert_eq!(read(&world, "d2", now).await.status, 204);
    assert_eq!(world.calls.take(), ["Query"]);
    let of_others = call(&world, "GET", "/onep:v1/stack/alias?config_io", &cik(&world, "d2"), &[], "", now).await;
    assert_eq!(of_others.status, 204, "a resource that does not exist is no error");
    assert_eq!(world.calls.take(), NO_CALLS);
    says(&world, "d1", "2.0.0", "DOWNLOAD", now).await;
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem"]);
    says(&world, "d1", "2.0.0", "INSTALL_SUCCESS", now).await;
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem"]);
    says(&world, "d1", "2.0.0", "INSTALLED_VERSION", now).await;
    assert_eq!(world.calls.take(), ["GetItem", "UpdateItem"]);
    says(&world, "d1", "2.0.0", "INSTALLED_VERSION", now).await;
    assert_eq!(world.calls.take(), ["GetItem"], "every boot says it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_since_a_time_is_answered_only_when_something_is_newer() {
    let (now, world) = (noon(), world(noon()).await);
    says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await;
    read(&world, "d1", now).await.config();
    let later = at("2026-01-01T12:10:00Z");
    let cik = cik(&world, "d1");
    for (since, status) in [
        ("0", 200),
        ("1767268799", 200),
        ("1767268800", 304),
        ("Thu, 01 Jan 2026 12:00:00 GMT", 304),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 200),
    ] {
        let headers = [("if-modified-since", since), ("request-timeout", "1000")];
        let got = call(&world, "GET", "/onep:v1/stack/alias?config_otau", &cik, &headers, "", later).await;
        assert_eq!(got.status, status, "{since}");
    }
}

/// The check function over a store in memory, where time passes only when everybody waits.
#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_for_a_change_and_no_longer_than_it_may() {
    let (store, images) = (MemoryStore::new(), no_images());
    let keys = TokenKeys::parse(&new_token_keys().unwrap()).unwrap();
    let token = keys.issue_named(&ProductId::new(LAMP).unwrap(), &DeviceId::new("d1").unwrap(), true);
    let publish = PublishService::new(store.clone(), images.clone(), keys.clone());
    let operator = |method: &'static str, path: &'static str, body: Value| {
        publish.handle(request(method, path, &[], &body.to_string(), Some("arn:aws:iam::1:user/ada")), noon())
    };
    let update = json!({"version": "2.0.0", "kind": "json", "payload": {}});
    assert_eq!(operator("POST", "/v1/products/lamp/updates", update).await.status(), 201);
    let headers = [("host", HOST), ("x-exosite-cik", &*token)];
    let boot = request(
        "POST",
        "/onep:v1/stack/alias",
        &headers,
        r#"otau_in={"version":"1.0.0","status":"INSTALLED_VERSION"}"#,
        None,
    );
    assert_eq!(ReportService::new(store.clone(), keys.clone()).handle(boot, noon()).await.status(), 204);

    let check = CheckService::new(store.clone(), images.clone(), keys.clone(), 1000);
    let waiting = CheckService::new(store.clone(), images, keys, 1000).with_long_poll(20);
    let ask = async |service: &CheckService<MemoryStore>, timeout_ms: &str| {
        let headers = [("host", HOST), ("x-exosite-cik", &*token), ("request-timeout", timeout_ms)];
        let asked = request("GET", "/onep:v1/stack/alias?config_otau", &headers, "", None);
        let started = tokio::time::Instant::now();
        let got = Got::of(service.handle(asked, noon()).await);
        (got.status, started.elapsed().as_millis())
    };
    assert_eq!(ask(&check, "300000").await, (304, 0), "nobody waits where nobody said so");
    assert_eq!(ask(&waiting, "3000").await, (304, 3000));
    assert_eq!(ask(&waiting, "300000").await, (304, 20_000), "no longer than the function may");
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        operator("POST", "/v1/products/lamp/updates/2.0.0/activate", json!({})).await
    };
    let (got, activated) = tokio::join!(ask(&waiting, "15000"), later);
    assert_eq!((got, activated.status().as_u16()), ((200, 8000), 200), "at the next look");
    assert_eq!(ask(&waiting, "15000").await, (200, 0), "what it was offered it is told at once");
}

/// Images that nothing asks for.
fn no_images() -> Images {
    let credentials = Credentials::new("none", "none", None, None, "test");
    let credentials = SharedCredentialsProvider::new(credentials);
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new("eu-central-1"))
        .endpoint_url("http://127.0.0.1:9")
        .credentials_provider(credentials.clone())
        .build();
    Images::new(aws_sdk_s3::Client::from_conf(config), credentials, "none")
}

/// It says its version only in reports. One that says a third version after its success was never heard, and waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_says_another_old_version_after_its_success_has_fallen_back() {
    let now = noon();
    let world = world(now).await;
    world.publish(LAMP, "1.9.0", json!({}), now).await;
    assert_eq!(says(&world, "d1", "1.0.0", "INSTALLED_VERSION", now).await, 204);
    assert_eq!(read(&world, "d1", now).await.config()["version"], "2.0.0");
    says(&world, "d1", "2.0.0", "INSTALL_SUCCESS", now).await;
    for hour in [13, 14] {
        says(&world, "d1", "1.5.0", "INSTALLED_VERSION", at(&format!("2026-01-01T{hour}:30:00Z"))).await;
    }
    let later = at("2026-01-01T15:00:00Z");
    assert_eq!(world.metrics("2.0.0", later).await["reverted"], 1);
    // A name of the image that was added later is no fall-back.
    assert_eq!(says(&world, "d2", "1.0.0", "INSTALLED_VERSION", later).await, 204);
    assert_eq!(read(&world, "d2", later).await.config()["version"], "2.0.0");
    says(&world, "d2", "2.0.0", "INSTALL_SUCCESS", later).await;
    let name = json!({"reports_as": ["1.5.0"], "reason": "the build says so"});
    assert_eq!(world.operator("PATCH", "lamp/updates/2.0.0", name, later).await.status, 200);
    for hour in [16, 17] {
        says(&world, "d2", "1.5.0", "INSTALLED_VERSION", at(&format!("2026-01-01T{hour}:30:00Z"))).await;
    }
    assert_eq!(world.metrics("2.0.0", at("2026-01-01T18:00:00Z")).await["reverted"], 1);
}
