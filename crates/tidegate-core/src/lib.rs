//! The rules of Tidegate: which device gets which update, at which time, or for which reason it gets none.
//!
//! Every rule is a function of its arguments. This crate has no async, no AWS, no clock, no randomness and no wire
//! format; the current time is a parameter.
//!
//! Start to read at [`decide()`], the answer to one check-in.
#![deny(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod acknowledged;
pub mod attributes;
pub mod breaker;
pub mod byte_size;
pub mod cadence;
pub mod campaign;
pub mod catalog;
pub mod claim;
pub mod cohort;
pub mod control_group;
pub mod count;
pub mod decide;
pub mod device;
pub mod gate;
pub mod guidance;
pub mod id;
mod index;
pub mod life;
pub mod lifecycle;
pub mod limits;
pub mod objection;
pub mod orders;
pub mod phase;
pub mod places;
pub mod policy;
pub mod question;
pub mod receipt;
pub mod reports;
pub mod rollout;
pub mod shard;
pub mod snapshot;
pub mod status;
pub mod times;
pub mod update;
pub mod window;

pub use byte_size::ByteSize;
pub use catalog::Catalog;
pub use claim::{Claim, Claims};
pub use cohort::Cohort;
pub use decide::{ClaimStatus, Decision, Offer, decide};
pub use device::Device;
pub use id::{DeviceId, ProductId, UpdateId};
pub use lifecycle::{State, Transition};
pub use objection::{Objection, ObjectionCode};
pub use rollout::Rollout;
pub use update::Update;

/// Time in UTC.
pub use jiff::Timestamp;
pub use semver::{Version, VersionReq};
