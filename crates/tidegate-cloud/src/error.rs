//! Error of the local cloud.

use std::io;
use std::path::PathBuf;

/// Result of starting a part of the local cloud.
pub type Result<T> = std::result::Result<T, Error>;

/// Source of an error whose own type is no part of this crate's interface.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Reason why the local cloud, or a part of it, cannot start or be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program listens on the port.
    #[error("port {port} on 127.0.0.1, wanted by {wanted_by}, is taken: stop the other program or choose another port")]
    PortTaken {
        /// The port that was asked for.
        port: u16,
        /// The service that asked for it.
        wanted_by: &'static str,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The operating system refuses the port.
    #[error("cannot listen on port {port} on 127.0.0.1, wanted by {wanted_by}: {source}")]
    Port {
        /// The port that was asked for; 0 means any free port.
        port: u16,
        /// The service that asked for it.
        wanted_by: &'static str,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// A file or folder cannot be made, read or written.
    #[error("cannot use {}: {source}", path.display())]
    Path {
        /// The file or folder.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// A database file cannot be opened.
    #[error("cannot open the local {service} database: {source}")]
    Database {
        /// The service that it belongs to.
        service: &'static str,
        /// The answer of its engine.
        source: Source,
    },
    /// A bucket cannot be created.
    #[error("cannot create the bucket {name}: {source}")]
    Bucket {
        /// The bucket.
        name: String,
        /// The answer of S3.
        source: Source,
    },
    /// The stream of a table cannot be read.
    #[error("cannot read the stream of {table}: {source}")]
    Stream {
        /// The table, or its stream.
        table: String,
        /// The answer of DynamoDB.
        source: Source,
    },
    /// A text is no operator key.
    #[error("not an operator key: expected {expected}")]
    OperatorKey {
        /// The form of an operator key.
        expected: &'static str,
    },
}
