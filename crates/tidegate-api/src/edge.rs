//! The edge of every function: answers as bytes, the clock, and the log.

use jiff::Timestamp;
use lambda_http::{Body, Response};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// An answer of compact JSON with its length. A string search is all the parsing that some agents
/// do, so there is never a space in it.
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

/// The time, read once per request and passed on.
#[must_use]
#[allow(clippy::disallowed_methods)] // this is the edge where the clock is read
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// One JSON line per event, filtered by `TIDEGATE_LOG` (default `info`). Lambda reads standard
/// output; a terminal wants it on standard error.
pub fn start_log(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_writer(writer)
        .try_init();
    // A second start in one process is a test or the local cloud: the first log stays.
    drop(started);
}
