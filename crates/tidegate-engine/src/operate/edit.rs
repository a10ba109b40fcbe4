//! Changes the rollout of a draft, or of an active or paused update.

use serde_json::{Map, Value};
use tidegate_core::Update;
use tidegate_core::policy::Slots;
use tidegate_core::{ProductId, Version};
use tidegate_store::PublishStore;
use tidegate_store::record::{Change, UpdateRecord};
use tidegate_store::store::Cause;
use tidegate_wire::ApiError;
use tidegate_wire::definition::Definition;

use super::Operations;
use super::change::Asked;
use crate::control::{Actor, Changed};
use crate::error::{Done, EngineError};

impl<S: PublishStore> Operations<S> {
    /// Merges `rollout` into the rollout of an update. Its catalog is compiled afterwards.
    ///
    /// # Errors
    /// When there is no such update, it is over, the rollout cannot be used, another change is under way, a stronger one
    /// replaced this one, or the store cannot be reached.
    pub async fn edit(
        &self,
        product: &ProductId,
        version: &Version,
        rollout: &Map<String, Value>,
        actor: &Actor,
    ) -> Done<Changed> {
        let rollout = Value::Object(rollout.clone());
        self.change(product, version, actor, Asked::Edit(Edit { rollout: &rollout })).await
    }
}

/// Fields of a rollout that replace the present ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edit<'a> {
    rollout: &'a Value,
}

impl Edit<'_> {
    /// The change of an update by this edit.
    pub(super) fn of(self, record: UpdateRecord) -> Done<(UpdateRecord, Change)> {
        if !record.state.is_editable() {
            return Err(EngineError::NotEditable(record.state));
        }
        let before = Definition::from_store(&record.definition).map_err(|error| EngineError::UnreadableUpdate {
            version: record.version.clone(),
            why: Cause::of(error),
        })?;
        let after = before.with_rollout(self.rollout, &record.product)?;
        let update = after.update(&record.product, &record.publication(), &mut Slots::new())?;
        must_not_advance(&record, &before, &update)?;
        let change = Change::Edit { definition: after.to_store(), settings: self.rollout.to_string() };
        Ok((record, change))
    }
}

/// An edit must not begin a phase on evidence: the number of those that have begun would mean other phases.
fn must_not_advance(record: &UpdateRecord, before: &Definition, after: &Update) -> Done<()> {
    let before = before.update(&record.product, &record.publication(), &mut Slots::new())?;
    let reached = [&before, after].map(|update| update.rollout.share_on_evidence());
    match reached {
        [Some(before), Some(after)] if record.advanced > 0 && after > before => Err(ApiError::bad_field(format!(
            "rollout.phases: {} phases have begun and reach {before}; with these they would reach {after}",
            record.advanced.saturating_add(1)
        ))
        .into()),
        _ => Ok(()),
    }
}
