//! The folder with the images of an export, and which of them is the file a record names.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::record::WantedFile;

/// SHA-256 and length of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHash {
    /// 64 lower-case hex digits.
    pub sha256: String,
    /// The length in bytes.
    pub size_bytes: u64,
}

/// A file of an update that is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its path.
    pub path: PathBuf,
    /// Its name in the update.
    pub name: String,
    /// 64 lower-case hex digits.
    pub sha256: String,
    /// The length in bytes.
    pub size_bytes: u64,
}

/// Hashes a file; the command shows its progress meanwhile.
type Hasher<'h> = Box<dyn FnMut(&Path) -> io::Result<FileHash> + 'h>;

/// A folder of images, each hashed at most once.
pub struct Images<'h> {
    folder: PathBuf,
    paths: BTreeMap<String, PathBuf>,
    /// By name.
    hashed: BTreeMap<String, FileHash>,
    hasher: Hasher<'h>,
}

impl fmt::Debug for Images<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images").field("folder", &self.folder).field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// Result of looking for a file.
pub(crate) enum Found {
    /// It is in the folder; with a note, if there is one.
    Here(Image, Option<String>),
    /// It is not in the folder, but described well enough for a draft that waits for its bytes.
    Elsewhere { sha256: String, size_bytes: u64, lost: Option<String>, remark: Option<String> },
    /// It is neither; the sentence says what is missing.
    Nowhere(String),
}

impl<'h> Images<'h> {
    /// The files directly in `folder`, to be hashed with `hasher`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn in_folder(folder: &Path, hasher: impl FnMut(&Path) -> io::Result<FileHash> + 'h) -> Result<Self> {
        let failed = |source| Error::File { path: folder.to_owned(), source };
        let mut paths = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name().and_then(|name| name.to_str())) {
                paths.insert(name.to_owned(), path);
            }
        }
        Ok(Self { folder: folder.to_owned(), paths, hashed: BTreeMap::new(), hasher: Box::new(hasher) })
    }

    /// Whether a file has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.paths.contains_key(name)
    }

    /// The file of this name, as an image that the update knows by `wanted`.
    fn image(&mut self, name: &str, wanted: &str) -> Result<Option<Image>> {
        let Some(path) = self.paths.get(name).cloned() else { return Ok(None) };
        let FileHash { sha256, size_bytes } = match self.hashed.get(name) {
            Some(known) => known.clone(),
            None => {
                let hash = (self.hasher)(&path).map_err(|source| Error::File { path: path.clone(), source })?;
                self.hashed.insert(name.to_owned(), hash.clone());
                hash
            }
        };
        Ok(Some(Image { path, name: wanted.to_owned(), sha256, size_bytes }))
    }

    /// The file with these bytes, under the name that the update knows.
    fn with_bytes(&mut self, sha256: &str, size_bytes: Option<u64>, wanted: &str) -> Result<Option<Image>> {
        for (name, path) in self.paths.clone() {
            let length = path.metadata().map(|metadata| metadata.len()).ok();
            if size_bytes.is_some() && length != size_bytes {
                continue;
            }
            if let Some(image) = self.image(&name, wanted)?.filter(|image| image.sha256 == sha256) {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }
}

/// Looks for a file by its name, then by its SHA-256. The record's SHA-256 has the last word: bytes
/// that differ are not taken.
pub(crate) fn look_for(wanted: &WantedFile, images: Option<&mut Images<'_>>) -> Result<Found> {
    let WantedFile { name, sha256, size_bytes } = wanted;
    let mut reason = None;
    let folder_given = images.is_some();
    if let Some(images) = images {
        let by_name = images.image(name, name)?;
        match (by_name, sha256) {
            (Some(image), Some(known)) if image.sha256 == *known => return Ok(Found::Here(image, None)),
            (Some(image), None) if size_bytes.is_none_or(|size| size == image.size_bytes) => {
                let note = format!("{name}: the export has no SHA-256; that of the file in --images is taken");
                return Ok(Found::Here(image, Some(note)));
            }
            (Some(image), _) => {
                reason = Some(format!(
                    "{name}: the file in --images is another one (SHA-256 {}, {} bytes), so it is not uploaded",
                    image.sha256, image.size_bytes
                ));
            }
            (None, _) => {}
        }
        if let Some(known) = sha256
            && let Some(image) = images.with_bytes(known, *size_bytes, name)?
        {
            return Ok(Found::Here(image, None));
        }
        reason = reason.or_else(|| Some(format!("{name}: is not in {}", images.folder.display())));
    }
    Ok(match (sha256, size_bytes) {
        (Some(sha256), Some(size_bytes)) => {
            let remark = format!("{name}: the draft waits for its bytes; import again with --images to upload them");
            Found::Elsewhere {
                sha256: sha256.clone(),
                size_bytes: *size_bytes,
                lost: reason,
                remark: (!folder_given).then_some(remark),
            }
        }
        _ => {
            let what = if sha256.is_none() { "SHA-256" } else { "size" };
            let why = reason.unwrap_or_else(|| format!("{name}: --images would have it"));
            Found::Nowhere(format!("the export does not say the {what} of its file. {why}"))
        }
    })
}
