//! The front door: an HTTP server on loopback in the place of API Gateway.
//!
//! It turns every request into the event that API Gateway sends to a Lambda function, and `lambda_http` parses
//! the event as in AWS: the functions cannot tell the difference. Operator routes need the operator key here
//! and an IAM signature in AWS.
//!
//! The bytes of the answers matter: a device library in the field finds `Content-Length` only in this spelling,
//! and only if it is not the last header (wire-protocols, section 1.3). The server writes header names in
//! title case, and hyper puts `Date` last.

mod event;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use lambda_http::Body;
use tidegate_wire::route;
use tokio::net::TcpListener;

use crate::operator_key::OperatorKey;
use crate::server::{self, Server};
use event::{Caller, Event, Malformed};

/// API Gateway's limit of a request body.
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// The IAM identity that the functions see for every request with the operator key.
pub const OPERATOR_ARN: &str = "arn:aws:iam::000000000000:user/local-operator";

/// Time that API Gateway waits for a function before it answers 503.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that a body that is too large may keep its connection busy.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// What answers behind the front door.
pub trait Backend: Send + Sync + 'static {
    /// Answers one request that API Gateway would route to a function.
    fn call(&self, request: lambda_http::Request) -> impl Future<Output = lambda_http::Response<Body>> + Send;
}

/// An HTTP server that behaves like an API Gateway HTTP API, until it is shut down or dropped.
pub struct FrontDoor {
    server: Server,
}

impl FrontDoor {
    /// Answers all requests to `listener`.
    ///
    /// # Panics
    /// When `listener` has no local address, which a bound listener always has.
    pub fn serve(listener: TcpListener, operator_key: OperatorKey, backend: Arc<impl Backend>) -> FrontDoor {
        let address = listener.local_addr().expect("a bound listener has an address");
        let operator_key = Arc::new(operator_key);
        let service = server::service(move |request| {
            let backend = Arc::clone(&backend);
            let operator_key = Arc::clone(&operator_key);
            async move { answer(request, &operator_key, backend).await.unwrap_or_else(Refusal::response) }
        });
        FrontDoor { server: Server::serve(listener, address, service) }
    }

    /// The URL of the server, without a path.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Lets open requests finish and stops. Dropping stops at once.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

/// Reason why the front door answers in place of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed,
    Forbidden,
    TooLarge,
    BackendFailed,
    BackendSlow,
}

impl Refusal {
    /// The answer that API Gateway gives.
    fn response(self) -> hyper::Response<Full<Bytes>> {
        let (status, message) = match self {
            Refusal::Malformed => (StatusCode::BAD_REQUEST, "Bad Request"),
            Refusal::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
            Refusal::BackendFailed => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            Refusal::BackendSlow => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        };
        json(status, format!(r#"{{"message":"{message}"}}"#))
    }
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Refusal {
        Refusal::Malformed
    }
}

/// Checks the caller, translates the request into an event, asks the backend and returns its answer.
async fn answer(
    request: hyper::Request<Incoming>,
    operator_key: &OperatorKey,
    backend: Arc<impl Backend>,
) -> Result<hyper::Response<Full<Bytes>>, Refusal> {
    let (mut head, body) = request.into_parts();
    let path = event::decoded_path(head.uri.path())?;
    if path == route::HEALTH_PATH && head.method == http::Method::GET {
        return Ok(json(StatusCode::OK, r#"{"ok":true}"#.to_owned()));
    }
    let caller = caller(&path, &mut head, operator_key)?;
    let body = read(body).await?;
    let request_id = uuid::Uuid::new_v4().to_string();
    let event = Event { head: &head, path: &path, body: &body, caller, request_id: &request_id };
    let request = parse(&event.to_json())?;
    // The parser normalises paths. A path that means one thing before it and another after it, such as
    // `/v1/check/../products/x`, would get an operator's request past the key.
    if route::is_for_operators(request.uri().path()) != route::is_for_operators(&path) {
        return Err(Refusal::Malformed);
    }
    let mut response = ask(backend, request).await?;
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("apigw-requestid", request_id);
    }
    Ok(sent(response))
}

/// The sender of the request. The operator key is removed: the functions do not need it.
fn caller(path: &str, head: &mut http::request::Parts, operator_key: &OperatorKey) -> Result<Caller, Refusal> {
    if !route::is_for_operators(path) {
        return Ok(Caller::Device);
    }
    let authorization = head.headers.remove(AUTHORIZATION).ok_or(Refusal::Forbidden)?;
    let is_operator = authorization.to_str().is_ok_and(|authorization| operator_key.opens(authorization));
    if is_operator { Ok(Caller::Operator) } else { Err(Refusal::Forbidden) }
}

async fn read(mut body: Incoming) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        tokio::spawn(discard(body));
        return Err(Refusal::TooLarge);
    }
    match Limited::new(&mut body, MAX_BODY_BYTES).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            tokio::spawn(discard(body));
            Err(Refusal::TooLarge)
        }
        Err(_) => Err(Refusal::Malformed),
    }
}

/// Reads and discards the rest of a body for a moment. If the connection closed while the client still sends,
/// the client would see a broken connection instead of the answer.
async fn discard(mut body: Incoming) {
    let read_on = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, read_on).await;
}

/// `lambda_http` panics on a `Host` that makes no URL. API Gateway never sends one.
fn parse(event: &str) -> Result<lambda_http::Request, Refusal> {
    match catch_unwind(|| lambda_http::request::from_str(event)) {
        Ok(Ok(request)) => Ok(request),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a request made no event");
            Err(Refusal::Malformed)
        }
        Err(_) => Err(Refusal::Malformed),
    }
}

/// Asks the backend in its own task: a panic becomes an answer and not a closed connection.
async fn ask(
    backend: Arc<impl Backend>,
    request: lambda_http::Request,
) -> Result<lambda_http::Response<Body>, Refusal> {
    let mut asked = tokio::task::JoinSet::new();
    asked.spawn(async move { backend.call(request).await });
    match tokio::time::timeout(BACKEND_TIMEOUT, asked.join_next()).await {
        Ok(Some(Ok(response))) => Ok(response),
        Ok(Some(Err(error))) => {
            tracing::error!(%error, "the backend panicked");
            Err(Refusal::BackendFailed)
        }
        Ok(None) => Err(Refusal::BackendFailed),
        Err(_) => Err(Refusal::BackendSlow),
    }
}

/// The backend's answer. The server itself writes the headers of the connection.
fn sent(response: lambda_http::Response<Body>) -> hyper::Response<Full<Bytes>> {
    let (mut head, body) = response.into_parts();
    let body = match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    };
    for header in [CONNECTION, TRANSFER_ENCODING, DATE] {
        head.headers.remove(header);
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    hyper::Response::from_parts(head, Full::new(body))
}

fn json(status: StatusCode, text: String) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
