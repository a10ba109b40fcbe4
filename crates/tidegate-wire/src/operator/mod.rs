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

pub use audit::{AuditEntry, AuditLog};
pub use device::{
    ClaimState, ClaimView, DeviceList, DeviceView, QuestionView, ReplyWord, Retried, VersionCount, VersionList,
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
    OtherNameView, ReadingView, Reason, Reopen, Resume, Rollback, UpdateList, UpdateView, Upload, UploadMethod,
};

/// Numbers by the code of an objection.
pub type CountsByObjection = BTreeMap<String, u64>;
