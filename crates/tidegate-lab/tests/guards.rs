//! Every condition of the storage protocol is taken away once, and somebody notices.
//!
//! Some conditions are missed by simulated fleets. Others matter only in an order of events that is rare: a trace plays
//! that order, with the condition and without it.
#![allow(clippy::unwrap_used)] // the helpers of tests are tests, too

use std::time::Duration;

use tidegate_core::claim::Grant as Granting;
use tidegate_core::shard::{Gate, Grant};
use tidegate_core::{Claim, DeviceId, ProductId, State, Transition, UpdateId, Version};
use tidegate_lab::simulator::checker::Asked;
use tidegate_lab::simulator::requests::{self, Answer};
use tidegate_lab::simulator::simulation::try_run;
use tidegate_lab::simulator::world::{Ask, Done, Timing, World, moment};
use tidegate_lab::simulator::{Call, Fault, FaultyStore, Invariant, Plan};
use tidegate_lab::{Guard, MemoryStore};
use tidegate_store::record::{Change, RolloutKey, UpdateRecord, Wanted};
use tidegate_store::store::{Expected, Freshness, GrantRequest, Granted, Opening, Patience};
use tidegate_store::{CheckStore, CloseRollouts, CountStore, OpenRollouts, RaiseCeilings, ReadCatalog, ReadUpdates};

/// Check-ins until a missing condition must have shown.
const CHECK_INS: u64 = 500_000;

fn check(guard: Guard, expected: &[Invariant]) {
    let plan = Plan { without: Some(guard), ..Plan::new(1, CHECK_INS) };
    let mut check_ins = 0;
    let violation = try_run(plan, |so_far| check_ins = so_far).expect_err("a promise breaks without it");
    println!("{guard}: {:?} after {check_ins} check-ins: {violation}", violation.invariant);
    assert!(expected.contains(&violation.invariant), "{guard}: {violation}");
}

#[test]
fn a_claim_that_is_put_over_another_is_noticed() {
    check(Guard::ClaimIsNew, &[Invariant::OneClaim]);
}

#[test]
fn a_further_grant_of_a_claim_that_moved_on_is_noticed() {
    // Which promise breaks first, chance decides.
    check(Guard::ClaimIsTheOneThatEnded, &[Invariant::OneClaim, Invariant::NoDowngrade]);
}

#[test]
fn a_grant_to_a_device_at_another_revision_is_noticed() {
    check(Guard::RevisionAtGrant, &[Invariant::OneClaim]);
}

#[test]
fn a_shard_that_does_not_look_at_its_cap_is_noticed() {
    check(Guard::Devices, &[Invariant::MaxDevices]);
}

#[test]
fn a_shard_that_does_not_look_at_what_is_in_flight_is_noticed() {
    check(Guard::InFlight, &[Invariant::MaxInFlight]);
}

#[test]
fn a_shard_that_does_not_look_at_its_period_is_noticed() {
    check(Guard::Period, &[Invariant::MaxPerPeriod]);
}

#[test]
fn a_claim_that_moves_from_another_attempt_is_noticed() {
    check(Guard::SettleOnce, &[Invariant::OutcomesOnce]);
}

#[test]
fn a_claim_that_moves_from_another_state_is_noticed() {
    check(Guard::ClaimAsRead, &[Invariant::OutcomesOnce]);
}

const PRODUCT: &str = "lamp";
const START_MS: i64 = 1_767_225_600_000;

/// One rollout that operators, devices and late writes act on.
struct Bench {
    world: World,
    product: ProductId,
    version: Version,
    rollout: RolloutKey,
}

impl Bench {
    /// The rollout is active, in generation 2, with these limits.
    async fn new(guard: Option<Guard>, timing: Timing, limits: &str) -> Self {
        let memory = MemoryStore::new();
        let store = FaultyStore::new(memory.clone(), Box::new(|_, _| None), 7, moment(START_MS));
        let mut world = World::new(store, timing, START_MS);
        world.add_instance(0);
        world.add_instance(0);
        let (product, version) = (ProductId::new(PRODUCT).unwrap(), Version::new(2, 0, 0));
        let rollout = RolloutKey::of(&product, &version, 1);
        let mut bench = Self { world, product, version, rollout };
        let create = r#"{"version":"2.0.0","kind":"json","payload":{},"rollout":{"limits":LIMITS}}"#;
        assert_eq!(bench.operate("POST", "/updates", &create.replace("LIMITS", limits)).await, Some(201));
        assert_eq!(bench.operate("POST", "/updates/2.0.0/activate", "{}").await, Some(200));
        memory.remove_guard(guard);
        bench
    }

    fn store(&self) -> FaultyStore {
        self.world.store().clone()
    }

    fn update(&self) -> UpdateId {
        self.rollout.update_id()
    }

    /// The status of the answer to an operator; `None` if the function was killed. A stop that is acknowledged is entered
    /// into the ledger.
    async fn operate(&mut self, method: &str, path: &str, body: &str) -> Option<u16> {
        let request = requests::operator(method, &format!("/v1/products/{PRODUCT}{path}"), body);
        let asked_at = self.store().control().checker.moment();
        let Done::Answered(Answer { status, .. }) = self.world.finish(0, Ask::Operate(request)).await else {
            return None;
        };
        let (update, store) = (self.update(), self.store());
        let checker = &mut store.control().checker;
        match path {
            "/stop" if status == 200 => checker.acknowledged_product_stop(&self.product, asked_at),
            _ if status == 200 && (path.ends_with("pause") || path.ends_with("abort")) => {
                checker.acknowledged_stop(&update, asked_at);
            }
            _ => {}
        }
        Some(status)
    }

    async fn limit(&mut self, limits: &str) -> Option<u16> {
        let edit = r#"{"rollout":{"limits":LIMITS}}"#.replace("LIMITS", limits);
        self.operate("PATCH", "/updates/2.0.0/campaign", &edit).await
    }

    async fn pause(&mut self) -> Option<u16> {
        self.operate("POST", "/updates/2.0.0/pause", r#"{"reason":"a test"}"#).await
    }

    /// The next call of this kind kills its function, before it is made.
    fn kill_before(&self, killed: Call) {
        let mut is_next = true;
        self.store().set_plan(Box::new(move |call, _| {
            (call == killed && std::mem::take(&mut is_next)).then_some(Fault::KilledBefore)
        }));
    }

    /// A device checks in at one of the functions; the answer.
    async fn check_in(&mut self, instance: usize, device: &str) -> Answer {
        let id = DeviceId::new(device).unwrap();
        let token = self.world.keys().issue(&self.product, &id, 0);
        let body = format!(r#"{{"id":"{device}","product":"{PRODUCT}","version":"1.0.0"}}"#);
        let arrived = self.store().control().checker.moment();
        let asked = Asked::native(id, self.product.clone(), Version::new(1, 0, 0), arrived);
        let request = Ask::Check(requests::device("POST", "/v1/check", &[("authorization", &token)], body));
        let Done::Answered(answer) = self.world.finish(instance, request).await else {
            panic!("nobody kills it");
        };
        self.store().control().checker.answered(&asked, &answer);
        answer
    }

    /// A device that was never seen is granted a place, as a function would that decided by this generation.
    async fn grant(&self, device: &str, shard: u16, generation: u64) -> bool {
        let now = self.world.clock(0);
        let granting = Granting {
            version: &self.version,
            campaign: 1,
            was: "1.0.0",
            reports_as: &[],
            shard,
            count: 0,
            epoch: 1,
            test: 0,
            hour: 0,
            is_newcomer: false,
            now,
        };
        let request = GrantRequest {
            rollout: self.rollout.clone(),
            device: DeviceId::new(device).unwrap(),
            revision: None,
            generation,
            grant: Grant::First,
            before: None,
            after: Claim::granted(None, &granting).unwrap(),
            period: None,
            seen: None,
        };
        self.store().grant(&request, Patience::Long).await.unwrap() == Granted::Yes
    }

    async fn report(&mut self, device: &str, status: &str) {
        let token = self.world.keys().issue(&self.product, &DeviceId::new(device).unwrap(), 0);
        let body = format!(r#"{{"id":"{device}","product":"{PRODUCT}","version":"2.0.0","status":"{status}"}}"#);
        let request = requests::device("POST", "/v1/report", &[("authorization", &token)], body);
        let done = self.world.finish(0, Ask::Report(request)).await;
        assert!(matches!(done, Done::Answered(Answer { status: 200, .. })), "{done}");
    }

    /// Counts everything.
    async fn count(&mut self) {
        let memory = self.store().inner().clone();
        for stream_shard in memory.stream_shards() {
            while let Some(batch) = memory.next_batch(&stream_shard, 100) {
                let done = self.world.finish(0, Ask::Count(batch)).await;
                assert!(matches!(done, Done::Counted(Ok(_))), "{done}");
                memory.acknowledge(&stream_shard);
            }
        }
    }

    async fn record(&self) -> UpdateRecord {
        self.store().update(&self.product, &self.version).await.unwrap().unwrap()
    }

    fn broken(&self) -> Option<(Invariant, String)> {
        self.store().control().checker.broken().cloned()
    }
}

/// Plays a trace with the condition, which holds every promise, and without it, which breaks this one.
fn trace(guard: Guard, expected: Invariant, limits: &str, play: impl AsyncFn(&mut Bench)) {
    let run = |removed: Option<Guard>| {
        block_on(async {
            let mut bench = Bench::new(removed, Timing::default(), limits).await;
            play(&mut bench).await;
            bench.broken()
        })
    };
    assert_eq!(run(None), None, "{guard}");
    let (broken, said) = run(Some(guard)).expect("a promise breaks without it");
    println!("{guard}: {said}");
    assert_eq!(broken, expected, "{guard}: {said}");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

#[test]
fn a_device_that_is_lost_while_it_is_heard_from_is_noticed() {
    trace(Guard::SeenAsReadForLost, Invariant::LostInTime, r#"{"max_in_flight":3}"#, async |bench| {
        assert!(bench.check_in(0, "d1").await.text("update").is_some());
        bench.count().await;
        bench.world.pass(91 * 3_600_000);
        // The sweep has read the device, and its write takes long.
        let mut is_next = true;
        bench.store().set_plan(Box::new(move |call, _| {
            (call == Call::WriteDevice && std::mem::take(&mut is_next)).then_some(Fault::LandsLate)
        }));
        assert!(matches!(bench.world.finish(0, Ask::Sweep).await, Done::Swept(Ok(_))));
        // The device waits on the old version: its claim stays as it is.
        assert!(bench.check_in(0, "d1").await.text("update").is_some());
        bench.store().land_all();
    });
}

#[test]
fn a_gate_that_does_not_shut_is_noticed() {
    trace(Guard::Gate, Invariant::MaxInFlight, r#"{"max_in_flight":3}"#, async |bench| {
        assert!(bench.grant("d1", 0, 2).await);
        // The new limit is recorded, and the function dies before it opens the shard with it.
        bench.kill_before(Call::OpenShard);
        assert_eq!(bench.limit(r#"{"max_in_flight":1}"#).await, None);
        bench.grant("d2", 0, 3).await;
    });
}

#[test]
fn a_grant_for_a_former_generation_is_noticed() {
    trace(Guard::Generation, Invariant::CurrentGeneration, r#"{"max_in_flight":3}"#, async |bench| {
        assert_eq!(bench.limit(r#"{"max_in_flight":4}"#).await, Some(200));
        bench.grant("d1", 0, 2).await;
    });
}

#[test]
fn a_stop_that_shuts_no_shard_is_noticed() {
    trace(Guard::Fence, Invariant::NoGrantAfterStop, r#"{"max_in_flight":3}"#, async |bench| {
        assert_eq!(bench.pause().await, Some(200));
        bench.grant("d1", 0, 2).await;
    });
}

#[test]
fn a_stop_that_shuts_only_the_first_shard_is_noticed() {
    trace(Guard::EveryShardIsShut, Invariant::NoGrantAfterStop, r#"{"max_in_flight":200}"#, async |bench| {
        assert_eq!(bench.pause().await, Some(200));
        bench.grant("d1", 1, 2).await;
    });
}

#[test]
fn a_ceiling_that_falls_is_noticed() {
    trace(Guard::CeilingIsRaised, Invariant::CeilingRises, r#"{"max_in_flight":3}"#, async |bench| {
        bench.store().raise_ceiling(&bench.rollout, 0, 2, 2).await.unwrap();
    });
}

#[test]
fn a_ceiling_for_a_former_generation_is_noticed() {
    trace(Guard::CeilingOfGeneration, Invariant::Ceiling, r#"{"max_in_flight":2}"#, async |bench| {
        bench.check_in(0, "d1").await;
        bench.check_in(0, "d2").await;
        bench.report("d1", "INSTALL_ERROR").await;
        // The count writes the tally, and its write of the ceiling 1 + 2 is slow.
        let old = (2, 3);
        bench.kill_before(Call::RaiseCeiling);
        let memory = bench.store().inner().clone();
        let batch = memory.next_batch("shardId-00000", 100).unwrap();
        assert!(matches!(bench.world.finish(0, Ask::Count(batch)).await, Done::Killed));
        assert_eq!(bench.limit(r#"{"max_in_flight":1}"#).await, Some(200));
        bench.store().raise_ceiling(&bench.rollout, 0, old.0, old.1).await.unwrap();
    });
}

#[test]
fn a_shard_that_is_opened_by_a_change_that_is_over_is_noticed() {
    trace(Guard::OpenIfPaused, Invariant::NoGrantAfterStop, r#"{"max_in_flight":3}"#, async |bench| {
        bench.kill_before(Call::OpenShard);
        assert_eq!(bench.limit(r#"{"max_in_flight":4}"#).await, None);
        let record = bench.record().await;
        assert_eq!(bench.pause().await, Some(200));
        let allocation = record.allocation.unwrap();
        let opening = Opening { generation: 3, caps: allocation.caps(0), ceiling: 4, period: allocation.period };
        bench.store().open_shard(&bench.rollout, 0, &opening).await.unwrap();
        bench.grant("d1", 0, 3).await;
    });
}

#[test]
fn a_tally_that_is_written_at_another_position_is_noticed() {
    trace(Guard::PositionAsRead, Invariant::SumsAreTrue, r#"{"max_in_flight":3}"#, async |bench| {
        bench.check_in(0, "d1").await;
        bench.count().await;
        let (store, shard) = (bench.store(), "shardId-00000");
        let first = store.tally(&bench.rollout, shard).await.unwrap();
        bench.check_in(0, "d2").await;
        bench.count().await;
        // Another invocation had the first batch too, and writes its tally now.
        store.put_tally(&bench.rollout, shard, None, &first, bench.world.clock(0)).await.unwrap();
        store.compare_sums(&bench.rollout);
    });
}

#[test]
fn a_wish_over_one_that_was_not_read_is_noticed() {
    trace(Guard::WantedAsRead, Invariant::WishStays, r#"{"max_in_flight":3}"#, async |bench| {
        let record = bench.record().await;
        assert_eq!(bench.pause().await, Some(200));
        let wanted = wanted(Change::Split, 3);
        let wishing = UpdateRecord { wanted: Some(wanted), ..record.clone() };
        let wished = bench.store().want(&wishing, Expected::of(&record), None).await;
        if wished.is_ok() {
            let opened = UpdateRecord { generation: 3, ..record };
            let expected = Expected { generation: 3, wanted: Some(3), revision: None };
            bench.store().record_change(&opened, expected, None).await.unwrap();
        }
    });
}

#[test]
fn a_change_that_ends_the_wish_of_another_is_noticed() {
    trace(Guard::WantedIsMine, Invariant::WishStays, r#"{"max_in_flight":3}"#, async |bench| {
        bench.kill_before(Call::RecordChange);
        assert_eq!(bench.limit(r#"{"max_in_flight":4}"#).await, None);
        let edit = bench.record().await;
        bench.kill_before(Call::RecordChange);
        assert_eq!(bench.pause().await, None);
        let edited = UpdateRecord { generation: 3, wanted: None, ..edit.clone() };
        let _refused = bench.store().record_change(&edited, Expected::of(&edit), None).await;
    });
}

#[test]
fn a_stop_that_the_head_does_not_name_is_noticed() {
    trace(Guard::HeadNamesStopped, Invariant::NoOfferAfterStop, r#"{"max_in_flight":3}"#, async |bench| {
        assert_eq!(bench.check_in(0, "d1").await.text("version"), Some("2.0.0"));
        bench.store().set_plan(Box::new(|call, _| (call == Call::PutCatalog).then_some(Fault::ServerError)));
        assert_eq!(bench.pause().await, Some(200));
        bench.check_in(0, "d1").await;
    });
}

#[test]
fn an_opening_of_a_stopped_product_is_noticed() {
    trace(Guard::OpenUnlessStopped, Invariant::NoGrantAfterStop, r#"{"max_in_flight":3}"#, async |bench| {
        assert_eq!(bench.operate("POST", "/stop", r#"{"reason":"a test"}"#).await, Some(200));
        let paused = bench.record().await;
        // A function that read the head before the stop resumes the update.
        let wanted = Wanted {
            change: Change::Transition(Transition::Resume),
            generation: 4,
            shards: 1,
            who: "ada".into(),
            reason: "a test".into(),
            at: moment(START_MS),
        };
        let wishing = UpdateRecord { wanted: Some(wanted), ..paused.clone() };
        let _refused = bench.store().want(&wishing, Expected::of(&paused), None).await;
        bench.store().shut_shard(&bench.rollout, 0, Gate::Paused, 4).await.unwrap();
        let resumed = UpdateRecord { state: State::Active, generation: 4, wanted: None, ..paused.clone() };
        let _refused = bench.store().record_change(&resumed, Expected::of(&wishing), None).await;
        let allocation = paused.allocation.unwrap();
        let opening = Opening { generation: 4, caps: allocation.caps(0), ceiling: 3, period: allocation.period };
        if bench.record().await.state == State::Active {
            bench.store().open_shard(&bench.rollout, 0, &opening).await.unwrap();
        }
        bench.grant("d1", 0, 4).await;
    });
}

/// "503: nothing was changed" would be untrue: the change is wanted, and the sweep makes it.
#[test]
fn a_change_that_is_wanted_and_cannot_be_finished_is_answered_202() {
    block_on(async {
        let mut bench = Bench::new(None, Timing::default(), r#"{"max_in_flight":3}"#).await;
        bench.store().set_plan(Box::new(|call, _| (call == Call::RecordChange).then_some(Fault::ServerError)));
        assert_eq!(bench.limit(r#"{"max_in_flight":2}"#).await, Some(202));
        bench.store().set_plan(Box::new(|_, _| None));
        let _swept = bench.world.finish(1, Ask::Sweep).await;
        let record = bench.record().await;
        assert_eq!((record.wanted, record.generation), (None, 3));
        assert!(record.definition.contains(r#""max_in_flight":2"#), "{}", record.definition);
    });
}

#[test]
fn an_older_catalog_in_force_is_noticed() {
    trace(Guard::CatalogIsNewer, Invariant::NoOfferAfterStop, r#"{"max_in_flight":3}"#, async |bench| {
        assert_eq!(bench.check_in(0, "d1").await.text("version"), Some("2.0.0"));
        let store = bench.store();
        let in_force = store.head(&bench.product, Freshness::Strong).await.unwrap().unwrap().catalog.unwrap();
        let bytes = store.catalog(&bench.product, &in_force.name).await.unwrap().unwrap().to_vec();
        assert_eq!(bench.operate("POST", "/updates/2.0.0/abort", r#"{"reason":"a test"}"#).await, Some(200));
        // A function that compiled the catalog before the stop writes it again.
        store.put_catalog(&bench.product, in_force.revision, bytes, &[]).await.unwrap();
        bench.world.pass(5000);
        bench.check_in(0, "d1").await;
    });
}

#[test]
fn a_stop_that_is_acknowledged_before_old_heads_are_gone_is_noticed() {
    let play = |acknowledged_after: Duration| {
        let timing = Timing { acknowledged_after, ..Timing::default() };
        block_on(async {
            let mut bench = Bench::new(None, timing, r#"{"max_in_flight":3}"#).await;
            assert_eq!(bench.check_in(1, "d1").await.text("version"), Some("2.0.0"));
            bench.world.pass(200);
            assert_eq!(bench.pause().await, Some(200));
            bench.world.pass(200);
            bench.check_in(1, "d1").await;
            bench.broken().map(|(invariant, _)| invariant)
        })
    };
    assert_eq!(play(Timing::default().acknowledged_after), None);
    assert_eq!(play(Duration::ZERO), Some(Invariant::NoOfferAfterStop));
}

fn wanted(change: Change, generation: u64) -> Wanted {
    let (who, reason) = ("ada".to_string(), "a test".to_string());
    Wanted { change, generation, shards: 1, who, reason, at: moment(START_MS) }
}

/// A check-in read the device from before the revocation, was refused the place because the device had changed, and took it
/// with what it had read then.
#[test]
fn a_token_that_was_revoked_takes_no_place_after_a_stale_read() {
    block_on(async {
        let mut bench = Bench::new(None, Timing::default(), r#"{"max_in_flight":1}"#).await;
        assert!(bench.check_in(0, "d1").await.text("update").is_some());
        assert_eq!(bench.check_in(0, "d2").await.text("update"), None, "there is no room");
        assert_eq!(bench.operate("DELETE", "/devices/d2/token", r#"{"reason":"stolen"}"#).await, Some(200));
        assert_eq!(bench.limit(r#"{"max_in_flight":2}"#).await, Some(200));
        let mut is_next = true;
        bench.store().set_plan(Box::new(move |call, _| {
            (call == Call::DeviceEventual && std::mem::take(&mut is_next)).then_some(Fault::StaleRead)
        }));
        let token = bench.world.keys().issue(&bench.product, &DeviceId::new("d2").unwrap(), 0);
        let body = format!(r#"{{"id":"d2","product":"{PRODUCT}","version":"1.0.0"}}"#);
        let request = requests::device("POST", "/v1/check", &[("authorization", &token)], body);
        // A function that does not know the shard as full.
        let done = bench.world.finish(1, Ask::Check(request)).await;
        assert!(matches!(done, Done::Answered(Answer { status: 401, .. })), "{done}");
        assert_eq!(bench.store().control().injected.get(&Fault::StaleRead), Some(&1));
    });
}
