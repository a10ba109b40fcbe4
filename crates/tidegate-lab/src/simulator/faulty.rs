//! A store under which things go wrong.
//!
//! Before each call the store asks what is to happen to it, and lets others go first: so the
//! functions above it are interleaved at every call, and can be killed between any two. Every write
//! that was applied is told to the [`InvariantChecker`] and compared with what is stored.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tidegate_core::claim::CountDelta;
use tidegate_core::limits::{Allocation, UNLIMITED};
use tidegate_core::shard::{Gate, Shard};
use tidegate_core::{Claim, DeviceId, ProductId, Timestamp, UpdateId, Version};
use tidegate_store::record::{AuditEntry, ClaimKey, DeviceWrite, Head, KnownDevice, SeriesPoint, UpdateRecord};
use tidegate_store::store::{Freshness, Reservation, Reserved, StoreError, Stored};
use tidegate_store::{
    CheckStore, CloseRollouts, OpenRollouts, PublishStore, ReadCatalog, ReadDevices, ReadUpdates, ReportStore,
    SettleClaims, SweepStore,
};

use crate::random::Random;
use crate::simulator::checker::InvariantChecker;
use crate::simulator::fault::{Call, Fault, Guard};

/// Earlier states of a record that a stale read may still answer.
const REMEMBERED: usize = 3;

/// Decides what happens to a call.
pub type FaultPlan = Box<dyn FnMut(Call, &mut Random) -> Option<Fault> + Send>;

/// Why the handler that was polled last is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waiting {
    /// For nothing of ours: it sleeps on tokio's clock.
    #[default]
    Clock,
    /// For its turn; others may go first.
    Turn,
    /// For a slow call.
    Slow,
    /// For ever: it was killed, and is to be dropped.
    Killed,
}

/// What all clones of a store share.
pub struct Desk {
    plan: FaultPlan,
    /// The checker, which is told of every write that was applied.
    pub checker: InvariantChecker,
    /// What happened, by kind.
    pub injected: BTreeMap<Fault, u64>,
    /// Calls that were made, with what happened to them, if they are kept.
    pub log: Vec<(Call, Option<Fault>)>,
    /// Whether `log` is kept.
    pub keeps_log: bool,
    /// Calls that were made.
    pub calls: u64,
    /// Why the handler that was polled last is waiting.
    pub waiting: Waiting,
    /// The true time.
    pub now: Timestamp,
    /// The condition that is taken away, if any.
    pub without: Option<Guard>,
    random: Random,
    devices: BTreeMap<DeviceId, VecDeque<KnownDevice>>,
    heads: BTreeMap<ProductId, VecDeque<Option<Head>>>,
    allocations: BTreeMap<UpdateId, Allocation>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("calls", &self.calls).field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// A store under which things go wrong.
#[derive(Debug, Clone)]
pub struct FaultyStore<S> {
    inner: S,
    desk: Arc<Mutex<Desk>>,
}

impl<S> FaultyStore<S> {
    /// A store over `inner`. The plan is asked before each call.
    #[must_use]
    pub fn new(inner: S, plan: FaultPlan, seed: u64, now: Timestamp) -> Self {
        let desk = Desk {
            plan,
            checker: InvariantChecker::default(),
            injected: BTreeMap::new(),
            log: Vec::new(),
            keeps_log: false,
            calls: 0,
            waiting: Waiting::Clock,
            now,
            without: None,
            random: Random::new(seed),
            devices: BTreeMap::new(),
            heads: BTreeMap::new(),
            allocations: BTreeMap::new(),
        };
        Self { inner, desk: Arc::new(Mutex::new(desk)) }
    }

    /// The store below, where nothing goes wrong.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What the clones share.
    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, this plan is asked.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.desk().plan = plan;
    }

    fn without(&self, guard: Guard) -> bool {
        self.desk().without == Some(guard)
    }

    fn turn(&self, call: Call) -> Turn<'_, S> {
        Turn { store: self, call, stage: Stage::Asked }
    }

    async fn stop_here<T>(&self) -> T {
        std::future::poll_fn(|_| {
            self.desk().waiting = Waiting::Killed;
            Poll::Pending
        })
        .await
    }

    /// A read: it happens, or it does not.
    async fn read<T, F>(&self, call: Call, run: impl Fn() -> F) -> Stored<T>
    where
        F: Future<Output = Stored<T>>,
    {
        match self.turn(call).await {
            None | Some(Fault::Slow | Fault::StaleRead) => run().await,
            Some(Fault::KilledAfter) => self.stop_here().await,
            Some(Fault::Malformed) => Err(StoreError::Corrupt("an attribute has another type".into())),
            Some(fault) => Err(unavailable(fault)),
        }
    }

    /// A write: it is applied or not, and its answer arrives or not.
    async fn write<T, F>(&self, call: Call, conflict: Stored<T>, run: impl Fn() -> F) -> Stored<T>
    where
        F: Future<Output = Stored<T>>,
    {
        match self.turn(call).await {
            None | Some(Fault::Slow | Fault::StaleRead | Fault::Malformed | Fault::Partial) => run().await,
            Some(Fault::Conflict) => conflict,
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                // Whatever it said, nobody heard it.
                drop(run().await);
                Err(unavailable(fault))
            }
            Some(Fault::CommittedAndRetried) => {
                drop(run().await);
                run().await
            }
            Some(Fault::KilledAfter) => {
                drop(run().await);
                self.stop_here().await
            }
            Some(fault) => Err(unavailable(fault)),
        }
    }
}

enum Stage {
    Asked,
    Waiting(Option<Fault>),
}

/// A call waits for its turn once, and forever when its function is killed.
struct Turn<'a, S> {
    store: &'a FaultyStore<S>,
    call: Call,
    stage: Stage,
}

impl<S> Future for Turn<'_, S> {
    type Output = Option<Fault>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Fault>> {
        let store = self.store;
        let call = self.call;
        match self.stage {
            Stage::Asked => {
                let mut desk = store.desk();
                let desk = &mut *desk;
                let fault = (desk.plan)(call, &mut desk.random).filter(|fault| call.faults().contains(fault));
                desk.calls += 1;
                if desk.keeps_log {
                    desk.log.push((call, fault));
                }
                if let Some(fault) = fault {
                    *desk.injected.entry(fault).or_default() += 1;
                }
                desk.waiting = match fault {
                    Some(Fault::KilledBefore) => Waiting::Killed,
                    Some(Fault::Slow) => Waiting::Slow,
                    _ => Waiting::Turn,
                };
                self.stage = Stage::Waiting(fault);
                Poll::Pending
            }
            Stage::Waiting(Some(Fault::KilledBefore)) => {
                store.desk().waiting = Waiting::Killed;
                Poll::Pending
            }
            Stage::Waiting(fault) => {
                store.desk().waiting = Waiting::Clock;
                Poll::Ready(fault)
            }
        }
    }
}

fn unavailable(fault: Fault) -> StoreError {
    StoreError::Unavailable(fault.to_string())
}

fn busy<T>() -> Stored<T> {
    Err(StoreError::Unavailable("others write the same records".into()))
}

fn remember<T>(states: &mut VecDeque<T>, state: T) {
    if states.len() == REMEMBERED {
        states.pop_front();
    }
    states.push_back(state);
}

/// The first shards of an allocation.
fn first_shards(allocation: &Allocation, count: usize) -> Allocation {
    let first = |column: &[u64]| column.iter().take(count).copied().collect();
    Allocation {
        devices: first(&allocation.devices),
        per_period: first(&allocation.per_period),
        in_flight: first(&allocation.in_flight),
        period: allocation.period,
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> FaultyStore<S> {
    async fn remember_device(&self, product: &ProductId, device: &DeviceId) -> Stored<()> {
        let known = self.inner.device(product, device, Freshness::Strong).await?;
        remember(self.desk().devices.entry(device.clone()).or_default(), known);
        Ok(())
    }

    async fn remember_head(&self, product: &ProductId) -> Stored<()> {
        let head = self.inner.head(product, Freshness::Strong).await?;
        remember(self.desk().heads.entry(product.clone()).or_default(), head);
        Ok(())
    }

    async fn compare(&self, update: &UpdateId) -> Stored<()> {
        let count = self.desk().checker.shards(update);
        let shards = self.inner.shards(update, count).await?;
        self.desk().checker.compare(update, &shards);
        Ok(())
    }

    async fn apply_reserve(&self, reservation: &Reservation) -> Stored<Reserved> {
        self.remember_device(&reservation.key.product, &reservation.key.device).await?;
        let mut reserved = self.inner.reserve(reservation).await?;
        if reserved != Reserved::Granted {
            reserved = self.reserve_unguarded(reservation, reserved).await?;
        }
        if reserved == Reserved::Granted {
            let now = self.desk().now;
            self.desk().checker.granted(reservation, now);
            self.compare(&reservation.key.update).await?;
        }
        Ok(reserved)
    }

    /// What a store without one of its conditions would have done.
    async fn reserve_unguarded(&self, reservation: &Reservation, refused: Reserved) -> Stored<Reserved> {
        let without = self.desk().without;
        match (without, refused) {
            (Some(Guard::ClaimIsNew), Reserved::OtherClaim(Some(held))) if reservation.previous.is_none() => {
                let delta = CountDelta { in_flight: 1, ..CountDelta::default() };
                self.inner.settle(&reservation.key, &held, &reservation.claim, delta).await?;
                Ok(Reserved::Granted)
            }
            (Some(Guard::ClaimIsTheOneThatLapsed), Reserved::OtherClaim(Some(held)))
                if reservation.previous.is_some() =>
            {
                let delta = CountDelta { in_flight: 1, ..reservation.delta };
                self.inner.settle(&reservation.key, &held, &reservation.claim, delta).await?;
                Ok(Reserved::Granted)
            }
            (Some(Guard::Generation), Reserved::Refused(Some(shard))) => {
                let moved = Reservation { generation: shard.generation, ..reservation.clone() };
                self.inner.reserve(&moved).await
            }
            (_, refused) => Ok(refused),
        }
    }

    async fn apply_settle(&self, key: &ClaimKey, before: &Claim, after: &Claim, delta: CountDelta) -> Stored<()> {
        self.remember_device(&key.product, &key.device).await?;
        let settled = self.inner.settle(key, before, after, delta).await;
        if settled == Err(StoreError::Conflict)
            && self.without(Guard::SettleOnce)
            && let Some(held) = self.inner.claim(key).await?
        {
            self.inner.settle(key, &held, after, delta).await?;
        } else {
            settled?;
        }
        self.desk().checker.settled(key, before, after);
        self.compare(&key.update).await
    }

    async fn apply_close(&self, update: &UpdateId, count: u16, gate: Gate, generation: u64) -> Stored<()> {
        if self.without(Guard::Fence) {
            return Ok(());
        }
        let allocation = self.desk().allocations.get(update).cloned();
        if self.without(Guard::Gate)
            && let Some(allocation) = allocation
        {
            return self.inner.open_shards(update, &allocation, generation).await;
        }
        self.inner.close_shards(update, count, gate, generation).await
    }

    async fn apply_open(&self, update: &UpdateId, allocation: &Allocation, generation: u64) -> Stored<()> {
        let mut allocation = allocation.clone();
        let unlimited = |column: &mut Vec<u64>| column.fill(UNLIMITED - 1);
        match self.desk().without {
            Some(Guard::Devices) => unlimited(&mut allocation.devices),
            Some(Guard::InFlight) => unlimited(&mut allocation.in_flight),
            Some(Guard::Period) => unlimited(&mut allocation.per_period),
            _ => {}
        }
        self.desk().allocations.insert(update.clone(), allocation.clone());
        self.inner.open_shards(update, &allocation, generation).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> ReadCatalog for FaultyStore<S> {
    async fn head(&self, product: &ProductId, freshness: Freshness) -> Stored<Option<Head>> {
        let call = if freshness == Freshness::Strong { Call::HeadStrong } else { Call::Head };
        match self.turn(call).await {
            Some(Fault::StaleRead) => {
                let mut desk = self.desk();
                let desk = &mut *desk;
                let stale = desk.heads.get(product).map(|heads| heads.iter().collect::<Vec<_>>()).unwrap_or_default();
                if let Some(head) = desk.random.pick(&stale) {
                    return Ok(Option::clone(head));
                }
            }
            None | Some(Fault::Slow) => {}
            Some(Fault::KilledAfter) => return self.stop_here().await,
            Some(Fault::Malformed) => return Err(StoreError::Corrupt("revision is not a number".into())),
            Some(fault) => return Err(unavailable(fault)),
        }
        self.inner.head(product, freshness).await
    }

    async fn catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        match self.turn(Call::Catalog).await {
            None | Some(Fault::Slow) => self.inner.catalog(product, name).await,
            // Its end is missing.
            Some(Fault::Malformed) => {
                let whole = self.inner.catalog(product, name).await?;
                Ok(whole.map(|bytes| bytes.iter().copied().take(bytes.len() / 2).collect()))
            }
            Some(Fault::KilledAfter) => self.stop_here().await,
            Some(fault) => Err(unavailable(fault)),
        }
    }

    async fn products(&self) -> Stored<Vec<ProductId>> {
        // A product that is missed is swept a minute later.
        let mut products = self.list(Call::Products, || self.inner.products()).await?;
        products.1.truncate(products.0);
        Ok(products.1)
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> ReadDevices for FaultyStore<S> {
    async fn device(&self, product: &ProductId, device: &DeviceId, freshness: Freshness) -> Stored<KnownDevice> {
        let call = if freshness == Freshness::Strong { Call::DeviceStrong } else { Call::DeviceEventual };
        match self.turn(call).await {
            Some(Fault::StaleRead) => {
                let mut desk = self.desk();
                let desk = &mut *desk;
                let stale =
                    desk.devices.get(device).map(|states| states.iter().collect::<Vec<_>>()).unwrap_or_default();
                if let Some(known) = desk.random.pick(&stale) {
                    return Ok((*known).clone());
                }
            }
            None | Some(Fault::Slow) => {}
            Some(Fault::KilledAfter) => return self.stop_here().await,
            Some(Fault::Malformed) => return Err(StoreError::Corrupt("state is not a text".into())),
            Some(fault) => return Err(unavailable(fault)),
        }
        self.inner.device(product, device, freshness).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> ReadUpdates for FaultyStore<S> {
    async fn updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        match self.turn(Call::Updates).await {
            None | Some(Fault::Slow) => self.inner.updates(product).await,
            Some(Fault::Malformed) => {
                // One bad record never hides the others.
                let mut records = self.inner.updates(product).await?;
                if !records.is_empty() {
                    let bad = self.desk().random.place(records.len());
                    records.swap_remove(bad);
                }
                Ok(records)
            }
            Some(Fault::KilledAfter) => self.stop_here().await,
            Some(fault) => Err(unavailable(fault)),
        }
    }

    async fn update(&self, product: &ProductId, version: &Version) -> Stored<Option<UpdateRecord>> {
        self.read(Call::Update, || self.inner.update(product, version)).await
    }

    async fn shards(&self, update: &UpdateId, count: u16) -> Stored<Vec<Option<Shard>>> {
        self.read(Call::Shards, || self.inner.shards(update, count)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> SettleClaims for FaultyStore<S> {
    async fn settle(&self, key: &ClaimKey, before: &Claim, after: &Claim, delta: CountDelta) -> Stored<()> {
        self.write(Call::Settle, busy(), || self.apply_settle(key, before, after, delta)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> CloseRollouts for FaultyStore<S> {
    async fn change_update(&self, update: &UpdateRecord, expected: u64, audit: &AuditEntry) -> Stored<()> {
        self.write(Call::ChangeUpdate, Err(StoreError::Conflict), || async {
            self.remember_head(&update.product).await?;
            self.inner.change_update(update, expected, audit).await?;
            self.desk().checker.changed(update);
            Ok(())
        })
        .await
    }

    async fn close_shards(&self, update: &UpdateId, count: u16, gate: Gate, generation: u64) -> Stored<()> {
        match self.turn(Call::CloseShards).await {
            None | Some(Fault::Slow | Fault::StaleRead | Fault::Malformed) => {
                self.apply_close(update, count, gate, generation).await
            }
            Some(Fault::Partial) => {
                self.apply_close(update, count / 2, gate, generation).await?;
                Err(unavailable(Fault::Partial))
            }
            Some(Fault::KilledAfter) => {
                drop(self.apply_close(update, count, gate, generation).await);
                self.stop_here().await
            }
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                drop(self.apply_close(update, count, gate, generation).await);
                Err(unavailable(fault))
            }
            Some(Fault::CommittedAndRetried) => {
                drop(self.apply_close(update, count, gate, generation).await);
                self.apply_close(update, count, gate, generation).await
            }
            Some(Fault::Conflict) => busy(),
            Some(fault) => Err(unavailable(fault)),
        }
    }

    async fn put_catalog(&self, product: &ProductId, revision: u64, bytes: Vec<u8>) -> Stored<bool> {
        self.write(Call::PutCatalog, busy(), || async {
            self.remember_head(product).await?;
            self.inner.put_catalog(product, revision, bytes.clone()).await
        })
        .await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> OpenRollouts for FaultyStore<S> {
    async fn open_shards(&self, update: &UpdateId, allocation: &Allocation, generation: u64) -> Stored<()> {
        match self.turn(Call::OpenShards).await {
            None | Some(Fault::Slow | Fault::StaleRead | Fault::Malformed) => {
                self.apply_open(update, allocation, generation).await
            }
            Some(Fault::Partial) => {
                let half = first_shards(allocation, allocation.devices.len() / 2);
                self.apply_open(update, &half, generation).await?;
                Err(unavailable(Fault::Partial))
            }
            Some(Fault::KilledAfter) => {
                drop(self.apply_open(update, allocation, generation).await);
                self.stop_here().await
            }
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                drop(self.apply_open(update, allocation, generation).await);
                Err(unavailable(fault))
            }
            Some(Fault::CommittedAndRetried) => {
                drop(self.apply_open(update, allocation, generation).await);
                self.apply_open(update, allocation, generation).await
            }
            Some(Fault::Conflict) => busy(),
            Some(fault) => Err(unavailable(fault)),
        }
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> CheckStore for FaultyStore<S> {
    async fn reserve(&self, reservation: &Reservation) -> Stored<Reserved> {
        match self.turn(Call::Reserve).await {
            None | Some(Fault::Slow | Fault::StaleRead | Fault::Partial) => self.apply_reserve(reservation).await,
            Some(Fault::Conflict) => Ok(Reserved::Busy),
            Some(Fault::Malformed) => match self.apply_reserve(reservation).await? {
                // Only a refusal hands out records.
                Reserved::OtherClaim(_) | Reserved::Refused(_) => {
                    Err(StoreError::Corrupt("the record that refused cannot be read".into()))
                }
                reserved => Ok(reserved),
            },
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                drop(self.apply_reserve(reservation).await);
                Err(unavailable(fault))
            }
            Some(Fault::CommittedAndRetried) => {
                drop(self.apply_reserve(reservation).await);
                self.apply_reserve(reservation).await
            }
            Some(Fault::KilledAfter) => {
                drop(self.apply_reserve(reservation).await);
                self.stop_here().await
            }
            Some(fault) => Err(unavailable(fault)),
        }
    }

    async fn save_device(&self, write: &DeviceWrite) -> Stored<()> {
        self.write(Call::SaveDevice, Err(StoreError::Conflict), || async {
            self.remember_device(&write.product, &write.device).await?;
            self.inner.save_device(write).await
        })
        .await
    }

    async fn ask_for_catalog(&self, product: &ProductId, name: &str) -> Stored<()> {
        self.write(Call::AskForCatalog, busy(), || async {
            self.remember_head(product).await?;
            self.inner.ask_for_catalog(product, name).await
        })
        .await
    }

    async fn add_deferrals(&self, update: &UpdateId, counts: &BTreeMap<&'static str, u64>) -> Stored<()> {
        self.write(Call::AddDeferrals, busy(), || self.inner.add_deferrals(update, counts)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> ReportStore for FaultyStore<S> {
    async fn settle_and_save(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: &DeviceWrite,
    ) -> Stored<()> {
        self.write(Call::Settle, busy(), || async {
            self.remember_device(&key.product, &key.device).await?;
            self.inner.settle_and_save(key, before, after, delta, device).await?;
            self.desk().checker.settled(key, before, after);
            self.compare(&key.update).await
        })
        .await
    }

    async fn save_running(&self, device: &DeviceWrite) -> Stored<()> {
        CheckStore::save_device(self, device).await
    }

    async fn note_progress(
        &self,
        key: &ClaimKey,
        status: &str,
        progress: Option<u8>,
        message: Option<&str>,
        now: Timestamp,
    ) -> Stored<bool> {
        self.write(Call::NoteProgress, busy(), || self.inner.note_progress(key, status, progress, message, now)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> PublishStore for FaultyStore<S> {
    async fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        self.write(Call::CreateUpdate, Err(StoreError::Conflict), || async {
            self.remember_head(&update.product).await?;
            let created = self.inner.create_update(update, audit).await?;
            if created {
                self.desk().checker.changed(update);
            }
            Ok(created)
        })
        .await
    }

    async fn audit(&self, product: &ProductId, entry: &AuditEntry) -> Stored<()> {
        self.write(Call::Audit, busy(), || self.inner.audit(product, entry)).await
    }

    async fn audit_log(&self, product: &ProductId) -> Stored<Vec<AuditEntry>> {
        self.read(Call::AuditLog, || self.inner.audit_log(product)).await
    }

    async fn versions(&self, product: &ProductId) -> Stored<Vec<(String, u64)>> {
        self.read(Call::Versions, || self.inner.versions(product)).await
    }

    async fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
    ) -> Stored<(Vec<DeviceId>, Option<DeviceId>)> {
        self.read(Call::DevicesOn, || self.inner.devices_on(product, version, after)).await
    }

    async fn revoke_tokens(&self, product: &ProductId, device: &DeviceId) -> Stored<u32> {
        self.write(Call::RevokeTokens, busy(), || self.inner.revoke_tokens(product, device)).await
    }

    async fn set_product(&self, product: &ProductId, head: &Head) -> Stored<bool> {
        self.write(Call::SetProduct, busy(), || async {
            self.remember_head(product).await?;
            self.inner.set_product(product, head).await
        })
        .await
    }

    async fn deferrals(&self, update: &UpdateId) -> Stored<BTreeMap<String, u64>> {
        self.read(Call::Deferrals, || self.inner.deferrals(update)).await
    }

    async fn series(&self, update: &UpdateId) -> Stored<Vec<SeriesPoint>> {
        self.read(Call::Series, || self.inner.series(update)).await
    }
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> SweepStore for FaultyStore<S> {
    async fn due_claims(&self, now: Timestamp) -> Stored<Vec<ClaimKey>> {
        let mut due = self.list(Call::DueClaims, || self.inner.due_claims(now)).await?;
        due.1.truncate(due.0);
        Ok(due.1)
    }

    async fn claim(&self, key: &ClaimKey) -> Stored<Option<Claim>> {
        self.read(Call::Claim, || self.inner.claim(key)).await
    }

    async fn record_series(&self, update: &UpdateId, point: &SeriesPoint) -> Stored<()> {
        self.write(Call::RecordSeries, busy(), || self.inner.record_series(update, point)).await
    }
}

impl<S> FaultyStore<S> {
    /// A list out of an index, and how much of it is seen: an index is behind, and a record in it
    /// that cannot be understood is left out.
    async fn list<T, F>(&self, call: Call, run: impl Fn() -> F) -> Stored<(usize, Vec<T>)>
    where
        F: Future<Output = Stored<Vec<T>>>,
    {
        match self.turn(call).await {
            None | Some(Fault::Slow) => run().await.map(|list| (list.len(), list)),
            Some(Fault::StaleRead) => run().await.map(|list| (list.len() / 2, list)),
            Some(Fault::Malformed) => run().await.map(|list| (list.len().saturating_sub(1), list)),
            Some(Fault::KilledAfter) => self.stop_here().await,
            Some(fault) => Err(unavailable(fault)),
        }
    }
}
