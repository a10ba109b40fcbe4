//! Updates, heads, catalogs and the audit log: the writes of operators.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use tidegate_core::{
    DeviceId, ObjectionCode, ProductId, State as UpdateState, Timestamp, Transition, UpdateId, Version,
};
use tidegate_store::record::{
    Audience, AuditEntry, Change, Event, Fleet, Head, PublishedCatalog, Reading, RolloutKey, StateChange, UpdateRecord,
};
use tidegate_store::store::{Expected, StoreError, Stored};

use super::state::{ProductItems, State, precedence, to_the_millisecond};
use crate::guard::Guard;

impl State {
    pub(crate) fn want(&mut self, update: &UpdateRecord, expected: Expected, audit: Option<&AuditEntry>) -> Stored<()> {
        let is_guarded = self.keeps(Guard::WantedAsRead);
        let opens_unless_stopped = self.keeps(Guard::OpenUnlessStopped);
        let names_stopped = self.keeps(Guard::HeadNamesStopped);
        let items = self.product_mut(&update.product);
        let key = precedence(&update.version);
        let Some(stored) = items.updates.get(&key) else {
            return Err(StoreError::Conflict);
        };
        let as_read = Expected { revision: None, ..expected };
        if (is_guarded && Expected::of(stored) != as_read) || audit.is_some_and(|entry| items.has_audit(entry)) {
            return Err(StoreError::Conflict);
        }
        let revision = items.head.as_ref().map_or(0, |head| head.revision);
        if expected.revision.is_some_and(|expected| expected != revision) {
            return Err(StoreError::Conflict);
        }
        let wanted = millisecond_times(update).wanted;
        if let Some(wanted) = &wanted {
            let is_stopped = items.head.as_ref().is_some_and(|head| head.is_stopped);
            let opens = wanted.change.leads_to(update.state) == UpdateState::Active;
            if (opens && is_stopped && opens_unless_stopped) || (wanted.change == Change::Stop && !is_stopped) {
                return Err(StoreError::Conflict);
            }
        }
        let halts = wanted.as_ref().is_some_and(|wanted| wanted.change.halts());
        let objects = if update.objects.is_empty() { stored.objects.clone() } else { update.objects.clone() };
        let activates = wanted.as_ref().is_some_and(|wanted| wanted.change == Change::Transition(Transition::Activate));
        let newcomers_since = match update.newcomers_since.map(to_the_millisecond) {
            None if !activates => stored.newcomers_since,
            newcomers_since => newcomers_since,
        };
        let changed = UpdateRecord { wanted, objects, newcomers_since, ..stored.clone() };
        items.updates.insert(key, changed);
        if let Some(entry) = audit {
            items.put_audit(entry);
        }
        let head = items.head.get_or_insert_default();
        head.revision += 1;
        if halts && names_stopped {
            head.halted.insert(update.id.clone());
        }
        Ok(())
    }

    pub(crate) fn record_change(
        &mut self,
        update: &UpdateRecord,
        expected: Expected,
        audit: Option<&AuditEntry>,
    ) -> Stored<()> {
        let is_guarded = self.keeps(Guard::WantedIsMine);
        let opens_unless_stopped = self.keeps(Guard::OpenUnlessStopped);
        let items = self.product_mut(&update.product);
        let key = precedence(&update.version);
        let Some(stored) = items.updates.get(&key) else {
            return Err(StoreError::Conflict);
        };
        let is_expected = match is_guarded {
            true => Expected::of(stored) == Expected { revision: None, ..expected },
            false => stored.generation == expected.generation,
        };
        let is_active = update.state == UpdateState::Active;
        let is_stopped = items.head.as_ref().is_some_and(|head| head.is_stopped);
        if !is_expected
            || (is_active && is_stopped && opens_unless_stopped)
            || audit.is_some_and(|entry| items.has_audit(entry))
        {
            return Err(StoreError::Conflict);
        }
        let changed = UpdateRecord {
            uncounted: stored.uncounted,
            is_settled: stored.is_settled,
            reading: stored.reading,
            audience: stored.audience.clone(),
            ..millisecond_times(update)
        };
        let before = items.updates.insert(key, changed.clone());
        if let Some(entry) = audit {
            items.put_audit(entry);
        }
        let head = items.head.get_or_insert_default();
        head.revision += 1;
        if is_active {
            head.halted.remove(&update.id);
        }
        self.changed_update(before.as_ref(), &changed);
        Ok(())
    }

    pub(crate) fn put_reading(&mut self, rollout: &RolloutKey, reading: &Reading) {
        if let Some(stored) = self.stored_update(rollout) {
            stored.reading = Some(Reading { at: to_the_millisecond(reading.at), ..*reading });
        }
    }

    pub(crate) fn put_audience(&mut self, rollout: &RolloutKey, audience: &Audience) {
        if let Some(stored) = self.stored_update(rollout) {
            stored.audience = Some(Audience {
                at: to_the_millisecond(audience.at),
                served_since: audience.served_since.map(to_the_millisecond),
                unchanged_since: to_the_millisecond(audience.unchanged_since),
                ..audience.clone()
            });
        }
    }

    pub(crate) fn put_fleet(&mut self, product: &ProductId, fleet: &Fleet) {
        if let Some(head) = self.product_mut(product).head.as_mut() {
            head.fleet = Fleet { counted_at: fleet.counted_at.map(to_the_millisecond), ..*fleet };
        }
    }

    fn stored_update(&mut self, rollout: &RolloutKey) -> Option<&mut UpdateRecord> {
        let stored = self.product_mut(rollout.product()).updates.get_mut(&precedence(rollout.version()));
        stored.filter(|stored| stored.rollout() == *rollout)
    }

    pub(crate) fn members(&self, rollout: &RolloutKey) -> Vec<DeviceId> {
        self.rollout(rollout).map(|rollout| rollout.members.clone()).unwrap_or_default()
    }

    pub(crate) fn put_members(&mut self, rollout: &RolloutKey, members: &[DeviceId]) {
        self.rollout_mut(rollout).members = members.to_vec();
    }

    pub(crate) fn fleet_snapshot(&self) -> Option<Vec<u8>> {
        self.fleet_snapshot.clone()
    }

    pub(crate) fn put_fleet_snapshot(&mut self, bytes: Vec<u8>) {
        self.fleet_snapshot = Some(bytes);
    }

    pub(crate) fn mark_for_recount(&mut self, product: &ProductId, version: &Version) {
        if let Some(stored) = self.product_mut(product).updates.get_mut(&precedence(version)) {
            stored.uncounted += 1;
        }
    }

    pub(crate) fn put_catalog(&mut self, product: &ProductId, revision: u64, bytes: &[u8], ended: &[UpdateId]) -> bool {
        let is_guarded = self.keeps(Guard::CatalogIsNewer);
        let ProductItems { head: Some(head), catalogs, .. } = self.product_mut(product) else {
            return false;
        };
        if is_guarded && head.catalog.as_ref().is_some_and(|catalog| catalog.revision >= revision) {
            return false;
        }
        // One of the ended updates may have been opened and stopped again since.
        if !ended.is_empty() && head.revision != revision {
            return false;
        }
        let in_force = PublishedCatalog::of(revision, bytes);
        catalogs.truncate(1);
        catalogs.retain(|(name, _)| *name != in_force.name);
        catalogs.push_front((in_force.name.clone(), Arc::from(bytes)));
        head.catalog = Some(in_force);
        if !ended.is_empty() {
            // An older catalog may still offer the updates that are not halted any more.
            head.oldest_catalog = revision;
            head.halted.retain(|update| !ended.contains(update));
        }
        true
    }

    pub(crate) fn catalog(&self, product: &ProductId, name: &str) -> Option<Arc<[u8]>> {
        let catalogs = &self.product(product)?.catalogs;
        catalogs.iter().find(|(known, _)| known == name).map(|(_, bytes)| Arc::clone(bytes))
    }

    pub(crate) fn ask_for_catalog(&mut self, product: &ProductId, name: &str) {
        let in_force = self.product_mut(product).head.as_mut().and_then(|head| head.catalog.as_mut());
        if let Some(in_force) = in_force.filter(|in_force| in_force.name == name) {
            in_force.revision = 0;
        }
    }

    pub(crate) fn head(&self, product: &ProductId) -> Option<Head> {
        self.product(product)?.head.clone()
    }

    pub(crate) fn product_names(&self) -> Vec<ProductId> {
        let exists = |number: &u32| self.products[*number as usize].head.is_some();
        let products = self.product_numbers.iter().filter(|(_, number)| exists(number));
        products.map(|(product, _)| product.clone()).collect()
    }

    pub(crate) fn updates(&self, product: &ProductId) -> Vec<UpdateRecord> {
        let is_asked_for = |record: &&UpdateRecord| record.state != UpdateState::Draft || record.wanted.is_some();
        let updates = self.product(product).into_iter().flat_map(|items| items.updates.values());
        updates.filter(is_asked_for).cloned().collect()
    }

    pub(crate) fn campaign(&self, rollout: &RolloutKey) -> Option<UpdateRecord> {
        let items = self.product(rollout.product())?;
        let last = items.updates.get(&precedence(rollout.version())).filter(|last| last.deleted_at.is_none())?;
        if last.campaign == rollout.campaign() {
            return Some(last.clone());
        }
        items.updates.get(&rollout.name_as_earlier()).cloned()
    }

    pub(crate) fn update_page(
        &self,
        product: &ProductId,
        before: Option<&str>,
        most: usize,
    ) -> (Vec<UpdateRecord>, Option<String>) {
        let Some(items) = self.product(product) else {
            return (Vec::new(), None);
        };
        let before = before.map_or(Bound::Unbounded, Bound::Excluded);
        // What is left out takes a place on its page, as in DynamoDB.
        let page = items.updates.range::<str, _>((Bound::Unbounded, before)).rev().take(most).collect::<Vec<_>>();
        let last = page.last().filter(|_| page.len() == most).map(|(name, _)| (*name).clone());
        let present = page.into_iter().map(|(_, record)| record);
        let present = present.filter(|record| !record.is_earlier && record.deleted_at.is_none());
        (present.cloned().collect(), last)
    }

    pub(crate) fn update(&self, product: &ProductId, version: &Version) -> Option<UpdateRecord> {
        let stored = self.product(product)?.updates.get(&precedence(version));
        stored.filter(|stored| stored.deleted_at.is_none()).cloned()
    }

    pub(crate) fn create_update(&mut self, update: &UpdateRecord, audit: &AuditEntry) -> bool {
        let items = self.product_mut(&update.product);
        let key = precedence(&update.version);
        if items.updates.contains_key(&key) || items.has_audit(audit) {
            return false;
        }
        let created = without_notes(update);
        items.updates.insert(key, created.clone());
        items.put_audit(audit);
        items.head.get_or_insert_default().created_at.get_or_insert(to_the_millisecond(audit.at));
        self.changed_update(None, &created);
        true
    }

    pub(crate) fn begin_campaign(
        &mut self,
        last: &UpdateRecord,
        next: &UpdateRecord,
        revision: u64,
        audit: &AuditEntry,
    ) -> Stored<()> {
        let items = self.product_mut(&next.product);
        let (key, earlier) = (precedence(&next.version), last.rollout().name_as_earlier());
        let is_as_read = items.updates.get(&key).is_some_and(|stored| Expected::of(stored) == Expected::of(last));
        let may_open = items.head.as_ref().is_some_and(|head| head.revision == revision && !head.is_stopped);
        if !is_as_read || !may_open || items.updates.contains_key(&earlier) || items.has_audit(audit) {
            return Err(StoreError::Conflict);
        }
        items.updates.insert(earlier, UpdateRecord { is_earlier: true, ..without_notes(last) });
        let begun = without_notes(next);
        let before = items.updates.insert(key, begun.clone());
        items.put_audit(audit);
        items.head.get_or_insert_default().revision += 1;
        self.changed_update(before.as_ref(), &begun);
        Ok(())
    }

    pub(crate) fn delete_update(&mut self, update: &UpdateRecord, audit: &AuditEntry) -> bool {
        let items = self.product_mut(&update.product);
        let key = precedence(&update.version);
        if items.has_audit(audit) {
            // An earlier try of this call was applied.
            return true;
        }
        if items.updates.get(&key).is_none_or(|stored| Expected::of(stored) != Expected::of(update)) {
            return false;
        }
        items.updates.remove(&key);
        items.put_audit(audit);
        if update.was_published() {
            let (deleted_at, generation) = (Some(to_the_millisecond(audit.at)), update.generation.saturating_add(1));
            let deleted = UpdateRecord { deleted_at, generation, wanted: None, ..without_notes(update) };
            items.updates.insert(key.clone(), deleted);
            items.unremoved.insert(key);
            items.head.get_or_insert_default().revision += 1;
        }
        true
    }

    pub(crate) fn set_stopped(&mut self, product: &ProductId, is_stopped: bool, audit: &AuditEntry) -> bool {
        let items = self.product_mut(product);
        if items.head.is_none() {
            return false;
        }
        if items.has_audit(audit) {
            // An earlier try of this call was applied.
            return true;
        }
        items.put_audit(audit);
        if let Some(head) = &mut items.head {
            head.is_stopped = is_stopped;
            head.revision += 1;
        }
        true
    }

    pub(crate) fn set_product(
        &mut self,
        product: &ProductId,
        before: &Head,
        settings: &Head,
        audit: &AuditEntry,
    ) -> bool {
        let items = self.product_mut(product);
        let has_audit = items.has_audit(audit);
        if has_audit {
            // An earlier try of this call was applied.
            return true;
        }
        let Some(head) = items.head.as_mut().filter(|head| head.settings_revision == before.settings_revision) else {
            return false;
        };
        head.settings_revision += 1;
        head.product_token_generation = settings.product_token_generation;
        head.accepts_product_tokens = settings.accepts_product_tokens;
        head.registration_is_open = settings.registration_is_open;
        head.proves_by_report = settings.proves_by_report;
        head.version_attribute.clone_from(&settings.version_attribute);
        head.times = settings.times;
        items.put_audit(audit);
        true
    }

    pub(crate) fn put_event(&mut self, product: &ProductId, event: &Event) {
        let name = (event.position.clone(), event.stream_shard.clone());
        self.product_mut(product).events.entry(name).or_insert_with(|| event.clone());
    }

    pub(crate) fn events(&self, product: &ProductId) -> Vec<Event> {
        self.product(product).map(|items| items.events.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn state_changes(&self, product: &ProductId) -> Vec<StateChange> {
        self.product(product).map(|items| items.state_changes.clone()).unwrap_or_default()
    }

    pub(crate) fn audit(&mut self, product: &ProductId, entry: &AuditEntry) {
        self.product_mut(product).put_audit(entry);
    }

    pub(crate) fn audit_month(
        &self,
        product: &ProductId,
        month: Timestamp,
        before: Option<&str>,
        subject: Option<&str>,
        most: usize,
    ) -> (Vec<AuditEntry>, Option<String>) {
        let Some(items) = self.product(product) else {
            return (Vec::new(), None);
        };
        let of = |at: Timestamp| at.strftime("%Y-%m").to_string();
        let before = before.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = items.audit.range::<str, _>((Bound::Unbounded, before)).rev();
        let entries = entries.filter(|(_, entry)| of(entry.at) == of(month));
        let entries = entries.filter(|(_, entry)| subject.is_none_or(|subject| entry.subject == subject));
        let page = entries.take(most).collect::<Vec<_>>();
        let last = page.last().filter(|_| page.len() == most).map(|(name, _)| (*name).clone());
        (page.into_iter().map(|(_, entry)| entry.clone()).collect(), last)
    }

    pub(crate) fn add_deferrals(&mut self, rollout: &RolloutKey, counts: &BTreeMap<&'static str, u64>) {
        for (code, deferred) in counts {
            let count = self.rollout_mut(rollout).deferrals.entry(code).or_default();
            *count = count.saturating_add(*deferred);
        }
    }

    pub(crate) fn deferrals(&self, rollout: &RolloutKey) -> BTreeMap<String, u64> {
        let counts = self.rollout(rollout).into_iter().flat_map(|rollout| &rollout.deferrals);
        let known = counts.filter(|(code, _)| ObjectionCode::parse(code).is_some());
        known.map(|(code, deferred)| ((*code).to_string(), *deferred)).collect()
    }
}

impl ProductItems {
    pub(crate) fn has_audit(&self, entry: &AuditEntry) -> bool {
        self.audit.contains_key(&entry.name())
    }

    pub(crate) fn put_audit(&mut self, entry: &AuditEntry) {
        let stored = AuditEntry { at: to_the_millisecond(entry.at), ..entry.clone() };
        self.audit.entry(entry.name()).or_insert(stored);
    }
}

/// An update as a write of its whole record stores it: without what others note in it.
fn without_notes(update: &UpdateRecord) -> UpdateRecord {
    UpdateRecord { reading: None, audience: None, uncounted: 0, ..millisecond_times(update) }
}

fn millisecond_times(update: &UpdateRecord) -> UpdateRecord {
    let mut stored = update.clone();
    stored.created_at = to_the_millisecond(update.created_at);
    stored.changed_at = to_the_millisecond(update.changed_at);
    stored.opened_at = update.opened_at.map(to_the_millisecond);
    stored.test.began_at = update.test.began_at.map(to_the_millisecond);
    stored.newcomers_since = update.newcomers_since.map(to_the_millisecond);
    if let Some(edit) = &mut stored.audience_edit {
        edit.at = to_the_millisecond(edit.at);
    }
    stored.breaker.not_before = update.breaker.not_before.map(to_the_millisecond);
    if let Some(group) = &mut stored.control_group {
        group.since = to_the_millisecond(group.since);
    }
    if let Some(wanted) = &mut stored.wanted {
        if let Change::ControlGroup(group) = &mut wanted.change {
            group.since = to_the_millisecond(group.since);
        }
        if let Change::Transfers(breaker) = &mut wanted.change {
            breaker.not_before = breaker.not_before.map(to_the_millisecond);
        }
        wanted.at = to_the_millisecond(wanted.at);
    }
    stored
}
