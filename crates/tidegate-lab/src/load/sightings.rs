//! Sightings of updates: which devices of the fleet were offered one, and when.

use std::collections::BTreeMap;

use super::between::Between;
use crate::ledger::Ledger;

/// One update, as the fleet saw it. Every number is at most the true one, because others may be offered
/// the update too: one that is above a limit proves that the limit was exceeded.
#[derive(Debug, Clone, Default)]
pub struct Sighting {
    version: String,
    ledger: Ledger<u32>,
    /// Counted by period in the end: only then is the length of a period known.
    first_offers: Vec<Between>,
}

impl Sighting {
    /// The version of the update.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Number of devices that were offered it.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.ledger.devices()
    }

    /// The most devices that had it in hand at one moment.
    #[must_use]
    pub fn most_held(&self) -> u64 {
        self.ledger.most_in_flight()
    }

    /// The most devices that were first offered it in one period. Offers at the turn of two periods
    /// count in neither.
    #[must_use]
    pub fn most_in_a_period(&self, period_s: u64) -> u64 {
        let mut ledger = self.ledger.clone();
        for period in self.first_offers.iter().filter_map(|offer| offer.period(period_s)) {
            ledger.count_in_period(period);
        }
        ledger.most_in_a_period()
    }
}

/// Every update that was offered, by its id.
#[derive(Debug, Clone, Default)]
pub struct Sightings(BTreeMap<String, Sighting>);

impl Sightings {
    /// A device that did not hold this update was answered with it.
    pub fn offered(&mut self, update: &str, version: &str, device: u32, at: Option<Between>) {
        let sighting = self.0.entry(update.to_owned()).or_default();
        version.clone_into(&mut sighting.version);
        if sighting.ledger.enter(device, ()).is_none() {
            sighting.first_offers.extend(at);
        }
        sighting.ledger.begin();
    }

    /// A device is about to report the outcome: from now on its place may be given to another device.
    pub fn let_go(&mut self, update: &str) {
        if let Some(sighting) = self.0.get_mut(update) {
            sighting.ledger.end();
        }
    }

    /// One update.
    #[must_use]
    pub fn of(&self, update: &str) -> Option<&Sighting> {
        self.0.get(update)
    }

    /// All of them, with their ids.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Sighting)> {
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
