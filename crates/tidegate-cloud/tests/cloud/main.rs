//! The local cloud as its users meet it: through the AWS SDK, and byte by byte.

// These tests look at real clocks: how long something took, and whether a URL has ended.
#![allow(clippy::disallowed_methods)]

mod conversation;
mod dynamodb;
mod front_door;
mod kill;
mod objects;
mod ports;
mod presigned;
mod stream;

/// What a test returns: any error fails it.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;
