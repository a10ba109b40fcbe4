//! A device's item, and its `device.json` beside it.

use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure as OnFailure};
use tidegate_core::orders::Orders;
use tidegate_core::{Claim, DeviceId, ProductId};

use super::item::{self, Fields, Item, n, s, time};
use super::{DynamoStore, Expression, failed_conditions, failed_item, key, put_item, send, unbuilt, update_item};
use crate::record::{AuditEntry, ClaimChange, DeviceDeletion, DeviceWrite, Doc, KnownDevice, Seen};
use crate::store::{Freshness, Include, ReadDevices, ReportStore, StoreError, Stored, WriteDevices, Written};

impl ReadDevices for DynamoStore {
    async fn device(
        &self,
        product: &ProductId,
        device: &DeviceId,
        include: Include,
        freshness: Freshness,
    ) -> Stored<KnownDevice> {
        let items = match include {
            Include::Item => {
                let read = self
                    .client
                    .get_item()
                    .table_name(&self.table)
                    .set_key(Some(key::device(product, device)))
                    .consistent_read(freshness == Freshness::Strong);
                let read = send::send_plain("read a device", send::DEVICE, &read).await?;
                read.item.into_iter().collect()
            }
            Include::ItemAndDoc => self.query(&key::device_partition(product, device), None, freshness).await?,
        };
        let mut known = KnownDevice::default();
        let mut attributes = None;
        for item in &items {
            match Fields(item).text("sk")? {
                // An unreadable record could hide a revocation, so the read fails.
                key::DEVICE => {
                    known = item::known_from(product, item)?;
                    if include == Include::ItemAndDoc {
                        known.messages = item::messages_from(product, item);
                    }
                }
                key::DOC => attributes = Fields(item).maybe_text("json").map(str::to_string),
                _ => {}
            }
        }
        if let Some(record) = &mut known.record {
            record.attributes = attributes;
        }
        Ok(known)
    }
}

impl WriteDevices for DynamoStore {
    async fn write_device(&self, write: &DeviceWrite) -> Stored<Written> {
        if let Some(doc) = write.seen.as_ref().and_then(|seen| seen.doc.as_ref()) {
            self.put_doc(&write.product, &write.device, doc).await?;
        }
        let change = device_change(write);
        if let Some(entry) = &write.audit {
            return self.write_audited(write, &change, entry).await;
        }
        let update = self
            .update(key::device(&write.product, &write.device))
            .update_expression(change.text())
            .set_condition_expression(change.condition_text())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        match send::send("write a device", send::DEVICE, &update).await? {
            Ok(_) => Ok(Written::Yes),
            Err(refused) => Ok(Written::OtherDevice(Box::new(found(&write.product, &failed_item(refused)?)?))),
        }
    }
}

impl ReportStore for DynamoStore {}

impl DynamoStore {
    /// Empties a device's item and its `device.json`; `false` when the item has another revision.
    pub(super) async fn empty_device(&self, deletion: &DeviceDeletion) -> Stored<bool> {
        let DeviceDeletion { product, device, revision, tokens, audit } = deletion;
        let mut item = key::device(product, device);
        item.extend([
            ("rev".to_string(), n(revision.saturating_add(1))),
            ("claims".to_string(), AttributeValue::M(Item::new())),
            ("deleted".to_string(), time(audit.at)),
            ("tok".to_string(), n(tokens.generation)),
            ("own".to_string(), AttributeValue::Bool(tokens.has_own)),
        ]);
        let emptied = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("rev = :rev")
            .expression_attribute_values(":rev", n(revision));
        // It stays, so that a request that is on its way cannot write it again.
        let mut doc = Expression::default();
        doc.remove("json");
        doc.put("deleted", time(audit.at));
        let writes = vec![
            put_item(emptied.build().map_err(unbuilt)?),
            self.audit_put(product, audit)?,
            update_item(self.built(key::doc(product, device), &doc)?),
        ];
        self.transact_audited("delete a device", writes).await
    }

    /// Writes a device's item together with the audit entry. Only operators cause it.
    async fn write_audited(&self, write: &DeviceWrite, change: &Expression, entry: &AuditEntry) -> Stored<Written> {
        let device = self.built(key::device(&write.product, &write.device), change)?;
        let mut writes = vec![update_item(device), self.audit_put(&write.product, entry)?];
        if write.restores {
            let mut doc = Expression::default();
            doc.remove("deleted");
            writes.push(update_item(self.built(key::doc(&write.product, &write.device), &doc)?));
        }
        let transaction = self.client.transact_write_items().set_transact_items(Some(writes));
        let refused = match send::send("write a device and its audit entry", send::READ, &transaction).await? {
            Ok(_) => return Ok(Written::Yes),
            Err(refused) => refused,
        };
        let failed = failed_conditions(&refused);
        match failed.get(&0) {
            // With this entry, an earlier try was applied and its answer was lost.
            _ if failed.contains_key(&1) => Ok(Written::Yes),
            Some(reason) => {
                let item = reason.item.clone().unwrap_or_default();
                Ok(Written::OtherDevice(Box::new(found(&write.product, &item)?)))
            }
            None => Err(StoreError::unavailable(refused)),
        }
    }

    /// Writes the `device.json` of a device, before the item that has its digests.
    pub(super) async fn put_doc(&self, product: &ProductId, device: &DeviceId, doc: &Doc) -> Stored<()> {
        let update = self
            .update(key::doc(product, device))
            .update_expression("SET json = :json")
            .condition_expression("attribute_not_exists(deleted)")
            .expression_attribute_values(":json", s(&doc.json));
        // Of a deleted device nothing is stored. The write of its item fails too, and its caller looks again.
        send::send("write a device.json", send::DEVICE, &update).await.map(drop)
    }
}

/// The device that a failed condition shows.
pub(super) fn found(product: &ProductId, item: &Item) -> Stored<KnownDevice> {
    if item.is_empty() { Ok(KnownDevice::default()) } else { item::known_from(product, item) }
}

/// The update of a device's item.
fn device_change(write: &DeviceWrite) -> Expression {
    let mut change = Expression::default();
    if write.is_known {
        change.condition("attribute_exists(claims)");
        // A late duplicate of a request must not bring back what was deleted.
        match write.restores {
            true => change.remove("deleted"),
            false => change.condition("attribute_not_exists(deleted)"),
        }
        change.set("rev", "rev + :one");
        change.value(":one", n(1));
    } else {
        change.condition("attribute_not_exists(pk)");
        create(&mut change, AttributeValue::M(Item::new()));
    }
    if let Some(seen) = &write.seen {
        see(&mut change, &write.product, &write.device, seen);
        if seen.uses_own_token && write.tokens.is_none() {
            change.put("own", AttributeValue::Bool(true));
        }
    }
    if let Some(at) = write.still_seen_at {
        change.condition("seen = :still");
        change.value(":still", time(at));
    }
    for (number, claim) in write.claims.iter().enumerate() {
        change_claim(&mut change, number, claim);
    }
    for (number, claim) in (write.claims.len()..).zip(&write.forgotten) {
        claim_as_read(&mut change, number, claim);
        let path = claim_path(&mut change, number, claim);
        change.remove(&path);
    }
    if let Some((revision, orders)) = &write.orders {
        change.condition("rev = :rev");
        change.value(":rev", n(revision));
        order(&mut change, orders);
    }
    if let Some((revision, questions)) = &write.questions {
        change.condition("rev = :asked");
        change.value(":asked", n(revision));
        match questions.is_empty() {
            true => change.remove("ask"),
            false => change.put("ask", AttributeValue::L(questions.iter().map(item::question_to).collect())),
        }
    }
    if let Some((revision, tokens)) = &write.tokens {
        if write.is_known {
            change.condition("rev = :before");
            change.value(":before", n(revision));
        }
        change.put("tok", n(tokens.generation));
        change.put("own", AttributeValue::Bool(tokens.has_own));
    }
    change
}

/// The orders of operators for a device.
fn order(change: &mut Expression, orders: &Orders) {
    for (field, value) in item::orders_to(orders) {
        let (name, placeholder) = (format!("#{field}"), format!(":{field}"));
        change.name(&name, field);
        match value {
            Some(value) => {
                change.set(&name, &placeholder);
                change.value(&placeholder, value);
            }
            None => change.remove(&name),
        }
    }
}

/// The first write of an item.
pub(super) fn create(change: &mut Expression, claims: AttributeValue) {
    change.put("rev", n(1));
    change.put("claims", claims);
}

/// Attributes of a device's item that a request changes.
pub(super) fn see(change: &mut Expression, product: &ProductId, device: &DeviceId, seen: &Seen) {
    change.put("version", s(&seen.version));
    change.put("seen", time(seen.at));
    change.set("#first", "if_not_exists(#first, :seen)");
    change.name("#first", "first");
    if let Some(long_gap_s) = seen.long_gap_s {
        change.put("gap", n(long_gap_s));
    }
    if let Some(poll_s) = seen.poll_s {
        change.put("poll", n(poll_s));
    }
    // The key of the index. Writing the same value again costs nothing there.
    change.put("on", s(key::on_version_of(product, &seen.version, device)));
    change.put("id", s(device.as_str()));
    if let Some(doc) = &seen.doc {
        change.put("all", n(doc.digests.all));
        change.put("named", n(doc.digests.named));
        change.put("doc_at", time(seen.at));
    }
}

/// The condition that a claim is as it was read: its epoch, and the number of its changes.
pub(super) fn claim_as_read(change: &mut Expression, number: usize, before: &Claim) {
    let path = claim_path(change, number, before);
    for (field, value) in [("e", n(before.epoch)), ("r", n(before.revision))] {
        change.condition(format!("{path}.{field} = :{field}{number}"));
        change.value(&format!(":{field}{number}"), value);
    }
}

/// Path of a claim in the item.
pub(super) fn claim_path(change: &mut Expression, number: usize, claim: &Claim) -> String {
    change.name(&format!("#c{number}"), item::claim_key(claim));
    format!("claims.#c{number}")
}

/// The change of one claim: only its fields that differ are set or removed.
fn change_claim(change: &mut Expression, number: usize, claim: &ClaimChange) {
    let ClaimChange { before, after, note } = claim;
    claim_as_read(change, number, before);
    let path = claim_path(change, number, before);
    let (before, mut fields) = (item::claim_fields(before), item::claim_fields(after));
    for field in before.keys().filter(|field| !fields.contains_key(*field)) {
        change.remove(&format!("{path}.{field}"));
    }
    fields.retain(|field, value| before.get(field) != Some(value));
    if let Some(note) = note {
        fields.insert("st", s(&note.status));
        fields.extend(note.progress.map(|progress| ("p", n(progress))));
        fields.extend(note.message.as_ref().map(|message| ("m", s(message))));
    }
    for (field, value) in fields {
        let placeholder = format!(":{field}{number}x");
        change.set(&format!("{path}.{field}"), &placeholder);
        change.value(&placeholder, value);
    }
}
