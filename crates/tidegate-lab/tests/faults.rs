//! Every fault at every store call of every handler, with its end.
#![allow(clippy::unwrap_used)] // the helpers of tests are tests, too

use std::fmt::Write as _;
use std::time::Duration;

use tidegate_core::question::Reply;
use tidegate_core::{DeviceId, ProductId, UpdateId, Version};
use tidegate_engine::recount::recount;
use tidegate_lab::MemoryStore;
use tidegate_lab::simulator::checker::Asked;
use tidegate_lab::simulator::control::FaultPlan;
use tidegate_lab::simulator::fault::{Call, Fault};
use tidegate_lab::simulator::faulty::FaultyStore;
use tidegate_lab::simulator::requests::{self, Answer};
use tidegate_lab::simulator::speech::{Heard, Message, Speech};
use tidegate_lab::simulator::world::{Ask, Done, Timing, World, moment};
use tidegate_store::ReadDevices as _;
use tidegate_store::record::RolloutKey;
use tidegate_store::store::{Freshness, Include};

const START_MS: i64 = 1_767_225_600_000;
const PRODUCT: &str = "lamp";
const MINUTE_MS: i64 = 60_000;
const STREAM_SHARD: &str = "shardId-00000";
/// Cells of the grid: a handler, one of its calls, and a fault that can happen to it.
const CELLS: usize = 4518;

/// One handler in one situation.
struct Scenario {
    name: &'static str,
    /// Brings the world there.
    given: &'static [Step],
    /// Is done under faults, and repeated once they are over.
    when: Step,
}

/// One thing that happens.
#[derive(Clone, Copy)]
enum Step {
    /// The device that says this version checks in.
    CheckIn(&'static str),
    Report(&'static str),
    /// The device has a client of hawkBit's: it says its version, polls, or its user answers.
    Controller(Says),
    Operate(&'static str, &'static str, &'static str),
    Sweep,
    /// The next batch of the stream is counted.
    Count,
    Wait(i64),
    /// The next open of a shard is cut off.
    CutOpen,
}

/// A message of a client of hawkBit's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Version,
    Poll,
    Yes,
    No,
}

use Step::{CheckIn, Controller, Count, CutOpen, Operate, Report, Sweep, Wait};

/// An update that asks the user. Its file is in the bucket.
const CREATE_ASKING: Step = Operate(
    "POST",
    "",
    r#"{"version":"2.0.0","ask_consent":true,"files":[{"name":"lamp.bin","size":10,"sha256":"481a6f26caaacd1488a8adae982a86cf59c4945e7d6fa65ba39efaf2a31d4111"}]}"#,
);
const FILE: &[u8] = b"lamp 2.0.0";

const CREATE: Step = Operate(
    "POST",
    "",
    r#"{"version":"2.0.0","kind":"json","payload":{"level":3},"rollout":{"limits":{"max_devices":600,"max_per_period":300,"max_in_flight":200}}}"#,
);
const ACTIVATE: Step = Operate("POST", "/2.0.0/activate", "{}");
const PAUSE: Step = Operate("POST", "/2.0.0/pause", "{}");
const RESUME: Step = Operate("POST", "/2.0.0/resume", "{}");
const ABORT: Step = Operate("POST", "/2.0.0/abort", "{}");
const REOPEN: Step = Operate("POST", "/2.0.0/reopen", r#"{"rollout":{"include_failed":true},"reason":"a test"}"#);
const CREATE_OLDER: Step = Operate("POST", "", r#"{"version":"1.5.0","kind":"json","payload":{"level":2}}"#);
const ACTIVATE_OLDER: Step = Operate("POST", "/1.5.0/activate", "{}");
const ROLL_BACK: Step = Operate("POST", "/1.5.0/rollback", r#"{"from":["2.0.0"],"reason":"a test"}"#);
const DELETE: Step = Operate("DELETE", "/2.0.0", r#"{"reason":"a test"}"#);
const STOP: Step = Operate("POST", "../stop", r#"{"reason":"a test"}"#);
const RESUME_STOPPED: Step = Operate("POST", "../resume-stopped", r#"{"reason":"a test"}"#);
const EDIT_DRAFT: Step = Operate("PATCH", "/2.0.0", r#"{"rollout":{"limits":{"max_devices":500}}}"#);
const EDIT: Step = Operate("PATCH", "/2.0.0/campaign", r#"{"rollout":{"limits":{"max_devices":500}}}"#);
const ONLY_ONE: Step = Operate("PATCH", "/2.0.0/campaign", r#"{"rollout":{"limits":{"max_devices":1}}}"#);
const LOWER: Step = Operate("PATCH", "/2.0.0/campaign", r#"{"rollout":{"limits":{"max_in_flight":1}}}"#);
/// One failure, or one silent device, holds it.
const IMPATIENT: Step = Operate(
    "PATCH",
    "/2.0.0/campaign",
    r#"{"rollout":{"health":{"tolerated_failed_percent":0.01,"tolerated_lost_percent":0.01,"min_failures":1}}}"#,
);

/// Longer than the wait after a failure.
const RETRY_MS: i64 = 2 * 60 * MINUTE_MS;
/// Longer than a device may be silent, and the minutes until the sweep looks at its page.
const SILENCE_MS: i64 = (90 * 60 + 5) * MINUTE_MS;

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "check: nothing to offer", given: &[CREATE, ACTIVATE, CheckIn("3.0.0")], when: CheckIn("3.0.0") },
    Scenario { name: "check: first seen, nothing to offer", given: &[CREATE, ACTIVATE], when: CheckIn("3.0.0") },
    Scenario { name: "check: first seen, first offer", given: &[CREATE, ACTIVATE], when: CheckIn("1.0.0") },
    Scenario {
        name: "check: first offer",
        given: &[CREATE, CheckIn("1.0.0"), ACTIVATE, Wait(2000)],
        when: CheckIn("1.0.0"),
    },
    Scenario {
        name: "check: repeat",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), Wait(2000)],
        when: CheckIn("1.0.0"),
    },
    Scenario {
        name: "check: retry after a failure",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), Report("INSTALL_ERROR"), Wait(RETRY_MS)],
        when: CheckIn("1.0.0"),
    },
    Scenario {
        name: "check: back after silence",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), LOWER, Wait(SILENCE_MS), Sweep],
        when: CheckIn("1.0.0"),
    },
    Scenario {
        name: "check: the second old version after a success",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), Report("INSTALL_SUCCESS"), Wait(RETRY_MS), CheckIn("1.0.0")],
        when: CheckIn("1.0.0"),
    },
    Scenario { name: "check: proof", given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), Wait(2000)], when: CheckIn("2.0.0") },
    Scenario {
        name: "check: the user is asked",
        given: &[CREATE_ASKING, ACTIVATE, Controller(Says::Version)],
        when: Controller(Says::Poll),
    },
    Scenario {
        name: "check: after the user agreed",
        given: &[
            CREATE_ASKING,
            ACTIVATE,
            Controller(Says::Version),
            Controller(Says::Poll),
            Controller(Says::Yes),
            Wait(2000),
        ],
        when: Controller(Says::Poll),
    },
    Scenario {
        name: "report: the user agrees",
        given: &[CREATE_ASKING, ACTIVATE, Controller(Says::Version), Controller(Says::Poll)],
        when: Controller(Says::Yes),
    },
    Scenario {
        name: "report: the user refuses",
        given: &[CREATE_ASKING, ACTIVATE, Controller(Says::Version), Controller(Says::Poll)],
        when: Controller(Says::No),
    },
    Scenario { name: "report: progress", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: Report("DOWNLOAD") },
    Scenario { name: "report: success", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: Report("INSTALL_SUCCESS") },
    Scenario { name: "report: failure", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: Report("INSTALL_ERROR") },
    Scenario {
        name: "report: success after silence",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), LOWER, Wait(SILENCE_MS), Sweep],
        when: Report("INSTALL_SUCCESS"),
    },
    Scenario { name: "count: a grant", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: Count },
    Scenario {
        name: "count: a proof",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), Wait(2000), CheckIn("2.0.0")],
        when: Count,
    },
    Scenario {
        name: "count: a failure",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), LOWER, Report("INSTALL_ERROR")],
        when: Count,
    },
    Scenario {
        name: "count: the failure that holds",
        given: &[CREATE, ACTIVATE, IMPATIENT, CheckIn("1.0.0"), Report("INSTALL_ERROR")],
        when: Count,
    },
    Scenario { name: "publish: create", given: &[], when: CREATE },
    Scenario { name: "publish: activate", given: &[CREATE], when: ACTIVATE },
    Scenario { name: "publish: pause", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: PAUSE },
    Scenario { name: "publish: edit a draft", given: &[CREATE], when: EDIT_DRAFT },
    Scenario { name: "publish: edit", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: EDIT },
    Scenario { name: "publish: resume", given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), PAUSE], when: RESUME },
    Scenario { name: "publish: abort", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: ABORT },
    Scenario { name: "publish: delete", given: &[CREATE], when: DELETE },
    Scenario { name: "publish: reopen", given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), ABORT], when: REOPEN },
    Scenario {
        name: "publish: rollback",
        given: &[CREATE_OLDER, ACTIVATE_OLDER, CREATE, ACTIVATE, CheckIn("1.0.0"), CheckIn("2.0.0")],
        when: ROLL_BACK,
    },
    Scenario { name: "publish: stop", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: STOP },
    Scenario {
        name: "publish: resume stopped",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), STOP],
        when: RESUME_STOPPED,
    },
    Scenario { name: "sweep: nothing due", given: &[CREATE, ACTIVATE, CheckIn("1.0.0")], when: Sweep },
    Scenario {
        name: "sweep: an overdue device",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), LOWER, Wait(SILENCE_MS)],
        when: Sweep,
    },
    Scenario {
        name: "count: the silence that holds",
        given: &[CREATE, ACTIVATE, IMPATIENT, CheckIn("1.0.0"), Wait(SILENCE_MS), Sweep],
        when: Count,
    },
    Scenario {
        name: "sweep: completion",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), ONLY_ONE, CheckIn("2.0.0")],
        when: Sweep,
    },
    Scenario { name: "sweep: repair", given: &[CREATE, CutOpen, ACTIVATE], when: Sweep },
    Scenario {
        name: "sweep: split again",
        given: &[CREATE, ACTIVATE, CheckIn("1.0.0"), CheckIn("other"), LOWER, CheckIn("2.0.0")],
        when: Sweep,
    },
];

/// A world with one device, one function of each kind, and no fault but the one that is asked for.
struct Cell {
    world: World,
    update: UpdateId,
    /// The path of the question to the user.
    question: String,
    violations: Vec<String>,
}

impl Cell {
    fn new() -> Self {
        let store = FaultyStore::new(MemoryStore::new(), calm(), 7, moment(START_MS));
        let mut world = World::new(store, Timing::default(), START_MS);
        world.add_instance(0);
        let update = UpdateId::of(&ProductId::new(PRODUCT).unwrap(), &Version::new(2, 0, 0), 1);
        world.bucket().put(FILE.to_vec());
        Self { world, update, question: String::new(), violations: Vec::new() }
    }

    async fn go(&mut self, step: Step) -> Option<Done> {
        let product = ProductId::new(PRODUCT).unwrap();
        let (device, version) = match step {
            CheckIn("other") => ("lamp-8", "1.0.0"),
            CheckIn(version) => ("lamp-7", version),
            _ => ("lamp-7", "1.0.0"),
        };
        let id = DeviceId::new(device).unwrap();
        let token = self.world.keys().issue(&product, &id, 0);
        let ask = match step {
            CheckIn(_) => {
                let body = format!(r#"{{"id":"{device}","product":"{PRODUCT}","version":"{version}"}}"#);
                Ask::Check(requests::device("POST", "/v1/check", &[("authorization", &token)], body))
            }
            Report(status) => {
                let body =
                    format!(r#"{{"id":"{device}","product":"{PRODUCT}","version":"2.0.0","status":"{status}"}}"#);
                Ask::Report(requests::device("POST", "/v1/report", &[("authorization", &token)], body))
            }
            Controller(says) => {
                self.world.store().control().checker.takes_part(id.clone(), Speech::Hawkbit);
                let authorization = format!("TargetToken {token}");
                let headers = [("authorization", authorization.as_str()), ("host", "ota.example")];
                let base = format!("/{PRODUCT}/controller/v1/{device}");
                let feedback = format!("{}/feedback", self.question);
                match says {
                    Says::Version => {
                        let body = r#"{"data":{"sw_version":"1.0.0"}}"#.to_string();
                        Ask::Check(requests::device("PUT", &format!("{base}/configData"), &headers, body))
                    }
                    Says::Poll => Ask::Check(requests::device("GET", &base, &headers, String::new())),
                    Says::Yes | Says::No => {
                        let word = if says == Says::Yes { "confirmed" } else { "denied" };
                        let body = format!(r#"{{"confirmation":"{word}"}}"#);
                        Ask::Report(requests::device("POST", &feedback, &headers, body))
                    }
                }
            }
            Operate(method, path, body) => {
                let path = match path.strip_prefix("..") {
                    Some(path) => format!("/v1/products/{PRODUCT}{path}"),
                    None => format!("/v1/products/{PRODUCT}/updates{path}"),
                };
                Ask::Operate(requests::operator(method, &path, body))
            }
            Sweep => Ask::Sweep,
            Count => {
                let memory = self.world.store().inner().clone();
                let batch = memory.next_batch(STREAM_SHARD, 100)?;
                let done = self.world.finish(0, Ask::Count(batch)).await;
                if matches!(done, Done::Counted(Ok(_))) {
                    memory.acknowledge(STREAM_SHARD);
                }
                return Some(done);
            }
            Wait(ms) => {
                self.world.pass(ms);
                return None;
            }
            CutOpen => {
                let mut is_first = true;
                self.world.store().set_plan(Box::new(move |call, _| {
                    (call == Call::OpenShard && std::mem::take(&mut is_first)).then_some(Fault::KilledBefore)
                }));
                return None;
            }
        };
        let arrived = self.world.store().control().checker.moment();
        let asked = Asked::native(id, product, Version::parse(version).unwrap(), arrived);
        let done = self.world.finish(0, ask).await;
        if let Done::Answered(answer) = &done {
            self.answered(step, &asked, answer);
        }
        Some(done)
    }

    /// Counts everything, without a fault.
    async fn count_everything(&mut self) {
        self.world.store().set_plan(calm());
        while let Some(done) = self.go(Count).await {
            assert!(matches!(done, Done::Counted(Ok(_))), "{done}");
        }
    }

    fn answered(&mut self, step: Step, asked: &Asked, answer: &Answer) {
        if answer.status == 503 && (answer.retry_after_s.is_none() || answer.text("update").is_some()) {
            self.violations.push(format!("503 without Retry-After or with an offer: {}", answer.body));
        }
        if answer.status >= 500 && answer.status != 503 {
            self.violations.push(answer.brief());
        }
        if let Operate(..) = step
            && answer.status == 404
            && self.world.store().control().checker.in_force(&self.update).is_some()
        {
            self.violations.push(answer.brief());
        }
        if let Controller(Says::Poll) = step {
            let message = Message::Ask(Version::new(1, 0, 0));
            for heard in Speech::Hawkbit.hear(&message, answer) {
                if let Heard::Question(question) = heard {
                    self.question = question;
                }
            }
            let asked = Asked { speech: Speech::Hawkbit, message, ..asked.clone() };
            self.world.store().control().checker.answered(&asked, answer);
        }
        if let CheckIn(_) = step {
            self.world.store().control().checker.answered(asked, answer);
        }
        if let Operate(_, path, _) = step
            && answer.status == 200
            && (path.ends_with("pause") || path.ends_with("abort"))
        {
            self.world.store().control().checker.acknowledged_stop(&self.update, asked.arrived);
        }
        if let Operate(_, "../stop", _) = step
            && answer.status == 200
        {
            self.world.store().control().checker.acknowledged_product_stop(&asked.product, asked.arrived);
        }
    }

    /// The stored state in one line: state, totals, and the claim.
    async fn stored(&self) -> String {
        let product = ProductId::new(PRODUCT).unwrap();
        let device = DeviceId::new("lamp-7").unwrap();
        let memory = self.world.store().inner();
        let known = memory.device(&product, &device, Include::Item, Freshness::Strong).await.unwrap();
        let control = self.world.store().control();
        let state = control.checker.in_force(&self.update).map(|(generation, state)| format!("{state} {generation}"));
        let claim =
            control.checker.claim(&self.update, &device).map(|claim| format!("{:?} {}", claim.state(), claim.attempts));
        let totals = control.checker.totals(&self.update);
        let record = known.record_or_default();
        let replies = record
            .questions
            .iter()
            .map(|question| format!(" {:?}", question.reply.map(|reply| reply == Reply::Agreed)));
        let claim = claim.unwrap_or("no claim".into()) + &replies.collect::<String>();
        format!("{}; {totals}; {claim}", state.unwrap_or("none".into()))
    }

    fn broken(&self) -> Vec<String> {
        let broken =
            self.world.store().control().checker.broken().map(|(invariant, said)| format!("{invariant}: {said}"));
        self.violations.iter().cloned().chain(broken).collect()
    }
}

fn calm() -> FaultPlan {
    Box::new(|_, _| None)
}

/// One fault, at the call of that number.
fn at_call(number: usize, fault: Fault) -> FaultPlan {
    let mut calls = 0;
    Box::new(move |_, _| {
        calls += 1;
        (calls == number + 1).then_some(fault)
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

async fn prepared(scenario: &Scenario) -> Cell {
    let mut cell = Cell::new();
    for (number, step) in scenario.given.iter().enumerate() {
        cell.go(*step).await;
        let is_left = matches!(scenario.when, Count) && number + 1 == scenario.given.len();
        if !matches!(step, CutOpen) && !is_left {
            cell.count_everything().await;
        }
    }
    cell
}

/// The calls of a run without faults.
async fn calls_of(scenario: &Scenario) -> (Vec<Call>, String, String) {
    let mut cell = prepared(scenario).await;
    cell.world.store().control().keeps_log = true;
    let done = cell.go(scenario.when).await.unwrap();
    let calls = cell.world.store().control().log.iter().map(|(call, _)| *call).collect();
    assert_eq!(cell.broken(), Vec::<String>::new(), "{}", scenario.name);
    settle_down(&mut cell, scenario).await;
    (calls, done.to_string(), cell.stored().await)
}

/// The same device, operator or schedule tries again, and the sweep runs twice.
async fn settle_down(cell: &mut Cell, scenario: &Scenario) {
    cell.count_everything().await;
    cell.world.pass(5000);
    cell.go(Sweep).await;
    // What comes late comes before it is repeated.
    cell.world.store().land_all();
    for _ in 0..2 {
        cell.go(scenario.when).await;
        cell.count_everything().await;
        // A device that the sweep could not write stands on a page of the next minutes.
        cell.world.pass(3 * MINUTE_MS);
    }
    cell.go(Sweep).await;
    cell.count_everything().await;
    let rollout = RolloutKey::of(&ProductId::new(PRODUCT).unwrap(), &Version::new(2, 0, 0), 1);
    cell.world.store().compare_sums(&rollout);
    let counts = recount(cell.world.store().inner(), Duration::ZERO).await.unwrap();
    cell.violations.extend(counts.drift.into_iter().map(|drift| format!("{drift:?}")));
}

struct Row {
    scenario: &'static str,
    number: usize,
    call: Call,
    fault: Fault,
    saw: String,
    stored: String,
    violations: Vec<String>,
}

#[test]
fn every_fault_at_every_call_of_every_handler_leaves_nothing_wrong() {
    let mut rows = Vec::new();
    let mut text = String::new();
    for scenario in SCENARIOS {
        let (calls, saw, recovered) = block_on(calls_of(scenario));
        writeln!(text, "\n{} (without a fault: {saw}; then {recovered})", scenario.name).unwrap();
        for (number, call) in calls.into_iter().enumerate() {
            for fault in call.faults() {
                let row = block_on(cell(scenario, number, call, *fault, &recovered));
                writeln!(
                    text,
                    "  {:>2} {:<18} {:<22} {:<44} {}{}",
                    row.number + 1,
                    row.call,
                    row.fault,
                    row.saw,
                    row.stored,
                    row.violations.iter().map(|said| format!("  VIOLATION {said}")).collect::<String>()
                )
                .unwrap();
                rows.push(row);
            }
        }
    }
    let broken = rows.iter().filter(|row| !row.violations.is_empty()).collect::<Vec<_>>();
    writeln!(text, "\n{} cells, {} with a violation", rows.len(), broken.len()).unwrap();
    println!("{text}");
    let folder =
        std::env::var("CARGO_TARGET_DIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into());
    std::fs::write(format!("{folder}/fault-grid.txt"), &text).unwrap();
    for row in &broken {
        println!("{} {} {} {}: {:?}", row.scenario, row.number + 1, row.call, row.fault, row.violations);
    }
    assert_eq!(broken.len(), 0);
    assert_eq!(rows.len(), CELLS, "a handler makes other calls than before");
}

async fn cell(scenario: &Scenario, number: usize, call: Call, fault: Fault, recovered: &str) -> Row {
    let mut cell = prepared(scenario).await;
    cell.world.store().set_plan(at_call(number, fault));
    let injected = |cell: &Cell| cell.world.store().control().injected.values().sum::<u64>();
    let before = injected(&cell);
    let done = cell.go(scenario.when).await.unwrap();
    assert_eq!(injected(&cell), before + 1, "{}: the fault at call {number} did not happen", scenario.name);
    let (saw, stored) = (done.to_string(), cell.stored().await);
    if (call, fault) == (Call::Updates, Fault::Malformed) {
        // A function that left out a bad record looks again when the catalog changes, or when it is
        // started anew: a record does not become readable by itself.
        cell.world.restart(0, 0);
    }
    settle_down(&mut cell, scenario).await;
    let mut violations = cell.broken();
    // Whatever happened on the way, it ends where a run without faults ends: nothing counted
    // twice, nothing lost. Generations may differ.
    let end = cell.stored().await;
    if without_generation(&end) != without_generation(recovered) {
        violations.push(format!("ends with {end}"));
    }
    Row { scenario: scenario.name, number, call, fault, saw, stored, violations }
}

fn without_generation(stored: &str) -> String {
    let (state, rest) = stored.split_once(';').unwrap_or((stored, ""));
    format!("{};{rest}", state.split(' ').next().unwrap_or_default())
}
