//! Transitions: what they need, what they fence, and what a change that was cut off leaves behind.
#![allow(clippy::disallowed_methods, reason = "some tests write behind the service's back")]

use serde_json::{Value, json};
use tidegate_core::claim::Grant as Granting;
use tidegate_core::shard::{Gate, Grant};
use tidegate_core::{Claim, DeviceId, ProductId, Transition, Version};
use tidegate_store::record::{Change, RolloutKey, UpdateRecord, Wanted};
use tidegate_store::store::{CheckStore, CloseRollouts, Expected, GrantRequest, Granted, Patience, ReadUpdates, Shut};
use tidegate_tests::{LAMP, World, at, file, lamp, put};

const START: &str = "2026-01-01T00:00:00Z";

async fn transition(world: &World, verb: &str) -> String {
    let path = format!("lamp/updates/2.0.0/{verb}");
    let answer = world.operator("POST", &path, json!({"reason": format!("to {verb}")}), at(START)).await;
    match answer.status {
        200 => answer.body["state"].as_str().unwrap().to_string(),
        _ => format!("{} {}", answer.status, answer.code()),
    }
}

/// A grant as a function with an old catalog would make it.
async fn late_grant(world: &World, device: &str, generation: u64) -> Granted {
    let version = Version::new(2, 0, 0);
    let granting = Granting {
        version: &version,
        campaign: 1,
        was: "1.0.0",
        reports_as: &[],
        shard: 0,
        count: 0,
        epoch: 1,
        test: 0,
        hour: 0,
        is_newcomer: false,
        now: at(START),
    };
    let request = GrantRequest {
        rollout: RolloutKey::of(&ProductId::new(LAMP).unwrap(), &version, 1),
        device: DeviceId::new(device).unwrap(),
        revision: None,
        generation,
        grant: Grant::First,
        before: None,
        after: Claim::granted(None, &granting).unwrap(),
        period: None,
        seen: None,
    };
    world.store.grant(&request, Patience::Long).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_is_acknowledged_no_grant_commits_even_with_an_old_catalog() {
    for (verb, gate) in
        [("pause", Gate::Paused), ("abort", Gate::Stopped), ("withdraw", Gate::Stopped), ("complete", Gate::Stopped)]
    {
        let world = World::new(60_000).await;
        let activated = world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
        let generation = activated["generation"].as_u64().unwrap();
        assert_eq!(late_grant(&world, "early", generation).await, Granted::Yes, "before {verb}");
        world.check(&lamp("lamp-1", "2.0.0"), at(START)).await;
        transition(&world, verb).await;
        for generation in [generation, generation + 1] {
            match late_grant(&world, "late", generation).await {
                Granted::Refused(Some(shard)) => assert_eq!(shard.gate, gate, "{verb}"),
                other => panic!("after {verb}, for {generation}: {other:?}"),
            }
        }
        // This function's catalog said that the update is active. It reads the head again, because the one that it has
        // is more than a second old, whatever the age that it was started with.
        let answer = world.check(&lamp("lamp-2", "1.0.0"), at(START)).await;
        let reason = if verb == "pause" { "paused" } else { "up_to_date" };
        assert_eq!((&answer.body["reason"], &answer.body["url"]), (&json!(reason), &Value::Null), "{verb}: {answer:?}");
        assert_eq!(world.metrics("2.0.0", at(START)).await["offered"], 1, "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_passes_only_through_the_states_that_are_allowed() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
    assert_eq!(transition(&world, "activate").await, "409 wrong_state");
    assert_eq!(transition(&world, "resume").await, "409 wrong_state");
    assert_eq!(transition(&world, "pause").await, "paused");
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), at(START)).await.body["reason"], "paused");
    assert_eq!(transition(&world, "resume").await, "active");
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), at(START)).await.body["version"], "2.0.0");
    assert_eq!(transition(&world, "abort").await, "aborted");
    assert_eq!(transition(&world, "resume").await, "409 wrong_state");
    assert_eq!(transition(&world, "withdraw").await, "withdrawn");
    assert_eq!(transition(&world, "explode").await, "404 unknown_route");
    let log = world.operator("GET", "lamp/audit?version=2.0.0", Value::Null, at(START)).await.body;
    let actions = log["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap().to_string());
    // The draft was created at the real time, which is months after the test's.
    assert_eq!(actions.collect::<Vec<_>>(), ["withdraw", "abort", "resume", "pause", "activate"]);
    let last = &log["items"][0];
    assert_eq!((&last["who"], &last["reason"]), (&json!("arn:aws:iam::1:user/ada"), &json!("to withdraw")));
    assert_eq!((&last["from"], &last["to"]), (&json!("aborted"), &json!("withdrawn")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_activated_only_when_its_bytes_have_been_read_back() {
    let world = World::new(0).await;
    let image = b"the real image".to_vec();
    let body = json!({"version": "2.0.0", "files": [file("image.bin", &image)]});
    let created = world.operator("POST", "lamp/updates", body.clone(), at(START)).await;
    assert_eq!(transition(&world, "activate").await, "409 image_missing");
    let now = tidegate_http::edge::now();
    let created_now = world.operator("POST", "lamp/updates", body.clone(), now).await;
    assert_eq!((created.status, created_now.status), (201, 201), "repeating a create is idempotent");
    let upload = &created_now.body["uploads"][0];
    assert!(put(upload, b"other bytes...".to_vec()).await >= 400, "the URL is bound to the announced bytes");
    assert!(put(upload, b"the real image and more".to_vec()).await >= 400, "and to their length");
    assert_eq!(transition(&world, "activate").await, "409 image_missing");
    assert_eq!(put(upload, image).await, 200);
    assert_eq!(transition(&world, "activate").await, "active");
    let again = world.operator("POST", "lamp/updates", body, now).await;
    assert_eq!((&again.body["state"], &again.body["uploads"]), (&json!("active"), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_the_announced_ones_are_found_out_at_activation() {
    let world = World::new(0).await;
    let announced = file("image.bin", b"announced");
    let key = format!("images/lamp/{}", announced["sha256"].as_str().unwrap());
    let body = json!({"version": "2.0.0", "files": [announced]});
    world.operator("POST", "lamp/updates", body, at(START)).await;
    // Somebody with rights on the bucket put other bytes there.
    let other = aws_sdk_s3::primitives::ByteStream::from_static(b"different");
    world.cloud.s3().put_object().bucket(tidegate::stack::BUCKET).key(key).body(other).send().await.unwrap();
    assert_eq!(transition(&world, "activate").await, "409 image_mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_unique_and_content_does_not_change() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
    let other = json!({"version": "2.0.0", "kind": "json", "payload": 1});
    assert_eq!(world.operator("POST", "lamp/updates", other, at(START)).await.code(), "version_exists");
    let same_precedence = json!({"version": "2.0.0+rebuild", "kind": "json", "payload": 1});
    assert_eq!(world.operator("POST", "lamp/updates", same_precedence, at(START)).await.code(), "version_exists");
    let content = json!({"policy": "true", "rollout": {}});
    assert_eq!(world.operator("PATCH", "lamp/updates/2.0.0", content, at(START)).await.code(), "content_immutable");
    let bad_knob = json!({"rollout": {"max_atempts": 3}});
    assert_eq!(
        world.operator("PATCH", "lamp/updates/2.0.0/campaign", bad_knob, at(START)).await.code(),
        "unknown_field"
    );
}

/// The update's record with a change under way.
fn wishing(record: &UpdateRecord, change: Change) -> UpdateRecord {
    let wanted = Wanted {
        change,
        generation: record.generation + 1,
        shards: record.allocation.as_ref().unwrap().shards(),
        who: "arn:aws:iam::1:user/ada".into(),
        reason: "it was cut off".into(),
        at: at(START),
    };
    UpdateRecord { wanted: Some(wanted), ..record.clone() }
}

async fn shut(world: &World, record: &UpdateRecord, shards: std::ops::Range<u16>, gate: Gate, generation: u64) {
    for shard in shards {
        let shut = world.store.shut_shard(&record.rollout(), shard, gate, generation).await.unwrap();
        assert_eq!(shut, Shut::Yes, "shard {shard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_opens_what_a_change_that_was_cut_off_left_shut() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
    let product = ProductId::new(LAMP).unwrap();
    let record = world.store.update(&product, &Version::new(2, 0, 0)).await.unwrap().unwrap();
    let shards = record.allocation.as_ref().unwrap().shards();
    // As if the function had been killed after an edit was recorded and before the shards opened.
    let splitting = wishing(&record, Change::Split);
    let generation = record.generation + 1;
    world.store.want(&splitting, Expected::of(&record), None).await.unwrap();
    shut(&world, &record, 0..shards, Gate::Paused, generation).await;
    let split = UpdateRecord { generation, ..record.clone() };
    world.store.record_change(&split, Expected::of(&splitting), None).await.unwrap();
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), at(START)).await.body["reason"], "busy");
    assert_eq!(world.services.sweep.sweep(at(START)).await.unwrap().repaired, 1);
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), at("2026-01-01T00:01:00Z")).await.body["version"], "2.0.0");
    assert_eq!(world.services.sweep.sweep(at(START)).await.unwrap().repaired, 0);
    // As if it had been killed in the middle of a stop: the sweep must not undo that.
    shut(&world, &record, 0..shards, Gate::Stopped, generation + 1).await;
    assert_eq!(world.services.sweep.sweep(at(START)).await.unwrap().repaired, 0);
    assert_eq!(world.check(&lamp("lamp-2", "1.0.0"), at("2026-01-01T00:02:00Z")).await.body["reason"], "aborted");
    assert_eq!(transition(&world, "abort").await, "aborted", "and repeating the stop finishes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_finishes_a_stop_that_was_cut_off() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
    let product = ProductId::new(LAMP).unwrap();
    let record = world.store.update(&product, &Version::new(2, 0, 0)).await.unwrap().unwrap();
    let aborting = wishing(&record, Change::Transition(Transition::Abort));
    world.store.want(&aborting, Expected::of(&record), None).await.unwrap();
    // The first shard is shut; the others are still open.
    shut(&world, &record, 0..1, Gate::Stopped, record.generation + 1).await;
    let refused = world.check(&lamp("lamp-1", "1.0.0"), at("2026-01-01T00:00:02Z")).await;
    assert_eq!(refused.body["reason"], "paused", "the head names the rollout: {refused:?}");
    let swept = world.services.sweep.sweep(at("2026-01-01T00:01:00Z")).await.unwrap();
    assert_eq!((swept.finished, swept.unfinished, swept.repaired), (1, 0, 0));
    let shards = world.store.shards(&record.rollout(), aborting.wanted.unwrap().shards).await.unwrap();
    assert!(shards.iter().all(|shard| shard.unwrap().gate == Gate::Stopped), "{shards:?}");
    let shown = world.operator("GET", "lamp/updates/2.0.0", Value::Null, at(START)).await.body;
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("aborted"), &json!("it was cut off")));
    assert_eq!(transition(&world, "abort").await, "aborted", "repeating it changes nothing");
    let shown_again = world.operator("GET", "lamp/updates/2.0.0", Value::Null, at(START)).await.body;
    assert_eq!(shown_again["generation"], shown["generation"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_finishes_when_its_end_has_come_or_everybody_has_it() {
    let world = World::new(0).await;
    let ends = json!({"rollout": {"ends_at": "2026-01-02T00:00:00Z"}});
    world.publish(LAMP, "2.0.0", ends, at(START)).await;
    world.check(&lamp("lamp-1", "1.0.0"), at("2026-01-01T23:30:00Z")).await;
    world.count().await;
    assert_eq!(world.services.sweep.sweep(at("2026-01-01T23:59:00Z")).await.unwrap().completed, 0);
    assert_eq!(world.services.sweep.sweep(at("2026-01-02T00:00:00Z")).await.unwrap().completed, 1);
    let shown = world.operator("GET", "lamp/updates/2.0.0", Value::Null, at(START)).await.body;
    assert_eq!(shown["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_never_hides_the_others() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
    world.publish(LAMP, "3.0.0", json!({}), at(START)).await;
    let poison = aws_sdk_dynamodb::types::AttributeValue::S("{\"version\":\"3.0.0\",\"policy\":\"((((\"".into());
    let mut update = world.cloud.dynamodb().update_item().table_name(tidegate::stack::TABLE);
    for (name, value) in [("pk", "p#lamp"), ("sk", "update#b3.b0.b0~")] {
        update = update.key(name, aws_sdk_dynamodb::types::AttributeValue::S(value.into()));
    }
    update
        .update_expression("SET #definition = :poison")
        .expression_attribute_names("#definition", "definition")
        .expression_attribute_values(":poison", poison)
        .send()
        .await
        .unwrap();
    world.recompile(at(START)).await;
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), at(START)).await.body["version"], "2.0.0");
    let listed = world.operator("GET", "lamp/updates", Value::Null, at(START)).await;
    assert_eq!((listed.status, listed.body["items"].as_array().unwrap().len()), (200, 2));
    let swept = world.services.sweep.sweep(at(START)).await.unwrap();
    assert_eq!(swept.failed, 1, "said, not hidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_cannot_be_read_keeps_its_device_from_that_update_only() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
    world.publish(LAMP, "1.5.0", json!({}), at(START)).await;
    world.check(&lamp("lamp-1", "1.0.0"), at(START)).await;
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let poison = world.cloud.dynamodb().update_item().table_name(tidegate::stack::TABLE);
    let poison = poison.key("pk", text("d#lamp#lamp-1")).key("sk", text("device"));
    let poison = poison.update_expression("SET claims.#claim.e = :bad").expression_attribute_names("#claim", "2.0.0");
    poison.expression_attribute_values(":bad", text("?")).send().await.unwrap();
    let answer = world.check(&lamp("lamp-1", "1.0.0"), at("2026-01-01T00:00:05Z")).await;
    assert_eq!((answer.status, &answer.body["version"]), (200, &json!("1.5.0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_and_the_next_one_is_good() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), at(START)).await.status, 200);
    let revoked = world.operator("DELETE", "lamp/devices/lamp-1/token", Value::Null, at(START)).await;
    assert_eq!(revoked.body, json!({"revoked": true, "was_known": true}));
    assert_eq!(world.check(&lamp("lamp-1", "1.0.0"), at(START)).await.status, 401);
    assert_eq!(world.check(&lamp("lamp-2", "1.0.0"), at(START)).await.status, 200, "others are not concerned");
    let issued = world.operator("PUT", "lamp/devices/lamp-1/token", Value::Null, at(START)).await;
    let token = issued.body["token"].as_str().unwrap();
    let body = lamp("lamp-1", "1.0.0").to_string();
    let asked = tidegate_tests::request("POST", "/v1/check", &[("authorization", token)], &body, None);
    assert_eq!(world.services.check.handle(asked, at(START)).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_token_opens_only_a_product_that_accepts_it() {
    let world = World::new(0).await;
    world.publish(LAMP, "2.0.0", json!({}), at(START)).await;
    let issued = world.operator("PUT", "lamp/token", Value::Null, at(START)).await;
    let token = issued.body["token"].as_str().unwrap().to_string();
    assert!(token.starts_with("p1."));
    let ask = async || {
        let body = lamp("lamp-1", "1.0.0").to_string();
        let asked = tidegate_tests::request("POST", "/v1/check", &[("authorization", &token)], &body, None);
        world.services.check.handle(asked, at(START)).await.status().as_u16()
    };
    assert_eq!(ask().await, 401);
    let accepted = world.operator("PATCH", "lamp", json!({"product_tokens": "accept"}), at(START)).await;
    assert_eq!(accepted.body["product_tokens"], "accept");
    assert_eq!(ask().await, 200);
    world.operator("PATCH", "lamp", json!({"product_tokens": "refuse"}), at(START)).await;
    assert_eq!(ask().await, 401);
}
