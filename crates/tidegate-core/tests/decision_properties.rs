//! Properties of decisions for every catalog, device, claim and time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cmp::Ordering;

use proptest::prelude::*;
use support::*;
use tidegate_core::attributes::Value;
use tidegate_core::guidance::{IDLE_S, SOONEST_S, check_again_after_s};
use tidegate_core::life::table::Event;
use tidegate_core::objection::NoRoom;
use tidegate_core::receipt::explain;
use tidegate_core::rollout::WhenFull;
use tidegate_core::{Catalog, Claim, Claims, Device, State, Timestamp, UpdateId, decide};

/// Versions of every kind of precedence. They are few, so that devices, updates and claims often have the same one.
const VERSIONS: [&str; 9] =
    ["0.9.0", "1.0.0-alpha", "1.0.0-rc.1", "1.0.0", "1.0.0+build.1", "1.1.0", "2.0.0-rc.1", "2.0.0", "3.0.0+build.2"];
const POLICIES: [&str; 13] = [
    "",
    "memory >= 256",
    "memory < 256",
    "region == \"eu\"",
    "!(region == \"eu\")",
    "memory / 0 == 1",
    "cohort < 5000",
    "semver(version, \"<\", newVersion)",
    "stage == \"test\" || region == \"eu\"",
    "region == \"us\" && memory >= 256",
    "in(region, \"us\", \"cn\")",
    "beta",
    "memory == 512 && stage != \"test\"",
];
const REQUIREMENTS: [&str; 4] = [">=1.0.0", "^1", "<1.0.0", ">=1.0.0-alpha"];
const WINDOWS: [(&str, u32, &str); 4] = [
    ("0 22 * * *", 6 * 3600, "Europe/Berlin"),
    ("30 2 * * 0", 604_800, "America/New_York"),
    ("*/5 * * * *", 60, "UTC"),
    ("0 0 29 2 *", 3600, "Australia/Lord_Howe"),
];

fn any_version() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&VERSIONS[..])
}

/// Times: most are near noon, as the rollouts are; some are at any time.
fn any_moment() -> impl Strategy<Value = Timestamp> {
    let noon = moment(NOON).as_second();
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    prop_oneof![
        8 => (noon - 200_000..noon + 200_000).boxed(),
        1 => (first..=last).boxed(),
        1 => prop::sample::select(vec![first, -1, 0, 1, last]).boxed(),
    ]
    .prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn any_moment_text() -> impl Strategy<Value = String> {
    any_moment().prop_map(|moment| moment.to_string())
}

fn any_rollout() -> impl Strategy<Value = Draft> {
    (
        any_version(),
        prop::option::of(any_moment_text()),
        prop::option::of(any_moment_text()),
        prop::collection::vec((prop::sample::select(&POLICIES[..]), any_moment_text()), 0..2),
        prop::collection::vec((any_moment_text(), 0..=100_u8), 0..3),
        prop::option::of(prop::sample::select(&WINDOWS[..])),
        any::<bool>(),
        0_u32..4,
    )
        .prop_map(|(version, starts, ends, groups, phases, window, waits, max_attempts)| {
            let draft = update(version).max_attempts(max_attempts);
            let draft = starts.iter().fold(draft, |draft, at| draft.starts(at));
            let draft = ends.iter().fold(draft, |draft, at| draft.ends(at));
            let draft = groups.iter().fold(draft, |draft, (policy, at)| draft.group(policy, at));
            let draft = phases.iter().fold(draft, |draft, (at, percent)| draft.phase(at, f64::from(*percent)));
            let draft = window.iter().fold(draft, |draft, (cron, length, zone)| draft.window(cron, *length, zone));
            draft.when_full(if waits { WhenFull::Wait } else { WhenFull::Next })
        })
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let state = prop_oneof![3 => Just(State::Active), 1 => prop::sample::select(&State::ALL[..])];
    (
        prop_oneof![any_rollout(), any_version().prop_map(update)],
        state,
        prop::sample::select(&POLICIES[..]),
        prop::collection::vec(prop::sample::select(&REQUIREMENTS[..]), 0..2),
        prop::option::of(any_version()),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(draft, state, policy, requirements, back_from, is_foreign)| {
            let draft = draft.state(state).policy(policy);
            let draft = requirements.iter().fold(draft, |draft, requirement| draft.from(requirement));
            let draft = back_from.iter().fold(draft, |draft, version| draft.back_from(version));
            if is_foreign { draft.of("door") } else { draft }
        })
}

fn any_drafts() -> impl Strategy<Value = Vec<Draft>> {
    prop::collection::vec(any_draft(), 0..6)
}

fn any_device() -> impl Strategy<Value = Device> {
    let region = prop::sample::select(vec![None, Some("eu"), Some("us")]);
    (any_version(), 0_u16..50, region, any::<bool>()).prop_map(|(version, number, region, files_only_protocol)| {
        let device = named(&format!("lamp-{number}"), lamp(version));
        let device =
            region.iter().fold(device, |device, region| saying("region", Value::Text((*region).into()), device));
        if files_only_protocol { files_only(device) } else { device }
    })
}

fn any_claim() -> impl Strategy<Value = (UpdateId, Claim)> {
    (any_version(), prop::collection::vec(prop::sample::select(&Event::ALL[..]), 0..6))
        .prop_map(|(version, events)| claim(version, &events))
}

fn any_claims() -> impl Strategy<Value = Claims> {
    let note = prop_oneof![
        Just(NoRoom::Full),
        prop::option::of(any_moment()).prop_map(|opens_at| NoRoom::RateLimited { opens_at }),
        Just(NoRoom::TooManyInFlight),
        Just(NoRoom::Paused),
        Just(NoRoom::Aborted),
    ];
    let notes = prop::collection::vec((any_version(), note), 0..3);
    (prop::collection::vec(any_claim(), 0..3), notes).prop_map(|(held, notes)| {
        let mut known = claims(held);
        for (version, note) in notes {
            known.note_no_room(lamp_update(version), note);
        }
        known
    })
}

/// `true` if a catalog with only this update offers it, and the device need not wait for others.
fn objects(device: &Device, draft: &Draft, claims: &Claims, now: Timestamp) -> bool {
    decide(device, &catalog([draft.clone()]), claims, now).offer.is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_offer_is_of_this_product_and_newer_or_of_a_rollback_that_names_the_version(
        device in any_device(), drafts in any_drafts(), claims in any_claims(), now in any_moment()
    ) {
        let catalog = catalog(drafts);
        if let Some(offer) = decide(&device, &catalog, &claims, now).offer {
            prop_assert_eq!(&offer.update.product, &device.product);
            prop_assert!(offer.update.way().leads_from(&device.version));
            prop_assert_eq!(offer.update.state, State::Active);
        }
    }

    #[test]
    fn a_device_of_another_product_is_told_nothing(
        device in any_device(), drafts in any_drafts(), claims in any_claims(), now in any_moment()
    ) {
        let stranger = Device { product: product("window"), ..device };
        let catalog = catalog(drafts);
        let decision = decide(&stranger, &catalog, &claims, now);
        prop_assert!(decision.offer.is_none() && decision.passed_over.is_empty());
    }

    #[test]
    fn every_question_has_the_same_answer_twice_and_a_time_to_ask_again(
        device in any_device(), drafts in any_drafts(), claims in any_claims(), now in any_moment()
    ) {
        let catalog = catalog(drafts);
        let decision = decide(&device, &catalog, &claims, now);
        let explained = explain(&device, &catalog, &claims, now);
        check_all(&device, &catalog, &claims, &now.to_string(), &answer(&explained.decision));
        prop_assert_eq!(check_again_after_s(&device, &decision, now), check_again_after_s(&device, &explained.decision, now));
        let after_s = check_again_after_s(&device, &decision, now);
        prop_assert!((SOONEST_S..=IDLE_S).contains(&after_s), "{after_s}");
        prop_assert_eq!(decision.reason().is_none(), decision.passed_over.is_empty());
        prop_assert!(decision.passed_over.iter().all(|(_, objection)| !objection.to_string().is_empty()));
    }

    #[test]
    fn the_order_in_which_updates_were_written_does_not_matter(
        device in any_device(), drafts in any_drafts(), claims in any_claims(), now in any_moment()
    ) {
        // One update for each precedence, as in the store: the id depends on the version.
        let mut unique: Vec<Draft> = Vec::new();
        for draft in drafts {
            if unique.iter().all(|known| lamp_update(&known.version) != lamp_update(&draft.version)) {
                unique.push(draft);
            }
        }
        let forward = catalog(unique.clone());
        let backward = catalog(unique.into_iter().rev());
        let told = |catalog: &Catalog| answer(&decide(&device, catalog, &claims, now));
        prop_assert_eq!(told(&forward), told(&backward));
    }

    #[test]
    fn the_offer_is_a_rollback_or_else_the_newest_update_that_nothing_objects_to(
        device in any_device(), drafts in any_drafts(), claims in any_claims(), now in any_moment()
    ) {
        let next: Vec<Draft> = drafts.into_iter().map(|draft| draft.when_full(WhenFull::Next)).collect();
        let catalog = catalog(next.clone());
        let offered = decide(&device, &catalog, &claims, now).offer.map(|offer| offer.update.version.clone());
        let unobjected = next.iter().filter(|draft| !objects(&device, draft, &claims, now)).collect::<Vec<_>>();
        let has_rollback = unobjected.iter().any(|draft| !draft.rollback_from.is_empty());
        let first = unobjected.iter().filter(|draft| draft.rollback_from.is_empty() != has_rollback);
        let newest = first.map(|draft| version(&draft.version)).max_by(|a, b| a.cmp_precedence(b));
        match (offered, newest) {
            (Some(offered), Some(newest)) => prop_assert_eq!(offered.cmp_precedence(&newest), Ordering::Equal),
            (offered, newest) => prop_assert_eq!(offered, newest),
        }
    }

    #[test]
    fn one_more_clause_never_widens_the_audience(
        device in any_device(), draft in any_draft(), now in any_moment(),
        policy in prop::sample::select(&POLICIES[1..]), clause in prop::sample::select(&POLICIES[1..])
    ) {
        let none = Claims::default();
        let wider = draft.clone().policy(policy);
        for narrower in [format!("({policy}) && ({clause})"), format!("({clause}) && ({policy})")] {
            let narrower = draft.clone().policy(&narrower);
            prop_assert!(objects(&device, &narrower, &none, now) || !objects(&device, &wider, &none, now));
        }
    }

    #[test]
    fn a_phased_rollout_without_an_end_or_windows_never_takes_a_device_back(
        number in 0_u16..10_000, percents in prop::collection::btree_set(0_u8..=100, 1..5), times in prop::collection::vec(0_i64..7200, 2)
    ) {
        let noon = moment(NOON).as_second();
        let at = |second: i64| Timestamp::from_second(noon + second).unwrap();
        let phased = (1_i64..).zip(&percents).fold(update("2.0.0"), |update, (step, percent)| {
            update.phase(&at(step * 1000).to_string(), f64::from(*percent))
        });
        let catalog = catalog([phased]);
        let device = named(&format!("lamp-{number}"), lamp("1.0.0"));
        let is_in = |second| decide(&device, &catalog, &Claims::default(), at(second)).offer.is_some();
        let (early, late) = (times[0].min(times[1]), times[0].max(times[1]));
        prop_assert!(!is_in(early) || is_in(late));
    }
}
