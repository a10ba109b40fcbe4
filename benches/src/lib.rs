//! The work that is measured: a device asks a product with many live updates, and none of them matches.
//!
//! Of twenty updates, eight are for one region, eight for one model under further conditions, three for one country and
//! a tag, and one has a policy that no index helps with. There are as many regions, models and countries as make fifty
//! updates share one. [`Ours`] and [`Theirs`] are asked with the same bytes, and answer with the same ones.

mod ours;
mod theirs;

use tidegate_core::policy::Slots;
use tidegate_core::update::Publication;
use tidegate_core::{Catalog, ProductId, State, Timestamp, UpdateId, Version};
use tidegate_wire::definition::Definition;

pub use ours::Ours;
pub use theirs::Theirs;

/// What a device sends that no update is for, in about 260 bytes.
pub const DEVICE: &str = r#"{"id":"01J9ZQ4W8T6V5R3N2M1K0H7GFE","product":"lamp","version":"1.5.0","model":"m7","region":"eu","battery":70,"memory":"512","site":{"country":"de","floor":3},"tags":["indoor","dimmable"],"uptime_s":86400,"wifi":{"rssi":-61,"channel":11},"serial":"L-0042"}"#;

/// What a device sends that runs the newest version.
pub const UP_TO_DATE: &str = r#"{"id":"01J9ZQ4W8T6V5R3N2M1K0H7GFE","product":"lamp","version":"3.0.0","model":"m7","region":"eu","battery":70,"memory":"512","site":{"country":"de","floor":3},"tags":["indoor","dimmable"],"uptime_s":86400,"wifi":{"rssi":-61,"channel":11},"serial":"L-0042"}"#;

/// The product of all updates.
///
/// # Panics
/// Never: the name is good.
#[must_use]
pub fn product() -> ProductId {
    ProductId::new("lamp").expect("a product id")
}

/// A day in 2026.
///
/// # Panics
/// Never: the time is one.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_second(1_781_524_800).expect("a day in 2026")
}

/// The policy of the `number`th of `count` updates.
#[must_use]
pub fn policy(number: u64, count: u64) -> String {
    let shared = number % (count / 50).max(1);
    match number % 20 {
        0..8 => format!("region == \"r{shared}\""),
        8..16 => format!(
            "model == \"m{shared}\" && semver(version, \"<\", \"1.4.0\") && (region == \"eu\" || region == \"us\") \
             && battery >= 40 && cohort < 2500"
        ),
        16..19 => format!("site.country == \"c{shared}\" && contains(tags, \"beta\")"),
        _ => format!("battery < {} || memory >= {}", number % 40, 1024 + number % 7),
    }
}

/// The version of the `number`th update.
#[must_use]
pub fn version(number: u64) -> Version {
    Version::new(2, number, 0)
}

/// The definition of the `number`th of `count` updates, as it is stored.
///
/// # Panics
/// Never: the definition is good.
#[must_use]
pub fn definition(number: u64, count: u64) -> String {
    let definition = serde_json::json!({
        "version": version(number).to_string(),
        "name": format!("firmware {number}"),
        "policy": policy(number, count),
        "files": [{"name": "image.bin", "sha256": format!("{number:064x}"), "size": 1_048_576}],
        "rollout": {"limits": {"max_devices": 10_000}},
    });
    let definition = Definition::from_value(definition, &product());
    definition.expect("a definition that operators may write").to_store()
}

/// Compiles stored definitions as publishing does.
///
/// # Panics
/// When one of them is not good.
#[must_use]
pub fn compile(definitions: &[String]) -> Catalog {
    let mut slots = Slots::new();
    let mut update = |definition: &String| {
        let files = vec![tidegate_core::update::StoredObject::default()];
        let publication = Publication { state: State::Active, generation: 1, objects: files, ..Publication::draft() };
        Definition::compile(definition, &product(), &publication, &mut slots).expect("a good definition")
    };
    let updates = definitions.iter().map(&mut update).collect::<Vec<_>>();
    Catalog::new(product(), slots, updates)
}

/// `count` stored definitions.
#[must_use]
pub fn definitions(count: u64) -> Vec<String> {
    (0..count).map(|number| definition(number, count)).collect()
}

/// The id of an update.
#[must_use]
pub fn id(number: u64) -> UpdateId {
    UpdateId::of(&product(), &version(number), 1)
}
