//! How long a policy takes to compile, once per catalog, and to ask, once per update and check-in.

#![allow(missing_docs, reason = "criterion's macros write public items")]
#![allow(dead_code, reason = "the decision's half of the fleet is not measured here")]

mod fleet;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate_core::policy::{Candidate, Policy, Slots, Truth};
use tidegate_core::{Cohort, UpdateId, Version};

/// Policies by what dominates their cost.
const POLICIES: [(&str, &str); 4] = [
    ("three_clauses", fleet::POLICY),
    ("nested", r#"(memory >= 256 || region == "us") && !(exists(demo) && demo) && sensor.3 * 2 + 1 < 100"#),
    ("versions", r#"semver_matches(version, ">=1.0.0, <2.0.0") && semver(newVersion, ">", version)"#),
    ("cohort", "cohort < 10000"),
];

fn policy(criterion: &mut Criterion) {
    let device = fleet::device("1.2.3", "eu");
    let new_version = Version::new(2, 0, 0);
    let update = UpdateId::new("lamp.2").expect("an update id");
    let mut group = criterion.benchmark_group("policy");
    for (name, text) in POLICIES {
        group.bench_function(format!("compile/{name}"), |bencher| {
            bencher.iter(|| Policy::parse(black_box(text), &mut Slots::new()));
        });
        let mut slots = Slots::new();
        let policy = Policy::parse(text, &mut slots).expect("a policy");
        let facts = slots.bind(&device.version, &device.attributes);
        let place = || Cohort::of(&update, &device.id).place();
        let candidate = Candidate { new_version: &new_version, cohort: &place };
        assert_eq!(policy.evaluate(&facts, &candidate), Truth::Yes, "{name} must be evaluated to its end");
        group.bench_function(format!("evaluate/{name}"), |bencher| {
            bencher.iter(|| black_box(&policy).evaluate(&facts, &candidate));
        });
    }
    group.bench_function("bind_a_device", |bencher| {
        let mut slots = Slots::new();
        Policy::parse(fleet::POLICY, &mut slots).expect("a policy");
        bencher.iter(|| black_box(&slots).bind(&device.version, &device.attributes));
    });
    group.finish();
}

criterion_group!(benches, policy);
criterion_main!(benches);
