//! `tidegate rollback`: takes devices back from bad versions.

use clap::Args;
use serde_json::{Value, json};
use tidegate_core::State;
use tidegate_wire::route::PublishRoute;

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::output::{Output, clean};
use crate::rollout_options::RolloutOptions;
use crate::updates;

/// Calls until the rollback is open: its own update's rollout ends first.
const MOST_CALLS: usize = 2;

/// Options of `tidegate rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The bad versions, from which devices are taken back; their rollouts are aborted
    #[arg(required = true, value_name = "BAD VERSION")]
    pub from: Vec<String>,
    /// The version to which devices are taken back; it was published before
    #[arg(long, value_name = "VERSION")]
    pub to: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
    /// Devices that it is for, if not those of the last campaign of that version
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
    /// The rollout; without any, all devices at once.
    #[command(flatten)]
    pub rollout: RolloutOptions,
}

/// Begins the rollback, and waits until it is open.
pub fn run(args: &RollbackArgs, common: &Common, output: &Output) -> CommandResult {
    let client = common.operator()?;
    let path = ApiPath::update(PublishRoute::RollBackTo, common.product()?, &args.to);
    let mut body = json!({"from": args.from, "reason": args.reason});
    if let Some(policy) = &args.policy {
        body["policy"] = json!(policy);
    }
    if args.rollout.any() {
        body["rollout"] = args.rollout.applied_to(Value::Null)?;
    }
    for _ in 0..MOST_CALLS {
        let changed = client.post(&path, &body)?;
        let update = updates::done(&client, &args.to, changed, common, output)?;
        let is_begun = update.definition().is_some_and(|definition| definition.rollback_from == args.from);
        match update.state {
            State::Active if is_begun => {
                let from = clean(&args.from.join(", "));
                return output.line(format!("devices on {from} are now offered {}", clean(update.version())));
            }
            // The rollout before has ended, and the rollback has not begun.
            State::Completed if !is_begun => {}
            _ => return Err(updates::replaced(&update)),
        }
    }
    let message = format!("the rollback to {} is not open yet; call it again", args.to);
    Err(CommandError::failed("not_done", message))
}
