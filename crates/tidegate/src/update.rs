//! Updates and their numbers as the service answers them, as far as tables show them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{CommandError, CommandResult};

/// An update.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UpdateView {
    /// Why it was last moved to another state.
    #[serde(default)]
    pub reason: String,
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// `draft`, `active`, `paused`, `completed`, `aborted` or `withdrawn`.
    pub state: String,
    /// RFC 3339.
    pub created_at: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// Who sells it.
    pub vendor: Option<String>,
    /// Free labels.
    pub labels: Option<Value>,
    /// From which versions it can be installed.
    pub compatible_from: Option<Vec<String>>,
    /// Which devices it is for.
    pub policy: Option<String>,
    /// Whether devices on a higher version may have it.
    pub allow_downgrade: bool,
    /// `file`, `json` or `url_list`.
    pub kind: Option<String>,
    /// The content, for updates that are not files.
    pub payload: Option<Value>,
    /// Its files.
    pub files: Vec<FileView>,
    /// When and how many.
    pub rollout: Value,
    /// How it goes; only when one update is shown.
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

/// How a rollout goes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Devices that were ever offered the update.
    pub offered: u64,
    /// Devices that have it in hand now.
    pub in_flight: u64,
    /// Devices that run it.
    pub succeeded: u64,
    /// Devices that said it failed.
    pub failed: u64,
    /// Devices that never came back.
    pub timed_out: u64,
    /// How often each objection was the answer.
    pub deferred: Option<Value>,
    /// What the health gate thinks.
    pub health: Health,
    /// The numbers over time.
    pub series: Vec<Sample>,
}

/// What the health gate thinks.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `continue` or `abort`.
    pub verdict: String,
    /// The evidence against the update.
    pub evidence: Option<f64>,
    /// At how much evidence it is aborted.
    pub threshold: Option<f64>,
}

/// The numbers at one moment.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// RFC 3339.
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
