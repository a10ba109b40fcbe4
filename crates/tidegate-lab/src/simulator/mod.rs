//! A fleet over the real functions: seeded, on a fake clock, with faults under every store call.
//!
//! [`faulty`] wraps a store and does to each call what DynamoDB and the network can do to it;
//! [`ledger`] keeps its own books of every write that was applied and says which promise broke;
//! [`world`] runs the functions side by side, one store call at a time; [`simulation`] plays fleets.

pub mod fault;
pub mod faulty;
pub mod fleet;
pub mod ledger;
pub mod operators;
pub mod requests;
pub mod simulation;
pub mod world;

pub use fault::{Call, Fault, Guard};
pub use faulty::FaultyStore;
pub use ledger::Ledger;
pub use simulation::{Plan, Summary, run};
