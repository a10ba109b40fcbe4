//! What operators order for one device, and for many.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};
use tidegate_core::life::{Bucket, Left};
use tidegate_core::orders::{OrderError, Orders};
use tidegate_core::question::Questions;
use tidegate_core::{Claim, DeviceId, ProductId, Version};
use tidegate_store::PublishStore;
use tidegate_store::record::{AuditEntry, ClaimChange, DeviceWrite, KnownDevice, ListEntry, ValueChange};
use tidegate_store::store::{Freshness, Include, StoreError, Written};
use tidegate_wire::ApiError;

use super::Operations;
use super::change::MOST_TRIES;
use crate::control::Actor;
use crate::error::{Done, EngineError};

/// Most devices that one call changes.
pub const MOST_DEVICES: usize = 500;
/// Devices in one value of the audit log. It is cut at 2,000 bytes.
const AUDITED_AT_A_TIME: usize = 15;
/// Devices that are written at a time.
const WRITES_AT_A_TIME: usize = 16;
/// Entries of a list that are read at a time.
const PAGE: usize = 500;
/// Most entries that are looked at for the reasons of devices, and most reasons that are told.
const MOST_ENTRIES: usize = 10_000;
const MOST_REASONS: usize = 200;

/// An order for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// It is offered nothing.
    Hold,
    /// It is offered nothing but this version.
    Pin(Version),
    /// It is neither on hold nor pinned.
    Release,
    /// It has this tag.
    Tag(String, String),
    /// It has no tag of this name.
    Untag(String),
}

impl Order {
    /// The order in the audit log.
    fn action(&self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Pin(_) => "pin",
            Self::Release => "release",
            Self::Tag(..) => "tag",
            Self::Untag(_) => "untag",
        }
    }

    fn apply(&self, orders: &mut Orders) -> Result<(), OrderError> {
        match self {
            Self::Hold => orders.is_on_hold = true,
            Self::Pin(version) => orders.pin = Some(version.clone()),
            Self::Release => (orders.is_on_hold, orders.pin) = (false, None),
            Self::Tag(name, value) => orders.set_tag(name, value)?,
            Self::Untag(name) => drop(orders.remove_tag(name)),
        }
        Ok(())
    }
}

/// Result of a change of many devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManyChanged {
    /// The number of devices that changed.
    pub changed: u64,
    /// The devices that did not: they are unknown, or are already as asked.
    pub unchanged: Vec<DeviceId>,
    /// The last device that was looked at, if there are more.
    pub next: Option<DeviceId>,
}

/// Devices of a rollout with the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What became of them.
    pub bucket: Bucket,
    /// Their message, with `#` in the place of each number.
    pub message: Option<String>,
    /// Their number.
    pub devices: u64,
}

impl<S: PublishStore> Operations<S> {
    /// Carries out an order for a device.
    ///
    /// # Errors
    /// When the device has never checked in, it cannot have the order, other requests of it write at this moment, or the
    /// store cannot be reached.
    pub async fn order(&self, product: &ProductId, device: &DeviceId, order: &Order, actor: &Actor) -> Done<()> {
        let change = |known: &KnownDevice| {
            let record = known.record_or_default();
            let mut orders = record.orders.clone();
            order.apply(&mut orders).map_err(|error| ApiError::bad_field(error.to_string()))?;
            let is_other = orders != record.orders;
            // What the hold or the pin took away may come at once.
            let claims = match order {
                Order::Release if is_other => changed(known, |claim| {
                    claim.retried(actor.now).filter(|_| claim.life.left == Some(Left::GivenBack))
                }),
                _ => Vec::new(),
            };
            let changes = ValueChange::between(&in_words(&record.orders), &in_words(&orders));
            let audit = AuditEntry { changes, ..actor.entry(order.action(), device.as_str(), record.revision) };
            let orders = is_other.then_some((record.revision, orders));
            Ok(DeviceWrite { claims, orders, audit: Some(audit), ..known_write(product, device) })
        };
        self.change_device(product, device, change).await.map(drop)
    }

    /// Gives a device another try of every update that it did not get. Returns the versions of those that had ended.
    ///
    /// # Errors
    /// When the device has never checked in, other requests of it write at this moment, or the store cannot be reached.
    pub async fn retry(&self, product: &ProductId, device: &DeviceId, actor: &Actor) -> Done<Vec<Version>> {
        let change = |known: &KnownDevice| {
            let claims = changed(known, |claim| claim.retried(actor.now));
            let record = known.record_or_default();
            let forgiven = record.questions.forgiven(actor.now);
            let questions = forgiven.map(|questions| (record.revision, questions));
            let audit = Some(actor.entry("retry", device.as_str(), record.revision));
            Ok(DeviceWrite { claims, questions, audit, ..known_write(product, device) })
        };
        let written = self.change_device(product, device, change).await?;
        let versions = written.into_iter().flat_map(|DeviceWrite { claims, questions, .. }| {
            let asked = questions.into_iter().flat_map(|(_, questions)| questions.asked_at(actor.now));
            claims.into_iter().map(|change| change.after.version).chain(asked)
        });
        Ok(versions.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Forgets what a device did with every update: another device has its id now. Returns the versions.
    ///
    /// # Errors
    /// When the device has never checked in, other requests of it write at this moment, or the store cannot be reached.
    pub async fn forget(&self, product: &ProductId, device: &DeviceId, actor: &Actor) -> Done<Vec<Version>> {
        let change = |known: &KnownDevice| {
            let forgotten = known.claims.iter().map(|(_, claim)| claim.clone()).collect();
            // The next check-in asks anew.
            let record = known.record_or_default();
            let questions = (!record.questions.is_empty()).then(|| (record.revision, Questions::default()));
            let audit = Some(actor.entry("forget", device.as_str(), record.revision));
            Ok(DeviceWrite { forgotten, questions, audit, ..known_write(product, device) })
        };
        let written = self.change_device(product, device, change).await?;
        Ok(written.into_iter().flat_map(|write| write.forgotten).map(|claim| claim.version).collect())
    }

    /// Assigns an update to devices, or takes the assignment back.
    ///
    /// # Errors
    /// When the update does not exist, a device has too many assigned, or the store cannot be reached.
    pub async fn assign(
        &self,
        product: &ProductId,
        version: &Version,
        devices: &[DeviceId],
        is_assigned: bool,
        actor: &Actor,
    ) -> Done<ManyChanged> {
        self.update(product, version).await?;
        let change = |device: &DeviceId, known: &KnownDevice| {
            let record = known.record_or_default();
            let mut orders = record.orders.clone();
            match is_assigned {
                true => orders.assign(version).map_err(|error| ApiError::bad_field(format!("{device}: {error}")))?,
                false => drop(orders.unassign(version)),
            }
            let orders = (orders != record.orders).then_some((record.revision, orders));
            Ok(DeviceWrite { orders, ..known_write(product, device) })
        };
        let action = if is_assigned { "assign" } else { "take back" };
        self.note_many(product, action, version, devices, actor).await?;
        self.change_many(product, devices.to_vec(), change).await
    }

    /// Strikes devices as witnesses: what became of them says nothing of the update any more.
    ///
    /// # Errors
    /// When the update does not exist, or the store cannot be reached.
    pub async fn void(
        &self,
        product: &ProductId,
        version: &Version,
        devices: &[DeviceId],
        actor: &Actor,
    ) -> Done<ManyChanged> {
        let update = self.update(product, version).await?;
        let change = |device: &DeviceId, known: &KnownDevice| {
            let voided = known.claim(&update.id).and_then(|claim| Some(changed_to(claim, claim.voided()?)));
            Ok(DeviceWrite { claims: voided.into_iter().collect(), ..known_write(product, device) })
        };
        self.note_many(product, "void", version, devices, actor).await?;
        self.change_many(product, devices.to_vec(), change).await
    }

    /// Gives another try of an update to the devices in one bucket: a page of them, after `after`.
    ///
    /// # Errors
    /// When the update does not exist, or the store cannot be reached.
    pub async fn retry_many(
        &self,
        product: &ProductId,
        version: &Version,
        bucket: Bucket,
        after: Option<&DeviceId>,
        actor: &Actor,
    ) -> Done<ManyChanged> {
        let update = self.update(product, version).await?;
        let (entries, has_more) = self.store.listed(&update.rollout(), bucket, after, MOST_DEVICES).await?;
        let devices = entries.into_iter().map(|entry| entry.device).collect::<Vec<_>>();
        let action = format!("retry {}", bucket.name());
        self.note_many(product, &action, version, &devices, actor).await?;
        let next = devices.last().filter(|_| has_more).cloned();
        let change = |device: &DeviceId, known: &KnownDevice| {
            // The list is a hint.
            let claim = known.claim(&update.id).filter(|claim| claim.life.bucket == Some(bucket));
            let retried = claim.and_then(|claim| Some(changed_to(claim, claim.retried(actor.now)?)));
            let record = known.record_or_default();
            let forgiven = retried.as_ref().and_then(|_| record.questions.forgiven(actor.now));
            let questions = forgiven.map(|questions| (record.revision, questions));
            Ok(DeviceWrite { claims: retried.into_iter().collect(), questions, ..known_write(product, device) })
        };
        let many = self.change_many(product, devices, change).await?;
        Ok(ManyChanged { next, ..many })
    }

    /// Writes into the audit log what is ordered for many devices, before the first of them is changed.
    async fn note_many(
        &self,
        product: &ProductId,
        action: &str,
        version: &Version,
        devices: &[DeviceId],
        actor: &Actor,
    ) -> Done<()> {
        let changes = devices
            .chunks(AUDITED_AT_A_TIME)
            .map(|devices| ValueChange::new("devices", Value::Null, devices.iter().map(DeviceId::as_str).collect()));
        let entry = AuditEntry { changes: changes.collect(), ..actor.entry(action, version.to_string(), 0) };
        Ok(self.store.audit(product, &entry).await?)
    }

    /// The devices in one bucket of an update: a page of them, and where the next page starts.
    ///
    /// # Errors
    /// When the update does not exist, or the store cannot be reached.
    pub async fn listed(
        &self,
        product: &ProductId,
        version: &Version,
        bucket: Bucket,
        after: Option<&DeviceId>,
        most: usize,
    ) -> Done<(Vec<ListEntry>, Option<DeviceId>)> {
        let rollout = self.update(product, version).await?.rollout();
        let (entries, has_more) = self.store.listed(&rollout, bucket, after, most).await?;
        let next = entries.last().filter(|_| has_more).map(|entry| entry.device.clone());
        Ok((entries, next))
    }

    /// What the devices of an update said, the most frequent first, and whether every device was looked at.
    ///
    /// # Errors
    /// When the update does not exist, or the store cannot be reached.
    pub async fn reasons(&self, product: &ProductId, version: &Version) -> Done<(Vec<Reason>, bool)> {
        let rollout = self.update(product, version).await?.rollout();
        let mut counts = BTreeMap::<(Bucket, Option<String>), u64>::new();
        let (mut seen, mut is_complete) = (0_usize, true);
        for bucket in Bucket::ALL.into_iter().filter(|bucket| *bucket != Bucket::Proved) {
            let mut after = None;
            loop {
                let (entries, has_more) = self.store.listed(&rollout, bucket, after.as_ref(), PAGE).await?;
                seen = seen.saturating_add(entries.len());
                after = entries.last().map(|entry| entry.device.clone());
                for entry in entries {
                    let devices = counts.entry((bucket, entry.message.as_deref().map(alike))).or_default();
                    *devices = devices.saturating_add(1);
                }
                if !has_more || seen >= MOST_ENTRIES {
                    is_complete &= !has_more;
                    break;
                }
            }
        }
        let reason = |((bucket, message), devices)| Reason { bucket, message, devices };
        let mut reasons = counts.into_iter().map(reason).collect::<Vec<_>>();
        reasons.sort_by(|one, other| other.devices.cmp(&one.devices).then_with(|| one.message.cmp(&other.message)));
        is_complete &= reasons.len() <= MOST_REASONS;
        reasons.truncate(MOST_REASONS);
        Ok((reasons, is_complete))
    }

    /// Changes many devices, some at a time.
    async fn change_many(
        &self,
        product: &ProductId,
        devices: Vec<DeviceId>,
        change: impl Fn(&DeviceId, &KnownDevice) -> Done<DeviceWrite>,
    ) -> Done<ManyChanged> {
        let change = &change;
        let changes = stream::iter(devices).map(|device| async move {
            let written = self.change_device(product, &device, |known| change(&device, known)).await;
            match written {
                Ok(written) => Ok((device, written.is_some())),
                // One that cannot have it keeps no other from it.
                Err(
                    EngineError::UnknownDevice(_)
                    | EngineError::BadDefinition { .. }
                    | EngineError::Store(StoreError::Conflict),
                ) => Ok((device, false)),
                Err(error) => Err(error),
            }
        });
        let changes: Vec<(DeviceId, bool)> = changes.buffered(WRITES_AT_A_TIME).try_collect().await?;
        let changed = changes.iter().filter(|(_, is_changed)| *is_changed).count() as u64;
        let unchanged = changes.into_iter().filter(|(_, is_changed)| !is_changed).map(|(device, _)| device).collect();
        Ok(ManyChanged { changed, unchanged, next: None })
    }

    /// Changes a device as it is read, and again if another request was faster. Returns what was written; nothing, if
    /// nothing changes.
    async fn change_device(
        &self,
        product: &ProductId,
        device: &DeviceId,
        change: impl Fn(&KnownDevice) -> Done<DeviceWrite>,
    ) -> Done<Option<DeviceWrite>> {
        for _ in 0..MOST_TRIES {
            let known = self.store.device(product, device, Include::Item, Freshness::Strong).await?;
            if !known.exists() {
                return Err(EngineError::UnknownDevice(device.clone()));
            }
            let write = change(&known)?;
            if write.is_empty() {
                return Ok(None);
            }
            match self.store.write_device(&write).await? {
                Written::Yes => return Ok(Some(write)),
                Written::OtherDevice(_) => {}
            }
        }
        Err(StoreError::Conflict.into())
    }
}

fn known_write(product: &ProductId, device: &DeviceId) -> DeviceWrite {
    DeviceWrite::new(product.clone(), device.clone(), true)
}

fn changed_to(before: &Claim, after: Claim) -> ClaimChange {
    ClaimChange { before: before.clone(), after, note: None }
}

fn changed(known: &KnownDevice, change: impl Fn(&Claim) -> Option<Claim>) -> Vec<ClaimChange> {
    known.claims.iter().filter_map(|(_, claim)| Some(changed_to(claim, change(claim)?))).collect()
}

/// Orders in the audit log.
fn in_words(orders: &Orders) -> Value {
    let tags = orders.tags().map(|(name, value)| (name.to_string(), json!(value))).collect::<Map<_, _>>();
    json!({"hold": orders.is_on_hold, "pin": orders.pin.as_ref().map(ToString::to_string), "tags": tags})
}

/// A message with `#` in the place of each number, so that alike messages are the same.
fn alike(message: &str) -> String {
    let mut alike = String::with_capacity(message.len());
    let mut is_number = false;
    for c in message.chars() {
        if !c.is_ascii_digit() {
            alike.push(c);
        } else if !is_number {
            alike.push('#');
        }
        is_number = c.is_ascii_digit();
    }
    alike
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_messages_are_the_same() {
        assert_eq!(alike("block 1042 of 5, crc 0x1f"), "block # of #, crc #x#f");
        assert_eq!(alike(""), "");
    }
}
