//! Counts of claims: the contribution of one claim, and the sums over all devices of a rollout.
//!
//! The function `count` reads every change of a device from the table's stream and adds it to [`Sums`]. So every count
//! of claims is a sum of [`part`] over the devices, and none is changed by the request that ends a claim.

use std::collections::{BTreeMap, BTreeSet};

use crate::breaker::{Transfer, Transfers};
use crate::claim::Claim;
use crate::gate::{HOURS, Outcomes};
use crate::life::{Bucket, State};
use crate::shard::Shard;

/// Most grants of a shard that have not been counted and judged, also without a limit in flight.
pub const MOST_UNJUDGED: u64 = 1000;

/// The number of the count that a generation belongs to. A repair counts the places anew, under the next number: what is
/// released of an earlier count means nothing then. The number is the upper half of the generation, so whoever knows the
/// generation of a grant knows it.
#[must_use]
pub fn count_number(generation: u64) -> u32 {
    u32::try_from(generation >> 32).unwrap_or(u32::MAX)
}

/// The first generation of the count after that of `generation`.
#[must_use]
pub fn next_count(generation: u64) -> u64 {
    u64::from(count_number(generation)).saturating_add(1) << 32
}

/// A shard in one count of the places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountedShard {
    /// Number of the count.
    pub count: u32,
    /// The shard.
    pub shard: u16,
}

impl CountedShard {
    /// The shard in the count of a generation.
    #[must_use]
    pub fn of(generation: u64, shard: u16) -> Self {
        Self { count: count_number(generation), shard }
    }

    fn of_claim(claim: &Claim) -> Self {
        Self { count: claim.count, shard: claim.shard }
    }
}

macro_rules! counts {
    ($($count:ident $name:literal $what:literal),+ $(,)?) => {
        /// One count of a rollout's devices. A device is in several of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Count { $(#[doc = $what] $count),+ }

        impl Count {
            /// Every count.
            pub const ALL: &[Self] = &[$(Self::$count),+];

            /// Name in storage and in the API.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$count => $name),+ }
            }
        }

        const KINDS: usize = [$(Count::$count),+].len();
    };
}

counts! {
    Granted        "granted"         "Devices that were granted the update.",
    Installed      "installed"       "Devices that said success, and have not shown it.",
    Proved         "proved"          "Devices that said the new version.",
    Failed         "failed"          "Devices that said that the installation failed.",
    Reverted       "reverted"        "Devices that fell back after a success.",
    Lost           "lost"            "Devices that are overdue.",
    NotTaken       "not_taken"       "Devices that did not apply the update in time.",
    TransferFailed "transfer_failed" "Devices that could not fetch the files.",
    Declined       "declined"        "Devices that said no.",
    Left           "left"            "Devices that went elsewhere.",
    Voided         "voided"          "Devices that an operator struck as witnesses.",
    ByReport       "by_report"       "Devices that are proved by their report, and never said the new version.",
    Soaked         "soaked"          "Devices that are well for long.",
    Mature         "mature"          "Devices that are well for longer than a dead one would stay unnoticed.",
    GivenOn        "given_on"        "Lost devices whose place was given to another one.",
    Gone           "gone"            "Devices that were granted the update, and then were deleted or forgotten. They took a slot.",
}

impl Count {
    /// The count of a bucket.
    #[must_use]
    pub fn of(bucket: Bucket) -> Self {
        match bucket {
            Bucket::Proved => Self::Proved,
            Bucket::Failed => Self::Failed,
            Bucket::Reverted => Self::Reverted,
            Bucket::Lost => Self::Lost,
            Bucket::NotTaken => Self::NotTaken,
            Bucket::TransferFailed => Self::TransferFailed,
            Bucket::Declined => Self::Declined,
            Bucket::Left => Self::Left,
            Bucket::Voided => Self::Voided,
        }
    }
}

/// The devices that one judgement of the gate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sample {
    /// Number of acknowledgements before they were first granted the update.
    pub test: u16,
    /// They are newcomers: nobody vouches for them, so they say nothing about the others.
    pub is_newcomers: bool,
}

impl Sample {
    /// The devices of a test that are no newcomers.
    #[must_use]
    pub fn of(test: u16) -> Self {
        Self { test, is_newcomers: false }
    }
}

/// Contribution of a claim to the counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The place that it holds.
    pub place: Option<Place>,
    /// The counts in which its device is, each with the sample of the gate.
    pub counts: BTreeSet<(Sample, Count)>,
    /// The bucket of the time of the first grant.
    pub hour: u8,
}

/// A place in flight: the shard that gave it, and the epoch of the claim that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The shard.
    pub shard: u16,
    /// The epoch of the claim.
    pub epoch: u64,
}

/// Contribution of `claim` to the counts. Every count of claims follows from this function.
#[must_use]
pub fn part(claim: &Claim) -> Part {
    let life = &claim.life;
    let place = Place { shard: claim.shard, epoch: claim.epoch };
    let is_given_on =
        life.state == State::Lost && !life.holds_place && life.lost_from.is_some_and(|from| from != State::Proved);
    // A mark stays with a device that is lost, falls back or is struck later; it counts while the device is well.
    let is_well = matches!(life.state, State::Proved | State::Closed) && life.bucket == Some(Bucket::Proved);
    let marks = [
        (true, Count::Granted),
        (life.state == State::Installed, Count::Installed),
        (is_well && life.by_report, Count::ByReport),
        (is_well && life.soaked, Count::Soaked),
        (is_well && life.mature, Count::Mature),
        (is_given_on, Count::GivenOn),
    ];
    let marks = marks.into_iter().filter(|(is_in, _)| *is_in).map(|(_, count)| count);
    let sample = sample_of(claim);
    let counts = marks.chain(life.bucket.map(Count::of)).map(|count| (sample, count)).collect();
    Part { place: life.holds_place.then_some(place), counts, hour: claim.hour }
}

fn sample_of(claim: &Claim) -> Sample {
    Sample { test: claim.test, is_newcomers: claim.is_newcomer }
}

/// Sums over the claims of a rollout, or over the changes in one batch of the stream.
///
/// A place is counted when it is taken and when it is released. The difference of a shard's own `granted` and
/// [`released`](Self::released) is never less than the places that are held, because a change that is counted late is
/// missing in `released`. `granted` less the places held now would be wrong: the former is read at another time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    /// Places that were taken, by shard and count.
    pub granted: BTreeMap<CountedShard, u64>,
    /// Places that were released, by the shard that gave them, and the count.
    pub released: BTreeMap<CountedShard, u64>,
    /// Devices in each count, by sample. A number is negative for a moment while a stream shard is split.
    pub devices: BTreeMap<(Sample, Count), i64>,
    /// Devices by sample and by the bucket of the time of their first grant.
    pub granted_in: BTreeMap<(Sample, u8), i64>,
    /// Lost devices by the same.
    pub lost_in: BTreeMap<(Sample, u8), i64>,
    /// The last transfers that ended. They are no sum over the claims.
    pub transfers: Transfers,
}

impl Sums {
    /// Counts the change of a claim from `before` to `after`.
    pub fn count(&mut self, before: Option<&Claim>, after: Option<&Claim>) {
        if let (Some(claim), None) = (before, after) {
            plus(&mut self.devices, (sample_of(claim), Count::Gone), 1);
        }
        let shards = [before, after].map(|claim| claim.map(CountedShard::of_claim));
        let before = before.map(part).unwrap_or_default();
        let after = after.map(part).unwrap_or_default();
        if before.place != after.place {
            if let (Some(_), Some(shard)) = (before.place, shards[0]) {
                add(&mut self.released, shard, 1);
            }
            if let (Some(_), Some(shard)) = (after.place, shards[1]) {
                add(&mut self.granted, shard, 1);
            }
        }
        for (part, by) in [(&before, -1), (&after, 1)] {
            for (sample, count) in &part.counts {
                plus(&mut self.devices, (*sample, *count), by);
                match count {
                    Count::Granted => plus(&mut self.granted_in, (*sample, part.hour), by),
                    Count::Lost => plus(&mut self.lost_in, (*sample, part.hour), by),
                    _ => {}
                }
            }
        }
    }

    /// Counts the change of a claim, and the end of its transfer, if it tells of one.
    pub fn count_with_transfer(&mut self, before: Option<&Claim>, after: Option<&Claim>) {
        self.count(before, after);
        if let Some(transfer) = Transfer::of(before, after) {
            self.transfers.add(transfer);
        }
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        for (shard, count) in &other.granted {
            add(&mut self.granted, *shard, *count);
        }
        for (shard, count) in &other.released {
            add(&mut self.released, *shard, *count);
        }
        for (key, count) in &other.devices {
            plus(&mut self.devices, *key, *count);
        }
        for (key, count) in &other.granted_in {
            plus(&mut self.granted_in, *key, *count);
        }
        for (key, count) in &other.lost_in {
            plus(&mut self.lost_in, *key, *count);
        }
        for transfer in other.transfers.iter() {
            self.transfers.add(transfer);
        }
    }

    /// Returns true if nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Devices in a count, of all tests.
    #[must_use]
    pub fn devices(&self, count: Count) -> i64 {
        self.devices_of(count, |_| true)
    }

    /// Devices in a count, of all tests, without the newcomers: only these say something about the image.
    #[must_use]
    pub fn voters(&self, count: Count) -> i64 {
        self.of_kind(count, false)
    }

    /// Newcomers, or the others, in a count, of all tests.
    #[must_use]
    pub fn of_kind(&self, count: Count, is_newcomers: bool) -> i64 {
        self.devices_of(count, |sample| sample.is_newcomers == is_newcomers)
    }

    fn devices_of(&self, count: Count, is_in: impl Fn(&Sample) -> bool) -> i64 {
        let of = self.devices.iter().filter(|((sample, of), _)| *of == count && is_in(sample));
        of.fold(0, |sum, (_, devices)| sum.saturating_add(*devices))
    }

    /// The outcomes of one sample of the gate.
    #[must_use]
    pub fn outcomes(&self, sample: Sample) -> Outcomes {
        self.outcomes_of(|of| *of == sample)
    }

    /// The outcomes of the newcomers of all tests: nobody acknowledges them.
    #[must_use]
    pub fn newcomers(&self) -> Outcomes {
        self.outcomes_of(|sample| sample.is_newcomers)
    }

    fn outcomes_of(&self, is_in: impl Fn(&Sample) -> bool) -> Outcomes {
        let of = |count| self.devices_of(count, &is_in);
        let no_trial = Bucket::ALL.into_iter().filter(|bucket| bucket.is_no_trial()).map(Count::of).map(of);
        let by_hour = |counts: &BTreeMap<(Sample, u8), i64>| {
            let mut hours = [0_i64; HOURS];
            for ((_, hour), devices) in counts.iter().filter(|((sample, _), _)| is_in(sample)) {
                if let Some(sum) = hours.get_mut(usize::from(*hour)) {
                    *sum = sum.saturating_add(*devices);
                }
            }
            hours
        };
        Outcomes {
            granted: of(Count::Granted),
            failed: of(Count::Failed),
            reverted: of(Count::Reverted),
            lost: of(Count::Lost),
            not_taken: of(Count::NotTaken),
            no_trial: no_trial.fold(0, i64::saturating_add),
            granted_in: by_hour(&self.granted_in),
            lost_in: by_hour(&self.lost_in),
        }
    }

    /// Places of `shard` that were released.
    #[must_use]
    pub fn released(&self, shard: CountedShard) -> u64 {
        self.released.get(&shard).copied().unwrap_or(0)
    }

    /// Places of `shard` that were taken and counted.
    #[must_use]
    pub fn granted(&self, shard: CountedShard) -> u64 {
        self.granted.get(&shard).copied().unwrap_or(0)
    }

    /// Places of all shards that were taken and counted.
    #[must_use]
    pub fn granted_in_all(&self) -> u64 {
        self.granted.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Number of grants by all shards in one count.
    #[must_use]
    pub fn granted_of(&self, count: u32) -> u64 {
        let granted = self.granted.iter().filter(|(shard, _)| shard.count == count);
        granted.fold(0, |sum, (_, granted)| sum.saturating_add(*granted))
    }

    /// Places of all shards that were released.
    #[must_use]
    pub fn released_in_all(&self) -> u64 {
        self.released.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Places of all shards that were released in one count.
    #[must_use]
    pub fn released_in(&self, count: u32) -> u64 {
        let released = self.released.iter().filter(|(shard, _)| shard.count == count);
        released.fold(0, |sum, (_, released)| sum.saturating_add(*released))
    }

    /// Number of grants that `shard` may reach when it has `places`: each place is given on only after its release was
    /// counted, and at most [`MOST_UNJUDGED`] grants are not counted yet.
    #[must_use]
    pub fn ceiling(&self, shard: CountedShard, places: u64) -> u64 {
        let by_places = self.released(shard).saturating_add(places);
        by_places.min(self.granted(shard).saturating_add(MOST_UNJUDGED))
    }
}

fn add(counts: &mut BTreeMap<CountedShard, u64>, shard: CountedShard, by: u64) {
    let count = counts.entry(shard).or_default();
    *count = count.saturating_add(by);
}

/// Adds to a number that may be negative. A zero is left out, so that equal sums are equal.
fn plus<K: Ord>(counts: &mut BTreeMap<K, i64>, key: K, by: i64) {
    use std::collections::btree_map::Entry;
    match counts.entry(key) {
        Entry::Vacant(vacant) if by != 0 => drop(vacant.insert(by)),
        Entry::Vacant(_) => {}
        Entry::Occupied(mut count) => {
            *count.get_mut() = count.get().saturating_add(by);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Counters of a rollout at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Number of claims ever made. It never decreases.
    pub used: u64,
    /// Number of places that are held, or whose release was not counted yet.
    pub in_flight: u64,
    devices: [u64; KINDS],
}

impl Counts {
    /// The counters that follow from the shards of a rollout and from the sums over its claims.
    #[must_use]
    pub fn of(shards: &[Option<Shard>], sums: &Sums) -> Self {
        let mut counts = Self::default();
        for (devices, count) in counts.devices.iter_mut().zip(Count::ALL) {
            *devices = u64::try_from(sums.devices(*count)).unwrap_or(0);
        }
        let held = (0..).zip(shards).map(|(number, shard)| Held::of(number, shard.as_ref(), sums));
        held.fold(counts, |counts, held| Self {
            used: counts.used.saturating_add(held.used),
            in_flight: counts.in_flight.saturating_add(held.in_flight),
            ..counts
        })
    }

    /// Devices in a count.
    #[must_use]
    pub fn devices(&self, count: Count) -> u64 {
        let counts = Count::ALL.iter().zip(self.devices);
        counts.filter(|(of, _)| **of == count).map(|(_, devices)| devices).sum()
    }

    /// Sum of the counters of several rollouts.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = Self {
            used: self.used.saturating_add(other.used),
            in_flight: self.in_flight.saturating_add(other.in_flight),
            devices: self.devices,
        };
        for (devices, more) in sum.devices.iter_mut().zip(other.devices) {
            *devices = devices.saturating_add(more);
        }
        sum
    }
}

/// Part of the limits that one shard has given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Number of claims that were first granted by it.
    pub used: u64,
    /// Number of its places that are held, or whose release was not counted yet.
    pub in_flight: u64,
    /// Start of the counted period, in seconds since 1970.
    pub period: i64,
    /// Number of grants in that period.
    pub period_used: u64,
}

impl Held {
    /// Part of the limits that the shard of this number has given out; nothing for a shard that does not exist.
    #[must_use]
    pub fn of(number: u16, shard: Option<&Shard>, sums: &Sums) -> Self {
        shard.map_or_else(Self::default, |shard| Self {
            used: shard.used,
            in_flight: shard.granted.saturating_sub(sums.released(CountedShard::of(shard.generation, number))),
            period: shard.period,
            period_used: shard.period_used,
        })
    }

    /// Number of grants in the period that starts at `period`.
    #[must_use]
    pub fn used_in(&self, period: i64) -> u64 {
        // The shard counts a later period if our clock is slow. Its count is valid.
        if self.period >= period { self.period_used } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Grant;
    use crate::life::Rules;
    use crate::life::table::Event;
    use crate::times::Times;
    use jiff::Timestamp;
    use semver::Version;

    fn granted(before: Option<&Claim>, shard: u16, epoch: u64) -> Claim {
        let version = Version::new(2, 0, 0);
        let (was, now) = ("1.0.0", Timestamp::UNIX_EPOCH);
        let grant = Grant {
            version: &version,
            campaign: 1,
            was,
            reports_as: &[],
            shard,
            count: 0,
            epoch,
            test: 1,
            hour: 4,
            is_newcomer: false,
            now,
        };
        Claim::granted(before, &grant).unwrap()
    }

    fn counted(shard: u16) -> CountedShard {
        CountedShard { count: 0, shard }
    }

    fn after(claim: &Claim, event: Event) -> Claim {
        claim.after(event, &Rules::new(&Times::default(), 0), Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_place_is_released_on_the_shard_that_gave_it() {
        let mut sums = Sums::default();
        let first = granted(None, 0, 1);
        sums.count(None, Some(&first));
        let failed = after(&first, Event::Failure);
        sums.count(Some(&first), Some(&failed));
        let second = granted(Some(&failed), 5, 4);
        sums.count(Some(&failed), Some(&second));
        assert_eq!(
            (sums.released(counted(0)), sums.granted(counted(0)), sums.released(counted(5)), sums.granted(counted(5))),
            (1, 1, 0, 1)
        );
        sums.count(Some(&second), None);
        assert_eq!(sums.released(counted(5)), 1, "a claim that is forgotten releases its place");
        assert_eq!(sums.granted_in.len(), 0);
        assert_eq!(sums.devices, [((Sample::of(1), Count::Gone), 1)].into(), "and is in no count but that of the gone");
    }

    #[test]
    fn a_change_without_a_new_place_or_bucket_counts_nothing() {
        let mut sums = Sums::default();
        let claim = granted(None, 3, 7);
        sums.count(Some(&claim), Some(&Claim { revision: 2, ..claim.clone() }));
        assert!(sums.is_empty());
    }

    #[test]
    fn a_ceiling_waits_for_releases_and_for_the_count() {
        let mut sums = Sums::default();
        assert_eq!(
            (sums.ceiling(counted(0), 10), sums.ceiling(counted(0), crate::limits::UNLIMITED)),
            (10, MOST_UNJUDGED)
        );
        for epoch in 0..4 {
            sums.count(None, Some(&granted(None, 0, epoch)));
        }
        assert_eq!(
            (sums.ceiling(counted(0), 10), sums.ceiling(counted(0), crate::limits::UNLIMITED)),
            (10, 4 + MOST_UNJUDGED)
        );
        let first = granted(None, 0, 0);
        sums.count(Some(&first), Some(&after(&first, Event::Declined)));
        assert_eq!(sums.ceiling(counted(0), 10), 11);
    }

    #[test]
    fn the_outcomes_of_a_test_are_those_of_its_devices() {
        let mut sums = Sums::default();
        for (event, test) in [(Event::Failure, 1), (Event::Due, 1), (Event::Transfer, 1), (Event::Failure, 2)] {
            let claim = after(&granted(None, 0, 1), event);
            sums.count(None, Some(&Claim { test, ..claim }));
        }
        let outcomes = sums.outcomes(Sample::of(1));
        assert_eq!((outcomes.granted, outcomes.failed, outcomes.lost, outcomes.no_trial), (3, 1, 1, 1));
        assert_eq!((outcomes.granted_in[4], outcomes.lost_in[4], outcomes.trials()), (3, 1, 2));
        assert_eq!((sums.devices(Count::Failed), sums.outcomes(Sample::of(3))), (2, Outcomes::default()));
        let counts = Counts::of(&[], &sums);
        assert_eq!((counts.devices(Count::Failed), counts.devices(Count::TransferFailed)), (2, 1));
    }

    #[test]
    fn a_newcomer_is_in_a_sample_of_its_own() {
        let mut sums = Sums::default();
        let claim = after(&granted(None, 0, 1), Event::Failure);
        sums.count(None, Some(&Claim { is_newcomer: true, ..claim.clone() }));
        sums.count(None, Some(&claim));
        let failed =
            [Sample::of(1), Sample { is_newcomers: true, ..Sample::of(1) }].map(|sample| sums.outcomes(sample).failed);
        assert_eq!((failed, sums.devices(Count::Failed), sums.voters(Count::Failed)), ([1, 1], 2, 1));
    }

    #[test]
    fn a_lost_device_without_its_place_is_given_on() {
        let lost = after(&granted(None, 0, 1), Event::Due);
        let is_given_on = |claim: &Claim| part(claim).counts.contains(&(Sample::of(1), Count::GivenOn));
        assert!(!is_given_on(&lost) && is_given_on(&lost.without_place().unwrap()));
        let proved = after(&after(&granted(None, 0, 1), Event::Expected), Event::Due);
        assert!(!is_given_on(&proved), "a proved device has none to give");
    }

    #[test]
    fn a_repaired_count_does_not_know_what_an_earlier_one_released() {
        assert_eq!([0, 7, u64::from(u32::MAX)].map(count_number), [0; 3]);
        assert_eq!(
            [next_count(7), next_count(next_count(7)), next_count(next_count(7) + 5)],
            [1 << 32, 2 << 32, 2 << 32]
        );
        let first = granted(None, 0, 1);
        let stamped = Claim { count: 1, revision: 2, ..first.clone() };
        let mut sums = Sums::default();
        sums.count(Some(&first), Some(&stamped));
        assert!(sums.is_empty(), "a stamp is no change of a place");
        sums.count(Some(&stamped), Some(&after(&stamped, Event::Failure)));
        assert_eq!((sums.released(counted(0)), sums.released(CountedShard::of(next_count(3), 0))), (0, 1));
    }
}
