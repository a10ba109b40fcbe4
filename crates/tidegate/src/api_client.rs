//! The only place that speaks HTTP: calls to the service, and bytes to and from presigned URLs.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use tidegate_wire::operator::LARGEST_PAGE;
use tidegate_wire::route::{CheckRoute, PublishRoute, ReportRoute, Route, percent_encoded};
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response};
use ureq::tls::{ClientCert, TlsConfig};
use ureq::{Agent, Body, SendBody};

use crate::aws::AwsIdentity;
use crate::error::{CommandError, CommandResult};

/// Long enough for a cold start behind a slow mobile link.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// API Gateway gives up on a function after 30 s; a little more, so that its own answer is seen.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);
/// A transfer may take hours; a link that is silent for a minute is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// S3 answers an upload only after it has hashed the last byte.
const UPLOAD_ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Far above any answer of the service (a page of 1,000 devices is below 1 MiB).
const ANSWER_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// Looks at an unfinished change. The sweep, which finishes it, runs each minute.
const MOST_LOOKS: usize = 75;
/// Interval between these.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The party that a client speaks for.
#[derive(Clone)]
pub enum Credential {
    /// The operator, with the key of the local cloud.
    OperatorKey(String),
    /// The operator, as an identity in AWS.
    Aws(AwsIdentity),
    /// A device, with its own or its product's token.
    DeviceToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OperatorKey(_) => "OperatorKey(…)",
            Self::Aws(_) => "Aws(…)",
            Self::DeviceToken(_) => "DeviceToken(…)",
        })
    }
}

/// A client of one service, speaking as one party.
#[derive(Debug, Clone)]
pub struct ApiClient {
    calls: Agent,
    transfers: Transfers,
    base: String,
    credential: Credential,
}

impl ApiClient {
    /// A client for the service at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: &str, credential: Credential) -> CommandResult<Self> {
        Self::with_certificate(base, credential, None)
    }

    /// The same, with a client certificate for a service that requires one.
    pub fn with_certificate(
        base: &str,
        credential: Credential,
        certificate: Option<ClientCert>,
    ) -> CommandResult<Self> {
        let base = base.trim_end_matches('/');
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(CommandError::usage(format!(
                "the address of the service must start with http:// or https://, not `{base}`"
            )));
        }
        let calls = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would carry the credential somewhere else; it is an error like any other.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(user_agent())
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(CALL_TIMEOUT))
            .tls_config(TlsConfig::builder().client_cert(certificate).build())
            .build()
            .into();
        Ok(Self { calls, transfers: Transfers::new(), base: base.to_owned(), credential })
    }

    /// For bytes to and from presigned URLs.
    pub fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    /// Asks for a document.
    pub fn get(&self, path: &ApiPath) -> CommandResult<Value> {
        self.call(Method::GET, path, None)
    }

    /// The same, with the time of the answer: from its `Date` header, to the second, if it has one.
    pub fn get_dated(&self, path: &ApiPath) -> CommandResult<(Value, Option<jiff::Timestamp>)> {
        self.call_dated(Method::GET, path, None)
    }

    /// The items of a list, page by page: all of them, or the first `most`.
    pub fn items(&self, path: &ApiPath, most: Option<usize>) -> CommandResult<Vec<Value>> {
        let most = most.unwrap_or(usize::MAX);
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let limit = most.saturating_sub(items.len()).min(LARGEST_PAGE).to_string();
            let mut page = self.get(&path.clone().with("limit", Some(&limit)).with("after", after.as_deref()))?;
            if let Some(more) = page["items"].as_array_mut() {
                items.append(more);
            }
            // If the service answers the same page again, the loop would not end.
            match page["next"].as_str() {
                Some(next) if items.len() < most && after.as_deref() != Some(next) => after = Some(next.to_string()),
                _ => return Ok(items),
            }
        }
    }

    /// Creates something, or performs a named transition.
    pub fn post(&self, path: &ApiPath, body: &Value) -> CommandResult<Value> {
        self.call(Method::POST, path, Some(body.to_string().into_bytes()))
    }

    /// Looks at an update until the change that it wants is done, for a little more than a minute; answers the last
    /// document. The change is never asked for again: somebody else may have made the opposite one meanwhile.
    pub fn until_done(&self, update: &ApiPath, changed: Value) -> CommandResult<Value> {
        let wanted = changed["wanted"].clone();
        if changed["shards_left"].is_null() {
            return Ok(changed);
        }
        for _ in 0..MOST_LOOKS {
            std::thread::sleep(LOOK_EVERY);
            let present = self.get(update)?;
            if present["wanted"] != wanted {
                return Ok(present);
            }
        }
        Ok(changed)
    }

    /// The same as [`ApiClient::post`], with the time of the answer, as in [`ApiClient::get_dated`].
    pub fn post_dated(&self, path: &ApiPath, body: &Value) -> CommandResult<(Value, Option<jiff::Timestamp>)> {
        self.call_dated(Method::POST, path, Some(body.to_string().into_bytes()))
    }

    /// Sends a body as it is, for example a `device.json` that a person wrote.
    pub fn post_bytes(&self, path: &ApiPath, body: Vec<u8>) -> CommandResult<Value> {
        self.call(Method::POST, path, Some(body))
    }

    /// Changes something.
    pub fn patch(&self, path: &ApiPath, body: &Value) -> CommandResult<Value> {
        self.call(Method::PATCH, path, Some(body.to_string().into_bytes()))
    }

    /// Calls `PUT` with a JSON body.
    pub fn put_with(&self, path: &ApiPath, body: &Value) -> CommandResult<Value> {
        self.call(Method::PUT, path, Some(body.to_string().into_bytes()))
    }

    /// Puts something in its place. Our `PUT` calls have no content: the path says everything.
    pub fn put(&self, path: &ApiPath) -> CommandResult<Value> {
        self.call(Method::PUT, path, Some(b"{}".to_vec()))
    }

    /// Removes something.
    pub fn delete(&self, path: &ApiPath) -> CommandResult<Value> {
        self.call(Method::DELETE, path, None)
    }

    /// Removes something, for a reason that the service keeps.
    pub fn delete_with(&self, path: &ApiPath, body: &Value) -> CommandResult<Value> {
        self.call(Method::DELETE, path, Some(body.to_string().into_bytes()))
    }

    fn call(&self, method: Method, path: &ApiPath, body: Option<Vec<u8>>) -> CommandResult<Value> {
        self.call_dated(method, path, body).map(|(document, _)| document)
    }

    fn call_dated(
        &self,
        method: Method,
        path: &ApiPath,
        body: Option<Vec<u8>>,
    ) -> CommandResult<(Value, Option<jiff::Timestamp>)> {
        let mut request = Request::new(body.unwrap_or_default());
        *request.uri_mut() =
            format!("{}{}", self.base, path.0).parse().map_err(|cause: ureq::http::uri::InvalidUri| {
                CommandError::usage(format!("`{}` is not the address of a service", self.base)).because(cause)
            })?;
        if !request.body().is_empty() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        *request.method_mut() = method;
        self.authorize(&mut request)?;
        let answer = match request.body().is_empty() {
            true => self.calls.run(request.map(|_| ())),
            false => self.calls.run(request),
        };
        let answer = answer.map_err(|cause| self.unreachable(cause))?;
        let date = answer.headers().get(DATE).and_then(http_date);
        Ok((read_answer(answer)?, date))
    }

    /// Puts our credential on a complete request.
    fn authorize(&self, request: &mut Request<Vec<u8>>) -> CommandResult {
        let secret = match &self.credential {
            Credential::OperatorKey(key) => key,
            Credential::Aws(identity) => return identity.sign(request, crate::time::now().into()),
            Credential::DeviceToken(token) => token,
        };
        let mut value = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|cause| {
            CommandError::bad_input("the key or token has characters that no header may have").because(cause)
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }

    fn unreachable(&self, cause: ureq::Error) -> CommandError {
        let base = &self.base;
        let message = match &cause {
            // Without ureq's own `io: ` before it.
            ureq::Error::Io(cause) => format!("no answer from {base}: {cause}"),
            cause => format!("no answer from {base}: {cause}"),
        };
        CommandError::unreachable(message).because(cause)
    }
}

fn user_agent() -> &'static str {
    concat!("tidegate/", env!("CARGO_PKG_VERSION"))
}

fn read_answer(mut answer: Response<Body>) -> CommandResult<Value> {
    let status = answer.status();
    let retry_after_s = retry_after_s(answer.headers(), crate::time::now());
    let text = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_LIMIT_BYTES)
        .read_to_string()
        .map_err(|cause| CommandError::unreachable(format!("the answer broke off: {cause}")).because(cause))?;
    let document: Option<Value> = serde_json::from_str(&text).ok();
    if status.is_success() {
        return document.ok_or_else(|| {
            CommandError::failed("not_json", "the service answered something that is not JSON; is this its address?")
        });
    }
    Err(refusal(status.as_u16(), document.as_ref(), retry_after_s))
}

/// Turns an error answer into our error. Gateways answer without our envelope, so their status has
/// to do.
fn refusal(status: u16, document: Option<&Value>, retry_after_s: Option<u64>) -> CommandError {
    let field = |name: &str| {
        let text = document?.get("error")?.get(name)?.as_str()?;
        Some(crate::output::clean(text))
    };
    let code = field("code").unwrap_or_else(|| format!("http_{status}"));
    let message = field("message").unwrap_or_else(|| match status {
        401 | 403 => format!("the service does not accept this key or token (status {status})"),
        400 | 404 => format!("the service answered with status {status} and no explanation; is this its address?"),
        _ => format!("the service answered with status {status}"),
    });
    CommandError::refused(status, code, message, retry_after_s)
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, 10.2.3).
pub fn retry_after_s(headers: &HeaderMap, now: jiff::Timestamp) -> Option<u64> {
    let value = headers.get(RETRY_AFTER)?;
    if let Ok(seconds) = value.to_str().ok()?.trim().parse() {
        return Some(seconds);
    }
    let at = http_date(value)?;
    Some(u64::try_from(at.as_second() - now.as_second()).unwrap_or(0))
}

/// Reads `Wed, 21 Oct 2015 07:28:00 GMT` (RFC 9110, 5.6.7).
fn http_date(value: &HeaderValue) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.to_str().ok()?.trim()).ok()
}

/// A path of the API, each parameter percent-encoded: `1.0.0+build` and `dev/1` arrive as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPath(String);

impl ApiPath {
    /// The path of a route, with its parameters by name.
    ///
    /// # Panics
    /// When a parameter of the route is not given.
    pub fn to(route: Route, parameters: &[(&str, &str)]) -> Self {
        Self(route.path(parameters))
    }

    /// The path of check-ins.
    pub fn check() -> Self {
        Self::to(CheckRoute::Check.route(), &[])
    }

    /// The path of reports.
    pub fn report() -> Self {
        Self::to(ReportRoute::Report.route(), &[])
    }

    /// An operator's path about a product.
    pub fn product(route: PublishRoute, product: &str) -> Self {
        Self::to(route.route(), &[("product", product)])
    }

    /// An operator's path about an update.
    pub fn update(route: PublishRoute, product: &str, version: &str) -> Self {
        Self::to(route.route(), &[("product", product), ("version", version)])
    }

    /// An operator's path about a device.
    pub fn device(route: PublishRoute, product: &str, device: &str) -> Self {
        Self::to(route.route(), &[("product", product), ("device", device)])
    }

    /// The path of a tag of a device.
    pub fn tag(route: PublishRoute, product: &str, device: &str, tag: &str) -> Self {
        Self::to(route.route(), &[("product", product), ("device", device), ("tag", tag)])
    }

    /// Adds a query parameter, if there is a value.
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(&format!("{name}={}", percent_encoded(value)));
        }
        self
    }
}

/// Bytes to and from presigned URLs, which carry their own authority: no credential of ours is sent.
#[derive(Debug, Clone)]
pub struct Transfers {
    agent: Agent,
}

impl Default for Transfers {
    fn default() -> Self {
        Self::new()
    }
}

impl Transfers {
    /// An agent with timeouts made for long transfers.
    pub fn new() -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(user_agent())
            // The bytes are hashed as they are stored; a compressed transfer would break ranges.
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .timeout_per_write(Some(SILENCE_TIMEOUT))
            .timeout_recv_response(Some(UPLOAD_ANSWER_TIMEOUT))
            .build()
            .into();
        Self { agent }
    }

    /// Opens a download, from `first_byte` on. The answer's status is for the caller to judge.
    pub fn download(&self, url: &str, first_byte: u64) -> Result<Response<Body>, ureq::Error> {
        let mut request = Request::get(url);
        if first_byte > 0 {
            request = request.header(RANGE, format!("bytes={first_byte}-"));
        }
        self.agent.run(request.body(())?)
    }

    /// Uploads `size_bytes` bytes with exactly the headers that the service asked for.
    pub fn upload(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        size_bytes: u64,
        content: &mut dyn Read,
    ) -> CommandResult {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            // The host is part of the URL, and every URL is signed for the host it names.
            if !name.eq_ignore_ascii_case("host") {
                request = request.header(name, value);
            }
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            request = request.header(CONTENT_LENGTH, size_bytes);
        }
        let request = request.body(SendBody::from_reader(content)).map_err(|cause| {
            CommandError::failed("bad_upload", format!("the service asked for an upload that cannot be: {cause}"))
                .because(cause)
        })?;
        let mut answer = self
            .agent
            .run(request)
            .map_err(|cause| CommandError::unreachable(format!("the upload broke off: {cause}")).because(cause))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(64 * 1024).lossy_utf8(true).read_to_string();
        let message = upload_refusal(status, &text.unwrap_or_default());
        Err(CommandError::refused(status, "upload_refused", message, None))
    }
}

/// S3 explains itself in XML: `<Error><Code>…</Code><Message>…</Message>`.
fn upload_refusal(status: u16, text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once(&format!("</{name}>"))?;
        Some(crate::output::clean(content))
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => {
            format!("the store refused the upload with status {status}, {code}: {message}")
        }
        _ => format!("the store refused the upload with status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stub_server::{Reply, StubServer};

    fn operator(server: &StubServer) -> ApiClient {
        ApiClient::new(server.base(), Credential::OperatorKey("k1".into())).expect("a good address")
    }

    #[test]
    fn a_call_carries_the_key_and_the_encoded_path() {
        let server = StubServer::start(vec![Reply::json(200, r#"{"updates":[]}"#)]);
        let path = ApiPath::update(PublishRoute::ShowUpdate, "lamp", "1.0.0+a/b").with("version", Some("1 2"));
        let answer = operator(&server).get(&path);
        assert_eq!(answer, Ok(json!({"updates": []})));
        let request = server.request(0);
        assert!(request.starts_with("GET /v1/products/lamp/updates/1.0.0%2Ba%2Fb?version=1%202 HTTP/1.1"), "{request}");
        assert!(request.to_lowercase().contains("authorization: bearer k1"), "{request}");
    }

    /// A resume that was repeated would open what somebody else stopped in the meantime.
    #[test]
    fn an_unfinished_change_is_looked_at_and_not_asked_for_again() {
        let unfinished = r#"{"state":"paused","wanted":"resume"}"#;
        let server = StubServer::start(vec![
            Reply::json(202, r#"{"state":"paused","wanted":"resume","shards_left":2}"#),
            Reply::json(200, unfinished),
            Reply::json(200, r#"{"state":"paused"}"#),
        ]);
        let client = operator(&server);
        let resume = ApiPath::update(PublishRoute::ResumeUpdate, "lamp", "1.0.0");
        let changed = client.post(&resume, &json!({"reason": "x"})).expect("an answer");
        let shown = ApiPath::update(PublishRoute::ShowUpdate, "lamp", "1.0.0");
        assert_eq!(client.until_done(&shown, changed), Ok(json!({"state": "paused"})));
        for look in [1, 2] {
            assert!(
                server.request(look).starts_with("GET /v1/products/lamp/updates/1.0.0 "),
                "{}",
                server.request(look)
            );
        }
    }

    #[test]
    fn an_error_answer_keeps_its_status_code_sentence_and_wait() {
        let reply =
            Reply::json(409, r#"{"error":{"code":"wrong_state","message":"it is paused"}}"#).header("Retry-After", "7");
        let server = StubServer::start(vec![reply]);
        let path = ApiPath::update(PublishRoute::PauseUpdate, "lamp", "1.0.0");
        let answer = operator(&server).post(&path, &json!({"reason": "x"}));
        assert_eq!(answer, Err(CommandError::refused(409, "wrong_state", "it is paused", Some(7))));
    }

    #[test]
    fn an_error_without_our_envelope_is_named_by_its_status() {
        let server = StubServer::start(vec![Reply::json(502, "<html>bad gateway</html>")]);
        let error = operator(&server).get(&ApiPath::check()).expect_err("a bad gateway");
        assert_eq!(error.to_string(), "the service answered with status 502 (http_502)");
    }

    #[test]
    fn a_redirect_is_not_followed_with_our_key() {
        let reply = Reply::json(302, "").header("Location", "http://127.0.0.1:1/elsewhere");
        let server = StubServer::start(vec![reply]);
        let error = operator(&server).get(&ApiPath::check()).expect_err("a redirect");
        assert_eq!(error.code(), "http_302");
    }

    #[test]
    fn a_closed_port_is_unreachable() {
        let client = ApiClient::new("http://127.0.0.1:1", Credential::OperatorKey("k".into())).expect("a good address");
        let error = client.get(&ApiPath::check()).expect_err("nobody listens on port 1");
        assert_eq!(error.exit(), crate::error::Exit::Unreachable);
    }

    #[test]
    fn an_upload_has_exactly_the_headers_asked_for_and_a_length() {
        let server = StubServer::start(vec![Reply::json(200, "")]);
        let headers = [("x-amz-checksum-sha256".to_owned(), "abc=".to_owned())];
        let url = format!("{}/bucket/key?X-Amz-Signature=1", server.base());
        let sent = Transfers::new().upload("PUT", &url, &headers, 5, &mut "hello".as_bytes());
        assert_eq!(sent, Ok(()));
        let request = server.request(0).to_lowercase();
        assert!(request.starts_with("put /bucket/key?x-amz-signature=1"), "{request}");
        assert!(request.contains("x-amz-checksum-sha256: abc="), "{request}");
        assert!(request.contains("content-length: 5"), "{request}");
        assert!(!request.contains("transfer-encoding"), "{request}");
        assert!(!request.contains("authorization"), "{request}");
        assert!(request.ends_with("hello"), "{request}");
    }

    #[test]
    fn a_refused_upload_says_what_the_store_said() {
        let xml = "<?xml?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
        let server = StubServer::start(vec![Reply::json(403, xml)]);
        let url = format!("{}/bucket/key", server.base());
        let error = Transfers::new().upload("PUT", &url, &[], 1, &mut "h".as_bytes()).expect_err("the store refuses");
        assert_eq!(
            error.to_string(),
            "the store refused the upload with status 403, AccessDenied: Request has expired (upload_refused)"
        );
    }

    #[test]
    fn retry_after_may_be_seconds_or_a_date() {
        let now: jiff::Timestamp = "2015-10-21T07:27:00Z".parse().expect("a valid time");
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after_s(&headers, now)
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(60));
        assert_eq!(read("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn a_secret_is_not_printed() {
        let shown = format!("{:?}", Credential::OperatorKey("secret".into()));
        assert!(!shown.contains("secret"));
    }
}
