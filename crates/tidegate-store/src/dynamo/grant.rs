//! Grant: the transaction that makes limits exact. It writes a device with its claim and a shard, both or neither. No
//! other transaction writes a shard, and only operators cause another one that writes a device.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure as OnFailure, Update};
use tidegate_core::ProductId;
use tidegate_core::shard::{Gate, Grant, Shard};
use tidegate_core::snapshot::FORMAT;

use super::item::{self, CatalogAttributes, Item, n, s};
use super::read::{product_of, readable, readable_one};
use super::{DynamoStore, Expression, device, failed_conditions, failed_item, key, send, unbuilt, update_item};
use crate::record::RolloutKey;
use crate::store::{CheckStore, Freshness, GrantRequest, Granted, Patience, Period, StoreError, Stored};

impl CheckStore for DynamoStore {
    async fn grant(&self, request: &GrantRequest, patience: Patience) -> Stored<Granted> {
        let product = request.rollout.product();
        if let Some(doc) = request.seen.as_ref().and_then(|seen| seen.doc.as_ref()) {
            self.put_doc(product, &request.device, doc).await?;
        }
        let writes = vec![
            update_item(self.built(key::device(product, &request.device), &device_change(request))?),
            update_item(self.built(key::shard(&request.rollout, request.after.shard), &shard_change(request))?),
        ];
        let transaction = self.client.transact_write_items().set_transact_items(Some(writes));
        let patience = match patience {
            Patience::None => send::ONE_TRY,
            Patience::Long => send::DEVICE,
        };
        let refused = match send::send("grant a place", patience, &transaction).await? {
            Ok(_) => return Ok(Granted::Yes),
            Err(refused) => refused,
        };
        // The device comes first: if it has the claim already, the shard's state does not matter.
        match failed_conditions(&refused).pop_first() {
            Some((0, reason)) => {
                let item = reason.item.clone().unwrap_or_default();
                Ok(Granted::OtherDevice(Box::new(device::found(product, &item)?)))
            }
            Some((_, reason)) => {
                let shard = reason.item.as_ref().and_then(|item| readable_one(item, item::shard_from));
                Ok(Granted::Refused(shard))
            }
            None => Err(StoreError::unavailable(refused)),
        }
    }

    async fn shard(&self, rollout: &RolloutKey, shard: u16) -> Stored<Option<Shard>> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key::shard(rollout, shard)));
        let item = send::send_plain("read a shard", send::DEVICE, &read).await?.item;
        // One that cannot be read grants nothing, as one that does not exist. The others do.
        Ok(item.as_ref().and_then(|item| readable_one(item, item::shard_from)))
    }

    async fn open_products(&self) -> Stored<BTreeSet<ProductId>> {
        let items = self.query(key::PRODUCTS, None, Freshness::Eventual).await?;
        let open = items.into_iter().filter(|item| item.contains_key(key::IS_OPEN)).collect::<Vec<_>>();
        Ok(readable(&open, product_of).into_iter().collect())
    }

    async fn ask_for_catalog(&self, product: &ProductId, name: &str) -> Stored<()> {
        let attributes = CatalogAttributes::of(FORMAT);
        let update = self
            .update(key::head(product))
            .update_expression("SET #revision = :none")
            .condition_expression("#name = :name AND #revision > :none")
            .expression_attribute_names("#name", attributes.name)
            .expression_attribute_names("#revision", attributes.revision)
            .expression_attribute_values(":name", s(name))
            .expression_attribute_values(":none", n(0));
        match send::send("ask for a catalog", send::DEVICE, &update).await? {
            Ok(_) => Ok(()),
            Err(refused) => failed_item(refused).map(drop),
        }
    }

    async fn add_deferrals(&self, rollout: &RolloutKey, counts: &BTreeMap<&'static str, u64>) -> Stored<()> {
        if counts.is_empty() {
            return Ok(());
        }
        let mut write = self.update(key::deferrals(rollout));
        for (code, deferred) in counts {
            // The attribute has a placeholder, because `full` is a reserved word.
            write = write
                .expression_attribute_names(format!("#{code}"), *code)
                .expression_attribute_values(format!(":{code}"), n(deferred));
        }
        let adds = counts.keys().map(|code| format!("#{code} :{code}")).collect::<Vec<_>>();
        let write = write.update_expression(format!("ADD {}", adds.join(", ")));
        send::send_plain("count deferrals", send::DEVICE, &write).await.map(drop)
    }
}

impl DynamoStore {
    pub(super) fn built(&self, key: key::Key, change: &Expression) -> Stored<Update> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(change.text())
            .set_condition_expression(change.condition_text())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        update.build().map_err(unbuilt)
    }
}

/// The device must be as it was read: its revision is the epoch of the new claim less one, so that a late duplicate of
/// a grant finds another revision.
fn device_change(request: &GrantRequest) -> Expression {
    let mut change = Expression::default();
    let claim = item::claim_to(&request.after);
    match (request.revision, &request.before) {
        (None, _) => {
            change.condition("attribute_not_exists(pk)");
            let claims = Item::from([(item::claim_key(&request.after), claim)]);
            device::create(&mut change, AttributeValue::M(claims));
        }
        (Some(revision), before) => {
            change.condition("attribute_exists(claims) AND rev = :rev");
            change.value(":rev", n(revision));
            match before {
                None => {
                    let path = device::claim_path(&mut change, 0, &request.after);
                    change.condition(format!("attribute_not_exists({path})"));
                }
                Some(before) => device::claim_as_read(&mut change, 0, before),
            }
            change.set("rev", "rev + :one");
            change.value(":one", n(1));
            let path = device::claim_path(&mut change, 0, &request.after);
            change.set(&path, ":claim");
            change.value(":claim", claim);
        }
    }
    if let Some(seen) = &request.seen {
        device::see(&mut change, request.rollout.product(), &request.device, seen);
        if seen.uses_own_token {
            change.put("own", AttributeValue::Bool(true));
        }
    }
    change
}

/// Takes one place, if the gate is open, the generation is ours, and every counter that the grant needs has room.
fn shard_change(request: &GrantRequest) -> Expression {
    let mut change = Expression::default();
    change.condition("gate = :open AND gen = :gen AND (attribute_not_exists(needs) OR needs <= :schema)");
    change.value(":schema", n(item::SCHEMA));
    change.value(":open", s(item::gate(Gate::Open)));
    change.value(":gen", n(request.generation));
    if request.grant == Grant::First {
        change.set("used", "used + :one");
        change.condition("used < cap");
    }
    // A shard without a ceiling was never opened: the comparison fails.
    change.set("granted", "granted + :one");
    change.condition("granted < ceiling");
    match request.period {
        None => {}
        Some(Period::Same(period)) => {
            change.set("wused", "wused + :one");
            change.condition("w = :w AND wused < wcap");
            change.value(":w", n(period));
        }
        // The period moves only forward: a slow clock never opens a period that is over.
        Some(Period::New(period)) => {
            change.set("w", ":w");
            change.set("wused", ":one");
            change.condition("w < :w AND wcap >= :one");
            change.value(":w", n(period));
        }
    }
    change.value(":one", n(1));
    change
}
