//! A request of the SDK, and the items that it names.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidegate_cloud::InProcessDynamoDb;

use super::table::{ItemKey, Table};

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Name of the operation: `PutItem`.
    pub(super) operation: String,
    /// Body.
    pub(super) body: Value,
}

/// What an operation does with items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Reads items.
    Read,
    /// Reads items in a transaction.
    ReadTogether,
    /// Writes items, each for itself.
    Write,
    /// Writes items in a transaction.
    WriteTogether,
    /// Does nothing with items.
    Other,
}

impl Request {
    /// A request from its parts.
    pub(super) fn new(operation: &str, body: Value) -> Self {
        Self { operation: operation.to_owned(), body }
    }

    /// What the operation does with items.
    pub(super) fn effect(&self) -> Effect {
        match self.operation.as_str() {
            "GetItem" | "BatchGetItem" | "Query" | "Scan" => Effect::Read,
            "TransactGetItems" => Effect::ReadTogether,
            "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" => Effect::Write,
            "TransactWriteItems" => Effect::WriteTogether,
            _ => Effect::Other,
        }
    }

    /// Token of a transaction.
    pub(super) fn token(&self) -> Option<&str> {
        self.body["ClientRequestToken"].as_str()
    }

    /// The same request without its token.
    pub(super) fn without_token(&self) -> Self {
        let mut request = self.clone();
        if let Some(body) = request.body.as_object_mut() {
            body.remove("ClientRequestToken");
        }
        request
    }

    /// True if the request goes on where a page ended.
    pub(super) fn is_next_page(&self) -> bool {
        self.body["ExclusiveStartKey"].is_object()
    }

    /// Keys of the items that the request names, in its order. A Query and a Scan name none.
    pub(super) fn items(&self, tables: &mut Tables) -> Vec<ItemKey> {
        match self.operation.as_str() {
            "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem" => tables.key(&self.body).into_iter().collect(),
            "TransactWriteItems" | "TransactGetItems" => {
                let actions = self.body["TransactItems"].as_array().into_iter().flatten();
                let actions = actions.filter_map(Value::as_object).flat_map(Map::values);
                actions.filter_map(|action| tables.key(action)).collect()
            }
            _ => entries(&self.body).filter_map(|(table, entry)| tables.batch_key(table, entry)).collect(),
        }
    }
}

/// Entries of a batch, with the name of their table.
pub(super) fn entries(body: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let tables = body["RequestItems"].as_object().into_iter().flatten();
    tables.flat_map(|(table, of_table)| {
        let entries = of_table.as_array().or_else(|| of_table["Keys"].as_array());
        entries.into_iter().flatten().map(move |entry| (table.as_str(), entry))
    })
}

/// Tables that requests have named.
pub(super) struct Tables {
    dynamodb: InProcessDynamoDb,
    known: BTreeMap<String, Table>,
}

impl Tables {
    /// The tables of a database.
    pub(super) fn new(dynamodb: InProcessDynamoDb) -> Self {
        Self { dynamodb, known: BTreeMap::new() }
    }

    /// The table of that name, if it exists.
    pub(super) fn get(&mut self, name: &str) -> Option<&Table> {
        if !self.known.contains_key(name) {
            let table = Table::describe(&self.dynamodb, name)?;
            self.known.insert(name.to_owned(), table);
        }
        self.known.get(name)
    }

    /// Forgets what is known: a table was made, changed or deleted.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Key of an entry of a batch.
    pub(super) fn batch_key(&mut self, table: &str, entry: &Value) -> Option<ItemKey> {
        let action = [&entry["PutRequest"]["Item"], &entry["DeleteRequest"]["Key"], entry];
        let key = action.into_iter().find(|key| !key.is_null())?;
        self.get(table)?.key_of(key)
    }

    /// Key of an action: of a whole request, or of one item of a transaction.
    fn key(&mut self, action: &Value) -> Option<ItemKey> {
        let table = self.get(action["TableName"].as_str()?)?;
        let key = if action["Key"].is_object() { &action["Key"] } else { &action["Item"] };
        table.key_of(key)
    }
}
