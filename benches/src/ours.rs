//! A decision as `check` makes it, without the calls of its store.

use std::sync::Arc;

use tidegate_core::device::Delivery;
use tidegate_core::guidance::NoOffer;
use tidegate_core::{Catalog, Claims, decide};
use tidegate_wire::answer::NativeAnswer;
use tidegate_wire::device_json;

/// A catalog, read from its snapshot.
#[derive(Debug)]
pub struct Ours {
    catalog: Catalog,
}

impl Ours {
    /// The catalog that was compiled, read back.
    ///
    /// # Panics
    /// When it cannot be read back.
    #[must_use]
    pub fn new(compiled: &Catalog) -> Self {
        let bytes = compiled.to_snapshot().expect("a compiled catalog can be encoded");
        Self::load(&Arc::from(bytes))
    }

    /// Reads a snapshot.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn load(bytes: &Arc<[u8]>) -> Self {
        Self { catalog: Catalog::from_snapshot(&crate::product(), Arc::clone(bytes)).expect("a snapshot") }
    }

    /// From the bytes of `device.json` to the bytes of the answer.
    ///
    /// # Panics
    /// When the device is one that is refused.
    #[must_use]
    pub fn answer(&self, body: &[u8]) -> Vec<u8> {
        let json = device_json::parse(body).expect("a good device.json");
        let (device, _) = json.into_device(Delivery::Anything).expect("a version");
        let now = crate::now();
        let decision = decide(&device, &self.catalog, &Claims::default(), now);
        assert!(decision.offer.is_none(), "no update is for the measured device");
        let NoOffer { reason, opens_at, check_again_after_s } = NoOffer::of(&device, &decision, now);
        let answer = NativeAnswer::nothing(reason.name(), opens_at, check_again_after_s);
        serde_json::to_vec(&answer).expect("an answer is JSON")
    }
}
