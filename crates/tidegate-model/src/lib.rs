//! A bounded model of the reservation protocol: limits, claims, reports, the sweep, and changes of
//! a rollout, in every order in which they can meet.
//!
//! There is nothing to call here. The model is in `tests/model`, beside the searches that use it,
//! so that the model checker stays a dependency of tests:
//!
//! ```text
//! cargo test -p tidegate-model -- --nocapture                       # complete, in under a minute
//! TIDEGATE_MODEL=full cargo test -p tidegate-model -- --nocapture   # complete, in minutes
//! ```
