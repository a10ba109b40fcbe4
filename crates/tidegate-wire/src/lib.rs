//! The JSON of Tidegate's API: one type for each shape, the error codes and the limits of bodies.
//!
//! This crate converts JSON to core types and core types to JSON. It reads no clock and no store, and it has no
//! dependency on HTTP or AWS libraries.

pub mod answer;
pub mod body_limits;
pub mod definition;
pub mod device_json;
pub mod error;
pub mod exosite;
pub mod hawkbit;
pub mod ioto;
pub mod kaa;
#[cfg(feature = "schema")]
pub mod openapi;
pub mod operator;
pub mod report;
pub mod route;
#[cfg(feature = "schema")]
pub mod schema;
pub mod strict_json;
mod word;

pub use error::{ApiError, ErrorCode};
