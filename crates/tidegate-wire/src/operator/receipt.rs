//! The receipt of a decision: the answer to a device's check-in, and every reason.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidegate_core::{DeviceId, ProductId, State, Timestamp, UpdateId};

use crate::word::words;

/// The receipt of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// The device's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::DeviceId))]
    pub device: DeviceId,
    /// The product's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ProductId))]
    pub product: ProductId,
    /// The version that the device runs.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The time for which the decision is made.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Time))]
    pub at: Timestamp,
    /// The update that the device is offered, or `null`.
    #[cfg_attr(feature = "schema", schema(required))]
    pub offer: Option<ReceiptOffer>,
    /// `offer`, or the code of the objection that decided.
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::offer_or_objection))]
    pub reason: Cow<'static, str>,
    /// The time at which the answer may change by itself, or `null`.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::Time>))]
    pub opens_at: Option<Timestamp>,
    /// The decision as a sentence.
    pub sentence: String,
    /// Every update that was considered, newest version first.
    pub considered: Vec<ConsideredUpdate>,
}

/// The update that a device is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReceiptOffer {
    /// The version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The update's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::UpdateId))]
    pub update: UpdateId,
}

/// An update that was considered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ConsideredUpdate {
    /// The version.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Version))]
    pub version: String,
    /// The update's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::UpdateId))]
    pub update: UpdateId,
    /// The state of the update.
    #[serde(with = "crate::word::state")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::State))]
    pub state: State,
    /// The reason to pass it over; `null` for the update that is offered.
    #[cfg_attr(feature = "schema", schema(required))]
    pub objection: Option<ReceiptObjection>,
    /// The clauses of its policy with this device's values.
    pub clauses: Vec<ConsideredClause>,
}

/// The reason to pass an update over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReceiptObjection {
    /// The code.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ObjectionCode))]
    pub code: Cow<'static, str>,
    /// The objection as a sentence.
    pub sentence: String,
    /// The time that ends the objection, or `null`.
    #[cfg_attr(feature = "schema", schema(required, value_type = Option<crate::schema::Time>))]
    pub opens_at: Option<Timestamp>,
}

/// A clause of a policy with a device's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ConsideredClause {
    /// The clause.
    pub text: String,
    /// Its result for this device.
    pub verdict: ClauseVerdict,
    /// Each attribute of the clause with its value; `null`, if the device does not state it.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub values: Map<String, Value>,
}

words! {
    /// The result of a clause for one device.
    ClauseVerdict {
        /// The clause is true.
        Yes "yes",
        /// The clause is false.
        No "no",
        /// The device does not state an attribute of the clause.
        Unknown "unknown",
        /// The clause cannot be evaluated on the device's values.
        Unclear "unclear",
    }
}
