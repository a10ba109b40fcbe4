//! What the measurements ask: catalogs of many live updates, and a device for each kind of answer.

use tidegate_core::attributes::{Attributes, Value};
use tidegate_core::cohort::Share;
use tidegate_core::device::Delivery;
use tidegate_core::policy::{Policy, Slots};
use tidegate_core::rollout::Phase;
use tidegate_core::update::{Content, Downgrade};
use tidegate_core::{
    Catalog, Claims, Device, DeviceId, ProductId, Rollout, State, Timestamp, Update, UpdateId, Version, decide,
};

/// Three clauses: as long as the policies in `policies/` are.
pub(crate) const POLICY: &str = r#"region == "eu" && memory >= 256 && semver(version, ">=", "1.0.0")"#;

/// Every case by name, from the cheapest rule to the dearest.
pub(crate) const CASES: [&str; 4] = ["first_matches", "none_is_newer", "none_is_targeted", "none_is_in_phase"];

/// A device, a catalog and a moment.
pub(crate) struct Question {
    device: Device,
    catalog: Catalog,
    now: Timestamp,
}

impl Question {
    /// The question of a case; `None` for a name that is none.
    pub(crate) fn new(case: &str, updates: u64) -> Option<Self> {
        let (runs, region, percent) = match case {
            "first_matches" => ("1.0.0", "eu", 100.0),
            "none_is_newer" => ("3.0.0", "eu", 100.0),
            "none_is_targeted" => ("1.0.0", "us", 100.0),
            "none_is_in_phase" => ("1.0.0", "eu", 0.0),
            _ => return None,
        };
        let mut slots = Slots::new();
        let live: Vec<_> = (0..updates).map(|minor| update(minor, percent, &mut slots)).collect();
        Some(Self { device: device(runs, region), catalog: Catalog::new(product(), slots, live), now: now() })
    }

    /// Decides once; answers how many updates were considered.
    pub(crate) fn decide(&self) -> usize {
        let decision = decide(&self.device, &self.catalog, &Claims::default(), self.now);
        decision.passed_over.len() + usize::from(decision.offer.is_some())
    }
}

/// A device as agents in the field describe theirs: a dozen attributes, of which policies ask for two.
pub(crate) fn device(runs: &str, region: &str) -> Device {
    let mut attributes = Attributes::new();
    for number in 0..10 {
        attributes.insert(format!("sensor.{number}"), Value::Number(f64::from(number)));
    }
    attributes.insert("memory", Value::Text("512".to_owned()));
    attributes.insert("region", Value::Text(region.to_owned()));
    Device {
        id: DeviceId::new("01J9ZQ4W8T6V5R3N2M1K0H7GFE").expect("a ULID is a device id"),
        product: product(),
        version: runs.parse().expect("the cases name versions"),
        attributes,
        delivery: Delivery::Anything,
    }
}

fn update(minor: u64, percent: f64, slots: &mut Slots) -> Update {
    let version = Version::new(2, minor, 0);
    let starts_at = Timestamp::UNIX_EPOCH;
    let share = Share::from_percent(percent).expect("the cases name percentages");
    Update {
        id: UpdateId::of(&product(), &version),
        product: product(),
        version,
        state: State::Active,
        reason: String::new(),
        generation: 1,
        shards: 1,
        compatible_from: vec![">=1.0.0".parse().expect("a requirement")],
        policy: Policy::parse(POLICY, slots).expect("a policy"),
        downgrade: Downgrade::Refused,
        rollout: Rollout { phases: vec![Phase { starts_at, share }], ..Rollout::default() },
        content: Content::default(),
    }
}

fn product() -> ProductId {
    ProductId::new("lamp").expect("a product id")
}

fn now() -> Timestamp {
    Timestamp::from_second(1_781_524_800).expect("a day in 2026")
}
