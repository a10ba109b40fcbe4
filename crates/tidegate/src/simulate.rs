//! `tidegate simulate`: simulations without a service. Either fleets, operators and faults around the real functions,
//! with a check of every promise; or the forecast of one rollout.

mod promises;
mod rollout;

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use tidegate_lab::Guard;

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
    #[arg(long, value_parser = conditions(), value_name = "CONDITION", conflicts_with_all = ["update", "fleet"])]
    pub without: Option<Guard>,

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

/// Reads the name of a condition of the storage protocol.
fn conditions() -> impl TypedValueParser<Value = Guard> {
    let values = Guard::ALL.iter().map(|guard| PossibleValue::new(guard.name()).help(guard.about()));
    PossibleValuesParser::new(values).try_map(|name| Guard::parse(&name).ok_or("there is no such condition"))
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
