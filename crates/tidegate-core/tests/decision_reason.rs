//! Reason that a device is told, and time after which it asks again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::*;
use tidegate_core::guidance::check_again_after_s;
use tidegate_core::life::table::Event;
use tidegate_core::objection::NoRoom;
use tidegate_core::{Claims, Device, ObjectionCode, State, decide};

const NIGHT: (&str, u32, &str) = ("0 22 * * *", 6 * 3600, "UTC");

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

/// The other device with its id would come instead, and say the old version twice in a row.
#[test]
fn a_device_that_said_the_old_version_once_is_not_asked_to_come_soon() {
    let catalog = catalog([update("2.0.0")]);
    let after_s = |events: &[Event]| {
        let (device, claims) = (lamp("1.0.0"), claims([claim("2.0.0", events)]));
        let decision = decide(&device, &catalog, &claims, moment(NOON));
        assert_eq!(decision.reason_code(), ObjectionCode::RetryLater);
        check_again_after_s(&device, &decision, moment(NOON))
    };
    assert!(after_s(&[Event::Success]) < 1200, "it boots");
    assert!(after_s(&[Event::Expected, Event::Old]) > 3600);
}
