//! Simulated devices. Most of them behave; some lie, replay requests or fall silent.

use std::sync::Arc;

use serde_json::Value;
use tidegate_core::{DeviceId, ProductId, Version};
use tidegate_engine::token::TokenKeys;

use crate::fleet::Fleet;
use crate::random::Random;
use crate::simulator::speech::{Heard, Message, Offer, Speech};

/// A device in the field.
#[derive(Debug, Clone)]
pub struct Device {
    fleet: Arc<Fleet>,
    number: u32,
    /// Its id.
    pub id: DeviceId,
    /// Its product.
    pub product: ProductId,
    /// Its wire format.
    pub speech: Speech,
    /// Its own token.
    pub token: String,
    /// Revision of the device when the operator was told that the token is revoked; `None` once it has a new one.
    pub revoked_at: Option<u64>,
    /// The version that it really runs.
    pub version: Version,
    /// It sends nothing before this time.
    pub silent_until_ms: i64,
    /// The versions of its last check-ins. Any of them may be sent again.
    pub sent: Vec<Version>,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The device's place in the fleet.
    pub device: usize,
    /// The message.
    pub message: Message,
}

/// Check-ins that a device remembers, for replays.
const REMEMBERED: usize = 4;
const HOUR_MS: i64 = 3_600_000;

impl Device {
    /// The device of that number, as its fleet describes it.
    #[must_use]
    pub fn new(fleet: Arc<Fleet>, number: u32, product: ProductId, speech: Speech, keys: &TokenKeys) -> Self {
        let (id, version) = (fleet.id(number), fleet.version(number));
        let token = keys.issue(&product, &id, 0);
        Self {
            fleet,
            number,
            id,
            product,
            speech,
            token,
            revoked_at: None,
            version,
            silent_until_ms: i64::MIN,
            sent: Vec::new(),
        }
    }

    /// Its `device.json` when it says that it runs `version`.
    #[must_use]
    pub fn device_json(&self, version: &Version) -> Value {
        self.fleet.device_json(&self.product, self.number, &version.to_string())
    }

    /// The message of a check-in. A device whose format does not say the version with it says it now and then.
    pub fn check_in(&mut self, random: &mut Random) -> Message {
        let is_new = self.sent.is_empty();
        let says = self.says(random);
        match !self.speech.says_its_version_when_it_asks() && (is_new || random.happens(250)) {
            true => Message::Runs(says),
            false => Message::Ask(says),
        }
    }

    /// Acts on an answer. Returns the messages that it will send, in any order.
    pub fn hear(&mut self, heard: Heard, now_ms: i64, random: &mut Random) -> Vec<Message> {
        match heard {
            Heard::Offer(offer) => self.take(&offer, now_ms, random),
            Heard::AskedForVersion => vec![Message::Runs(self.says(random))],
            Heard::Deployment(action) => vec![Message::Look(action)],
            // Some users postpone.
            Heard::Question(_) if random.happens(400) => Vec::new(),
            Heard::Question(action) => vec![Message::Consent { action, agrees: random.happens(800) }],
            Heard::Cancelled(action) => vec![Message::GiveUp(action)],
        }
    }

    /// The version that it says it runs this time: nearly always the truth.
    pub fn says(&mut self, random: &mut Random) -> Version {
        let said = match random.below(100) {
            // A replay of an earlier request.
            0..=3 => random.pick(&self.sent).cloned(),
            // A lie.
            4 => Some(Version::new(random.below(3), random.below(6), 0)),
            _ => None,
        };
        let said = said.unwrap_or_else(|| self.version.clone());
        if self.sent.len() == REMEMBERED {
            self.sent.swap_remove(0);
        }
        self.sent.push(said.clone());
        said
    }

    fn take(&mut self, offer: &Offer, now_ms: i64, random: &mut Random) -> Vec<Message> {
        let (version, before) = (offer.version.clone(), self.version.clone());
        let report = |status| Message::Status(offer.clone(), status);
        let mut messages = self.try_it(version, report, now_ms, random);
        // It restarts before it reports, or after it.
        if self.version != before && !self.speech.says_its_version_when_it_asks() && random.happens(700) {
            messages.push(Message::Runs(self.version.clone()));
        }
        messages
    }

    /// Tries to install an update. Returns its reports.
    fn try_it(
        &mut self,
        version: Version,
        report: impl Fn(&'static str) -> Message,
        now_ms: i64,
        random: &mut Random,
    ) -> Vec<Message> {
        match random.below(100) {
            0..=44 => {
                self.version = version;
                vec![report("DOWNLOAD"), report("INSTALL_SUCCESS")]
            }
            45..=54 => {
                self.version = version;
                Vec::new()
            }
            55..=64 => vec![report("DOWNLOAD_STEP"), report("INSTALL_ERROR")],
            65 => vec![report("INSTALL_ABORTED")],
            66..=67 => vec![report("DOWNLOAD"), report("DOWNLOAD_ERROR")],
            // Says two things about one attempt.
            68..=72 => {
                self.version = version;
                vec![report("INSTALL_ERROR"), report("INSTALL_SUCCESS"), report("INSTALL_SUCCESS")]
            }
            // Bricked, or off the net for a while.
            73..=82 => {
                let quarters = random.within(1, 48) * random.one_of([1, 1, 20]);
                self.silent_until_ms = now_ms.saturating_add(quarters * HOUR_MS / 4);
                Vec::new()
            }
            // Comes back after days, with the update and a late report.
            83..=85 => {
                self.version = version;
                self.silent_until_ms = now_ms.saturating_add(random.within(1, 72) * HOUR_MS);
                vec![report("INSTALL_SUCCESS")]
            }
            // Says success, and boots the old version.
            86..=87 => vec![report("INSTALL_SUCCESS")],
            // Asks again before it does anything.
            _ => Vec::new(),
        }
    }

    /// A person installs an older version by hand.
    pub fn roll_back(&mut self, random: &mut Random) {
        self.version = Version::new(1, random.below(self.version.minor.max(1)), 0);
    }
}
