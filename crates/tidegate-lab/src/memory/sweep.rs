//! Lists for the sweep.

use std::collections::BTreeMap;

use tidegate_core::{Claim, ProductId, Timestamp, UpdateId};
use tidegate_store::record::{ClaimKey, SeriesPoint};
use tidegate_store::store::{Stored, SweepStore};

use super::MemoryStore;
use super::state::to_the_millisecond;

/// Claims that are taken from each list at a time, as in DynamoDB.
const DUE_AT_A_TIME: usize = 1000;

impl SweepStore for MemoryStore {
    async fn due_claims(&self, now: Timestamp) -> Stored<Vec<ClaimKey>> {
        let state = self.state();
        let products =
            state.product_numbers.iter().map(|(product, number)| (*number, product)).collect::<BTreeMap<_, _>>();
        let mut keys = Vec::new();
        for list in &state.due {
            // Those that end in the same millisecond are listed by their ids.
            let cut_ms = list.iter().nth(DUE_AT_A_TIME - 1).map_or(i64::MAX, |due| due.expires_at_ms);
            let last_ms = now.as_millisecond().min(cut_ms);
            let due = list.iter().take_while(|due| due.expires_at_ms <= last_ms);
            let mut taken = due
                .map(|due| {
                    let update = state.rollouts[due.rollout as usize].id.as_ref();
                    (due.expires_at_ms, &state.device_at(due.device).id, update, products.get(&due.device.product))
                })
                .collect::<Vec<_>>();
            taken.sort_unstable();
            keys.extend(taken.into_iter().take(DUE_AT_A_TIME).filter_map(|(_, device, update, product)| {
                let product = ProductId::clone(product?);
                Some(ClaimKey { product, device: device.clone(), update: update?.clone() })
            }));
        }
        Ok(keys)
    }

    async fn claim(&self, key: &ClaimKey) -> Stored<Option<Claim>> {
        Ok(self.state().claim(key).cloned())
    }

    async fn record_series(&self, update: &UpdateId, point: &SeriesPoint) -> Stored<()> {
        let hour = point.at.as_second().div_euclid(3600);
        let point = SeriesPoint { at: to_the_millisecond(point.at), ..*point };
        self.state().rollout_mut(update).series.insert(hour, point);
        Ok(())
    }
}
