//! Timetable of a rollout: the tests play the announced times. They do not repeat the formula.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use support::*;
use tidegate_core::attributes::Value;
use tidegate_core::window::{Opening, OpeningWindow};
use tidegate_core::{Catalog, Claims, Cohort, Device, DeviceId, Timestamp, decide};

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn is_offered(device: &Device, catalog: &Catalog, now: Timestamp) -> bool {
    decide(device, catalog, &Claims::default(), now).offer.is_some()
}

/// A lamp whose place in the queue of 2.0.0 is exactly `place`.
fn lamp_at(place: u16) -> Device {
    let found = (0..1_000_000)
        .map(|number| format!("lamp-{number}"))
        .find(|id| Cohort::of(&lamp_update("2.0.0"), &DeviceId::new(id.as_str()).unwrap()).place() == place);
    named(&found.unwrap(), lamp("1.0.0"))
}

// Start and end.

#[test]
fn a_rollout_begins_with_its_first_second_and_is_over_at_its_end() {
    let catalog = catalog([update("2.0.0").starts(NOON).ends(HOUR_AFTER)]);
    let device = lamp("1.0.0");
    let early = "nothing; not 2.0.0: its rollout starts for this device at 2026-06-15T12:00:00Z";
    let over = "nothing; not 2.0.0: its rollout ended at 2026-06-15T13:00:00Z";
    check_at(&device, &catalog, "2026-06-15T11:59:59Z", early);
    check_at(&device, &catalog, "2026-06-15T11:59:59.999999999Z", early);
    check_at(&device, &catalog, "2026-06-15T12:00:00Z", "offer 2.0.0");
    check_at(&device, &catalog, "2026-06-15T12:59:59Z", "offer 2.0.0");
    check_at(&device, &catalog, "2026-06-15T12:59:59.999999999Z", "offer 2.0.0");
    check_at(&device, &catalog, "2026-06-15T13:00:00Z", over);
    check_at(&device, &catalog, "2027-06-15T13:00:00Z", over);
}

// Groups.

#[test]
fn a_group_starts_at_its_own_time_early_or_late_and_follows_no_phase() {
    let staged = catalog([update("2.0.0")
        .starts(NOON)
        .phase(NOON, 0.0)
        .group("stage == \"test\"", "2026-06-15T10:00:00Z")
        .group("stage == \"museum\"", "2026-06-20T00:00:00Z")]);
    let stage = |stage| saying("stage", text(stage), lamp("1.0.0"));
    let opens = |at| format!("nothing; not 2.0.0: its rollout starts for this device at {at}");
    check_at(&stage("test"), &staged, "2026-06-15T09:59:59Z", &opens("2026-06-15T10:00:00Z"));
    check_at(&stage("test"), &staged, "2026-06-15T10:00:00Z", "offer 2.0.0");
    check_at(&stage("test"), &staged, "2026-06-15T13:00:00Z", "offer 2.0.0");
    check_at(&stage("museum"), &staged, "2026-06-19T23:59:59Z", &opens("2026-06-20T00:00:00Z"));
    check_at(&stage("museum"), &staged, "2026-06-20T00:00:00Z", "offer 2.0.0");
    check_at(&stage("field"), &staged, "2026-06-15T11:59:59Z", &opens("2026-06-15T12:00:00Z"));
    let place = Cohort::of(&lamp_update("2.0.0"), &stage("field").id).place();
    let no_phase = format!(
        "nothing; not 2.0.0: the present phase reaches 0 % of devices and this one has place {place} of 10000; \
         no phase reaches it"
    );
    check_at(&stage("field"), &staged, "2026-06-15T12:00:00Z", &no_phase);
}

#[test]
fn a_device_in_several_groups_starts_with_the_earliest_of_them() {
    for (first, second) in [(HOUR_BEFORE, HOUR_AFTER), (HOUR_AFTER, HOUR_BEFORE)] {
        let catalog = catalog([update("2.0.0").group("memory >= 1", first).group("stage == \"test\"", second)]);
        check_at(&lamp("1.0.0"), &catalog, HOUR_BEFORE, "offer 2.0.0");
        let early = "nothing; not 2.0.0: its rollout starts for this device at 2026-06-15T11:00:00Z";
        check_at(&lamp("1.0.0"), &catalog, "2026-06-15T10:59:59Z", early);
    }
}

#[test]
fn a_device_that_leaves_a_groups_question_open_is_not_in_it() {
    let starts = "nothing; not 2.0.0: its rollout starts for this device at 2026-06-15T13:00:00Z";
    for policy in ["region == \"eu\"", "!(region == \"eu\")", "memory / 0 == 1"] {
        check(&lamp("1.0.0"), &catalog([update("2.0.0").starts(HOUR_AFTER).group(policy, HOUR_BEFORE)]), starts);
    }
}

#[test]
fn a_group_is_no_way_around_policy_end_and_windows() {
    let grouped = |update: Draft| catalog([update.group("stage == \"test\"", HOUR_BEFORE)]);
    let refused = "nothing; not 2.0.0: its policy is not for this device";
    check(&lamp("1.0.0"), &grouped(update("2.0.0").policy("memory < 256")), refused);
    let over = "nothing; not 2.0.0: its rollout ended at 2026-06-15T12:00:00Z";
    check(&lamp("1.0.0"), &grouped(update("2.0.0").ends(NOON)), over);
    let closed = "nothing; not 2.0.0: no window is open; the next opens at 2026-06-15T22:00:00Z";
    check(&lamp("1.0.0"), &grouped(update("2.0.0").window("0 22 * * *", 3600, "UTC")), closed);
}

// Phases.

#[test]
fn a_phase_reaches_the_places_below_its_share_from_its_first_second_on() {
    let phased = catalog([update("2.0.0")
        .phase("2026-06-15T12:00:00Z", 5.0)
        .phase("2026-06-16T12:00:00Z", 25.0)
        .phase("2026-06-17T12:00:00Z", 99.99)]);
    let (last_of_first, first_of_second, last) = (lamp_at(499), lamp_at(500), lamp_at(9999));
    let waits = |share: &str, place: u16, until: &str| {
        format!(
            "nothing; not 2.0.0: the present phase reaches {share} % of devices and this one has place {place} of 10000; {until}"
        )
    };
    let first = "a phase reaches it at 2026-06-15T12:00:00Z";
    let second = "a phase reaches it at 2026-06-16T12:00:00Z";
    let check = |device: &Device, now, expected: &str| check_at(device, &phased, now, expected);
    check(&last_of_first, "2026-06-15T11:59:59Z", &waits("0", 499, first));
    check(&last_of_first, "2026-06-15T12:00:00Z", "offer 2.0.0");
    check(&last_of_first, "2026-06-15T12:00:01Z", "offer 2.0.0");
    check(&first_of_second, "2026-06-15T11:59:59Z", &waits("0", 500, second));
    check(&first_of_second, "2026-06-15T12:00:00Z", &waits("5", 500, second));
    check(&first_of_second, "2026-06-16T11:59:59Z", &waits("5", 500, second));
    check(&first_of_second, "2026-06-16T12:00:00Z", "offer 2.0.0");
    check(&last, "2026-06-16T12:00:00Z", &waits("25", 9999, "no phase reaches it"));
    check(&last, "2026-07-01T12:00:00Z", &waits("99.99", 9999, "no phase reaches it"));
}

#[test]
fn phases_never_begin_before_the_rollout_does() {
    let phased = catalog([update("2.0.0").starts(NOON).phase(HOUR_BEFORE, 100.0)]);
    let early = "nothing; not 2.0.0: its rollout starts for this device at 2026-06-15T12:00:00Z";
    check_at(&lamp("1.0.0"), &phased, "2026-06-15T11:59:59Z", early);
    check_at(&lamp("1.0.0"), &phased, NOON, "offer 2.0.0");
}

#[test]
fn ten_thousand_devices_are_admitted_as_the_timetable_announces() {
    // Minutes after noon, and the percentage announced from then on.
    let timetable = [(7, 0.1), (15, 1.0), (31, 5.0), (59, 25.0), (60, 50.0), (83, 100.0)];
    let noon = moment(NOON);
    let minute = |minute: i64| Timestamp::from_second(noon.as_second() + minute * 60).unwrap();
    let phased = timetable
        .iter()
        .fold(update("2.0.0"), |update, (at, percent)| update.phase(&minute(*at).to_string(), *percent));
    let catalog = catalog([phased]);
    let fleet: Vec<_> = (0..10_000).map(|number| named(&format!("lamp-{number}"), lamp("1.0.0"))).collect();

    let mut admitted = BTreeSet::new();
    for now in 0..=90_i64 {
        let before = admitted.len();
        // All devices ask at the boundaries and next to them. Between them only a sample asks.
        let near_a_step = timetable.iter().any(|(at, _)| (at - 1..=at + 1).contains(&now));
        let asked = if near_a_step { 1 } else { 20 };
        for (number, device) in fleet.iter().enumerate().step_by(asked) {
            let is_in = is_offered(device, &catalog, minute(now));
            assert!(
                is_in || !admitted.contains(&number),
                "{} was admitted before minute {now} and is not now",
                device.id
            );
            if is_in {
                admitted.insert(number);
            }
        }
        let announced = timetable.iter().rfind(|(at, _)| *at <= now).map_or(0.0, |(_, percent)| *percent);
        let expected = 100.0 * announced;
        // Cohorts are uniform: four standard deviations of a binomial of 10,000.
        let tolerance = 4.0 * (10_000.0 * announced / 100.0 * (1.0 - announced / 100.0)).sqrt();
        let curve = admitted.len() as f64;
        assert!(
            (curve - expected).abs() <= tolerance,
            "minute {now}: {announced} % was announced, {curve} of 10000 devices are admitted"
        );
        let is_step = timetable.iter().any(|(at, _)| *at == now);
        assert!(is_step || admitted.len() == before, "minute {now}: devices came in between two steps");
    }
    assert_eq!(admitted.len(), 10_000, "100 % is everyone");
}

#[test]
fn the_announced_opening_of_a_phase_is_the_second_at_which_the_device_is_let_in() {
    let phased = catalog([update("2.0.0")
        .starts(HOUR_AFTER)
        .phase(NOON, 5.0)
        .phase("2026-06-16T00:00:00Z", 30.0)
        .phase("2026-06-17T00:00:00Z", 100.0)]);
    for number in 0..1000 {
        let device = named(&format!("lamp-{number}"), lamp("1.0.0"));
        let mut now = moment("2026-06-15T00:00:00Z");
        // Each answer names a time. Asking at each of these times must end with the offer.
        for _ in 0..3 {
            let decision = decide(&device, &phased, &Claims::default(), now);
            if decision.offer.is_some() {
                break;
            }
            let opens_at = decision.may_change_at().unwrap();
            assert!(opens_at > now);
            let just_before = Timestamp::from_second(opens_at.as_second() - 1).unwrap();
            assert!(!is_offered(&device, &phased, just_before), "{}", device.id);
            now = opens_at;
        }
        assert!(is_offered(&device, &phased, now), "{}", device.id);
    }
}

// Windows.

#[track_caller]
fn check_windows(windows: &[(&str, u32, &str)], cases: &[(&str, &str)]) {
    let update =
        windows.iter().fold(update("2.0.0"), |update, (cron, duration_s, zone)| update.window(cron, *duration_s, zone));
    let catalog = catalog([update]);
    for (now, expected) in cases {
        let expected = match *expected {
            "open" => "offer 2.0.0".to_owned(),
            opens => format!("nothing; not 2.0.0: no window is open; the next opens at {opens}"),
        };
        check_at(&lamp("1.0.0"), &catalog, now, &expected);
    }
}

#[test]
fn a_window_opens_and_closes_to_the_second_in_its_own_zone() {
    check_windows(
        &[("0 22 * * *", 6 * 3600, "Europe/Berlin")],
        &[
            ("2026-01-15T20:59:59.999Z", "2026-01-15T21:00:00Z"),
            ("2026-01-15T21:00:00Z", "open"),
            ("2026-01-15T21:00:00.001Z", "open"),
            ("2026-01-16T02:59:59.999Z", "open"),
            ("2026-01-16T03:00:00Z", "2026-01-16T21:00:00Z"),
            ("2026-07-15T19:59:59Z", "2026-07-15T20:00:00Z"),
            ("2026-07-15T20:00:00Z", "open"),
        ],
    );
}

#[test]
fn a_window_keeps_its_local_start_and_its_real_length_over_both_clock_changes() {
    // Spring: 01:00 UTC on 29 March. Autumn: 01:00 UTC on 25 October.
    check_windows(
        &[("0 22 * * *", 6 * 3600, "Europe/Berlin")],
        &[
            ("2026-03-28T21:00:00Z", "open"),
            ("2026-03-29T02:59:59Z", "open"),
            ("2026-03-29T03:00:00Z", "2026-03-29T20:00:00Z"),
            ("2026-03-29T20:00:00Z", "open"),
            ("2026-10-24T19:59:59Z", "2026-10-24T20:00:00Z"),
            ("2026-10-25T01:59:59Z", "open"),
            ("2026-10-25T02:00:00Z", "2026-10-25T21:00:00Z"),
            ("2026-10-25T20:59:59Z", "2026-10-25T21:00:00Z"),
        ],
    );
    // New York: 07:00 UTC on 8 March and 06:00 UTC on 1 November.
    check_windows(
        &[("30 23 * * *", 5 * 3600, "America/New_York")],
        &[
            ("2026-03-08T04:30:00Z", "open"),
            ("2026-03-08T09:29:59Z", "open"),
            ("2026-03-08T09:30:00Z", "2026-03-09T03:30:00Z"),
            ("2026-11-01T03:30:00Z", "open"),
            ("2026-11-01T08:29:59Z", "open"),
            ("2026-11-01T08:30:00Z", "2026-11-02T04:30:00Z"),
        ],
    );
}

#[test]
fn a_weekly_window_opens_on_its_day_only() {
    check_windows(
        &[("0 3 * * 6", 3600, "Asia/Kolkata")],
        &[
            ("2026-06-19T21:29:59Z", "2026-06-19T21:30:00Z"),
            ("2026-06-19T21:30:00Z", "open"),
            ("2026-06-19T22:30:00Z", "2026-06-26T21:30:00Z"),
        ],
    );
}

#[test]
fn of_several_windows_any_open_one_is_enough_and_the_next_to_open_is_announced() {
    check_windows(
        &[("0 22 * * *", 3600, "Europe/Berlin"), ("0 22 * * *", 3600, "Asia/Tokyo")],
        &[
            ("2026-06-15T12:59:59Z", "2026-06-15T13:00:00Z"),
            ("2026-06-15T13:00:00Z", "open"),
            ("2026-06-15T14:00:00Z", "2026-06-15T20:00:00Z"),
            ("2026-06-15T20:00:00Z", "open"),
            ("2026-06-15T21:00:00Z", "2026-06-16T13:00:00Z"),
        ],
    );
    let overlapping = [("0 10 * * *", 7200, "UTC"), ("0 11 * * *", 7200, "UTC")];
    check_windows(&overlapping, &[("2026-06-15T12:30:00Z", "open"), ("2026-06-15T13:00:00Z", "2026-06-16T10:00:00Z")]);
}

/// Time zones with different clock changes, with the UTC day of each change.
const CLOCK_CHANGES: [(&str, &str); 8] = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    // Half an hour only.
    ("Australia/Lord_Howe", "2026-04-04"),
    ("Australia/Lord_Howe", "2026-10-03"),
    // At midnight.
    ("America/Santiago", "2026-04-05"),
    ("America/Santiago", "2026-09-06"),
];

#[test]
fn a_daily_window_is_open_once_a_day_for_its_real_length_over_every_clock_change() {
    for (zone, day) in CLOCK_CHANGES {
        for cron in ["0 0 * * *", "30 1 * * *", "0 2 * * *", "30 2 * * *"] {
            // The window is shorter than the half hour that a change can repeat, so the test sees a second opening.
            let window = OpeningWindow::new(cron, 20 * 60, zone).unwrap();
            let change = moment(&format!("{day}T12:00:00Z"));
            // From local noon to local noon, so that each window is complete.
            let [first, last] = [-24, 24].map(|hours| {
                let day = Timestamp::from_second(change.as_second() + hours * 3600).unwrap();
                let local = day.in_tz(zone).unwrap();
                local.with().hour(12).minute(0).second(0).build().unwrap().timestamp().as_second()
            });
            // All starts and ends are at multiples of ten minutes, so asking every ten minutes misses none.
            let is_open = |second: &i64| window.at(Timestamp::from_second(*second).unwrap()) == Opening::Open;
            let open = (first..last).step_by(600).filter(is_open).count();
            assert_eq!(open, 2 * 2, "tens of minutes in two days of `{cron}` in {zone} around {day}");
        }
    }
}

#[test]
fn the_announced_opening_of_a_window_is_true_to_the_second_over_every_clock_change() {
    for (zone, day) in CLOCK_CHANGES {
        for cron in ["30 2 * * *", "0 0 * * *", "*/30 * * * *", "0 */2 * * *"] {
            let window = OpeningWindow::new(cron, 20 * 60, zone).unwrap();
            let at = |second| window.at(Timestamp::from_second(second).unwrap());
            let change = moment(&format!("{day}T12:00:00Z")).as_second();
            let mut announced = None;
            for second in (change - 86_400..change + 86_400).step_by(600) {
                let told = at(second);
                let is_open = told == Opening::Open;
                if let Some(opens) = announced {
                    assert_eq!(is_open, second == opens, "`{cron}` in {zone} at {second}: announced for {opens}");
                }
                let Opening::Closed(Some(opens_at)) = told else {
                    announced = None;
                    continue;
                };
                let opens = opens_at.as_second();
                if announced.replace(opens) != Some(opens) {
                    assert!(opens > second, "`{cron}` in {zone} at {second}");
                    assert_eq!(at(opens), Opening::Open, "`{cron}` in {zone}: announced for {opens}");
                    assert_ne!(at(opens - 1), Opening::Open, "`{cron}` in {zone}: open before {opens}");
                }
            }
        }
    }
}

#[test]
fn a_device_that_may_belong_to_a_late_group_waits_for_it() {
    let late = "2026-06-20T00:00:00Z";
    let catalog = catalog([update("2.0.0").group("hospital == true", late)]);
    let waits = "nothing: not_started; not 2.0.0: its rollout starts for this device at 2026-06-20T00:00:00Z";
    let stated = |value| support::saying("hospital", Value::Bool(value), lamp("1.0.0"));
    assert!(decides(&stated(false), &catalog).starts_with("offer"), "it says that it is not in the group");
    assert_eq!(decides(&stated(true), &catalog), decides(&lamp("1.0.0"), &catalog), "silence is doubt: {waits}");
}

fn decides(device: &Device, catalog: &Catalog) -> String {
    support::answer(&decide(device, catalog, &Claims::default(), moment("2026-06-15T12:00:00Z")))
}
