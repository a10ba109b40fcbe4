//! A fleet over the real functions: seeded, on a fake clock, with faults under every store call.
//!
//! [`faulty`] wraps a store and does to each call what DynamoDB and the network can do to it;
//! [`checker`] enters every write that was applied in a ledger and says which invariant was broken;
//! [`world`] runs the functions side by side, one store call at a time; [`simulation`] plays fleets.

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
pub mod summary;
mod turn;
pub mod world;

pub use checker::InvariantChecker;
pub use fault::{Call, Fault, Guard};
pub use faulty::FaultyStore;
pub use invariant::Invariant;
pub use simulation::{Plan, run};
pub use summary::Summary;
