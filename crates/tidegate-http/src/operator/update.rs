//! `GET updates`, `GET updates/{version}`: an update as it stands.

use serde_json::{Value, json};
use tidegate_core::policy::Slots;
use tidegate_core::{Update, Version};
use tidegate_store::PublishStore;
use tidegate_store::record::UpdateRecord;
use tidegate_wire::answer::happened;
use tidegate_wire::definition::Definition;
use tidegate_wire::{ApiError, ErrorCode};

use super::{Answer, Call, PublishService, unavailable};

impl<S: PublishStore> PublishService<S> {
    /// Every update, newest first.
    pub(crate) async fn list(&self, call: &Call<'_>) -> Answer {
        self.must_exist(call).await?;
        let mut records = self.store.updates(&call.product).await.map_err(unavailable)?;
        records.sort_by(|a, b| b.version.cmp_precedence(&a.version));
        let updates = records.iter().map(shown).collect::<Vec<_>>();
        Ok((200, json!({"updates": updates})))
    }

    /// One update, with its metrics once it has been activated.
    pub(crate) async fn show(&self, call: &Call<'_>, version: &Version) -> Answer {
        let record = self.find(call, version).await?;
        let mut body = shown(&record);
        if record.allocation.is_some() {
            body["metrics"] = self.counters(&record).await?;
        }
        Ok((200, body))
    }
}

/// An update on the wire: its definition, and where it stands.
pub(crate) fn shown(record: &UpdateRecord) -> Value {
    // A definition that cannot be read must not hide the others in a list.
    let definition = serde_json::from_str::<Value>(&record.definition).unwrap_or(Value::Null);
    let mut body = match definition {
        Value::Object(fields) => Value::Object(fields),
        _ => json!({"unreadable": true}),
    };
    body["id"] = json!(record.id.as_str());
    body["product"] = json!(record.product.as_str());
    body["version"] = json!(record.version.to_string());
    body["state"] = json!(record.state.name());
    body["reason"] = json!(record.reason);
    body["generation"] = json!(record.generation);
    body["created_at"] = json!(happened(record.created_at));
    body["changed_at"] = json!(happened(record.changed_at));
    body
}

/// The rules' view of a record.
pub(crate) fn compiled(record: &UpdateRecord, slots: &mut Slots) -> Result<Update, ApiError> {
    let unreadable = |why: String| {
        tracing::error!(product = %record.product, version = %record.version, why, "update_unreadable");
        ApiError::new(ErrorCode::BadField, format!("the stored update {} cannot be read: {why}", record.version))
    };
    Definition::compile(&record.definition, &record.product, &record.publication(), slots).map_err(unreadable)
}
