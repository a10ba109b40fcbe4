//! The updates of one product that are live, newest first.

use crate::id::{ProductId, UpdateId};
use crate::policy::Slots;
use crate::update::Update;

/// The live updates of one product in descending precedence, with the attribute names that their
/// policies ask for.
#[derive(Debug, Clone)]
pub struct Catalog {
    product: ProductId,
    slots: Slots,
    newest_first: Vec<Update>,
}

impl Catalog {
    /// Takes the updates of `product`, in any order; `slots` is what their policies were parsed with.
    /// An update of another product is left out: nothing ever crosses.
    #[must_use]
    pub fn new(product: ProductId, slots: Slots, updates: impl IntoIterator<Item = Update>) -> Self {
        let mut newest_first: Vec<Update> = updates.into_iter().filter(|update| update.product == product).collect();
        newest_first.sort_by(|a, b| b.version.cmp_precedence(&a.version).then_with(|| a.id.cmp(&b.id)));
        Self { product, slots, newest_first }
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

    /// The updates in the order in which they are considered.
    pub fn newest_first(&self) -> impl Iterator<Item = &Update> {
        self.newest_first.iter()
    }

    /// One update.
    #[must_use]
    pub fn find(&self, id: &UpdateId) -> Option<&Update> {
        self.newest_first.iter().find(|update| update.id == *id)
    }
}
