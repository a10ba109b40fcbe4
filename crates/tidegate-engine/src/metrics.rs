//! Metrics, as events of `tracing`. The door of a function writes them in the format that CloudWatch reads.
//!
//! The numbers of an event are the metrics; its one text, `product`, is the dimension. There is never a dimension per
//! device: every value of a dimension is a metric that is paid for each month.

use tidegate_core::ProductId;

pub use tidegate_store::metrics::TARGET;

/// Counts a rollout that its health gate held: an alarm watches it.
pub fn rollout_held(product: &ProductId) {
    tracing::info!(target: TARGET, rollouts_held = 1_u64);
    tracing::info!(target: TARGET, %product, rollouts_held = 1_u64);
}

/// Counts a compiled catalog that cannot be read. The previous one stays in use, so later changes of the product have
/// no effect: an alarm watches it.
pub fn catalog_unreadable(product: &ProductId) {
    tracing::info!(target: TARGET, catalogs_unreadable = 1_u64);
    tracing::info!(target: TARGET, %product, catalogs_unreadable = 1_u64);
}

/// Counts records of the stream that cannot be read: an alarm watches them.
pub fn unreadable_records(count: u64) {
    tracing::info!(target: TARGET, unreadable_records = count);
}

/// Counts counters that differ from a recount: an alarm watches them.
pub fn drift(count: u64) {
    tracing::info!(target: TARGET, drift = count);
}
