//! A scan of all devices, for a recount.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use tidegate_core::ProductId;

use super::item::{self, Fields, s};
use super::{DynamoStore, key, send, tally};
use crate::store::{Freshness, RecountStore, ScannedDevices, StoreError, Stored, VersionCounts};

/// Most items of one page of a scan. A page of a megabyte can take longer than a call may.
const SCANNED_AT_A_TIME: i32 = 300;

impl RecountStore for DynamoStore {
    async fn scan_devices(&self, after: Option<&str>) -> Stored<ScannedDevices> {
        let scan = self.scan(after).consistent_read(true).filter_expression("attribute_exists(claims)");
        let page = send::send_plain("scan", send::READ, &scan).await?;
        let mut devices = Vec::new();
        for item in page.items.unwrap_or_default() {
            let (product, device) = item::device_of(&item)?;
            let known = item::wholly_known_from(&product, &item)
                .map_err(|error| StoreError::Corrupt(format!("device {device} of {product}: {error}").into()))?;
            devices.push((product, device, known));
        }
        Ok((devices, next_of(page.last_evaluated_key.as_ref())))
    }

    async fn version_counts(&self, product: &ProductId) -> Stored<VersionCounts> {
        let mut counts = VersionCounts::new();
        let items = self.query(&key::version_tallies(product), None, Freshness::Strong).await?;
        for item in tally::counting(&items)? {
            for (version, devices) in Fields(item).numbers_by::<String, i64>(tally::VERSIONS)? {
                *counts.entry(version).or_default() += devices;
            }
        }
        counts.retain(|_, devices| *devices != 0);
        Ok(counts)
    }
}

impl DynamoStore {
    /// A scan of the table that starts after a page.
    pub(super) fn scan(&self, after: Option<&str>) -> ScanFluentBuilder {
        let start = after.and_then(|after| after.split_once('\n'));
        let start = start.map(|(pk, sk)| HashMap::from([("pk".to_string(), s(pk)), ("sk".to_string(), s(sk))]));
        self.client.scan().table_name(&self.table).limit(SCANNED_AT_A_TIME).set_exclusive_start_key(start)
    }
}

/// Where the next page of a scan starts.
pub(super) fn next_of(last: Option<&key::Key>) -> Option<String> {
    let text = |name| last?.get(name)?.as_s().ok();
    Some(format!("{}\n{}", text("pk")?, text("sk")?))
}
