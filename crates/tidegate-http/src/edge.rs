//! The edge of every function: answers as bytes, and the clock.

use jiff::Timestamp;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use tidegate_wire::ApiError;

/// An answer of compact JSON with its length. Some agents only search for strings, so the JSON contains no spaces
/// outside of texts.
#[must_use]
pub fn respond(status: u16, body: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(body).unwrap_or_else(|_| "{}".into());
    let built = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("content-length", text.len())
        .header("cache-control", "no-store")
        .body(Body::Text(text));
    built.expect("a status from our own list and constant headers always build")
}

/// An error as an answer, with `Retry-After` where the request may succeed later.
#[must_use]
pub fn error_response(error: &ApiError) -> Response<Body> {
    let mut response = respond(error.status(), &error.body());
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

/// A redirect to another address. Clients must not cache it.
#[must_use]
pub fn redirect(url: &str) -> Response<Body> {
    let built = Response::builder()
        .status(302)
        .header("location", url)
        .header("content-length", 0)
        .header("cache-control", "no-store")
        .body(Body::Empty);
    built.expect("a signed URL is a URL, and the rest is constant")
}

/// The address that the client used: scheme and host, without a path.
#[must_use]
pub fn base_url(request: &Request) -> String {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = header("host").unwrap_or("localhost");
    let scheme = header("x-forwarded-proto").unwrap_or("https");
    format!("{scheme}://{host}")
}

/// The time, read once per request and passed on.
#[must_use]
#[allow(clippy::disallowed_methods)] // this is the edge where the clock is read
pub fn now() -> Timestamp {
    Timestamp::now()
}
