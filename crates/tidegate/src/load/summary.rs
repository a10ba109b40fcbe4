//! The summary at the end: the times, the answers, the errors, and the limits with the observed numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::HumanCount;
use serde_json::{Map, Value, json};

use tidegate_lab::load::{Failure, Finding, Limits, Pace, Progress, Row, Seen, Times, findings};

use super::LoadArgs;
use super::target::Target;
use super::watcher::Watcher;
use crate::error::{CommandError, CommandResult};
use crate::output::{Output, Tone, clean, table};

/// The results of a load.
#[derive(Debug)]
pub(super) struct Summary<'a> {
    /// The arguments.
    pub args: &'a LoadArgs,
    /// The service under load.
    pub target: &'a Target,
    /// The times at which requests were due.
    pub pace: Pace,
    /// The seed of the fleet.
    pub seed: u64,
    /// Length of the load.
    pub elapsed: Duration,
    /// Sightings of the devices and measurements.
    pub progress: Progress<CommandError>,
    /// The watcher, if the command has an operator's credentials.
    pub watcher: Option<Watcher>,
    /// True if Ctrl-C stopped the load.
    pub is_stopped: bool,
}

impl Summary<'_> {
    /// Every limit with the observed numbers.
    fn findings(&self) -> Vec<Finding> {
        let watched = self.watcher.as_ref().map(Watcher::updates);
        let watched_ids = watched.into_iter().flat_map(|updates| updates.keys().map(String::as_str));
        let seen = self.progress.devices.seen();
        let ids = watched_ids.chain(seen.all().map(|(id, _)| id)).collect::<BTreeSet<_>>();
        ids.into_iter().flat_map(|id| self.findings_of(id)).collect()
    }

    fn findings_of(&self, id: &str) -> Vec<Finding> {
        let watched = self.watcher.as_ref().and_then(|watcher| watcher.updates().get(id));
        let sighting = self.progress.devices.seen().of(id);
        let limits = self.args.expect.or(watched.map(|update| update.allowed())).unwrap_or_default();
        let version = watched.map(|update| update.version()).or(sighting.map(|seen| seen.version()));
        // The fleet of a given seed may hold offers of an earlier run.
        let is_new = self.args.seed.is_none();
        let fleet = sighting.map_or_else(
            || Seen { devices: Some(0), in_flight: Some(0), in_period: None },
            |sighting| Seen {
                devices: Some(sighting.devices()),
                in_flight: Some(sighting.most_held()).filter(|_| is_new),
                in_period: limits.period_s.filter(|_| is_new).map(|period_s| sighting.most_in_a_period(period_s)),
            },
        );
        let limits = Limits { max_per_period: limits.max_per_period.filter(|_| limits.period_s.is_some()), ..limits };
        findings(version.unwrap_or(id), limits, watched.map(|update| update.seen()).unwrap_or_default(), fleet)
    }

    /// Success if the limits held.
    ///
    /// # Errors
    /// When a limit was exceeded, or when the last look at the service failed.
    pub(super) fn verdict(&self) -> CommandResult {
        let violations =
            self.findings().iter().filter(|it| it.is_violation()).map(|it| clean(&it.to_string())).collect::<Vec<_>>();
        match self.watcher.as_ref().and_then(Watcher::last_failure) {
            _ if !violations.is_empty() => Err(CommandError::failed("limit_exceeded", violations.join("; "))),
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn per_s(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Requests that were due and never sent, because earlier answers were too slow or Ctrl-C stopped the load.
    fn unsent(&self) -> u64 {
        let done = self.progress.tally.answered() + self.progress.tally.failed();
        self.pace.per_s().map_or(0, |_| self.pace.requests().saturating_sub(done))
    }

    /// The summary for programs.
    pub(super) fn document(&self) -> Value {
        let tally = &self.progress.tally;
        let requests = tally.rows().map(|(kind, row)| (kind.name().to_owned(), row_document(row)));
        let errors = tally
            .failures()
            .iter()
            .map(|(name, failure)| (name.clone(), json!({"count": failure.count, "first": failure.first.sentence()})));
        let limits = self.findings().into_iter().map(|finding| {
            json!({
                "version": finding.version, "limit": finding.limit, "allowed": finding.allowed,
                "service": finding.service, "fleet": finding.fleet, "exceeded": finding.is_violation(),
            })
        });
        json!({
            "api": self.target.api(),
            "product": self.target.product(),
            "devices": self.args.devices,
            "seed": self.seed,
            "connections": self.args.connections,
            "mix": self.args.mix.to_string(),
            "loop": if self.pace.per_s().is_some() { "open" } else { "closed" },
            "rate": self.pace.per_s(),
            "seconds": self.elapsed.as_secs_f64(),
            "stopped": self.is_stopped,
            "answered": tally.answered(),
            "failed": tally.failed(),
            "unsent": self.unsent(),
            "check_ins_per_s": self.per_s(tally.check_ins()),
            "most_waiting": tally.most_waiting(),
            "first_check_ins": self.progress.devices.first_check_ins(),
            "nothing_to_report": tally.nothing_to_report(),
            "requests": requests.collect::<Map<_, _>>(),
            "errors": errors.collect::<Map<_, _>>(),
            "looks": self.watcher.as_ref().map(Watcher::looks),
            "limits": limits.collect::<Vec<_>>(),
        })
    }

    /// The summary for people.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(super) fn show(&self, output: &Output) -> CommandResult {
        self.show_what_was_done(output)?;
        self.show_times(output)?;
        self.show_answers(output)?;
        self.show_errors(output)?;
        self.show_limits(output)
    }

    fn show_what_was_done(&self, output: &Output) -> CommandResult {
        let tally = &self.progress.tally;
        let pace = match self.pace.per_s() {
            Some(per_s) => format!("{per_s}/s were due"),
            None => "as fast as the connections allow".to_owned(),
        };
        let done = tally.answered() + tally.failed();
        output.line(format!(
            "{} at {}: {} requests in {:.1} s ({:.1}/s; {pace}), {:.1} check-ins/s answered",
            clean(self.target.product()),
            clean(self.target.api()),
            HumanCount(done),
            self.elapsed.as_secs_f64(),
            self.per_s(done),
            self.per_s(tally.check_ins()),
        ))?;
        output.line(format!(
            "{} devices (--seed {}), {} connections; at most {} requests were due and waited for one",
            HumanCount(self.args.devices.into()),
            self.seed,
            self.args.connections,
            HumanCount(tally.most_waiting()),
        ))?;
        if self.is_stopped {
            output.line(output.paint(Tone::Caution, "stopped before its end"))?;
        }
        if self.unsent() > 0 {
            let text = format!("{} requests were not sent: their times are missing below", HumanCount(self.unsent()));
            output.line(output.paint(Tone::Caution, &text))?;
        }
        if tally.nothing_to_report() > 0 {
            let count = HumanCount(tally.nothing_to_report());
            output.line(format!("reports for which no device had an offer, so that one asked instead: {count}"))?;
        }
        let first = HumanCount(self.progress.devices.first_check_ins());
        output
            .line(format!("check-ins that were the first of their device, which the service writes down: {first}"))?;
        output.line("")
    }

    fn show_times(&self, output: &Output) -> CommandResult {
        let header = ["milliseconds", "count", "min", "p50", "p90", "p99", "p99.9", "max"];
        let mut shown = table(&header, &[1, 2, 3, 4, 5, 6, 7]);
        for (kind, row) in self.progress.tally.rows().filter(|(_, row)| row.answered() > 0) {
            if self.pace.per_s().is_some() {
                shown.add_row(times_row(&format!("{}, since it was due", kind.name()), row, &row.since_due));
            }
            shown.add_row(times_row(&format!("{}, since it was sent", kind.name()), row, &row.since_sent));
        }
        output.table(&shown)?;
        output.line("")
    }

    fn show_answers(&self, output: &Output) -> CommandResult {
        let mut shown = table(&["request", "answer", "count"], &[2]);
        for (kind, row) in self.progress.tally.rows() {
            for (answer, count) in &row.answers {
                shown.add_row([kind.name().to_owned(), clean(answer), HumanCount(*count).to_string()]);
            }
        }
        output.table(&shown)?;
        output.line("")
    }

    fn show_errors(&self, output: &Output) -> CommandResult {
        let failures = self.progress.tally.failures();
        if failures.is_empty() {
            return output.line("no errors");
        }
        let mut shown = table(&["error", "count", "the first of them"], &[1]);
        for (name, Failure { count, first }) in failures {
            shown.add_row([clean(name), HumanCount(*count).to_string(), clean(first.sentence())]);
        }
        output.table(&shown)?;
        output.line("")
    }

    fn show_limits(&self, output: &Output) -> CommandResult {
        let findings = self.findings();
        if !findings.is_empty() {
            output.line("")?;
            let mut shown = table(&["update", "limit", "allowed", "the service said", "the fleet saw"], &[2, 3, 4]);
            let count = |number: Option<u64>| number.map_or("-".to_owned(), |number| HumanCount(number).to_string());
            for finding in &findings {
                let (service, fleet) = (count(finding.service), count(finding.fleet));
                let allowed = count(Some(finding.allowed));
                shown.add_row([clean(&finding.version), finding.name().to_owned(), allowed, service, fleet]);
            }
            output.table(&shown)?;
            output.line("")?;
        }
        match &self.watcher {
            None => output.line("no operator key or --profile: the service was not asked about its limits")?,
            Some(watcher) => {
                let updates = watcher.updates().values();
                for watched in updates.filter(|watched| watched.state() != "active") {
                    let state = output.paint_state(&clean(watched.state()));
                    output.line(format!("{} is now {state}", clean(watched.version())))?;
                }
                output.line(format!("looked at the live updates {} times", HumanCount(watcher.looks())))?;
            }
        }
        match findings.iter().any(Finding::is_violation) {
            true => Ok(()),
            false if findings.is_empty() => output.line("no limit was there to be checked"),
            false => output.line(output.paint(Tone::Good, "no limit was exceeded")),
        }
    }
}

fn row_document(row: &Row) -> Value {
    let times = |times: &Times| -> Map<String, Value> {
        times.milliseconds().into_iter().map(|(name, milliseconds)| (name.to_owned(), json!(milliseconds))).collect()
    };
    json!({
        "answered": row.answered(),
        "failed": row.failed,
        "answers": row.answers,
        "since_due_ms": times(&row.since_due),
        "since_sent_ms": times(&row.since_sent),
    })
}

fn times_row(name: &str, row: &Row, times: &Times) -> Vec<String> {
    let milliseconds = times.milliseconds().into_iter().map(|(_, milliseconds)| format!("{milliseconds:.1}"));
    [name.to_owned(), HumanCount(row.answered()).to_string()].into_iter().chain(milliseconds).collect()
}
