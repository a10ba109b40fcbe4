//! The result of a play: hours, milestones and peaks, and how the rollout ended.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use tidegate_core::count::Count;
use tidegate_core::limits::Limits;
use tidegate_core::objection::Cure;
use tidegate_core::phase::{Begins, Phase};
use tidegate_core::rollout::Rollout;
use tidegate_core::{ByteSize, ObjectionCode, Update};

use crate::forecast::decider::Answer;
use crate::forecast::fleet_file::FleetFile;
use crate::forecast::play::image_bytes;
use crate::forecast::shards::Shards;
use crate::forecast::text;
use crate::forecast::timetable::{closed_spans, moment};

/// Buckets of the picture's in-flight curve: steps that a person still sees.
const MOST_BUCKETS: u32 = 170;
/// Round spans for a bucket.
const BUCKETS_S: [u32; 9] = [30, 60, 300, 600, 1800, 3600, 7200, 21_600, 86_400];
/// Points of the curves in each bucket: altogether about as many as a screen has columns.
const POINTS_PER_BUCKET: u32 = 5;
/// Shares of the devices that the update is for, in percent, whose moment is told.
const MILESTONES: [u32; 3] = [50, 95, 100];

/// The result of a play.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// Every hour of the play.
    pub hours: Vec<Hour>,
    /// The end of the rollout.
    pub ended: Ending,
    /// Devices of the fleet.
    pub devices: u32,
    /// Those that the update is for, sooner or later.
    pub eligible: u32,
    /// When 50, 95 and 100 % of those had been offered the update.
    pub milestones: Vec<Milestone>,
    /// The most devices that were in flight at once.
    pub most_in_flight: u64,
    /// Offers in the busiest minute, further attempts included.
    pub peak_offers_per_minute: u32,
    /// Bytes downloaded in the busiest second, when the fleet says how fast a device downloads.
    pub peak_bytes_per_s: Option<u64>,
    /// Check-ins that were told to wait, by the objection's code.
    pub waits: BTreeMap<ObjectionCode, u64>,
    pub(crate) plan: Plan,
    pub(crate) curve: Vec<Point>,
    /// Offers by period of the rate limit, with the period's start in seconds since 1970; empty without such a limit.
    pub offers_per_period: Vec<(i64, u32)>,
}

/// One hour. `offered` and what follows it are totals since the start, as they stand at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the counters of a rollout
pub struct Hour {
    /// When it begins.
    pub at: Timestamp,
    /// Check-ins within it.
    pub check_ins: u64,
    pub offered: u64,
    pub in_flight: u64,
    pub proved: u64,
    pub failed: u64,
    pub lost: u64,
    /// Bytes downloaded within it.
    pub bytes: u64,
}

/// State of the rollout when the play is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The health gate held it.
    Held {
        /// When.
        at: Timestamp,
        /// On what evidence.
        why: String,
    },
    /// Every device of the audience was offered the update, and none is in flight.
    Finished {
        /// When the last outcome came in.
        at: Timestamp,
    },
    /// It goes on after the play.
    Running,
}

/// A share of the devices that the update is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone {
    /// The share.
    pub percent: u32,
    /// When it had been offered the update, if it was.
    pub at: Option<Timestamp>,
}

/// The plan, for the picture.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) title: String,
    pub(crate) start_s: i64,
    pub(crate) play_s: u32,
    pub(crate) rollout: Rollout,
    pub(crate) offers_per_period: Option<u64>,
    pub(crate) closed: Vec<(i64, i64)>,
    /// The beginnings of the phases that began, in their order.
    pub(crate) phases_begin_s: Vec<i64>,
}

impl Plan {
    /// Time that one step of the in-flight curve stands for.
    pub(crate) fn bucket_s(&self) -> u32 {
        bucket_s(self.play_s)
    }
}

fn bucket_s(play_s: u32) -> u32 {
    let fits = |bucket_s: &u32| play_s.div_ceil(*bucket_s) <= MOST_BUCKETS;
    BUCKETS_S.into_iter().find(fits).unwrap_or(86_400)
}

/// The counters at one moment; `in_flight` is the most since the point before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Point {
    pub(crate) second: u32,
    pub(crate) offered: u64,
    pub(crate) in_flight: u64,
    pub(crate) proved: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
}

impl Forecast {
    /// When the health gate held the rollout, if it did.
    #[must_use]
    pub fn held_at(&self) -> Option<Timestamp> {
        match &self.ended {
            Ending::Held { at, .. } => Some(*at),
            Ending::Finished { .. } | Ending::Running => None,
        }
    }

    /// The last hour: how it all stands in the end.
    #[must_use]
    pub fn last(&self) -> Option<&Hour> {
        self.hours.last()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.plan.rollout.limits
    }
}

/// The beginnings of the phases that began: at their times, or as the play began them.
fn phases_begin_s(rollout: &Rollout, start_s: i64, on_evidence: &[u32]) -> Vec<i64> {
    let at_times = rollout.phases.iter().filter_map(Phase::starts_at).map(|at| at.as_second());
    let first = rollout.phases.first().filter(|phase| phase.begins == Begins::AtOnce).map(|_| start_s);
    let others = on_evidence.iter().map(|second| start_s + i64::from(*second));
    at_times.chain(first).chain(others).collect()
}

/// Records the counts of every second of the play.
#[derive(Debug)]
pub(crate) struct Recorder {
    start_s: i64,
    play_s: u32,
    eligible: u32,
    hours: Vec<Hour>,
    check_ins: u64,
    curve: Vec<Point>,
    step_s: u32,
    most_in_flight: u64,
    offers: Vec<u32>,
    first_offers: u32,
    milestones: Vec<Milestone>,
    waits: BTreeMap<ObjectionCode, u64>,
    held: Option<(u32, String)>,
    moved_s: u32,
    phases_begin: Vec<u32>,
}

impl Recorder {
    pub(crate) fn new(file: &FleetFile, eligible: u32) -> Self {
        Self {
            start_s: file.starts_at.as_second(),
            play_s: file.play_s,
            eligible,
            hours: Vec::new(),
            check_ins: 0,
            curve: vec![Point::default()],
            step_s: bucket_s(file.play_s) / POINTS_PER_BUCKET,
            most_in_flight: 0,
            offers: vec![0; file.play_s as usize],
            first_offers: 0,
            milestones: MILESTONES.iter().map(|percent| Milestone { percent: *percent, at: None }).collect(),
            waits: BTreeMap::new(),
            held: None,
            moved_s: 0,
            phases_begin: Vec::new(),
        }
    }

    pub(crate) fn check_in(&mut self) {
        self.check_ins += 1;
    }

    pub(crate) fn answered(&mut self, answer: Answer) {
        if let Answer::Nothing(code) = answer
            && is_wait(code)
        {
            *self.waits.entry(code).or_default() += 1;
        }
    }

    pub(crate) fn granted(&mut self, second: u32, is_first: bool) {
        self.offers[second as usize] += 1;
        if !is_first {
            return;
        }
        self.first_offers += 1;
        let (offered, eligible) = (u64::from(self.first_offers), u64::from(self.eligible));
        for milestone in self.milestones.iter_mut().filter(|milestone| milestone.at.is_none()) {
            if offered * 100 >= eligible * u64::from(milestone.percent) {
                milestone.at = Some(moment(self.start_s + i64::from(second)));
            }
        }
    }

    pub(crate) fn eligible(&self) -> u32 {
        self.eligible
    }

    pub(crate) fn first_offers(&self) -> u32 {
        self.first_offers
    }

    pub(crate) fn moved(&mut self, second: u32) {
        self.moved_s = second;
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    pub(crate) fn held(&mut self, second: u32, why: String) {
        self.held = Some((second, why));
    }

    /// A phase on evidence begins.
    pub(crate) fn phase_begins(&mut self, second: u32) {
        self.phases_begin.push(second);
    }

    pub(crate) fn end_second(&mut self, second: u32, shards: &Shards) {
        self.most_in_flight = self.most_in_flight.max(shards.in_flight);
        let ends = second + 1;
        let is_last = ends == self.play_s;
        if ends.is_multiple_of(self.step_s) || is_last {
            self.curve.push(Point {
                second: ends,
                offered: shards.used,
                in_flight: std::mem::take(&mut self.most_in_flight),
                proved: shards.devices(&[Count::Proved]),
                failed: shards.devices(&[Count::Failed, Count::Reverted]),
                lost: shards.devices(&[Count::Lost]),
            });
        }
        if ends.is_multiple_of(3600) || is_last {
            self.hours.push(Hour {
                at: moment(self.start_s + i64::from(second - second % 3600)),
                check_ins: std::mem::take(&mut self.check_ins),
                offered: shards.used,
                in_flight: shards.in_flight,
                proved: shards.devices(&[Count::Proved]),
                failed: shards.devices(&[Count::Failed, Count::Reverted]),
                lost: shards.devices(&[Count::Lost]),
                bytes: 0,
            });
        }
    }

    pub(crate) fn finish(mut self, update: &Update, file: &FleetFile, shards: &Shards) -> Forecast {
        let bytes_per_device = image_bytes(update, file);
        let peak_bytes = self.spread_bytes(bytes_per_device, file.bandwidth_bytes_per_s);
        let limits = &update.rollout.limits;
        let offers_per_period = limits.offers_per_period(update.content.size_bytes());
        let is_finished = self.first_offers == self.eligible && shards.in_flight == 0;
        let ended = match self.held {
            Some((second, why)) => Ending::Held { at: moment(self.start_s + i64::from(second)), why },
            None if is_finished => Ending::Finished { at: moment(self.start_s + i64::from(self.moved_s)) },
            None => Ending::Running,
        };
        let periods = offers_per_period.map(|_| sums(&self.offers, self.start_s, limits.period_s)).unwrap_or_default();
        let minutes = sums(&self.offers, self.start_s, 60);
        Forecast {
            hours: self.hours,
            ended,
            devices: file.fleet.devices(),
            eligible: self.eligible,
            milestones: self.milestones,
            most_in_flight: shards.most_in_flight,
            peak_offers_per_minute: minutes.iter().map(|(_, offers)| *offers).max().unwrap_or(0),
            peak_bytes_per_s: file.bandwidth_bytes_per_s.map(|_| peak_bytes),
            waits: self.waits,
            plan: Plan {
                title: format!("{} {}", update.product, update.version),
                start_s: self.start_s,
                play_s: self.play_s,
                rollout: update.rollout.clone(),
                offers_per_period,
                phases_begin_s: phases_begin_s(&update.rollout, self.start_s, &self.phases_begin),
                closed: closed_spans(&update.rollout.windows, self.start_s, self.start_s + i64::from(self.play_s)),
            },
            curve: self.curve,
            offers_per_period: periods,
        }
    }

    /// Adds each hour's bytes, and finds those of the busiest second: every offer is downloaded at
    /// once, at the device's own speed.
    fn spread_bytes(&mut self, size: u64, bandwidth: Option<u64>) -> u64 {
        let bandwidth = bandwidth.unwrap_or(u64::MAX);
        let (full_s, rest) = (usize::try_from(size / bandwidth).unwrap_or(usize::MAX), size % bandwidth);
        let (mut downloading, mut peak) = (0_u64, 0);
        for (second, offers) in self.offers.iter().enumerate() {
            let ended = second.checked_sub(full_s).map_or(0, |since| u64::from(self.offers[since]));
            downloading = downloading + u64::from(*offers) - ended;
            let bytes = downloading.saturating_mul(bandwidth).saturating_add(ended.saturating_mul(rest));
            peak = peak.max(bytes);
            if let Some(hour) = self.hours.get_mut(second / 3600) {
                hour.bytes = hour.bytes.saturating_add(bytes);
            }
        }
        peak
    }
}

/// The sums over periods that start at multiples of `period_s` since 1970.
fn sums(per_second: &[u32], start_s: i64, period_s: u32) -> Vec<(i64, u32)> {
    let period_s = i64::from(period_s);
    let mut sums: Vec<(i64, u32)> = Vec::new();
    for (second, count) in (start_s..).zip(per_second) {
        let period = second - second.rem_euclid(period_s);
        match sums.last_mut() {
            Some((last, sum)) if *last == period => *sum += count,
            _ => sums.push((period, *count)),
        }
    }
    sums
}

fn is_wait(code: ObjectionCode) -> bool {
    match code.cure() {
        Cure::Time | Cure::Turn => true,
        Cure::Never | Cure::Operator => false,
    }
}

impl fmt::Display for Forecast {
    /// The summary, in sentences, one to a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = moment(self.plan.start_s);
        let since = |at: &Timestamp| text::span(u64::try_from(at.as_second() - self.plan.start_s).unwrap_or(0));
        let check_ins = self.hours.iter().map(|hour| hour.check_ins).sum::<u64>();
        writeln!(
            f,
            "{}: {} devices, {} of them concerned, played for {} from {} UTC; {} check-ins.",
            self.plan.title,
            text::grouped(self.devices.into()),
            text::grouped(self.eligible.into()),
            text::span(self.plan.play_s.into()),
            text::moment(start),
            text::grouped(check_ins),
        )?;
        self.write_milestones(f, &since)?;
        let Some(last) = self.last() else {
            return Ok(());
        };
        writeln!(
            f,
            "In the end {} were offered it: {} show it, {} failed, {} are overdue, {} are in flight.",
            text::grouped(last.offered),
            text::grouped(last.proved),
            text::grouped(last.failed),
            text::grouped(last.lost),
            text::grouped(last.in_flight),
        )?;
        match &self.ended {
            Ending::Held { at, why } => {
                writeln!(f, "The health gate held it on {}, {} after the start: {why}.", text::moment(*at), since(at))?
            }
            Ending::Finished { at } => writeln!(f, "The last outcome came in on {}.", text::moment(*at))?,
            Ending::Running => writeln!(f, "It goes on after the play.")?,
        }
        let bytes = self.hours.iter().map(|hour| hour.bytes).sum::<u64>();
        let peak = self.peak_bytes_per_s.map(|peak| format!(", at most {} in a second", ByteSize(peak)));
        writeln!(
            f,
            "The busiest minute made {} offers, and at most {} devices were in flight; {} were downloaded{}.",
            text::grouped(self.peak_offers_per_minute.into()),
            text::grouped(self.most_in_flight),
            ByteSize(bytes),
            peak.unwrap_or_default(),
        )?;
        self.write_waits(f)
    }
}

impl Forecast {
    fn write_milestones(&self, f: &mut fmt::Formatter<'_>, since: &dyn Fn(&Timestamp) -> String) -> fmt::Result {
        let reached = self.milestones.iter().filter_map(|milestone| Some((milestone.percent, milestone.at?)));
        let reached = reached
            .map(|(percent, at)| format!("{percent} % on {} (after {})", text::moment(at), since(&at)))
            .collect::<Vec<_>>();
        if !reached.is_empty() {
            writeln!(f, "Of those it concerns, offered: {}.", reached.join(", "))?;
        }
        match (self.milestones.iter().find(|milestone| milestone.at.is_none()), self.last()) {
            (Some(missed), Some(last)) => writeln!(
                f,
                "{} % is not reached within the play: {} were offered it.",
                missed.percent,
                text::percent(last.offered, self.eligible.into())
            ),
            _ => Ok(()),
        }
    }

    /// The objections that held devices back, the most frequent first.
    fn write_waits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.waits.values().sum::<u64>();
        let mut waits = self.waits.iter().collect::<Vec<_>>();
        waits.sort_by_key(|(code, count)| (std::cmp::Reverse(**count), code.name()));
        let Some((first, count)) = waits.first() else {
            return writeln!(f, "No check-in had to wait.");
        };
        let share = |count: u64| text::percent(count, total);
        write!(
            f,
            "What bound most was {}: {} of the {} check-ins that had to wait",
            self.name_of(**first),
            share(**count),
            text::grouped(total)
        )?;
        for (code, count) in waits.iter().skip(1) {
            write!(f, "; then {} ({})", self.name_of(**code), share(**count))?;
        }
        writeln!(f, ".")
    }

    /// The setting that held a device back, with its value if it is a number.
    fn name_of(&self, code: ObjectionCode) -> String {
        let number = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), text::grouped);
        let limits = self.limits();
        match code {
            ObjectionCode::Full => format!("{} {}", code.setting(), number(limits.max_devices)),
            ObjectionCode::RateLimited => {
                format!("{} offers per {}", number(self.plan.offers_per_period), text::span(limits.period_s.into()))
            }
            ObjectionCode::NotInPhase if self.plan.rollout.phases.is_empty() => "the control group".to_owned(),
            ObjectionCode::TooManyInFlight => format!("{} {}", code.setting(), number(limits.max_in_flight)),
            other => other.setting().to_owned(),
        }
    }
}
