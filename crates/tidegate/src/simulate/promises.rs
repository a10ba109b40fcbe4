//! Fleets, operators and faults around the real functions; every promise is checked at every step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use indicatif::{HumanCount, ProgressBar};
use serde_json::{Map, Value, json};
use tidegate_lab::simulator::simulation::{CHECK_INS_PER_SEED, try_run};
use tidegate_lab::simulator::{Plan, Summary};

use super::SimulateArgs;
use crate::error::{CommandError, CommandResult};
use crate::output::{Output, Tone, table};
use crate::progress;

/// The fleets to play, one after another, each from the next seed.
struct Fleets<'a> {
    args: &'a SimulateArgs,
    check_ins: u64,
}

/// A fleet in which a promise broke.
#[derive(Debug, Clone)]
struct Broken {
    fleet: u64,
    promise: String,
    said: String,
}

/// Results of all threads.
#[derive(Default)]
struct Played {
    summary: Summary,
    broken: Vec<Broken>,
}

/// Plays `--check-ins` check-ins, on all cores.
pub(super) fn run(args: &SimulateArgs, output: &Output) -> CommandResult {
    let fleets = Fleets { args, check_ins: args.check_ins.unwrap_or(CHECK_INS_PER_SEED) };
    let bar = progress::count("check-ins", fleets.check_ins);
    let played = fleets.play(&bar);
    bar.finish_and_clear();
    // Fleets are begun in order and finished once begun, so the first of the broken ones is the same
    // every time, however many threads there are.
    let broken = played.broken.into_iter().min_by_key(|broken| broken.fleet);
    output.document(&document(&fleets, &played.summary, broken.as_ref()))?;
    show(&played.summary, output)?;
    match broken {
        None => output.line(output.paint(Tone::Good, "every promise held")),
        Some(broken) => {
            output.line(format!("replay: {}", fleets.replay(broken.fleet)))?;
            let Broken { fleet, promise, said } = broken;
            let message = format!("seed {}: broken: {promise}: {said}", fleets.seed(fleet));
            Err(CommandError::failed("promise_broken", message))
        }
    }
}

impl Fleets<'_> {
    fn count(&self) -> u64 {
        self.check_ins.div_ceil(CHECK_INS_PER_SEED)
    }

    fn seed(&self, fleet: u64) -> u64 {
        self.args.seed.wrapping_add(fleet)
    }

    /// Check-ins of a fleet. The last fleet gets the remainder.
    fn check_ins_of(&self, fleet: u64) -> u64 {
        self.check_ins.saturating_sub(fleet.saturating_mul(CHECK_INS_PER_SEED)).min(CHECK_INS_PER_SEED)
    }

    fn play(&self, bar: &ProgressBar) -> Played {
        let (next, is_over, played) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Played::default()));
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let fleet = next.fetch_add(1, Ordering::Relaxed);
                if fleet >= self.count() {
                    return;
                }
                let result = self.play_one(fleet);
                is_over.fetch_or(result.is_err(), Ordering::Relaxed);
                bar.inc(self.check_ins_of(fleet));
                let mut played = played.lock().expect("nobody panics while holding it");
                match result {
                    Ok(summary) => played.summary.add(&summary),
                    Err(broken) => played.broken.push(broken),
                }
            }
        };
        std::thread::scope(|threads| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                threads.spawn(work);
            }
        });
        played.into_inner().expect("nobody panicked while holding it")
    }

    fn play_one(&self, fleet: u64) -> Result<Summary, Broken> {
        let plan = Plan { without: self.args.without, ..Plan::new(self.seed(fleet), self.check_ins_of(fleet)) };
        // A function that panics is found by its seed like any other broken promise.
        match catch_unwind(AssertUnwindSafe(|| try_run(plan, |_| {}))) {
            Ok(Ok(summary)) => Ok(summary),
            Ok(Err(violation)) => {
                Err(Broken { fleet, promise: violation.invariant.to_string(), said: violation.said.clone() })
            }
            Err(_) => Err(Broken { fleet, promise: "nothing panics".into(), said: "see above".into() }),
        }
    }

    /// The command that plays one of the fleets again.
    fn replay(&self, fleet: u64) -> String {
        let mut command =
            format!("tidegate simulate --seed {} --check-ins {}", self.seed(fleet), self.check_ins_of(fleet));
        if let Some(guard) = self.args.without {
            command.push_str(" --without ");
            command.push_str(guard.name());
        }
        command
    }
}

fn counts<'a, K: ToString + 'a>(counts: impl IntoIterator<Item = (&'a K, &'a u64)>) -> Map<String, Value> {
    counts.into_iter().map(|(name, count)| (name.to_string(), json!(count))).collect()
}

fn document(fleets: &Fleets<'_>, summary: &Summary, broken: Option<&Broken>) -> Value {
    let violation = broken.map(|broken| {
        json!({
            "seed": fleets.seed(broken.fleet),
            "promise": broken.promise,
            "said": broken.said,
            "replay": fleets.replay(broken.fleet),
        })
    });
    json!({
        "seed": fleets.args.seed,
        "fleets": summary.seeds,
        "check_ins": summary.check_ins,
        "offers": summary.offers,
        "denials": summary.denials,
        "unavailable": summary.unavailable,
        "reports": summary.reports,
        "operations": summary.operations,
        "sweeps": summary.sweeps,
        "batches": summary.batches,
        "store_calls": summary.store_calls,
        "faults": counts(&summary.faults),
        "checked": counts(&summary.checked),
        "violation": violation,
    })
}

fn show(summary: &Summary, output: &Output) -> CommandResult {
    let count = |number: u64| HumanCount(number).to_string();
    let mut played = table(&["played", "count"], &[1]);
    for (what, number) in [
        ("fleets, each from its own seed", summary.seeds),
        ("check-ins", summary.check_ins),
        ("  answered with an update", summary.offers),
        ("  answered without one", summary.denials),
        ("  answered that the store is down", summary.unavailable),
        ("reports", summary.reports),
        ("calls of operators", summary.operations),
        ("sweeps", summary.sweeps),
        ("batches of the stream", summary.batches),
        ("calls of the store", summary.store_calls),
    ] {
        played.add_row([what.to_owned(), count(number)]);
    }
    let mut faults = table(&["faults injected", "count"], &[1]);
    for (fault, number) in &summary.faults {
        faults.add_row([fault.to_string(), count(*number)]);
    }
    faults.add_row(["in total".to_owned(), count(summary.faults.values().sum())]);
    let mut checked = table(&["promises checked", "times"], &[1]);
    for (promise, number) in &summary.checked {
        checked.add_row([promise.to_string(), count(*number)]);
    }
    checked.add_row(["in total".to_owned(), count(summary.checked.values().sum())]);
    for table in [played, faults, checked] {
        output.table(&table)?;
        output.line("")?;
    }
    Ok(())
}
