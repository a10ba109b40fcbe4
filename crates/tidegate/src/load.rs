//! `tidegate load`: a fleet that sends requests to a running service and checks its limits from outside.

mod summary;
mod target;
mod ticker;
mod watcher;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use semver::Version;
use serde_json::{Map, Value};
use tidegate_core::ProductId;
use tidegate_lab::fleet::{Fleet, Group, Ids, Outcomes};
use tidegate_lab::load::{
    BadAnswer, CallError, Connection, Crew, Devices, Kind, LONGEST, Limits, MOST_REQUESTS, Mix, Pace, PaceError,
    Request, Route,
};
use tidegate_lab::random::Random;
use tokio::signal::unix::{SignalKind, signal};

use self::summary::Summary;
use self::target::Target;
use self::ticker::Ticker;
use self::watcher::{LOOK_EVERY, Watcher};
use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::output::Output;
use crate::rollout_options::read_object;

/// Version of a device that was never updated, unless another one is given.
const OLDEST: &str = "0.0.1";
/// Number of seeds. A seed is part of device ids, so it must be short, and there must be enough that no fleet is drawn
/// twice.
const DRAWN_SEEDS: u64 = 1_000_000_000_000;
/// Exit code of a program that Ctrl-C ended, as shells show it: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;
/// The end is noticed after this time.
const NOTICE: Duration = Duration::from_millis(20);

const HELP: &str = "\
The fleet's devices are registered, and take slots of the product's rollouts like any others. Use a product that is
only there for this; two commands set it up:

  tidegate publish image.bin --product test --version 2.0.0 --max-devices 100 --max-in-flight 20 --activate
  tidegate settings --product test --product-tokens accept

Kinds of requests in --mix:
  idle    a check-in of a device on the newest version
  offer   a check-in of a device on an old version: it gets the update, or the reason why not
  report  success or failure, of a device that was offered an update; a check-in as above while there is none
Nothing is downloaded. With an operator key or --profile, the live updates are looked at once a second.

With --rate, requests are due at fixed times, and latency counts from then: what a slow answer delays, counts too.
Without, each connection sends when it has its last answer, and latency counts from sending.

Exit code 1 if a limit was exceeded. Errors are counted, and are no failure unless nothing at all was answered.";

/// Options of `tidegate load`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP, after_help = "--help says what the requests are, and how to set a product up.")]
pub struct LoadArgs {
    /// Address of the service [default: the one of --api]
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// Devices of the fleet
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub devices: u32,
    /// Requests in a second, such as 200; 0 is as fast as the connections allow
    #[arg(long, value_name = "R", default_value = "0", value_parser = rate)]
    pub rate: f64,
    /// Length of the load, such as 30s or 5m; at most 10m
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = crate::duration::parse_period)]
    pub duration: Duration,
    /// Connections, each with at most one request at a time
    #[arg(long, value_name = "C", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub connections: u32,
    /// Shares of the kinds of requests
    #[arg(long, value_name = "SHARES", default_value = "idle=90,offer=9,report=1")]
    pub mix: Mix,
    /// Percentage of the devices with an offer that report failure
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub failures: u64,
    /// Seed: the same seed gives the same fleet, in the same order [default: a new fleet]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The device.json that every device sends; its id and product are left out
    #[arg(long, value_name = "DEVICE.json")]
    pub like: Option<PathBuf>,
    /// Version of devices that ask for an update [default: the one in --like, or 0.0.1]
    #[arg(long, value_name = "VERSION")]
    pub from: Option<String>,
    /// Version of idle devices [default: the highest that the product has]
    #[arg(long, value_name = "VERSION")]
    pub newest: Option<String>,
    /// Limits that every update must keep, such as max_devices=100 [default: its own limits]
    #[arg(long, value_name = "LIMITS")]
    pub expect: Option<Limits>,
    /// Token of the product [default: one issued with the operator key]
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Send requests to a service that is not on this machine
    #[arg(long)]
    pub allow_remote: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
    let number = number.filter(|rate| rate.is_finite() && *rate >= 0.0);
    number.ok_or_else(|| "expected requests in a second, such as 200".into())
}

/// Sends the load, and prints the measurements and the check of the limits.
pub fn run(args: LoadArgs, common: &Common, output: &Output) -> CommandResult {
    let pace = pace(args.rate, args.duration)?;
    let (asking, idle) = shares(&args)?;
    let target = Target::new(&args, common)?;
    let product = ProductId::new(target.product());
    let product = product.map_err(|error| CommandError::bad_input(format!("--product: {error}")).because(error))?;
    let seed = args.seed.map_or_else(draw_seed, Ok)?;
    let fleet = fleet(&args, &target, seed, asking, idle)?;
    let clients = (0..args.connections).map(|_| target.device()).collect::<CommandResult<Vec<_>>>()?;
    let watcher = target.watcher()?;
    let stop = stop_on_ctrl_c()?;
    let deck = args.mix.deck(&mut Random::new(seed));
    let crew = Crew::new(pace, deck, Devices::new(fleet, product, seed), crate::time::start(), &stop);
    let (elapsed, watcher) = drive(&crew, &clients, watcher, Ticker::new(output))?;
    let progress = crew.end();
    if let (0, Some(failure)) = (progress.tally.answered(), progress.tally.failures().values().next()) {
        return Err(failure.first.clone());
    }
    let is_stopped = stop.load(Ordering::Relaxed);
    let summary = Summary { args: &args, target: &target, pace, seed, elapsed, progress, watcher, is_stopped };
    output.document(&summary.document())?;
    summary.show(output)?;
    summary.verdict()
}

/// Numbers of devices that ask and that are idle. A device does one thing at a time, so every connection
/// must find one that asks.
fn shares(args: &LoadArgs) -> CommandResult<(u32, u32)> {
    let (devices, connections) = (args.devices, args.connections);
    if devices <= connections {
        return Err(CommandError::usage(format!(
            "--devices must be more than --connections, which is {connections}: a device does one thing at a time"
        )));
    }
    let asking = match args.mix.asking(devices) {
        0 => 0,
        all if args.mix.share(Kind::Idle) == 0 => all,
        some => some.clamp(connections, devices - 1),
    };
    Ok((asking, devices - asking))
}

/// A load that is bounded, in the words of the command line.
fn pace(per_s: f64, duration: Duration) -> CommandResult<Pace> {
    Pace::new(per_s, duration).map_err(|error| {
        CommandError::usage(match error {
            PaceError::TooLong(got) => {
                let (longest, got) = (crate::duration::show(LONGEST), crate::duration::show(got));
                format!("--duration must be at most {longest}; got {got}")
            }
            PaceError::Requests(got) => {
                format!("--rate for --duration must be 1 to {MOST_REQUESTS} requests; got {got}")
            }
        })
    })
}

/// The fleet: devices that ask for updates, and devices that are idle.
fn fleet(args: &LoadArgs, target: &Target, seed: u64, asking: u32, idle: u32) -> CommandResult<Fleet> {
    let said = args.like.as_deref().map(read_object).transpose()?.unwrap_or_else(Map::new);
    let from = args.from.clone().or_else(|| said.get("version").and_then(Value::as_str).map(str::to_owned));
    let from = from.unwrap_or_else(|| OLDEST.to_owned());
    let newest = match args.mix.share(Kind::Idle) {
        0 => from.clone(),
        _ => target.newest(args.newest.as_ref(), &from)?,
    };
    let version = |text: &str| {
        Version::parse(text).map_err(|error| {
            CommandError::usage(format!("devices run SemVer 2.0 such as 1.4.0; `{text:.64}` is not: {error}"))
        })
    };
    let ids = Ids { name: format!("load-{seed}-"), digits: 1 };
    let groups = vec![
        Group { devices: asking, version: version(&from)?, said: said.clone() },
        Group { devices: idle, version: version(&newest)?, said },
    ];
    let failure = args.failures as f64 / 100.0;
    Ok(Fleet::new(ids, groups).with_outcomes(Outcomes { success: 1.0 - failure, failure, silence: 0.0 }))
}

fn draw_seed() -> CommandResult<u64> {
    let drawn = getrandom::u64();
    let drawn = drawn.map_err(|cause| {
        CommandError::failed("no_randomness", format!("cannot draw a seed: {cause}")).because(cause)
    })?;
    Ok(drawn % DRAWN_SEEDS)
}

/// Ctrl-C ends the load, and the summary follows. A second Ctrl-C ends the program.
fn stop_on_ctrl_c() -> CommandResult<Arc<AtomicBool>> {
    let failed =
        |cause| CommandError::failed("runtime_error", format!("cannot wait for Ctrl-C: {cause}")).because(cause);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut interrupts = runtime.block_on(async { signal(SignalKind::interrupt()) }).map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    thread::spawn(move || {
        while runtime.block_on(interrupts.recv()).is_some() {
            if told.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        }
    });
    Ok(stop)
}

/// Sends all requests while the watcher looks at the service. Returns the time that the requests took.
fn drive(
    crew: &Crew<'_, CommandError>,
    clients: &[ApiClient],
    watcher: Option<Watcher>,
    mut ticker: Ticker,
) -> CommandResult<(Duration, Option<Watcher>)> {
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        let watching = watcher.map(|watcher| threads.spawn(|| watch(watcher, &is_over)));
        let workers = clients
            .iter()
            .map(|client| thread::Builder::new().spawn_scoped(threads, move || crew.work(client)))
            .collect::<Result<Vec<_>, _>>();
        let workers = workers.map_err(|cause| {
            crew.stop();
            is_over.store(true, Ordering::Relaxed);
            CommandError::failed("runtime_error", format!("cannot start a thread for each connection: {cause}"))
        })?;
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(NOTICE);
            ticker.tick(crew);
        }
        let elapsed = crew.elapsed();
        ticker.end();
        is_over.store(true, Ordering::Relaxed);
        let ended = |_| CommandError::failed("watcher_ended", "the limits could not be looked at to the end");
        let watcher = watching.map(|watching| watching.join().map_err(ended)).transpose()?;
        Ok((elapsed, watcher))
    })
}

/// Looks once a second, and once more at the end. A look that fails in between is no error: the load may have
/// overloaded the service.
fn watch(mut watcher: Watcher, is_over: &AtomicBool) -> Watcher {
    loop {
        let looked = crate::time::start();
        while looked.elapsed() < LOOK_EVERY {
            if is_over.load(Ordering::Relaxed) {
                watcher.look_at_all();
                return watcher;
            }
            thread::sleep(NOTICE);
        }
        watcher.look();
    }
}

impl Connection for ApiClient {
    type Error = CommandError;

    fn send(&self, request: &Request) -> CommandResult<(Value, Option<jiff::Timestamp>)> {
        let path = match request.route {
            Route::Check => ApiPath::check(),
            Route::Report => ApiPath::report(),
        };
        self.post_dated(&path, &request.body)
    }
}

impl CallError for CommandError {
    fn kind(&self) -> String {
        match self.status() {
            Some(status) => format!("{status} {}", self.code()),
            None => self.code().to_owned(),
        }
    }

    fn is_unreachable(&self) -> bool {
        Self::is_unreachable(self)
    }
}

impl From<BadAnswer> for CommandError {
    fn from(error: BadAnswer) -> Self {
        Self::failed("bad_answer", error.to_string()).because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_bounded() {
        let refused = |per_s, seconds| {
            pace(per_s, Duration::from_secs(seconds)).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(1.0, 601), "--duration must be at most 10m; got 10m 1s (usage)");
        assert_eq!(refused(1e5, 11), "--rate for --duration must be 1 to 1000000 requests; got 1100000 (usage)");
        assert_eq!(refused(1e-3, 11), "--rate for --duration must be 1 to 1000000 requests; got 0 (usage)");
        assert_eq!(refused(1e5, 10), "");
    }
}
