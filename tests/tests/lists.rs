//! Lists stay small, whatever is stored: no page is above 1 MB, and each costs the same number of reads.
//!
//! `TIDEGATE_LISTS=100000` is the full size; the usual one keeps the suite short.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_core::{DeviceId, ProductId, Timestamp, UpdateId, Version};
use tidegate_store::record::{AuditEntry, DeviceWrite, Seen, UpdateRecord, ValueChange};
use tidegate_store::store::{CloseRollouts, PublishStore, ReadUpdates, WriteDevices};
use tidegate_tests::{Answer, LAMP, World, at};

const NOON: &str = "2026-03-15T12:00:00Z";
/// The largest answer, in bytes.
const LARGEST: usize = 1_000_000;
/// Writes at a time.
const WRITES: usize = 32;

fn size() -> u64 {
    std::env::var("TIDEGATE_LISTS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

fn product() -> ProductId {
    ProductId::new(LAMP).unwrap()
}

/// A page of a list, and the reads that it costs. On a busy machine a read may take longer than a second, and is sent again:
/// then the page is asked for again.
async fn read(world: &World, path: &str, is_right: impl Fn(&[String]) -> bool) -> Answer {
    for tries in 1.. {
        drop(world.calls.take());
        let page = world.operator("GET", path, Value::Null, at(NOON)).await;
        let calls = world.calls.take();
        if page.status == 200 && is_right(&calls) {
            return page;
        }
        assert!(tries < 5, "{path}: {} with {calls:?}", page.status);
    }
    unreachable!("it has returned")
}

/// A page of the audit log: the head, and three months at most.
async fn read_audit(world: &World, query: &str) -> Answer {
    let is_right =
        |calls: &[String]| calls.len() <= 4 && calls[0] == "GetItem" && calls[1..].iter().all(|call| call == "Query");
    read(world, &format!("{LAMP}/audit?limit=200{query}"), is_right).await
}

/// Sends a write until it is answered, for the same reason. Each of them may be repeated.
async fn written<T, E: std::fmt::Debug>(write: impl AsyncFn() -> Result<T, E>) -> T {
    for tries in 1.. {
        match write().await {
            Ok(written) => return written,
            Err(error) => assert!(tries < 20, "{error:?}"),
        }
    }
    unreachable!("it has returned")
}

/// Follows the pages of a list. Returns what `name` says of each item, in order, and the number of pages.
async fn follow(world: &World, path: &str, reads: &[&str], name: fn(&Value) -> String) -> (Vec<String>, usize) {
    let (mut names, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let asked = format!("{LAMP}/{path}{separator}limit=200{after}");
        let page = read(world, &asked, |calls| calls == reads).await;
        let bytes = page.body.to_string().len();
        assert!(bytes <= LARGEST, "page {pages} of {path} has {bytes} bytes");
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 200);
        names.extend(items.iter().map(name));
        pages += 1;
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('#', "%23").replace('~', "%7E")),
            None => return (names, pages),
        }
    }
}

fn all_different(names: &[String]) -> usize {
    names.iter().collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_listed_in_pages() {
    let world = World::new(0).await;
    world.draft(LAMP, "2.0.0", json!({})).await;
    let writes = stream::iter(0..size()).map(|number| {
        let device = DeviceId::new(format!("{number:0>128}")).unwrap();
        let seen = Some(Seen::new("1.0.0".into(), at(NOON)));
        let write = DeviceWrite { seen, ..DeviceWrite::new(product(), device, false) };
        let store = &world.store;
        async move { written(async || store.write_device(&write).await).await }
    });
    writes.buffer_unordered(WRITES).for_each(|_| async {}).await;
    let parts = ["Query"; 16];
    let (names, pages) = follow(&world, "devices?version=1.0.0", &parts, |id| id.as_str().unwrap().into()).await;
    assert_eq!((names.len() as u64, all_different(&names) as u64), (size(), size()));
    assert!(names.is_sorted());
    assert_eq!(pages as u64, size().div_ceil(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_listed_in_pages_by_month() {
    let world = World::new(0).await;
    let began = at("2026-01-31T23:00:00Z");
    // Its product begins with the log.
    let first = world
        .operator("POST", &format!("{LAMP}/updates"), json!({"version": "1.0.0", "kind": "json", "payload": 1}), began)
        .await;
    assert_eq!(first.status, 201);
    // Over three months, and several at the same moment.
    let span = at(NOON).as_second() - began.as_second();
    let entry = |number: u64| AuditEntry {
        // Not at a whole millisecond: a page ends by the names of what was read.
        at: began
            .checked_add(SignedDuration::new(
                span * i64::try_from(number / 3).unwrap() * 3 / i64::try_from(size()).unwrap(),
                i32::try_from(number % 3).unwrap() * 123_457,
            ))
            .unwrap(),
        who: "arn:aws:iam::123456789012:user/ada".into(),
        action: format!("note {number}"),
        subject: format!("lamp-{}", number % 5),
        from: None,
        to: None,
        // The worst that an operator can write.
        reason: "\u{1}".repeat(1000),
        generation: 0,
        changes: vec![ValueChange::new("tags.note", "\u{1}".repeat(300).into(), "\u{2}".repeat(300).into())],
    };
    let (store, of) = (&world.store, &product());
    let writes = stream::iter(0..size())
        .map(|number| async move { written(async || store.audit(of, &entry(number)).await).await });
    writes.buffer_unordered(WRITES).for_each(|()| async {}).await;

    let (mut entries, mut after, mut pages) = (Vec::new(), String::new(), 0_u64);
    loop {
        let page = read_audit(&world, &after).await;
        assert!(page.body.to_string().len() <= LARGEST);
        entries.extend(page.body["items"].as_array().unwrap().clone());
        pages += 1;
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('#', "%23")),
            None => break,
        }
    }
    let actions = entries.iter().map(|entry| entry["action"].as_str().unwrap().to_string()).collect::<Vec<_>>();
    assert_eq!((actions.len() as u64, all_different(&actions) as u64), (size() + 1, size() + 1));
    let times =
        entries.iter().map(|entry| entry["at"].as_str().unwrap().parse::<Timestamp>().unwrap()).collect::<Vec<_>>();
    assert!(times.is_sorted_by(|newer, older| newer >= older));
    assert!(pages >= size().div_ceil(200));
    // About one subject: pages of whatever was read of a month.
    let about = follow_subject(&world, "lamp-3").await;
    assert_eq!(about as u64, size() / 5);
}

async fn follow_subject(world: &World, subject: &str) -> usize {
    let (mut found, mut after) = (0, String::new());
    loop {
        let page = read_audit(world, &format!("&version={subject}{after}")).await;
        found += page.body["items"].as_array().unwrap().len();
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('#', "%23")),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_are_listed_in_pages_newest_version_first() {
    let drafts = size() / 20;
    let world = World::new(0).await;
    // The largest payload that a definition may have, near enough.
    let payload = json!({"version": "0.0.1", "kind": "json", "payload": {"text": "x".repeat(120_000)}});
    assert_eq!(world.operator("POST", &format!("{LAMP}/updates"), payload, at(NOON)).await.status, 201);
    let first = world.store.update(&product(), &Version::new(0, 0, 1)).await.unwrap().unwrap();
    let (store, first) = (&world.store, &first);
    let writes = stream::iter(1..drafts).map(|number| async move {
        let version = Version::new(number % 7, number / 7, 0);
        let record = UpdateRecord { id: UpdateId::of(&product(), &version, 1), version, ..first.clone() };
        let audit = AuditEntry {
            at: at(NOON),
            who: "ada".into(),
            action: "create".into(),
            subject: record.version.to_string(),
            from: None,
            to: None,
            reason: String::new(),
            generation: 1,
            changes: Vec::new(),
        };
        // The second time it is there already.
        let _is_new = written(async || store.create_update(&record, &audit).await).await;
    });
    writes.buffer_unordered(4).for_each(|()| async {}).await;
    let version = |update: &Value| update["version"].as_str().unwrap().to_string();
    let (names, pages) = follow(&world, "updates", &["GetItem", "Query"], version).await;
    assert_eq!((names.len() as u64, all_different(&names) as u64), (drafts, drafts));
    let versions = names.iter().map(|name| Version::parse(name).unwrap()).collect::<Vec<_>>();
    assert!(versions.is_sorted_by(|newer, older| newer > older));
    assert!(pages as u64 >= drafts / 9, "eight such drafts are a megabyte");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_can_mean_is_refused() {
    let world = World::new(0).await;
    world.draft(LAMP, "2.0.0", json!({})).await;
    for (path, says) in [
        ("updates?limit=0", "limit must be within 1 and 200; it is 0"),
        ("updates?limit=201", "limit must be within 1 and 200; it is 201"),
        ("audit?limit=many", "limit must be within 1 and 200; it is many"),
        ("audit?after=yesterday", "after must be the `next` of a page"),
        ("audit?versoin=2.0.0", "this call has no parameter `versoin`; it has limit, after, version"),
        ("devices?version=1.0.0&tag=x", "this call has no parameter `tag`; it has limit, after, version"),
        ("updates/2.0.0?verbose=1", "this call has no parameter `verbose`, and no other"),
    ] {
        let refused = world.operator("GET", &format!("{LAMP}/{path}"), Value::Null, at(NOON)).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_field"), "{path}");
        assert_eq!(refused.body["error"]["message"], says);
    }
}
