//! Reads the update definitions of other services as definitions of Tidegate.
//!
//! [`read`] reads an export into [`Record`]s, and [`Importer`] finds the files of each record. A record
//! says what could not be carried. Uploading and printing are the command's.

pub mod builder;
mod error;
mod exosite;
mod hawkbit;
mod images;
mod importer;
mod kaa;
mod policy_text;
mod record;

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_wire::{body_limits, strict_json};

pub use error::{Error, Result};
pub use images::{FileHash, Image, Images};
pub use importer::{Importer, Prepared};
pub use policy_text::NoEqual;
pub use record::{Record, WantedFile};

/// The service that an export comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Software records of EmbedThis Builder.
    Builder,
    /// Software definitions of Kaa.
    Kaa,
    /// Package content of an Exosite Murano product.
    Exosite,
    /// Distribution sets of Eclipse hawkBit.
    Hawkbit,
}

/// Reads an export. `policy` is for records that do not say who gets them.
///
/// # Errors
/// An [`Error`] that names the record and the field that are not as the service documents them.
pub fn read(export: &[u8], source: Source, policy: Option<&str>) -> Result<Vec<Record>> {
    let document = strict_json::parse(export, body_limits::EXPORT).map_err(Error::NotJson)?;
    let mut records = match source {
        Source::Builder => builder::read(&document),
        Source::Kaa => kaa::read(&document),
        Source::Exosite => exosite::read(&document, policy),
        Source::Hawkbit => hawkbit::read(&document, policy),
    }?;
    if let (Some(why), Some(last)) = (missing_pages(&document, records.len()), records.last_mut()) {
        last.lose(why);
    }
    Ok(records)
}

/// Services answer long lists by the page, and say so beside the list.
fn missing_pages(document: &Value, count: usize) -> Option<String> {
    let says_more = match document.get("next") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let total = document.get("total").and_then(Value::as_u64).and_then(|total| usize::try_from(total).ok());
    let is_one_page = says_more || total.is_some_and(|total| total > count);
    is_one_page.then(|| "the export is one page of several: what comes after this record is not in it".to_owned())
}

/// Keeps the records of the product that the other service calls `wanted`. Without `wanted`, an export
/// of several products is refused: nothing crosses from one product to another.
///
/// # Errors
/// [`Error::NothingOf`] and [`Error::SeveralProducts`].
pub fn of_one_product(records: Vec<Record>, source: Source, wanted: Option<&str>) -> Result<Vec<Record>> {
    if let Some(wanted) = wanted {
        let kept: Vec<Record> = records.into_iter().filter(|record| record.line.as_deref() == Some(wanted)).collect();
        return match kept.is_empty() {
            true => Err(Error::NothingOf(wanted.to_owned())),
            false => Ok(kept),
        };
    }
    let lines: BTreeSet<&str> = records.iter().filter_map(|record| record.line.as_deref()).collect();
    // A hawkBit set has no product; its name often is one, but need not be.
    match lines.len() > 1 && source != Source::Hawkbit {
        true => Err(Error::SeveralProducts(lines.into_iter().map(str::to_owned).collect())),
        false => Ok(records),
    }
}
