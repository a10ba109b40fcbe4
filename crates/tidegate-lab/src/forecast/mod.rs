//! A rollout before it happens: the real decisions for a described fleet, in virtual time.
//!
//! [`read_update`] and [`read_fleet`] read what an operator wrote, [`play`] plays it, and the
//! [`Forecast`] prints as sentences, as a [table](Forecast::table) and as a
//! [picture](Forecast::svg). Nothing here reads a clock; the same seed gives the same forecast.

mod chart;
mod decider;
mod fleet;
mod forecast;
mod health_gate;
mod ledger;
mod play;
#[cfg(test)]
mod promises;
mod row;
mod table;
mod text;
mod timetable;
mod update_file;

pub use fleet::{Fleet, read_fleet};
pub use forecast::{Ending, Forecast, Hour, Milestone};
pub use play::play;
pub use update_file::read_update;
