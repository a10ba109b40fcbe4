//! Searches every order of check-ins, reports, the sweep and operators, within bounds, for a broken promise; and shows
//! that the search detects the mutants.
//!
//! `TIDEGATE_MODEL=full` widens the bounds from about a minute to several.

mod model;

use std::collections::HashSet;
use std::time::Instant;

use stateright::{Checker, Model};

use model::change::ChangeKind;
use model::design::{Design, Guard};
use model::promises;
use model::rows::End;
use model::scope::Scope;
use model::{Rollout, Step, World};

const BOTH_ENDS: &[End] = &[End::Success, End::Failure];

/// Three devices and two places, one in each shard, with two requests at the same time.
const CLAIMS: Scope = Scope {
    devices: 3,
    max_devices: 2,
    max_in_flight: 2,
    max_per_period: 2,
    period_ticks: 2,
    max_attempts: 2,
    last_tick: 3,
    most_requests: 2,
    most_requests_of_a_device: 2,
    ends: BOTH_ENDS,
    changes: &[],
    most_changes: 0,
    most_operators: 0,
    catalog_age: 0,
};

/// Two changes at the same time, while a device checks in.
const OPERATORS: Scope = Scope {
    devices: 2,
    last_tick: 0,
    most_requests: 1,
    ends: &[],
    changes: &[ChangeKind::Pause, ChangeKind::Resume, ChangeKind::Abort, ChangeKind::Limit(1), ChangeKind::Repair],
    most_changes: 2,
    most_operators: 2,
    catalog_age: 1,
    ..CLAIMS
};

/// One change after another, with two requests at the same time that have old and new catalogs.
const FENCES: Scope = Scope { most_requests: 2, most_operators: 1, ..OPERATORS };

/// Limits are split again at the end of a period, and the clocks differ.
const TURN: Scope = Scope {
    devices: 3,
    max_devices: 4,
    max_in_flight: 4,
    period_ticks: 1,
    last_tick: 1,
    most_requests: 1,
    changes: &[ChangeKind::Limit(4)],
    most_changes: 2,
    most_operators: 1,
    catalog_age: 0,
    ..OPERATORS
};

fn is_full() -> bool {
    std::env::var("TIDEGATE_MODEL").is_ok_and(|bounds| bounds == "full")
}

/// Searches `scope` completely and fails with a trace if a promise is broken.
#[expect(clippy::disallowed_methods, reason = "the test prints the duration of a search")]
fn holds(what: &str, scope: Scope, design: Design) {
    let begun = Instant::now();
    let search = Rollout { scope, design }.checker().threads(2).spawn_bfs().join();
    println!(
        "{what}: {} states, {} of them different, {} steps deep, {:.0?}",
        search.state_count(),
        search.unique_state_count(),
        search.max_depth(),
        begun.elapsed()
    );
    for (promise, path) in search.discoveries() {
        if search.model().property(promise).expectation.discovery_is_failure() {
            println!("broken: {promise}");
            for step in path.into_actions() {
                println!("  {step:?}");
            }
        }
    }
    search.assert_properties();
}

/// Searches breadth first until `promise` is broken, and prints the shortest trace. The checker's own trace is not the
/// shortest.
fn is_found_out(design: Design, scope: Scope, promise: &'static str) {
    let model = Rollout { scope, design };
    let property = model.property(promise);
    let mut worlds: Vec<(World, Option<(usize, Step)>)> = model.init_states().into_iter().map(|w| (w, None)).collect();
    let mut seen: HashSet<World> = worlds.iter().map(|(world, _)| world.clone()).collect();
    let mut place = 0;
    while place < worlds.len() {
        let world = worlds[place].0.clone();
        if !(property.condition)(&model, &world) {
            return print_way(design, promise, &worlds, place);
        }
        let mut steps = Vec::new();
        model.actions(&world, &mut steps);
        for step in steps {
            if let Some(next) = model.next_state(&world, step.clone())
                && seen.insert(next.clone())
            {
                worlds.push((next, Some((place, step))));
            }
        }
        place += 1;
    }
    panic!("{design:?} must break \"{promise}\", and did not in {} states", worlds.len());
}

fn print_way(design: Design, promise: &str, worlds: &[(World, Option<(usize, Step)>)], broken: usize) {
    let mut steps = Vec::new();
    let mut place = broken;
    while let Some((before, step)) = &worlds[place].1 {
        steps.push(step);
        place = *before;
    }
    println!("{design:?} breaks \"{promise}\" in {} steps:", steps.len());
    for step in steps.iter().rev() {
        println!("  {step:?}");
    }
}

#[test]
fn the_promises_hold_whatever_devices_and_functions_do() {
    // Two devices and one place in the short run; three devices and two places take 47 s.
    let scope = if is_full() { CLAIMS } else { Scope { devices: 2, max_devices: 1, ..CLAIMS } };
    holds("claims", scope, Design::AsBuilt);
}

#[test]
fn the_promises_hold_whatever_operators_do() {
    holds("operators", OPERATORS, Design::AsBuilt);
}

#[test]
fn the_promises_hold_whatever_catalog_a_function_has() {
    let scope = if is_full() { Scope { most_changes: 3, ..FENCES } } else { FENCES };
    holds("fences", scope, Design::AsBuilt);
}

/// A defect of an earlier version of the code, which the model found.
#[test]
fn a_late_clock_overshoots_a_past_period_after_limits_were_split_twice() {
    is_found_out(Design::Without(Guard::SplitOpensItsPeriod), TURN, promises::RATE);
}

#[test]
fn a_split_that_opens_its_period_on_every_shard_keeps_the_rate() {
    holds("turn of a period", TURN, Design::AsBuilt);
}

#[test]
fn check_then_act_gives_too_many_slots() {
    is_found_out(Design::CheckThenAct, CLAIMS, promises::LIMIT);
}

#[test]
fn read_insert_increment_gives_too_many_slots_and_counts_wrong() {
    is_found_out(Design::ReadInsertIncrement, CLAIMS, promises::LIMIT);
    is_found_out(Design::ReadInsertIncrement, CLAIMS, promises::USED_AT_REST);
}

#[test]
fn counter_first_with_blind_undo_counts_below_the_claims_and_gives_too_many_slots() {
    is_found_out(Design::CounterFirstBlindUndo, CLAIMS, promises::USED_AT_REST);
    is_found_out(Design::CounterFirstBlindUndo, CLAIMS, promises::LIMIT);
}

#[test]
fn counter_first_with_leak_counts_above_the_claims() {
    is_found_out(Design::CounterFirstLeak, CLAIMS, promises::USED_AT_REST);
}

#[test]
fn without_the_margin_an_expired_claim_has_a_live_url() {
    is_found_out(Design::Without(Guard::UrlMargin), CLAIMS, promises::NO_LIVE_URL);
}

#[test]
fn an_abort_on_the_record_alone_does_not_stop_a_function_with_an_old_catalog() {
    is_found_out(Design::Without(Guard::ShardsAreFenced), FENCES, promises::STOPPED);
}

#[test]
fn without_gate_and_generation_a_pause_stops_nothing() {
    is_found_out(Design::Without(Guard::GateAndGeneration), FENCES, promises::STOPPED);
}

#[test]
fn without_the_generation_a_grant_is_decided_on_a_definition_that_is_over() {
    is_found_out(Design::Without(Guard::GenerationIsOurs), FENCES, promises::IN_FORCE);
}

#[test]
fn without_the_gate_a_shard_grants_by_its_old_cap_while_limits_change() {
    is_found_out(Design::Without(Guard::GateIsOpen), FENCES, promises::LIMIT);
}

#[test]
fn a_failure_without_the_condition_on_its_claim_counts_twice() {
    is_found_out(Design::Without(Guard::SettledClaimIsAsRead), CLAIMS, promises::COUNTED_ONCE);
}

#[test]
fn every_other_condition_is_missed_when_it_is_gone() {
    let crowded = Scope { max_devices: 3, max_in_flight: 2, ..CLAIMS };
    let rated = Scope { max_devices: 3, max_in_flight: 3, ..CLAIMS };
    is_found_out(Design::Without(Guard::RoomForADevice), CLAIMS, promises::LIMIT);
    is_found_out(Design::Without(Guard::RoomInFlight), crowded, promises::MAX_IN_FLIGHT);
    is_found_out(Design::Without(Guard::RoomInThePeriod), rated.clone(), promises::RATE);
    is_found_out(Design::Without(Guard::PeriodOnlyForward), rated, promises::RATE);
    is_found_out(Design::Without(Guard::ClaimIsNew), CLAIMS, promises::ONE_CLAIM);
    is_found_out(Design::Without(Guard::ClaimIsTheLapsedOne), CLAIMS, promises::IN_FLIGHT);
    is_found_out(Design::Without(Guard::RecordIsAsRead), OPERATORS, promises::STOPPED);
    is_found_out(Design::Without(Guard::ShardIsNotLater), OPERATORS, promises::IN_FORCE);
}
