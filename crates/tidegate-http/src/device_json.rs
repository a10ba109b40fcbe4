//! A check-in whose body is a `device.json`, as the native dialect and Ioto's send it.

use lambda_http::Request;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tidegate_core::device::Delivery;
use tidegate_core::guidance::NoOffer;
use tidegate_core::{Device, Timestamp};
use tidegate_engine::device;
use tidegate_engine::files::SignedFiles;
use tidegate_engine::token::Proof;
use tidegate_engine::{CheckInResult, Offered};
use tidegate_store::CheckStore;
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
        let mut context = self.context(&device.product, &device.id, proof, now).await?;
        let (version, attributes) = (device.version.to_string(), without_version(object));
        let write = device::changed(&device.product, &device.id, &context.record, version, attributes, now);
        match self.check_in(dialect, device, &mut context, write, now).await? {
            CheckInResult::Offer(offered) => {
                let Offered { update, claim, check_again_after_s } = *offered;
                let signed = self.engine.signed_files(&update, &claim, now).await;
                let SignedFiles { files, ends } =
                    signed.map_err(|error| refusal(&device.product, &device.id, error))?;
                Ok(NativeAnswer::offer(&update, files, ends, check_again_after_s))
            }
            CheckInResult::Held(held) => {
                Ok(NativeAnswer::nothing(held.reason().name(), None, held.check_again_after_s()))
            }
            CheckInResult::Nothing(NoOffer { reason, opens_at, check_again_after_s }) => {
                Ok(NativeAnswer::nothing(reason.name(), opens_at, check_again_after_s))
            }
        }
    }
}

/// The text of a `device.json` for the device's record. It leaves out the version, which has its own field.
pub(crate) fn without_version(object: &Map<String, Value>) -> String {
    struct WithoutVersion<'a>(&'a Map<String, Value>);

    impl Serialize for WithoutVersion<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().filter(|(name, _)| *name != "version"))
        }
    }

    serde_json::to_string(&WithoutVersion(object)).expect("a map of JSON values is JSON")
}
