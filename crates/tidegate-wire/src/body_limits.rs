//! Limits of request bodies.

/// Limits of one body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Bytes of the whole text.
    pub bytes: usize,
    /// Objects and arrays within each other.
    pub depth: usize,
    /// Keys of all objects and elements of all arrays together.
    pub keys: usize,
}

/// Limits of a device's body: four DynamoDB read units hold it, and no `device.json` in the field
/// comes near.
pub const DEVICE: BodyLimits = BodyLimits { bytes: 16 * 1024, depth: 16, keys: 256 };
/// Limits of an operator's body: an update with its payload must fit into one DynamoDB item of 400 KB.
pub const OPERATOR: BodyLimits = BodyLimits { bytes: 128 * 1024, depth: 32, keys: 8192 };
/// Limits of hawkBit's feedback. SWUpdate sends each line of its log as an element of `details`, so
/// there are more elements than in any other body of a device.
pub const FEEDBACK: BodyLimits = BodyLimits { bytes: DEVICE.bytes, depth: DEVICE.depth, keys: 4096 };
/// Limits of a file of definitions that another service exported: generous, but it is read into memory as a whole.
pub const EXPORT: BodyLimits = BodyLimits { bytes: 64 * 1024 * 1024, depth: 64, keys: 1_000_000 };
