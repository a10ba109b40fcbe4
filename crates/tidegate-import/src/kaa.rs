//! Software definitions of Kaa: what `GET …/applications/{app}/software` answers.

use serde_json::{Value, json};
use tidegate_http::operator::kaa_software;
use tidegate_wire::ErrorCode;

use crate::error::{Error, Result};
use crate::record::{Record, file_name, list_in};

pub(crate) fn read(document: &Value) -> Result<Vec<Record>> {
    let records = list_in(document, &["content", "data"])?;
    records.iter().enumerate().map(|(index, value)| record(value, &format!("software {}", index + 1))).collect()
}

fn record(value: &Value, place: &str) -> Result<Record> {
    let version = value.get("version").and_then(Value::as_str).unwrap_or_default();
    let mut record = Record { place: place.into(), version: version.into(), ..Record::default() };
    match kaa_software::definition(value) {
        Ok((Value::Object(definition), notes)) => {
            record.definition = definition;
            record.not_carried = notes;
        }
        // Other services take versions that are none here; the other records can still be carried.
        Err(error) if error.code == ErrorCode::BadVersion => record.skipped = Some(error.message),
        Ok(_) => record.skipped = Some("it is not an object".into()),
        Err(source) => {
            let name = if version.is_empty() { String::new() } else { format!(" ({version})") };
            return Err(Error::Software { place: format!("{place}{name}"), source });
        }
    }
    Ok(record)
}

/// The file that a download link names, which can be stored here if it is at hand.
pub(crate) fn linked_file(record: &Record) -> Option<String> {
    match record.definition.get("payload") {
        Some(Value::Array(links)) if record.definition.get("kind") == Some(&json!("url_list")) => {
            match links.as_slice() {
                [Value::String(link)] => file_name(link),
                _ => None,
            }
        }
        _ => None,
    }
}
