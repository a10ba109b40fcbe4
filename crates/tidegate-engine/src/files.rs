//! Signed URLs for the files of an update, and the bytes of small parts of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_core::update::File;
use tidegate_core::{Claim, Timestamp, Update};
use tidegate_store::CheckStore;
use tidegate_wire::answer::SignedFile;

use crate::catalogs::LONGEST_HEAD_AGE;
use crate::check_in::{CheckIns, DeviceContext};
use crate::error::{Done, EngineError};

/// The longest time between the start of a request and the signing of its URL.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(1);

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
    pub async fn signed_files(
        &self,
        context: &DeviceContext,
        update: &Update,
        claim: &Claim,
        now: Timestamp,
    ) -> Done<SignedFiles> {
        let ends = self.urls_end(context, update, claim, now).await?;
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
        context: &DeviceContext,
        (update, file): (&Update, &File),
        claim: &Claim,
        access: Access,
        now: Timestamp,
    ) -> Done<String> {
        let ends = self.urls_end(context, update, claim, now).await?;
        Ok(match access {
            Access::Read => self.images.sign_download(&update.product, file, now, ends).await?,
            Access::Head => self.images.sign_head(&update.product, file, now, ends).await?,
        })
    }

    /// Reads a part of a file of a claim in progress, both ends included.
    ///
    /// # Errors
    /// When the file cannot be read. With a CDN the function has no right to read it.
    pub async fn read_part(
        &self,
        context: &DeviceContext,
        (update, file): (&Update, &File),
        bytes: RangeInclusive<u64>,
        now: Timestamp,
    ) -> Done<Vec<u8>> {
        self.must_go_on(context, update, now).await?;
        Ok(self.images.read(&update.product, file, bytes).await?)
    }

    async fn urls_end(
        &self,
        context: &DeviceContext,
        update: &Update,
        claim: &Claim,
        now: Timestamp,
    ) -> Done<Timestamp> {
        if !claim.is_open() {
            return Err(EngineError::Busy);
        }
        self.must_go_on(context, update, now).await?;
        self.images.url_ends(now).await?.ok_or(EngineError::CredentialsEnding)
    }

    /// Checks that the rollout was not stopped a moment ago: a stop is acknowledged only when every head that was read
    /// before it is too old, and every request that began before it is too late.
    async fn must_go_on(&self, context: &DeviceContext, update: &Update, now: Timestamp) -> Done<()> {
        if context.started.elapsed() > LONGEST_REQUEST {
            return Err(EngineError::Busy);
        }
        if context.catalog.read_at.elapsed() < LONGEST_HEAD_AGE {
            return Ok(());
        }
        let current = self.catalogs.refreshed(&self.store, &update.product, now).await?;
        let halted = current.head.map(|head| head.halted()).unwrap_or_default();
        match halted.contains(&update.id) {
            true => Err(EngineError::Busy),
            false => Ok(()),
        }
    }
}
