//! Updates and their numbers as the service answers them, as far as tables show them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{CommandError, CommandResult};

/// An update.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UpdateView {
    /// The reason of its last change of state.
    #[serde(default)]
    pub reason: String,
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// `draft`, `active`, `paused`, `completed`, `aborted` or `withdrawn`.
    pub state: String,
    /// The time of its creation, RFC 3339.
    pub created_at: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// Its author.
    pub author: Option<String>,
    /// Its vendor.
    pub vendor: Option<String>,
    /// Free labels.
    pub labels: Option<Value>,
    /// The versions from which it can be installed.
    pub compatible_from: Option<Vec<String>>,
    /// The policy: the devices that it is for.
    pub policy: Option<String>,
    /// True if devices on a higher version may have it.
    pub allow_downgrade: bool,
    /// `file`, `json` or `url_list`.
    pub kind: Option<String>,
    /// The content, for updates that are not files.
    pub payload: Option<Value>,
    /// Its files.
    pub files: Vec<FileView>,
    /// The rollout.
    pub rollout: Value,
    /// The counters; only in the answer about one update.
    pub metrics: Option<Metrics>,
}

/// A file of an update.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FileView {
    /// Its name.
    pub name: String,
    /// Its checksum.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
}

impl UpdateView {
    /// A limit of the rollout, if it has one.
    pub fn limit(&self, name: &str) -> Option<u64> {
        self.rollout.pointer("/limits")?.get(name)?.as_u64()
    }

    /// The bytes that one device downloads.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// The counters of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Devices that were ever offered the update.
    pub offered: u64,
    /// Devices with the update in progress.
    pub in_flight: u64,
    /// Devices that have installed it.
    pub succeeded: u64,
    /// Devices that reported a failure.
    pub failed: u64,
    /// Devices that did not report before their claims expired.
    pub timed_out: u64,
    /// The number of check-ins without the update, by objection.
    pub deferred: Option<Value>,
    /// The verdict of the health gate.
    pub health: Health,
    /// The counters over time.
    pub series: Vec<Sample>,
}

/// The verdict of the health gate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `continue` or `abort`.
    pub verdict: String,
    /// The evidence against the update.
    pub evidence: Option<f64>,
    /// The evidence at which it is aborted.
    pub threshold: Option<f64>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// The moment, RFC 3339.
    pub at: String,
    /// As in [`Metrics`].
    pub offered: u64,
    /// As in [`Metrics`].
    pub succeeded: u64,
    /// As in [`Metrics`].
    pub failed: u64,
    /// As in [`Metrics`].
    pub timed_out: u64,
}

/// Reads an answer of the service, or says that it is not what was expected.
pub fn read<T: DeserializeOwned>(document: &Value, what: &str) -> CommandResult<T> {
    T::deserialize(document).map_err(|cause| {
        CommandError::failed("bad_answer", format!("the service's {what} is not understood: {cause}")).because(cause)
    })
}
