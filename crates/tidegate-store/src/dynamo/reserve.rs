//! Reservation: the transaction that makes limits exact. It writes a claim and its shard's counters, both or neither.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure as OnFailure, TransactWriteItem, Update};
use tidegate_core::shard::{Gate, Grant};
use tidegate_core::{ProductId, UpdateId};

use super::item::{self, n, s, time};
use super::read::readable_one;
use super::{DynamoStore, cancelled, failed_condition, key, unavailable};
use crate::record::DeviceWrite;
use crate::store::{CheckStore, Period, Reservation, Reserved, StoreError, Stored};

impl CheckStore for DynamoStore {
    async fn reserve(&self, reservation: &Reservation) -> Stored<Reserved> {
        let mut writes = vec![self.put_claim(reservation)?, self.spend(reservation)?];
        if let Some(device) = &reservation.device {
            writes.extend(self.write_device(device)?);
        }
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let reasons = match sent {
            Ok(_) => return Ok(Reserved::Granted),
            Err(error) => match cancelled(error) {
                Ok(reasons) => reasons,
                Err(StoreError::Conflict) => return Ok(Reserved::Busy),
                Err(error) => return Err(error),
            },
        };
        // The claim is checked first: if the device has one, the shard's state does not matter.
        if let Some(reason) = failed_condition(&reasons, 0) {
            return Ok(match &reason.item {
                None => Reserved::OtherClaim(None),
                // An unreadable claim keeps its device from this update only.
                Some(item) => match readable_one(item, item::claim_from) {
                    Some(claim) => Reserved::OtherClaim(Some(claim)),
                    None => Reserved::Refused(None),
                },
            });
        }
        if let Some(reason) = failed_condition(&reasons, 1) {
            return Ok(Reserved::Refused(reason.item.as_ref().and_then(|item| readable_one(item, item::shard_from))));
        }
        if failed_condition(&reasons, 2).is_some() {
            return Ok(Reserved::OtherDevice);
        }
        Ok(Reserved::Busy)
    }

    async fn save_device(&self, write: &DeviceWrite) -> Stored<()> {
        let writes = self.write_device(write)?;
        if let [only] = &writes[..]
            && let Some(update) = only.update()
        {
            return self.update_alone(update).await;
        }
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        match sent.map_err(cancelled) {
            Ok(_) => Ok(()),
            Err(Ok(_)) => Err(StoreError::Conflict),
            Err(Err(error)) => Err(error),
        }
    }

    async fn ask_for_catalog(&self, product: &ProductId, name: &str) -> Stored<()> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key::head(product)))
            .update_expression("SET catalog_revision = :none")
            .condition_expression("catalog_name = :name AND catalog_revision > :none")
            .expression_attribute_values(":name", s(name))
            .expression_attribute_values(":none", n(0))
            .send()
            .await;
        held(sent, |error| error.is_conditional_check_failed_exception()).map(drop)
    }

    async fn add_deferrals(&self, update: &UpdateId, counts: &BTreeMap<&'static str, u64>) -> Stored<()> {
        if counts.is_empty() {
            return Ok(());
        }
        let mut write = self.client.update_item().table_name(&self.table).set_key(Some(key::deferrals(update)));
        for (code, deferred) in counts {
            // The attribute has a placeholder, because `full` is a reserved word.
            write = write
                .expression_attribute_names(format!("#{code}"), *code)
                .expression_attribute_values(format!(":{code}"), n(deferred));
        }
        let adds = counts.keys().map(|code| format!("#{code} :{code}")).collect::<Vec<_>>();
        let write = write.update_expression(format!("ADD {}", adds.join(", ")));
        write.send().await.map_err(unavailable).map(drop)
    }
}

impl DynamoStore {
    /// A single write. Outside of a transaction it costs half.
    async fn update_alone(&self, update: &Update) -> Stored<()> {
        let sent = self
            .client
            .update_item()
            .table_name(update.table_name())
            .set_key(Some(update.key().clone()))
            .update_expression(update.update_expression())
            .set_condition_expression(update.condition_expression().map(str::to_string))
            .set_expression_attribute_names(update.expression_attribute_names().cloned())
            .set_expression_attribute_values(update.expression_attribute_values().cloned())
            .send()
            .await;
        match held(sent, |error| error.is_conditional_check_failed_exception())? {
            true => Ok(()),
            false => Err(StoreError::Conflict),
        }
    }

    /// Write of the claim. For a first claim none may exist; for a further one the lapsed claim must be unchanged.
    fn put_claim(&self, reservation: &Reservation) -> Stored<TransactWriteItem> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item::claim_to(&reservation.key, &reservation.claim)))
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        let put = match &reservation.previous {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(previous) => put
                .condition_expression("epoch = :epoch AND #state = :state")
                .expression_attribute_names("#state", "state")
                .expression_attribute_values(":epoch", n(previous.epoch))
                .expression_attribute_values(":state", s(item::claim_state(previous.state))),
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(unbuilt)?).build())
    }

    /// Takes one place, if the gate is open, the generation is ours, and every counter that the grant needs is below its
    /// cap.
    fn spend(&self, reservation: &Reservation) -> Stored<TransactWriteItem> {
        let mut sets = Vec::new();
        let mut conditions = vec!["gate = :open", "generation = :generation"];
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::shard(&reservation.key.update, reservation.claim.shard)))
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .expression_attribute_values(":open", s(item::gate(Gate::Open)))
            .expression_attribute_values(":generation", n(reservation.generation));
        if reservation.grant == Grant::First {
            sets.push("used = used + :one");
            conditions.push("used < cap");
        }
        if reservation.grant != Grant::Renewed {
            sets.push("in_flight = in_flight + :one");
            conditions.push("in_flight < max_in_flight");
        }
        match reservation.period {
            None => {}
            Some(Period::Same(period)) => {
                sets.push("period_used = period_used + :one");
                conditions.extend(["period_start = :period", "period_used < period_cap"]);
                update = update.expression_attribute_values(":period", n(period));
            }
            // The period moves only forward: a slow clock never opens a period that is over.
            Some(Period::New(period)) => {
                sets.extend(["period_start = :period", "period_used = :one"]);
                conditions.extend(["period_start < :period", "period_cap >= :one"]);
                update = update.expression_attribute_values(":period", n(period));
            }
        }
        let uses_one = sets.iter().any(|set| set.contains(":one"));
        for (counter, by) in counters(reservation) {
            sets.push(counter);
            update = update.expression_attribute_values(placeholder(counter), n(by));
        }
        if sets.is_empty() {
            // A renewal without a rate changes no counter. This update exists only for its conditions.
            sets.push("used = used");
        }
        if uses_one {
            update = update.expression_attribute_values(":one", n(1));
        }
        let update =
            update.update_expression(format!("SET {}", sets.join(", "))).condition_expression(conditions.join(" AND "));
        Ok(TransactWriteItem::builder().update(update.build().map_err(unbuilt)?).build())
    }

    /// Writes of the device's record, and of the counts of its old and its new version.
    pub(super) fn write_device(&self, write: &DeviceWrite) -> Stored<Vec<TransactWriteItem>> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::device(&write.product, &write.device)))
            .update_expression(
                "SET #version = :version, attributes = :attributes, last_seen = :now, \
                 first_seen = if_not_exists(first_seen, :now), index_pk = :list, index_sk = :device",
            )
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", s(&write.version))
            .expression_attribute_values(":attributes", s(&write.attributes))
            .expression_attribute_values(":now", time(write.seen_at))
            .expression_attribute_values(":list", s(key::devices_on(&write.product, &write.version)))
            .expression_attribute_values(":device", s(write.device.as_str()));
        let update = match &write.previous_version {
            None => update.condition_expression("attribute_not_exists(#version)"),
            Some(previous) => update
                .condition_expression("#version = :previous")
                .expression_attribute_values(":previous", s(previous)),
        };
        let mut writes = vec![TransactWriteItem::builder().update(update.build().map_err(unbuilt)?).build()];
        if write.previous_version.as_ref() != Some(&write.version) {
            writes.push(self.count_version(write, &write.version, 1)?);
            if let Some(previous) = &write.previous_version {
                writes.push(self.count_version(write, previous, -1)?);
            }
        }
        Ok(writes)
    }

    fn count_version(&self, write: &DeviceWrite, version: &str, by: i64) -> Stored<TransactWriteItem> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::version_count(&write.product, &write.device, version)))
            .update_expression("ADD devices :by")
            .expression_attribute_values(":by", n(by))
            .build()
            .map_err(unbuilt)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// Changes of the outcome counters by a renewal: the attempt before it timed out.
fn counters(reservation: &Reservation) -> impl Iterator<Item = (&'static str, i64)> {
    let moved = reservation.delta;
    [
        ("succeeded = succeeded + :succeeded", moved.succeeded),
        ("failed = failed + :failed", moved.failed),
        ("timed_out = timed_out + :timed_out", moved.timed_out),
    ]
    .into_iter()
    .filter(|(_, by)| *by != 0)
}

fn placeholder(set: &str) -> String {
    set.rsplit(' ').next().unwrap_or_default().to_string()
}

/// Error of a builder without a required field. All required fields are set here.
pub(super) fn unbuilt(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Unavailable(format!("a request could not be built: {error}").into())
}

/// Result of one write with a condition: `true` if the condition held.
pub(super) fn held<T, E>(
    sent: Result<T, aws_sdk_dynamodb::error::SdkError<E>>,
    is_condition: impl Fn(&E) -> bool,
) -> Stored<bool>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match sent {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(is_condition) => Ok(false),
        Err(error) => Err(unavailable(error)),
    }
}
