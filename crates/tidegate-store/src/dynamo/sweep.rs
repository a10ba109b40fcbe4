//! Claims that are due.

use tidegate_core::{Claim, Timestamp, UpdateId};

use super::item::{self, Fields, s};
use super::read::readable;
use super::{DynamoStore, key, unavailable};
use crate::record::{ClaimKey, SeriesPoint};
use crate::schema::INDEX;
use crate::store::{StoreError, Stored, SweepStore};

/// Most claims that are read from each list at a time. The others are still due a minute later.
const DUE_AT_A_TIME: i32 = 1000;

impl SweepStore for DynamoStore {
    async fn due_claims(&self, now: Timestamp) -> Stored<Vec<ClaimKey>> {
        let mut due = Vec::new();
        for list in 0..key::DUE_LISTS {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(INDEX)
                .key_condition_expression("index_pk = :list AND index_sk < :now")
                .expression_attribute_values(":list", s(key::due_list(list)))
                // `$` follows `#`, so the range includes the claims that end in this millisecond.
                .expression_attribute_values(":now", s(format!("{:013}$", now.as_millisecond())))
                .limit(DUE_AT_A_TIME);
            let items = query.send().await.map_err(unavailable)?.items.unwrap_or_default();
            due.extend(readable(&items, |item| {
                let fields = Fields(item);
                let (pk, sk) = (fields.text("pk")?, fields.text("sk")?);
                key::parse_claim(pk, sk)
                    .ok_or_else(|| StoreError::Corrupt(format!("{pk} / {sk} is not a claim").into()))
            }));
        }
        Ok(due)
    }

    async fn claim(&self, claim: &ClaimKey) -> Stored<Option<Claim>> {
        let read =
            self.client.get_item().table_name(&self.table).set_key(Some(key::claim(claim))).consistent_read(true);
        let item = read.send().await.map_err(unavailable)?.item;
        item.as_ref().map(item::claim_from).transpose()
    }

    async fn record_series(&self, update: &UpdateId, point: &SeriesPoint) -> Stored<()> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item::series_to(update, point)));
        put.send().await.map_err(unavailable).map(drop)
    }
}
