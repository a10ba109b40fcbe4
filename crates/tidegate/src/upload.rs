//! Uploads of images: in one request, or in parts, so that an upload that was interrupted goes on where it stopped.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use indicatif::ProgressBar;
use serde_json::json;
use tidegate_wire::operator::{Created, PartUpload, Upload, UploadMethod, UploadedParts};
use tidegate_wire::route::PublishRoute;

use crate::api_client::{ApiClient, ApiPath};
use crate::error::{CommandError, CommandResult};
use crate::output::{self, Output};
use crate::progress::{self, Counted};
use crate::publish::{Image, create};
use crate::update;

/// Attempts to upload a file or a part; each with a fresh URL.
const UPLOAD_ATTEMPTS: u32 = 3;
/// Files above this size are uploaded in parts: what is sent again after an interruption is never more.
const IN_PARTS_ABOVE_BYTES: u64 = 100 << 20;

/// An update whose images are uploaded.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) client: &'a ApiClient,
    pub(crate) product: &'a str,
    /// The body that created it. Repeating the create is harmless, and its answer names the files that are still missing.
    pub(crate) body: &'a serde_json::Value,
    pub(crate) images: &'a [Image],
}

impl Draft<'_> {
    /// Uploads the files that the service asks for, and returns their names.
    pub(crate) fn upload_all(&self, created: &Created, output: &Output) -> CommandResult<Vec<String>> {
        let mut uploaded = Vec::new();
        for upload in &created.uploads {
            let image = self.images.iter().find(|image| image.name == upload.name).ok_or_else(|| {
                CommandError::bad_input(format!(
                    "the service still needs the bytes of {}: give that file as an image",
                    output::clean(&upload.name)
                ))
            })?;
            match upload.method == UploadMethod::Parts || image.size_bytes > IN_PARTS_ABOVE_BYTES {
                true => self.upload_parts(&created.version, image, output)?,
                false => self.upload_whole(upload, image, output)?,
            }
            uploaded.push(image.name.clone());
        }
        Ok(uploaded)
    }

    /// Uploads a file in one request. A broken upload is tried again with a fresh URL.
    fn upload_whole(&self, first: &Upload, image: &Image, output: &Output) -> CommandResult {
        let mut result = self.put_whole(first, image);
        for _ in 1..UPLOAD_ATTEMPTS {
            let Err(error) = &result else { break };
            output.note(format!("{}: {error}; trying again with a fresh URL", image.name));
            let again = create(self.client, self.product, self.body)?;
            result = match again.uploads.iter().find(|upload| upload.name == image.name) {
                Some(fresh) => self.put_whole(fresh, image),
                // Only the answer got lost: the bytes are there.
                None => Ok(()),
            };
        }
        result
    }

    fn put_whole(&self, upload: &Upload, image: &Image) -> CommandResult {
        let bar = progress::bar(&format!("uploading {}", image.name), image.size_bytes);
        let part = PartUpload {
            offset: 0,
            size: image.size_bytes,
            url: upload.url.clone().unwrap_or_default(),
            headers: upload.headers.clone(),
        };
        let result = self.put(&part, image, &bar);
        bar.finish_and_clear();
        result
    }

    /// Uploads a file in parts, as long as parts arrive.
    fn upload_parts(&self, version: &str, image: &Image, output: &Output) -> CommandResult {
        let path = ApiPath::update(PublishRoute::UploadParts, self.product, version);
        let bar = progress::bar(&format!("uploading {}", image.name), image.size_bytes);
        let (mut stored_before, mut attempts) = (0, 0);
        loop {
            let left = self.client.post(&path, &json!({"name": image.name}))?;
            let left: UploadedParts = update::read(&left, "answer about the upload")?;
            if left.parts.is_empty() {
                bar.finish_and_clear();
                return Ok(());
            }
            if attempts == 0 && stored_before == 0 && left.stored > 0 {
                let (stored, size) = (output::bytes(left.stored), output::bytes(left.size));
                output.note(format!("{}: {stored} of {size} are stored; going on", image.name));
            }
            attempts = if left.stored > stored_before { 0 } else { attempts };
            stored_before = left.stored;
            bar.set_position(left.stored);
            let sent = left.parts.iter().try_for_each(|part| self.put(part, image, &bar));
            let Err(error) = sent else { continue };
            attempts += 1;
            if attempts == UPLOAD_ATTEMPTS {
                bar.finish_and_clear();
                output.note("what was sent is kept for seven days: the same command goes on with it");
                return Err(error);
            }
            output.note(format!("{}: {error}; trying again with a fresh URL", image.name));
        }
    }

    fn put(&self, part: &PartUpload, image: &Image, bar: &ProgressBar) -> CommandResult {
        let failed = |cause| CommandError::file("read", &image.path, cause);
        let mut file = File::open(&image.path).map_err(failed)?;
        file.seek(SeekFrom::Start(part.offset)).map_err(failed)?;
        let headers = part.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>();
        let mut content = Counted::new(file.take(part.size), bar);
        self.client.transfers().upload("PUT", &part.url, &headers, part.size, &mut content)
    }
}
