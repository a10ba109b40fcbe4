//! The protocol as it is: no step of these scopes breaks a promise.

use crate::model::scope;
use crate::search::{COMPLETE, COMPLETE_IN_FULL, CUT_OFF, holds, walks};

#[test]
fn three_devices_fail_and_try_again() {
    holds("fail", scope::FAIL, COMPLETE_IN_FULL);
}

#[test]
fn two_devices_share_one_place() {
    holds("fail1", scope::FAIL1, COMPLETE);
}

#[test]
fn proofs_and_old_versions_free_a_place_once() {
    holds("proof", scope::PROOF, COMPLETE_IN_FULL);
}

#[test]
fn a_lost_device_comes_back_while_its_place_is_freed() {
    holds("lost", scope::LOST, COMPLETE);
}

#[test]
fn a_lost_device_succeeds_and_fails() {
    holds("lost1", scope::LOST1, COMPLETE);
}

#[test]
fn two_lost_devices_run_old_and_new_versions() {
    holds("lost2", scope::LOST2, CUT_OFF);
}

#[test]
fn a_device_with_a_third_version_leaves_and_comes_again() {
    holds("left", scope::LEFT, CUT_OFF);
}

#[test]
fn a_further_attempt_takes_any_shard() {
    holds("move", scope::MOVE, COMPLETE_IN_FULL);
}

#[test]
fn three_devices_move_between_shards() {
    holds("move3", scope::MOVE3, COMPLETE);
}

#[test]
fn two_stream_shards_are_counted_at_once() {
    holds("two", scope::TWO, CUT_OFF);
}

#[test]
fn a_stream_shard_splits() {
    holds("split", scope::SPLIT, COMPLETE);
}

#[test]
fn max_devices_holds() {
    holds("used", scope::USED, COMPLETE_IN_FULL);
}

#[test]
fn a_stop_meets_three_devices() {
    holds("stop", scope::STOP, COMPLETE_IN_FULL);
}

#[test]
fn a_stop_meets_further_attempts() {
    holds("stop2", scope::STOP2, COMPLETE_IN_FULL);
}

#[test]
fn a_lower_limit_meets_further_attempts() {
    holds("down", scope::DOWN, COMPLETE_IN_FULL);
}

#[test]
fn a_lower_limit_meets_late_writes() {
    holds("down1", scope::DOWN1, COMPLETE);
}

#[test]
fn a_lower_limit_meets_slow_writers() {
    holds("downs", scope::DOWNS, COMPLETE);
}

#[test]
fn a_higher_limit_is_used() {
    holds("up", scope::UP, COMPLETE);
}

#[test]
fn an_edit_and_a_stop_meet_slow_writers() {
    holds("both", scope::BOTH, COMPLETE_IN_FULL);
}

#[test]
fn an_edit_and_a_stop_meet_late_writes() {
    holds("bothg", scope::BOTHG, COMPLETE_IN_FULL);
}

#[test]
fn an_edit_keeps_max_devices() {
    holds("uedit", scope::UEDIT, COMPLETE);
}

#[test]
fn a_claim_is_forgotten() {
    holds("forget", scope::FORGET, COMPLETE);
}

#[test]
fn a_slow_writer_meets_a_forgotten_claim() {
    holds("forget slow", scope::FORGET_SLOW, COMPLETE);
}

#[test]
fn lost_records_give_no_place_away() {
    holds("trim", scope::TRIM, CUT_OFF);
}

#[test]
fn the_stronger_wish_wins() {
    holds("force", scope::FORCE, CUT_OFF);
}

#[test]
fn the_stronger_wish_wins_without_late_writes() {
    holds("force0", scope::FORCE0, COMPLETE);
}

#[test]
fn a_paused_campaign_is_resumed() {
    holds("resume", scope::RESUME, COMPLETE);
}

#[test]
fn a_stopped_product_opens_no_campaign() {
    holds("product", scope::PRODUCT, COMPLETE_IN_FULL);
}

#[test]
fn the_health_gate_holds_before_a_place_is_given_on() {
    holds("verdict", scope::VERDICT, COMPLETE);
}

#[test]
fn the_health_gate_holds_during_an_edit() {
    holds("verdict edit", scope::VERDICT_EDIT, COMPLETE);
}

#[test]
fn a_hold_a_pause_and_an_edit_meet() {
    holds("verdict pause", scope::VERDICT_PAUSE, COMPLETE);
}

#[test]
fn no_more_than_the_headroom_is_uncounted() {
    holds("headroom", scope::HEADROOM, COMPLETE);
}

#[test]
fn an_edit_keeps_the_headroom() {
    holds("headroom edit", scope::HEADROOM_EDIT, COMPLETE);
}

#[test]
fn places_grow_with_mature_devices() {
    holds("ramp", scope::RAMP, COMPLETE);
}

#[test]
fn an_edit_keeps_what_mature_devices_added() {
    holds("ramp edit", scope::RAMP_EDIT, COMPLETE_IN_FULL);
}

#[test]
fn no_period_has_more_grants_than_its_limit() {
    holds("period", scope::PERIOD, COMPLETE);
}

#[test]
fn limits_split_twice_keep_the_rate() {
    holds("period edit", scope::PERIOD_EDIT, COMPLETE);
}

#[test]
fn limits_split_twice_meet_slow_and_late_writes() {
    holds("period edit late", scope::PERIOD_EDIT_LATE, COMPLETE_IN_FULL);
}

#[test]
fn a_device_that_is_heard_is_never_lost() {
    holds("silent", scope::SILENT, COMPLETE);
}

#[test]
fn no_check_in_after_a_stop_gets_a_url() {
    holds("head", scope::HEAD, COMPLETE);
}

#[test]
fn no_check_in_after_a_stop_with_late_writes_gets_a_url() {
    holds("head late", scope::HEAD_LATE, COMPLETE_IN_FULL);
}

#[test]
fn two_devices_meet_a_stop() {
    holds("head2", scope::HEAD2, CUT_OFF);
}

#[test]
fn a_resumed_campaign_gets_its_urls_back() {
    holds("head resume", scope::HEAD_RESUME, COMPLETE);
}

#[test]
fn no_check_in_after_a_product_stop_gets_a_url() {
    holds("head product", scope::HEAD_PRODUCT, COMPLETE_IN_FULL);
}

#[test]
fn a_longer_wait_covers_a_slow_check_in() {
    holds("head deadline", scope::HEAD_DEADLINE, COMPLETE);
}

#[test]
fn no_url_outlives_its_claim() {
    holds("urls", scope::URLS, COMPLETE_IN_FULL);
}

#[test]
fn a_tally_is_folded_while_it_is_read() {
    holds("fold", scope::FOLD, COMPLETE);
}

#[test]
fn a_folded_tally_meets_slow_and_late_writes() {
    holds("fold late", scope::FOLD_LATE, COMPLETE_IN_FULL);
}

#[test]
fn lost_records_are_repaired() {
    holds("repair", scope::REPAIR, COMPLETE_IN_FULL);
}

#[test]
fn slow_writers_meet_a_repair() {
    holds("repair slow", scope::REPAIR_SLOW, COMPLETE_IN_FULL);
}

#[test]
fn a_claim_is_forgotten_during_a_repair() {
    holds("repair forget", scope::REPAIR_FORGET, COMPLETE_IN_FULL);
}

#[test]
fn random_walks_find_no_url_after_a_stop_that_follows_a_resume() {
    walks("head again", scope::HEAD_AGAIN, 2);
}

#[test]
fn random_walks_through_everything_break_no_promise() {
    walks("everything", scope::EVERYTHING, 1);
}
