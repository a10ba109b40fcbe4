//! Creates a draft, with upload URLs for its files.

use tidegate_core::breaker::Breaker;
use tidegate_core::phase::Begun;
use tidegate_core::policy::Slots;
use tidegate_core::update::Test;
use tidegate_core::{ProductId, State, UpdateId, Version};
use tidegate_store::PublishStore;
use tidegate_store::record::{AuditEntry, UpdateRecord};
use tidegate_store::store::Freshness;
use tidegate_wire::definition::Definition;

use super::Operations;
use super::upload::FileUpload;
use crate::compile::ImageNames;
use crate::control::Actor;
use crate::error::{Done, EngineError};

/// A created draft, or the update that the same create made before.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The update's id.
    pub id: UpdateId,
    /// The version.
    pub version: Version,
    /// The present state.
    pub state: State,
    /// An upload for each file whose bytes are not stored.
    pub uploads: Vec<FileUpload>,
    /// What its image says of itself beside the version.
    pub reports_as: Vec<String>,
}

impl<S: PublishStore> Operations<S> {
    /// Creates a draft. Repeating the same create gives the same result; the same version with other content is
    /// refused.
    ///
    /// # Errors
    /// When the definition cannot be used, the version exists with other content, or the store cannot be reached.
    pub async fn create(&self, product: &ProductId, definition: &Definition, actor: &Actor) -> Done<Draft> {
        let head = self.store.head(product, Freshness::Strong).await?;
        let record = draft(product, definition, head.map_or(0, |head| head.revision), actor)?;
        let update = definition.update(product, &record.publication(), &mut Slots::new())?;
        let entry = actor.entry("create", record.version.to_string(), record.generation);
        let entry = AuditEntry { to: Some(State::Draft), ..entry };
        let state = match self.store.create_update(&record, &entry).await? {
            true => State::Draft,
            false => self.same_as_before(&record).await?,
        };
        let uploads = self.uploads(&update, actor).await?;
        let reports_as = ImageNames::of(&self.store.updates(product).await?).says(&record.version, definition);
        Ok(Draft { id: record.id, version: record.version, state, uploads, reports_as })
    }

    async fn same_as_before(&self, record: &UpdateRecord) -> Done<State> {
        let (product, version) = (record.product.clone(), record.version.clone());
        match self.store.update(&product, &version).await? {
            Some(stored) if stored.definition == record.definition => Ok(stored.state),
            Some(_) => Err(EngineError::VersionExists { product, version }),
            // Only its version is left.
            None => Err(EngineError::VersionDeleted { product, version }),
        }
    }
}

/// A draft. Its generation is above that of a draft of the same version that was deleted: each change of one has raised
/// the revision of the head.
fn draft(product: &ProductId, definition: &Definition, revision: u64, actor: &Actor) -> Done<UpdateRecord> {
    let version = definition.semver()?;
    Ok(UpdateRecord {
        id: UpdateId::of(product, &version, 1),
        product: product.clone(),
        version,
        campaign: 1,
        is_earlier: false,
        state: State::Draft,
        generation: revision.saturating_add(1),
        definition: definition.to_store(),
        allocation: None,
        objects: Vec::new(),
        reason: String::new(),
        is_paused_by_stop: false,
        opened_at: None,
        held_for: None,
        lifts: 0,
        control_group: None,
        advanced: 0,
        breaker: Breaker::default(),
        newcomers_since: None,
        audience_edit: None,
        phase_begun: Begun::default(),
        reading: None,
        audience: None,
        test: Test::default(),
        wanted: None,
        uncounted: 0,
        is_settled: false,
        deleted_at: None,
        created_at: actor.now,
        changed_at: actor.now,
    })
}
