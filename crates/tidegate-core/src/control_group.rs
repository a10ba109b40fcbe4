//! Control group: devices that are offered an update last. The update is not the cause of their silence.
//!
//! The group is a hold-out of the audience: the devices at the end of the campaign's queue. A device stays a member when
//! it becomes silent. Check-ins know the members by their places, without a read.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cohort::Cohort;
use crate::gate::Control;
use crate::id::{DeviceId, UpdateId};

/// Least audience of a campaign with a control group.
const LEAST_AUDIENCE: u64 = 1000;
/// Share of the audience in the group, in percent.
const PERCENT: u64 = 5;
/// Least number of members. A smaller group says little: with 100 members, 6.8 % of silence would be tolerated.
const LEAST_MEMBERS: u64 = 200;
/// Most members that are read.
const MOST_MEMBERS: u64 = 500;
/// Least number of members in a reading. With fewer, there is no group.
const LEAST_READ: u64 = 150;
/// Share of the audience that need not be served before the group: devices that ask and cannot be offered the update.
const NOT_SERVED_PERCENT: u64 = 1;
/// Share of silent members with which the group may end.
const CALM_PERCENT: u64 = 5;
/// Time after which the group is served in any case, if nobody else is any more.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Time before the end of a campaign at which the group is served in any case.
const BEFORE_THE_END: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Control group of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlGroup {
    /// The lowest place of a member.
    pub from: Cohort,
    /// Time since which its devices are not offered the update, and are watched closely.
    pub since: Timestamp,
    /// The devices are offered the update: all others were before.
    pub is_over: bool,
}

impl ControlGroup {
    /// The lowest place that is not offered the update yet.
    #[must_use]
    pub fn held_out_from(&self) -> Option<Cohort> {
        (!self.is_over).then_some(self.from)
    }

    /// The reading that the gate uses. A small group says nothing. One that is served keeps its last reading, unless that
    /// is from a time with much silence: it must not excuse what the update does later.
    #[must_use]
    pub fn counts(&self, reading: &Control) -> bool {
        reading.members >= LEAST_READ && (!self.is_over || is_calm(reading))
    }
}

fn is_calm(reading: &Control) -> bool {
    reading.overdue.saturating_mul(100) <= reading.members.saturating_mul(CALM_PERCENT)
}

/// Number of members for an audience; 0 if it is too small for a group.
#[must_use]
pub fn members_of(audience: u64) -> u64 {
    match audience {
        ..LEAST_AUDIENCE => 0,
        _ => audience.saturating_mul(PERCENT).div_euclid(100).clamp(LEAST_MEMBERS, MOST_MEMBERS),
    }
}

/// State of the audience without the group, for the question whether the group is served.
#[derive(Debug, Clone, Copy)]
pub struct Others {
    /// Time since which nearly all of them were offered the update; `None` while they were not.
    pub served_since: Option<Timestamp>,
    /// Time since which none of them was offered the update.
    pub unchanged_since: Timestamp,
    /// End of the campaign.
    pub ends_at: Option<Timestamp>,
}

/// Returns true if nearly all of an audience were offered the update. `left` of its devices were not.
#[must_use]
pub fn are_served(size: u64, left: u64) -> bool {
    left.saturating_mul(100) <= size.saturating_mul(NOT_SERVED_PERCENT)
}

/// Returns true if a group is served now: nearly all others were, those had the time `due_after` to become silent, and
/// there is no common silence. It is not held out for ever, nor beyond the end of the campaign.
#[must_use]
pub fn is_served(others: &Others, reading: &Control, due_after: SignedDuration, now: Timestamp) -> bool {
    let has_passed = |since: Timestamp, time| now.duration_since(since) >= time;
    let had_time = others.served_since.is_some_and(|since| has_passed(since, due_after));
    let is_stuck = has_passed(others.unchanged_since, LONGEST);
    (had_time && is_calm(reading)) || is_stuck || ends_within(others.ends_at, BEFORE_THE_END, now)
}

/// Returns true if a campaign is too short for a group.
pub(crate) fn is_too_short(ends_at: Option<Timestamp>, now: Timestamp) -> bool {
    ends_within(ends_at, LONGEST, now)
}

fn ends_within(ends_at: Option<Timestamp>, time: SignedDuration, now: Timestamp) -> bool {
    ends_at.is_some_and(|end| end.duration_since(now) < time)
}

/// The last devices of a campaign's queue that are not offered the update yet, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastInQueue(BTreeSet<(Cohort, u64, DeviceId)>);

impl LastInQueue {
    /// Takes in a device of the queue of `update`.
    pub fn add(&mut self, update: &UpdateId, device: DeviceId) {
        // A place of a large fleet has many devices. Their ids say where and when they were made.
        let (cohort, order) = Cohort::with_order(update, &device);
        self.0.insert((cohort, order, device));
        if self.0.len() as u64 > MOST_MEMBERS {
            self.0.pop_first();
        }
    }

    /// The control group for an audience: the lowest place, and the members. `None` if the audience is too small, or too
    /// many of its devices were offered the update already.
    #[must_use]
    pub fn choose(&self, audience: u64) -> Option<(Cohort, Vec<DeviceId>)> {
        let members = members_of(audience);
        if members == 0 || (self.0.len() as u64) < members {
            return None;
        }
        let members = self.0.iter().rev().take(usize::try_from(members).unwrap_or(usize::MAX));
        let (from, ..) = members.clone().next_back()?;
        Some((*from, members.map(|(_, _, device)| device.clone()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ProductId;

    fn update() -> UpdateId {
        UpdateId::of(&ProductId::new("lamp").unwrap(), &semver::Version::new(2, 0, 0), 1)
    }

    fn device(number: u32) -> DeviceId {
        DeviceId::new(format!("lamp-{number}")).unwrap()
    }

    fn queue(devices: u32) -> LastInQueue {
        let mut last = LastInQueue::default();
        for number in 0..devices {
            last.add(&update(), device(number));
        }
        last
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    #[test]
    fn a_group_has_a_twentieth_of_the_audience_and_not_too_few_or_many() {
        let sizes = [0, 999, 1000, 4000, 5000, 10_000, 1_000_000].map(members_of);
        assert_eq!(sizes, [0, 0, 200, 200, 250, 500, 500]);
    }

    #[test]
    fn its_members_are_the_last_of_the_queue() {
        let mut places = (0..10_000).map(|number| Cohort::of(&update(), &device(number))).collect::<Vec<_>>();
        places.sort_unstable();
        for (audience, size) in [(10_000, 500), (5000, 250)] {
            let (from, members) = queue(10_000).choose(audience).unwrap();
            assert_eq!((from, members.len()), (places[10_000 - size], size));
            assert!(members.iter().all(|member| Cohort::of(&update(), member) >= from));
        }
    }

    #[test]
    fn there_is_no_group_when_too_few_devices_are_left() {
        assert_eq!(queue(199).choose(1000), None);
        assert_eq!(queue(200).choose(1000).unwrap().1.len(), 200);
        assert_eq!(queue(900).choose(999), None, "a small audience");
    }

    /// Devices of one place in the order of their ids would be those of one factory.
    #[test]
    fn the_devices_of_one_place_are_in_no_order_of_their_ids() {
        let of_last_place = (0..).map(device).filter(|device| Cohort::of(&update(), device).place() == 9999);
        let devices = of_last_place.take(12).collect::<Vec<_>>();
        let mut ordered = devices.clone();
        ordered.sort_by_key(|device| Cohort::with_order(&update(), device));
        assert_ne!(ordered, devices);
    }

    #[test]
    fn a_group_is_served_after_the_others_had_their_time_and_not_in_a_holiday() {
        let due_after = SignedDuration::from_hours(90);
        let served =
            |others: &Others, overdue, hour| is_served(others, &Control { overdue, members: 200 }, due_after, at(hour));
        let others = Others { served_since: Some(at(0)), unchanged_since: at(0), ends_at: None };
        assert!(!served(&others, 0, 89) && served(&others, 0, 90));
        assert!(served(&others, 10, 90) && !served(&others, 11, 90), "one in twenty is silent");
        assert!(!served(&others, 200, 335) && served(&others, 200, 336), "two weeks");
        let waits = Others { served_since: None, ..others };
        assert!(!served(&waits, 0, 335) && served(&waits, 0, 336));
        let ends = Others { ends_at: Some(at(300)), ..waits };
        assert!(!served(&ends, 0, 132) && served(&ends, 0, 133), "a week before the end");
        assert!(is_too_short(Some(at(335)), at(0)) && !is_too_short(Some(at(336)), at(0)));
        assert!(are_served(1000, 10) && !are_served(1000, 11));
    }

    #[test]
    fn a_reading_of_few_members_or_of_a_holiday_that_is_over_excuses_nothing() {
        let counts = |is_over, overdue, members| {
            let group = ControlGroup { from: Cohort::at(9000).unwrap(), since: at(0), is_over };
            group.counts(&Control { overdue, members })
        };
        assert!(counts(false, 80, 200) && counts(false, 0, 150) && !counts(false, 0, 149));
        assert!(counts(true, 10, 200) && !counts(true, 11, 200));
    }
}
