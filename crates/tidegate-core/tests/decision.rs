//! What a device is told, and why: one line per case, a device, a catalog and the answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::*;
use tidegate_core::ObjectionCode;
use tidegate_core::attributes::Value;
use tidegate_core::device::Delivery;
use tidegate_core::guidance::check_again_after_s;
use tidegate_core::limits::Caps;
use tidegate_core::objection::NoRoom;
use tidegate_core::receipt::explain;
use tidegate_core::rollout::WhenFull;
use tidegate_core::shard::{Counts, Gate, Grant, Refusal, Shard};
use tidegate_core::{Claim, ClaimState, Claims, Device, State, UpdateId, decide};

const NIGHT: (&str, u32, &str) = ("0 22 * * *", 6 * 3600, "UTC");
const ROOM_LIMITS: [NoRoom; 3] = [NoRoom::Full, NoRoom::RateLimited { opens_at: None }, NoRoom::TooManyInFlight];

// The order of the rules.

/// A question to which exactly the rules that were told to object.
#[derive(Clone)]
struct Objected {
    device: Device,
    update: Draft,
    claims: Claims,
}

/// One way in which one rule objects.
type Objector = (&'static str, fn(Objected) -> Objected);

fn on_update(asked: Objected, change: impl FnOnce(Draft) -> Draft) -> Objected {
    Objected { update: change(asked.update), ..asked }
}

fn with_no_room(mut asked: Objected, note: NoRoom) -> Objected {
    asked.claims.note_no_room(lamp_update("2.0.0"), note);
    asked
}

/// In the order of DESIGN section 5. Objectors of one slot exclude each other.
fn objectors() -> Vec<Vec<Objector>> {
    vec![
        vec![("up_to_date", |asked| Objected {
            device: Device { version: version("2.0.0"), ..asked.device },
            ..asked
        })],
        vec![
            ("incompatible", |asked| on_update(asked, |update| update.from("=0.1.0"))),
            ("incompatible", |asked| Objected {
                device: Device { delivery: Delivery::FilesOnly, ..asked.device },
                ..asked
            }),
        ],
        vec![
            ("not_targeted", |asked| on_update(asked, |update| update.policy("memory < 256"))),
            ("not_targeted", |asked| on_update(asked, |update| update.policy("region == \"eu\""))),
            ("policy_unclear", |asked| on_update(asked, |update| update.policy("memory / 0 == 1"))),
        ],
        vec![
            ("rejected_before", |mut asked| {
                let (update, failed) = claim("2.0.0", ClaimState::Failed, 3);
                asked.claims = claims([(update, failed)]);
                asked
            }),
            ("rejected_before", |mut asked| {
                asked.claims = claims([claim("2.0.0", ClaimState::Succeeded, 1)]);
                asked
            }),
        ],
        vec![
            ("paused", |asked| on_update(asked, |update| update.state(State::Paused))),
            ("aborted", |asked| on_update(asked, |update| update.state(State::Aborted))),
            ("ended", |asked| on_update(asked, |update| update.state(State::Completed))),
        ],
        vec![("ended", |asked| on_update(asked, |update| update.ends(HOUR_BEFORE)))],
        vec![
            ("not_started", |asked| on_update(asked, |update| update.starts(HOUR_AFTER))),
            ("not_started", |asked| {
                // The group follows no phase, so the phase below cannot object; the start comes first anyway.
                on_update(asked, |update| update.starts(HOUR_AFTER).group("memory < 256", HOUR_BEFORE))
            }),
        ],
        vec![("outside_window", |asked| on_update(asked, |update| update.window(NIGHT.0, NIGHT.1, NIGHT.2)))],
        vec![("not_in_phase", |asked| on_update(asked, |update| update.phase(HOUR_BEFORE, 0.0)))],
        vec![
            ("full", |asked| with_no_room(asked, NoRoom::Full)),
            ("rate_limited", |asked| with_no_room(asked, NoRoom::RateLimited { opens_at: None })),
            ("too_many_in_flight", |asked| with_no_room(asked, NoRoom::TooManyInFlight)),
        ],
    ]
}

/// The code of the only update's objection, after every change was made in the order given.
fn objection(changes: &[Objector]) -> &'static str {
    // The claim changes replace the claims, so they run before the notes: slots are in order.
    let asked = Objected { device: lamp("1.0.0"), update: update("2.0.0"), claims: Claims::default() };
    let asked = changes.iter().fold(asked, |asked, (_, change)| change(asked));
    let catalog = catalog([asked.update]);
    let decision = decide(&asked.device, &catalog, &asked.claims, moment(NOON));
    decision.passed_over.first().map_or("none", |(_, objection)| objection.code().name())
}

#[test]
fn every_rule_objects_alone_and_every_code_is_reached() {
    assert_eq!(objection(&[]), "none");
    let mut reached = Vec::new();
    for objector in objectors().into_iter().flatten() {
        assert_eq!(objection(&[objector]), objector.0);
        reached.push(objector.0);
    }
    assert!(ObjectionCode::ALL.iter().all(|code| reached.contains(&code.name())), "{reached:?}");
}

#[test]
fn of_two_rules_that_object_the_earlier_one_is_told() {
    let slots = objectors();
    for (number, earlier) in slots.iter().enumerate() {
        for later in &slots[number + 1..] {
            for (first, second) in earlier.iter().flat_map(|first| later.iter().map(move |second| (first, second))) {
                assert_eq!(objection(&[*first, *second]), first.0, "{} and {}", first.0, second.0);
            }
        }
    }
}

#[test]
fn when_every_rule_from_one_on_objects_that_one_is_told() {
    let slots = objectors();
    for first in 0..slots.len() {
        let all: Vec<Objector> = slots[first..].iter().map(|slot| slot[0]).collect();
        assert_eq!(objection(&all), all[0].0);
    }
}

#[test]
fn the_codes_are_listed_in_the_order_of_the_rules() {
    let mut order: Vec<&str> = objectors().into_iter().flatten().map(|(code, _)| code).collect();
    order.dedup();
    assert_eq!(
        order.iter().filter(|code| **code == "ended").count(),
        1,
        "the state's end and the set end are one code"
    );
    assert_eq!(order, ObjectionCode::ALL.iter().map(|code| code.name()).collect::<Vec<_>>());
}

#[test]
fn a_shard_without_any_room_says_full_first_then_rate_limited_then_too_many_in_flight() {
    let told = |used, period_used, in_flight| {
        let caps = Caps { devices: 10, per_period: 10, in_flight: 10 };
        let counts = Counts { used, period_used, in_flight, period: 3600, ..Counts::default() };
        match (Shard { gate: Gate::Open, generation: 1, caps, counts }).refusal(Grant::First, 1, 3600, 3600) {
            Some(Refusal::NoRoom(NoRoom::Full)) => "full",
            Some(Refusal::NoRoom(NoRoom::RateLimited { .. })) => "rate_limited",
            Some(Refusal::NoRoom(NoRoom::TooManyInFlight)) => "too_many_in_flight",
            _ => "none",
        }
    };
    assert_eq!(told(10, 10, 10), "full");
    assert_eq!(told(9, 10, 10), "rate_limited");
    assert_eq!(told(9, 9, 10), "too_many_in_flight");
    assert_eq!(told(9, 9, 9), "none");
}

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
fn each_standing_needs_its_own_grant() {
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
    /// What keeps 3.0.0 back, the code, and whether that is waiting.
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

// What the device is told, and when it asks again.

#[track_caller]
fn check_reason(device: &Device, drafts: Vec<Draft>, claims: &Claims, reason: &str, may_change_at: Option<&str>) {
    let catalog = catalog(drafts);
    let decision = decide(device, &catalog, claims, moment(NOON));
    let told =
        decision.reason().map_or("none".to_owned(), |(update, why)| format!("{} {}", update.version, why.code()));
    assert_eq!(told, reason);
    assert_eq!(decision.may_change_at(), may_change_at.map(moment));
}

#[test]
fn the_reason_is_what_the_device_waits_for() {
    let (device, none) = (lamp("1.0.0"), Claims::default());
    let reason = |drafts, reason, at| check_reason(&device, drafts, &none, reason, at);
    let later = "2026-06-15T14:00:00Z";
    reason(vec![], "none", None);
    reason(vec![update("1.0.0")], "1.0.0 up_to_date", None);
    reason(vec![update("0.9.0"), update("1.0.0")], "1.0.0 up_to_date", None);
    reason(vec![update("2.0.0").policy("false"), update("1.0.0")], "2.0.0 not_targeted", None);
    reason(vec![update("3.0.0").from("^2.0"), update("2.0.0").policy("false")], "3.0.0 incompatible", None);
    reason(
        vec![update("3.0.0").from("^2.0"), update("2.0.0").starts(HOUR_AFTER)],
        "2.0.0 not_started",
        Some(HOUR_AFTER),
    );
    reason(vec![update("3.0.0").policy("false"), update("2.0.0").state(State::Paused)], "2.0.0 paused", None);
    reason(
        vec![update("3.0.0").state(State::Aborted), update("2.0.0").phase(HOUR_AFTER, 100.0)],
        "2.0.0 not_in_phase",
        Some(HOUR_AFTER),
    );
    reason(
        vec![update("3.0.0").starts(later), update("2.0.0").starts(HOUR_AFTER)],
        "3.0.0 not_started",
        Some(HOUR_AFTER),
    );
    reason(
        vec![update("3.0.0").phase(HOUR_AFTER, 100.0), update("2.0.0").starts(later)],
        "3.0.0 not_in_phase",
        Some(HOUR_AFTER),
    );
}

#[test]
fn each_objection_says_when_time_cures_it() {
    let device = lamp("1.0.0");
    let at = |draft: Draft, note: Option<NoRoom>, expected: Option<&str>| {
        let catalog = catalog([draft]);
        let known = no_room(note.map(|note| ("2.0.0", note)));
        let decision = decide(&device, &catalog, &known, moment(NOON));
        let (_, objection) = decision.reason().unwrap();
        assert_eq!(objection.opens_at(), expected.map(moment), "{objection}");
    };
    at(update("2.0.0").starts(HOUR_AFTER), None, Some(HOUR_AFTER));
    at(update("2.0.0").window(NIGHT.0, NIGHT.1, NIGHT.2), None, Some("2026-06-15T22:00:00Z"));
    at(update("2.0.0").phase(HOUR_AFTER, 100.0), None, Some(HOUR_AFTER));
    at(update("2.0.0").phase(HOUR_BEFORE, 0.0), None, None);
    let opens_at = Some(moment(HOUR_AFTER));
    at(update("2.0.0"), Some(NoRoom::RateLimited { opens_at }), Some(HOUR_AFTER));
    at(update("2.0.0"), Some(NoRoom::Full), None);
    at(update("2.0.0"), Some(NoRoom::TooManyInFlight), None);
    at(update("2.0.0").state(State::Paused), None, None);
    at(update("2.0.0").ends(HOUR_BEFORE), None, None);
    at(update("2.0.0").policy("false"), None, None);
}

#[test]
fn a_device_asks_again_within_bounds_and_soon_after_the_answer_can_change() {
    let device = lamp("1.0.0");
    let after = |drafts: Vec<Draft>, claims: &Claims| {
        let catalog = catalog(drafts);
        check_again_after_s(&device, &decide(&device, &catalog, claims, moment(NOON)), moment(NOON))
    };
    let none = Claims::default();
    let starting = |at| after(vec![update("2.0.0").starts(at)], &none);
    assert_eq!(after(vec![update("2.0.0")], &none), 3600, "an offer is asked for again within the hour");
    assert_eq!(after(vec![], &none), 86_400);
    assert_eq!(after(vec![update("2.0.0").state(State::Paused)], &none), 86_400);
    assert_eq!(after(vec![update("2.0.0")], &no_room([("2.0.0", NoRoom::Full)])), 86_400);
    assert!((60..=300).contains(&starting("2026-06-15T12:00:01Z")), "never sooner than a minute");
    assert!((3600..3900).contains(&starting(HOUR_AFTER)), "after the start, within five minutes");
    assert_eq!(starting("2026-06-16T12:00:00Z"), 86_400, "never later than a day");
    assert_eq!(starting("2126-06-16T12:00:00Z"), 86_400);
    assert_eq!(starting("9999-12-30T22:00:00Z"), 86_400);
    let passed = Some(moment(HOUR_BEFORE));
    let stale = no_room([("2.0.0", NoRoom::RateLimited { opens_at: passed })]);
    assert!((60..=300).contains(&after(vec![update("2.0.0")], &stale)), "a period that has begun meanwhile");
    let crowded = after(vec![update("2.0.0")], &no_room([("2.0.0", NoRoom::TooManyInFlight)]));
    assert!((900..1200).contains(&crowded), "{crowded}");
}

#[test]
fn devices_that_wait_for_one_moment_do_not_come_in_one_second() {
    let catalog = catalog([update("2.0.0").starts(HOUR_AFTER)]);
    let mut arrivals = [0_u32; 300];
    for number in 0..3000 {
        let device = named(&format!("lamp-{number}"), lamp("1.0.0"));
        let decision = decide(&device, &catalog, &Claims::default(), moment(NOON));
        let after_s = check_again_after_s(&device, &decision, moment(NOON));
        arrivals[usize::try_from(after_s - 3600).unwrap()] += 1;
    }
    assert!(arrivals.iter().all(|devices| *devices < 40), "3000 devices over 300 s: {arrivals:?}");
}

#[test]
fn a_far_off_opening_does_not_hide_that_places_come_free_soon() {
    let later = catalog([update("3.0.0").starts("2026-06-25T12:00:00Z"), update("2.0.0")]);
    let crowded = no_room([("2.0.0", NoRoom::TooManyInFlight)]);
    let now = moment("2026-06-15T12:00:00Z");
    let device = lamp("1.0.0");
    let seconds = check_again_after_s(&device, &decide(&device, &later, &crowded, now), now);
    assert!((900..1200).contains(&seconds), "{seconds}");
}

#[test]
fn nothing_opens_once_the_rollout_is_over() {
    let now = moment("2026-06-15T12:00:00Z");
    let ending = |update: Draft| catalog([update.ends("2026-06-15T13:00:00Z")]);
    for update in [
        update("2.0.0").phase("2026-06-15T00:00:00Z", 0.0).phase("2026-06-20T00:00:00Z", 100.0),
        update("2.0.0").window("0 22 * * *", 3600, "UTC"),
    ] {
        let catalog = ending(update);
        let device = lamp("1.0.0");
        assert_eq!(decide(&device, &catalog, &Claims::default(), now).may_change_at(), None);
    }
}
