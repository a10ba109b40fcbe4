//! Waiting of a device: until a moment, or until a window opens.

use std::time::Duration;

use jiff::{Timestamp, Zoned};

use super::agent::Agent;
use super::wait::Chance;
use super::window::Window;
use crate::error::{CommandError, CommandResult};

/// Result of waiting for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Yes,
    No,
}

impl Agent<'_> {
    /// The time of the first check-in: as planned before the restart, otherwise spread over the jitter.
    pub(super) fn first_check_at(&self) -> Timestamp {
        let planned = self.memory.next_check_at_s.and_then(|at_s| Timestamp::from_second(at_s).ok());
        let spread = self.rhythm.first_wait(Chance::throw());
        planned.unwrap_or_else(|| {
            let now = crate::time::now();
            now.saturating_add(jiff::SignedDuration::try_from(spread).unwrap_or_default()).unwrap_or(now)
        })
    }

    pub(super) fn wait_for_window(&self, window: &Window, to_do: &str) -> CommandResult<Waited> {
        let mut waited = Waited::No;
        loop {
            let now = Zoned::new(crate::time::now(), crate::time::local_zone());
            let opens_at = window
                .opens_at(&now)
                .ok_or_else(|| CommandError::bad_input(format!("the window to {to_do} never opens")))?;
            if opens_at <= now {
                return Ok(waited);
            }
            waited = Waited::Yes;
            self.sleep_until(opens_at.timestamp(), to_do);
        }
    }

    pub(super) fn sleep_until(&self, until: Timestamp, to_do: &str) {
        let mut now = crate::time::now();
        if until <= now {
            return;
        }
        let shown = crate::time::show_in(until, &crate::time::local_zone());
        self.say(&format!("waiting until {shown} to {to_do}"));
        while now < until {
            let rest = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            // In short steps, because a device's clock can jump at its first answer from a time server.
            std::thread::sleep(rest.min(Duration::from_secs(60)));
            now = crate::time::now();
        }
    }
}
