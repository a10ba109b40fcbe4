//! Conditions that are safe to remove, each alone.

use crate::model::mutants::Mutant::*;
use crate::model::promises::{ALL, Promise};
use crate::model::scope;
use crate::search::is_safe;

#[test]
fn released_from_the_claim_is_right_while_nothing_is_forgotten() {
    is_safe(scope::MOVE, &[ReleasedFromClaim], ALL);
}

#[test]
fn the_bucket_is_not_needed_for_the_counts() {
    is_safe(scope::LOST, &[BucketNotCompared], ALL);
}

#[test]
fn a_stop_may_take_the_generation_of_the_edit() {
    is_safe(scope::BOTH, &[StopOfSameGeneration], ALL);
}

#[test]
fn an_opening_need_not_compare_the_gate() {
    is_safe(scope::DOWN1, &[OpenOfAnyGate], ALL);
}

#[test]
fn tallies_may_be_read_before_the_shards_are_shut() {
    is_safe(scope::DOWN1, &[TalliesReadBeforeShut], ALL);
}

#[test]
fn tallies_may_be_read_eventually() {
    is_safe(scope::FAIL1, &[TalliesReadEventually], ALL);
}

#[test]
fn a_grant_of_another_generation_keeps_the_counts() {
    is_safe(scope::DOWNS, &[GrantOfAnyGeneration], ALL);
}

#[test]
fn a_grant_of_another_generation_ends_with_a_stop() {
    is_safe(scope::BOTH, &[GrantOfAnyGeneration], ALL);
}

#[test]
fn without_edits_the_sweep_need_not_raise() {
    is_safe(scope::FAIL1, &[NoSweepRaise], ALL);
}

#[test]
fn the_sweep_raises_what_an_early_acknowledgement_left() {
    is_safe(scope::FAIL0, &[AckBeforeCeilings], ALL);
}

#[test]
fn the_age_of_a_check_in_is_not_needed_when_the_head_is_checked_again() {
    is_safe(scope::HEAD, &[CheckInAge], ALL);
}

#[test]
fn a_longer_wait_covers_a_head_that_is_not_checked_again() {
    is_safe(scope::HEAD_DEADLINE, &[HeadAgeAtSigning], ALL);
}

#[test]
fn a_late_opening_of_a_former_generation_gives_no_place_away() {
    is_safe(scope::DOWN1, &[OpenOfAnyGeneration], &[Promise::Places, Promise::Ceiling]);
}

#[test]
fn an_old_head_at_the_signing_is_never_that_of_a_later_check_in() {
    is_safe(scope::HEAD, &[HeadAgeAtSigning], &[Promise::UrlToLateCheckIn]);
}

#[test]
fn a_repair_may_keep_its_number_while_nothing_is_forgotten() {
    is_safe(scope::REPAIR, &[RepairTakesANewNumber], &[Promise::Places, Promise::Ceiling]);
}

#[test]
fn a_ceiling_raised_although_a_change_is_wanted_gives_no_place_away() {
    const OTHERS: &[Promise] = &[
        Promise::Places,
        Promise::Ceiling,
        Promise::Counts,
        Promise::NoPlaceLeaks,
        Promise::NoGrantAfterStop,
        Promise::StopIsKept,
        Promise::Judged,
    ];
    for scope in [scope::DOWN1, scope::RESUME, scope::VERDICT_PAUSE] {
        is_safe(scope, &[NoRaiseWhileWanted], OTHERS);
    }
}
