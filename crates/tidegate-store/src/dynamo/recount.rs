//! A scan of all devices, for a recount.

use std::collections::HashMap;

use tidegate_core::ProductId;

use super::item::{self, Fields, s};
use super::{DynamoStore, key, send};
use crate::store::{Freshness, RecountStore, ScannedDevices, StoreError, Stored, VersionCounts};

impl RecountStore for DynamoStore {
    async fn scan_devices(&self, after: Option<&str>) -> Stored<ScannedDevices> {
        let start = after.and_then(|after| after.split_once('\n'));
        let start = start.map(|(pk, sk)| HashMap::from([("pk".to_string(), s(pk)), ("sk".to_string(), s(sk))]));
        let scan = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression("attribute_exists(claims)")
            .set_exclusive_start_key(start);
        let page = send::send_plain("scan", send::READ, &scan).await?;
        let mut devices = Vec::new();
        for item in page.items.unwrap_or_default() {
            let fields = Fields(&item);
            let pk = fields.text("pk")?;
            let (product, device) =
                key::parse_device(pk).ok_or_else(|| StoreError::Corrupt(format!("{pk} is not a device").into()))?;
            let known = item::known_from(&product, &item)?;
            devices.push((product, device, known));
        }
        let next = page.last_evaluated_key.and_then(|last| {
            let text = |name| last.get(name)?.as_s().ok();
            Some(format!("{}\n{}", text("pk")?, text("sk")?))
        });
        Ok((devices, next))
    }

    async fn version_counts(&self, product: &ProductId) -> Stored<VersionCounts> {
        let mut counts = VersionCounts::new();
        for item in self.query(&key::version_tallies(product), None, Freshness::Strong).await? {
            for (version, devices) in Fields(&item).numbers_by::<String, i64>("ver")? {
                *counts.entry(version).or_default() += devices;
            }
        }
        counts.retain(|_, devices| *devices != 0);
        Ok(counts)
    }
}
