//! The audit log.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_core::{State, Timestamp};

/// A page of the audit log of a product, newest entry first. A page may have fewer entries than its limit, and none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditLog {
    /// The entries.
    pub items: Vec<AuditEntry>,
    /// The value of `after` for the next page; `null` on the last page.
    #[cfg_attr(feature = "schema", schema(required))]
    pub next: Option<String>,
}

/// One change: who made it, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// The time.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub at: Timestamp,
    /// The ARN of the operator; `sweep` or `health rule` for changes that the service makes by itself.
    pub who: String,
    /// The action: a transition's name, `create`, `edit`, `issue token` and others.
    pub action: String,
    /// The version of the update, or the id of the device or product, that was changed.
    pub version: String,
    /// The state before; `null`, if the action is not a transition.
    #[serde(with = "crate::word::maybe_state")]
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::State>))]
    pub from: Option<State>,
    /// The state after; `null`, if the action is not a transition.
    #[serde(with = "crate::word::maybe_state")]
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::State>))]
    pub to: Option<State>,
    /// The reason that was given; may be empty.
    #[cfg_attr(feature = "schema", schema(max_length = 1000))]
    pub reason: String,
    /// The values that were changed, other than the state.
    pub changes: Vec<ValueChange>,
}

/// A value that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ValueChange {
    /// Its name.
    pub field: String,
    /// The value before; `null`, if there was none. A long one is cut.
    #[cfg_attr(feature = "schema", schema(required))]
    pub old: Value,
    /// The value after; `null`, if there is none. A long one is cut.
    #[cfg_attr(feature = "schema", schema(required))]
    pub new: Value,
}
