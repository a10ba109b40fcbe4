//! The simulator: fleets that call the real functions, from a seed, on a fake clock, with faults in every store call.
//!
//! [`faulty`] wraps a store and adds the faults of DynamoDB and the network. [`checker`] enters every write that was
//! applied in a ledger and finds the invariant that was broken. [`world`] runs the functions side by side, one store
//! call at a time. [`simulation`] plays fleets.

mod applied;
pub mod bucket;
mod calm;
pub mod checker;
pub mod control;
pub mod device;
pub mod fault;
pub mod faulty;
mod faulty_calls;
pub mod invariant;
pub mod operators;
pub mod requests;
pub mod simulation;
pub mod speech;
mod stream;
pub mod summary;
mod turn;
pub mod world;

pub use checker::InvariantChecker;
pub use fault::{Call, Fault};
pub use faulty::FaultyStore;
pub use invariant::Invariant;
pub use simulation::{Plan, run};
pub use speech::Speech;
pub use summary::Summary;
