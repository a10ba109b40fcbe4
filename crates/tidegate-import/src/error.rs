//! Errors of an import.

use std::io;
use std::path::PathBuf;

use tidegate_wire::ApiError;

/// Result of a step of an import.
pub type Result<T> = std::result::Result<T, Error>;

/// Error of an import: the export is not what its service documents, or a file cannot be read.
///
/// `place` is the place in the export, for example `record 3 (2.0.0)`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The export is not JSON, or too large.
    #[error("{}", .0.message.replace("the body", "it"))]
    NotJson(#[source] ApiError),
    /// The export has no list of records.
    #[error("the export must be a list of records, or an object that has one in `{}`", names.join("` or `"))]
    NoRecords {
        /// The fields in which the list may be.
        names: Vec<String>,
    },
    /// A record is not an object.
    #[error("{place} must be an object; got {got}")]
    NotAnObject {
        /// The place in the export.
        place: String,
        /// The value, shortened.
        got: String,
    },
    /// A required field is missing.
    #[error("{place}: {name} is missing")]
    Missing {
        /// The place in the export.
        place: String,
        /// The field.
        name: String,
    },
    /// A field has another type or range than its service documents.
    #[error("{place}: {name} must be {wanted}; got {got}")]
    WrongField {
        /// The place in the export.
        place: String,
        /// The field.
        name: String,
        /// The expected type or range.
        wanted: String,
        /// The value, shortened.
        got: String,
    },
    /// The tag of an Exosite package cannot be read.
    #[error("{place}: the tag otau_info must be JSON, plain or percent-encoded")]
    BadTag {
        /// The place in the export.
        place: String,
    },
    /// A software of Kaa cannot be read.
    #[error("{place}: {}", source.message)]
    Software {
        /// The place in the export.
        place: String,
        /// The error of its definition.
        source: ApiError,
    },
    /// The export has no record of the wanted product.
    #[error("the export has nothing of `{0}`")]
    NothingOf(String),
    /// The export has records of several products.
    #[error("the export has several products: {}", .0.join(", "))]
    SeveralProducts(Vec<String>),
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}
