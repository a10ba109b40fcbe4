//! A DynamoDB that behaves as AWS's does on a bad day, for tests.
//!
//! [`TroubledDynamoDb`] stands between the AWS SDK and a local DynamoDB in this process. It opens no socket and takes
//! its time from tokio, so a test can stop the clock (`tokio::time::pause`) and play hours in seconds. One seed draws
//! all chances: the same calls in the same order meet the same trouble.

mod batches;
mod copies;
mod draws;
mod dynamodb;
mod holds;
mod partitions;
mod play;
mod reads;
mod refusals;
mod request;
mod table;
mod units;
mod writes;

use std::time::Duration;

pub use dynamodb::TroubledDynamoDb;
pub use partitions::{Billing, PartitionLimits};
pub use units::{Meter, Partition, Units};

/// Trouble that a [`TroubledDynamoDb`] plays. The default is none. A chance is a number from 0 to 1.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// Seed of every chance.
    pub seed: u64,
    /// Mean time for which a transaction holds each item that it names; one hold is 50 to 150 % of it. A transaction
    /// that is refused holds nothing.
    pub hold: Duration,
    /// Items that others hold for a part of the time.
    pub occupancy: Option<Occupancy>,
    /// Chance that a plain write is refused with a conflict, if a transaction ever named its item.
    pub conflict_chance: f64,
    /// Greatest throughput of one partition key. None: no limit.
    pub partition_limits: Option<PartitionLimits>,
    /// Chance of each key of a BatchGetItem, and of each write of a BatchWriteItem, to be left unprocessed. At least
    /// one of a request is processed.
    pub unprocessed_chance: f64,
    /// Most items on a page of a Query or Scan. None: as many as fit into 1 MB.
    pub page_items: Option<usize>,
    /// Chance that an eventually consistent read shows the table as it was a moment ago: each write reaches the copy
    /// that answers after up to a second.
    pub old_read_chance: f64,
    /// Mean time of a request and its answer on the wire; one is 50 to 150 % of it.
    pub latency: Duration,
    /// Chance that a request is lost: nothing is written, the SDK waits for [`Trouble::time_out`].
    pub lost_request_chance: f64,
    /// Chance that an answer is lost: what was asked for is written, the SDK waits for [`Trouble::time_out`].
    pub lost_answer_chance: f64,
    /// Time after which the connection gives up. The SDK's own time-outs may be shorter.
    pub time_out: Duration,
    /// Chance of HTTP 500. In half of the cases, what was asked for is written.
    pub server_error_chance: f64,
    /// Chance that a write is applied once more, 1 to 100 calls later. Nobody sees the answer. A transaction comes
    /// without its token, as if ten minutes had passed and DynamoDB had forgotten it.
    pub late_duplicate_chance: f64,
}

impl Default for Trouble {
    fn default() -> Self {
        Self {
            seed: 0,
            hold: Duration::ZERO,
            occupancy: None,
            conflict_chance: 0.0,
            partition_limits: None,
            unprocessed_chance: 0.0,
            page_items: None,
            old_read_chance: 0.0,
            latency: Duration::ZERO,
            lost_request_chance: 0.0,
            lost_answer_chance: 0.0,
            time_out: Duration::from_secs(1),
            server_error_chance: 0.0,
            late_duplicate_chance: 0.0,
        }
    }
}

/// Items that transactions of others hold again and again, each for itself.
#[derive(Debug, Clone)]
pub struct Occupancy {
    /// First characters of the partition keys of these items.
    pub key_prefix: String,
    /// Share of the time for which an item is held, from 0 to 1.
    pub share: f64,
    /// Mean time of one hold; one is 50 to 150 % of it. The pauses between holds are exponential.
    pub mean_hold: Duration,
}

impl Occupancy {
    /// Items held for a share of the time, for 10 ms on average.
    #[must_use]
    pub fn new(key_prefix: &str, share: f64) -> Self {
        Self { key_prefix: key_prefix.into(), share, mean_hold: Duration::from_millis(10) }
    }
}

/// A kind of trouble, for the count of what was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A write or a transaction was refused because a transaction holds an item.
    Conflict,
    /// A request was refused because a partition key had too much to do.
    Throttled,
    /// A key or a write of a batch was left unprocessed.
    Unprocessed,
    /// A read was answered from the copy that lags behind.
    OldRead,
    /// A prepared write was applied between two pages.
    TornQuery,
    /// A request was lost.
    LostRequest,
    /// An answer was lost.
    LostAnswer,
    /// A request was answered with HTTP 500.
    ServerError,
    /// A write was applied once more.
    LateDuplicate,
}
