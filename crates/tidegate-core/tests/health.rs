//! Promise of the health gate in simulated rollouts, compared with the threshold rules of other services.
//!
//! There are 20,000 rollouts of 10,000 devices at each true failure rate. "stopped" is the share of rollouts that a rule
//! stopped. The numbers are the devices that had finished by then, at the median and at the 95th percentile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dice;

use dice::Dice;
use tidegate_core::count::Counts;
use tidegate_core::health::{HealthGate, Ruling};

const ROLLOUTS: usize = 20_000;
const DEVICES: u64 = 10_000;
/// Number of finished devices from which the AWS rule decides.
const FIRST_LOOK: u64 = 20;

/// Number of devices that succeed before the next one fails.
fn successes_before_a_failure(dice: &mut Dice, rate: f64) -> u64 {
    if rate >= 1.0 { 0 } else { ((1.0 - dice.roll()).ln() / (1.0 - rate).ln()) as u64 }
}

/// Rule that decides after every failure from the counts so far; `true` stops the rollout.
type Rule = fn(failures: u64, finished: u64) -> bool;

fn ours(failures: u64, finished: u64) -> bool {
    let counts = Counts { failed: failures, succeeded: finished - failures, ..Counts::default() };
    HealthGate::default().judge(&counts).ruling == Ruling::Abort
}

/// Rule of AWS IoT Jobs: a share of the finished devices, from a minimum number of them.
fn five_percent_after_20(failures: u64, finished: u64) -> bool {
    finished >= 20 && failures * 100 >= finished * 5
}

/// Rule of hawkBit: more than a share of the whole group.
fn five_percent_of_the_group(failures: u64, _: u64) -> bool {
    failures * 100 > DEVICES * 5
}

/// Numbers of finished devices at which a rule stops rollouts with a true failure `rate`, in ascending order. Rollouts
/// that it does not stop are left out.
fn stops(rule: Rule, rate: f64) -> Vec<u64> {
    let mut dice = Dice::new(7);
    let mut stopped = Vec::new();
    for _ in 0..ROLLOUTS {
        let (mut failures, mut finished) = (0_u64, 0_u64);
        loop {
            let next = finished + successes_before_a_failure(&mut dice, rate) + 1;
            // Between failures a share only falls. So a rule can stop only after a failure, or when the minimum number of
            // devices has finished.
            if finished < FIRST_LOOK && next > FIRST_LOOK && rule(failures, FIRST_LOOK) {
                stopped.push(FIRST_LOOK);
                break;
            }
            finished = next;
            if finished > DEVICES {
                break;
            }
            failures += 1;
            if rule(failures, finished) {
                stopped.push(finished);
                break;
            }
        }
    }
    stopped.sort_unstable();
    stopped
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

#[test]
fn the_rule_keeps_its_promise_where_threshold_rules_do_not() {
    let rules: [(&str, Rule); 3] = [
        ("this health rule (1 %, 99 %)", ours),
        ("at least 5 % after 20", five_percent_after_20),
        ("more than 5 % of the group", five_percent_of_the_group),
    ];
    let rates = [0.01, 0.02, 0.05, 0.10, 0.30, 1.0];
    println!(
        "{:<30} {}",
        "stopped, median / 95th",
        rates.map(|rate| format!("{:>19}", format!("{} %", rate * 100.0))).concat()
    );
    let mut table = Vec::new();
    for (name, rule) in rules {
        let row = rates.map(|rate| stops(rule, rate));
        let cells = row.each_ref().map(|stopped| {
            let share = stopped.len() as f64 * 100.0 / ROLLOUTS as f64;
            format!("{:>19}", format!("{share:.1} %, {}/{}", percentile(stopped, 50), percentile(stopped, 95)))
        });
        println!("{name:<30} {}", cells.concat());
        table.push(row);
    }
    let share = |stopped: &Vec<u64>| stopped.len() as f64 / ROLLOUTS as f64;
    let [at_1, at_2, at_5, _, _, fatal] = &table[0];
    assert!(share(at_1) <= 0.01, "false stops: {}", share(at_1));
    assert!(share(at_2) > 0.99, "twice the tolerated rate is found out in time: {}", share(at_2));
    assert_eq!(at_5.len(), ROLLOUTS);
    assert!(percentile(at_5, 95) <= 400, "{}", percentile(at_5, 95));
    assert_eq!((percentile(fatal, 0), percentile(fatal, 100)), (3, 3), "a fatal update costs three devices");
    // The other rules, so that the comparison above is tested too.
    assert!(share(&table[1][0]) > 0.15, "it stops healthy rollouts");
    assert!(percentile(&table[2][5], 50) > 500, "it waits for 501 dead devices");
}
