//! What a forecast promises.

use tidegate_core::{Cohort, ProductId, Update};

use crate::decider::{Memory, device_id};
use crate::fleet::{Fleet, read_fleet};
use crate::play::{Watch, play, play_watched};
use crate::read_update;

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

fn fleet(text: &str, devices: u32) -> Fleet {
    Fleet { devices, ..read_fleet(text.as_bytes()).unwrap() }
}

const PHASED: &[u8] = include_bytes!("../examples-data/phased-update.json");
const AT_ONCE: &[u8] = include_bytes!("../examples-data/at-once-update.json");
const HEALTHY: &str = include_str!("../examples-data/healthy-fleet.json");
const BAD: &str = include_str!("../examples-data/bad-update-fleet.json");
const SILENT: &str = include_str!("../examples-data/silent-brick-fleet.json");

#[test]
fn what_is_remembered_is_what_the_rules_say_device_by_device() {
    for (update_text, fleet_text) in [(PHASED, HEALTHY), (PHASED, BAD), (AT_ONCE, BAD), (AT_ONCE, SILENT)] {
        let (update, mut fleet) = (update(update_text), fleet(fleet_text, 700));
        fleet.failure_rate = fleet.failure_rate.max(0.01);
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

/// The gate needs `min_failures` claims to end before it may stop anything, and a place that comes
/// free before the last of them may be given once more.
#[test]
fn a_silent_brick_costs_what_may_be_in_flight_and_less_than_min_failures_more() {
    let update = update(AT_ONCE);
    let forecast = play(&update, &fleet(SILENT, 5000), 1);
    let offered = forecast.last().unwrap().offered;
    assert_eq!(forecast.most_in_flight, 500);
    assert!((500..500 + update.rollout.health.min_failures).contains(&offered), "{forecast}");
    assert!(forecast.aborted_at().is_some(), "{forecast}");
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
    let mut update = update(PHASED);
    update.rollout.limits.max_per_period = None;
    update.rollout.limits.max_in_flight = None;
    let fleet = fleet(HEALTHY, 25_000);
    let forecast = play(&update, &fleet, 1);
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

#[test]
fn an_update_that_always_fails_is_stopped_at_once() {
    let fleet = Fleet { success_rate: 0.0, failure_rate: 1.0, ..fleet(BAD, 5000) };
    let forecast = play(&update(AT_ONCE), &fleet, 1);
    let stopped = forecast.aborted_at().unwrap().as_second() - fleet.starts_at.as_second();
    assert!(stopped < 3600, "{forecast}");
}

#[test]
fn the_same_seed_gives_the_same_forecast() {
    let (update, fleet) = (update(PHASED), fleet(HEALTHY, 1000));
    let [first, again, other] = [5, 5, 6].map(|seed| play(&update, &fleet, seed));
    assert_eq!((first.table(), first.svg(), first.to_string()), (again.table(), again.svg(), again.to_string()));
    assert_ne!(first.table(), other.table());
}
