//! Snapshots: a catalog that was read back decides like the compiled one, and changed bytes are refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use support::*;
use tidegate_core::receipt::explain;
use tidegate_core::snapshot::{FORMAT, SnapshotError};
use tidegate_core::{Catalog, Claims, State, decide};

/// One update of every kind that a snapshot can contain.
fn every_kind() -> Catalog {
    let updates = [
        update("4.0.0").policy(r#"region == "eu" && memory >= 256 || in(stage, "test", "lab")"#),
        update("3.1.0-rc.1+build.5")
            .state(State::Paused)
            .policy(r#"semver_matches(version, "^1") && !matches(model, "x*")"#),
        update("3.0.0").window("0 22 * * *", 3600, "Europe/Berlin").policy("cohort < 5000 || memory * 2 - 1 > 3.5"),
        update("2.0.0").back_from("2.5.0").from(">=1.0.0, <3.0.0").phase("2026-06-01T00:00:00Z", 12.5),
        update("1.0.0").group(r#"starts_with(lower(stage), "t") && exists(memory)"#, "2026-06-20T00:00:00Z"),
    ];
    catalog(updates).with_stopped_updates([lamp_update("0.9.0")])
}

fn read(bytes: &[u8]) -> Result<Catalog, SnapshotError> {
    Catalog::from_snapshot(&product("lamp"), Arc::from(bytes))
}

#[test]
fn what_was_read_back_decides_and_explains_as_what_was_compiled() {
    let compiled = every_kind();
    let read = read(&compiled.to_snapshot().unwrap()).unwrap();
    assert_eq!(read.len(), 5);
    assert_eq!(
        format!("{:?}", read.newest_first().collect::<Vec<_>>()),
        format!("{:?}", compiled.newest_first().collect::<Vec<_>>())
    );
    assert!(read.is_stopped(&lamp_update("0.9.0"), &version("0.9.0")));
    assert!(read.is_stopped(&lamp_update("3.1.0-rc.1"), &version("3.1.0-rc.1")));
    assert!(!read.is_stopped(&lamp_update("3.0.0"), &version("3.0.0")));
    for runs in ["0.5.0", "1.0.0", "2.5.0", "3.0.0", "5.0.0"] {
        for at in ["2026-06-15T12:00:00Z", "2026-06-15T20:30:00Z", "2026-06-25T12:00:00Z"] {
            let (device, none, at) = (lamp(runs), Claims::default(), moment(at));
            let whole = |catalog: &Catalog| {
                format!("{:?} {:?}", decide(&device, catalog, &none, at), explain(&device, catalog, &none, at))
            };
            assert_eq!(whole(&read), whole(&compiled), "{runs} at {at}");
        }
    }
}

#[test]
fn the_same_catalog_is_the_same_bytes() {
    assert_eq!(every_kind().to_snapshot(), every_kind().to_snapshot());
}

/// Postcard does not describe itself: after a field is added, removed or moved, the reader takes one field for another.
#[test]
fn a_change_of_the_encoding_is_a_new_format() {
    let written = every_kind().to_snapshot().unwrap();
    if written != include_bytes!("golden/catalog.bin") {
        let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/catalog.bin");
        std::fs::write(file, written).unwrap();
        panic!("this is not format {FORMAT} any more: count `snapshot::FORMAT` up, and copy {file} to tests/golden");
    }
}

#[test]
fn bytes_that_are_not_as_they_were_written_are_refused() {
    let bytes = every_kind().to_snapshot().unwrap();
    assert_eq!(read(b"").unwrap_err(), SnapshotError::NotASnapshot);
    assert_eq!(read(b"<Error><Code>AccessDenied</Code></Error>").unwrap_err(), SnapshotError::NotASnapshot);
    let mut other = bytes.clone();
    other[8] = FORMAT + 1;
    assert_eq!(read(&other).unwrap_err(), SnapshotError::OtherFormat(FORMAT + 1));
    for length in [13, bytes.len() / 2, bytes.len() - 1] {
        assert_eq!(read(&bytes[..length]).unwrap_err(), SnapshotError::Damaged);
    }
    for place in 9..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 0x10;
        assert_eq!(read(&flipped).unwrap_err(), SnapshotError::Damaged, "byte {place}");
    }
    let of_another = Catalog::from_snapshot(&product("door"), Arc::from(bytes));
    assert_eq!(of_another.unwrap_err(), SnapshotError::OtherProduct);
}
