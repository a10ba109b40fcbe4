//! Handing verified files to the command that installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::device_file::DeviceFile;
use crate::offer::Offer;

/// Runs the command with the files as its arguments. `Err` says what went wrong, for the report.
///
/// The command is a program, not a line for a shell: nothing that the service says can ever be read
/// as a command.
pub(super) fn apply(program: &Path, files: &[PathBuf], device: &DeviceFile, offer: &Offer) -> Result<(), String> {
    let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let status = Command::new(program)
        .args(files)
        .env("TIDEGATE_VERSION", &offer.version)
        .env("TIDEGATE_UPDATE", &offer.update)
        .env("TIDEGATE_FROM_VERSION", &device.version)
        .env("TIDEGATE_PRODUCT", &device.product)
        .env("TIDEGATE_DEVICE", &device.id)
        .env("TIDEGATE_DEVICE_FILE", device.path())
        .env("TIDEGATE_PAYLOAD", json(&offer.payload))
        .env("TIDEGATE_SPECIFICATION", json(&offer.specification))
        // The token is for us; what the image brings along has no business with it.
        .env_remove("TIDEGATE_TOKEN")
        .env_remove("TIDEGATE_OPERATOR_KEY")
        .stdin(Stdio::null())
        // Standard output is ours, for the one result.
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .map_err(|cause| format!("cannot run {}: {cause}", program.display()))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{} ended with {status}", program.display())),
    }
}
