//! Holds openapi.yaml and the services together: the routes, the codes, and every body of a real walk.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tidegate::stack::{BUCKET, Stack, TABLE};
use tidegate_cloud::Backend;
use tidegate_core::status::Status;
use tidegate_core::{ObjectionCode, State, Transition};
use tidegate_http::exosite::wire as exosite;
use tidegate_http::hawkbit::wire as hawkbit;
use tidegate_http::kaa::wire as kaa;
use tidegate_tests::{answer, put, request};
use tidegate_wire::ErrorCode;

const FILE: &str = include_str!("../../openapi.yaml");
const OPERATOR: &str = "arn:aws:iam::123456789012:user/ada";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Where a name stands in a path. It is a version and a device id at once, and neither exists.
const NAME: &str = "9.9.9";
/// A segment that is no route, no version and no device.
const NO_WORD: &str = "no-such-word";

// ---------------------------------------------------------------------------------------------
// The file.

/// openapi.yaml.
struct Document {
    root: Value,
    /// The same, with every object of an answer closed: a field that the file does not have is an error.
    closed: Value,
}

/// One method of one path.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    pointer: String,
    /// It has servers of its own: the front door of the local cloud answers it, and no function.
    is_local: bool,
    /// It is in another service's words, which has codes of its own or none.
    is_dialect: bool,
    caller: Caller,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Nobody,
    Device,
    /// A device with a client of hawkBit's.
    Target,
    /// A device of Exosite's.
    Cik,
    Operator,
}

impl Document {
    fn load() -> Self {
        let root = serde_saphyr::from_str::<Value>(FILE).expect("openapi.yaml is YAML");
        Self { closed: closed(&root), root }
    }

    /// Every operation by its id.
    fn operations(&self) -> BTreeMap<String, Operation> {
        let mut operations = BTreeMap::new();
        for (path, item) in self.root["paths"].as_object().expect("there are paths") {
            for method in METHODS {
                let operation = &item[method.to_lowercase()];
                let Some(id) = operation["operationId"].as_str() else {
                    assert!(operation.is_null(), "{method} {path} has no operationId");
                    continue;
                };
                let pointer = format!("/paths/{}/{}", escaped(path), method.to_lowercase());
                let caller = match operation["security"].as_array() {
                    None => Caller::Operator,
                    Some(schemes) if schemes.is_empty() => Caller::Nobody,
                    Some(schemes) if schemes[0].get("targetToken").is_some() => Caller::Target,
                    Some(schemes) if schemes[0].get("exositeCik").is_some() => Caller::Cik,
                    Some(_) => Caller::Device,
                };
                let is_local = item.get("servers").is_some();
                let is_dialect = ["hawkbit", "exosite", "kaa"].iter().any(|tag| operation["tags"][0] == **tag);
                let (method, path) = (method.to_string(), path.clone());
                let operation = Operation { method, path, pointer, is_local, is_dialect, caller };
                assert!(operations.insert(id.to_string(), operation).is_none(), "the operationId {id} is there twice");
            }
        }
        operations
    }

    /// Follows a `$ref` that stands for the whole value. Answers the place that it leads to.
    fn resolve(&self, pointer: &str) -> Option<String> {
        let value = self.root.pointer(pointer)?;
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) if value.as_object().is_some_and(|fields| fields.len() == 1) => {
                self.resolve(reference.trim_start_matches('#'))
            }
            _ => Some(pointer.to_string()),
        }
    }

    fn request_schema(&self, operation: &Operation) -> Option<Validator> {
        let body = self.resolve(&format!("{}/requestBody", operation.pointer))?;
        Some(validator(&self.root, &format!("{body}/content/application~1json/schema")))
    }

    fn response(&self, operation: &Operation, status: u16) -> Option<String> {
        self.resolve(&format!("{}/responses/{status}", operation.pointer))
    }
}

/// The schema at `pointer`, with the rest of the file around it for its references.
fn validator(root: &Value, pointer: &str) -> Validator {
    let mut schema = root.clone();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    // A reference is a URI, which takes no braces.
    schema["$ref"] = json!(format!("#{}", pointer.replace('{', "%7B").replace('}', "%7D")));
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&schema).unwrap_or_else(|error| panic!("{pointer} is no schema: {error}"))
}

/// Closes every object that says which properties it has. Beside a `$ref` the properties only narrow another schema,
/// which is closed where it stands.
fn closed(value: &Value) -> Value {
    match value {
        Value::Object(fields) if fields.contains_key("$ref") => value.clone(),
        Value::Object(fields) => {
            let open = ["example", "examples", "not", "if", "then", "else"];
            let close = |(name, value): (&String, &Value)| {
                (name.clone(), if open.contains(&name.as_str()) { value.clone() } else { closed(value) })
            };
            let mut fields = fields.iter().map(close).collect::<Map<_, _>>();
            if fields.get("properties").is_some_and(Value::is_object) && !fields.contains_key("additionalProperties") {
                fields.insert("unevaluatedProperties".into(), json!(false));
            }
            Value::Object(fields)
        }
        Value::Array(elements) => elements.iter().map(closed).collect(),
        other => other.clone(),
    }
}

fn escaped(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

/// What speaks against `body`, in one text; empty when nothing does.
fn complaints(validator: &Validator, body: &Value) -> String {
    validator.iter_errors(body).fold(String::new(), |mut text, error| {
        let _ = write!(text, "\n  at `{}`: {error}", error.instance_path());
        text
    })
}

/// Every value in the file with its pointer.
fn every_value<'a>(pointer: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    found.push((pointer.to_string(), value));
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| every_value(&format!("{pointer}/{}", escaped(name)), value, found));
        }
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(n, value)| every_value(&format!("{pointer}/{n}"), value, found));
        }
        _ => {}
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

// ---------------------------------------------------------------------------------------------
// Codes, statuses and examples.

/// The codes of the JSON errors: all but those of dialects.
fn error_codes() -> impl Iterator<Item = ErrorCode> {
    ErrorCode::ALL.iter().copied().filter(|code| !code.is_of_a_dialect())
}

#[test]
fn the_file_has_the_codes_and_statuses_of_the_code() {
    let document = Document::load();
    let listed = |name: &str| strings(&document.root["components"]["schemas"][name]["enum"]);
    assert_eq!(listed("ErrorCode"), error_codes().map(ErrorCode::code).collect::<Vec<_>>());
    assert_eq!(listed("ObjectionCode"), ObjectionCode::ALL.iter().map(|code| code.name()).collect::<Vec<_>>());
    assert_eq!(listed("ReportStatus"), Status::names().collect::<Vec<_>>());
    assert_eq!(listed("State"), State::ALL.map(State::name));
    assert_eq!(listed("MaybeState"), State::ALL.map(State::name));
    let table = document.root["components"]["schemas"]["ErrorCode"]["description"].as_str().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| `")).collect::<Vec<_>>();
    let expected =
        error_codes().map(|code| format!("| `{code}` | {} | {} |", code.status(), code.sentence())).collect::<Vec<_>>();
    assert_eq!(rows, expected, "the table of error codes");
}

#[test]
fn every_error_code_is_listed_under_its_own_status_and_none_is_forgotten() {
    let document = Document::load();
    let mut values = Vec::new();
    every_value("", &document.root, &mut values);
    let statuses = error_codes().map(|code| (code.code(), code.status())).collect::<BTreeMap<_, _>>();
    let mut of_response = BTreeMap::<String, BTreeSet<&str>>::new();
    for (pointer, value) in &values {
        let response = pointer.split("/content/").next().unwrap_or_default();
        if pointer.ends_with("/properties/error/properties/code/enum") {
            let codes = strings(value);
            assert!(!codes.is_empty(), "{pointer} is empty");
            of_response.entry(response.to_string()).or_default().extend(codes);
        }
    }
    let mut listed = BTreeSet::new();
    for operation in document.operations().values() {
        let responses = document.root.pointer(&format!("{}/responses", operation.pointer)).and_then(Value::as_object);
        for status in responses.expect("every operation has responses").keys() {
            let status = status.parse::<u16>().expect("a status is a number");
            let response = document.response(operation, status).expect("references lead somewhere");
            for code in of_response.get(&response).into_iter().flatten() {
                assert_eq!(statuses.get(code), Some(&status), "{code} in {} {}", operation.method, operation.path);
                listed.insert(*code);
            }
            assert!(
                status < 400 || operation.is_dialect || of_response.contains_key(&response),
                "{response} has no code"
            );
        }
    }
    // What answers everything that is not in the file is no operation's.
    for (name, status) in [("UnknownRoute", 404), ("WrongMethod", 405)] {
        for code in &of_response[&format!("/components/responses/{name}")] {
            assert_eq!(statuses.get(code), Some(&status), "{code} in {name}");
            listed.insert(*code);
        }
    }
    assert_eq!(listed, statuses.into_keys().collect(), "every code can be given by something");
}

#[test]
fn every_example_in_the_file_is_what_its_schema_says() {
    let document = Document::load();
    let mut values = Vec::new();
    every_value("", &document.root, &mut values);
    let mut examples = 0;
    let mut check = |schema: &str, example: &Value, place: &str| {
        examples += 1;
        let complaints = complaints(&validator(&document.closed, schema), example);
        assert!(complaints.is_empty(), "{place}: {complaints}");
    };
    for (pointer, value) in values {
        if pointer.ends_with("/application~1json") {
            for (name, example) in value["examples"].as_object().into_iter().flatten() {
                check(&format!("{pointer}/schema"), &example["value"], &format!("{pointer} {name}"));
            }
        } else if let Some(list) = value.get("examples").and_then(Value::as_array) {
            list.iter().for_each(|example| check(&pointer, example, &pointer));
        } else if let (Some(example), Some(_)) = (value.get("example"), value.get("schema")) {
            check(&format!("{pointer}/schema"), example, &pointer);
        }
    }
    assert!(examples > 40, "only {examples} examples were found");
}

// ---------------------------------------------------------------------------------------------
// Routes.

/// Asks the running services for every path that the file or the sources could mean, with every method, and compares
/// what they route with what the file has, in both directions.
///
/// The services decide what a route is; the sources only lend their words, because a route under a new word cannot be
/// guessed from outside. This sees: a new method on a path, a path of the file that is gone, a new fixed path in the
/// check or report function or the stack, and a new operator route of up to three segments behind the product whose words
/// stand in `functions/publish/src/lib.rs`: `word`, `word/word`, `word/{name}`, `word/{name}/word`. It cannot see
/// operator routes that are deeper or have a fixed word in the middle, a name in first place, nor what only the deployed
/// API Gateway routes: infra/ has that.
#[tokio::test(flavor = "multi_thread")]
async fn the_services_route_what_the_file_has_and_nothing_else() {
    let document = Document::load();
    let stack = Stack::temporary(0).await.expect("the stack starts");
    let mut documented = BTreeSet::new();
    let mut words = operator_words();
    let mut fixed = fixed_paths();
    let dialects = hawkbit::ROUTES.iter().chain(&exosite::ROUTES).chain(&kaa::ROUTES);
    fixed.extend(dialects.map(|(_, path)| named(path)));
    fixed.extend(tidegate_http::operator::software::ROUTES.map(named));
    for operation in document.operations().into_values().filter(|operation| !operation.is_local) {
        let path = named(&operation.path);
        match path.strip_prefix("/v1/products/lamp") {
            Some(rest) => {
                for word in rest.split('/').filter(|word| !word.is_empty() && *word != NAME) {
                    let is_known = words.contains(word) || Transition::parse(word).is_some();
                    assert!(is_known, "`{word}` is in no source: the routes have moved, see operator_words");
                }
            }
            None => assert!(fixed.contains(&path), "{path} is in no source: the routes have moved, see fixed_paths"),
        }
        documented.insert(format!("{} {path}", operation.method));
    }
    words.extend(Transition::ALL.map(|transition| transition.name().to_string()));
    fixed.insert("/v1/products/lamp".into());

    let mut routed = BTreeSet::new();
    for method in METHODS {
        for path in &fixed {
            if is_route(&outcome(&stack, method, path).await) {
                routed.insert(format!("{method} {path}"));
            }
        }
        for start in starts(&words) {
            // A word in the place of a name is answered like any other word there.
            let another = outcome(&stack, method, &format!("{start}/{NO_WORD}")).await;
            for word in &words {
                let path = format!("{start}/{word}");
                let outcome = outcome(&stack, method, &path).await;
                if is_route(&outcome) && outcome != another {
                    routed.insert(format!("{method} {path}"));
                }
            }
            let path = format!("{start}/{NAME}");
            if is_route(&outcome(&stack, method, &path).await) {
                routed.insert(format!("{method} {path}"));
            }
        }
    }
    stack.shutdown().await;
    let missing = routed.difference(&documented).collect::<Vec<_>>();
    let gone = documented.difference(&routed).collect::<Vec<_>>();
    assert!(missing.is_empty(), "openapi.yaml does not have {missing:#?}");
    assert!(gone.is_empty(), "nothing answers {gone:#?}");
}

/// What stands before the last segment of an operator path: nothing, a word, or a word and a name.
fn starts(words: &BTreeSet<String>) -> Vec<String> {
    let product = "/v1/products/lamp";
    let one = words.iter().map(|word| format!("{product}/{word}"));
    let two = words.iter().map(|word| format!("{product}/{word}/{NAME}"));
    [product.to_string()].into_iter().chain(one).chain(two).collect()
}

async fn outcome(stack: &Stack, method: &str, path: &str) -> (u16, String) {
    let response = stack.services.call(request(method, path, &[], "", Some(OPERATOR))).await;
    // Exosite's devices are answered in texts.
    let body = serde_json::from_slice::<Value>(response.body()).unwrap_or_default();
    (response.status().as_u16(), body["error"]["code"].as_str().unwrap_or_default().to_string())
}

/// A dialect has no codes of ours, but the same statuses.
fn is_route((status, code): &(u16, String)) -> bool {
    code != "unknown_route" && *status != 405
}

/// A path with a name for every parameter.
fn named(path: &str) -> String {
    let parameter = |segment: &str| match segment {
        "{product}" | "{tenant}" => "lamp".to_string(),
        _ if segment.starts_with('{') => NAME.to_string(),
        word => word.to_string(),
    };
    path.split('/').map(parameter).collect::<Vec<_>>().join("/")
}

/// Every word in the source that has the operator's routes.
fn operator_words() -> BTreeSet<String> {
    let is_segment =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let source = include_str!("../../crates/tidegate-http/src/operator/mod.rs");
    literals(source).filter(is_segment).map(str::to_string).collect()
}

/// Every path in the sources that have the devices' routes.
fn fixed_paths() -> BTreeSet<String> {
    let sources = [
        include_str!("../../crates/tidegate-http/src/check_service.rs"),
        include_str!("../../crates/tidegate-http/src/report_service.rs"),
        include_str!("../../crates/tidegate/src/stack.rs"),
    ];
    sources.into_iter().flat_map(literals).filter(|text| text.starts_with('/')).map(str::to_string).collect()
}

/// The text literals of a source, without its comments.
fn literals(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2))
}

// ---------------------------------------------------------------------------------------------
// A walk through the API.

/// What is sent.
enum Body {
    Nothing,
    /// What the file allows: it is held against the schema.
    Good(Value),
    /// What the service must refuse.
    Bad(String),
    /// A form, which has no schema.
    Form(String),
}

/// An API on loopback, and what it was asked.
struct Walk {
    document: Document,
    operations: BTreeMap<String, Operation>,
    stack: Stack,
    device_token: String,
    /// Each operation with the statuses that it gave.
    seen: BTreeSet<(String, u16)>,
    codes: BTreeSet<String>,
}

impl Walk {
    async fn start() -> Self {
        let document = Document::load();
        let operations = document.operations();
        let stack = Stack::temporary(0).await.expect("the stack starts");
        let (seen, codes) = (BTreeSet::new(), BTreeSet::new());
        Self { document, operations, stack, device_token: "nobody's".into(), seen, codes }
    }

    /// Calls an operation, and holds the request and the answer against the file. `names` stand in the path, in order.
    async fn call(&mut self, id: &str, names: &[&str], body: Body, expected: u16) -> Value {
        self.ask(id, names, "", body, expected).await
    }

    async fn ask(&mut self, id: &str, names: &[&str], query: &str, body: Body, expected: u16) -> Value {
        let operation = self.operations.get(id).unwrap_or_else(|| panic!("openapi.yaml has no operation {id}")).clone();
        let sent = match body {
            Body::Nothing => None,
            Body::Bad(text) | Body::Form(text) => Some(text),
            Body::Good(value) => {
                let schema = self.document.request_schema(&operation);
                let complaints = complaints(&schema.unwrap_or_else(|| panic!("{id} takes no body")), &value);
                assert!(complaints.is_empty(), "the request of {id} {value}: {complaints}");
                Some(value.to_string())
            }
        };
        let authorization = match operation.caller {
            Caller::Nobody => None,
            Caller::Device => Some(self.device_token.clone()),
            Caller::Target => Some(format!("TargetToken {}", self.device_token)),
            Caller::Cik => Some(format!("token {}", self.device_token)),
            Caller::Operator => Some(format!("Bearer {}", self.stack.operator_key.expose())),
        };
        let mut names = names.iter();
        let path = operation.path.split('/').map(|segment| match segment.starts_with('{') {
            true => names.next().expect("a name for every parameter"),
            false => segment,
        });
        let path = path.collect::<Vec<_>>().join("/");
        let url = format!("{}{path}{query}", self.stack.door.url());
        let response = http(&operation.method, &url, authorization, sent).await;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        assert_eq!(response.status().as_u16(), expected, "{id} {path}: {text}");
        let value = self.hold(id, &operation, &response);
        if let Some(code) = value["error"]["code"].as_str() {
            self.codes.insert(code.to_string());
        }
        self.seen.insert((id.to_string(), expected));
        value
    }

    /// Holds an answer against the schema of its operation and status, and against the rules for devices.
    fn hold(&self, id: &str, operation: &Operation, response: &ureq::http::Response<Vec<u8>>) -> Value {
        let status = response.status().as_u16();
        if status == 302 {
            assert!(self.document.response(operation, status).is_some(), "openapi.yaml has no {status} for {id}");
            assert!(response.body().is_empty() && response.headers().contains_key("location"), "{id}");
            return Value::Null;
        }
        if operation.path.starts_with("/onep:v1/") || operation.path.starts_with("/provision/") {
            return self.hold_text(id, operation, response);
        }
        let value = serde_json::from_slice::<Value>(response.body()).expect("every answer is JSON");
        let place = self.document.response(operation, status);
        let place = place.unwrap_or_else(|| panic!("openapi.yaml has no {status} for {id}, but: {value}"));
        let schema = validator(&self.document.closed, &format!("{place}/content/application~1json/schema"));
        let complaints = complaints(&schema, &value);
        assert!(complaints.is_empty(), "the {status} of {id} {value}: {complaints}");
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("content-type"), Some("application/json"), "{id}");
        assert_eq!(header("content-length"), Some(response.body().len().to_string().as_str()), "{id}");
        assert_eq!(response.body().len(), value.to_string().len(), "{id} must answer compact JSON: {value}");
        if status == 503 {
            let schema = validator(&self.document.root, "/components/headers/RetryAfter/schema");
            let seconds = header("retry-after").and_then(|text| text.parse::<u64>().ok());
            assert!(schema.is_valid(&json!(seconds)), "Retry-After of {id} is {seconds:?}");
        }
        value
    }
}

impl Walk {
    /// Holds an answer in Exosite's words against the media types of its operation and status.
    fn hold_text(&self, id: &str, operation: &Operation, response: &ureq::http::Response<Vec<u8>>) -> Value {
        let status = response.status().as_u16();
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let place = self.document.response(operation, status);
        let place = place.unwrap_or_else(|| panic!("openapi.yaml has no {status} for {id}, but: {text}"));
        let content = self.document.root.pointer(&format!("{place}/content")).and_then(Value::as_object);
        let media = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default();
        match content {
            Some(content) => assert!(content.contains_key(media), "{id} answers {media}: {text}"),
            None => assert!(text.is_empty(), "{id} answers {text}"),
        }
        Value::String(text)
    }
}

/// One HTTP request.
async fn http(
    method: &str,
    url: &str,
    authorization: Option<String>,
    body: Option<String>,
) -> ureq::http::Response<Vec<u8>> {
    let mut request = ureq::http::Request::builder().method(method).uri(url).header("accept", "application/json");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let has_body = body.is_some() || matches!(method, "POST" | "PUT" | "PATCH");
    let request = request.body(body.unwrap_or_default()).expect("a request of our own making");
    let sent = tokio::task::spawn_blocking(move || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
        let agent = agent.max_redirects(0).max_redirects_will_error(false).build();
        let agent = ureq::Agent::from(agent);
        match has_body {
            true => agent.run(request),
            false => agent.run(request.map(|_| ())),
        }
    });
    let response = sent.await.expect("the call does not panic").expect("the front door answers");
    let (head, mut body) = response.into_parts();
    ureq::http::Response::from_parts(head, body.read_to_vec().expect("the front door answers in full"))
}

fn reason(text: &str) -> Body {
    Body::Good(json!({"reason": text}))
}

fn file(bytes: &[u8]) -> Value {
    json!({"name": "lamp.bin", "sha256": hex::encode(Sha256::digest(bytes)), "size": bytes.len()})
}

fn says(device: &str, version: &str, region: &str) -> Body {
    Body::Good(json!({"id": device, "product": "lamp", "version": version, "site": {"region": region}}))
}

/// Calls every operation of the file at least once with success; each body is held against its schema on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_through_the_api_sends_and_gets_what_the_file_says() {
    let mut walk = Walk::start().await;
    walk.call("health", &[], Body::Nothing, 200).await;

    // An operator publishes.
    let image = b"lamp firmware 1.1.0\n";
    let update = json!({
        "version": "1.1.0", "name": "Warmer light", "description": null, "labels": {"commit": "5b1e2f0"},
        "compatible_from": ["^1.0"], "policy": "site.region == \"eu\"", "files": [file(image)],
        "specification": {"apply": "at night"}, "rollout": {"limits": {"max_devices": 100}},
    });
    let created = walk.call("createUpdate", &["lamp"], Body::Good(update.clone()), 201).await;
    assert_eq!(put(&created["uploads"][0], image.to_vec()).await, 200);
    let again = walk.call("createUpdate", &["lamp"], Body::Good(update), 201).await;
    assert_eq!(again["uploads"], json!([]), "the bytes are there");
    let knobs = json!({"rollout": {"limits": {"max_per_period": 50, "max_in_flight": null}}, "reason": "carefully"});
    walk.call("editUpdate", &["lamp", "1.1.0"], Body::Good(knobs), 200).await;
    let draft = walk.call("showUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;
    assert_eq!(draft.get("metrics"), None, "a draft has none");
    walk.call("activateUpdate", &["lamp", "1.1.0"], reason("go"), 200).await;

    // A device gets it, and says so.
    let token = walk.call("issueToken", &["lamp", "lamp-1"], Body::Nothing, 200).await;
    walk.device_token = token["token"].as_str().unwrap_or_default().to_string();
    let offer = walk.call("check", &[], says("lamp-1", "1.0.0", "eu"), 200).await;
    assert_eq!(offer["version"], "1.1.0");
    let ioto = walk.call("checkIoto", &[], says("lamp-1", "1.0.0", "eu"), 200).await;
    assert_eq!(ioto.as_object().map(Map::len), Some(4));
    for (status, progress) in [("DOWNLOAD_STEP", json!(40)), ("INSTALL_SUCCESS", Value::Null)] {
        let report =
            json!({"id": "lamp-1", "product": "lamp", "version": "1.1.0", "status": status, "progress": progress});
        assert_eq!(walk.call("report", &[], Body::Good(report), 200).await, json!({"recorded": true}));
    }
    let report = json!({"id": "lamp-1", "product": "lamp", "update": offer["update"], "status": "INSTALL"});
    assert_eq!(walk.call("report", &[], Body::Good(report), 200).await["reason"], "succeeded_before");
    let report = json!({"success": "true", "id": "lamp-1", "update": offer["update"]});
    walk.call("reportIoto", &[], Body::Good(report), 200).await;
    assert_eq!(walk.call("check", &[], says("lamp-1", "1.1.0", "eu"), 200).await["reason"], "up_to_date");
    assert_eq!(walk.call("checkIoto", &[], says("lamp-1", "not SemVer", "eu"), 200).await, json!({}));

    // Another lamp is elsewhere, and a third one registers itself and is told to wait.
    walk.call("showProduct", &["lamp"], Body::Nothing, 200).await;
    let open = json!({"registration": "open", "product_tokens": "accept", "reason": "first fleet"});
    walk.call("editProduct", &["lamp"], Body::Good(open), 200).await;
    let shared = walk.call("issueProductToken", &["lamp"], reason("test bench"), 200).await;
    walk.device_token = shared["token"].as_str().unwrap_or_default().to_string();
    assert_eq!(walk.call("check", &[], says("lamp-2", "1.0.0", "us"), 200).await["reason"], "not_targeted");
    let registration = Body::Good(json!({"id": "lamp-3", "product": "lamp", "model": "L1"}));
    let registered = walk.call("register", &[], registration, 200).await;
    walk.device_token = registered["token"].as_str().unwrap_or_default().to_string();
    walk.call("pauseUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;
    assert_eq!(walk.call("check", &[], says("lamp-3", "1.0.0", "eu"), 200).await["reason"], "paused");
    walk.call("resumeUpdate", &["lamp", "1.1.0"], Body::Good(json!({"reason": null})), 200).await;
    walk.call("check", &[], says("lamp-3", "1.0.0", "eu"), 200).await;

    let token = walk.device_token.clone();
    walk_as_hawkbit(&mut walk).await;
    walk_as_exosite_and_kaa(&mut walk).await;
    walk.device_token = token;

    // What is known of it all.
    walk.stack.services.sweep.sweep(tidegate_http::edge::now()).await.expect("the store is there");
    let metrics = walk.call("showMetrics", &["lamp", "1.1.0"], Body::Nothing, 200).await;
    assert!(metrics["series"].as_array().is_some_and(|points| !points.is_empty()), "{metrics}");
    walk.call("showUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;
    for device in ["lamp-1", "lamp-2", "lamp-3"] {
        walk.call("showDevice", &["lamp", device], Body::Nothing, 200).await;
        walk.call("why", &["lamp", device], Body::Nothing, 200).await;
    }
    let receipt = walk.ask("why", &["lamp", "lamp-2"], "?at=2031-01-02T03:04:05Z", Body::Nothing, 200).await;
    assert_eq!(receipt["considered"][0]["clauses"][0]["verdict"], "no", "{receipt}");
    walk.call("listVersions", &["lamp"], Body::Nothing, 200).await;
    let page = walk.ask("listDevices", &["lamp"], "?version=1.0.0&after=lamp-2", Body::Nothing, 200).await;
    assert_eq!(page, json!({"devices": ["lamp-3"], "next": null}));

    // One update carries no file, one is the staged example of the file itself, and all of them end.
    let update = json!({"version": "1.2.0", "kind": "json", "payload": {"brightness": [1, 2]}, "policy": ""});
    walk.call("createUpdate", &["lamp"], Body::Good(update), 201).await;
    walk.call("activateUpdate", &["lamp", "1.2.0"], reason("settings"), 200).await;
    let offer = walk.call("check", &[], says("lamp-3", "1.0.0", "eu"), 200).await;
    assert_eq!((&offer["kind"], &offer["payload"]), (&json!("json"), &json!({"brightness": [1, 2]})));
    let staged =
        "/paths/~1v1~1products~1{product}~1updates/post/requestBody/content/application~1json/examples/staged/value";
    let staged = walk.document.root.pointer(staged).expect("the file has the example").clone();
    walk.call("createUpdate", &["lamp"], Body::Good(staged), 201).await;
    walk.call("completeUpdate", &["lamp", "1.1.0"], reason("everybody has it"), 200).await;
    walk.call("abortUpdate", &["lamp", "1.2.0"], reason("too bright"), 200).await;
    walk.call("withdrawUpdate", &["lamp", "2.4.0"], reason("not yet"), 200).await;
    walk.call("listUpdates", &["lamp"], Body::Nothing, 200).await;
    walk.call("why", &["lamp", "lamp-3"], Body::Nothing, 200).await;
    walk.call("revokeToken", &["lamp", "lamp-3"], reason("lost"), 200).await;
    let log = walk.call("showAudit", &["lamp"], Body::Nothing, 200).await;
    let part = walk.ask("showAudit", &["lamp"], "?version=1.1.0", Body::Nothing, 200).await;
    let length = |log: &Value| log["entries"].as_array().map_or(0, Vec::len);
    assert!(0 < length(&part) && length(&part) < length(&log), "{part}");

    walk_through_software(&mut walk).await;
    let walked = walk.seen.iter().map(|(id, _)| id.as_str()).collect::<BTreeSet<_>>();
    let all = walk.operations.keys().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(walked, all, "the walk calls every operation of the file");
    walk.stack.shutdown().await;
}

/// Two lamps with a client of hawkBit's: one installs what it is given, one is stopped. Then one whose user is asked.
async fn walk_as_hawkbit(walk: &mut Walk) {
    let config_data = || Body::Good(json!({"data": {"sw_version": "1.0.0", "site": {"region": "eu"}}}));
    let feedback = |execution: &str, finished: &str| {
        Body::Good(
            json!({"id": 7, "status": {"execution": execution, "result": {"finished": finished}, "details": []}}),
        )
    };
    let action = |answer: &Value, name: &str| {
        let href = answer["_links"][name]["href"].as_str().unwrap_or_else(|| panic!("{name} in {answer}"));
        href.rsplit('/').next().unwrap_or_default().to_string()
    };
    let token_before = walk.device_token.clone();
    for device in ["hawk-1", "hawk-2"] {
        let token = walk.call("issueToken", &["lamp", device], Body::Nothing, 200).await;
        walk.device_token = token["token"].as_str().unwrap_or_default().to_string();
        walk.call("hawkbitPoll", &["lamp", device], Body::Nothing, 200).await;
        walk.call("hawkbitConfigData", &["lamp", device], config_data(), 200).await;
        let poll = walk.call("hawkbitPoll", &["lamp", device], Body::Nothing, 200).await;
        let number = action(&poll, "deploymentBase");
        let names = ["lamp", device, number.as_str()];
        walk.call("hawkbitDeployment", &names, Body::Nothing, 200).await;
        walk.call("hawkbitArtifacts", &names, Body::Nothing, 200).await;
        for id in ["hawkbitDownload", "hawkbitDownloadHead"] {
            walk.call(id, &["lamp", device, &number, "lamp.bin"], Body::Nothing, 302).await;
        }
        if device == "hawk-1" {
            walk.call("hawkbitFeedback", &names, feedback("closed", "success"), 200).await;
            walk.call("hawkbitFeedback", &names, feedback("closed", "success"), 410).await;
            let poll = walk.call("hawkbitPoll", &["lamp", device], Body::Nothing, 200).await;
            walk.call("hawkbitInstalled", &["lamp", device, &action(&poll, "installedBase")], Body::Nothing, 200).await;
        } else {
            walk.call("pauseUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;
            let poll = walk.call("hawkbitPoll", &["lamp", device], Body::Nothing, 200).await;
            assert_eq!(action(&poll, "cancelAction"), number);
            walk.call("hawkbitCancel", &names, Body::Nothing, 200).await;
            walk.call("hawkbitCancelFeedback", &names, feedback("closed", "success"), 200).await;
            walk.call("resumeUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;
        }
        walk.call("hawkbitDeployment", &names, Body::Nothing, 410).await;
    }
    let asking = json!({"version": "1.1.1", "ask_consent": true, "policy": "site.region == \"eu\"", "files": [file(b"lamp firmware 1.1.0\n")]});
    walk.call("createUpdate", &["lamp"], Body::Good(asking), 201).await;
    walk.call("activateUpdate", &["lamp", "1.1.1"], Body::Nothing, 200).await;
    let poll = walk.call("hawkbitPoll", &["lamp", "hawk-2"], Body::Nothing, 200).await;
    let number = action(&poll, "confirmationBase");
    let names = ["lamp", "hawk-2", number.as_str()];
    walk.call("hawkbitConfirmations", &["lamp", "hawk-2"], Body::Nothing, 200).await;
    walk.call("hawkbitConfirmation", &names, Body::Nothing, 200).await;
    walk.call("hawkbitDeployment", &names, Body::Nothing, 404).await;
    walk.call("hawkbitConfirmationFeedback", &names, Body::Good(json!({"confirmation": "confirmed"})), 200).await;
    walk.call("hawkbitDeployment", &names, Body::Nothing, 200).await;
    walk.call("hawkbitFeedback", &names, Body::Bad("{".into()), 400).await;
    walk.call("hawkbitFeedback", &names, Body::Bad(" ".repeat(16 * 1024 + 1)), 413).await;
    walk.call("hawkbitPoll", &["lamp", "hawk-1"], Body::Nothing, 401).await;
    walk.call("completeUpdate", &["lamp", "1.1.1"], Body::Nothing, 200).await;
    walk.device_token = token_before;
}

/// A lamp of Exosite's and one of Kaa's, each from its first word to its last.
async fn walk_as_exosite_and_kaa(walk: &mut Walk) {
    let mut update = json!({"version": "1.1.2", "files": [file(b"lamp firmware 1.1.0\n")]});
    update["policy"] = json!("id == \"exo-1\" || id == \"kaa-1\"");
    walk.call("createUpdate", &["lamp"], Body::Good(update), 201).await;
    walk.call("activateUpdate", &["lamp", "1.1.2"], Body::Nothing, 200).await;
    let form = |text: &str| Body::Form(text.to_string());
    let says =
        |status: &str, version: &str| Body::Form(format!("otau_in={}", json!({"version": version, "status": status})));
    walk.call("exositeActivate", &[], form("id="), 400).await;
    walk.ask("exositeActivate", &[], "?product=door", form("id=exo-1"), 409).await;
    let cik = walk.ask("exositeActivate", &[], "?product=lamp", form("id=exo-1"), 200).await;
    walk.device_token = cik.as_str().unwrap_or_default().to_string();
    walk.ask("exositeRead", &[], "?config_otau", Body::Nothing, 204).await;
    walk.call("exositeWrite", &[], says("INSTALLED_VERSION", "1.0.0"), 204).await;
    let config = walk.ask("exositeRead", &[], "?config_otau", Body::Nothing, 200).await;
    walk.call("exositeWrite", &[], form(config.as_str().unwrap_or_default()), 204).await;
    assert_eq!(walk.call("exositeDownload", &[], Body::Nothing, 200).await, "1.1.2_lamp.bin\r\n");
    let bytes = walk.ask("exositeDownload", &[], "?id=1.1.2_lamp.bin", Body::Nothing, 200).await;
    assert_eq!(bytes, "lamp firmware 1.1.0\n");
    walk.ask("exositeDownload", &[], "?id=other.bin", Body::Nothing, 404).await;
    walk.call(
        "exositeRecord",
        &[],
        form("alias=otau_in&1=%7B%22version%22%3A%221.1.2%22%2C%22status%22%3A%22INSTALL%22%7D"),
        204,
    )
    .await;
    walk.call("exositeWrite", &[], says("INSTALL_SUCCESS", "1.1.2"), 204).await;
    walk.call("exositeWrite", &[], says("DONE", "1.1.2"), 400).await;
    walk.call("exositeWrite", &[], form(&"x".repeat(16 * 1024 + 1)), 413).await;
    walk.device_token = "nobody's".into();
    walk.ask("exositeRead", &[], "?config_otau", Body::Nothing, 401).await;

    let token = walk.call("issueToken", &["lamp", "kaa-1"], Body::Nothing, 200).await;
    let token = format!("~kaa-1~{}", token["token"].as_str().unwrap_or_default());
    let running = || Body::Good(json!({"configId": "1.0.0", "observe": true}));
    let told = walk.call("kaaConfig", &["lamp", &token], running(), 200).await;
    assert_eq!(told["configId"], "1.1.2");
    walk.call("kaaConfigNumbered", &["lamp", &token, "7"], running(), 200).await;
    let rejected = Body::Good(json!({"configId": "1.1.2", "statusCode": 400, "reasonPhrase": "no space"}));
    walk.call("kaaApplied", &["lamp", &token], rejected, 200).await;
    walk.call("kaaAppliedNumbered", &["lamp", &token, "8"], Body::Good(json!({"configId": "1.1.2"})), 200).await;
    assert_eq!(walk.call("kaaConfig", &["lamp", &token], Body::Nothing, 200).await, json!({}));
    let never = Body::Good(json!({"configId": "9.9.9", "statusCode": 400}));
    walk.call("kaaApplied", &["lamp", &token], never, 404).await;
    walk.call("kaaConfig", &["door", &token], running(), 401).await;
    walk.call("kaaConfig", &["lamp", &token], Body::Bad("{".into()), 400).await;
    walk.call("kaaApplied", &["lamp", &token], Body::Bad(" ".repeat(16 * 1024 + 1)), 413).await;
    walk.call("completeUpdate", &["lamp", "1.1.2"], Body::Nothing, 200).await;
}

/// A software of Kaa's, from its creation to its end.
async fn walk_through_software(walk: &mut Walk) {
    let software = |strategy: &str| {
        Body::Good(json!({
            "version": "2.0.0", "specification": {"link": "https://example.com/a.bin"}, "metadata": {"commit": "5b1e2f0"},
            "upgradableFrom": ["1.0.0"], "rolloutStrategy": strategy, "filters": [], "colour": "red"
        }))
    };
    let created = walk.call("createSoftware", &["lamp"], software("general"), 201).await;
    assert_eq!(created["notes"].as_array().map(Vec::len), Some(2), "{created}");
    walk.call("putSoftware", &["lamp", "2.0.0"], software("general"), 200).await;
    let shown = walk.call("showSoftware", &["lamp", "2.0.0"], Body::Nothing, 200).await;
    walk.call("putSoftware", &["lamp", "2.0.0"], Body::Good(shown), 200).await;
    walk.call("listSoftware", &["lamp"], Body::Nothing, 200).await;
    walk.call("withdrawSoftware", &["lamp", "2.0.0"], reason("too warm"), 200).await;
    walk.call("withdrawSoftware", &["lamp", "2.0.0"], Body::Nothing, 409).await;
    walk.call("putSoftware", &["lamp", "2.0.0"], software("general"), 409).await;
    walk.call("listSoftware", &["door"], Body::Nothing, 404).await;
    walk.call("showSoftware", &["lamp", "9.9.9"], Body::Nothing, 404).await;
    walk.call("createSoftware", &["lamp"], Body::Bad("{".into()), 400).await;
    walk.call("createSoftware", &["lamp"], Body::Bad(" ".repeat(128 * 1024 + 1)), 413).await;
}

/// Only `conflict` is missing here: it needs two operators in the same millisecond, four times in a row.
#[tokio::test(flavor = "multi_thread")]
async fn every_error_but_a_conflict_is_provoked_and_comes_as_the_file_says() {
    let mut walk = Walk::start().await;
    let bad = |body: Value| Body::Bad(body.to_string());
    let named = |version: &str| json!({"version": version, "files": [file(b"right")]});
    let token = walk.call("issueToken", &["lamp", "lamp-1"], Body::Nothing, 200).await;

    walk.call("check", &[], says("lamp-1", "1.0.0", "eu"), 401).await;
    walk.device_token = token["token"].as_str().unwrap_or_default().to_string();
    walk.call("check", &[], says("lamp-1", "1.0.0", "eu"), 404).await;
    walk.call("checkIoto", &[], says("lamp-1", "1.0.0", "eu"), 404).await;
    walk.call("showProduct", &["lamp"], Body::Nothing, 404).await;
    walk.call("editProduct", &["lamp"], reason("none yet"), 404).await;
    walk.call("listUpdates", &["lamp"], Body::Nothing, 404).await;
    walk.call("showUpdate", &["lamp", "1.1.0"], Body::Nothing, 404).await;

    let created = walk.call("createUpdate", &["lamp"], Body::Good(named("1.1.0")), 201).await;
    let mut other = named("1.1.0");
    other["name"] = json!("another");
    walk.call("createUpdate", &["lamp"], Body::Good(other), 409).await;
    walk.call("activateUpdate", &["lamp", "1.1.0"], Body::Nothing, 409).await;
    let key = format!("images/lamp/{}", hex::encode(Sha256::digest(b"right")));
    let wrong = walk.stack.cloud.s3().put_object().bucket(BUCKET).key(key).body(b"wrong".to_vec().into());
    wrong.send().await.expect("the local S3 takes it");
    walk.call("activateUpdate", &["lamp", "1.1.0"], Body::Nothing, 409).await;
    assert_eq!(put(&created["uploads"][0], b"right".to_vec()).await, 200);
    walk.call("activateUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;

    for (id, status) in [("showUpdate", 404), ("showMetrics", 404), ("pauseUpdate", 404), ("withdrawUpdate", 404)] {
        walk.call(id, &["lamp", "3.0.0"], Body::Nothing, status).await;
        walk.call(id, &["lamp", "newest"], Body::Nothing, 400).await;
        walk.call(id, &["la mp".replace(' ', "%20").as_str(), "1.1.0"], Body::Nothing, 400).await;
    }
    for id in ["resumeUpdate", "activateUpdate"] {
        walk.call(id, &["lamp", "1.1.0"], Body::Nothing, 409).await;
    }
    walk.call("editUpdate", &["lamp", "3.0.0"], Body::Good(json!({"rollout": {}})), 404).await;
    walk.call("editUpdate", &["lamp", "1.1.0"], bad(json!({"rollout": {}, "name": "new"})), 409).await;
    walk.call("editUpdate", &["lamp", "1.1.0"], bad(json!({"rollout": {"speed": 9}})), 400).await;
    walk.call("editUpdate", &["lamp", "1.1.0"], bad(json!({"reason": "none"})), 400).await;
    for (field, value) in
        [("policy", json!("memory >=")), ("colour", json!("red")), ("version", json!("2")), ("kind", json!(7))]
    {
        let mut update = named("1.2.0");
        update[field] = value;
        walk.call("createUpdate", &["lamp"], bad(update), 400).await;
    }
    walk.call("createUpdate", &["lamp"], Body::Bad("{".into()), 400).await;
    walk.call("createUpdate", &["lamp"], Body::Bad(" ".repeat(128 * 1024 + 1)), 413).await;
    for id in ["showDevice", "why"] {
        walk.call(id, &["lamp", "lamp-9"], Body::Nothing, 404).await;
        walk.call(id, &["lamp", "lamp%239"], Body::Nothing, 400).await;
    }
    walk.ask("why", &["lamp", "lamp-1"], "?at=noon", Body::Nothing, 400).await;
    walk.call("listDevices", &["lamp"], Body::Nothing, 400).await;
    walk.call("issueToken", &["lamp", "lamp-1"], bad(json!({"why": "?"})), 400).await;
    walk.call("editProduct", &["lamp"], bad(json!({"registration": true})), 400).await;
    let registration = Body::Good(json!({"id": "lamp-1", "product": "lamp"}));
    walk.call("register", &[], registration, 403).await;
    for id in ["check", "checkIoto", "report", "reportIoto", "register"] {
        walk.call(id, &[], Body::Bad("[".into()), 400).await;
        walk.call(id, &[], Body::Bad("{}".into()), 400).await;
        walk.call(id, &[], Body::Bad(format!("{{\"id\":\"{}\"}}", "x".repeat(16 * 1024))), 413).await;
    }
    walk.call("check", &[], says("lamp-1", "1", "eu"), 400).await;
    walk.call(
        "report",
        &[],
        bad(json!({"id": "lamp-2", "product": "lamp", "version": "1.1.0", "status": "INIT"})),
        401,
    )
    .await;

    // What is not in the file, what the front door says by itself, and a function that is called around it.
    let door = walk.stack.door.url();
    for (method, path, status, response) in [
        ("GET", "/v1/nothing", 404, "UnknownRoute"),
        ("GET", "/v1/check", 405, "WrongMethod"),
        ("GET", "/v1/products/lamp/updates/1.1.0/pause", 405, "WrongMethod"),
        ("POST", "/v1/products/lamp/updates/1.1.0/explode", 404, "UnknownRoute"),
    ] {
        let key = format!("Bearer {}", walk.stack.operator_key.expose());
        let got = http(method, &format!("{door}{path}"), Some(key), None).await;
        assert_eq!(got.status().as_u16(), status, "{method} {path}");
        let value = serde_json::from_slice::<Value>(got.body()).expect("every answer is JSON");
        let place = format!("/components/responses/{response}/content/application~1json/schema");
        let complaints = complaints(&validator(&walk.document.closed, &place), &value);
        assert!(complaints.is_empty(), "{method} {path} {value}: {complaints}");
        walk.codes.extend(value["error"]["code"].as_str().map(str::to_string));
    }
    let show = walk.operations["showProduct"].clone();
    let stranger = http("GET", &format!("{door}/v1/products/lamp"), None, None).await;
    assert_eq!(walk.hold("showProduct", &show, &stranger), json!({"message": "Forbidden"}));
    let around = answer(walk.stack.services.call(request("GET", "/v1/products/lamp", &[], "", None)).await);
    let place = walk.document.response(&show, around.status).expect("the file has it");
    let schema = validator(&walk.document.closed, &format!("{place}/content/application~1json/schema"));
    assert!(schema.is_valid(&around.body), "{around:?}");
    walk.codes.insert(around.code().to_string());

    // Without a store.
    walk.stack.cloud.dynamodb().delete_table().table_name(TABLE).send().await.expect("the table was there");
    walk.call("check", &[], says("lamp-1", "1.0.0", "eu"), 503).await;
    walk.call("showProduct", &["lamp"], Body::Nothing, 503).await;
    let report = json!({"id": "lamp-1", "product": "lamp", "version": "1.1.0", "status": "INIT"});
    walk.call("report", &[], Body::Good(report), 503).await;

    let expected = error_codes().map(|code| code.to_string()).filter(|code| code != "conflict");
    assert_eq!(walk.codes, expected.collect());
    walk.stack.shutdown().await;
}
