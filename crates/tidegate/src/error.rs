//! How a command can fail, and the exit code that a script sees.

use std::fmt;
use std::io;
use std::path::Path;

/// What every command returns.
pub type CommandResult<T = ()> = Result<T, CommandError>;

/// The exit codes of `tidegate`. Scripts depend on them: a number never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The service refused, or something failed on the way.
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

/// Why a command stopped. Prints as `<sentence> (<code>)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// The command line contradicts itself or lacks something.
    Usage(String),
    /// A file or value given by the user cannot be used.
    BadInput(String),
    /// The service answered with an error.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code of the error.
        code: String,
        /// The service's own sentence.
        message: String,
        /// How long the service asks to wait, when it said so.
        retry_after_s: Option<u64>,
    },
    /// Something failed on this side, or in the thing that was asked for.
    Failed {
        /// A stable code.
        code: &'static str,
        /// The sentence.
        message: String,
    },
    /// The service has nothing for this device now; the text says why.
    NothingToOffer(String),
    /// Size or SHA-256 is not what was promised.
    Verification(String),
    /// No answer from the service.
    Unreachable(String),
    /// An import is done, but something of the export could not be carried.
    NotAllCarried(String),
    /// The reader of our standard output went away (`tidegate devices | head`): not a failure.
    ReaderGone,
}

impl CommandError {
    /// A failure on this side with a stable code.
    pub fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into() }
    }

    /// A file operation that failed; `action` is a verb such as `read`.
    pub fn file(action: &str, path: &Path, cause: &io::Error) -> Self {
        let message = format!("cannot {action} {}: {cause}", path.display());
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Self::BadInput(message),
            _ => Self::failed("file_error", message),
        }
    }

    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::BadInput(_) => Exit::Usage,
            Self::Refused { .. } | Self::Failed { .. } => Exit::Failed,
            Self::NothingToOffer(_) => Exit::NothingToOffer,
            Self::Verification(_) => Exit::VerificationFailed,
            Self::Unreachable(_) => Exit::Unreachable,
            Self::NotAllCarried(_) => Exit::NotAllCarried,
            Self::ReaderGone => Exit::Ok,
        }
    }

    /// The stable code in brackets behind the sentence.
    pub fn code(&self) -> &str {
        match self {
            Self::Usage(_) => "usage",
            Self::BadInput(_) => "bad_input",
            Self::Refused { code, .. } => code,
            Self::Failed { code, .. } => code,
            Self::NothingToOffer(_) => "nothing_to_offer",
            Self::Verification(_) => "verification_failed",
            Self::Unreachable(_) => "unreachable",
            Self::NotAllCarried(_) => "not_all_carried",
            Self::ReaderGone => "reader_gone",
        }
    }

    /// The sentence without the code.
    pub fn sentence(&self) -> &str {
        match self {
            Self::Usage(text)
            | Self::BadInput(text)
            | Self::NothingToOffer(text)
            | Self::Verification(text)
            | Self::Unreachable(text)
            | Self::NotAllCarried(text) => text,
            Self::Refused { message, .. } | Self::Failed { message, .. } => message,
            Self::ReaderGone => "the reader of the output went away",
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.sentence(), self.code())
    }
}

impl std::error::Error for CommandError {}

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
        let error = CommandError::Refused {
            status: 409,
            code: "version_exists".into(),
            message: "version 2.4.0 exists with other content".into(),
            retry_after_s: None,
        };
        assert_eq!(error.to_string(), "version 2.4.0 exists with other content (version_exists)");
        assert_eq!(error.exit(), Exit::Failed);
    }

    #[test]
    fn a_missing_file_is_the_users_mistake_and_a_full_disk_is_not() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let path = Path::new("rootfs.swu");
        assert_eq!(CommandError::file("read", path, &missing).exit(), Exit::Usage);
        assert_eq!(CommandError::file("write", path, &full).exit(), Exit::Failed);
    }
}
