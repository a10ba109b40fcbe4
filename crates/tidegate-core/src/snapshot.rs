//! A catalog as bytes: compiled where it is published, read where devices ask.
//!
//! `tidegate`, the number of the format, the CRC-32 of what follows, the table of contents, and the updates one behind
//! the other, all in postcard's encoding, which does not describe itself: whatever changes in a type that is part of
//! it needs a new [`FORMAT`]. `tests/snapshot.rs` notices. It is private to one version of Tidegate, and can be made
//! anew from the stored updates at any time.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Entry};
use crate::id::{ProductId, UpdateId};
use crate::index::Index;
use crate::policy::{Policy, Screen, Slots};
use crate::update::Update;

/// The format that is written, and the only one that is read.
pub const FORMAT: u8 = 1;

const MAGIC: &[u8; 8] = b"tidegate";
/// The magic, the format and the checksum.
const HEADER_BYTES: usize = 13;

/// Why bytes are not a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotError {
    /// They are something else, or were cut off.
    NotASnapshot,
    /// Another version of Tidegate wrote them.
    OtherFormat(u8),
    /// They are not as they were written.
    Damaged,
    /// They are another product's.
    OtherProduct,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASnapshot => f.write_str("it is not a catalog"),
            Self::OtherFormat(format) => write!(f, "it has format {format}, and this version reads {FORMAT}"),
            Self::Damaged => f.write_str("it is damaged"),
            Self::OtherProduct => f.write_str("it is another product's"),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// What stands before the updates. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct Contents {
    product: ProductId,
    slots: Slots,
    index: Index,
    screen: Screen,
    stopped_updates: Vec<UpdateId>,
    /// How long each update is, newest first.
    lengths: Vec<u32>,
}

impl Catalog {
    /// The catalog as bytes. `None` when an update cannot be encoded, which none that was compiled cannot.
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
            lengths,
        };
        let body = [postcard::to_stdvec(&contents).ok()?, updates.concat()].concat();
        Some([MAGIC.as_slice(), &[FORMAT], &crc32fast::hash(&body).to_le_bytes(), &body].concat())
    }

    /// Reads what [`to_snapshot`](Self::to_snapshot) wrote for `product`. Updates are decoded when they are asked for.
    ///
    /// # Errors
    /// When the bytes are no catalog, one of another format, or not as they were written.
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
        let (contents, updates) = postcard::take_from_bytes::<Contents>(body).map_err(|_| SnapshotError::Damaged)?;
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
            newest_first,
            encoded: bytes,
        })
    }

    /// Whatever a program's operations name, evaluating it must end.
    pub(crate) fn decode(&self, encoded: &Range<usize>) -> Option<Update> {
        let update = postcard::from_bytes::<Update>(self.encoded.get(encoded.clone())?).ok()?;
        let is_sound =
            update.policy.is_sound() && update.rollout.groups.iter().all(|group| Policy::is_sound(&group.policy));
        (is_sound && update.product == self.product).then_some(update)
    }
}
