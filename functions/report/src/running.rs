//! Reports of devices whose check-ins do not say what they run: it goes into their records from here.

use serde_json::json;
use tidegate_api::report::Report;
use tidegate_api::token::Proof;
use tidegate_api::{ApiError, ErrorCode};
use tidegate_core::{Timestamp, Version};
use tidegate_store::record::{ClaimKey, DeviceRecord, DeviceWrite, KnownDevice};
use tidegate_store::store::Freshness;
use tidegate_store::{ReportStore, StoreError};

use crate::{MOST_TRIES, Recorded, ReportService, Runs, logged, unavailable};

/// How long a record may say that a device was seen on an earlier day, in seconds.
const SEEN_AGAIN_S: i64 = 24 * 3600;

impl<S: ReportStore> ReportService<S> {
    /// Records a report, and what the device runs where it says that: at every boot, whether or not
    /// it has a claim on it. Logs what became of it.
    pub(crate) async fn heard(
        &self,
        dialect: &'static str,
        report: &Report,
        running: Option<&Version>,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Recorded, ApiError> {
        logged(dialect, report, self.hear_and_keep(report, running, proof, now).await)
    }

    async fn hear_and_keep(
        &self,
        report: &Report,
        running: Option<&Version>,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Recorded, ApiError> {
        let Report { product, device, update, .. } = report;
        let key = ClaimKey { product: product.clone(), device: device.clone(), update: update.clone() };
        let down = |error: StoreError| unavailable(product, device, &error);
        for _ in 0..MOST_TRIES {
            let known = self.store.device(product, device, Freshness::Strong).await.map_err(down)?;
            self.accept(product, device, &known, proof).await?;
            match self.settle_or_keep(&key, &known, report, running, now).await {
                Ok(Some(recorded)) => return Ok(recorded),
                Ok(None) => {
                    return Err(ApiError::new(
                        ErrorCode::UnknownProduct,
                        format!("the product {product} has no update yet"),
                    ));
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(down(error)),
            }
        }
        Err(down(StoreError::Conflict))
    }

    /// `None` when the product does not exist.
    async fn settle_or_keep(
        &self,
        key: &ClaimKey,
        known: &KnownDevice,
        report: &Report,
        running: Option<&Version>,
        now: Timestamp,
    ) -> Result<Option<Recorded>, StoreError> {
        let record = known.record_or_default();
        let recorded = match known.claims.iter().find(|(update, _)| *update == key.update) {
            Some((_, claim)) => self.apply(key, claim, report, Runs::Reported(&record), now).await?,
            None => Recorded::No("no_claim"),
        };
        let write = running.filter(|_| recorded != Recorded::Yes);
        let Some(write) = write.and_then(|version| device_write(key, version, &record, now)) else {
            return Ok(Some(recorded));
        };
        // Whoever has a version has checked in, or was let in here before.
        if record.version.is_none() && self.store.head(&key.product, Freshness::Eventual).await?.is_none() {
            return Ok(None);
        }
        self.store.save_running(&write).await?;
        Ok(Some(Recorded::Yes))
    }
}

/// What must be written of a device that runs `version`, as for one that checks in.
fn device_write(key: &ClaimKey, version: &Version, record: &DeviceRecord, now: Timestamp) -> Option<DeviceWrite> {
    let version = version.to_string();
    let seen_s = record.last_seen.map_or(i64::MAX, |seen| now.as_second().saturating_sub(seen.as_second()));
    if record.version.as_ref() == Some(&version) && seen_s < SEEN_AGAIN_S {
        return None;
    }
    let attributes = match record.attributes.as_str() {
        "" => json!({"id": key.device.as_str(), "product": key.product.as_str()}).to_string(),
        attributes => attributes.to_string(),
    };
    Some(DeviceWrite {
        product: key.product.clone(),
        device: key.device.clone(),
        version,
        previous_version: record.version.clone(),
        attributes,
        seen_at: now,
    })
}
