//! Errors of the API: a status, a stable code and a sentence.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares [`ErrorCode`] from one table: variant, code on the wire, HTTP status, meaning.
macro_rules! error_codes {
    ($($variant:ident $code:literal $status:literal $sentence:literal,)*) => {
        /// A stable code of an error. Programs may depend on it. The README lists the same codes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub enum ErrorCode {
            $(#[doc = $sentence] #[serde(rename = $code)] $variant,)*
        }

        impl ErrorCode {
            /// All codes, by status.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as it is on the wire.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status of an answer with this code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Returns true for a code that only a dialect answers, never the native API.
            #[must_use]
            pub const fn is_of_a_dialect(self) -> bool {
                matches!(self, Self::UnknownAction | Self::UnknownContent | Self::Gone | Self::BadRange)
            }

            /// The meaning of the code in one sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

error_codes! {
    BadJson "bad_json" 400 "the body is not JSON, or is nested too deep, too large, or repeats a key",
    BadField "bad_field" 400 "a field is missing or has a value that cannot be used",
    UnknownField "unknown_field" 400 "operator input has a field that does not exist",
    BadVersion "bad_version" 400 "a version is not SemVer 2.0",
    PolicyInvalid "policy_invalid" 400 "a policy cannot be parsed; the message names the column",
    Unauthorized "unauthorized" 401 "the device's token is missing, wrong or revoked",
    Forbidden "forbidden" 403 "the operator's identity is missing",
    RegistrationClosed "registration_closed" 403 "the product does not let devices register themselves, or the device is known already",
    UnknownRoute "unknown_route" 404 "there is nothing at this path",
    UnknownProduct "unknown_product" 404 "the product has no update yet",
    UnknownUpdate "unknown_update" 404 "the product has no update of this version",
    UnknownDevice "unknown_device" 404 "the device has never checked in",
    UnknownAction "unknown_action" 404 "hawkBit only: the controller has no action with this number",
    UnknownContent "unknown_content" 404 "Exosite only: the device was not offered this content",
    WrongMethod "wrong_method" 405 "the path exists, but not with this method",
    VersionExists "version_exists" 409 "the version exists with other content, or was published and deleted",
    Verifying "verifying" 409 "a large file is being read and compared; repeat the call in some seconds",
    UpdateInUse "update_in_use" 409 "devices run the update or are watched in it, so it cannot be deleted",
    WrongState "wrong_state" 409 "the transition is not allowed from the update's state",
    Conflict "conflict" 409 "another operator changed the update at the same time",
    ChangeUnderWay "change_under_way" 409 "another change of the update is under way and at least as strong",
    EvidenceMoved "evidence_moved" 409 "more happened to the devices of a held update than was acknowledged",
    Circle "circle" 409 "the campaign would send devices round in a circle with one that is open",
    ProductStopped "product_stopped" 409 "the whole product is stopped; resume it first",
    ContentImmutable "content_immutable" 409 "only the rollout of an update may change",
    ImageMissing "image_missing" 409 "the bytes of a file have not been uploaded",
    ImageMismatch "image_mismatch" 409 "the uploaded bytes are not the ones that were announced",
    Gone "gone" 410 "hawkBit only: the action is over",
    BodyTooLarge "body_too_large" 413 "the body is longer than this route takes",
    BadRange "bad_range" 416 "Exosite only: the range is not within the content",
    Unavailable "unavailable" 503 "the store cannot be reached; nothing was changed",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The code that programs may depend on. It decides the HTTP status.
    pub code: ErrorCode,
    /// What is wrong and what is expected, for the person who reads it.
    pub message: String,
    /// Seconds after which the same request may succeed.
    pub retry_after_s: Option<u32>,
}

/// The body of an error: `{"error":{"code","message"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Error))]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// The code and the message of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ErrorDetail {
    /// The stable code.
    pub code: ErrorCode,
    /// What is wrong and what is expected, for the person who reads it. The text may change.
    pub message: String,
}

impl ApiError {
    /// An error with a code and a message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_s: None }
    }

    /// A field is missing or cannot be used.
    #[must_use]
    pub fn bad_field(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadField, message)
    }

    /// The one answer to every token that is not good: an attacker learns nothing from it, and it
    /// is never one of the two bodies on which an Ioto agent erases its own identity.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(ErrorCode::Unauthorized, "the Authorization header must carry a valid token of this device")
    }

    /// The store cannot be reached. `retry_after_s` should differ between devices, so that a fleet
    /// does not come back in one second.
    #[must_use]
    pub fn unavailable(retry_after_s: u32) -> Self {
        let message = "the service cannot reach its store; nothing was changed, try again later";
        Self { retry_after_s: Some(retry_after_s), ..Self::new(ErrorCode::Unavailable, message) }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: ErrorDetail { code: self.code, message: self.message.clone() } }
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
        for code in ErrorCode::ALL {
            let text = serde_json::to_string(&ApiError::new(*code, "Authentication failed").body()).unwrap();
            assert!(text.starts_with(&format!("{{\"error\":{{\"code\":\"{code}\",")), "{text}");
        }
    }
}
