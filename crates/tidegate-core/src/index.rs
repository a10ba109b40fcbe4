//! Index: finds the updates that can match a device by version and by attribute values, without evaluating policies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::{Facts, Key, Needs};

/// Most attributes in the index. Each costs a pass over one bit per update. The policies decide in any case, so a
/// catalog with more attributes is only slower.
const MOST_COLUMNS: usize = 8;

/// Positions of a catalog's updates, by the needs of their policies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    columns: Vec<Column>,
    /// Updates that take devices back.
    rollbacks: Vec<u32>,
}

/// Index of one attribute.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Column {
    slot: usize,
    /// Updates that do not need the attribute.
    free: Vec<u64>,
    /// Updates that need a value, sorted by the value.
    by_value: Vec<(Key<'static>, Posting)>,
}

/// Set of positions, in the smaller of two forms.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Posting {
    Few(Vec<u32>),
    Many(Vec<u64>),
}

impl Index {
    /// The index of these updates, in the order of their positions. The boolean is `true` for a rollback.
    pub(crate) fn new(updates: &[(Needs, bool)]) -> Self {
        let count_needing = |slot: usize| updates.iter().filter(|(needs, _)| needs.contains_key(&slot)).count();
        let mut slots = updates.iter().flat_map(|(needs, _)| needs.keys().copied()).collect::<Vec<_>>();
        slots.sort_unstable();
        slots.dedup();
        slots.sort_by_cached_key(|slot| std::cmp::Reverse(count_needing(*slot)));
        let columns = slots.into_iter().take(MOST_COLUMNS).map(|slot| Column::new(slot, updates)).collect();
        let rollbacks = numbered(updates).filter(|(_, (_, is_rollback))| *is_rollback).map(|(position, _)| position);
        Self { columns, rollbacks: rollbacks.collect() }
    }

    /// Positions of the rollbacks, newest first.
    pub(crate) fn rollbacks(&self) -> impl Iterator<Item = usize> {
        self.rollbacks.iter().map(|position| *position as usize)
    }

    /// Positions of the updates that can match a device, newest first, out of the first `newer`, which are above the
    /// device's version.
    pub(crate) fn candidates(&self, newer: usize, facts: &Facts<'_>) -> Candidates<'_> {
        let mut filters = [const { None }; MOST_COLUMNS];
        for (filter, column) in filters.iter_mut().zip(&self.columns) {
            *filter = Some(column.filter(facts));
        }
        Candidates { newer, filters, bits: 0, word: 0, words: newer.div_ceil(64) }
    }
}

/// Iterator over positions. It reads 64 of them at a time.
pub(crate) struct Candidates<'i> {
    newer: usize,
    filters: [Option<Filter<'i>>; MOST_COLUMNS],
    /// Remaining bits of the word before `word`.
    bits: u64,
    word: usize,
    words: usize,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            if self.word == self.words {
                return None;
            }
            self.bits = below(self.newer, self.word);
            for filter in self.filters.iter_mut().map_while(Option::as_mut) {
                self.bits &= filter.word(self.word);
            }
            self.word = self.word.saturating_add(1);
        }
        let place = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits.wrapping_sub(1);
        Some(self.word.saturating_sub(1).saturating_mul(64).saturating_add(place))
    }
}

impl Column {
    fn new(slot: usize, updates: &[(Needs, bool)]) -> Self {
        let words = updates.len().div_ceil(64);
        let mut free = vec![0; words];
        let mut by_value = BTreeMap::<Key<'static>, Vec<u32>>::new();
        for (position, (needs, _)) in numbered(updates) {
            match needs.get(&slot) {
                None => set(&mut free, position),
                Some(keys) => {
                    for key in keys {
                        by_value.entry(key.clone()).or_default().push(position);
                    }
                }
            }
        }
        let posting = |positions: Vec<u32>| {
            if positions.len() <= words {
                return Posting::Few(positions);
            }
            let mut bits = vec![0; words];
            positions.iter().for_each(|position| set(&mut bits, *position));
            Posting::Many(bits)
        };
        Self { slot, free, by_value: by_value.into_iter().map(|(key, positions)| (key, posting(positions))).collect() }
    }

    fn filter<'i>(&'i self, facts: &Facts<'_>) -> Filter<'i> {
        let key = facts.value(self.slot).and_then(Key::of);
        let found = key.and_then(|key| self.by_value.binary_search_by(|(known, _)| known.cmp(&key)).ok());
        let (few, many): (&[u32], &[u64]) = match found.and_then(|place| self.by_value.get(place)) {
            Some((_, Posting::Few(positions))) => (positions, &[]),
            Some((_, Posting::Many(bits))) => (&[], bits),
            None => (&[], &[]),
        };
        Filter { free: &self.free, few: Few::new(few), many }
    }
}

/// Updates that one column admits for a device, 64 at a time.
struct Filter<'i> {
    free: &'i [u64],
    few: Few<'i>,
    many: &'i [u64],
}

impl Filter<'_> {
    fn word(&mut self, word: usize) -> u64 {
        let at = |bits: &[u64]| bits.get(word).copied().unwrap_or(0);
        at(self.free) | at(self.many) | self.few.word(word)
    }
}

/// Sorted list of positions, read as bits. The words must be read in ascending order.
struct Few<'i> {
    rest: &'i [u32],
}

impl<'i> Few<'i> {
    fn new(rest: &'i [u32]) -> Self {
        Self { rest }
    }

    fn word(&mut self, word: usize) -> u64 {
        let mut bits = 0;
        while let Some((position, rest)) = self.rest.split_first() {
            let position = *position as usize;
            if position / 64 > word {
                break;
            }
            if position / 64 == word {
                bits |= 1 << (position % 64);
            }
            self.rest = rest;
        }
        bits
    }
}

/// Bits of a word whose positions are below `end`.
fn below(end: usize, word: usize) -> u64 {
    match end.saturating_sub(word.saturating_mul(64)) {
        0 => 0,
        count if count >= 64 => u64::MAX,
        count => (1_u64 << count).wrapping_sub(1),
    }
}

fn set(bits: &mut [u64], position: u32) {
    if let Some(word) = bits.get_mut(position as usize / 64) {
        *word |= 1 << (position % 64);
    }
}

fn numbered<T>(items: &[T]) -> impl Iterator<Item = (u32, &T)> {
    (0..).zip(items)
}
