//! The native dialect: a device says everything in one request.

mod check;
mod report;
