//! The store in memory, for the fleet simulator and for tests, never for production: it answers as
//! [`DynamoStore`](tidegate_store::DynamoStore) does and forgets everything when it is dropped.
//!
//! It has no staleness: a read with [`Freshness::Eventual`] is as fresh as a strong one, and an
//! index is as fresh as the records. Whoever wants stale reads puts them between the store and its
//! caller. That the two stores answer alike is what `tests/tests/conformance.rs` shows.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tidegate_core::claim::CountDelta;
use tidegate_core::limits::{Allocation, Caps, UNLIMITED};
use tidegate_core::shard::{Counts, Gate, Grant, Shard};
use tidegate_core::{Claim, ClaimState, DeviceId, ObjectionCode, ProductId, Timestamp, UpdateId, Version};

use tidegate_store::record::{
    AuditEntry, ClaimKey, DeviceRecord, DeviceWrite, Head, KnownDevice, PublishedCatalog, SeriesPoint, UpdateRecord,
};
use tidegate_store::store::{
    CheckStore, CloseRollouts, Freshness, OpenRollouts, Period, PublishStore, ReadCatalog, ReadDevices, ReadUpdates,
    ReportStore, Reservation, Reserved, SettleClaims, StoreError, Stored, SweepStore,
};

/// Devices on one page of a list, as in DynamoDB.
const PAGE: usize = 500;
/// The lists of reserved claims, and how many claims are taken from each at a time, as in DynamoDB.
const DUE_LISTS: usize = 16;
const DUE_AT_A_TIME: usize = 1000;

/// The store in memory. A clone is another handle on the same records.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The shards of an update that exist.
    ///
    /// # Errors
    /// `Corrupt`, when a counter fell below zero.
    pub fn shard_counts(&self, update: &UpdateId) -> Stored<Vec<Shard>> {
        let state = self.state();
        state.rollout(update).into_iter().flat_map(|rollout| &rollout.shards).flatten().map(Spent::shard).collect()
    }

    /// Shows `visit` every claim on an update, in the order in which the devices got it. The store
    /// is locked meanwhile: `visit` must not call it.
    pub fn visit_claims(&self, update: &UpdateId, mut visit: impl FnMut(&DeviceId, &Claim)) {
        let state = self.state();
        let Some(number) = state.rollout_numbers.get(update) else {
            return;
        };
        for place in &state.rollouts[*number as usize].claimants {
            let holder = &state.lines[place.line as usize].holders[place.holder as usize];
            if let Some(claim) = holder.claim(*number) {
                visit(&holder.id, claim);
            }
        }
    }

    /// Shows `visit` every device of a product that has a record, in the order in which they came.
    /// The store is locked meanwhile: `visit` must not call it.
    pub fn visit_devices(&self, product: &ProductId, mut visit: impl FnMut(&DeviceId, &DeviceRecord)) {
        let state = self.state();
        let holders = state.line(product).into_iter().flat_map(|line| &line.holders);
        for (holder, record) in holders.filter_map(|holder| Some((holder, holder.record.as_ref()?))) {
            visit(&holder.id, record);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A caller that panicked did so outside: no method here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything. Products, devices and updates have numbers, so that a check-in hashes each id once
/// and the index of reserved claims holds no texts.
#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    line_numbers: BTreeMap<ProductId, u32>,
    rollouts: Vec<Rollout>,
    rollout_numbers: HashMap<UpdateId, u32>,
    due: [BTreeSet<Due>; DUE_LISTS],
}

/// What belongs to a product.
#[derive(Debug, Default)]
struct Line {
    /// There once its first update is.
    head: Option<Head>,
    /// By version without build metadata, as a text: the order in which they are listed.
    updates: BTreeMap<String, UpdateRecord>,
    audit: BTreeMap<String, AuditEntry>,
    /// The one in force, and the one before.
    catalogs: VecDeque<(String, Arc<[u8]>)>,
    holders: Vec<Holder>,
    holder_numbers: HashMap<DeviceId, u32>,
    /// Holders in the order of their ids; brought up to date when a list is asked for.
    sorted: Vec<u32>,
    versions: BTreeMap<String, i64>,
}

/// What belongs to a device.
#[derive(Debug)]
struct Holder {
    id: DeviceId,
    due_list: usize,
    record: Option<DeviceRecord>,
    /// By the update's number. A device has a handful.
    claims: Vec<(u32, Claim)>,
}

/// What belongs to an update beside its record.
#[derive(Debug, Default)]
struct Rollout {
    id: Option<UpdateId>,
    shards: Vec<Option<Spent>>,
    claimants: Vec<Place>,
    deferrals: BTreeMap<&'static str, u64>,
    /// By hour.
    series: BTreeMap<i64, SeriesPoint>,
}

/// Where a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    line: u32,
    holder: u32,
}

/// A reserved claim in the order of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    expires_at_ms: i64,
    place: Place,
    rollout: u32,
}

/// A shard. DynamoDB's numbers have a sign, so a counter that falls below zero is kept, and the
/// shard cannot be understood from then on.
#[derive(Debug, Clone, Copy)]
struct Spent {
    gate: Gate,
    generation: u64,
    caps: Caps,
    used: i64,
    in_flight: i64,
    period: i64,
    period_used: i64,
    succeeded: i64,
    failed: i64,
    timed_out: i64,
}

impl Spent {
    fn unused(generation: u64, caps: Caps) -> Self {
        let gate = Gate::Open;
        let (used, in_flight, period, period_used, succeeded, failed, timed_out) = (0, 0, 0, 0, 0, 0, 0);
        Self { gate, generation, caps, used, in_flight, period, period_used, succeeded, failed, timed_out }
    }

    fn shard(&self) -> Stored<Shard> {
        let count = |counter: i64, name: &str| {
            u64::try_from(counter).map_err(|_| StoreError::Corrupt(format!("`{name}` of a shard must be a number")))
        };
        Ok(Shard {
            gate: self.gate,
            generation: self.generation,
            caps: self.caps,
            counts: Counts {
                used: count(self.used, "used")?,
                in_flight: count(self.in_flight, "in_flight")?,
                period: self.period,
                period_used: count(self.period_used, "period_used")?,
                succeeded: count(self.succeeded, "succeeded")?,
                failed: count(self.failed, "failed")?,
                timed_out: count(self.timed_out, "timed_out")?,
            },
        })
    }

    /// Whether the gate is open, the generation is ours, and every cap that the grant needs is
    /// strictly greater than what is used.
    fn has_room(&self, reservation: &Reservation) -> bool {
        let is_open = self.gate == Gate::Open && self.generation == reservation.generation;
        let is_first = reservation.grant == Grant::First;
        let is_renewed = reservation.grant == Grant::Renewed;
        is_open
            && (!is_first || below(self.used, self.caps.devices))
            && (is_renewed || below(self.in_flight, self.caps.in_flight))
            && match reservation.period {
                None => true,
                Some(Period::Same(period)) => self.period == period && below(self.period_used, self.caps.per_period),
                // Only forward: a late clock never opens a period that is over.
                Some(Period::New(period)) => self.period < period && self.caps.per_period >= 1,
            }
    }

    fn spend(&mut self, reservation: &Reservation) {
        if reservation.grant == Grant::First {
            self.used += 1;
        }
        // Whether a place in flight is taken is for the grant to say; the delta repeats it.
        let in_flight = i64::from(reservation.grant != Grant::Renewed);
        self.count(CountDelta { in_flight, ..reservation.delta });
        match reservation.period {
            None => {}
            Some(Period::Same(_)) => self.period_used += 1,
            Some(Period::New(period)) => (self.period, self.period_used) = (period, 1),
        }
    }

    fn count(&mut self, delta: CountDelta) {
        self.in_flight += delta.in_flight;
        self.succeeded += delta.succeeded;
        self.failed += delta.failed;
        self.timed_out += delta.timed_out;
    }
}

fn below(counter: i64, cap: u64) -> bool {
    u64::try_from(counter).map_or(true, |counter| counter < cap)
}

impl Holder {
    fn claim(&self, rollout: u32) -> Option<&Claim> {
        self.claims.iter().find(|(number, _)| *number == rollout).map(|(_, claim)| claim)
    }

    /// Whether the record is as `write` thinks it is.
    fn expects(&self, write: &DeviceWrite) -> bool {
        let version = self.record.as_ref().and_then(|record| record.version.as_deref());
        version == write.previous_version.as_deref()
    }
}

impl State {
    fn line(&self, product: &ProductId) -> Option<&Line> {
        self.line_numbers.get(product).map(|number| &self.lines[*number as usize])
    }

    fn line_number(&mut self, product: &ProductId) -> u32 {
        if let Some(number) = self.line_numbers.get(product) {
            return *number;
        }
        let number = numbered(self.lines.len());
        self.lines.push(Line::default());
        self.line_numbers.insert(product.clone(), number);
        number
    }

    fn line_mut(&mut self, product: &ProductId) -> &mut Line {
        let number = self.line_number(product);
        &mut self.lines[number as usize]
    }

    fn rollout(&self, update: &UpdateId) -> Option<&Rollout> {
        self.rollout_numbers.get(update).map(|number| &self.rollouts[*number as usize])
    }

    fn rollout_number(&mut self, update: &UpdateId) -> u32 {
        if let Some(number) = self.rollout_numbers.get(update) {
            return *number;
        }
        let number = numbered(self.rollouts.len());
        self.rollouts.push(Rollout { id: Some(update.clone()), ..Rollout::default() });
        self.rollout_numbers.insert(update.clone(), number);
        number
    }

    fn rollout_mut(&mut self, update: &UpdateId) -> &mut Rollout {
        let number = self.rollout_number(update);
        &mut self.rollouts[number as usize]
    }

    fn shard_mut(&mut self, rollout: u32, shard: u16) -> Option<&mut Spent> {
        self.rollouts[rollout as usize].shards.get_mut(usize::from(shard))?.as_mut()
    }

    fn holder(&self, product: &ProductId, device: &DeviceId) -> Option<&Holder> {
        let line = self.line(product)?;
        line.holder_numbers.get(device).map(|number| &line.holders[*number as usize])
    }

    fn place(&mut self, product: &ProductId, device: &DeviceId) -> Place {
        let line_number = self.line_number(product);
        let line = &mut self.lines[line_number as usize];
        if let Some(holder) = line.holder_numbers.get(device) {
            return Place { line: line_number, holder: *holder };
        }
        let holder = numbered(line.holders.len());
        let due_list = Sha256::digest(device.as_str()).first().map_or(0, |byte| usize::from(*byte) % DUE_LISTS);
        line.holders.push(Holder { id: device.clone(), due_list, record: None, claims: Vec::new() });
        line.holder_numbers.insert(device.clone(), holder);
        Place { line: line_number, holder }
    }

    fn at(&self, place: Place) -> &Holder {
        &self.lines[place.line as usize].holders[place.holder as usize]
    }

    fn claim(&self, key: &ClaimKey) -> Option<&Claim> {
        self.holder(&key.product, &key.device)?.claim(*self.rollout_numbers.get(&key.update)?)
    }

    /// Puts a claim and keeps the index of those that are reserved.
    fn put_claim(&mut self, place: Place, rollout: u32, claim: &Claim) {
        let claim = Claim {
            reserved_at: to_the_millisecond(claim.reserved_at),
            expires_at: to_the_millisecond(claim.expires_at),
            ..claim.clone()
        };
        let holder = &mut self.lines[place.line as usize].holders[place.holder as usize];
        let due = &mut self.due[holder.due_list];
        let due_at = |claim: &Claim| Due { expires_at_ms: claim.expires_at.as_millisecond(), place, rollout };
        let after = (claim.state == ClaimState::Reserved).then(|| due_at(&claim));
        let before = match holder.claims.iter_mut().find(|(number, _)| *number == rollout) {
            Some((_, stored)) => {
                let before = std::mem::replace(stored, claim);
                (before.state == ClaimState::Reserved).then(|| due_at(&before))
            }
            None => {
                holder.claims.push((rollout, claim));
                self.rollouts[rollout as usize].claimants.push(place);
                None
            }
        };
        if before != after {
            before.map(|before| due.remove(&before));
            after.map(|after| due.insert(after));
        }
    }

    /// Writes a device's record, and the counts of the version it leaves and of the one it runs.
    fn write_device(&mut self, place: Place, write: &DeviceWrite) {
        let line = &mut self.lines[place.line as usize];
        let record = line.holders[place.holder as usize].record.get_or_insert_default();
        let seen_at = to_the_millisecond(write.seen_at);
        record.attributes.clone_from(&write.attributes);
        record.first_seen.get_or_insert(seen_at);
        record.last_seen = Some(seen_at);
        if write.previous_version.as_ref() != Some(&write.version) {
            record.version = Some(write.version.clone());
            count_version(&mut line.versions, &write.version, 1);
            if let Some(previous) = &write.previous_version {
                count_version(&mut line.versions, previous, -1);
            }
        }
    }
}

/// Far fewer than 2³² of anything fit in memory.
fn numbered(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Times are stored in milliseconds.
fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

fn count_version(versions: &mut BTreeMap<String, i64>, version: &str, by: i64) {
    match versions.get_mut(version) {
        Some(devices) => *devices += by,
        None => {
            versions.insert(version.to_string(), by);
        }
    }
}

fn precedence(version: &Version) -> String {
    tidegate_core::id::without_build(version).to_string()
}

fn put_update(line: &mut Line, update: &UpdateRecord) {
    let stored = UpdateRecord {
        created_at: to_the_millisecond(update.created_at),
        changed_at: to_the_millisecond(update.changed_at),
        ..update.clone()
    };
    line.updates.insert(precedence(&update.version), stored);
}

/// An entry of the same time, subject and generation is the same entry, written again.
fn put_audit(line: &mut Line, entry: &AuditEntry) {
    let place = format!("{:020}#{}#{:010}", entry.at.as_nanosecond(), entry.subject, entry.generation);
    line.audit.insert(place, AuditEntry { at: to_the_millisecond(entry.at), ..entry.clone() });
}

impl ReadCatalog for MemoryStore {
    async fn head(&self, product: &ProductId, _: Freshness) -> Stored<Option<Head>> {
        Ok(self.state().line(product).and_then(|line| line.head.clone()))
    }

    async fn catalog(&self, product: &ProductId, name: &str) -> Stored<Option<Arc<[u8]>>> {
        Ok(self
            .state()
            .line(product)
            .and_then(|line| line.catalogs.iter().find(|(known, _)| known == name))
            .map(|(_, bytes)| Arc::clone(bytes)))
    }

    async fn products(&self) -> Stored<Vec<ProductId>> {
        let state = self.state();
        let exists = |number: &u32| state.lines[*number as usize].head.is_some();
        Ok(state.line_numbers.iter().filter(|(_, line)| exists(line)).map(|(product, _)| product.clone()).collect())
    }
}

impl ReadDevices for MemoryStore {
    async fn device(&self, product: &ProductId, device: &DeviceId, _: Freshness) -> Stored<KnownDevice> {
        let state = self.state();
        let Some(holder) = state.holder(product, device) else {
            return Ok(KnownDevice::default());
        };
        let id = |rollout: &u32| state.rollouts[*rollout as usize].id.clone();
        let claims = holder.claims.iter().filter_map(|(rollout, claim)| Some((id(rollout)?, claim.clone())));
        let mut claims = claims.collect::<Vec<_>>();
        claims.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(KnownDevice { record: holder.record.clone(), claims })
    }
}

impl ReadUpdates for MemoryStore {
    async fn updates(&self, product: &ProductId) -> Stored<Vec<UpdateRecord>> {
        Ok(self.state().line(product).map(|line| line.updates.values().cloned().collect()).unwrap_or_default())
    }

    async fn update(&self, product: &ProductId, version: &Version) -> Stored<Option<UpdateRecord>> {
        Ok(self.state().line(product).and_then(|line| line.updates.get(&precedence(version)).cloned()))
    }

    async fn shards(&self, update: &UpdateId, count: u16) -> Stored<Vec<Option<Shard>>> {
        let state = self.state();
        let shards = state.rollout(update).map(|rollout| rollout.shards.as_slice()).unwrap_or_default();
        let shard = |number: u16| shards.get(usize::from(number)).and_then(Option::as_ref);
        (0..count).map(|number| shard(number).map(Spent::shard).transpose()).collect()
    }
}

impl SettleClaims for MemoryStore {
    async fn settle(&self, key: &ClaimKey, before: &Claim, after: &Claim, delta: CountDelta) -> Stored<()> {
        self.end_reservation(key, before, after, delta, None)
    }
}

impl CloseRollouts for MemoryStore {
    async fn change_update(&self, update: &UpdateRecord, expected: u64, audit: &AuditEntry) -> Stored<()> {
        let mut state = self.state();
        let line = state.line_mut(&update.product);
        let stored = line.updates.get(&precedence(&update.version));
        if stored.is_none_or(|stored| stored.generation != expected) {
            return Err(StoreError::Conflict);
        }
        put_update(line, update);
        put_audit(line, audit);
        line.head.get_or_insert_default().revision += 1;
        Ok(())
    }

    async fn close_shards(&self, update: &UpdateId, count: u16, gate: Gate, generation: u64) -> Stored<()> {
        let mut state = self.state();
        let shards = &mut state.rollout_mut(update).shards;
        if shards.len() < usize::from(count) {
            shards.resize(usize::from(count), None);
        }
        let mut result = Ok(());
        for shard in shards.iter_mut().take(usize::from(count)) {
            let none = Caps { devices: 0, per_period: 0, in_flight: 0 };
            let shard = shard.get_or_insert_with(|| Spent::unused(generation, none));
            match shard.generation <= generation {
                true => (shard.gate, shard.generation) = (gate, generation),
                false => result = Err(StoreError::Conflict),
            }
        }
        result
    }

    async fn put_catalog(&self, product: &ProductId, revision: u64, bytes: Vec<u8>) -> Stored<bool> {
        let mut state = self.state();
        let Line { head: Some(head), catalogs, .. } = state.line_mut(product) else {
            return Ok(false);
        };
        if head.catalog.as_ref().is_some_and(|catalog| catalog.revision >= revision) {
            return Ok(false);
        }
        let in_force = PublishedCatalog::of(revision, &bytes);
        catalogs.truncate(1);
        catalogs.retain(|(name, _)| *name != in_force.name);
        catalogs.push_front((in_force.name.clone(), Arc::from(bytes)));
        head.catalog = Some(in_force);
        Ok(true)
    }
}

impl OpenRollouts for MemoryStore {
    async fn open_shards(&self, update: &UpdateId, allocation: &Allocation, generation: u64) -> Stored<()> {
        let mut state = self.state();
        let shards = &mut state.rollout_mut(update).shards;
        let count = allocation.shards();
        if shards.len() < usize::from(count) {
            shards.resize(usize::from(count), None);
        }
        let mut result = Ok(());
        for (number, shard) in (0..count).zip(shards) {
            let caps = allocation.caps(number);
            match shard {
                Some(shard) if shard.generation > generation => result = Err(StoreError::Conflict),
                Some(shard) => {
                    if caps.per_period < UNLIMITED && shard.period < allocation.period {
                        (shard.period, shard.period_used) = (allocation.period, 0);
                    }
                    *shard = Spent { gate: Gate::Open, generation, caps, ..*shard };
                }
                None => *shard = Some(Spent::unused(generation, caps)),
            }
        }
        result
    }
}

impl CheckStore for MemoryStore {
    async fn reserve(&self, reservation: &Reservation) -> Stored<Reserved> {
        let Reservation { key, claim, previous, .. } = reservation;
        let mut state = self.state();
        let (place, rollout) = (state.place(&key.product, &key.device), state.rollout_number(&key.update));
        let held = state.at(place).claim(rollout);
        let is_as_thought = match (held, previous) {
            (None, None) => true,
            (Some(held), Some(previous)) => held.epoch == previous.epoch && held.state == previous.state,
            _ => false,
        };
        // The claim is looked at first: if the device has one, the shard's state does not matter.
        if !is_as_thought {
            return Ok(Reserved::OtherClaim(held.cloned()));
        }
        let shard = state.shard_mut(rollout, claim.shard).copied();
        let Some(mut shard) = shard.filter(|shard| shard.has_room(reservation)) else {
            return Ok(Reserved::Refused(shard.as_ref().map(Spent::shard).transpose()?));
        };
        let device = reservation.device.as_ref().map(|write| (state.place(&write.product, &write.device), write));
        if device.is_some_and(|(place, write)| !state.at(place).expects(write)) {
            return Ok(Reserved::OtherDevice);
        }
        shard.spend(reservation);
        if let Some(stored) = state.shard_mut(rollout, claim.shard) {
            *stored = shard;
        }
        state.put_claim(place, rollout, claim);
        if let Some((place, write)) = device {
            state.write_device(place, write);
        }
        Ok(Reserved::Granted)
    }

    async fn save_device(&self, write: &DeviceWrite) -> Stored<()> {
        let mut state = self.state();
        let place = state.place(&write.product, &write.device);
        if !state.at(place).expects(write) {
            return Err(StoreError::Conflict);
        }
        state.write_device(place, write);
        Ok(())
    }

    async fn ask_for_catalog(&self, product: &ProductId, name: &str) -> Stored<()> {
        let mut state = self.state();
        let in_force = state.line_mut(product).head.as_mut().and_then(|head| head.catalog.as_mut());
        if let Some(in_force) = in_force.filter(|in_force| in_force.name == name) {
            in_force.revision = 0;
        }
        Ok(())
    }

    async fn add_deferrals(&self, update: &UpdateId, counts: &BTreeMap<&'static str, u64>) -> Stored<()> {
        let mut state = self.state();
        let deferrals = &mut state.rollout_mut(update).deferrals;
        for (code, deferred) in counts {
            let count = deferrals.entry(code).or_default();
            *count = count.saturating_add(*deferred);
        }
        Ok(())
    }
}

impl ReportStore for MemoryStore {
    async fn settle_and_save(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: &DeviceWrite,
    ) -> Stored<()> {
        self.end_reservation(key, before, after, delta, Some(device))
    }

    async fn save_running(&self, device: &DeviceWrite) -> Stored<()> {
        CheckStore::save_device(self, device).await
    }

    /// What a device says on the way is kept for people to look at in the table; nothing reads it.
    async fn note_progress(
        &self,
        key: &ClaimKey,
        _status: &str,
        _progress: Option<u8>,
        _message: Option<&str>,
        _now: Timestamp,
    ) -> Stored<bool> {
        Ok(self.state().claim(key).is_some_and(|claim| claim.state == ClaimState::Reserved))
    }
}

impl PublishStore for MemoryStore {
    async fn create_update(&self, update: &UpdateRecord, audit: &AuditEntry) -> Stored<bool> {
        let mut state = self.state();
        let line = state.line_mut(&update.product);
        if line.updates.contains_key(&precedence(&update.version)) {
            return Ok(false);
        }
        put_update(line, update);
        put_audit(line, audit);
        line.head.get_or_insert_default();
        Ok(true)
    }

    async fn audit(&self, product: &ProductId, entry: &AuditEntry) -> Stored<()> {
        put_audit(self.state().line_mut(product), entry);
        Ok(())
    }

    async fn audit_log(&self, product: &ProductId) -> Stored<Vec<AuditEntry>> {
        Ok(self.state().line(product).map(|line| line.audit.values().cloned().collect()).unwrap_or_default())
    }

    async fn versions(&self, product: &ProductId) -> Stored<Vec<(String, u64)>> {
        let state = self.state();
        let counts = state.line(product).into_iter().flat_map(|line| &line.versions);
        let running = counts.filter_map(|(version, devices)| {
            let devices = u64::try_from(*devices).ok().filter(|devices| *devices > 0)?;
            Some((version.clone(), devices))
        });
        Ok(running.collect())
    }

    async fn devices_on(
        &self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
    ) -> Stored<(Vec<DeviceId>, Option<DeviceId>)> {
        let mut state = self.state();
        let Line { holders, sorted, .. } = state.line_mut(product);
        if sorted.len() < holders.len() {
            *sorted = (0..numbered(holders.len())).collect();
            sorted.sort_unstable_by(|one, other| holders[*one as usize].id.cmp(&holders[*other as usize].id));
        }
        let start = after.map_or(0, |after| sorted.partition_point(|holder| holders[*holder as usize].id <= *after));
        let runs =
            |holder: &&Holder| holder.record.as_ref().is_some_and(|record| record.version.as_deref() == Some(version));
        let later = sorted.iter().skip(start).map(|holder| &holders[*holder as usize]);
        let devices = later.filter(runs).take(PAGE).map(|holder| holder.id.clone()).collect::<Vec<_>>();
        // A full page says that there may be more, even where it is the last.
        let next = (devices.len() == PAGE).then(|| devices.last().cloned()).flatten();
        Ok((devices, next))
    }

    async fn revoke_tokens(&self, product: &ProductId, device: &DeviceId) -> Stored<u32> {
        let mut state = self.state();
        let place = state.place(product, device);
        let holder = &mut state.lines[place.line as usize].holders[place.holder as usize];
        let record =
            holder.record.get_or_insert_with(|| DeviceRecord { attributes: "{}".into(), ..DeviceRecord::default() });
        record.token_generation = record.token_generation.saturating_add(1);
        Ok(record.token_generation)
    }

    async fn set_product(&self, product: &ProductId, head: &Head) -> Stored<bool> {
        let mut state = self.state();
        let Some(stored) = state.line_mut(product).head.as_mut() else {
            return Ok(false);
        };
        *stored = Head { revision: stored.revision, catalog: stored.catalog.take(), ..head.clone() };
        Ok(true)
    }

    async fn deferrals(&self, update: &UpdateId) -> Stored<BTreeMap<String, u64>> {
        let state = self.state();
        let counts = state.rollout(update).into_iter().flat_map(|rollout| &rollout.deferrals);
        let known = counts.filter(|(code, _)| ObjectionCode::parse(code).is_some());
        Ok(known.map(|(code, deferred)| ((*code).to_string(), *deferred)).collect())
    }

    async fn series(&self, update: &UpdateId) -> Stored<Vec<SeriesPoint>> {
        Ok(self.state().rollout(update).map(|rollout| rollout.series.values().copied().collect()).unwrap_or_default())
    }
}

impl SweepStore for MemoryStore {
    async fn due_claims(&self, now: Timestamp) -> Stored<Vec<ClaimKey>> {
        let state = self.state();
        let products = state.line_numbers.iter().map(|(product, line)| (*line, product)).collect::<BTreeMap<_, _>>();
        let mut keys = Vec::new();
        for list in &state.due {
            // Those that end in the same millisecond are listed by their ids.
            let cut_ms = list.iter().nth(DUE_AT_A_TIME - 1).map_or(i64::MAX, |due| due.expires_at_ms);
            let last_ms = now.as_millisecond().min(cut_ms);
            let due = list.iter().take_while(|due| due.expires_at_ms <= last_ms);
            let mut taken = due
                .map(|due| {
                    let update = state.rollouts[due.rollout as usize].id.as_ref();
                    (due.expires_at_ms, &state.at(due.place).id, update, products.get(&due.place.line))
                })
                .collect::<Vec<_>>();
            taken.sort_unstable();
            keys.extend(taken.into_iter().take(DUE_AT_A_TIME).filter_map(|(_, device, update, product)| {
                let product = ProductId::clone(product?);
                Some(ClaimKey { product, device: device.clone(), update: update?.clone() })
            }));
        }
        Ok(keys)
    }

    async fn claim(&self, key: &ClaimKey) -> Stored<Option<Claim>> {
        Ok(self.state().claim(key).cloned())
    }

    async fn record_series(&self, update: &UpdateId, point: &SeriesPoint) -> Stored<()> {
        let hour = point.at.as_second().div_euclid(3600);
        let point = SeriesPoint { at: to_the_millisecond(point.at), ..*point };
        self.state().rollout_mut(update).series.insert(hour, point);
        Ok(())
    }
}

impl MemoryStore {
    fn end_reservation(
        &self,
        key: &ClaimKey,
        before: &Claim,
        after: &Claim,
        delta: CountDelta,
        device: Option<&DeviceWrite>,
    ) -> Stored<()> {
        let mut state = self.state();
        let is_as_thought =
            state.claim(key).is_some_and(|claim| claim.epoch == before.epoch && claim.state == before.state);
        let (place, rollout) = (state.place(&key.product, &key.device), state.rollout_number(&key.update));
        if !is_as_thought || device.is_some_and(|write| !state.at(place).expects(write)) {
            return Err(StoreError::Conflict);
        }
        let Some(shard) = state.shard_mut(rollout, before.shard) else {
            return Err(StoreError::Unavailable("the claim's shard does not exist".into()));
        };
        shard.count(delta);
        state.put_claim(place, rollout, after);
        if let Some(write) = device {
            state.write_device(place, write);
        }
        Ok(())
    }
}
