//! The shards of the rollout, which keep its limits. A check-in asks them as it does in the service.

use tidegate_core::claim::CountDelta;
use tidegate_core::limits::Allocation;
use tidegate_core::objection::NoRoom;
use tidegate_core::shard::{Counts, Gate, Grant, Refusal, Shard, period_of, probe_order};
use tidegate_core::{Cohort, Update};

use crate::forecast::timetable::moment;

/// The generation of the one update that is played; it is edited only by stopping it.
pub(crate) const GENERATION: u64 = 1;

/// All shards, with their sum.
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
        let none = vec![Counts::default(); usize::from(update.shards)];
        let allocation = Allocation::split(limits, bytes, &none, period_of(moment(now_s), limits.period_s));
        let shard = |number| Shard {
            gate: Gate::Open,
            generation: GENERATION,
            caps: allocation.caps(number),
            counts: Counts::default(),
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

    /// Asks one shard, and counts the grant.
    pub(crate) fn grant(&mut self, grant: Grant, number: u16, now_s: i64) -> Result<(), NoRoom> {
        let mut period = period_of(moment(now_s), self.period_s);
        let shard = &mut self.shards[usize::from(number)];
        loop {
            match shard.refusal(grant, GENERATION, period, self.period_s) {
                None => break,
                Some(Refusal::NoRoom(why)) => return Err(why),
                Some(Refusal::EarlierPeriod) => (shard.counts.period, shard.counts.period_used) = (period, 0),
                Some(Refusal::LaterPeriod(later)) => period = later,
                Some(Refusal::OtherGeneration) => return Err(NoRoom::Paused),
            }
        }
        shard.counts.period_used += u64::from(self.is_rated);
        if grant == Grant::First {
            shard.counts.used += 1;
            self.total.used += 1;
            self.apply(number, CountDelta { in_flight: 1, ..CountDelta::default() });
        }
        Ok(())
    }

    /// Moves the counters as a claim moved.
    pub(crate) fn apply(&mut self, shard: u16, by: CountDelta) {
        for counts in [&mut self.shards[usize::from(shard)].counts, &mut self.total] {
            for (counter, by) in [
                (&mut counts.in_flight, by.in_flight),
                (&mut counts.succeeded, by.succeeded),
                (&mut counts.failed, by.failed),
                (&mut counts.timed_out, by.timed_out),
            ] {
                *counter = counter.checked_add_signed(by).expect("a claim takes back only what it counted before");
            }
        }
        if by.in_flight < 0 {
            self.refuses = None;
        }
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
            NoRoom::Full | NoRoom::TooManyInFlight | NoRoom::Paused | NoRoom::Aborted => i64::MAX,
        };
        Refuses { why, until_s }
    }
}

/// Of two reasons, the one that is cured sooner, as the check-in function ranks them.
fn sooner(known: Option<Refuses>, other: Refuses) -> Refuses {
    let rank = |refuses: &Refuses| match refuses.why {
        NoRoom::Aborted => 0,
        NoRoom::Paused => 1,
        NoRoom::TooManyInFlight => 2,
        NoRoom::RateLimited { .. } => 3,
        NoRoom::Full => 4,
    };
    let Some(known) = known else {
        return other;
    };
    let why = if rank(&other) < rank(&known) { other.why } else { known.why };
    Refuses { why, until_s: known.until_s.min(other.until_s) }
}
