//! The ledger of one update: every device that was offered it, and the counts that its limits are about. It is kept
//! outside the service, by rules that share nothing with the storage protocol.

use std::collections::BTreeMap;

/// Devices that were offered one update, with what is known of each of them.
#[derive(Debug, Clone)]
pub struct Ledger<D, E = ()> {
    entries: BTreeMap<D, E>,
    in_flight: u64,
    most_in_flight: u64,
    by_period: BTreeMap<i64, u64>,
}

impl<D: Ord, E> Default for Ledger<D, E> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), in_flight: 0, most_in_flight: 0, by_period: BTreeMap::new() }
    }
}

impl<D: Ord, E> Ledger<D, E> {
    /// Enters what is known of a device; returns what was known before.
    pub fn enter(&mut self, device: D, entry: E) -> Option<E> {
        self.entries.insert(device, entry)
    }

    /// The entry of a device; `None` when it was never offered the update.
    #[must_use]
    pub fn entry(&self, device: &D) -> Option<&E> {
        self.entries.get(device)
    }

    /// Every device with its entry, in the order of the devices.
    pub fn iter(&self) -> impl Iterator<Item = (&D, &E)> {
        self.entries.iter()
    }

    /// Number of devices that were ever offered the update. `max_devices` limits it.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.entries.len() as u64
    }

    /// A device has the update in flight from now on.
    pub fn begin(&mut self) {
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
    }

    /// A device no longer has the update in flight.
    pub fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Number of devices that have the update in flight. `max_in_flight` limits it when an offer is granted.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The most devices that had the update in flight at one moment.
    #[must_use]
    pub fn most_in_flight(&self) -> u64 {
        self.most_in_flight
    }

    /// Counts an offer in the period that starts at `period`, in seconds since 1970; returns how many there are in it
    /// by now. `max_per_period` limits them.
    pub fn count_in_period(&mut self, period: i64) -> u64 {
        let offers = self.by_period.entry(period).or_default();
        *offers += 1;
        *offers
    }

    /// The most offers in one period.
    #[must_use]
    pub fn most_in_a_period(&self) -> u64 {
        self.by_period.values().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_counted_once_places_while_they_are_held_and_offers_by_period() {
        let mut ledger = Ledger::default();
        for (device, period) in [(1, 600), (2, 600), (1, 660)] {
            ledger.enter(device, ());
            ledger.begin();
            ledger.count_in_period(period);
        }
        ledger.end();
        assert_eq!((ledger.devices(), ledger.in_flight(), ledger.most_in_flight()), (2, 2, 3));
        assert_eq!((ledger.count_in_period(660), ledger.most_in_a_period()), (2, 2));
        assert_eq!((ledger.entry(&2), ledger.entry(&3)), (Some(&()), None));
    }
}
