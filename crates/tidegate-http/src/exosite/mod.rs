//! Exosite's OTAU: a device reads `config_otau`, fetches content, activates itself, and writes `otau_in`.

mod check;
mod report;
pub mod wire;
