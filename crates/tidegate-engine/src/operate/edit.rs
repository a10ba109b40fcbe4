//! Changes the rollout of a draft, or of an active or paused update.

use serde_json::{Map, Value};
use tidegate_core::policy::Slots;
use tidegate_core::{ProductId, State, Version};
use tidegate_store::record::UpdateRecord;
use tidegate_store::store::Cause;
use tidegate_store::{PublishStore, StoreError};
use tidegate_wire::definition::Definition;

use super::{MOST_TRIES, Operations};
use crate::control::{self, Actor, Measure};
use crate::error::{Done, EngineError};

impl<S: PublishStore> Operations<S> {
    /// Merges `rollout` into the rollout of an update. Its catalog is compiled afterwards.
    ///
    /// # Errors
    /// When there is no such update, it is over, the rollout cannot be used, other operators keep changing the update,
    /// or the store cannot be reached.
    pub async fn edit(
        &self,
        product: &ProductId,
        version: &Version,
        rollout: &Map<String, Value>,
        actor: &Actor,
    ) -> Done<UpdateRecord> {
        let rollout = Value::Object(rollout.clone());
        for _ in 0..MOST_TRIES {
            let record = self.update(product, version).await?;
            if !matches!(record.state, State::Draft | State::Active | State::Paused) {
                return Err(EngineError::NotEditable(record.state));
            }
            let before = Definition::from_store(&record.definition)
                .map_err(|error| EngineError::UnreadableUpdate { version: version.clone(), why: Cause::of(error) })?;
            let after = before.with_rollout(&rollout, product)?;
            let update = after.update(product, &record.publication(), &mut Slots::new())?;
            let change = (after.to_store(), rollout.to_string());
            let measure = Measure::of(&update);
            match control::redefine(&self.store, &record, (change.0, &change.1), measure, actor).await {
                Ok(changed) => {
                    crate::compile::compile_or_leave_it(&self.store, product).await;
                    return Ok(changed);
                }
                Err(EngineError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict.into())
    }
}
