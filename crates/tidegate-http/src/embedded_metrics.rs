//! Metrics as log lines: CloudWatch reads them out of a function's log in its embedded metric format.
//!
//! An event whose target is [`TARGET`] is a line of metrics. Its numbers are the metrics, named as the
//! fields in upper camel case; its one text, `product`, is the dimension. There is never a dimension
//! per device: every value of a dimension is a metric that is paid for each month.

use std::fmt;
use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_engine::metrics::TARGET;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

/// The namespace in CloudWatch, which alarms and dashboards name too.
const NAMESPACE: &str = "Tidegate";

/// Writes events of [`TARGET`] and nothing else.
pub(crate) struct EmbeddedMetrics<W> {
    pub(crate) writer: W,
    pub(crate) now: fn() -> Timestamp,
}

impl<S: Subscriber, W: for<'a> MakeWriter<'a> + 'static> Layer<S> for EmbeddedMetrics<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        // One write, so that no other line comes in between. A request does not fail because its metric cannot be
        // written.
        let line = format!("{}\n", line.embedded((self.now)()));
        let _written = self.writer.make_writer().write_all(line.as_bytes());
    }
}

#[derive(Default)]
struct Line {
    product: Option<String>,
    metrics: Map<String, Value>,
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.metrics.insert(upper_camel_case(field.name()), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "product" {
            self.product = Some(format!("{value:?}"));
        }
    }
}

impl Line {
    /// CloudWatch's "Specification: Embedded metric format".
    fn embedded(self, at: Timestamp) -> Value {
        let dimensions = if self.product.is_some() { json!([["Product"]]) } else { json!([[]]) };
        let metrics = self.metrics.keys().map(|name| json!({"Name": name, "Unit": "Count"})).collect::<Vec<_>>();
        let directive = json!({"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics});
        let mut line = json!({"_aws": {"Timestamp": at.as_millisecond(), "CloudWatchMetrics": [directive]}});
        if let Some(fields) = line.as_object_mut() {
            fields.extend(self.metrics);
            fields.extend(self.product.map(|product| ("Product".to_string(), product.into())));
        }
        line
    }
}

fn upper_camel_case(name: &str) -> String {
    let word = |word: &str| word.get(..1).unwrap_or_default().to_ascii_uppercase() + word.get(1..).unwrap_or_default();
    name.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn written(events: impl FnOnce()) -> Vec<Value> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = {
            let written = Arc::clone(&written);
            move || Sink(Arc::clone(&written))
        };
        let metrics = EmbeddedMetrics { writer, now: || Timestamp::from_millisecond(1_767_225_600_000).unwrap() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(metrics), events);
        let bytes = written.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn numbers_are_metrics_and_the_product_is_the_dimension() {
        let lines = written(|| {
            tracing::info!(target: TARGET, product = %"lamp", in_flight = 3_u64, timed_out = 0_u64);
            tracing::info!(target: TARGET, sweep_finished = 1_u64);
            tracing::info!(device = "lamp-1", attempts = 3_u64, "not a metric");
        });
        let of = |dimensions: Value, names: &[&str]| {
            let metrics = names.iter().map(|name| json!({"Name": name, "Unit": "Count"})).collect::<Vec<_>>();
            let directive = json!({"Namespace": "Tidegate", "Dimensions": dimensions, "Metrics": metrics});
            json!({"Timestamp": 1_767_225_600_000_i64, "CloudWatchMetrics": [directive]})
        };
        let lamp = json!({"_aws": of(json!([["Product"]]), &["InFlight", "TimedOut"]), "Product": "lamp", "InFlight": 3, "TimedOut": 0});
        let sweep = json!({"_aws": of(json!([[]]), &["SweepFinished"]), "SweepFinished": 1});
        assert_eq!(lines, [lamp, sweep]);
    }
}
