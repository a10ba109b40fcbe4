//! Decides one case again and again, so that `benches/instructions.sh` can count instructions.
//!
//! `decision_instructions <case> <updates> <iterations>`: the difference between two numbers of
//! iterations is the cost of the decisions alone, without start-up and without building the catalog.

#[path = "../benches/fleet/mod.rs"]
mod fleet;

use std::hint::black_box;
use std::process::ExitCode;

use tidegate_core::policy::{Candidate, Policy, Slots};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers = |text: &String| text.parse::<u64>().ok();
    if let [case, updates, iterations] = arguments.as_slice()
        && let (Some(updates), Some(iterations)) = (numbers(updates), numbers(iterations))
        && run(case, updates, iterations)
    {
        return ExitCode::SUCCESS;
    }
    eprintln!("usage: decision_instructions <case> <updates> <iterations>");
    eprintln!("cases: {} policy_compile policy_evaluate", fleet::CASES.join(" "));
    ExitCode::from(2)
}

/// Whether there is such a case. The policy's cases are about one policy, whatever `updates` says.
fn run(case: &str, updates: u64, iterations: u64) -> bool {
    match case {
        "policy_compile" => {
            for _ in 0..iterations {
                let compiled = Policy::parse(black_box(fleet::POLICY), &mut Slots::new());
                assert!(black_box(compiled).is_ok());
            }
        }
        "policy_evaluate" => evaluate(iterations),
        _ => {
            let Some(question) = fleet::Question::new(case, updates) else {
                return false;
            };
            for _ in 0..iterations {
                black_box(black_box(&question).decide());
            }
        }
    }
    true
}

fn evaluate(iterations: u64) {
    let mut slots = Slots::new();
    let policy = Policy::parse(fleet::POLICY, &mut slots).expect("the policy of the fleet");
    let device = fleet::device("1.2.3", "eu");
    let facts = slots.bind(&device.version, &device.attributes);
    let candidate = Candidate { new_version: &tidegate_core::Version::new(2, 0, 0), cohort: &|| 0 };
    for _ in 0..iterations {
        black_box(black_box(&policy).evaluate(&facts, &candidate));
    }
}
