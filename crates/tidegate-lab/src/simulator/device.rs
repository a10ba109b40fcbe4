//! Simulated devices. Most of them behave; some lie, replay requests or fall silent.

use std::sync::Arc;

use tidegate_core::{DeviceId, ProductId, Version};
use tidegate_engine::token::TokenKeys;

use crate::fleet::Fleet;
use crate::random::Random;
use crate::simulator::requests::Answer;

/// A device in the field.
#[derive(Debug, Clone)]
pub struct Device {
    fleet: Arc<Fleet>,
    number: u32,
    /// Its id.
    pub id: DeviceId,
    /// Its product.
    pub product: ProductId,
    /// Its own token.
    pub token: String,
    /// The version that it really runs.
    pub version: Version,
    /// It sends nothing before this time.
    pub silent_until_ms: i64,
    /// The versions of its last check-ins. Any of them may be sent again.
    pub sent: Vec<Version>,
}

/// A report on its way.
#[derive(Debug, Clone)]
pub struct Report {
    /// The device's place in the fleet.
    pub device: usize,
    /// The update's id.
    pub update: String,
    /// The status.
    pub status: &'static str,
}

/// Check-ins that a device remembers, for replays.
const REMEMBERED: usize = 4;
const HOUR_MS: i64 = 3_600_000;

impl Device {
    /// The device of that number, as its fleet describes it.
    #[must_use]
    pub fn new(fleet: Arc<Fleet>, number: u32, product: ProductId, keys: &TokenKeys) -> Self {
        let (id, version) = (fleet.id(number), fleet.version(number));
        let token = keys.issue(&product, &id, 0);
        Self { fleet, number, id, product, token, version, silent_until_ms: i64::MIN, sent: Vec::new() }
    }

    /// The body of a check-in that says that it runs `version`.
    #[must_use]
    pub fn check_in(&self, version: &Version) -> String {
        self.fleet.device_json(&self.product, self.number, &version.to_string()).to_string()
    }

    /// The body of a report.
    #[must_use]
    pub fn report(&self, update: &str, status: &str) -> String {
        format!(r#"{{"id":"{}","product":"{}","update":"{update}","status":"{status}"}}"#, self.id, self.product)
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

    /// Acts on an offer. Returns the reports that it will send, in any order.
    pub fn take(&mut self, place: usize, offer: &Answer, now_ms: i64, random: &mut Random) -> Vec<Report> {
        let (Some(update), Some(version)) = (offer.text("update"), offer.text("version")) else {
            return Vec::new();
        };
        let Ok(version) = Version::parse(version) else {
            return Vec::new();
        };
        let report = |status| Report { device: place, update: update.to_string(), status };
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
