//! Uploads of the files of a draft: presigned requests, in one piece or in parts.

use std::collections::BTreeMap;

use tidegate_core::policy::Slots;
use tidegate_core::update::File;
use tidegate_core::{ProductId, State, Update, Version};
use tidegate_store::PublishStore;
use tidegate_store::images::Signed;
use tidegate_store::images::parts::{LARGEST_PUT_BYTES, PartsLeft};
use tidegate_store::record::UpdateRecord;
use tidegate_store::verification::WantedVerification;
use tidegate_wire::ApiError;

use super::{Operations, compiled};
use crate::control::Actor;
use crate::error::Done;

/// A file whose bytes are not stored yet.
#[derive(Debug, Clone)]
pub struct FileUpload {
    /// The name of the file.
    pub name: String,
    /// The request that uploads it in one piece; `None` if it is too large for that.
    pub whole: Option<Upload>,
}

/// A presigned request.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The presigned URL.
    pub url: String,
    /// Headers that must be sent exactly so.
    pub headers: BTreeMap<String, String>,
}

/// State of the upload of one file in parts.
#[derive(Debug, Clone)]
pub struct UploadedParts {
    /// The file.
    pub file: File,
    /// Bytes that are stored.
    pub stored_bytes: u64,
    /// The next parts. None, if all bytes are stored.
    pub parts: Vec<PartUpload>,
}

/// A part of a file that is to be uploaded.
#[derive(Debug, Clone)]
pub struct PartUpload {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// The request.
    pub upload: Upload,
}

impl From<Signed> for Upload {
    fn from(Signed { url, headers }: Signed) -> Self {
        Self { url, headers: headers.into_iter().collect() }
    }
}

impl<S: PublishStore> Operations<S> {
    /// Each file of an update whose bytes are not there yet.
    pub(super) async fn uploads(&self, update: &Update, actor: &Actor) -> Done<Vec<FileUpload>> {
        let mut uploads = Vec::new();
        for file in &update.content.files {
            if self.images.exists(&update.product, file).await? {
                continue;
            }
            let whole = match file.size_bytes <= LARGEST_PUT_BYTES {
                true => Some(self.images.sign_upload(&update.product, file, actor.now).await?.into()),
                false => None,
            };
            uploads.push(FileUpload { name: file.name.clone(), whole });
        }
        Ok(uploads)
    }

    /// Begins the upload of a file in parts, or goes on with it. When the last part is there, they become one object,
    /// and the function `verify` reads it.
    ///
    /// # Errors
    /// When there is no such update or file, or S3 or the store cannot be reached.
    pub async fn upload_in_parts(
        &self,
        product: &ProductId,
        version: &Version,
        name: &str,
        actor: &Actor,
    ) -> Done<UploadedParts> {
        let record = self.update(product, version).await?;
        let update = compiled(&record, &mut Slots::new())?;
        let Some(file) = update.content.files.iter().find(|file| file.name == name) else {
            return Err(ApiError::bad_field(format!("name must be a file of {version}; it is `{name}`")).into());
        };
        let uploaded = |stored_bytes, parts| UploadedParts { file: file.clone(), stored_bytes, parts };
        let is_stored = self.images.exists(product, file).await?;
        let left = match is_stored {
            true => PartsLeft::None,
            false => self.images.continue_upload(product, file, actor.now).await?,
        };
        let PartsLeft::Some { stored_bytes, parts } = left else {
            if self.images.is_large(file) && self.store.verification(product, &file.sha256).await?.is_none() {
                self.ask_for_verification(product, file).await?;
            }
            return Ok(uploaded(file.size_bytes, Vec::new()));
        };
        let parts = parts.into_iter().map(|part| PartUpload {
            offset: part.offset,
            size_bytes: part.size_bytes,
            upload: part.signed.into(),
        });
        Ok(uploaded(stored_bytes, parts.collect()))
    }

    /// The names of an update's files that are being verified.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn verifying(&self, record: &UpdateRecord) -> Done<Vec<String>> {
        if record.state != State::Draft {
            return Ok(Vec::new());
        }
        let Ok(update) = compiled(record, &mut Slots::new()) else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for file in update.content.files.iter().filter(|file| self.images.is_large(file)) {
            let wanted = WantedVerification { product: record.product.clone(), sha256: file.sha256.clone() };
            if self.store.is_verifying(&wanted).await? {
                names.push(file.name.clone());
            }
        }
        Ok(names)
    }
}
