//! docs/COSTS.md, number by number: the units that the store reports for every call of the real handlers,
//! times the prices that the document names. What it says is read from it; what it must say is printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{Capacity, ConsumedCapacity};
use serde_json::{Value, json};
use tidegate::stack::{BUCKET, Services, TABLE};
use tidegate_core::Timestamp;
use tidegate_store::DynamoStore;
use tidegate_store::schema::INDEX;
use tidegate_tests::{LAMP, World, at, catalog_key};
use tokio::sync::OnceCell;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

const COSTS: &str = include_str!("../../docs/COSTS.md");
const VARIABLES: &str = include_str!("../../infra/variables.tf");

/// Minutes of a month, of 730 hours: what AWS's calculator takes.
const MINUTES: f64 = 43_800.0;

/// One call of DynamoDB, and what it says it consumed.
#[derive(Debug, Clone, Default)]
struct Call {
    name: &'static str,
    units: f64,
    /// The part of `units` that the index took.
    index_units: f64,
}

impl Call {
    fn is_read(&self) -> bool {
        matches!(self.name, "BatchGetItem" | "GetItem" | "Query" | "Scan")
    }
}

/// Asks DynamoDB in every call what it consumed, as a client may, and keeps the answers.
#[derive(Debug, Clone, Default)]
struct Meter(Arc<Mutex<Vec<Call>>>);

impl Meter {
    fn note(&self, call: Call) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let mut asked: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default())?;
        asked["ReturnConsumedCapacity"] = json!("INDEXES");
        let asked = asked.to_string();
        request.headers_mut().insert("content-length", asked.len().to_string());
        *request.body_mut() = asked.into();
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = match context.output_or_error() {
            Ok(answer) => answer,
            Err(error) => {
                // A write whose condition fails is charged, and says nothing: a unit for each KB of its item.
                let error = error.as_operation_error();
                let refused = error.and_then(|error| error.downcast_ref::<UpdateItemError>());
                if refused.is_some_and(UpdateItemError::is_conditional_check_failed_exception) {
                    self.note(Call { name: "UpdateItem (refused)", units: 1.0, index_units: 0.0 });
                }
                return Ok(());
            }
        };
        let said = if let Some(answer) = answer.downcast_ref::<GetItemOutput>() {
            call("GetItem", answer.consumed_capacity())
        } else if let Some(answer) = answer.downcast_ref::<QueryOutput>() {
            call("Query", answer.consumed_capacity())
        } else if let Some(answer) = answer.downcast_ref::<ScanOutput>() {
            call("Scan", answer.consumed_capacity())
        } else if let Some(answer) = answer.downcast_ref::<PutItemOutput>() {
            call("PutItem", answer.consumed_capacity())
        } else if let Some(answer) = answer.downcast_ref::<DeleteItemOutput>() {
            call("DeleteItem", answer.consumed_capacity())
        } else if let Some(answer) = answer.downcast_ref::<BatchGetItemOutput>() {
            call("BatchGetItem", answer.consumed_capacity().first())
        } else if let Some(answer) = answer.downcast_ref::<UpdateItemOutput>() {
            call("UpdateItem", answer.consumed_capacity())
        } else if let Some(answer) = answer.downcast_ref::<TransactWriteItemsOutput>() {
            call("TransactWriteItems", answer.consumed_capacity().first())
        } else {
            None
        };
        let said = said.ok_or("a call that is not known here, or does not say what it consumed")?;
        self.note(said);
        Ok(())
    }
}

fn call(name: &'static str, consumed: Option<&ConsumedCapacity>) -> Option<Call> {
    let index = consumed?.global_secondary_indexes().and_then(|indexes| indexes.get(INDEX));
    let index_units = index.and_then(Capacity::capacity_units).unwrap_or_default();
    Some(Call { name, units: consumed?.capacity_units()?, index_units })
}

/// What the functions wrote to their log.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn take_bytes(&self) -> usize {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).len()
    }

    /// Lines as `tidegate_http::edge` writes them at level `info`, of the functions alone: the local
    /// cloud runs in this process too.
    fn start(&self) -> impl Sized + use<> {
        let writer = self.clone();
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
        let filter =
            EnvFilter::new("off,lambda_runtime=info,tidegate_http=info,tidegate_engine=info,tidegate_store=info");
        let lines = lines.with_writer(move || writer.clone()).with_filter(filter);
        tracing_subscriber::registry().with(lines).set_default()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Something that happens, and what it took.
#[derive(Debug, Clone)]
struct Event {
    name: &'static str,
    calls: Vec<Call>,
    log_bytes: usize,
    /// Bytes of the body of its answer.
    answer_bytes: usize,
}

impl Event {
    fn units(&self, is_wanted: impl Fn(&Call) -> bool) -> f64 {
        self.calls.iter().filter(|call| is_wanted(call)).fold(0.0, |sum, call| sum + call.units)
    }

    fn read_units(&self) -> f64 {
        self.units(Call::is_read)
    }

    fn write_units(&self) -> f64 {
        self.units(|call| !call.is_read())
    }

    fn index_units(&self) -> f64 {
        self.calls.iter().filter(|call| !call.is_read()).fold(0.0, |sum, call| sum + call.index_units)
    }

    /// What it took more than `other`.
    fn without(mut self, other: &Event) -> Event {
        for known in &other.calls {
            let same = |call: &Call| call.name == known.name && call.units == known.units;
            let place = self.calls.iter().position(same).unwrap_or_else(|| {
                panic!("a later sweep does all that an earlier one does: {known:?} is not in {:?}", self.calls)
            });
            self.calls.remove(place);
        }
        self.log_bytes = self.log_bytes.saturating_sub(other.log_bytes);
        self
    }

    /// `GetItem, 7 Query`.
    fn calls(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for call in &self.calls {
            *counts.entry(call.name).or_default() += 1;
        }
        let texts = counts.into_iter().map(|(name, count)| match count {
            1 => name.to_string(),
            _ => format!("{count} {name}"),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// The parts of its price for a million, through a front door.
    fn million(&self, prices: &Prices, door: &str) -> Bill {
        let writes = self.write_units() > 0.0;
        let time = if writes { "Milliseconds of a call that writes" } else { "Milliseconds of a call that reads" };
        Bill {
            door: prices.of(door),
            requests: prices.of("Lambda requests"),
            compute: prices.compute(prices.of(time)),
            reads: self.read_units() * prices.of("DynamoDB read units"),
            writes: self.write_units() * prices.of("DynamoDB write units"),
            count: 0.0,
            log: self.log_bytes as f64 / 1000.0 * prices.of("CloudWatch logs"),
            egress: prices.egress(self.answer_bytes),
        }
    }
}

/// Dollars for a million, in parts.
#[derive(Debug, Clone, Copy, Default)]
struct Bill {
    door: f64,
    requests: f64,
    compute: f64,
    reads: f64,
    writes: f64,
    /// Reads and writes of the function `count`.
    count: f64,
    /// At level `info`; nothing at `warn`.
    log: f64,
    /// Bytes of the answer that leave AWS.
    egress: f64,
}

impl Bill {
    fn without_log(&self) -> f64 {
        self.door + self.requests + self.compute + self.reads + self.writes + self.count
    }

    fn plus(&self, other: &Bill) -> Bill {
        Bill {
            door: self.door + other.door,
            requests: self.requests + other.requests,
            compute: self.compute + other.compute,
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
            count: self.count + other.count,
            log: self.log + other.log,
            egress: self.egress + other.egress,
        }
    }
}

/// The first table of docs/COSTS.md.
struct Prices(BTreeMap<String, f64>);

impl Prices {
    fn read() -> Self {
        let rows =
            COSTS.lines().skip_while(|line| !line.starts_with("| Price |")).take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        Self(cells.filter_map(|cells| Some((cells.get(1)?.to_string(), cells.get(2)?.parse().ok()?))).collect())
    }

    fn of(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("docs/COSTS.md must have a row `| {name} | <number> |`"))
    }

    /// A million answers with a body of this length.
    fn egress(&self, body_bytes: usize) -> f64 {
        (body_bytes as f64 + self.of("Bytes of headers and TLS of an answer")) / 1000.0 * self.of("Egress of answers")
    }

    /// A million requests through a load balancer that gets `millions` of them a month, each over a connection of its own.
    fn balancer(&self, millions: f64) -> f64 {
        let (hours, seconds) = (MINUTES / 60.0, MINUTES * 60.0);
        let addresses = self.of("Public IPv4 addresses of a load balancer") * self.of("Public IPv4 hour");
        let connections = millions * 1e6 / seconds / self.of("New connections a second in an LCU");
        (hours * (self.of("Load balancer hour") + addresses) + hours * connections * self.of("LCU hour")) / millions
    }

    /// A million calls of `ms`.
    fn compute(&self, ms: f64) -> f64 {
        ms / 1000.0 * self.of("Memory of a function in GB") * self.of("Lambda GB-seconds")
    }
}

const HTTP_API: &str = "HTTP API";
const FUNCTION_URL: &str = "Function URL";
const CLOUDFRONT: &str = "CloudFront requests";
/// Millions of requests a month for which the price of a load balancer is shown.
const BALANCED: [f64; 2] = [100.0, 1000.0];

/// A world whose every call says what it consumed.
struct Measured {
    world: World,
    meter: Meter,
    log: Log,
}

impl Measured {
    async fn new() -> Self {
        let mut world = World::new(tidegate_http::check_service::CATALOG_AGE_MS).await;
        let (meter, log) = (Meter::default(), Log::default());
        let config = world.cloud.sdk_config().await;
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&config).interceptor(meter.clone()).build();
        world.store = DynamoStore::new(aws_sdk_dynamodb::Client::from_conf(dynamodb), TABLE, world.cloud.s3(), BUCKET)
            .with_catalog_key(catalog_key());
        let (images, keys) = (world.images.clone(), world.keys.clone());
        world.services = Services::new(world.store.clone(), images, keys, tidegate_http::check_service::CATALOG_AGE_MS);
        Self { world, meter, log }
    }

    fn event(&self, name: &'static str) -> Event {
        self.answered(name, 0)
    }

    fn answered(&self, name: &'static str, answer_bytes: usize) -> Event {
        Event { name, calls: self.meter.take(), log_bytes: self.log.take_bytes(), answer_bytes }
    }

    /// So that the next check-in finds the catalog read.
    async fn warm(&self, now: Timestamp) {
        self.world.check(&device("lamp-warm", "9.0.0"), now).await;
        let _warm_up = self.event("");
    }

    async fn check(&self, name: &'static str, id: &str, version: &str, offer: &Value, now: Timestamp) -> Event {
        self.check_saying(name, &device(id, version), offer, now).await
    }

    async fn check_saying(&self, name: &'static str, said: &Value, offer: &Value, now: Timestamp) -> Event {
        let answer = self.world.check(said, now).instrument(invocation()).await;
        assert_eq!((answer.status, &answer.body["version"]), (200, offer), "{name}: {}", answer.body);
        self.answered(name, answer.body.to_string().len())
    }

    async fn count(&self, name: &'static str) -> Event {
        let _before = self.event("");
        self.world.count().await;
        self.event(name)
    }

    async fn report(&self, name: &'static str, id: &str, status: &str, recorded: bool, now: Timestamp) -> Event {
        let answer = self.world.report(id, "2.0.0", status, now).instrument(invocation()).await;
        assert_eq!(answer.body["recorded"], recorded, "{name}: {}", answer.body);
        self.answered(name, answer.body.to_string().len())
    }

    async fn sweep(&self, name: &'static str, now: Timestamp) -> Event {
        let _before = self.event("");
        let swept =
            self.world.services.sweep.sweep(now).instrument(invocation()).await.expect("the local cloud answers");
        let log = String::from_utf8_lossy(&self.log.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        assert_eq!((swept.held, swept.failed), (0, 0), "{swept:?}: {log}");
        self.event(name)
    }
}

/// The span in which Lambda's runtime calls a function. Each line of the log has it.
fn invocation() -> tracing::Span {
    tracing::info_span!(
        target: "lambda_runtime",
        "Lambda runtime invoke",
        requestId = "8f507cfc-9c6a-4c1e-9a31-0b2f5c1f9a77",
        xrayTraceId = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=1:a87bd80c:0"
    )
}

/// A device that says about as much as devices do.
fn device(id: &str, version: &str) -> Value {
    device_up_for(id, version, 93_600)
}

/// A device that tells how long it runs, as many do: it says something else at each check-in.
fn device_up_for(id: &str, version: &str, uptime_s: u32) -> Value {
    json!({
        "id": id, "product": LAMP, "version": version, "serial": "A2026-00017-4711", "hw_revision": 4, "region": "eu",
        "memory": 512, "battery": 87, "stage": "production", "batch": "B19", "uptime_s": uptime_s,
        "site": {"name": "warehouse north", "floor": 2, "tags": ["indoor", "mains"]},
        "network": {"kind": "wifi", "rssi": -61},
    })
}

/// Everything that is measured.
struct Measurements {
    /// What devices do, in the order of the document.
    events: Vec<Event>,
    /// What each minute does.
    sweeps: Vec<Event>,
    /// What the function `count` does for device updates.
    counts: Vec<Event>,
}

impl Measurements {
    fn all(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().chain(&self.sweeps).chain(&self.counts)
    }

    fn event(&self, name: &str) -> &Event {
        self.all().find(|event| event.name == name).expect("the event was measured")
    }
}

const NOTHING: &str = "Check-in, nothing to offer";
const NOTHING_DAILY: &str = "… nothing to offer, the first in 24 hours";
const NOTHING_STORED: &str = "… nothing to offer, the first in 24 hours, with other attributes";
const HEAD: &str = "… with it, once a second on each warm function";
const UNSEEN: &str = "… nothing to offer, a device never seen";
const REPEATED: &str = "… the same offer again";
const WAITING: &str = "… all places are taken, once a second on each warm function";
const GRANTED: &str = "… a first offer";
const UNSEEN_GRANTED: &str = "… a first offer, a device never seen";
const RETRIED: &str = "… an offer after a failure";
const PROGRESS: &str = "Report, progress";
const OUTCOME: &str = "… success";
const KNOWN: &str = "… an outcome that is known";
const FAILURE: &str = "… failure";
const NEW_VERSION: &str = "… with the new version";
const BELIEVED: &str = "… with the new version, never reported";
const SWEEP: &str = "A sweep with nothing live";
const SWEEP_PRODUCT: &str = "… more for a product with a live update (7 shards)";
const SWEEP_SNAPSHOT: &str = "… more once a day, for the fleet snapshot of a page of devices and one live update";
const SWEEP_UPDATE: &str = "… more for each further live update (7 shards)";
const SWEEP_CLAIMS: &str = "… more for a page of devices of which two were silent";
const COUNT_FAILURE: &str = "The count of one failure";
const COUNT_ALONE: &str = "The count of one update, each of its changes alone (7 shards)";
const COUNT_FLOW: &str = "The count of 100 updates, 100 changes at a time (7 shards)";
const COUNT_WIDE: &str = "The count of 100 updates, 100 changes at a time (16 shards)";
const COUNT_TIGHT: &str = "The count of 100 updates, 100 changes at a time, all places taken (1 shard)";

/// Devices whose changes are in one batch.
const IN_A_BATCH: u32 = 100;

/// What `count` does for whole updates of `devices`, when one batch has one change of each device. The places that the
/// last of them waited for are counted before the next batch.
async fn counted(name: &'static str, devices: u32, max_in_flight: u32) -> Event {
    let measured = Measured::new().await;
    let (none, offer) = (Value::Null, json!("2.0.0"));
    let minute = |minute: u32| at(&format!("2026-01-02T12:{minute:02}:00Z"));
    measured.world.publish(LAMP, "1.0.0", json!({}), at("2026-01-02T11:00:00Z")).await;
    let ids = (0..devices).map(|number| format!("lamp-{number:04}")).collect::<Vec<_>>();
    for id in &ids {
        measured.check("", id, "1.0.0", &none, minute(0)).await;
    }
    let limits = json!({"rollout": {"limits": {"max_in_flight": max_in_flight}}});
    measured.world.publish(LAMP, "2.0.0", limits, minute(1)).await;
    let _first_contacts = measured.count("").await;
    let mut counts = Vec::new();
    for id in &ids {
        measured.check("", id, "1.0.0", &offer, minute(2)).await;
    }
    counts.push(measured.count("").await);
    for status in ["DOWNLOAD", "INSTALL", "INSTALL_SUCCESS"] {
        for id in &ids {
            measured.report("", id, status, true, minute(3)).await;
        }
        counts.push(measured.count("").await);
    }
    for id in &ids {
        measured.check("", id, "2.0.0", &none, minute(5)).await;
    }
    counts.push(measured.count("").await);
    let log_bytes = counts.iter().map(|count| count.log_bytes).sum();
    let calls = counts.into_iter().flat_map(|count| count.calls).collect();
    Event { name, calls, log_bytes, answer_bytes: 0 }
}

/// A check-in while all places are taken, and the shard was not looked at for a second.
async fn waiting() -> Event {
    let measured = Measured::new().await;
    let now = at("2026-01-02T12:00:00Z");
    measured.world.publish(LAMP, "2.0.0", json!({"rollout": {"limits": {"max_in_flight": 1}}}), now).await;
    measured.check("", "lamp-1", "1.0.0", &json!("2.0.0"), now).await;
    measured.check("", "lamp-2", "1.0.0", &Value::Null, now).await;
    let later = at("2026-01-02T12:00:02Z");
    measured.warm(later).await;
    measured.check(WAITING, "lamp-2", "1.0.0", &Value::Null, later).await
}

/// The measurements, which are made once.
async fn measurements() -> &'static Measurements {
    static MEASUREMENTS: OnceCell<Measurements> = OnceCell::const_new();
    MEASUREMENTS.get_or_init(measured).await
}

async fn measured() -> Measurements {
    let counts = vec![
        counted(COUNT_ALONE, 1, 500).await,
        counted(COUNT_FLOW, IN_A_BATCH, 500).await,
        counted(COUNT_WIDE, IN_A_BATCH, 1024).await,
        counted(COUNT_TIGHT, IN_A_BATCH, IN_A_BATCH).await,
    ];
    let waiting = waiting().await;
    let measured = Measured::new().await;
    let _log = measured.log.start();
    let (none, offer) = (Value::Null, json!("2.0.0"));
    let now = at("2026-01-01T12:00:00Z");
    let sweep = measured.sweep(SWEEP, now).await;
    measured.world.publish(LAMP, "1.0.0", json!({}), now).await;
    let snapshot = measured.sweep(SWEEP_SNAPSHOT, now).await;
    let one_live = measured.sweep(SWEEP_PRODUCT, now).await;
    let snapshot = snapshot.without(&one_live);
    measured.warm(now).await;

    let first_seen = measured.check(UNSEEN, "lamp-0017", "1.0.0", &none, now).await;
    let up = |uptime_s| device_up_for("lamp-0017", "1.0.0", uptime_s);
    let nothing = measured.check_saying(NOTHING, &up(93_601), &none, now).await;
    let later = at("2026-01-01T12:00:02Z");
    let mut head = measured.check(HEAD, "lamp-0017", "1.0.0", &none, later).await;
    // A strong read takes twice as much as that of the device.
    head.calls.retain(|call| call.units > nothing.read_units());
    head.log_bytes = 0;
    let tomorrow = at("2026-01-02T12:00:00Z");
    measured.warm(tomorrow).await;
    let daily = measured.check(NOTHING_DAILY, "lamp-0017", "1.0.0", &none, tomorrow).await;
    for id in ["lamp-0018", "lamp-0019"] {
        measured.check("", id, "1.0.0", &none, tomorrow).await;
    }

    measured.world.publish(LAMP, "2.0.0", json!({}), tomorrow).await;
    let _snapshot = measured.sweep("", tomorrow).await;
    let two_live = measured.sweep(SWEEP_UPDATE, tomorrow).await;
    let now = at("2026-01-02T12:00:05Z");
    measured.warm(now).await;
    let granted = measured.check(GRANTED, "lamp-0017", "1.0.0", &offer, now).await;
    let repeated = measured.check(REPEATED, "lamp-0017", "1.0.0", &offer, now).await;
    let unseen = measured.check(UNSEEN_GRANTED, "lamp-0020", "1.0.0", &offer, now).await;
    let progress = measured.report(PROGRESS, "lamp-0017", "DOWNLOAD", true, now).await;
    let outcome = measured.report(OUTCOME, "lamp-0017", "INSTALL_SUCCESS", true, now).await;
    let again = measured.report(KNOWN, "lamp-0017", "INSTALL_SUCCESS", false, now).await;
    let new_version = measured.check(NEW_VERSION, "lamp-0017", "2.0.0", &none, now).await;
    measured.check("", "lamp-0018", "1.0.0", &offer, now).await;
    let believed = measured.check(BELIEVED, "lamp-0018", "2.0.0", &none, now).await;
    measured.check("", "lamp-0019", "1.0.0", &offer, now).await;
    let _before = measured.count("").await;
    let failure = measured.report(FAILURE, "lamp-0019", "INSTALL_ERROR", true, now).await;
    let count_failure = measured.count(COUNT_FAILURE).await;
    let now = at("2026-01-02T13:30:00Z");
    measured.warm(now).await;
    let retried = measured.check(RETRIED, "lamp-0019", "1.0.0", &offer, now).await;
    let _before = measured.count("").await;

    // Four days later two devices are overdue.
    let _snapshot = measured.sweep("", at("2026-01-06T05:00:00Z")).await;
    let silent = measured.sweep("", at("2026-01-06T09:00:00Z")).await.without(&two_live);
    let claims = Event { name: SWEEP_CLAIMS, ..silent };
    let day_after = at("2026-01-03T12:30:00Z");
    measured.warm(day_after).await;
    let stored = device_up_for("lamp-0017", "2.0.0", 180_000);
    let stored = measured.check_saying(NOTHING_STORED, &stored, &none, day_after).await;

    let two_more = two_live.clone().without(&one_live);
    let one_more = one_live.without(&sweep);
    Measurements {
        events: vec![
            nothing,
            daily,
            stored,
            head,
            first_seen,
            waiting,
            repeated,
            granted,
            unseen,
            retried,
            new_version,
            believed,
            progress,
            outcome,
            again,
            failure,
        ],
        sweeps: vec![sweep, one_more, two_more, claims, snapshot],
        counts: [vec![count_failure], counts].concat(),
    }
}

/// What docs/COSTS.md must say, block by block.
fn blocks(measured: &Measurements, prices: &Prices) -> Vec<(&'static str, String)> {
    vec![
        ("measured", measured_block(measured)),
        ("balancer", balancer_block(prices)),
        ("dollars", dollars_block(measured, prices)),
        ("update", update_block(measured, prices)),
        ("targets", targets_block(measured, prices)),
        ("room", room_block(measured, prices)),
        ("shares", shares_block(measured, prices)),
        ("bandwidth", bandwidth_block(prices)),
        ("idle", idle_block(measured, prices)),
        ("fleets", fleets_block(measured, prices)),
    ]
}

fn measured_block(measured: &Measurements) -> String {
    let mut text = String::from(
        "| Event | Calls | Read units | Write units | … of these, the index's | Bytes of the answer | Log bytes at `info` |\n|---|---|---|---|---|---|---|\n",
    );
    for event in measured.all() {
        let Event { name, log_bytes, answer_bytes, .. } = event;
        let (calls, read, write, index) = (event.calls(), event.read_units(), event.write_units(), event.index_units());
        writeln!(text, "| {name} | {calls} | {read} | {write} | {index} | {answer_bytes} | {log_bytes} |").unwrap();
    }
    text
}

fn dollars_block(measured: &Measurements, prices: &Prices) -> String {
    let mut text = String::from(
        "| A million of | HTTP API | Function URL | CloudFront and URL | Load balancer, 100 M a month | … 1,000 M a month | … more for the bytes of the answer | … more at log level `info` |\n|---|---|---|---|---|---|---|---|\n",
    );
    // These are no calls of their own.
    for event in measured.events.iter().filter(|event| ![HEAD, WAITING].contains(&event.name)) {
        let [http_api, url, cloudfront] =
            [HTTP_API, FUNCTION_URL, CLOUDFRONT].map(|door| event.million(prices, door).without_log());
        let [some, many] = BALANCED.map(|millions| url + prices.balancer(millions));
        let Bill { log, egress, .. } = event.million(prices, HTTP_API);
        let doors = format!("{http_api:.2} | {url:.2} | {cloudfront:.2} | {some:.2} | {many:.2}");
        writeln!(text, "| {} | {doors} | {egress:.2} | {log:.2} |", event.name).unwrap();
    }
    text
}

/// The price of a load balancer by the number of requests, and that of an HTTP API.
fn balancer_block(prices: &Prices) -> String {
    let mut text = String::from(
        "| Requests a month | Load balancer, a month | … a million requests | HTTP API, a month | Function URL |\n|---|---|---|---|---|\n",
    );
    for millions in [1.0, 10.0, 30.0, 100.0, 1000.0] {
        let (each, api) = (prices.balancer(millions), millions * prices.of(HTTP_API));
        let (month, api) = (dollars(each * millions), dollars(api));
        writeln!(text, "| {} M | {month} | {each:.2} | {api} | 0.00 |", thousands(millions, 0)).unwrap();
    }
    text
}

/// The calls of a device update: three checks and three reports.
const CALLS: [&str; 6] = [GRANTED, PROGRESS, REPEATED, PROGRESS, OUTCOME, NEW_VERSION];

/// The two calls of a device that never reports, such as Ioto's agent.
const TWO_CALLS: [&str; 2] = [GRANTED, BELIEVED];

/// The part of `count` in one of many updates: read units and write units.
fn share_of_count(measured: &Measurements) -> (f64, f64) {
    let count = measured.event(COUNT_FLOW);
    (count.read_units() / f64::from(IN_A_BATCH), count.write_units() / f64::from(IN_A_BATCH))
}

/// The bill of one update, with its part of `count`.
fn bill_of(calls: &[&str], measured: &Measurements, prices: &Prices, door: &str) -> Bill {
    let (reads, writes) = share_of_count(measured);
    let count = reads * prices.of("DynamoDB read units") + writes * prices.of("DynamoDB write units");
    let add = |sum: Bill, name: &&str| sum.plus(&measured.event(name).million(prices, door));
    calls.iter().fold(Bill { count, ..Bill::default() }, add)
}

/// Three checks and three reports.
fn update(measured: &Measurements, prices: &Prices, door: &str) -> Bill {
    bill_of(&CALLS, measured, prices, door)
}

fn update_block(measured: &Measurements, prices: &Prices) -> String {
    let (bill, url) = (update(measured, prices, HTTP_API), update(measured, prices, FUNCTION_URL));
    let of = |kind: fn(&Event) -> f64| CALLS.map(|name| kind(measured.event(name)));
    let sum = |parts: [f64; 6]| {
        let total = parts.iter().sum::<f64>();
        format!("{} = {total}", parts.map(|part| part.to_string()).join(" + "))
    };
    let (reads, writes) = (sum(of(Event::read_units)), sum(of(Event::write_units)));
    let (door, lambda) = (prices.of(HTTP_API), prices.of("Lambda requests"));
    let (read_price, write_price) = (prices.of("DynamoDB read units"), prices.of("DynamoDB write units"));
    let mut text = String::from(
        "| A device update, a million of them | Arithmetic | HTTP API | Function URL |\n|---|---|---|---|\n",
    );
    let mut row = |name: &str, how: String, api: f64, url: f64| {
        writeln!(text, "| {name} | {how} | {api:.2} | {url:.2} |").unwrap();
    };
    row("front door", format!("6 x {door:.2}"), bill.door, url.door);
    row("Lambda requests", format!("6 x {lambda:.2}"), bill.requests, url.requests);
    row("Lambda time", "1 call that reads, 5 that write".into(), bill.compute, url.compute);
    row("reads", format!("{reads} units x {read_price}"), bill.reads, url.reads);
    row("writes", format!("{writes} units x {write_price}"), bill.writes, url.writes);
    let (read, written) = share_of_count(measured);
    let how = format!("{read:.2} units x {read_price} + {written:.2} units x {write_price}");
    row("its part of `count`", how, bill.count, url.count);
    row("**sum**", String::new(), bill.without_log(), url.without_log());
    row(
        "… with the bytes of the answers",
        "6 answers".into(),
        bill.without_log() + bill.egress,
        url.without_log() + url.egress,
    );
    let all = |bill: &Bill| bill.without_log() + bill.egress + bill.log;
    row("… and with log level `info`", "6 lines".into(), all(&bill), all(&url));
    text
}

fn targets_block(measured: &Measurements, prices: &Prices) -> String {
    let nothing = |door| measured.event(NOTHING).million(prices, door);
    let rows = [
        ("nothing to offer, HTTP API", 1.30, nothing(HTTP_API)),
        ("nothing to offer, function URL", 0.30, nothing(FUNCTION_URL)),
        ("device update, HTTP API", 10.0, update(measured, prices, HTTP_API)),
        ("device update, function URL", 10.0, update(measured, prices, FUNCTION_URL)),
    ];
    let mut text = String::from(
        "| A million of | Target | Log level `warn` | | Log level `info` | |\n|---|---|---|---|---|---|\n",
    );
    for (name, target, bill) in rows {
        let word = |dollars: f64| if dollars <= target { "holds" } else { "**missed**" };
        let (quiet, talkative) = (bill.without_log(), bill.without_log() + bill.log);
        let (quietly, talkatively) = (word(quiet), word(talkative));
        writeln!(text, "| {name} | {target:.2} | {quiet:.2} | {quietly} | {talkative:.2} | {talkatively} |").unwrap();
    }
    text
}

/// What an update would cost if less of it were written.
fn room_block(measured: &Measurements, prices: &Prices) -> String {
    let [api, url] = [HTTP_API, FUNCTION_URL].map(|door| update(measured, prices, door));
    let write_price = prices.of("DynamoDB write units");
    let progress = 2.0 * measured.event(PROGRESS).write_units();
    let list = measured.event(NEW_VERSION).index_units();
    let (_, share) = share_of_count(measured);
    let mut units = url.writes / write_price;
    let mut text =
        String::from("| A million device updates | Write units each | HTTP API | Function URL |\n|---|---|---|---|\n");
    for (name, spared) in [
        ("as they are", 0.0),
        ("without storing progress", progress),
        ("… nor a list of the devices on each version", list),
    ] {
        units -= spared;
        let of = |bill: Bill| bill.without_log() - bill.writes + units * write_price;
        writeln!(text, "| {name} | {:.2} | {:.2} | {:.2} |", units + share, of(api), of(url)).unwrap();
    }
    let of = |bill: Bill| bill.without_log() - bill.writes - bill.count;
    writeln!(text, "| without any write | 0 | {:.2} | {:.2} |", of(api), of(url)).unwrap();
    let [api, url] = [HTTP_API, FUNCTION_URL].map(|door| bill_of(&TWO_CALLS, measured, prices, door).without_log());
    let units = TWO_CALLS.iter().map(|name| measured.event(name).write_units()).sum::<f64>() + share;
    writeln!(text, "| as they are, of devices that never report: two check-ins | {units:.2} | {api:.2} | {url:.2} |")
        .unwrap();
    text
}

/// Which part of a bill is what, in percent.
fn shares_block(measured: &Measurements, prices: &Prices) -> String {
    let mut text = String::from(
        "| Share, at level `info` | Front door | Lambda requests | Lambda time | Reads | Writes | `count` | Log |\n|---|---|---|---|---|---|---|---|\n",
    );
    let nothing = |door| measured.event(NOTHING).million(prices, door);
    for (name, bill) in [
        ("nothing to offer, HTTP API", nothing(HTTP_API)),
        ("nothing to offer, function URL", nothing(FUNCTION_URL)),
        ("device update, HTTP API", update(measured, prices, HTTP_API)),
        ("device update, function URL", update(measured, prices, FUNCTION_URL)),
    ] {
        let whole = bill.without_log() + bill.log;
        let parts = [bill.door, bill.requests, bill.compute, bill.reads, bill.writes, bill.count, bill.log];
        let cells = parts.map(|part| format!("{:.0} %", 100.0 * part / whole)).join(" | ");
        writeln!(text, "| {name} | {cells} |").unwrap();
    }
    text
}

fn bandwidth_block(prices: &Prices) -> String {
    let mut text = String::from("| Downloads of a million devices | 1 MB each | 50 MB each |\n|---|---|---|\n");
    for (name, egress, requests, free_gb) in [
        ("from S3", "S3 egress", "S3 GETs", 0.0),
        ("from CloudFront", "CloudFront egress", CLOUDFRONT, 0.0),
        ("from CloudFront, of which 1 TB and the requests are free", "CloudFront egress", FUNCTION_URL, 1000.0),
    ] {
        let cells =
            [1000.0, 50_000.0].map(|gb: f64| thousands((gb - free_gb) * prices.of(egress) + prices.of(requests), 2));
        writeln!(text, "| {name} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

fn idle_block(measured: &Measurements, prices: &Prices) -> String {
    let monthly = |event: &Event, prices: &Prices| {
        let units = event.read_units() * prices.of("DynamoDB read units")
            + event.write_units() * prices.of("DynamoDB write units");
        MINUTES * units / 1e6
    };
    let a_million = |price| format!("43,800 x {:.2} / 1,000,000", prices.of(price));
    let (sweep, product) = (measured.event(SWEEP), measured.event(SWEEP_PRODUCT));
    let ms = prices.of("Milliseconds of a sweep");
    let verify_ms = prices.of("Milliseconds of a call of `verify`");
    let memory = prices.of("Memory of `verify` in GB") / prices.of("Memory of a function in GB");
    let verify =
        (prices.of("Schedule") + prices.of("Lambda requests") + memory * prices.compute(verify_ms)) * MINUTES / 1e6;
    let (alarms, metrics, secret) = (prices.of("Alarm metrics"), prices.of("Metrics"), prices.of("Secret"));
    let fixed = [
        ("alarms", format!("35 metrics in 26 alarms x {alarms:.2}"), 35.0 * alarms),
        ("metrics of the sweep", format!("5 x {metrics:.2}"), 5.0 * metrics),
        ("the secrets", format!("2 x {secret:.2}"), 2.0 * secret),
        ("dashboard", "the first three are free".into(), 0.0),
        ("sweep: schedule", a_million("Schedule"), MINUTES * prices.of("Schedule") / 1e6),
        ("sweep: requests", a_million("Lambda requests"), MINUTES * prices.of("Lambda requests") / 1e6),
        ("sweep: time", format!("43,800 x {ms} ms"), MINUTES * prices.compute(ms) / 1e6),
        ("sweep: reads", format!("43,800 x {} units", sweep.read_units()), monthly(sweep, prices)),
        ("verify: schedule, requests, time", format!("43,800 x {verify_ms} ms"), verify),
    ];
    let mut text = String::from("| Each month | Arithmetic | Dollars |\n|---|---|---|\n");
    for (name, how, dollars) in &fixed {
        writeln!(text, "| {name} | {how} | {dollars:.2} |").unwrap();
    }
    let sum = fixed.iter().map(|(_, _, dollars)| dollars).sum::<f64>();
    writeln!(text, "| **sum** | | **{sum:.2}** |").unwrap();
    let (reads, writes) = (product.read_units(), product.write_units());
    writeln!(text, "| each product: metrics | 6 x {metrics:.2} | {:.2} |", 6.0 * metrics).unwrap();
    let live = monthly(product, prices);
    writeln!(text, "| each live update of 7 shards | 43,800 x ({reads} read + {writes} write units) | {live:.2} |")
        .unwrap();
    text
}

fn fleets_block(measured: &Measurements, prices: &Prices) -> String {
    let mut text = String::from(
        "| Fleet | Check-ins a month | HTTP API | Function URL | Load balancer | … more for the bytes of the answers | … more at `info` | one update for all, HTTP API | … function URL |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, millions, each_minutes) in [
        ("10,000 daily", 0.01, 1440.0),
        ("1 million daily", 1.0, 1440.0),
        ("1 million hourly", 1.0, 60.0),
        ("10 million daily", 10.0, 1440.0),
        ("10 million hourly", 10.0, 60.0),
        ("100 million daily", 100.0, 1440.0),
        ("100 million hourly", 100.0, 60.0),
    ] {
        let check_ins = millions * MINUTES / each_minutes;
        let daily = millions * MINUTES / 1440.0;
        let sum = |door: &str, part: fn(&Bill) -> f64| {
            let (nothing, seen) = (measured.event(NOTHING), measured.event(NOTHING_DAILY));
            (check_ins - daily) * part(&nothing.million(prices, door)) + daily * part(&seen.million(prices, door))
        };
        let (http_api, url) = (sum(HTTP_API, Bill::without_log), sum(FUNCTION_URL, Bill::without_log));
        let (log, egress) = (sum(HTTP_API, |bill| bill.log), sum(HTTP_API, |bill| bill.egress));
        let balancer = url + check_ins * prices.balancer(check_ins);
        let [api_update, url_update] =
            [HTTP_API, FUNCTION_URL].map(|door| millions * update(measured, prices, door).without_log());
        let cells = [http_api, url, balancer, egress, log, api_update, url_update].map(dollars).join(" | ");
        writeln!(text, "| {name} | {} M | {cells} |", thousands(check_ins, 1)).unwrap();
    }
    text
}

/// Cents where they matter.
fn dollars(amount: f64) -> String {
    thousands(amount, if amount < 10.0 { 2 } else { 0 })
}

fn thousands(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let groups = whole.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
    groups.collect::<Vec<_>>().join(",") + rest
}

/// A block of docs/COSTS.md, between its marks.
fn written(name: &str) -> &'static str {
    let start = format!("<!-- costs: {name} -->\n");
    let block = COSTS.split_once(&start).and_then(|(_, rest)| rest.split_once("<!-- end -->"));
    block.unwrap_or_else(|| panic!("docs/COSTS.md must have a block `{start}… <!-- end -->`")).0
}

#[tokio::test]
async fn every_number_in_costs_md_is_measured_here_or_computed_from_its_prices() {
    let (measured, prices) = (measurements().await, Prices::read());
    let differ = blocks(measured, &prices).into_iter().filter(|(name, ought)| written(name) != ought);
    let ought = differ.map(|(name, ought)| format!("<!-- costs: {name} -->\n{ought}<!-- end -->\n"));
    let ought = ought.collect::<Vec<_>>().join("\n");
    assert!(ought.is_empty(), "docs/COSTS.md must say:\n\n{ought}");
}

#[tokio::test]
async fn the_numbers_in_its_sentences_are_computed_too() {
    let (measured, prices) = (measurements().await, Prices::read());
    let read_price = prices.of("DynamoDB read units");
    let head = measured.event(HEAD).read_units() * read_price;
    let nothing = measured.event(NOTHING);
    let [api, url] = [HTTP_API, FUNCTION_URL].map(|door| nothing.million(&prices, door));
    let room = |bill: Bill, target: f64| (target - bill.without_log() + bill.compute) / prices.compute(1.0);
    let [api_update, url_update] = [HTTP_API, FUNCTION_URL].map(|door| update(measured, &prices, door));
    let write_price = prices.of("DynamoDB write units");
    let writes = |bill: Bill| (10.0 - bill.without_log() + bill.writes + bill.count) / write_price;
    let written = url_update.writes / write_price + share_of_count(measured).1;
    let alone = measured.event(COUNT_ALONE).write_units();
    let (daily, hourly) = (measured.event(NOTHING_DAILY).million(&prices, HTTP_API), api.without_log() * 23.0);
    let times = (daily.without_log() + hourly) / daily.without_log();
    let sentences = [
        format!("is {:.2} a month", head * MINUTES * 60.0 / 1e6),
        format!("each reads it: {head:.2} a million more"),
        format!("rarely: {:.2} through the HTTP API", api.without_log() + head),
        format!(
            "`(front door) + {:.2} + ms / 1000 x {} x {} + reads x {} + writes x {}`",
            prices.of("Lambda requests"),
            prices.of("Memory of a function in GB"),
            prices.of("Lambda GB-seconds"),
            prices.of("DynamoDB read units"),
            prices.of("DynamoDB write units"),
        ),
        format!("with up to {:.0} ms billed", room(api, 1.30).min(room(url, 0.30)).floor()),
        format!("leave room for {:.0} write units", writes(api_update).floor()),
        format!("there is room for {:.0}, and there are {:.1}", writes(url_update).floor(), written),
        format!("takes {alone} write units of `count`, {:.2} a million", alone * write_price),
        format!("costs {times:.0} times as much"),
        format!(
            "Each report of progress is {:.2} a million",
            measured.event(PROGRESS).million(&prices, HTTP_API).without_log()
        ),
        format!("{:.2} of every million of them", measured.event(REPEATED).million(&prices, HTTP_API).log),
    ];
    let text = COSTS.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing = sentences.iter().filter(|sentence| !text.contains(sentence.as_str())).collect::<Vec<_>>();
    assert!(missing.is_empty(), "docs/COSTS.md must say: {missing:#?}");
}

#[tokio::test]
async fn a_check_in_with_nothing_to_offer_keeps_to_its_target() {
    let (measured, prices) = (measurements().await, Prices::read());
    for (door, target) in [(HTTP_API, 1.30), (FUNCTION_URL, 0.30)] {
        let bill = measured.event(NOTHING).million(&prices, door);
        assert!(bill.without_log() <= target, "{door}: {bill:?} is more than {target}");
    }
}

#[tokio::test]
async fn what_is_measured_costs_what_amazon_s_rules_say_of_its_items() {
    let measured = measurements().await;
    let units = |name: &str| (measured.event(name).read_units(), measured.event(name).write_units());
    // Every item is below 1 KB; a transaction is charged twice, the index once; a moved index key is one entry deleted
    // and one put. An eventually consistent read below 4 KB is half a unit.
    let (device, doc, list, moved_in_list) = (1.0, 1.0, 1.0, 2.0);
    let grant = 2.0 + 2.0;
    assert_eq!(units(NOTHING), (0.5, 0.0), "also if the device says another `uptime_s` each time");
    assert_eq!(units(NOTHING_DAILY), (0.5, device));
    assert_eq!(units(NOTHING_STORED), (0.5, device + doc));
    assert_eq!(units(HEAD), (1.0, 0.0), "strongly consistent");
    assert_eq!(units(UNSEEN), (0.5, device + doc + list));
    assert_eq!(units(WAITING), (0.5 + 0.5, 0.0), "the device and a shard");
    assert_eq!(units(REPEATED), (0.5, 0.0));
    assert_eq!(units(GRANTED), (0.5 + 0.5, grant), "the device and a shard");
    assert_eq!(units(UNSEEN_GRANTED).1, grant + doc + list);
    assert_eq!(units(RETRIED).1, grant);
    assert_eq!(units(PROGRESS), (1.0, device), "strongly consistent");
    assert_eq!(units(OUTCOME), (1.0, device));
    assert_eq!(units(KNOWN), (1.0, 0.0));
    assert_eq!(units(FAILURE), (1.0, device));
    assert_eq!(units(NEW_VERSION), (0.5, device + moved_in_list));
    assert_eq!(units(BELIEVED), (0.5, device + moved_in_list), "with the claim in the same write");
    let entries = measured.event(COUNT_FAILURE).calls.iter().filter(|call| call.name == "PutItem");
    assert_eq!(entries.map(|call| call.units).collect::<Vec<_>>(), [1.0], "the entry in the list of failures");
}

/// DESIGN.md, section 9.
#[tokio::test]
async fn updates_in_flow_keep_to_their_write_units() {
    let measured = measurements().await;
    let units = |calls: &[&str]| calls.iter().map(|name| measured.event(name).write_units()).sum::<f64>();
    let each = |name: &str| measured.event(name).write_units() / f64::from(IN_A_BATCH);
    for count in [COUNT_FLOW, COUNT_WIDE, COUNT_TIGHT] {
        let (update, two_calls) = (units(&CALLS) + each(count), units(&TWO_CALLS) + each(count));
        println!("{count}: {update:.2} write units for three checks and three reports, {two_calls:.2} for two calls");
        assert!(update <= 10.7, "three checks and three reports take {update} write units: {count}");
        assert!(two_calls <= 7.7, "two calls take {two_calls} write units: {count}");
    }
    assert!(measured.event(UNSEEN).write_units() <= 3.0, "first contact");
    assert!(measured.event(UNSEEN_GRANTED).write_units() <= 6.0, "first contact with an offer");
    println!("one update alone: {} write units of count", measured.event(COUNT_ALONE).write_units());
}

#[test]
fn memory_and_log_level_are_those_that_are_deployed() {
    let log_level = VARIABLES.split_once("variable \"log_level\"").and_then(|(_, rest)| rest.split_once("validation"));
    assert!(
        log_level.is_some_and(|(level, _)| level.contains("\"info\"\n")),
        "docs/COSTS.md says that `info` is the default"
    );
    assert_eq!(Prices::read().of("Memory of a function in GB"), 0.25);
    for function in ["check", "report", "sweep"] {
        let default = VARIABLES.lines().find(|line| line.trim_start().starts_with(&format!("{function} ")));
        assert!(default.is_some_and(|line| line.ends_with("optional(number, 256)")), "{function}: {default:?}");
    }
}
