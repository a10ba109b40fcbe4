//! The JSON of the operator API.

mod audit;
mod device;
mod metrics;
mod order;
mod product;
mod receipt;
mod software;
mod token;
mod update;

use std::collections::BTreeMap;

pub use audit::{AuditEntry, AuditLog, ValueChange};
pub use device::{
    ClaimState, ClaimView, DeviceDeleted, DeviceExport, DeviceList, DeviceView, QuestionView, ReplyWord, Retried,
    VersionCount, VersionList,
};
pub use metrics::{
    ChannelName, ChannelView, Counters, HealthView, Metrics, NewcomersView, NextPhaseView, SeriesPoint, Verdict,
};
pub use order::{
    Devices, Forgotten, ManyChanged, Outcome, Pin, ReasonCount, Reasons, RetryMany, Tag, UpdateDevice, UpdateDevices,
};
pub use product::{
    Product, ProductChange, ProductResumed, ProductStopped, ProductTimes, ProductTokens, ProofField, Registration,
};
pub use receipt::{ClauseVerdict, ConsideredClause, ConsideredUpdate, Receipt, ReceiptObjection, ReceiptOffer};
pub use software::{RolloutStrategy, Software, SoftwareDefinition, SoftwareFilter};
pub use token::{Revoked, Token};
pub use update::{
    AcknowledgeField, Advance, AudienceView, CampaignChange, ControlGroupView, Created, DefinitionView, Deleted,
    OtherNameView, PartUpload, PartsAsked, ReadingView, Reason, Reopen, Resume, Rollback, UpdateList, UpdateView,
    Upload, UploadMethod, UploadedParts,
};

/// Items on a page of a list, if a call asks for no other number.
pub const DEFAULT_PAGE: usize = 50;
/// Most items on a page of a list.
pub const LARGEST_PAGE: usize = 200;

/// Numbers by the code of an objection.
pub type CountsByObjection = BTreeMap<String, u64>;
