//! A store whose calls fail as those of DynamoDB can.
//!
//! Before each call the store asks its plan for a fault, and lets other handlers run. So the functions above it are
//! interleaved at every call, and can be killed between any two calls. The [`InvariantChecker`] sees every write that
//! was applied and compares it with the stored records.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tidegate_core::claim::CountDelta;
use tidegate_core::limits::{Allocation, UNLIMITED};
use tidegate_core::shard::Gate;
use tidegate_core::{Claim, DeviceId, ProductId, Timestamp, UpdateId};
use tidegate_store::record::ClaimKey;
use tidegate_store::store::{Freshness, Reservation, Reserved, StoreError, Stored};
use tidegate_store::{CheckStore, PublishStore, ReportStore, SweepStore};

use crate::random::Random;
use crate::simulator::checker::InvariantChecker;
use crate::simulator::control::{Control, FaultPlan, Waiting};
use crate::simulator::fault::{Call, Fault, Guard};
use crate::simulator::turn::Turn;

/// Earlier states of a record that a stale read may still answer.
const REMEMBERED: usize = 3;

/// A store whose calls fail by a plan.
#[derive(Debug, Clone)]
pub struct FaultyStore<S> {
    pub(super) inner: S,
    control: Arc<Mutex<Control>>,
}

impl<S> FaultyStore<S> {
    /// A store over `inner`. The plan is asked before each call.
    #[must_use]
    pub fn new(inner: S, plan: FaultPlan, seed: u64, now: Timestamp) -> Self {
        let control = Control {
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
        Self { inner, control: Arc::new(Mutex::new(control)) }
    }

    /// The store below, without faults.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The control that all clones share.
    pub fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the plan of faults.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.control().plan = plan;
    }

    fn without(&self, guard: Guard) -> bool {
        self.control().without == Some(guard)
    }

    pub(super) fn turn(&self, call: Call) -> Turn<'_, S> {
        Turn::new(self, call)
    }

    pub(super) async fn stop_here<T>(&self) -> T {
        std::future::poll_fn(|_| {
            self.control().waiting = Waiting::Killed;
            Poll::Pending
        })
        .await
    }

    /// Runs a read, or fails.
    pub(super) async fn read<T, F>(&self, call: Call, run: impl Fn() -> F) -> Stored<T>
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

    /// Runs a write. It is applied or not, and its answer arrives or not.
    pub(super) async fn write<T, F>(&self, call: Call, conflict: Stored<T>, run: impl Fn() -> F) -> Stored<T>
    where
        F: Future<Output = Stored<T>>,
    {
        match self.turn(call).await {
            None | Some(Fault::Slow | Fault::StaleRead | Fault::Malformed | Fault::Partial) => run().await,
            Some(Fault::Conflict) => conflict,
            Some(fault @ (Fault::TimeoutAfterCommit | Fault::ResetAfterCommit)) => {
                // Its answer is lost.
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

pub(super) fn unavailable(fault: Fault) -> StoreError {
    StoreError::Unavailable(fault.to_string().into())
}

pub(super) fn busy<T>() -> Stored<T> {
    Err(StoreError::Unavailable("others write the same records".into()))
}

fn remember<T>(states: &mut VecDeque<T>, state: T) {
    if states.len() == REMEMBERED {
        states.pop_front();
    }
    states.push_back(state);
}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore> FaultyStore<S> {
    pub(super) async fn remember_device(&self, product: &ProductId, device: &DeviceId) -> Stored<()> {
        let known = self.inner.device(product, device, Freshness::Strong).await?;
        remember(self.control().devices.entry(device.clone()).or_default(), known);
        Ok(())
    }

    pub(super) async fn remember_head(&self, product: &ProductId) -> Stored<()> {
        let head = self.inner.head(product, Freshness::Strong).await?;
        remember(self.control().heads.entry(product.clone()).or_default(), head);
        Ok(())
    }

    pub(super) async fn compare(&self, update: &UpdateId) -> Stored<()> {
        let count = self.control().checker.shards(update);
        let shards = self.inner.shards(update, count).await?;
        self.control().checker.compare(update, &shards);
        Ok(())
    }

    pub(super) async fn apply_reserve(&self, reservation: &Reservation) -> Stored<Reserved> {
        self.remember_device(&reservation.key.product, &reservation.key.device).await?;
        let mut reserved = self.inner.reserve(reservation).await?;
        if reserved != Reserved::Granted {
            reserved = self.reserve_unguarded(reservation, reserved).await?;
        }
        if reserved == Reserved::Granted {
            let now = self.control().now;
            self.control().checker.granted(reservation, now);
            self.compare(&reservation.key.update).await?;
        }
        Ok(reserved)
    }

    /// The result of a store without one of its conditions.
    async fn reserve_unguarded(&self, reservation: &Reservation, refused: Reserved) -> Stored<Reserved> {
        let without = self.control().without;
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

    pub(super) async fn apply_settle(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
    ) -> Stored<()> {
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
        self.control().checker.settled(key, before, after);
        self.compare(&key.update).await
    }

    pub(super) async fn apply_close(&self, update: &UpdateId, count: u16, gate: Gate, generation: u64) -> Stored<()> {
        if self.without(Guard::Fence) {
            return Ok(());
        }
        let allocation = self.control().allocations.get(update).cloned();
        if self.without(Guard::Gate)
            && let Some(allocation) = allocation
        {
            return self.inner.open_shards(update, &allocation, generation).await;
        }
        self.inner.close_shards(update, count, gate, generation).await
    }

    pub(super) async fn apply_open(&self, update: &UpdateId, allocation: &Allocation, generation: u64) -> Stored<()> {
        let mut allocation = allocation.clone();
        let unlimited = |column: &mut Vec<u64>| column.fill(UNLIMITED - 1);
        match self.control().without {
            Some(Guard::Devices) => unlimited(&mut allocation.devices),
            Some(Guard::InFlight) => unlimited(&mut allocation.in_flight),
            Some(Guard::Period) => unlimited(&mut allocation.per_period),
            _ => {}
        }
        self.control().allocations.insert(update.clone(), allocation.clone());
        self.inner.open_shards(update, &allocation, generation).await
    }
}

impl<S> FaultyStore<S> {
    /// Reads a list from an index. Returns also how much of the list the caller sees: an index can be stale, and an
    /// index leaves out a record that cannot be read.
    pub(super) async fn list<T, F>(&self, call: Call, run: impl Fn() -> F) -> Stored<(usize, Vec<T>)>
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
