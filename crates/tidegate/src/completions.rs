//! `tidegate completions`: a completion script for a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::error::CommandResult;
use crate::output::Output;

/// Options of `tidegate completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Writes the script to standard output.
pub fn run(args: CompletionsArgs, output: &Output) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "tidegate", &mut script);
    output.raw(&String::from_utf8_lossy(&script))
}
