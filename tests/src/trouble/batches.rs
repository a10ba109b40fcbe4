//! Batches: the entries that are processed, and those that are left.

use serde_json::{Value, json};
use tidegate_cloud::DynamoDbAnswer;

/// A batch in two parts, each in the form of `RequestItems`.
#[derive(Debug)]
pub(super) struct Split {
    /// Entries that are processed.
    pub(super) kept: Value,
    /// Entries that are left.
    pub(super) left: Value,
    /// Number of entries that are processed.
    pub(super) kept_entries: usize,
    /// Number of entries that are left.
    pub(super) left_entries: usize,
}

/// Splits the `RequestItems` of a batch. `is_left` is asked for each entry, with the name of its table.
pub(super) fn split(request_items: &Value, mut is_left: impl FnMut(&str, &Value) -> bool) -> Split {
    let mut split = Split { kept: json!({}), left: json!({}), kept_entries: 0, left_entries: 0 };
    for (table, of_table) in request_items.as_object().into_iter().flatten() {
        let all = of_table.as_array().or_else(|| of_table["Keys"].as_array());
        let (left, kept): (Vec<Value>, Vec<Value>) =
            all.cloned().unwrap_or_default().into_iter().partition(|entry| is_left(table, entry));
        split.kept_entries += kept.len();
        split.left_entries += left.len();
        for (part, entries) in [(&mut split.kept, kept), (&mut split.left, left)] {
            if !entries.is_empty() {
                part[table] = with_entries(of_table, entries);
            }
        }
    }
    split
}

/// The part of one table with other entries, and the same projection and consistency.
fn with_entries(of_table: &Value, entries: Vec<Value>) -> Value {
    if of_table.is_array() {
        return Value::Array(entries);
    }
    let mut of_table = of_table.clone();
    of_table["Keys"] = Value::Array(entries);
    of_table
}

/// An answer that also names the entries that are left, under `UnprocessedKeys` or `UnprocessedItems`.
pub(super) fn with_left(answer: DynamoDbAnswer, name: &str, left: &Value) -> DynamoDbAnswer {
    let mut body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let all_done = left.as_object().is_none_or(serde_json::Map::is_empty);
    if answer.status != 200 || all_done {
        return answer;
    }
    if !body[name].is_object() {
        body[name] = json!({});
    }
    for (table, of_table) in left.as_object().into_iter().flatten() {
        // Those that DynamoDB itself left, beyond 16 MB, come first.
        let more = body[name][table].as_array().or_else(|| body[name][table]["Keys"].as_array());
        let mut entries = more.cloned().unwrap_or_default();
        entries.extend(of_table.as_array().or_else(|| of_table["Keys"].as_array()).into_iter().flatten().cloned());
        body[name][table] = with_entries(of_table, entries);
    }
    DynamoDbAnswer { status: answer.status, body: body.to_string() }
}
