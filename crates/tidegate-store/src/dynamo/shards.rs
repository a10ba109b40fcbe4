//! Shards: shut, opened, and their ceilings raised. Each is one write of one shard.

use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure as OnFailure;
use tidegate_core::limits::UNLIMITED;
use tidegate_core::shard::{Gate, Shard};

use super::item::{self, n, s};
use super::{DynamoStore, Expression, failed_item, key, send};
use crate::record::RolloutKey;
use crate::store::{Opening, RaiseCeilings, Shut, Stored};

impl RaiseCeilings for DynamoStore {
    async fn raise_ceiling(&self, rollout: &RolloutKey, shard: u16, generation: u64, ceiling: u64) -> Stored<()> {
        let mut change = Expression::default();
        change.set("ceiling", ":ceiling");
        change.value(":ceiling", n(ceiling));
        change.condition("gen = :gen AND ceiling < :ceiling");
        change.value(":gen", n(generation));
        self.change_shard("raise a ceiling", rollout, shard, &change).await.map(drop)
    }
}

impl DynamoStore {
    /// Shuts a shard. A shard that is paused for this very generation can still be stopped.
    pub(super) async fn shut(&self, rollout: &RolloutKey, shard: u16, gate: Gate, generation: u64) -> Stored<Shut> {
        let mut change = Expression::default();
        change.put("gate", s(item::gate(gate)));
        change.put("gen", n(generation));
        change.put("schema", n(item::SCHEMA));
        // An interrupted activation can leave a shard missing. It is created here, shut.
        for counter in ["granted", "used", "w", "wused"] {
            change.set(counter, &format!("if_not_exists({counter}, :none)"));
        }
        change.value(":none", n(0));
        let stops = if gate == Gate::Stopped { " OR (gen = :gen AND gate = :paused)" } else { "" };
        if gate == Gate::Stopped {
            change.value(":paused", s(item::gate(Gate::Paused)));
        }
        change.condition(format!("attribute_not_exists(pk) OR gen < :gen{stops}"));
        match self.change_shard("shut a shard", rollout, shard, &change).await? {
            Ok(()) => Ok(Shut::Yes),
            // An open shard of this generation belongs to this change too, which is over then.
            Err(Some(found)) if found.generation > generation || found.gate == Gate::Open => Ok(Shut::LaterChange),
            // It was shut before, by this change.
            Err(_) => Ok(Shut::Yes),
        }
    }

    /// Opens a shard that is shut for this generation; `false` if it is not.
    pub(super) async fn open(&self, rollout: &RolloutKey, shard: u16, opening: &Opening) -> Stored<bool> {
        if opening.caps.per_period < UNLIMITED {
            self.move_period(rollout, shard, opening).await?;
        }
        let mut change = Expression::default();
        change.put("gate", s(item::gate(Gate::Open)));
        change.put("cap", n(opening.caps.devices));
        change.put("wcap", n(opening.caps.per_period));
        // Absolute, also downward: the places of the shard may have become fewer.
        change.put("ceiling", n(opening.ceiling));
        change.condition("gen = :gen AND gate = :paused");
        change.value(":gen", n(opening.generation));
        change.value(":paused", s(item::gate(Gate::Paused)));
        Ok(self.change_shard("open a shard", rollout, shard, &change).await?.is_ok())
    }

    /// Moves a shard to the period for which its caps were split. It moves only forward. That is safe at any time,
    /// because the shard granted nothing in a later period.
    async fn move_period(&self, rollout: &RolloutKey, shard: u16, opening: &Opening) -> Stored<()> {
        let mut change = Expression::default();
        change.put("w", n(opening.period));
        change.put("wused", n(0));
        change.condition("w < :w AND gen = :gen");
        change.value(":gen", n(opening.generation));
        self.change_shard("move a period", rollout, shard, &change).await.map(drop)
    }

    /// Changes a shard. The inner error is the shard as it is, if the condition failed.
    async fn change_shard(
        &self,
        what: &'static str,
        rollout: &RolloutKey,
        shard: u16,
        change: &Expression,
    ) -> Stored<Result<(), Option<Shard>>> {
        let update = self
            .update(key::shard(rollout, shard))
            .update_expression(change.text())
            .set_condition_expression(change.condition_text())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        match send::send(what, send::STOP, &update).await? {
            Ok(_) => Ok(Ok(())),
            Err(refused) => {
                let found = failed_item(refused)?;
                Ok(Err((!found.is_empty()).then(|| item::shard_from(&found)).transpose()?))
            }
        }
    }
}
