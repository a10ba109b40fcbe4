//! An agent checks in with its `device.json`.

use lambda_http::{Body, Request, Response};
use tidegate_core::Timestamp;
use tidegate_core::device::Delivery;
use tidegate_store::CheckStore;
use tidegate_wire::ErrorCode;
use tidegate_wire::answer::NativeAnswer;

use crate::check_service::CheckService;
use crate::dialect::Dialect;
use crate::edge::{error_response, respond};

impl<S: CheckStore> CheckService<S> {
    /// Answers one check-in.
    pub(crate) async fn ioto(&self, request: &Request, now: Timestamp) -> Response<Body> {
        match self.device_json(Dialect::Ioto, Delivery::FilesOnly, request, now).await {
            Ok(answer) => respond(200, &answer.ioto()),
            // An agent can do nothing about a version that is not SemVer.
            Err(error) if error.code == ErrorCode::BadVersion => {
                respond(200, &NativeAnswer::nothing("bad_version", None, 0).ioto())
            }
            Err(error) => error_response(&error),
        }
    }
}
