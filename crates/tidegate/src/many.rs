//! `tidegate updates retry`, `void`, `assign`, `unassign`, `devices` and `reasons`: the devices of an update.

use clap::Args;
use serde_json::json;

use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{self, Output, clean};
use crate::{time, update};
use tidegate_wire::operator::{ManyChanged, Outcome, Reasons};
use tidegate_wire::route::PublishRoute;

/// Devices of an update, and the reason of the change.
#[derive(Debug, Args)]
pub struct NamedArgs {
    /// Version of the update
    pub version: String,
    /// Ids of the devices
    #[arg(required = true, value_name = "DEVICE")]
    pub devices: Vec<String>,
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
}

/// Options of `tidegate updates retry`.
#[derive(Debug, Args)]
pub struct RetryManyArgs {
    /// Version of the update
    pub version: String,
    /// What became of the devices: failed, reverted, lost, not_taken, transfer_failed, declined or left
    #[arg(long, value_name = "STATE", value_parser = parse_outcome)]
    pub state: Outcome,
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
}

/// Options of `tidegate updates devices`.
#[derive(Debug, Args)]
pub struct ListedArgs {
    /// Version of the update
    pub version: String,
    /// What became of the devices: failed, reverted, lost, not_taken, transfer_failed, declined, left or voided
    #[arg(long, value_name = "STATE", value_parser = parse_outcome)]
    pub state: Outcome,
}

fn parse_outcome(text: &str) -> Result<Outcome, String> {
    let words = || Outcome::ALL.iter().map(|outcome| outcome.word()).collect::<Vec<_>>().join(", ");
    Outcome::parse(text).ok_or_else(|| format!("expected one of {}", words()))
}

/// Strikes devices as witnesses.
pub fn void(args: &NamedArgs, common: &Common, output: &Output) -> CommandResult {
    let path = ApiPath::update(PublishRoute::VoidDevices, common.product()?, &args.version);
    let document = common.operator()?.post(&path, &json!({"devices": args.devices, "reason": args.reason}))?;
    say(&document, "struck as witnesses", output)
}

/// Assigns an update to devices.
pub fn assign(args: &NamedArgs, common: &Common, output: &Output) -> CommandResult {
    let path = ApiPath::update(PublishRoute::AssignUpdate, common.product()?, &args.version);
    let document = common.operator()?.put_with(&path, &json!({"devices": args.devices, "reason": args.reason}))?;
    say(&document, "assigned", output)
}

/// Takes an assignment back.
pub fn unassign(args: &NamedArgs, common: &Common, output: &Output) -> CommandResult {
    let path = ApiPath::update(PublishRoute::UnassignUpdate, common.product()?, &args.version);
    let document = common.operator()?.delete_with(&path, &json!({"devices": args.devices, "reason": args.reason}))?;
    say(&document, "taken back", output)
}

fn say(document: &serde_json::Value, what: &str, output: &Output) -> CommandResult {
    output.document(document)?;
    let ManyChanged { changed, unchanged, .. } = update::read(document, "number of devices")?;
    let ids = unchanged.iter().map(|device| clean(device.as_str())).collect::<Vec<_>>();
    if !ids.is_empty() {
        output.note(format!("unchanged: {}", ids.join(", ")));
    }
    output.line(format!("{what}: {changed} of {}", changed.saturating_add(unchanged.len() as u64)))
}

/// Gives another try to all devices with one outcome.
pub fn retry(args: &RetryManyArgs, common: &Common, output: &Output) -> CommandResult {
    let (client, product) = (common.operator()?, common.product()?);
    let path = ApiPath::update(PublishRoute::RetryUpdate, product, &args.version);
    let (mut total, mut after) = (0_u64, None);
    loop {
        let body = json!({"state": args.state, "after": after, "reason": args.reason});
        let document = client.post(&path, &body)?;
        let ManyChanged { changed, next, .. } = update::read(&document, "number of devices")?;
        total += changed;
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    output.document(&json!({"changed": total}))?;
    output.line(format!("may try {} again: {total} that are {}", clean(&args.version), args.state))
}

/// Lists the devices of an update with one outcome.
pub fn devices(args: &ListedArgs, common: &Common, output: &Output) -> CommandResult {
    let items = listed(&common.operator()?, common.product()?, args)?;
    output.document(&json!({"items": items}))?;
    if items.is_empty() {
        return output.line(format!("no device of {} is {}", clean(&args.version), args.state));
    }
    let mut table = output::table(&["DEVICE", "ATTEMPTS", "AT", "MESSAGE"], &[1]);
    for device in &items {
        let message = device.message.as_deref().unwrap_or_default();
        table.add_row([
            clean(device.id.as_str()),
            device.attempts.to_string(),
            time::show_at(device.at),
            output::shortened(message, 60),
        ]);
    }
    output.table(&table)
}

fn listed(
    client: &ApiClient,
    product: &str,
    args: &ListedArgs,
) -> CommandResult<Vec<tidegate_wire::operator::UpdateDevice>> {
    let path = ApiPath::update(PublishRoute::ListUpdateDevices, product, &args.version);
    update::read_all(client.items(&path.with("state", Some(args.state.word())), None)?, "device")
}

/// Counts what the devices of an update said.
pub fn reasons(version: &str, common: &Common, output: &Output) -> CommandResult {
    let path = ApiPath::update(PublishRoute::ShowReasons, common.product()?, version);
    let document = common.operator()?.get(&path)?;
    output.document(&document)?;
    let Reasons { items, complete } = update::read(&document, "list of reasons")?;
    if items.is_empty() {
        return output.line(format!("no device of {} has gone astray", clean(version)));
    }
    let mut table = output::table(&["DEVICES", "STATE", "MESSAGE"], &[0]);
    for reason in &items {
        let message = reason.message.as_deref().map_or_else(|| "(none)".into(), |text| output::shortened(text, 80));
        table.add_row([reason.devices.to_string(), reason.state.to_string(), message]);
    }
    output.table(&table)?;
    match complete {
        true => Ok(()),
        false => {
            output.line("only the first 10,000 devices were looked at, or only the 200 most frequent reasons are told")
        }
    }
}
