//! `tidegate completions`: a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use crate::error::CommandResult;
use crate::output::Output;

/// Options of `tidegate completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Writes the script of `command` to standard output.
pub fn run(args: CompletionsArgs, command: &mut clap::Command, output: &Output) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "tidegate", &mut script);
    output.raw(&String::from_utf8_lossy(&script))
}
