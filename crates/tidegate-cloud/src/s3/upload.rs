//! An upload: bytes in a temporary file, which is deleted unless it is published.

use std::io::SeekFrom;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Result, s3_error};
use tempfile::TempPath;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::catalog::internal;
use super::digest::{Declared, Digests, named};

/// A body that has arrived completely. Dropping it deletes its file.
pub(super) struct Upload {
    pub(super) file: TempPath,
    pub(super) size_bytes: u64,
    pub(super) digests: Digests,
    md5: [u8; 16],
}

impl Upload {
    /// The entity tag that S3 gives a plain upload.
    pub(super) fn etag(&self) -> String {
        hex::encode(self.md5)
    }

    pub(super) fn md5_base64(&self) -> String {
        STANDARD.encode(self.md5)
    }
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Returns true if a piece is all zeros, so that it can be a hole of its file.
pub(super) fn is_hole(piece: &[u8]) -> bool {
    piece.chunks(ZEROS.len()).all(|piece| ZEROS.get(..piece.len()) == Some(piece))
}

/// Writes `body` to a new file in `folder`, piece by piece, and computes every digest.
pub(super) async fn receive(folder: &Path, mut body: StreamingBlob, declared: &Declared) -> S3Result<Upload> {
    let (file, path) = tempfile::NamedTempFile::new_in(folder).map_err(internal)?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let mut hasher = declared.hasher();
    let mut md5 = Md5::new();
    let mut size_bytes = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| s3_error!(IncompleteBody, "{error}"))?;
        size_bytes += piece.len() as u64;
        declared.allows(size_bytes)?;
        md5.update(&piece);
        hasher.update(&piece);
        match is_hole(&piece) {
            true => {
                let length = i64::try_from(piece.len()).map_err(internal)?;
                file.seek(SeekFrom::Current(length)).await.map_err(internal)?;
            }
            false => file.write_all(&piece).await.map_err(internal)?,
        }
    }
    // A tokio file reports a failed write at the next call.
    file.flush().await.map_err(internal)?;
    file.set_len(size_bytes).await.map_err(internal)?;
    Ok(Upload { file: path, size_bytes, digests: named(hasher.finalize()), md5: md5.finalize().into() })
}
