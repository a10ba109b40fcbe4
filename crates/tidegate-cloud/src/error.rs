//! Why the local cloud did not come up.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The result of bringing something of the local cloud up.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the local cloud, or a part of it, could not be had.
#[derive(Debug)]
pub enum Error {
    /// A port could not be listened on.
    Port {
        /// The port that was asked for; 0 means that any free port would have done.
        port: u16,
        /// Who wanted it.
        wanted_by: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file or folder could not be made, read or written.
    Path {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A database file could not be opened.
    Database {
        /// Which of the two services it belongs to.
        service: &'static str,
        /// What its engine said.
        reason: String,
    },
    /// A bucket could not be created.
    Bucket {
        /// The bucket.
        name: String,
        /// What S3 answered.
        reason: String,
    },
    /// A text is no operator key.
    OperatorKey {
        /// What an operator key looks like.
        expected: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Port { port, wanted_by, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "port {port} on 127.0.0.1, wanted by {wanted_by}, is taken: stop the other program or choose another port"
                )
            }
            Error::Port { port, wanted_by, source } => {
                write!(f, "cannot listen on port {port} on 127.0.0.1, wanted by {wanted_by}: {source}")
            }
            Error::Path { path, source } => write!(f, "cannot use {}: {source}", path.display()),
            Error::Database { service, reason } => {
                write!(f, "cannot open the local {service} database: {reason}")
            }
            Error::Bucket { name, reason } => {
                write!(f, "cannot create the bucket {name}: {reason}")
            }
            Error::OperatorKey { expected } => {
                write!(f, "not an operator key: expected {expected}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Port { source, .. } | Error::Path { source, .. } => Some(source),
            Error::Database { .. } | Error::Bucket { .. } | Error::OperatorKey { .. } => None,
        }
    }
}
