//! Devices with their claims: reads, writes, and the grant of a place.

use std::collections::BTreeMap;

use tidegate_core::{Claim, DeviceId, ProductId};
use tidegate_store::record::{
    ClaimChange, DeviceDeletion, DeviceRecord, DeviceWrite, Doc, KnownDevice, RolloutKey, Seen,
};
use tidegate_store::store::{GrantRequest, Granted, Include, ScannedDevices, Written};

use super::shards::{has_room, take};
use super::state::{DeviceIndex, DeviceItem, State, StoredClaim, numbered, to_the_millisecond};
use crate::guard::Guard;

/// Devices on one page of a scan.
const SCANNED_AT_A_TIME: usize = 1000;

impl State {
    pub(crate) fn device(&self, product: &ProductId, device: &DeviceId, include: Include) -> KnownDevice {
        let Some(item) = self.device_item(product, device) else {
            return KnownDevice::default();
        };
        let mut known = self.including(item, include);
        if include == Include::ItemAndDoc {
            let message = |stored: &StoredClaim| {
                Some((self.rollouts[stored.rollout as usize].update.clone(), stored.message.clone()?))
            };
            known.messages = item.claims.iter().filter_map(message).collect();
        }
        known
    }

    fn including(&self, item: &DeviceItem, include: Include) -> KnownDevice {
        let mut known = self.known(item);
        if let Some(record) = known.record.as_mut().filter(|_| include == Include::ItemAndDoc) {
            record.attributes.clone_from(&item.doc);
        }
        known
    }

    fn known(&self, item: &DeviceItem) -> KnownDevice {
        let claim =
            |stored: &StoredClaim| (self.rollouts[stored.rollout as usize].update.clone(), stored.claim.clone());
        let mut claims = item.claims.iter().map(claim).collect::<Vec<_>>();
        claims.sort_by(|(one, _), (other, _)| one.cmp(other));
        KnownDevice { record: item.record.clone(), claims, messages: BTreeMap::new() }
    }

    /// The `device.json` is written before the item that has its digests, and also if the item is not as expected.
    pub(crate) fn put_doc(&mut self, product: &ProductId, device: &DeviceId, doc: &Doc) {
        let index = self.index_of(product, device);
        let item = self.device_at_mut(index);
        if item.record.as_ref().is_none_or(|record| record.deleted_at.is_none()) {
            item.doc = Some(doc.json.clone());
        }
    }

    pub(crate) fn write_device(&mut self, write: &DeviceWrite) -> Written {
        if let Some(doc) = write.seen.as_ref().and_then(|seen| seen.doc.as_ref()) {
            self.put_doc(&write.product, &write.device, doc);
        }
        let index = self.index_of(&write.product, &write.device);
        let mut rollout = |claim: &Claim| self.rollout_number(&RolloutKey::of_claim(&write.product, claim));
        let rollouts = write.claims.iter().map(|change| rollout(&change.before)).collect::<Vec<_>>();
        let forgotten = write.forgotten.iter().map(&mut rollout).collect::<Vec<_>>();
        let item = self.device_at(index);
        let last_seen = item.record.as_ref().and_then(|record| record.last_seen);
        let is_still_seen = write.still_seen_at.is_none_or(|at| last_seen == Some(at));
        let is_audited = write
            .audit
            .as_ref()
            .is_some_and(|entry| self.product(&write.product).is_some_and(|items| items.has_audit(entry)));
        if is_audited {
            return Written::Yes;
        }
        let is_at = |revision: u64| item.record.as_ref().is_some_and(|record| record.revision == revision);
        let is_deleted = item.record.as_ref().is_some_and(|record| record.deleted_at.is_some());
        let is_expected = item.record.is_some() == write.is_known
            && (!is_deleted || write.restores)
            && (is_still_seen || !self.keeps(Guard::SeenAsReadForLost))
            && write.claims.iter().zip(&rollouts).all(|(change, rollout)| {
                self.is_as_read(item.claim(*rollout).map(|stored| &stored.claim), &change.before)
            })
            && write
                .forgotten
                .iter()
                .zip(&forgotten)
                .all(|(claim, rollout)| self.is_as_read(item.claim(*rollout).map(|stored| &stored.claim), claim))
            && write.orders.as_ref().is_none_or(|(revision, _)| is_at(*revision))
            && write.questions.as_ref().is_none_or(|(revision, _)| is_at(*revision))
            && write.tokens.as_ref().is_none_or(|(revision, _)| !write.is_known || is_at(*revision));
        if !is_expected {
            return Written::OtherDevice(Box::new(self.known(item)));
        }
        self.change_device(&write.product, index, |item| {
            let record = revised(item);
            if let Some(seen) = &write.seen {
                see(record, seen);
            }
            for (change, rollout) in write.claims.iter().zip(rollouts) {
                let stored = item.claims.iter_mut().find(|stored| stored.rollout == rollout);
                if let Some(stored) = stored {
                    apply(change, stored);
                }
            }
            item.claims.retain(|stored| !forgotten.contains(&stored.rollout));
            if let (Some((_, orders)), Some(record)) = (&write.orders, &mut item.record) {
                record.orders = orders.clone();
            }
            if let (Some((_, questions)), Some(record)) = (&write.questions, &mut item.record) {
                record.questions = questions.clone();
            }
            if let (Some((_, tokens)), Some(record)) = (&write.tokens, &mut item.record) {
                record.tokens = *tokens;
            }
            if let Some(record) = item.record.as_mut().filter(|_| write.restores) {
                record.deleted_at = None;
            }
        });
        if let Some(entry) = &write.audit {
            self.product_mut(&write.product).put_audit(entry);
        }
        Written::Yes
    }

    /// The condition that a claim is as it was read.
    fn is_as_read(&self, held: Option<&Claim>, before: &Claim) -> bool {
        let Some(held) = held else {
            return false;
        };
        let is_as_read =
            held.epoch == before.epoch && (held.revision == before.revision || !self.keeps(Guard::ClaimAsRead));
        is_as_read || !self.keeps(Guard::SettleOnce)
    }

    pub(crate) fn grant(&mut self, request: &GrantRequest) -> Granted {
        let product = request.rollout.product();
        if let Some(doc) = request.seen.as_ref().and_then(|seen| seen.doc.as_ref()) {
            self.put_doc(product, &request.device, doc);
        }
        let index = self.index_of(product, &request.device);
        let rollout = self.rollout_number(&request.rollout);
        // The device comes first: if it has the claim already, the shard's state does not matter.
        if !self.is_device_as_read(index, rollout, request) {
            return Granted::OtherDevice(Box::new(self.known(self.device_at(index))));
        }
        let number = usize::from(request.after.shard);
        let shard = self.rollouts[rollout as usize].shards.get(number).copied().flatten();
        let removed = self.removed;
        let Some(mut shard) = shard.filter(|shard| has_room(shard, request, removed)) else {
            return Granted::Refused(shard);
        };
        take(&mut shard, request);
        self.rollouts[rollout as usize].shards[number] = Some(shard);
        let claim = request.after.clone();
        self.change_device(product, index, |item| {
            let record = revised(item);
            if let Some(seen) = &request.seen {
                see(record, seen);
            }
            item.claims.retain(|stored| stored.rollout != rollout);
            item.claims.push(StoredClaim { rollout, claim, message: None });
        });
        Granted::Yes
    }

    /// The condition that a device is as it was read.
    fn is_device_as_read(&self, index: DeviceIndex, rollout: u32, request: &GrantRequest) -> bool {
        let item = self.device_at(index);
        let held = item.claim(rollout).map(|stored| &stored.claim);
        let (Some(record), Some(revision)) = (&item.record, request.revision) else {
            // A device that was never seen has no item.
            return request.revision.is_none() && item.record.is_none();
        };
        let is_revision_as_read = record.revision == revision || !self.keeps(Guard::RevisionAtGrant);
        match &request.before {
            None => !self.keeps(Guard::ClaimIsNew) || is_revision_as_read && held.is_none(),
            Some(before) => {
                !self.keeps(Guard::ClaimIsTheOneThatEnded) || is_revision_as_read && self.is_as_read(held, before)
            }
        }
    }

    pub(crate) fn delete_device(&mut self, deletion: &DeviceDeletion) -> bool {
        let index = self.index_of(&deletion.product, &deletion.device);
        let is_at = |record: &DeviceRecord| record.revision == deletion.revision;
        let items = self.product_mut(&deletion.product);
        if items.has_audit(&deletion.audit) {
            return true;
        }
        if !self.device_at(index).record.as_ref().is_some_and(is_at) {
            return false;
        }
        self.change_device(&deletion.product, index, |item| {
            item.record = Some(DeviceRecord {
                revision: deletion.revision.saturating_add(1),
                tokens: deletion.tokens,
                deleted_at: Some(to_the_millisecond(deletion.audit.at)),
                ..DeviceRecord::default()
            });
            item.claims.clear();
            item.doc = None;
        });
        self.product_mut(&deletion.product).put_audit(&deletion.audit);
        true
    }

    pub(crate) fn devices(&self, product: &ProductId, devices: &[DeviceId]) -> Vec<(DeviceId, KnownDevice)> {
        let item = |device: &DeviceId| {
            let item = self.device_item(product, device).filter(|item| item.record.is_some())?;
            Some((device.clone(), self.known(item)))
        };
        devices.iter().filter_map(item).collect()
    }

    pub(crate) fn devices_on(
        &mut self,
        product: &ProductId,
        version: &str,
        after: Option<&DeviceId>,
        most: usize,
    ) -> (Vec<DeviceId>, Option<DeviceId>) {
        let items = self.product_mut(product);
        let (devices, sorted) = (&items.devices, &mut items.sorted);
        if sorted.len() < devices.len() {
            *sorted = (0..numbered(devices.len())).collect();
            sorted.sort_unstable_by(|one, other| devices[*one as usize].id.cmp(&devices[*other as usize].id));
        }
        let start = after.map_or(0, |after| sorted.partition_point(|item| devices[*item as usize].id <= *after));
        let runs =
            |item: &&DeviceItem| item.record.as_ref().is_some_and(|record| record.version.as_deref() == Some(version));
        let mut parts = [0_usize; 256];
        let (mut page, mut has_more) = (Vec::new(), false);
        for item in sorted.iter().skip(start).map(|item| &devices[*item as usize]).filter(runs) {
            // A part of the list that fills a page says that there may be more, even where that is the last.
            let part = &mut parts[usize::from(item.version_part)];
            *part += 1;
            has_more |= *part >= most || page.len() == most;
            if page.len() < most {
                page.push(item.id.clone());
            }
        }
        let next = if has_more { page.last().cloned() } else { None };
        (page, next)
    }

    /// A page of all devices, and where the next page starts.
    pub(crate) fn scan_devices(&self, after: Option<&str>, include: Include) -> ScannedDevices {
        let start = after.and_then(|after| after.parse().ok()).unwrap_or(0_usize);
        let all = self.product_numbers.iter().flat_map(|(product, number)| {
            self.products[*number as usize].devices.iter().map(move |item| (product, item))
        });
        let all = all.filter(|(_, item)| item.record.is_some());
        let page = all.skip(start).take(SCANNED_AT_A_TIME);
        let known = |item: &DeviceItem| self.including(item, include);
        let page = page.map(|(product, item)| (product.clone(), item.id.clone(), known(item))).collect::<Vec<_>>();
        let next = (page.len() == SCANNED_AT_A_TIME).then(|| (start + SCANNED_AT_A_TIME).to_string());
        (page, next)
    }
}

/// The record of a device, with its next revision. It is created if it does not exist.
fn revised(item: &mut DeviceItem) -> &mut DeviceRecord {
    let record = item.record.get_or_insert_default();
    record.revision = record.revision.saturating_add(1);
    record
}

/// What a request says of its device.
fn see(record: &mut DeviceRecord, seen: &Seen) {
    let at = to_the_millisecond(seen.at);
    record.version = Some(seen.version.clone());
    record.last_seen = Some(at);
    record.first_seen.get_or_insert(at);
    if let Some(long_gap_s) = seen.long_gap_s {
        record.long_gap_s = long_gap_s;
    }
    if let Some(poll_s) = seen.poll_s {
        record.poll_s = Some(poll_s);
    }
    record.tokens.has_own |= seen.uses_own_token;
    if let Some(doc) = &seen.doc {
        record.stored = Some(doc.digests);
        record.stored_at = Some(at);
    }
}

/// The change of one claim: only its fields that differ are set.
fn apply(change: &ClaimChange, stored: &mut StoredClaim) {
    let ClaimChange { before, after, note } = change;
    let claim = &mut stored.claim;
    let life = [&before.life, &after.life];
    set(&mut claim.life.state, life.map(|life| &life.state));
    set(&mut claim.life.bucket, life.map(|life| &life.bucket));
    set(&mut claim.life.holds_place, life.map(|life| &life.holds_place));
    set(&mut claim.life.installed_at, life.map(|life| &life.installed_at));
    set(&mut claim.life.first_sign, life.map(|life| &life.first_sign));
    set(&mut claim.life.lost_from, life.map(|life| &life.lost_from));
    set(&mut claim.life.lost_at, life.map(|life| &life.lost_at));
    set(&mut claim.life.left, life.map(|life| &life.left));
    set(&mut claim.life.old_once, life.map(|life| &life.old_once));
    set(&mut claim.life.soaked, life.map(|life| &life.soaked));
    set(&mut claim.life.mature, life.map(|life| &life.mature));
    set(&mut claim.life.by_report, life.map(|life| &life.by_report));
    set(&mut claim.revision, [&before.revision, &after.revision]);
    set(&mut claim.ended_at, [&before.ended_at, &after.ended_at]);
    set(&mut claim.retry_at, [&before.retry_at, &after.retry_at]);
    let history = [&before.history, &after.history];
    set(&mut claim.history.failed_at, history.map(|history| &history.failed_at));
    set(&mut claim.history.transfers_failed, history.map(|history| &history.transfers_failed));
    set(&mut claim.history.declined, history.map(|history| &history.declined));
    set(&mut claim.history.reentered_at, history.map(|history| &history.reentered_at));
    if let Some(message) = note.as_ref().and_then(|note| note.message.as_ref()) {
        stored.message = Some(message.clone());
    }
}

fn set<T: PartialEq + Clone>(field: &mut T, [before, after]: [&T; 2]) {
    if before != after {
        field.clone_from(after);
    }
}
