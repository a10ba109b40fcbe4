//! Catalog: the live updates of one product, newest first.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use semver::Version;

use crate::claim::{Claim, Claims};
use crate::cohort::Cohort;
use crate::device::Device;
use crate::id::{DeviceId, ProductId, UpdateId};
use crate::index::Index;
use crate::lifecycle::State;
use crate::policy::{Candidate, Facts, Screen, Slots};
use crate::reports::Reports;
use crate::update::Update;

/// Live updates of one product in descending precedence, with the attribute names that their policies use, and an
/// index by the attribute values that the policies need.
pub struct Catalog {
    pub(crate) product: ProductId,
    pub(crate) slots: Slots,
    pub(crate) index: Index,
    pub(crate) screen: Screen,
    pub(crate) stopped_updates: Vec<UpdateId>,
    pub(crate) reports: Reports,
    /// Updates with a control group, and the lowest place of each.
    pub(crate) held_out: Vec<(UpdateId, Cohort)>,
    pub(crate) newest_first: Vec<Entry>,
    /// Bytes from which entries are decoded.
    pub(crate) encoded: Arc<[u8]>,
}

/// One update, decoded when it is first needed. A device needs few of thousands.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) encoded: Range<usize>,
    /// `None` if the update cannot be decoded. No device is offered it.
    pub(crate) update: OnceLock<Option<Box<Update>>>,
}

impl Catalog {
    /// The catalog of these updates, which may come in any order. Their policies were parsed with `slots`. An update of
    /// another product is left out.
    #[must_use]
    pub fn new(product: ProductId, slots: Slots, updates: impl IntoIterator<Item = Update>) -> Self {
        let mut newest_first: Vec<Update> = updates.into_iter().filter(|update| update.product == product).collect();
        newest_first.sort_by(|a, b| b.version.cmp_precedence(&a.version).then_with(|| a.id.cmp(&b.id)));
        let indexed = |update: &Update| (update.policy.needs(), update.is_rollback());
        let index = Index::new(&newest_first.iter().map(indexed).collect::<Vec<_>>());
        let screen = Screen::new(newest_first.iter().map(|update| &update.policy));
        let held_out =
            newest_first.iter().filter_map(|update| Some((update.id.clone(), update.held_out_from?))).collect();
        let whole = |update| Entry { encoded: 0..0, update: OnceLock::from(Some(Box::new(update))) };
        let newest_first = newest_first.into_iter().map(whole).collect();
        Self {
            product,
            slots,
            index,
            screen,
            stopped_updates: Vec::new(),
            reports: Reports::default(),
            held_out,
            newest_first,
            encoded: Arc::default(),
        }
    }

    /// Adds the updates that were aborted or withdrawn. A device must cancel such an update.
    #[must_use]
    pub fn with_stopped_updates(mut self, updates: impl IntoIterator<Item = UpdateId>) -> Self {
        self.stopped_updates = updates.into_iter().collect();
        self.stopped_updates.sort_unstable();
        self
    }

    /// Adds what the images of every published update say of themselves.
    #[must_use]
    pub fn with_reports(self, reports: Reports) -> Self {
        Self { reports, ..self }
    }

    /// What the images say of themselves, where that is not the version of their update.
    #[must_use]
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Product of the updates.
    #[must_use]
    pub fn product(&self) -> &ProductId {
        &self.product
    }

    /// Attribute names that the policies use.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Number of updates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.newest_first.len()
    }

    /// `true` if there is no update.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.newest_first.is_empty()
    }

    /// Rollbacks that are live, newest first.
    pub(crate) fn rollbacks(&self) -> impl Iterator<Item = &Update> {
        self.index.rollbacks().filter_map(|position| self.at(position)).filter(|update| update.comes_first())
    }

    /// Updates in the order in which a decision considers them: the rollbacks before the upgrades.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = &Update> {
        self.rollbacks().chain(self.newest_first().filter(|update| !update.comes_first()))
    }

    /// Updates, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Update> {
        (0..self.len()).filter_map(|position| self.at(position))
    }

    /// The update with this id and version.
    #[must_use]
    pub fn find(&self, id: &UpdateId, version: &Version) -> Option<&Update> {
        self.at(self.newer_than(version)).filter(|update| update.id == *id)
    }

    /// Returns true if the update of a claim is offered to the device by a later campaign now.
    #[must_use]
    pub fn is_offered_anew(&self, device: &Device, claim: &Claim) -> bool {
        let offered = self.at(self.newer_than(&claim.version));
        offered.is_some_and(|update| {
            let is_same = update.version.cmp_precedence(&claim.version).is_eq();
            let is_later = is_same && update.campaign > claim.campaign && update.state == State::Active;
            is_later && update.is_for(device, &self.slots)
        })
    }

    /// `true` if a device must cancel an update that it has started: the update is paused, held, aborted or withdrawn. Devices
    /// may finish an update that was completed.
    #[must_use]
    pub fn is_stopped(&self, id: &UpdateId, version: &Version) -> bool {
        let is_paused =
            self.find(id, version).is_some_and(|update| matches!(update.state, State::Paused | State::Held));
        is_paused || self.stopped_updates.binary_search(id).is_ok()
    }

    /// Returns true if a device has the place of a control group and no claim. Its policy is not asked: a device more that
    /// is watched closely does no harm.
    #[must_use]
    pub fn is_held_out(&self, device: &DeviceId, claims: &Claims) -> bool {
        let is_held_out =
            |(update, from): &(UpdateId, Cohort)| Cohort::of(update, device) >= *from && claims.on(update).is_none();
        self.held_out.iter().any(is_held_out)
    }

    pub(crate) fn at(&self, position: usize) -> Option<&Update> {
        let entry = self.newest_first.get(position)?;
        entry.update.get_or_init(|| self.decode(&entry.encoded).map(Box::new)).as_deref()
    }

    /// Number of updates above a version. They are the first ones.
    pub(crate) fn newer_than(&self, version: &Version) -> usize {
        let is_newer =
            |position: usize| self.at(position).is_some_and(|update| update.version.cmp_precedence(version).is_gt());
        // Most devices run the newest version.
        if !is_newer(0) {
            return 0;
        }
        let (mut newer, mut end) = (1, self.len());
        while newer < end {
            let middle = newer.midpoint(end);
            if is_newer(middle) { newer = middle.saturating_add(1) } else { end = middle }
        }
        newer
    }

    /// Upgrades whose policy admits the device, newest first, out of the first `newer`.
    pub(crate) fn targeting<'c, 'd>(
        &'c self,
        device: &'d Device,
        facts: &'d Facts<'d>,
        newer: usize,
    ) -> impl Iterator<Item = &'c Update> + 'd
    where
        'c: 'd,
    {
        let ask = move |position, id| {
            let update = self.at(position)?;
            let place = || update.cohort_of(&device.id).place();
            update.policy.part(id, facts, &Candidate { new_version: &update.version, cohort: &place })
        };
        let holds = move |position: &usize| self.screen.admits(*position, facts, |id| ask(*position, id));
        self.index.candidates(newer, facts).filter(holds).filter_map(|position| self.at(position))
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("product", &self.product).field("updates", &self.len()).finish_non_exhaustive()
    }
}
