//! Holds the API description and the services together: the routes, the codes, and every body of a real walk.
//! That openapi.yaml is this description, the test `generated` of tidegate-wire says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tidegate::stack::{BUCKET, Stack, TABLE, new_token_keys};
use tidegate_cloud::Backend;
use tidegate_core::limits::Allocation;
use tidegate_core::{ProductId, Transition};
use tidegate_engine::token::TokenKeys;
use tidegate_http::PublishService;
use tidegate_store::record::{Change, UpdateRecord, Wanted};
use tidegate_store::store::{CloseRollouts, Expected, ReadUpdates};
use tidegate_store::{DynamoStore, Images};
use tidegate_tests::{Answer, answer, put, request};
use tidegate_wire::route::{Caller, Interface, ROUTES, Route, RouteId};
use tidegate_wire::{ErrorCode, openapi};

const OPERATOR: &str = "arn:aws:iam::123456789012:user/ada";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The value of every parameter in a path. It is a version and a device id at once, and neither exists.
const NAME: &str = "9.9.9";
/// A segment that no route has.
const NO_WORD: &str = "no-such-word";

// ---------------------------------------------------------------------------------------------
// The description.

/// The API description.
struct Document {
    root: Value,
    /// The same, with every object of an answer closed: a field that the description does not have is an error.
    closed: Value,
}

/// One method of one path.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    pointer: String,
    /// Its entry in the route table; `None` for what the front door of the local cloud answers, and no function.
    route: Option<Route>,
}

impl Operation {
    /// It is in another service's words, which has codes of its own or none.
    fn is_dialect(&self) -> bool {
        let interface = self.route.map(|route| route.interface());
        matches!(interface, Some(Interface::Hawkbit | Interface::Exosite | Interface::Kaa))
    }
}

impl Document {
    fn load() -> Self {
        let root = openapi::document();
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
                let route = ROUTES.iter().find(|route| route.id.operation_id() == id).copied();
                let operation = Operation { method: method.to_string(), path: path.clone(), pointer, route };
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
                status < 400 || operation.is_dialect() || of_response.contains_key(&response),
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

#[test]
fn every_reference_in_the_file_leads_to_something_and_no_list_of_words_repeats_one() {
    let document = Document::load();
    let mut values = Vec::new();
    every_value("", &document.root, &mut values);
    let mut references = 0;
    for (pointer, value) in values {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            let target = reference.strip_prefix('#').and_then(|target| document.root.pointer(target));
            assert!(target.is_some(), "{pointer}: {reference} leads to nothing");
        }
        let words = strings(&value["enum"]);
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "{pointer}: {words:?}");
    }
    assert!(references > 400, "only {references} references were found");
}

// ---------------------------------------------------------------------------------------------
// Routes.

#[test]
fn the_description_has_the_routes_of_the_table() {
    let document = Document::load();
    let described = document
        .operations()
        .into_iter()
        .filter_map(|(id, operation)| operation.route.map(|_| (operation.method, operation.path, id)));
    let described = described.collect::<BTreeSet<_>>();
    let table =
        ROUTES.iter().map(|route| (route.method.to_string(), route.template.to_string(), route.id.operation_id()));
    assert_eq!(described, table.collect());
    assert_eq!(document.operations().len(), ROUTES.len() + 1, "and /healthz");
}

/// Asks the running services for every path of the table with every method, and for paths beside them.
/// The service refuses every other parameter.
#[test]
fn the_description_has_the_parameters_of_queries() {
    let document = Document::load();
    for (_, operation) in document.operations() {
        let Some(RouteId::Publish(route)) = operation.route.map(|route| route.id) else {
            continue;
        };
        let parameters = &document.root.pointer(&operation.pointer).unwrap_or(&Value::Null)["parameters"];
        let parameters = parameters.as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query");
        let described = parameters.map(|parameter| parameter["name"].as_str().unwrap_or("?")).collect::<BTreeSet<_>>();
        assert_eq!(described, route.query().iter().copied().collect(), "{} {}", operation.method, operation.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_answer_every_route_and_nothing_else() {
    let stack = Stack::temporary(0).await.expect("the stack starts");
    for route in ROUTES {
        let path = named(route);
        for method in METHODS {
            let has_method = ROUTES.iter().any(|other| other.template == route.template && other.method == method);
            let outcome = outcome(&stack, method, &path).await;
            match has_method {
                true => assert!(is_route(&outcome), "{method} {path}: {outcome:?}"),
                false => assert_eq!(outcome.0, 405, "{method} {path}: {outcome:?}"),
            }
        }
        for beside in [format!("{path}/{NO_WORD}"), path.replacen('/', &format!("/{NO_WORD}/"), 1)] {
            let is_route_too =
                ROUTES.iter().any(|other| named(other).replace(NAME, NO_WORD) == beside.replace(NAME, NO_WORD));
            // A registration may come below any path.
            if !is_route_too && !beside.ends_with("/device/register") {
                let outcome = outcome(&stack, route.method, &beside).await;
                assert_eq!(outcome.0, 404, "{} {beside}: {outcome:?}", route.method);
            }
        }
    }
    stack.shutdown().await;
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

/// A path with a value for every parameter.
fn named(route: &Route) -> String {
    let value = |name| if ["product", "tenant", "app", "app_version"].contains(&name) { "lamp" } else { NAME };
    route.path(&route.parameters().map(|name| (name, value(name))).collect::<Vec<_>>())
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
        let operation =
            self.operations.get(id).unwrap_or_else(|| panic!("the description has no operation {id}")).clone();
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
        let authorization = match operation.route.map(|route| route.caller) {
            None | Some(Caller::Anyone | Caller::PathToken) => None,
            Some(Caller::DeviceToken) => Some(self.device_token.clone()),
            Some(Caller::TargetToken) => Some(format!("TargetToken {}", self.device_token)),
            Some(Caller::Cik) => Some(format!("token {}", self.device_token)),
            Some(Caller::Operator) => Some(format!("Bearer {}", self.stack.operator_key.expose())),
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
            assert!(self.document.response(operation, status).is_some(), "the description has no {status} for {id}");
            assert!(response.body().is_empty() && response.headers().contains_key("location"), "{id}");
            return Value::Null;
        }
        if operation.route.is_some_and(|route| route.interface() == Interface::Exosite) {
            return self.hold_text(id, operation, response);
        }
        let value = serde_json::from_slice::<Value>(response.body()).expect("every answer is JSON");
        let place = self.document.response(operation, status);
        let place = place.unwrap_or_else(|| panic!("the description has no {status} for {id}, but: {value}"));
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
    /// Holds the answer of a function that was called around the front door, and notes its code.
    fn hold_around(&mut self, operation: &Operation, answer: &Answer) {
        let place = self.document.response(operation, answer.status).expect("the file has it");
        let schema = validator(&self.document.closed, &format!("{place}/content/application~1json/schema"));
        assert!(schema.is_valid(&answer.body), "{answer:?}");
        self.codes.insert(answer.code().to_string());
    }

    /// Activates an update through a function that reads no image itself, as if its image were one of gigabytes.
    async fn activate_a_large_image(&mut self, version: &str) {
        let config = self.stack.cloud.sdk_config().await;
        let credentials = config.credentials_provider().expect("the local cloud has credentials");
        let s3 = self.stack.cloud.s3();
        let store = DynamoStore::new(self.stack.cloud.dynamodb(), TABLE, s3.clone(), BUCKET);
        let images = Images::new(s3, credentials, BUCKET).reading_at_once(0);
        let keys = new_token_keys().expect("the machine has randomness");
        let publish = PublishService::new(store, images, TokenKeys::parse(&keys).expect("our own format"));
        let path = format!("/v1/products/lamp/updates/{version}/activate");
        let request = request("POST", &path, &[], "", Some(OPERATOR));
        let refused = answer(publish.handle(request, tidegate_http::edge::now()).await);
        assert_eq!((refused.status, refused.code()), (409, "verifying"), "{refused:?}");
        self.hold_around(&self.operations["activateUpdate"].clone(), &refused);
    }

    /// Holds an answer in Exosite's words against the media types of its operation and status.
    fn hold_text(&self, id: &str, operation: &Operation, response: &ureq::http::Response<Vec<u8>>) -> Value {
        let status = response.status().as_u16();
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let place = self.document.response(operation, status);
        let place = place.unwrap_or_else(|| panic!("the description has no {status} for {id}, but: {text}"));
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
    let named = json!({"description": "It is warmer.", "reason": "for the fleet"});
    walk.call("editUpdate", &["lamp", "1.1.0"], Body::Good(named), 200).await;
    walk.call("editUpdate", &["lamp", "1.1.0"], Body::Good(knobs), 200).await;
    let draft = walk.call("showUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;
    assert_eq!(draft.get("metrics"), None, "a draft has none");
    walk.call("activateUpdate", &["lamp", "1.1.0"], reason("go"), 200).await;
    let wider = json!({"policy": "site.region == \"eu\" || stage == \"test\"", "rollout": {"max_attempts": 4}});
    walk.call("editCampaign", &["lamp", "1.1.0"], Body::Good(wider), 200).await;

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
    let report = json!({"id": "lamp-1", "product": "lamp", "update": offer["update"], "status": "INSTALL_SUCCESS"});
    assert_eq!(walk.call("report", &[], Body::Good(report), 200).await["reason"], "said_before");
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
    let stopped = walk.call("stopProduct", &["lamp"], reason("it smokes"), 200).await;
    assert_eq!(stopped, json!({"paused": ["1.1.0"], "left": []}));
    assert_eq!(walk.call("showProduct", &["lamp"], Body::Nothing, 200).await["stopped"], true);
    assert_eq!(walk.call("check", &[], says("lamp-3", "1.0.0", "eu"), 200).await["reason"], "paused");
    let resumed = walk.call("resumeStopped", &["lamp"], reason("it was the toaster"), 200).await;
    assert_eq!(resumed, json!({"resumed": ["1.1.0"], "left": []}));
    walk.call("check", &[], says("lamp-3", "1.0.0", "eu"), 200).await;

    let token = walk.device_token.clone();
    walk_as_hawkbit(&mut walk).await;
    walk_as_exosite_and_kaa(&mut walk).await;
    walk.device_token = token;

    // What is known of it all.
    tidegate_tests::count(&walk.stack).await;
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
    assert_eq!(page, json!({"items": ["lamp-3"], "next": null}));

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
    let parts = json!({"version": "1.8.0", "files": [file(b"in parts")]});
    walk.call("createUpdate", &["lamp"], Body::Good(parts), 201).await;
    let named = || Body::Good(json!({"name": "lamp.bin"}));
    let begun = walk.call("uploadParts", &["lamp", "1.8.0"], named(), 200).await;
    assert_eq!((&begun["stored"], begun["parts"][0]["size"].as_u64()), (&json!(0), Some(8)), "{begun}");
    assert_eq!(put(&begun["parts"][0], b"in parts".to_vec()).await, 200);
    let stored = walk.call("uploadParts", &["lamp", "1.8.0"], named(), 200).await;
    assert_eq!(stored, json!({"name": "lamp.bin", "size": 8, "stored": 8, "parts": []}));
    let draft = json!({"version": "1.9.0", "kind": "json", "payload": 9});
    walk.call("createUpdate", &["lamp"], Body::Good(draft), 201).await;
    let deleted = walk.call("deleteUpdate", &["lamp", "1.9.0"], reason("a slip"), 200).await;
    assert_eq!(deleted, json!({"deleted": "1.9.0", "state": "draft"}));
    let again = json!({"rollout": {"include_failed": true}, "reason": "dimmed"});
    walk.call("reopenUpdate", &["lamp", "1.2.0"], Body::Good(again), 200).await;
    let back = json!({"from": ["1.2.0"], "policy": "true", "reason": "still too bright"});
    let back = walk.call("rollBackTo", &["lamp", "1.1.0"], Body::Good(back), 200).await;
    assert_eq!((&back["campaign"], &back["state"]), (&json!(2), &json!("active")), "{back}");
    let phases = json!({"version": "3.0.0", "kind": "json", "payload": 3, "policy": "false", "rollout": {
        "phases": [{"percent": 1}, {"percent": 100, "advance": {"approval": true}}],
    }});
    walk.call("createUpdate", &["lamp"], Body::Good(phases), 201).await;
    let next = json!({"phase": 2, "reason": "looks good"});
    walk.call("advanceUpdate", &["lamp", "3.0.0"], Body::Good(next.clone()), 409).await;
    walk.call("activateUpdate", &["lamp", "3.0.0"], reason("carefully"), 200).await;
    let metrics = walk.call("showMetrics", &["lamp", "3.0.0"], Body::Nothing, 200).await;
    assert_eq!(metrics["next_phase"]["number"], 2);
    walk.call("advanceUpdate", &["lamp", "3.0.0"], Body::Good(next), 200).await;
    walk.call("listUpdates", &["lamp"], Body::Nothing, 200).await;
    walk.call("why", &["lamp", "lamp-3"], Body::Nothing, 200).await;
    walk.call("retryDevice", &["lamp", "lamp-3"], reason("the cable was bad"), 200).await;
    walk.call("retryDevice", &["lamp", "nobody"], reason("a slip"), 404).await;
    walk_as_one_who_orders(&mut walk).await;
    walk.call("revokeToken", &["lamp", "lamp-3"], reason("lost"), 200).await;
    let export = walk.call("exportDevice", &["lamp", "lamp-3"], Body::Nothing, 200).await;
    assert!(export["audit"]["items"].as_array().is_some_and(|entries| entries.len() > 3), "{export}");
    walk.call("deleteDevice", &["lamp", "lamp-3"], reason("sold"), 200).await;
    walk.call("deleteDevice", &["lamp", "lamp-3"], reason("sold"), 404).await;
    walk.call("exportDevice", &["lamp", "lamp-3"], Body::Nothing, 404).await;
    walk.call("revokeProductToken", &["lamp"], reason("it was published"), 200).await;
    walk.call("revokeProductToken", &["door"], reason("a slip"), 404).await;
    walk.call("issueProductToken", &["door"], reason("a slip"), 404).await;
    let log = walk.call("showAudit", &["lamp"], Body::Nothing, 200).await;
    let part = walk.ask("showAudit", &["lamp"], "?version=1.1.0", Body::Nothing, 200).await;
    let length = |log: &Value| log["items"].as_array().map_or(0, Vec::len);
    assert!(0 < length(&part) && length(&part) < length(&log), "{part}");

    walk_through_software(&mut walk).await;
    let walked = walk.seen.iter().map(|(id, _)| id.as_str()).collect::<BTreeSet<_>>();
    let all = walk.operations.keys().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(walked, all, "the walk calls every operation of the file");
    walk.stack.shutdown().await;
}

/// Orders for one device, and for many.
async fn walk_as_one_who_orders(walk: &mut Walk) {
    walk.call("holdDevice", &["lamp", "lamp-3"], reason("a measurement"), 200).await;
    let pin = |version: &str| json!({"version": version, "reason": "stay"});
    walk.call("pinDevice", &["lamp", "lamp-3"], Body::Good(pin("1.0.0")), 200).await;
    walk.call("pinDevice", &["lamp", "lamp-3"], Body::Bad(pin("one").to_string()), 400).await;
    let ordered = walk.call("showDevice", &["lamp", "lamp-3"], Body::Nothing, 200).await;
    assert_eq!((&ordered["on_hold"], &ordered["pinned"]), (&json!(true), &json!("1.0.0")));
    walk.call("releaseDevice", &["lamp", "lamp-3"], reason("measured"), 200).await;
    let tag = || Body::Good(json!({"value": "berlin", "reason": "moved"}));
    walk.call("tagDevice", &["lamp", "lamp-3", "site"], tag(), 200).await;
    walk.call("tagDevice", &["lamp", "lamp-3", "9site"], tag(), 400).await;
    walk.call("untagDevice", &["lamp", "lamp-3", "site"], reason("moved"), 200).await;
    let devices = || Body::Good(json!({"devices": ["lamp-1", "stranger"], "reason": "a customer asked"}));
    let assigned = walk.call("assignUpdate", &["lamp", "1.1.0"], devices(), 200).await;
    assert_eq!(assigned, json!({"changed": 1, "unchanged": ["stranger"], "next": null}));
    walk.call("unassignUpdate", &["lamp", "1.1.0"], devices(), 200).await;
    walk.call("voidDevices", &["lamp", "1.1.0"], devices(), 200).await;
    let none = Body::Bad(json!({"devices": [], "reason": "a slip"}).to_string());
    walk.call("voidDevices", &["lamp", "1.1.0"], none, 400).await;
    let failed = Body::Good(json!({"state": "failed", "reason": "another cable"}));
    walk.call("retryUpdate", &["lamp", "1.1.0"], failed, 200).await;
    walk.ask("listUpdateDevices", &["lamp", "1.1.0"], "?state=failed&limit=2", Body::Nothing, 200).await;
    walk.ask("listUpdateDevices", &["lamp", "1.1.0"], "?state=happy", Body::Nothing, 400).await;
    walk.call("showReasons", &["lamp", "1.1.0"], Body::Nothing, 200).await;
    walk.call("forgetDevice", &["lamp", "nobody"], reason("a slip"), 404).await;
    walk.call("forgetDevice", &["lamp", "lamp-3"], reason("replaced"), 200).await;
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
            let proof = json!({"data": {"sw_version": "1.1.0", "site": {"region": "eu"}}});
            walk.call("hawkbitConfigData", &["lamp", device], Body::Good(proof), 200).await;
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
    // Otherwise the device gets 1.1.0 first, which asks nobody.
    walk.call("pauseUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;
    let poll = walk.call("hawkbitPoll", &["lamp", "hawk-2"], Body::Nothing, 200).await;
    let number = action(&poll, "confirmationBase");
    walk.call("resumeUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;
    let names = ["lamp", "hawk-2", number.as_str()];
    walk.call("hawkbitConfirmations", &["lamp", "hawk-2"], Body::Nothing, 200).await;
    walk.call("hawkbitConfirmation", &names, Body::Nothing, 200).await;
    walk.call("hawkbitDeployment", &names, Body::Nothing, 404).await;
    walk.call("hawkbitConfirmationFeedback", &names, Body::Good(json!({"confirmation": "confirmed"})), 200).await;
    walk.call("showDevice", &["lamp", "hawk-2"], Body::Nothing, 200).await;
    let poll = walk.call("hawkbitPoll", &["lamp", "hawk-2"], Body::Nothing, 200).await;
    let number = action(&poll, "deploymentBase");
    let names = ["lamp", "hawk-2", number.as_str()];
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
    // A repeat changes nothing.
    walk.call("withdrawSoftware", &["lamp", "2.0.0"], Body::Nothing, 200).await;
    walk.call("putSoftware", &["lamp", "2.0.0"], software("general"), 409).await;
    walk.call("listSoftware", &["door"], Body::Nothing, 404).await;
    walk.call("showSoftware", &["lamp", "9.9.9"], Body::Nothing, 404).await;
    walk.call("createSoftware", &["lamp"], Body::Bad("{".into()), 400).await;
    walk.call("createSoftware", &["lamp"], Body::Bad(" ".repeat(128 * 1024 + 1)), 413).await;
}

/// Writes the wish to abort an update, and no more.
async fn want_abort(stack: &Stack, version: &str) {
    let store = DynamoStore::new(stack.cloud.dynamodb(), TABLE, stack.cloud.s3(), BUCKET);
    let (product, version) = (ProductId::new("lamp").expect("a good name"), version.parse().expect("a good version"));
    let record = store.update(&product, &version).await.expect("the store answers").expect("it was published");
    let wanted = Wanted {
        change: Change::Transition(Transition::Abort),
        generation: record.generation + 1,
        shards: record.allocation.as_ref().map_or(0, Allocation::shards),
        who: OPERATOR.into(),
        reason: "it was cut off".into(),
        at: tidegate_http::edge::now(),
    };
    let wishing = UpdateRecord { wanted: Some(wanted), ..record.clone() };
    store.want(&wishing, Expected::of(&record), None).await.expect("nobody else changes it");
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
    walk.call("uploadParts", &["lamp", "1.1.0"], bad(json!({"name": "door.bin"})), 400).await;
    walk.call("uploadParts", &["lamp", "3.0.0"], Body::Good(json!({"name": "lamp.bin"})), 404).await;
    assert_eq!(put(&created["uploads"][0], b"right".to_vec()).await, 200);
    walk.activate_a_large_image("1.1.0").await;
    walk.call("activateUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;

    for (id, status) in [("showUpdate", 404), ("showMetrics", 404), ("pauseUpdate", 404), ("withdrawUpdate", 404)] {
        walk.call(id, &["lamp", "3.0.0"], Body::Nothing, status).await;
        walk.call(id, &["lamp", "newest"], Body::Nothing, 400).await;
        walk.call(id, &["la mp".replace(' ', "%20").as_str(), "1.1.0"], Body::Nothing, 400).await;
    }
    for id in ["resumeUpdate", "activateUpdate", "deleteUpdate", "reopenUpdate"] {
        walk.call(id, &["lamp", "1.1.0"], Body::Nothing, 409).await;
    }
    for (from, status) in [(json!(["9.9.9"]), 404), (json!([]), 400), (json!(["1.1"]), 400), (json!("1.1.0"), 400)] {
        walk.call("rollBackTo", &["lamp", "1.1.0"], bad(json!({"from": from})), status).await;
    }
    walk.call("reopenUpdate", &["lamp", "1.1.0"], bad(json!({"policy": " "})), 400).await;
    for edit in ["editUpdate", "editCampaign"] {
        walk.call(edit, &["lamp", "3.0.0"], Body::Good(json!({"rollout": {}})), 404).await;
        walk.call(edit, &["lamp", "1.1.0"], bad(json!({"rollout": {}, "name": "new"})), 409).await;
        walk.call(edit, &["lamp", "1.1.0"], bad(json!({"rollout": 9})), 400).await;
        walk.call(edit, &["lamp", "1.1.0"], bad(json!({"reason": "none"})), 400).await;
    }
    walk.call("editCampaign", &["lamp", "1.1.0"], bad(json!({"rollout": {"speed": 9}})), 400).await;
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

    // A held update is resumed only by those who have seen what happened.
    let of_the_first = walk.device_token.clone();
    for id in ["lamp-11", "lamp-12", "lamp-13"] {
        let token = walk.call("issueToken", &["lamp", id], Body::Nothing, 200).await;
        walk.device_token = token["token"].as_str().unwrap_or_default().to_string();
        walk.call("check", &[], says(id, "1.0.0", "eu"), 200).await;
        let failed = json!({"id": id, "product": "lamp", "version": "1.1.0", "status": "INSTALL_ERROR"});
        walk.call("report", &[], Body::Good(failed), 200).await;
    }
    walk.device_token = of_the_first;
    tidegate_tests::count(&walk.stack).await;
    let acknowledged = |failed: u64| Body::Good(json!({"acknowledge": {"failed": failed}}));
    walk.call("resumeUpdate", &["lamp", "1.1.0"], acknowledged(2), 409).await;
    walk.call("resumeUpdate", &["lamp", "1.1.0"], acknowledged(3), 200).await;

    // A stop of the whole product, and a stop that was cut off after its wish.
    walk.call("stopProduct", &["nothing"], Body::Nothing, 404).await;
    walk.call("stopProduct", &["lamp"], Body::Nothing, 200).await;
    walk.call("resumeUpdate", &["lamp", "1.1.0"], Body::Nothing, 409).await;
    walk.call("resumeStopped", &["lamp"], Body::Nothing, 200).await;
    walk.call("resumeStopped", &["nothing"], Body::Nothing, 404).await;
    want_abort(&walk.stack, "1.1.0").await;
    walk.call("pauseUpdate", &["lamp", "1.1.0"], Body::Nothing, 409).await;
    walk.call("editCampaign", &["lamp", "1.1.0"], Body::Good(json!({"rollout": {}})), 409).await;
    walk.call("abortUpdate", &["lamp", "1.1.0"], Body::Nothing, 200).await;

    // Two ways that would send devices round in a circle.
    for version in ["1.3.0", "1.4.0"] {
        let update = json!({"version": version, "kind": "json", "payload": version});
        walk.call("createUpdate", &["lamp"], Body::Good(update), 201).await;
        walk.call("activateUpdate", &["lamp", version], Body::Nothing, 200).await;
    }
    walk.call("rollBackTo", &["lamp", "1.3.0"], Body::Good(json!({"from": ["1.4.0"]})), 200).await;
    walk.call("reopenUpdate", &["lamp", "1.4.0"], Body::Nothing, 409).await;

    // A device may still be writing what was withdrawn this minute.
    walk.call("withdrawUpdate", &["lamp", "1.3.0"], Body::Nothing, 200).await;
    walk.call("deleteUpdate", &["lamp", "1.3.0"], Body::Nothing, 409).await;

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
    walk.hold_around(&show, &around);

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
