//! Due pages, devices in batches, and counters over time.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use tidegate_core::{DeviceId, ProductId, Timestamp};

use super::item::{self, Fields, s};
use super::read::readable;
use super::{DynamoStore, key, send, unbuilt};
use crate::record::{DuePage, KnownDevice, RolloutKey, SeriesPoint};
use crate::store::{StoreError, Stored, SweepStore};

/// Most pages that are read at a time: about 7,500 devices. The others are still due afterwards.
const PAGES_AT_A_TIME: i32 = 250;
/// Most items that DynamoDB reads in one batch.
const MOST_IN_A_BATCH: usize = 100;

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
                    let fields = Fields(&item);
                    let pk = fields.text("pk")?;
                    let (product, device) = key::parse_device(pk)
                        .ok_or_else(|| StoreError::Corrupt(format!("{pk} is not a device").into()))?;
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
}
