//! `tidegate retry`: gives a device another try.

use clap::Args;
use serde_json::json;

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{Output, clean};
use crate::update;
use tidegate_wire::operator::Retried;
use tidegate_wire::route::PublishRoute;

/// Options of `tidegate retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Id of the device
    pub device: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
}

/// Gives the device another try of the updates that it did not get.
pub fn run(args: &RetryArgs, common: &Common, output: &Output) -> CommandResult {
    let path = ApiPath::device(PublishRoute::RetryDevice, common.product()?, &args.device);
    let document = common.operator()?.post(&path, &json!({"reason": args.reason}))?;
    output.document(&document)?;
    let Retried { retried } = update::read(&document, "list of versions")?;
    let device = clean(&args.device);
    output.line(match retried.as_slice() {
        [] => format!("nothing keeps an update from {device} that another try could change: `tidegate why {device}`"),
        versions => format!("{device} may try again: {}", clean(&versions.join(", "))),
    })
}
