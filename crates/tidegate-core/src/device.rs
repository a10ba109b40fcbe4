//! Who is asking: one thing in the field, and what it says of itself.

use semver::Version;

use crate::attributes::Attributes;
use crate::id::{DeviceId, ProductId};

/// A device as its `device.json` describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its own name, unique within the product.
    pub id: DeviceId,
    /// The line of devices it belongs to.
    pub product: ProductId,
    /// What it runs now.
    pub version: Version,
    /// Everything else it says, by dotted name.
    pub attributes: Attributes,
    /// What its protocol can carry.
    pub delivery: Delivery,
}

/// What a device's protocol can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Files, payloads and address lists; and the question whether the user agrees.
    #[default]
    Anything,
    /// Files, payloads and address lists, and no question to the user.
    AnythingUnasked,
    /// Only an update that has a file, and no question to the user.
    FilesOnly,
    /// Only files whose SHA-1 is known, and the question to the user.
    FilesWithSha1,
}
