//! Changes of an update: the wish before the shards are shut, and the record after.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use tidegate_core::shard::Gate;
use tidegate_core::{ProductId, State, Transition, UpdateId};

use super::item::{self, n, s};
use super::{DynamoStore, Expression, failed_conditions, key, put_item, send, unbuilt, update_item};
use crate::record::{AuditEntry, Change, RolloutKey, UpdateRecord};
use crate::store::{CloseRollouts, Expected, Shut, StoreError, Stored};

impl CloseRollouts for DynamoStore {
    async fn audit(&self, product: &ProductId, entry: &AuditEntry) -> Stored<()> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::audit_to(product, entry)))
            .condition_expression("attribute_not_exists(pk)");
        // The same entry may be there: then the answer to an earlier try was lost.
        send::send("write an audit entry", send::READ, &put).await.map(drop)
    }

    async fn want(&self, update: &UpdateRecord, expected: Expected, audit: Option<&AuditEntry>) -> Stored<()> {
        let mut change = Expression::default();
        let mut attributes = item::update_to(update);
        change.put("wanted", attributes.remove("wanted").unwrap_or(AttributeValue::Null(true)));
        let activates =
            update.wanted.as_ref().is_some_and(|wanted| wanted.change == Change::Transition(Transition::Activate));
        for name in item::ACTIVATION_ATTRIBUTES {
            match attributes.remove(name) {
                Some(value) => change.put(name, value),
                None if activates && name == item::NEWCOMERS_SINCE => change.remove(name),
                None => {}
            }
        }
        expect(&mut change, expected);
        let mut head = Expression::default();
        head.value(":one", n(1));
        let mut text = "ADD revision :one".to_string();
        if let Some(revision) = expected.revision {
            head.condition("revision = :revision");
            head.value(":revision", n(revision));
        }
        if let Some(wanted) = &update.wanted {
            if wanted.change.halts() {
                head.value(":halted", ids([&update.id]));
                text.push_str(", halted :halted");
            }
            if wanted.change.leads_to(update.state) == State::Active {
                head.condition("attribute_not_exists(stopped)");
            }
            if wanted.change == Change::Stop {
                head.condition("attribute_exists(stopped)");
            }
        }
        self.change_update(update, &change, self.head_update(update, text, &head)?, audit).await
    }

    async fn shut_shard(&self, rollout: &RolloutKey, shard: u16, gate: Gate, generation: u64) -> Stored<Shut> {
        self.shut(rollout, shard, gate, generation).await
    }

    async fn record_change(&self, update: &UpdateRecord, expected: Expected, audit: Option<&AuditEntry>) -> Stored<()> {
        let mut change = Expression::default();
        let mut attributes = item::update_to(update);
        for attribute in item::OPTIONAL_ATTRIBUTES {
            if !attributes.contains_key(attribute) {
                change.remove(attribute);
            }
        }
        let mut sorted = attributes.drain().collect::<Vec<_>>();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (attribute, value) in sorted {
            change.put(&attribute, value);
        }
        expect(&mut change, expected);
        let mut head = Expression::default();
        head.value(":one", n(1));
        let mut text = "ADD revision :one".to_string();
        if update.state == State::Active {
            // Nothing opens while the whole product is stopped.
            head.condition("attribute_not_exists(stopped)");
            head.value(":halted", ids([&update.id]));
            text.push_str(" DELETE halted :halted");
        }
        self.change_update(update, &change, self.head_update(update, text, &head)?, audit).await
    }
}

/// The record must be as it was read.
pub(super) fn expect(change: &mut Expression, expected: Expected) {
    change.condition("generation = :expected");
    change.value(":expected", n(expected.generation));
    match expected.wanted {
        None => change.condition("attribute_not_exists(wanted)"),
        Some(generation) => {
            change.condition("wanted.gen = :expected_wanted");
            change.value(":expected_wanted", n(generation));
        }
    }
}

/// A set of ids.
pub(super) fn ids<'a>(updates: impl IntoIterator<Item = &'a UpdateId>) -> AttributeValue {
    AttributeValue::Ss(updates.into_iter().map(|update| update.as_str().to_string()).collect())
}

impl DynamoStore {
    pub(super) fn head_update(&self, update: &UpdateRecord, text: String, head: &Expression) -> Stored<Update> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::head(&update.product)))
            .update_expression(text)
            .set_condition_expression(head.condition_text())
            .set_expression_attribute_values(head.values());
        update.build().map_err(unbuilt)
    }

    /// One transaction: the update, its head, and the audit entry.
    async fn change_update(
        &self,
        update: &UpdateRecord,
        change: &Expression,
        head: Update,
        audit: Option<&AuditEntry>,
    ) -> Stored<()> {
        let record = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::update(&update.product, &update.version)))
            .update_expression(change.text())
            .set_condition_expression(change.condition_text())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .build()
            .map_err(unbuilt)?;
        let mut writes = vec![update_item(record), update_item(head)];
        if let Some(entry) = audit {
            writes.push(self.audit_put(&update.product, entry)?);
        }
        match self.transact("change an update", writes).await? {
            true => Ok(()),
            false => Err(StoreError::Conflict),
        }
    }

    /// Sends a transaction; `false` if a condition failed.
    pub(super) async fn transact(&self, what: &'static str, writes: Vec<TransactWriteItem>) -> Stored<bool> {
        let transaction = self.client.transact_write_items().set_transact_items(Some(writes));
        Ok(send::send(what, send::STOP, &transaction).await?.is_ok())
    }

    /// Sends a transaction whose second write is an audit entry; `false` if a condition failed. With this entry, an earlier
    /// try was applied and its answer was lost.
    pub(super) async fn transact_audited(&self, what: &'static str, writes: Vec<TransactWriteItem>) -> Stored<bool> {
        let transaction = self.client.transact_write_items().set_transact_items(Some(writes));
        match send::send(what, send::STOP, &transaction).await? {
            Ok(_) => Ok(true),
            Err(refused) => Ok(failed_conditions(&refused).contains_key(&1)),
        }
    }

    /// The put of an audit entry. An entry is never overwritten.
    pub(super) fn audit_put(&self, product: &ProductId, entry: &AuditEntry) -> Stored<TransactWriteItem> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item::audit_to(product, entry)))
            .condition_expression("attribute_not_exists(pk)");
        Ok(put_item(put.build().map_err(unbuilt)?))
    }

    /// Puts a product into the list of products, if it is not there.
    pub(super) fn listed_product(&self, product: &ProductId) -> Stored<TransactWriteItem> {
        let mut change = Expression::default();
        change.put("listed", AttributeValue::Bool(true));
        Ok(update_item(self.built(key::product(product), &change)?))
    }

    /// Notes in the list of products whether the devices of one may register themselves.
    pub(super) fn opened_product(&self, product: &ProductId, is_open: bool) -> Stored<TransactWriteItem> {
        let mut change = Expression::default();
        match is_open {
            true => change.put(key::IS_OPEN, AttributeValue::Bool(true)),
            false => change.remove(key::IS_OPEN),
        }
        Ok(update_item(self.built(key::product(product), &change)?))
    }

    /// The flag in a head that stops the whole product.
    pub(super) fn stopped_update(&self, product: &ProductId, is_stopped: bool, who: &str) -> Stored<Update> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::head(product)))
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":one", n(1));
        let update = match is_stopped {
            true => update
                .update_expression("SET stopped = :who ADD revision :one")
                .expression_attribute_values(":who", s(who)),
            false => update.update_expression("REMOVE stopped ADD revision :one"),
        };
        update.build().map_err(unbuilt)
    }
}
