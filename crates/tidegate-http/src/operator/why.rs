//! `GET devices/{id}/why`: the receipt of a decision, now or at another time. Nothing is recorded.

use serde_json::{Map, Value, json};
use tidegate_core::device::Delivery;
use tidegate_core::objection::NoRoom;
use tidegate_core::policy::{Clause, Doubt, Slots, Truth};
use tidegate_core::receipt::{Considered, Receipt, explain};
use tidegate_core::shard::{Refusal, period_of};
use tidegate_core::{Catalog, ClaimStatus, Claims, Device, DeviceId, State, Timestamp, Update, decide};
use tidegate_store::PublishStore;
use tidegate_store::record::DeviceRecord;
use tidegate_store::store::Freshness;
use tidegate_wire::ApiError;
use tidegate_wire::answer::{happened, opens};
use tidegate_wire::device_json::{attributes_of, parse_version};

use super::devices::unknown_device;
use super::update::compiled;
use super::{Answer, Call, PublishService, unavailable};

impl<S: PublishStore> PublishService<S> {
    /// Decides for a device as its next check-in would, and writes down why.
    pub(crate) async fn why(&self, call: &Call<'_>, id: &DeviceId) -> Answer {
        let at = match call.parameter("at") {
            None => call.now,
            Some(text) => text.parse::<Timestamp>().map_err(|error| {
                ApiError::bad_field(format!("at must be a time such as 2026-01-02T03:04:05Z: {error}"))
            })?,
        };
        let known = self.store.device(&call.product, id, Freshness::Strong).await.map_err(unavailable)?;
        let record = known.record.filter(|record| record.version.is_some()).ok_or_else(|| unknown_device(id))?;
        let device = device(call, id, &record)?;
        let catalog = self.catalog(call).await?;
        let mut claims = Claims::new(known.claims);
        // Each round finds one more rollout without room, and there are no more rollouts than these.
        for _ in 0..=catalog.newest_first().count() {
            let decision = decide(&device, &catalog, &claims, at);
            let Some(offer) = &decision.offer else {
                break;
            };
            match self.no_room(offer.update, &offer.claim_status, at).await? {
                Some(no_room) => claims.note_no_room(offer.update.id.clone(), no_room),
                None => break,
            }
        }
        Ok((200, written(call, id, &device, &explain(&device, &catalog, &claims, at))))
    }

    /// Everything that was ever in force, so that "aborted" and "completed" are reasons too.
    async fn catalog(&self, call: &Call<'_>) -> Result<Catalog, ApiError> {
        let records = self.store.updates(&call.product).await.map_err(unavailable)?;
        let mut slots = Slots::new();
        let updates = records
            .iter()
            .filter(|record| record.state != State::Draft)
            .filter_map(|record| compiled(record, &mut slots).ok())
            .collect::<Vec<_>>();
        Ok(Catalog::new(call.product.clone(), slots, updates))
    }

    /// Why every shard that could grant would refuse, if they all would.
    async fn no_room(
        &self,
        update: &Update,
        claim_status: &ClaimStatus,
        at: Timestamp,
    ) -> Result<Option<NoRoom>, ApiError> {
        let Some(grant) = claim_status.needs() else {
            return Ok(None);
        };
        let shards = self.store.shards(&update.id, update.shards).await.map_err(unavailable)?;
        let of = match claim_status {
            ClaimStatus::Unclaimed => None,
            ClaimStatus::Held(claim) | ClaimStatus::Lapsed(claim) => Some(usize::from(claim.shard)),
        };
        let period = period_of(at, update.rollout.limits.period_s);
        let mut no_room = NoRoom::Paused;
        for (_, shard) in shards.iter().enumerate().filter(|(index, _)| of.is_none_or(|shard| shard == *index)) {
            let refusal =
                shard.map(|shard| shard.refusal(grant, update.generation, period, update.rollout.limits.period_s));
            match refusal {
                Some(Some(Refusal::NoRoom(why))) => no_room = why,
                Some(None | Some(Refusal::EarlierPeriod | Refusal::LaterPeriod(_))) => return Ok(None),
                Some(Some(Refusal::OtherGeneration)) | None => {}
            }
        }
        Ok(Some(no_room))
    }
}

fn device(call: &Call<'_>, id: &DeviceId, record: &DeviceRecord) -> Result<Device, ApiError> {
    let attributes = serde_json::from_str::<Map<String, Value>>(&record.attributes).unwrap_or_default();
    Ok(Device {
        id: id.clone(),
        product: call.product.clone(),
        version: parse_version(record.version.as_deref().unwrap_or_default())?,
        attributes: attributes_of(&attributes)?,
        delivery: Delivery::Anything,
    })
}

fn written(call: &Call<'_>, id: &DeviceId, device: &Device, receipt: &Receipt<'_>) -> Value {
    let decision = &receipt.decision;
    let offer = decision
        .offer
        .as_ref()
        .map(|offer| json!({"version": offer.update.version.to_string(), "update": offer.update.id.as_str()}));
    let reason = match &decision.offer {
        Some(_) => "offer",
        None => decision.reason_code().name(),
    };
    json!({
        "device": id.as_str(),
        "product": call.product.as_str(),
        "version": device.version.to_string(),
        "at": happened(receipt.at),
        "offer": offer,
        "reason": reason,
        "opens_at": decision.may_change_at().map(opens),
        "sentence": receipt.to_string(),
        "considered": receipt.considered.iter().map(considered).collect::<Vec<_>>(),
    })
}

fn considered(considered: &Considered<'_>) -> Value {
    let objection = considered.objection.as_ref().map(|objection| {
        json!({
            "code": objection.code().name(),
            "sentence": objection.to_string(),
            "opens_at": objection.opens_at().map(opens),
        })
    });
    json!({
        "version": considered.update.version.to_string(),
        "update": considered.update.id.as_str(),
        "state": considered.update.state.name(),
        "objection": objection,
        "clauses": considered.clauses.iter().map(clause).collect::<Vec<_>>(),
    })
}

fn clause(clause: &Clause) -> Value {
    let verdict = match &clause.truth {
        Truth::Yes => "yes",
        Truth::No => "no",
        Truth::Unknown(Doubt::Missing(_)) => "unknown",
        Truth::Unknown(Doubt::Unclear(_)) => "unclear",
    };
    let values = clause.values.iter().map(|(name, value)| {
        let text = value.as_ref().map(ToString::to_string);
        // A value prints as JSON; `null` stands for what the device does not state.
        let value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        (name.to_string(), value)
    });
    json!({"text": clause.text, "verdict": verdict, "values": values.collect::<Map<_, _>>()})
}
