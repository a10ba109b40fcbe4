//! Number of decisions in one check-in, counted by the event that marks each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tidegate_engine::check_in::DECISION_TARGET;
use tidegate_tests::{LAMP, World, answer, at, lamp, request};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// Counts the decisions made on this thread.
#[derive(Clone, Default)]
struct Decisions(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Decisions {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == DECISION_TARGET {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Decisions {
    /// Takes the number since the last time.
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_check_in_decides_once_and_once_more_for_each_reservation_that_failed() {
    let decisions = Decisions::default();
    let _counting = tracing::subscriber::set_default(tracing_subscriber::registry().with(decisions.clone()));
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    let rollout = json!({"policy": "region == \"eu\"", "rollout": {"limits": {"max_devices": 1}}});
    world.publish(LAMP, "2.0.0", rollout, now).await;
    let _publishing = decisions.take();

    let elsewhere = world.check(&lamp("lamp-0", "1.0.0"), now).await;
    assert_eq!((elsewhere.body["reason"].as_str(), decisions.take()), (Some("not_targeted"), 1), "idle");

    let european = |id: &str| json!({"id": id, "product": LAMP, "version": "1.0.0", "region": "eu"});
    let offered = world.check(&european("lamp-1"), now).await;
    assert_eq!((offered.body["version"].as_str(), decisions.take()), (Some("2.0.0"), 1), "an offer");
    let again = world.check(&european("lamp-1"), now).await;
    assert_eq!((again.body["version"].as_str(), decisions.take()), (Some("2.0.0"), 1), "the same offer again");

    let late = world.check(&european("lamp-2"), now).await;
    assert_eq!((late.body["reason"].as_str(), decisions.take()), (Some("full"), 2), "its reservation failed");
}

#[tokio::test]
async fn a_poll_of_hawkbit_decides_once_also_when_an_action_is_under_way() {
    let decisions = Decisions::default();
    let _counting = tracing::subscriber::set_default(tracing_subscriber::registry().with(decisions.clone()));
    let world = World::new(1000).await;
    let now = at("2026-01-01T00:00:00Z");
    world.publish(LAMP, "2.0.0", json!({}), now).await;
    world.check(&lamp("lamp-1", "1.0.0"), now).await;
    let _before = decisions.take();

    let token = format!("TargetToken {}", world.token(LAMP, "lamp-1"));
    let path = format!("/{LAMP}/controller/v1/lamp-1");
    let poll = || request("GET", &path, &[("authorization", &token)], "", None);
    let first = answer(world.services.check.handle(poll(), now).await);
    assert!(first.body["_links"]["deploymentBase"].is_object(), "{first:?}");
    assert_eq!(decisions.take(), 1, "the claim is under way");

    let reason = json!({"reason": "test"});
    world.operator("POST", &format!("{LAMP}/updates/2.0.0/abort"), reason, now).await;
    let later = at("2026-01-01T00:00:05Z");
    let cancelled = answer(world.services.check.handle(poll(), later).await);
    assert!(cancelled.body["_links"]["cancelAction"].is_object(), "{cancelled:?}");
    assert_eq!(decisions.take(), 1, "its rollout was stopped");
}
