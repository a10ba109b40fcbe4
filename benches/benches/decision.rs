//! How long a whole decision takes, from the bytes that a device sends to the bytes that it is answered, over few and
//! over absurdly many live updates; and what it takes to have the catalog in memory.

#![allow(missing_docs, reason = "criterion's macros write public items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_benches::{DEVICE, Ours, Theirs, UP_TO_DATE, compile, definitions};

const SIZES: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Beyond these, one answer takes a good part of a second, and a catalog of parsed policies a gigabyte.
const MOST_OF_THEIRS: u64 = 10_000;

fn decision(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    group.sample_size(20).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for updates in SIZES {
        let compiled = compile(&definitions(updates));
        let ours = Ours::new(&compiled);
        for (name, device) in [("ours", DEVICE), ("ours, up to date", UP_TO_DATE)] {
            group.bench_function(BenchmarkId::new(name, updates), |bencher| {
                bencher.iter(|| black_box(&ours).answer(black_box(device.as_bytes())));
            });
        }
        if updates <= MOST_OF_THEIRS {
            let theirs = Theirs::new(updates);
            let (one, other) = (ours.answer(DEVICE.as_bytes()), theirs.answer(DEVICE.as_bytes()));
            assert!(one.ends_with(b"\"not_targeted\"}") && other.ends_with(b"\"not_targeted\"}"), "none matches");
            group.bench_function(BenchmarkId::new("evalexpr's trees", updates), |bencher| {
                bencher.iter(|| black_box(&theirs).answer(black_box(DEVICE.as_bytes())));
            });
        }
    }
    group.finish();
}

fn catalog(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catalog");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    for updates in [1_000, 10_000] {
        let definitions = definitions(updates);
        let bytes: Arc<[u8]> = compile(&definitions).to_snapshot().expect("a snapshot").into();
        println!("a snapshot of {updates} updates has {} bytes", bytes.len());
        group.bench_function(BenchmarkId::new("load a snapshot", updates), |bencher| {
            bencher.iter(|| Ours::load(black_box(&bytes)));
        });
        group.bench_function(BenchmarkId::new("parse JSON and policies", updates), |bencher| {
            bencher.iter(|| compile(black_box(&definitions)));
        });
    }
    group.finish();
}

criterion_group!(benches, decision, catalog);
criterion_main!(benches);
