//! `tidegate demo`: the whole story in a few seconds. (Stub.)

use crate::arguments::DemoArgs;
use crate::error::{CommandError, CommandResult};
use crate::output::Output;

/// Plays the demo.
pub async fn run(args: DemoArgs, output: &Output) -> CommandResult {
    let _ = (args, output);
    Err(CommandError::failed(
        "not_built_yet",
        "the demo is not part of this build",
    ))
}
