//! The local cloud as its users meet it: through the AWS SDK, and byte by byte.

mod conversation;
mod dynamodb;
mod front_door;
mod kill;
mod objects;
mod ports;
mod presigned;

/// What a test returns: any error fails it.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;
