//! Parts that the translators of policies share: their error, text literals, and the final check.

use tidegate_core::policy::{Policy, Slots};

/// Error of a policy that has no equal in Tidegate. The sentence names the part that has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoEqual(pub String);

impl From<String> for NoEqual {
    fn from(sentence: String) -> Self {
        Self(sentence)
    }
}

impl From<&str> for NoEqual {
    fn from(sentence: &str) -> Self {
        Self(sentence.into())
    }
}

/// A text literal of our policies.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Parses a translated policy: a translation that is not a policy of ours must not become a draft.
pub(crate) fn check(policy: &str) -> Result<(), NoEqual> {
    match Policy::parse(policy, &mut Slots::new()) {
        Ok(_) => Ok(()),
        Err(error) => Err(NoEqual(format!("`{policy}` is not a policy here: {error}"))),
    }
}
