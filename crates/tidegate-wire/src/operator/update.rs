//! An update as operators see it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_core::{ProductId, State, Timestamp, UpdateId};

use super::Metrics;
use crate::definition::Definition;
use crate::strict_json::OperatorInput;
use crate::word::words;

/// An update: its definition with every default written out, and its present state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Update))]
pub struct UpdateView {
    /// The update's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::UpdateId))]
    pub id: UpdateId,
    /// The product's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ProductId))]
    pub product: ProductId,
    /// The number of its campaign: 1 for the first.
    #[serde(default = "first")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub campaign: u32,
    /// The present state.
    #[serde(with = "crate::word::state")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::State))]
    pub state: State,
    /// The change that is under way. A stop is in force from the moment on at which it is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// The shards that a change has not shut yet; only with status 202. The service goes on, and the change is done when
    /// the update wants none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards_left: Option<u16>,
    /// The reason for the last change of state; empty if none was given.
    pub reason: String,
    /// A number that goes up with every change.
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub generation: u64,
    /// The time of the creation.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub created_at: Timestamp,
    /// The time of the last change.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub changed_at: Timestamp,
    /// The definition.
    #[serde(flatten)]
    pub definition: DefinitionView,
    /// The devices that it is for, once a fleet snapshot has counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceView>,
    /// Its control group, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_group: Option<ControlGroupView>,
    /// The files that are uploaded and are being read and compared. Only in the answer about one draft.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(max_items = 16))]
    pub verifying: Vec<String>,
    /// The rollout's counters. Only in the answer about one update, once it has been activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

/// The number of the first campaign.
pub(super) fn first() -> u32 {
    1
}

/// A text that devices say after they said success, and that no update has. Perhaps the image calls itself so: then it belongs
/// into `reports_as`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = OtherName))]
pub struct OtherNameView {
    /// The text.
    #[cfg_attr(feature = "schema", schema(max_length = 64))]
    pub text: String,
    /// The devices that say it: at least three.
    #[cfg_attr(feature = "schema", schema(minimum = 3))]
    pub devices: u64,
}

/// The devices that an update is for, as a fleet snapshot counted them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Audience))]
pub struct AudienceView {
    /// All of them.
    pub size: u64,
    /// The newcomers among them: devices that were not known before the rollout, in a product whose devices may register
    /// themselves.
    #[serde(default)]
    pub newcomers: u64,
    /// Those that were offered the update.
    pub reached: u64,
    /// Those that were heard from in time, were not offered it yet, and are not in the control group. Those whose user was
    /// asked and has not agreed are counted neither as reached nor as left.
    pub left: u64,
    /// Those of them that are not left because their user was asked and has not answered.
    #[serde(default)]
    pub asked: u64,
    /// … and because their user refused.
    #[serde(default)]
    pub refused: u64,
    /// The most frequent text among devices that reported success and do not run the update, if three of them say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub other_name: Option<OtherNameView>,
    /// The time at which the snapshot began.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub as_of: Timestamp,
}

/// Devices that are offered an update last. Their silence is not the update's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ControlGroup))]
pub struct ControlGroupView {
    /// The lowest place of a member in the queue of 10,000 places.
    #[cfg_attr(feature = "schema", schema(maximum = 9999))]
    pub from_place: u16,
    /// The time of its choice.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub since: Timestamp,
    /// True once all other devices were offered the update, so that it is offered to these too.
    pub is_served: bool,
    /// The last time at which its members were looked at: when silence would have held the rollout.
    pub reading: Option<ReadingView>,
}

/// A look at the members of a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ControlGroupReading))]
pub struct ReadingView {
    /// The members that were looked at.
    pub members: u64,
    /// Those of them that were overdue.
    pub overdue: u64,
    /// The time of the look.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub at: Timestamp,
}

/// The definition of an update, if the service can read what is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum DefinitionView {
    /// A definition that cannot be read. It does not hide the other updates in a list.
    Unreadable {
        /// Always true.
        unreadable: bool,
        /// The version.
        #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
        version: String,
    },
    /// The definition.
    Readable(Box<Definition>),
}

impl UpdateView {
    /// The version.
    #[must_use]
    pub fn version(&self) -> &str {
        match &self.definition {
            DefinitionView::Unreadable { version, .. } => version,
            DefinitionView::Readable(definition) => &definition.version,
        }
    }

    /// The definition, if the service can read it.
    #[must_use]
    pub fn definition(&self) -> Option<&Definition> {
        match &self.definition {
            DefinitionView::Unreadable { .. } => None,
            DefinitionView::Readable(definition) => Some(definition),
        }
    }
}

/// A page of the updates of a product, newest version first. A page may have fewer updates than its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UpdateList {
    /// The updates, without metrics.
    pub items: Vec<UpdateView>,
    /// The value of `after` for the next page; `null` on the last page.
    #[cfg_attr(feature = "schema", schema(required))]
    pub next: Option<String>,
}

/// A created draft, or the update that the same create made before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Created {
    /// The update's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::UpdateId))]
    pub id: UpdateId,
    /// The version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The present state.
    #[serde(with = "crate::word::state")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::State))]
    pub state: State,
    /// One upload for each file whose bytes are not stored yet. None, unless the update is a draft.
    #[cfg_attr(feature = "schema", schema(max_items = 16))]
    pub uploads: Vec<Upload>,
    /// What its image says of itself beside the version: what was given, or what it says as the image of another published
    /// update with the same files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports_as: Vec<String>,
}

/// A presigned upload of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Upload {
    /// The name of the file.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileName))]
    pub name: String,
    /// The HTTP method.
    pub method: UploadMethod,
    /// The address, good for 3,600 seconds. None for a file that S3 does not take in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(format = "uri", value_type = String))]
    pub url: Option<String>,
    /// Headers to send exactly so. An HTTP client writes `content-length` itself.
    pub headers: BTreeMap<String, String>,
}

/// A file that is to be uploaded in parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PartsAsked {
    /// The name of the file.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileName))]
    pub name: String,
}

impl OperatorInput for PartsAsked {}

/// State of the upload of one file in parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UploadedParts {
    /// The name of the file.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileName))]
    pub name: String,
    /// Its length in bytes.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileSize))]
    pub size: u64,
    /// Bytes that are stored.
    pub stored: u64,
    /// The next parts to send. None, when all bytes are stored.
    #[cfg_attr(feature = "schema", schema(max_items = 32))]
    pub parts: Vec<PartUpload>,
}

/// A part of a file that is to be uploaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PartUpload {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// The address for a `PUT`, good for 3,600 seconds.
    #[cfg_attr(feature = "schema", schema(format = "uri"))]
    pub url: String,
    /// Headers to send exactly so. An HTTP client writes `content-length` itself.
    pub headers: BTreeMap<String, String>,
}

words! {
    /// The method of an upload.
    UploadMethod {
        /// `PUT`: the whole file in one request.
        Put "PUT",
        /// In parts, which `POST …/upload` names.
        Parts "PARTS",
    }
}

/// A change of a campaign under way. What is not given stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CampaignChange {
    /// The policy: another audience. A device with an open offer that it does not admit any more gives the offer back. A
    /// policy for every device is `true`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 4096))]
    pub policy: Option<String>,
    /// The fields of the rollout to change. Objects are merged field by field; any other value, lists and
    /// `null` too, replaces the present one.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::definition::RolloutField>, nullable = false))]
    pub rollout: Option<serde_json::Map<String, serde_json::Value>>,
    /// The reason, for the audit log.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

/// The reason for a change, for the audit log. No body at all is no reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reason {
    /// At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for Reason {}

/// A resume. A held update needs the numbers of devices that the operator has seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Resume {
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
    /// Numbers of devices that the operator has seen. They matter only to a held update.
    #[serde(default)]
    pub acknowledge: AcknowledgeField,
}

impl OperatorInput for Resume {}

/// Another campaign of a published update. What is not given is as in the last campaign.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reopen {
    /// The devices that the campaign is for.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 4096))]
    pub policy: Option<String>,
    /// The fields of the rollout that change. Objects are merged field by field; any other value, lists and `null` too,
    /// replaces the one of the last campaign.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = crate::definition::RolloutField))]
    pub rollout: serde_json::Map<String, serde_json::Value>,
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for Reopen {}

/// A campaign that takes devices back to this update. Its rollout has no phases, groups, start and end unless they are
/// given; everything else that is not given is as in the last campaign.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Rollback {
    /// The later versions from which devices are taken back: at least one, at most 32. Their own rollouts are aborted first.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::Version>, min_items = 1, max_items = 32))]
    pub from: Vec<String>,
    /// The devices that the campaign is for.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 4096))]
    pub policy: Option<String>,
    /// The fields of the rollout that change.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = crate::definition::RolloutField))]
    pub rollout: serde_json::Map<String, serde_json::Value>,
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for Rollback {}

/// An update that was deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Deleted {
    /// The version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub deleted: String,
    /// Its state before. The version of a draft is free again, that of another update never.
    #[serde(with = "crate::word::state")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::State))]
    pub state: State,
}

/// The next phase of a rollout, which an operator begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Advance {
    /// The number of the phase, from 1. A call that is repeated does not begin the one after it.
    #[cfg_attr(feature = "schema", schema(minimum = 2, maximum = 32))]
    pub phase: usize,
    /// What the operator has seen. If more has happened, the answer is `evidence_moved`.
    #[serde(default)]
    pub seen: AcknowledgeField,
    /// The reason, for the audit log. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: Option<String>,
}

impl OperatorInput for Advance {}

/// Numbers of devices, as in the metrics. One that is not named is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Acknowledge, default))]
#[serde(default)]
pub struct AcknowledgeField {
    /// Devices that failed.
    pub failed: u64,
    /// Devices that fell back.
    pub reverted: u64,
    /// Devices that are overdue.
    pub lost: u64,
    /// Devices that did not apply the update in time.
    pub not_taken: u64,
    /// Devices that could not transfer it.
    pub transfer_failed: u64,
}
