//! The edge of every function: answers as bytes, the clock, and the log.

use jiff::Timestamp;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::error::ApiError;
use crate::metrics::{self, EmbeddedMetrics};

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

/// An error as an answer, with `Retry-After` where the request may succeed later.
#[must_use]
pub fn error_response(error: &ApiError) -> Response<Body> {
    let mut response = respond(error.status(), &error.body());
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

/// An answer that sends a client to another address, afresh each time.
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

/// Where a client reached us: scheme and host, without a path.
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

/// One JSON line per event on standard output, filtered by `TIDEGATE_LOG` (default `info`), and one per
/// event of [`metrics`]: where and how Lambda reads them.
pub fn start_function_log() {
    let metrics = EmbeddedMetrics { writer: std::io::stdout, now };
    drop(tracing_subscriber::registry().with(lines(std::io::stdout)).with(metrics).try_init());
}

/// One JSON line per event on standard error, filtered by `TIDEGATE_LOG` (default `info`), for the
/// person at a terminal. A second start in one process is a test: the first log stays.
pub fn start_terminal_log() {
    drop(tracing_subscriber::registry().with(lines(std::io::stderr)).try_init());
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Layer<S> {
    let wanted = std::env::var("TIDEGATE_LOG").ok().and_then(|levels| levels.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let is_no_metric = filter_fn(|event| event.target() != metrics::TARGET);
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
    lines.with_writer(writer).with_filter(filter.and(is_no_metric))
}
