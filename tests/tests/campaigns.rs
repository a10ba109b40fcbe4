//! Campaigns: an update is offered again, takes devices back from a bad version, and no version is ever used up.

use serde_json::{Value, json};
use tidegate_core::State;
use tidegate_store::ReadUpdates as _;
use tidegate_tests::{Answer, LAMP, World, at, lamp};

async fn told(world: &World, device: &str, version: &str, now: &str) -> String {
    let answer = world.check(&lamp(device, version), at(now)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["version"].as_str().or(answer.body["reason"].as_str()).unwrap_or("?").to_string()
}

async fn steer(world: &World, version: &str, verb: &str, body: Value, now: &str) -> Answer {
    let mut body = body;
    body["reason"] = json!("a test");
    world.operator("POST", &format!("{LAMP}/updates/{version}/{verb}"), body, at(now)).await
}

async fn steered(world: &World, version: &str, verb: &str, body: Value, now: &str) -> Value {
    let answer = steer(world, version, verb, body, now).await;
    assert_eq!(answer.status, 200, "{verb} {version}: {answer:?}");
    answer.body
}

async fn claims(world: &World, device: &str, now: &str) -> String {
    let shown = world.operator("GET", &format!("{LAMP}/devices/{device}"), Value::Null, at(now)).await.body;
    let claims = shown["claims"].as_array().cloned().unwrap_or_default();
    let text = |claim: &Value| {
        format!(
            "{}/{} {}",
            claim["version"].as_str().unwrap_or("?"),
            claim["campaign"],
            claim["state"].as_str().unwrap_or("?")
        )
    };
    claims.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// An update that was offered once and aborted, with one device under way and one that proved it.
async fn aborted() -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_devices": 2}}}), at("2026-01-01T00:00:00Z")).await;
    assert_eq!(told(&world, "lamp-1", "1.0.0", "2026-01-01T01:00:00Z").await, "2.0.0");
    assert_eq!(told(&world, "lamp-2", "1.0.0", "2026-01-01T01:00:00Z").await, "2.0.0");
    world.installs("lamp-2", "2.0.0", at("2026-01-01T01:10:00Z")).await;
    steered(&world, "2.0.0", "abort", json!({}), "2026-01-01T02:00:00Z").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_update_has_its_own_limits_and_counters() {
    let world = aborted().await;
    let before = world.operator("GET", &format!("{LAMP}/updates/2.0.0"), Value::Null, at("2026-01-01T03:00:00Z")).await;
    assert_eq!(world.counts("2.0.0", at("2026-01-01T03:00:00Z")).await, "2 1 1 0 0");
    let reopened = steered(&world, "2.0.0", "reopen", json!({}), "2026-01-01T04:00:00Z").await;
    assert_eq!((&reopened["campaign"], &reopened["state"]), (&json!(2), &json!("active")));
    assert_ne!(reopened["id"], before.body["id"], "devices that report by id say which offer they mean");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T04:00:00Z")).await, "0 0 0 0 0");
    // Two were offered it before; two more may have it now.
    for device in ["lamp-3", "lamp-4"] {
        assert_eq!(told(&world, device, "1.0.0", "2026-01-01T05:00:00Z").await, "2.0.0");
    }
    assert_eq!(told(&world, "lamp-5", "1.0.0", "2026-01-01T05:00:00Z").await, "full");
    assert_eq!(told(&world, "lamp-2", "2.0.0", "2026-01-01T05:00:00Z").await, "up_to_date");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T05:01:00Z")).await, "2 2 0 0 0");
    let listed = world.operator("GET", &format!("{LAMP}/updates"), Value::Null, at("2026-01-01T05:00:00Z")).await;
    assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(1), "an update is listed once");
    let log =
        world.operator("GET", &format!("{LAMP}/audit?version=2.0.0"), Value::Null, at("2026-01-01T06:00:00Z")).await;
    let changes =
        log.body["items"].as_array().unwrap().iter().map(|entry| {
            format!("{} {}", entry["action"].as_str().unwrap_or("?"), entry["to"].as_str().unwrap_or("?"))
        });
    let changes = changes.collect::<Vec<_>>();
    for expected in ["abort aborted", "reopen scheduled", "activate active"] {
        assert!(changes.iter().any(|change| change == expected), "{expected} in {changes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_under_way_in_the_campaign_before_is_offered_it_anew() {
    let world = aborted().await;
    let again = json!({"rollout": {"limits": {"max_devices": null}}});
    steered(&world, "2.0.0", "reopen", again, "2026-01-01T04:00:00Z").await;
    assert_eq!(told(&world, "lamp-1", "1.0.0", "2026-01-01T05:00:00Z").await, "2.0.0");
    assert_eq!(claims(&world, "lamp-1", "2026-01-01T05:01:00Z").await, "2.0.0/1 left, 2.0.0/2 open");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T05:01:00Z")).await, "1 1 0 0 0");
    // A report by version is about the last offer.
    let report = world.report("lamp-1", "2.0.0", "INSTALL_SUCCESS", at("2026-01-01T05:10:00Z")).await;
    assert_eq!(report.body, json!({"recorded": true}));
    assert_eq!(told(&world, "lamp-1", "2.0.0", "2026-01-01T05:20:00Z").await, "up_to_date");
    assert_eq!(claims(&world, "lamp-1", "2026-01-01T05:21:00Z").await, "2.0.0/1 proved, 2.0.0/2 proved");
    assert_eq!(world.counts("2.0.0", at("2026-01-01T05:21:00Z")).await, "1 0 1 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_device_of_an_earlier_campaign_is_still_found() {
    let world = aborted().await;
    steered(&world, "2.0.0", "reopen", json!({}), "2026-01-01T04:00:00Z").await;
    world.count_at(at("2026-01-01T04:00:00Z")).await;
    let swept = world.services.sweep.sweep(at("2026-01-06T00:00:00Z")).await.unwrap();
    assert_eq!(swept.lost, 2, "the one that had proved it is silent too: {swept:?}");
    assert_eq!(claims(&world, "lamp-1", "2026-01-06T01:00:00Z").await, "2.0.0/1 lost");
    assert_eq!(world.counts("2.0.0", at("2026-01-06T01:00:00Z")).await, "0 0 0 0 0", "its own campaign counts it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopening_needs_an_end_and_says_what_would_reach_all_at_once() {
    let world = World::new(0).await;
    let phases = json!([{"starts_at": "2026-01-01T00:00:00Z", "percent": 10}, {"starts_at": "2026-01-02T00:00:00Z", "percent": 100}]);
    let update = json!({"rollout": {"phases": phases, "ends_at": "2026-02-01T00:00:00Z"}});
    world.publish(LAMP, "2.0.0", update, at("2026-01-01T00:00:00Z")).await;
    let refused = steer(&world, "2.0.0", "reopen", json!({}), "2026-01-01T01:00:00Z").await;
    assert_eq!((refused.status, refused.code()), (409, "wrong_state"), "{refused:?}");
    steered(&world, "2.0.0", "withdraw", json!({}), "2026-01-05T00:00:00Z").await;
    for (body, expected) in [
        (json!({}), "rollout.phases"),
        (json!({"rollout": {"phases": []}, "policy": "region =="}), "policy"),
        (json!({"rollout": {"phases": [], "speed": 1}}), "speed"),
        (json!({"rollout": {"phases": [], "ends_at": "2026-01-04T00:00:00Z"}}), "rollout.ends_at"),
    ] {
        let refused = steer(&world, "2.0.0", "reopen", body.clone(), "2026-01-05T01:00:00Z").await;
        let said = refused.body["error"]["message"].as_str().unwrap_or_default();
        assert!(refused.status == 400 && said.contains(expected), "{body}: {refused:?}");
    }
    let again = json!({"rollout": {"phases": [], "ends_at": null}, "policy": "region == \"eu\""});
    let reopened = steered(&world, "2.0.0", "reopen", again, "2026-01-05T02:00:00Z").await;
    assert_eq!((&reopened["policy"], &reopened["rollout"]["phases"]), (&json!("region == \"eu\""), &json!([])));
    assert_eq!(told(&world, "lamp-1", "1.0.0", "2026-01-05T03:00:00Z").await, "not_targeted");
    let mut european = lamp("lamp-2", "1.0.0");
    european["region"] = json!("eu");
    assert_eq!(world.check(&european, at("2026-01-05T03:00:00Z")).await.body["version"], "2.0.0");
}

/// 1.5.0 and 1.7.0 are offered; one lamp runs each, and one has been offered 1.7.0.
async fn bad(update: Value) -> World {
    let world = World::new(0).await;
    world.publish(LAMP, "1.5.0", json!({}), at("2026-01-01T00:00:00Z")).await;
    world.publish(LAMP, "1.7.0", update, at("2026-01-02T00:00:00Z")).await;
    assert_eq!(told(&world, "lamp-7", "1.5.0", "2026-01-02T01:00:00Z").await, "1.7.0");
    assert_eq!(told(&world, "lamp-7", "1.7.0", "2026-01-02T02:00:00Z").await, "up_to_date");
    assert_eq!(told(&world, "lamp-6", "1.5.0", "2026-01-02T02:00:00Z").await, "1.7.0");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_back_who_runs_the_bad_version_and_nobody_else() {
    let world = bad(json!({})).await;
    let back = steered(&world, "1.5.0", "rollback", json!({"from": ["1.7.0"]}), "2026-01-03T00:00:00Z").await;
    assert_eq!((&back["campaign"], &back["rollback_from"]), (&json!(2), &json!(["1.7.0"])));
    let state = |version: &'static str| {
        let world = &world;
        async move {
            let path = format!("{LAMP}/updates/{version}");
            world.operator("GET", &path, Value::Null, at("2026-01-03T00:01:00Z")).await.body["state"].clone()
        }
    };
    assert_eq!((state("1.7.0").await, state("1.5.0").await), (json!("aborted"), json!("active")));
    assert_eq!(told(&world, "lamp-7", "1.7.0", "2026-01-03T01:00:00Z").await, "1.5.0");
    assert_eq!(told(&world, "lamp-1", "1.2.0", "2026-01-03T01:00:00Z").await, "not_targeted");
    assert_eq!(told(&world, "lamp-6", "1.5.0", "2026-01-03T01:00:00Z").await, "up_to_date", "its offer is void");
    // It has installed 1.7.0 all the same, and comes back too.
    assert_eq!(told(&world, "lamp-6", "1.7.0", "2026-01-03T02:00:00Z").await, "1.5.0");
    for device in ["lamp-6", "lamp-7"] {
        world.installs(device, "1.5.0", at("2026-01-03T03:00:00Z")).await;
        assert_eq!(told(&world, device, "1.5.0", "2026-01-03T04:00:00Z").await, "up_to_date");
    }
    let metrics = world.metrics("1.7.0", at("2026-01-03T05:00:00Z")).await;
    assert_eq!((&metrics["reverted"], &metrics["failed"]), (&json!(0), &json!(0)), "an operator took them back");
    assert_eq!(world.counts("1.5.0", at("2026-01-03T05:00:00Z")).await, "2 0 2 0 0");
    // The same call again is done already.
    let again = steered(&world, "1.5.0", "rollback", json!({"from": ["1.7.0"]}), "2026-01-03T06:00:00Z").await;
    assert_eq!(again["generation"], back["generation"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_open_campaigns_send_a_device_round_in_a_circle() {
    let world = bad(json!({})).await;
    steered(&world, "1.5.0", "rollback", json!({"from": ["1.7.0"]}), "2026-01-03T00:00:00Z").await;
    let refused = steer(&world, "1.7.0", "reopen", json!({}), "2026-01-03T01:00:00Z").await;
    assert_eq!((refused.status, refused.code()), (409, "circle"));
    assert_eq!(
        refused.body["error"]["message"],
        "1.7.0 cannot be opened: the open rollback to 1.5.0 takes devices off 1.7.0; end it first"
    );
    // A rollback to the version from which another one takes devices is one too; so is a draft of it.
    world.publish(LAMP, "1.9.0", json!({}), at("2026-01-03T02:00:00Z")).await;
    let refused = steer(&world, "1.7.0", "rollback", json!({"from": ["1.9.0"]}), "2026-01-03T03:00:00Z").await;
    assert_eq!((refused.status, refused.code()), (409, "circle"));
    world.draft(LAMP, "1.6.0", json!({"rollback_from": ["1.7.0"]})).await;
    steered(&world, "1.6.0", "activate", json!({}), "2026-01-03T04:00:00Z").await;
    // Once the ways back are closed, it may be offered again.
    for version in ["1.5.0", "1.6.0"] {
        steered(&world, version, "complete", json!({}), "2026-01-04T00:00:00Z").await;
    }
    steered(&world, "1.7.0", "reopen", json!({}), "2026-01-04T01:00:00Z").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rolled_back_is_refused_before_anything_ends() {
    let world = bad(json!({"compatible_from": ["=1.5.0"]})).await;
    world.draft(LAMP, "1.8.0", json!({})).await;
    for (version, from, status, code) in [
        ("1.5.0", json!(["1.6.0"]), 404, "unknown_update"),
        ("1.5.0", json!(["1.8.0"]), 404, "unknown_update"),
        ("1.5.0", json!(["1.5.0"]), 400, "bad_field"),
        ("1.7.0", json!(["1.5.0"]), 400, "bad_field"),
        ("1.8.0", json!(["1.7.0"]), 400, "bad_field"),
        ("1.4.0", json!(["1.7.0"]), 404, "unknown_update"),
        ("1.5.0", json!([]), 400, "bad_field"),
    ] {
        let refused = steer(&world, version, "rollback", json!({"from": from}), "2026-01-03T00:00:00Z").await;
        assert_eq!((refused.status, refused.code()), (status, code), "{version} from {from}: {refused:?}");
    }
    // 1.7.0 can be installed over 1.5.0 only.
    world.publish(LAMP, "1.9.0", json!({}), at("2026-01-03T01:00:00Z")).await;
    let refused = steer(&world, "1.7.0", "rollback", json!({"from": ["1.9.0"]}), "2026-01-03T02:00:00Z").await;
    let said = refused.body["error"]["message"].as_str().unwrap_or_default();
    assert!(refused.status == 400 && said.contains("cannot be installed (compatible_from)"), "{refused:?}");
    for version in ["1.5.0", "1.7.0", "1.9.0"] {
        let path = format!("{LAMP}/updates/{version}");
        let shown = world.operator("GET", &path, Value::Null, at("2026-01-03T03:00:00Z")).await;
        assert_eq!(shown.body["state"], "active", "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_product_keeps_a_campaign_from_beginning() {
    let world = aborted().await;
    let path = format!("{LAMP}/stop");
    let stop = world.operator("POST", &path, json!({"reason": "smoke"}), at("2026-01-01T03:00:00Z")).await;
    assert_eq!(stop.status, 200);
    let refused = steer(&world, "2.0.0", "reopen", json!({}), "2026-01-01T04:00:00Z").await;
    assert_eq!((refused.status, refused.code()), (409, "product_stopped"));
    let product = tidegate_core::ProductId::new(LAMP).unwrap();
    let records = world.store.updates(&product).await.unwrap();
    assert_eq!(records.iter().map(|record| record.state).collect::<Vec<_>>(), [State::Aborted]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_draft_leaves_its_version_free() {
    let world = World::new(0).await;
    world.draft(LAMP, "2.0.0", json!({"name": "a slip"})).await;
    let path = format!("{LAMP}/updates/2.0.0");
    let delete = |now: &'static str| world.operator("DELETE", &path, json!({"reason": "a slip"}), at(now));
    let deleted = delete("2026-01-01T00:00:00Z").await;
    assert_eq!((deleted.status, deleted.body), (200, json!({"deleted": "2.0.0", "state": "draft"})));
    assert_eq!(delete("2026-01-01T00:01:00Z").await.code(), "unknown_update");
    world.publish(LAMP, "2.0.0", json!({"name": "as it should be"}), at("2026-01-01T01:00:00Z")).await;
    let refused = delete("2026-01-01T02:00:00Z").await;
    assert_eq!((refused.status, refused.code()), (409, "wrong_state"));
    let log = world.operator("GET", &format!("{LAMP}/audit"), Value::Null, at("2026-01-01T03:00:00Z")).await.body;
    let deletes = log["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "delete");
    assert_eq!(deletes.count(), 1);
}

/// A wish to open a campaign expects that nothing else in the product has changed since the rule was asked.
#[tokio::test(flavor = "multi_thread")]
async fn two_openings_at_once_cannot_both_pass() {
    let (mut back, mut again) = (0, 0);
    for number in 0..8 {
        let world = bad(json!({})).await;
        steered(&world, "1.7.0", "abort", json!({}), "2026-01-03T00:00:00Z").await;
        let (rolled_back, reopened) = tokio::join!(
            steer(&world, "1.5.0", "rollback", json!({"from": ["1.7.0"]}), "2026-01-03T01:00:00Z"),
            steer(&world, "1.7.0", "reopen", json!({}), "2026-01-03T01:00:00Z"),
        );
        let state = async |version: &str| {
            let path = format!("{LAMP}/updates/{version}");
            let shown = world.operator("GET", &path, Value::Null, at("2026-01-03T02:00:00Z")).await.body;
            (shown["state"] == "active", shown["rollback_from"] == json!(["1.7.0"]))
        };
        let is_way_back_open = state("1.5.0").await == (true, true);
        let is_way_there_open = state("1.7.0").await.0;
        assert!(!(is_way_back_open && is_way_there_open), "{number}: {rolled_back:?} {reopened:?}");
        back += u32::from(is_way_back_open);
        again += u32::from(is_way_there_open);
    }
    assert!(back + again > 0, "one of them passes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_has_a_rollout_of_its_own_and_reaches_who_failed_before() {
    let world = World::new(0).await;
    let limits = json!({"limits": {"max_devices": 1}, "windows": [{"cron": "0 22 * * *", "duration_s": 60}]});
    world
        .publish(
            LAMP,
            "1.5.0",
            json!({"policy": "version != \"1.7.0\"", "rollout": limits}),
            at("2026-01-01T21:00:00Z"),
        )
        .await;
    assert_eq!(told(&world, "lamp-1", "1.2.0", "2026-01-01T22:00:10Z").await, "1.5.0");
    world.report("lamp-1", "1.5.0", "INSTALL_ERROR", at("2026-01-01T22:00:20Z")).await;
    world.publish(LAMP, "1.7.0", json!({}), at("2026-01-02T00:00:00Z")).await;
    let back = |body: Value| steer(&world, "1.5.0", "rollback", body, "2026-01-03T00:00:00Z");
    let refused = back(json!({"from": ["1.7.0"]})).await;
    let said = refused.body["error"]["message"].as_str().unwrap_or_default();
    assert!(refused.status == 400 && said.contains("admits no device that runs 1.7.0"), "{refused:?}");
    let begun = back(json!({"from": ["1.7.0"], "policy": "true"})).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    assert_eq!(begun.body["rollout"]["limits"]["max_devices"], Value::Null);
    for device in ["lamp-1", "lamp-2"] {
        assert_eq!(told(&world, device, "1.7.0", "2026-01-03T01:00:00Z").await, "1.5.0");
    }
    // Another bad version: the devices of the first one must not be left behind.
    world.publish(LAMP, "1.8.0", json!({}), at("2026-01-04T00:00:00Z")).await;
    let refused = steer(&world, "1.5.0", "rollback", json!({"from": ["1.8.0"]}), "2026-01-04T01:00:00Z").await;
    let said = refused.body["error"]["message"].as_str().unwrap_or_default();
    assert!(refused.status == 400 && said.contains("from must name 1.7.0 too"), "{refused:?}");
    steered(&world, "1.5.0", "rollback", json!({"from": ["1.8.0", "1.7.0"]}), "2026-01-04T02:00:00Z").await;
    // What is offered to all again after a rollback says how.
    steered(&world, "1.5.0", "abort", json!({}), "2026-01-05T00:00:00Z").await;
    let refused = steer(&world, "1.5.0", "reopen", json!({}), "2026-01-05T01:00:00Z").await;
    let said = refused.body["error"]["message"].as_str().unwrap_or_default();
    assert!(refused.status == 400 && said.contains("rollout.phases"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_somebody_paused_is_not_begun_anew_by_a_repeated_call() {
    let world = bad(json!({})).await;
    let back = json!({"from": ["1.7.0"]});
    steered(&world, "1.5.0", "rollback", back.clone(), "2026-01-03T00:00:00Z").await;
    steered(&world, "1.5.0", "pause", json!({}), "2026-01-03T01:00:00Z").await;
    let refused = steer(&world, "1.5.0", "rollback", back, "2026-01-03T02:00:00Z").await;
    assert_eq!((refused.status, refused.code()), (409, "wrong_state"), "{refused:?}");
    let resumed = steered(&world, "1.5.0", "resume", json!({}), "2026-01-03T03:00:00Z").await;
    assert_eq!(resumed["campaign"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_completed_can_be_aborted_and_a_rollback_does_that() {
    let world = bad(json!({})).await;
    steered(&world, "1.7.0", "complete", json!({}), "2026-01-03T00:00:00Z").await;
    assert_eq!(told(&world, "lamp-6", "1.5.0", "2026-01-03T01:00:00Z").await, "up_to_date");
    steered(&world, "1.5.0", "rollback", json!({"from": ["1.7.0"]}), "2026-01-03T02:00:00Z").await;
    let path = format!("{LAMP}/updates/1.7.0");
    let shown = world.operator("GET", &path, Value::Null, at("2026-01-03T03:00:00Z")).await;
    assert_eq!(shown.body["state"], "aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_with_the_version_of_a_deleted_one_can_be_opened() {
    let world = World::new(0).await;
    world.draft(LAMP, "2.0.0", json!({})).await;
    for hour in 1..4 {
        let edit = json!({"rollout": {"max_attempts": hour}, "reason": "a test"});
        let path = format!("{LAMP}/updates/2.0.0");
        assert_eq!(world.operator("PATCH", &path, edit, at("2026-01-01T00:00:00Z")).await.status, 200);
    }
    let path = format!("{LAMP}/updates/2.0.0");
    let shown = async || {
        world.operator("GET", &path, Value::Null, at("2026-01-01T00:30:00Z")).await.body["generation"].as_u64()
    };
    let before = shown().await;
    let deleted = world.operator("DELETE", &path, json!({"reason": "a slip"}), at("2026-01-01T01:00:00Z")).await;
    assert_eq!(deleted.status, 200);
    world.draft(LAMP, "2.0.0", json!({"name": "another"})).await;
    assert!(shown().await > before, "its shards may have been shut for the generation of the first one");
    steered(&world, "2.0.0", "activate", json!({}), "2026-01-01T02:00:00Z").await;
}

/// A device that is on its way to the bad version says its old one until the boot. The rollback waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_not_over_while_a_device_is_on_its_way_to_the_bad_version() {
    let world = World::new(0).await;
    for version in ["1.5.0", "1.7.0"] {
        world.publish(LAMP, version, json!({}), at("2026-01-01T00:00:00Z")).await;
    }
    let check = async |version: &str, now: &str| {
        let body = world.check(&lamp("lamp-1", version), at(now)).await.body;
        body["version"].as_str().or(body["reason"].as_str()).unwrap().to_string()
    };
    assert_eq!(check("1.6.0", "2026-01-01T01:00:00Z").await, "1.7.0");
    assert_eq!(world.report("lamp-1", "1.7.0", "INSTALL_SUCCESS", at("2026-01-01T01:10:00Z")).await.status, 200);
    let back = json!({"from": ["1.7.0"], "policy": "true", "reason": "it is bad"});
    let begun = world.operator("POST", "lamp/updates/1.5.0/rollback", back, at("2026-01-01T01:20:00Z")).await;
    assert_eq!((begun.status, &begun.body["state"]), (200, &json!("active")), "{begun:?}");
    let swept = async |now: &str| {
        world.count_at(at(now)).await;
        world.services.sweep.sweep(at(now)).await.unwrap();
        let shown = world.operator("GET", "lamp/updates/1.5.0", Value::Null, at(now)).await.body;
        shown["state"].as_str().unwrap().to_string()
    };
    for minute in [30, 31, 32] {
        assert_eq!(swept(&format!("2026-01-01T03:{minute}:00Z")).await, "active");
    }
    assert_eq!(check("1.7.0", "2026-01-01T04:00:00Z").await, "1.5.0");
    // It cannot fetch it, and may try again.
    assert_eq!(world.report("lamp-1", "1.5.0", "DOWNLOAD_ERROR", at("2026-01-01T04:10:00Z")).await.status, 200);
    for minute in [30, 31] {
        assert_eq!(swept(&format!("2026-01-02T06:{minute}:00Z")).await, "active");
    }
    assert_eq!(check("1.7.0", "2026-01-02T07:00:00Z").await, "1.5.0");
    assert_eq!(check("1.5.0", "2026-01-02T08:00:00Z").await, "up_to_date");
    for minute in [30, 31] {
        swept(&format!("2026-01-03T09:{minute}:00Z")).await;
    }
    assert_eq!(swept("2026-01-03T09:40:00Z").await, "completed");
}
