//! What a fleet is made of: how many devices, what they run, and which of them fail.

use serde_json::{Map, Value};
use tidegate_lab::random::Random;

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// What every device says of itself, beside id, product and version.
    pub said: Map<String, Value>,
    /// The product.
    pub product: String,
    /// The version that devices want to leave.
    pub from: String,
    /// The version of devices that have nothing to gain.
    pub newest: String,
    /// Devices that ask for updates and report.
    pub asking: usize,
    /// Devices that have nothing to gain.
    pub idle: usize,
    /// Of a hundred devices, how many report failure.
    pub failures_percent: u64,
    /// The same seed is the same fleet.
    pub seed: u64,
}

impl Plan {
    /// The id of a device. Those that ask come first.
    pub(super) fn id(&self, device: usize) -> String {
        format!("load-{}-{device}", self.seed)
    }

    /// Whether a device reports failure.
    pub(super) fn fails(&self, device: usize) -> bool {
        Random::new(self.seed.wrapping_add(device as u64)).below(100) < self.failures_percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_devices_fail_as_was_asked_for_and_always_the_same() {
        let plan = |failures_percent| Plan {
            said: Map::new(),
            product: "lamp".into(),
            from: "1.0.0".into(),
            newest: "2.0.0".into(),
            asking: 1000,
            idle: 0,
            failures_percent,
            seed: 7,
        };
        let failing = |percent| (0..1000).filter(|device| plan(percent).fails(*device)).collect::<Vec<_>>();
        assert_eq!((failing(0).len(), failing(100).len()), (0, 1000));
        assert!((150..250).contains(&failing(20).len()), "{}", failing(20).len());
        assert_eq!(failing(20), failing(20));
    }
}
