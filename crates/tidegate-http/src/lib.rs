//! Doors of the functions: a request is parsed, a use case of the engine is called, and its result is written as an
//! answer.
//!
//! A dialect is a folder: `wire` reads and writes its bytes; `check` and `report` are its handlers in the two functions
//! that devices call. The native dialect and Ioto's have no `wire`: their JSON is in `tidegate-wire`, and they share
//! [`device_json`]. A dialect knows no other dialect, and decides nothing.

pub mod check_service;
mod device_json;
mod dialect;
pub mod edge;
mod embedded_metrics;
pub mod exosite;
pub mod hawkbit;
mod ioto;
pub mod kaa;
pub mod log;
mod native;
pub mod operator;
pub mod report_service;
pub mod router;

pub use check_service::CheckService;
pub use operator::PublishService;
pub use report_service::ReportService;
