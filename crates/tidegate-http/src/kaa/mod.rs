//! Kaa's configuration management protocol: an endpoint asks for its configuration and says which one it has applied.

mod check;
mod report;
pub mod wire;
