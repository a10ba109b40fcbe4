//! `tidegate stop` and `tidegate resume-stopped`: a whole product, with one call.

use clap::Args;
use serde_json::{Value, json};

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::{CommandError, CommandResult};
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
    match resumed.resumed.is_empty() {
        true => output.line("the product is not stopped any more; the stop had paused no update")?,
        false => output.line(format!("offered again: {}", clean(&resumed.resumed.join(", "))))?,
    }
    match resumed.left.is_empty() {
        true => Ok(()),
        false => {
            let left = resumed.left.join(", ");
            Err(CommandError::failed("not_resumed", format!("could not be resumed now: {left}; repeat the command")))
        }
    }
}

fn call(route: PublishRoute, args: &StopArgs, common: &Common) -> CommandResult<Value> {
    let path = ApiPath::product(route, common.product()?);
    common.operator()?.post_until_done(&path, &json!({"reason": args.reason}))
}
