//! Order of the rules: of several rules that object, the first one gives the reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::*;
use tidegate_core::claim::Halted;
use tidegate_core::device::Delivery;
use tidegate_core::life::table::Event::{self, Declined, Expected, Failure, Old, Success, Third};
use tidegate_core::limits::Caps;
use tidegate_core::objection::NoRoom;
use tidegate_core::orders::Orders;
use tidegate_core::shard::{Gate, Grant, Refusal, Shard};
use tidegate_core::{Claims, Device, ObjectionCode, State, decide};

const NIGHT: (&str, u32, &str) = ("0 22 * * *", 6 * 3600, "UTC");

/// Check-in to which only the chosen rules object.
#[derive(Clone)]
struct Objected {
    device: Device,
    update: Draft,
    claims: Claims,
}

/// Code of an objection, and a change that makes its rule object.
type Objector = (&'static str, fn(Objected) -> Objected);

fn on_update(asked: Objected, change: impl FnOnce(Draft) -> Draft) -> Objected {
    Objected { update: change(asked.update), ..asked }
}

fn ordered(mut asked: Objected, order: impl Fn(&mut Orders)) -> Objected {
    order(&mut asked.device.orders);
    asked
}

fn with_no_room(mut asked: Objected, note: NoRoom) -> Objected {
    asked.claims.note_no_room(lamp_update("2.0.0"), note);
    asked
}

fn with_claim(asked: Objected, events: &[Event]) -> Objected {
    Objected { claims: claims([claim("2.0.0", events)]), ..asked }
}

/// All objectors, in the order of the rules. Those of one list exclude each other.
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
        vec![("pinned", |asked| ordered(asked, |orders| orders.pin = Some(version("1.0.0"))))],
        vec![("on_hold", |asked| ordered(asked, |orders| orders.is_on_hold = true))],
        vec![
            ("aborted", |asked| on_update(asked, |update| update.state(State::Aborted))),
            ("ended", |asked| on_update(asked, |update| update.state(State::Completed))),
        ],
        vec![("ended", |asked| on_update(asked, |update| update.ends(HOUR_BEFORE)))],
        vec![
            ("cloned_id", |asked| with_claim(asked, &[Expected, Old, Expected])),
            ("reverted", |asked| with_claim(asked, &[Expected, Old, Old])),
            ("failed_before", |asked| with_claim(asked, &[Failure; 3])),
            ("declined", |asked| with_claim(asked, &[Declined; 4])),
            ("keeps_leaving", |asked| with_claim(asked, &[Third; 4])),
            ("retry_later", |asked| with_claim(asked, &[Success])),
        ],
        vec![
            // The state itself cannot be two at a time: this stop is newer than the catalog.
            ("paused", |asked| Objected {
                claims: asked.claims.with_halted(Halted { all: true, ..Halted::default() }),
                ..asked
            }),
        ],
        vec![("transfers_failing", |asked| on_update(asked, |update| update.transfers_wait_until(HOUR_AFTER)))],
        vec![
            ("not_started", |asked| on_update(asked, |update| update.starts(HOUR_AFTER))),
            ("not_started", |asked| {
                // The group follows no phase, so the phase below cannot object; the start comes first anyway.
                on_update(asked, |update| update.starts(HOUR_AFTER).group("memory < 256", HOUR_BEFORE))
            }),
        ],
        vec![("outside_window", |asked| on_update(asked, |update| update.window(NIGHT.0, NIGHT.1, NIGHT.2)))],
        vec![("not_in_phase", |asked| on_update(asked, |update| update.phase(HOUR_BEFORE, 0.0)))],
        vec![("no_answer", |mut asked| {
            asked.claims.note_unanswered(lamp_update("2.0.0"));
            asked
        })],
        vec![
            ("newcomer", |asked| with_no_room(asked, NoRoom::Newcomer)),
            ("full", |asked| with_no_room(asked, NoRoom::Full)),
            ("rate_limited", |asked| with_no_room(asked, NoRoom::RateLimited { opens_at: None })),
            ("too_many_in_flight", |asked| with_no_room(asked, NoRoom::TooManyInFlight)),
            ("busy", |asked| with_no_room(asked, NoRoom::Busy)),
        ],
    ]
}

/// Code of the objection to the only update, after all changes in the given order.
fn objection(changes: &[Objector]) -> &'static str {
    // A change of the claims replaces all claims, so it comes before a note of no room. The lists have this order.
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
    let paused: Objector = ("paused", |asked| on_update(asked, |update| update.state(State::Paused)));
    let held: Objector = ("held", |asked| on_update(asked, |update| update.state(State::Held)));
    for objector in objectors().into_iter().flatten().chain([paused, held]) {
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
    // A hold is asked for with a pause: the state cannot be both.
    let codes = ObjectionCode::ALL.iter().map(|code| code.name()).filter(|code| *code != "held");
    assert_eq!(order, codes.collect::<Vec<_>>());
}

#[test]
fn a_shard_without_any_room_says_full_first_then_rate_limited_then_too_many_in_flight() {
    let told = |used, period_used, granted| {
        let (gate, caps, ceiling) = (Gate::Open, Caps { devices: 10, per_period: 10 }, Some(10));
        let shard = Shard { gate, generation: 1, caps, ceiling, granted, used, period: 3600, period_used };
        match shard.refusal(Grant::First, 1, 3600, 3600) {
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
