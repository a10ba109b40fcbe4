//! The rules of campaigns over simulated fleets: healthy updates go on, bad ones are held, and a brick costs no more than
//! the places. `TIDEGATE_ROLLOUTS=4000` plays more of each.
#![allow(clippy::unwrap_used)] // the helpers of tests are tests, too

#[path = "../dice/mod.rs"]
mod dice;
mod fleet;
mod rollout;

use fleet::{
    CLONED, DAILY, FAST, HOLIDAY, HOUR, MIXED, Mix, OFFICES, SUMMER, THIRD, THIRD_FAST, THIRD_HOURLY, THIRD_IOTO,
};
use tidegate_core::gate::{THRESHOLD, evidence};

use rollout::{Image, Played, Setup, play};

const NORMAL: Setup = Setup {
    mix: MIXED,
    devices: 1000,
    places: 100,
    ramp_percent: 0,
    poll_s: 86_400,
    days: 16,
    image: Image::Fails(0.003),
    control: 500,
    weekly_window: false,
    transfer_errors: 0.01,
    outage_h: (0, 0),
    region_h: (0.0, 0, 0),
    postpone: 0.0,
    decline: 0.0,
    apply_within_s: 8 * 86_400,
    at_once: false,
    told_late_s: 0,
    acknowledged: None,
};
const QUICK: Setup = Setup { mix: FAST, devices: 500, places: 50, poll_s: HOUR, days: 7, ..NORMAL };

struct Cell {
    held_per_mille: usize,
    harm: [usize; 3],
    hours: [i64; 2],
    proved: usize,
    ninety_h: Option<i64>,
}

fn runs() -> u64 {
    std::env::var("TIDEGATE_ROLLOUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

fn cell(name: &str, setup: Setup) -> Cell {
    let played = (0..runs()).map(|seed| play(setup, seed)).collect::<Vec<_>>();
    let of = |mut list: Vec<i64>, per_cent: usize| {
        list.sort_unstable();
        list.get((list.len() * per_cent / 100).min(list.len().saturating_sub(1))).copied().unwrap_or(-1)
    };
    let list = |value: fn(&Played) -> Option<i64>| played.iter().filter_map(value).collect::<Vec<_>>();
    let harm = [50, 95, 100].map(|per_cent| of(list(|played| i64::try_from(played.harm).ok()), per_cent));
    let ninety = list(|played| played.ninety_h);
    let cell = Cell {
        held_per_mille: list(|played| played.held_h).len() * 1000 / played.len(),
        harm: harm.map(|harm| usize::try_from(harm).unwrap()),
        hours: [50, 95].map(|per_cent| of(list(|played| played.held_h), per_cent)),
        proved: usize::try_from(of(list(|played| i64::try_from(played.proved).ok()), 50)).unwrap(),
        ninety_h: (ninety.len() * 2 > played.len()).then(|| of(ninety, 50)),
    };
    println!(
        "{name:<44} held {:>4} of 1000, harm {:>3} / {:>3} / {:>3}, held after {:>3} / {:>3} h, proved {:>4}, 90 % after {:?} h",
        cell.held_per_mille,
        cell.harm[0],
        cell.harm[1],
        cell.harm[2],
        cell.hours[0],
        cell.hours[1],
        cell.proved,
        cell.ninety_h
    );
    cell
}

fn healthy(name: &str, setup: Setup, most_held_per_mille: usize, least_proved: usize) {
    let cell = cell(name, setup);
    assert!(cell.held_per_mille <= most_held_per_mille, "{name}");
    assert!(cell.proved >= least_proved, "{name}");
}

#[test]
fn a_healthy_update_goes_on() {
    healthy("mixed cadences", NORMAL, 5, 950);
    healthy("as many failures as are tolerated", Setup { image: Image::Fails(0.01), ..NORMAL }, 5, 940);
    healthy("every five minutes or every hour", QUICK, 5, 470);
    healthy("one in seven on leave for ten days", Setup { mix: HOLIDAY, ..NORMAL }, 10, 900);
    let weekly = Setup { weekly_window: true, days: 21, ..NORMAL };
    healthy("a window once a week", weekly, 5, 500);
    healthy("... and places that grow", Setup { ramp_percent: 100, ..weekly }, 5, 850);
}

/// Downloads fail for six hours, or for a day and a half: new devices wait, and nothing is held.
#[test]
fn an_outage_of_transfers_holds_nothing() {
    let six = Setup { outage_h: (10, 16), transfer_errors: 0.03, ..NORMAL };
    healthy("no download for six hours, 3 % fail else", six, 5, 940);
    let long = Setup { outage_h: (24, 60), ..SECOND };
    healthy("no download for a day and a half", long, 0, 1700);
    let waits = |setup, most| {
        let waits = (0..runs().min(100)).map(|seed| play(setup, seed).waits).max();
        println!("{:<44} at most {waits:?} waits", "...");
        assert!(waits <= Some(most) && waits > Some(0), "{waits:?}");
    };
    waits(six, 5);
    waits(long, 12);
}

#[test]
fn users_who_wait_or_say_no_hold_nothing() {
    let users = Setup { postpone: 0.5, decline: 0.08, ..NORMAL };
    healthy("half postpone two days, 8 % decline", users, 5, 850);
    // A week for the window, two days for the user, and two more.
    let all = Setup {
        mix: HOLIDAY,
        apply_within_s: 11 * 86_400,
        weekly_window: true,
        days: 21,
        outage_h: (10, 16),
        transfer_errors: 0.03,
        ramp_percent: 100,
        ..users
    };
    healthy("... a holiday, a window, an outage, all at once", all, 10, 550);
}

/// Three in ten devices lose their network for two days. The control group does too.
#[test]
fn a_region_without_network_holds_little_and_for_a_while() {
    let region = Setup { region_h: (0.3, 20, 68), ..SECOND };
    healthy("a region away for two days, poll_s 86400", region, 5, 1700);
    let hourly = Setup { mix: THIRD_HOURLY, poll_s: HOUR, days: 12, ..region };
    let played = (0..runs()).map(|seed| play(hourly, seed)).collect::<Vec<_>>();
    let held = played.iter().filter(|played| played.held_h.is_some()).count();
    let still = played.iter().filter(|played| played.is_held).count();
    println!("{:<44} held {held} of {}, still held {still}", "a region away for two days, poll_s 3600", played.len());
    assert!(held * 20 <= played.len() && still == 0, "{held} of {}, {still} still", played.len());
}

/// The second set of `outcomes.md`, which the rule was not tuned on at first: other cadences, offices, and devices that
/// vanish. New devices are not played.
const SECOND: Setup =
    Setup { mix: OFFICES, devices: 2000, places: 100, ramp_percent: 100, days: 30, control: 200, ..NORMAL };

#[test]
fn a_healthy_update_goes_on_in_another_fleet() {
    healthy("0.3 % fail", SECOND, 5, 1700);
    healthy("0.9 % fail", Setup { image: Image::Fails(0.009), ..SECOND }, 5, 1700);
    healthy("one in five away for three weeks", Setup { mix: SUMMER, ..SECOND }, 250, 1000);
    healthy("one id in ten is used twice", Setup { mix: CLONED, ..SECOND }, 5, 1500);
}

#[test]
fn a_bad_update_is_held_in_another_fleet() {
    let image = |image| Setup { image, ..SECOND };
    bad("all fail", image(Image::Fails(1.0)), 1000, (106, 106), 12);
    bad("all fall back after success", image(Image::FallsBack(1.0)), 1000, (110, 115), 24);
    bad("all are bricked", image(Image::Bricks(1.0)), 1000, (100, 100), 130);
    bad("all are bricked after success", image(Image::BricksAfterSuccess(1.0)), 1000, (100, 100), 130);
    bad("10 % are bricked, places grow", image(Image::Bricks(0.1)), 900, (200, 220), 400);
}

/// The third set. Its parameters, and the bounds, which are the goals of `outcomes.md`, were written down before it was
/// played. 3,000 devices from ten minutes to ten days, a fifth in offices of two time zones, 40 % report, 1 % vanish and
/// 2 % are on leave; 150 places that grow; a control group of 200; 2 % of the transfers fail; 30 days.
const THIRD_SET: Setup = Setup {
    mix: THIRD,
    devices: 3000,
    places: 150,
    ramp_percent: 100,
    days: 30,
    control: 200,
    transfer_errors: 0.02,
    ..NORMAL
};

#[test]
fn the_third_set_a_healthy_update_goes_on() {
    healthy("third: 0.3 % fail", THIRD_SET, 5, 2400);
    healthy("third: 0.9 % fail", Setup { image: Image::Fails(0.009), ..THIRD_SET }, 5, 2400);
    let hourly = Setup { mix: THIRD_HOURLY, poll_s: HOUR, days: 7, ..THIRD_SET };
    healthy("third: always on, poll_s 3600", hourly, 5, 2700);
    let fast = Setup { mix: THIRD_FAST, poll_s: 300, days: 3, ..THIRD_SET };
    healthy("third: always on, poll_s 300", fast, 5, 2700);
    healthy("third: one id in ten is used twice", Setup { mix: Mix { cloned: 0.1, ..THIRD }, ..THIRD_SET }, 5, 2000);
    let ioto = Setup { mix: THIRD_IOTO, at_once: true, ..THIRD_SET };
    healthy("third: Ioto, applied at once", ioto, 5, 2400);
}

/// One in five is away for three weeks: at most a quarter of the rollouts is held, and every hold lifts itself.
#[test]
fn the_third_set_a_holiday_that_holds_an_update_lets_it_go() {
    let holiday = Setup { mix: Mix { on_leave: 0.2, leave_days: 21, ..THIRD }, days: 60, ..THIRD_SET };
    let played = (0..runs().min(400)).map(|seed| play(holiday, seed)).collect::<Vec<_>>();
    let held = played.iter().filter(|played| played.held_h.is_some()).count();
    let still = played.iter().filter(|played| played.is_held).count();
    println!(
        "{:<44} held {held} of {}, still held after 60 days {still}",
        "third: 20 % away for 3 weeks",
        played.len()
    );
    assert!(held * 4 <= played.len(), "{held} of {}", played.len());
    assert_eq!(still, 0);
}

#[test]
fn the_third_set_a_bad_update_is_held() {
    let image = |image| Setup { image, ..THIRD_SET };
    // The goal is the places and one less than the failures that hold. The bound that was written down first, 157, took
    // eight of them; the gate needs nine of so many devices.
    let needed = (3..).find(|bad| evidence(*bad, 149 + bad, 0.01) >= THRESHOLD).unwrap();
    let most = usize::try_from(149 + needed).unwrap();
    assert_eq!(most, 158);
    bad("third: all fall back after success", image(Image::FallsBack(1.0)), 1000, (most, most), 24);
    bad("third: all are bricked", image(Image::Bricks(1.0)), 1000, (150, 150), 130);
    bad("third: all are bricked after success", image(Image::BricksAfterSuccess(1.0)), 1000, (150, 150), 130);
    let hourly = Setup { mix: THIRD_HOURLY, poll_s: HOUR, days: 7, ..image(Image::Bricks(1.0)) };
    bad("third: all are bricked, poll_s 3600", hourly, 1000, (150, 150), 6);
    let fast = Setup { mix: THIRD_FAST, poll_s: 300, days: 3, ..image(Image::Bricks(1.0)) };
    bad("third: all are bricked, poll_s 300", fast, 1000, (150, 150), 3);
    // Without phases a slow crash reaches nearly all of those that it can: a fifth of 3,000. The goal is that it is held.
    bad("third: 20 % crash after a week", image(Image::CrashesAfterAWeek(0.2)), 990, (700, 700), 400);
    let ioto = Setup { mix: THIRD_IOTO, at_once: true, ..image(Image::IsNotTaken(0.1)) };
    // A tenth of 3,000, which the first bound took for the most: places grow, and all are reached before it is held.
    bad("third: Ioto, 10 % fall back and say nothing", ioto, 990, (330, 330), 300);
}

/// The operator goes on after a hold, and the cause is gone: fewer fail than are tolerated. What was granted before, and
/// fails late, must not hold it again.
#[test]
fn the_third_set_an_acknowledged_update_is_not_held_again() {
    let late = Setup {
        image: Image::Fails(0.05),
        told_late_s: 90 * HOUR,
        acknowledged: Some(0.009),
        mix: Mix { report: 1.0, ..THIRD },
        ..THIRD_SET
    };
    let played = (0..runs()).map(|seed| play(late, seed)).filter(|played| played.held_h.is_some()).collect::<Vec<_>>();
    let again = played.iter().filter(|played| played.held_again_h.is_some()).count();
    println!("{:<44} held again {again} of {}", "third: 0.9 % after an acknowledgement", played.len());
    assert!(!played.is_empty() && again * 200 <= played.len(), "{again} of {}", played.len());
}

/// A hundred thousand devices of the third set, with the places that nobody has set and one id in ten used twice.
#[test]
fn the_third_set_a_large_fleet_goes_on() {
    let mix = Mix { cloned: 0.1, ..THIRD };
    let played = play(Setup { mix, devices: 100_000, places: 500, control: 500, ..THIRD_SET }, 1);
    let Played { proved, held_h, ninety_h, .. } = played;
    println!(
        "{:<44} proved {proved}, held {held_h:?}, 90 % after {ninety_h:?} h",
        "third: 100,000 devices, 10 % cloned"
    );
    assert_eq!(held_h, None);
}

/// A hundred thousand devices that ask once a day, with the places that nobody has set.
#[test]
fn a_large_fleet_is_done_in_days() {
    let large = Setup { mix: DAILY, devices: 100_000, places: 500, ramp_percent: 100, days: 20, control: 0, ..NORMAL };
    let hours = |name: &str, mix: Mix| {
        let played = play(Setup { mix, ..large }, 1);
        let hours = played.ninety_h.unwrap_or(i64::MAX);
        println!("{name:<44} 90 % after {hours} h, held: {:?}", played.held_h);
        assert_eq!(played.held_h, None, "{name}");
        hours
    };
    assert!(hours("100,000 daily, no check-in after the boot", DAILY) <= 18 * 24);
    assert!(hours("100,000 daily, a check-in after the boot", Mix { after_boot: 1.0, ..DAILY }) <= 6 * 24);
}

/// Silence has common causes. Without a control group they look like a bad update.
#[test]
fn without_a_control_group_a_holiday_holds_a_healthy_update() {
    assert!(cell("on leave, no control group", Setup { mix: HOLIDAY, control: 0, ..NORMAL }).held_per_mille > 500);
}

/// `least_held` in a thousand; the harm at the 95th percentile and at most; hours at the 95th percentile.
fn bad(name: &str, setup: Setup, least_held: usize, most_harm: (usize, usize), most_hours: i64) {
    let cell = cell(name, setup);
    assert!(cell.held_per_mille >= least_held, "{name}");
    assert!(cell.harm[1] <= most_harm.0 && cell.harm[2] <= most_harm.1, "{name}");
    assert!(cell.hours[1] <= most_hours, "{name}");
}

/// Seven failures of 100 devices are needed, so a fatal update costs the places and six devices more.
#[test]
fn an_update_that_fails_is_held_and_costs_little_more_than_its_places() {
    let image = |image| Setup { image, ..NORMAL };
    bad("all fail", image(Image::Fails(1.0)), 1000, (106, 106), 1);
    bad("5 % fail", image(Image::Fails(0.05)), 900, (42, 60), 24);
    bad("all fall back after success", image(Image::FallsBack(1.0)), 1000, (106, 106), 3);
    bad("30 % fall back after success", image(Image::FallsBack(0.3)), 1000, (100, 110), 3);
    bad("nobody takes it", Setup { days: 21, ..image(Image::IsNotTaken(1.0)) }, 1000, (160, 160), 200);
}

#[test]
fn a_total_silent_brick_costs_its_places_also_when_success_is_reported_first() {
    let image = |image| Setup { image, ..NORMAL };
    bad("all are bricked", image(Image::Bricks(1.0)), 1000, (100, 100), 91);
    bad("all are bricked after success", image(Image::BricksAfterSuccess(1.0)), 1000, (100, 100), 91);
    bad("all of a fast fleet are bricked", Setup { image: Image::Bricks(1.0), ..QUICK }, 1000, (50, 50), 6);
    bad("30 % are bricked", image(Image::Bricks(0.3)), 1000, (110, 120), 120);
    bad("5 % are bricked", image(Image::Bricks(0.05)), 850, (75, 90), 300);
    // A small group blinds the channel: 3.5 % are tolerated then.
    bad("... with a control group of 200", Setup { control: 200, ..image(Image::Bricks(0.05)) }, 150, (75, 90), 384);
}
