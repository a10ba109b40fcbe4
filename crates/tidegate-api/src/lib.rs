//! What Tidegate says on the wire: requests, answers, errors, tokens and dialects.
//!
//! Texts become core types here, once, and core types become texts. Nothing in this crate reads a
//! clock or a store.

pub mod answer;
pub mod definition;
pub mod device_json;
pub mod dialect;
pub mod edge;
pub mod error;
pub mod kaa_software;
pub mod metrics;
pub mod operator;
pub mod report;
pub mod strict_json;
pub mod token;

pub use error::ApiError;
