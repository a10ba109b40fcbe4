//! Golden files of the bytes that devices in the field depend on.
//!
//! A difference here affects devices that cannot be changed any more: agents look for `"url":"` as text, in this order,
//! without spaces. Change a golden file only for an addition at the end that the oldest agent may ignore.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidegate_core::policy::Slots;
use tidegate_core::update::Publication;
use tidegate_core::{DeviceId, ProductId, Timestamp, Update};
use tidegate_engine::token::TokenKeys;
use tidegate_wire::answer::{NativeAnswer, SignedFile};
use tidegate_wire::definition::Definition;

fn lamp() -> ProductId {
    ProductId::new("lamp").unwrap()
}

fn update(definition: &str) -> Update {
    let definition = Definition::from_operator(definition.as_bytes(), &lamp()).unwrap();
    definition.update(&lamp(), &Publication::draft(), &mut Slots::new()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn signed(update: &Update) -> Vec<SignedFile> {
    let sign = |file: &tidegate_core::update::File| SignedFile {
        name: file.name.clone(),
        url: format!("https://images.example/{}?X-Amz-Signature=abc&x=1", file.name),
        sha256: file.sha256.clone(),
        size: file.size_bytes,
    };
    update.content.files.iter().map(sign).collect()
}

const UPDATE: &str = r#"{"version":"2.4.0","name":"Spring","description":"All \"new\"","specification":{"slot":"b","url":"not this one"},
    "files":[{"name":"rootfs.swu","sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1048576},
             {"name":"boot.bin","sha256":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size":7}]}"#;

fn answers() -> String {
    let update_with_files = update(UPDATE);
    let offer = NativeAnswer::offer(&update_with_files, signed(&update_with_files), at("2026-01-02T03:04:05Z"), 3600);
    let json_update = update(r#"{"version":"3.0.0","kind":"json","payload":{"leds":[1,2]}}"#);
    let payload = NativeAnswer::offer(&json_update, Vec::new(), at("2026-01-02T03:04:05Z"), 3600);
    let opens_at = Some(at("2026-01-02T03:04:04.5Z"));
    let lines = [
        ("native offer", serde_json::to_string(&offer)),
        ("native offer of a payload", serde_json::to_string(&payload)),
        ("native nothing", serde_json::to_string(&NativeAnswer::nothing("up_to_date", None, 86400))),
        ("native later", serde_json::to_string(&NativeAnswer::nothing("rate_limited", opens_at, 60))),
        ("ioto offer", serde_json::to_string(&offer.ioto())),
        ("ioto nothing", serde_json::to_string(&NativeAnswer::nothing("full", None, 60).ioto())),
    ];
    lines.into_iter().map(|(name, line)| format!("{name}\n{}\n", line.unwrap())).collect()
}

#[test]
fn what_devices_are_answered_has_not_changed_by_a_byte() {
    let golden = include_str!("golden/answers.txt");
    assert_eq!(answers(), golden, "agents in the field depend on these bytes");
}

#[test]
fn tokens_that_were_issued_stay_good() {
    let keys = TokenKeys::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
    let device = DeviceId::new("lamp-1").unwrap();
    let golden = include_str!("golden/tokens.txt");
    let issued = format!(
        "{}\n{}\n{}\n",
        keys.issue(&lamp(), &device, 0),
        keys.issue(&lamp(), &device, 2),
        keys.issue_for_product(&lamp(), 0)
    );
    assert_eq!(issued, golden, "a fleet holds tokens like these, and nobody can hand it new ones");
}

#[test]
fn update_ids_have_not_changed() {
    // SHA-256 of "tidegate update\0lamp\02.4.0", its first ten bytes: computed with Python's hashlib.
    assert_eq!(update(UPDATE).id.as_str(), include_str!("golden/update_id.txt").trim_end());
}
