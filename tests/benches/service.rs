//! What the service costs beside the decision: signing a URL, and a whole check-in against the
//! local cloud. `cargo bench -p tidegate-tests`.

#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use tidegate_core::update::{File, StoredObject};
use tidegate_core::{ProductId, Timestamp};
use tidegate_tests::{LAMP, World, lamp, request};
use tokio::runtime::Runtime;

fn signing(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let world = runtime.block_on(World::new(1000));
    let product = ProductId::new(LAMP).expect("a good name");
    let object = StoredObject { version: Some("v".repeat(32)), ..StoredObject::default() };
    let file = File { name: "image.bin".into(), sha256: "a".repeat(64), size_bytes: 1, object };
    let now = tidegate_http::edge::now();
    let ends = Timestamp::from_second(now.as_second() + 900).expect("a time this century");
    criterion.bench_function("sign a download URL", |bencher| {
        bencher.to_async(&runtime).iter(|| world.images.sign_download(&product, &file, now, ends));
    });
}

fn check_ins(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let world = runtime.block_on(World::new(1000));
    let now = tidegate_http::edge::now();
    runtime.block_on(world.publish(
        LAMP,
        "2.0.0",
        json!({
            "policy": "region == \"eu\"", "rollout": {"limits": {"max_in_flight": null}},
        }),
        now,
    ));
    let mut group = criterion.benchmark_group("a whole check-in");
    for (name, region) in [("nothing to offer", "us"), ("a repeated offer", "eu")] {
        let mut said = lamp(&format!("lamp-{region}"), "1.0.0");
        said["region"] = json!(region);
        let token = world.token(LAMP, &format!("lamp-{region}"));
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let asked = request("POST", "/v1/check", &[("authorization", &token)], &said.to_string(), None);
                world.services.check.handle(asked, now).await
            });
        });
    }
    let mut number = 0_u64;
    group.bench_function("a first offer", |bencher| {
        bencher.iter(|| {
            number += 1;
            let mut said = lamp(&format!("new-{number}"), "1.0.0");
            said["region"] = json!("eu");
            let token = world.token(LAMP, &format!("new-{number}"));
            let asked = request("POST", "/v1/check", &[("authorization", &token)], &said.to_string(), None);
            runtime.block_on(world.services.check.handle(asked, now))
        });
    });
    group.finish();
}

criterion_group!(benches, signing, check_ins);
criterion_main!(benches);
