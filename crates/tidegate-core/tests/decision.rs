//! Decisions: one line per case, with a device, a catalog and the answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::*;
use tidegate_core::attributes::Value;
use tidegate_core::objection::NoRoom;
use tidegate_core::receipt::explain;
use tidegate_core::rollout::WhenFull;
use tidegate_core::shard::Grant;
use tidegate_core::{Claim, ClaimState, Claims, Device, State, UpdateId, decide};

const NIGHT: (&str, u32, &str) = ("0 22 * * *", 6 * 3600, "UTC");
const ROOM_LIMITS: [NoRoom; 3] = [NoRoom::Full, NoRoom::RateLimited { opens_at: None }, NoRoom::TooManyInFlight];

// Versions.

#[test]
fn versions_follow_the_chain_of_semver_rule_11() {
    let chain = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.1",
        "1.9.0",
        "1.10.0",
        "2.0.0",
        "10.0.0",
    ];
    for (place, runs) in chain.iter().enumerate() {
        for (other, offered) in chain.iter().enumerate() {
            let already = format!("nothing; not {offered}: the device already runs {runs}");
            let expected = if other > place { format!("offer {offered}") } else { already };
            check(&lamp(runs), &catalog([update(offered)]), &expected);
        }
    }
}

#[test]
fn build_metadata_is_not_a_newer_version() {
    let same = catalog([update("2.0.0+build.7")]);
    check(&lamp("2.0.0"), &same, "nothing; not 2.0.0+build.7: the device already runs 2.0.0");
    check(&lamp("2.0.0+build.6"), &same, "nothing; not 2.0.0+build.7: the device already runs 2.0.0+build.6");
    check(&lamp("2.0.0-rc.1+build.9"), &same, "offer 2.0.0+build.7");
    check(&lamp("1.9.9+build.9"), &same, "offer 2.0.0+build.7");
    let back = catalog([update("2.0.0+build.7").downgrade()]);
    check(&lamp("2.0.0+build.8"), &back, "nothing; not 2.0.0+build.7: the device already runs 2.0.0+build.8");
}

#[test]
fn the_newest_is_offered_in_whatever_order_updates_were_written() {
    let versions = ["2.0.0", "2.0.0-rc.1", "1.10.0", "1.9.0"];
    for start in 0..versions.len() {
        let mut order = versions;
        order.rotate_left(start);
        let device = lamp("1.0.0");
        check(&device, &catalog(order.map(update)), "offer 2.0.0");
        order.reverse();
        check(&device, &catalog(order.map(update)), "offer 2.0.0");
        let refused = catalog(order.map(|version| update(version).policy("false")));
        let considered = codes(&explain(&device, &refused, &Claims::default(), moment(NOON)).decision);
        let newest_first = versions.map(|version| format!("{version} not_targeted")).join(", ");
        assert_eq!(considered, newest_first);
    }
}

#[test]
fn only_an_update_that_allows_it_sends_devices_back_and_never_to_their_own_version() {
    let device = lamp("2.0.0");
    check(&device, &catalog([update("1.9.0")]), "nothing; not 1.9.0: the device already runs 2.0.0");
    check(&device, &catalog([update("1.9.0").downgrade()]), "offer 1.9.0");
    check(&device, &catalog([update("2.0.0").downgrade()]), "nothing; not 2.0.0: the device already runs 2.0.0");
    check(&device, &catalog([update("2.0.0-rc.1").downgrade()]), "offer 2.0.0-rc.1");
    check(&lamp("1.0.0"), &catalog([update("1.9.0").downgrade()]), "offer 1.9.0");
    let both = catalog([update("1.9.0").downgrade(), update("2.0.0")]);
    check(&device, &both, "offer 1.9.0; not 2.0.0: the device already runs 2.0.0");
}

#[test]
fn a_device_that_was_sent_back_is_not_sent_forward_again() {
    let both = catalog([update("1.9.0").downgrade(), update("2.0.0")]);
    let had_it = claims([claim("2.0.0", ClaimState::Succeeded, 1), claim("1.9.0", ClaimState::Succeeded, 1)]);
    let expected = "nothing; not 2.0.0: the device had it and went back, or decided against it; \
                    not 1.9.0: the device already runs 1.9.0";
    check_with(&lamp("1.9.0"), &both, &had_it, expected);
}

#[test]
fn an_update_is_reached_over_any_one_of_its_requirements() {
    let two = || catalog([update("3.0.0").from("^2.0").from(">=1.9.0, <2.0.0")]);
    check(&lamp("2.7.1"), &two(), "offer 3.0.0");
    check(&lamp("1.9.0"), &two(), "offer 3.0.0");
    check(&lamp("1.9.0+build.1"), &two(), "offer 3.0.0");
    let why = "nothing; not 3.0.0: it can only be installed over ^2.0 or >=1.9.0, <2.0.0, and the device runs";
    check(&lamp("1.8.9"), &two(), &format!("{why} 1.8.9"));
    check(&lamp("3.0.0-rc.1"), &two(), &format!("{why} 3.0.0-rc.1"));
    check(&lamp("0.1.0"), &catalog([update("3.0.0")]), "offer 3.0.0");
}

#[test]
fn a_requirement_speaks_of_a_pre_release_only_when_it_names_one_of_the_same_release() {
    let from = |requirement| catalog([update("3.0.0").from(requirement)]);
    let why =
        |from, runs| format!("nothing; not 3.0.0: it can only be installed over {from}, and the device runs {runs}");
    check(&lamp("2.0.0-rc.1"), &from(">=1.0.0"), &why(">=1.0.0", "2.0.0-rc.1"));
    check(&lamp("2.0.0-rc.1"), &from(">=2.0.0-alpha"), "offer 3.0.0");
    check(&lamp("2.0.0-alpha"), &from(">=2.0.0-rc.1"), &why(">=2.0.0-rc.1", "2.0.0-alpha"));
    check(&lamp("2.1.0-rc.1"), &from(">=2.0.0-alpha"), &why(">=2.0.0-alpha", "2.1.0-rc.1"));
    check(&lamp("2.1.0"), &from(">=2.0.0-alpha"), "offer 3.0.0");
}

#[test]
fn an_update_that_cannot_be_reached_gives_way_to_the_stepping_stone() {
    let stones = catalog([update("3.0.0").from(">=2.0.0"), update("2.0.0")]);
    let why = "not 3.0.0: it can only be installed over >=2.0.0, and the device runs 1.4.0";
    check(&lamp("1.4.0"), &stones, &format!("offer 2.0.0; {why}"));
    check(&lamp("2.0.0"), &stones, "offer 3.0.0");
}

#[test]
fn a_device_whose_protocol_carries_files_gets_no_update_without_one() {
    let mixed = || catalog([update("3.0.0"), update("2.0.0").file("rootfs.swu")]);
    check(&lamp("1.0.0"), &mixed(), "offer 3.0.0");
    let why = "not 3.0.0: it has no file, and the device's protocol carries only files";
    check(&files_only(lamp("1.0.0")), &mixed(), &format!("offer 2.0.0; {why}"));
}

#[test]
fn nothing_crosses_from_one_product_to_another() {
    let door = Device { product: product("door"), ..lamp("1.0.0") };
    check(&door, &catalog([update("2.0.0")]), "nothing");
    check(&lamp("1.0.0"), &catalog([update("2.0.0").of("door")]), "nothing");
    check(&lamp("1.0.0"), &catalog([update("3.0.0").of("door"), update("2.0.0")]), "offer 2.0.0");
    check(&door, &catalog_of("door", [update("2.0.0"), update("1.5.0").of("door")]), "offer 1.5.0");
}

// Policies.

#[test]
fn a_policy_admits_on_a_clear_yes_only() {
    let asks = |policy| catalog([update("2.0.0").policy(policy)]);
    let device = lamp("1.0.0");
    let no = "nothing; not 2.0.0: its policy is not for this device";
    let missing = "nothing; not 2.0.0: its policy asks for `region`, which the device does not state";
    check(&device, &asks(""), "offer 2.0.0");
    check(&device, &asks("memory >= 512"), "offer 2.0.0");
    check(&device, &asks("memory > 512"), no);
    check(&device, &asks("region == \"eu\""), missing);
    check(&device, &asks("!(region == \"eu\")"), missing);
    check(&device, &asks("region == \"eu\" && memory > 512"), no);
    check(&device, &asks("region == \"eu\" || memory >= 512"), "offer 2.0.0");
    let unclear = "nothing; not 2.0.0: its policy could not be evaluated: division by zero in `memory / 0`";
    check(&device, &asks("memory / 0 == 1"), unclear);
    check(&device, &asks("!(memory / 0 == 1)"), unclear);
    let text = saying("memory", Value::Text("512".to_owned()), lamp("1.0.0"));
    check(&text, &asks("memory >= 512"), "offer 2.0.0");
}

#[test]
fn a_policy_sees_the_version_that_each_update_would_bring() {
    let policy = "semver(newVersion, \"<\", \"3.0.0\")";
    let two = catalog([update("3.0.0").policy(policy), update("2.0.0").policy(policy)]);
    check(&lamp("1.0.0"), &two, "offer 2.0.0; not 3.0.0: its policy is not for this device");
}

// States.

#[test]
fn only_an_active_update_is_offered_and_an_older_one_takes_its_place() {
    let offered = |state| catalog([update("3.0.0").state(state).when_full(WhenFull::Wait), update("2.0.0")]);
    for (state, expected) in [
        (State::Active, "offer 3.0.0"),
        (State::Paused, "offer 2.0.0; not 3.0.0: its rollout is paused"),
        (State::Aborted, "offer 2.0.0; not 3.0.0: its rollout was stopped"),
        (State::Completed, "offer 2.0.0; not 3.0.0: its rollout is over"),
        (State::Withdrawn, "offer 2.0.0; not 3.0.0: its rollout is over"),
        (State::Draft, "offer 2.0.0; not 3.0.0: its rollout is over"),
    ] {
        check(&lamp("1.0.0"), &offered(state), expected);
    }
}

// Claims.

#[test]
fn a_claim_says_whether_a_device_may_have_the_update_again() {
    use ClaimState::{Expired, Failed, Reserved, Succeeded};
    let two = catalog([update("2.0.0").max_attempts(3)]);
    let spent = "nothing; not 2.0.0: the device was offered it 3 times and did not finish";
    let went_back = "nothing; not 2.0.0: the device had it and went back, or decided against it";
    for (state, attempts, expected) in [
        (Reserved, 1, "offer 2.0.0 (held)"),
        (Reserved, 3, "offer 2.0.0 (held)"),
        (Expired, 1, "offer 2.0.0 (lapsed)"),
        (Expired, 2, "offer 2.0.0 (lapsed)"),
        (Expired, 3, spent),
        (Failed, 1, "offer 2.0.0 (lapsed)"),
        (Failed, 2, "offer 2.0.0 (lapsed)"),
        (Failed, 3, spent),
        (Succeeded, 1, went_back),
        (Succeeded, 3, went_back),
    ] {
        check_with(&lamp("1.0.0"), &two, &claims([claim("2.0.0", state, attempts)]), expected);
    }
    let beyond = "nothing; not 2.0.0: the device was offered it 4 times and did not finish";
    check_with(&lamp("1.0.0"), &two, &claims([claim("2.0.0", Failed, 4)]), beyond);
}

#[test]
fn a_reservation_lapses_when_a_url_would_come_too_near_its_end() {
    let two = catalog([update("2.0.0").max_attempts(2)]);
    let reserved = |attempts| claims([claim("2.0.0", ClaimState::Reserved, attempts)]);
    check_all(&lamp("1.0.0"), &two, &reserved(1), "2026-06-16T10:53:00Z", "offer 2.0.0 (held)");
    check_all(&lamp("1.0.0"), &two, &reserved(1), "2026-06-16T10:53:01Z", "offer 2.0.0 (lapsed)");
    check_all(&lamp("1.0.0"), &two, &reserved(2), "2026-06-16T10:53:00Z", "offer 2.0.0 (held)");
    let spent = "nothing; not 2.0.0: the device was offered it 2 times and did not finish";
    check_all(&lamp("1.0.0"), &two, &reserved(2), "2026-06-16T10:53:01Z", spent);
}

#[test]
fn a_device_that_backed_out_is_not_sent_round_again() {
    let two = catalog([update("2.0.0").max_attempts(100), update("1.5.0")]);
    let expected = "offer 1.5.0; not 2.0.0: the device had it and went back, or decided against it";
    for state in [ClaimState::Reserved, ClaimState::Expired, ClaimState::Failed, ClaimState::Succeeded] {
        let (update, told) = claim("2.0.0", state, 1);
        check_with(&lamp("1.0.0"), &two, &claims([(update, Claim { backed_out: true, ..told })]), expected);
    }
}

#[test]
fn a_claim_on_one_update_says_nothing_of_another() {
    let two = catalog([update("2.0.0")]);
    check_with(&lamp("1.0.0"), &two, &claims([claim("1.5.0", ClaimState::Succeeded, 9)]), "offer 2.0.0");
    let (_, spent) = claim("2.0.0", ClaimState::Failed, 9);
    let door = UpdateId::of(&product("door"), &version("2.0.0"));
    check_with(&lamp("1.0.0"), &two, &claims([(door, spent)]), "offer 2.0.0");
}

#[test]
fn a_claim_never_overrides_the_rules_before_and_after_it() {
    let held = claims([claim("2.0.0", ClaimState::Reserved, 1)]);
    let device = lamp("1.0.0");
    let over = |update: Draft, expected| check_with(&device, &catalog([update]), &held, expected);
    over(update("2.0.0").state(State::Paused), "nothing; not 2.0.0: its rollout is paused");
    over(update("2.0.0").state(State::Aborted), "nothing; not 2.0.0: its rollout was stopped");
    over(update("2.0.0").policy("memory < 256"), "nothing; not 2.0.0: its policy is not for this device");
    over(update("2.0.0").ends(NOON), "nothing; not 2.0.0: its rollout ended at 2026-06-15T12:00:00Z");
    check_with(&lamp("2.0.0"), &catalog([update("2.0.0")]), &held, "nothing; not 2.0.0: the device already runs 2.0.0");
}

#[test]
fn each_claim_status_needs_its_own_grant() {
    use ClaimState::{Expired, Failed, Reserved};
    let two = catalog([update("2.0.0")]);
    let needs =
        |claims: &Claims, now| decide(&lamp("1.0.0"), &two, claims, moment(now)).offer.unwrap().claim_status.needs();
    let (before_end, at_end) = (NOON, "2026-06-16T11:00:00Z");
    let on = |state| claims([claim("2.0.0", state, 1)]);
    assert_eq!(needs(&Claims::default(), before_end), Some(Grant::First));
    assert_eq!(needs(&on(Reserved), before_end), None, "what was granted is not granted again");
    assert_eq!(needs(&on(Reserved), at_end), Some(Grant::Renewed), "it still has its place in flight");
    assert_eq!(needs(&on(Failed), before_end), Some(Grant::Again));
    assert_eq!(needs(&on(Expired), before_end), Some(Grant::Again));
}

// Room.

#[test]
fn a_rollout_without_room_says_what_is_used_up() {
    let with = |note| no_room([("2.0.0", note)]);
    let (device, two) = (lamp("1.0.0"), catalog([update("2.0.0").max_devices(10)]));
    let opens_at = Some(moment(HOUR_AFTER));
    for (note, why) in [
        (NoRoom::Full, "its limit of 10 devices is reached"),
        (NoRoom::RateLimited { opens_at }, "this period's offers are used up; the next starts at 2026-06-15T13:00:00Z"),
        (NoRoom::RateLimited { opens_at: None }, "this period's offers are used up"),
        (NoRoom::TooManyInFlight, "its limit of 500 in flight is reached"),
        (NoRoom::Paused, "its rollout is paused"),
        (NoRoom::Aborted, "its rollout was stopped"),
    ] {
        check_with(&device, &two, &with(note), &format!("nothing; not 2.0.0: {why}"));
    }
    let unlimited = catalog([update("2.0.0")]);
    check_with(&device, &unlimited, &with(NoRoom::Full), "nothing; not 2.0.0: its rollout has no place left");
}

#[test]
fn a_device_that_holds_its_place_keeps_it_and_one_that_lost_it_needs_room() {
    let two = catalog([update("2.0.0")]);
    for (state, holds) in [(ClaimState::Reserved, true), (ClaimState::Expired, false), (ClaimState::Failed, false)] {
        for note in ROOM_LIMITS {
            let mut known = claims([claim("2.0.0", state, 1)]);
            known.note_no_room(lamp_update("2.0.0"), note);
            let decision = decide(&lamp("1.0.0"), &two, &known, moment(NOON));
            assert_eq!(decision.offer.is_some(), holds, "{state:?} {note:?}");
        }
    }
}

#[test]
fn a_claim_that_was_just_made_is_stronger_than_a_note_of_no_room() {
    let mut known = no_room([("2.0.0", NoRoom::Full)]);
    let (id, reserved) = claim("2.0.0", ClaimState::Reserved, 1);
    known.record(id, reserved);
    check_with(&lamp("1.0.0"), &catalog([update("2.0.0")]), &known, "offer 2.0.0 (held)");
}

#[test]
fn no_room_in_one_rollout_leaves_the_others_open() {
    let two = catalog([update("3.0.0"), update("2.0.0")]);
    let note = no_room([("3.0.0", NoRoom::TooManyInFlight)]);
    let why = "not 3.0.0: its limit of 500 in flight is reached";
    check_with(&lamp("1.0.0"), &two, &note, &format!("offer 2.0.0; {why}"));
}

// Waiting.

#[test]
fn when_full_says_whether_a_waiting_device_gets_the_next_older_update() {
    /// Change that keeps 3.0.0 back, code of the objection, and `true` if the device waits for its turn.
    type Case = (fn(Draft) -> Draft, Option<NoRoom>, &'static str, bool);
    let cases: [Case; 13] = [
        (|update| update.window(NIGHT.0, NIGHT.1, NIGHT.2), None, "outside_window", true),
        (|update| update.phase(HOUR_BEFORE, 0.0), None, "not_in_phase", true),
        (|update| update.phase(HOUR_AFTER, 100.0), None, "not_in_phase", true),
        (|update| update, Some(NoRoom::Full), "full", true),
        (|update| update, Some(NoRoom::RateLimited { opens_at: None }), "rate_limited", true),
        (|update| update, Some(NoRoom::TooManyInFlight), "too_many_in_flight", true),
        (|update| update.starts(HOUR_AFTER), None, "not_started", false),
        (|update| update.ends(HOUR_BEFORE), None, "ended", false),
        (|update| update.state(State::Paused), None, "paused", false),
        (|update| update, Some(NoRoom::Paused), "paused", false),
        (|update| update, Some(NoRoom::Aborted), "aborted", false),
        (|update| update.policy("memory < 256"), None, "not_targeted", false),
        (|update| update.from("=0.1.0"), None, "incompatible", false),
    ];
    for (keep_back, note, code, is_waiting) in cases {
        let known = no_room(note.map(|note| ("3.0.0", note)));
        let told = |when_full| {
            let catalog = catalog([keep_back(update("3.0.0")).when_full(when_full), update("2.0.0")]);
            codes(&explain(&lamp("1.0.0"), &catalog, &known, moment(NOON)).decision)
        };
        let next = format!("3.0.0 {code}, 2.0.0 offered");
        assert_eq!(told(WhenFull::Next), next);
        assert_eq!(told(WhenFull::Wait), if is_waiting { format!("3.0.0 {code}") } else { next });
    }
}

#[test]
fn only_the_update_that_keeps_a_device_waiting_decides_whether_it_waits() {
    let older_waits = catalog([update("3.0.0").phase(HOUR_AFTER, 100.0), update("2.0.0").when_full(WhenFull::Wait)]);
    let asked = |catalog| codes(&decide(&lamp("1.0.0"), catalog, &Claims::default(), moment(NOON)));
    assert_eq!(asked(&older_waits), "3.0.0 not_in_phase, 2.0.0 offered");
    let three = catalog([
        update("4.0.0").phase(HOUR_AFTER, 100.0),
        update("3.0.0").phase(HOUR_AFTER, 100.0).when_full(WhenFull::Wait),
        update("2.0.0"),
    ]);
    assert_eq!(asked(&three), "4.0.0 not_in_phase, 3.0.0 not_in_phase");
}
