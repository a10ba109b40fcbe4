//! `tidegate stop`: pauses every active update of a product.

use clap::Args;
use serde_json::{Value, json};

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{Output, Tone, clean, table};
use tidegate_wire::route::PublishRoute;

/// Options of `tidegate stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
}

/// Pauses every active update of the product. After success no device gets an offer any more;
/// URLs that devices have already expire within fifteen minutes. Every update is tried, even if another one fails.
pub fn run(args: StopArgs, common: &Common, output: &Output) -> CommandResult {
    let client = common.operator()?;
    let product = common.product()?;
    let listed = client.get(&ApiPath::product(PublishRoute::ListUpdates, product))?;
    let updates = listed["updates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let active =
        updates.iter().filter(|update| update["state"] == "active").filter_map(|update| update["version"].as_str());
    let (mut rows, mut failed) = (Vec::new(), None);
    for version in active {
        let path = ApiPath::update(PublishRoute::PauseUpdate, product, version);
        let outcome = client.post(&path, &json!({"reason": args.reason}));
        let said = outcome.as_ref().map_or_else(ToString::to_string, |_| "paused".into());
        rows.push((version.to_owned(), said));
        failed = failed.or(outcome.err());
    }
    let documents = rows.iter().map(|(version, outcome)| json!({"version": version, "outcome": outcome}));
    output.document(&json!({"product": product, "updates": documents.collect::<Vec<Value>>()}))?;
    show(&rows, output)?;
    match failed {
        None => output.line(output.paint(Tone::Good, "nothing of this product is offered to any device")),
        Some(error) => Err(error),
    }
}

fn show(rows: &[(String, String)], output: &Output) -> CommandResult {
    if rows.is_empty() {
        return Ok(());
    }
    let mut shown = table(&["version", "outcome"], &[]);
    for (version, outcome) in rows {
        shown.add_row([clean(version), clean(outcome)]);
    }
    output.table(&shown)
}
