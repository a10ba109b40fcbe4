//! Refusals in the words of AWS.

use serde_json::{Value, json};
use tidegate_cloud::DynamoDbAnswer;

use super::partitions::Billing;

const TYPES: &str = "com.amazonaws.dynamodb.v20120810#";
const CONFLICT: &str = "Transaction is ongoing for the item";
/// The text of AWS for a partition of an on-demand table that has too much to do.
const ON_DEMAND: &str = "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically \
    scaling your table or index so please try again shortly. If exceptions persist, check if you have a hot key: \
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html";
/// The same for a table with provisioned capacity.
const PROVISIONED: &str = "The level of configured provisioned throughput for the table was exceeded. Consider \
    increasing your provisioning level with the UpdateTable API.";

/// Reason why one item of a transaction is in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Another transaction holds the item.
    Conflict,
    /// The item's partition key has too much to do.
    Throttled(Billing),
}

/// A plain write met an item that a transaction holds.
pub(super) fn conflict() -> DynamoDbAnswer {
    refusal(&format!("{TYPES}TransactionConflictException"), CONFLICT)
}

/// A request met a partition key that has too much to do.
pub(super) fn throttled(billing: Billing) -> DynamoDbAnswer {
    match billing {
        // The on-demand form is no part of the DynamoDB model: SDKs know it by its name only.
        Billing::OnDemand => refusal("com.amazon.coral.availability#ThrottlingException", ON_DEMAND),
        Billing::Provisioned => refusal(&format!("{TYPES}ProvisionedThroughputExceededException"), PROVISIONED),
    }
}

/// A transaction was cancelled, with a reason or none for each of its items.
pub(super) fn cancelled(reasons: &[Option<Reason>]) -> DynamoDbAnswer {
    let reasons: Vec<(&str, Value)> = reasons.iter().map(cancellation_reason).collect();
    let codes: Vec<&str> = reasons.iter().map(|(code, _)| *code).collect();
    let message =
        format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{}]", codes.join(", "));
    let reasons: Vec<Value> = reasons.into_iter().map(|(_, reason)| reason).collect();
    let exception = format!("{TYPES}TransactionCanceledException");
    answer(400, &json!({"__type": exception, "Message": message, "CancellationReasons": reasons}))
}

/// A transaction came again with its token while the first was still at work.
pub(super) fn in_progress() -> DynamoDbAnswer {
    let message = "The transaction with the given request token is already in progress";
    refusal(&format!("{TYPES}TransactionInProgressException"), message)
}

/// DynamoDB failed.
pub(super) fn server_error() -> DynamoDbAnswer {
    answer(500, &json!({"__type": format!("{TYPES}InternalServerError"), "message": "Internal server error"}))
}

fn cancellation_reason(reason: &Option<Reason>) -> (&'static str, Value) {
    let (code, message) = match reason {
        None => return ("None", json!({"Code": "None"})),
        Some(Reason::Conflict) => ("TransactionConflict", CONFLICT),
        Some(Reason::Throttled(Billing::OnDemand)) => ("ThrottlingError", ON_DEMAND),
        Some(Reason::Throttled(Billing::Provisioned)) => ("ProvisionedThroughputExceeded", PROVISIONED),
    };
    (code, json!({"Code": code, "Message": message}))
}

fn refusal(exception: &str, message: &str) -> DynamoDbAnswer {
    answer(400, &json!({"__type": exception, "message": message}))
}

fn answer(status: u16, body: &Value) -> DynamoDbAnswer {
    DynamoDbAnswer { status, body: body.to_string() }
}
