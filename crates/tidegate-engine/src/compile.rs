//! Compiles a product's live updates into one catalog, and puts it in force.
//!
//! The function that changes an update compiles afterwards. If it is interrupted, check-ins use the previous catalog.
//! Its grants have an earlier generation, so the shards refuse them. The sweep compiles within a minute.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_core::life::word::is_same;
use tidegate_core::policy::Slots;
use tidegate_core::reports::Reports;
use tidegate_core::{Catalog, ProductId, State, Update, UpdateId, Version};
use tidegate_store::record::{Head, UpdateRecord};
use tidegate_store::store::{Freshness, StoreError, Stored};
use tidegate_store::{OpenRollouts, ReadCatalog};
use tidegate_wire::definition::{Definition, MOST_REPORTS};

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

/// The halted updates that the catalog does not contain.
fn ended(head: &Head, records: &[UpdateRecord]) -> Vec<UpdateId> {
    let is_live = |halted: &&UpdateId| records.iter().any(|record| record.id == **halted && record.state.is_live());
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
    let names = ImageNames::of(records);
    for record in records.iter().filter(|record| record.state.is_live()) {
        let update = update_of(record, &mut slots);
        match update.map(|update| Update { reports_as: names.of_version(&record.version), ..update }) {
            Ok(update) if is_halting(record) => live.push(Update { state: State::Paused, ..update }),
            Ok(update) => live.push(update),
            Err(error) => tracing::error!(%product, version = %record.version, %error, "update_skipped"),
        }
    }
    let is_stopped = |record: &&UpdateRecord| matches!(record.state, State::Aborted | State::Withdrawn);
    let stopped_updates = records.iter().filter(is_stopped).map(|record| record.id.clone());
    Catalog::new(product.clone(), slots, live).with_stopped_updates(stopped_updates).with_reports(names.reports())
}

/// The names of the images of published updates. Beside its version, an image has the names that its definition lists; or else
/// those of the other published updates with the same files. They follow from the records, and are stored nowhere.
pub(crate) struct ImageNames(Vec<(Version, Definition, State)>);

impl ImageNames {
    /// The names of the images of these updates.
    pub(crate) fn of<'a>(records: impl IntoIterator<Item = &'a UpdateRecord>) -> Self {
        let published = records.into_iter().filter(|record| record.state != State::Draft && !record.is_earlier);
        let definition = |record: &UpdateRecord| Definition::from_store(&record.definition).ok();
        Self(published.filter_map(|record| Some((record.version.clone(), definition(record)?, record.state))).collect())
    }

    /// Returns true if a device that says `text` runs one of the updates.
    pub(crate) fn has(&self, text: &str) -> bool {
        let is_named = |(version, definition, _): &(Version, Definition, State)| {
            let names = definition.reports_as.iter().map(String::as_str);
            is_same(text, &version.to_string()) || names.into_iter().any(|name| is_same(text, name))
        };
        self.0.iter().any(is_named)
    }

    /// The names by which devices report one of the updates: its version, and the names in `reports_as`.
    pub(crate) fn all(&self) -> Vec<String> {
        let of = |(version, definition, _): &(Version, Definition, State)| {
            definition.reports_as.iter().cloned().chain([version.to_string()]).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// The other names of the image of an update with this version and definition.
    pub(crate) fn says(&self, version: &Version, definition: &Definition) -> Vec<String> {
        if !definition.reports_as.is_empty() || definition.files.is_empty() {
            return definition.reports_as.clone();
        }
        let is_other = |other: &Version| other.cmp_precedence(version).is_ne();
        let others = self.0.iter().filter(|(other, known, _)| is_other(other) && known.has_files_of(definition));
        let texts = others.flat_map(|(other, known, _)| known.reports_as.iter().cloned().chain([other.to_string()]));
        let texts = texts.collect::<BTreeSet<_>>();
        texts.into_iter().take(MOST_REPORTS.0).collect()
    }

    /// The same for every published update. One that was taken back is what its own definition lists, and no device runs it
    /// because another one has its files.
    pub(crate) fn reports(&self) -> Reports {
        Reports::new(self.0.iter().flat_map(|(version, definition, state)| {
            let texts = match state {
                State::Withdrawn => definition.reports_as.clone(),
                _ => self.says(version, definition),
            };
            texts.into_iter().map(|text| (text, version.clone()))
        }))
    }

    fn of_version(&self, version: &Version) -> Vec<String> {
        let known = self.0.iter().find(|(known, ..)| known.cmp_precedence(version).is_eq());
        known.map(|(version, definition, _)| self.says(version, definition)).unwrap_or_default()
    }
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
