//! The JSON of Tidegate's API: one type for each shape, the error codes and the limits of bodies.
//!
//! Texts become core types here, once, and core types become texts. Nothing in this crate reads a
//! clock or a store, and nothing knows HTTP or AWS.

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
