//! Registration: a device that has no token yet asks for one.
//!
//! Anybody can ask, for any device of any product. So nothing about a product is read or remembered before it is known to
//! let devices register themselves, and no device that is known gets a token in this way.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_core::{DeviceId, ProductId};
use tidegate_store::CheckStore;
use tidegate_store::store::{Freshness, Include, Stored};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::catalogs::LONGEST_HEAD_AGE;
use crate::check_in::CheckIns;
use crate::error::{Done, EngineError};

/// The products whose devices may register themselves, as they were at most a second ago.
#[derive(Debug)]
pub(crate) struct OpenProducts {
    longest_age: Duration,
    seen: Mutex<Option<(Instant, BTreeSet<ProductId>)>>,
}

impl OpenProducts {
    /// The list, as old as a catalog may be.
    pub(crate) fn new(catalog_age_ms: i64) -> Self {
        let longest_age = Duration::from_millis(catalog_age_ms.unsigned_abs()).min(LONGEST_HEAD_AGE);
        Self { longest_age, seen: Mutex::default() }
    }

    async fn contains(&self, store: &impl CheckStore, product: &ProductId) -> Stored<bool> {
        // The lock is held during the read, so that a crowd of requests causes one.
        let mut seen = self.seen.lock().await;
        let fresh = seen.as_ref().filter(|(read_at, _)| read_at.elapsed() < self.longest_age);
        if let Some((_, open)) = fresh {
            return Ok(open.contains(product));
        }
        let read_at = Instant::now();
        let open = store.open_products().await?;
        let is_open = open.contains(product);
        *seen = Some((read_at, open));
        Ok(is_open)
    }
}

impl<S: CheckStore> CheckIns<S> {
    /// Checks that a device may get a token by registration: its product allows it, and nothing is known of the device.
    ///
    /// # Errors
    /// `RegistrationClosed`, or the store cannot be reached.
    pub async fn may_register(&self, product: &ProductId, device: &DeviceId) -> Done<()> {
        if !self.open_products.contains(&self.store, product).await? {
            return Err(EngineError::RegistrationClosed);
        }
        let known = self.store.device(product, device, Include::Item, Freshness::Strong).await?;
        // Whoever knows the id of a device must not get its token. The answer does not say whether it exists.
        match known.record {
            None => Ok(()),
            Some(_) => Err(EngineError::RegistrationClosed),
        }
    }
}
