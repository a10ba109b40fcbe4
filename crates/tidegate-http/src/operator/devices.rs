//! The devices of a product.

use serde_json::{Map, Value};
use tidegate_core::question::{Question, Reply};
use tidegate_core::{Claim, DeviceId, ProductId, UpdateId};
use tidegate_store::PublishStore;
use tidegate_store::record::KnownDevice;
use tidegate_wire::ApiError;
use tidegate_wire::answer::rounded_down;
use tidegate_wire::operator::{
    ClaimView, DeviceDeleted, DeviceExport, DeviceList, DeviceView, QuestionView, ReplyWord, VersionCount, VersionList,
};

use super::page::Asked;
use super::{Answer, Call, PublishService, ok, parse_device, refused};

impl<S: PublishStore> PublishService<S> {
    /// A page of the numbers of devices on each version.
    pub(crate) async fn versions(&self, call: &Call<'_>) -> Answer {
        let Asked { limit, after } = call.page()?;
        let (versions, next) = self.engine.versions(&call.product, after, limit).await.map_err(refused)?;
        let items = versions.into_iter().map(|(version, devices)| VersionCount { version, devices }).collect();
        ok(&VersionList { items, next })
    }

    /// A page of the devices on one version.
    pub(crate) async fn list_devices(&self, call: &Call<'_>) -> Answer {
        let version = call.parameter("version").ok_or_else(|| {
            ApiError::bad_field("version is missing; devices are listed by version, as in devices?version=1.4.0")
        })?;
        let Asked { limit, after } = call.page()?;
        let after = after.map(parse_device).transpose()?;
        let page = self.engine.devices_on(&call.product, version, after.as_ref(), limit).await;
        let (items, next) = page.map_err(refused)?;
        ok(&DeviceList { items, next })
    }

    /// One device and its claims.
    pub(crate) async fn show_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let known = self.engine.device(&call.product, device).await.map_err(refused)?;
        ok(&device_view(&call.product, device, known))
    }

    /// A device with a page of the audit log about it.
    pub(crate) async fn export_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let known = self.engine.device(&call.product, device).await.map_err(refused)?;
        let audit = self.audit_about(call, Some(device.as_str())).await?;
        ok(&DeviceExport { device: device_view(&call.product, device, known), audit })
    }

    /// Deletes a device.
    pub(crate) async fn delete_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let actor = call.actor_with_reason()?;
        self.engine.delete_device(&call.product, device, &actor).await.map_err(refused)?;
        ok(&DeviceDeleted { deleted: true })
    }
}

fn device_view(product: &ProductId, device: &DeviceId, known: KnownDevice) -> DeviceView {
    let record = known.record_or_default();
    let (mut claims, messages) = (known.claims, known.messages);
    claims.sort_by_key(|(_, claim)| claim.epoch);
    DeviceView {
        id: device.clone(),
        product: product.clone(),
        version: record.version,
        attributes: record.attributes.and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).ok()),
        first_seen: record.first_seen.map(rounded_down),
        last_seen: record.last_seen.map(rounded_down),
        on_hold: record.orders.is_on_hold,
        pinned: record.orders.pin.as_ref().map(ToString::to_string),
        tags: record.orders.tags().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        assigned: record.orders.assigned().map(ToString::to_string).collect(),
        questions: record.questions.iter().map(question).collect(),
        claims: claims.iter().map(|(update, claim)| view(update, claim, messages.get(update))).collect(),
    }
}

fn question(question: &Question) -> QuestionView {
    let reply = question.reply.map(|reply| match reply {
        Reply::Agreed => ReplyWord::Agreed,
        Reply::Refused { .. } => ReplyWord::Refused,
    });
    QuestionView {
        version: question.version.to_string(),
        asked_at: question.asked_at,
        reply,
        refusals: question.refusals,
    }
}

fn view(update: &UpdateId, claim: &Claim, message: Option<&String>) -> ClaimView {
    ClaimView {
        update: update.clone(),
        version: claim.version.to_string(),
        campaign: claim.campaign,
        state: claim.state().into(),
        attempts: claim.attempts,
        message: message.cloned(),
        retry_at: claim.retry_at,
        granted_at: claim.life.granted_at,
        ended_at: claim.ended_at,
        holds_place: claim.life.holds_place,
    }
}
