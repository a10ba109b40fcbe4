//! The shards of the rollout, which keep its limits. A check-in asks them as it does in the service.

use tidegate_core::count::{Count, Held, Sums, part};
use tidegate_core::limits::{Allocation, Limits, Newcomers};
use tidegate_core::objection::NoRoom;
use tidegate_core::shard::{Gate, Grant, Refusal, Shard, period_of, probe_order};
use tidegate_core::{Claim, Cohort, Update};

use crate::forecast::timetable::moment;

/// The generation of the one update that is played; it is edited only by stopping it.
pub(crate) const GENERATION: u64 = 1;

/// Seconds after which the service has counted the audience.
const COUNTED_AFTER_S: i64 = 3600;

/// All shards, with their sum. Every claim is counted at once, so a shard may grant a place again in the same second in
/// which it was released.
///
/// A check-in of the service asks three shards and remembers those that were full. Here that memory
/// is perfect: a device is refused only when every shard would refuse it.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Vec<Shard>,
    allocation: Allocation,
    limits: Limits,
    start_s: i64,
    is_rated: bool,
    /// The sums over all claims.
    pub(crate) sums: Sums,
    /// Devices that were ever granted the update.
    pub(crate) used: u64,
    /// Places that are held.
    pub(crate) in_flight: u64,
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
        let (limits, bytes) = (update.rollout.limits.in_force(None, 0), update.content.size_bytes());
        let none = vec![Held::default(); usize::from(update.shards)];
        let period = period_of(moment(now_s), limits.period_s);
        let allocation = Allocation::split(&limits, bytes, Newcomers::AreLikeOthers, &none, period);
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
            is_rated: limits.offers_per_period(bytes).is_some(),
            allocation,
            limits,
            start_s: now_s,
            sums: Sums::default(),
            used: 0,
            in_flight: 0,
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
        for shard in probe_order(cohort, 0..shards) {
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
        let period_s = self.limits.period_s;
        let mut period = period_of(moment(now_s), period_s);
        let shard = &mut self.shards[usize::from(number)];
        loop {
            match shard.refusal(grant, GENERATION, period, period_s) {
                None => break,
                Some(Refusal::NoRoom(why)) => return Err(why),
                Some(Refusal::EarlierPeriod) => (shard.period, shard.period_used) = (period, 0),
                Some(Refusal::LaterPeriod(later)) => period = later,
                Some(Refusal::OtherGeneration) => return Err(NoRoom::Paused),
            }
        }
        shard.period_used += u64::from(self.is_rated);
        shard.granted += 1;
        shard.used += u64::from(grant == Grant::First);
        self.used += u64::from(grant == Grant::First);
        Ok(())
    }

    /// Counts the change of a claim.
    pub(crate) fn count(&mut self, before: Option<&Claim>, after: &Claim) {
        let (was, is) = (before.and_then(|before| part(before).place), part(after).place);
        if let Some(released) = was.filter(|_| was != is) {
            let ceiling = &mut self.shards[usize::from(released.shard)].ceiling;
            *ceiling = ceiling.map(|ceiling| ceiling.saturating_add(1));
            self.in_flight = self.in_flight.saturating_sub(1);
            self.refuses = None;
        }
        self.in_flight += u64::from(is.is_some() && was != is);
        self.sums.count(before, Some(after));
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
    }

    /// Gives out the places that have come into force, as the sweep does.
    pub(crate) fn grow(&mut self, audience: u64, now_s: i64) {
        let audience = (now_s - self.start_s >= COUNTED_AFTER_S).then_some(audience);
        let limits = self.limits.in_force(audience, self.sums.devices(Count::Mature));
        if !self.allocation.has_grown(&limits) {
            return;
        }
        let before = std::mem::take(&mut self.allocation.places);
        let held = before.iter().map(|places| Held { in_flight: *places, ..Held::default() }).collect::<Vec<_>>();
        self.allocation.places = Allocation::split(&limits, 0, Newcomers::AreLikeOthers, &held, 0).places;
        for (shard, (before, after)) in self.shards.iter_mut().zip(before.iter().zip(&self.allocation.places)) {
            shard.ceiling = shard.ceiling.map(|ceiling| ceiling.saturating_add(after.saturating_sub(*before)));
        }
        self.limits = limits;
        self.refuses = None;
    }

    /// Devices in one of the counts.
    pub(crate) fn devices(&self, counts: &[Count]) -> u64 {
        let sum = counts.iter().map(|count| self.sums.devices(*count)).sum::<i64>();
        u64::try_from(sum).unwrap_or(0)
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
            NoRoom::Full
            | NoRoom::TooManyInFlight
            | NoRoom::Newcomer
            | NoRoom::Paused
            | NoRoom::Aborted
            | NoRoom::Busy => i64::MAX,
        };
        Refuses { why, until_s }
    }
}

/// Of two reasons, the one that is cured sooner, as the check-in function ranks them.
fn sooner(known: Option<Refuses>, other: Refuses) -> Refuses {
    let rank = |refuses: &Refuses| match refuses.why {
        NoRoom::Aborted => 0,
        NoRoom::Paused => 1,
        NoRoom::Busy | NoRoom::TooManyInFlight => 2,
        NoRoom::RateLimited { .. } => 3,
        NoRoom::Newcomer | NoRoom::Full => 4,
    };
    let Some(known) = known else {
        return other;
    };
    let why = if rank(&other) < rank(&known) { other.why } else { known.why };
    Refuses { why, until_s: known.until_s.min(other.until_s) }
}
