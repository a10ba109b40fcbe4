//! The forecast of a rollout: a table with a row for each hour, a summary, and a chart.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use serde_json::{Value, json};
use tidegate_core::ProductId;
use tidegate_lab::forecast::{Ending, FleetFile, Hour, play, read_update};

use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::output::Output;
use crate::progress;

/// The product of a simulated update if none is given. It is part of the update's id, so it decides which devices come
/// first, but not how many.
const SOME_PRODUCT: &str = "product";

/// The files and the seed of a forecast.
pub(super) struct Forecast<'a> {
    pub(super) update: &'a Path,
    pub(super) fleet: &'a Path,
    pub(super) svg: Option<&'a Path>,
    pub(super) seed: u64,
}

/// Simulates the rollout.
pub(super) fn run(args: &Forecast<'_>, common: &Common, output: &Output) -> CommandResult {
    let product = common.product.as_deref().filter(|product| !product.is_empty()).unwrap_or(SOME_PRODUCT);
    let product = ProductId::new(product)
        .map_err(|error| CommandError::bad_input(format!("--product: {error}")).because(error))?;
    let update = read(args.update, |text| read_update(text, &product))?;
    let fleet = read(args.fleet, FleetFile::read)?;
    let bar = progress::count("hours", fleet.play_hours());
    let forecast = play(&update, &fleet, args.seed, |hours| bar.set_position(hours));
    bar.finish_and_clear();
    if let Some(path) = args.svg {
        std::fs::write(path, forecast.svg()).map_err(|cause| CommandError::file("write", path, cause))?;
    }
    output.document(&document(&forecast, args))?;
    output.line(forecast.table())?;
    output.line(forecast.to_string().trim_end())?;
    match args.svg {
        Some(path) => output.line(format!("The picture is {}.", path.display())),
        None => Ok(()),
    }
}

fn read<T, E: Display>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, E>) -> CommandResult<T> {
    let text = std::fs::read(path).map_err(|cause| CommandError::file("read", path, cause))?;
    parse(&text).map_err(|error| CommandError::bad_input(format!("{}: {error}", path.display())))
}

fn document(forecast: &tidegate_lab::forecast::Forecast, args: &Forecast<'_>) -> Value {
    let (ended, at, why) = match &forecast.ended {
        Ending::Held { at, why } => ("held", Some(at), Some(why)),
        Ending::Finished { at } => ("finished", Some(at), None),
        Ending::Running => ("running", None, None),
    };
    let milestones = forecast.milestones.iter();
    json!({
        "seed": args.seed,
        "devices": forecast.devices,
        "eligible": forecast.eligible,
        "ended": ended,
        "ended_at": at,
        "why": why,
        "milestones": milestones.map(|one| json!({"percent": one.percent, "at": one.at})).collect::<Vec<_>>(),
        "most_in_flight": forecast.most_in_flight,
        "peak_offers_per_minute": forecast.peak_offers_per_minute,
        "peak_bytes_per_s": forecast.peak_bytes_per_s,
        "waits": forecast.waits.iter().map(|(code, count)| (code.name(), count)).collect::<BTreeMap<_, _>>(),
        "hours": forecast.hours.iter().map(hour).collect::<Vec<_>>(),
        "svg": args.svg,
    })
}

fn hour(hour: &Hour) -> Value {
    json!({
        "at": hour.at,
        "check_ins": hour.check_ins,
        "offered": hour.offered,
        "in_flight": hour.in_flight,
        "proved": hour.proved,
        "failed": hour.failed,
        "overdue": hour.lost,
        "bytes": hour.bytes,
    })
}
