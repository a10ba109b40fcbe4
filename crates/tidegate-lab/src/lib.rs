//! The laboratory: everything that plays devices, operators and faults around the real service.
//!
//! [`memory`] is a store in memory, and [`guard`] names the conditions that can be removed from it. [`simulator`] drives
//! the real functions over it, with faults and on a fake clock. [`forecast`] plays one rollout before it happens.
//! [`load`] drives a running service. They share one [`Fleet`], one [`Ledger`] of offers against limits, and one
//! generator of random numbers, [`random`] and [`dice`]. No crate that production code depends on depends on this one.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod dice;
pub mod fleet;
pub mod forecast;
pub mod guard;
pub mod ledger;
pub mod load;
pub mod memory;
mod named;
pub mod random;
pub mod simulator;

pub use fleet::Fleet;
pub use guard::Guard;
pub use ledger::Ledger;
pub use memory::MemoryStore;
pub use random::Random;
