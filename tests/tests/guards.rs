//! Guards that a green run on the local cloud says nothing about: each test fails when its guard is taken away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use serde_json::{Value, json};
use tidegate::stack::{BUCKET, TABLE};
use tidegate_core::{ProductId, Timestamp, Version};
use tidegate_engine::compile::compile;
use tidegate_engine::control::{self, Actor};
use tidegate_store::record::Change;
use tidegate_store::store::ReadUpdates as _;
use tidegate_store::{DynamoStore, Images};
use tidegate_tests::trouble::Trouble;
use tidegate_tests::{LAMP, World, at, catalog_key, lamp};
use tidegate_wire::definition::Definition;

const NOON: &str = "2026-06-01T12:00:00Z";

fn now() -> Timestamp {
    at(NOON)
}

fn product() -> ProductId {
    ProductId::new(LAMP).unwrap()
}

#[tokio::test]
async fn a_url_ends_with_the_credentials_that_signed_it() {
    let expires = |seconds: i64| {
        let at = u64::try_from(now().as_second() + seconds).unwrap();
        let credentials =
            Credentials::new("a", "b", None, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(at)), "test");
        let s3 = aws_sdk_s3::Config::builder().behavior_version_latest().build();
        Images::new(aws_sdk_s3::Client::from_conf(s3), SharedCredentialsProvider::new(credentials), BUCKET)
    };
    let ends = async |seconds| {
        let ends = expires(seconds).url_ends(now()).await.unwrap();
        ends.map(|ends| ends.as_second() - now().as_second())
    };
    assert_eq!(ends(3600).await, Some(900), "fifteen minutes");
    assert_eq!(ends(300).await, Some(300), "the credentials end first");
    assert_eq!(ends(30).await, None, "too short to be of use");
}

#[tokio::test]
async fn shards_are_read_strongly_between_shut_and_split() {
    let (world, dynamodb) = World::troubled(1000, Trouble::default()).await;
    world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 10}}}), now()).await;
    // Every eventually consistent read shows the table as it was up to a second ago.
    dynamodb.play(Trouble { old_read_chance: 1.0, ..Trouble::default() });
    for number in 0..3 {
        let told = world.check(&lamp(&format!("lamp-{number}"), "1.0.0"), now()).await;
        assert!(told.body.get("url").is_some(), "{told:?}");
    }
    let body = json!({"rollout": {"limits": {"max_in_flight": 3}}});
    let edited = world.operator("PATCH", "lamp/updates/2.0.0/campaign", body, now()).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    let record = world.store.update(&product(), &Version::new(2, 0, 0)).await.unwrap().unwrap();
    let shards = world.store.shards(&record.rollout(), 1).await.unwrap();
    let shard = shards[0].unwrap();
    assert_eq!((shard.granted, shard.ceiling), (3, Some(3)), "all three places are held");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let told = world.check(&lamp("lamp-9", "1.0.0"), now()).await;
    assert_eq!(told.body["reason"], "too_many_in_flight", "{told:?}");
}

/// Something to do once.
type Action = Box<dyn FnOnce() + Send>;

/// Does something between the first request and the second.
#[derive(Clone)]
struct BetweenTwoRequests {
    requests: Arc<AtomicUsize>,
    action: Arc<Mutex<Option<Action>>>,
}

impl std::fmt::Debug for BetweenTwoRequests {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("BetweenTwoRequests")
    }
}

impl Intercept for BetweenTwoRequests {
    fn name(&self) -> &'static str {
        "BetweenTwoRequests"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.requests.fetch_add(1, Ordering::SeqCst) == 1
            && let Some(action) = self.action.lock().unwrap().take()
        {
            action();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_between_the_two_reads_of_a_compile_is_compiled_by_the_next_one() {
    let world = Arc::new(World::new(0).await);
    let nobody = json!({"phases": [{"percent": 0, "starts_at": NOON}]});
    world.publish(LAMP, "2.0.0", json!({"rollout": nobody}), now()).await;
    world.publish(LAMP, "1.5.0", json!({}), now()).await;
    // A change of the phases by a function that is killed before it compiles.
    let edit = |world: Arc<World>| async move {
        let record = world.store.update(&product(), &Version::new(2, 0, 0)).await.unwrap().unwrap();
        let rollout = json!({"phases": [{"percent": 100, "starts_at": NOON}]});
        let definition = Definition::from_store(&record.definition)
            .unwrap()
            .with(json!({"rollout": rollout}).as_object().unwrap(), &product())
            .unwrap();
        let change = Change::Edit { definition: definition.to_store() };
        let actor = Actor { who: "ada".into(), reason: "test".into(), now: now() };
        let wishing = control::want(&world.store, &record, change, &actor).await.unwrap();
        control::carry_out(&world.store, &wishing, now()).await.unwrap();
    };
    let (runtime, changing) = (tokio::runtime::Handle::current(), world.clone());
    let action: Action = Box::new(move || {
        let changed = std::thread::spawn(move || runtime.block_on(edit(changing)));
        changed.join().expect("the change is made");
    });
    let between = BetweenTwoRequests { requests: Arc::default(), action: Arc::new(Mutex::new(Some(action))) };
    let config = aws_sdk_dynamodb::config::Builder::from(&world.cloud.sdk_config().await).interceptor(between);
    let client = aws_sdk_dynamodb::Client::from_conf(config.build());
    let store = DynamoStore::new(client, TABLE, world.cloud.s3(), BUCKET).with_catalog_key(catalog_key());
    // The head is behind: a change whose catalog was not compiled.
    let head = world.cloud.dynamodb().update_item().table_name(TABLE);
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let behind = head
        .key("pk", text("p#lamp"))
        .key("sk", text("head"))
        .update_expression("ADD revision :one")
        .expression_attribute_values(":one", aws_sdk_dynamodb::types::AttributeValue::N("1".into()));
    #[allow(clippy::disallowed_methods, reason = "the test tampers with the table")]
    behind.send().await.unwrap();
    compile(&store, &product()).await.unwrap();
    // Whatever this compile has read, the next one must not take its catalog for the newest.
    compile(&world.store, &product()).await.unwrap();
    let told = world.check(&lamp("lamp-1", "1.0.0"), now()).await;
    assert_eq!(told.body["version"], "2.0.0", "the phase reaches everybody now: {told:?}");
    let shown = world.operator("GET", "lamp/updates/2.0.0", Value::Null, now()).await.body;
    assert_eq!(shown["rollout"]["phases"][0]["percent"], 100.0);
}
