//! `tidegate updates`: list, show and steer.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::many;
use crate::output::{self, Output, Tone, clean};
use crate::rollout_options::RolloutOptions;
use crate::rollout_view;
use crate::time;
use crate::update;
use tidegate_core::State;
use tidegate_wire::definition::Definition;
use tidegate_wire::operator::{
    AcknowledgeField, AudienceView, AuditEntry, ControlGroupView, Counters, Deleted, Metrics, OtherNameView,
    ReadingView, UpdateView, ValueChange,
};
use tidegate_wire::route::PublishRoute;

/// Commands about updates.
#[derive(Debug, Subcommand)]
pub enum UpdatesCommand {
    /// List the updates of a product
    List,
    /// Show one update and its progress
    Show {
        /// Version of the update
        version: String,
    },
    /// Make a draft available to devices
    Activate(TransitionArgs),
    /// Stop the offers for now
    Pause(TransitionArgs),
    /// Offer it again after a pause or a hold
    Resume(ResumeArgs),
    /// Begin the next phase of a rollout whose phases begin on evidence
    Advance(AdvanceArgs),
    /// Stop the offers for good, because the update is bad
    Abort(TransitionArgs),
    /// Take the update back, because it is not needed any more
    Withdraw(TransitionArgs),
    /// Close the rollout: every device that should have the update has it
    Complete(TransitionArgs),
    /// Offer a completed, aborted or withdrawn update again, in another campaign
    Reopen(Box<ReopenArgs>),
    /// Delete a draft; its version is free again
    Delete(TransitionArgs),
    /// Give another try to all devices with one outcome
    Retry(many::RetryManyArgs),
    /// Strike devices as witnesses: what became of them says nothing of the update
    Void(many::NamedArgs),
    /// Assign the update to devices; a policy asks for it with `assigned`
    Assign(many::NamedArgs),
    /// Take the assignment back
    Unassign(many::NamedArgs),
    /// List the devices with one outcome
    Devices(many::ListedArgs),
    /// Count what the devices said
    Reasons {
        /// Version of the update
        version: String,
    },
    /// Change the rollout; the content of an update never changes
    Edit(Box<EditArgs>),
    /// Show the audit log: who changed what, when and why
    Audit(AuditArgs),
}

/// Options of `tidegate updates audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only about this version, device or product
    version: Option<String>,
    /// Most entries, the newest first
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Every entry
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// An update, and the reason of the change.
#[derive(Debug, Args)]
pub struct TransitionArgs {
    /// Version of the update
    pub version: String,
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
}

/// Options of `tidegate updates resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The update and the reason.
    #[command(flatten)]
    pub transition: TransitionArgs,
    /// After a hold: the numbers of devices that you have seen, such as failed=4,lost=1
    #[arg(long, value_name = "COUNTS", value_parser = parse_counts, default_value = "")]
    pub acknowledge: AcknowledgeField,
}

/// Options of `tidegate updates advance`.
#[derive(Debug, Args)]
pub struct AdvanceArgs {
    /// The update and the reason.
    #[command(flatten)]
    pub transition: TransitionArgs,
    /// Number of the phase, from 1
    #[arg(long, value_name = "NUMBER")]
    pub phase: u64,
    /// The numbers of devices that you have seen, such as failed=4,lost=1
    #[arg(long, value_name = "COUNTS", value_parser = parse_counts, default_value = "")]
    pub seen: AcknowledgeField,
}

/// Reads numbers of devices, such as `failed=4,lost=1`. One that is not named is 0.
fn parse_counts(text: &str) -> Result<AcknowledgeField, String> {
    let mut counts = AcknowledgeField::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, number) = part.split_once('=').unwrap_or((part, ""));
        let count = match name.trim() {
            "failed" => &mut counts.failed,
            "reverted" => &mut counts.reverted,
            "lost" => &mut counts.lost,
            "not_taken" => &mut counts.not_taken,
            "transfer_failed" => &mut counts.transfer_failed,
            _ => return Err(format!("`{name}` is none of failed, reverted, lost, not_taken, transfer_failed")),
        };
        *count =
            number.trim().parse().map_err(|_| format!("`{part}` must be a name and a number, such as failed=4"))?;
    }
    Ok(counts)
}

/// Options of `tidegate updates reopen`.
#[derive(Debug, Args)]
pub struct ReopenArgs {
    /// The update and the reason.
    #[command(flatten)]
    pub transition: TransitionArgs,
    /// Devices that the campaign is for, if not those of the last one
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
    /// The rollout, if it is not as in the last campaign.
    #[command(flatten)]
    pub rollout: RolloutOptions,
}

/// Options of `tidegate updates edit`.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// Version of the update
    pub version: String,
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
    /// Another policy: the devices that the update is for
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
    /// What the image says of itself, if that is not its version; repeatable
    #[arg(long, value_name = "TEXT")]
    pub reports_as: Vec<String>,
    /// The rollout.
    #[command(flatten)]
    pub rollout: RolloutOptions,
}

/// Runs one of the commands.
pub fn run(command: UpdatesCommand, common: &Common, output: &Output) -> CommandResult {
    match command {
        UpdatesCommand::List => list(common, output),
        UpdatesCommand::Show { version } => show(&version, common, output),
        UpdatesCommand::Activate(args) => transition(PublishRoute::ActivateUpdate, &args, common, output),
        UpdatesCommand::Pause(args) => transition(PublishRoute::PauseUpdate, &args, common, output),
        UpdatesCommand::Resume(args) => resume(&args, common, output),
        UpdatesCommand::Advance(args) => advance(&args, common, output),
        UpdatesCommand::Abort(args) => transition(PublishRoute::AbortUpdate, &args, common, output),
        UpdatesCommand::Withdraw(args) => transition(PublishRoute::WithdrawUpdate, &args, common, output),
        UpdatesCommand::Complete(args) => transition(PublishRoute::CompleteUpdate, &args, common, output),
        UpdatesCommand::Reopen(args) => reopen(&args, common, output),
        UpdatesCommand::Delete(args) => delete(&args, common, output),
        UpdatesCommand::Edit(args) => edit(&args, common, output),
        UpdatesCommand::Retry(args) => many::retry(&args, common, output),
        UpdatesCommand::Void(args) => many::void(&args, common, output),
        UpdatesCommand::Assign(args) => many::assign(&args, common, output),
        UpdatesCommand::Unassign(args) => many::unassign(&args, common, output),
        UpdatesCommand::Devices(args) => many::devices(&args, common, output),
        UpdatesCommand::Reasons { version } => many::reasons(&version, common, output),
        UpdatesCommand::Audit(args) => audit(&args, common, output),
    }
}

fn list(common: &Common, output: &Output) -> CommandResult {
    let product = common.product()?;
    let items = common.operator()?.items(&ApiPath::product(PublishRoute::ListUpdates, product), None)?;
    output.document(&json!({"items": items}))?;
    let updates = update::read_all::<UpdateView>(items, "update")?;
    if updates.is_empty() {
        return output.line(format!("{} has no updates yet; see `tidegate publish --help`", clean(product)));
    }
    let mut table = output::table(&["VERSION", "STATE", "SIZE", "MAX DEVICES", "POLICY", "NAME", "CREATED"], &[2, 3]);
    for update in &updates {
        let of = |column: fn(&Definition) -> String| update.definition().map_or_else(|| "unreadable".into(), column);
        table.add_row([
            clean(update.version()),
            update.state.to_string(),
            of(|definition| output::bytes(update::size_bytes(definition))),
            of(|definition| definition.rollout.limits.max_devices.map_or("no limit".into(), |limit| limit.to_string())),
            of(|definition| output::shortened(&definition.policy, 40)),
            of(|definition| definition.name.as_deref().map_or(String::new(), |name| output::shortened(name, 30))),
            time::show_at(update.created_at),
        ]);
    }
    output.table(&table)
}

fn show(version: &str, common: &Common, output: &Output) -> CommandResult {
    let path = ApiPath::update(PublishRoute::ShowUpdate, common.product()?, version);
    let document = common.operator()?.get(&path)?;
    output.document(&document)?;
    let update: UpdateView = update::read(&document, "update")?;
    show_facts(&update, output)?;
    if let Some(metrics) = &update.metrics {
        output.line("")?;
        show_metrics(metrics, output)?;
    }
    Ok(())
}

fn show_facts(update: &UpdateView, output: &Output) -> CommandResult {
    let version = output.paint(Tone::Strong, &clean(update.version()));
    let campaign = if update.campaign > 1 { format!(", in campaign {}", update.campaign) } else { String::new() };
    output.line(format!("{version} is {}{campaign}", output.state(update.state.name())))?;
    let mut facts = vec![("update", clean(update.id.as_str())), ("created", time::show_at(update.created_at))];
    match update.definition() {
        Some(definition) => facts.extend(definition_facts(definition)),
        None => facts.push(("definition", "the service cannot read what is stored".into())),
    }
    facts.extend(update.audience.as_ref().map(|audience| ("audience", audience_in_words(audience))));
    let other_name = update.audience.as_ref().and_then(|audience| audience.other_name.as_ref());
    facts.extend(other_name.map(|name| ("they say", other_name_in_words(name, update.version()))));
    facts.extend(update.control_group.as_ref().map(|group| ("held out", held_out_in_words(group))));
    for (label, fact) in facts.iter().filter(|(_, fact)| !fact.is_empty()) {
        output.line(format!("  {label:<13}{fact}"))?;
    }
    Ok(())
}

fn audience_in_words(audience: &AudienceView) -> String {
    let AudienceView { size, newcomers: _, reached, left, asked, refused, other_name: _, as_of } = audience;
    let users = match (asked, refused) {
        (0, 0) => String::new(),
        (asked, refused) => format!(", the users of {asked} were asked, those of {refused} refused"),
    };
    format!("{size} devices: {reached} were offered it, {left} are left{users} ({})", time::show_at(*as_of))
}

fn other_name_in_words(OtherNameView { text, devices }: &OtherNameView, version: &str) -> String {
    format!(
        "{devices} devices installed {} and say {}: is that what this image calls itself?",
        clean(version),
        clean(text)
    )
}

fn held_out_in_words(group: &ControlGroupView) -> String {
    let held_out = match group.is_served {
        true => "none any more: all others were offered it".to_string(),
        false => format!("a control group, places {} to 9999 of the queue", group.from_place),
    };
    match &group.reading {
        None => held_out,
        Some(ReadingView { members, overdue, at }) => {
            format!("{held_out}; {overdue} of {members} were overdue ({})", time::show_at(*at))
        }
    }
}

fn definition_facts(definition: &Definition) -> Vec<(&'static str, String)> {
    let text = |text: &Option<String>| text.as_deref().map(clean).unwrap_or_default();
    let mut facts = vec![
        ("name", text(&definition.name)),
        ("description", text(&definition.description)),
        ("author", text(&definition.author)),
        ("vendor", text(&definition.vendor)),
        ("labels", labels(&definition.labels)),
        ("from", clean(&definition.compatible_from.join("  or  "))),
        ("policy", clean(&definition.policy)),
        ("kind", definition.kind.to_string()),
    ];
    facts.push(("says", clean(&definition.reports_as.join("  or  "))));
    facts.push(("back from", clean(&definition.rollback_from.join("  and  "))));
    facts.extend(definition.payload.as_ref().map(|payload| ("payload", output::plain(payload))));
    for file in &definition.files {
        let size = output::bytes(file.size);
        facts.push(("file", format!("{} ({size}, SHA-256 {})", clean(&file.name), clean(&file.sha256))));
    }
    facts.extend(rollout_view::facts(&definition.rollout));
    facts
}

/// The labels as JSON on one line; an empty text if there are none.
fn labels(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() { String::new() } else { output::plain(&json!(labels)) }
}

fn show_metrics(metrics: &Metrics, output: &Output) -> CommandResult {
    let mut table = output::table(
        &["OFFERED", "IN FLIGHT", "PROVED", "FAILED", "FELL BACK", "OVERDUE", "HEALTH"],
        &[0, 1, 2, 3, 4, 5],
    );
    let Counters { offered, in_flight, proved, failed, reverted, lost, .. } = metrics.counters;
    let mut row: Vec<String> =
        [offered, in_flight, proved, failed, reverted, lost].iter().map(u64::to_string).collect();
    if let (Some(in_flight), Some(places)) = (row.get_mut(1), metrics.places) {
        *in_flight = format!("{in_flight} of {places}");
    }
    row.push(crate::watch::health(&metrics.health));
    table.add_row(row);
    output.table(&table)?;
    if let Some(phase) = &metrics.next_phase {
        let waits_for = phase.waits_for.as_deref().map_or("it begins within a minute".into(), clean);
        output.line(format!("phase {}: {waits_for}", phase.number))?;
    }
    if let Some(stalled) = &metrics.stalled {
        output.line(format!("stalled: {}", clean(stalled)))?;
    }
    if let Some(until) = &metrics.transfers_wait_until {
        output.line(format!("downloads fail: the next devices try at {until}"))?;
    }
    if let Some(newcomers) = &metrics.newcomers {
        let held = if newcomers.is_held { "held; " } else { "" };
        output.line(format!("newcomers: {} offered; {held}{}", newcomers.offered, clean(&newcomers.sentence)))?;
    }
    let deferred: Vec<String> =
        metrics.deferred.iter().map(|(objection, count)| format!("{} {count}", clean(objection))).collect();
    match deferred.is_empty() {
        true => Ok(()),
        false => output.line(format!("deferred: {}", deferred.join(", "))),
    }
}

fn transition(route: PublishRoute, args: &TransitionArgs, common: &Common, output: &Output) -> CommandResult {
    steer(route, args, &json!({"reason": args.reason}), common, output)
}

fn resume(args: &ResumeArgs, common: &Common, output: &Output) -> CommandResult {
    let ResumeArgs { transition, acknowledge } = args;
    let body = json!({"reason": transition.reason, "acknowledge": acknowledge});
    steer(PublishRoute::ResumeUpdate, transition, &body, common, output)
}

fn advance(args: &AdvanceArgs, common: &Common, output: &Output) -> CommandResult {
    let AdvanceArgs { transition, phase, seen } = args;
    let body = json!({"phase": phase, "seen": seen, "reason": transition.reason});
    steer(PublishRoute::AdvanceUpdate, transition, &body, common, output)
}

fn reopen(args: &ReopenArgs, common: &Common, output: &Output) -> CommandResult {
    let ReopenArgs { transition, policy, rollout } = args;
    let mut body = json!({"reason": transition.reason});
    if let Some(policy) = policy {
        body["policy"] = json!(policy);
    }
    if rollout.any() {
        body["rollout"] = rollout.applied_to(Value::Null)?;
    }
    steer(PublishRoute::ReopenUpdate, transition, &body, common, output)
}

fn delete(args: &TransitionArgs, common: &Common, output: &Output) -> CommandResult {
    let path = ApiPath::update(PublishRoute::DeleteUpdate, common.product()?, &args.version);
    let document = common.operator()?.delete_with(&path, &json!({"reason": args.reason}))?;
    output.document(&document)?;
    let Deleted { deleted, state } = update::read(&document, "deleted update")?;
    let free = if state == State::Draft { "free again" } else { "never free again" };
    output.line(format!("{} is deleted; its version is {free}", clean(&deleted)))
}

fn steer(route: PublishRoute, args: &TransitionArgs, body: &Value, common: &Common, output: &Output) -> CommandResult {
    let client = common.operator()?;
    let path = ApiPath::update(route, common.product()?, &args.version);
    let changed = client.post(&path, body)?;
    let update = done(&client, &args.version, changed, common, output)?;
    let opens = matches!(route, PublishRoute::ActivateUpdate | PublishRoute::ResumeUpdate | PublishRoute::ReopenUpdate);
    if opens != (update.state == State::Active) {
        return Err(replaced(&update));
    }
    output.line(format!("{} is now {}", clean(update.version()), output.state(update.state.name())))
}

/// The service finished another change than the one that was asked for.
pub fn replaced(update: &UpdateView) -> CommandError {
    let message = format!("{} is {}: another change has replaced this one", update.version(), update.state);
    CommandError::failed("replaced", message)
}

/// Returns true if `present` has every value of `asked`. A limit that was removed is not there.
fn contains(present: &Value, asked: &Value) -> bool {
    match (present, asked) {
        (Value::Object(present), Value::Object(asked)) => {
            asked.iter().all(|(name, asked)| contains(present.get(name).unwrap_or(&Value::Null), asked))
        }
        (present, asked) => present == asked,
    }
}

/// The update when its change is done, which is shown.
pub fn done(
    client: &ApiClient,
    version: &str,
    changed: Value,
    common: &Common,
    output: &Output,
) -> CommandResult<UpdateView> {
    let shown = ApiPath::update(PublishRoute::ShowUpdate, common.product()?, version);
    let document = client.until_done(&shown, changed)?;
    output.document(&document)?;
    let update: UpdateView = update::read(&document, "update")?;
    match update.shards_left {
        None => Ok(update),
        Some(shards) => {
            let message = format!("{version} is not done yet: {shards} shards are left; the service goes on");
            Err(CommandError::failed("not_done", message))
        }
    }
}

fn edit(args: &EditArgs, common: &Common, output: &Output) -> CommandResult {
    let EditArgs { version, reason, policy, reports_as, rollout } = args;
    if !rollout.any() && policy.is_none() && reports_as.is_empty() {
        return Err(CommandError::usage("say what to change, for example --max-devices 1000"));
    }
    let (client, product) = (common.operator()?, common.product()?);
    let path = |route| ApiPath::update(route, product, version);
    let mut body = json!({"reason": reason});
    if !reports_as.is_empty() {
        body["reports_as"] = json!(reports_as);
    }
    let present = client.get(&path(PublishRoute::ShowUpdate))?;
    let is_draft = present["state"] == State::Draft.name();
    if !is_draft && !reports_as.is_empty() {
        // What an image says of itself is no part of a campaign.
        let changed = client.patch(&path(PublishRoute::EditUpdate), &body)?;
        let update = done(&client, version, changed, common, output)?;
        if !rollout.any() && policy.is_none() {
            return show_facts(&update, output);
        }
        body = json!({"reason": reason});
    }
    if let Some(policy) = policy {
        body["policy"] = json!(policy);
    }
    // Only the changed settings are sent. The service merges them, so two operators can change different settings at
    // the same time.
    let rollout = rollout.applied_to(Value::Null)?;
    if rollout.as_object().is_some_and(|rollout| !rollout.is_empty()) {
        body["rollout"] = rollout.clone();
    }
    let route = if is_draft { PublishRoute::EditUpdate } else { PublishRoute::EditCampaign };
    let changed = client.patch(&path(route), &body)?;
    let is_done = changed["shards_left"].is_null();
    let update = done(&client, version, changed, common, output)?;
    let present = update.definition().and_then(|definition| serde_json::to_value(&definition.rollout).ok());
    if !is_done && !present.is_some_and(|present| contains(&present, &rollout)) {
        return Err(replaced(&update));
    }
    show_facts(&update, output)
}

fn audit(args: &AuditArgs, common: &Common, output: &Output) -> CommandResult {
    let path = ApiPath::product(PublishRoute::ShowAudit, common.product()?).with("version", args.version.as_deref());
    let items = common.operator()?.items(&path, (!args.all).then_some(args.limit))?;
    output.document(&json!({"items": items}))?;
    let entries = update::read_all::<AuditEntry>(items, "entry of the audit log")?;
    if entries.is_empty() {
        return output.line("nothing is recorded");
    }
    // Actions on devices, such as issuing a token, name the device where the others name a version.
    let mut table = output::table(&["AT", "WHO", "ACTION", "ABOUT", "CHANGE", "REASON"], &[]);
    for entry in &entries {
        table.add_row([
            time::show_at(entry.at),
            clean(who(&entry.who)),
            clean(&entry.action),
            clean(&entry.version),
            changes(entry),
            clean(&entry.reason),
        ]);
    }
    output.table(&table)
}

/// Text of the state and of each value that an audit entry changed.
fn changes(entry: &AuditEntry) -> String {
    let state = match (entry.from.map(State::name), entry.to.map(State::name)) {
        (Some(from), Some(to)) if from != to => Some(format!("{from} → {to}")),
        (_, to) => to.map(str::to_owned),
    };
    let values = entry.changes.iter().map(|ValueChange { field, old, new }| {
        let [old, new] = [old, new].map(|value| if value.is_null() { "none".into() } else { output::plain(value) });
        output::shortened(&format!("{field} {old} → {new}"), 60)
    });
    state.into_iter().chain(values).collect::<Vec<_>>().join("\n")
}

/// `user/ann` of `arn:aws:iam::123456789012:user/ann`: the account is the same on every line.
fn who(principal: &str) -> &str {
    match principal.strip_prefix("arn:") {
        Some(arn) => arn.rsplit(':').next().unwrap_or(arn),
        None => principal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Reader;
    use crate::stub_server::{Reply, StubServer};

    fn common(server: &StubServer) -> Common {
        Common { key: Some("k1".into()), product: Some("lamp".into()), ..Common::of(server.base()) }
    }

    /// An update as the service answers it.
    fn answer() -> Value {
        json!({
            "id": "lamp.00", "product": "lamp", "version": "2.0.0", "state": "active", "reason": "", "generation": 2,
            "created_at": "2026-01-02T03:04:05Z", "changed_at": "2026-01-02T03:04:05Z",
            "labels": {"commit": "abc"}, "compatible_from": ["^1.0"], "policy": "memory >= 256",
            "kind": "file", "files": [{"name": "a.bin", "sha256": "ab", "size": 5}], "rollout": {},
            "name": null, "payload": null,
        })
    }

    #[test]
    fn only_the_knobs_that_were_turned_are_sent() {
        let mut after = answer();
        after["rollout"] = json!({"limits": {"max_devices": 50}});
        let server =
            StubServer::start(vec![Reply::json(200, &after.to_string()), Reply::json(200, &after.to_string())]);
        let args = EditArgs {
            version: "2.0.0".into(),
            reason: "going well".into(),
            policy: None,
            reports_as: Vec::new(),
            rollout: RolloutOptions { max_devices: Some(50), ..RolloutOptions::default() },
        };
        assert_eq!(edit(&args, &common(&server), &Output::new(Reader::Person)), Ok(()));
        let patch = server.request(1);
        assert!(patch.starts_with("PATCH /v1/products/lamp/updates/2.0.0/campaign"), "{patch}");
        let (_, body) = patch.split_once("\r\n\r\n").expect("a body");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let expected = json!({"limits": {"max_devices": 50}});
        assert_eq!(body, json!({"rollout": expected, "reason": "going well"}));
    }

    #[test]
    fn every_answer_of_the_service_can_be_shown() {
        let mut update = answer();
        update["audience"] = json!({"size": 1200, "reached": 3, "left": 997, "as_of": "2026-01-02T03:04:05Z"});
        let reading = json!({"members": 200, "overdue": 4, "at": "2026-01-02T03:04:05Z"});
        update["control_group"] = json!({
            "from_place": 8123, "since": "2026-01-02T03:04:05Z", "is_served": false, "reading": reading,
        });
        update["metrics"] = json!({
            "state": "active", "offered": 3, "in_flight": 1, "installed": 0, "proved": 1, "soaked": 0, "failed": 1,
            "reverted": 0, "lost": 0, "not_taken": 0, "declined": 0, "transfer_failed": 0, "left": 0,
            "deferred": {"full": 2},
            "health": {
                "verdict": "continue", "threshold": 200.0, "min_failures": 3, "sentence": "1 of 3 devices failed",
                "channels": [{
                    "name": "failed", "bad": 1, "of": 3, "tolerated_percent": 1.0, "evidence": 1.5, "is_off": false,
                }],
            },
        });
        let entry = json!({"at": "2026-01-02T03:04:05Z", "who": "operator", "action": "activate",
            "version": "2.0.0", "from": "draft", "to": "active", "reason": "tested",
            "changes": [{"field": "policy", "old": null, "new": "true"}]});
        let server = StubServer::start(vec![
            Reply::json(200, &json!({"items": [update], "next": null}).to_string()),
            Reply::json(200, &update.to_string()),
            Reply::json(200, &json!({"items": [entry], "next": null}).to_string()),
        ]);
        let (common, output) = (common(&server), Output::new(Reader::Person));
        assert_eq!(list(&common, &output), Ok(()));
        assert_eq!(show("2.0.0", &common, &output), Ok(()));
        let args = AuditArgs { version: Some("2.0.0".into()), limit: 100, all: false };
        assert_eq!(audit(&args, &common, &output), Ok(()));
    }

    #[test]
    fn counts_are_names_and_numbers() {
        let counts = AcknowledgeField { failed: 4, lost: 1, ..AcknowledgeField::default() };
        assert_eq!(parse_counts("failed=4, lost=1"), Ok(counts));
        assert_eq!(parse_counts(""), Ok(AcknowledgeField::default()));
        assert_eq!(parse_counts("failed"), Err("`failed` must be a name and a number, such as failed=4".into()));
        let unknown = "`proved` is none of failed, reverted, lost, not_taken, transfer_failed";
        assert_eq!(parse_counts("proved=1"), Err(unknown.into()));
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error_and_shows_no_blanks() {
        for (field, value) in
            [("created_at", Value::Null), ("state", json!("live")), ("rollout", json!({"phases": "all"}))]
        {
            let mut update = answer();
            update[field] = value;
            let server = StubServer::start(vec![Reply::json(200, &update.to_string())]);
            let shown = show("2.0.0", &common(&server), &Output::new(Reader::Person));
            assert_eq!(shown.expect_err(field).code(), "bad_answer", "{field}");
        }
    }
}
