//! `tidegate stop` and `tidegate resume-stopped`: a whole product, with one call.

use clap::Args;
use serde_json::{Value, json};

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{Output, Tone, clean};
use crate::update;
use tidegate_wire::operator::{ProductResumed, ProductStopped};
use tidegate_wire::route::PublishRoute;

/// Options of `tidegate stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
}

/// Stops a product. After success no device gets an offer or a URL any more; URLs that devices have already end within
/// fifteen minutes.
pub fn run(args: StopArgs, common: &Common, output: &Output) -> CommandResult {
    let document = call(PublishRoute::StopProduct, &args, common)?;
    output.document(&document)?;
    let stopped = update::read::<ProductStopped>(&document, "result of a stop")?;
    output.line(output.paint(Tone::Good, "no device gets anything of this product any more"))?;
    if !stopped.paused.is_empty() {
        output.line(format!("paused: {}", clean(&stopped.paused.join(", "))))?;
    }
    if !stopped.left.is_empty() {
        output.line(format!("not paused yet: {}; the service goes on", clean(&stopped.left.join(", "))))?;
    }
    output.line("`tidegate resume-stopped` undoes this")
}

/// Resumes a product that was stopped.
pub fn resume(args: StopArgs, common: &Common, output: &Output) -> CommandResult {
    let document = call(PublishRoute::ResumeStopped, &args, common)?;
    output.document(&document)?;
    let resumed = update::read::<ProductResumed>(&document, "result of resuming")?;
    output.line("the product is not stopped any more")?;
    if !resumed.resumed.is_empty() {
        output.line(format!("offered again: {}", clean(&resumed.resumed.join(", "))))?;
    }
    if !resumed.left.is_empty() {
        output.line(format!("not offered again yet: {}; the service goes on", clean(&resumed.left.join(", "))))?;
    }
    if resumed.resumed.is_empty() && resumed.left.is_empty() {
        output.line("the stop had paused no update")?;
    }
    Ok(())
}

fn call(route: PublishRoute, args: &StopArgs, common: &Common) -> CommandResult<Value> {
    let path = ApiPath::product(route, common.product()?);
    common.operator()?.post(&path, &json!({"reason": args.reason}))
}
