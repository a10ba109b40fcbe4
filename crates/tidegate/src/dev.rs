//! `tidegate dev`: the local cloud. (Stub.)

use crate::arguments::DevArgs;
use crate::error::{CommandError, CommandResult};

/// Runs the local cloud until stopped.
pub async fn run(args: DevArgs) -> CommandResult {
    let _ = args;
    Err(CommandError::failed(
        "not_built_yet",
        "the local cloud is not part of this build",
    ))
}
