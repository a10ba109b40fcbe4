//! The updates of one product that are live, newest first.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use semver::Version;

use crate::cohort::Cohort;
use crate::device::Device;
use crate::id::{ProductId, UpdateId};
use crate::index::Index;
use crate::lifecycle::State;
use crate::policy::{Candidate, Facts, Screen, Slots};
use crate::update::{Downgrade, Update};

/// The live updates of one product in descending precedence, with the attribute names that their
/// policies ask for, and an index by what those policies need.
pub struct Catalog {
    pub(crate) product: ProductId,
    pub(crate) slots: Slots,
    pub(crate) index: Index,
    pub(crate) screen: Screen,
    pub(crate) stopped_updates: Vec<UpdateId>,
    pub(crate) newest_first: Vec<Entry>,
    /// What entries that were not yet asked for are decoded from.
    pub(crate) encoded: Arc<[u8]>,
}

/// One update, decoded when it is first asked for: of thousands, a device concerns a few.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) encoded: Range<usize>,
    /// `None` for what cannot be decoded: it is offered to nobody.
    pub(crate) update: OnceLock<Option<Box<Update>>>,
}

impl Catalog {
    /// Takes the updates of `product`, in any order; `slots` is what their policies were parsed with.
    /// An update of another product is left out: nothing ever crosses.
    #[must_use]
    pub fn new(product: ProductId, slots: Slots, updates: impl IntoIterator<Item = Update>) -> Self {
        let mut newest_first: Vec<Update> = updates.into_iter().filter(|update| update.product == product).collect();
        newest_first.sort_by(|a, b| b.version.cmp_precedence(&a.version).then_with(|| a.id.cmp(&b.id)));
        let filed = |update: &Update| (update.policy.needs(), update.downgrade == Downgrade::Allowed);
        let index = Index::new(&newest_first.iter().map(filed).collect::<Vec<_>>());
        let screen = Screen::new(newest_first.iter().map(|update| &update.policy));
        let whole = |update| Entry { encoded: 0..0, update: OnceLock::from(Some(Box::new(update))) };
        let newest_first = newest_first.into_iter().map(whole).collect();
        Self { product, slots, index, screen, stopped_updates: Vec::new(), newest_first, encoded: Arc::default() }
    }

    /// The same, with the updates that were stopped or taken back: devices on their way to one should
    /// turn back.
    #[must_use]
    pub fn with_stopped_updates(mut self, updates: impl IntoIterator<Item = UpdateId>) -> Self {
        self.stopped_updates = updates.into_iter().collect();
        self.stopped_updates.sort_unstable();
        self
    }

    /// Whose updates these are.
    #[must_use]
    pub fn product(&self) -> &ProductId {
        &self.product
    }

    /// The attribute names that the policies ask for.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// How many updates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.newest_first.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.newest_first.is_empty()
    }

    /// The updates in the order in which they are considered.
    pub fn newest_first(&self) -> impl Iterator<Item = &Update> {
        (0..self.len()).filter_map(|position| self.at(position))
    }

    /// The update of that id, which gives `version`.
    #[must_use]
    pub fn find(&self, id: &UpdateId, version: &Version) -> Option<&Update> {
        self.at(self.newer_than(version)).filter(|update| update.id == *id)
    }

    /// Whether devices that are on their way to an update should turn back: it is paused, was stopped,
    /// or was taken back. One that is over as planned lets them finish.
    #[must_use]
    pub fn is_stopped(&self, id: &UpdateId, version: &Version) -> bool {
        let is_paused = self.find(id, version).is_some_and(|update| update.state == State::Paused);
        is_paused || self.stopped_updates.binary_search(id).is_ok()
    }

    pub(crate) fn at(&self, position: usize) -> Option<&Update> {
        let entry = self.newest_first.get(position)?;
        entry.update.get_or_init(|| self.decode(&entry.encoded).map(Box::new)).as_deref()
    }

    /// How many updates are above a version; they come first.
    pub(crate) fn newer_than(&self, version: &Version) -> usize {
        let is_newer =
            |position: usize| self.at(position).is_some_and(|update| update.version.cmp_precedence(version).is_gt());
        // Most devices run the newest.
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

    /// The updates whose policy holds, newest first: of the first `newer`, and of those that can be downgrades.
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
            let place = || Cohort::of(&update.id, &device.id).place();
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
