//! The laboratory: everything that plays devices, operators and faults around the real service.
//!
//! [`memory`] is a store in memory. [`simulator`] drives the real functions over it, with faults and on a fake clock.
//! [`forecast`] plays one rollout before it happens. They share one generator of random numbers, [`random`]. No crate
//! that production code depends on depends on this one.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod dice;
pub mod forecast;
pub mod memory;
pub mod random;
pub mod simulator;

pub use memory::MemoryStore;
pub use random::Random;
