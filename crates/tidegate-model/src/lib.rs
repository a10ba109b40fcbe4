//! Bounded model of the storage protocol: grants, claims, `count`, the sweep, stops, edits, heads and repair, in every
//! order.
//!
//! This library is empty. The model is in `tests/protocol/model`, beside the searches that use it, so that the model
//! checker is a dependency of tests only:
//!
//! ```text
//! cargo test -p tidegate-model -- --nocapture                       # the beginning of each search, in about a minute
//! TIDEGATE_MODEL=full cargo test -p tidegate-model -- --nocapture   # most searches complete, in minutes
//! ```
