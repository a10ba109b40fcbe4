//! Settlement: the end of a reservation. It writes the claim and its shard's counters, both or neither.

use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem, Update};
use tidegate_core::claim::CountDelta;
use tidegate_core::{Claim, ClaimState, Timestamp};

use super::item::{self, n, s, time};
use super::reserve::{held, unbuilt};
use super::{DynamoStore, cancelled, failed_condition, key};
use crate::record::{ClaimKey, DeviceWrite};
use crate::store::{CheckStore, ReportStore, SettleClaims, StoreError, Stored};

impl SettleClaims for DynamoStore {
    async fn settle(&self, claim: &ClaimKey, before: &Claim, after: &Claim, delta: CountDelta) -> Stored<()> {
        self.end_reservation(claim, before, after, delta, None).await
    }
}

impl ReportStore for DynamoStore {
    async fn settle_and_save(
        &self,
        claim: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: &DeviceWrite,
    ) -> Stored<()> {
        self.end_reservation(claim, before, after, delta, Some(device)).await
    }

    async fn save_running(&self, device: &DeviceWrite) -> Stored<()> {
        CheckStore::save_device(self, device).await
    }

    async fn note_progress(
        &self,
        claim: &ClaimKey,
        status: &str,
        progress: Option<u8>,
        message: Option<&str>,
        now: Timestamp,
    ) -> Stored<bool> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key::claim(claim)))
            .condition_expression("#state = :reserved")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":reserved", s(item::claim_state(ClaimState::Reserved)))
            .expression_attribute_values(":status", s(status))
            .expression_attribute_values(":now", time(now));
        let mut sets = vec!["last_status = :status", "last_status_at = :now"];
        if let Some(progress) = progress {
            sets.push("progress = :progress");
            update = update.expression_attribute_values(":progress", n(progress));
        }
        if let Some(message) = message {
            sets.push("message = :message");
            update = update.expression_attribute_values(":message", s(message));
        }
        let sent = update.update_expression(format!("SET {}", sets.join(", "))).send().await;
        held(sent, |error| error.is_conditional_check_failed_exception())
    }
}

impl DynamoStore {
    async fn end_reservation(
        &self,
        claim: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: Option<&DeviceWrite>,
    ) -> Stored<()> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item::claim_to(claim, after)))
            .condition_expression("epoch = :epoch AND #state = :state")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":epoch", n(before.epoch))
            .expression_attribute_values(":state", s(item::claim_state(before.state)))
            .build()
            .map_err(unbuilt)?;
        let count = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::shard(&claim.update, before.shard)))
            .update_expression(
                "SET in_flight = in_flight + :in_flight, succeeded = succeeded + :succeeded, \
                 failed = failed + :failed, timed_out = timed_out + :timed_out",
            )
            .expression_attribute_values(":in_flight", n(delta.in_flight))
            .expression_attribute_values(":succeeded", n(delta.succeeded))
            .expression_attribute_values(":failed", n(delta.failed))
            .expression_attribute_values(":timed_out", n(delta.timed_out))
            .build()
            .map_err(unbuilt)?;
        let mut writes =
            vec![TransactWriteItem::builder().put(put).build(), TransactWriteItem::builder().update(count).build()];
        if let Some(device) = device {
            writes.extend(self.write_device(device)?);
        }
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let is_other =
            |reasons: &[CancellationReason]| [0, 2].iter().any(|at| failed_condition(reasons, *at).is_some());
        match sent.map_err(cancelled) {
            Ok(_) => Ok(()),
            Err(Ok(reasons)) if is_other(&reasons) => Err(StoreError::Conflict),
            Err(Ok(_)) => Err(StoreError::Unavailable("others write the same records".into())),
            Err(Err(error)) => Err(error),
        }
    }
}
