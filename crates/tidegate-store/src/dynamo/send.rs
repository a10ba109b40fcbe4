//! Every request to DynamoDB: which answers are final, which are tried again, and for how long.
//!
//! DynamoDB refuses a plain write on an item that a transaction names at this moment, and the SDK does not try that
//! again. So every request goes through [`send`]. Every write of this store may be repeated: a write that was applied
//! already fails on its condition, and the failed condition shows the item.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::scan::ScanError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::CancellationReason;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::CreateUnhandledError;
use tokio::time::{Instant, sleep, timeout};

use crate::metrics::TARGET as METRICS;
use crate::store::{StoreError, Stored};

/// What a device waits for: a grant, its item, a head. It is told to come again after that.
pub(super) const DEVICE: Patience = Patience { total: Duration::from_secs(1) };
/// A request that is tried once, because the caller has something else to try.
pub(super) const ONE_TRY: Patience = Patience { total: Duration::ZERO };
/// What a person or a function without a person waits for.
pub(super) const READ: Patience = Patience { total: Duration::from_secs(5) };
/// One shard of a stop. A stop is worth more patience than anything else.
pub(super) const STOP: Patience = Patience { total: Duration::from_secs(20) };

/// The time for which a request is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    total: Duration,
}

/// The longest time of one try. DynamoDB answers in a few milliseconds, or its answer is lost.
const LONGEST_TRY: Duration = Duration::from_secs(1);
/// The first pause between tries; it doubles, and chance shortens it.
const FIRST_PAUSE_MS: u64 = 10;
/// The longest pause between tries.
const LONGEST_PAUSE_MS: u64 = 250;

/// What an error of DynamoDB says about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A condition failed: the caller looks at the item.
    Condition,
    /// It was not applied, because other requests use the same items or the partition at this moment.
    Contended,
    /// It may have been applied or not.
    Unknown,
    /// It was refused, and would be again.
    Final,
}

/// An error of one kind of request.
pub(super) trait Refusal:
    ProvideErrorMetadata + CreateUnhandledError + Error + fmt::Debug + Send + Sync + 'static
{
    /// The reasons by item, if a transaction was cancelled.
    fn cancellation(&self) -> Option<&[CancellationReason]> {
        None
    }
}

impl Refusal for TransactWriteItemsError {
    fn cancellation(&self) -> Option<&[CancellationReason]> {
        match self {
            Self::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
            _ => None,
        }
    }
}

/// A request that can be sent again and again.
pub(super) trait Repeatable: Sync {
    /// Its answer.
    type Answer;
    /// Its error.
    type Refusal: Refusal;

    /// Sends it once.
    fn once(&self) -> impl Future<Output = Result<Self::Answer, SdkError<Self::Refusal, HttpResponse>>> + Send;
}

macro_rules! repeatable {
    ($($module:ident $Builder:ident $Answer:ident $Refusal:ident),* $(,)?) => {$(
        impl Repeatable for aws_sdk_dynamodb::operation::$module::builders::$Builder {
            type Answer = aws_sdk_dynamodb::operation::$module::$Answer;
            type Refusal = aws_sdk_dynamodb::operation::$module::$Refusal;

            #[allow(clippy::disallowed_methods, reason = "the one place that sends")]
            async fn once(&self) -> Result<Self::Answer, SdkError<Self::Refusal, HttpResponse>> {
                self.clone().send().await
            }
        }
    )*};
}

repeatable! {
    batch_get_item BatchGetItemFluentBuilder BatchGetItemOutput BatchGetItemError,
    delete_item DeleteItemFluentBuilder DeleteItemOutput DeleteItemError,
    get_item GetItemFluentBuilder GetItemOutput GetItemError,
    put_item PutItemFluentBuilder PutItemOutput PutItemError,
    query QueryFluentBuilder QueryOutput QueryError,
    scan ScanFluentBuilder ScanOutput ScanError,
    transact_write_items TransactWriteItemsFluentBuilder TransactWriteItemsOutput TransactWriteItemsError,
    update_item UpdateItemFluentBuilder UpdateItemOutput UpdateItemError,
}

impl Refusal for BatchGetItemError {}
impl Refusal for DeleteItemError {}
impl Refusal for GetItemError {}
impl Refusal for PutItemError {}
impl Refusal for QueryError {}
impl Refusal for ScanError {}
impl Refusal for UpdateItemError {}

/// Sends a request until it is answered, for `patience`. `what` names it in the log.
///
/// The inner error is a failed condition.
///
/// # Errors
/// `Contended`, when it was certainly not applied; `Unavailable` otherwise.
pub(super) async fn send<R: Repeatable>(
    what: &'static str,
    patience: Patience,
    request: &R,
) -> Stored<Result<R::Answer, R::Refusal>> {
    let until = Instant::now() + patience.total;
    // A try without an answer may have been applied.
    let mut is_certain = true;
    for tries in 0_u32.. {
        let (meaning, error) = match timeout(LONGEST_TRY, Box::pin(request.once())).await {
            Ok(Ok(answer)) => return Ok(Ok(answer)),
            Ok(Err(error)) => (meaning(&error), Some(error)),
            Err(_elapsed) => (Meaning::Unknown, None),
        };
        match (meaning, error) {
            (Meaning::Condition, Some(error)) => return Ok(Err(error.into_service_error())),
            (Meaning::Final, Some(error)) => return Err(StoreError::unavailable(error)),
            (meaning, error) => {
                is_certain &= meaning == Meaning::Contended;
                let pause = pause(tries);
                if Instant::now() + pause >= until {
                    return Err(given_up(what, tries, is_certain, error));
                }
                sleep(pause).await;
            }
        }
    }
    Err(StoreError::Contended)
}

/// Sends a request that has no condition.
pub(super) async fn send_plain<R: Repeatable>(
    what: &'static str,
    patience: Patience,
    request: &R,
) -> Stored<R::Answer> {
    send(what, patience, request).await?.map_err(StoreError::unavailable)
}

fn given_up<E, R>(what: &'static str, tries: u32, is_certain: bool, error: Option<SdkError<E, R>>) -> StoreError
where
    E: Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    if is_certain {
        // A single try is no failure: the caller has something else to try.
        if tries > 0 {
            tracing::warn!(what, tries, "store_contended");
            tracing::info!(target: METRICS, requests_contended = 1_u64);
        }
        return StoreError::Contended;
    }
    match error {
        Some(error) => StoreError::unavailable(error),
        None => StoreError::Unavailable(format!("no answer to {what} in time").into()),
    }
}

/// The table of answers.
fn meaning<E: Refusal, R>(error: &SdkError<E, R>) -> Meaning {
    let Some(refusal) = error.as_service_error() else {
        // Not a service error: a connection that could not be made, or an answer that was lost.
        return match error {
            SdkError::ConstructionFailure(_) => Meaning::Final,
            _ => Meaning::Unknown,
        };
    };
    if let Some(reasons) = refusal.cancellation() {
        return cancelled(reasons);
    }
    match refusal.code() {
        Some("ConditionalCheckFailedException") => Meaning::Condition,
        Some(
            "TransactionConflictException"
            | "ThrottlingException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "LimitExceededException",
        ) => Meaning::Contended,
        Some("TransactionInProgressException" | "InternalServerError" | "ServiceUnavailable") | None => {
            Meaning::Unknown
        }
        Some(_) if is_server_error(error) => Meaning::Unknown,
        Some(_) => Meaning::Final,
    }
}

/// A transaction is decided by its first failed condition. Without one, only the moment was bad.
fn cancelled(reasons: &[CancellationReason]) -> Meaning {
    let codes = || reasons.iter().filter_map(CancellationReason::code);
    let is_contention =
        |code| matches!(code, "None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded");
    if codes().any(|code| code == "ConditionalCheckFailed") {
        return Meaning::Condition;
    }
    if codes().all(is_contention) { Meaning::Contended } else { Meaning::Final }
}

fn is_server_error<E, R>(error: &SdkError<E, R>) -> bool {
    // The SDK names the kinds of server errors that it knows; others have no code of ours.
    matches!(error, SdkError::ResponseError(_) | SdkError::TimeoutError(_) | SdkError::DispatchFailure(_))
}

/// The pause before the next try: any time up to a bound that doubles, so that two requests do not collide again.
fn pause(tries: u32) -> Duration {
    let bound = FIRST_PAUSE_MS.saturating_mul(1 << tries.min(6)).min(LONGEST_PAUSE_MS);
    Duration::from_millis(fastrand::u64(0..=bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(codes: &[&str]) -> Vec<CancellationReason> {
        codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect()
    }

    #[test]
    fn a_cancelled_transaction_is_decided_by_a_failed_condition_and_otherwise_tried_again() {
        assert_eq!(cancelled(&reasons(&["None", "ConditionalCheckFailed"])), Meaning::Condition);
        assert_eq!(cancelled(&reasons(&["TransactionConflict", "ConditionalCheckFailed"])), Meaning::Condition);
        assert_eq!(cancelled(&reasons(&["None", "TransactionConflict"])), Meaning::Contended);
        assert_eq!(cancelled(&reasons(&["ThrottlingError", "None"])), Meaning::Contended);
        assert_eq!(cancelled(&reasons(&["ValidationError", "None"])), Meaning::Final);
    }

    #[test]
    fn pauses_grow_to_a_quarter_of_a_second_and_no_further() {
        for tries in 0..40 {
            assert!(pause(tries) <= Duration::from_millis(LONGEST_PAUSE_MS));
        }
        assert!(pause(0) <= Duration::from_millis(FIRST_PAUSE_MS));
    }
}
