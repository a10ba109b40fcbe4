//! The update to play, as an operator writes it.

use tidegate_core::policy::Slots;
use tidegate_core::update::Publication;
use tidegate_core::{ProductId, Update};
use tidegate_wire::definition::Definition;

/// Reads an update file by the rules of publishing.
///
/// The product is part of the update's id, and so of every device's place in the queue.
///
/// # Errors
/// The first thing that is wrong, by name.
pub fn read_update(text: &[u8], product: &ProductId) -> Result<Update, String> {
    let definition = Definition::from_operator(text, product).map_err(|error| error.message)?;
    definition.update(product, &Publication::draft(), &mut Slots::new()).map_err(|error| error.message)
}
