//! Decisions: one line per case, with a device, a catalog and the answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::*;
use tidegate_core::attributes::Value;
use tidegate_core::life::table::Event::{self, Declined, Due, Expected, Failure, GivenBack, Old, Success, Transfer};
use tidegate_core::objection::NoRoom;
use tidegate_core::receipt::explain;
use tidegate_core::rollout::WhenFull;
use tidegate_core::shard::Grant;
use tidegate_core::{Claims, Device, ObjectionCode, State, UpdateId, decide};

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
    let back = catalog([update("2.0.0+build.7").back_from("2.1.0+build.1")]);
    check(&lamp("2.0.0+build.8"), &back, "nothing; not 2.0.0+build.7: the device already runs 2.0.0+build.8");
    check(&lamp("2.1.0+build.2"), &back, "offer 2.0.0+build.7");
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
fn only_a_rollback_takes_devices_back_and_only_from_the_versions_that_it_names() {
    let device = lamp("2.0.0");
    check(&device, &catalog([update("1.9.0")]), "nothing; not 1.9.0: the device already runs 2.0.0");
    let back = catalog([update("1.9.0").back_from("2.0.0").back_from("2.0.1")]);
    check(&device, &back, "offer 1.9.0");
    check(&lamp("2.0.1"), &back, "offer 1.9.0");
    check(&lamp("1.9.0"), &back, "nothing; not 1.9.0: the device already runs 1.9.0");
    for other in ["1.0.0", "2.0.0-rc.1", "2.1.0"] {
        let expected =
            format!("nothing; not 1.9.0: it takes devices back from 2.0.0 and 2.0.1, and the device runs {other}");
        check(&lamp(other), &back, &expected);
    }
    let newest = catalog([update("1.9.0").back_from("2.0.0"), update("3.0.0")]);
    let told = decide(&lamp("3.0.0"), &newest, &Claims::default(), moment(NOON)).reason_code();
    assert_eq!(told, ObjectionCode::UpToDate, "the way back does not concern it");
    check(&device, &catalog([update("2.0.0-rc.1").back_from("2.0.0")]), "offer 2.0.0-rc.1");
}

#[test]
fn a_rollback_comes_before_every_upgrade() {
    let both = catalog([update("3.0.0"), update("1.9.0").back_from("2.0.0").policy(r#"region == "eu""#)]);
    let bad = lamp("2.0.0");
    check(&saying("region", Value::Text("eu".into()), bad.clone()), &both, "offer 1.9.0");
    let elsewhere = saying("region", Value::Text("us".into()), bad);
    check(&elsewhere, &both, "offer 3.0.0; not 1.9.0: its policy is not for this device");
    let expected = "offer 3.0.0; not 1.9.0: it takes devices back from 2.0.0, and the device runs 1.0.0";
    check(&saying("region", Value::Text("eu".into()), lamp("1.0.0")), &both, expected);
}

#[test]
fn who_failed_in_an_earlier_campaign_is_left_out_of_the_next_one() {
    let again = catalog([update("2.0.0").campaign(2)]);
    for end in [vec![Failure], vec![Expected, Old, Old]] {
        let before = claims([claim("2.0.0", &end)]);
        let expected = "nothing; not 2.0.0: the device failed in an earlier campaign of it";
        check_with(&lamp("1.0.0"), &again, &before, expected);
        check_with(&lamp("1.0.0"), &catalog([update("2.0.0").campaign(2).include_failed()]), &before, "offer 2.0.0");
        check_with(&lamp("1.0.0"), &catalog([update("2.1.0").campaign(2)]), &before, "offer 2.1.0");
        let (id, bad) = claim("2.0.0", &end);
        let forgiven = bad.retried(moment(NOON)).unwrap();
        check_with(&lamp("1.0.0"), &again, &claims([(id, forgiven)]), "offer 2.0.0");
    }
    for end in [vec![Transfer], vec![Declined], vec![Expected]] {
        check_with(&lamp("1.0.0"), &again, &claims([claim("2.0.0", &end)]), "offer 2.0.0");
    }
}

#[test]
fn a_device_that_was_sent_back_is_not_sent_forward_again() {
    let both = catalog([update("1.9.0").back_from("2.0.0"), update("2.0.0")]);
    let had_it = claims([claim("2.0.0", &[Expected, Old, Old]), claim("1.9.0", &[Expected])]);
    let expected = "nothing; not 1.9.0: the device already runs 1.9.0; \
                    not 2.0.0: the device installed it and fell back";
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
    let two = catalog([update("2.0.0").max_attempts(2)]);
    let shows_nothing = "nothing; not 2.0.0: the device has it, and has not shown yet what it runs";
    let fell_back = "nothing; not 2.0.0: the device installed it and fell back";
    let cases: [(&[Event], &str); 12] = [
        (&[], "offer 2.0.0 (held)"),
        (&[Success], shows_nothing),
        (&[Expected], shows_nothing),
        (&[Due], shows_nothing),
        (&[Success, Failure], "offer 2.0.0 (again)"),
        (&[Failure], "offer 2.0.0 (again)"),
        (
            &[Failure, Failure],
            "nothing; not 2.0.0: the device was offered it 2 times and failed; it may try again at \
             2026-07-05T12:01:00Z",
        ),
        (&[Transfer, Transfer, Transfer], "offer 2.0.0 (again)"),
        (&[GivenBack], "offer 2.0.0 (again)"),
        (&[Declined; 4], "nothing; not 2.0.0: the device or its user said no to it too often"),
        (&[Expected, Failure], fell_back),
        (&[Expected, Old, Expected], "nothing; not 2.0.0: two devices say that they are this one"),
    ];
    for (events, expected) in cases {
        check_with(&lamp("1.0.0"), &two, &claims([claim("2.0.0", events)]), expected);
    }
}

#[test]
fn a_device_that_failed_waits_for_an_hour() {
    let two = catalog([update("2.0.0")]);
    let failed = claims([claim("2.0.0", &[Failure])]);
    let expected = "nothing; not 2.0.0: the device tries it again at 2026-06-05T12:51:24Z";
    check_all(&lamp("1.0.0"), &two, &failed, "2026-06-05T12:30:00Z", expected);
    check_all(&lamp("1.0.0"), &two, &failed, "2026-06-05T12:51:24Z", "offer 2.0.0 (again)");
}

#[test]
fn a_device_that_may_not_have_the_newest_gets_the_next_older_one() {
    let two = catalog([update("2.0.0"), update("1.5.0")]);
    let fell_back = claims([claim("2.0.0", &[Expected, Old, Old])]);
    let expected = "offer 1.5.0; not 2.0.0: the device installed it and fell back";
    check_with(&lamp("1.0.0"), &two, &fell_back, expected);
}

#[test]
fn a_claim_on_one_update_says_nothing_of_another() {
    let two = catalog([update("2.0.0")]);
    check_with(&lamp("1.0.0"), &two, &claims([claim("1.5.0", &[Expected])]), "offer 2.0.0");
    let (_, spent) = claim("2.0.0", &[Expected, Failure]);
    let door = UpdateId::of(&product("door"), &version("2.0.0"), 1);
    check_with(&lamp("1.0.0"), &two, &claims([(door, spent)]), "offer 2.0.0");
}

#[test]
fn a_claim_never_overrides_the_rules_before_and_after_it() {
    let held = claims([claim("2.0.0", &[])]);
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
    let two = catalog([update("2.0.0")]);
    let needs =
        |claims: &Claims| decide(&lamp("1.0.0"), &two, claims, moment(NOON)).offer.unwrap().claim_status.needs();
    assert_eq!(needs(&Claims::default()), Some(Grant::First));
    assert_eq!(needs(&claims([claim("2.0.0", &[])])), None, "what was granted is not granted again");
    assert_eq!(needs(&claims([claim("2.0.0", &[Failure])])), Some(Grant::Again));
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
    let cases: [(&[Event], bool); 2] = [(&[], true), (&[Failure], false)];
    for (events, holds) in cases {
        for note in ROOM_LIMITS {
            let mut known = claims([claim("2.0.0", events)]);
            known.note_no_room(lamp_update("2.0.0"), note);
            let decision = decide(&lamp("1.0.0"), &two, &known, moment(NOON));
            assert_eq!(decision.offer.is_some(), holds, "{events:?} {note:?}");
        }
    }
}

#[test]
fn a_claim_that_was_just_made_is_stronger_than_a_note_of_no_room() {
    let mut known = no_room([("2.0.0", NoRoom::Full)]);
    let (id, reserved) = claim("2.0.0", &[]);
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
