//! Items that transactions hold.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::draws::Draws;
use super::table::ItemKey;
use super::{Occupancy, Trouble};

/// Expired holds are dropped when there are this many.
const MANY: usize = 10_000;
/// An item that nobody asked for during this many rounds of hold and pause begins anew.
const FORGOTTEN_ROUNDS: f64 = 100.0;

/// Items that transactions hold, or have named.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_transactions: BTreeMap<ItemKey, Hold>,
    by_others: BTreeMap<ItemKey, Round>,
    named: BTreeSet<ItemKey>,
}

/// Hold of one transaction on one item.
#[derive(Debug)]
struct Hold {
    until: Instant,
    token: Option<String>,
}

/// Whether others hold an item now, and until when this stays so.
#[derive(Debug, Clone, Copy)]
struct Round {
    held: bool,
    until: Instant,
}

impl Holds {
    /// Holds items until a moment, for a transaction with that token.
    pub(super) fn hold(&mut self, items: &[ItemKey], until: Instant, now: Instant, token: Option<&str>) {
        if self.by_transactions.len() > MANY {
            self.by_transactions.retain(|_, hold| hold.until > now);
        }
        for item in items {
            let hold = Hold { until, token: token.map(str::to_owned) };
            self.by_transactions.insert(item.clone(), hold);
        }
    }

    /// Remembers that a transaction named these items.
    pub(super) fn name(&mut self, items: &[ItemKey]) {
        for item in items {
            if !self.named.contains(item) {
                self.named.insert(item.clone());
            }
        }
    }

    /// True if a transaction with that token holds the item.
    pub(super) fn is_held_for(&self, token: &str, item: &ItemKey, now: Instant) -> bool {
        let hold = self.by_transactions.get(item);
        hold.is_some_and(|hold| hold.until > now && hold.token.as_deref() == Some(token))
    }

    /// True if a transaction holds the item, one of the test or one of the others.
    pub(super) fn is_held(&mut self, item: &ItemKey, trouble: &Trouble, draws: &mut Draws, now: Instant) -> bool {
        if self.by_transactions.get(item).is_some_and(|hold| hold.until > now) {
            return true;
        }
        match &trouble.occupancy {
            Some(occupancy) if item.hash.starts_with(&occupancy.key_prefix) => {
                self.is_held_by_others(item, occupancy, draws, now)
            }
            _ => false,
        }
    }

    /// True if a plain write of the item is refused.
    pub(super) fn refuses(&mut self, item: &ItemKey, trouble: &Trouble, draws: &mut Draws, now: Instant) -> bool {
        let by_chance = self.named.contains(item) && draws.happens(trouble.conflict_chance);
        self.is_held(item, trouble, draws, now) || by_chance
    }

    fn is_held_by_others(&mut self, item: &ItemKey, occupancy: &Occupancy, draws: &mut Draws, now: Instant) -> bool {
        if occupancy.share <= 0.0 || occupancy.share >= 1.0 {
            return occupancy.share >= 1.0;
        }
        let mean_round = occupancy.mean_hold.div_f64(occupancy.share);
        let known = self.by_others.get(item).copied();
        let known = known.filter(|round| now.duration_since(round.until) < mean_round.mul_f64(FORGOTTEN_ROUNDS));
        let mut round = known.unwrap_or_else(|| {
            let held = draws.happens(occupancy.share);
            let whole = length(held, occupancy, draws);
            Round { held, until: now + draws.part_of(whole) }
        });
        while round.until <= now {
            round.held = !round.held;
            round.until += length(round.held, occupancy, draws);
        }
        self.by_others.insert(item.clone(), round);
        round.held
    }
}

/// Length of one hold, or of one pause between two holds.
fn length(held: bool, occupancy: &Occupancy, draws: &mut Draws) -> std::time::Duration {
    if held {
        draws.about(occupancy.mean_hold)
    } else {
        draws.exponential(occupancy.mean_hold.mul_f64((1.0 - occupancy.share) / occupancy.share))
    }
}
