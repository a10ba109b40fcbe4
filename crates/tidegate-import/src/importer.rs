//! Preparation of records: finds their files and asks whether a definition is valid here.

use std::collections::BTreeSet;

use semver::Version;
use serde_json::{Value, json};
use tidegate_core::ProductId;
use tidegate_wire::definition::Definition;

use crate::Source;
use crate::error::Result;
use crate::images::{Found, Image, Images, look_for};
use crate::kaa;
use crate::record::{Record, WantedFile};

/// Prepares the records of one export, one after another.
pub struct Importer<'a> {
    source: Source,
    product: &'a ProductId,
    images: Option<Images<'a>>,
    seen: BTreeSet<String>,
}

/// A record whose files were looked for.
#[derive(Debug)]
pub struct Prepared {
    /// The record. Its definition names its files. If it is skipped, it cannot become a draft.
    pub record: Record,
    /// The files that are at hand.
    pub images: Vec<Image>,
}

impl<'a> Importer<'a> {
    /// An importer into `product`, with the folder of images if there is one.
    pub fn new(source: Source, product: &'a ProductId, images: Option<Images<'a>>) -> Self {
        Self { source, product, images, seen: BTreeSet::new() }
    }

    /// Finds the files of a record, and asks whether its definition is valid in Tidegate.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn prepare(&mut self, mut record: Record) -> Result<Prepared> {
        let mut images = Vec::new();
        if record.skipped.is_none() {
            record.skipped = self.look_at(&mut record, &mut images)?;
        }
        if record.skipped.is_some() {
            images.clear();
        }
        Ok(Prepared { record, images })
    }

    /// Completes the definition, and returns why the record is skipped, if it is.
    fn look_at(&mut self, record: &mut Record, found: &mut Vec<Image>) -> Result<Option<String>> {
        if let Err(cause) = Version::parse(&record.version) {
            return Ok(Some(format!("`{}` is not a SemVer version: {cause}", record.version)));
        }
        if !self.seen.insert(record.version.clone()) {
            return Ok(Some("the export has this version already".into()));
        }
        if self.source == Source::Kaa
            && let (Some(images), Some(name)) = (&self.images, kaa::linked_file(record))
            && images.has(&name)
        {
            record.remark(format!("specification: {name} is stored here as well, and offered as a file"));
            record.set("kind", "file");
            record.definition.remove("payload");
            record.files.push(WantedFile { name, ..WantedFile::default() });
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = record.files.iter().find(|file| !names.insert(file.name.as_str())) {
            return Ok(Some(format!("two of its files have the name {}", twice.name)));
        }
        let mut files = Vec::new();
        for wanted in std::mem::take(&mut record.files) {
            match look_for(&wanted, self.images.as_mut())? {
                Found::Here(image, notes) => {
                    record.remarks.extend(notes);
                    files.push(json!({"name": image.name, "sha256": image.sha256, "size": image.size_bytes}));
                    found.push(image);
                }
                Found::Elsewhere { sha256, size_bytes, lost, remark } => {
                    record.not_carried.extend(lost);
                    record.remarks.extend(remark);
                    files.push(json!({"name": wanted.name, "sha256": sha256, "size": size_bytes}));
                }
                Found::Nowhere(why) => return Ok(Some(why)),
            }
        }
        if !files.is_empty() {
            record.set("files", files);
        }
        Ok(match Definition::from_value(Value::Object(record.definition.clone()), self.product) {
            Ok(_) => None,
            Err(error) => Some(format!("the service would not take it: {}", error.message)),
        })
    }
}
