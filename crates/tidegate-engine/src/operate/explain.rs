//! The receipt of a decision, now or at another time. Nothing is recorded.

use tidegate_core::device::Delivery;
use tidegate_core::objection::NoRoom;
use tidegate_core::policy::Slots;
use tidegate_core::receipt::{Receipt, explain};
use tidegate_core::reports::Reports;
use tidegate_core::shard::{Refusal, period_of};
use tidegate_core::{Catalog, ClaimStatus, Claims, Device, DeviceId, ProductId, Timestamp, Update, Version, decide};
use tidegate_store::PublishStore;
use tidegate_store::record::{DeviceRecord, RolloutKey};
use tidegate_store::store::{Freshness, Include};
use tidegate_wire::device_json::{attributes_of, parse_version};

use super::{Operations, compiled};
use crate::compile::ImageNames;
use crate::device::stored_object;
use crate::error::{Done, EngineError};

impl<S: PublishStore> Operations<S> {
    /// Decides for a device as its next check-in would, and hands the receipt to `read`.
    ///
    /// # Errors
    /// When the device has never checked in, its record cannot be understood, or the store cannot be reached.
    pub async fn explain<T>(
        &self,
        product: &ProductId,
        id: &DeviceId,
        at: Timestamp,
        read: impl FnOnce(&Device, &Receipt<'_>) -> T,
    ) -> Done<T> {
        let known = self.store.device(product, id, Include::ItemAndDoc, Freshness::Strong).await?;
        let record = known.record.filter(|record| record.version.is_some());
        let record = record.ok_or_else(|| EngineError::UnknownDevice(id.clone()))?;
        let catalog = self.catalog(product).await?;
        let device = device(product, id, &record, catalog.reports())?;
        let head = self.store.head(product, Freshness::Strong).await?.unwrap_or_default();
        let questions = record.questions.clone();
        let mut claims = Claims::new(known.claims).with_halted(head.halted()).with_questions(questions);
        // Each round finds one more rollout without room, so the number of updates limits the rounds.
        for _ in 0..=catalog.newest_first().count() {
            let decision = decide(&device, &catalog, &claims, at);
            let Some(offer) = &decision.offer else {
                break;
            };
            let is_asked = claims.questions().unanswered_about(&offer.update.id).is_some();
            if offer.claim_status.needs().is_some() && is_asked {
                claims.note_unanswered(offer.update.id.clone());
                continue;
            }
            let is_newcomer = offer.claim_status.is_newcomer(offer.update, record.first_seen);
            match self.no_room(offer.update, &offer.claim_status, is_newcomer, at).await? {
                Some(no_room) => claims.note_no_room(offer.update.id.clone(), no_room),
                None => break,
            }
        }
        Ok(read(&device, &explain(&device, &catalog, &claims, at)))
    }

    /// Every update that was ever in force, so that "aborted" and "completed" are reasons too.
    async fn catalog(&self, product: &ProductId) -> Done<Catalog> {
        let records = self.store.updates(product).await?;
        let mut slots = Slots::new();
        let updates = records
            .iter()
            .filter(|record| !record.is_earlier && record.deleted_at.is_none() && record.state.has_begun())
            .filter_map(|record| compiled(record, &mut slots).ok())
            .collect::<Vec<_>>();
        Ok(Catalog::new(product.clone(), slots, updates).with_reports(ImageNames::of(&records).reports()))
    }

    /// The reason why every shard that could grant would refuse, if they all would.
    async fn no_room(
        &self,
        update: &Update,
        claim_status: &ClaimStatus,
        is_newcomer: bool,
        at: Timestamp,
    ) -> Done<Option<NoRoom>> {
        let Some(grant) = claim_status.needs() else {
            return Ok(None);
        };
        let shards = self.store.shards(&RolloutKey::of_update(update), update.shards).await?;
        let window = period_of(at, update.rollout.limits.period_s);
        let mut no_room = NoRoom::Paused;
        for number in update.shards_for(is_newcomer) {
            let shard = shards.get(usize::from(number)).copied().flatten();
            let refusal =
                shard.map(|shard| shard.refusal(grant, update.generation, window, update.rollout.limits.period_s));
            match refusal {
                Some(Some(Refusal::NoRoom(why))) => no_room = why,
                Some(None | Some(Refusal::EarlierPeriod | Refusal::LaterPeriod(_))) => return Ok(None),
                Some(Some(Refusal::OtherGeneration)) | None => {}
            }
        }
        Ok(Some(if is_newcomer { no_room.for_newcomer() } else { no_room }))
    }
}

fn device(product: &ProductId, id: &DeviceId, record: &DeviceRecord, reports: &Reports) -> Done<Device> {
    let attributes = stored_object(product, id, record).unwrap_or_default();
    let text = record.version.as_deref().unwrap_or_default();
    Ok(Device {
        id: id.clone(),
        product: product.clone(),
        said: Version::parse(text).ok(),
        version: match reports.version_of(text) {
            Some(version) => version,
            None => parse_version(text)?,
        },
        attributes: attributes_of(&attributes)?,
        delivery: Delivery::Anything,
        orders: record.orders.clone(),
    })
}
