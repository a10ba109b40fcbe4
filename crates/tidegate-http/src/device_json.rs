//! A check-in whose body is a `device.json`, as the native dialect and Ioto's send it.

use lambda_http::Request;
use serde_json::{Map, Value};
use tidegate_core::device::Delivery;
use tidegate_core::guidance::NoOffer;
use tidegate_core::{Device, ObjectionCode, Timestamp};
use tidegate_engine::device;
use tidegate_engine::files::SignedFiles;
use tidegate_engine::token::Proof;
use tidegate_engine::{CheckInResult, EngineError, Offered, Said};
use tidegate_store::CheckStore;
use tidegate_store::store::Include;
use tidegate_wire::ApiError;
use tidegate_wire::answer::NativeAnswer;
use tidegate_wire::device_json;

use crate::check_service::CheckService;
use crate::dialect::{Dialect, authorization, refusal};

impl<S: CheckStore> CheckService<S> {
    /// Checks in the device that the body describes.
    pub(crate) async fn device_json(
        &self,
        dialect: Dialect,
        delivery: Delivery,
        request: &Request,
        now: Timestamp,
    ) -> Result<NativeAnswer, ApiError> {
        let authorization = authorization(request).ok_or_else(ApiError::unauthorized)?;
        let json = device_json::parse(request.body())?;
        let proof = self.keys.verify(authorization, &json.product, &json.id).ok_or_else(ApiError::unauthorized)?;
        let (device, object) = json.into_device(delivery)?;
        let answer = self.answer(dialect, &device, &object, proof, now).await;
        if let Err(error) = &answer {
            let Device { product, id, version, .. } = &device;
            tracing::warn!(%product, device = %id, %version, %dialect, code = error.code.code(), "check_in_refused");
        }
        answer
    }

    async fn answer(
        &self,
        dialect: Dialect,
        device: &Device,
        object: &Map<String, Value>,
        proof: Proof,
        now: Timestamp,
    ) -> Result<NativeAnswer, ApiError> {
        let mut context = self.context(&device.product, &device.id, proof, Include::Item, now).await?;
        let seen = device::changed(&context, device.version.to_string(), object, now);
        match self.check_in(dialect, device, &mut context, Said::Version, seen, now).await? {
            CheckInResult::Offer(offered) => {
                let Offered { update, claim, check_again_after_s } = *offered;
                match self.engine.signed_files(&context, &update, &claim, now).await {
                    Ok(SignedFiles { files, ends }) => {
                        Ok(NativeAnswer::offer(&update, files, ends, check_again_after_s))
                    }
                    Err(EngineError::Busy) => {
                        let NoOffer { reason, check_again_after_s, .. } = NoOffer::busy(device);
                        Ok(NativeAnswer::nothing(reason.name(), None, check_again_after_s))
                    }
                    Err(error) => Err(refusal(&device.product, &device.id, error)),
                }
            }
            CheckInResult::Held(held) => {
                Ok(NativeAnswer::nothing(held.reason().name(), None, held.check_again_after_s()))
            }
            // Only a poll of hawkBit's asks the user.
            CheckInResult::Asked(asked) => {
                Ok(NativeAnswer::nothing(ObjectionCode::NoAnswer.name(), None, asked.check_again_after_s))
            }
            CheckInResult::Nothing(NoOffer { reason, opens_at, check_again_after_s }) => {
                Ok(NativeAnswer::nothing(reason.name(), opens_at, check_again_after_s))
            }
        }
    }
}
