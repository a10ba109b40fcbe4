//! The stream of a local table, in the batches that Lambda hands to a function.
//!
//! dynoxide gives one stream shard, in the order of the writes, with numbers of 21 digits that only rise.
//! It never deletes a record; `dynamodb.rs` does, when a folder is opened.

use dynoxide::actions::get_records::{GetRecordsRequest, Record};
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;
use dynoxide::{AttributeValue, Database};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cloud::REGION;
use crate::error::{Error, Result, Source};
use crate::in_process::InProcessDynamoDb;

/// Most records of one batch, as in the event source mapping.
pub const BATCH_RECORDS: usize = 2_000;
/// Sort key of the devices' records, and beginning of that of the updates', as in the filter of the event source mapping.
const DEVICE: &str = "device";
const UPDATE: &str = "update#";
/// Length of a tumbling window, as in the event source mapping.
const WINDOW_S: i64 = 5;

/// A reader of one table's stream. It starts at the oldest record that is kept.
///
/// It keeps the database open: drop it before the folder of a cloud is opened again.
pub struct TableStream {
    database: Database,
    arn: String,
    shard: String,
    batch_records: usize,
    /// The place after the last acknowledged record.
    position: String,
    waiting: Option<Batch>,
}

/// A batch that is not acknowledged.
struct Batch {
    event: Value,
    /// The place after its last record.
    end: String,
}

impl TableStream {
    /// Opens the stream of `table`, whose records carry both images.
    ///
    /// # Errors
    /// When the table has no stream.
    pub fn open(dynamodb: &InProcessDynamoDb, table: &str) -> Result<TableStream> {
        let refused = |source: Source| Error::Stream { table: table.to_owned(), source };
        let database = dynamodb.database().clone();
        let of_table = ListStreamsRequest { table_name: Some(table.to_owned()), ..ListStreamsRequest::default() };
        let streams = database.list_streams(of_table).map_err(|error| refused(error.into()))?.streams;
        let Some(stream) = streams.into_iter().next() else { return Err(refused("the table has no stream".into())) };
        let shard = dynoxide::streams::shard_id(table);
        let from_horizon = GetShardIteratorRequest {
            stream_arn: stream.stream_arn.clone(),
            shard_id: shard.clone(),
            shard_iterator_type: "TRIM_HORIZON".to_owned(),
            sequence_number: None,
        };
        let found = database.get_shard_iterator(from_horizon).map_err(|error| refused(error.into()))?;
        let position = found.shard_iterator.ok_or_else(|| refused("the stream has no beginning".into()))?;
        let arn = stream.stream_arn.replace(dynoxide::streams::LOCAL_REGION, REGION);
        Ok(TableStream { database, arn, shard, batch_records: BATCH_RECORDS, position, waiting: None })
    }

    /// The same stream in batches of at most `records`, instead of [`BATCH_RECORDS`].
    #[must_use]
    pub fn in_batches_of(mut self, records: usize) -> TableStream {
        self.batch_records = records.max(1);
        self
    }

    /// The event of the next batch, or `None` if no record waits. The same batch comes again until it is
    /// acknowledged.
    ///
    /// Records of other items than devices and updates, and writes that changed nothing, are passed over.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        if self.waiting.is_none() {
            self.waiting = self.read()?;
        }
        Ok(self.waiting.as_ref().map(|batch| batch.event.clone()))
    }

    /// Says that the batch is done. Without a batch it does nothing.
    pub fn acknowledge(&mut self) {
        if let Some(batch) = self.waiting.take() {
            self.position = batch.end;
        }
    }

    /// Reads up to one batch. Records that nobody waits for move the position at once.
    fn read(&mut self) -> Result<Option<Batch>> {
        let mut records = Vec::new();
        let mut end = self.position.clone();
        while records.len() < self.batch_records {
            let wanted = self.batch_records - records.len();
            let page = GetRecordsRequest { shard_iterator: end.clone(), limit: Some(wanted) };
            let page = self.database.get_records(page).map_err(|error| self.refused(error.into()))?;
            if page.records.is_empty() {
                break;
            }
            records.extend(page.records.into_iter().filter(is_handed_over));
            end = page.next_shard_iterator.ok_or_else(|| self.refused("the stream has ended".into()))?;
        }
        if records.is_empty() {
            self.position = end;
            return Ok(None);
        }
        let event = self.event(records)?;
        Ok(Some(Batch { event, end }))
    }

    fn event(&self, records: Vec<Record>) -> Result<Value> {
        let second = records.first().map_or(0, |record| record.dynamodb.approximate_creation_date_time as i64);
        let start = second - second.rem_euclid(WINDOW_S);
        let time = |second| Timestamp::from_second(second).map(|time| time.to_string()).map_err(Source::from);
        let window = |start| Ok::<_, Source>(json!({"start": time(start)?, "end": time(start + WINDOW_S)?}));
        let records = records.into_iter().map(|record| self.handed_over(record)).collect::<Result<Vec<_>>>()?;
        Ok(json!({
            "Records": records,
            "shardId": self.shard,
            "eventSourceARN": self.arn,
            "window": window(start).map_err(|error| self.refused(error))?,
            "state": {},
            "isFinalInvokeForWindow": false,
            "isWindowTerminatedEarly": false,
        }))
    }

    fn handed_over(&self, record: Record) -> Result<Value> {
        let mut record = serde_json::to_value(record).map_err(|error| self.refused(error.into()))?;
        record["awsRegion"] = json!(REGION);
        record["eventSourceARN"] = json!(self.arn);
        Ok(record)
    }

    fn refused(&self, source: Source) -> Error {
        Error::Stream { table: self.arn.clone(), source }
    }
}

/// Records of devices and updates. DynamoDB writes no record for a write that changes nothing; dynoxide does.
fn is_handed_over(record: &Record) -> bool {
    let change = &record.dynamodb;
    let counts = |sort_key: &str| sort_key == DEVICE || sort_key.starts_with(UPDATE);
    let counts = matches!(change.keys.get("sk"), Some(AttributeValue::S(sort_key)) if counts(sort_key));
    counts && change.new_image != change.old_image
}
