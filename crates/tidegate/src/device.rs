//! `tidegate device`: a reference device that behaves as every device should.
//!
//! It asks at random moments around its period, waits as long as the service says, fetches once and
//! resumes, installs only what it has verified, reports the result, and does not insist on an update
//! that failed.

mod agent;
mod apply;
mod fetch;
pub mod memory;
mod report;
mod sleep;
pub mod wait;
pub mod window;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use self::agent::Agent;
use self::wait::Chance;
use self::window::Window;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::Output;

/// The text below the options in `--help`.
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
    /// The device.json of the device; the new version is written into it
    #[arg(value_name = "DEVICE.json")]
    pub device: PathBuf,
    /// Token of the device
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    pub token: String,
    /// Folder for downloads and memory [default: DEVICE.json.state]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Time between check-ins if the service does not say, such as 90s or 12h
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = crate::duration::parse_period)]
    pub period: Duration,
    /// Random part of that time, earlier or later; also the spread of the first check-in
    #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = crate::duration::parse)]
    pub jitter: Duration,
    /// Window for check-ins, in local time; see below
    #[arg(long, default_value = "anytime", value_name = "WINDOW")]
    pub schedule: Window,
    /// Window for installations, in local time; see below
    #[arg(long, default_value = "anytime", value_name = "WINDOW")]
    pub apply_window: Window,
    /// At most this many bytes per second
    #[arg(long, value_name = "BYTES_PER_S", value_parser = bytes_per_second)]
    pub throttle: Option<u64>,
    /// Program that installs; see below. Without it, only the version in DEVICE.json changes
    #[arg(long, value_name = "PROGRAM")]
    pub apply: Option<PathBuf>,
    /// Check in once now, finish the update, and stop
    #[arg(long)]
    pub once: bool,
}

/// A text that is no rate of a download.
#[derive(Debug, thiserror::Error)]
#[error("expected a number of bytes per second, such as 100000")]
struct BadRate;

fn bytes_per_second(text: &str) -> Result<u64, BadRate> {
    match text.parse() {
        Ok(0) | Err(_) => Err(BadRate),
        Ok(rate) => Ok(rate),
    }
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
            Err(error) if error.is_unreachable() || error.status().is_some() => {
                failures += 1;
                agent.rhythm.retry_wait(failures, error.retry_after_s(), chance)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::device_file::DeviceFile;
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
