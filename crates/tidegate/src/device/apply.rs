//! Handing verified files to the command that installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::device_file::DeviceFile;
use crate::error::{CommandError, CommandResult};
use crate::offer::Offer;

/// Error of the program that installs.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// The program could not be started.
    #[error("cannot run {}: {source}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The program ended without success.
    #[error("{} ended with {status}", program.display())]
    Ended {
        /// The program.
        program: PathBuf,
        /// Its exit status.
        status: ExitStatus,
    },
}

/// A mistyped program must not cost the fleet a failed installation. A bare name is looked up in the
/// `PATH` when its time comes.
pub(super) fn must_exist(program: &Path) -> CommandResult {
    let is_bare_name = program.components().count() == 1;
    match is_bare_name || program.is_file() {
        true => Ok(()),
        false => Err(CommandError::bad_input(format!("there is no program {}", program.display()))),
    }
}

/// Runs the command with the files as its arguments. The error goes into the report.
///
/// The command is a program, not a line for a shell: nothing that the service says can ever be read
/// as a command.
pub(super) fn apply(program: &Path, files: &[PathBuf], device: &DeviceFile, offer: &Offer) -> Result<(), ApplyError> {
    // Installers change their folder, so they get absolute paths.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let status = Command::new(program)
        .args(files.iter().map(|file| absolute(file)))
        .env("TIDEGATE_VERSION", &offer.version)
        .env("TIDEGATE_UPDATE", &offer.update)
        .env("TIDEGATE_FROM_VERSION", &device.version)
        .env("TIDEGATE_PRODUCT", &device.product)
        .env("TIDEGATE_DEVICE", &device.id)
        .env("TIDEGATE_DEVICE_FILE", absolute(device.path()))
        .env("TIDEGATE_PAYLOAD", json(&offer.payload))
        .env("TIDEGATE_SPECIFICATION", json(&offer.specification))
        // The token is removed, because programs in the image must not get it.
        .env_remove("TIDEGATE_TOKEN")
        .env_remove("TIDEGATE_OPERATOR_KEY")
        .stdin(Stdio::null())
        // Standard output is ours, for the one result.
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .map_err(|source| ApplyError::NotStarted { program: program.to_owned(), source })?;
    match status.success() {
        true => Ok(()),
        false => Err(ApplyError::Ended { program: program.to_owned(), status }),
    }
}
