//! Bounded model of the reservation protocol: limits, claims, reports, the sweep, and changes of a rollout, in every
//! order.
//!
//! This library is empty. The model is in `tests/model`, beside the searches that use it, so that the model checker is
//! a dependency of tests only:
//!
//! ```text
//! cargo test -p tidegate-model -- --nocapture                       # complete, in under a minute
//! TIDEGATE_MODEL=full cargo test -p tidegate-model -- --nocapture   # complete, in minutes
//! ```
