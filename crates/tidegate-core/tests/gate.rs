//! The gate over simulated rollouts: how often it holds an update that is as good as tolerated, and a worse one.

mod dice;

use dice::Dice;
use tidegate_core::gate::{Gate, Outcomes, THRESHOLD, evidence};

const TOLERATED: f64 = 0.01;
/// Failures are told at once, successes a day later, as by devices that say nothing until their next check-in.
const SUCCESS_AFTER_H: usize = 24;

/// Outcomes of a rollout at a failure.
#[derive(Clone, Copy)]
struct Seen {
    granted: u64,
    failed: u64,
    finished: u64,
}

/// Plays a rollout; returns true if `holds` ever says so. Places are taken at the start of an hour, and free when the
/// outcome is told.
fn is_held(devices: u64, places: usize, rate: f64, seed: u64, holds: impl Fn(Seen) -> bool) -> bool {
    let mut dice = Dice::new(seed);
    let mut successes = [0_usize; SUCCESS_AFTER_H];
    let mut seen = Seen { granted: 0, failed: 0, finished: 0 };
    for hour in 0.. {
        let slot = hour % SUCCESS_AFTER_H;
        seen.finished += std::mem::take(&mut successes[slot]) as u64;
        let in_flight = successes.iter().sum::<usize>();
        let mut free = places - in_flight;
        while free > 0 && seen.granted < devices {
            seen.granted += 1;
            if dice.falls(rate) {
                (seen.failed, seen.finished) = (seen.failed + 1, seen.finished + 1);
                if holds(seen) {
                    return true;
                }
            } else {
                successes[slot] += 1;
                free -= 1;
            }
        }
        if seen.granted == devices && successes.iter().all(|count| *count == 0) {
            return false;
        }
    }
    false
}

fn by_gate(seen: Seen) -> bool {
    let count = |number: u64| i64::try_from(number).expect("small numbers");
    let outcomes = Outcomes { granted: count(seen.granted), failed: count(seen.failed), ..Outcomes::default() };
    Gate::default().judge(&outcomes, None).hold().is_some()
}

/// The rule of the first edition, with the evidence of this one.
fn by_finished(seen: Seen) -> bool {
    seen.failed >= 3 && evidence(seen.failed, seen.finished, TOLERATED) >= THRESHOLD
}

/// Held rollouts in a thousand.
fn held(runs: u64, devices: u64, places: usize, rate: f64, holds: impl Fn(Seen) -> bool) -> u64 {
    let held = (0..runs).filter(|seed| is_held(devices, places, rate, *seed, &holds)).count();
    held as u64 * 1000 / runs
}

#[test]
fn failures_that_are_told_first_do_not_hold_a_good_update() {
    let table = [0.010, 0.005, 0.003]
        .map(|rate| (held(400, 2000, 500, rate, by_gate), held(400, 2000, 500, rate, by_finished)));
    println!("held in a thousand at 1.0, 0.5 and 0.3 %, divided by granted and by finished: {table:?}");
    for (granted, finished) in table {
        assert!(granted <= 5, "at most 0.5 %, but for chance: {granted} of 1000");
        assert!(finished >= 100, "dividing by those that are done is noticed: {finished} of 1000");
    }
}

#[test]
fn the_share_of_rollouts_that_are_held_is_that_of_the_design() {
    let table =
        [0.010, 0.015, 0.020].map(|rate| [100, 1000, 10_000].map(|devices| held(200, devices, 500, rate, by_gate)));
    println!("held in a thousand at 1.0, 1.5 and 2.0 %, of 100, 1,000 and 10,000 devices: {table:?}");
    assert!(table[0].iter().all(|held| *held <= 10), "as tolerated: {table:?}");
    assert!((700..=950).contains(&table[1][2]), "1.5 % of 10,000: 84 % in 4,000 runs: {table:?}");
    assert!((150..=400).contains(&table[2][1]), "2 % of 1,000: 26 % in 4,000 runs: {table:?}");
    assert!(table[2][2] >= 990, "2 % of 10,000: all: {table:?}");
}
