//! Device: one unit in the field, with the facts that it states.

use semver::Version;

use crate::attributes::Attributes;
use crate::id::{DeviceId, ProductId};
use crate::orders::Orders;

/// A device as its `device.json` describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Id of the device, unique within the product.
    pub id: DeviceId,
    /// Product of the device.
    pub product: ProductId,
    /// Version that the device runs.
    pub version: Version,
    /// The version that it says, if the service knows its image by another one: see [`Reports`].
    ///
    /// [`Reports`]: crate::reports::Reports
    pub said: Option<Version>,
    /// All other attributes, by dotted name.
    pub attributes: Attributes,
    /// Capabilities of the device's protocol.
    pub delivery: Delivery,
    /// Orders of operators.
    pub orders: Orders,
}

/// Capabilities of a device's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Files, payloads and URL lists, and the question for the user's consent.
    #[default]
    Anything,
    /// Files, payloads and URL lists, without a question to the user.
    AnythingUnasked,
    /// Updates with at least one file, without a question to the user.
    FilesOnly,
    /// Files with a known SHA-1, and the question for the user's consent.
    FilesWithSha1,
}
