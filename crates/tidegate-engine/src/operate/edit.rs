//! Changes of an update that exists.

use serde_json::{Map, Value};
use tidegate_core::policy::Slots;
use tidegate_core::{ProductId, State, Update, Version};
use tidegate_store::PublishStore;
use tidegate_store::record::{Change, UpdateRecord};
use tidegate_store::store::Cause;
use tidegate_wire::definition::Definition;
use tidegate_wire::{ApiError, ErrorCode};

use super::Operations;
use super::change::Asked;
use crate::control::{Actor, Changed};
use crate::error::{Done, EngineError};

/// What an edit may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edits {
    /// Any field of a draft but its version; of a published update, what its image says of itself.
    Update,
    /// The policy and the rollout of a campaign under way.
    Campaign,
}

impl<S: PublishStore> Operations<S> {
    /// Replaces fields of an update; `rollout` is merged into the present one. Its catalog is compiled afterwards.
    ///
    /// # Errors
    /// When there is no such update, a field may not change in its state, the result cannot be used, another change is
    /// under way, a stronger one replaced this one, or the store cannot be reached.
    pub async fn edit(
        &self,
        product: &ProductId,
        version: &Version,
        edits: Edits,
        fields: &Map<String, Value>,
        actor: &Actor,
    ) -> Done<Changed> {
        self.change(product, version, actor, Asked::Edit(Edit { edits, fields })).await
    }
}

/// Fields that replace the present ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edit<'a> {
    edits: Edits,
    fields: &'a Map<String, Value>,
}

impl Edit<'_> {
    /// The change of an update by this edit.
    pub(super) fn of(self, record: UpdateRecord) -> Done<(UpdateRecord, Change)> {
        self.must_be_allowed(record.state)?;
        let before = Definition::from_store(&record.definition).map_err(|error| EngineError::UnreadableUpdate {
            version: record.version.clone(),
            why: Cause::of(error),
        })?;
        let after = before.with(self.fields, &record.product)?;
        let update = after.update(&record.product, &record.publication(), &mut Slots::new())?;
        must_not_advance(&record, &before, &update)?;
        Ok((record, Change::Edit { definition: after.to_store() }))
    }

    fn must_be_allowed(&self, state: State) -> Done<()> {
        let is_under_way = state.is_live() || state == State::Scheduled;
        if self.edits == Edits::Campaign && !is_under_way {
            return Err(EngineError::NotEditable(state));
        }
        let may_change = |name: &str| match self.edits {
            Edits::Campaign => matches!(name, "policy" | "rollout"),
            Edits::Update if state != State::Draft => name == "reports_as",
            Edits::Update => name != "version",
        };
        if let Some(name) = self.fields.keys().find(|name| !may_change(name)) {
            let message = match name.as_str() {
                "policy" | "rollout" => {
                    format!("`{name}` of a published update is a part of its campaign: PATCH …/campaign")
                }
                "reports_as" => "`reports_as` is no part of a campaign: PATCH the update".to_string(),
                _ => format!("`{name}` is content and never changes; a new version is the way to change it"),
            };
            return Err(ApiError::new(ErrorCode::ContentImmutable, message).into());
        }
        if self.fields.get("policy").and_then(Value::as_str).is_some_and(|policy| policy.trim().is_empty()) {
            return Err(ApiError::bad_field("policy must not be blank; a policy for every device is `true`").into());
        }
        Ok(())
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
