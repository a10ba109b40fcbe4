//! `tidegate repair --check`: reads every device and compares it with the counts.

use clap::Args;
use tidegate_engine::recount::{COUNTED_AFTER, recount};
use tidegate_store::settings::Settings;

use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::output::{Output, Tone, clean, table};

/// Options of `tidegate repair`.
#[derive(Debug, Args)]
#[command(after_help = "It reads the table itself, with the AWS identity of your environment or of --profile.
For the cloud of `tidegate dev`: set -a; . .tidegate/lambda.env; set +a; tidegate repair --check")]
pub struct RepairArgs {
    /// Only compare; change nothing
    #[arg(long, required = true)]
    pub check: bool,
    /// Table of the deployment
    #[arg(long, value_name = "NAME", env = "TIDEGATE_TABLE")]
    pub table: String,
}

/// Compares all counts with the devices. The exit code is 1 if any differs.
pub fn run(args: RepairArgs, common: &Common, output: &Output) -> CommandResult {
    let (config, runtime) = common.aws_config()?;
    let counted = runtime.block_on(async {
        // The recount reads no image and no catalog.
        let settings = Settings { table: args.table.clone(), bucket: String::new() };
        let (store, _) = settings.open(&config).await.map_err(|cause| CommandError::usage(cause.to_string()))?;
        recount(&store, COUNTED_AFTER)
            .await
            .map_err(|cause| CommandError::failed("not_read", cause.to_string()).because(cause))
    })?;
    output.document(&serde_json::to_value(&counted).unwrap_or_default())?;
    output.line(format!("{} devices read, {} rollouts compared", counted.devices, counted.rollouts))?;
    if !counted.moving.is_empty() {
        output.line(format!("moving, so not compared: {}", clean(&counted.moving.join(", "))))?;
    }
    if counted.drift.is_empty() {
        return output.line(output.paint(Tone::Good, "every count is right"));
    }
    let mut shown = table(&["OF", "COUNT", "COUNTED", "FOUND"], &[2, 3]);
    for drift in &counted.drift {
        shown.add_row([clean(&drift.of), clean(&drift.count), drift.counted.to_string(), drift.found.to_string()]);
    }
    output.table(&shown)?;
    Err(CommandError::failed("drift", format!("{} counts are wrong", counted.drift.len())))
}
