//! Use cases of the service, over a store and without HTTP: a door parses a request, calls one of these, and writes the
//! answer in its protocol.
//!
//! [`CheckIns`] decides and reserves. [`Reports`] hears what devices report. [`CountService`] counts, judges and raises ceilings.
//! [`Operations`] has the use cases of operators. [`control`] changes a rollout. [`compile`] puts a catalog in force.
//! [`SweepService`] finds lost devices and finishes what was interrupted. [`VerifyService`] reads large images. [`recount`] checks the counts.

pub mod catalogs;
pub mod check_in;
pub mod compile;
pub mod control;
mod control_group;
pub mod count;
mod deferrals;
pub mod device;
mod due;
pub mod error;
pub mod files;
mod fleet;
pub mod metrics;
pub mod operate;
pub mod phases;
pub mod recount;
mod registration;
pub mod repair;
pub mod report;
mod reserve;
pub mod stalled;
pub mod sweep;
mod tidy;
pub mod token;
pub mod verify;

pub use check_in::{Asked, CheckInResult, CheckIns, DeviceContext, HeldClaim, Offered, Said};
pub use count::CountService;
pub use error::EngineError;
pub use operate::Operations;
pub use report::{NotRecorded, Recorded, Reports};
pub use sweep::SweepService;
pub use verify::VerifyService;
