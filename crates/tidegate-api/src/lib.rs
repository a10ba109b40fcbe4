//! What Tidegate says on the wire: requests, answers, errors, tokens and dialects.
//!
//! Texts become core types here, once, and core types become texts. Nothing in this crate reads a
//! clock or a store.

pub mod dialect;
pub mod edge;
pub mod kaa_software;
pub mod metrics;
pub mod operator;
pub mod token;

pub use tidegate_wire::{
    ApiError, ErrorCode, answer, body_limits, definition, device_json, error, report, strict_json,
};
