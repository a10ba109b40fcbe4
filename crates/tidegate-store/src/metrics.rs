//! Metrics of the store, as events of `tracing`. The door of a function writes them in the format that CloudWatch reads.

/// Target of the events that are metrics.
pub const TARGET: &str = "tidegate_metrics";
