//! The state of Tidegate, in types of the core.
//!
//! [`store`] has the traits of the functions; [`dynamo`] implements them over one DynamoDB table;
//! [`images`] stores the files in S3. The storage protocol that makes limits exact is in
//! [`store::GrantRequest`] and `dynamo/grant.rs`.

mod aws;
mod cdn;
pub mod dynamo;
pub mod https;
pub mod images;
pub mod metrics;
pub mod record;
pub mod repair;
pub mod schema;
mod seal;
pub mod settings;
pub mod store;
pub mod stream;
pub mod tidy;
pub mod verification;

pub use dynamo::DynamoStore;
pub use images::Images;
pub use seal::{CatalogKey, CatalogKeyError};
pub use store::{
    CheckStore, CloseRollouts, CountStore, OpenRollouts, PublishStore, RaiseCeilings, ReadCatalog, ReadDevices,
    ReadUpdates, RecountStore, ReportStore, StoreError, SweepStore, WriteDevices,
};
pub use tidy::TidyStore;
