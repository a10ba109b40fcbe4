//! A cloud on loopback, in this process: DynamoDB, S3 and the front door that API Gateway is in production.
//!
//! [`LocalCloud`] is what the services are built on, [`FrontDoor`] is what devices and operators talk to.
//! Both are for development and tests. The AWS SDK talks to them over HTTP exactly as it talks to AWS, so the
//! code under test is the code that ships. What they cannot show: IAM, throttling, transaction conflicts,
//! eventual consistency, and presigned URLs that die with the session that signed them.
// A cloud has clocks of its own: S3 checks when a URL ends, API Gateway stamps its events.
#![allow(clippy::disallowed_methods)]

mod cloud;
mod dynamodb;
mod error;
mod front_door;
mod operator_key;
mod s3;
mod server;

pub use cloud::{ACCESS_KEY, LocalCloud, Ports, REGION, SECRET_KEY};
pub use error::{Error, Result};
pub use front_door::{Backend, FrontDoor, MAX_BODY_BYTES, OPERATOR_ARN};
pub use operator_key::OperatorKey;
