//! How long one decision takes, over few and over absurdly many live updates.

#![allow(missing_docs, reason = "criterion's macros write public items")]

mod fleet;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fleet::{CASES, Question};

fn decision(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for case in CASES {
        for updates in [10, 1_000, 10_000] {
            let question = Question::new(case, updates).expect("CASES holds only cases");
            let considered = if case == "first_matches" { 1 } else { usize::try_from(updates).unwrap_or(0) };
            assert_eq!(question.decide(), considered, "{case} over {updates} must measure what it says");
            group.bench_function(BenchmarkId::new(case, updates), |bencher| {
                bencher.iter(|| black_box(&question).decide());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decision);
criterion_main!(benches);
