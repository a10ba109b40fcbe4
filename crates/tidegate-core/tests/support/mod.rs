//! Short constructors of devices, updates and claims, and answers as text, so that a case is one line.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod policy;

use tidegate_core::attributes::Value;
use tidegate_core::claim::Grant;
use tidegate_core::cohort::Share;
use tidegate_core::decide::{ClaimStatus, Decision, decide};
use tidegate_core::device::Delivery;
use tidegate_core::life::Rules;
use tidegate_core::life::table::Event;
use tidegate_core::objection::NoRoom;
use tidegate_core::orders::Orders;
use tidegate_core::phase::{Begins, Phase};
use tidegate_core::policy::{Policy, Slots};
use tidegate_core::rollout::{Group, WhenFull};
use tidegate_core::times::Times;
use tidegate_core::update::{Content, File, StoredObject, Test};
use tidegate_core::window::OpeningWindow;
use tidegate_core::{
    Catalog, Claim, Claims, Device, DeviceId, ProductId, Rollout, State, Timestamp, Update, UpdateId, Version, receipt,
};

/// Time at which devices ask, unless a case gives another time.
pub(crate) const NOON: &str = "2026-06-15T12:00:00Z";
pub(crate) const HOUR_BEFORE: &str = "2026-06-15T11:00:00Z";
pub(crate) const HOUR_AFTER: &str = "2026-06-15T13:00:00Z";

#[track_caller]
pub(crate) fn moment(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn version(text: &str) -> Version {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn product(text: &str) -> ProductId {
    ProductId::new(text).unwrap()
}

/// A lamp that runs `version` and states 512 MB of memory in the test lab.
pub(crate) fn lamp(runs: &str) -> Device {
    let attributes = [("memory", Value::Integer(512)), ("stage", Value::Text("test".to_owned()))];
    Device {
        id: DeviceId::new("lamp-0").unwrap(),
        product: product("lamp"),
        version: version(runs),
        attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        said: None,
        delivery: Delivery::Anything,
        orders: Orders::default(),
    }
}

pub(crate) fn named(id: &str, device: Device) -> Device {
    Device { id: DeviceId::new(id).unwrap(), ..device }
}

pub(crate) fn saying(name: &str, value: Value, mut device: Device) -> Device {
    device.attributes.insert(name, value);
    device
}

pub(crate) fn files_only(device: Device) -> Device {
    Device { delivery: Delivery::FilesOnly, ..device }
}

/// Update with its policies as text. The catalog compiles them.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    product: &'static str,
    pub(crate) version: String,
    campaign: u32,
    state: State,
    compatible_from: Vec<String>,
    policy: String,
    pub(crate) rollback_from: Vec<String>,
    not_before: Option<Timestamp>,
    groups: Vec<(String, String)>,
    pub(crate) rollout: Rollout,
    content: Content,
}

/// Active update of the lamp without a policy.
pub(crate) fn update(version: &str) -> Draft {
    Draft {
        product: "lamp",
        version: version.to_owned(),
        campaign: 1,
        state: State::Active,
        compatible_from: Vec::new(),
        policy: String::new(),
        rollback_from: Vec::new(),
        not_before: None,
        groups: Vec::new(),
        rollout: Rollout::default(),
        content: Content::default(),
    }
}

impl Draft {
    pub(crate) fn of(self, product: &'static str) -> Self {
        Self { product, ..self }
    }
    pub(crate) fn campaign(self, campaign: u32) -> Self {
        Self { campaign, ..self }
    }
    pub(crate) fn include_failed(mut self) -> Self {
        self.rollout.include_failed = true;
        self
    }
    pub(crate) fn state(self, state: State) -> Self {
        Self { state, ..self }
    }
    /// Adds a version over which the update can be installed.
    pub(crate) fn from(mut self, requirement: &str) -> Self {
        self.compatible_from.push(requirement.to_owned());
        self
    }
    pub(crate) fn policy(self, policy: &str) -> Self {
        Self { policy: policy.to_owned(), ..self }
    }
    /// Adds a version from which it takes devices back.
    pub(crate) fn back_from(mut self, version: &str) -> Self {
        self.rollback_from.push(version.to_owned());
        self
    }
    pub(crate) fn starts(mut self, at: &str) -> Self {
        self.rollout.starts_at = Some(moment(at));
        self
    }
    pub(crate) fn transfers_wait_until(mut self, at: &str) -> Self {
        self.not_before = Some(moment(at));
        self
    }
    pub(crate) fn ends(mut self, at: &str) -> Self {
        self.rollout.ends_at = Some(moment(at));
        self
    }
    pub(crate) fn group(mut self, policy: &str, starts_at: &str) -> Self {
        self.groups.push((policy.to_owned(), starts_at.to_owned()));
        self
    }
    pub(crate) fn phase(mut self, starts_at: &str, percent: f64) -> Self {
        self.rollout
            .phases
            .push(Phase { begins: Begins::At(moment(starts_at)), share: Share::from_percent(percent).unwrap() });
        self
    }
    pub(crate) fn window(mut self, cron: &str, duration_s: u32, time_zone: &str) -> Self {
        self.rollout.windows.push(OpeningWindow::new(cron, duration_s, time_zone).unwrap());
        self
    }
    pub(crate) fn when_full(mut self, when_full: WhenFull) -> Self {
        self.rollout.when_full = when_full;
        self
    }
    pub(crate) fn max_devices(mut self, limit: u64) -> Self {
        self.rollout.limits.max_devices = Some(limit);
        self
    }
    pub(crate) fn max_attempts(mut self, attempts: u32) -> Self {
        self.rollout.max_attempts = attempts;
        self
    }
    pub(crate) fn file(mut self, name: &str) -> Self {
        self.content.files.push(File {
            name: name.to_owned(),
            sha256: "0".repeat(64),
            size_bytes: 1,
            object: StoredObject::default(),
        });
        self
    }

    fn publish(&self, slots: &mut Slots) -> Update {
        let (product, version) = (product(self.product), version(&self.version));
        let mut compile = |text: &str| Policy::parse(text, slots).unwrap_or_else(|error| panic!("{text}: {error}"));
        let groups: Vec<Group> = self
            .groups
            .iter()
            .map(|(policy, starts_at)| Group { policy: compile(policy), starts_at: moment(starts_at) })
            .collect();
        Update {
            id: UpdateId::of(&product, &version, self.campaign),
            product,
            version,
            campaign: self.campaign,
            state: self.state,
            reason: String::new(),
            opened_at: None,
            test: Test::default(),
            held_out_from: None,
            not_before: self.not_before,
            newcomers_since: None,
            reports_as: Vec::new(),
            generation: 1,
            shards: 1,
            compatible_from: self.compatible_from.iter().map(|text| text.parse().unwrap()).collect(),
            policy: compile(&self.policy),
            rollback_from: self.rollback_from.iter().map(|text| text.parse().unwrap()).collect(),
            rollout: Rollout { groups, ..self.rollout.clone() },
            content: self.content.clone(),
        }
    }
}

/// Catalog of the lamp, with the updates in the given order.
pub(crate) fn catalog(drafts: impl IntoIterator<Item = Draft>) -> Catalog {
    catalog_of("lamp", drafts)
}

pub(crate) fn catalog_of(product_id: &str, drafts: impl IntoIterator<Item = Draft>) -> Catalog {
    let mut slots = Slots::new();
    let updates: Vec<Update> = drafts.into_iter().map(|draft| draft.publish(&mut slots)).collect();
    Catalog::new(product(product_id), slots, updates)
}

pub(crate) fn lamp_update(text: &str) -> UpdateId {
    UpdateId::of(&product("lamp"), &version(text), 1)
}

/// Claim of a lamp that ran 1.0.0 on `update`, after these events. The first grant was ten days before noon; the events
/// are one minute apart, and the grants after an end a day.
pub(crate) fn claim(update: &str, events: &[Event]) -> (UpdateId, Claim) {
    let (version, rules) = (version(update), Rules::new(&Times::default(), 90 * 3600));
    let start = moment(NOON).as_second() - 10 * 86_400;
    let grant = |before: Option<&Claim>, epoch, second| {
        let now = Timestamp::from_second(second).unwrap();
        let (version, was, reports_as, is_newcomer) = (&version, "1.0.0", &[], false);
        let (campaign, shard, test, hour) = (1, 0, 0, 0);
        let grant = Grant { version, campaign, was, reports_as, shard, count: 0, epoch, test, hour, is_newcomer, now };
        Claim::granted(before, &grant).unwrap()
    };
    let (mut claim, mut second, mut epoch) = (grant(None, 1, start), start, 1);
    for event in events {
        if claim.state().has_ended() {
            (second, epoch) = (second + 86_400, epoch + 2);
            claim = grant(Some(&claim), epoch, second);
        }
        second += 60;
        claim = claim.after(*event, &rules, Timestamp::from_second(second).unwrap()).unwrap_or(claim);
    }
    (lamp_update(update), claim)
}

pub(crate) fn claims(held: impl IntoIterator<Item = (UpdateId, Claim)>) -> Claims {
    Claims::new(held)
}

/// No claims, with rollouts that had no room a moment ago.
pub(crate) fn no_room(notes: impl IntoIterator<Item = (&'static str, NoRoom)>) -> Claims {
    let mut claims = Claims::default();
    for (update, note) in notes {
        claims.note_no_room(lamp_update(update), note);
    }
    claims
}

/// Checks the answer at noon to a device without claims.
#[track_caller]
pub(crate) fn check(device: &Device, catalog: &Catalog, expected: &str) {
    check_all(device, catalog, &Claims::default(), NOON, expected);
}

#[track_caller]
pub(crate) fn check_at(device: &Device, catalog: &Catalog, now: &str, expected: &str) {
    check_all(device, catalog, &Claims::default(), now, expected);
}

#[track_caller]
pub(crate) fn check_with(device: &Device, catalog: &Catalog, claims: &Claims, expected: &str) {
    check_all(device, catalog, claims, NOON, expected);
}

/// Compares the receipt with `offer 2.0.0 (held); not 3.0.0: why`, and the decision with the receipt.
#[track_caller]
pub(crate) fn check_all(device: &Device, catalog: &Catalog, claims: &Claims, now: &str, expected: &str) {
    let receipt = receipt::explain(device, catalog, claims, moment(now));
    let answer = answer(&receipt.decision);
    assert_eq!(answer, expected, "device {} on {} at {now}", device.id, device.version);
    let bare = [" (held)", " (again)"].iter().fold(answer, |text, claim_status| text.replace(claim_status, ""));
    assert_eq!(receipt.to_string(), bare, "the receipt must tell what was decided");
    let decision = decide(device, catalog, claims, moment(now));
    assert_eq!(told(&decision), told(&receipt.decision), "the index must not change what is told");
}

/// Text of a decision: the offer, or the reason and the time at which it may change.
pub(crate) fn told(decision: &Decision<'_>) -> String {
    let offer = decision.offer.as_ref().map(|offer| (&offer.update.version, &offer.claim_status));
    let reason = decision.reason().filter(|_| offer.is_none());
    let reason = reason.map(|(update, objection)| (&update.version, objection));
    format!("{offer:?} {reason:?} {:?}", decision.may_change_at())
}

pub(crate) fn answer(decision: &Decision<'_>) -> String {
    let offer = decision.offer.as_ref().map_or("nothing".to_owned(), |offer| {
        let claim_status = match &offer.claim_status {
            ClaimStatus::Unclaimed => "",
            ClaimStatus::Held(_) => " (held)",
            ClaimStatus::Ended(_) => " (again)",
        };
        format!("offer {}{claim_status}", offer.update.version)
    });
    decision
        .passed_over
        .iter()
        .fold(offer, |text, (update, objection)| format!("{text}; not {}: {objection}", update.version))
}

/// Text of a decision with codes instead of sentences: `3.0.0 paused, 2.0.0 offered`.
pub(crate) fn codes(decision: &Decision<'_>) -> String {
    let passed_over =
        decision.passed_over.iter().map(|(update, objection)| format!("{} {}", update.version, objection.code()));
    let offered = decision.offer.iter().map(|offer| format!("{} offered", offer.update.version));
    passed_over.chain(offered).collect::<Vec<_>>().join(", ")
}
