//! Answers of the service, read as the types of its API.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_wire::definition::Definition;

use crate::error::{CommandError, CommandResult};

/// The bytes that one device downloads of an update.
pub fn size_bytes(definition: &Definition) -> u64 {
    definition.files.iter().map(|file| file.size).sum()
}

/// Reads the items of a list, each of which is a `what`.
pub fn read_all<T: DeserializeOwned>(items: Vec<Value>, what: &str) -> CommandResult<Vec<T>> {
    items.iter().map(|item| read(item, what)).collect()
}

/// Reads an answer of the service, or says that it is not what was expected.
pub fn read<T: DeserializeOwned>(document: &Value, what: &str) -> CommandResult<T> {
    T::deserialize(document).map_err(|cause| {
        CommandError::failed("bad_answer", format!("the service's {what} is not understood: {cause}")).because(cause)
    })
}
