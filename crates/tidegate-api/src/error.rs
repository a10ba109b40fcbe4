//! What a caller is told when a request cannot be served: a status, a stable code and a sentence.

use std::fmt;

use lambda_http::{Body, Response};
use serde_json::json;

use crate::edge;

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The code that programs may depend on.
    pub code: &'static str,
    /// What was wrong and what is expected, for the person who reads it.
    pub message: String,
    /// Seconds after which the same request may succeed.
    pub retry_after_s: Option<u32>,
}

/// Every code with its status and meaning, as listed in the README.
pub const CODES: [(&str, u16, &str); 21] = [
    ("body_too_large", 413, "the body is longer than this route takes"),
    ("bad_json", 400, "the body is not JSON, or is nested too deep, too large, or repeats a key"),
    ("bad_field", 400, "a field is missing or has a value that cannot be used"),
    ("unknown_field", 400, "operator input has a field that does not exist"),
    ("bad_version", 400, "a version is not SemVer 2.0"),
    ("policy_invalid", 400, "a policy cannot be parsed; the message names the column"),
    ("unauthorized", 401, "the device's token is missing, wrong or revoked"),
    ("forbidden", 403, "the operator's identity is missing"),
    ("unknown_route", 404, "there is nothing at this path"),
    ("unknown_product", 404, "the product has no update yet"),
    ("unknown_update", 404, "the product has no update of this version"),
    ("unknown_device", 404, "the device has never checked in"),
    ("wrong_method", 405, "the path exists, but not with this method"),
    ("version_exists", 409, "the version exists with other content"),
    ("wrong_state", 409, "the transition is not allowed from the update's state"),
    ("conflict", 409, "somebody else changed the update at the same time"),
    ("content_immutable", 409, "only the rollout knobs of an update may change"),
    ("image_missing", 409, "the bytes of a file have not been uploaded"),
    ("image_mismatch", 409, "the uploaded bytes are not the ones that were announced"),
    ("registration_closed", 403, "the product does not let devices register themselves"),
    ("unavailable", 503, "the store cannot be reached; nothing was changed"),
];

impl ApiError {
    /// An error with one of the listed codes.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        let status = CODES.iter().find(|(listed, ..)| *listed == code).map_or(500, |(_, status, _)| *status);
        Self { status, code, message: message.into(), retry_after_s: None }
    }

    /// A field is missing or cannot be used.
    #[must_use]
    pub fn bad_field(message: impl Into<String>) -> Self {
        Self::new("bad_field", message)
    }

    /// The one answer to every token that is not good: an attacker learns nothing from it, and it
    /// is never one of the two bodies on which an Ioto agent erases its own identity.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new("unauthorized", "the Authorization header must carry a valid token of this device")
    }

    /// The store cannot be reached. `retry_after_s` should differ between devices, so that a fleet
    /// does not come back in one second.
    #[must_use]
    pub fn unavailable(retry_after_s: u32) -> Self {
        let message = "the service cannot reach its store; nothing was changed, try again later";
        Self { retry_after_s: Some(retry_after_s), ..Self::new("unavailable", message) }
    }

    /// The answer as HTTP.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        let mut response = edge::respond(self.status, &body);
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_is_one_of_the_two_bodies_on_which_an_agent_erases_itself() {
        for (code, ..) in CODES {
            let body = ApiError::new(code, "Authentication failed").response().into_body();
            let text = std::str::from_utf8(&body).unwrap().to_string();
            assert!(text.starts_with("{\"error\":{"), "{text}");
        }
    }
}
