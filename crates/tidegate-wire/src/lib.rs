//! The JSON of Tidegate's API: one type for each shape, the error codes and the limits of bodies.
//!
//! Texts become core types here, once, and core types become texts. Nothing in this crate reads a
//! clock or a store, and nothing knows HTTP or AWS.

pub mod answer;
pub mod body_limits;
pub mod definition;
pub mod device_json;
pub mod error;
pub mod report;
pub mod strict_json;

pub use error::{ApiError, ErrorCode};
