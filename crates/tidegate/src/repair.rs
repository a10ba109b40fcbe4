//! `tidegate repair`: reads every device, and compares the counts with them or counts anew.

use clap::Args;
use tidegate_engine::control::Actor;
use tidegate_engine::recount::{COUNTED_AFTER, recount};
use tidegate_engine::repair::{Repair, Repaired, repair};
use tidegate_store::DynamoStore;
use tidegate_store::settings::Settings;

use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::output::{Output, Tone, clean, table};

/// Options of `tidegate repair`.
#[derive(Debug, Args)]
#[command(after_help = "It reads the table itself, with the AWS identity of your environment or of --profile.
A rollout that is repaired is paused: look at it, and resume it. If a repair fails, repeat it.
For the cloud of `tidegate dev`: set -a; . .tidegate/lambda.env; set +a; tidegate repair --check")]
pub struct RepairArgs {
    /// What to do
    #[command(flatten)]
    pub what: What,
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", default_value = "repaired by tidegate repair", value_parser = crate::reason::parse)]
    pub reason: String,
    /// Table of the deployment
    #[arg(long, value_name = "NAME", env = "TIDEGATE_TABLE")]
    pub table: String,
}

/// What a repair does.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// Only compare; change nothing
    #[arg(long)]
    pub check: bool,
    /// Count again the rollouts that are marked, because a change of a device could not be read. The service may go on
    #[arg(long)]
    pub uncounted: bool,
    /// Count again all rollouts, because `count` did not run for a day and changes are lost. The service may go on
    #[arg(long)]
    pub all: bool,
    /// Count again all rollouts, because the table was restored. No function may use the table meanwhile
    #[arg(long)]
    pub restored: bool,
}

/// Compares all counts with the devices, or counts them anew. The exit code is 1 if a count differs, or could not be repaired.
pub fn run(args: RepairArgs, common: &Common, output: &Output) -> CommandResult {
    let (config, runtime) = common.aws_config()?;
    runtime.block_on(async {
        // A repair reads no image and no catalog.
        let settings = Settings { table: args.table.clone(), bucket: String::new() };
        let (store, _) = settings.open(&config).await.map_err(|cause| CommandError::usage(cause.to_string()))?;
        let what = match args.what {
            What { restored: true, .. } => Repair::Restored,
            What { uncounted: true, .. } => Repair::Uncounted,
            What { all: true, .. } => Repair::All,
            _ => return check(&store, output).await,
        };
        let actor = Actor { who: "tidegate repair".into(), reason: args.reason.clone(), now: crate::time::now() };
        let repaired = repair(&store, what, COUNTED_AFTER, &actor)
            .await
            .map_err(|cause| CommandError::failed("not_repaired", cause.to_string()).because(cause))?;
        say_what_was_repaired(&repaired, output)
    })
}

fn say_what_was_repaired(repaired: &Repaired, output: &Output) -> CommandResult {
    output.document(&serde_json::to_value(repaired).unwrap_or_default())?;
    output.line(format!("{} devices read, {} rollouts counted anew", repaired.devices, repaired.rollouts.len()))?;
    let mut shown = table(&["ROLLOUT", "STATE", "COUNT", "COUNTED", "FOUND"], &[3, 4]);
    for rollout in &repaired.rollouts {
        let outcomes = rollout.outcomes.iter().map(|(name, difference)| (name.as_str(), difference));
        for (name, difference) in
            [("in flight", &rollout.in_flight), ("used", &rollout.used)].into_iter().chain(outcomes)
        {
            let (of, state) = (clean(&rollout.of), clean(&rollout.state));
            shown.add_row([of, state, name.to_string(), difference.counted.to_string(), difference.found.to_string()]);
        }
    }
    if !repaired.rollouts.is_empty() {
        output.table(&shown)?;
        output.line(
            "those that were active are paused. Resume them after you have looked at them, and after a restore only \
                     when their limits are corrected",
        )?;
    }
    if !repaired.unfinished.is_empty() {
        let message = format!("not repaired, so repeat the repair: {}", repaired.unfinished.join("; "));
        return Err(CommandError::failed("not_repaired", clean(&message)));
    }
    if !repaired.moving.is_empty() {
        let message = format!("outcomes moved meanwhile, so repeat the repair: {}", repaired.moving.join(", "));
        return Err(CommandError::failed("moving", clean(&message)));
    }
    Ok(())
}

async fn check(store: &DynamoStore, output: &Output) -> CommandResult {
    let counted = recount(store, COUNTED_AFTER)
        .await
        .map_err(|cause| CommandError::failed("not_read", cause.to_string()).because(cause))?;
    output.document(&serde_json::to_value(&counted).unwrap_or_default())?;
    output.line(format!("{} devices read, {} rollouts compared", counted.devices, counted.rollouts))?;
    if !counted.moving.is_empty() {
        output.line(format!("moving, so not compared: {}", clean(&counted.moving.join(", "))))?;
    }
    if counted.drift.is_empty() && counted.moving.is_empty() {
        return output.line(output.paint(Tone::Good, "every count is right"));
    }
    if counted.drift.is_empty() {
        return output.line("every count that was compared is right");
    }
    let mut shown = table(&["OF", "COUNT", "COUNTED", "FOUND"], &[2, 3]);
    for drift in &counted.drift {
        shown.add_row([clean(&drift.of), clean(&drift.count), drift.counted.to_string(), drift.found.to_string()]);
    }
    output.table(&shown)?;
    Err(CommandError::failed("drift", format!("{} counts are wrong", counted.drift.len())))
}
