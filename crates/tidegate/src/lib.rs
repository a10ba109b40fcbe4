//! The operator's and device author's commands of Tidegate, and the local cloud they can bring along.
//!
//! One file per command. What they share: [`api_client`] is the only place that speaks HTTP to a
//! service, [`output`] the only one that writes to standard output, [`error`] holds the exit codes.

pub mod api_client;
pub mod arguments;
pub mod aws;
pub mod check;
pub mod common;
pub mod completions;
pub mod demo;
pub mod dev;
pub mod device;
pub mod device_file;
pub mod devices;
pub mod download;
pub mod duration;
pub mod error;
pub mod file_name;
pub mod import;
pub mod load;
pub mod many;
pub mod offer;
pub mod order;
pub mod output;
pub mod policy_command;
pub mod progress;
pub mod publish;
pub mod reason;
pub mod repair;
pub mod retry;
pub mod rollback;
pub mod rollout_options;
pub mod rollout_view;
pub mod settings;
pub mod simulate;
pub mod stack;
pub mod stop;
pub mod time;
pub mod token;
pub mod update;
pub mod updates;
mod upload;
pub mod versions;
pub mod watch;
pub mod why;

#[cfg(test)]
mod stub_server;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::arguments::{Arguments, Command};
use crate::common::DEFAULT_API;
use crate::error::{CommandError, CommandResult, Exit};
use crate::output::Output;

/// Parses the command line, runs the command, and turns its result into an exit code.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.common.reader());
    let api = address(&arguments).to_owned();
    let exit = match dispatch(arguments, &output) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            // The exit code still tells when standard output is gone.
            let _ = output.failure(&error);
            if error.is_unreachable() && api == DEFAULT_API {
                output.note("hint: `tidegate dev` starts a local service; --api or TIDEGATE_API names another");
            }
            error.exit()
        }
    };
    ExitCode::from(exit as u8)
}

/// The service that the command speaks to.
fn address(arguments: &Arguments) -> &str {
    match &arguments.command {
        Command::Load(load) => load.url.as_deref().unwrap_or(&arguments.common.api),
        _ => &arguments.common.api,
    }
}

fn dispatch(arguments: Arguments, output: &Output) -> CommandResult {
    let Arguments { common, command } = arguments;
    match command {
        Command::Demo(args) => block_on(demo::run(args, output)),
        Command::Dev(args) => block_on(dev::run(args)),
        Command::Publish(args) => publish::run(*args, &common, output),
        Command::Import(args) => import::run(&args, &common, output),
        Command::Updates(command) => updates::run(command, &common, output),
        Command::Stop(args) => stop::run(args, &common, output),
        Command::ResumeStopped(args) => stop::resume(args, &common, output),
        Command::Repair(args) => repair::run(args, &common, output),
        Command::Watch(args) => watch::run(args, &common, output),
        Command::Why(args) => why::run(args, &common, output),
        Command::Versions => versions::run(&common, output),
        Command::Devices(args) => devices::run(args, &common, output),
        Command::Rollback(args) => rollback::run(&args, &common, output),
        Command::Retry(args) => retry::run(&args, &common, output),
        Command::Order(command) => order::run(&command, &common, output),
        Command::Check(args) => check::run(args, &common, output),
        Command::Device(args) => device::run(*args, &common, output),
        Command::Token(command) => token::run(command, &common, output),
        Command::Policy(command) => policy_command::run(command, output),
        Command::Simulate(args) => simulate::run(args, &common, output),
        Command::Load(args) => load::run(*args, &common, output),
        Command::Settings(args) => settings::run(args, &common, output),
        Command::Completions(args) => completions::run(args, &mut Arguments::command(), output),
    }
}

/// Only the local cloud is asynchronous: the other commands do one thing at a time.
fn block_on(command: impl Future<Output = CommandResult>) -> CommandResult {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| {
            CommandError::failed("runtime_error", format!("cannot start threads: {cause}")).because(cause)
        })?
        .block_on(command)
}
