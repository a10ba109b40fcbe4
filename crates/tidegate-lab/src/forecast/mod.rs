//! The forecast of a rollout: the real decisions for a described fleet, in virtual time.
//!
//! [`read_update`] and [`FleetFile::read`] read an operator's files. [`play`] plays them. The [`Forecast`] prints as
//! sentences, as a [table](Forecast::table) and as a [chart](Forecast::svg). Nothing here reads a clock; the same seed
//! gives the same forecast.

mod chart;
mod control_group;
mod course;
mod decider;
mod fleet_file;
mod health_gate;
mod play;
#[cfg(test)]
mod promises;
mod row;
mod shards;
mod table;
mod text;
mod timetable;
mod update_file;

pub use course::{Ending, Forecast, Hour, Milestone};
pub use fleet_file::{FleetFile, FleetFileError};
pub use play::play;
pub use update_file::{UpdateFileError, read_update};
