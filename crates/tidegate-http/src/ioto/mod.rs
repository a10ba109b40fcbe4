//! Ioto's dialect, as its agents and EmbedThis' updaters speak it: a flat check-in, a report of success or failure, and a
//! registration.

mod check;
mod register;
mod report;
