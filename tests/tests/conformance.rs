//! The two stores answer alike: random histories over DynamoDB's adapter and over memory.
//!
//! A history is a product or two, a few devices and updates, and operations that collide often:
//! right and wrong epochs, generations, periods, shards and versions. It is drawn from its seed and
//! from what the store in memory says, so the seed replays it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use sha2::{Digest, Sha256};
use tidegate::stack::{BUCKET, TABLE};
use tidegate_cloud::LocalCloud;
use tidegate_core::ObjectionCode;
use tidegate_core::claim::{Attempt, CountDelta};
use tidegate_core::limits::{Allocation, UNLIMITED};
use tidegate_core::shard::{Gate, Grant, Shard};
use tidegate_core::status::StatusEffect;
use tidegate_core::update::StoredObject;
use tidegate_core::{Claim, ClaimState, DeviceId, ProductId, State, Timestamp, UpdateId, Version};
use tidegate_lab::{MemoryStore, Random};
use tidegate_store::record::{AuditEntry, ClaimKey, DeviceWrite, Head, PublishedCatalog, SeriesPoint, UpdateRecord};
use tidegate_store::store::{Freshness, Period, Reservation, Reserved, Stored};
use tidegate_store::{
    CheckStore, DynamoStore, PublishStore, ReadCatalog, ReadDevices, ReadUpdates, ReportStore, StoreError, SweepStore,
    schema,
};

/// The coverage below is stated for this number, and CI runs it: `TIDEGATE_HISTORIES=10000`.
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

#[derive(Debug, Clone)]
enum Operation {
    Reserve(Box<Reservation>),
    Settle(Box<(ClaimKey, Claim, Claim, CountDelta, Option<DeviceWrite>)>),
    NoteProgress(ClaimKey, Option<u8>, Option<String>, Timestamp),
    SaveDevice(Box<DeviceWrite>),
    AddDeferrals(UpdateId, BTreeMap<&'static str, u64>),
    CreateUpdate(Box<(UpdateRecord, AuditEntry)>),
    ChangeUpdate(Box<(UpdateRecord, u64, AuditEntry)>),
    OpenShards(UpdateId, Allocation, u64),
    CloseShards(UpdateId, u16, Gate, u64),
    WriteAudit(ProductId, Box<AuditEntry>),
    RevokeTokens(ProductId, DeviceId),
    SetProduct(ProductId, Head),
    RecordSeries(UpdateId, SeriesPoint),
    Head(ProductId, Freshness),
    PutCatalog(ProductId, u64, Vec<u8>),
    Catalog(ProductId, String),
    AskForCatalog(ProductId, String),
    Updates(ProductId),
    Update(ProductId, Version),
    Device(ProductId, DeviceId, Freshness),
    Claim(ClaimKey),
    Shards(UpdateId, u16),
    AuditLog(ProductId),
    Versions(ProductId),
    DevicesOn(ProductId, String, Option<DeviceId>),
    Deferrals(UpdateId),
    Series(UpdateId),
    Products,
    DueClaims(Timestamp),
}

/// Every kind of answer that the histories must have had, and how often at least.
const COVERAGE: [(&str, u32); 61] = [
    ("reserve First: granted", 1000),
    ("reserve Again: granted", 90),
    ("reserve Renewed: granted", 100),
    ("reserve First: other claim", 40),
    ("reserve First: no claim", 10),
    ("reserve Again: other claim", 25),
    ("reserve Again: no claim", 10),
    ("reserve Renewed: other claim", 25),
    ("reserve Renewed: no claim", 100),
    ("reserve First: no shard", 100),
    ("reserve First: other device", 40),
    ("reserve Again: other device", 1),
    ("reserve Renewed: other device", 10),
    ("reserve First: refused by the gate", 100),
    ("reserve First: refused by the generation", 100),
    ("reserve First: refused by the cap of devices", 100),
    ("reserve First: refused by the cap in flight", 100),
    ("reserve First: refused by the period", 100),
    ("reserve Again: refused by the cap in flight", 10),
    ("reserve Again: refused by the period", 15),
    ("reserve Renewed: refused by the period", 50),
    ("settle: ok", 220),
    ("settle: conflict", 500),
    ("settle_and_save: ok", 5),
    ("settle_and_save: conflict", 20),
    ("settle: unavailable", 10),
    ("note_progress: yes", 100),
    ("note_progress: no", 500),
    ("save_device: ok", 1000),
    ("save_device: conflict", 160),
    ("add_deferrals: ok", 500),
    ("create_update: yes", 1760),
    ("create_update: no", 130),
    ("change_update: ok", 145),
    ("change_update: conflict", 300),
    ("open_shards: ok", 5000),
    ("open_shards: conflict", 65),
    ("close_shards: ok", 500),
    ("close_shards: conflict", 300),
    ("audit: ok", 300),
    ("revoke_tokens: ok", 500),
    ("set_product: yes", 120),
    ("set_product: no", 50),
    ("put_catalog: yes", 20),
    ("put_catalog: no", 20),
    ("ask_for_catalog: ok", 20),
    ("catalog: some", 20),
    ("catalog: none", 20),
    ("record_series: ok", 500),
    ("head: some", 1000),
    ("head: none", 50),
    ("update: some", 100),
    ("update: none", 50),
    ("claim: some", 15),
    ("claim: none", 50),
    ("shards: ok", 1000),
    ("versions: ok", 1000),
    ("devices_on: ok", 1000),
    ("deferrals: ok", 1000),
    ("series: ok", 1000),
    ("due_claims: ok", 50),
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
            product: product.clone(),
            device: DeviceId::new(format!("lamp-{number}")).unwrap(),
            version: "1.0.0".into(),
            previous_version: None,
            attributes: "{}".into(),
            seen_at: moment(0, 0),
        };
        stores.agree(&Operation::SaveDevice(Box::new(write))).await.unwrap();
        if number >= 498 {
            let (page, next) = stores.memory.devices_on(&product, "1.0.0", None).await.unwrap();
            assert_eq!((page.len(), next.is_some()), ((number + 1).min(500), number >= 499));
            let on = |after| Operation::DevicesOn(product.clone(), "1.0.0".into(), after);
            stores.agree(&on(None)).await.unwrap();
            stores.agree(&on(page.last().cloned())).await.unwrap();
            stores.agree(&on(DeviceId::new("lamp-3").ok())).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_due_claims_is_cut_at_a_thousand_in_the_order_of_their_ends_and_ids() {
    let stores = Stores::new().await;
    let (product, version) = (ProductId::new("lamp").unwrap(), Version::new(2, 0, 0));
    let update = UpdateId::of(&product, &version);
    let caps = vec![UNLIMITED];
    let allocation = Allocation { devices: caps.clone(), per_period: caps.clone(), in_flight: caps, period: 0 };
    stores.agree(&Operation::OpenShards(update.clone(), allocation, 1)).await.unwrap();
    // The devices of one of the sixteen lists.
    let devices = (0..).map(|number| DeviceId::new(format!("lamp-{number}")).unwrap());
    let listed = devices.filter(|device| Sha256::digest(device.as_str())[0] % 16 == 7).take(1010);
    for (place, device) in listed.enumerate() {
        // Thirty of the last end in the same millisecond, across the cut.
        let seconds = if (985..1005).contains(&place) { 985 } else { i64::try_from(place).unwrap() };
        let claim = Claim::reserve(&version, 0, moment(0, 0), moment(seconds, 0));
        let key = ClaimKey { product: product.clone(), device, update: update.clone() };
        let (grant, delta, generation) = (Grant::First, CountDelta::default(), 1);
        let reservation =
            Reservation { key, generation, grant, previous: None, claim, delta, period: None, device: None };
        stores.agree(&Operation::Reserve(Box::new(reservation))).await.unwrap();
    }
    for (seconds, due) in [(-1, 0), (0, 1), (500, 501), (984, 985), (985, 1000), (5000, 1000)] {
        let now = moment(seconds, 0);
        stores.agree(&Operation::DueClaims(now)).await.unwrap();
        assert_eq!(stores.memory.due_claims(now).await.unwrap().len(), due, "{seconds} s");
    }
}

/// Runs histories one after the other over one cloud; answers how often each answer was had.
async fn run(seeds: std::ops::Range<u64>) -> BTreeMap<String, u32> {
    let stores = Stores::new().await;
    let mut answers = BTreeMap::new();
    let mut note = |answer: Answer| add(&mut answers, BTreeMap::from([(answer.outcome, 1)]));
    for seed in seeds {
        let mut history = History::new(seed);
        let length = 5 + history.dice.below(4);
        let mut log = Vec::new();
        for step in 0..length {
            let operation = history.draw(&stores.memory, step).await;
            log.push(format!("{operation:?}"));
            match stores.agree(&operation).await {
                Ok(answer) => note(answer),
                Err(difference) => panic!("{}", failed(seed, &difference, &log)),
            }
        }
        for read in history.reads(&stores.memory).await {
            match stores.agree(&read).await {
                Ok(answer) => note(answer),
                Err(difference) => panic!("{}", failed(seed, &difference, &log)),
            }
        }
    }
    for read in [Operation::Products, Operation::DueClaims(moment(9_999_999, 0))] {
        match stores.agree(&read).await {
            Ok(answer) => note(answer),
            Err(difference) => panic!("{difference}"),
        }
    }
    answers
}

/// The line that replays a history; the history itself only when it is replayed.
fn failed(seed: u64, difference: &str, log: &[String]) -> String {
    if std::env::var_os("TIDEGATE_SEED").is_some() {
        log.iter().for_each(|operation| println!("{operation}"));
    }
    format!("TIDEGATE_SEED={seed} cargo test -p tidegate-tests --test conformance: {difference}")
}

fn add(answers: &mut BTreeMap<String, u32>, more: BTreeMap<String, u32>) {
    for (answer, times) in more {
        *answers.entry(answer).or_default() += times;
    }
}

/// Both stores, and the cloud below one of them.
struct Stores {
    dynamo: DynamoStore,
    memory: MemoryStore,
    _cloud: LocalCloud,
}

impl Stores {
    async fn new() -> Self {
        let cloud = LocalCloud::temporary().unwrap();
        schema::create_table(&cloud.dynamodb(), TABLE).await.unwrap();
        cloud.create_bucket(BUCKET).await.unwrap();
        Self {
            dynamo: DynamoStore::new(cloud.dynamodb(), TABLE, cloud.s3(), BUCKET),
            memory: MemoryStore::new(),
            _cloud: cloud,
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
}

async fn apply<S: CheckStore + ReportStore + PublishStore + SweepStore>(store: &S, operation: &Operation) -> Answer {
    match operation {
        Operation::Reserve(reservation) => {
            let name = format!("reserve {:?}", reservation.grant);
            answer(&name, store.reserve(reservation).await, |reserved| kind(reservation, reserved))
        }
        Operation::Settle(ended) => {
            let (key, before, after, delta, device) = &**ended;
            match device {
                None => answer("settle", store.settle(key, before, after, *delta).await, ok),
                Some(write) => {
                    let settled = store.settle_and_save(key, before, after, *delta, write).await;
                    answer("settle_and_save", settled, ok)
                }
            }
        }
        Operation::NoteProgress(key, progress, message, now) => {
            let noted = store.note_progress(key, "DOWNLOAD_STEP", *progress, message.as_deref(), *now).await;
            answer("note_progress", noted, yes_or_no)
        }
        Operation::SaveDevice(write) => answer("save_device", store.save_device(write).await, ok),
        Operation::AddDeferrals(update, counts) => {
            answer("add_deferrals", store.add_deferrals(update, counts).await, ok)
        }
        Operation::CreateUpdate(created) => {
            answer("create_update", store.create_update(&created.0, &created.1).await, yes_or_no)
        }
        Operation::ChangeUpdate(changed) => {
            answer("change_update", store.change_update(&changed.0, changed.1, &changed.2).await, ok)
        }
        Operation::OpenShards(update, allocation, generation) => {
            answer("open_shards", store.open_shards(update, allocation, *generation).await, ok)
        }
        Operation::CloseShards(update, count, gate, generation) => {
            answer("close_shards", store.close_shards(update, *count, *gate, *generation).await, ok)
        }
        Operation::WriteAudit(product, entry) => answer("audit", store.audit(product, entry).await, ok),
        Operation::RevokeTokens(product, device) => {
            answer("revoke_tokens", store.revoke_tokens(product, device).await, ok)
        }
        Operation::SetProduct(product, head) => {
            answer("set_product", store.set_product(product, head).await, yes_or_no)
        }
        Operation::RecordSeries(update, point) => answer("record_series", store.record_series(update, point).await, ok),
        Operation::Head(product, freshness) => answer("head", store.head(product, *freshness).await, some_or_none),
        Operation::PutCatalog(product, revision, bytes) => {
            answer("put_catalog", store.put_catalog(product, *revision, bytes.clone()).await, yes_or_no)
        }
        Operation::Catalog(product, name) => answer("catalog", store.catalog(product, name).await, some_or_none),
        Operation::AskForCatalog(product, name) => {
            answer("ask_for_catalog", store.ask_for_catalog(product, name).await, ok)
        }
        Operation::Updates(product) => answer("updates", store.updates(product).await, ok),
        Operation::Update(product, version) => answer("update", store.update(product, version).await, some_or_none),
        Operation::Device(product, device, freshness) => {
            answer("device", store.device(product, device, *freshness).await, ok)
        }
        Operation::Claim(key) => answer("claim", store.claim(key).await, some_or_none),
        Operation::Shards(update, count) => answer("shards", store.shards(update, *count).await, ok),
        Operation::AuditLog(product) => answer("audit_log", store.audit_log(product).await, ok),
        Operation::Versions(product) => answer("versions", store.versions(product).await, ok),
        Operation::DevicesOn(product, version, after) => {
            answer("devices_on", store.devices_on(product, version, after.as_ref()).await, ok)
        }
        Operation::Deferrals(update) => answer("deferrals", store.deferrals(update).await, ok),
        Operation::Series(update) => answer("series", store.series(update).await, ok),
        Operation::Products => answer("products", store.products().await, ok),
        Operation::DueClaims(now) => answer("due_claims", store.due_claims(*now).await, ok),
    }
}

fn answer<T: Debug>(name: &str, result: Stored<T>, kind: impl FnOnce(&T) -> &'static str) -> Answer {
    let (kind, said) = match &result {
        Ok(value) => (kind(value), format!("{value:?}")),
        Err(StoreError::Unavailable(why)) => ("unavailable", blur(&why.to_string())),
        Err(StoreError::Conflict) => ("conflict", "conflict".into()),
        Err(StoreError::Corrupt(_)) => ("corrupt", "corrupt".into()),
    };
    Answer { outcome: format!("{name}: {kind}"), said }
}

/// The only failure without a broken connection is that of a claim's shard which does not exist.
fn blur(why: &str) -> String {
    match why {
        "others write the same records" | "the claim's shard does not exist" => "unavailable".into(),
        other => other.into(),
    }
}

fn ok<T>(_: &T) -> &'static str {
    "ok"
}

fn yes_or_no(answer: &bool) -> &'static str {
    if *answer { "yes" } else { "no" }
}

fn some_or_none<T>(answer: &Option<T>) -> &'static str {
    if answer.is_some() { "some" } else { "none" }
}

fn kind(reservation: &Reservation, reserved: &Reserved) -> &'static str {
    match reserved {
        Reserved::Granted => "granted",
        Reserved::OtherClaim(Some(_)) => "other claim",
        Reserved::OtherClaim(None) => "no claim",
        Reserved::OtherDevice => "other device",
        Reserved::Busy => "busy",
        Reserved::Refused(None) => "no shard",
        Reserved::Refused(Some(shard)) => {
            let Shard { gate, generation, caps, counts } = shard;
            match reservation.grant {
                _ if *gate != Gate::Open => "refused by the gate",
                _ if *generation != reservation.generation => "refused by the generation",
                Grant::First if counts.used >= caps.devices => "refused by the cap of devices",
                Grant::First | Grant::Again if counts.in_flight >= caps.in_flight => "refused by the cap in flight",
                _ => "refused by the period",
            }
        }
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
}

fn moment(seconds: i64, nanoseconds: i32) -> Timestamp {
    Timestamp::new(1_767_225_600 + seconds, nanoseconds).unwrap()
}

/// No counter falls below zero: the embedded DynamoDB hides an item in which one did.
fn in_range(shard: Option<Shard>, delta: CountDelta) -> CountDelta {
    let counts = shard.map(|shard| shard.counts).unwrap_or_default();
    let pairs = [
        (counts.in_flight, delta.in_flight),
        (counts.succeeded, delta.succeeded),
        (counts.failed, delta.failed),
        (counts.timed_out, delta.timed_out),
    ];
    let fits = pairs.into_iter().all(|(counter, by)| counter.checked_add_signed(by).is_some());
    if fits { delta } else { CountDelta::default() }
}

const DEVICE_VERSIONS: [&str; 3] = ["1.0.0", "2.0.0", "2.0.0+b7"];
const UPDATE_VERSIONS: [&str; 4] = ["2.0.0", "2.0.0+b7", "2.0.0-rc.1", "10.0.0"];

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

    /// The next operation. The first ones make something that the others can be about.
    async fn draw(&mut self, memory: &MemoryStore, step: u64) -> Operation {
        match (step, self.dice.below(100)) {
            (0, 0..94) => self.open(memory).await,
            (1, 0..30) => self.create().await,
            (_, 0..36) => self.reserve(memory).await,
            (_, 36..48) => self.settle(memory).await,
            (_, 48..52) => self.note_progress(memory).await,
            (_, 52..60) => Operation::SaveDevice(Box::new(self.device_write(memory).await)),
            (_, 60..63) => {
                let codes = (0..1 + self.dice.below(3))
                    .map(|_| (self.dice.pick(ObjectionCode::ALL).name(), self.dice.below(9)));
                let codes = codes.collect();
                Operation::AddDeferrals(self.update(), codes)
            }
            (_, 63..66) => self.create().await,
            (_, 66..71) => self.change(memory).await,
            (_, 71..75) => self.open(memory).await,
            (_, 75..80) => self.close(memory).await,
            (_, 80..82) => Operation::WriteAudit(self.product(), Box::new(self.audit("d-1", 0))),
            (_, 82..85) => Operation::RevokeTokens(self.product(), self.device()),
            (_, 85..87) => {
                let (accepts_product_tokens, registration_is_open) = (self.dice.chance(50), self.dice.chance(50));
                let revision = self.dice.below(9);
                let version_attribute = self.dice.pick(&[None, Some("firmware".to_string())]);
                let head =
                    Head { revision, accepts_product_tokens, registration_is_open, version_attribute, catalog: None };
                Operation::SetProduct(self.product(), head)
            }
            (_, 87..90) => {
                let [offered, in_flight, succeeded, failed, timed_out] = [0; 5].map(|_| self.dice.below(50));
                let at = self.dice.moment();
                let point = SeriesPoint { at, offered, in_flight, succeeded, failed, timed_out };
                Operation::RecordSeries(self.update(), point)
            }
            (_, 90..92) => Operation::Update(self.product(), self.version()),
            (_, 92..94) => Operation::Claim(self.key()),
            (_, 94..95) => Operation::Head(self.product(), Freshness::Eventual),
            (_, 95..96) => self.catalog(),
            (_, 96..98) => Operation::Device(self.product(), self.device(), Freshness::Eventual),
            (_, 98..99) => {
                Operation::DevicesOn(self.product(), self.dice.pick(&DEVICE_VERSIONS).into(), Some(self.device()))
            }
            _ if self.dice.chance(30) => Operation::DueClaims(self.dice.moment()),
            _ => Operation::Shards(self.update(), 3),
        }
    }

    /// Everything that can be read of it. What memory says is empty is asked for one time in eight:
    /// a write that only DynamoDB kept would be found soon enough.
    async fn reads(&mut self, memory: &MemoryStore) -> Vec<Operation> {
        let mut reads = Vec::new();
        for product in self.products.clone() {
            let head = memory.head(&product, Freshness::Strong).await.unwrap();
            let is_known = head.is_some();
            if is_known || self.dice.below(8) == 0 {
                reads
                    .extend([Operation::Head(product.clone(), Freshness::Strong), Operation::Updates(product.clone())]);
            }
            if let Some(PublishedCatalog { name, .. }) = head.and_then(|head| head.catalog) {
                reads.push(Operation::Catalog(product.clone(), name));
            }
            if !memory.audit_log(&product).await.unwrap().is_empty() || self.dice.below(8) == 0 {
                reads.push(Operation::AuditLog(product.clone()));
            }
            let running = memory.versions(&product).await.unwrap();
            if !running.is_empty() || self.dice.below(8) == 0 {
                reads.push(Operation::Versions(product.clone()));
            }
            reads.extend(running.into_iter().map(|(on, _)| Operation::DevicesOn(product.clone(), on, None)));
            for device in self.devices.clone() {
                let known = memory.device(&product, &device, Freshness::Strong).await.unwrap();
                if known.record.is_some() || !known.claims.is_empty() || self.dice.below(8) == 0 {
                    reads.push(Operation::Device(product.clone(), device, Freshness::Strong));
                }
            }
            let updates = self.versions.iter().map(|version| UpdateId::of(&product, version)).collect::<BTreeSet<_>>();
            for update in updates {
                let shards = memory.shards(&update, 2).await.unwrap();
                let count = u16::try_from(shards.iter().flatten().count()).unwrap();
                if count > 0 || self.dice.below(8) == 0 {
                    reads.push(Operation::Shards(update.clone(), count.max(1)));
                }
                if !memory.deferrals(&update).await.unwrap().is_empty() || self.dice.below(8) == 0 {
                    reads.push(Operation::Deferrals(update.clone()));
                }
                if !memory.series(&update).await.unwrap().is_empty() || self.dice.below(8) == 0 {
                    reads.push(Operation::Series(update));
                }
            }
        }
        reads
    }

    /// Few revisions and contents, so that one of a name is stored again, and is removed.
    fn catalog(&mut self) -> Operation {
        let (product, revision, bytes) = (self.product(), self.dice.below(5), vec![b'a'; self.dice.below(2) as usize]);
        let name = PublishedCatalog::of(revision, &bytes).name;
        match self.dice.below(4) {
            0 => Operation::Catalog(product, name),
            1 => Operation::AskForCatalog(product, name),
            _ => Operation::PutCatalog(product, revision, bytes),
        }
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

    fn update(&mut self) -> UpdateId {
        let product = self.product();
        UpdateId::of(&product, &self.version())
    }

    fn key(&mut self) -> ClaimKey {
        let (product, device) = (self.product(), self.device());
        ClaimKey { update: UpdateId::of(&product, &self.version()), product, device }
    }

    /// The key of a claim that exists, if there is one and the dice want it.
    async fn held(&mut self, memory: &MemoryStore) -> ClaimKey {
        let mut held = Vec::new();
        for product in &self.products {
            for device in &self.devices {
                let known = memory.device(product, device, Freshness::Strong).await.unwrap();
                held.extend(known.claims.into_iter().map(|(update, _)| ClaimKey {
                    product: product.clone(),
                    device: device.clone(),
                    update,
                }));
            }
        }
        if held.is_empty() || self.dice.chance(10) { self.key() } else { self.dice.pick(&held) }
    }

    async fn reserve(&mut self, memory: &MemoryStore) -> Operation {
        let key = if self.dice.chance(40) { self.held(memory).await } else { self.key() };
        let version = self.version();
        let (now, ends) = (self.dice.moment(), self.dice.moment());
        let number = u16::try_from(self.dice.below(2)).unwrap();
        let held = memory.claim(&key).await.unwrap();
        let previous = match held {
            Some(claim) if self.dice.chance(15) => Some(self.other(claim)).filter(|_| self.dice.chance(60)),
            None if self.dice.chance(10) => Some(Claim::reserve(&version, number, now, ends)),
            held => held,
        };
        let (mut claim, mut delta) = match &previous {
            None => (Claim::reserve(&version, number, now, ends), CountDelta::default()),
            Some(previous) => previous.reserve_again(now, ends),
        };
        if self.dice.chance(6) {
            claim.shard = u16::try_from(self.dice.below(3)).unwrap();
        }
        let grant = match previous.as_ref().map(|previous| previous.state) {
            _ if self.dice.chance(8) => self.dice.pick(&[Grant::First, Grant::Again, Grant::Renewed]),
            None => Grant::First,
            Some(ClaimState::Reserved) => Grant::Renewed,
            Some(_) => Grant::Again,
        };
        let shards = memory.shards(&key.update, claim.shard + 1).await.unwrap_or_default();
        let shard = shards.last().copied().flatten();
        delta = in_range(shard, delta);
        let generation = shard.map_or(1, |shard| shard.generation) + u64::from(self.dice.chance(8));
        let period = moment(0, 0).as_second() + 3600 * i64::try_from(self.dice.below(3)).unwrap();
        let counted = shard.map_or(0, |shard| shard.counts.period);
        let period = match self.dice.below(10) {
            0..4 => None,
            4 => Some(Period::Same(period)),
            5 => Some(Period::New(period)),
            _ if counted < period => Some(Period::New(period)),
            _ => Some(Period::Same(counted)),
        };
        let device = if self.dice.chance(35) { Some(self.device_write(memory).await) } else { None };
        // A device's record goes with its own claim.
        let device = device.map(|write| DeviceWrite { product: key.product.clone(), ..write });
        Operation::Reserve(Box::new(Reservation { key, generation, grant, previous, claim, delta, period, device }))
    }

    /// A claim that is not the one that is stored.
    fn other(&mut self, claim: Claim) -> Claim {
        let states = [ClaimState::Reserved, ClaimState::Expired, ClaimState::Succeeded, ClaimState::Failed];
        match self.dice.chance(50) {
            true => Claim { epoch: claim.epoch + 1, ..claim },
            false => Claim { state: self.dice.pick(&states), ..claim },
        }
    }

    async fn settle(&mut self, memory: &MemoryStore) -> Operation {
        let key = self.held(memory).await;
        let (version, now, ends) = (self.version(), self.dice.moment(), self.dice.moment());
        let stored = memory.claim(&key).await.unwrap();
        let mut before = stored.unwrap_or_else(|| Claim::reserve(&version, 0, now, ends));
        if self.dice.chance(20) {
            before = self.other(before);
        }
        let effects = [StatusEffect::Succeeded, StatusEffect::Failed, StatusEffect::BackedOut];
        let settled = match self.dice.below(20) {
            0..5 => before.expire(now),
            5 => before.let_go(Attempt::GivenBack),
            6 => before.consent().map(|after| (after, CountDelta::default())),
            _ => before.settle(self.dice.pick(&effects)),
        };
        let (after, mut delta) = settled.unwrap_or_else(|| before.reserve_again(now, ends));
        if self.dice.chance(8) {
            // Of a shard that never was.
            before.shard = 2;
        }
        let shards = memory.shards(&key.update, before.shard + 1).await.unwrap();
        delta = in_range(shards.last().copied().flatten(), delta);
        let device = match self.dice.chance(20) {
            true => Some(self.write_of(memory, key.product.clone(), key.device.clone()).await),
            false => None,
        };
        Operation::Settle(Box::new((key, before, after, delta, device)))
    }

    async fn note_progress(&mut self, memory: &MemoryStore) -> Operation {
        let key = self.held(memory).await;
        let progress = self.dice.pick(&[None, Some(0), Some(100)]);
        let message = self.dice.pick(&[None, Some("half-way".to_string())]);
        Operation::NoteProgress(key, progress, message, self.dice.moment())
    }

    async fn device_write(&mut self, memory: &MemoryStore) -> DeviceWrite {
        let (product, device) = (self.product(), self.device());
        self.write_of(memory, product, device).await
    }

    async fn write_of(&mut self, memory: &MemoryStore, product: ProductId, device: DeviceId) -> DeviceWrite {
        let known = memory.device(&product, &device, Freshness::Strong).await.unwrap();
        let version = self.dice.pick(&DEVICE_VERSIONS).to_string();
        let previous_version = match self.dice.chance(15) {
            true => self.dice.pick(&[None, Some("1.0.0".to_string()), Some("2.0.0".to_string())]),
            false => known.record_or_default().version,
        };
        let attributes = self.dice.pick(&["{}", r#"{"board":"b"}"#, ""]).to_string();
        DeviceWrite { product, device, version, previous_version, attributes, seen_at: self.dice.moment() }
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
        }
    }

    fn record(&mut self, product: ProductId, version: Version, generation: u64) -> UpdateRecord {
        let allocation = self.dice.chance(60).then(|| self.allocation());
        UpdateRecord {
            id: UpdateId::of(&product, &version),
            product,
            version,
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
            created_at: self.dice.moment(),
            changed_at: self.dice.moment(),
        }
    }

    async fn create(&mut self) -> Operation {
        let (product, version) = (self.product(), self.version());
        let generation = self.dice.below(2);
        let audit = self.audit(&version.to_string(), generation);
        Operation::CreateUpdate(Box::new((self.record(product, version, generation), audit)))
    }

    async fn change(&mut self, memory: &MemoryStore) -> Operation {
        let (product, version) = (self.product(), self.version());
        let stored = memory.update(&product, &version).await.unwrap();
        let expected = stored.map_or(0, |stored| stored.generation) + u64::from(self.dice.chance(20));
        let audit = self.audit(&version.to_string(), expected + 1);
        Operation::ChangeUpdate(Box::new((self.record(product, version, expected + 1), expected, audit)))
    }

    fn allocation(&mut self) -> Allocation {
        let shards = 1 + self.dice.below(2);
        let mut column = || (0..shards).map(|_| self.dice.pick(&[0, 1, 1, 2, 3, UNLIMITED])).collect::<Vec<_>>();
        let (devices, per_period, in_flight) = (column(), column(), column());
        Allocation { devices, per_period, in_flight, period: self.dice.pick(&[0, 0, 3600, 7200]) }
    }

    async fn open(&mut self, memory: &MemoryStore) -> Operation {
        let (update, allocation) = (self.update(), self.allocation());
        let Ok(shards) = memory.shards(&update, allocation.shards()).await else {
            return Operation::Shards(update, 2);
        };
        let generation =
            self.generation(&shards, |shard, generation| shard.is_none_or(|shard| shard.generation <= generation));
        Operation::OpenShards(update, allocation, generation)
    }

    async fn close(&mut self, memory: &MemoryStore) -> Operation {
        let (update, gate) = (self.update(), self.dice.pick(&[Gate::Paused, Gate::Stopped]));
        let mut count = 1 + u16::try_from(self.dice.below(2)).unwrap();
        let Ok(mut shards) = memory.shards(&update, count).await else {
            return Operation::Shards(update, 2);
        };
        if shards.first().is_some_and(Option::is_some) && shards.last().is_some_and(Option::is_none) {
            (count, _) = (1, shards.pop());
        }
        let generation =
            self.generation(&shards, |shard, generation| shard.is_some_and(|shard| shard.generation <= generation));
        Operation::CloseShards(update, count, gate, generation)
    }

    /// A generation that every shard takes or none does: where some take it, DynamoDB is told of
    /// the first refusal while the other writes are on their way, and they may arrive or not.
    fn generation(&mut self, shards: &[Option<Shard>], takes: impl Fn(Option<Shard>, u64) -> bool) -> u64 {
        let latest = shards.iter().flatten().map(|shard| shard.generation).max().unwrap_or(1);
        let generation = (latest + self.dice.below(2)).saturating_sub(2 * u64::from(self.dice.chance(20)));
        let taken = shards.iter().filter(|shard| takes(**shard, generation)).count();
        if taken == 0 || taken == shards.len() { generation } else { latest }
    }
}
