//! The shards of the rollout, which keep its limits. A check-in asks them as it does in the service.

use tidegate_core::count::{Counts, Held, part};
use tidegate_core::limits::Allocation;
use tidegate_core::objection::NoRoom;
use tidegate_core::shard::{Gate, Grant, Refusal, Shard, period_of, probe_order};
use tidegate_core::status::Outcome;
use tidegate_core::{Claim, Cohort, Update};

use crate::forecast::timetable::moment;

/// The generation of the one update that is played; it is edited only by stopping it.
pub(crate) const GENERATION: u64 = 1;

/// All shards, with their sum. Every claim is counted at once, so a shard may grant a place again in the same second in
/// which it was released.
///
/// A check-in of the service asks three shards and remembers those that were full. Here that memory
/// is perfect: a device is refused only when every shard would refuse it.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Vec<Shard>,
    period_s: u32,
    is_rated: bool,
    /// The sum of the shards.
    pub(crate) total: Counts,
    /// The most that were in flight at once.
    pub(crate) most_in_flight: u64,
    refuses: Option<Refuses>,
}

/// Every shard refused a first offer, and will until then or until a place in flight comes free.
#[derive(Debug, Clone, Copy)]
struct Refuses {
    why: NoRoom,
    until_s: i64,
}

impl Shards {
    pub(crate) fn new(update: &Update, now_s: i64) -> Self {
        let (limits, bytes) = (&update.rollout.limits, update.content.size_bytes());
        let none = vec![Held::default(); usize::from(update.shards)];
        let allocation = Allocation::split(limits, bytes, &none, period_of(moment(now_s), limits.period_s));
        let shard = |number| Shard {
            gate: Gate::Open,
            generation: GENERATION,
            caps: allocation.caps(number),
            ceiling: Some(allocation.places(number)),
            granted: 0,
            used: 0,
            period: 0,
            period_used: 0,
        };
        Self {
            shards: (0..allocation.shards()).map(shard).collect(),
            period_s: limits.period_s,
            is_rated: limits.offers_per_period(bytes).is_some(),
            total: Counts::default(),
            most_in_flight: 0,
            refuses: None,
        }
    }

    /// Asks the shards for a first offer, in the device's own order; the shard that granted it.
    pub(crate) fn grant_first(&mut self, cohort: Cohort, now_s: i64) -> Result<u16, NoRoom> {
        if let Some(refuses) = self.refuses
            && now_s < refuses.until_s
        {
            return Err(refuses.why);
        }
        let shards = u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        let mut refuses: Option<Refuses> = None;
        for shard in probe_order(cohort, shards) {
            match self.grant(Grant::First, shard, now_s) {
                Ok(()) => return Ok(shard),
                Err(why) => refuses = Some(sooner(refuses, self.refuses_until(why))),
            }
        }
        self.refuses = refuses;
        Err(refuses.map_or(NoRoom::TooManyInFlight, |refuses| refuses.why))
    }

    /// Asks one shard, and counts the grant in it.
    pub(crate) fn grant(&mut self, grant: Grant, number: u16, now_s: i64) -> Result<(), NoRoom> {
        let mut period = period_of(moment(now_s), self.period_s);
        let shard = &mut self.shards[usize::from(number)];
        loop {
            match shard.refusal(grant, GENERATION, period, self.period_s) {
                None => break,
                Some(Refusal::NoRoom(why)) => return Err(why),
                Some(Refusal::EarlierPeriod) => (shard.period, shard.period_used) = (period, 0),
                Some(Refusal::LaterPeriod(later)) => period = later,
                Some(Refusal::OtherGeneration) => return Err(NoRoom::Paused),
            }
        }
        shard.period_used += u64::from(self.is_rated);
        shard.granted += u64::from(grant != Grant::Renewed);
        shard.used += u64::from(grant == Grant::First);
        self.total.used += u64::from(grant == Grant::First);
        Ok(())
    }

    /// Counts the change of a claim.
    pub(crate) fn count(&mut self, before: Option<&Claim>, after: &Claim) {
        let released = before.and_then(|before| part(before).place).filter(|place| part(after).place != Some(*place));
        if let Some(released) = released {
            let ceiling = &mut self.shards[usize::from(released.shard)].ceiling;
            *ceiling = ceiling.map(|ceiling| ceiling.saturating_add(1));
            self.refuses = None;
        }
        self.total = counted(self.total, before, after);
        self.most_in_flight = self.most_in_flight.max(self.total.in_flight);
    }

    /// Nothing is granted any more.
    pub(crate) fn stop(&mut self) {
        for shard in &mut self.shards {
            shard.gate = Gate::Stopped;
        }
        self.refuses = None;
    }

    /// Takes every question to the shards, even when the answer is known.
    pub(crate) fn forget(&mut self) {
        self.refuses = None;
    }

    fn refuses_until(&self, why: NoRoom) -> Refuses {
        let until_s = match why {
            NoRoom::RateLimited { opens_at } => opens_at.map_or(i64::MIN, |at| at.as_second()),
            NoRoom::Full | NoRoom::TooManyInFlight | NoRoom::Paused | NoRoom::Aborted | NoRoom::Busy => i64::MAX,
        };
        Refuses { why, until_s }
    }
}

/// The counters after the change of a claim.
pub(crate) fn counted(counts: Counts, before: Option<&Claim>, after: &Claim) -> Counts {
    let (before, after) = (before.map(part).unwrap_or_default(), part(after));
    let move_counter = |counter: u64, was: bool, is: bool| {
        let moved = counter.checked_add_signed(i64::from(is) - i64::from(was));
        moved.expect("a claim takes back only what it counted before")
    };
    let by_outcome =
        |counter, outcome| move_counter(counter, before.bucket == Some(outcome), after.bucket == Some(outcome));
    Counts {
        used: counts.used,
        in_flight: move_counter(counts.in_flight, before.place.is_some(), after.place.is_some()),
        succeeded: by_outcome(counts.succeeded, Outcome::Succeeded),
        failed: by_outcome(counts.failed, Outcome::Failed),
        timed_out: by_outcome(counts.timed_out, Outcome::TimedOut),
    }
}

/// Of two reasons, the one that is cured sooner, as the check-in function ranks them.
fn sooner(known: Option<Refuses>, other: Refuses) -> Refuses {
    let rank = |refuses: &Refuses| match refuses.why {
        NoRoom::Aborted => 0,
        NoRoom::Paused => 1,
        NoRoom::Busy | NoRoom::TooManyInFlight => 2,
        NoRoom::RateLimited { .. } => 3,
        NoRoom::Full => 4,
    };
    let Some(known) = known else {
        return other;
    };
    let why = if rank(&other) < rank(&known) { other.why } else { known.why };
    Refuses { why, until_s: known.until_s.min(other.until_s) }
}
