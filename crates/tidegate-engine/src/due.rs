//! Due pages: the devices that are overdue at about the same time, if nothing is heard from them. The count writes a device
//! on its first page, and the sweep on the next one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use tidegate_core::{Claim, DeviceId, Timestamp};
use tidegate_store::record::{DeviceRecord, DuePage};

/// Width of a page, in seconds.
const WIDTH_S: i64 = 60;

/// The time at which a device with this claim is overdue.
pub(crate) fn due_at(record: &DeviceRecord, claim: &Claim) -> Timestamp {
    let seen = record.last_seen.unwrap_or(claim.life.granted_at);
    record.cadence().due_at(seen, claim.life.holds_place)
}

/// The pages of devices, each with the time at which it is due. A page is named after them: a writer never overwrites the
/// page of other devices, and the page of a later time is not removed with that of an earlier one.
pub(crate) fn pages(ends: impl IntoIterator<Item = (Timestamp, DeviceId)>, now: Timestamp) -> Vec<DuePage> {
    let mut by_minute: BTreeMap<Timestamp, BTreeSet<(DeviceId, Timestamp)>> = BTreeMap::new();
    for (end, device) in ends {
        by_minute.entry(minute_after(end, now)).or_default().insert((device, end));
    }
    let mut pages = Vec::new();
    for (minute, devices) in by_minute {
        let devices = devices.into_iter().collect::<Vec<_>>();
        for some in devices.chunks(DuePage::MOST_DEVICES) {
            let ids = some.iter().map(|(device, _)| device.clone()).collect();
            pages.push(DuePage::new(minute, &digest(some), ids));
        }
    }
    pages
}

/// The end of the minute of `end`, or of the minute after this one: a page is never due in the past, because the sweep
/// might have passed it.
fn minute_after(end: Timestamp, now: Timestamp) -> Timestamp {
    let end_of = |at: Timestamp| at.as_second().div_euclid(WIDTH_S).saturating_add(1).saturating_mul(WIDTH_S);
    let next = now.checked_add(SignedDuration::from_secs(WIDTH_S)).unwrap_or(now);
    Timestamp::from_second(end_of(end).max(end_of(next))).unwrap_or(end)
}

/// A short text that differs between lists of devices and times.
fn digest(devices: &[(DeviceId, Timestamp)]) -> String {
    let all = devices.iter().fold(Sha256::new(), |all, (device, end)| {
        all.chain_update(device.as_str()).chain_update([0]).chain_update(end.as_nanosecond().to_be_bytes())
    });
    all.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn due(device: &str, end: &str) -> (Timestamp, DeviceId) {
        (at(end), DeviceId::new(device).unwrap())
    }

    const NOON: &str = "2026-01-01T12:00:00Z";
    const END: &str = "2026-01-01T13:00:30Z";

    /// Batches that began with the same record had a page of the same name. The smaller one came later, and a device was
    /// forgotten (seed 1000023 of the simulator).
    #[test]
    fn the_page_of_some_devices_does_not_replace_the_page_of_more() {
        let two = pages([due("lamp-2", END), due("lamp-4", END)], at(NOON));
        let one = pages([due("lamp-2", END)], at(NOON));
        assert_eq!((two.len(), one.len()), (1, 1));
        assert_ne!(two[0].name, one[0].name);
        assert_eq!(two, pages([due("lamp-4", END), due("lamp-2", END)], at(NOON)));
    }

    #[test]
    fn a_later_time_in_the_same_minute_has_another_page() {
        let first = pages([due("lamp-2", END)], at(NOON));
        let later = pages([due("lamp-2", "2026-01-01T13:00:31Z")], at(NOON));
        assert_ne!(first[0].name, later[0].name);
    }

    #[test]
    fn a_page_is_due_at_the_end_of_its_minute_and_never_in_the_past() {
        let names = |end, now| pages([due("lamp-2", end)], at(now)).remove(0).name;
        let due = |text| DuePage::name_at(at(text));
        assert!(names(END, NOON).starts_with(&due("2026-01-01T13:01:00Z")));
        assert!(names(END, "2026-01-02T12:00:05Z").starts_with(&due("2026-01-02T12:02:00Z")));
    }
}
