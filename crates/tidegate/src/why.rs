//! `tidegate why`: the receipt of a decision, as text.

use std::fmt::Write;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{self, Output, Tone, clean};
use crate::{time, update};
use tidegate_wire::operator::{ClauseVerdict, ConsideredUpdate, Receipt};
use tidegate_wire::route::PublishRoute;

/// Options of `tidegate why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Id of the device
    pub device: String,
    /// Time of the decision, if not now: 2026-01-02T03:04:05Z, or "2026-01-02 03:04" local time
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub at: Option<Timestamp>,
}

/// Shows the receipt.
pub fn run(args: WhyArgs, common: &Common, output: &Output) -> CommandResult {
    let at = args.at.map(|at| at.to_string());
    let path = ApiPath::device(PublishRoute::Why, common.product()?, &args.device).with("at", at.as_deref());
    let document = common.operator()?.get(&path)?;
    output.document(&document)?;
    let receipt: Receipt = update::read(&document, "receipt")?;
    output.line(text(&receipt, output).trim_end())
}

/// The receipt as a person reads it: the answer first, then update by update.
fn text(receipt: &Receipt, output: &Output) -> String {
    let mut text = format!(
        "{} of {} runs {}, at {}\n",
        output.paint(Tone::Strong, &clean(receipt.device.as_str())),
        clean(receipt.product.as_str()),
        clean(&receipt.version),
        time::show_at(receipt.at)
    );
    let answer = match &receipt.offer {
        Some(offer) => {
            let line = format!("is offered {} (update {})", clean(&offer.version), clean(offer.update.as_str()));
            output.paint(Tone::Good, &line)
        }
        None => output.paint(Tone::Caution, "is offered nothing"),
    };
    push(&mut text, format_args!("{answer}"));
    if let Some(opens_at) = receipt.opens_at {
        push(&mut text, format_args!("the answer can change at {}", time::show_at(opens_at)));
    }
    text.push('\n');
    // With updates listed below, the sentence would only repeat them.
    if receipt.considered.is_empty() {
        push(&mut text, format_args!("{}", clean(&receipt.sentence)));
    }
    let width = receipt.considered.iter().map(|considered| clean(&considered.version).len()).max().unwrap_or(0);
    for considered in &receipt.considered {
        push_considered(&mut text, considered, width, output);
    }
    text
}

fn push_considered(text: &mut String, considered: &ConsideredUpdate, width: usize, output: &Output) {
    let version = output.paint(Tone::Strong, &format!("{:<width$}", clean(&considered.version)));
    match &considered.objection {
        None => push(text, format_args!("{version}  {}", output.paint(Tone::Good, "nothing objects"))),
        Some(objection) => {
            let code = output.paint(Tone::Caution, &clean(&objection.code));
            push(text, format_args!("{version}  {} ({code})", clean(&objection.sentence)));
            if let Some(opens_at) = objection.opens_at {
                push(text, format_args!("    opens at {}", time::show_at(opens_at)));
            }
        }
    }
    for clause in &considered.clauses {
        let word = format!("{:<7}", clause.verdict.word());
        let tone = match clause.verdict {
            ClauseVerdict::Yes => Tone::Good,
            ClauseVerdict::No => Tone::Bad,
            ClauseVerdict::Unknown | ClauseVerdict::Unclear => Tone::Caution,
        };
        let verdict = output.paint(tone, &word);
        let values = values(&clause.values);
        push(text, format_args!("    {verdict}  {}{values}", clean(&clause.text)));
    }
}

/// `  [memory = 512, region not given]`
fn values(values: &Map<String, Value>) -> String {
    if values.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = values
        .iter()
        .map(|(name, value)| match value {
            Value::Null => format!("{} not given", clean(name)),
            Value::String(text) => format!("{} = \"{}\"", clean(name), clean(text)),
            other => format!("{} = {}", clean(name), output::plain(other)),
        })
        .collect();
    format!("  [{}]", shown.join(", "))
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Reader;

    #[test]
    fn a_receipt_reads_from_the_answer_to_its_reasons() {
        let document = json!({
            "device": "lamp-17", "product": "lamp", "version": "1.4.0", "at": "2026-01-02T03:04:05Z",
            "offer": {"version": "2.0.0", "update": "u2"}, "reason": "offer", "opens_at": null,
            "sentence": "2.0.0 is the newest update that nothing objects to",
            "considered": [
                {"version": "3.0.0", "update": "u3", "state": "active",
                 "objection": {"code": "not_targeted", "sentence": "the policy says no", "opens_at": null},
                 "clauses": [
                    {"text": "region == \"eu\"", "verdict": "no", "values": {"region": "us\u{1b}[2J"}},
                    {"text": "memory >= 256", "verdict": "unknown", "values": {"memory": null}}]},
                {"version": "2.0.0", "update": "u2", "state": "active", "objection": null, "clauses": []}
            ]
        });
        let receipt: Receipt = update::read(&document, "receipt").expect("a good receipt");
        let at = time::show_at(receipt.at);
        let expected = format!(
            "lamp-17 of lamp runs 1.4.0, at {at}\n{}",
            "\
is offered 2.0.0 (update u2)

3.0.0  the policy says no (not_targeted)
    no       region == \"eu\"  [region = \"us\\u{1b}[2J\"]
    unknown  memory >= 256  [memory not given]
2.0.0  nothing objects
"
        );
        // A program's output has no colours, wherever the test runs.
        assert_eq!(text(&receipt, &Output::new(Reader::Program)), expected);
    }
}
