//! Compiles a product's live updates into one catalog, and puts it in force.
//!
//! The function that changes an update compiles afterwards. If it is interrupted, check-ins use the previous catalog.
//! Its grants have an earlier generation, so the shards refuse them. The sweep compiles within a minute.

use std::sync::Arc;

use tidegate_core::policy::Slots;
use tidegate_core::{Catalog, ProductId, State, Update, Version};
use tidegate_store::record::{Head, UpdateRecord};
use tidegate_store::store::{Freshness, StoreError, Stored};
use tidegate_store::{OpenRollouts, ReadCatalog};
use tidegate_wire::definition::Definition;

/// Tries of a compilation while its operator waits.
const MOST_TRIES: usize = 3;

/// Compiles the live updates and puts the catalog in force, unless this catalog or a later one is in force already.
/// Does nothing for a product without a change.
///
/// # Errors
/// When the store cannot be reached.
pub async fn compile(store: &(impl ReadCatalog + OpenRollouts), product: &ProductId) -> Stored<()> {
    // The head is read first, so the records read after it contain every change that it counts.
    let Some(head) = store.head(product, Freshness::Strong).await?.filter(Head::is_behind) else {
        return Ok(());
    };
    let records = store.updates(product).await?;
    let bytes = encoded(&catalog(product, &records))?;
    let ended = ended(&head, &records);
    store.put_catalog(product, head.revision, bytes, &ended).await.map(drop)
}

/// The halted versions that the catalog does not contain.
fn ended(head: &Head, records: &[UpdateRecord]) -> Vec<Version> {
    let is_live = |halted: &&Version| {
        records.iter().any(|record| record.rollout().version() == *halted && record.state.is_live())
    };
    head.halted.iter().filter(|halted| !is_live(halted)).cloned().collect()
}

/// Compiles after a change, and never fails: if the compilation fails, the sweep repeats it.
pub async fn compile_or_leave_it(store: &(impl ReadCatalog + OpenRollouts), product: &ProductId) {
    for left in (0..MOST_TRIES).rev() {
        match compile(store, product).await {
            Ok(()) => return,
            Err(error) if left == 0 => tracing::error!(%product, %error, "catalog_not_compiled"),
            Err(_) => {}
        }
    }
}

/// The update that a record describes, as the rules know it. The names of the attributes that its policies ask for go
/// into `slots`.
///
/// # Errors
/// When the stored definition cannot be understood.
pub fn update_of(record: &UpdateRecord, slots: &mut Slots) -> Stored<Update> {
    Definition::compile(&record.definition, &record.product, &record.publication(), slots).map_err(StoreError::corrupt)
}

/// The catalog of the live and the stopped updates. An unreadable record is logged and left out.
fn catalog(product: &ProductId, records: &[UpdateRecord]) -> Catalog {
    let mut slots = Slots::new();
    let mut live = Vec::new();
    for record in records.iter().filter(|record| record.state.is_live()) {
        match update_of(record, &mut slots) {
            Ok(update) if is_halting(record) => live.push(Update { state: State::Paused, ..update }),
            Ok(update) => live.push(update),
            Err(error) => tracing::error!(%product, version = %record.version, %error, "update_skipped"),
        }
    }
    let is_stopped = |record: &&UpdateRecord| matches!(record.state, State::Aborted | State::Withdrawn);
    let stopped_updates = records.iter().filter(is_stopped).map(|record| record.id.clone());
    Catalog::new(product.clone(), slots, live).with_stopped_updates(stopped_updates)
}

/// Returns true if a stop is under way whose record is not written yet.
fn is_halting(record: &UpdateRecord) -> bool {
    record.wanted.as_ref().is_some_and(|wanted| wanted.change.halts())
}

/// The encoded catalog, verified by reading it back.
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
