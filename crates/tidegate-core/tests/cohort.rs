//! Cohorts: a device's cohort never changes, cohorts are uniform, and they differ by update.
//!
//! This program, independent of our code, wrote `golden/cohorts.txt`:
//!
//! ```python
//! import hashlib
//! update = "lamp." + hashlib.sha256(b"tidegate update\0lamp\x002.0.0").hexdigest()[:20]
//! C = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
//! ids = [f"lamp-{n}" for n in range(4000)]
//! ids += [":".join(f"{b:02x}" for b in (2, 26, n >> 8, n & 255, n * 7 % 256, n * 13 % 256)) for n in range(2000)]
//! ids += ["01J" + "".join(C[(n * n + 31 * n * k + 7 * k) % 32] for k in range(19)) + f"{n:04d}" for n in range(2000)]
//! ids += [f"SN{n * 7919 % 100000:05d}-{chr(65 + n % 26)}{2020 + n % 7}.{n}" for n in range(2000)]
//! for device in ids:
//!     digest = hashlib.sha256(update.encode() + b"\0" + device.encode()).digest()
//!     print(device, int.from_bytes(digest[:8], "big") % 10000)
//! ```

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use tidegate_core::cohort::{PLACES, Share};
use tidegate_core::{Cohort, DeviceId, ProductId, UpdateId, Version};

const GOLDEN: &str = include_str!("golden/cohorts.txt");
const UPDATE: &str = "lamp.170671b7f9733daad220";

fn golden() -> Vec<(DeviceId, u16)> {
    let read = |line: &str| {
        let (device, place) = line.split_once(' ').unwrap();
        (DeviceId::new(device).unwrap(), place.parse().unwrap())
    };
    GOLDEN.lines().map(read).collect()
}

fn places(update: &str) -> Vec<Cohort> {
    let update = UpdateId::new(update).unwrap();
    golden().iter().map(|(device, _)| Cohort::of(&update, device)).collect()
}

/// Devices that a phase of `percent` reaches, by their line in the golden file.
fn reached(update: &str, percent: f64) -> BTreeSet<usize> {
    let share = Share::from_percent(percent).unwrap();
    (0..).zip(places(update)).filter(|(_, cohort)| share.holds(*cohort)).map(|(line, _)| line).collect()
}

#[test]
fn ten_thousand_devices_keep_their_places() {
    let golden = golden();
    assert_eq!(golden.len(), 10_000);
    let moved: Vec<_> =
        golden.iter().zip(places(UPDATE)).filter(|((_, place), cohort)| cohort.place() != *place).collect();
    let first = |place: u16| place < 500;
    let changed = moved.iter().filter(|((_, place), cohort)| first(*place) != first(cohort.place())).count();
    assert!(
        moved.is_empty(),
        "this would reshuffle every running rollout: {} of 10000 devices move, {changed} of them into or out of the \
         first 5 %, and devices that have the update would be told that no phase reaches them. Never regenerate the \
         file; undo the change. First: {:?}",
        moved.len(),
        moved[0]
    );
}

#[test]
fn an_update_keeps_its_id() {
    let id = UpdateId::of(&ProductId::new("lamp").unwrap(), &Version::new(2, 0, 0), 1);
    assert_eq!(
        id.as_str(),
        UPDATE,
        "this would reshuffle every running rollout and orphan every claim: both hang on the update's id"
    );
}

#[test]
fn the_queue_is_evenly_filled() {
    let mut counts = [0_i64; 100];
    for cohort in places(UPDATE) {
        assert!(cohort.place() < PLACES);
        counts[usize::from(cohort.place() / 100)] += 1;
    }
    // Chi-square times the expected 100 per bin. With 99 degrees of freedom, 99.9 % of fair draws stay below 148.23.
    let scaled: i64 = counts.iter().map(|count| (count - 100).pow(2)).sum();
    assert!(scaled < 14_823, "chi-square is {} / 100: {counts:?}", scaled);
}

#[test]
fn ids_of_every_shape_are_spread_alike() {
    let cohorts = places(UPDATE);
    for (shape, lines) in [("lamp-", 0..4000), ("MAC", 4000..6000), ("ULID", 6000..8000), ("serial", 8000..10_000)] {
        let devices = lines.len();
        let early = cohorts[lines].iter().filter(|cohort| cohort.place() < 2500).count();
        // A quarter, within four standard deviations of the smallest group.
        assert!(early.abs_diff(devices / 4) < 78, "{early} of {devices} {shape} devices are in the first quarter");
    }
}

#[test]
fn a_larger_phase_holds_every_device_of_a_smaller_one() {
    let phases = [0.0, 0.01, 1.0, 5.0, 25.0, 50.0, 99.99, 100.0].map(|percent| reached(UPDATE, percent));
    for pair in phases.windows(2) {
        assert!(pair[0].is_subset(&pair[1]));
    }
    assert!(phases[0].is_empty());
    assert_eq!(phases[7].len(), 10_000);
    assert!((435..=565).contains(&phases[3].len()), "5 % reaches {} of 10000", phases[3].len());
    assert!((2327..=2673).contains(&phases[4].len()), "25 % reaches {} of 10000", phases[4].len());
}

#[test]
fn another_update_starts_with_other_devices() {
    let first_500 = |update| {
        let mut order: Vec<_> = places(update).into_iter().zip(0_usize..).collect();
        order.sort_unstable();
        order.into_iter().take(500).map(|(_, line)| line).collect::<BTreeSet<_>>()
    };
    let updates = [UPDATE, "lamp.0", "lamp.1", "lamp.2", "door.0"];
    for (number, one) in updates.iter().enumerate() {
        for other in &updates[number + 1..] {
            let both = first_500(one).intersection(&first_500(other)).count();
            // 25 of 500 by chance; 50 would be more than five standard deviations off.
            assert!(both < 50, "{both} devices are among the first 500 of both {one} and {other}");
        }
    }
}
