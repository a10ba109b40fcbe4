//! AWS on loopback, in this process: DynamoDB, S3, and a front door in the place of API Gateway.
//!
//! The functions use [`LocalCloud`]; devices and operators call [`FrontDoor`]. Both are for development and
//! tests. The AWS SDK calls them over HTTP as it calls AWS, so the tested code is the code that ships. They
//! cannot show IAM, throttling, transaction conflicts, eventual consistency, or presigned URLs that end with
//! the session that signed them.
// AWS reads its own clock: S3 checks when a URL ends, API Gateway writes the time into its events.
#![allow(clippy::disallowed_methods)]

mod cloud;
mod dynamodb;
mod error;
mod front_door;
mod in_process;
mod operator_key;
mod s3;
mod server;
pub mod stream;

pub use cloud::{ACCESS_KEY, LocalCloud, Ports, REGION, SECRET_KEY};
pub use error::{Error, Result};
pub use front_door::{Backend, FrontDoor, MAX_BODY_BYTES, OPERATOR_ARN};
pub use in_process::{DynamoDbAnswer, InProcessDynamoDb};
pub use operator_key::OperatorKey;
pub use stream::{BATCH_RECORDS, TableStream};
