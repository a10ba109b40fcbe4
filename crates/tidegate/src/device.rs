//! `tidegate device`: a reference device that behaves as every device should.
//!
//! It asks at random moments around its period, waits as long as the service says, fetches once and
//! resumes, installs only what it has verified, says how it went, and does not insist on an update
//! that failed.

mod apply;
pub mod memory;
pub mod wait;
pub mod window;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};

use self::memory::Memory;
use self::wait::{Chance, Rhythm};
use self::window::Window;
use crate::api_client::{ApiClient, ApiPath};
use crate::arguments::Common;
use crate::device_file::DeviceFile;
use crate::download::{DownloadError, Downloader, Promise, Throttle};
use crate::error::{CommandError, CommandResult};
use crate::offer::{Answer, Offer, plain_name};
use crate::output::{Output, clean};
use crate::progress;

/// How often a download that breaks off without any progress is tried again at once; after that it
/// waits, with what it has, for the next check-in.
const IDLE_RETRIES: u32 = 4;
/// How often a refused URL is replaced by a fresh one within one check-in.
const FRESH_URLS: u32 = 3;

/// What `--help` says below the options.
const MORE_HELP: &str = "\
A window is a cron pattern of five fields that matches every minute in which to act, such as
\"* 22-23 * * *\", or one of: anytime, day, night, midnight, weekdays, workhours.

The program of --apply gets the files as arguments and in its environment TIDEGATE_VERSION,
TIDEGATE_UPDATE, TIDEGATE_FROM_VERSION, TIDEGATE_PRODUCT, TIDEGATE_DEVICE, TIDEGATE_DEVICE_FILE,
TIDEGATE_PAYLOAD and TIDEGATE_SPECIFICATION. When it ends with 0, the version is installed; anything
else is reported as a failed installation.";

/// Options of `tidegate device`.
#[derive(Debug, Args)]
#[command(after_help = MORE_HELP)]
pub struct DeviceArgs {
    /// What the device says of itself; the new version is written into it
    #[arg(value_name = "DEVICE.json")]
    pub device: PathBuf,
    /// Token of the device
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    pub token: String,
    /// Folder for downloads and memory [default: DEVICE.json.state]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How often to check in when the service does not say, such as 90s or 12h
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = crate::duration::parse_period)]
    pub period: Duration,
    /// How much earlier or later, at random; also the spread of the first check-in
    #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = crate::duration::parse)]
    pub jitter: Duration,
    /// When to check in, in local time; see below
    #[arg(long, default_value = "anytime", value_name = "WINDOW")]
    pub schedule: Window,
    /// When to install, in local time; see below
    #[arg(long, default_value = "anytime", value_name = "WINDOW")]
    pub apply_window: Window,
    /// At most this many bytes per second
    #[arg(long, value_name = "BYTES_PER_S", value_parser = bytes_per_second)]
    pub throttle: Option<u64>,
    /// Program that installs; see below. Without one, the new version is only written down
    #[arg(long, value_name = "PROGRAM")]
    pub apply: Option<PathBuf>,
    /// Check in once, now, see it through, and stop
    #[arg(long)]
    pub once: bool,
}

fn bytes_per_second(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of bytes per second, such as 100000".into()),
        Ok(rate) => Ok(rate),
    }
}

/// How a check-in ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// The service had nothing, or nothing that this device wants.
    Nothing { why: String },
    /// A new version is installed.
    Installed { from: String, version: String },
}

/// Runs the device, once or for ever.
pub fn run(args: DeviceArgs, common: &Common, output: &Output) -> CommandResult {
    let mut agent = Agent::new(args, common, output)?;
    if agent.once {
        return agent.once();
    }
    let mut failures = 0;
    let first = agent.first_check_at();
    agent.sleep_until(first, "check in");
    loop {
        agent.wait_for_window(&agent.schedule.clone(), "check in")?;
        let result = agent.check_in();
        let chance = Chance::throw();
        let wait = match &result {
            // The service is in trouble, or the link to it: come back soon, but less and less so.
            Err(CommandError::Unreachable(_) | CommandError::Refused { .. }) => {
                failures += 1;
                agent.rhythm.retry_wait(failures, retry_after_s(&result), chance)
            }
            Ok(_) | Err(_) => {
                failures = 0;
                agent.rhythm.next_wait(agent.asked_s, chance)
            }
        };
        match result {
            Ok(ended) => agent.say(&ended.to_string()),
            Err(error) => agent.say(&format!("error: {error}")),
        }
        let next = crate::time::now().saturating_add(jiff::SignedDuration::try_from(wait).unwrap_or_default());
        let next = next.unwrap_or(Timestamp::MAX);
        agent.memory.next_check_at_s = Some(next.as_second());
        if let Err(error) = agent.memory.keep() {
            agent.say(&format!("error: {error}"));
        }
        agent.sleep_until(next, "check in");
    }
}

fn retry_after_s<T>(result: &CommandResult<T>) -> Option<u64> {
    match result {
        Err(CommandError::Refused { retry_after_s, .. }) => *retry_after_s,
        _ => None,
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing { why } => f.write_str(why),
            Self::Installed { from, version } => {
                write!(f, "installed {}, was {}", clean(version), clean(from))
            }
        }
    }
}

/// The device at work.
struct Agent<'a> {
    client: ApiClient,
    output: &'a Output,
    device: DeviceFile,
    memory: Memory,
    folder: PathBuf,
    rhythm: Rhythm,
    schedule: Window,
    apply_window: Window,
    throttle: Throttle,
    apply: Option<PathBuf>,
    once: bool,
    /// When the service wants to be asked again, by its last answer.
    asked_s: Option<u64>,
}

impl<'a> Agent<'a> {
    fn new(args: DeviceArgs, common: &Common, output: &'a Output) -> CommandResult<Self> {
        let device = DeviceFile::read(&args.device)?;
        if let Some(program) = &args.apply {
            apply::must_exist(program)?;
        }
        let folder = args.state.unwrap_or_else(|| {
            let mut name = args.device.clone().into_os_string();
            name.push(".state");
            name.into()
        });
        Ok(Self {
            client: common.device(args.token)?,
            output,
            device,
            memory: Memory::open(&folder)?,
            folder,
            rhythm: Rhythm { period: args.period, jitter: args.jitter },
            schedule: args.schedule,
            apply_window: args.apply_window,
            throttle: args.throttle.map_or(Throttle::Off, Throttle::BytesPerSecond),
            apply: args.apply,
            once: args.once,
            asked_s: None,
        })
    }

    fn once(&mut self) -> CommandResult {
        let ended = self.check_in()?;
        self.memory.keep()?;
        let document = match &ended {
            Ended::Nothing { why } => json!({"installed": null, "why": why}),
            Ended::Installed { from, version } => json!({"installed": version, "from": from}),
        };
        self.output.document(&document)?;
        match ended {
            Ended::Nothing { why } => Err(CommandError::NothingToOffer(why)),
            Ended::Installed { .. } => self.output.line(ended.to_string()),
        }
    }

    /// Says what happens, with the time, on standard error.
    fn say(&self, text: &str) {
        let now = crate::time::show_in(crate::time::now(), &crate::time::local_zone());
        self.output.note(format!("{now}  {text}"));
    }

    /// One check-in, seen through to the end.
    fn check_in(&mut self) -> CommandResult<Ended> {
        self.device = self.device.read_again()?;
        self.asked_s = None;
        self.send_unsent();
        let answer = self.ask()?;
        let Some(offer) = answer.offer.clone() else {
            return Ok(Ended::Nothing { why: answer.nothing() });
        };
        if let Some(why) = self.unwanted(&offer) {
            return Ok(Ended::Nothing { why });
        }
        self.say(&format!("offered {}, running {}", clean(&offer.version), clean(&self.device.version)));
        let (offer, files) = self.fetch(offer)?;
        if self.wait_for_window(&self.apply_window.clone(), "install")? == Waited::Yes {
            // Much can happen in a night: install only what the service still wants installed.
            let still = self.ask()?.offer.filter(|now| now.update == offer.update);
            if still.is_none() {
                let why = format!("{} is not offered any more; not installed", clean(&offer.version));
                return Ok(Ended::Nothing { why });
            }
        }
        self.install(&offer, &files)
    }

    fn ask(&mut self) -> CommandResult<Answer> {
        let document = self.client.post_bytes(&ApiPath::check(), self.device.body())?;
        let answer = Answer::read(&document)?;
        self.asked_s = answer.check_again_after_s;
        Ok(answer)
    }

    /// Why an offer is not taken: it is what runs already, or it failed here not long ago.
    fn unwanted(&self, offer: &Offer) -> Option<String> {
        let version = clean(&offer.version);
        if offer.version == self.device.version {
            return Some(format!("offered {version}, which is already running; not taken"));
        }
        let until = self.memory.left_alone_until(&offer.update, crate::time::now())?;
        let until = crate::time::show_in(until, &crate::time::local_zone());
        Some(format!("offered {version}, which failed here; not tried again before {until}"))
    }

    /// Fetches every file, across broken links and URLs that have expired meanwhile.
    fn fetch(&mut self, mut offer: Offer) -> CommandResult<(Offer, Vec<PathBuf>)> {
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

    /// Where images are kept until they are installed.
    fn images(&self) -> PathBuf {
        self.folder.join("tidegate-images")
    }

    /// Removes what is left of other versions: a small disk needs the room.
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
            self.say(&format!("{}; going on in {}", clean(&why), crate::duration::show(pause)));
            std::thread::sleep(pause);
        }
    }

    fn install(&mut self, offer: &Offer, files: &[PathBuf]) -> CommandResult<Ended> {
        self.report(offer, "INSTALL", None);
        if let Some(program) = &self.apply
            && let Err(why) = apply::apply(program, files, &self.device, offer)
        {
            return Err(self.failed(offer, "INSTALL_ERROR", CommandError::failed("apply_failed", why)));
        }
        let from = self.device.version.clone();
        if let Err(error) = self.adopt(&offer.version) {
            return Err(self.failed(offer, "INSTALL_ERROR", error));
        }
        self.memory.has_succeeded();
        self.report(offer, "INSTALL_SUCCESS", None);
        self.memory.keep()?;
        if self.apply.is_some() {
            // The command has them.
            let _ = std::fs::remove_dir_all(self.images().join(plain_name(&offer.version)));
        }
        Ok(Ended::Installed { from, version: offer.version.clone() })
    }

    /// Makes the device run the new version, unless the command wrote it down itself.
    fn adopt(&mut self, version: &str) -> CommandResult {
        let device = self.device.read_again()?;
        if device.version != version {
            device.write_version(version)?;
        }
        self.device = device.read_again()?;
        Ok(())
    }

    /// Reports a failure, and leaves the update alone for a while.
    fn failed(&mut self, offer: &Offer, status: &str, error: CommandError) -> CommandError {
        self.report(offer, status, Some(&error.to_string()));
        let until = self.memory.has_failed(&offer.update, crate::time::now());
        if let Err(error) = self.memory.keep() {
            self.say(&format!("error: {error}"));
        }
        let until = crate::time::show_in(until, &crate::time::local_zone());
        self.say(&format!("{} failed here; not tried again before {until}", clean(&offer.version)));
        error
    }

    /// Tells the service. A report that does not arrive is kept: an outcome must not get lost.
    fn report(&mut self, offer: &Offer, status: &str, message: Option<&str>) {
        let mut report = json!({
            "id": self.device.id,
            "product": self.device.product,
            "update": offer.update,
            "status": status,
        });
        if let (Some(message), Some(fields)) = (message, report.as_object_mut()) {
            fields.insert("message".into(), Value::from(message));
        }
        self.send(report);
    }

    fn send(&mut self, report: Value) {
        match self.client.post(&ApiPath::report(), &report) {
            Ok(_) => {}
            Err(CommandError::Refused { status: 400..=428 | 430..=499, code, message, .. }) => {
                self.say(&format!("the report was refused: {message} ({code})"));
            }
            Err(error) => {
                self.say(&format!("the report is kept for later: {error}"));
                self.memory.unsent(report);
            }
        }
    }

    fn send_unsent(&mut self) {
        for report in self.memory.take_unsent() {
            self.send(report);
        }
    }

    /// When to check in first: as planned before the restart, otherwise spread over the jitter.
    fn first_check_at(&self) -> Timestamp {
        let planned = self.memory.next_check_at_s.and_then(|at_s| Timestamp::from_second(at_s).ok());
        let spread = self.rhythm.first_wait(Chance::throw());
        planned.unwrap_or_else(|| {
            let now = crate::time::now();
            now.saturating_add(jiff::SignedDuration::try_from(spread).unwrap_or_default()).unwrap_or(now)
        })
    }

    fn wait_for_window(&self, window: &Window, to_do: &str) -> CommandResult<Waited> {
        let mut waited = Waited::No;
        loop {
            let now = Zoned::new(crate::time::now(), crate::time::local_zone());
            let opens_at = window
                .opens_at(&now)
                .ok_or_else(|| CommandError::BadInput(format!("the window to {to_do} never opens")))?;
            if opens_at <= now {
                return Ok(waited);
            }
            waited = Waited::Yes;
            self.sleep_until(opens_at.timestamp(), to_do);
        }
    }

    fn sleep_until(&self, until: Timestamp, to_do: &str) {
        let mut now = crate::time::now();
        if until <= now {
            return;
        }
        let shown = crate::time::show_in(until, &crate::time::local_zone());
        self.say(&format!("waiting until {shown} to {to_do}"));
        while now < until {
            let rest = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            // In slices: a device's clock may jump when it first hears from a time server.
            std::thread::sleep(rest.min(Duration::from_secs(60)));
            now = crate::time::now();
        }
    }
}

/// Whether there was a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::error::Exit;
    use crate::output::Reader;
    use crate::stub_server::{Reply, StubServer};

    const IMAGE: &[u8] = b"0123456789abcdefghij";

    fn offer(base: &str, version: &str) -> Reply {
        let offer = json!({
            "url": format!("{base}/image?sig=1"), "checksum": hex::encode(Sha256::digest(IMAGE)),
            "version": version, "update": "u1", "size": IMAGE.len(), "check_again_after_s": 3600
        });
        Reply::json(200, &offer.to_string())
    }

    fn recorded() -> Reply {
        Reply::json(200, r#"{"recorded":true}"#)
    }

    fn once(server: &StubServer, folder: &Path, apply: Option<&str>) -> CommandResult {
        let device = folder.join("device.json");
        if !device.exists() {
            let text = r#"{"id":"d1","product":"lamp","version":"1.0.0"}"#;
            std::fs::write(&device, text).expect("writable");
        }
        let common = Common::of(server.base());
        let args = DeviceArgs {
            device,
            token: "t".into(),
            state: Some(folder.join("state")),
            period: Duration::from_secs(1),
            jitter: Duration::ZERO,
            schedule: "anytime".parse().expect("a window"),
            apply_window: "anytime".parse().expect("a window"),
            throttle: None,
            apply: apply.map(PathBuf::from),
            once: true,
        };
        run(args, &common, &Output::new(Reader::Person))
    }

    fn statuses(server: &StubServer) -> Vec<String> {
        let requests = server.requests();
        let reports = requests.iter().filter(|request| request.starts_with("POST /v1/report"));
        let status = |request: &String| {
            let (_, body) = request.split_once("\r\n\r\n")?;
            let body: Value = serde_json::from_str(body).ok()?;
            Some(body.get("status")?.as_str()?.to_owned())
        };
        reports.filter_map(status).collect()
    }

    #[test]
    fn an_update_is_fetched_across_a_broken_link_and_installed_and_reported() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rest = Reply::bytes(206, IMAGE.get(7..).unwrap_or_default());
        let server = StubServer::start_with(|base| {
            vec![
                offer(base, "2.0.0"),
                recorded(),
                Reply::bytes(200, IMAGE).breaking_off_after(7),
                rest.header("Content-Range", "bytes 7-19/20"),
                recorded(),
                recorded(),
                recorded(),
            ]
        });
        assert_eq!(once(&server, folder.path(), None), Ok(()));
        assert_eq!(statuses(&server), ["DOWNLOAD", "DOWNLOAD_SUCCESS", "INSTALL", "INSTALL_SUCCESS"]);
        let device = DeviceFile::read(&folder.path().join("device.json")).expect("a good file");
        assert_eq!(device.version, "2.0.0");
    }

    #[test]
    fn a_refused_url_is_replaced_by_asking_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = StubServer::start_with(|base| {
            vec![
                offer(base, "2.0.0"),
                recorded(),
                Reply::bytes(403, b"<Error/>"),
                offer(base, "2.0.0"),
                Reply::bytes(200, IMAGE),
                recorded(),
                recorded(),
                recorded(),
            ]
        });
        assert_eq!(once(&server, folder.path(), None), Ok(()));
    }

    #[test]
    fn a_failed_installation_is_reported_and_not_tried_again_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = StubServer::start_with(|base| {
            vec![
                offer(base, "2.0.0"),
                recorded(),
                Reply::bytes(200, IMAGE),
                recorded(),
                recorded(),
                recorded(),
                offer(base, "2.0.0"),
            ]
        });
        let error = once(&server, folder.path(), Some("false")).expect_err("`false` fails");
        assert_eq!(error.code(), "apply_failed");
        assert_eq!(statuses(&server), ["DOWNLOAD", "DOWNLOAD_SUCCESS", "INSTALL", "INSTALL_ERROR"]);
        let again = once(&server, folder.path(), Some("false")).expect_err("left alone");
        assert_eq!(again.exit(), Exit::NothingToOffer);
        let device = DeviceFile::read(&folder.path().join("device.json")).expect("a good file");
        assert_eq!(device.version, "1.0.0");
    }

    #[test]
    fn its_own_version_is_not_taken_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = StubServer::start_with(|base| vec![offer(base, "1.0.0")]);
        let error = once(&server, folder.path(), None).expect_err("nothing to do");
        assert_eq!(error.exit(), Exit::NothingToOffer);
    }

    #[test]
    fn an_outcome_that_cannot_be_told_is_told_at_the_next_check_in() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let down = || Reply::json(503, "");
        let server = StubServer::start_with(|base| {
            vec![
                offer(base, "2.0.0"),
                recorded(),
                Reply::bytes(200, IMAGE),
                recorded(),
                recorded(),
                down(),
                recorded(),
                Reply::json(200, r#"{"check_again_after_s":60,"reason":"up_to_date"}"#),
            ]
        });
        assert_eq!(once(&server, folder.path(), None), Ok(()));
        assert!(once(&server, folder.path(), None).is_err(), "up to date");
        let told = statuses(&server).into_iter().filter(|status| status == "INSTALL_SUCCESS").count();
        assert_eq!(told, 2, "once in vain and once for good");
    }
}
