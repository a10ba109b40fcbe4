//! The command line of `tidegate`: the common options and the list of commands.

use clap::{Parser, Subcommand};

use crate::common::Common;
use crate::error::EXIT_CODES;

/// Tool of Tidegate, an over-the-air update service, for operators and device authors.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Options that every command understands.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play a whole update in a temporary folder: publish, check in, install, report
    Demo(crate::demo::DemoArgs),
    /// Run the local cloud until it is stopped
    Dev(crate::dev::DevArgs),
    /// Create an update from image files, upload them, and activate it with --activate
    Publish(Box<crate::publish::PublishArgs>),
    /// Create drafts from the update definitions of another service
    Import(crate::import::ImportArgs),
    /// List, show and change updates
    #[command(subcommand)]
    Updates(crate::updates::UpdatesCommand),
    /// Take devices back from bad versions
    Rollback(Box<crate::rollback::RollbackArgs>),
    /// Emergency stop: no device gets anything of a product any more
    Stop(crate::stop::StopArgs),
    /// Undo a stop: the updates that it paused go on
    ResumeStopped(crate::stop::StopArgs),
    /// Compare the counts with the devices
    Repair(crate::repair::RepairArgs),
    /// Follow a rollout until it ends
    Watch(crate::watch::WatchArgs),
    /// Explain which update a device gets, and why it does not get the others
    Why(crate::why::WhyArgs),
    /// Count the devices on each version
    Versions,
    /// List devices, or show one
    Devices(crate::devices::DevicesArgs),
    /// Give a device another try of the updates that it did not get
    Retry(crate::retry::RetryArgs),
    /// Order one device: hold, pin, release, tag or forget it
    #[command(subcommand)]
    Order(crate::order::OrderCommand),
    /// Act as a device once: check in, and download if asked
    Check(crate::check::CheckArgs),
    /// Run a well-behaved reference device
    Device(Box<crate::device::DeviceArgs>),
    /// Issue and revoke tokens
    #[command(subcommand)]
    Token(crate::token::TokenCommand),
    /// Check a policy, or try it on a device; needs no service
    #[command(subcommand)]
    Policy(crate::policy_command::PolicyCommand),
    /// Simulate fleets with faults, or one rollout in advance; needs no service
    Simulate(crate::simulate::SimulateArgs),
    /// Put load on a running service with a fleet, and check its limits from outside
    Load(Box<crate::load::LoadArgs>),
    /// Show or change the settings of a product
    Settings(crate::settings::SettingsArgs),
    /// Write a completion script for a shell
    Completions(crate::completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn common_options_are_understood_before_and_after_the_command() {
        let before = Arguments::try_parse_from(["tidegate", "--json", "versions"]);
        let after = Arguments::try_parse_from(["tidegate", "versions", "--json"]);
        assert!(before.is_ok_and(|arguments| arguments.common.json));
        assert!(after.is_ok_and(|arguments| arguments.common.json));
    }
}
