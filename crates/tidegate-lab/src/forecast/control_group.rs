//! The control group of a play: the devices at the end of the queue, which are offered the update last.

use jiff::{SignedDuration, Timestamp};
use tidegate_core::cadence::{Cadence, DAY_S};
use tidegate_core::control_group::{ControlGroup, LastInQueue, Others, are_served, is_served};
use tidegate_core::gate::Control;
use tidegate_core::{Cohort, Update};

use crate::fleet::Fleet;
use crate::forecast::row::Row;
use crate::forecast::timetable::moment;

/// The group, chosen at the start of the play.
#[derive(Debug)]
pub(crate) struct HeldOut {
    pub(crate) group: ControlGroup,
    /// The members that are read.
    members: Vec<u32>,
    /// Devices with a place of the group.
    devices: u32,
    /// The second of the first daily count since which nearly all others have been offered the update.
    served_since_s: Option<u32>,
    /// First offers at the last daily count that found more, and its second.
    first_offers: u32,
    unchanged_since_s: u32,
    /// The reading that stays in force.
    last: Option<Control>,
}

impl HeldOut {
    /// The group out of the devices that the update is for; `None` if they are too few.
    pub(crate) fn choose(fleet: &Fleet, rows: &[Row], eligible: &[u32], update: &Update, start_s: i64) -> Option<Self> {
        if !update.may_hold_out(moment(start_s)) {
            return None;
        }
        let mut last = LastInQueue::default();
        let cohort = |number: u32| rows[number as usize].cohort;
        for number in eligible {
            last.add(&update.id, fleet.id(*number));
        }
        let (from, ids) = last.choose(eligible.len() as u64)?;
        let held_out = eligible.iter().copied().filter(|number| cohort(*number) >= from).collect::<Vec<_>>();
        let members = held_out.iter().copied().filter(|number| ids.contains(&fleet.id(*number))).collect();
        let group = ControlGroup { from, since: moment(start_s), is_over: false };
        let devices = u32::try_from(held_out.len()).unwrap_or(u32::MAX);
        Some(Self { group, members, devices, served_since_s: None, first_offers: 0, unchanged_since_s: 0, last: None })
    }

    /// True if a device without a claim is held out.
    pub(crate) fn holds(&self, cohort: Cohort) -> bool {
        self.group.held_out_from().is_some_and(|from| cohort >= from)
    }

    /// The silence of the members, if it counts.
    pub(crate) fn control(&self, rows: &[Row], cadence: &Cadence, start_s: i64, second: u32) -> Option<Control> {
        Some(self.read(rows, cadence, start_s, second)).filter(|control| self.group.counts(control))
    }

    /// The silence of the members.
    pub(crate) fn read(&self, rows: &[Row], cadence: &Cadence, start_s: i64, second: u32) -> Control {
        if let Some(last) = self.last {
            return last;
        }
        let seconds = |second: u32| moment(start_s + i64::from(second));
        let unclaimed = self.members.iter().map(|number| &rows[*number as usize]).filter(|row| row.claim.is_none());
        let mut control = Control { overdue: 0, members: 0 };
        for row in unclaimed {
            let due_at = cadence.due_in_group(seconds(row.seen_s), self.group.since);
            control.members += 1;
            control.overdue += u64::from(due_at <= seconds(second));
        }
        control
    }

    /// Counts the audience once a day, and serves the group when it is time; true if it is served from now on. The reading
    /// of that moment stays in force.
    pub(crate) fn serve_when_due(
        &mut self,
        second: u32,
        [eligible, first_offers]: [u32; 2],
        start_s: i64,
        ends_at: Option<Timestamp>,
        reading: impl FnOnce(&Self) -> Control,
    ) -> bool {
        if self.group.is_over || i64::from(second).rem_euclid(DAY_S) != 0 {
            return false;
        }
        let left = eligible.saturating_sub(first_offers).saturating_sub(self.devices);
        let served_since_s = self.served_since_s.unwrap_or(second);
        self.served_since_s = are_served(eligible.into(), left.into()).then_some(served_since_s);
        if first_offers > self.first_offers {
            (self.first_offers, self.unchanged_since_s) = (first_offers, second);
        }
        let at = |second: u32| moment(start_s + i64::from(second));
        let others =
            Others { served_since: self.served_since_s.map(at), unchanged_since: at(self.unchanged_since_s), ends_at };
        let due_after_s = Cadence::default().due_after_s(true);
        let reading = reading(self);
        self.group.is_over = is_served(&others, &reading, SignedDuration::from_secs(due_after_s), at(second));
        self.last = self.group.is_over.then_some(reading);
        self.group.is_over
    }
}
