//! `tidegate policy`: checks a policy, or evaluates it on a device, with the rules of the service.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use semver::Version;
use serde_json::{Value, json};
use tidegate_core::attributes::Value as Attribute;
use tidegate_core::policy::{Candidate, Clause, Doubt, Policy, Slots, Truth};

use crate::error::{CommandError, CommandResult};
use crate::output::{Output, Tone, clean};

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check that a policy is valid
    Check {
        /// The policy
        #[arg(value_name = "EXPR", required_unless_present = "file", conflicts_with = "file")]
        policy: Option<String>,
        /// File that holds the policy
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Evaluate a policy on a device, clause by clause
    Eval(EvalArgs),
}

/// Options of `tidegate policy eval`.
#[derive(Debug, Args)]
#[command(override_usage = "tidegate policy eval <EXPR|--file FILE> <DEVICE.json> [OPTIONS]")]
pub struct EvalArgs {
    /// The policy (unless --file is given), then the device.json of the device
    #[arg(value_name = "EXPR DEVICE.json", required = true, num_args = 1..=2)]
    pub subject: Vec<String>,
    /// File that holds the policy
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Version that the device would get [default: the device's next patch version]
    #[arg(long, value_name = "VERSION")]
    pub new_version: Option<Version>,
    /// The device's place in the rollout, for policies that mention `cohort`
    #[arg(long, value_name = "0..9999", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=9999))]
    pub cohort: u16,
}

/// Runs one of the commands.
pub fn run(command: PolicyCommand, output: &Output) -> CommandResult {
    match command {
        PolicyCommand::Check { policy, file } => check(&policy_text(policy.as_deref(), file.as_deref())?, output),
        PolicyCommand::Eval(args) => eval(&args, output),
    }
}

fn policy_text(policy: Option<&str>, file: Option<&Path>) -> CommandResult<String> {
    match (policy, file) {
        (_, Some(path)) => std::fs::read_to_string(path)
            .map(|text| text.trim_end().to_owned())
            .map_err(|cause| CommandError::file("read the policy", path, cause)),
        (Some(text), None) => Ok(text.to_owned()),
        (None, None) => Err(CommandError::usage("give a policy, or a --file that holds one")),
    }
}

fn parse(text: &str, slots: &mut Slots) -> CommandResult<Policy> {
    Policy::parse(text, slots)
        .map_err(|error| CommandError::bad_input(format!("the policy is not understood: {error}")).because(error))
}

fn check(text: &str, output: &Output) -> CommandResult {
    parse(text, &mut Slots::new())?;
    output.document(&json!({"valid": true}))?;
    output.line(output.paint(Tone::Good, "the policy is understood"))
}

fn eval(args: &EvalArgs, output: &Output) -> CommandResult {
    let (policy, device) = match (args.subject.as_slice(), &args.file) {
        ([device], Some(file)) => (policy_text(None, Some(file))?, device),
        ([policy, device], None) => (policy.clone(), device),
        ([_, _], Some(_)) => {
            return Err(CommandError::usage("give the policy or a --file, not both"));
        }
        _ => {
            return Err(CommandError::usage("give the policy, then DEVICE.json"));
        }
    };
    let device = Path::new(device);
    let bytes = std::fs::read(device).map_err(|cause| CommandError::file("read", device, cause))?;
    let explained = explain(&policy, &bytes, device, args)?;
    output.document(&document(&explained))?;
    show(&explained, output)
}

/// Result of a policy for a device, clause by clause.
struct Explained {
    truth: Truth,
    clauses: Vec<Clause>,
}

/// Tries a policy on the device that `file` describes; `device` is its content.
fn explain(policy: &str, device: &[u8], file: &Path, args: &EvalArgs) -> CommandResult<Explained> {
    let bad = |error: tidegate_wire::ApiError| {
        CommandError::bad_input(format!("{}: {}", file.display(), error.message)).because(error)
    };
    let mut slots = Slots::new();
    let policy = parse(policy, &mut slots)?;
    let device = tidegate_wire::device_json::parse(device).map_err(bad)?;
    let version = device.semver().map_err(bad)?;
    let new_version = args
        .new_version
        .clone()
        .unwrap_or_else(|| Version::new(version.major, version.minor, version.patch.saturating_add(1)));
    let facts = slots.bind_unordered(&version, &device.attributes);
    let candidate = Candidate { new_version: &new_version, cohort: &|| args.cohort };
    Ok(Explained { truth: policy.evaluate(&facts, &candidate), clauses: policy.explain(&facts, &candidate) })
}

/// The word for a clause: `unknown` if the device does not send the attribute, `unclear` if it could not be evaluated.
fn verdict(truth: &Truth) -> &'static str {
    match truth {
        Truth::Yes => "yes",
        Truth::No => "no",
        Truth::Unknown(Doubt::Missing(_)) => "unknown",
        Truth::Unknown(Doubt::Unclear(_)) => "unclear",
    }
}

fn document(explained: &Explained) -> Value {
    let clauses: Vec<Value> = explained
        .clauses
        .iter()
        .map(|clause| {
            let values: serde_json::Map<String, Value> = clause
                .values
                .iter()
                .map(|(name, value)| (name.clone(), value.as_ref().map_or(Value::Null, json)))
                .collect();
            json!({"text": clause.text, "verdict": verdict(&clause.truth), "values": values})
        })
        .collect();
    json!({
        "admitted": explained.truth == Truth::Yes,
        "verdict": verdict(&explained.truth),
        "sentence": explained.truth.to_string(),
        "clauses": clauses,
    })
}

fn json(value: &Attribute) -> Value {
    match value {
        Attribute::Bool(value) => json!(value),
        Attribute::Integer(value) => json!(value),
        Attribute::Number(value) => json!(value),
        Attribute::Text(value) => json!(value),
        Attribute::List(values) => values.iter().map(json).collect(),
    }
}

fn show(explained: &Explained, output: &Output) -> CommandResult {
    let sentence = match &explained.truth {
        Truth::Yes => output.paint(Tone::Good, "admitted"),
        Truth::No => output.paint(Tone::Bad, "not admitted"),
        Truth::Unknown(doubt) => {
            let text = format!("not admitted: {}", clean(&doubt.to_string()));
            output.paint(Tone::Caution, &text)
        }
    };
    output.line(sentence)?;
    for clause in &explained.clauses {
        let tone = match clause.truth {
            Truth::Yes => Tone::Good,
            Truth::No => Tone::Bad,
            Truth::Unknown(_) => Tone::Caution,
        };
        let verdict = output.paint(tone, &format!("{:<7}", verdict(&clause.truth)));
        let values: Vec<String> = clause
            .values
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{} = {value}", clean(name)),
                None => format!("{} not given", clean(name)),
            })
            .collect();
        let values = match values.is_empty() {
            true => String::new(),
            false => format!("  [{}]", values.join(", ")),
        };
        output.line(format!("    {verdict}  {}{values}", clean(&clause.text)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &str, expected: Value) {
        let device = br#"{"id":"d1","product":"lamp","version":"1.4.0","memory":"512"}"#;
        let args = EvalArgs { subject: Vec::new(), file: None, new_version: None, cohort: 7 };
        let explained = explain(policy, device, Path::new("device.json"), &args).expect("a good policy and device");
        let document = document(&explained);
        let shown = json!([document.get("verdict"), document.pointer("/clauses/0/values")]);
        assert_eq!(shown, expected, "{policy}");
    }

    #[test]
    fn a_policy_is_tried_with_the_rules_of_the_service() {
        check("memory >= 256", json!(["yes", {"memory": "512"}]));
        check("memory >= 1024", json!(["no", {"memory": "512"}]));
        check("region == \"eu\"", json!(["unknown", {"region": null}]));
        check("cohort < 8", json!(["yes", {"cohort": 7}]));
        check("", json!(["yes", null]));
    }

    #[test]
    fn a_policy_that_is_not_one_says_where() {
        let error = super::check("memory >=", &Output::new(crate::output::Reader::Program));
        let error = error.expect_err("half a policy").to_string();
        assert!(error.starts_with("the policy is not understood: column "), "{error}");
    }
}
