//! The ticker: progress on one line of the terminal, renewed once a second.

use std::io::IsTerminal;

use indicatif::{HumanCount, ProgressBar};

use tidegate_lab::load::Crew;

use crate::duration;
use crate::error::CommandError;
use crate::output::{Output, Reader};

/// The line; it is hidden unless a person is at a terminal.
#[derive(Debug)]
pub(super) struct Ticker {
    line: ProgressBar,
    shown_s: Option<u64>,
    answered: u64,
}

impl Ticker {
    /// A line for a person at a terminal.
    pub(super) fn new(output: &Output) -> Self {
        let somebody_looks = output.reader() == Reader::Person && std::io::stderr().is_terminal();
        let line = if somebody_looks { crate::progress::line() } else { ProgressBar::hidden() };
        Self { line, shown_s: None, answered: 0 }
    }

    /// Renews the line if its second is over.
    pub(super) fn tick(&mut self, crew: &Crew<'_, CommandError>) {
        let elapsed = crew.elapsed();
        if self.line.is_hidden() || self.shown_s == Some(elapsed.as_secs()) {
            return;
        }
        self.shown_s = Some(elapsed.as_secs());
        let waiting = crew.waiting();
        let progress = crew.progress();
        let answered = progress.tally.answered();
        let in_last_second = answered.saturating_sub(std::mem::replace(&mut self.answered, answered));
        let line = format!(
            "{:>6}  {} answered, {in_last_second}/s  {} failed  {waiting} waiting for a connection",
            duration::show(elapsed),
            HumanCount(answered),
            progress.tally.failed(),
        );
        let offered = progress.devices.seen().all();
        let offered =
            offered.map(|(_, seen)| format!("  {} to {}", crate::output::clean(seen.version()), seen.devices()));
        self.line.set_message(line + &offered.collect::<String>());
    }

    /// Removes the line.
    pub(super) fn end(self) {
        self.line.finish_and_clear();
    }
}
