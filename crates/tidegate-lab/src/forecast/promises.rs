//! The promises of a forecast.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tidegate_core::attributes::Value;
use tidegate_core::device::Delivery;
use tidegate_core::limits::Limits;
use tidegate_core::orders::Orders;
use tidegate_core::policy::{Policy, Slots};
use tidegate_core::{Catalog, Claims, Cohort, Device, DeviceId, ProductId, State, Update, Version, decide};

use crate::fleet::Outcomes;
use crate::forecast::decider::Memory;
use crate::forecast::fleet_file::FleetFile;
use crate::forecast::play::{Watch, play, play_watched};
use crate::forecast::read_update;

#[derive(Default, PartialEq, Debug)]
struct Answers(Vec<(i64, u32, &'static str)>);

impl Watch for Answers {
    fn answered(&mut self, at_s: i64, device: u32, answer: &'static str) {
        self.0.push((at_s, device, answer));
    }
}

fn update(text: &[u8]) -> Update {
    read_update(text, &ProductId::new("lamp").unwrap()).unwrap()
}

/// An update that is offered to everybody in turn.
fn update_without_control_group(text: &[u8]) -> Update {
    let mut update = update(text);
    update.rollout.health.control_group = false;
    update
}

/// A fleet file with another number of devices.
fn fleet(text: &str, devices: u32) -> FleetFile {
    let mut file = serde_json::from_str::<serde_json::Value>(text).unwrap();
    file["devices"] = devices.into();
    FleetFile::read(file.to_string().as_bytes()).unwrap()
}

fn device_id(number: u32) -> DeviceId {
    DeviceId::new(format!("device-{number:07}")).unwrap()
}

const PHASED: &[u8] = include_bytes!("../../examples-data/phased-update.json");
const AT_ONCE: &[u8] = include_bytes!("../../examples-data/at-once-update.json");
const NIGHT: &[u8] = include_bytes!("../../examples-data/night-update.json");
const NIGHTLY: &str = include_str!("../../examples-data/night-fleet.json");
const HEALTHY: &str = include_str!("../../examples-data/healthy-fleet.json");
const BAD: &str = include_str!("../../examples-data/bad-update-fleet.json");
const SILENT: &str = include_str!("../../examples-data/silent-brick-fleet.json");

#[test]
fn what_is_remembered_is_what_the_rules_say_device_by_device() {
    let plays = [
        (PHASED, HEALTHY, 700),
        (PHASED, BAD, 700),
        (AT_ONCE, BAD, 700),
        (AT_ONCE, SILENT, 700),
        (NIGHT, NIGHTLY, 150),
    ];
    for (update_text, fleet_text, devices) in plays {
        let (update, mut fleet) = (update(update_text), fleet(fleet_text, devices));
        fleet.fleet.outcomes.failure = fleet.fleet.outcomes.failure.max(0.01);
        fleet.play_s = fleet.play_s.max(48 * 3600);
        let (mut fast, mut full) = (Answers::default(), Answers::default());
        play_watched(&update, &fleet, 3, Memory::Kept, &mut fast);
        play_watched(&update, &fleet, 3, Memory::None, &mut full);
        assert!(fast.0.len() > 5_000, "{}", fast.0.len());
        let differs = fast.0.iter().zip(&full.0).find(|(fast, full)| fast != full);
        assert!(fast == full, "{differs:?}");
    }
}

#[test]
fn limits_hold_in_every_period_and_every_device_is_offered_it_in_its_announced_phase_only() {
    let (update, fleet) = (update(PHASED), fleet(HEALTHY, 20_000));
    let mut answers = Answers::default();
    let forecast = play_watched(&update, &fleet, 1, Memory::Kept, &mut answers);
    assert!(forecast.offers_per_period.iter().all(|(_, offers)| *offers <= 600) && forecast.most_in_flight <= 400);
    for (at_s, device, answer) in answers.0 {
        let place = Cohort::of(&update.id, &device_id(device)).place();
        let announced =
            [(500, "2026-03-02T08:00:00Z"), (2500, "2026-03-03T08:00:00Z"), (10_000, "2026-03-05T08:00:00Z")];
        let (_, opens) = announced.iter().find(|(below, _)| place < *below).unwrap();
        assert!(answer != "offer" || at_s >= opens.parse::<jiff::Timestamp>().unwrap().as_second());
    }
}

#[test]
fn a_silent_brick_costs_what_may_be_in_flight_and_not_one_device_more() {
    let forecast = play(&update(AT_ONCE), &fleet(SILENT, 5000), 1, |_| {});
    assert_eq!(forecast.most_in_flight, 500);
    assert_eq!(forecast.last().unwrap().offered, 500, "{forecast}");
    assert!(forecast.held_at().is_some(), "{forecast}");
}

/// P(X ≤ most) for X binomial, summed term by term.
fn binomial_up_to(most: u64, trials: u32, chance: f64) -> f64 {
    let (mut logarithm, mut sum) = (f64::from(trials) * (1.0 - chance).ln(), 0.0);
    for successes in 0..=u32::try_from(most).unwrap().min(trials) {
        sum += logarithm.exp();
        logarithm += (f64::from(trials - successes) / f64::from(successes + 1)).ln() + (chance / (1.0 - chance)).ln();
    }
    sum
}

#[test]
fn at_each_boundary_the_share_offered_is_the_announced_one_and_never_above_it() {
    let mut update = update_without_control_group(PHASED);
    update.rollout.limits.max_per_period = None;
    (update.rollout.limits.max_in_flight, update.rollout.limits.grows) = (None, false);
    let fleet = fleet(HEALTHY, 25_000);
    let forecast = play(&update, &fleet, 1, |_| {});
    let below =
        |places| (0..20_000).filter(|device| Cohort::of(&update.id, &device_id(*device)).place() < places).count();
    // The hours before 08:00 on Monday, Tuesday and Thursday, and the last one.
    for (hours, places) in [(0..2, 0), (2..26, 500), (26..74, 2500), (74..168, 10_000)] {
        let announced = u64::try_from(below(places)).unwrap();
        assert!(forecast.hours[hours.clone()].iter().all(|hour| hour.offered <= announced), "{places}");
        let offered = forecast.hours[hours].last().unwrap().offered;
        assert_eq!(offered, announced, "{places}");
        if [500, 2500].contains(&places) {
            let chance = f64::from(places) / 10_000.0;
            let rank = binomial_up_to(offered, 20_000, chance);
            assert!((1e-4..1.0 - 1e-4).contains(&rank), "{offered} of 20000 at {chance}: {rank}");
        }
    }
}

/// The night of the change to summer time is among them: its window ends an hour early by the clock
/// on the wall, and is six hours long all the same.
#[test]
fn windows_and_groups_are_what_the_rules_say_asked_afresh() {
    let mut update = update_without_control_group(NIGHT);
    (update.rollout.limits.max_in_flight, update.rollout.limits.grows) = (None, false);
    let mut slots = Slots::new();
    let mut asked = update.clone();
    asked.policy = Policy::parse(update.policy.text(), &mut slots).unwrap();
    for group in &mut asked.rollout.groups {
        group.policy = Policy::parse(group.policy.text(), &mut slots).unwrap();
    }
    asked.state = State::Active;
    // Without limits, what the rules say of a device without a claim is all that it can be told.
    asked.rollout.limits =
        Limits { max_devices: None, max_per_period: None, max_in_flight: None, grows: false, ..Limits::default() };
    let catalog = Catalog::new(asked.product.clone(), slots, [asked.clone()]);
    let mut fleet = fleet(NIGHTLY, 1200);
    fleet.fleet.outcomes = Outcomes::ALL_SUCCEED;
    let mut answers = Answers::default();
    play_watched(&asked, &fleet, 1, Memory::Kept, &mut answers);

    let mut told = BTreeMap::new();
    let mut is_held = BTreeSet::new();
    for (at_s, number, answer) in answers.0 {
        if is_held.contains(&number) {
            continue;
        }
        let stage = match number {
            0..60 => "test",
            60..960 => "field",
            960..1080 => "hospital",
            _ => "small",
        };
        let memory = if stage == "small" { 256 } else { 1024 };
        let said = [("model", "lamp-9"), ("stage", stage)].map(|(name, text)| (name.into(), Value::Text(text.into())));
        let device = Device {
            id: device_id(number),
            product: asked.product.clone(),
            version: Version::new(1, 4, 0),
            attributes: said.into_iter().chain([("memory".to_owned(), Value::Integer(memory))]).collect(),
            said: None,
            delivery: Delivery::Anything,
            orders: Orders::default(),
        };
        let decision = decide(&device, &catalog, &Claims::new([]), jiff::Timestamp::from_second(at_s).unwrap());
        let expected = match &decision.offer {
            Some(_) => "offer",
            None => decision.reason().unwrap().1.code().name(),
        };
        assert_eq!(answer, expected, "{} in {stage} at {at_s}", device.id);
        *told.entry((stage, answer)).or_insert(0_u32) += 1;
        if answer == "offer" {
            is_held.insert(number);
        }
    }
    let told = told.keys().copied().collect::<Vec<_>>();
    let expected = [
        ("field", "not_in_phase"),
        ("field", "not_started"),
        ("field", "offer"),
        ("field", "outside_window"),
        ("hospital", "not_started"),
        ("hospital", "offer"),
        ("hospital", "outside_window"),
        ("small", "not_targeted"),
        ("test", "not_started"),
        ("test", "offer"),
        ("test", "outside_window"),
    ];
    assert_eq!(told, expected, "every rule of time had its say");
}

/// The text of an axis, where it stands, from a picture.
fn labels(svg: &str) -> Vec<(f64, f64, String)> {
    let texts = svg.split("<text ").skip(1).map(|text| {
        let number = |name: &str| text.split_once(name).unwrap().1.split('"').next().unwrap().parse::<f64>().unwrap();
        let shown = text.split_once('>').unwrap().1.split('<').next().unwrap().trim().to_owned();
        (number("x=\""), number("y=\""), shown)
    });
    texts.collect()
}

/// Reads the plotted curve off its own axes, as a person with a ruler would.
#[test]
fn the_plotted_curve_keeps_to_the_announced_timetable() {
    let (update, fleet) = (update_without_control_group(PHASED), fleet(HEALTHY, 25_000));
    let svg = play(&update, &fleet, 1, |_| {}).svg();
    let labels = labels(&svg);
    let label = |shown: &str| labels.iter().find(|(.., text)| text == shown).unwrap();
    let ((_, ground, _), (_, top, _)) = (label("0"), label("20,000"));
    let ((tuesday, ..), (friday, ..)) = (label("Tue 3 Mar"), label("Fri 6 Mar"));
    let hours_of = |x: f64| (x - tuesday) / (friday - tuesday) * 72.0;
    let devices_at = |y: f64| (ground - y) / (ground - top) * 20_000.0;
    let curve = svg.lines().find(|line| line.contains("#0072B2") && line.contains("stroke-width=\"7\"")).unwrap();
    let spots = curve.split_once("points=\"").unwrap().1.split('"').next().unwrap().split_whitespace();
    let spots: Vec<(f64, f64)> = spots
        .map(|spot| spot.split_once(',').unwrap())
        .map(|(x, y)| (hours_of(x.parse().unwrap()), devices_at(y.parse().unwrap())))
        .collect();
    assert!(spots.len() > 500, "{}", spots.len());

    // Hours since Tuesday, 00:00 UTC, at which the phases were announced to begin, and their shares. A
    // pixel is 0.2 hours wide and 84 devices high.
    let announced = [(-16.0, 0.05), (8.0, 0.25), (56.0, 1.0)];
    let reach =
        |hours: f64| announced.iter().rfind(|(from, _)| *from <= hours).map_or(0.0, |(_, share)| share * 20_000.0);
    for (hours, devices) in &spots {
        assert!(*devices <= reach(hours + 0.2) + 200.0, "{devices} are offered it at hour {hours}");
    }
    for (ends, share) in [(8.0, 0.05), (56.0, 0.25), (150.0, 1.0)] {
        let (_, devices) = spots.iter().rfind(|(hours, _)| *hours < ends - 0.2).unwrap();
        assert!((devices - share * 20_000.0).abs() <= 200.0, "{devices} at the end of the phase with {share}");
    }
    for limit in ["at most in each hour: 600", "max_in_flight 400", "phase 1: 5 %", "phase 2: 25 %", "phase 3: 100 %"] {
        assert_eq!(label(limit).2, limit, "it is drawn in");
    }
}

#[test]
fn the_pictures_in_the_docs_are_what_the_command_draws_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/forecast");
    for (name, update_text, fleet_text) in [
        ("healthy", PHASED, HEALTHY),
        ("bad-update", AT_ONCE, BAD),
        ("silent-brick", AT_ONCE, SILENT),
        ("nights", NIGHT, NIGHTLY),
    ] {
        let drawn = play(&update(update_text), &FleetFile::read(fleet_text.as_bytes()).unwrap(), 1, |_| {}).svg();
        let shown = std::fs::read_to_string(folder.join(name).with_extension("svg")).unwrap();
        assert!(drawn == shown, "{name}.svg is another picture: run the commands in docs/forecast/README.md");
    }
}

#[test]
fn an_update_that_always_fails_is_held_at_once() {
    let mut fleet = fleet(BAD, 5000);
    fleet.fleet.outcomes = Outcomes { success: 0.0, failure: 1.0, silence: 0.0 };
    let forecast = play(&update(AT_ONCE), &fleet, 1, |_| {});
    let held_after = forecast.held_at().unwrap().as_second() - fleet.starts_at.as_second();
    assert!(held_after < 3600, "{forecast}");
}

#[test]
fn the_control_group_is_served_when_all_others_had_the_time_to_become_silent() {
    let (update, mut fleet) = (update(AT_ONCE), fleet(BAD, 2500));
    fleet.fleet.outcomes = Outcomes::ALL_SUCCEED;
    fleet.play_s = 7 * 24 * 3600;
    let mut answers = Answers::default();
    let forecast = play_watched(&update, &fleet, 1, Memory::Kept, &mut answers);
    let offers = answers.0.iter().filter(|(_, _, answer)| *answer == "offer");
    // 2,000 devices are concerned, and the last 200 of the queue are the group.
    let mut by_place = offers.map(|(at_s, device, _)| (Cohort::of(&update.id, &device_id(*device)), *at_s));
    let from = by_place.clone().filter(|(_, at_s)| at_s - fleet.starts_at.as_second() > 24 * 3600);
    let from = from.map(|(place, _)| place).min().unwrap();
    let in_group = by_place.clone().filter(|(place, _)| *place >= from).count();
    assert!((200..210).contains(&in_group), "{in_group}");
    assert!(by_place.all(|(place, at_s)| {
        let hours = (at_s - fleet.starts_at.as_second()) / 3600;
        // A count after a day, and four more until 90 hours have passed.
        if place >= from { (120..122).contains(&hours) } else { hours < 24 }
    }));
    assert_eq!((forecast.eligible, forecast.last().unwrap().proved), (2000, 2000), "{forecast}");
}

#[test]
fn the_same_seed_gives_the_same_forecast() {
    let (update, fleet) = (update(PHASED), fleet(HEALTHY, 1000));
    let [first, again, other] = [5, 5, 6].map(|seed| play(&update, &fleet, seed, |_| {}));
    assert_eq!((first.table(), first.svg(), first.to_string()), (again.table(), again.svg(), again.to_string()));
    assert_ne!(first.table(), other.table());
}
