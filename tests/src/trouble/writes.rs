//! Writes: conflicts, throughput, units, and what reaches the lagging copy.

use std::time::Duration;

use tidegate_cloud::DynamoDbAnswer;
use tokio::time::Instant;

use super::batches;
use super::copies::{LaggingCopy, Rehearsal, get_item};
use super::play::{Play, Reply};
use super::refusals::{self, Reason};
use super::request::{Effect, Request};
use super::table::{Item, ItemKey, Table};
use super::units::{self, Change, Charge};
use super::{Kind, Trouble};

/// A write reaches the lagging copy within this time, as AWS says of eventually consistent reads.
const LAG: Duration = Duration::from_secs(1);

impl Play {
    /// Answers a plain write of one item.
    pub(super) fn write_one(&mut self, request: &Request, now: Instant) -> DynamoDbAnswer {
        let items = self.named(request);
        let has_room = self.has_room_to_write(request, &items, now);
        if has_room.contains(&false) {
            return self.throttled();
        }
        for (_, key, _) in &items {
            if self.holds.refuses(key, &self.trouble, &mut self.draws, now) {
                self.note(Kind::Conflict);
                return refusals::conflict();
            }
        }
        self.carry_out(request, &items, now)
    }

    /// Answers a batch of plain writes. Those that meet a conflict or a busy partition key are left.
    pub(super) fn write_batch(&mut self, request: &Request, now: Instant) -> DynamoDbAnswer {
        let items = self.named(request);
        let has_room = self.has_room_to_write(request, &items, now);
        if !items.is_empty() && !has_room.contains(&true) {
            return self.throttled();
        }
        let mut has_room = has_room.into_iter();
        let mut kept_one = false;
        let split = batches::split(&request.body["RequestItems"], |table, entry| {
            let Some(key) = self.tables.batch_key(table, entry) else { return false };
            let kind = if has_room.next() == Some(false) {
                Some(Kind::Throttled)
            } else if self.holds.refuses(&key, &self.trouble, &mut self.draws, now) {
                Some(Kind::Conflict)
            } else if kept_one && self.draws.happens(self.trouble.unprocessed_chance) {
                Some(Kind::Unprocessed)
            } else {
                None
            };
            kept_one |= kind.is_none();
            kind.inspect(|kind| self.note(*kind)).is_some()
        });
        if split.kept_entries == 0 && split.left_entries > 0 {
            let nothing = DynamoDbAnswer { status: 200, body: "{}".into() };
            return batches::with_left(nothing, "UnprocessedItems", &split.left);
        }
        let mut kept = request.clone();
        kept.body["RequestItems"] = split.kept;
        let items = self.named(&kept);
        let answer = self.carry_out(&kept, &items, now);
        batches::with_left(answer, "UnprocessedItems", &split.left)
    }

    /// Answers a transaction. If it goes through, it holds its items for a while and is answered at the end of it.
    pub(super) fn write_together(&mut self, request: &Request, now: Instant) -> Reply {
        let items = self.named(request);
        let keys: Vec<ItemKey> = items.iter().map(|(_, key, _)| key.clone()).collect();
        self.holds.name(&keys);
        if let Some(token) = request.token()
            && keys.iter().any(|key| self.holds.is_held_for(token, key, now))
        {
            return Reply::at_once(refusals::in_progress());
        }
        let billing = self.trouble.partition_limits.unwrap_or_default().billing;
        let has_room = self.has_room_to_write(request, &items, now);
        let reasons: Vec<Option<Reason>> =
            has_room.iter().map(|has_room| (!has_room).then_some(Reason::Throttled(billing))).collect();
        if let Some(cancelled) = self.cancelled(&reasons, Kind::Throttled) {
            return Reply::at_once(cancelled);
        }
        if let Some(cancelled) = self.cancelled_by_conflict(&keys, now) {
            return Reply::at_once(cancelled);
        }
        let answer = self.carry_out(request, &items, now);
        if answer.status != 200 {
            return Reply::at_once(answer);
        }
        let after = self.draws.about(self.trouble.hold);
        self.holds.hold(&keys, now + after, now, request.token());
        Reply { answer, after }
    }

    /// The refusal of a transaction that meets an item that another one holds.
    pub(super) fn cancelled_by_conflict(&mut self, keys: &[ItemKey], now: Instant) -> Option<DynamoDbAnswer> {
        let Self { holds, trouble, draws, .. } = self;
        let mut reason = |key| holds.is_held(key, trouble, draws, now).then_some(Reason::Conflict);
        let reasons: Vec<_> = keys.iter().map(&mut reason).collect();
        self.cancelled(&reasons, Kind::Conflict)
    }

    /// The refusal of a transaction, if there is a reason for one of its items.
    fn cancelled(&mut self, reasons: &[Option<Reason>], kind: Kind) -> Option<DynamoDbAnswer> {
        reasons.iter().any(Option::is_some).then(|| {
            self.note(kind);
            refusals::cancelled(reasons)
        })
    }

    /// Applies a write that a test has prepared, without any trouble.
    pub(super) fn write_untroubled(&mut self, request: &Request, now: Instant) {
        let items = self.named(request);
        let answer = self.carry_out(request, &items, now);
        assert_eq!(answer.status, 200, "the write that a test has prepared is refused: {}", answer.body);
    }

    /// The items that a request names, as they are now.
    pub(super) fn named(&mut self, request: &Request) -> Vec<(Table, ItemKey, Option<Item>)> {
        let keys = request.items(&mut self.tables);
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(table) = self.tables.get(&key.table) {
                items.push((table.clone(), key.clone(), get_item(&self.dynamodb, table, &key)));
            }
        }
        items
    }

    /// For each item, whether its partition keys may take one more write.
    fn has_room_to_write(
        &mut self,
        request: &Request,
        items: &[(Table, ItemKey, Option<Item>)],
        now: Instant,
    ) -> Vec<bool> {
        let Some(limits) = self.trouble.partition_limits else { return vec![true; items.len()] };
        let after = self.rehearsal.get_or_insert_with(Rehearsal::new).play(request, items);
        let together = request.effect() == Effect::WriteTogether;
        let rate = limits.write_units_per_s;
        let charges = charges(items, after, together);
        let mut has_room = |charge: &Charge| self.write_buckets.has_room(&charge.partition, rate, now);
        charges.iter().map(|(_, charges)| charges.iter().all(&mut has_room)).collect()
    }

    /// Asks the database, and counts.
    fn carry_out(
        &mut self,
        request: &Request,
        items: &[(Table, ItemKey, Option<Item>)],
        now: Instant,
    ) -> DynamoDbAnswer {
        if self.trouble.old_read_chance > 0.0 {
            let lagging = self.lagging.get_or_insert_with(LaggingCopy::new);
            for (table, key, _) in items {
                lagging.follow(&key.table, table, &self.dynamodb);
            }
        }
        let answer = self.send(request);
        let after = items.iter().map(|(table, key, _)| get_item(&self.dynamodb, table, key)).collect();
        let together = request.effect() == Effect::WriteTogether;
        let Trouble { partition_limits, .. } = self.trouble;
        for ((table, ..), (change, charges)) in items.iter().zip(charges(items, after, together)) {
            units::meter(&mut self.units.writes, &charges, self.start, now);
            if let Some(limits) = partition_limits {
                self.write_buckets.take(&charges, limits.write_units_per_s, now);
            }
            if let Some(lagging) = &mut self.lagging
                && change.old != change.new
            {
                lagging.send(table, &change.key, change.new, now + self.draws.part_of(LAG));
            }
        }
        answer
    }
}

/// What each item costs.
fn charges(
    items: &[(Table, ItemKey, Option<Item>)],
    after: Vec<Option<Item>>,
    together: bool,
) -> Vec<(Change, Vec<Charge>)> {
    let changes = items.iter().zip(after).map(|((table, key, old), new)| {
        let change = Change { key: key.clone(), old: old.clone(), new };
        let charges = units::write_charges(table, &change, together);
        (change, charges)
    });
    changes.collect()
}
