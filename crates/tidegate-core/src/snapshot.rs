//! Snapshot: a catalog as bytes. It is compiled when an operator publishes, and read at check-ins.
//!
//! The bytes are `tidegate`, the number of the format, the CRC-32 of the rest, the table of contents, and the updates
//! concatenated. The encoding is postcard's, which does not describe itself: a change to any encoded type needs a new
//! [`FORMAT`]. `tests/snapshot.rs` detects such a change. The format is private to one version of Tidegate; a snapshot
//! can be compiled again from the stored updates at any time.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Entry};
use crate::cohort::Cohort;
use crate::id::{ProductId, UpdateId};
use crate::index::Index;
use crate::policy::{Policy, Screen, Slots};
use crate::reports::Reports;
use crate::update::Update;

/// Number of the format that is written.
pub const FORMAT: u8 = 6;
/// The formats that are read, the newest first. A version of Tidegate that writes a new one reads the one before for one
/// release: then a function has a catalog from its start, before anybody compiles one in the new format.
pub const READABLE: [u8; 1] = [FORMAT];

const MAGIC: &[u8; 8] = b"tidegate";
/// Length of the magic, the format and the checksum.
const HEADER_BYTES: usize = 13;

/// Error of bytes that are not a usable snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes are something else, or are incomplete.
    #[error("it is not a catalog")]
    NotASnapshot,
    /// Another version of Tidegate wrote the bytes.
    #[error("it has format {0}, and this version reads {expected}", expected = FORMAT)]
    OtherFormat(u8),
    /// The checksum does not match.
    #[error("it is damaged")]
    Damaged,
    /// The checksum matches, but the table of contents cannot be decoded.
    #[error("it is damaged")]
    Undecodable(#[source] postcard::Error),
    /// The snapshot belongs to another product.
    #[error("it is another product's")]
    OtherProduct,
}

/// Table of contents, before the updates. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct Contents {
    product: ProductId,
    slots: Slots,
    index: Index,
    screen: Screen,
    stopped_updates: Vec<UpdateId>,
    reports: Reports,
    held_out: Vec<(UpdateId, Cohort)>,
    /// Length of each update in bytes, newest first.
    lengths: Vec<u32>,
}

impl Catalog {
    /// The catalog as bytes. `None` if an update cannot be encoded; every compiled update can.
    #[must_use]
    pub fn to_snapshot(&self) -> Option<Vec<u8>> {
        let encode = |update| postcard::to_stdvec::<Update>(update).ok();
        let updates = self.newest_first().map(encode).collect::<Option<Vec<_>>>()?;
        let lengths = updates.iter().map(|update| u32::try_from(update.len()).ok()).collect::<Option<Vec<_>>>()?;
        let contents = Contents {
            product: self.product.clone(),
            slots: self.slots.clone(),
            index: self.index.clone(),
            screen: self.screen.clone(),
            stopped_updates: self.stopped_updates.clone(),
            reports: self.reports.clone(),
            held_out: self.held_out.clone(),
            lengths,
        };
        let body = [postcard::to_stdvec(&contents).ok()?, updates.concat()].concat();
        Some([MAGIC.as_slice(), &[FORMAT], &crc32fast::hash(&body).to_le_bytes(), &body].concat())
    }

    /// Reads a snapshot of `product`. Each update is decoded when it is first needed.
    ///
    /// # Errors
    /// If the bytes are not a snapshot of this format and product, or are damaged.
    pub fn from_snapshot(product: &ProductId, bytes: Arc<[u8]>) -> Result<Self, SnapshotError> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(SnapshotError::NotASnapshot)?;
        let (format, checksum) =
            header.strip_prefix(MAGIC).and_then(<[u8]>::split_first).ok_or(SnapshotError::NotASnapshot)?;
        if *format != FORMAT {
            return Err(SnapshotError::OtherFormat(*format));
        }
        if crc32fast::hash(body).to_le_bytes() != checksum {
            return Err(SnapshotError::Damaged);
        }
        let (contents, updates) = postcard::take_from_bytes::<Contents>(body).map_err(SnapshotError::Undecodable)?;
        if contents.product != *product {
            return Err(SnapshotError::OtherProduct);
        }
        let mut start = bytes.len().saturating_sub(updates.len());
        let mut entry = |length: u32| {
            let end = start.saturating_add(length as usize);
            Entry { encoded: std::mem::replace(&mut start, end)..end, update: OnceLock::new() }
        };
        let newest_first = contents.lengths.into_iter().map(&mut entry).collect();
        Ok(Self {
            product: contents.product,
            slots: contents.slots,
            index: contents.index,
            screen: contents.screen,
            stopped_updates: contents.stopped_updates,
            reports: contents.reports,
            held_out: contents.held_out,
            newest_first,
            encoded: bytes,
        })
    }

    /// Decodes one update. `None` if a policy is not sound, because its evaluation might not end.
    pub(crate) fn decode(&self, encoded: &Range<usize>) -> Option<Update> {
        let update = postcard::from_bytes::<Update>(self.encoded.get(encoded.clone())?).ok()?;
        let is_sound =
            update.policy.is_sound() && update.rollout.groups.iter().all(|group| Policy::is_sound(&group.policy));
        (is_sound && update.product == self.product).then_some(update)
    }
}
