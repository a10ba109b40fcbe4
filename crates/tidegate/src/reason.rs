//! The reason of a change, as the audit log keeps it.

/// A reason without any words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a few words for the audit log")]
pub struct BlankReason;

/// Reads a reason. A blank one is refused, because it explains nothing to the reader of the audit log.
///
/// # Errors
/// [`BlankReason`] when `text` has only spaces.
pub fn parse(text: &str) -> Result<String, BlankReason> {
    match text.trim() {
        "" => Err(BlankReason),
        reason => Ok(reason.to_owned()),
    }
}
