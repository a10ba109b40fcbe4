//! The receipt of a decision.

use std::borrow::Cow;

use serde_json::{Map, Value};
use tidegate_core::policy::{Clause, Doubt, Truth};
use tidegate_core::receipt::{Considered, Receipt as CoreReceipt};
use tidegate_core::{Device, DeviceId, Timestamp};
use tidegate_store::PublishStore;
use tidegate_wire::ApiError;
use tidegate_wire::answer::{rounded_down, rounded_up};
use tidegate_wire::operator::{
    ClauseVerdict, ConsideredClause, ConsideredUpdate, Receipt, ReceiptObjection, ReceiptOffer,
};

use super::{Answer, Call, PublishService, ok, refused};

impl<S: PublishStore> PublishService<S> {
    /// Decides for a device as its next check-in would, and answers the receipt.
    pub(crate) async fn why(&self, call: &Call<'_>, id: &DeviceId) -> Answer {
        let at = match call.parameter("at") {
            None => call.now,
            Some(text) => text.parse::<Timestamp>().map_err(|error| {
                ApiError::bad_field(format!("at must be a time such as 2026-01-02T03:04:05Z: {error}"))
            })?,
        };
        ok(&self.engine.explain(&call.product, id, at, view).await.map_err(refused)?)
    }
}

fn view(device: &Device, receipt: &CoreReceipt<'_>) -> Receipt {
    let decision = &receipt.decision;
    let offer = decision
        .offer
        .as_ref()
        .map(|offer| ReceiptOffer { version: offer.update.version.to_string(), update: offer.update.id.clone() });
    let reason = match &decision.offer {
        Some(_) => "offer",
        None => decision.reason_code().name(),
    };
    Receipt {
        device: device.id.clone(),
        product: device.product.clone(),
        version: device.version.to_string(),
        at: rounded_down(receipt.at),
        offer,
        reason: Cow::Borrowed(reason),
        opens_at: decision.may_change_at().map(rounded_up),
        sentence: receipt.to_string(),
        considered: receipt.considered.iter().map(considered).collect(),
    }
}

fn considered(considered: &Considered<'_>) -> ConsideredUpdate {
    let objection = considered.objection.as_ref().map(|objection| ReceiptObjection {
        code: Cow::Borrowed(objection.code().name()),
        sentence: objection.to_string(),
        opens_at: objection.opens_at().map(rounded_up),
    });
    ConsideredUpdate {
        version: considered.update.version.to_string(),
        update: considered.update.id.clone(),
        state: considered.update.state,
        objection,
        clauses: considered.clauses.iter().map(clause).collect(),
    }
}

fn clause(clause: &Clause) -> ConsideredClause {
    let verdict = match &clause.truth {
        Truth::Yes => ClauseVerdict::Yes,
        Truth::No => ClauseVerdict::No,
        Truth::Unknown(Doubt::Missing(_)) => ClauseVerdict::Unknown,
        Truth::Unknown(Doubt::Unclear(_)) => ClauseVerdict::Unclear,
    };
    let values = clause.values.iter().map(|(name, value)| {
        let text = value.as_ref().map(ToString::to_string);
        // A value prints as JSON; `null` stands for what the device does not state.
        let value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        (name.to_string(), value)
    });
    ConsideredClause { text: clause.text.clone(), verdict, values: values.collect::<Map<_, _>>() }
}
