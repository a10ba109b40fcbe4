//! Why a policy was refused, and at which column.

use std::fmt;

use super::token::Span;

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Where, counted in characters from 1.
    pub position: usize,
    /// What was expected and what was found.
    pub message: String,
}

impl PolicyError {
    /// The stable code of this error on the wire.
    pub fn code(&self) -> &'static str {
        "policy_invalid"
    }

    pub(super) fn at(text: &str, span: Span, message: impl Into<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        Self { position: before.chars().count().saturating_add(1), message: message.into() }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "column {}: {}", self.position, self.message)
    }
}

impl std::error::Error for PolicyError {}
