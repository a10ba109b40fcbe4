//! The native format, and Ioto's: the device says everything in one request.

use lambda_http::{Body, Request, Response};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tidegate_api::answer::NativeAnswer;
use tidegate_api::device_json::{self, DeviceJson};
use tidegate_api::token::Proof;
use tidegate_api::{ApiError, ErrorCode, edge};
use tidegate_core::device::Delivery;
use tidegate_core::{Device, DeviceId, ProductId, Timestamp, Version};
use tidegate_store::CheckStore;
use tidegate_store::record::{DeviceRecord, DeviceWrite};

use crate::{CheckService, SEEN_AGAIN_S, SignedFiles, Turn};

/// The wire format in which a device asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Native,
    Ioto,
}

impl<S: CheckStore> CheckService<S> {
    /// Answers one check-in.
    pub(crate) async fn native(&self, dialect: Dialect, request: &Request, now: Timestamp) -> Response<Body> {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        match (self.check_in(dialect, authorization, request.body(), now).await, dialect) {
            (Ok(answer), Dialect::Native) => edge::respond(200, &answer),
            (Ok(answer), Dialect::Ioto) => edge::respond(200, &answer.ioto()),
            // An Ioto agent can do nothing with the news that its version is not SemVer.
            (Err(error), Dialect::Ioto) if error.code == ErrorCode::BadVersion => {
                edge::respond(200, &NativeAnswer::nothing("bad_version", None, 0).ioto())
            }
            (Err(error), _) => edge::error_response(&error),
        }
    }

    async fn check_in(
        &self,
        dialect: Dialect,
        authorization: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<NativeAnswer, ApiError> {
        let authorization = authorization.ok_or_else(ApiError::unauthorized)?;
        let said = device_json::parse(body)?;
        let proof = self.keys.verify(authorization, &said.product, &said.id).ok_or_else(ApiError::unauthorized)?;
        let device = device_of(&said, dialect)?;
        let answer = self.answer(&device, &said, proof, now).await;
        match &answer {
            Ok(answer) if answer.version.is_some() => tracing::info!(
                product = %device.product, device = %device.id, version = %device.version, ?dialect,
                offer = answer.version, "check_in"
            ),
            // Nearly all check-ins end so, and a line of log would be a third of what one costs.
            Ok(answer) => tracing::debug!(
                product = %device.product, device = %device.id, version = %device.version, ?dialect,
                reason = answer.reason, opens_at = answer.opens_at, "check_in"
            ),
            Err(error) => tracing::warn!(
                product = %device.product, device = %device.id, version = %device.version, ?dialect,
                code = error.code.code(), "check_in_refused"
            ),
        }
        answer
    }

    async fn answer(
        &self,
        device: &Device,
        said: &DeviceJson,
        proof: Proof,
        now: Timestamp,
    ) -> Result<NativeAnswer, ApiError> {
        let mut known = self.known(&device.product, &device.id, proof, now).await?;
        let write = device_write(device, &said.object, &known.record, now);
        match self.turn(device, &mut known, write, now).await? {
            Turn::Offer(offered) => {
                let SignedFiles { files, ends } =
                    self.signed_files(&device.id, &offered.update, &offered.claim, now).await?;
                Ok(NativeAnswer::offer(&offered.update, files, ends, offered.check_again_after_s))
            }
            Turn::Nothing { reason, opens_at, check_again_after_s } => {
                Ok(NativeAnswer::nothing(reason, opens_at, check_again_after_s))
            }
        }
    }
}

fn device_of(said: &DeviceJson, dialect: Dialect) -> Result<Device, ApiError> {
    Ok(Device {
        id: said.id.clone(),
        product: said.product.clone(),
        version: said.semver()?,
        attributes: said.attributes.clone(),
        delivery: match dialect {
            Dialect::Native => Delivery::Anything,
            Dialect::Ioto => Delivery::FilesOnly,
        },
    })
}

/// A device whose request does not say what it runs: as it was when it last said so. `None` when it
/// never did, or when what is stored cannot be used.
pub(crate) fn stored_device(
    product: &ProductId,
    device: &DeviceId,
    record: &DeviceRecord,
    delivery: Delivery,
) -> Option<Device> {
    let version = Version::parse(record.version.as_ref()?).ok()?;
    let object: Map<String, Value> = serde_json::from_str(&record.attributes).ok()?;
    let attributes = device_json::attributes_of(&object).ok()?;
    Some(Device { id: device.clone(), product: product.clone(), version, attributes, delivery })
}

/// What must be written of a device: everything when it is new or says something else than before,
/// and that it was seen once a day. An unchanged check-in writes nothing.
pub(crate) fn device_write(
    device: &Device,
    object: &Map<String, Value>,
    record: &DeviceRecord,
    now: Timestamp,
) -> Option<DeviceWrite> {
    let attributes = serde_json::to_string(&WithoutVersion(object)).expect("a map of JSON values is JSON");
    let version = device.version.to_string();
    let is_unchanged = record.version.as_ref() == Some(&version) && record.attributes == attributes;
    if is_unchanged && !is_seen_long_ago(record, now) {
        return None;
    }
    Some(DeviceWrite { attributes, ..seen(&device.product, &device.id, record, version, now) })
}

/// What a device says beside its version, which has a field of its own in the record.
struct WithoutVersion<'a>(&'a Map<String, Value>);

impl Serialize for WithoutVersion<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(name, _)| *name != "version"))
    }
}

/// The record as it is, of a device that is seen now and runs `version`.
pub(crate) fn seen(
    product: &ProductId,
    device: &DeviceId,
    record: &DeviceRecord,
    version: String,
    now: Timestamp,
) -> DeviceWrite {
    DeviceWrite {
        product: product.clone(),
        device: device.clone(),
        version,
        previous_version: record.version.clone(),
        attributes: record.attributes.clone(),
        seen_at: now,
    }
}

/// Whether a day has passed since the record was last written.
pub(crate) fn is_seen_long_ago(record: &DeviceRecord, now: Timestamp) -> bool {
    let seen_s = record.last_seen.map_or(i64::MAX, |seen| now.as_second().saturating_sub(seen.as_second()));
    seen_s >= SEEN_AGAIN_S
}
