//! Signed URLs for the files of an update, and the bytes of small parts of them.

use std::ops::RangeInclusive;

use tidegate_core::update::File;
use tidegate_core::{Claim, ClaimState, ProductId, Timestamp, Update};
use tidegate_store::CheckStore;
use tidegate_wire::answer::SignedFile;

use crate::check_in::CheckIns;
use crate::error::{Done, EngineError};

/// Files of an update with their URLs, and the time at which the URLs expire.
#[derive(Debug)]
pub struct SignedFiles {
    /// The files.
    pub files: Vec<SignedFile>,
    /// Expiry of the URLs.
    pub ends: Timestamp,
}

/// HTTP method for which a URL is signed: a URL that is good for one is good for no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `GET`
    Read,
    /// `HEAD`
    Head,
}

impl<S: CheckStore> CheckIns<S> {
    /// Signs a URL for every file of an update whose claim is committed.
    ///
    /// # Errors
    /// When no URL can be signed now.
    pub async fn signed_files(&self, update: &Update, claim: &Claim, now: Timestamp) -> Done<SignedFiles> {
        debug_assert_eq!(claim.state, ClaimState::Reserved);
        let ends = self.urls_end(claim, now).await?;
        let mut files = Vec::with_capacity(update.content.files.len());
        for file in &update.content.files {
            let url = self.images.sign_download(&update.product, file, now, ends).await?;
            files.push(SignedFile { name: file.name.clone(), url, sha256: file.sha256.clone(), size: file.size_bytes });
        }
        Ok(SignedFiles { files, ends })
    }

    /// Signs a URL for one file of a claim in progress.
    ///
    /// # Errors
    /// When no URL can be signed now.
    pub async fn signed_url(
        &self,
        product: &ProductId,
        file: &File,
        claim: &Claim,
        access: Access,
        now: Timestamp,
    ) -> Done<String> {
        let ends = self.urls_end(claim, now).await?;
        Ok(match access {
            Access::Read => self.images.sign_download(product, file, now, ends).await?,
            Access::Head => self.images.sign_head(product, file, now, ends).await?,
        })
    }

    /// Reads a part of a file, both ends included.
    ///
    /// # Errors
    /// When the file cannot be read. With a CDN the function has no right to read it.
    pub async fn read_part(&self, product: &ProductId, file: &File, bytes: RangeInclusive<u64>) -> Done<Vec<u8>> {
        Ok(self.images.read(product, file, bytes).await?)
    }

    async fn urls_end(&self, claim: &Claim, now: Timestamp) -> Done<Timestamp> {
        self.images.url_ends(now, claim).await?.ok_or(EngineError::CredentialsEnding)
    }
}
