//! A new draft, and the uploads of its files.

use std::collections::BTreeMap;

use tidegate_core::Version;
use tidegate_engine::operate::{self, FileUpload};
use tidegate_store::PublishStore;
use tidegate_wire::definition::Definition;
use tidegate_wire::operator::{Created, PartUpload, PartsAsked, Upload, UploadMethod, UploadedParts};
use tidegate_wire::strict_json;

use super::{Answer, Call, PublishService, ok, refused, respond};

impl<S: PublishStore> PublishService<S> {
    /// Creates a draft. A repeated create gets the same answer. The same version with other content is refused.
    pub(crate) async fn create(&self, call: &Call<'_>) -> Answer {
        let definition = Definition::from_operator(call.body, &call.product)?;
        let draft = self.engine.create(&call.product, &definition, &call.actor(None)?).await.map_err(refused)?;
        let uploads = draft.uploads.into_iter().map(|FileUpload { name, whole }| match whole {
            Some(operate::Upload { url, headers }) => {
                Upload { name, method: UploadMethod::Put, url: Some(url), headers }
            }
            None => Upload { name, method: UploadMethod::Parts, url: None, headers: BTreeMap::new() },
        });
        let created = Created {
            id: draft.id,
            version: draft.version.to_string(),
            state: draft.state,
            uploads: uploads.collect(),
            reports_as: draft.reports_as,
        };
        respond(201, &created)
    }

    /// Begins the upload of a file in parts, or goes on with it.
    pub(crate) async fn upload_parts(&self, call: &Call<'_>, version: &Version) -> Answer {
        let PartsAsked { name } = strict_json::read_body(call.body)?;
        let actor = call.actor(None)?;
        let uploaded = self.engine.upload_in_parts(&call.product, version, &name, &actor).await.map_err(refused)?;
        let parts = uploaded.parts.into_iter().map(|part| PartUpload {
            offset: part.offset,
            size: part.size_bytes,
            url: part.upload.url,
            headers: part.upload.headers,
        });
        let size = uploaded.file.size_bytes;
        ok(&UploadedParts { name, size, stored: uploaded.stored_bytes, parts: parts.collect() })
    }
}
