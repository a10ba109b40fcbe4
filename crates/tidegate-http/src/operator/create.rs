//! `POST updates`: write a draft, and say where its files go.

use serde_json::{Value, json};
use tidegate_core::policy::Slots;
use tidegate_core::{State, Update};
use tidegate_store::PublishStore;
use tidegate_store::record::{AuditEntry, UpdateRecord};
use tidegate_wire::definition::Definition;
use tidegate_wire::{ApiError, ErrorCode};

use super::{Answer, Call, PublishService, unavailable};

impl<S: PublishStore> PublishService<S> {
    /// Creates a draft. Repeating the same create answers the same; the same version with other
    /// content is refused.
    pub(crate) async fn create(&self, call: &Call<'_>) -> Answer {
        self.write_draft(call, &Definition::from_operator(call.body, &call.product)?).await
    }

    /// The same for a definition that was read already.
    pub(crate) async fn write_draft(&self, call: &Call<'_>, definition: &Definition) -> Answer {
        let record = draft(call, definition)?;
        let update = definition.update(&call.product, &record.publication(), &mut Slots::new())?;
        let entry = AuditEntry {
            at: call.now,
            who: call.who.clone(),
            action: "create".into(),
            subject: record.version.to_string(),
            from: None,
            to: Some(State::Draft),
            reason: String::new(),
            generation: record.generation,
        };
        let state = match self.store.create_update(&record, &entry).await.map_err(unavailable)? {
            true => State::Draft,
            false => self.same_as_before(call, &record).await?,
        };
        let uploads = if state == State::Draft { self.uploads(call, &update).await? } else { Vec::new() };
        let body = json!({
            "id": record.id.as_str(),
            "version": record.version.to_string(),
            "state": state.name(),
            "uploads": uploads,
        });
        Ok((201, body))
    }

    async fn same_as_before(&self, call: &Call<'_>, record: &UpdateRecord) -> Result<State, ApiError> {
        let stored = self.store.update(&call.product, &record.version).await.map_err(unavailable)?;
        match stored {
            Some(stored) if stored.definition == record.definition => Ok(stored.state),
            _ => Err(ApiError::new(
                ErrorCode::VersionExists,
                format!(
                    "{} already has an update {} with other content; give the new one a new version",
                    call.product, record.version
                ),
            )),
        }
    }

    /// A presigned upload for each file whose bytes are not there yet.
    async fn uploads(&self, call: &Call<'_>, update: &Update) -> Result<Vec<Value>, ApiError> {
        let mut uploads = Vec::new();
        for file in &update.content.files {
            if self.images.exists(&call.product, file).await.map_err(unavailable)? {
                continue;
            }
            let signed = self.images.sign_upload(&call.product, file, call.now).await.map_err(unavailable)?;
            let headers = signed.headers.into_iter().collect::<std::collections::BTreeMap<_, _>>();
            uploads.push(json!({"name": file.name, "method": "PUT", "url": signed.url, "headers": headers}));
        }
        Ok(uploads)
    }
}

fn draft(call: &Call<'_>, definition: &Definition) -> Result<UpdateRecord, ApiError> {
    let version = definition.semver()?;
    Ok(UpdateRecord {
        id: tidegate_core::UpdateId::of(&call.product, &version),
        product: call.product.clone(),
        version,
        state: State::Draft,
        generation: 1,
        definition: definition.to_store(),
        allocation: None,
        objects: Vec::new(),
        reason: String::new(),
        created_at: call.now,
        changed_at: call.now,
    })
}
