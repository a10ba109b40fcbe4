//! The update to play, as an operator writes it.

use tidegate_core::policy::Slots;
use tidegate_core::update::Publication;
use tidegate_core::{ProductId, Update};
use tidegate_wire::ApiError;
use tidegate_wire::definition::Definition;

/// Reason why an update file cannot be played.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct UpdateFileError(#[from] ApiError);

/// Reads an update file by the rules of publishing.
///
/// The product is part of the update's id, and so of every device's place in the queue.
///
/// # Errors
/// The first thing that is wrong, by name.
pub fn read_update(text: &[u8], product: &ProductId) -> Result<Update, UpdateFileError> {
    let definition = Definition::from_operator(text, product)?;
    Ok(definition.update(product, &Publication::draft(), &mut Slots::new())?)
}
