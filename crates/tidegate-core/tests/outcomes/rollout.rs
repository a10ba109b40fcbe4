//! One rollout, event by event, over the real transition table, gate, cadence and places.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidegate_core::Timestamp;
use tidegate_core::breaker::{Breaker, Transfer, Transfers};
use tidegate_core::cadence::Cadence;
use tidegate_core::gate::{Control, Gate, HeldFor, Outcomes, hour_bucket};
use tidegate_core::life::table::Event;
use tidegate_core::life::{Bucket, Effect, Life, Rules, State};
use tidegate_core::places;

use crate::dice::Dice;
use crate::fleet::{DAY, HOUR, Habits, Mix};

/// Seconds from the offer to the end of the installation.
const INSTALL_S: i64 = 360;

/// Effect of an image on a share of the devices.
#[derive(Clone, Copy)]
pub(crate) enum Image {
    /// This share fails, and says so if it reports.
    Fails(f64),
    /// This share says success, and boots the old version.
    FallsBack(f64),
    /// This share is silent for ever after the installation.
    Bricks(f64),
    /// The same, but it says success before that.
    BricksAfterSuccess(f64),
    /// This share stays on the old version and says nothing.
    IsNotTaken(f64),
    /// This share is silent for ever seven days after the installation.
    CrashesAfterAWeek(f64),
}

/// A rollout to play.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) mix: Mix,
    pub(crate) devices: usize,
    pub(crate) places: u64,
    pub(crate) ramp_percent: u64,
    pub(crate) poll_s: i64,
    pub(crate) days: i64,
    pub(crate) image: Image,
    /// Members of the control group, besides the devices.
    pub(crate) control: usize,
    /// Devices apply the update once a week.
    pub(crate) weekly_window: bool,
    pub(crate) transfer_errors: f64,
    /// Hours between which every transfer fails.
    pub(crate) outage_h: (i64, i64),
    /// Share of devices that are silent together, and the hours between which they are.
    pub(crate) region_h: (f64, i64, i64),
    /// Share of users who install it two days later, and of those who say no.
    pub(crate) postpone: f64,
    pub(crate) decline: f64,
    /// Time in which devices apply the update, unless they do so at once.
    pub(crate) apply_within_s: i64,
    /// Devices apply what they have: one that does not is not taken soon, and 2 % of these are tolerated.
    pub(crate) at_once: bool,
    /// Seconds after which a failure is told.
    pub(crate) told_late_s: i64,
    /// A day after the first hold the operator resumes with the numbers in sight, and this share fails from then on.
    pub(crate) acknowledged: Option<f64>,
}

/// Result of a rollout.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Played {
    /// Hours until it was held.
    pub(crate) held_h: Option<i64>,
    /// Devices that the image broke.
    pub(crate) harm: usize,
    /// Devices that proved it.
    pub(crate) proved: usize,
    /// Hours until nine of ten devices had proved it.
    pub(crate) ninety_h: Option<i64>,
    /// It is held at the end.
    pub(crate) is_held: bool,
    /// Hours until it was held again after an acknowledgement.
    pub(crate) held_again_h: Option<i64>,
    /// Times that new grants waited because transfers failed.
    pub(crate) waits: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    CheckIn,
    Installs,
    Due,
    TellsFailure,
    Crashes,
    Acknowledged,
}

struct Device {
    habits: Habits,
    life: Option<Life>,
    /// Time of the record.
    seen: i64,
    hours: u64,
    test: usize,
    runs_new: bool,
    is_dead: bool,
    /// The other device with this id spoke last.
    other_spoke: bool,
}

struct Rollout {
    setup: Setup,
    dice: Dice,
    devices: Vec<Device>,
    control: Vec<Habits>,
    turns: BinaryHeap<Reverse<(i64, Turn, usize)>>,
    held_places: u64,
    given_on: i64,
    mature: i64,
    played: Played,
    held_for: Option<HeldFor>,
    lifts: u8,
    transfers: Transfers,
    breaker: Breaker,
    /// Number of the test of the gate, and the hour of its beginning.
    test: (usize, i64),
}

/// Mature devices count only while they are well.
fn counts_as_mature(life: &Life) -> bool {
    let is_well = matches!(life.state, State::Open | State::Installed | State::Proved | State::Closed);
    life.mature && is_well
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn play(setup: Setup, seed: u64) -> Played {
    let mut dice = Dice::mixed(seed);
    let habits = |dice: &mut Dice| {
        let mut habits = Habits::of(&setup.mix, setup.days, dice);
        let (share, from_h, to_h) = setup.region_h;
        // A share of none throws no dice: the other sets stay as they were.
        let is_in_region = share > 0.0 && dice.falls(share) && habits.silent.1 != i64::MAX;
        if is_in_region {
            habits.silent = (from_h * HOUR, to_h * HOUR);
        }
        habits
    };
    let control = (0..setup.control).map(|_| habits(&mut dice)).collect();
    let devices = (0..setup.devices).map(|_| Device {
        habits: habits(&mut dice),
        life: None,
        seen: 0,
        hours: 0,
        test: 0,
        runs_new: false,
        is_dead: false,
        other_spoke: false,
    });
    let devices = devices.collect::<Vec<_>>();
    let mut rollout = Rollout {
        setup,
        devices,
        control,
        turns: BinaryHeap::new(),
        held_places: 0,
        given_on: 0,
        mature: 0,
        held_for: None,
        lifts: 0,
        transfers: Transfers::default(),
        breaker: Breaker::default(),
        test: (0, 0),
        played: Played::default(),
        dice,
    };
    for number in 0..setup.devices {
        let first = rollout.dice.within(0, rollout.devices[number].habits.every_s);
        rollout.turns.push(Reverse((first, Turn::CheckIn, number)));
    }
    while let Some(Reverse((now, turn, number))) = rollout.turns.pop() {
        if now > setup.days * DAY {
            break;
        }
        match turn {
            Turn::CheckIn => rollout.check_in(number, now),
            Turn::Installs => rollout.installs(number, now),
            Turn::Due => rollout.due(number, now),
            Turn::TellsFailure => rollout.heard(number, Event::Failure, now),
            Turn::Crashes => rollout.devices[number].is_dead = true,
            Turn::Acknowledged => rollout.acknowledge(now),
        }
    }
    rollout.played
}

impl Rollout {
    fn cadence(&self, habits: &Habits) -> Cadence {
        let (expected_s, long_gap_s) = (self.setup.poll_s.max(DAY), habits.long_gap_s());
        let is_long = long_gap_s * 10 > expected_s * 11;
        // What the record has learned before.
        Cadence { poll_s: self.setup.poll_s, long_gap_s: if is_long { long_gap_s } else { 0 } }
    }

    fn rules(&self, habits: &Habits) -> Rules {
        Rules {
            prove_after_s: 0,
            boot_grace_s: HOUR,
            watch_s: 10 * DAY,
            soak_s: 3 * DAY,
            apply_within_s: if self.setup.at_once { 2 * self.setup.poll_s + DAY } else { self.setup.apply_within_s },
            open_since: (!self.played.is_held).then_some(Timestamp::UNIX_EPOCH),
            due_after_s: self.cadence(habits).due_after_s(true),
        }
    }

    fn later(&mut self, time: i64, turn: Turn, number: usize) {
        self.turns.push(Reverse((time, turn, number)));
    }

    fn check_in(&mut self, number: usize, now: i64) {
        let Device { habits, is_dead, runs_new, .. } = self.devices[number];
        if is_dead || (habits.is_silent(now) && habits.silent.1 == i64::MAX) {
            return;
        }
        if habits.is_silent(now) {
            let again = habits.silent.1 + self.dice.within(0, habits.every_s);
            return self.later(again, Turn::CheckIn, number);
        }
        if habits.awake(now) > now {
            let again = habits.awake(now) + self.dice.within(0, habits.every_s.min(HOUR));
            return self.later(again, Turn::CheckIn, number);
        }
        match self.devices[number].life.as_ref().map(|life| life.state) {
            None | Some(State::TransferFailed) => self.ask(number, now),
            Some(_) if habits.is_cloned && self.other_speaks(number) => self.heard(number, Event::Old, now),
            Some(_) => self.heard(number, if runs_new { Event::Expected } else { Event::Old }, now),
        }
        let Some(life) = &self.devices[number].life else {
            // One that waits asks once an hour at the most.
            return self.later(now + habits.every_s.max(HOUR), Turn::CheckIn, number);
        };
        let next_s = match life.state {
            State::Open | State::Installed | State::Lost => habits.every_s,
            // Its record is written once a day.
            State::Proved => habits.every_s.max(DAY),
            // Only an outage is waited for; a single failure is not played again.
            State::TransferFailed if self.setup.outage_h.1 > 0 => self.dice.within(900, 4 * HOUR),
            _ => return,
        };
        self.later(now + next_s, Turn::CheckIn, number);
    }

    /// Two devices with one id have one rhythm, so they speak in turn.
    fn other_speaks(&mut self, number: usize) -> bool {
        let device = &mut self.devices[number];
        device.other_spoke ^= true;
        device.other_spoke
    }

    fn ask(&mut self, number: usize, now: i64) {
        let waits = self.breaker.not_before.is_some_and(|until| now < until.as_second());
        if self.played.is_held || waits || self.held_places >= self.places() {
            return;
        }
        self.held_places += 1;
        let window_s = if self.setup.weekly_window { self.dice.within(0, 7 * DAY) } else { 0 };
        let postpones = self.setup.postpone > 0.0 && self.dice.falls(self.setup.postpone);
        let wait_s = window_s + if postpones { 2 * DAY } else { 0 };
        let device = &mut self.devices[number];
        device.life = Life::granted(device.life.as_ref(), at(now));
        (device.seen, device.hours) = (now, (now / HOUR - self.test.1).unsigned_abs());
        device.test = self.test.0;
        self.later(now + INSTALL_S + wait_s, Turn::Installs, number);
        self.set_due(number, now);
    }

    /// The places in force.
    fn places(&self) -> u64 {
        let Setup { places, ramp_percent, .. } = self.setup;
        if ramp_percent == 0 {
            return places;
        }
        places::in_force(places, ramp_percent, self.mature)
    }

    fn set_due(&mut self, number: usize, now: i64) {
        let Device { habits, seen, life, .. } = &self.devices[number];
        let closely = life.as_ref().is_some_and(|life| life.holds_place);
        let due = self.cadence(habits).due_at(at(*seen), closely).as_second();
        self.later(due.max(now + 1), Turn::Due, number);
    }

    fn installs(&mut self, number: usize, now: i64) {
        let habits = self.devices[number].habits;
        let is_out = (self.setup.outage_h.0 * HOUR..self.setup.outage_h.1 * HOUR).contains(&now);
        if habits.is_silent(now) || is_out || self.dice.falls(self.setup.transfer_errors) {
            if habits.reports && !habits.is_silent(now) {
                self.heard(number, Event::Transfer, now);
                if self.setup.outage_h.1 > 0 {
                    let again_s = self.dice.within(900, 4 * HOUR);
                    self.later(now + again_s, Turn::CheckIn, number);
                }
            } else if is_out {
                // It says nothing and tries again.
                self.later(now + habits.every_s, Turn::Installs, number);
            }
            return;
        }
        if self.setup.decline > 0.0 && self.dice.falls(self.setup.decline) {
            return self.heard(number, Event::Declined, now);
        }
        let share = match self.setup.image {
            Image::Fails(share)
            | Image::FallsBack(share)
            | Image::Bricks(share)
            | Image::BricksAfterSuccess(share)
            | Image::IsNotTaken(share)
            | Image::CrashesAfterAWeek(share) => share,
        };
        let share = self.setup.acknowledged.filter(|_| self.test.0 > 0).unwrap_or(share);
        let is_bad = self.dice.falls(share);
        if is_bad && matches!(self.setup.image, Image::CrashesAfterAWeek(_)) {
            self.played.harm += 1;
            self.later(now + 7 * DAY, Turn::Crashes, number);
        } else if is_bad {
            self.played.harm += 1;
            let said = match self.setup.image {
                Image::Fails(_) => Some(Event::Failure),
                Image::FallsBack(_) | Image::BricksAfterSuccess(_) => Some(Event::Success),
                Image::Bricks(_) | Image::IsNotTaken(_) | Image::CrashesAfterAWeek(_) => None,
            };
            self.devices[number].is_dead = matches!(self.setup.image, Image::Bricks(_) | Image::BricksAfterSuccess(_));
            match said.filter(|_| habits.reports) {
                Some(Event::Failure) if self.setup.told_late_s > 0 => {
                    self.later(now + self.setup.told_late_s, Turn::TellsFailure, number);
                }
                Some(said) => self.heard(number, said, now),
                None => {}
            }
            return;
        }
        if habits.reports && habits.reports_before_boot {
            self.heard(number, Event::Success, now);
        }
        self.devices[number].runs_new = true;
        if habits.asks_after_boot {
            self.heard(number, Event::Expected, now + 60);
        }
    }

    fn due(&mut self, number: usize, now: i64) {
        let Device { habits, seen, life, .. } = &self.devices[number];
        let Some(life) = life.as_ref().filter(|life| life.state.is_watched()) else {
            return;
        };
        let due = self.cadence(habits).due_at(at(*seen), life.holds_place).as_second();
        match due > now {
            true => self.set_due(number, now),
            false => self.apply(number, Event::Due, now),
        }
    }

    /// Something was heard from a device: the claim moves, and the record is written if it is old enough.
    fn heard(&mut self, number: usize, event: Event, now: i64) {
        self.apply(number, event, now);
        let Device { habits, life, seen, .. } = &self.devices[number];
        let closely = life.as_ref().is_some_and(|life| life.holds_place);
        if now - seen >= self.cadence(habits).grain_s(closely) {
            self.devices[number].seen = now;
        }
    }

    fn apply(&mut self, number: usize, event: Event, now: i64) {
        let rules = self.rules(&self.devices[number].habits);
        let device = &mut self.devices[number];
        let Some(life) = &device.life else {
            return;
        };
        let Effect::Moved(moved) = life.after(event, &rules, at(now)) else {
            return;
        };
        let (before, is_back) = (life.bucket, life.state == State::Lost);
        self.mature += i64::from(counts_as_mature(&moved)) - i64::from(counts_as_mature(life));
        if life.holds_place && !moved.holds_place {
            self.held_places -= 1;
        }
        if event != Event::Due {
            device.seen = now;
        }
        let after = moved.bucket;
        if let Some(transfer) = Transfer::of_lives(life, &moved, at(now)) {
            self.transfers.add(transfer);
            if let Some(breaker) = self.breaker.after(&self.transfers, at(now)) {
                self.played.waits += usize::from(breaker.not_before.is_some());
                self.breaker = breaker;
            }
        }
        device.life = Some(*moved);
        if is_back {
            self.set_due(number, now);
        }
        if before == after {
            return;
        }
        if after == Some(Bucket::Proved) {
            self.played.proved += 1;
            if self.played.proved * 10 >= self.setup.devices * 9 {
                self.played.ninety_h.get_or_insert(now / HOUR);
            }
        } else if before == Some(Bucket::Proved) {
            self.played.proved -= 1;
        }
        if matches!(after, Some(Bucket::Failed | Bucket::Reverted | Bucket::Lost | Bucket::NotTaken)) || is_back {
            self.judge(now);
        }
    }

    fn outcomes(&self) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for device in self.devices.iter().filter(|device| device.test == self.test.0) {
            let Some(life) = &device.life else { continue };
            let hour = hour_bucket(device.hours);
            outcomes.granted += 1;
            outcomes.granted_in[hour] += 1;
            match life.bucket {
                Some(Bucket::Failed) => outcomes.failed += 1,
                Some(Bucket::Reverted) => outcomes.reverted += 1,
                Some(Bucket::NotTaken) => outcomes.not_taken += 1,
                Some(Bucket::Lost) => {
                    outcomes.lost += 1;
                    outcomes.lost_in[hour] += 1;
                }
                Some(bucket) if bucket.is_no_trial() => outcomes.no_trial += 1,
                _ => {}
            }
        }
        outcomes
    }

    fn judge(&mut self, now: i64) {
        let gate = match self.setup.at_once {
            true => Gate { tolerated_not_taken_percent: 2.0, ..Gate::default() },
            false => Gate::default(),
        };
        let outcomes = self.outcomes();
        // The control group is read when a channel would hold, or holds.
        let alone = gate.judge(&outcomes, None);
        if !self.played.is_held && alone.hold().is_none() {
            return self.give_on();
        }
        let control = Control { overdue: self.overdue(now), members: self.control.len() as u64 };
        let judgement = gate.judge(&outcomes, (control.members > 0).then_some(&control));
        match self.held_for {
            Some(held_for) if self.lifts < 3 && judgement.lifts(&held_for) => {
                (self.held_for, self.played.is_held) = (None, false);
                self.lifts += 1;
            }
            Some(_) => {}
            None if judgement.hold().is_some() => {
                (self.held_for, self.played.is_held) = (judgement.held_for(), true);
                match self.test.0 {
                    0 => drop(self.played.held_h.get_or_insert(now / HOUR)),
                    _ => drop(self.played.held_again_h.get_or_insert(now / HOUR)),
                }
                if self.setup.acknowledged.is_some() && self.test.0 == 0 {
                    self.later(now + DAY, Turn::Acknowledged, 0);
                }
            }
            None => self.give_on(),
        }
    }

    /// The operator resumes with the numbers in sight: only devices that are granted the update from now on are judged.
    fn acknowledge(&mut self, now: i64) {
        (self.held_for, self.played.is_held) = (None, false);
        self.test = (self.test.0 + 1, now / HOUR);
    }

    fn overdue(&self, now: i64) -> u64 {
        let is_overdue =
            |habits: &&Habits| habits.is_silent(now) && now - habits.silent.0 > self.cadence(habits).due_after_s(true);
        self.control.iter().filter(is_overdue).count() as u64
    }

    /// Gives places of lost devices to others, as far as devices are proved.
    fn give_on(&mut self) {
        let proved = i64::try_from(self.played.proved).unwrap();
        for device in &mut self.devices {
            if places::to_give_on(proved, self.given_on) == 0 {
                return;
            }
            if let Some(freed) = device.life.as_ref().and_then(Life::without_place) {
                device.life = Some(freed);
                self.held_places -= 1;
                self.given_on += 1;
            }
        }
    }
}
