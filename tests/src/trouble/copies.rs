//! Copies of the database: one that lags behind, for old reads, and one to try a write on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidegate_cloud::{DynamoDbAnswer, InProcessDynamoDb};
use tokio::time::Instant;

use super::request::Request;
use super::table::{Item, ItemKey, Table};

/// A database with the same tables as another, without streams.
struct Copy {
    dynamodb: InProcessDynamoDb,
    made: BTreeSet<String>,
}

impl Copy {
    fn new() -> Self {
        let dynamodb = InProcessDynamoDb::in_memory().expect("SQLite has memory for one more database");
        Self { dynamodb, made: BTreeSet::new() }
    }

    /// Makes the table, unless it is there. True if it was made.
    fn make(&mut self, name: &str, table: &Table) -> bool {
        let is_new = self.made.insert(name.to_owned());
        if is_new {
            self.run("CreateTable", &table.create_request());
        }
        is_new
    }

    /// Makes an item what `image` says: the whole item, or none.
    fn set(&self, table: &Table, key: &ItemKey, image: Option<&Item>) {
        match image {
            Some(item) => self.run("PutItem", &json!({"TableName": key.table, "Item": item})),
            None => self.run("DeleteItem", &json!({"TableName": key.table, "Key": table.key_json(key)})),
        };
    }

    fn run(&self, operation: &str, body: &Value) -> DynamoDbAnswer {
        self.dynamodb.answer(operation, &body.to_string())
    }
}

/// A copy that each write reaches after a time of its own. Writes of one item reach it in their order.
pub(super) struct LaggingCopy {
    copy: Copy,
    /// Images on their way, by the moment of their arrival and a number that keeps two of one moment apart.
    on_their_way: BTreeMap<(Instant, u64), (Table, ItemKey, Option<Item>)>,
    last_arrival: BTreeMap<ItemKey, Instant>,
    sent: u64,
}

impl LaggingCopy {
    /// An empty copy.
    pub(super) fn new() -> Self {
        Self { copy: Copy::new(), on_their_way: BTreeMap::new(), last_arrival: BTreeMap::new(), sent: 0 }
    }

    /// Copies a table of `original` at its first request. Must be called before the request is applied.
    pub(super) fn follow(&mut self, name: &str, table: &Table, original: &InProcessDynamoDb) {
        if !self.copy.make(name, table) {
            return;
        }
        let mut scan = json!({"TableName": name});
        loop {
            let page: Value =
                serde_json::from_str(&original.answer("Scan", &scan.to_string()).body).unwrap_or_default();
            for item in page["Items"].as_array().into_iter().flatten() {
                self.copy.run("PutItem", &json!({"TableName": name, "Item": item}));
            }
            if !page["LastEvaluatedKey"].is_object() {
                return;
            }
            scan["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
        }
    }

    /// Sends an image on its way. It arrives at the given moment, but not before the one sent before it.
    pub(super) fn send(&mut self, table: &Table, key: &ItemKey, image: Option<Item>, arrival: Instant) {
        let before = self.last_arrival.get(key).copied();
        let arrival = before.map_or(arrival, |before| before.max(arrival));
        self.last_arrival.insert(key.clone(), arrival);
        self.sent += 1;
        self.on_their_way.insert((arrival, self.sent), (table.clone(), key.clone(), image));
    }

    /// Answers a read from what has arrived.
    pub(super) fn read(&mut self, request: &Request, now: Instant) -> DynamoDbAnswer {
        while let Some(entry) = self.on_their_way.first_entry()
            && entry.key().0 <= now
        {
            let (table, key, image) = entry.remove();
            self.copy.set(&table, &key, image.as_ref());
        }
        self.copy.run(&request.operation, &request.body)
    }
}

/// A copy that shows what a write would do.
pub(super) struct Rehearsal {
    copy: Copy,
}

impl Rehearsal {
    /// A place for trials.
    pub(super) fn new() -> Self {
        Self { copy: Copy::new() }
    }

    /// Tries `request` on `items` as they are now, and shows what becomes of them.
    pub(super) fn play(&mut self, request: &Request, items: &[(Table, ItemKey, Option<Item>)]) -> Vec<Option<Item>> {
        for (table, key, image) in items {
            self.copy.make(&key.table, table);
            self.copy.set(table, key, image.as_ref());
        }
        // The trial must not count as the first use of the token.
        self.copy.run(&request.operation, &request.without_token().body);
        items.iter().map(|(table, key, _)| get_item(&self.copy.dynamodb, table, key)).collect()
    }
}

/// An item as it is now.
pub(super) fn get_item(dynamodb: &InProcessDynamoDb, table: &Table, key: &ItemKey) -> Option<Item> {
    let request = json!({"TableName": key.table, "Key": table.key_json(key), "ConsistentRead": true});
    let answer: Value = serde_json::from_str(&dynamodb.answer("GetItem", &request.to_string()).body).ok()?;
    answer["Item"].as_object().cloned()
}
