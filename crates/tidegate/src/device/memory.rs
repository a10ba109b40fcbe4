//! Memory of a device across restarts: its next check-in, failed updates, and reports that are not sent yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wait;
use crate::device_file::write_atomically;
use crate::error::{CommandError, CommandResult};

/// A device that was offline for long drops its oldest reports rather than fill its disk.
const UNSENT_LIMIT: usize = 64;

/// The memory, kept in one small file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    #[serde(skip)]
    path: PathBuf,
    /// The time of the next check-in, in seconds since 1970.
    #[serde(default)]
    pub next_check_at_s: Option<i64>,
    #[serde(default)]
    failed: BTreeMap<String, Failed>,
    #[serde(default)]
    unsent: Vec<Value>,
}

/// An update that failed on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    attempts: u32,
    not_before_s: i64,
}

impl Memory {
    /// Opens the memory in a folder. A file that cannot be read is a lost memory, not a dead device.
    pub fn open(folder: &Path) -> CommandResult<Self> {
        std::fs::create_dir_all(folder).map_err(|cause| {
            CommandError::failed("file_error", format!("cannot create {}: {cause}", folder.display())).because(cause)
        })?;
        let path = folder.join("memory.json");
        let memory = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        Ok(Self { path, ..memory.unwrap_or_default() })
    }

    /// Writes the memory down, in one step.
    pub fn keep(&self) -> CommandResult {
        let text = serde_json::to_vec_pretty(self).map_err(|cause| {
            CommandError::failed("file_error", format!("cannot write down the memory: {cause}")).because(cause)
        })?;
        write_atomically(&self.path, &text)
    }

    /// The time until which an update is not tried again, if it has failed here.
    pub fn left_alone_until(&self, update: &str, now: Timestamp) -> Option<Timestamp> {
        let failed = self.failed.get(update)?;
        let until = Timestamp::from_second(failed.not_before_s).ok()?;
        (until > now).then_some(until)
    }

    /// Stores the failure of an update, and returns the time until which it is not tried again.
    pub fn has_failed(&mut self, update: &str, now: Timestamp) -> Timestamp {
        let attempts = self.failed.get(update).map_or(0, |failed| failed.attempts).saturating_add(1);
        let wait_s = i64::try_from(wait::reinstall_wait(attempts).as_secs()).unwrap_or(i64::MAX);
        let not_before_s = now.as_second().saturating_add(wait_s);
        self.failed.insert(update.to_owned(), Failed { attempts, not_before_s });
        Timestamp::from_second(not_before_s).unwrap_or(Timestamp::MAX)
    }

    /// Forgets all failures: the device runs something new.
    pub fn has_succeeded(&mut self) {
        self.failed.clear();
    }

    /// Keeps a report for later.
    pub fn unsent(&mut self, report: Value) {
        self.unsent.push(report);
        if self.unsent.len() > UNSENT_LIMIT {
            self.unsent.remove(0);
        }
    }

    /// Takes the reports that are still to be sent, oldest first.
    pub fn take_unsent(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.unsent)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a valid time")
    }

    #[test]
    fn a_failed_update_is_left_alone_for_a_while_and_remembered_across_restarts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut memory = Memory::open(folder.path()).expect("a new memory");
        let until = memory.has_failed("u1", at("2026-01-01T00:00:00Z"));
        assert_eq!(until, at("2026-01-01T01:00:00Z"));
        memory.unsent(json!({"status": "INSTALL_ERROR"}));
        memory.keep().expect("writable");

        let mut memory = Memory::open(folder.path()).expect("the same memory");
        assert_eq!(memory.left_alone_until("u1", at("2026-01-01T00:59:59Z")), Some(until));
        assert_eq!(memory.left_alone_until("u1", until), None);
        assert_eq!(memory.left_alone_until("u2", at("2026-01-01T00:00:00Z")), None);
        assert_eq!(memory.has_failed("u1", until), at("2026-01-01T03:00:00Z"));
        assert_eq!(memory.take_unsent(), [json!({"status": "INSTALL_ERROR"})]);
        memory.has_succeeded();
        assert_eq!(memory.left_alone_until("u1", until), None);
    }

    #[test]
    fn a_broken_memory_is_a_new_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("memory.json"), "{half a fi").expect("writable");
        let memory = Memory::open(folder.path()).expect("a new memory");
        assert_eq!(memory.next_check_at_s, None);
        memory.keep().expect("and it can be written");
    }
}
