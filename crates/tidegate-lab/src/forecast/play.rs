//! Plays the rollout: every second of virtual time, every check-in, report and silence.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use tidegate_core::cadence::{Cadence, DAY_S};
use tidegate_core::claim::Grant as Granting;
use tidegate_core::count::{Count, Sample};
use tidegate_core::gate::Control;
use tidegate_core::life::table::Event;
use tidegate_core::life::{Rules, State as Life};
use tidegate_core::phase::{Begun, Lack, Soaking, is_waiting};
use tidegate_core::shard::Grant;
use tidegate_core::times::Times;
use tidegate_core::{Claim, Cohort, Timestamp, Update, places};

use crate::dice::{Dice, Throw};
use crate::fleet::{Fate, Fleet};
use crate::forecast::control_group::HeldOut;
use crate::forecast::course::{Forecast, Recorder};
use crate::forecast::decider::{Answer, Decider, Memory};
use crate::forecast::fleet_file::FleetFile;
use crate::forecast::health_gate::reason_to_hold;
use crate::forecast::row::{Doing, EPOCH, Row};
use crate::forecast::shards::Shards;
use crate::forecast::timetable::{moment, turning_points};

/// The sweep, which finds the devices that are overdue, runs once a minute.
const SWEEP_S: u32 = 60;
/// Seconds after which a device has restarted with the new version, and checks in.
const BOOT_S: u32 = 60;
/// No device.
const NOBODY: u32 = u32::MAX;

/// Plays `update` for the fleet of `file`. The same seed gives the same forecast. `progress` is told how many
/// hours of virtual time have passed.
#[must_use]
pub fn play(update: &Update, file: &FleetFile, seed: u64, progress: impl FnMut(u64)) -> Forecast {
    play_watched(update, file, seed, Memory::Kept, &mut Hours(progress))
}

/// Observer of a play.
pub(crate) trait Watch {
    /// A device was answered: `offer` for a new place or a further attempt, `held` for the same
    /// offer again, or the code of the objection.
    fn answered(&mut self, _at_s: i64, _device: u32, _answer: &'static str) {}

    /// So many hours have passed.
    fn passed(&mut self, _hours: u64) {}
}

/// Sees the hours pass.
struct Hours<P>(P);

impl<P: FnMut(u64)> Watch for Hours<P> {
    fn passed(&mut self, hours: u64) {
        (self.0)(hours);
    }
}

pub(crate) fn play_watched(
    update: &Update,
    file: &FleetFile,
    seed: u64,
    memory: Memory,
    watch: &mut impl Watch,
) -> Forecast {
    let mut play = Play::new(update, file, seed, memory, watch);
    for second in 0..file.play_s {
        play.second(second);
        if (second + 1).is_multiple_of(3600) {
            play.watch.passed(u64::from((second + 1) / 3600));
        }
    }
    let update = play.decider.update();
    play.recorder.finish(&update, file, &play.shards)
}

/// An event beside check-ins. In one second, reports come before the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Succeeded,
    Failed,
    Booted,
    Due,
}

struct Play<'a, W> {
    file: &'a FleetFile,
    watch: &'a mut W,
    memory: Memory,
    update: Arc<Update>,
    dice: Dice,
    decider: Decider,
    shards: Shards,
    recorder: Recorder,
    start_s: i64,
    download_s: u32,
    rows: Vec<Row>,
    /// The first device that checks in, by second; the others follow by `Row::next`.
    first: Vec<u32>,
    happenings: BinaryHeap<Reverse<(u32, Happening, u32)>>,
    /// Lost devices that hold their places.
    lost: Vec<u32>,
    cadence: Cadence,
    turns: std::iter::Peekable<std::vec::IntoIter<i64>>,
    held_out: Option<HeldOut>,
    phase_begun: Begun,
}

impl<'a, W: Watch> Play<'a, W> {
    fn new(update: &Update, file: &'a FleetFile, seed: u64, memory: Memory, watch: &'a mut W) -> Self {
        let mut decider = Decider::new(update, file, memory);
        let update = decider.update();
        let start_s = file.starts_at.as_second();
        let mut rows = rows(&update, &file.fleet);
        let eligible =
            (0_u32..).zip(&mut rows).filter_map(|(number, row)| decider.is_for(number, row).then_some(number));
        let eligible = eligible.collect::<Vec<_>>();
        let held_out = HeldOut::choose(&file.fleet, &rows, &eligible, &update, start_s);
        decider.hold_out(held_out.as_ref().map(|held_out| held_out.group.from));
        let eligible = u32::try_from(eligible.len()).unwrap_or(u32::MAX);
        let turns = turning_points(&update.rollout, start_s, start_s + i64::from(file.play_s));
        let download_s = image_bytes(&update, file).div_ceil(file.bandwidth_bytes_per_s.unwrap_or(u64::MAX));
        let mut play = Self {
            file,
            watch,
            memory,
            dice: Dice::new(seed),
            shards: Shards::new(&update, start_s),
            recorder: Recorder::new(file, eligible),
            start_s,
            download_s: u32::try_from(download_s).unwrap_or(u32::MAX),
            first: vec![NOBODY; usize::try_from(file.play_s).unwrap_or(0)],
            happenings: BinaryHeap::new(),
            lost: Vec::new(),
            cadence: cadence(file),
            turns: turns.into_iter().peekable(),
            decider,
            rows,
            update,
            held_out,
            phase_begun: Begun::default(),
        };
        for number in 0..file.fleet.devices() {
            let second = play.dice.up_to(file.period_s - 1, Throw::FirstCheckIn, number, 0);
            play.expect(number, second);
        }
        play
    }

    /// The device will check in then, unless the play is over.
    fn expect(&mut self, number: u32, second: u32) {
        if let Some(first) = self.first.get_mut(second as usize) {
            self.rows[number as usize].next = std::mem::replace(first, number);
        }
    }

    fn second(&mut self, second: u32) {
        if self.turns.next_if_eq(&(self.start_s + i64::from(second))).is_some() {
            self.decider.turn();
        }
        while let Some(Reverse((due, ..))) = self.happenings.peek()
            && *due <= second
            && let Some(Reverse((_, happening, number))) = self.happenings.pop()
        {
            self.happen(second, happening, number);
        }
        self.serve_held_out(second);
        let is_swept = (self.start_s + i64::from(second)).rem_euclid(i64::from(SWEEP_S)) == 0;
        if is_swept && !self.lost.is_empty() {
            self.give_on(second);
        }
        if is_swept && !self.recorder.is_held() {
            self.shards.grow(self.recorder.eligible().into(), self.start_s + i64::from(second));
            self.begin_phase(second);
        }
        let mut number = self.first[second as usize];
        while number != NOBODY {
            let next = self.rows[number as usize].next;
            self.check_in(second, number);
            number = next;
        }
        self.recorder.end_second(second, &self.shards);
    }

    fn check_in(&mut self, second: u32, number: u32) {
        self.ask(second, number);
        if self.rows[number as usize].doing != Doing::Silent {
            let wait = self.file.period_s - self.file.jitter_s
                + self.dice.up_to(2 * self.file.jitter_s, Throw::Jitter, number, second);
            self.expect(number, second.saturating_add(wait.max(1)));
        }
    }

    /// One check-in: what the device says moves its claim, then the rules decide.
    fn ask(&mut self, second: u32, number: u32) {
        if self.memory == Memory::None {
            self.shards.forget();
        }
        self.recorder.check_in();
        self.hear(second, number);
        let now_s = self.start_s + i64::from(second);
        let answer = self.decider.answer(number, &mut self.rows[number as usize], now_s);
        let answer = match answer {
            Answer::Offer(grant) => self.reserve(second, number, grant),
            Answer::Held | Answer::Nothing(_) => answer,
        };
        self.recorder.answered(answer);
        self.watch.answered(now_s, number, answer.name());
    }

    fn hear(&mut self, second: u32, number: u32) {
        let row = &mut self.rows[number as usize];
        let event = if row.is_updated { Event::Expected } else { Event::Old };
        let is_held_out = row.claim.is_none() && self.held_out.as_ref().is_some_and(|group| group.holds(row.cohort));
        let holds_place = row.claim.as_ref().is_some_and(|claim| claim.life.holds_place);
        let grain_s = self.cadence.grain_s(is_held_out || holds_place);
        let is_written = i64::from(second.saturating_sub(row.seen_s)) >= grain_s;
        if is_written {
            row.seen_s = second;
        }
        let Some(before) = row.claim.clone() else {
            return;
        };
        let after = before.after(event, &self.rules(), self.moment(second));
        if let Some(after) = after.filter(|after| is_written || !before.life.differs_by_marks(&after.life)) {
            self.rows[number as usize].seen_s = second;
            self.moved(second, number, Some(&before), after);
        }
    }

    fn rules(&self) -> Rules {
        let open_since = self.update.open_since().filter(|_| !self.recorder.is_held());
        let times = Times::default();
        let apply_within_s = self.update.rollout.applies.within_s(&times);
        let soak_s = self.update.rollout.soak_s();
        Rules { open_since, apply_within_s, soak_s, ..Rules::new(&times, self.cadence.due_after_s(true)) }
    }

    fn moment(&self, second: u32) -> Timestamp {
        moment(self.start_s + i64::from(second))
    }

    /// Gets a place for the device, as the check-in function does, and lets it begin.
    fn reserve(&mut self, second: u32, number: u32, grant: Grant) -> Answer {
        let now_s = self.start_s + i64::from(second);
        let row = &self.rows[number as usize];
        let before = row.claim.clone();
        let shard = match &before {
            None => self.shards.grant_first(row.cohort, now_s),
            Some(before) => self.shards.grant(grant, before.shard, now_s).map(|()| before.shard),
        };
        let shard = match shard {
            Ok(shard) => shard,
            Err(why) => return self.decider.answer_without_room(number, row, now_s, why),
        };
        let was = self.file.fleet.groups[usize::from(row.group)].version.to_string();
        let epoch = before.as_ref().map_or(EPOCH, |before| before.epoch + 1);
        let (version, campaign, now) = (&self.update.version, self.update.campaign, moment(now_s));
        let granting = Granting {
            version,
            campaign,
            was: &was,
            reports_as: &self.update.reports_as,
            shard,
            count: 0,
            epoch,
            test: 0,
            hour: self.update.test.hour(now),
            is_newcomer: false,
            now,
        };
        let claim = Claim::granted(before.as_deref(), &granting).expect("the rules offered it again");
        self.rows[number as usize].seen_s = second;
        self.moved(second, number, before.as_deref(), claim);
        self.recorder.granted(second, grant == Grant::First);
        self.begin(second, number);
        Answer::Offer(grant)
    }

    /// The device has the offer: the sweep will look at its claim, and it will report or not. One
    /// that is still busy with an earlier offer of the same update goes on with that.
    fn begin(&mut self, second: u32, number: u32) {
        self.look_again(number);
        let row = &mut self.rows[number as usize];
        if row.doing != Doing::Idle {
            return;
        }
        let attempt = row.claim.as_ref().map_or(0, |claim| claim.attempts);
        let report = match self.file.fleet.outcomes.fate(self.dice, number, attempt) {
            Fate::Succeeds => Happening::Succeeded,
            Fate::Fails => Happening::Failed,
            Fate::FallsSilent => {
                row.doing = Doing::Silent;
                return;
            }
            Fate::IgnoresIt => return,
        };
        row.doing = Doing::Installing;
        let jitter_s = self.file.report_jitter_s;
        let report_s =
            self.file.report_after_s - jitter_s + self.dice.up_to(2 * jitter_s, Throw::ReportDelay, number, attempt);
        let due = second.saturating_add(report_s.max(self.download_s).max(1));
        self.happenings.push(Reverse((due, report, number)));
    }

    /// The time at which the device would be overdue, in seconds of the play.
    fn due_s(&self, number: u32) -> Option<u32> {
        let row = &self.rows[number as usize];
        let claim = row.claim.as_ref().filter(|claim| claim.state().is_watched())?;
        let due_at = self.cadence.due_at(self.moment(row.seen_s), claim.life.holds_place);
        u32::try_from(due_at.as_second() - self.start_s).ok()
    }

    fn look_again(&mut self, number: u32) {
        if let Some(due) = self.due_s(number) {
            self.happenings.push(Reverse((due.next_multiple_of(SWEEP_S), Happening::Due, number)));
        }
    }

    fn happen(&mut self, second: u32, happening: Happening, number: u32) {
        if happening == Happening::Booted {
            return self.ask(second, number);
        }
        if happening == Happening::Due && self.due_s(number).is_some_and(|due| due > second) {
            return self.look_again(number);
        }
        let row = &mut self.rows[number as usize];
        let Some(claim) = row.claim.clone() else {
            return;
        };
        let event = match happening {
            Happening::Succeeded => {
                row.is_updated = true;
                self.happenings.push(Reverse((second.saturating_add(BOOT_S), Happening::Booted, number)));
                Event::Success
            }
            Happening::Failed => Event::Failure,
            Happening::Booted | Happening::Due => Event::Due,
        };
        if event != Event::Due {
            row.doing = Doing::Idle;
            row.seen_s = second;
        }
        if let Some(after) = claim.after(event, &self.rules(), self.moment(second)) {
            self.moved(second, number, Some(&claim), after);
        }
    }

    fn moved(&mut self, second: u32, number: u32, before: Option<&Claim>, after: Claim) {
        self.shards.count(before, &after);
        let (state, holds_place) = (after.state(), after.life.holds_place);
        self.rows[number as usize].claim = Some(Box::new(after));
        if before.is_some() {
            self.recorder.moved(second);
        }
        if state == Life::Lost && holds_place {
            self.lost.push(number);
        }
        let was_watched = before.is_none_or(|before| before.state().is_watched());
        if !was_watched && state != Life::Open {
            self.look_again(number);
        }
        if matches!(state, Life::Failed | Life::Reverted | Life::Lost | Life::NotTaken) {
            self.hold_if_bad(second);
        }
    }

    fn hold_if_bad(&mut self, second: u32) {
        if !self.recorder.is_held()
            && let Some(why) = reason_to_hold(&self.update.rollout.health, &self.shards.sums, || self.control(second))
        {
            self.shards.stop();
            self.decider.hold();
            self.recorder.held(second, why);
        }
    }

    /// Begins the next phase on evidence, if it lacks nothing.
    fn begin_phase(&mut self, second: u32) {
        let Some((_, advance, [share, before])) = self.update.rollout.next_on_evidence() else {
            return;
        };
        let (sums, now) = (&self.shards.sums, self.moment(second));
        let (soak_s, allowed_s) = (self.update.rollout.soak_s(), self.cadence.allowed_s());
        let judgement = self.update.rollout.health.judge(&sums.outcomes(Sample::of(0)), self.control(second).as_ref());
        let admitted = Some(share.of_beyond(self.recorder.eligible().into(), before));
        let mut lack = advance.lacks(&Soaking::of(sums, None, admitted, self.phase_begun), &judgement, now);
        if lack == Some(Lack::Count) {
            let claims = self.rows.iter().filter_map(|row| row.claim.as_ref());
            let waiting = claims.filter(|claim| is_waiting(&claim.life, soak_s, allowed_s, now)).count() as u64;
            lack = advance.lacks(&Soaking::of(sums, Some(waiting), admitted, self.phase_begun), &judgement, now);
        }
        if lack.is_none() {
            self.phase_begun = Begun { at: Some(now), soaked: self.shards.devices(&[Count::Soaked]) };
            self.decider.advance();
            self.update = self.decider.update();
            self.recorder.phase_begins(second);
        }
    }

    /// The silence of the control group, if it counts.
    fn control(&self, second: u32) -> Option<Control> {
        self.held_out.as_ref()?.control(&self.rows, &self.cadence, self.start_s, second)
    }

    /// Serves the control group when the others were served, and had the time to become silent.
    fn serve_held_out(&mut self, second: u32) {
        let Some(held_out) = self.held_out.as_mut().filter(|_| !self.recorder.is_held()) else {
            return;
        };
        let (offers, ends_at) = ([self.recorder.eligible(), self.recorder.first_offers()], self.update.rollout.ends_at);
        let (rows, cadence, start_s) = (&self.rows, &self.cadence, self.start_s);
        let read = |held_out: &HeldOut| held_out.read(rows, cadence, start_s, second);
        if held_out.serve_when_due(second, offers, start_s, ends_at, read) {
            self.decider.hold_out(None);
        }
    }

    /// Gives places of lost devices to others, as far as proved devices allow it.
    fn give_on(&mut self, second: u32) {
        let sums = &self.shards.sums;
        let count = places::to_give_on(sums.devices(Count::Proved), sums.devices(Count::GivenOn));
        let without = |row: &Row| row.claim.as_ref().and_then(|claim| claim.without_place());
        let rows = &self.rows;
        self.lost.retain(|number| without(&rows[*number as usize]).is_some());
        let count = self.lost.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        for number in self.lost.drain(..count).collect::<Vec<_>>() {
            let before = self.rows[number as usize].claim.clone();
            if let Some(after) = without(&self.rows[number as usize]) {
                self.moved(second, number, before.as_deref(), after);
            }
        }
    }
}

/// The cadence of every device, as the service has learned it before.
fn cadence(file: &FleetFile) -> Cadence {
    let gap_s = i64::from(file.period_s) + i64::from(file.jitter_s);
    Cadence { long_gap_s: if gap_s * 10 > DAY_S * 11 { gap_s } else { 0 }, ..Cadence::default() }
}

/// Size of the image that a device downloads.
pub(crate) fn image_bytes(update: &Update, file: &FleetFile) -> u64 {
    file.image_size_bytes.unwrap_or_else(|| update.content.size_bytes())
}

fn rows(update: &Update, fleet: &Fleet) -> Vec<Row> {
    let groups = (0_u8..).zip(&fleet.groups);
    let groups = groups.flat_map(|(place, group)| std::iter::repeat_n(place, group.devices as usize));
    let row = |(number, group)| Row::new(Cohort::of(&update.id, &fleet.id(number)), group);
    (0..).zip(groups).map(row).collect()
}
