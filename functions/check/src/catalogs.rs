//! The live updates of each product, kept in memory between check-ins.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_api::definition::Definition;
use tidegate_core::policy::Slots;
use tidegate_core::{Catalog, ProductId, State, Timestamp, Update, UpdateId};
use tidegate_store::record::{Head, UpdateRecord};
use tidegate_store::store::{Reading, Stored};

/// The catalogs that this function has seen.
#[derive(Debug)]
pub(crate) struct Catalogs {
    age_ms: i64,
    seen: Mutex<HashMap<ProductId, Seen>>,
}

/// A catalog with the head that it was loaded for.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    /// `None` when the product does not exist.
    pub(crate) head: Option<Head>,
    pub(crate) updates: Arc<Catalog>,
    taken_back: Arc<HashSet<UpdateId>>,
}

impl Current {
    /// Whether devices that are on their way to an update should turn back: it is paused, was
    /// stopped, or was taken back. One that is over as planned lets them finish.
    pub(crate) fn is_stopped(&self, update: &UpdateId) -> bool {
        let is_paused = self.updates.find(update).is_some_and(|update| update.state == State::Paused);
        is_paused || self.taken_back.contains(update)
    }
}

#[derive(Debug)]
struct Seen {
    looked_at: Timestamp,
    current: Current,
}

impl Catalogs {
    pub(crate) fn new(age_ms: i64) -> Self {
        Self { age_ms, seen: Mutex::default() }
    }

    /// The catalog as it was at most `age_ms` ago.
    pub(crate) async fn current(&self, store: &impl Reading, product: &ProductId, now: Timestamp) -> Stored<Current> {
        if let Some(seen) = self.seen().get(product) {
            let age_ms = now.as_millisecond().saturating_sub(seen.looked_at.as_millisecond());
            if (0..self.age_ms).contains(&age_ms) {
                return Ok(seen.current.clone());
            }
        }
        self.refreshed(store, product, now).await
    }

    /// The catalog as it is: one small read when it has not changed.
    pub(crate) async fn refreshed(&self, store: &impl Reading, product: &ProductId, now: Timestamp) -> Stored<Current> {
        let head = store.head(product).await?;
        let kept = self.seen().get(product).map(|seen| seen.current.clone());
        let current = match (kept, head) {
            (Some(kept), Some(head)) if kept.head.as_ref().map(|kept| kept.revision) == Some(head.revision) => {
                Current { head: Some(head), ..kept }
            }
            (_, Some(head)) => {
                let records = store.updates(product).await?;
                let is_taken_back = |record: &&UpdateRecord| matches!(record.state, State::Aborted | State::Withdrawn);
                let taken_back = records.iter().filter(is_taken_back).map(|record| record.id.clone()).collect();
                let updates = Arc::new(load(product, records));
                Current { head: Some(head), updates, taken_back: Arc::new(taken_back) }
            }
            (_, None) => {
                Current { head: None, updates: Arc::new(load(product, Vec::new())), taken_back: Arc::default() }
            }
        };
        let seen = Seen { looked_at: now, current: current.clone() };
        self.seen().insert(product.clone(), seen);
        Ok(current)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<ProductId, Seen>> {
        // What is in the map is whole at any time; a panic elsewhere does not spoil it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiles what is live. A record that cannot be understood is left out, and said so.
fn load(product: &ProductId, records: Vec<UpdateRecord>) -> Catalog {
    let mut slots = Slots::new();
    let updates: Vec<Update> = records
        .iter()
        .filter(|record| record.state.is_live())
        .filter_map(|record| match compile(record, &mut slots) {
            Ok(update) => Some(update),
            Err(error) => {
                tracing::error!(%product, version = %record.version, error, "update_skipped");
                None
            }
        })
        .collect();
    Catalog::new(product.clone(), slots, updates)
}

fn compile(record: &UpdateRecord, slots: &mut Slots) -> Result<Update, String> {
    Definition::compile(&record.definition, &record.product, &record.publication(), slots)
}
