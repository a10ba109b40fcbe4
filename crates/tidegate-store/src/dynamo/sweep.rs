//! Due pages, devices in batches, counters over time, the fleet snapshot, and control groups.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use tidegate_core::{DeviceId, ProductId, Timestamp};

use super::item::{self, Fields, n, s};
use super::read::{readable, readable_one};
use super::recount::next_of;
use super::{DynamoStore, failed_item, key, send, unbuilt};
use crate::record::{Audience, DuePage, Fleet, KnownDevice, Reading, RolloutKey, SeriesPoint};
use crate::store::{Freshness, Include, ReadDevices as _, ScannedDevices, Stored, SweepStore};

/// Most pages that are read at a time: about 7,500 devices. The others are still due afterwards.
const PAGES_AT_A_TIME: i32 = 250;
/// Most items that DynamoDB reads in one batch.
const MOST_IN_A_BATCH: usize = 100;
/// Key of the object with the state of the fleet snapshot.
const FLEET_SNAPSHOT: &str = "fleet/snapshot";

impl SweepStore for DynamoStore {
    async fn due_pages(&self, rollout: &RolloutKey, end: Timestamp) -> Stored<Vec<DuePage>> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk < :end")
            .expression_attribute_values(":pk", s(key::due_pages(rollout)))
            .expression_attribute_values(":end", s(DuePage::name_at(end)))
            .consistent_read(true)
            .limit(PAGES_AT_A_TIME);
        let items = send::send_plain("read due pages", send::READ, &query).await?.items;
        Ok(readable(&items.unwrap_or_default(), item::due_page_from))
    }

    async fn move_due_page(&self, rollout: &RolloutKey, page: &DuePage) -> Stored<()> {
        self.write_due_page(rollout, page).await
    }

    async fn remove_due_page(&self, rollout: &RolloutKey, name: &str) -> Stored<()> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key::due_page(rollout, name)));
        send::send_plain("remove a due page", send::READ, &delete).await.map(drop)
    }

    async fn devices(&self, product: &ProductId, devices: &[DeviceId]) -> Stored<Vec<(DeviceId, KnownDevice)>> {
        let mut found = Vec::with_capacity(devices.len());
        for batch in devices.chunks(MOST_IN_A_BATCH) {
            let keys = batch.iter().map(|device| key::device(product, device)).collect();
            let mut left = Some(KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true));
            while let Some(keys) = left.take() {
                let keys = HashMap::from([(self.table.clone(), keys.build().map_err(unbuilt)?)]);
                let read = self.client.batch_get_item().set_request_items(Some(keys));
                let read = send::send_plain("read devices", send::READ, &read).await?;
                for item in read.responses.unwrap_or_default().remove(&self.table).unwrap_or_default() {
                    let (product, device) = item::device_of(&item)?;
                    found.push((device, item::known_from(&product, &item)?));
                }
                // DynamoDB reads as many as it can at the moment, and names the others.
                let unread = read.unprocessed_keys.unwrap_or_default().remove(&self.table);
                left = unread
                    .filter(|unread| !unread.keys().is_empty())
                    .map(|unread| KeysAndAttributes::builder().set_keys(Some(unread.keys)).consistent_read(true));
            }
        }
        Ok(found)
    }

    async fn record_series(&self, rollout: &RolloutKey, point: &SeriesPoint) -> Stored<()> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item::series_to(rollout, point)));
        send::send_plain("write counters over time", send::READ, &put).await.map(drop)
    }

    async fn scan_fleet(&self, after: Option<&str>) -> Stored<ScannedDevices> {
        let scan = self.scan(after).filter_expression("attribute_exists(claims) OR sk = :doc");
        let scan = scan.expression_attribute_values(":doc", s(key::DOC));
        let page = send::send_plain("scan", send::READ, &scan).await?;
        let mut devices: Vec<(ProductId, DeviceId, KnownDevice)> = Vec::new();
        let mut is_last_without_doc = false;
        // The `device.json` of a device comes right after it. One whose device was on the page before was read then.
        for item in page.items.unwrap_or_default() {
            let Some((product, device)) = readable_one(&item, item::device_of) else {
                continue;
            };
            match Fields(&item).text("sk")? {
                key::DOC => {
                    let owner = devices.last_mut().filter(|(of, id, _)| (&product, &device) == (of, id));
                    if let Some(record) = owner.and_then(|(_, _, known)| known.record.as_mut()) {
                        record.attributes = Fields(&item).maybe_text("json").map(str::to_string);
                        is_last_without_doc = false;
                    }
                }
                _ => {
                    let known = readable_one(&item, |item| item::known_from(&product, item));
                    devices.extend(known.map(|known| (product, device, known)));
                    is_last_without_doc = true;
                }
            }
        }
        let next = next_of(page.last_evaluated_key.as_ref());
        if let Some((product, device, known)) = devices.last_mut().filter(|_| is_last_without_doc && next.is_some()) {
            *known = self.device(product, device, Include::ItemAndDoc, Freshness::Eventual).await?;
        }
        Ok((devices, next))
    }

    async fn fleet_snapshot(&self) -> Stored<Option<Vec<u8>>> {
        Ok(self.objects.read(FLEET_SNAPSHOT).await?.map(|bytes| bytes.to_vec()))
    }

    async fn put_fleet_snapshot(&self, bytes: Vec<u8>) -> Stored<()> {
        self.objects.write(FLEET_SNAPSHOT, bytes).await
    }

    async fn put_audience(&self, rollout: &RolloutKey, audience: &Audience) -> Stored<()> {
        self.note(rollout, "audience", item::audience_to(audience)).await
    }

    async fn put_fleet(&self, product: &ProductId, fleet: &Fleet) -> Stored<()> {
        let update = self
            .update(key::head(product))
            .update_expression("SET usual_gap_s = :gap, established = :established, fleet_at = :at")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":gap", n(fleet.usual_gap_s))
            .expression_attribute_values(":established", n(fleet.established))
            .expression_attribute_values(":at", fleet.counted_at.map_or(AttributeValue::Null(true), item::time));
        match send::send("write the facts of a fleet", send::READ, &update).await? {
            Ok(_) => Ok(()),
            Err(refused) => failed_item(refused).map(drop),
        }
    }

    async fn put_members(&self, rollout: &RolloutKey, members: &[DeviceId]) -> Stored<()> {
        let mut item = key::members(rollout);
        item.insert("ids".into(), item::ids_to(members));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        send::send_plain("write a control group", send::READ, &put).await.map(drop)
    }

    async fn members(&self, rollout: &RolloutKey) -> Stored<Vec<DeviceId>> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key::members(rollout)));
        let item = send::send_plain("read a control group", send::READ, &read).await?.item;
        item.as_ref().map_or(Ok(Vec::new()), item::ids_from)
    }

    async fn put_reading(&self, rollout: &RolloutKey, reading: &Reading) -> Stored<()> {
        self.note(rollout, "reading", item::reading_to(reading)).await
    }
}

impl DynamoStore {
    /// Writes an attribute of an update's record that no change of the record writes.
    pub(super) async fn note(&self, rollout: &RolloutKey, attribute: &str, value: AttributeValue) -> Stored<()> {
        let update = self
            .update(key::update(rollout.product(), rollout.version()))
            .update_expression("SET #note = :note")
            .condition_expression("campaign = :campaign")
            .expression_attribute_names("#note", attribute)
            .expression_attribute_values(":campaign", n(rollout.campaign()))
            .expression_attribute_values(":note", value);
        match send::send("note in an update", send::READ, &update).await? {
            Ok(_) => Ok(()),
            // The update was deleted meanwhile.
            Err(refused) => failed_item(refused).map(drop),
        }
    }
}
