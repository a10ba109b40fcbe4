//! The compiled catalog of each product, kept in memory between check-ins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::policy::Slots;
use tidegate_core::{Catalog, ProductId, Timestamp};
use tidegate_store::record::{Head, PublishedCatalog};
use tidegate_store::store::{CheckStore, Freshness, StoreError, Stored};
use tokio::time::Instant;

use crate::metrics;

/// The longest time for which a head is used. After that a stop would not be noticed.
pub const LONGEST_HEAD_AGE: Duration = Duration::from_secs(1);

/// The catalogs that this function has seen.
#[derive(Debug)]
pub(crate) struct CatalogCache {
    age_ms: i64,
    seen: Mutex<HashMap<ProductId, Seen>>,
}

/// A catalog with the head that was read last.
#[derive(Debug, Clone)]
pub struct CurrentCatalog {
    /// `None` when the product does not exist.
    pub head: Option<Head>,
    /// The live updates.
    pub updates: Arc<Catalog>,
    /// The time at which the head was read, by the monotonic clock.
    pub read_at: Instant,
}

#[derive(Debug)]
struct Seen {
    looked_at: Timestamp,
    /// The catalog that is kept; `None` while nothing was compiled.
    kept: Option<PublishedCatalog>,
    current: CurrentCatalog,
}

impl CatalogCache {
    pub(crate) fn new(age_ms: i64) -> Self {
        Self { age_ms, seen: Mutex::default() }
    }

    /// The catalog as it was at most `age_ms` ago, by the clock of the request and by the monotonic clock.
    pub(crate) async fn current(
        &self,
        store: &impl CheckStore,
        product: &ProductId,
        now: Timestamp,
    ) -> Stored<CurrentCatalog> {
        if let Some(seen) = self.seen().get(product) {
            let age_ms = now.as_millisecond().saturating_sub(seen.looked_at.as_millisecond());
            let is_fresh = seen.current.read_at.elapsed() < LONGEST_HEAD_AGE;
            if is_fresh && (0..self.age_ms).contains(&age_ms) {
                return Ok(seen.current.clone());
            }
        }
        self.refreshed(store, product, now).await
    }

    /// The present catalog: one small read if it has not changed. If it cannot be read, the previous one stays in use,
    /// unless the head says that it is too old: then it may offer an update that was stopped.
    pub(crate) async fn refreshed(
        &self,
        store: &impl CheckStore,
        product: &ProductId,
        now: Timestamp,
    ) -> Stored<CurrentCatalog> {
        let read_at = Instant::now();
        let head = store.head(product, Freshness::Strong).await?;
        let kept = self.seen().get(product).map(|seen| (seen.kept.clone(), Arc::clone(&seen.current.updates)));
        let in_force = head.as_ref().and_then(|head| head.catalog.clone());
        let oldest = head.as_ref().map_or(0, |head| head.oldest_catalog);
        let (kept, updates) = match (kept, in_force) {
            (Some((Some(kept), updates)), Some(in_force)) if kept.name == in_force.name => (Some(kept), updates),
            // Rare, so it need not be a part of every check-in's future.
            (kept, Some(in_force)) => match (Box::pin(load(store, product, &in_force)).await, kept) {
                (Ok((loaded, updates)), _) => (Some(loaded), Arc::new(updates)),
                (Err(_), Some((Some(kept), updates))) if kept.compiled_at() >= oldest => (Some(kept), updates),
                (Err(error), _) => return Err(error),
            },
            // No update was ever live, or the first catalog is not compiled yet.
            (_, None) => (None, Arc::new(Catalog::new(product.clone(), Slots::new(), []))),
        };
        let current = CurrentCatalog { head, updates, read_at };
        let seen = Seen { looked_at: now, kept, current: current.clone() };
        self.seen().insert(product.clone(), seen);
        Ok(current)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<ProductId, Seen>> {
        // Every entry of the map is complete at any time, so a panic elsewhere cannot damage it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the catalog that a head names, or a later one. A failure is logged, raises an alarm, and requests a new
/// catalog from the sweep. The named catalog can be missing after the table was restored, or have another format after
/// an upgrade.
async fn load(
    store: &impl CheckStore,
    product: &ProductId,
    named: &PublishedCatalog,
) -> Stored<(PublishedCatalog, Catalog)> {
    let error = match read(store, product, &named.name).await {
        Ok(catalog) => return Ok((named.clone(), catalog)),
        Err(error) => error,
    };
    // The head may be stale, and its catalog may be deleted already.
    let newer = store.head(product, Freshness::Strong).await?.and_then(|head| head.catalog);
    let (named, error) = match newer.filter(|newer| newer.name != named.name) {
        Some(newer) => match read(store, product, &newer.name).await {
            Ok(catalog) => return Ok((newer, catalog)),
            Err(error) => (newer, error),
        },
        None => (named.clone(), error),
    };
    tracing::error!(%product, catalog = named.name, %error, "catalog_unreadable");
    metrics::catalog_unreadable(product);
    // Revision 0 means that a new catalog was requested already.
    if named.revision > 0
        && let Err(error) = store.ask_for_catalog(product, &named.name).await
    {
        tracing::warn!(%product, catalog = named.name, %error, "catalog_not_asked_for");
    }
    Err(error)
}

async fn read(store: &impl CheckStore, product: &ProductId, name: &str) -> Stored<Catalog> {
    let bytes = store.catalog(product, name).await?.ok_or_else(|| StoreError::Corrupt("it is gone".into()))?;
    Catalog::from_snapshot(product, bytes).map_err(StoreError::corrupt)
}
