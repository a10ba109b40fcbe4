//! The agent of a device: one check-in with everything that follows.

use std::path::PathBuf;

use serde_json::json;

use super::DeviceArgs;
use super::apply;
use super::memory::Memory;
use super::sleep::Waited;
use super::wait::Rhythm;
use super::window::Window;
use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::device_file::DeviceFile;
use crate::download::Throttle;
use crate::error::{CommandError, CommandResult};
use crate::file_name::plain_name;
use crate::offer::{Answer, Offer};
use crate::output::{Output, clean};

/// Result of a check-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The service had nothing, or nothing that this device wants.
    Nothing { why: String },
    /// A new version is installed.
    Installed { from: String, version: String },
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

/// A device that checks in, fetches, installs and reports.
pub(super) struct Agent<'a> {
    pub(super) client: ApiClient,
    pub(super) output: &'a Output,
    pub(super) device: DeviceFile,
    pub(super) memory: Memory,
    pub(super) folder: PathBuf,
    pub(super) rhythm: Rhythm,
    pub(super) schedule: Window,
    pub(super) apply_window: Window,
    pub(super) throttle: Throttle,
    pub(super) apply: Option<PathBuf>,
    pub(super) once: bool,
    /// The wait that the last answer of the service asks for.
    pub(super) asked_s: Option<u64>,
}

impl<'a> Agent<'a> {
    pub(super) fn new(args: DeviceArgs, common: &Common, output: &'a Output) -> CommandResult<Self> {
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

    pub(super) fn once(&mut self) -> CommandResult {
        let ended = self.check_in()?;
        self.memory.keep()?;
        let document = match &ended {
            Ended::Nothing { why } => json!({"installed": null, "why": why}),
            Ended::Installed { from, version } => json!({"installed": version, "from": from}),
        };
        self.output.document(&document)?;
        match ended {
            Ended::Nothing { why } => Err(CommandError::nothing_to_offer(why)),
            Ended::Installed { .. } => self.output.line(ended.to_string()),
        }
    }

    /// Writes an event with the time to standard error.
    pub(super) fn say(&self, text: &str) {
        let now = crate::time::show_in(crate::time::now(), &crate::time::local_zone());
        self.output.note(format!("{now}  {text}"));
    }

    /// One check-in with everything that follows: download, installation and report.
    pub(super) fn check_in(&mut self) -> CommandResult<Ended> {
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
            // The rollout may have changed during the wait, so the service is asked again before the installation.
            let still = self.ask()?.offer.filter(|now| now.update == offer.update);
            if still.is_none() {
                let why = format!("{} is not offered any more; not installed", clean(&offer.version));
                return Ok(Ended::Nothing { why });
            }
        }
        self.install(&offer, &files)
    }

    pub(super) fn ask(&mut self) -> CommandResult<Answer> {
        let document = self.client.post_bytes(&ApiPath::check(), self.device.body())?;
        let answer = Answer::read(&document)?;
        self.asked_s = answer.check_again_after_s;
        Ok(answer)
    }

    /// The reason why an offer is not taken: the version runs already, or it failed here recently.
    fn unwanted(&self, offer: &Offer) -> Option<String> {
        let version = clean(&offer.version);
        if offer.version == self.device.version {
            return Some(format!("offered {version}, which is already running; not taken"));
        }
        let until = self.memory.left_alone_until(&offer.update, crate::time::now())?;
        let until = crate::time::show_in(until, &crate::time::local_zone());
        Some(format!("offered {version}, which failed here; not tried again before {until}"))
    }

    fn install(&mut self, offer: &Offer, files: &[PathBuf]) -> CommandResult<Ended> {
        self.report(offer, "INSTALL", None);
        if let Some(program) = &self.apply
            && let Err(why) = apply::apply(program, files, &self.device, offer)
        {
            let error = CommandError::failed("apply_failed", why.to_string()).because(why);
            return Err(self.failed(offer, "INSTALL_ERROR", error));
        }
        let from = self.device.version.clone();
        if let Err(error) = self.adopt(&offer.version) {
            return Err(self.failed(offer, "INSTALL_ERROR", error));
        }
        self.memory.has_succeeded();
        self.report(offer, "INSTALL_SUCCESS", None);
        self.memory.keep()?;
        if self.apply.is_some() {
            // The command has the files now.
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
    pub(super) fn failed(&mut self, offer: &Offer, status: &str, error: CommandError) -> CommandError {
        self.report(offer, status, Some(&error.to_string()));
        let until = self.memory.has_failed(&offer.update, crate::time::now());
        if let Err(error) = self.memory.keep() {
            self.say(&format!("error: {error}"));
        }
        let until = crate::time::show_in(until, &crate::time::local_zone());
        self.say(&format!("{} failed here; not tried again before {until}", clean(&offer.version)));
        error
    }
}
