//! Compiles a product's live updates into one catalog, and puts it in force.
//!
//! Whoever changes an update does this afterwards. If it is cut off, check-ins are decided on the catalog before, whose
//! grants the shards refuse as they do any that was decided on old data, and the sweep does it within a minute.

use std::sync::Arc;

use tidegate_core::policy::Slots;
use tidegate_core::{Catalog, ProductId, State, Update};
use tidegate_store::record::{Head, UpdateRecord};
use tidegate_store::store::{Freshness, StoreError, Stored};
use tidegate_store::{CloseRollouts, ReadCatalog, ReadUpdates};
use tidegate_wire::definition::Definition;

/// How often a compilation is tried while its operator waits.
const MOST_TRIES: usize = 3;

/// Compiles what is live, and puts it in force, unless that or something later is in force already. A product without
/// any change has nothing to compile.
///
/// # Errors
/// When the store cannot be reached.
pub async fn compile(store: &(impl ReadCatalog + ReadUpdates + CloseRollouts), product: &ProductId) -> Stored<()> {
    // The head first: what is read after it holds every change that it counts.
    let Some(head) = store.head(product, Freshness::Strong).await?.filter(Head::is_behind) else {
        return Ok(());
    };
    let records = store.updates(product).await?;
    let bytes = encoded(&catalog(product, &records))?;
    store.put_catalog(product, head.revision, bytes).await.map(drop)
}

/// The same for somebody who has just changed an update, and must not fail for this: the sweep tries again.
pub async fn compile_or_leave_it(store: &(impl ReadCatalog + ReadUpdates + CloseRollouts), product: &ProductId) {
    for left in (0..MOST_TRIES).rev() {
        match compile(store, product).await {
            Ok(()) => return,
            Err(error) if left == 0 => tracing::error!(%product, %error, "catalog_not_compiled"),
            Err(_) => {}
        }
    }
}

/// The update that a record describes, as the rules know it. The names of the attributes that its policies ask for go into
/// `slots`.
///
/// # Errors
/// When the stored definition cannot be understood.
pub fn update_of(record: &UpdateRecord, slots: &mut Slots) -> Stored<Update> {
    Definition::compile(&record.definition, &record.product, &record.publication(), slots).map_err(StoreError::corrupt)
}

/// What is live, and what was taken back. A record that cannot be understood is left out, and said so.
fn catalog(product: &ProductId, records: &[UpdateRecord]) -> Catalog {
    let mut slots = Slots::new();
    let mut live = Vec::new();
    for record in records.iter().filter(|record| record.state.is_live()) {
        match update_of(record, &mut slots) {
            Ok(update) => live.push(update),
            Err(error) => tracing::error!(%product, version = %record.version, %error, "update_skipped"),
        }
    }
    let is_stopped = |record: &&UpdateRecord| matches!(record.state, State::Aborted | State::Withdrawn);
    let stopped_updates = records.iter().filter(is_stopped).map(|record| record.id.clone());
    Catalog::new(product.clone(), slots, live).with_stopped_updates(stopped_updates)
}

/// The bytes, read back before anybody depends on them.
fn encoded(catalog: &Catalog) -> Stored<Vec<u8>> {
    let corrupt = |why: &dyn std::fmt::Display| StoreError::Corrupt(format!("the compiled catalog: {why}").into());
    let bytes = catalog.to_snapshot().ok_or_else(|| corrupt(&"an update cannot be encoded"))?;
    let read =
        Catalog::from_snapshot(catalog.product(), Arc::from(bytes.as_slice())).map_err(|error| corrupt(&error))?;
    match read.newest_first().count() == catalog.len() {
        true => Ok(bytes),
        false => Err(corrupt(&"an update cannot be read back")),
    }
}
