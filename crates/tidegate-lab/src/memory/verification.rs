//! Verifications of large images.

use tidegate_core::ProductId;
use tidegate_store::store::Stored;
use tidegate_store::verification::{AskForVerification, Verification, WantedVerification};

use super::MemoryStore;

impl AskForVerification for MemoryStore {
    /// No function reads images in memory.
    async fn verification(&self, _: &ProductId, _: &str) -> Stored<Option<Verification>> {
        Ok(None)
    }

    async fn ask_for_verification(&self, wanted: &WantedVerification) -> Stored<()> {
        self.state().wanted_verifications.insert((wanted.product.clone(), wanted.sha256.clone()));
        Ok(())
    }

    async fn is_verifying(&self, wanted: &WantedVerification) -> Stored<bool> {
        Ok(self.state().wanted_verifications.contains(&(wanted.product.clone(), wanted.sha256.clone())))
    }
}
