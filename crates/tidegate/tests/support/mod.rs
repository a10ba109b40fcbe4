//! Shared parts of the command's tests: a service in this process, a working folder, and the built program.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tidegate::stack::Stack;

/// Exit code: done.
pub(crate) const DONE: i32 = 0;
/// Exit code: the service refused, or something failed.
pub(crate) const FAILED: i32 = 1;
/// Exit code: wrong usage or bad input.
pub(crate) const USAGE: i32 = 2;
/// Exit code: there is nothing to offer.
pub(crate) const NOTHING_TO_OFFER: i32 = 3;
/// Exit code: the service does not answer.
pub(crate) const UNREACHABLE: i32 = 5;
/// Exit code: imported, but not everything could be carried.
pub(crate) const NOT_ALL_CARRIED: i32 = 6;

/// A service, and a folder to work in. Commands run as the operator of the product `lamp`.
pub(crate) struct Bench {
    /// The service.
    pub(crate) stack: Stack,
    /// The folder in which commands run.
    pub(crate) folder: TempDir,
}

impl Bench {
    /// A service whose catalog is at most `catalog_age_ms` old, and `lamp.bin` with this content.
    pub(crate) async fn new(catalog_age_ms: i64, image: &[u8]) -> Self {
        let stack = Stack::temporary(catalog_age_ms).await.expect("a local cloud");
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("lamp.bin"), image).expect("writable");
        Self { stack, folder }
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with its arguments, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.folder.path(), arguments);
        command.env("TIDEGATE_API", self.stack.door.url());
        command.env("TIDEGATE_OPERATOR_KEY", self.stack.operator_key.expose());
        command
    }

    /// Runs a command.
    pub(crate) fn tidegate(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    /// Looks until the count has read the stream and the result is right; returns the last look.
    pub(crate) fn eventually<T>(look: impl Fn() -> T, is_right: impl Fn(&T) -> bool) -> T {
        for _ in 0..500 {
            let found = look();
            if is_right(&found) {
                return found;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        look()
    }

    /// Runs a command with `--json` and returns its document.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.tidegate(&[arguments, &["--json"]].concat()).document()
    }
}

/// The built program in `folder`, without the environment of this machine.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for variable in ["TIDEGATE_API", "TIDEGATE_OPERATOR_KEY", "TIDEGATE_TOKEN"] {
        command.env_remove(variable);
    }
    command.env("TIDEGATE_PRODUCT", "lamp").env("TZ", "UTC").current_dir(folder).args(arguments);
    command
}

/// Runs the program in `folder`, without a service.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(command(folder, arguments))
}

/// Exit code and output of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) exit: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(mut command: Command) -> Self {
        Self::from(command.output().expect("the program was built for this test"))
    }

    /// The one document that a program gets.
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not one JSON document: {error}: {self:?}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { exit: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}
