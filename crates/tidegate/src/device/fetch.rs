//! Download of an offer by a device: resumed across broken links and URLs that have expired.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::agent::Agent;
use crate::download::{DownloadError, Downloader, Promise};
use crate::error::CommandResult;
use crate::file_name::plain_name;
use crate::offer::Offer;
use crate::output::clean;
use crate::progress;

/// Retries of a download that breaks off without any progress. After them the partial file waits for
/// the next check-in.
const IDLE_RETRIES: u32 = 4;
/// Fresh URLs within one check-in, after the store refused one.
const FRESH_URLS: u32 = 3;

impl Agent<'_> {
    /// Fetches every file, across broken links and URLs that have expired meanwhile.
    pub(super) fn fetch(&mut self, mut offer: Offer) -> CommandResult<(Offer, Vec<PathBuf>)> {
        self.report(&offer, "DOWNLOAD", None);
        self.forget_images_but(&offer.version);
        let mut fresh_urls = 0;
        loop {
            match self.fetch_files(&offer) {
                Ok(files) => {
                    self.report(&offer, "DOWNLOAD_SUCCESS", None);
                    return Ok((offer, files));
                }
                Err(DownloadError::UrlRefused(status)) if fresh_urls < FRESH_URLS => {
                    fresh_urls += 1;
                    self.say(&format!("the URL was refused with status {status}; asking for a fresh one"));
                    match self.ask()?.offer {
                        Some(again) if again.update == offer.update => offer = again,
                        _ => return Err(DownloadError::UrlRefused(status).into()),
                    }
                }
                // Nothing is wrong with the update: what arrived waits for the next check-in.
                Err(error @ (DownloadError::Interrupted(_) | DownloadError::UrlRefused(_))) => {
                    return Err(error.into());
                }
                Err(error) => return Err(self.failed(&offer, "DOWNLOAD_ERROR", error.into())),
            }
        }
    }

    fn fetch_files(&self, offer: &Offer) -> Result<Vec<PathBuf>, DownloadError> {
        let promises = offer.promises().map_err(DownloadError::Local)?;
        let folder = self.images().join(plain_name(&offer.version));
        promises.iter().map(|promise| self.fetch_file(&folder, promise)).collect()
    }

    /// The folder of images that are not installed yet.
    pub(super) fn images(&self) -> PathBuf {
        self.folder.join("tidegate-images")
    }

    /// Removes the images of other versions: a small disk needs the room.
    fn forget_images_but(&self, version: &str) {
        let kept = plain_name(version);
        for entry in std::fs::read_dir(self.images()).into_iter().flatten().flatten() {
            if entry.file_name().to_str() != Some(&kept) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Fetches one file, trying again at once as long as there is progress.
    fn fetch_file(&self, folder: &Path, promise: &Promise) -> Result<PathBuf, DownloadError> {
        let downloader = Downloader::new(self.client.transfers(), folder, self.throttle);
        let bar = progress::bar(&promise.name, promise.size_bytes);
        let (mut idle, mut reached) = (0, 0);
        loop {
            let result = downloader.fetch(promise, &bar);
            let Err(DownloadError::Interrupted(why)) = result else {
                bar.finish_and_clear();
                return result;
            };
            idle = if bar.position() > reached { 1 } else { idle + 1 };
            reached = reached.max(bar.position());
            if idle > IDLE_RETRIES {
                bar.finish_and_clear();
                return Err(DownloadError::Interrupted(why));
            }
            let pause = Duration::from_millis(500 << idle);
            self.say(&format!("{}; going on in {}", clean(&why.to_string()), crate::duration::show(pause)));
            std::thread::sleep(pause);
        }
    }
}
