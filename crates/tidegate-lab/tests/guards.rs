//! Every condition of the storage protocol is taken away once, and somebody notices.

use tidegate_lab::simulator::invariant::Invariant;
use tidegate_lab::simulator::simulation::try_run;
use tidegate_lab::simulator::{Guard, Plan};

/// Check-ins until a missing condition must have shown.
const CHECK_INS: u64 = 500_000;

fn check(guard: Guard, expected: &[Invariant]) {
    check_amid_faults(guard, None, expected);
}

fn check_amid_faults(guard: Guard, faults_per_mille: Option<u64>, expected: &[Invariant]) {
    let plan = Plan { without: Some(guard), faults_per_mille, ..Plan::new(1, CHECK_INS) };
    let mut check_ins = 0;
    let violation = try_run(plan, |so_far| check_ins = so_far).expect_err("a promise breaks without it");
    println!("{guard:?}: {:?} after {check_ins} check-ins: {violation}", violation.invariant);
    assert!(expected.contains(&violation.invariant), "{guard:?}: {violation}");
}

#[test]
fn a_claim_that_is_put_over_another_is_noticed() {
    check(Guard::ClaimIsNew, &[Invariant::OneClaim]);
}

#[test]
fn a_renewal_of_a_claim_that_moved_on_is_noticed() {
    check(Guard::ClaimIsTheOneThatLapsed, &[Invariant::OneClaim]);
}

#[test]
fn a_shard_that_does_not_look_at_its_cap_is_noticed() {
    check(Guard::Devices, &[Invariant::MaxDevices]);
}

#[test]
fn a_shard_that_does_not_look_at_what_is_in_flight_is_noticed() {
    check(Guard::InFlight, &[Invariant::MaxInFlight]);
}

#[test]
fn a_shard_that_does_not_look_at_its_period_is_noticed() {
    check(Guard::Period, &[Invariant::MaxPerPeriod]);
}

#[test]
fn a_gate_that_does_not_shut_is_noticed() {
    // It takes a change that is cut off and a repair that fails: until then nobody knows the generation that is shut.
    check_amid_faults(
        Guard::Gate,
        Some(150),
        &[Invariant::CurrentGeneration, Invariant::MaxDevices, Invariant::MaxInFlight, Invariant::MaxPerPeriod],
    );
}

#[test]
fn a_grant_for_a_former_generation_is_noticed() {
    check(Guard::Generation, &[Invariant::CurrentGeneration]);
}

#[test]
fn a_claim_that_is_settled_twice_is_noticed() {
    check(Guard::SettleOnce, &[Invariant::OutcomesOnce]);
}

#[test]
fn a_stop_that_shuts_no_shard_is_noticed() {
    check(Guard::Fence, &[Invariant::NoGrantAfterStop, Invariant::CurrentGeneration]);
}
