//! A new draft.

use tidegate_store::PublishStore;
use tidegate_wire::definition::Definition;
use tidegate_wire::operator::{Created, Upload, UploadMethod};

use super::{Answer, Call, PublishService, refused, respond};

impl<S: PublishStore> PublishService<S> {
    /// Creates a draft. A repeated create gets the same answer. The same version with other content is refused.
    pub(crate) async fn create(&self, call: &Call<'_>) -> Answer {
        let definition = Definition::from_operator(call.body, &call.product)?;
        let draft = self.engine.create(&call.product, &definition, &call.actor(None)?).await.map_err(refused)?;
        let uploads = draft.uploads.into_iter().map(|upload| Upload {
            name: upload.name,
            method: UploadMethod::Put,
            url: upload.url,
            headers: upload.headers,
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
}
