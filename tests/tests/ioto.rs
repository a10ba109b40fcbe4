//! Ioto agents and updaters, unmodified: every request recorded from a real one is replayed, byte
//! for byte but for the token, the product and the update id, over a raw connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use tidegate::api_client::{ApiClient, ApiPath, Credential};
use tidegate::stack::Stack;
use tidegate_tests::file;
use tidegate_wire::route::PublishRoute;

/// The recordings name these; the replay uses a product that exists.
const RECORDED_DEVICES: [(&str, &str); 2] = [("DEV0000001", "01HPRODUCTTEST0000000000AA"), ("D1", "P1")];
const IMAGE: &[u8] = b"the image that every recorded client is offered";

struct Field {
    stack: Stack,
    operator: ApiClient,
}

/// A stack with version 1.3.0 live in both recorded products.
async fn field() -> Field {
    let stack = Stack::temporary(0).await.unwrap();
    let key = stack.operator_key.expose().to_string();
    let operator = ApiClient::new(&stack.door.url(), Credential::OperatorKey(key)).unwrap();
    tokio::task::block_in_place(|| {
        for (_, product) in RECORDED_DEVICES {
            let update = json!({
                "version": "1.3.0", "policy": "memory >= 512 || pro == true",
                "files": [file("ioto-1.3.0.bin", IMAGE)],
            });
            let created = operator.post(&ApiPath::product(PublishRoute::CreateUpdate, product), &update).unwrap();
            let upload = &created["uploads"][0];
            let headers = upload["headers"].as_object().unwrap().iter();
            let headers =
                headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_string())).collect::<Vec<_>>();
            let url = upload["url"].as_str().unwrap();
            tidegate::api_client::Transfers::new()
                .upload("PUT", url, &headers, IMAGE.len() as u64, &mut &*IMAGE)
                .unwrap();
            operator.post(&ApiPath::update(PublishRoute::ActivateUpdate, product, "1.3.0"), &json!({})).unwrap();
        }
    });
    Field { stack, operator }
}

impl Field {
    fn token(&self, product: &str, device: &str) -> String {
        let issued = self.operator.put(&ApiPath::device(PublishRoute::IssueToken, product, device)).unwrap();
        issued["token"].as_str().unwrap().to_string()
    }

    fn metrics(&self, product: &str) -> String {
        tidegate_tests::count_here(&self.stack);
        let metrics = self.operator.get(&ApiPath::update(PublishRoute::ShowMetrics, product, "1.3.0")).unwrap();
        ["offered", "in_flight", "proved", "failed"].map(|name| metrics[name].to_string()).join(" ")
    }

    fn address(&self) -> String {
        self.stack.door.url().trim_start_matches("http://").to_string()
    }
}

fn recording(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The recording with another body and token: everything else, spelling and order of headers too,
/// stays as the client sent it.
fn with(recorded: &str, token: &str, change: impl Fn(&str) -> String) -> String {
    let (head, body) = recorded.split_once("\r\n\r\n").unwrap();
    let body = change(body);
    let lines = head.split("\r\n").map(|line| {
        let lower = line.to_ascii_lowercase();
        if lower.starts_with("content-length:") {
            format!("{}: {}", &line[.."content-length".len()], body.len())
        } else {
            line.replace("TOKEN-0123456789", token).replace("TOKEN-1", token)
        }
    });
    format!("{}\r\n\r\n{body}", lines.collect::<Vec<_>>().join("\r\n"))
}

/// Sends bytes and reads the answer as a client does that stops at its `Content-Length`.
fn exchange(address: &str, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let split = received.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(split) = split {
            let head = String::from_utf8(received[..split].to_vec()).unwrap();
            // Case-sensitively, as the C updater looks for it; and not in the last header.
            let length = head.split("Content-Length: ").nth(1).expect("Content-Length, spelled so");
            assert!(length.contains("\r\n"), "Content-Length must not be the last header:\n{head}");
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if received.len() >= split + 4 + length {
                return (head, received[split + 4..split + 4 + length].to_vec());
            }
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection ended early");
        received.extend_from_slice(&buffer[..count]);
    }
}

/// What the C updater's parser finds: the first text after `"key":"`.
fn naive(body: &str, key: &str) -> String {
    body.split(&format!("\"{key}\":\"")).nth(1).unwrap().split('"').next().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_check_in_is_offered_exactly_four_flat_fields() {
    let field = field().await;
    tokio::task::block_in_place(|| {
        for (name, (device, product)) in [
            ("ioto-check.http", RECORDED_DEVICES[0]),
            ("updater-c-check.http", RECORDED_DEVICES[0]),
            ("updater-js-1.http", RECORDED_DEVICES[1]),
            ("updater-sh-4.http", RECORDED_DEVICES[1]),
        ] {
            let token = field.token(product, device);
            assert!(token.len() <= 190, "longer tokens overflow the C updater's buffer");
            let request = with(&recording(name), &token, str::to_string);
            let (head, body) = exchange(&field.address(), &request);
            assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
            assert!(head.len() < 4000, "{name}: the head must arrive in one read");
            let body = String::from_utf8(body).unwrap();
            assert!(!body.contains(": ") && !body.contains("\\/") && !body.contains("\\u0026"), "{name}: {body}");
            let answer: Value = serde_json::from_str(&body).unwrap();
            let keys = answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys, ["checksum", "update", "url", "version"], "{name}");
            assert!(body.starts_with("{\"url\":\""), "{name}: {body}");
            assert_eq!(naive(&body, "version"), "1.3.0", "{name}");
            assert_eq!(naive(&body, "checksum"), file("x", IMAGE)["sha256"], "{name}");
            let url = naive(&body, "url");
            assert!(url.len() <= 3800, "{name}: {} characters", url.len());
            download(&field, name, &url);
        }
    });
    field.stack.shutdown().await;
}

/// The recorded downloads send no credential, and one of them a length of zero with a GET.
fn download(field: &Field, check_in: &str, url: &str) {
    let recorded = match check_in {
        "ioto-check.http" => "ioto-download.http",
        "updater-c-check.http" => "updater-c-download.http",
        "updater-js-1.http" => "updater-js-2.http",
        _ => "updater-sh-5.http",
    };
    let s3 = field.stack.cloud.s3_url();
    let path = url.strip_prefix(&s3).unwrap();
    let recorded = recording(recorded);
    let (first_line, rest) = recorded.split_once("\r\n").unwrap();
    assert!(first_line.starts_with("GET /images/"), "{first_line}");
    let host = s3.trim_start_matches("http://");
    let headers = rest.split("\r\n").map(|line| match line.to_ascii_lowercase().starts_with("host:") {
        // The signature covers the host that the URL names.
        true => format!("{}: {host}", &line[..4]),
        false => line.to_string(),
    });
    let request = format!("GET {path} HTTP/1.1\r\n{}", headers.collect::<Vec<_>>().join("\r\n"));
    let (head, bytes) = exchange(host, &request);
    assert!(head.starts_with("HTTP/1.1 200 "), "{check_in}: {head}");
    assert_eq!(bytes, IMAGE, "{check_in}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_report_counts_once() {
    let field = field().await;
    tokio::task::block_in_place(|| {
        let address = field.address();
        for (check_in, reports, (device, product), expected) in [
            ("updater-c-check.http", ["updater-c-report-ok.http"; 2], RECORDED_DEVICES[0], "1 1 0 0"),
            ("updater-js-1.http", ["updater-js-3.http", "updater-sh-6.http"], RECORDED_DEVICES[1], "1 1 0 0"),
        ] {
            let token = field.token(product, device);
            let (_, offer) = exchange(&address, &with(&recording(check_in), &token, str::to_string));
            let update = naive(std::str::from_utf8(&offer).unwrap(), "update");
            for report in reports {
                let request =
                    with(&recording(report), &token, |body| body.replace("01HUPDATE0000000000000000A", &update));
                let (head, body) = exchange(&address, &request);
                assert!(head.starts_with("HTTP/1.1 200 "), "{report}: {head}");
                assert_eq!(body, b"{}", "{report}");
            }
            assert_eq!(field.metrics(product), expected, "{product}");
        }
    });
    field.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_failure_counts_as_one() {
    let field = field().await;
    tokio::task::block_in_place(|| {
        let (device, product) = RECORDED_DEVICES[0];
        let (address, token) = (field.address(), field.token(product, device));
        let (_, offer) = exchange(&address, &with(&recording("updater-c-check.http"), &token, str::to_string));
        let update = naive(std::str::from_utf8(&offer).unwrap(), "update");
        let failed = with(&recording("updater-c-report-fail.http"), &token, |body| {
            body.replace("01HUPDATE0000000000000000A", &update)
        });
        assert_eq!(exchange(&address, &failed).1, b"{}");
        assert_eq!(field.metrics(product), "1 0 0 1");
    });
    field.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_reports_is_counted_by_its_next_check_in() {
    let field = field().await;
    tokio::task::block_in_place(|| {
        let (device, product) = RECORDED_DEVICES[0];
        let (address, token) = (field.address(), field.token(product, device));
        exchange(&address, &with(&recording("ioto-check.http"), &token, str::to_string));
        assert_eq!(field.metrics(product), "1 1 0 0");
        let updated = with(&recording("ioto-check.http"), &token, |body| {
            body.replace("\"version\":\"1.2.3\"", "\"version\":\"1.3.0\"")
        });
        let (head, body) = exchange(&address, &updated);
        assert!(head.starts_with("HTTP/1.1 200 "), "never 204: {head}");
        assert_eq!(body, b"{}", "and never a `url` that is null");
        assert_eq!(field.metrics(product), "1 0 1 0");
    });
    field.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_registers_itself_only_where_its_product_allows_it() {
    let field = field().await;
    tokio::task::block_in_place(|| {
        let (device, product) = RECORDED_DEVICES[0];
        let request = recording("ioto-register.http");
        let (head, body) = exchange(&field.address(), &request);
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert!(!body.is_empty());
        field
            .operator
            .patch(&ApiPath::product(PublishRoute::ShowProduct, product), &json!({"registration": "open"}))
            .unwrap();
        let (head, body) = exchange(&field.address(), &request);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&answer["registered"], &answer["id"]), (&json!(true), &json!(device)));
        assert_eq!(answer["token"], json!(field.token(product, device)));
        assert_eq!(answer["api"], "http://127.0.0.1:9180", "where the agent reached us, by its own Host header");
    });
    field.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_goes_wrong_tells_an_agent_to_erase_itself_or_offers_it_anything() {
    let field = field().await;
    tokio::task::block_in_place(|| {
        let (device, product) = RECORDED_DEVICES[0];
        let token = field.token(product, device);
        let check = recording("ioto-check.http");
        for (wrong, status) in [
            (with(&check, "no-token", str::to_string), 401),
            (with(&check, &token, |_| "{".into()), 400),
            (with(&check, &token, |body| body.replace("DEV0000001", "DEV0000002")), 401),
            (with(&check, &token, |body| body.replace("1.2.3", "one")), 200),
            (with(&check, &token, |_| "x".repeat(20_000)), 413),
        ] {
            let (head, body) = exchange(&field.address(), &wrong);
            let body = String::from_utf8(body).unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(!body.contains("Authentication failed") && !body.contains("Cannot find device"), "{body}");
            assert!(!body.contains("\"url\""), "{body}");
        }
    });
    field.stack.shutdown().await;
}
