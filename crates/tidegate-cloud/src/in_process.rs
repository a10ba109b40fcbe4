//! The local DynamoDB without a socket: an operation's name and its JSON go in, a status and JSON come out.
//!
//! A test that stops the clock of tokio needs this: while a request waits for a socket, a stopped clock runs ahead.

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::dynamodb;
use crate::error::Result;
use crate::stream::TableStream;

/// A DynamoDB in this process. Clones share the data.
#[derive(Clone)]
pub struct InProcessDynamoDb {
    database: Database,
}

/// Answer of DynamoDB to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamoDbAnswer {
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: String,
}

impl InProcessDynamoDb {
    /// An empty database in memory. It is deleted with its last clone.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn in_memory() -> Result<Self> {
        Ok(Self { database: dynamodb::in_memory()? })
    }

    pub(crate) fn over(database: Database) -> Self {
        Self { database }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The stream of `table`, from the oldest record that is kept.
    ///
    /// # Errors
    /// When the table has no stream.
    pub fn table_stream(&self, table: &str) -> Result<TableStream> {
        TableStream::open(self, table)
    }

    /// Answers `operation`, for example `PutItem`. `body` is the JSON that an SDK sends.
    ///
    /// Operations on tables, items and transactions are known. PartiQL, tags and backups are not.
    #[must_use]
    pub fn answer(&self, operation: &str, body: &str) -> DynamoDbAnswer {
        let database = &self.database;
        match operation {
            "CreateTable" => play(body, |request| database.create_table(request)),
            "DeleteTable" => play(body, |request| database.delete_table(request)),
            "DescribeTable" => play(body, |request| database.describe_table(request)),
            "ListTables" => play(body, |request| database.list_tables(request)),
            "UpdateTable" => play(body, |request| database.update_table(request)),
            "UpdateTimeToLive" => play(body, |request| database.update_time_to_live(request)),
            "DescribeTimeToLive" => play(body, |request| database.describe_time_to_live(request)),
            "PutItem" => play(body, |request| database.put_item(request)),
            "GetItem" => play(body, |request| database.get_item(request)),
            "UpdateItem" => play(body, |request| database.update_item(request)),
            "DeleteItem" => play(body, |request| database.delete_item(request)),
            "Query" => play(body, |request| database.query(request)),
            "Scan" => play(body, |request| database.scan(request)),
            "BatchGetItem" => play(body, |request| database.batch_get_item(request)),
            "BatchWriteItem" => play(body, |request| database.batch_write_item(request)),
            "TransactGetItems" => play(body, |request| database.transact_get_items(request)),
            "TransactWriteItems" => play(body, |request| database.transact_write_items(request)),
            _ => DynamoDbAnswer {
                status: 400,
                body: json!({"__type": "com.amazon.coral.service#UnknownOperationException"}).to_string(),
            },
        }
    }
}

fn play<Q, A>(body: &str, operation: impl FnOnce(Q) -> dynoxide::Result<A>) -> DynamoDbAnswer
where
    Q: DeserializeOwned,
    A: Serialize,
{
    let answered = serde_json::from_str(body)
        .map_err(|error| DynoxideError::ValidationException(error.to_string()))
        .and_then(operation)
        .and_then(|answer| {
            serde_json::to_string(&answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
        });
    match answered {
        Ok(body) => DynamoDbAnswer { status: 200, body },
        Err(error) => DynamoDbAnswer { status: error.status_code(), body: error.to_json() },
    }
}
