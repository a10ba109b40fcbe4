//! Errors of a command, and the exit codes that a script sees.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Result of a command.
pub type CommandResult<T = ()> = Result<T, CommandError>;

/// The exit codes of `tidegate`. Scripts depend on them: a number never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The service refused, or something failed before the end.
    Failed = 1,
    /// The command line or a file given to it is wrong. (Also clap's own code.)
    Usage = 2,
    /// `check` and `device --once`: the service has nothing for this device now.
    NothingToOffer = 3,
    /// The bytes that arrived are not the bytes that were promised.
    VerificationFailed = 4,
    /// No answer from the service.
    Unreachable = 5,
    /// `import`: done, but something of the export could not be carried; the report names it.
    NotAllCarried = 6,
}

/// The table of exit codes, as `--help` shows it.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the service refused or something failed
  2  wrong usage or bad input
  3  nothing to offer (check, device --once)
  4  verification failed: size or SHA-256 is not what was promised
  5  cannot reach the service
  6  imported, but not everything could be carried (import)";

/// The error that led to a [`CommandError`].
type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Error of a command. Prints as `<sentence> (<code>)`; its source is the error that led to it.
#[derive(Debug, Clone)]
pub struct CommandError {
    kind: ErrorKind,
    message: String,
    cause: Option<Cause>,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code())
    }
}

/// By hand, because a derived source is the `Arc` and not the error in it.
impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// Kind of a [`CommandError`]. It decides the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line contradicts itself or lacks something.
    Usage,
    /// A file or value given by the user cannot be used.
    BadInput,
    /// The service answered with an error.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code of the error.
        code: String,
        /// The wait that the service asks for, if it does.
        retry_after_s: Option<u64>,
    },
    /// Something failed on this side, or in the thing that was asked for.
    Failed {
        /// A stable code.
        code: &'static str,
    },
    /// The service has nothing for this device now; the sentence says why.
    NothingToOffer,
    /// Size or SHA-256 is not what was promised.
    Verification,
    /// No answer from the service.
    Unreachable,
    /// An import is done, but something of the export could not be carried.
    NotAllCarried,
    /// The reader of our standard output is gone (`tidegate devices | head`): not a failure.
    ReaderGone,
}

/// Two errors are equal if scripts and people cannot tell them apart; the source does not count.
impl PartialEq for CommandError {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.message == other.message
    }
}

impl Eq for CommandError {}

impl CommandError {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None }
    }

    /// A mistake on the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A file or value of the user that cannot be used.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadInput, message)
    }

    /// An error that the service answered: its HTTP status, stable code, sentence and `Retry-After`.
    pub fn refused(
        status: u16,
        code: impl Into<String>,
        message: impl Into<String>,
        retry_after_s: Option<u64>,
    ) -> Self {
        Self::new(ErrorKind::Refused { status, code: code.into(), retry_after_s }, message)
    }

    /// A failure on this side with a stable code.
    pub fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed { code }, message)
    }

    /// The answer that there is nothing to offer, with the reason.
    pub fn nothing_to_offer(why: impl Into<String>) -> Self {
        Self::new(ErrorKind::NothingToOffer, why)
    }

    /// Bytes that are not the promised ones.
    pub fn verification(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Verification, message)
    }

    /// A service that gave no answer.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreachable, message)
    }

    /// An import that is done, but could not carry everything.
    pub fn not_all_carried(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotAllCarried, message)
    }

    /// The end of a command whose output has no reader any more.
    pub fn reader_gone() -> Self {
        Self::new(ErrorKind::ReaderGone, "the reader of the output went away")
    }

    /// A file operation that failed; `action` is a verb such as `read`.
    pub fn file(action: &str, path: &Path, cause: io::Error) -> Self {
        let message = format!("cannot {action} {}: {cause}", path.display());
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Self::bad_input(message),
            _ => Self::failed("file_error", message),
        }
        .because(cause)
    }

    /// The same error with its source.
    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The HTTP status, if the service answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            ErrorKind::Refused { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The wait that the service asks for, if it does.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self.kind {
            ErrorKind::Refused { retry_after_s, .. } => retry_after_s,
            _ => None,
        }
    }

    /// Returns true if the service gave no answer.
    pub fn is_unreachable(&self) -> bool {
        self.kind == ErrorKind::Unreachable
    }

    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self.kind {
            ErrorKind::Usage | ErrorKind::BadInput => Exit::Usage,
            ErrorKind::Refused { .. } | ErrorKind::Failed { .. } => Exit::Failed,
            ErrorKind::NothingToOffer => Exit::NothingToOffer,
            ErrorKind::Verification => Exit::VerificationFailed,
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::NotAllCarried => Exit::NotAllCarried,
            ErrorKind::ReaderGone => Exit::Ok,
        }
    }

    /// The stable code in brackets behind the sentence.
    pub fn code(&self) -> &str {
        match &self.kind {
            ErrorKind::Usage => "usage",
            ErrorKind::BadInput => "bad_input",
            ErrorKind::Refused { code, .. } => code,
            ErrorKind::Failed { code } => code,
            ErrorKind::NothingToOffer => "nothing_to_offer",
            ErrorKind::Verification => "verification_failed",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::NotAllCarried => "not_all_carried",
            ErrorKind::ReaderGone => "reader_gone",
        }
    }

    /// The sentence without the code.
    pub fn sentence(&self) -> &str {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_explained_in_the_help() {
        for exit in [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::NothingToOffer,
            Exit::VerificationFailed,
            Exit::Unreachable,
            Exit::NotAllCarried,
        ] {
            let line = format!("\n  {}  ", exit as u8);
            assert!(EXIT_CODES.contains(&line), "{exit:?} is not explained");
        }
    }

    #[test]
    fn an_error_prints_its_sentence_and_its_code() {
        let error = CommandError::refused(409, "version_exists", "version 2.4.0 exists with other content", None);
        assert_eq!(error.to_string(), "version 2.4.0 exists with other content (version_exists)");
        assert_eq!(error.exit(), Exit::Failed);
    }

    #[test]
    fn an_error_keeps_its_source() {
        let error = CommandError::file("read", Path::new("a"), io::Error::from(io::ErrorKind::NotFound));
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_missing_file_is_the_users_mistake_and_a_full_disk_is_not() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let path = Path::new("rootfs.swu");
        assert_eq!(CommandError::file("read", path, missing).exit(), Exit::Usage);
        assert_eq!(CommandError::file("write", path, full).exit(), Exit::Failed);
    }
}
