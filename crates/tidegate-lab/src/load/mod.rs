//! The load generator: a fleet that drives a running service, and looks at its limits from outside.
//!
//! [`Crew`] sends the requests of [`Devices`] over any number of [`Connection`]s, in the order of a [`Mix`] and at a
//! [`Pace`]. [`Tally`] has the times; [`Sightings`] has what the devices saw of each update, and [`Watched`] what the
//! service said of it. Command line, HTTP and printing are the command's.

mod between;
mod connection;
mod crew;
mod devices;
mod limits;
mod mix;
mod pace;
mod sightings;
mod tally;
mod watched;

pub use between::Between;
pub use connection::{BadAnswer, CallError, Connection, Request, Route};
pub use crew::{Crew, Progress};
pub use devices::{Devices, Turn};
pub use limits::{Finding, Limits, LimitsError, Seen, findings};
pub use mix::{Kind, Mix, MixError};
pub use pace::{LONGEST, MOST_REQUESTS, Pace, PaceError};
pub use sightings::{Sighting, Sightings};
pub use tally::{Done, Failure, Row, Tally, Times};
pub use watched::{Look, Watched};
