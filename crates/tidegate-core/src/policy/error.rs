//! Error of a refused policy, with its column.

use super::token::Span;

/// Error of a refused policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {position}: {message}")]
pub struct PolicyError {
    /// Column of the error, counted in characters from 1.
    pub position: usize,
    /// A sentence that names what was expected and what was found.
    pub message: String,
}

impl PolicyError {
    /// Code of this error in answers.
    pub fn code(&self) -> &'static str {
        "policy_invalid"
    }

    pub(super) fn at(text: &str, span: Span, message: impl Into<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        Self { position: before.chars().count().saturating_add(1), message: message.into() }
    }
}
