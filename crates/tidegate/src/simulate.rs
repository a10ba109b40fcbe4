//! `tidegate simulate`: simulations without a service. Either fleets, operators and faults around the real functions,
//! with a check of every promise; or the forecast of one rollout.

mod promises;
mod rollout;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_lab::simulator::Guard;

use crate::common::Common;
use crate::error::CommandResult;
use crate::output::Output;

const USAGE: &str = "\
tidegate simulate --check-ins <N> [--seed <N>] [--without <CONDITION>]
       tidegate simulate --update <FILE> --fleet <FILE> [--svg <FILE>] [--seed <N>]";

/// Options of `tidegate simulate`.
#[derive(Debug, Args)]
#[command(override_usage = USAGE)]
pub struct SimulateArgs {
    /// Simulate this many check-ins of made-up fleets, with faults under every store call, and check every promise
    #[arg(
        long,
        value_name = "N",
        required_unless_present_any = ["update", "fleet"],
        conflicts_with_all = ["update", "fleet", "svg"],
        value_parser = clap::value_parser!(u64).range(1..),
    )]
    pub check_ins: Option<u64>,

    /// The seed: the same seed gives the same simulation
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// With --check-ins: remove this condition of the storage protocol, so that a promise breaks
    #[arg(long, value_enum, value_name = "CONDITION", conflicts_with_all = ["update", "fleet"])]
    pub without: Option<Condition>,

    /// Simulate the rollout of this update for the fleet of --fleet
    #[arg(long, value_name = "FILE", requires = "fleet")]
    pub update: Option<PathBuf>,

    /// The fleet: docs/forecast/README.md has every field
    #[arg(long, value_name = "FILE", requires = "update")]
    pub fleet: Option<PathBuf>,

    /// With --update: draw the rollout into this file
    #[arg(long, value_name = "FILE", requires = "update")]
    pub svg: Option<PathBuf>,
}

/// A condition of the storage protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Condition {
    /// A first claim is put only where there is none
    ClaimIsNew,
    /// A further claim replaces only the one that lapsed
    ClaimIsTheOneThatLapsed,
    /// `max_devices` at a grant
    Devices,
    /// `max_in_flight` at a grant
    InFlight,
    /// `max_per_period` at a grant
    Period,
    /// The shard's gate is open at a grant
    Gate,
    /// The grant is for the generation that is in force
    Generation,
    /// A claim is settled only as it was read
    SettleOnce,
    /// Shards are shut before a stop is acknowledged
    Fence,
}

impl From<Condition> for Guard {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::ClaimIsNew => Self::ClaimIsNew,
            Condition::ClaimIsTheOneThatLapsed => Self::ClaimIsTheOneThatLapsed,
            Condition::Devices => Self::Devices,
            Condition::InFlight => Self::InFlight,
            Condition::Period => Self::Period,
            Condition::Gate => Self::Gate,
            Condition::Generation => Self::Generation,
            Condition::SettleOnce => Self::SettleOnce,
            Condition::Fence => Self::Fence,
        }
    }
}

/// Runs the simulation that the options name.
pub fn run(args: SimulateArgs, common: &Common, output: &Output) -> CommandResult {
    match (&args.update, &args.fleet) {
        (Some(update), Some(fleet)) => rollout::run(
            &rollout::Forecast { update, fleet, svg: args.svg.as_deref(), seed: args.seed },
            common,
            output,
        ),
        _ => promises::run(&args, output),
    }
}
