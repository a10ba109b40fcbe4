//! What the fleet itself saw of an update: which devices were offered it, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::between::Between;

/// One update, as the fleet saw it. Every number is at most the true one, because others may be offered
/// the update too: one that is above a limit proves that the limit was exceeded.
#[derive(Debug, Clone, Default)]
pub(super) struct Sighting {
    version: String,
    devices: BTreeSet<usize>,
    first_offers: Vec<Between>,
    held: u64,
    most_held: u64,
}

impl Sighting {
    /// The version of the update.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// How many devices were offered it.
    pub(super) fn devices(&self) -> u64 {
        self.devices.len() as u64
    }

    /// The most devices that had it in hand at one moment.
    pub(super) fn most_held(&self) -> u64 {
        self.most_held
    }

    /// The most devices that were first offered it in one period. Offers at the turn of two periods
    /// count in neither.
    pub(super) fn most_in_a_period(&self, period_s: u64) -> u64 {
        let mut periods = BTreeMap::<i64, u64>::new();
        for period in self.first_offers.iter().filter_map(|offer| offer.period(period_s)) {
            *periods.entry(period).or_default() += 1;
        }
        periods.into_values().max().unwrap_or(0)
    }
}

/// Every update that was offered, by its id.
#[derive(Debug, Clone, Default)]
pub(super) struct Sightings(BTreeMap<String, Sighting>);

impl Sightings {
    /// A device that did not hold this update was answered with it.
    pub(super) fn offered(&mut self, update: &str, version: &str, device: usize, at: Option<Between>) {
        let sighting = self.0.entry(update.to_owned()).or_default();
        version.clone_into(&mut sighting.version);
        if sighting.devices.insert(device) {
            sighting.first_offers.extend(at);
        }
        sighting.held += 1;
        sighting.most_held = sighting.most_held.max(sighting.held);
    }

    /// A device is about to say how it went: from here on its place may be somebody else's.
    pub(super) fn let_go(&mut self, update: &str) {
        if let Some(sighting) = self.0.get_mut(update) {
            sighting.held = sighting.held.saturating_sub(1);
        }
    }

    /// One update.
    pub(super) fn of(&self, update: &str) -> Option<&Sighting> {
        self.0.get(update)
    }

    /// All of them, with their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Sighting)> {
        self.0.iter().map(|(update, sighting)| (update.as_str(), sighting))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn devices_are_counted_once_and_places_while_they_are_held() {
        let mut seen = Sightings::default();
        let at = |second| {
            let date = jiff::Timestamp::from_second(second).expect("a valid time");
            Some(Between::working(date, Duration::ZERO))
        };
        seen.offered("u1", "2.0.0", 1, at(630));
        seen.offered("u1", "2.0.0", 2, at(640));
        seen.let_go("u1");
        seen.offered("u1", "2.0.0", 1, at(645));
        seen.offered("u1", "2.0.0", 3, at(700));
        seen.offered("u1", "2.0.0", 4, None);
        let sighting = seen.of("u1").expect("it was seen");
        assert_eq!((sighting.devices(), sighting.most_held(), sighting.most_in_a_period(60)), (4, 4, 2));
        assert_eq!(seen.all().count(), 1);
    }
}
