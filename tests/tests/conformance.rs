//! The two stores answer alike: random histories over DynamoDB's adapter and over memory. Their streams say the same
//! changes of each device, in the same order.
//!
//! A history is a product or two, a few devices and updates, and operations that collide often: right and wrong
//! revisions, epochs, generations, periods, positions, shards and versions. It is drawn from its seed and from the
//! answers of the store in memory, so the seed replays it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use tidegate::stack::{BUCKET, TABLE};
use tidegate_cloud::{LocalCloud, TableStream};
use tidegate_core::breaker::{Breaker, Transfer, Transfers};
use tidegate_core::claim::Grant as Granting;
use tidegate_core::cohort::Cohort;
use tidegate_core::control_group::ControlGroup;
use tidegate_core::count::{Count, CountedShard, Sample, Sums};
use tidegate_core::gate::{ChannelName, Control, HeldFor};
use tidegate_core::id::sortable;
use tidegate_core::life::table::Event;
use tidegate_core::life::{Bucket, Rules};
use tidegate_core::limits::{Allocation, Caps, UNLIMITED};
use tidegate_core::orders::Orders;
use tidegate_core::phase::Begun;
use tidegate_core::question::{Question, Questions, Reply};
use tidegate_core::shard::{Gate, Grant, Shard};
use tidegate_core::times::Times;
use tidegate_core::update::{StoredObject, Test};
use tidegate_core::{Claim, DeviceId, ObjectionCode, ProductId, State, Timestamp, Transition, UpdateId, Version};
use tidegate_lab::{MemoryStore, Random};
use tidegate_store::record::{
    Audience, AudienceEdit, AuditEntry, Change, ClaimChange, DeviceDeletion, DeviceWrite, Doc, DocDigests, DuePage,
    Fleet, Head, KnownDevice, ListEntry, Note, OtherName, Position, PublishedCatalog, Reading, RolloutKey, Seen,
    SeriesPoint, Tally, Tokens, UpdateRecord, ValueChange, Wanted,
};
use tidegate_store::store::{
    Expected, Freshness, GrantRequest, Granted, Include, Opening, Patience, Period, Shut, Stored, VersionCounts,
    Written,
};
use tidegate_store::stream::{Batch, ItemChange};
use tidegate_store::tidy::Folded;
use tidegate_store::{
    CheckStore, CountStore, DynamoStore, PublishStore, ReadCatalog, ReadDevices, ReadUpdates, RecountStore, StoreError,
    SweepStore, TidyStore, schema,
};
use tidegate_tests::catalog_key;
use tokio::sync::Mutex;

/// The coverage below is stated for this number: `TIDEGATE_HISTORIES=10000`. CI runs 3,000.
const ALL_HISTORIES: u64 = 10_000;
/// A plain `cargo test` runs this number.
const SOME_HISTORIES: u64 = 1_000;
/// Histories that share a cloud. Lists that span products grow with them.
const HISTORIES_PER_CLOUD: u64 = 100;
/// Clouds at a time.
const LANES: u64 = 4;

/// Answer to one call, and the name of that kind of answer.
#[derive(Debug, PartialEq)]
struct Answer {
    outcome: String,
    said: String,
}

/// A call of one of the traits of the store.
#[derive(Debug, Clone)]
enum Operation {
    Grant(Box<GrantRequest>),
    WriteDevice(Box<DeviceWrite>),
    AddDeferrals(RolloutKey, BTreeMap<&'static str, u64>),
    CreateUpdate(Box<(UpdateRecord, AuditEntry)>),
    BeginCampaign(Box<(UpdateRecord, UpdateRecord, u64, AuditEntry)>),
    DeleteUpdate(Box<(UpdateRecord, AuditEntry)>),
    RemoveRollout(RolloutKey),
    EndDeletion(Box<UpdateRecord>),
    FoldTallies(RolloutKey, Timestamp),
    FoldVersionTallies(ProductId, Timestamp),
    Settle(Box<UpdateRecord>),
    PutTidied(ProductId, Timestamp),
    Want(Box<(UpdateRecord, Expected, Option<AuditEntry>)>),
    RecordChange(Box<(UpdateRecord, Expected, Option<AuditEntry>)>),
    ShutShard(RolloutKey, u16, Gate, u64),
    OpenShard(RolloutKey, u16, Opening),
    RaiseCeiling(RolloutKey, u16, u64, u64),
    SetStopped(ProductId, bool, AuditEntry),
    WriteAudit(ProductId, Box<AuditEntry>),
    SetProduct(ProductId, Box<(Head, Head, AuditEntry)>),
    DeleteDevice(Box<DeviceDeletion>),
    RecordSeries(RolloutKey, SeriesPoint),
    PutAudience(RolloutKey, Audience),
    PutReading(RolloutKey, Reading),
    PutMembers(RolloutKey, Vec<DeviceId>),
    PutFleet(ProductId, Fleet),
    PutFleetSnapshot(Vec<u8>),
    MarkForRecount(ProductId, Version),
    PutTally(RolloutKey, &'static str, Option<Position>, Tally<Sums>, Timestamp),
    PutVersionTally(ProductId, &'static str, Option<Position>, Tally<VersionCounts>, Timestamp),
    PutDuePage(RolloutKey, DuePage),
    MoveDuePage(RolloutKey, DuePage),
    RemoveDuePage(RolloutKey, String),
    PutEntry(RolloutKey, ListEntry),
    RemoveEntry(RolloutKey, DeviceId, Bucket, u64),
    PutCatalog(ProductId, u64, Vec<u8>, Vec<UpdateId>),
    AskForCatalog(ProductId, String),
    Head(ProductId, Freshness),
    Catalog(ProductId, String),
    Updates(ProductId),
    Update(ProductId, Version),
    Campaign(RolloutKey),
    EveryUpdate(ProductId),
    DeletedUpdates(ProductId),
    UncountedRollouts(ProductId),
    WatchedUntil(RolloutKey),
    Device(ProductId, DeviceId, Include, Freshness),
    Devices(ProductId, Vec<DeviceId>),
    Shards(RolloutKey, u16),
    Shard(RolloutKey, u16),
    Tallied(RolloutKey),
    Tally(RolloutKey, &'static str),
    VersionTally(ProductId, &'static str),
    VersionCounts(ProductId),
    DuePages(RolloutKey, Timestamp),
    AuditMonth(ProductId, Timestamp, Option<String>, Option<&'static str>, usize),
    UpdatePage(ProductId, Option<String>, usize),
    Versions(ProductId),
    DevicesOn(ProductId, String, Option<DeviceId>, usize),
    Listed(RolloutKey, Bucket, Option<DeviceId>, usize),
    Deferrals(RolloutKey),
    Series(RolloutKey),
    Members(RolloutKey),
    FleetSnapshot,
    Products,
    Scan,
    ScanFleet,
}

/// Every kind of answer that the histories must have had, and how often at least.
const COVERAGE: [(&str, u32); 96] = [
    ("add_deferrals: ok", 864),
    ("ask_for_catalog: ok", 354),
    ("audit: ok", 456),
    ("audit_month: ok", 3720),
    ("delete_device: no", 100),
    ("delete_device: yes", 100),
    ("update_page: ok", 3720),
    ("begin_campaign: conflict", 240),
    ("begin_campaign: ok", 36),
    ("campaign: some", 20),
    ("catalog: none", 350),
    ("catalog: some", 190),
    ("create_update: no", 360),
    ("create_update: yes", 3258),
    ("deferrals: ok", 1992),
    ("delete_update: no", 108),
    ("delete_update: yes", 30),
    ("device: known", 6942),
    ("device: unknown", 1770),
    ("devices: ok", 6594),
    ("end_deletion: ok", 4),
    ("every_update: ok", 3000),
    ("fold_tallies: some", 4),
    ("devices_on: ok", 4110),
    ("listed: ok", 200),
    ("due_pages: ok", 2424),
    ("grant Again: granted", 120),
    ("grant Again: no shard", 174),
    ("grant Again: other claim", 12),
    ("grant Again: refused by the ceiling", 21),
    ("grant Again: refused by the gate", 18),
    ("grant Again: refused by the generation", 12),
    ("grant First: granted", 2154),
    ("grant First: no device", 312),
    ("grant First: no shard", 4044),
    ("grant First: other claim", 33),
    ("grant First: other revision", 204),
    ("grant First: refused by the cap of devices", 546),
    ("grant First: refused by the ceiling", 426),
    ("grant First: refused by the gate", 1194),
    ("grant First: refused by the generation", 360),
    ("grant First: refused by the period", 456),
    ("head: none", 684),
    ("head: some", 3228),
    ("list: entry", 1440),
    ("mark_for_recount: ok", 384),
    ("move_due_page: ok", 324),
    ("open_shard: no", 2244),
    ("open_shard: yes", 4980),
    ("products: ok", 50),
    ("put_catalog: no", 528),
    ("put_catalog: yes", 195),
    ("put_due_page: ok", 918),
    ("put_entry: ok", 1452),
    ("put_tidied: ok", 300),
    ("remove_rollout: yes", 80),
    ("settle: ok", 6),
    ("uncounted_rollouts: none", 150),
    ("watched_until: some", 10),
    ("put_tally: no", 402),
    ("put_tally: yes", 1638),
    ("put_version_tally: no", 210),
    ("put_version_tally: yes", 828),
    ("raise_ceiling: ok", 1422),
    ("record_change: conflict", 1470),
    ("record_change: ok", 474),
    ("record_series: ok", 400),
    ("remove_due_page: ok", 120),
    ("remove_entry: ok", 594),
    ("scan: ok", 50),
    ("put_fleet: ok", 60),
    ("series: ok", 2112),
    ("set_product: no", 294),
    ("set_product: yes", 144),
    ("set_stopped: no", 606),
    ("set_stopped: yes", 348),
    ("shard: none", 120),
    ("shard: some", 100),
    ("shards: ok", 7122),
    ("shut_shard: later change", 402),
    ("shut_shard: yes", 7338),
    ("stream: change", 10050),
    ("tallied: ok", 2712),
    ("tally: ok", 330),
    ("update: none", 276),
    ("update: some", 48),
    ("updates: ok", 3570),
    ("version_counts: ok", 1422),
    ("version_tally: ok", 200),
    ("versions: ok", 1422),
    ("want: conflict", 1488),
    ("want: ok", 468),
    ("write_device: other claim", 186),
    ("write_device: other device", 606),
    ("write_device: yes", 5382),
    ("write_device: yes, a claim", 330),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_dynamodb_answer_alike_in_thousands_of_random_histories() {
    let histories = std::env::var("TIDEGATE_HISTORIES").ok().and_then(|number| number.parse().ok());
    let histories = histories.unwrap_or(SOME_HISTORIES);
    if let Some(seed) = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed..seed + 1).await;
        return;
    }
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        lanes.spawn(async move {
            let mut answers = BTreeMap::new();
            let clouds = histories.div_ceil(HISTORIES_PER_CLOUD);
            for cloud in (0..clouds).filter(|cloud| cloud % LANES == lane) {
                let first = cloud * HISTORIES_PER_CLOUD;
                add(&mut answers, run(first..histories.min(first + HISTORIES_PER_CLOUD)).await);
            }
            answers
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(lane) = lanes.join_next().await {
        match lane {
            Ok(lane) => add(&mut answers, lane),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
    println!("{histories} histories, {} operations:", answers.values().sum::<u32>());
    answers.iter().for_each(|(answer, times)| println!("{times:8} {answer}"));
    let times = |answer: &str| answers.get(answer).copied().unwrap_or(0);
    let rare = COVERAGE
        .iter()
        .filter(|(answer, least)| u64::from(times(answer)) < u64::from(*least) * histories / ALL_HISTORIES)
        .collect::<Vec<_>>();
    assert!(rare.is_empty(), "seen less often than this: {rare:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_page_of_devices_says_that_there_may_be_more_even_where_it_is_the_last() {
    let stores = Stores::new().await;
    let product = ProductId::new("lamp").unwrap();
    for number in 0..501 {
        let write = DeviceWrite {
            seen: Some(Seen::new("1.0.0".into(), moment(0, 0))),
            ..DeviceWrite::new(product.clone(), DeviceId::new(format!("lamp-{number}")).unwrap(), false)
        };
        stores.agree(&Operation::WriteDevice(Box::new(write))).await.unwrap();
        if number >= 498 {
            let (page, next) = stores.memory.devices_on(&product, "1.0.0", None, 500).await.unwrap();
            // The list has sixteen parts, none of which is full here: only the 501st device needs a second page.
            assert_eq!((page.len(), next.is_some()), ((number + 1).min(500), number >= 500));
            let on = |after| Operation::DevicesOn(product.clone(), "1.0.0".into(), after, 500);
            stores.agree(&on(None)).await.unwrap();
            stores.agree(&on(page.last().cloned())).await.unwrap();
            stores.agree(&on(DeviceId::new("lamp-3").ok())).await.unwrap();
        }
    }
    stores.streams_agree().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_part_of_a_list_of_devices_says_that_there_may_be_more() {
    let stores = Stores::new().await;
    let product = ProductId::new("lamp").unwrap();
    // The devices of one of the sixteen parts.
    let devices = (0..).map(|number| DeviceId::new(format!("lamp-{number}")).unwrap());
    let in_part = devices.filter(|device| Sha256::digest(device.as_str())[0] % 16 == 7).take(501);
    for (number, device) in in_part.enumerate() {
        let seen = Some(Seen::new("1.0.0".into(), moment(0, 0)));
        let write = DeviceWrite { seen, ..DeviceWrite::new(product.clone(), device, false) };
        stores.agree(&Operation::WriteDevice(Box::new(write))).await.unwrap();
        if number >= 498 {
            let (page, next) = stores.memory.devices_on(&product, "1.0.0", None, 500).await.unwrap();
            assert_eq!((page.len(), next.is_some()), ((number + 1).min(500), number >= 499));
            let on = |after| Operation::DevicesOn(product.clone(), "1.0.0".into(), after, 500);
            stores.agree(&on(None)).await.unwrap();
            stores.agree(&on(page.last().cloned())).await.unwrap();
        }
    }
}

/// A page of a scan ends anywhere: also between a device and its `device.json`.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_the_fleet_finds_the_attributes_of_every_device() {
    let stores = Stores::new().await;
    let product = ProductId::new("lamp").unwrap();
    for number in 0..400_usize {
        // More than a page of 1 MB in all; every fifth has none.
        let json = format!(r#"{{"site":"{}"}}"#, "a".repeat(3000 + number * 7));
        let doc = Doc { json, digests: DocDigests { all: number as u64, named: 0 } };
        let seen = Seen { doc: (number % 5 > 0).then_some(doc), ..Seen::new("1.0.0".into(), moment(0, 0)) };
        let write = DeviceWrite {
            seen: Some(seen),
            ..DeviceWrite::new(product.clone(), DeviceId::new(format!("lamp-{number}")).unwrap(), false)
        };
        stores.agree(&Operation::WriteDevice(Box::new(write))).await.unwrap();
    }
    stores.agree(&Operation::ScanFleet).await.unwrap();
    let found = scan(&stores.memory, Include::ItemAndDoc).await.unwrap();
    assert_eq!(found.values().filter(|known| known.record.as_ref().unwrap().attributes.is_some()).count(), 320);
    let (first, next) = stores.dynamo.scan_fleet(None).await.unwrap();
    assert!(next.is_some() && first.len() < 400, "more than one page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_due_pages_is_cut_at_250_in_the_order_of_their_times_and_names() {
    let stores = Stores::new().await;
    let rollout = RolloutKey::of(&ProductId::new("lamp").unwrap(), &Version::new(2, 0, 0), 1);
    for number in 0..260_i64 {
        // Thirty of the last are due in the same millisecond, across the cut.
        let seconds = if (235..255).contains(&number) { 235 } else { number };
        let page = DuePage::new(moment(seconds, 0), &format!("w#{number:03}"), vec![DeviceId::new("d").unwrap()]);
        stores.agree(&Operation::PutDuePage(rollout.clone(), page)).await.unwrap();
    }
    for (seconds, due) in [(-1, 0), (0, 0), (1, 1), (100, 100), (235, 235), (236, 250), (5000, 250)] {
        let end = moment(seconds, 0);
        stores.agree(&Operation::DuePages(rollout.clone(), end)).await.unwrap();
        assert_eq!(stores.memory.due_pages(&rollout, end).await.unwrap().len(), due, "{seconds} s");
    }
}

/// Runs histories one after the other over one cloud; answers how often each answer was had.
async fn run(seeds: std::ops::Range<u64>) -> BTreeMap<String, u32> {
    let stores = Stores::new().await;
    let mut answers = BTreeMap::new();
    let mut note = |outcome: String, times: u32| add(&mut answers, BTreeMap::from([(outcome, times)]));
    let mut rollouts = Vec::new();
    for seed in seeds {
        let mut history = History::new(seed);
        rollouts.extend(history.rollouts());
        let length = 8 + history.dice.below(5);
        let mut log = Vec::new();
        for step in 0..length {
            let operation = history.draw(&stores.memory, step).await;
            log.push(format!("{operation:?}"));
            match stores.agree(&operation).await {
                Ok(answer) => note(answer.outcome, 1),
                Err(difference) => panic!("{}", failed(seed, &difference, &log)),
            }
        }
        match stores.streams_agree().await {
            Ok(changes) => note("stream: change".into(), changes),
            Err(difference) => panic!("{}", failed(seed, &difference, &log)),
        }
        for read in history.reads(&stores.memory).await {
            match stores.agree(&read).await {
                Ok(answer) => note(answer.outcome, 1),
                Err(difference) => panic!("{}", failed(seed, &difference, &log)),
            }
        }
    }
    for read in [Operation::Products, Operation::Scan, Operation::ScanFleet, Operation::FleetSnapshot] {
        match stores.agree(&read).await {
            Ok(answer) => note(answer.outcome, 1),
            Err(difference) => panic!("{difference}"),
        }
    }
    match stores.lists_agree(&rollouts).await {
        Ok(entries) => note("list: entry".into(), entries),
        Err(difference) => panic!("{difference}"),
    }
    answers
}

/// The line that replays a history; the history itself only when it is replayed.
fn failed(seed: u64, difference: &str, log: &[String]) -> String {
    if std::env::var_os("TIDEGATE_SEED").is_some() {
        log.iter().for_each(|operation| println!("{operation}"));
    }
    format!("TIDEGATE_SEED={seed} cargo test --workspace --test conformance: {difference}")
}

fn add(answers: &mut BTreeMap<String, u32>, more: BTreeMap<String, u32>) {
    for (answer, times) in more {
        *answers.entry(answer).or_default() += times;
    }
}

/// The changes of each device, and of the states of a product's updates, in the order of a stream.
type Changes = BTreeMap<(ProductId, Option<DeviceId>), Vec<ItemChange>>;

/// Both stores, and the cloud below one of them.
struct Stores {
    dynamo: DynamoStore,
    memory: MemoryStore,
    stream: Mutex<TableStream>,
    cloud: LocalCloud,
}

impl Stores {
    async fn new() -> Self {
        let cloud = LocalCloud::temporary().unwrap();
        schema::create_table(&cloud.dynamodb(), TABLE).await.unwrap();
        cloud.create_bucket(BUCKET).await.unwrap();
        Self {
            dynamo: DynamoStore::new(cloud.dynamodb(), TABLE, cloud.s3(), BUCKET).with_catalog_key(catalog_key()),
            memory: MemoryStore::new(),
            stream: cloud.table_stream(TABLE).unwrap().into(),
            cloud,
        }
    }

    /// The answer of both to an operation; an error when they differ.
    async fn agree(&self, operation: &Operation) -> Result<Answer, String> {
        let (dynamo, memory) = (apply(&self.dynamo, operation).await, apply(&self.memory, operation).await);
        if dynamo == memory {
            return Ok(memory);
        }
        Err(format!("to {operation:?} DynamoDB says {} and memory says {}", dynamo.said, memory.said))
    }

    /// The number of changes in both streams since the last time; an error when they differ.
    async fn streams_agree(&self) -> Result<u32, String> {
        let (mut of_dynamo, mut of_memory) = (Changes::new(), Changes::new());
        let mut stream = self.stream.lock().await;
        while let Some(event) = stream.next().await.unwrap() {
            collect(&mut of_dynamo, Batch::from_event(event).unwrap());
            stream.acknowledge();
        }
        for stream_shard in self.memory.stream_shards() {
            while let Some(batch) = self.memory.next_batch(&stream_shard, 3) {
                collect(&mut of_memory, batch);
                self.memory.acknowledge(&stream_shard);
            }
        }
        if of_dynamo == of_memory {
            return Ok(u32::try_from(of_memory.values().map(Vec::len).sum::<usize>()).unwrap());
        }
        Err(format!("the stream of DynamoDB says {of_dynamo:?} and that of memory says {of_memory:?}"))
    }

    /// The number of entries in the lists of outcomes; an error when they differ. No trait reads them.
    async fn lists_agree(&self, rollouts: &[RolloutKey]) -> Result<u32, String> {
        let in_memory = rollouts.iter().flat_map(|rollout| {
            let entries = self.memory.entries(rollout).into_iter();
            entries.map(move |entry| ((list_of(rollout, entry.bucket), entry.device.to_string()), shown(&entry)))
        });
        let in_memory = in_memory.collect::<BTreeMap<_, _>>();
        let mut in_dynamodb = BTreeMap::new();
        let scan = self.cloud.dynamodb().scan().table_name(TABLE).filter_expression("begins_with(pk, :list)");
        let scan = scan.expression_attribute_values(":list", AttributeValue::S("l#".into()));
        for item in scan.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap() {
            let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
            let number = |name: &str| item[name].as_n().unwrap().clone();
            let (pk, device) = (text("pk").unwrap(), text("sk").unwrap());
            let list = pk.rsplit_once('#').unwrap().0.to_string();
            let entry = format!("{:?} {} {}", text("message"), number("attempts"), number("rev"));
            in_dynamodb.insert((list, device), entry);
        }
        if in_dynamodb == in_memory {
            return Ok(u32::try_from(in_memory.len()).unwrap());
        }
        Err(format!("DynamoDB lists {in_dynamodb:?} and memory lists {in_memory:?}"))
    }
}

/// Adds a batch to the changes. The positions of a stream only rise.
fn collect(changes: &mut Changes, batch: Batch) {
    assert!(batch.records.is_sorted_by(|one, other| one.position < other.position), "{:?}", batch.records);
    for record in batch.records {
        let change = record.change.unwrap();
        let device = change.device().map(|change| change.device.clone());
        changes.entry((change.product().clone(), device)).or_default().push(change);
    }
}

/// The first claim of a device.
fn claim(rollout: &RolloutKey, shard: u16, epoch: u64, now: Timestamp) -> Claim {
    let (version, campaign) = (rollout.version(), rollout.campaign());
    let (was, reports_as, is_newcomer) = ("1.0.0", &[], false);
    let granting =
        Granting { version, campaign, was, reports_as, shard, count: 0, epoch, test: 0, hour: 0, is_newcomer, now };
    Claim::granted(None, &granting).unwrap()
}

fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap()
}

fn list_of(rollout: &RolloutKey, bucket: Bucket) -> String {
    format!("l#{}#{}#{}", rollout.product(), rollout.name(), bucket.name())
}

fn shown(entry: &ListEntry) -> String {
    format!("{:?} {} {}", entry.message, entry.attempts, entry.revision)
}

/// The rights of all functions.
trait EveryStore: CheckStore + CountStore + PublishStore + SweepStore + RecountStore {}

impl<S: CheckStore + CountStore + PublishStore + SweepStore + RecountStore> EveryStore for S {}

async fn apply<S: EveryStore>(store: &S, operation: &Operation) -> Answer {
    match operation {
        Operation::Grant(request) => {
            let name = format!("grant {:?}", request.grant);
            answer(&name, store.grant(request, Patience::Long).await, |granted| kind(request, granted))
        }
        Operation::WriteDevice(write) => {
            answer("write_device", store.write_device(write).await, |written| match (written, write.claims.len()) {
                (Written::Yes, 0) => "yes",
                (Written::Yes, 1) => "yes, a claim",
                (Written::Yes, _) => "yes, claims",
                (Written::OtherDevice(known), _) if known.record.is_some() != write.is_known => "other device",
                (Written::OtherDevice(_), _) => "other claim",
            })
        }
        Operation::AddDeferrals(rollout, counts) => {
            answer("add_deferrals", store.add_deferrals(rollout, counts).await, ok)
        }
        Operation::CreateUpdate(created) => {
            answer("create_update", store.create_update(&created.0, &created.1).await, yes_or_no)
        }
        Operation::BeginCampaign(begun) => {
            let (last, next, revision, audit) = &**begun;
            answer("begin_campaign", store.begin_campaign(last, next, *revision, audit).await, ok)
        }
        Operation::DeleteUpdate(deleted) => {
            answer("delete_update", store.delete_update(&deleted.0, &deleted.1).await, yes_or_no)
        }
        Operation::RemoveRollout(rollout) => answer("remove_rollout", store.remove_rollout(rollout).await, yes_or_no),
        Operation::EndDeletion(deleted) => answer("end_deletion", store.end_deletion(deleted).await, ok),
        Operation::FoldTallies(rollout, quiet_since) => {
            answer("fold_tallies", store.fold_tallies(rollout, *quiet_since).await, some_folded)
        }
        Operation::FoldVersionTallies(product, quiet_since) => {
            answer("fold_version_tallies", store.fold_version_tallies(product, *quiet_since).await, some_folded)
        }
        Operation::Settle(record) => answer("settle", store.settle(record).await, ok),
        Operation::PutTidied(product, now) => answer("put_tidied", store.put_tidied(product, *now).await, ok),
        Operation::Want(wanted) => {
            let (update, expected, audit) = &**wanted;
            answer("want", store.want(update, *expected, audit.as_ref()).await, ok)
        }
        Operation::RecordChange(changed) => {
            let (update, expected, audit) = &**changed;
            answer("record_change", store.record_change(update, *expected, audit.as_ref()).await, ok)
        }
        Operation::ShutShard(rollout, shard, gate, generation) => {
            answer("shut_shard", store.shut_shard(rollout, *shard, *gate, *generation).await, |shut| match shut {
                Shut::Yes => "yes",
                Shut::LaterChange => "later change",
            })
        }
        Operation::OpenShard(rollout, shard, opening) => {
            answer("open_shard", store.open_shard(rollout, *shard, opening).await, yes_or_no)
        }
        Operation::RaiseCeiling(rollout, shard, generation, ceiling) => {
            answer("raise_ceiling", store.raise_ceiling(rollout, *shard, *generation, *ceiling).await, ok)
        }
        Operation::SetStopped(product, is_stopped, audit) => {
            answer("set_stopped", store.set_stopped(product, *is_stopped, audit).await, yes_or_no)
        }
        Operation::WriteAudit(product, entry) => answer("audit", store.audit(product, entry).await, ok),
        Operation::DeleteDevice(deletion) => answer("delete_device", store.delete_device(deletion).await, yes_or_no),
        Operation::SetProduct(product, change) => {
            let (before, after, audit) = &**change;
            answer("set_product", store.set_product(product, before, after, audit).await, yes_or_no)
        }
        Operation::RecordSeries(rollout, point) => {
            answer("record_series", store.record_series(rollout, point).await, ok)
        }
        Operation::PutAudience(rollout, audience) => {
            answer("put_audience", store.put_audience(rollout, audience).await, ok)
        }
        Operation::PutReading(rollout, reading) => answer("put_reading", store.put_reading(rollout, reading).await, ok),
        Operation::PutFleet(product, fleet) => answer("put_fleet", store.put_fleet(product, fleet).await, ok),
        Operation::PutMembers(rollout, members) => answer("put_members", store.put_members(rollout, members).await, ok),
        Operation::PutFleetSnapshot(bytes) => {
            answer("put_fleet_snapshot", store.put_fleet_snapshot(bytes.clone()).await, ok)
        }
        Operation::MarkForRecount(product, version) => {
            answer("mark_for_recount", store.mark_for_recount(product, version).await, ok)
        }
        Operation::PutTally(rollout, stream_shard, before, after, now) => {
            let put = store.put_tally(rollout, stream_shard, before.as_ref(), after, *now).await;
            answer("put_tally", put, yes_or_no)
        }
        Operation::PutVersionTally(product, stream_shard, before, after, now) => {
            let put = store.put_version_tally(product, stream_shard, before.as_ref(), after, *now).await;
            answer("put_version_tally", put, yes_or_no)
        }
        Operation::PutDuePage(rollout, page) => answer("put_due_page", store.put_due_page(rollout, page).await, ok),
        Operation::MoveDuePage(rollout, page) => answer("move_due_page", store.move_due_page(rollout, page).await, ok),
        Operation::RemoveDuePage(rollout, name) => {
            answer("remove_due_page", store.remove_due_page(rollout, name).await, ok)
        }
        Operation::PutEntry(rollout, entry) => answer("put_entry", store.put_entry(rollout, entry).await, ok),
        Operation::RemoveEntry(rollout, device, bucket, revision) => {
            answer("remove_entry", store.remove_entry(rollout, device, *bucket, *revision).await, ok)
        }
        Operation::PutCatalog(product, revision, bytes, ended) => {
            answer("put_catalog", store.put_catalog(product, *revision, bytes.clone(), ended).await, yes_or_no)
        }
        Operation::AskForCatalog(product, name) => {
            answer("ask_for_catalog", store.ask_for_catalog(product, name).await, ok)
        }
        read => apply_read(store, read).await,
    }
}

async fn apply_read<S: EveryStore>(store: &S, operation: &Operation) -> Answer {
    match operation {
        Operation::Head(product, freshness) => answer("head", store.head(product, *freshness).await, some_or_none),
        Operation::Catalog(product, name) => answer("catalog", store.catalog(product, name).await, some_or_none),
        Operation::Updates(product) => answer("updates", store.updates(product).await, ok),
        Operation::Update(product, version) => answer("update", store.update(product, version).await, some_or_none),
        Operation::Campaign(rollout) => answer("campaign", store.campaign(rollout).await, some_or_none),
        Operation::EveryUpdate(product) => answer("every_update", store.every_update(product).await, ok),
        Operation::DeletedUpdates(product) => {
            answer("deleted_updates", store.deleted_updates(product).await, |deleted| {
                if deleted.is_empty() { "none" } else { "some" }
            })
        }
        Operation::UncountedRollouts(product) => {
            answer("uncounted_rollouts", store.uncounted_rollouts(product).await, |rollouts| {
                if rollouts.is_empty() { "none" } else { "some" }
            })
        }
        Operation::WatchedUntil(rollout) => answer("watched_until", store.watched_until(rollout).await, some_or_none),
        Operation::Device(product, device, include, freshness) => {
            let known = store.device(product, device, *include, *freshness).await;
            answer("device", known, |known| if known.record.is_some() { "known" } else { "unknown" })
        }
        Operation::Devices(product, devices) => {
            let found = store.devices(product, devices).await.map(|mut found| {
                // A batch comes in any order.
                found.sort_by(|(one, _), (other, _)| one.cmp(other));
                found
            });
            answer("devices", found, ok)
        }
        Operation::Shards(rollout, count) => answer("shards", store.shards(rollout, *count).await, ok),
        Operation::Shard(rollout, shard) => answer("shard", store.shard(rollout, *shard).await, some_or_none),
        Operation::Tallied(rollout) => answer("tallied", store.tallied(rollout).await, ok),
        Operation::Tally(rollout, stream_shard) => answer("tally", store.tally(rollout, stream_shard).await, ok),
        Operation::VersionTally(product, stream_shard) => {
            answer("version_tally", store.version_tally(product, stream_shard).await, ok)
        }
        Operation::VersionCounts(product) => answer("version_counts", store.version_counts(product).await, ok),
        Operation::DuePages(rollout, end) => answer("due_pages", store.due_pages(rollout, *end).await, ok),
        Operation::AuditMonth(product, month, before, subject, most) => {
            answer("audit_month", store.audit_month(product, *month, before.as_deref(), *subject, *most).await, ok)
        }
        Operation::UpdatePage(product, before, most) => {
            answer("update_page", store.update_page(product, before.as_deref(), *most).await, ok)
        }
        Operation::Versions(product) => answer("versions", store.versions(product).await, ok),
        Operation::DevicesOn(product, version, after, most) => {
            answer("devices_on", store.devices_on(product, version, after.as_ref(), *most).await, ok)
        }
        Operation::Listed(rollout, bucket, after, most) => {
            answer("listed", store.listed(rollout, *bucket, after.as_ref(), *most).await, ok)
        }
        Operation::Deferrals(rollout) => answer("deferrals", store.deferrals(rollout).await, ok),
        Operation::Series(rollout) => answer("series", store.series(rollout).await, ok),
        Operation::Members(rollout) => answer("members", store.members(rollout).await, ok),
        Operation::FleetSnapshot => answer("fleet_snapshot", store.fleet_snapshot().await, some_or_none),
        Operation::Products => answer("products", store.products().await, ok),
        Operation::Scan => answer("scan", scan(store, Include::Item).await, ok),
        Operation::ScanFleet => answer("scan_fleet", scan(store, Include::ItemAndDoc).await, ok),
        write => unreachable!("{write:?} is no read"),
    }
}

/// All devices, whatever the order and the pages.
async fn scan<S: EveryStore>(store: &S, include: Include) -> Stored<BTreeMap<(ProductId, DeviceId), KnownDevice>> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let (devices, next) = match include {
            Include::Item => store.scan_devices(after.as_deref()).await?,
            Include::ItemAndDoc => store.scan_fleet(after.as_deref()).await?,
        };
        found.extend(devices.into_iter().map(|(product, device, known)| ((product, device), known)));
        after = next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn answer<T: Debug>(name: &str, result: Stored<T>, kind: impl FnOnce(&T) -> &'static str) -> Answer {
    let (kind, said) = match &result {
        Ok(value) => (kind(value), format!("{value:?}")),
        Err(StoreError::Unavailable(why)) => ("unavailable", why.to_string()),
        Err(StoreError::Conflict) => ("conflict", "conflict".into()),
        Err(StoreError::Contended) => ("contended", "contended".into()),
        Err(StoreError::Corrupt(why)) => ("corrupt", why.to_string()),
    };
    Answer { outcome: format!("{name}: {kind}"), said }
}

fn ok<T>(_: &T) -> &'static str {
    "ok"
}

fn yes_or_no(answer: &bool) -> &'static str {
    if *answer { "yes" } else { "no" }
}

fn some_folded(folded: &Folded) -> &'static str {
    if folded.folded > 0 { "some" } else { "none" }
}

fn some_or_none<T>(answer: &Option<T>) -> &'static str {
    if answer.is_some() { "some" } else { "none" }
}

fn kind(request: &GrantRequest, granted: &Granted) -> &'static str {
    match granted {
        Granted::Yes => "granted",
        Granted::OtherDevice(known) => match (&known.record, known.claim(&request.rollout.update_id())) {
            (None, _) => "no device",
            (Some(record), _) if request.revision != Some(record.revision) => "other revision",
            (Some(_), Some(_)) => "other claim",
            (Some(_), None) => "no claim",
        },
        Granted::Refused(None) => "no shard",
        Granted::Refused(Some(shard)) => match request.grant {
            _ if shard.gate != Gate::Open => "refused by the gate",
            _ if shard.generation != request.generation => "refused by the generation",
            Grant::First if shard.used >= shard.caps.devices => "refused by the cap of devices",
            Grant::First | Grant::Again if Some(shard.granted) >= shard.ceiling => "refused by the ceiling",
            _ => "refused by the period",
        },
    }
}

/// Random numbers of a history.
struct Dice(Random);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let place = usize::try_from(self.below(from.len() as u64)).unwrap();
        from[place].clone()
    }

    /// Few of them, so that they meet; some with a part of a millisecond, which no store keeps.
    fn moment(&mut self) -> Timestamp {
        let seconds = i64::try_from(self.below(6)).unwrap() * 1500;
        moment(seconds, self.pick(&[0, 0, 1, 999_999, 1_500_000]))
    }

    fn small(&mut self, end: u64) -> i64 {
        i64::try_from(self.below(end)).unwrap()
    }
}

fn moment(seconds: i64, nanoseconds: i32) -> Timestamp {
    Timestamp::new(1_767_225_600 + seconds, nanoseconds).unwrap()
}

const DEVICE_VERSIONS: [&str; 3] = ["1.0.0", "2.0.0", "2.0.0+b7"];
const UPDATE_VERSIONS: [&str; 4] = ["2.0.0", "2.0.0+b7", "2.0.0-rc.1", "10.0.0"];
const STREAM_SHARDS: [&str; 2] = ["shardId-00000001767322800000-5f2b9c1d", "shardId-00000001767322800001-00000000"];

/// One history: its dice, and what it is about.
struct History {
    dice: Dice,
    products: Vec<ProductId>,
    devices: Vec<DeviceId>,
    versions: Vec<Version>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(Random::plain(seed));
        let count = 1 + u64::from(dice.chance(10));
        let products = (0..count).map(|number| ProductId::new(format!("lamp-{seed}-{number}")).unwrap()).collect();
        let devices = ["d", "d-1", "d+"].map(|device| DeviceId::new(device).unwrap());
        let first = usize::try_from(dice.below(3)).unwrap();
        let versions = UPDATE_VERSIONS[first..first + 2].iter().map(|version| version.parse().unwrap());
        let versions = versions.collect();
        Self { devices: devices[..2 + usize::from(dice.chance(30))].to_vec(), dice, products, versions }
    }

    /// Every rollout that it can be about, once.
    fn rollouts(&self) -> BTreeSet<RolloutKey> {
        let all = self.products.iter().flat_map(|product| self.versions.iter().map(move |version| (product, version)));
        all.flat_map(|(product, version)| [1, 2].map(|campaign| RolloutKey::of(product, version, campaign))).collect()
    }

    /// The next operation. The first ones make something that the others can be about.
    async fn draw(&mut self, memory: &MemoryStore, step: u64) -> Operation {
        match (step, self.dice.below(100)) {
            (0, 0..94) => Operation::ShutShard(self.first_rollout(), 0, Gate::Paused, 1),
            (1, 0..=85) => self.open_first(),
            (2, 0..40) => self.create(),
            (_, 0..29) => self.grant(memory).await,
            (_, 29..45) => self.write_device(memory).await,
            (_, 45..47) => self.add_deferrals(),
            (_, 47..49) => self.create(),
            (_, 49..50) => self.begin_or_delete(memory).await,
            (_, 50..54) => self.want(memory).await,
            (_, 54..58) => self.record_change(memory).await,
            (_, 58..62) => self.shut(memory).await,
            (_, 62..66) => self.open(memory).await,
            (_, 66..69) => self.raise(memory).await,
            (_, 69..71) => {
                let (product, is_stopped) = (self.product(), self.dice.chance(60));
                Operation::SetStopped(product, is_stopped, self.audit("lamp", 0))
            }
            (_, 71..72) => Operation::WriteAudit(self.product(), Box::new(self.audit("d-1", 0))),
            (_, 72..74) => self.set_product(memory).await,
            (_, 74..75) => self.delete_device(memory).await,
            (_, 75..76) => self.record_series(),
            (_, 76..77) => self.note(),
            (_, 77..78) => Operation::MarkForRecount(self.product(), self.version()),
            (_, 78..82) => self.put_tally(memory).await,
            (_, 82..84) => self.put_version_tally(memory).await,
            (_, 84..87) => self.due_page(memory).await,
            (_, 87..91) => self.entry(),
            (_, 91..93) => self.catalog(),
            (_, 93 | 94) => self.tidy(memory).await,
            _ => self.read(),
        }
    }

    async fn tidy(&mut self, memory: &MemoryStore) -> Operation {
        let (product, rollout) = (self.product(), self.rollout());
        match self.dice.below(10) {
            0 => Operation::RemoveRollout(rollout),
            7 | 8 => match memory.updates(&product).await.unwrap().pop() {
                Some(record) => {
                    let audit = self.audit(&record.version.to_string(), record.generation + 1);
                    Operation::DeleteUpdate(Box::new((record, audit)))
                }
                None => Operation::Updates(product),
            },
            1 | 9 => match memory.deleted_updates(&product).await.unwrap().pop() {
                Some(deleted) => Operation::EndDeletion(Box::new(deleted)),
                None => Operation::PutTidied(product, self.dice.moment()),
            },
            2 | 3 => Operation::FoldTallies(rollout, self.quiet_since()),
            4 => Operation::FoldVersionTallies(product, self.quiet_since()),
            5 => match memory.campaign(&rollout).await.unwrap() {
                Some(record) => Operation::Settle(Box::new(record)),
                None => Operation::Campaign(rollout),
            },
            _ => Operation::PutTidied(product, self.dice.moment()),
        }
    }

    /// Often a time at which all tallies are quiet.
    fn quiet_since(&mut self) -> Timestamp {
        if self.dice.chance(70) { moment(10_000, 0) } else { self.dice.moment() }
    }

    fn read(&mut self) -> Operation {
        match self.dice.below(15) {
            0 => Operation::Update(self.product(), self.version()),
            11 => Operation::Campaign(self.rollout()),
            12 => Operation::WatchedUntil(self.rollout()),
            13 => Operation::DeletedUpdates(self.product()),
            14 => Operation::UncountedRollouts(self.product()),
            1 => Operation::Head(self.product(), Freshness::Eventual),
            2 | 3 => Operation::Device(
                self.product(),
                self.device(),
                self.dice.pick(&[Include::Item, Include::ItemAndDoc]),
                Freshness::Eventual,
            ),
            4 => {
                let version = self.dice.pick(&DEVICE_VERSIONS).into();
                Operation::DevicesOn(self.product(), version, Some(self.device()), self.dice.pick(&[1, 2, 200]))
            }
            5 => Operation::DuePages(self.rollout(), self.dice.moment()),
            6 => Operation::Shard(self.rollout(), self.shard()),
            7 => Operation::Tally(self.rollout(), self.dice.pick(&STREAM_SHARDS)),
            9 => {
                let after = self.dice.chance(50).then(|| self.device());
                let most = usize::try_from(self.dice.below(3)).unwrap();
                Operation::Listed(self.rollout(), self.dice.pick(&[Bucket::Failed, Bucket::Lost]), after, most)
            }
            8 => Operation::VersionTally(self.product(), self.dice.pick(&STREAM_SHARDS)),
            _ => Operation::Shards(self.rollout(), 3),
        }
    }

    /// Everything that can be read of it. What memory says is empty is asked for one time in eight: a write that only
    /// DynamoDB kept would be found soon enough.
    async fn reads(&mut self, memory: &MemoryStore) -> Vec<Operation> {
        let mut reads = Vec::new();
        for product in self.products.clone() {
            let head = memory.head(&product, Freshness::Strong).await.unwrap();
            if head.is_some() || self.dice.below(8) == 0 {
                reads.extend([
                    Operation::Head(product.clone(), Freshness::Strong),
                    Operation::Updates(product.clone()),
                    Operation::EveryUpdate(product.clone()),
                ]);
            }
            if let Some(PublishedCatalog { name, .. }) = head.and_then(|head| head.catalog) {
                reads.push(Operation::Catalog(product.clone(), name));
            }
            let subject = self.dice.pick(&[None, None, Some("lamp"), Some("d-1")]);
            let most = self.dice.pick(&[1, 2, 200]);
            reads.push(Operation::AuditMonth(product.clone(), moment(0, 0), None, subject, most));
            let before = sortable(&Version::parse(self.dice.pick(&UPDATE_VERSIONS)).unwrap());
            let before = self.dice.pick(&[None, Some(before)]);
            reads.push(Operation::UpdatePage(product.clone(), before, self.dice.pick(&[1, 2, 50])));
            if !memory.version_counts(&product).await.unwrap().is_empty() || self.dice.below(8) == 0 {
                reads.extend([Operation::Versions(product.clone()), Operation::VersionCounts(product.clone())]);
            }
            let mut running = BTreeSet::new();
            for device in self.devices.clone() {
                let known = memory.device(&product, &device, Include::Item, Freshness::Strong).await.unwrap();
                if known.record.is_some() || self.dice.below(8) == 0 {
                    reads.push(Operation::Device(product.clone(), device, Include::ItemAndDoc, Freshness::Strong));
                }
                running.extend(known.record.and_then(|record| record.version));
            }
            reads.extend(running.into_iter().map(|on| Operation::DevicesOn(product.clone(), on, None, 200)));
            reads.push(Operation::Devices(product, self.devices.clone()));
        }
        for rollout in self.rollouts() {
            let shards = memory.shards(&rollout, 3).await.unwrap();
            if shards.iter().any(Option::is_some) || self.dice.below(8) == 0 {
                reads.push(Operation::Shards(rollout.clone(), 3));
            }
            if memory.tallied(&rollout).await.unwrap().as_of.is_some() || self.dice.below(8) == 0 {
                reads.push(Operation::Tallied(rollout.clone()));
            }
            if !memory.on_due_pages(&rollout).is_empty() || self.dice.below(8) == 0 {
                reads.push(Operation::DuePages(rollout.clone(), moment(9_999_999, 0)));
            }
            if !memory.deferrals(&rollout).await.unwrap().is_empty() || self.dice.below(8) == 0 {
                reads.push(Operation::Deferrals(rollout.clone()));
            }
            if !memory.series(&rollout).await.unwrap().is_empty() || self.dice.below(8) == 0 {
                reads.push(Operation::Series(rollout.clone()));
            }
            if !memory.members(&rollout).await.unwrap().is_empty() || self.dice.below(8) == 0 {
                reads.push(Operation::Members(rollout));
            }
        }
        reads
    }

    fn product(&mut self) -> ProductId {
        self.dice.pick(&self.products)
    }

    fn device(&mut self) -> DeviceId {
        self.dice.pick(&self.devices)
    }

    /// The first of them more often than the second.
    fn version(&mut self) -> Version {
        let place = usize::from(self.dice.chance(25));
        self.versions[place].clone()
    }

    fn rollout(&mut self) -> RolloutKey {
        let campaign = self.dice.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
        RolloutKey::of(&self.product(), &self.version(), campaign)
    }

    fn first_rollout(&self) -> RolloutKey {
        RolloutKey::of(&self.products[0], &self.versions[0], 1)
    }

    fn shard(&mut self) -> u16 {
        self.dice.pick(&[0, 0, 0, 1])
    }

    /// A device, and the version of one of its claims, if there is one and the dice want it.
    async fn held(&mut self, memory: &MemoryStore) -> (ProductId, DeviceId, Version) {
        let mut held = Vec::new();
        for product in &self.products {
            for device in &self.devices {
                let known = memory.device(product, device, Include::Item, Freshness::Strong).await.unwrap();
                let of = |(_, claim): (UpdateId, Claim)| (product.clone(), device.clone(), claim.version);
                held.extend(known.claims.into_iter().map(of));
            }
        }
        match held.is_empty() || self.dice.chance(10) {
            true => (self.product(), self.device(), self.version()),
            false => self.dice.pick(&held),
        }
    }

    async fn grant(&mut self, memory: &MemoryStore) -> Operation {
        let (product, device, version) = match self.dice.chance(40) {
            true => self.held(memory).await,
            false => (self.product(), self.device(), self.version()),
        };
        let campaign = if self.dice.chance(10) { 2 } else { 1 };
        let rollout = RolloutKey::of(&product, &version, campaign);
        let known = memory.device(&product, &device, Include::Item, Freshness::Strong).await.unwrap();
        let (now, number) = (self.dice.moment(), self.shard());
        let revision = known.record.as_ref().map(|record| record.revision);
        let revision = match revision {
            Some(revision) if self.dice.chance(8) => self.dice.pick(&[None, Some(revision + 1)]),
            None if self.dice.chance(4) => Some(1),
            revision => revision,
        };
        let epoch = revision.unwrap_or(0) + 1;
        let before = match known.claim(&rollout.update_id()).cloned() {
            // A device that was never seen has no claim.
            _ if revision.is_none() => None,
            Some(claim) if self.dice.chance(15) => Some(self.other(claim)).filter(|_| self.dice.chance(60)),
            None if self.dice.chance(10) => Some(claim(&rollout, number, epoch, now)),
            held => held,
        };
        let test = u16::try_from(self.dice.below(2)).unwrap();
        let shard = number;
        let (version, was, is_newcomer) = (&version, "1.0.0", self.dice.chance(20));
        let reports_as = &self.dice.pick(&[vec![], vec!["spring".to_string()]]);
        let granting =
            Granting { version, campaign, was, reports_as, shard, count: 0, epoch, test, hour: 3, is_newcomer, now };
        // A claim that has not ended is granted again all the same: the stores must agree on that too.
        let after = Claim::granted(before.as_ref(), &granting);
        let mut after = after.unwrap_or_else(|| claim(&rollout, number, epoch, now));
        if self.dice.chance(6) {
            after.shard = u16::try_from(self.dice.below(3)).unwrap();
        }
        let grant = match &before {
            _ if self.dice.chance(8) => self.dice.pick(&[Grant::First, Grant::Again]),
            None => Grant::First,
            Some(_) => Grant::Again,
        };
        let shard = memory.shard(&rollout, after.shard).await.unwrap();
        let generation = shard.map_or(1, |shard| shard.generation) + u64::from(self.dice.chance(8));
        let period = moment(0, 0).as_second() + 3600 * self.dice.small(3);
        let counted = shard.map_or(0, |shard| shard.period);
        let period = match self.dice.below(10) {
            0..4 => None,
            4 => Some(Period::Same(period)),
            5 => Some(Period::New(period)),
            _ if counted < period => Some(Period::New(period)),
            _ => Some(Period::Same(counted)),
        };
        let seen = self.dice.chance(35).then(|| self.seen());
        let request = GrantRequest { rollout, device, revision, generation, grant, before, after, period, seen };
        Operation::Grant(Box::new(request))
    }

    /// A claim that is not the one that is stored.
    fn other(&mut self, claim: Claim) -> Claim {
        match self.dice.chance(50) {
            true => Claim { epoch: claim.epoch + 1, ..claim },
            false => Claim { revision: claim.revision + 1, ..claim },
        }
    }

    fn seen(&mut self) -> Seen {
        let docs = [None, Some("{}"), Some(r#"{"board":"b"}"#), Some("")];
        let doc = self.dice.pick(&docs).map(|json| {
            let digests = DocDigests { all: self.dice.pick(&[0, 1, u64::MAX]), named: self.dice.below(2) };
            Doc { json: json.to_string(), digests }
        });
        let long_gap_s = self.dice.pick(&[None, Some(0), Some(700_000)]);
        let poll_s = self.dice.pick(&[None, Some(300), Some(86_400)]);
        let uses_own_token = self.dice.chance(20);
        let version = self.dice.pick(&DEVICE_VERSIONS).into();
        Seen { doc, long_gap_s, poll_s, uses_own_token, ..Seen::new(version, self.dice.moment()) }
    }

    async fn write_device(&mut self, memory: &MemoryStore) -> Operation {
        let (product, device, version) = match self.dice.chance(70) {
            true => self.held(memory).await,
            false => (self.product(), self.device(), self.version()),
        };
        let known = memory.device(&product, &device, Include::Item, Freshness::Strong).await.unwrap();
        let is_known = known.record.is_some() ^ self.dice.chance(8);
        let seen = self.dice.chance(60).then(|| self.seen());
        let last_seen = known.record.as_ref().and_then(|record| record.last_seen);
        let still_seen_at = match self.dice.below(10) {
            0..7 => None,
            7 => Some(to_the_millisecond(self.dice.moment())),
            _ => last_seen,
        };
        let mut held = known.claims.into_iter().map(|(_, claim)| claim).collect::<Vec<_>>();
        if held.is_empty() && self.dice.chance(10) {
            held.push(claim(&RolloutKey::of(&product, &version, 1), 0, 1, moment(0, 0)));
        }
        let mut claims = Vec::new();
        // A device that was never seen has no claim that could change.
        for before in held.into_iter().filter(|_| is_known) {
            if self.dice.chance(80) {
                claims.push(self.claim_change(before));
            }
        }
        let mut forgotten = Vec::new();
        if self.dice.chance(10) {
            forgotten = claims.drain(..).map(|change: ClaimChange| change.before).collect();
        }
        let orders = self.dice.chance(15).then(|| {
            let revision = known.record.as_ref().map_or(0, |record| record.revision);
            (revision + u64::from(self.dice.chance(20)), self.orders())
        });
        let orders = orders.filter(|_| is_known);
        let questions = self.dice.chance(15).then(|| {
            let revision = known.record.as_ref().map_or(0, |record| record.revision);
            let asked = (0..self.dice.below(3)).map(|_| self.question()).collect();
            (revision + u64::from(self.dice.chance(20)), Questions::new(asked))
        });
        let questions = questions.filter(|_| is_known);
        let revision = known.record.as_ref().map_or(0, |record| record.revision) + u64::from(self.dice.chance(20));
        let tokens = Tokens { generation: self.dice.below(3) as u32, has_own: self.dice.chance(50) };
        let tokens = self.dice.chance(10).then_some((revision, tokens));
        let audit = self.dice.chance(15).then(|| self.audit("d-1", 0));
        let restores = is_known && self.dice.chance(30);
        let write = DeviceWrite {
            seen,
            still_seen_at,
            claims,
            forgotten,
            orders,
            questions,
            tokens,
            restores,
            audit,
            ..DeviceWrite::new(product, device, is_known)
        };
        Operation::WriteDevice(Box::new(write))
    }

    fn question(&mut self) -> Question {
        let reply = self.dice.pick(&[None, Some(Reply::Agreed), Some(Reply::Refused { at: moment(7, 0) })]);
        let version = Version::new(2, 0, 0);
        let update = self.rollout().update_id();
        Question { update, version, asked_at: moment(3, 0), reply, refusals: 2 }
    }

    fn orders(&mut self) -> Orders {
        let pin = self.dice.pick(&[None, Some(Version::new(1, 2, 0))]);
        let tags = self.dice.pick(&[vec![], vec![("site".to_string(), "berlin".to_string())]]);
        let assigned = self.dice.pick(&[vec![], vec![Version::new(2, 0, 0), Version::new(1, 0, 0)]]);
        Orders::new(self.dice.chance(50), pin, tags, assigned)
    }

    fn claim_change(&mut self, stored: Claim) -> ClaimChange {
        let before = if self.dice.chance(20) { self.other(stored) } else { stored };
        let rules = Rules { open_since: Some(moment(0, 0)), ..Rules::new(&Times::default(), 300) };
        let now = self.dice.moment();
        let after = match self.dice.below(20) {
            4 => before.called_back(now),
            5 => before.without_place(),
            7..10 => None,
            _ => before.after(self.dice.pick(&Event::ALL), &rules, now),
        };
        let note = self.dice.chance(60).then(|| Note {
            status: self.dice.pick(&["DOWNLOAD_STEP", ""]).into(),
            progress: self.dice.pick(&[None, Some(0), Some(100)]),
            message: self.dice.pick(&[None, Some("half-way".to_string()), Some(String::new())]),
        });
        ClaimChange { after: after.unwrap_or_else(|| before.clone()), before, note }
    }

    fn add_deferrals(&mut self) -> Operation {
        let codes = 1 + self.dice.below(3);
        let codes = (0..codes).map(|_| (self.dice.pick(ObjectionCode::ALL).name(), self.dice.below(9)));
        let codes = codes.collect();
        Operation::AddDeferrals(self.rollout(), codes)
    }

    fn audit(&mut self, subject: &str, generation: u64) -> AuditEntry {
        AuditEntry {
            at: self.dice.moment(),
            who: self.dice.pick(&["ada", "grace", ""]).into(),
            action: "pause".into(),
            subject: subject.into(),
            from: self.dice.pick(&[None, Some(State::Draft), Some(State::Active)]),
            to: self.dice.pick(&[None, Some(State::Paused), Some(State::Aborted)]),
            reason: self.dice.pick(&["", "it smokes"]).into(),
            generation,
            changes: self.dice.pick(&[vec![], vec![ValueChange::new("poll_s", 300.into(), "often".into())]]),
        }
    }

    fn record(&mut self, product: ProductId, version: Version, generation: u64) -> UpdateRecord {
        let allocation = self.dice.chance(60).then(|| self.allocation());
        let campaign = self.dice.pick(&[1, 1, 2]);
        UpdateRecord {
            id: UpdateId::of(&product, &version, campaign),
            product,
            version,
            campaign,
            is_earlier: false,
            state: self.dice.pick(&State::ALL),
            generation,
            definition: self.dice.pick(&["{}", r#"{"name":"Spring"}"#]).into(),
            allocation,
            objects: self.dice.pick(&[
                vec![],
                vec![StoredObject::default()],
                vec![
                    StoredObject { version: Some("v1".into()), sha1: Some("5".repeat(40)), md5: None },
                    StoredObject::default(),
                ],
            ]),
            reason: self.dice.pick(&["", "it smokes"]).into(),
            is_paused_by_stop: self.dice.chance(20),
            opened_at: self.dice.chance(50).then(|| self.dice.moment()),
            test: Test {
                number: u16::try_from(self.dice.below(3)).unwrap(),
                began_at: self.dice.chance(50).then(|| self.dice.moment()),
            },
            held_for: self.dice.chance(20).then(|| self.held_for()),
            lifts: u8::try_from(self.dice.below(3)).unwrap(),
            control_group: self.dice.chance(20).then(|| self.control_group()),
            advanced: usize::try_from(self.dice.below(2)).unwrap(),
            phase_begun: Begun {
                at: self.dice.chance(20).then(|| to_the_millisecond(self.dice.moment())),
                soaked: self.dice.below(2),
            },
            breaker: if self.dice.chance(20) { self.breaker() } else { Breaker::default() },
            audience_edit: self.dice.chance(20).then(|| AudienceEdit {
                at: self.dice.moment(),
                before: self.dice.chance(50).then(|| self.dice.below(9)),
            }),
            newcomers_since: self.dice.chance(20).then(|| self.dice.moment()),
            reading: None,
            audience: None,
            wanted: None,
            uncounted: 0,
            is_settled: false,
            deleted_at: None,
            created_at: self.dice.moment(),
            changed_at: self.dice.moment(),
        }
    }

    fn held_for(&mut self) -> HeldFor {
        HeldFor { channel: self.dice.pick(&ChannelName::ALL), bad: self.dice.below(100) }
    }

    fn control_group(&mut self) -> ControlGroup {
        ControlGroup {
            from: Cohort::at(u16::try_from(self.dice.below(10_000)).unwrap()).unwrap(),
            since: self.dice.moment(),
            is_over: self.dice.chance(30),
        }
    }

    fn breaker(&mut self) -> Breaker {
        let waits = u32::try_from(self.dice.below(3)).unwrap();
        Breaker { waits, not_before: self.dice.chance(50).then(|| self.dice.moment()) }
    }

    fn wanted(&mut self, generation: u64) -> Wanted {
        let edit = || Change::Edit { definition: r#"{"name":"Spring"}"#.into() };
        let change = match self.dice.below(7) {
            0 => Change::Stop,
            1 => Change::Split,
            2 => edit(),
            3 => Change::Lift,
            4 => Change::Hold(self.held_for()),
            5 if self.dice.chance(33) => Change::Advance(1, 20),
            5 if self.dice.chance(50) => Change::Transfers(self.breaker()),
            5 => Change::ControlGroup(self.control_group()),
            // The gate's own transition is a change of its own.
            _ => Change::Transition(self.dice.pick(&Transition::ALL.map(|transition| match transition {
                Transition::Hold => Transition::Pause,
                other => other,
            }))),
        };
        Wanted {
            change,
            generation,
            shards: self.shard(),
            who: self.dice.pick(&["ada", ""]).into(),
            reason: self.dice.pick(&["", "it smokes"]).into(),
            at: self.dice.moment(),
        }
    }

    fn create(&mut self) -> Operation {
        let (product, version) = (self.product(), self.version());
        let generation = self.dice.below(2);
        let audit = self.audit(&version.to_string(), generation);
        let mut record = self.record(product, version, generation);
        if self.dice.chance(10) {
            record.wanted = Some(self.wanted(generation + 1));
        }
        Operation::CreateUpdate(Box::new((record, audit)))
    }

    /// What a change expects of a record, and sometimes something else.
    async fn expected(&mut self, memory: &MemoryStore, product: &ProductId, version: &Version) -> Expected {
        let stored = memory.update(product, version).await.unwrap();
        let mut expected =
            stored.as_ref().map_or(Expected { generation: 0, wanted: None, revision: None }, Expected::of);
        if self.dice.chance(10) {
            expected.generation += 1;
        }
        if self.dice.chance(10) {
            expected.revision = Some(self.dice.below(4));
        }
        if self.dice.chance(10) {
            expected.wanted = self.dice.pick(&[None, Some(1), Some(2)]);
        }
        expected
    }

    async fn want(&mut self, memory: &MemoryStore) -> Operation {
        let (product, version) = (self.product(), self.version());
        let expected = self.expected(memory, &product, &version).await;
        let generation = expected.generation.max(expected.wanted.unwrap_or(0)) + 1;
        let audit = self.dice.chance(70).then(|| self.audit(&version.to_string(), generation));
        let wanted = Some(self.wanted(generation));
        let update = UpdateRecord { wanted, ..self.record(product, version, expected.generation) };
        Operation::Want(Box::new((update, expected, audit)))
    }

    /// Another campaign, or the end of a draft: of the record as it is, or nearly so.
    async fn begin_or_delete(&mut self, memory: &MemoryStore) -> Operation {
        let (product, version) = (self.product(), self.version());
        let stored = memory.update(&product, &version).await.unwrap();
        let mut last = stored.unwrap_or_else(|| self.record(product.clone(), version.clone(), 1));
        if self.dice.chance(15) {
            last.generation += 1;
        }
        let generation = last.generation + 1;
        let audit = self.audit(&version.to_string(), generation);
        if self.dice.chance(45) {
            return Operation::DeleteUpdate(Box::new((last, audit)));
        }
        let head = memory.head(&product, Freshness::Strong).await.unwrap();
        let revision = head.map_or(0, |head| head.revision) + u64::from(self.dice.chance(15));
        let campaign = last.campaign + 1;
        let id = UpdateId::of(&product, &version, campaign);
        let mut next = UpdateRecord { id, campaign, ..self.record(product, version, generation) };
        next.wanted = Some(self.wanted(generation + 1));
        Operation::BeginCampaign(Box::new((last, next, revision, audit)))
    }

    async fn record_change(&mut self, memory: &MemoryStore) -> Operation {
        let (product, version) = (self.product(), self.version());
        let expected = self.expected(memory, &product, &version).await;
        let generation = expected.wanted.unwrap_or(expected.generation + 1);
        let audit = self.dice.chance(70).then(|| self.audit(&version.to_string(), generation));
        Operation::RecordChange(Box::new((self.record(product, version, generation), expected, audit)))
    }

    fn allocation(&mut self) -> Allocation {
        let shards = 1 + self.dice.below(2);
        let mut column = || (0..shards).map(|_| self.dice.pick(&[0, 1, 1, 2, 3, UNLIMITED])).collect::<Vec<_>>();
        let (devices, per_period, places) = (column(), column(), column());
        Allocation { devices, per_period, places, period: self.dice.pick(&[0, 0, 3600, 7200]) }
    }

    fn opening(&mut self, generation: u64) -> Opening {
        let mut cap = || self.dice.pick(&[0, 1, 2, 3, 3, UNLIMITED, UNLIMITED]);
        let (caps, ceiling) = (Caps { devices: cap(), per_period: cap() }, cap());
        let start = moment(0, 0).as_second();
        Opening { generation, caps, ceiling, period: self.dice.pick(&[0, start, start, start + 3600]) }
    }

    fn open_first(&mut self) -> Operation {
        Operation::OpenShard(self.first_rollout(), 0, self.opening(1))
    }

    /// The generation of a shard, sometimes one more or less.
    async fn generation(&mut self, memory: &MemoryStore, rollout: &RolloutKey, shard: u16) -> u64 {
        let found: Option<Shard> = memory.shard(rollout, shard).await.unwrap();
        let generation = found.map_or(1, |shard| shard.generation);
        match self.dice.below(10) {
            0 => generation + 1,
            1 => generation.saturating_sub(1),
            _ => generation,
        }
    }

    async fn shut(&mut self, memory: &MemoryStore) -> Operation {
        let (rollout, shard) = (self.rollout(), self.shard());
        let generation = self.generation(memory, &rollout, shard).await + u64::from(self.dice.chance(60));
        Operation::ShutShard(rollout, shard, self.dice.pick(&[Gate::Paused, Gate::Paused, Gate::Stopped]), generation)
    }

    async fn open(&mut self, memory: &MemoryStore) -> Operation {
        let (rollout, shard) = (self.rollout(), self.shard());
        let generation = self.generation(memory, &rollout, shard).await;
        Operation::OpenShard(rollout, shard, self.opening(generation))
    }

    async fn raise(&mut self, memory: &MemoryStore) -> Operation {
        let (rollout, shard) = (self.rollout(), self.shard());
        let generation = self.generation(memory, &rollout, shard).await;
        Operation::RaiseCeiling(rollout, shard, generation, self.dice.pick(&[0, 1, 2, 4, UNLIMITED]))
    }

    async fn delete_device(&mut self, memory: &MemoryStore) -> Operation {
        let (product, device, _) = self.held(memory).await;
        let known = memory.device(&product, &device, Include::Item, Freshness::Strong).await.unwrap();
        let record = known.record_or_default();
        let tokens = Tokens { generation: record.tokens.generation + 1, has_own: true };
        let revision = record.revision + u64::from(self.dice.chance(20));
        let audit = self.audit("d-1", revision);
        Operation::DeleteDevice(Box::new(DeviceDeletion { product, device, revision, tokens, audit }))
    }

    async fn set_product(&mut self, memory: &MemoryStore) -> Operation {
        let product = self.product();
        let before = memory.head(&product, Freshness::Strong).await.unwrap().unwrap_or_default();
        let settings_revision = before.settings_revision + u64::from(self.dice.chance(20));
        let head = Head {
            revision: self.dice.below(9),
            product_token_generation: self.dice.below(3) as u32,
            accepts_product_tokens: self.dice.chance(50),
            registration_is_open: self.dice.chance(50),
            proves_by_report: self.dice.chance(50),
            version_attribute: self.dice.pick(&[None, Some("firmware".to_string())]),
            is_stopped: self.dice.chance(50),
            times: Times { poll_s: self.dice.pick(&[300, 86_400]), ..Times::default() },
            ..Head::default()
        };
        let audit = self.audit("lamp", 0);
        Operation::SetProduct(product, Box::new((Head { settings_revision, ..before }, head, audit)))
    }

    fn record_series(&mut self) -> Operation {
        let [offered, in_flight, proved, failed, reverted, lost] = [0; 6].map(|_| self.dice.below(50));
        let at = self.dice.moment();
        let point = SeriesPoint { at, offered, in_flight, proved, failed, reverted, lost };
        Operation::RecordSeries(self.rollout(), point)
    }

    /// What stands beside a rollout, or in the record of its update.
    fn note(&mut self) -> Operation {
        let [size, reached, left, waiting, unfinished, overdue, members] = [0; 7].map(|_| self.dice.below(50));
        let at = self.dice.moment();
        match self.dice.below(5) {
            0 => {
                let served_since = self.dice.chance(50).then(|| self.dice.moment());
                let unchanged_since = self.dice.moment();
                let newcomers = self.dice.below(2);
                let other_name = self.dice.chance(50).then(|| OtherName { text: "spring".into(), devices: members });
                let audience = Audience {
                    size,
                    newcomers,
                    reached,
                    left,
                    waiting,
                    unfinished,
                    asked: overdue,
                    refused: members,
                    other_name,
                    served_since,
                    unchanged_since,
                    at,
                };
                Operation::PutAudience(self.rollout(), audience)
            }
            1 => Operation::PutReading(self.rollout(), Reading { control: Control { overdue, members }, at }),
            2 => Operation::PutMembers(self.rollout(), self.devices.clone()),
            3 => {
                let usual_gap_s = self.dice.pick(&[0, 7 * 86_400]);
                Operation::PutFleet(
                    self.product(),
                    Fleet { usual_gap_s, established: self.dice.below(99), counted_at: Some(self.dice.moment()) },
                )
            }
            _ => Operation::PutFleetSnapshot(self.dice.pick(&[b"one".to_vec(), b"another".to_vec()])),
        }
    }

    /// Two positions that do not sort as texts, and one that no number of DynamoDB holds.
    fn position(&mut self) -> Position {
        let sequences = ["9", "100000000000000000001", "4294967296000000000000000000000000000001"];
        Position::parse(self.dice.pick(&sequences)).unwrap()
    }

    async fn put_tally(&mut self, memory: &MemoryStore) -> Operation {
        let (rollout, stream_shard) = (self.rollout(), self.dice.pick(&STREAM_SHARDS));
        let before = memory.tally(&rollout, stream_shard).await.unwrap().position;
        let before = if self.dice.chance(20) { Some(self.position()) } else { before };
        let mut by_shard = || -> BTreeMap<CountedShard, u64> {
            let (shards, count) = (u16::try_from(self.dice.below(3)).unwrap(), self.dice.pick(&[0, 0, 7]));
            (0..shards).map(|shard| (CountedShard { count, shard }, self.dice.below(9))).collect()
        };
        let (granted, released) = (by_shard(), by_shard());
        let mut sample = || {
            let test = u16::try_from(self.dice.below(3)).unwrap();
            Sample { test, is_newcomers: self.dice.chance(30) }
        };
        let samples = [sample(), sample(), sample()];
        let devices = samples.map(|sample| ((sample, self.dice.pick(Count::ALL)), self.dice.small(9) - 3)).into();
        let mut by_hour = || -> BTreeMap<(Sample, u8), i64> {
            samples.iter().map(|sample| ((*sample, self.dice.pick(&[0, 16])), self.dice.small(9) - 3)).collect()
        };
        let (granted_in, lost_in) = (by_hour(), by_hour());
        let mut transfers = Transfers::default();
        for _ in 0..self.dice.below(3) {
            transfers.add(Transfer { at: moment(self.dice.small(9), 0), is_ok: self.dice.chance(50) });
        }
        let counts = Sums { granted, released, devices, granted_in, lost_in, transfers };
        let after = Tally::new(counts, Some(self.position()));
        Operation::PutTally(rollout, stream_shard, before, after, self.dice.moment())
    }

    async fn put_version_tally(&mut self, memory: &MemoryStore) -> Operation {
        let (product, stream_shard) = (self.product(), self.dice.pick(&STREAM_SHARDS));
        let before = memory.version_tally(&product, stream_shard).await.unwrap().position;
        let before = if self.dice.chance(20) { Some(self.position()) } else { before };
        let counts = DEVICE_VERSIONS.iter().filter(|_| self.dice.chance(50)).map(|version| (*version).to_string());
        let counts = counts.collect::<Vec<_>>().into_iter().map(|version| (version, self.dice.small(5) - 1)).collect();
        let after = Tally::new(counts, Some(self.position()));
        Operation::PutVersionTally(product, stream_shard, before, after, self.dice.moment())
    }

    async fn due_page(&mut self, memory: &MemoryStore) -> Operation {
        let rollout = self.rollout();
        let pages = memory.due_pages(&rollout, moment(9_999_999, 0)).await.unwrap();
        if let Some(page) = pages.first().filter(|_| self.dice.chance(30)) {
            return Operation::RemoveDuePage(rollout, page.name.clone());
        }
        let count = usize::try_from(self.dice.below(3)).unwrap();
        let writer = self.dice.pick(&["w#1#0", "shardId-1#9#0"]);
        let page = DuePage::new(self.dice.moment(), writer, self.devices[..count.min(self.devices.len())].to_vec());
        match self.dice.below(8) {
            0 => Operation::RemoveDuePage(rollout, page.name),
            1..3 => Operation::MoveDuePage(rollout, page),
            _ => Operation::PutDuePage(rollout, page),
        }
    }

    fn entry(&mut self) -> Operation {
        let (rollout, device, revision) = (self.rollout(), self.device(), self.dice.below(4));
        let bucket = self.dice.pick(&[Bucket::Failed, Bucket::Lost, Bucket::Declined]);
        if self.dice.chance(30) {
            return Operation::RemoveEntry(rollout, device, bucket, revision);
        }
        let message = self.dice.pick(&[None, Some("flash full".to_string()), Some(String::new())]);
        let attempts = u32::try_from(self.dice.below(3)).unwrap();
        Operation::PutEntry(
            rollout,
            ListEntry { device, bucket, message, attempts, at: to_the_millisecond(self.dice.moment()), revision },
        )
    }

    /// Few revisions and contents, so that one of a name is stored again, and is removed.
    fn catalog(&mut self) -> Operation {
        let (product, revision, bytes) = (self.product(), self.dice.below(5), vec![b'a'; self.dice.below(2) as usize]);
        let name = PublishedCatalog::of(revision, &bytes).name;
        match self.dice.below(4) {
            0 => Operation::Catalog(product, name),
            1 => Operation::AskForCatalog(product, name),
            _ => {
                let rollouts = self.rollouts();
                let ended = rollouts.iter().filter(|_| self.dice.chance(6)).map(RolloutKey::update_id);
                let ended = ended.collect::<BTreeSet<_>>().into_iter().collect();
                Operation::PutCatalog(product, revision, bytes, ended)
            }
        }
    }
}
