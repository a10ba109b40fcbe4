//! Store in one DynamoDB table. Compiled catalogs are in S3, because they are too large for an item.
//!
//! | pk | sk | what |
//! |---|---|---|
//! | `#products` | product | the products |
//! | product | `head` | [`Head`](crate::record::Head) |
//! | product | `update#<version>` | an update |
//! | product`#audit` | time`#`generation | changes with their actors |
//! | product`#device#`device | `device` | a device |
//! | product`#device#`device | `claim#<update>` | its claim on an update |
//! | product`#versions` | version`#`part | number of devices that run it |
//! | update`#`shard | `shard` | a shard of a rollout |
//! | update`#deferred` | `deferred` | number of deferrals, by objection |
//! | update`#series` | hour | counters over time |

mod catalogs;
mod item;
mod key;
mod publish;
mod read;
mod reserve;
mod settle;
mod sweep;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;

use crate::dynamo::catalogs::Catalogs;
use crate::store::StoreError;

/// Store in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoStore {
    client: Client,
    table: String,
    catalogs: Catalogs,
}

impl DynamoStore {
    /// A store in `table`, with its compiled catalogs in `bucket`.
    #[must_use]
    pub fn new(client: Client, table: &str, s3: aws_sdk_s3::Client, bucket: &str) -> Self {
        Self { client, table: table.to_string(), catalogs: Catalogs::new(s3, bucket) }
    }
}

/// Error of a call that gives no information about the data.
fn unavailable<E, R>(error: SdkError<E, R>) -> StoreError
where
    E: std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    StoreError::unavailable(error)
}

/// Reasons for the cancellation of a transaction, by item. An error if the transaction failed in another way.
fn cancelled(error: SdkError<TransactWriteItemsError>) -> Result<Vec<CancellationReason>, StoreError> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            Ok(cancelled.cancellation_reasons().to_vec())
        }
        Some(TransactWriteItemsError::TransactionInProgressException(_)) => Err(StoreError::Conflict),
        _ => Err(unavailable(error)),
    }
}

/// Reason of the item at `index`, if its condition failed.
fn failed_condition(reasons: &[CancellationReason], index: usize) -> Option<&CancellationReason> {
    reasons.get(index).filter(|reason| reason.code() == Some("ConditionalCheckFailed"))
}
