//! Plays the rollout: every second of virtual time, every check-in, report and expiry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use jiff::SignedDuration;
use tidegate_core::count::Counts;
use tidegate_core::rollout::Rollout;
use tidegate_core::shard::Grant;
use tidegate_core::status::StatusEffect;
use tidegate_core::{Claim, Cohort, Update};

use crate::dice::{Dice, Throw};
use crate::fleet::{Fate, Fleet};
use crate::forecast::course::{Forecast, Recorder};
use crate::forecast::decider::{Answer, Decider, Memory};
use crate::forecast::fleet_file::FleetFile;
use crate::forecast::health_gate::reason_to_stop;
use crate::forecast::row::{Doing, EPOCH, Row};
use crate::forecast::shards::{Shards, counted};
use crate::forecast::timetable::{moment, turning_points};

/// The sweep, which ends claims, runs once a minute.
const SWEEP_S: u32 = 60;
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
    Swept,
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
    /// Devices whose claim's end the sweep has seen and not ended yet.
    silent: Vec<u32>,
    turns: std::iter::Peekable<std::vec::IntoIter<i64>>,
}

impl<'a, W: Watch> Play<'a, W> {
    fn new(update: &Update, file: &'a FleetFile, seed: u64, memory: Memory, watch: &'a mut W) -> Self {
        let mut decider = Decider::new(update, file, memory);
        let update = decider.update();
        let start_s = file.starts_at.as_second();
        let mut rows = rows(&update, &file.fleet);
        let eligible = (0_u32..).zip(&mut rows).filter_map(|(number, row)| decider.is_for(number, row).then_some(()));
        let eligible = u32::try_from(eligible.count()).unwrap_or(u32::MAX);
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
            silent: Vec::new(),
            turns: turns.into_iter().peekable(),
            decider,
            rows,
            update,
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
        let is_swept = (self.start_s + i64::from(second)).rem_euclid(i64::from(SWEEP_S)) == 0;
        if is_swept && !self.silent.is_empty() {
            self.sweep(second);
        }
        let mut number = self.first[second as usize];
        while number != NOBODY {
            let next = self.rows[number as usize].next;
            self.check_in(second, number);
            number = next;
        }
        self.recorder.end_second(second, &self.shards.total);
    }

    fn check_in(&mut self, second: u32, number: u32) {
        if self.memory == Memory::None {
            self.shards.forget();
        }
        self.recorder.check_in();
        let now_s = self.start_s + i64::from(second);
        let answer = self.decider.answer(number, &mut self.rows[number as usize], now_s);
        let answer = match answer {
            Answer::Offer(grant) => self.reserve(second, number, grant),
            Answer::Held | Answer::Nothing(_) => answer,
        };
        self.recorder.answered(answer);
        self.watch.answered(now_s, number, answer.name());
        if self.rows[number as usize].doing != Doing::Silent {
            let wait = self.file.period_s - self.file.jitter_s
                + self.dice.up_to(2 * self.file.jitter_s, Throw::Jitter, number, second);
            self.expect(number, second.saturating_add(wait.max(1)));
        }
    }

    /// Gets a slot for the device, as the check-in function does, and lets it begin.
    fn reserve(&mut self, second: u32, number: u32, grant: Grant) -> Answer {
        let now_s = self.start_s + i64::from(second);
        let (now, expires_at) = (moment(now_s), self.expires_at(now_s));
        let row = &mut self.rows[number as usize];
        let before = row_claim(row, &self.update, self.start_s);
        let granted = match &before {
            None => self
                .shards
                .grant_first(row.cohort, now_s)
                .map(|shard| Claim::reserve(&self.update.version, shard, EPOCH, now, expires_at)),
            Some(before) => self.shards.grant(grant, before.shard, now_s).map(|()| match grant {
                Grant::Renewed => before.renew(now, expires_at),
                Grant::First | Grant::Again => before.reserve_again(before.shard, EPOCH, now, expires_at),
            }),
        };
        let claim = match granted {
            Ok(claim) => claim,
            Err(why) => return self.decider.answer_without_room(number, row, now_s, why),
        };
        row.keep(&claim, self.start_s);
        self.shards.count(before.as_ref(), &claim);
        self.recorder.granted(second, grant == Grant::First);
        self.begin(second, number);
        Answer::Offer(grant)
    }

    fn expires_at(&self, now_s: i64) -> tidegate_core::Timestamp {
        let ttl = SignedDuration::from_secs(i64::from(self.update.rollout.claim_ttl_s));
        moment(now_s).checked_add(ttl).unwrap_or(tidegate_core::Timestamp::MAX)
    }

    /// The device has the offer: the sweep will look at its claim, and it will report or not. One
    /// that is still busy with an earlier offer of the same update goes on with that.
    fn begin(&mut self, second: u32, number: u32) {
        let row = &mut self.rows[number as usize];
        let ends_s = self.start_s + i64::from(second) + i64::from(self.update.rollout.claim_ttl_s);
        let swept_s = ends_s.div_euclid(i64::from(SWEEP_S)) + i64::from(ends_s.rem_euclid(i64::from(SWEEP_S)) > 0);
        let swept = u32::try_from(swept_s * i64::from(SWEEP_S) - self.start_s).unwrap_or(u32::MAX);
        self.happenings.push(Reverse((swept, Happening::Swept, number)));
        if row.doing != Doing::Idle {
            return;
        }
        let attempt = u32::from(row.attempts);
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

    fn happen(&mut self, second: u32, happening: Happening, number: u32) {
        let row = &mut self.rows[number as usize];
        let Some(claim) = row_claim(row, &self.update, self.start_s) else {
            return;
        };
        if happening != Happening::Swept && row.doing == Doing::Installing {
            row.doing = Doing::Idle;
        }
        let moved = match happening {
            Happening::Succeeded => claim.settle(StatusEffect::Succeeded),
            Happening::Failed => claim.settle(StatusEffect::Failed),
            Happening::Swept => {
                self.silent.push(number);
                None
            }
        };
        if let Some(after) = moved {
            self.moved(second, number, &claim, &after);
            let counts = self.shards.total;
            self.stop_if_bad(second, &counts);
        }
    }

    fn moved(&mut self, second: u32, number: u32, before: &Claim, after: &Claim) {
        self.rows[number as usize].keep(after, self.start_s);
        self.shards.count(Some(before), after);
        self.recorder.moved(second);
    }

    fn stop_if_bad(&mut self, second: u32, counts: &Counts) {
        if !self.recorder.is_aborted()
            && let Some(why) = reason_to_stop(&self.update.rollout.health, counts)
        {
            self.shards.stop();
            self.decider.abort();
            self.recorder.aborted(second, why);
        }
    }

    /// Ends the claims of devices that fell silent, as the sweep function does: they are evidence
    /// before their places are given on.
    fn sweep(&mut self, second: u32) {
        let now = moment(self.start_s + i64::from(second));
        let ended = |number: u32| {
            let before = row_claim(&self.rows[number as usize], &self.update, self.start_s)?;
            let after = before.expire(now)?;
            Some((number, before, after))
        };
        let silent = self.silent.iter().filter_map(|number| ended(*number)).collect::<Vec<_>>();
        let counts = silent.iter();
        let counts = counts.fold(self.shards.total, |counts, (_, before, after)| counted(counts, Some(before), after));
        self.stop_if_bad(second, &counts);
        let Rollout { ends_at, health, limits, .. } = &self.update.rollout;
        let is_over = self.recorder.is_aborted() || ends_at.is_some_and(|end| now >= end);
        let given_on = match is_over {
            true => silent.len(),
            false => {
                let most = limits.max_in_flight;
                usize::try_from(health.expirable_claims(&self.shards.total, silent.len() as u64, most)).unwrap_or(0)
            }
        };
        self.silent = silent.iter().skip(given_on).map(|(number, ..)| *number).collect();
        for (number, before, after) in silent.into_iter().take(given_on) {
            self.moved(second, number, &before, &after);
        }
    }
}

fn row_claim(row: &Row, update: &Update, start_s: i64) -> Option<Claim> {
    row.claim(&update.version, start_s)
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
