//! The log of a process: one JSON line per event.

use tidegate_engine::metrics::TARGET;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::edge::now;
use crate::embedded_metrics::EmbeddedMetrics;

/// One JSON line per event on standard output, filtered by `TIDEGATE_LOG` (default `info`), and one per
/// event of [`tidegate_engine::metrics`]: where and how Lambda reads them.
pub fn start_function_log() {
    let metrics = EmbeddedMetrics { writer: std::io::stdout, now };
    drop(tracing_subscriber::registry().with(lines(std::io::stdout)).with(metrics).try_init());
}

/// One JSON line per event on standard error, filtered by `TIDEGATE_LOG` (default `info`), for the
/// person at a terminal. Only tests start it twice in one process: then the first log stays.
pub fn start_terminal_log() {
    drop(tracing_subscriber::registry().with(lines(std::io::stderr)).try_init());
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Layer<S> {
    let wanted = std::env::var("TIDEGATE_LOG").ok().and_then(|levels| levels.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let is_no_metric = filter_fn(|event| event.target() != TARGET);
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
    lines.with_writer(writer).with_filter(filter.and(is_no_metric))
}
