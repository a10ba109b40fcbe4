//! `GET versions`, `GET devices`, `GET devices/{id}`: what is known of a fleet.

use serde_json::{Value, json};
use tidegate_core::{Claim, ClaimState, DeviceId, UpdateId};
use tidegate_store::PublishStore;
use tidegate_store::record::DeviceRecord;
use tidegate_store::store::Freshness;
use tidegate_wire::answer::happened;
use tidegate_wire::{ApiError, ErrorCode};

use super::{Answer, Call, PublishService, parse_device, unavailable};

impl<S: PublishStore> PublishService<S> {
    /// How many devices run each version.
    pub(crate) async fn versions(&self, call: &Call<'_>) -> Answer {
        let versions = self.store.versions(&call.product).await.map_err(unavailable)?;
        if versions.is_empty() {
            self.must_exist(call).await?;
        }
        let rows = versions.iter().map(|(version, devices)| json!({"version": version, "devices": devices}));
        Ok((200, json!({"versions": rows.collect::<Vec<_>>()})))
    }

    /// A page of the devices on one version.
    pub(crate) async fn list_devices(&self, call: &Call<'_>) -> Answer {
        let version = call.parameter("version").ok_or_else(|| {
            ApiError::bad_field("version is missing; devices are listed by version, as in devices?version=1.4.0")
        })?;
        let after = call.parameter("after").map(parse_device).transpose()?;
        let (devices, next) =
            self.store.devices_on(&call.product, version, after.as_ref()).await.map_err(unavailable)?;
        let ids = devices.iter().map(DeviceId::as_str).collect::<Vec<_>>();
        Ok((200, json!({"devices": ids, "next": next.as_ref().map(DeviceId::as_str)})))
    }

    /// One device and its claims.
    pub(crate) async fn show_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let known = self.store.device(&call.product, device, Freshness::Strong).await.map_err(unavailable)?;
        let record = known.record.ok_or_else(|| unknown_device(device))?;
        let mut body = shown(call, device, &record);
        body["claims"] = known.claims.iter().map(|(update, claim)| shown_claim(update, claim)).collect();
        Ok((200, body))
    }
}

pub(crate) fn unknown_device(device: &DeviceId) -> ApiError {
    ApiError::new(ErrorCode::UnknownDevice, format!("the device {device} has never checked in"))
}

fn shown(call: &Call<'_>, device: &DeviceId, record: &DeviceRecord) -> Value {
    json!({
        "id": device.as_str(),
        "product": call.product.as_str(),
        "version": record.version,
        "attributes": serde_json::from_str::<Value>(&record.attributes).unwrap_or(Value::Null),
        "first_seen": record.first_seen.map(happened),
        "last_seen": record.last_seen.map(happened),
    })
}

fn shown_claim(update: &UpdateId, claim: &Claim) -> Value {
    let state = match claim.state {
        ClaimState::Reserved => "reserved",
        ClaimState::Expired => "expired",
        ClaimState::Succeeded => "succeeded",
        ClaimState::Failed => "failed",
    };
    json!({
        "update": update.as_str(),
        "version": claim.version.to_string(),
        "state": state,
        "attempts": claim.attempts,
        "reserved_at": happened(claim.reserved_at),
        "expires_at": happened(claim.expires_at),
        "backed_out": claim.backed_out,
    })
}
