//! Use cases of operators: create, activate, edit and stop updates, change a product's settings, issue tokens, look at
//! devices and metrics, and explain a decision.
//!
//! Each file is one noun. A use case takes and returns domain values. The door converts them to and from JSON.

mod audit;
mod campaign;
mod change;
mod create;
mod devices;
mod edit;
mod explain;
mod metrics;
mod orders;
mod settings;
mod stop;
mod tokens;
mod transition;
mod upload;

use std::time::Duration;

use tidegate_core::policy::Slots;
use tidegate_core::{ProductId, Update, Version};
use tidegate_store::record::UpdateRecord;
use tidegate_store::store::{Cause, Freshness};
use tidegate_store::{Images, PublishStore};

pub use self::campaign::NewCampaign;
pub use self::create::Draft;
pub use self::edit::Edits;
pub use self::metrics::{NewcomersProgress, Progress};
pub use self::orders::{MOST_DEVICES, ManyChanged, Order, Reason};
pub use self::stop::{Resumed, Stopped};
pub use self::tokens::RevokedTokens;
pub use self::upload::{FileUpload, PartUpload, Upload, UploadedParts};
use crate::control::{self, Actor};
use crate::error::{Done, EngineError};
use crate::token::TokenKeys;

/// Use cases of operators, over a store and an image bucket.
#[derive(Debug)]
pub struct Operations<S> {
    store: S,
    images: Images,
    keys: TokenKeys,
    /// Time after which a stop is acknowledged.
    acknowledged_after: Duration,
}

impl<S: PublishStore> Operations<S> {
    /// The use cases over a store and an image bucket.
    #[must_use]
    pub fn new(store: S, images: Images, keys: TokenKeys) -> Self {
        Self { store, images, keys, acknowledged_after: control::ACKNOWLEDGED_AFTER }
    }

    /// The same use cases, with another time after which a stop is acknowledged. It must not be shorter than the age of
    /// a head in the functions beside them and the time that a request may take.
    #[must_use]
    pub fn acknowledging_after(self, time: Duration) -> Self {
        Self { acknowledged_after: time, ..self }
    }

    /// Updates of a product, the newest version first: at most `most`, with names before `before`, if it is given. The second
    /// value is the name from which the next page starts.
    ///
    /// # Errors
    /// When the product does not exist, or the store cannot be reached.
    pub async fn updates(
        &self,
        product: &ProductId,
        before: Option<&str>,
        most: usize,
    ) -> Done<(Vec<UpdateRecord>, Option<String>)> {
        self.must_exist(product).await?;
        Ok(self.store.update_page(product, before, most).await?)
    }

    /// One update.
    ///
    /// # Errors
    /// When the product or the update does not exist, or the store cannot be reached.
    pub async fn update(&self, product: &ProductId, version: &Version) -> Done<UpdateRecord> {
        match self.store.update(product, version).await? {
            Some(update) => Ok(update),
            None => {
                self.must_exist(product).await?;
                Err(EngineError::UnknownUpdate { product: product.clone(), version: version.clone() })
            }
        }
    }

    /// An empty answer about a product that does not exist would hide a mistyped name.
    async fn must_exist(&self, product: &ProductId) -> Done<()> {
        match self.store.head(product, Freshness::Eventual).await? {
            Some(_) => Ok(()),
            None => Err(EngineError::UnknownProduct(product.clone())),
        }
    }

    /// Records a change that is no transition of an update.
    async fn note(&self, product: &ProductId, action: &str, subject: &str, generation: u64, actor: &Actor) -> Done<()> {
        Ok(self.store.audit(product, &actor.entry(action, subject, generation)).await?)
    }
}

/// The update that a record describes.
fn compiled(record: &UpdateRecord, slots: &mut Slots) -> Done<Update> {
    crate::compile::update_of(record, slots).map_err(|error| {
        tracing::error!(product = %record.product, version = %record.version, %error, "update_unreadable");
        EngineError::UnreadableUpdate { version: record.version.clone(), why: Cause::of(error) }
    })
}
