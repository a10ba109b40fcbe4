//! What the end-to-end tests share: the services over the local cloud, with every SDK call
//! counted and the time in the test's hands.

pub mod offline;
pub mod scenario;
pub mod stampede;
pub mod trouble;

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use lambda_http::Request;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidegate::stack::{BUCKET, Services, Stack, TABLE, new_token_keys};
use tidegate_cloud::{LocalCloud, TableStream};
use tidegate_core::{DeviceId, ProductId, Timestamp};
use tidegate_engine::token::TokenKeys;
use tidegate_store::images::LARGEST_READ_AT_ONCE;
use tidegate_store::store::{CheckStore, Freshness, ReadCatalog};
use tidegate_store::{CatalogKey, DynamoStore, Images, schema};

use crate::trouble::{Trouble, TroubledDynamoDb};

/// The product of every test that needs only one.
pub const LAMP: &str = "lamp";

/// The key that seals the catalogs of every test.
///
/// # Panics
/// Never: its text is one.
#[must_use]
pub fn catalog_key() -> CatalogKey {
    CatalogKey::parse(&"k".repeat(64)).expect("64 letters are 48 bytes")
}

/// The calls that left through the SDK, by name: `Query`, `TransactWriteItems`, … and `S3`.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn note(&self, call: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Takes what was called since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(target) = context.request().headers().get("x-amz-target") {
            self.note(target.rsplit('.').next().unwrap_or(target).to_string());
        }
        Ok(())
    }
}

/// Calls of S3. Presigning passes the hook above too, but only a real call is answered.
#[derive(Debug)]
struct S3Calls(Calls);

impl Intercept for S3Calls {
    fn name(&self) -> &'static str {
        "S3Calls"
    }

    fn read_after_transmit(
        &self,
        _: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.note("S3".into());
        Ok(())
    }
}

/// The services over a fresh local cloud.
pub struct World {
    /// The services.
    pub services: Services,
    /// The store below them, for looks behind the scenes.
    pub store: DynamoStore,
    /// The images below them.
    pub images: Images,
    /// DynamoDB and S3.
    pub cloud: LocalCloud,
    /// What signs device tokens.
    pub keys: TokenKeys,
    /// Every SDK call.
    pub calls: Calls,
    stream: tokio::sync::Mutex<TableStream>,
    /// The time of the last call: the count happens then.
    now: Mutex<Timestamp>,
}

/// An answer: its status and its JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// The error's code, or nothing.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl World {
    /// A world whose functions look at a catalog's head once in `catalog_age_ms`.
    ///
    /// # Panics
    /// When the local cloud does not start.
    pub async fn new(catalog_age_ms: i64) -> Self {
        let cloud = LocalCloud::temporary().expect("loopback and a temporary folder are there");
        Self::over(cloud, catalog_age_ms, None, LARGEST_READ_AT_ONCE).await
    }

    /// A world in which files above this size count as large.
    ///
    /// # Panics
    /// When the local cloud does not start.
    pub async fn reading_at_once(largest: u64) -> Self {
        let cloud = LocalCloud::temporary().expect("loopback and a temporary folder are there");
        Self::over(cloud, 0, None, largest).await
    }

    /// A world whose DynamoDB plays trouble, and the DynamoDB.
    ///
    /// # Panics
    /// When the local cloud does not start.
    pub async fn troubled(catalog_age_ms: i64, trouble: Trouble) -> (Self, TroubledDynamoDb) {
        let cloud = LocalCloud::temporary().expect("loopback and a temporary folder are there");
        let troubled = TroubledDynamoDb::before(cloud.in_process(), trouble);
        (Self::over(cloud, catalog_age_ms, Some(troubled.clone()), LARGEST_READ_AT_ONCE).await, troubled)
    }

    async fn over(
        cloud: LocalCloud,
        catalog_age_ms: i64,
        trouble: Option<TroubledDynamoDb>,
        largest_read_at_once: u64,
    ) -> Self {
        schema::create_table(&cloud.dynamodb(), TABLE).await.expect("an empty store takes the table");
        cloud.create_bucket(BUCKET).await.expect("an empty store takes the bucket");
        let keys = TokenKeys::parse(&new_token_keys().expect("the machine has randomness")).expect("our own format");
        let calls = Calls::default();
        let config = cloud.sdk_config().await;
        let dynamodb = match &trouble {
            None => aws_sdk_dynamodb::config::Builder::from(&config),
            Some(troubled) => troubled.config(),
        };
        let dynamodb = dynamodb.interceptor(calls.clone()).build();
        let s3 = aws_sdk_s3::config::Builder::from(&config).interceptor(S3Calls(calls.clone())).build();
        let credentials = config.credentials_provider().expect("the local cloud has credentials");
        let s3 = aws_sdk_s3::Client::from_conf(s3);
        let store = DynamoStore::new(aws_sdk_dynamodb::Client::from_conf(dynamodb), TABLE, s3.clone(), BUCKET)
            .with_catalog_key(catalog_key());
        let images = Images::new(s3, credentials, BUCKET).reading_at_once(largest_read_at_once);
        let services = Services::new(store.clone(), images.clone(), keys.clone(), catalog_age_ms);
        let stream = cloud.table_stream(TABLE).expect("the table has a stream").into();
        Self { services, store, images, cloud, keys, calls, stream, now: Mutex::default() }
    }

    /// Counts everything that the stream holds, at the time of the last call. The calls of it are not counted as calls
    /// of the test.
    ///
    /// # Panics
    /// When the count fails.
    pub async fn count(&self) {
        let now = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        self.count_at(now).await;
    }

    /// Counts everything that the stream holds, at `now`.
    ///
    /// # Panics
    /// When the count fails.
    pub async fn count_at(&self, now: Timestamp) {
        let before = self.calls.take();
        self.services.count_all(&mut *self.stream.lock().await, now).await.expect("the count goes on");
        let _of_the_count = self.calls.take();
        for call in before {
            self.calls.note(call);
        }
    }

    /// Passes over everything that the stream holds: nobody counts it.
    ///
    /// # Panics
    /// When the stream cannot be read.
    pub async fn skip_stream(&self) {
        let mut stream = self.stream.lock().await;
        while stream.next().await.expect("the stream can be read").is_some() {
            stream.acknowledge();
        }
    }

    fn pass_to(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// The token of a device.
    ///
    /// # Panics
    /// When the names cannot be ids.
    #[must_use]
    pub fn token(&self, product: &str, device: &str) -> String {
        let product = ProductId::new(product).expect("tests use good names");
        self.keys.issue(&product, &DeviceId::new(device).expect("tests use good names"), 0)
    }

    /// An operator's call.
    pub async fn operator(&self, method: &str, path: &str, body: Value, now: Timestamp) -> Answer {
        self.pass_to(now);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request(method, &format!("/v1/products/{path}"), &[], &body, Some("arn:aws:iam::1:user/ada"));
        answer(Box::pin(self.services.publish.handle(request, now)).await)
    }

    /// A device's check-in, in the native format.
    pub async fn check(&self, said: &Value, now: Timestamp) -> Answer {
        self.pass_to(now);
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_string();
        let token = self.token(&text("product"), &text("id"));
        let request = request("POST", "/v1/check", &[("authorization", &token)], &said.to_string(), None);
        answer(Box::pin(self.services.check.handle(request, now)).await)
    }

    /// A device's report about a version.
    pub async fn report(&self, device: &str, version: &str, status: &str, now: Timestamp) -> Answer {
        self.pass_to(now);
        let token = self.token(LAMP, device);
        let body = json!({"id": device, "product": LAMP, "version": version, "status": status}).to_string();
        let request = request("POST", "/v1/report", &[("authorization", &token)], &body, None);
        answer(Box::pin(self.services.report.handle(request, now)).await)
    }

    /// Creates, uploads and activates an update with one image.
    ///
    /// # Panics
    /// When any step is refused.
    pub async fn publish(&self, product: &str, version: &str, update: Value, now: Timestamp) -> Value {
        self.draft(product, version, update).await;
        let path = format!("{product}/updates/{version}/activate");
        let activated = self.operator("POST", &path, json!({"reason": "test"}), now).await;
        assert_eq!(activated.status, 200, "{activated:?}");
        activated.body
    }

    /// Creates and uploads an update with one image.
    ///
    /// # Panics
    /// When any step is refused.
    pub async fn draft(&self, product: &str, version: &str, update: Value) {
        let image = format!("firmware {version} of {product}").into_bytes();
        let mut update = update;
        update["version"] = json!(version);
        update["files"] = json!([file("image.bin", &image)]);
        // The local S3 checks upload URLs against the real clock.
        let created = self.operator("POST", &format!("{product}/updates"), update, tidegate_http::edge::now()).await;
        assert_eq!(created.status, 201, "{created:?}");
        self.upload(&created.body, &image).await;
    }

    /// Sends `image` to every upload URL of a create's answer.
    ///
    /// # Panics
    /// When S3 refuses it.
    pub async fn upload(&self, created: &Value, image: &[u8]) {
        for upload in created["uploads"].as_array().into_iter().flatten() {
            let status = put(upload, image.to_vec()).await;
            assert_eq!(status, 200, "{upload}");
        }
    }

    /// A lamp reports success, restarts, and says the new version.
    ///
    /// # Panics
    /// When the report is refused.
    pub async fn installs(&self, device: &str, version: &str, now: Timestamp) {
        assert_eq!(self.report(device, version, "INSTALL_SUCCESS", now).await.status, 200);
        self.check(&lamp(device, version), now).await;
    }

    /// Has the catalog of [`LAMP`] compiled anew, as the next change would: somebody wrote into the table.
    ///
    /// # Panics
    /// When there is no catalog.
    pub async fn recompile(&self, now: Timestamp) {
        let product = ProductId::new(LAMP).expect("a good name");
        let head = self.store.head(&product, Freshness::Strong).await.expect("the store answers");
        let in_force = head.and_then(|head| head.catalog).expect("a catalog is in force");
        self.store.ask_for_catalog(&product, &in_force.name).await.expect("the store answers");
        self.services.sweep.sweep(now).await.expect("the store answers");
    }

    /// The counters of an update, after everything was counted.
    pub async fn metrics(&self, version: &str, now: Timestamp) -> Value {
        self.pass_to(now);
        self.count().await;
        self.operator("GET", &format!("{LAMP}/updates/{version}/metrics"), Value::Null, now).await.body
    }

    /// `offered in_flight proved failed lost`, for a comparison in one line.
    pub async fn counts(&self, version: &str, now: Timestamp) -> String {
        let metrics = self.metrics(version, now).await;
        ["offered", "in_flight", "proved", "failed", "lost"].map(|name| metrics[name].to_string()).join(" ")
    }
}

/// Counts everything that the stream of a running stack holds. The stack counts it too; each record counts once.
///
/// # Panics
/// When the count fails.
pub async fn count(stack: &Stack) {
    let mut stream = stack.cloud.table_stream(TABLE).expect("the table has a stream");
    stack.services.count_all(&mut stream, tidegate_http::edge::now()).await.expect("the count goes on");
}

/// As [`count`], from a thread that may block.
///
/// # Panics
/// When the count fails.
pub fn count_here(stack: &Stack) {
    tokio::runtime::Handle::current().block_on(count(stack));
}

/// What a device says of itself.
#[must_use]
pub fn lamp(device: &str, version: &str) -> Value {
    json!({"id": device, "product": LAMP, "version": version})
}

/// A file as an update announces it.
#[must_use]
pub fn file(name: &str, bytes: &[u8]) -> Value {
    json!({"name": name, "sha256": hex::encode(Sha256::digest(bytes)), "size": bytes.len()})
}

/// A moment.
///
/// # Panics
/// When it is not one.
#[must_use]
pub fn at(text: &str) -> Timestamp {
    text.parse().expect("tests write good times")
}

/// A request as API Gateway hands it to a function.
///
/// # Panics
/// When it cannot be a request.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str, operator: Option<&str>) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_string(), json!(value))).collect::<serde_json::Map<_, _>>();
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {
            "accountId": "000000000000", "apiId": "local", "domainName": "localhost", "domainPrefix": "local",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test"},
            "requestId": "local", "routeKey": "$default", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_i64,
        },
        "body": body, "isBase64Encoded": false,
    });
    if let Some(arn) = operator {
        event["requestContext"]["authorizer"] = json!({"iam": {"userArn": arn}});
    }
    lambda_http::request::from_str(&event.to_string()).expect("the event is one of API Gateway's")
}

/// Reads an answer. A redirect has no body.
///
/// # Panics
/// When its body is not JSON.
#[must_use]
pub fn answer(response: lambda_http::Response<lambda_http::Body>) -> Answer {
    let status = response.status().as_u16();
    let body = match status {
        302 => Value::Null,
        _ => serde_json::from_slice(response.body()).expect("every answer is JSON"),
    };
    Answer { status, body }
}

/// Sends bytes as an upload asks for them; answers the status.
///
/// # Panics
/// When nothing answers.
pub async fn put(upload: &Value, bytes: Vec<u8>) -> u16 {
    let url = upload["url"].as_str().unwrap_or_default().to_string();
    let headers = upload["headers"].as_object().cloned().unwrap_or_default();
    let sent = tokio::task::spawn_blocking(move || {
        let mut request = agent().put(&url);
        for (name, value) in &headers {
            // The length is the body's own.
            if !name.eq_ignore_ascii_case("content-length") {
                request = request.header(name, value.as_str().unwrap_or_default());
            }
        }
        request.send(&bytes[..]).map(|response| response.status().as_u16())
    });
    sent.await.expect("the upload does not panic").expect("the local S3 answers")
}

/// Fetches a URL; answers the status and the bytes.
///
/// # Panics
/// When nothing answers.
pub async fn get(url: &str) -> (u16, Vec<u8>) {
    let url = url.to_string();
    let fetched = tokio::task::spawn_blocking(move || {
        let mut response = agent().get(&url).call()?;
        let bytes = response.body_mut().read_to_vec()?;
        Ok::<_, ureq::Error>((response.status().as_u16(), bytes))
    });
    fetched.await.expect("the download does not panic").expect("the local S3 answers")
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}
