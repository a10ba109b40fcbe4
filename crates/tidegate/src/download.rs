//! Fetching one file as promised: resumed where it broke off, throttled, and verified before it gets
//! its final name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use ureq::http::header::CONTENT_RANGE;

use crate::api_client::Transfers;
use crate::error::{CommandError, CommandResult};
use crate::file_name::is_plain_file_name;

/// Large enough to be cheap, small enough that a throttled device does not send in jerks.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file of an offer: its URL, and the checksum and length that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// Its name, one plain path component.
    pub name: String,
    /// The presigned URL.
    pub url: String,
    /// 64 lower-case hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
}

impl Promise {
    /// Checks that the promise can be kept and verified.
    pub fn new(name: &str, url: &str, sha256: &str, size_bytes: u64) -> CommandResult<Self> {
        let refuse = |what: String| Err(CommandError::failed("bad_answer", what));
        if !is_plain_file_name(name) {
            return refuse(format!("`{}` cannot be a file name", crate::output::clean(name)));
        }
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if sha256.len() != 64 || !sha256.bytes().all(is_hex) {
            return refuse(format!("the checksum of {name} is not a SHA-256 in lower-case hex"));
        }
        Ok(Self { name: name.to_owned(), url: url.to_owned(), sha256: sha256.to_owned(), size_bytes })
    }
}

/// Limit of the download rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// No limit.
    Off,
    /// At most this many bytes per second.
    BytesPerSecond(u64),
}

impl Throttle {
    /// The pause that keeps the rate, if `done_bytes` took `elapsed` so far.
    pub fn pause(self, done_bytes: u64, elapsed: Duration) -> Duration {
        match self {
            Self::Off | Self::BytesPerSecond(0) => Duration::ZERO,
            Self::BytesPerSecond(rate) => {
                let due = Duration::from_secs_f64(done_bytes as f64 / rate as f64);
                due.saturating_sub(elapsed)
            }
        }
    }

    /// The bytes of one read: a tenth of a second's worth, so that the rate is even.
    fn chunk_bytes(self) -> usize {
        match self {
            Self::Off | Self::BytesPerSecond(0) => CHUNK_BYTES,
            Self::BytesPerSecond(rate) => usize::try_from(rate / 10).unwrap_or(CHUNK_BYTES).clamp(256, CHUNK_BYTES),
        }
    }
}

/// Error of a download.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The link broke; the bytes that arrived are kept for the next attempt.
    #[error(transparent)]
    Interrupted(#[from] Interruption),
    /// The store refuses the URL: ask the service for a fresh one.
    #[error("the store refused the download with status {0}")]
    UrlRefused(u16),
    /// The bytes are not the promised ones; they are deleted.
    #[error(transparent)]
    NotAsPromised(#[from] Mismatch),
    /// This side cannot store the file.
    #[error(transparent)]
    Local(#[from] CommandError),
}

/// A transfer that ended before the last byte.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// The store answered that it is in trouble.
    #[error("the store answered with status {0}")]
    Trouble(u16),
    /// There was no answer.
    #[error("{name} cannot be fetched: {source}")]
    NoAnswer {
        /// The file.
        name: String,
        /// The error of the HTTP client.
        source: ureq::Error,
    },
    /// The stream ended too early.
    #[error("{name} broke off after {have_bytes} of {size_bytes} bytes")]
    Ended {
        /// The file.
        name: String,
        /// The bytes that arrived.
        have_bytes: u64,
        /// The promised length.
        size_bytes: u64,
    },
    /// The stream could not be read any further.
    #[error("{name} broke off after {have_bytes} of {size_bytes} bytes: {source}")]
    BrokeOff {
        /// The file.
        name: String,
        /// The bytes that arrived.
        have_bytes: u64,
        /// The promised length.
        size_bytes: u64,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Bytes that differ from the promised ones.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// The checksum differs.
    #[error("the SHA-256 of {name} is {found}, promised was {promised}")]
    Sha256 {
        /// The file.
        name: String,
        /// The checksum of the bytes that arrived.
        found: String,
        /// The promised checksum.
        promised: String,
    },
    /// There are more bytes than promised.
    #[error("{name} is longer than the promised {size_bytes} bytes")]
    TooLong {
        /// The file.
        name: String,
        /// The promised length.
        size_bytes: u64,
    },
}

impl From<DownloadError> for CommandError {
    fn from(error: DownloadError) -> Self {
        let message = error.to_string();
        match error {
            DownloadError::Interrupted(cause) => Self::unreachable(message).because(cause),
            DownloadError::UrlRefused(status) => Self::refused(status, "download_refused", message, None),
            DownloadError::NotAsPromised(cause) => Self::verification(message).because(cause),
            DownloadError::Local(error) => error,
        }
    }
}

/// The next step after the answer to a request for the bytes from `have_bytes` on.
#[derive(Debug, PartialEq, Eq)]
pub enum Resume {
    /// Append the bytes.
    Append,
    /// The answer is the whole file: drop the partial file and write from the start.
    StartOver,
    /// The partial file does not fit: drop it and ask again from the start.
    AskAgain,
    /// The store refuses the URL.
    Refused,
    /// The store is in trouble: try later.
    Trouble,
}

/// Decides from the status and, for a partial answer, from the `Content-Range`.
pub fn resume(have_bytes: u64, status: u16, content_range: Option<&str>) -> Resume {
    match status {
        200 => Resume::StartOver,
        206 if first_byte(content_range) == Some(have_bytes) => Resume::Append,
        // A range we did not ask for: appending it would splice two places of the file.
        206 | 416 if have_bytes > 0 => Resume::AskAgain,
        500..=599 | 429 => Resume::Trouble,
        _ => Resume::Refused,
    }
}

/// `bytes 100-199/200` starts at 100.
fn first_byte(content_range: Option<&str>) -> Option<u64> {
    let (first, _) = content_range?.trim().strip_prefix("bytes ")?.split_once('-')?;
    first.trim().parse().ok()
}

/// Downloads into a folder.
#[derive(Debug)]
pub struct Downloader<'a> {
    transfers: &'a Transfers,
    folder: &'a Path,
    throttle: Throttle,
}

impl<'a> Downloader<'a> {
    /// Files end up in `folder`, which is created when needed.
    pub fn new(transfers: &'a Transfers, folder: &'a Path, throttle: Throttle) -> Self {
        Self { transfers, folder, throttle }
    }

    /// Makes the promised file exist under its name, and returns its path. A file that is there
    /// already, whole and right, is not fetched again; one that broke off is continued.
    pub fn fetch(&self, promise: &Promise, bar: &ProgressBar) -> Result<PathBuf, DownloadError> {
        std::fs::create_dir_all(self.folder).map_err(|cause| self.local("create", self.folder, cause))?;
        let path = self.folder.join(&promise.name);
        if self.is_as_promised(&path, promise) {
            bar.set_position(promise.size_bytes);
            return Ok(path);
        }
        let part = self.folder.join(format!(".{}.part", promise.sha256));
        if let Err(error) = self.complete(promise, &part, bar) {
            if let DownloadError::NotAsPromised(_) = error {
                let _ = std::fs::remove_file(&part);
            }
            return Err(error);
        }
        std::fs::rename(&part, &path).map_err(|cause| self.local("name", &path, cause))?;
        Ok(path)
    }

    /// Brings the partial file to its promised length and checks it.
    fn complete(&self, promise: &Promise, part: &Path, bar: &ProgressBar) -> Result<(), DownloadError> {
        let (mut file, mut hasher, mut have_bytes) = self.open_part(promise, part)?;
        bar.set_position(have_bytes);
        if have_bytes < promise.size_bytes || promise.size_bytes == 0 {
            let mut answer = self.ask(promise, have_bytes)?;
            match judge(&answer, have_bytes) {
                Resume::Append => {}
                Resume::StartOver => {
                    (file, hasher, have_bytes) = self.empty_part(part)?;
                }
                Resume::AskAgain => {
                    (file, hasher, have_bytes) = self.empty_part(part)?;
                    answer = self.ask(promise, 0)?;
                    if judge(&answer, 0) != Resume::StartOver {
                        return Err(DownloadError::UrlRefused(answer.status().as_u16()));
                    }
                }
                Resume::Refused => return Err(DownloadError::UrlRefused(answer.status().as_u16())),
                Resume::Trouble => return Err(Interruption::Trouble(answer.status().as_u16()).into()),
            }
            let stream = answer.into_body().into_reader();
            have_bytes = self.store(stream, &mut file, &mut hasher, have_bytes, promise, bar)?;
        }
        if have_bytes < promise.size_bytes {
            let (name, size_bytes) = (promise.name.clone(), promise.size_bytes);
            return Err(Interruption::Ended { name, have_bytes, size_bytes }.into());
        }
        file.sync_all().map_err(|cause| self.local("write", part, cause))?;
        let found = hex::encode(hasher.finalize());
        match found == promise.sha256 {
            true => Ok(()),
            false => {
                let (name, promised) = (promise.name.clone(), promise.sha256.clone());
                Err(Mismatch::Sha256 { name, found, promised }.into())
            }
        }
    }

    fn ask(&self, promise: &Promise, first_byte: u64) -> Result<ureq::http::Response<ureq::Body>, DownloadError> {
        self.transfers.download(&promise.url, first_byte).map_err(|cause| match cause {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                let message = format!("the URL of {} is not one: {cause}", promise.name);
                CommandError::failed("bad_answer", message).because(cause).into()
            }
            source => Interruption::NoAnswer { name: promise.name.clone(), source }.into(),
        })
    }

    /// Copies the stream, hashing and throttling, and stops at the first byte too many.
    fn store(
        &self,
        mut stream: impl Read,
        file: &mut File,
        hasher: &mut Sha256,
        mut have_bytes: u64,
        promise: &Promise,
        bar: &ProgressBar,
    ) -> Result<u64, DownloadError> {
        let started = crate::time::start();
        let mut done_bytes = 0;
        let mut buffer = vec![0; self.throttle.chunk_bytes()];
        loop {
            let length = match stream.read(&mut buffer) {
                Ok(0) => return Ok(have_bytes),
                Ok(length) => length,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    // The bytes that arrived must survive a power cut, too.
                    let _ = file.sync_all();
                    let (name, size_bytes) = (promise.name.clone(), promise.size_bytes);
                    return Err(Interruption::BrokeOff { name, have_bytes, size_bytes, source }.into());
                }
            };
            let chunk = buffer.get(..length).unwrap_or_default();
            have_bytes += length as u64;
            done_bytes += length as u64;
            if have_bytes > promise.size_bytes {
                let (name, size_bytes) = (promise.name.clone(), promise.size_bytes);
                return Err(Mismatch::TooLong { name, size_bytes }.into());
            }
            hasher.update(chunk);
            file.write_all(chunk).map_err(|cause| self.local("write", self.folder, cause))?;
            bar.set_position(have_bytes);
            std::thread::sleep(self.throttle.pause(done_bytes, started.elapsed()));
        }
    }

    /// Opens the partial file of an earlier attempt, hashes it, and continues at its end.
    fn open_part(&self, promise: &Promise, part: &Path) -> Result<(File, Sha256, u64), DownloadError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(part)
            .map_err(|cause| self.local("open", part, cause))?;
        let (hasher, have_bytes) = hash(&mut file, |_| ()).map_err(|cause| self.local("read", part, cause))?;
        match have_bytes > promise.size_bytes {
            true => self.empty_part(part),
            false => Ok((file, hasher, have_bytes)),
        }
    }

    fn empty_part(&self, part: &Path) -> Result<(File, Sha256, u64), DownloadError> {
        let file = File::create(part).map_err(|cause| self.local("create", part, cause))?;
        Ok((file, Sha256::new(), 0))
    }

    fn is_as_promised(&self, path: &Path, promise: &Promise) -> bool {
        let Ok(mut file) = File::open(path) else {
            return false;
        };
        hash(&mut file, |_| ()).is_ok_and(|(hasher, size_bytes)| {
            size_bytes == promise.size_bytes && hex::encode(hasher.finalize()) == promise.sha256
        })
    }

    fn local(&self, action: &str, path: &Path, cause: io::Error) -> DownloadError {
        let message = format!("cannot {action} {}: {cause}", path.display());
        DownloadError::Local(CommandError::failed("file_error", message).because(cause))
    }
}

fn judge(answer: &ureq::http::Response<ureq::Body>, have_bytes: u64) -> Resume {
    let content_range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    resume(have_bytes, answer.status().as_u16(), content_range)
}

/// Hashes everything that a reader has. `progress` gets the length of each chunk.
pub fn hash(reader: &mut impl Read, mut progress: impl FnMut(u64)) -> io::Result<(Sha256, u64)> {
    let mut hasher = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher, size_bytes)),
            Ok(length) => length,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        hasher.update(buffer.get(..length).unwrap_or_default());
        size_bytes += length as u64;
        progress(length as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub_server::{Reply, StubServer};

    const IMAGE: &[u8] = b"0123456789abcdefghij";

    fn promise(url: &str) -> Promise {
        let sha256 = hex::encode(Sha256::digest(IMAGE));
        Promise::new("image.bin", url, &sha256, IMAGE.len() as u64).expect("a good promise")
    }

    fn fetch(folder: &Path, base: &str) -> Result<PathBuf, DownloadError> {
        let transfers = Transfers::new();
        Downloader::new(&transfers, folder, Throttle::Off)
            .fetch(&promise(&format!("{base}/image?sig=1")), &ProgressBar::hidden())
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("readable");
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_download_that_breaks_off_is_continued_where_it_broke_off() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = StubServer::start(vec![
            Reply::bytes(200, IMAGE).breaking_off_after(7),
            Reply::bytes(206, IMAGE.get(7..).unwrap_or_default()).header("Content-Range", "bytes 7-19/20"),
        ]);
        let first = fetch(folder.path(), server.base());
        assert!(matches!(first, Err(DownloadError::Interrupted(_))), "{first:?}");
        assert!(!folder.path().join("image.bin").exists(), "no half file under the final name");
        let path = fetch(folder.path(), server.base()).expect("the rest arrives");
        assert_eq!(std::fs::read(path).expect("readable"), IMAGE);
        assert!(server.request(1).to_lowercase().contains("range: bytes=7-"), "{}", server.request(1));
        assert_eq!(names(folder.path()), ["image.bin"]);
    }

    #[test]
    fn a_store_without_ranges_makes_the_download_start_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = StubServer::start(vec![Reply::bytes(200, IMAGE).breaking_off_after(7), Reply::bytes(200, IMAGE)]);
        assert!(fetch(folder.path(), server.base()).is_err());
        let path = fetch(folder.path(), server.base()).expect("the whole file arrives");
        assert_eq!(std::fs::read(path).expect("readable"), IMAGE);
    }

    #[test]
    fn other_bytes_than_promised_never_get_the_final_name() {
        for wrong in [b"0123456789ABCDEFGHIJ".as_slice(), b"0123456789abcdefghij!"] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let server = StubServer::start(vec![Reply::bytes(200, wrong)]);
            let result = fetch(folder.path(), server.base());
            assert!(matches!(result, Err(DownloadError::NotAsPromised(_))), "{result:?}");
            assert!(names(folder.path()).is_empty(), "nothing stays behind");
        }
    }

    #[test]
    fn a_refused_url_keeps_what_arrived_for_a_fresh_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server =
            StubServer::start(vec![Reply::bytes(200, IMAGE).breaking_off_after(7), Reply::bytes(403, b"<Error/>")]);
        assert!(fetch(folder.path(), server.base()).is_err());
        let refused = fetch(folder.path(), server.base());
        assert!(matches!(refused, Err(DownloadError::UrlRefused(403))), "{refused:?}");
        let [part] = names(folder.path()).try_into().expect("only the partial file");
        assert_eq!(std::fs::read(folder.path().join(part)).expect("readable"), b"0123456");
    }

    #[test]
    fn a_file_that_is_already_there_is_not_fetched_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("image.bin"), IMAGE).expect("writable");
        assert!(fetch(folder.path(), "http://127.0.0.1:1").is_ok());
    }

    #[test]
    fn a_range_that_was_not_asked_for_is_never_appended() {
        let check = |have, status, range, expected| assert_eq!(resume(have, status, range), expected);
        check(0, 200, None, Resume::StartOver);
        check(7, 200, None, Resume::StartOver);
        check(7, 206, Some("bytes 7-19/20"), Resume::Append);
        check(7, 206, Some("bytes 0-19/20"), Resume::AskAgain);
        check(7, 206, None, Resume::AskAgain);
        check(7, 416, Some("bytes */5"), Resume::AskAgain);
        check(0, 416, None, Resume::Refused);
        check(0, 403, None, Resume::Refused);
        check(0, 404, None, Resume::Refused);
        check(0, 503, None, Resume::Trouble);
    }

    #[test]
    fn a_throttled_download_takes_as_long_as_its_rate_says() {
        let check = |rate, done, elapsed_ms, expected_ms| {
            let pause = Throttle::BytesPerSecond(rate).pause(done, Duration::from_millis(elapsed_ms));
            assert_eq!(pause, Duration::from_millis(expected_ms));
        };
        check(1000, 500, 100, 400);
        check(1000, 500, 500, 0);
        check(1000, 500, 900, 0);
        assert_eq!(Throttle::Off.pause(1 << 40, Duration::ZERO), Duration::ZERO);
        assert_eq!(Throttle::BytesPerSecond(0).pause(9, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_checksum_that_is_not_one_is_refused_before_anything_is_fetched() {
        assert!(Promise::new("a", "http://x", &"AB".repeat(32), 1).is_err());
        assert!(Promise::new("a", "http://x", "ab", 1).is_err());
        assert!(Promise::new("../a", "http://x", &"ab".repeat(32), 1).is_err());
    }
}
