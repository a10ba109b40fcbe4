//! The protocol without one of its conditions: the search finds the promise that breaks.

use crate::model::mutants::Mutant::*;
use crate::model::promises::Promise::*;
use crate::model::scope;
use crate::search::breaks;

// Counting

#[test]
fn a_ceiling_raised_by_the_batch_gives_a_place_twice() {
    breaks(scope::FAIL0, &[CeilingPlusBatch], &[Places], 10);
}

#[test]
fn a_ceiling_raised_by_what_it_lacks_gives_a_place_twice() {
    breaks(scope::FAIL1, &[CeilingPlusMissing], &[Places], 8);
}

#[test]
fn a_ceiling_that_may_fall_leaks_a_place() {
    breaks(scope::FAIL1, &[CeilingMayFall], &[NoPlaceLeaks], 13);
}

#[test]
fn a_late_ceiling_of_a_former_generation_gives_too_many_places() {
    breaks(scope::DOWN1, &[CeilingOfAnyGeneration], &[Places], 12);
}

#[test]
fn a_tally_without_position_counts_a_batch_twice() {
    breaks(scope::FAIL0, &[TallyWithoutPosition], &[Places], 7);
}

#[test]
fn a_position_that_is_not_compared_counts_a_batch_twice() {
    breaks(scope::FAIL1, &[PositionUnchecked], &[Places], 7);
}

#[test]
fn a_release_booked_where_the_claim_is_now_gives_too_many_places() {
    breaks(scope::MOVE0, &[ReleasedWhereTheClaimIs], &[Places], 6);
}

#[test]
fn a_release_counted_again_on_a_move_gives_too_many_places() {
    breaks(scope::MOVE3, &[ReleasedAgainOnMove], &[Places], 7);
}

#[test]
fn a_further_attempt_that_adds_to_used_counts_a_device_twice() {
    breaks(scope::MOVE0, &[RetryUsesAgain], &[UsedIsDevices], 3);
}

#[test]
fn released_as_granted_less_held_gives_too_many_places() {
    breaks(scope::FAIL0, &[ReleasedAsDifference], &[Places], 14);
}

#[test]
fn released_from_the_claim_leaks_at_a_forget() {
    breaks(scope::FORGET, &[ReleasedFromClaim], &[Counts], 2);
}

#[test]
fn a_batch_acknowledged_before_its_ceilings_leaks_a_place() {
    breaks(scope::FAIL0, &[AckBeforeCeilings, NoSweepRaise], &[NoPlaceLeaks], 4);
}

#[test]
fn without_the_sweep_an_edit_leaks_a_place() {
    breaks(scope::DOWN0, &[NoSweepRaise], &[NoPlaceLeaks], 13);
}

#[test]
fn tallies_read_eventually_leak_a_place_without_the_sweep() {
    breaks(scope::FAIL1, &[TalliesReadEventually, NoSweepRaise], &[NoPlaceLeaks], 5);
}

#[test]
fn a_child_read_before_its_parent_counts_below_zero() {
    breaks(scope::SPLIT, &[ChildBeforeParent], &[NotNegative], 5);
}

#[test]
fn a_loss_that_nobody_notices_leaves_wrong_counts() {
    breaks(scope::TRIM, &[LossIsNoticed], &[CountsAtRest], 3);
}

#[test]
fn without_the_headroom_grants_run_ahead_of_the_count() {
    breaks(scope::HEADROOM, &[CountedPlusHeadroom], &[Uncounted], 3);
}

#[test]
fn places_that_grow_with_every_proof_are_too_many() {
    breaks(scope::RAMP, &[RampCountsProved], &[Places], 6);
}

#[test]
fn a_folded_tally_that_is_read_twice_gives_too_many_places() {
    breaks(scope::FOLD, &[FoldedIsSkipped], &[Places], 17);
}

#[test]
fn a_tally_folded_too_early_counts_a_batch_twice() {
    breaks(scope::FOLD, &[FoldWaits], &[Counts], 5);
}

// Claims

#[test]
fn a_write_that_compares_epoch_and_state_puts_a_freed_place_back() {
    breaks(scope::LOST, &[PlaceAndBucketNotCompared], &[Places], 10);
}

#[test]
fn a_write_that_does_not_compare_the_bucket_forgets_a_failure() {
    breaks(scope::LOST1, &[BucketNotCompared], &[FailureStays], 12);
}

#[test]
fn a_lost_device_that_takes_its_place_back_gives_too_many_places() {
    breaks(scope::LOST, &[LostTakesAPlace], &[Places], 9);
}

#[test]
fn a_grant_without_the_epoch_is_given_twice() {
    breaks(scope::LEFT, &[GrantOfAnyEpoch], &[Attempts], 9);
}

#[test]
fn a_first_grant_over_a_claim_counts_a_device_twice() {
    breaks(scope::FAIL1, &[ClaimIsNew], &[UsedIsDevices], 5);
}

#[test]
fn a_first_grant_without_the_revision_repeats_an_epoch() {
    breaks(scope::FORGET_SLOW, &[RevAtGrant], &[Epochs], 6);
}

#[test]
fn a_sweep_that_does_not_compare_seen_loses_a_device_that_was_heard() {
    breaks(scope::SILENT, &[SeenAsReadForLost], &[Heard], 10);
}

// Shards

#[test]
fn a_shard_without_its_cap_gives_too_many_devices() {
    breaks(scope::USED, &[RoomForADevice], &[Devices], 3);
}

#[test]
fn a_shard_without_its_ceiling_gives_too_many_places() {
    breaks(scope::FAIL1, &[RoomUnderCeiling], &[Places], 1);
}

#[test]
fn a_shard_without_its_gate_grants_after_a_stop() {
    breaks(scope::STOP, &[GateIsOpen], &[NoGrantAfterStop], 5);
}

#[test]
fn a_shard_without_its_period_cap_grants_too_fast() {
    breaks(scope::PERIOD, &[RoomInThePeriod], &[Rate], 3);
}

#[test]
fn a_period_that_goes_back_counts_its_grants_twice() {
    breaks(scope::PERIOD, &[PeriodOnlyForward], &[Rate], 8);
}

#[test]
fn an_opening_that_leaves_the_period_grants_too_fast_in_the_last_one() {
    breaks(scope::PERIOD_EDIT, &[OpeningMovesThePeriod], &[Rate], 17);
}

#[test]
fn a_split_for_a_period_that_is_over_grants_too_fast() {
    breaks(scope::PERIOD_EDIT, &[SplitInLatestPeriod], &[Rate], 17);
}

// Judging

#[test]
fn a_count_that_does_not_judge_gives_a_place_on() {
    breaks(scope::VERDICT, &[CountJudges], &[Judged], 8);
}

#[test]
fn a_sweep_that_does_not_judge_gives_a_place_on() {
    breaks(scope::VERDICT, &[SweepJudges], &[Judged], 6);
}

#[test]
fn an_opening_that_does_not_judge_gives_a_place_on() {
    breaks(scope::VERDICT_EDIT, &[OpeningJudges], &[Judged], 11);
}

#[test]
fn a_ceiling_is_raised_although_a_change_is_wanted() {
    breaks(scope::DOWN1, &[NoRaiseWhileWanted], &[NoRaise], 5);
}

// Changes

#[test]
fn shards_read_before_they_are_shut_give_too_many_places() {
    breaks(scope::DOWN1, &[ShardsReadBeforeShut], &[Places], 8);
}

#[test]
fn shards_read_eventually_give_too_many_places() {
    breaks(scope::DOWN1, &[ShardsReadEventually], &[Places], 8);
}

#[test]
fn a_record_that_does_not_compare_the_wish_loses_a_stop() {
    breaks(scope::BOTH, &[RecordOfAnyWish], &[StopIsKept], 6);
}

#[test]
fn a_stop_acknowledged_at_the_first_shard_stops_nothing() {
    breaks(scope::STOP, &[AckAtFirstShard], &[NoGrantAfterStop], 4);
}

#[test]
fn a_late_opening_undoes_a_stop() {
    breaks(scope::BOTHG, &[OpenOfAnyGeneration, OpenOfAnyGate], &[NoGrantAfterStop], 11);
}

#[test]
fn a_late_opening_of_a_former_generation_leaks_places() {
    breaks(scope::DOWN1, &[OpenOfAnyGeneration], &[NoPlaceLeaks], 22);
}

#[test]
fn an_opening_that_keeps_a_ceiling_gives_too_many_places() {
    breaks(scope::DOWN1, &[OpeningKeepsCeiling], &[Places], 7);
}

#[test]
fn an_opening_that_forgets_what_was_released_leaks_a_place() {
    breaks(scope::DOWN1, &[OpeningForgetsReleased, NoSweepRaise], &[NoPlaceLeaks], 13);
}

#[test]
fn an_opening_under_a_product_stop_opens_shards() {
    breaks(scope::PRODUCT, &[OpenUnlessStopped], &[NothingOpensAfterStop], 12);
}

#[test]
fn an_opening_under_a_product_stop_grants() {
    breaks(scope::PRODUCT, &[OpenUnlessStopped], &[NoGrantAfterStop], 13);
}

// Heads and URLs

#[test]
fn a_stop_acknowledged_at_once_meets_an_old_head() {
    breaks(scope::HEAD, &[AckWaits], &[UrlToLateCheckIn], 13);
}

#[test]
fn a_head_of_any_age_offers_after_a_stop() {
    breaks(scope::HEAD, &[HeadAge], &[UrlToLateCheckIn], 15);
}

#[test]
fn a_head_that_is_old_at_the_signing_gives_a_url_after_a_stop() {
    breaks(scope::HEAD, &[HeadAgeAtSigning], &[UrlAfterStop], 14);
}

#[test]
fn a_check_in_without_a_deadline_gives_a_url_after_a_stop() {
    breaks(scope::HEAD_DEADLINE, &[HeadAgeAtSigning, CheckInAge], &[UrlAfterStop], 13);
}

#[test]
fn a_head_whose_age_counts_from_the_reply_offers_after_a_stop() {
    breaks(scope::HEAD, &[HeadAgeFromReply], &[UrlToLateCheckIn], 15);
}

#[test]
fn a_head_without_stops_offers_until_a_catalog_is_compiled() {
    breaks(scope::HEAD, &[HeadCarriesStops], &[UrlToLateCheckIn], 15);
}

#[test]
fn a_compile_that_reads_the_head_last_publishes_an_old_catalog() {
    breaks(scope::HEAD, &[CompileReadsHeadFirst], &[UrlToLateCheckIn], 24);
}

#[test]
fn a_catalog_published_over_any_head_is_an_old_one() {
    breaks(scope::HEAD, &[PublishOnlyAsRead], &[UrlToLateCheckIn], 24);
}

#[test]
fn a_catalog_that_still_offers_ends_the_halt() {
    breaks(scope::HEAD, &[HaltedUntilCatalogAgrees], &[UrlToLateCheckIn], 18);
}

#[test]
fn a_renewal_that_ends_earlier_leaves_a_live_url() {
    breaks(scope::URLS, &[RenewalEndsLater], &[NoLiveUrl], 16);
}

#[test]
fn a_url_without_the_margin_outlives_its_claim() {
    breaks(scope::URLS, &[UrlMargin], &[NoLiveUrl], 9);
}

#[test]
fn a_url_outlives_the_credentials_that_signed_it() {
    breaks(scope::URLS, &[UrlEndsWithCredentials], &[UrlAsTold], 7);
}

// Repair

#[test]
fn a_repair_by_a_plain_scan_counts_a_release_twice() {
    breaks(scope::REPAIR, &[RepairStamps], &[Places], 18);
}

#[test]
fn a_stamped_claim_that_is_left_out_gives_too_many_places() {
    breaks(scope::REPAIR, &[StampedClaimCounts], &[Places], 21);
}

#[test]
fn a_stamp_without_a_reply_that_is_left_out_raises_a_ceiling_too_far() {
    breaks(scope::REPAIR_FORGET, &[UnknownStampBeginsAgain], &[Ceiling], 20);
}

#[test]
fn a_repair_that_begins_again_with_its_number_raises_a_ceiling_too_far() {
    breaks(scope::REPAIR_FORGET, &[RepairTakesANewNumber], &[Ceiling], 21);
}

#[test]
fn a_late_stamp_of_a_former_number_leaks_a_place() {
    breaks(scope::REPAIR, &[StampOnlyForward], &[NoPlaceLeaks], 27);
}

#[test]
fn a_late_number_of_a_shard_spoils_its_counts() {
    breaks(scope::REPAIR, &[ShardNumberOnlyForward], &[Counts], 22);
}

#[test]
fn a_grant_with_a_former_number_spoils_the_counts_of_a_repair() {
    breaks(scope::REPAIR_SLOW, &[GrantOfAnyNumber], &[Counts], 17);
}
